"""The zip of an evidence pack: written with manifest and signature, opened after every byte of it was checked.

Members are not compressed. The last two are the manifest, which lists the SHA-256 of all others in the form of
``sha256sum``, and its Ed25519 signature [1]_. Headers and directory are those that Python writes for members of these
names and this content, with a fixed date and fixed attributes: the reader writes the zip again and compares. So no byte
of the file is free, and links, padding and whatever else a zip can hold cannot occur.

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
import stat
import struct
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, Self

from cryptography.exceptions import InvalidSignature

from monitor.errors import BadData
from monitor.evidence.faults import LAYOUT, Fault, PackRefused
from monitor.evidence.keys import fingerprint
from monitor.files import appearing, open_plain_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT: Final = 3
"""Version of the layout and of the members of a pack; ``environment.json`` has it as ``format``."""
MANIFEST: Final = "manifest-sha256.txt"
SIGNATURE: Final = f"{MANIFEST}.sig"
MAX_MEMBERS: Final = 20_000
"""Members of a pack: those of 10,000 ha and ten years are some thousand chunks of pixels."""
MAX_NAME: Final = 80  # longest name of a member [character]
MAX_BYTES: Final = 2**25  # largest member [byte]

_NAME: Final = re.compile(r"[a-z0-9]+(?:[._/-][a-z0-9]+)*")
"""Names of members: relative, and the same on every system."""
_MAX_DIRECTORY: Final = MAX_MEMBERS * (46 + MAX_NAME + 28)
"""Size of the directory of a zip of so many members. [byte]"""
_MALFORMED: Final = (
    zipfile.BadZipFile, EOFError, IndexError, OSError, OverflowError, RuntimeError, ValueError, struct.error,
)  # fmt: skip
"""Errors of zipfile about a malformed zip; OSError: a place before the begin of the file."""


def _header(name: str) -> zipfile.ZipInfo:
    """Header of a member, but for its size and CRC-32."""
    header = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    header.create_system, header.create_version, header.extract_version = 3, 20, 20
    header.external_attr = (stat.S_IFREG | 0o644) << 16
    return header


def write_container(path: Path, members: Iterable[tuple[str, bytes]], key: "Ed25519PrivateKey") -> None:
    """Write a pack in one atomic step, in place of an older one. The same members and key give the same bytes.

    `members` are names and contents, in the order of the pack, without manifest and signature, which are added. Raises
    ``ValueError`` where a name is invalid or occurs twice, a member is too large, or there are too many; and
    ``OSError`` where the disk is full, or `path` is a folder or cannot be written: an old pack is untouched.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with appearing(path) as partial, open(partial, "wb") as file:
        _write(file, members, key.sign)


def _write(file: Any, members: Iterable[tuple[str, bytes]], sign: Callable[[bytes], bytes]) -> None:
    digests: dict[str, str] = {}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            if not _is_name(name) or name in digests or name in (MANIFEST, SIGNATURE):
                msg = f"{name!r} is not the name of a member, or occurs twice; names consist of a-z, 0-9 and ._/-"
                raise ValueError(msg)
            if len(digests) == MAX_MEMBERS or len(content) > MAX_BYTES:
                raise ValueError(f"{name}: a pack has at most {MAX_MEMBERS:,} members of {MAX_BYTES:,} bytes")
            archive.writestr(_header(name), content)
            digests[name] = hashlib.sha256(content).hexdigest()
        manifest = "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()
        archive.writestr(_header(MANIFEST), manifest)
        archive.writestr(_header(SIGNATURE), sign(manifest))


def _is_name(name: str) -> bool:
    return len(name) <= MAX_NAME and _NAME.fullmatch(name) is not None


class Container:
    """A pack whose layout, signature by a key and members were all checked when it was opened. Nothing is written.

    The content of a member is checked again whenever it is read, so that a pack that someone changes in the meantime is
    noticed. It is closed at the end of a ``with`` block. Raises ``PackRefused`` where the file is not a pack, or
    differs in anything from what was signed: every member that differs is named; and ``BadData`` where it does not
    exist, cannot be read, or is a folder, pipe or device.
    """

    def __init__(self, path: Path, key: "Ed25519PublicKey") -> None:
        self._file = open_plain_file(path)
        try:
            self._archive = _open_zip(self._file)
            self._sizes = {member.filename: member.file_size for member in self._archive.infolist()}
            manifest, signature = self._content(MANIFEST), self._content(SIGNATURE)
            _check_signature(key, manifest, signature)
            lines = manifest.decode("ascii", "backslashreplace").splitlines()
            self._digests = {line[66:]: line[:64] for line in lines}
            self._compare(signature)
        except OSError as error:
            self._file.close()
            raise BadData(f"{path} cannot be read: {error.strerror or error}") from None
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
        return sum(self._sizes.values())

    def read(self, name: str) -> bytes:
        """Content of a member; ``PackRefused``: the pack has none, or it changed since the pack was opened."""
        content = self._content(name)
        digest, signed = hashlib.sha256(content).hexdigest(), self._digests.get(name)
        if digest != signed:
            raise PackRefused(Fault(name, f"its SHA-256 is {digest}, and the manifest says {signed}"))
        return content

    def read_json(self, name: str) -> Any:
        """Content of a JSON member, which has to mean the same to every reader: UTF-8, no name twice, no NaN.

        Raises ``PackRefused`` as :meth:`read` does, or where it is not such JSON.
        """
        try:
            return json.loads(self.read(name).decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise PackRefused(Fault(name, f"it is not JSON that every program reads alike: {error}")) from None

    def _content(self, name: str) -> bytes:
        if name not in self._sizes:
            raise PackRefused(Fault(name, "the pack has no such member"))
        try:
            return self._archive.read(name)
        except _MALFORMED as error:
            raise PackRefused(Fault(name, f"its content or its header is not as signed: {error}")) from None

    def _compare(self, signature: bytes) -> None:
        """Compare every member with the manifest, and every byte of the file with what these members make."""
        faults: list[Fault] = []
        for name in dict.fromkeys([*self._digests, *self._sizes]):
            try:
                if name not in (MANIFEST, SIGNATURE):
                    self.read(name)
            except PackRefused as error:
                faults += error.faults
        if faults:
            raise PackRefused(*faults)
        same = _Comparison(self._file)
        _write(same, ((name, self.read(name)) for name in self._digests), lambda _: signature)
        if same.different or same.tell() != self._file.seek(0, os.SEEK_END):
            _refuse(f"byte {min(same.different, default=same.tell()):,} or one behind is not that of a pack")


def _check_signature(key: "Ed25519PublicKey", manifest: bytes, signature: bytes) -> None:
    try:
        key.verify(signature, manifest)
    except InvalidSignature:
        difference = (
            f"its signature was not made with the key given ({fingerprint(key)}): the pack was signed with another "
            "key, or its manifest was changed after signing"
        )
        raise PackRefused(Fault(MANIFEST, difference)) from None


class _Comparison(io.RawIOBase):
    """Compares the bytes that would be written to a file with those in the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0
        self.different: set[int] = set()
        """Where different bytes were written; bytes that are written twice count as they are in the end."""

    def write(self, data: Any) -> int:
        self._file.seek(self._at)
        (self.different.discard if self._file.read(len(data)) == data else self.different.add)(self._at)
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset
        return self._at

    def tell(self) -> int:
        return self._at


def _open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """Read the directory of a zip, and refuse members that no pack has; none is read or extracted."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 98, 0))
    end = file.read().rjust(98, b"\0")
    directory = end[40:48] if end[-42:-38] == b"PK\6\7" else end[-10:-6]
    if end[-22:-18] != b"PK\5\6" or int.from_bytes(directory, "little") > _MAX_DIRECTORY:
        _refuse("it does not end as a pack does: it is not one, or was cut short or changed on its way, as mails are")
    try:
        archive = zipfile.ZipFile(file)
    except _MALFORMED as error:
        _refuse(f"it is not a zip of a pack: {error}")
    known: set[str] = set()
    left = size
    for member in archive.infolist():
        name, problem = member.orig_filename, None
        left -= member.file_size
        if not _is_name(name):
            problem = "has a name that no member of a pack can have: check the pack as sent"
        elif name in known or len(known) == MAX_MEMBERS + 2:
            problem = f"is there twice, or one of more than {MAX_MEMBERS:,}"
        elif member.compress_type or member.flag_bits or member.external_attr != _header(name).external_attr:
            problem = "is compressed, encrypted, a link or a folder, or was packed again: check the pack as sent"
        elif member.file_size > MAX_BYTES or left < 0:
            problem = f"has {member.file_size:,} bytes: more than {MAX_BYTES:,}, or than the file has left"
        if problem is not None:
            _refuse(f"member {name[:MAX_NAME]!r} {problem}")
        known.add(name)
    return archive


def _refuse(difference: str) -> NoReturn:
    raise PackRefused(Fault(LAYOUT, difference))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name is there twice in one object")
    return entries


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")
