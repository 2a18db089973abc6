"""Names of the files of pages."""

from typing import Final

PAGE_FILES: Final = {"en": "index.html", "zh": "index.zh.html"}
"""File name of the page in each language."""
