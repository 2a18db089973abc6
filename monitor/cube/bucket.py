"""Where landscapes are stored: in a folder, or under a prefix of a bucket that speaks S3.

A root of stores and the landscapes in it are a :data:`Place`: a Path, or a BucketFolder, of which `root / name` is a
landscape too. Credentials and whatever a BucketFolder does not say come from the environment variables of AWS, which
the libraries read; they are in no object and no message. Libraries are imported when a bucket is used, not before.
"""

import ipaddress
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from monitor.errors import BadConfiguration, TryLater
from monitor.files import make_private_folder

DERIVED_FOLDER: Final = "derived"  # folder next to the landscapes for results that can be computed again from them
SCHEME: Final = "s3://"
LOCAL_FOLDER: Final = ".store"  # folder in the output root for what belongs to stores in a bucket and can be made again
TRIES: Final = 5  # times that a request is sent which the service does not answer, or answers with a server error
_ADDRESS: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\w./=+-]*))?", re.ASCII)
_LANDSCAPE: Final = re.compile(r"\d{5}-(-?\d+-){2}.+-[0-9a-f]{8}", re.ASCII)
"""Name of a landscape, see :func:`monitor.sites.landscapes.landscape_name`."""
_PROBLEMS: Final = (
    ("NoSuchBucket|NO_SUCH_BUCKET", "the bucket does not exist: create it, or correct [store] root and endpoint_url"),
    (
        "InvalidAccessKeyId|INVALID_ACCESS_KEY_ID|SignatureDoesNotMatch|SIGNATURE_DOES_NOT_MATCH|ExpiredToken|"
        "InvalidToken|INVALID_CLIENT_TOKEN_ID",
        "its service does not accept the credentials: correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        "AccessDenied|ACCESS_DENIED|status 403",
        "access is denied: the key needs the rights to list the bucket, and to read, write and delete objects under "
        "the prefix (s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject)",
    ),
    (
        "PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint|status 301",
        "it is not in this region: correct [store] region, or AWS_REGION",
    ),
    (
        "NotImplemented|status 501",
        "its service refuses a request that was sent, perhaps a conditional write: see docs/bucket.md, and set [store] "
        "conditional_writes = false if that is so",
    ),
)
"""Correction that a person must make, by the code in the message of icechunk or pyarrow."""
_DAMAGE: Final = re.compile("NoSuchKey|checksum")
_NO_ANSWER: Final = re.compile("service error|dispatch failure|timeout|timed out|streaming error|AWS Error|Conflict")


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketFolder:
    """The objects of a bucket under a prefix, used as the Path of a folder is."""

    bucket: str
    prefix: str  # without `/` at its ends; empty: the whole bucket
    local: Path  # folder of this machine for what can be made again: derived results
    endpoint_url: str = ""  # address of the service; empty: `AWS_ENDPOINT_URL`, else that of AWS
    region: str = ""  # empty: `AWS_REGION`, else `us-east-1`
    path_style: bool = True  # whether the bucket is in the path of addresses of `endpoint_url`, not in the host name
    conditional_writes: bool = True  # whether icechunk writes on condition that nobody else has; some refuse that

    @classmethod
    def parse(cls, address: str, local: Path) -> "BucketFolder":
        """The folder of an address ``s3://bucket/prefix``; ValueError says what is wrong with another one."""
        match = _ADDRESS.fullmatch(address)
        prefix = (match[2] or "").strip("/") if match else ""
        if match is None or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
            msg = f"{address[:200]!r} is not the address of a bucket; write for instance s3://my-bucket/regrowth"
            raise ValueError(msg)
        return cls(bucket=match[1], prefix=prefix, local=local)

    def __truediv__(self, name: str) -> "BucketFolder":
        return replace(self, prefix=f"{self.prefix}/{name}".strip("/"))

    def __str__(self) -> str:
        return f"{SCHEME}{self.key}"

    @property
    def key(self) -> str:
        """Bucket and prefix."""
        return f"{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def name(self) -> str:
        """Last part of the prefix."""
        return self.prefix.rpartition("/")[2]

    @property
    def parent(self) -> "BucketFolder":
        """The folder that has this one."""
        return replace(self, prefix=self.prefix.rpartition("/")[0])

    def is_dir(self) -> bool:
        """Whether it holds any object; errors as for :func:`landscape_folders`."""
        return bool(self.entries())

    def entries(self, *, recursive: bool = False) -> list[Any]:
        """``pyarrow.fs.FileInfo`` of the folders and objects in it, or of all objects below it; none if it is missing.

        Errors as for :func:`landscape_folders`.
        """
        from pyarrow.fs import FileSelector

        try:
            return list(self.filesystem().get_file_info(FileSelector(self.key, recursive=recursive)))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise explained(error, self) from error

    def check_writing(self) -> None:
        """Write a small object, and delete it; errors as for :func:`landscape_folders`."""
        probe, filesystem = self / ".probe", self.filesystem()
        try:
            with filesystem.open_output_stream(f"{probe.key}/object") as file:
                file.write(b" ")
            filesystem.delete_dir(probe.key)
        except OSError as error:
            raise explained(error, self) from error

    def remove(self) -> None:
        """Delete all objects in it."""
        if self.is_dir():
            self.filesystem().delete_dir(self.key)

    def filesystem(self) -> Any:
        """``pyarrow.fs.S3FileSystem`` of the service."""
        from pyarrow.fs import S3FileSystem
        from requests.utils import get_environ_proxies

        address = self.endpoint or f"https://s3.{self._region}.amazonaws.com"
        proxy = get_environ_proxies(address).get(urlsplit(address).scheme)  # icechunk uses it by itself
        return S3FileSystem(
            region=self._region, endpoint_override=self.endpoint or None, proxy_options=proxy,
            force_virtual_addressing=not self.path_style, connect_timeout=10, request_timeout=60,
            allow_delayed_open=True,
        )  # fmt: skip

    def storage(self) -> Any:
        """``icechunk.Storage`` of a repository in it."""
        import icechunk

        return icechunk.s3_storage(
            bucket=self.bucket, prefix=self.prefix, region=self._region, endpoint_url=self.endpoint or None,
            allow_http=self.endpoint.startswith("http:"), from_env=True,
            force_path_style=bool(self.endpoint) and self.path_style,
        )  # fmt: skip

    def storage_settings(self) -> Any:
        """``icechunk.StorageSettings``: how long a request is tried, and whether writes are conditional."""
        import icechunk

        return icechunk.StorageSettings(
            retries=icechunk.StorageRetriesSettings(max_tries=TRIES, initial_backoff_ms=200, max_backoff_ms=5000),
            timeouts=icechunk.StorageTimeoutSettings(connect_timeout_ms=10_000, operation_attempt_timeout_ms=120_000),
            unsafe_use_conditional_create=self.conditional_writes,
            unsafe_use_conditional_update=self.conditional_writes,
        )

    @property
    def endpoint(self) -> str:
        """Address of the service; empty: that of AWS."""
        environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        return self.endpoint_url or environment

    @property
    def _region(self) -> str:
        return self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


type Place = Path | BucketFolder  # a root of stores, or a landscape in it


def local_folder(root: Place) -> Path:
    """The folder of this machine that belongs to a root of stores: the root itself where it is one."""
    return root if isinstance(root, Path) else root.local


def landscape_folders(root: Place) -> list[Place]:
    """Places of the landscapes under a root, in order of their names; none if the root does not exist.

    Whatever else is there, such as other stores under a longer prefix, has another name and is left alone. Raises
    BadConfiguration for a bucket that does not exist, is in another region, or cannot be listed with these credentials,
    and TryLater if its service fails or cannot be reached.
    """
    return [one for one in folders_in(root) if _LANDSCAPE.fullmatch(one.name)]


def move(folder: Place, target: Place) -> None:
    """Move a folder to another one under the same root; in a bucket everything is copied, then deleted.

    Raises BadConfiguration, TryLater or OSError if it cannot be written; nothing is lost then.
    """
    if isinstance(folder, Path):
        assert isinstance(target, Path)
        make_private_folder(target.parent)
        folder.rename(target)
        return
    assert isinstance(target, BucketFolder)
    filesystem = folder.filesystem()
    try:
        for entry in folder.entries(recursive=True):
            if entry.is_file:
                filesystem.copy_file(entry.path, target.key + entry.path.removeprefix(folder.key))
        filesystem.delete_dir(folder.key)
    except OSError as error:
        raise explained(error, folder) from error


def size_of(place: Place) -> int:
    """Size of all that is in a folder. [byte]"""
    if isinstance(place, Path):
        return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return sum(entry.size or 0 for entry in place.entries(recursive=True))


def is_this_machine(host: str) -> bool:
    """Whether a host is the loopback interface: what is sent to it needs no encryption."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def folders_in(place: Place) -> list[Place]:
    """All folders in a folder, in order of their names; errors as for :func:`landscape_folders`."""
    if isinstance(place, Path):
        names = [path.name for path in place.iterdir() if path.is_dir()] if place.is_dir() else []
    else:
        names = [entry.base_name for entry in place.entries() if not entry.is_file]
    return [place / name for name in sorted(names)]


def explained(error: Exception, folder: BucketFolder) -> Exception:
    """Error to raise for one of icechunk or pyarrow: BadConfiguration or TryLater if the service caused it, else it."""
    text = str(error)
    for codes, advice in _PROBLEMS:
        if re.search(codes, text):
            return BadConfiguration(f"the bucket of {folder} cannot be used: {advice}. Nothing in it was changed")
    if not _DAMAGE.search(text) and _NO_ANSWER.search(text):
        cause = next(iter(text.splitlines()))[:200]
        return TryLater(f"the bucket of {folder} cannot be reached ({cause}): try again later; nothing is lost")
    return error
