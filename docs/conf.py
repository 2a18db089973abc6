"""Settings of the documentation site. ``make docs`` needs no network: it loads no script, font or inventory."""

import re
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "Regrowth monitor"
copyright = "The regrowth monitor authors, Apache-2.0"
root = Path(__file__).resolve().parent.parent
version = release = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
# The notebook is stored without results. It reads the demonstration, which `make docs` runs where it is missing.
nb_execution_mode = "force" if (root / "outputs" / "demo" / "status.json").is_file() else "off"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Regrowth monitor {release}"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # Parameters and Returns state the types, with shape and unit
maximum_signature_line_length = 90
python_use_unqualified_type_names = True
numpydoc_show_class_members = False

MAX_FIELDS = 6
"""Fields of a record up to which its signature is shown."""

default_role = "code"  # of `parameter` in a docstring
nitpicky = True
suppress_warnings = ["ref.citation"]  # not referenced: see prepare_references
nitpick_ignore_regex = [("py:.*", r"(?!monitor\.).*")]  # other packages: their inventories are on the network


def show_undocumented(app: Sphinx, env: Any, node: nodes.Element, text: nodes.Element) -> nodes.Element | None:
    """Show a reference to code that exists but has no page as plain code. One to nothing stays an error."""
    try:
        resolve_name(str(node.get("reftarget")))
    except (AttributeError, ImportError, ValueError):
        return None
    return text


def prepare_references(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Adapt references as the code has them.

    The initials of a first author, as in "[1] C. J. Tucker", must not be read as item C of a list. A constant refers to
    the list of its module, which is another docstring: plain text there.
    """
    lines[:] = [re.sub(r"^(\s*\.\. \[\w+\] )(?=[A-Z]\. )", r"\1\\", line) for line in lines]
    if not any(line.lstrip().startswith(".. [") for line in lines):
        lines[:] = [re.sub(r"\[(\d+)\]_", r"[\1]", line) for line in lines]


def shorten_records(app: Sphinx, what: str, name: str, thing: Any, *_: Any) -> tuple[str, None] | None:
    """Leave out the signature of a record with many fields: they are listed below it."""
    return ("", None) if is_dataclass(thing) and len(fields(thing)) > MAX_FIELDS else None


def setup(app: Sphinx) -> None:
    """Register the above, and tables as text: Pygments has no lexer for CSV."""
    app.connect("autodoc-process-signature", shorten_records)
    app.connect("autodoc-process-docstring", prepare_references, priority=400)  # before numpydoc
    app.connect("missing-reference", show_undocumented)
    app.add_lexer("csv", TextLexer)
