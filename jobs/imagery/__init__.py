"""Access to the configured sources, and what a night of them costs."""
