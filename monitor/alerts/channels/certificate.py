"""The end of validity of the TLS certificate of an address."""

import socket
import ssl
from datetime import UTC, datetime
from typing import Final

from monitor.alerts.channels.trust import system_trust
from monitor.errors import BadConfiguration, TryLater

TIMEOUT: Final = 10.0  # longest time to wait for a connection [s]


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
