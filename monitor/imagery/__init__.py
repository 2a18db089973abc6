"""Sources of imagery, and what they offer."""
