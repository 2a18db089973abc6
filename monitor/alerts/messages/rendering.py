"""Templates of messages, which take their texts from the catalogue by key."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from monitor.alerts import words

TEMPLATES: Final = Path(__file__).parent / "templates"

RED: Final = "#b3261e"
AMBER: Final = "#8a5300"
GREEN: Final = "#1b6e3c"
"""Colours of labels: at least 4.5:1 on white, and white on them."""

MAX_NAME: Final = 60
"""Longest name of a site in a subject, a list or a messenger. [characters]"""


def render(template: str, language: words.Language, **context: Any) -> str:
    """Fill in a template; HTML is escaped."""
    return _environment().get_template(template).render(lang=language, **context)


def short(name: str, length: int = MAX_NAME) -> str:
    """A name of at most `length` characters.

    >>> short("Ulan Buh", 5)
    'Ulan…'
    """
    return name if len(name) <= length else f"{name[: length - 1]}…"


def templates(*folders: Path, escaped: Callable[[str | None], bool] = lambda _: True) -> jinja2.Environment:
    """Environment of the templates in some folders, in which a missing value is an error; `escaped` by name."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders), autoescape=escaped, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


@cache
def _environment() -> jinja2.Environment:
    environment = templates(TEMPLATES, escaped=lambda name: bool(name and name.endswith(".html")))
    environment.globals["t"] = text_in_context
    return environment


@jinja2.pass_context
def text_in_context(context: jinja2.runtime.Context, key: str, **values: object) -> str:
    """Text of the catalogue in the language of a template."""
    return words.text(key, context["lang"], **values)
