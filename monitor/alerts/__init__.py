"""Alerts: their life cycle, and the messages about them."""
