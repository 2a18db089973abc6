"""The memory of the monitor: sites, runs, assessments, alerts and messages, in SQLite or PostgreSQL."""
