"""What a scheduler or a person starts: the nightly run, the backfill, the pages and the command line."""

__version__ = "0.1.0"
