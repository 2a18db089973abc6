"""Trusted servers: those whose certificate the system's authorities have signed."""

import ssl


def system_trust() -> ssl.SSLContext:
    """The authorities that the system trusts, or those in the file that ``SSL_CERT_FILE`` names.

    Not strict about the form of certificates, which Python is from 3.13 on and other programs of the system are not:
    many authorities of companies lack a key identifier.
    """
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
