"""Stored results that can be computed again: the only cache on disk.

A result is stored with a hash of its inputs and of the code that computes it, which is the module of the function and
all modules of this package that it imports, directly or not. After an edit of any of them the result is computed
again, and any of the files may be deleted at any time.
"""

import ast
import os
import sys
from collections.abc import Buffer, Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import google_crc32c
import msgspec
import numpy as np

Values = Mapping[str, Any]
"""Arrays of fixed-size types, and plain values (None, numbers, text, lists and dicts of them), by name."""

_PACKAGE: Final = __name__.partition(".")[0]
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
    inputs : sequence
        All that the result depends on besides code: arrays, bytes, and values identified by their ``repr``.
    make, module
        Function that computes the result, and the module of its code, as in ``__name__``.
    """
    key = _hash([code_hash(module), *inputs])
    stored = _load(path)
    if stored is not None and stored.key == key:
        arrays = {name: np.frombuffer(data, kind).reshape(shape) for name, (kind, shape, data) in stored.arrays.items()}
        return {**stored.plain, **arrays}
    values = make()
    new = _Stored(key=key, plain={}, arrays={})
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


@cache
def code_hash(module: str) -> str:
    """Hash of the source of a module and of all modules of this package that it imports, directly or not."""
    files: dict[str, bytes] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in files and (path := _source(name)) is not None:
            files[name] = path.read_bytes()
            pending += _imported(name, files[name], package=path.name == "__init__.py")
    return _hash([sorted(files.items())])


@cache
def _imported(module: str, source: bytes, *, package: bool) -> list[str]:
    """Modules of this package that a module imports; for ``from a import b`` both a and a.b."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: len(module.split(".")) - node.level + package]
                base = ".".join([*above, *([base] if base else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.startswith(f"{_PACKAGE}.")]  # the package itself only names what is in it


def _source(module: str) -> Path | None:
    """File of a module; None if there is no such module, for instance because the name is a function."""
    known = sys.modules.get(module)
    with suppress(ImportError, AttributeError):
        origin = known.__file__ if known is not None else getattr(find_spec(module), "origin", None)
        return Path(origin) if origin and origin.endswith(".py") else None
    return None


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
