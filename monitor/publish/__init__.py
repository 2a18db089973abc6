"""Pages, maps and tables."""
