"""Arrays as files of Zarr version 3 [1]_, in plain code: the content of a pack must not reach a library that trusts it.

Chunks are numbers in little-endian order, or texts, compressed by gzip. The ``zarr.json`` of an array follows from its
name, dimensions, type and shape alone, so a reader who knows these compares the file instead of obeying it.

References
----------
.. [1] Zarr core specification version 3.1, 2025, https://zarr-specs.readthedocs.io/en/latest/v3/core/.
"""

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

CHUNK_BYTES: Final = 2**22
"""Size of a chunk of numbers before compression. [byte]"""
CHUNK_WIDTH: Final = 2**20  # places of the last dimension in a chunk, at most
CHUNK_TEXTS: Final = 1024  # texts in a chunk
MAX_TEXT_BYTES: Final = 2**24
"""Size of a chunk of texts before compression, at most. [byte]"""
METADATA: Final = "zarr.json"
_TEXT: Final = "string"
_GZIP: Final = 31  # window size by which zlib writes and reads gzip


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """An array, without its values."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    """Type as Zarr and numpy name it; ``string``: texts along the one dimension."""
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk: as many places of the first dimension as fit."""
        if self.dtype == _TEXT:
            return (CHUNK_TEXTS,)
        inner = [*self.shape[1:-1], min(self.shape[-1], CHUNK_WIDTH)] if len(self.shape) > 1 else []
        inner = [max(n, 1) for n in inner]
        fit = CHUNK_BYTES // (math.prod(inner) * np.dtype(self.dtype).itemsize)
        return max(min(fit, self.shape[0]), 1), *inner

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return math.prod(-(-n // size) for n, size in zip(self.shape, self.chunk, strict=True))

    def places(self) -> Iterator[tuple[str, tuple[slice, ...]]]:
        """Name of the file of each chunk, and where its values are in the array."""
        counts = [-(-n // size) for n, size in zip(self.shape, self.chunk, strict=True)]
        for at in np.ndindex(*counts):
            place = (slice(k * c, min((k + 1) * c, n)) for k, c, n in zip(at, self.chunk, self.shape, strict=True))
            yield "/".join((self.name, "c", *map(str, at))), tuple(place)

    def metadata(self) -> bytes:
        """Content of ``zarr.json``."""
        plain = {"name": "bytes", "configuration": {"endian": "little"}}
        fill: Any = "" if self.dtype == _TEXT else "NaN" if self.dtype.startswith("float") else 0
        return as_json({
            "zarr_format": 3, "node_type": "array", "shape": self.shape, "data_type": self.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": self.chunk}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, "fill_value": fill,
            "codecs": [{"name": "vlen-utf8"} if self.dtype == _TEXT else plain,
                       {"name": "gzip", "configuration": {"level": 6}}],
            "attributes": self.attributes, "dimension_names": self.dims,
        })  # fmt: skip

    def files(self, values: Callable[[tuple[slice, ...]], np.ndarray]) -> Iterator[tuple[str, bytes]]:
        """Name and content of each file; `values` gives the values at a place."""
        yield f"{self.name}/{METADATA}", self.metadata()
        for name, place in self.places():
            yield name, zlib.compress(self._encoded(values(place)), 6, _GZIP)

    def _encoded(self, values: np.ndarray) -> bytes:
        if self.dtype == _TEXT:
            texts = [str(text).encode() for text in values.tolist()]
            texts += [b""] * (CHUNK_TEXTS - len(texts))
            return _int32(len(texts)) + b"".join(_int32(len(text)) + text for text in texts)
        chunk = np.zeros(self.chunk, np.dtype(self.dtype).newbyteorder("<"))
        chunk[tuple(map(slice, values.shape))] = values
        return chunk.tobytes()

    def decode(self, content: bytes, place: tuple[slice, ...]) -> np.ndarray:
        """Values of the array at a place, from the content of the file of that chunk.

        No more is decompressed than a chunk can have; ``ValueError``: it is not such a chunk.
        """
        size = MAX_TEXT_BYTES
        if self.dtype != _TEXT:
            size = math.prod(self.chunk) * np.dtype(self.dtype).itemsize
        gzip = zlib.decompressobj(_GZIP)
        try:
            plain = gzip.decompress(content, size + 1)
        except zlib.error as error:
            raise ValueError(f"it is not a gzip file: {error}") from None
        if len(plain) > size or not gzip.eof or gzip.unused_data:
            raise ValueError(f"it is cut short, or has more than the {size:,} bytes of a chunk")
        inside = tuple(slice(part.stop - part.start) for part in place)
        if self.dtype == _TEXT:
            return np.array(_texts(plain), object)[inside]
        if len(plain) != size:
            raise ValueError(f"it has {len(plain):,} bytes, and a chunk {size:,}")
        return np.frombuffer(plain, np.dtype(self.dtype).newbyteorder("<")).reshape(self.chunk)[inside]


def as_json(value: Mapping[str, Any]) -> bytes:
    """Content of a ``zarr.json``."""
    return (json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _int32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _texts(plain: bytes) -> list[str]:
    texts, at = [], 4
    for _ in range(CHUNK_TEXTS):
        start = at + 4
        at = start + int.from_bytes(plain[at:start], "little")
        texts.append(plain[start:at].decode())
    if plain[:4] != _int32(CHUNK_TEXTS) or at != len(plain):
        raise ValueError(f"it does not have {CHUNK_TEXTS} texts")
    return texts
