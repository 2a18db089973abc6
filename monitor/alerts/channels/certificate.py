"""Trusted servers: those whose certificate the system's authorities have signed, and until when it is valid."""

import socket
import ssl
from datetime import UTC, datetime
from typing import Final

from monitor.errors import BadConfiguration, TryLater

TIMEOUT: Final = 10.0  # longest time to wait for a connection [s]


def system_trust() -> ssl.SSLContext:
    """The authorities that the system trusts, or those in the file that ``SSL_CERT_FILE`` names.

    Not strict about the form of certificates, which Python is from 3.13 on and other programs of the system are not:
    many authorities of companies lack a key identifier.
    """
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def connection_fault(error: Exception) -> str | None:
    """Why a server is not reached or not trusted, after its name; None: another error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"has a certificate that is not trusted ({error.verify_message}), so nothing was sent; add its authority "
            "to those of the system, or name a file of authorities by SSL_CERT_FILE"
        )
    if isinstance(error, ssl.SSLError):
        return "cannot be reached by TLS"
    return "is a host without address" if isinstance(error, socket.gaierror | UnicodeError) else None


def certificate_end(host: str, port: int) -> datetime:
    """End of the validity of the certificate of a server, UTC.

    Raises ``BadConfiguration`` where it is refused (expired, for another name, or not signed by a trusted authority),
    and ``TryLater`` where the server does not answer.
    """
    try:
        with (
            socket.create_connection((host, port), timeout=TIMEOUT) as plain,
            system_trust().wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        raise BadConfiguration(f"the certificate of {host} is refused: {error.verify_message}") from error
    except OSError as error:
        raise TryLater(f"{host} does not answer over TLS ({error.strerror or error})") from error
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
