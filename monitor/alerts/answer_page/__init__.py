"""Pages for the recipients of messages: their sites, a form to answer alerts, and notices. No scripts, no requests."""

from monitor.alerts.answer_page.pages import POLICY, Entered, Question, SiteLine, form_page, my_sites_page, notice_page

__all__ = ["POLICY", "Entered", "Question", "SiteLine", "form_page", "my_sites_page", "notice_page"]
