"""Entry points for a scheduler or a person: the nightly run, the backfill, the pages and the command line."""

from monitor import __version__

__all__ = ["__version__"]
