"""The page where the recipient of a message answers an alert: a form, and notices. No scripts, no requests."""

from monitor.alerts.answer_page.pages import POLICY, Entered, form_page, notice_page

__all__ = ["POLICY", "Entered", "form_page", "notice_page"]
