"""Files that catalogues name by bucket (``s3://``): where they are fetched, and signatures where an account is needed.

An address is signed by its query (AWS Signature Version 4 [1]_): the signature holds for one file of one host and one
hour, so that a redirect carries no credentials elsewhere, and the secret is never sent.

References
----------
.. [1] AWS, "Authenticating requests: using query parameters,"
   https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from monitor.errors import BadConfiguration

PUBLIC: Final = {"dea-public-data": "https://dea-public-data.s3.ap-southeast-2.amazonaws.com/"}
"""Address of each bucket that anyone may read."""
SIGNED: Final = {"eodata": "https://eodata.dataspace.copernicus.eu/eodata/"}
"""Address of each bucket that needs an account: that of the Copernicus Data Space, by its documentation of S3."""
ACCOUNT_DOMAIN: Final = ".dataspace.copernicus.eu"  # ending of hosts of catalogues with files in such a bucket
ACCOUNT_CONNECTIONS: Final = 4  # most requests at one time; the quota of such a bucket, which then answers 429
REGION: Final = "default"  # region in the signatures for those buckets
VALID_FOR: Final = 3600  # time for which a signature is valid [s]
ADVICE: Final = (
    "set REGROWTH_S3_KEY and REGROWTH_S3_SECRET to S3 credentials of your account that have not expired "
    "(https://eodata-s3keysmanager.dataspace.copernicus.eu), and check the clock of this machine"
)


def fetched_address(href: str) -> str:
    """Address at which a file is fetched, ``https`` for a known bucket; every other address stays as it is.

    >>> fetched_address("s3://dea-public-data/baseline/a b.tif")
    'https://dea-public-data.s3.ap-southeast-2.amazonaws.com/baseline/a%20b.tif'
    """
    bucket, _, key = href.removeprefix("s3://").partition("/")
    address = (PUBLIC | SIGNED).get(bucket) if href.startswith("s3://") else None
    return href if address is None else address + quote(key)


def needs_account(href: str) -> bool:
    """Whether a file is in a bucket of an account; `href` as in a catalogue, or of :func:`fetched_address`."""
    return fetched_address(href).startswith(tuple(SIGNED.values()))


@dataclass(frozen=True, slots=True)
class S3Account:
    """Signs addresses of buckets with the credentials of an account."""

    key: str = field(repr=False)  # access key; empty: credentials are missing
    secret: str = field(repr=False)

    def __call__(self, href: str, renew: bool) -> str:
        """An address with a new signature, that of another host as it is; BadConfiguration without credentials."""
        if not needs_account(href):
            return href
        if not (self.key and self.secret):
            raise BadConfiguration(f"{urlsplit(href).netloc} gives files to accounts only; {ADVICE}")
        return self.signed(href, datetime.now(UTC))

    def signed(self, href: str, time: datetime, *, region: str = REGION, valid_for: int = VALID_FOR) -> str:
        """An address signed at a time, UTC, for a region and a number of seconds."""
        parts, stamp = urlsplit(href), f"{time:%Y%m%dT%H%M%SZ}"
        scope = f"{time:%Y%m%d}/{region}/s3/aws4_request"
        query = urlencode({
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{self.key}/{scope}", "X-Amz-Date": stamp,
            "X-Amz-Expires": valid_for, "X-Amz-SignedHeaders": "host",
        })  # fmt: skip
        request = f"GET\n{parts.path}\n{query}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = _hmac(key, part)
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        return f"{href}?{query}&X-Amz-Signature={_hmac(key, text).hex()}"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
