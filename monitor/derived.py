"""Stored results that can be computed again, and the one rule by which they are.

A result is stored with its :func:`key`, a hash of its inputs and of the code that computes it: the module of the
function and all modules of this package that it imports, directly or not. After an edit of any of them the result is
computed again, in the ledger as in the files of :func:`get`, which may be deleted at any time. Docstrings, comments and
layout are not code.
"""

import ast
import os
from collections.abc import Buffer, Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import google_crc32c
import msgspec
import numpy as np

Values = Mapping[str, Any]
"""Arrays of fixed-size types, and plain values (None, numbers, text, lists and dicts of them), by name."""

_ROOT: Final = Path(__file__).parent.parent
"""Folder of this package and of ``jobs``."""
_CHECK: Final = 4
"""Length of the checksum at the start of a file. [byte]"""


class _Stored(msgspec.Struct, kw_only=True, array_like=True):
    key: str
    plain: dict[str, Any]
    arrays: dict[str, tuple[str, tuple[int, ...], bytes]]
    """Type, shape and content of each array."""


def get(path: Path, inputs: Sequence[object], make: Callable[[], Values], *, module: str) -> Values:
    """Read a result from its file, or compute and store it if inputs or code have changed; arrays are read-only.

    Parameters
    ----------
    path : Path
        File of the result. If it is missing, damaged or cannot be written, the result is computed.
    inputs, module : see :func:`key`
    make : callable
        Computes the result.
    """
    current = key(inputs, module=module)
    stored = _load(path)
    if stored is not None and stored.key == current:
        arrays = {name: np.frombuffer(data, kind).reshape(shape) for name, (kind, shape, data) in stored.arrays.items()}
        return {**stored.plain, **arrays}
    values = make()
    new = _Stored(key=current, plain={}, arrays={})
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            new.arrays[name] = value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes()
        else:
            new.plain[name] = value
    content = msgspec.msgpack.encode(new)
    with suppress(OSError):  # without the file the result is computed again
        path.parent.mkdir(parents=True, exist_ok=True)
        _overwrite(path, int(google_crc32c.value(content)).to_bytes(_CHECK, "big") + content)
    return values


def key(inputs: Sequence[object], *, module: str) -> str:
    """Hash of all that a stored result depends on: if it differs, the result is computed again.

    Parameters
    ----------
    inputs : sequence
        All that the result depends on besides code: arrays, bytes, and values identified by their ``repr``.
    module : str
        Module of the function that computes it, as in ``__name__``.

    Raises
    ------
    ModuleNotFoundError
        There is no such module.
    """
    return _hash([code_hash(module), *inputs])


@cache
def code_hash(module: str) -> str:
    """Hash of the syntax trees of a module and of all modules of this package that it imports, directly or not."""
    trees: dict[str, str] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in trees and (path := _source(name)) is not None:
            trees[name], imported = _parsed(path.read_bytes())
            pending += imported
    if not trees:
        raise ModuleNotFoundError(module)
    return _hash([sorted(trees.items())])


@cache
def _parsed(source: bytes) -> tuple[str, list[str]]:
    """Hash of the syntax tree of a module, and the modules that it imports; for ``from a import b`` both a and a.b.

    Strings that stand alone are docstrings, and left out. So are empty fields, by which versions of Python differ.
    """
    content: list[object] = []
    imported: list[str] = []
    pending: list[Any] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            code = [one for one in node if not (isinstance(one, ast.Expr) and _is_text(one.value))]
            content.append(len(code))
            pending += code
        elif isinstance(node, ast.AST):
            content.append(type(node).__name__)
            for name in node._fields:
                value = getattr(node, name, None)
                if isinstance(value, (ast.AST, list)):
                    if value and name != "ctx":
                        content.append(name)
                        pending.append(value)
                elif value is not None:
                    content += name, value
            if isinstance(node, ast.Import):
                imported += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            content.append(node)
    return _hash([content]), [name for name in imported if name.startswith("monitor.")]


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _source(module: str) -> Path | None:
    """File of a module; None if there is no such module, for instance because the name is a function."""
    path = _ROOT.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _hash(parts: Sequence[object]) -> str:
    digest = sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            content: Buffer = np.ascontiguousarray(part).tobytes()
        else:
            content = part if isinstance(part, bytes) else repr(part).encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % memoryview(content).nbytes)
        digest.update(content)
    return digest.hexdigest()


def _load(path: Path) -> _Stored | None:
    """The stored result; None if there is no file or it is damaged."""
    try:
        content = path.read_bytes()
        body = memoryview(content)[_CHECK:]
        if google_crc32c.value(np.frombuffer(body, np.uint8)) == int.from_bytes(content[:_CHECK], "big"):
            return msgspec.msgpack.decode(body, type=_Stored)
    except (OSError, ValueError):
        pass
    return None


def _overwrite(path: Path, content: bytes) -> None:
    """Overwrite a file in place. A run killed here leaves a damaged file, which its checksum reveals; writing another
    file and moving it takes several times as long. A file shared by hard link with a copy is replaced.
    """
    with suppress(FileNotFoundError):
        if path.stat().st_nlink > 1 or not os.access(path, os.W_OK):
            path.unlink()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
        file.write(content)
        file.truncate()
