"""Notices to managers and operators, and the outbox that sends them."""
