"""Keys that sign evidence: made once, never overwritten, never shown."""

import os
import shutil
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_elliptic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa

from monitor.errors import BadConfiguration, BadData
from monitor.evidence.keys import fingerprint, new_keys, private_key, read_public_key


def private_pem(key, encryption=None):
    return key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption or pem.NoEncryption())


def public_pem(key):
    return key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)


ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RSA = new_rsa(65537, 2048)
ELLIPTIC = new_elliptic(SECP256R1())


def test_a_new_pair_belongs_together_and_only_its_owner_may_read_the_private_key(tmp_path):
    umask = os.umask(0)
    try:
        public = new_keys(tmp_path / "new" / "keys")
    finally:
        os.umask(umask)
    private_file, public_file = (tmp_path / "new" / "keys" / name for name in ("signing.key", "signing.pub"))
    private = private_key(private_file.read_bytes())
    assert private.public_key() == public == read_public_key(public_file)
    assert stat.S_IMODE(private_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(public_file.stat().st_mode) == 0o644
    assert private_file.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")


@pytest.mark.parametrize("name", ["signing.key", "signing.pub"])
@pytest.mark.parametrize("kind", ["file", "link to nothing"])
def test_a_key_is_never_overwritten(tmp_path, name, kind):
    taken = tmp_path / name
    if kind == "file":
        taken.write_bytes(b"mine")
    else:
        taken.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadConfiguration, match=f"{name} exists, and a key is never overwritten"):
        new_keys(tmp_path)
    assert os.listdir(tmp_path) == [name]


def test_a_pair_that_cannot_be_completed_leaves_nothing(tmp_path, monkeypatch):
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: real(path, *rest) if "pub" not in str(path) else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        new_keys(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_reads_both_and_gives_the_same_fingerprint(tmp_path):
    public = new_keys(tmp_path)
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", tmp_path / "signing.pub", "-outform", "DER"],
        check=True,
        capture_output=True,
    )
    digest = subprocess.run(["sha256sum"], input=der.stdout, check=True, capture_output=True).stdout.split()[0].decode()
    assert fingerprint(public) == f"SHA-256 {digest}"
    again = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "signing.key", "-pubout"], check=True, capture_output=True
    )
    assert again.stdout == (tmp_path / "signing.pub").read_bytes()


@pytest.mark.parametrize(("content", "message"), [
    (private_pem(ED25519), "it is a private key, which nobody but its owner should have"),
    (private_pem(ED25519, pem.BestAvailableEncryption(b"x")), "it is a private key"),
    (public_pem(RSA), "another kind than Ed25519"),
    (public_pem(ELLIPTIC), "another kind than Ed25519"),
    (b"", "it is not a PEM public key"),
    (b"\0\xff" * 40, "it is not a PEM public key"),
    (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "it is not a PEM public key"),
    (public_pem(ED25519) + b"\n" * 20_000, "more than 16,384 bytes"),
])  # fmt: skip
def test_a_file_that_is_not_a_public_key_is_named_and_not_shown(tmp_path, content, message):
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(BadData, match=message) as error:
        read_public_key(file)
    assert "BEGIN" not in str(error.value)
    assert not any(line in str(error.value).encode() for line in content.split() if len(line) > 20)


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "device", "link to itself", "huge"])
def test_what_cannot_be_a_key_file_is_refused_at_once(tmp_path, kind):
    file = tmp_path / "key"
    match kind:
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
        case "link to itself":
            file.symlink_to(file)
        case "huge":
            with open(file, "wb") as made:
                made.truncate(2**40)
    with pytest.raises(BadData, match="key"):
        read_public_key(file)


def test_a_public_key_behind_a_link_is_read(tmp_path):
    new_keys(tmp_path)
    (tmp_path / "link").symlink_to("signing.pub")
    assert read_public_key(tmp_path / "link") == read_public_key(tmp_path / "signing.pub")


@pytest.mark.parametrize(("content", "message"), [
    (public_pem(ED25519), "it is a public key"),
    (private_pem(ED25519, pem.BestAvailableEncryption(b"x")), "without a password"),
    (private_pem(RSA), "another kind than Ed25519"),
    (b"hunter2", "it is not a PEM private key"),
])  # fmt: skip
def test_content_that_is_not_a_private_key_is_named_with_the_fix_and_not_shown(content, message):
    with pytest.raises(BadConfiguration, match=f"{message}.*regrowth keys new DIR") as error:
        private_key(content)
    assert not any(line in str(error.value).encode() for line in content.split() if len(line) > 6)
