"""A certificate for 127.0.0.1 and localhost, and the authority that signs it.

certificate = make_certificate(tmp_path)
monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))     # now it is trusted
MailServer(certificate=certificate)
"""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate."""

    authority: Path
    """What to trust."""
    chain: Path
    """Key and certificate of the server."""

    def server_context(self) -> ssl.SSLContext:
        """Settings of a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain)
        return context


def make_certificate(
    folder: Path, *, names: tuple[str, ...] = ("localhost", "127.0.0.1"), key_ids: bool = True
) -> Certificate:
    """Write a new authority and a certificate that it signs, valid for a day; `key_ids`: with key identifiers."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server of a test")])
    authority = _signed(
        issuer, issuer, authority_key.public_key(), authority_key, authority=True, names=(), key_ids=key_ids
    )
    certificate = _signed(
        subject, issuer, key.public_key(), authority_key, authority=False, names=names, key_ids=key_ids
    )
    pem = serialization.Encoding.PEM
    chain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "authority.pem").write_bytes(authority.public_bytes(pem))
    (folder / "server.pem").write_bytes(chain + certificate.public_bytes(pem))
    return Certificate(folder / "authority.pem", folder / "server.pem")


def _signed(subject, issuer, public_key, signer, *, authority, names, key_ids):
    now = datetime.now(UTC)
    signer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=authority, crl_sign=authority, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    if key_ids:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        builder = builder.add_extension(signer_id, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), False)
    return builder.sign(signer, hashes.SHA256())


def _general_name(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
