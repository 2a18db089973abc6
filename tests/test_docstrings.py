"""The documented API says what goes in, what comes out and what is raised."""

import importlib
import inspect
import re
from pkgutil import resolve_name

import pytest

validate = pytest.importorskip("numpydoc.validate", reason="numpydoc is in the group 'docs'").validate

SOUND = ("GL03", "GL07", "GL08", "PR02", "PR03", "YD01")
"""Checks of numpydoc for every docstring: there is one, its sections are in order, and it names the parameters of the
function alone, in their order."""
COMPLETE = ("PR01", "RT01", "YD01")
"""For a function of two parameters or more also: all are described, and so is what it returns. Of a single parameter
the first line says all."""


def documented(root):
    """Names of all functions and classes on the API pages, with the objects."""
    for page in sorted((root / "docs" / "api").glob("*.rst")):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"autofunction:: (\S+)", text):
            yield name, resolve_name(name)
        for name, chosen in re.findall(r"automodule:: (\S+)\n   :members:(.*)", text):
            module = importlib.import_module(name)
            for member, thing in vars(module).items():
                here = getattr(thing, "__module__", None) == name and not member.startswith("_")
                if here and callable(thing) and (not chosen.strip() or re.search(rf"\b{member}\b", chosen)):
                    yield f"{name}.{member}", thing
                    if inspect.isclass(thing):
                        for method, part in vars(thing).items():
                            if inspect.isfunction(getattr(part, "__func__", part)) and not method.startswith("_"):
                                yield f"{name}.{member}.{method}", getattr(part, "__func__", part)


def parameters(thing):
    """Parameters of a function, without the object that it belongs to; of a class none: its fields are documented."""
    if inspect.isclass(thing):
        return []
    return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]


def test_every_docstring_of_the_documented_api_is_sound_and_complete(root):
    faults, seen = [], 0
    for name, thing in documented(root):
        seen += 1
        if inspect.isclass(thing):
            faults += [] if inspect.getdoc(thing) else [f"{name}: no docstring"]
            continue
        wanted = SOUND + (COMPLETE if len(parameters(thing)) > 1 else ())
        faults += [f"{name}: {code} {what}" for code, what in validate(name)["errors"] if code in wanted]
    assert seen > 100
    assert faults == []
