"""The zip of an evidence pack: written with manifest and signature, opened after every byte of it was checked.

The last two members are the manifest, which lists the SHA-256 of all others in the form of ``sha256sum``, and its
Ed25519 signature [1]_. All other bytes of the file are fixed by :mod:`monitor.evidence.zip_layout`, so that a byte
changed anywhere is found.

References
----------
.. [1] S. Josefsson, I. Liusvaara, "Edwards-Curve Digital Signature Algorithm (EdDSA)," RFC 8032, 2017,
   doi:10.17487/RFC8032.
"""

import errno
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

from cryptography.exceptions import InvalidSignature

from monitor.errors import BadData
from monitor.evidence.faults import Fault, PackRefused
from monitor.evidence.keys import fingerprint
from monitor.evidence.zip_layout import MAX_MEMBERS, MAX_NAME, NAME, Entry, closing_records, local_header, read_layout
from monitor.files import appearing, open_plain_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT: Final = 2
"""Version of the layout and of the members of a pack; ``environment.json`` has it as ``format``."""
MANIFEST: Final = "manifest-sha256.txt"
SIGNATURE: Final = f"{MANIFEST}.sig"
MAX_READ_BYTES: Final = 2**25
"""Largest member that is read to memory as a whole; others are copied to a file. [byte]"""

_MANIFEST_LINE: Final = re.compile(rb"([0-9a-f]{64})  ([a-z0-9.-]+)\n")
_PIECE: Final = 2**20
"""Members are read and hashed in pieces of this size. [byte]"""


def write_container(path: Path, members: Iterable[tuple[str, bytes | Path]], key: "Ed25519PrivateKey") -> None:
    """Write a pack in one atomic step. The same members and key give the same bytes.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    members : iterable of (str, bytes or Path)
        Name and content, or the file with the content, of each member, in the order of the pack; without manifest and
        signature, which are added. A file is read as soon as it is yielded, and may be deleted after that.
    key : Ed25519PrivateKey
        Signs the manifest.

    Raises
    ------
    ValueError
        A name is invalid, occurs twice, or is that of the manifest or the signature.
    OSError
        The disk is full, a file cannot be read, or `path` is a folder or cannot be written; an old pack is untouched.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with appearing(path) as partial, open(partial, "wb") as file:
        entries: list[Entry] = []
        manifest = ""
        for name, content in members:
            manifest += f"{_append(file, entries, name, content)}  {name}\n"
        _append(file, entries, MANIFEST, manifest.encode())
        _append(file, entries, SIGNATURE, key.sign(manifest.encode()))
        file.write(closing_records(entries))


def _append(file: BinaryIO, entries: list[Entry], name: str, content: bytes | Path) -> str:
    """Append a member and its entry; return its SHA-256 in hexadecimal digits."""
    if not NAME.fullmatch(name) or len(name) > MAX_NAME or any(name == entry.name for entry in entries):
        msg = f"{name!r} is not the name of a member, or occurs twice; names consist of a-z, 0-9, dots and hyphens"
        raise ValueError(msg)
    if len(entries) >= MAX_MEMBERS:
        msg = f"a pack has at most {MAX_MEMBERS} members"
        raise ValueError(msg)
    digest, crc = hashlib.sha256(), 0
    with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as source:
        size, offset = source.seek(0, os.SEEK_END), file.tell()
        source.seek(0)
        file.write(local_header(Entry(name, size, crc, offset)))
        for piece in _pieces(source, size):
            digest.update(piece)
            crc = zlib.crc32(piece, crc)
            file.write(piece)
    entry = Entry(name, size, crc, offset)
    if file.tell() != entry.end:
        msg = f"member {name} became shorter while it was read"
        raise ValueError(msg)
    file.seek(offset)
    file.write(local_header(entry))
    file.seek(entry.end)
    entries.append(entry)
    return digest.hexdigest()


class Container:
    """A pack whose layout, signature and members were all checked when it was opened.

    The content of a member is checked again whenever it is read, so that a pack that someone changes in the meantime is
    noticed. It is closed at the end of a ``with`` block.

    Parameters
    ----------
    path : Path
        The pack: a plain file, or a link to one. Nothing is written.
    key : Ed25519PublicKey
        The key that it must be signed with.

    Raises
    ------
    PackRefused
        The file is no pack, or differs in anything from what was signed; every member that differs is named.
    BadData
        The file does not exist, cannot be read, or is a folder, pipe or device.
    """

    def __init__(self, path: Path, key: "Ed25519PublicKey") -> None:
        self._file = open_plain_file(path)
        try:
            self._entries = {entry.name: entry for entry in read_layout(self._file)}
            self._digests = self._signed_digests(key)
            faults = tuple(self._member_faults())
            if faults:
                raise PackRefused(*faults)
        except OSError as error:
            self._file.close()
            msg = f"{path} cannot be read: {error.strerror or error}"
            raise BadData(msg) from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members that the manifest lists, in their order in the pack."""
        return tuple(self._digests)

    @property
    def total_size(self) -> int:
        """Size of the content of all members, manifest and signature included. [byte]"""
        return sum(entry.size for entry in self._entries.values())

    def size(self, name: str) -> int:
        """Size of a member. [byte]"""
        return self._entry(name).size

    def sha256(self, name: str) -> str:
        """SHA-256 of a member as signed, in hexadecimal digits."""
        self._entry(name)
        return self._digests[name]

    def read(self, name: str) -> bytes:
        """Content of a member of at most :data:`MAX_READ_BYTES`.

        Raises
        ------
        PackRefused
            The pack has no such member, it is too large, or it changed since the pack was opened.
        """
        if self._entry(name).size > MAX_READ_BYTES:
            raise PackRefused(Fault(name, f"it has more than {MAX_READ_BYTES:,} bytes, too many to be read"))
        buffer = io.BytesIO()
        self._copy(name, buffer)
        return buffer.getvalue()

    def read_json(self, name: str) -> Any:
        """Content of a JSON member, which has to mean the same to every reader: UTF-8, no name twice, no NaN.

        Raises
        ------
        PackRefused
            As for :meth:`read`, or it is not such JSON.
        """
        try:
            return json.loads(self.read(name).decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise PackRefused(Fault(name, f"it is not JSON that every program reads alike: {error}")) from None

    def copy(self, name: str, path: Path) -> None:
        """Copy a member of any size to a new file.

        Raises
        ------
        PackRefused
            The pack has no such member, or it changed since the pack was opened.
        OSError
            The file exists or cannot be written.
        """
        self._entry(name)
        with open(path, "xb") as file:
            self._copy(name, file)

    def _entry(self, name: str) -> Entry:
        if name not in self._digests:
            raise PackRefused(Fault(name, "the pack has no such member"))
        return self._entries[name]

    def _copy(self, name: str, target: BinaryIO) -> None:
        digest = hashlib.sha256()
        for piece in self._content(self._entry(name)):
            digest.update(piece)
            target.write(piece)
        if digest.hexdigest() != self._digests[name]:
            raise PackRefused(Fault(name, "it was changed while the pack was read"))

    def _content(self, entry: Entry) -> Iterator[bytes]:
        self._file.seek(entry.start)
        return _pieces(self._file, entry.size)

    def _signed_digests(self, key: "Ed25519PublicKey") -> dict[str, str]:
        """SHA-256 of each member from the manifest, after its signature was checked."""
        manifest, signature = (self._small_member(name) for name in (MANIFEST, SIGNATURE))
        try:
            key.verify(signature, manifest)
        except InvalidSignature:
            difference = (
                f"its signature was not made with the key given ({fingerprint(key)}): the pack was signed with another "
                "key, or its manifest was changed after signing"
            )
            raise PackRefused(Fault(MANIFEST, difference)) from None
        lines = [_MANIFEST_LINE.fullmatch(line) for line in manifest.splitlines(keepends=True)]
        digests = {line[2].decode(): line[1].decode() for line in lines if line is not None}
        if len(digests) < len(lines):
            raise PackRefused(Fault(MANIFEST, "it is not a list of SHA-256 and names"))
        stored = [name for name in self._entries if name not in (MANIFEST, SIGNATURE)]
        faults = [Fault(name, "it is in the manifest, but not in the pack") for name in digests.keys() - set(stored)]
        faults += [Fault(name, "it is in the pack, but not in the manifest") for name in stored if name not in digests]
        if not faults and [*digests, MANIFEST, SIGNATURE] != list(self._entries):
            faults = [
                Fault(MANIFEST, "the members are in another order than it says, or it and its signature are not last")
            ]
        if faults:
            raise PackRefused(*sorted(faults, key=str))
        return digests

    def _small_member(self, name: str) -> bytes:
        """Content of manifest or signature, which no other member vouches for."""
        if name not in self._entries:
            raise PackRefused(Fault(name, "the pack has no such member, so it is not a signed pack"))
        entry = self._entries[name]
        limit = MAX_MEMBERS * (MAX_NAME + 67)
        if entry.size > limit:
            raise PackRefused(Fault(name, f"it has more than {limit:,} bytes"))
        content = b"".join(self._content(entry))
        if zlib.crc32(content) != entry.crc:
            raise PackRefused(Fault(name, "its content is damaged: it does not fit its CRC-32"))
        return content

    def _member_faults(self) -> Iterator[Fault]:
        for name, expected in self._digests.items():
            digest, crc = hashlib.sha256(), 0
            for piece in self._content(self._entries[name]):
                digest.update(piece)
                crc = zlib.crc32(piece, crc)
            if digest.hexdigest() != expected:
                yield Fault(name, f"its SHA-256 is {digest.hexdigest()}, and the manifest says {expected}")
            elif crc != self._entries[name].crc:
                yield Fault(name, "its content is as signed, but its CRC-32 in the zip is not")


def _pieces(source: BinaryIO, size: int) -> Iterator[bytes]:
    """The next `size` bytes in pieces; fewer where the file ends before."""
    while size > 0 and (piece := source.read(min(size, _PIECE))):
        size -= len(piece)
        yield piece


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        msg = "a name is there twice in one object"
        raise ValueError(msg)
    return entries


def _no_constant(name: str) -> None:
    msg = f"{name} is no number"
    raise ValueError(msg)
