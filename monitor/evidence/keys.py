"""Keys that sign evidence: Ed25519, in the PEM files that openssl writes and reads too.

The private key stays with the programme; auditors get the public one by a way that they trust, and compare its
fingerprint.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from monitor.errors import BadConfiguration, BadData
from monitor.files import open_plain_file

PRIVATE_NAME: Final = "signing.key"
PUBLIC_NAME: Final = "signing.pub"
MAX_KEY_BYTES: Final = 2**14  # largest file that can be a key [byte]


def new_keys(folder: Path) -> Ed25519PublicKey:
    """Write a new key pair: ``signing.key`` (PKCS8, readable by its owner only) and ``signing.pub``, both PEM.

    The folder is created if it does not exist, for its owner only. Raises ``BadConfiguration`` where one of the files
    exists, and ``OSError`` where the folder cannot be written; nothing was written then.
    """
    private, public = folder / PRIVATE_NAME, folder / PUBLIC_NAME
    for path in (private, public):
        if os.path.lexists(path):
            raise BadConfiguration(
                f"{path} exists, and a key is never overwritten: auditors may hold the public key that belongs to it. "
                "Name another folder, or use the key that is there"
            )
    key = Ed25519PrivateKey.generate()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_new(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    try:
        _write_new(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), mode=0o644)
    except BaseException:
        private.unlink()
        raise
    return key.public_key()


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)  # O_EXCL follows no link
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask is
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The Ed25519 public key in a PEM file; else ``BadData``. Messages name the file, and never show any of its
    content.
    """
    with open_plain_file(path) as file:
        pem = file.read(MAX_KEY_BYTES + 1)
    if len(pem) > MAX_KEY_BYTES:
        what = f"it has more than {MAX_KEY_BYTES:,} bytes, and a key about a hundred"
    elif b"PRIVATE KEY" in pem:
        what = f"it is a private key, which nobody but its owner should have; give the public one, {PUBLIC_NAME}"
    else:
        try:
            key = load_pem_public_key(pem)
            if isinstance(key, Ed25519PublicKey):
                return key
            what = f"it is a key of another kind than Ed25519; give {PUBLIC_NAME} of 'regrowth keys new'"
        except (ValueError, UnsupportedAlgorithm):
            what = f"it is not a PEM public key, as {PUBLIC_NAME} of 'regrowth keys new' is"
    raise BadData(f"{str(path)[:200]!r} is not the key to check a pack with: {what}")


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """The private key in a PEM file. Messages never show any of its content.

    Raises ``BadConfiguration`` where it is not an Ed25519 private key without a password.
    """
    try:
        key = load_pem_private_key(pem, password=None)
        if isinstance(key, Ed25519PrivateKey):
            return key
        what = "it is a key of another kind than Ed25519"
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a password
        what = "it is a public key" if b"PUBLIC KEY" in pem else "it is not a PEM private key without a password"
    msg = f"the key that signs evidence cannot be used: {what}; make one with: regrowth keys new DIR"
    raise BadConfiguration(msg)


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of a public key in DER form, in hexadecimal digits.

    ``openssl pkey -pubin -in signing.pub -outform DER | sha256sum`` prints the same.
    """
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"SHA-256 {hashlib.sha256(der).hexdigest()}"
