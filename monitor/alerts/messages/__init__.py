"""Messages: what managers and operators receive, in plain text, HTML and short text for messengers."""

from monitor.alerts.messages.alert_message import compose_alert
from monitor.alerts.messages.digest import compose_digest
from monitor.alerts.messages.operators import compose_operators, compose_test
from monitor.alerts.messages.weekly import compose_weekly

__all__ = ["compose_alert", "compose_digest", "compose_operators", "compose_test", "compose_weekly"]
