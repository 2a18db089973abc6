"""Addresses from catalogues: which ones may be fetched, how they are joined and displayed.

An address in a catalogue is untrusted input. Only https and http addresses are fetched, from hosts whose every IP
address is public, or from hosts that the configuration allows. Local files are read only below folders that the
configuration allows. Addresses are displayed without their query, which may contain a signature.
"""

import ipaddress
import os.path
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from monitor.errors import BadConfiguration
from monitor.imagery.fetch_errors import FetchRefused

_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")  # a host, or host and port
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")  # the only public IPv6 addresses (RFC 4291, section 2.4)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses as networks without IPv4 write them (RFC 6052)
_NOT_PUBLIC: Final = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "2001::/32", "2002::/16", "3fff::/20"))
)
"""Networks that ``ipaddress`` calls global, at least in some versions: protocol assignments, relays of 6to4, multicast,
Teredo and 6to4 (tunnels to an IPv4 address inside), documentation."""
_METADATA_SERVICES: Final = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192"))
)
"""Metadata services that are not link-local: of AWS and Google by IPv6, of Alibaba Cloud, of Oracle."""


@dataclass(frozen=True, slots=True)
class AllowList:
    """Private hosts and local folders that the configuration allows in addition to public hosts."""

    hosts: frozenset[str] = frozenset()  # `host` or `host:port`, lower case
    folders: tuple[Path, ...] = ()
    section: str = "[source]"  # section of the configuration that they come from, for messages

    @classmethod
    def of_hosts(cls, names: Iterable[str], section: str) -> "AllowList":
        """Read ``allow_hosts`` of a section that allows no folders; BadConfiguration if a name is not a host."""
        hosts = frozenset(name.strip().lower() for name in names)
        for name in hosts:
            if not _HOST.fullmatch(name):
                raise BadConfiguration(f"{section} allow_hosts: {display_address(name)!r} is not a host or host:port")
        return cls(hosts, section=section)

    @classmethod
    def parse(cls, names: Iterable[str]) -> "AllowList":
        """Read ``allow_hosts``: a name with a slash, or of an existing folder, is a folder; every other is a host.

        Raises BadConfiguration if a name is neither.
        """
        hosts: set[str] = set()
        folders: list[Path] = []
        for name in names:
            text = name.removeprefix("file://")
            if not text.strip():
                raise BadConfiguration("allow_hosts: an empty name is neither host nor folder")
            is_folder = Path(text).is_dir() or text in (".", "..")
            if _HOST.fullmatch(text) and not is_folder:
                hosts.add(text.lower())
            elif "/" in text or "\\" in text or is_folder:
                if "://" in text:
                    raise BadConfiguration(
                        f"allow_hosts: {display_address(name)!r} is an address; "
                        "write only its host, as in '127.0.0.1:8080'"
                    )
                folders.append(Path(text).expanduser().resolve())
            else:
                raise BadConfiguration(f"allow_hosts: {name[:80]!r} is not a host, host:port or folder")
        return cls(frozenset(hosts), tuple(folders))

    def allows_host(self, host: str, port: int) -> bool:
        """Whether a host is allowed, on any port or on this one."""
        spelled = f"[{host}]" if ":" in host else host
        return spelled in self.hosts or f"{spelled}:{port}" in self.hosts

    def resolve_path(self, path: Path) -> Path:
        """The real path of a file or folder; FetchRefused if it is in no allowed folder, or cannot be resolved."""
        try:
            real = os.path.realpath(path)  # as text, which is faster: a catalogue may name thousands of files
        except (OSError, RuntimeError, ValueError) as error:
            raise FetchRefused(f"{display_address(str(path))!r} is a path that cannot be resolved") from error
        if not any(f"{real}/".startswith(os.path.join(folder, "")) for folder in self.folders):
            folder = real if os.path.isdir(real) else os.path.dirname(real)
            raise FetchRefused(
                f"local file {display_address(str(path))!r} is refused, since it is in no allowed folder; "
                f'if it is intended, add allow_hosts = ["{display_address(folder)}"] to [source]'
            )
        return Path(real)

    def resolve_host(self, host: str, port: int) -> list[str]:
        """IP addresses of a host.

        Raises FetchRefused if any of them is private, local or reserved and the host is not allowed, and
        ``socket.gaierror`` if the name server has none.
        """
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ips = [str(address[0]).partition("%")[0] for *_, address in infos]
        if not self.allows_host(host.lower(), port) and not all(map(is_public, ips)):
            msg = f"host {display_address(host)!r} has a private, local or reserved address, which is refused; "
            if any(map(is_metadata_service, ips)):
                msg += "it is one at which clouds give out the credentials of their machines: name another address"
            else:
                msg += self._how_to_allow(host, port)
            raise FetchRefused(msg)
        return ips

    def check_behind_proxy(self, host: str, port: int) -> None:
        """Check a host whose name a proxy looks up, and perhaps nobody else can.

        Raises FetchRefused, unless it is allowed, if any of its IP addresses is private, local or reserved, or if it
        has none here and the name of a machine of a local network.
        """
        try:
            self.resolve_host(host, port)
        except socket.gaierror:
            name = host.lower().rstrip(".")
            if not self.allows_host(host.lower(), port) and ("." not in name or name.endswith(LOCAL_NAMES)):
                msg = f"host {display_address(host)!r} has the name of a machine of a local network, which is refused; "
                raise FetchRefused(msg + self._how_to_allow(host, port)) from None

    def _how_to_allow(self, host: str, port: int) -> str:
        return f'if it is intended, add allow_hosts = ["{display_address(host)}:{port}"] to {self.section}'


LOCAL_NAMES: Final = (".local", ".localhost", ".internal", ".intranet", ".lan", ".home", ".corp", ".home.arpa")
"""Endings of names that only a local network knows (RFC 6762, RFC 8375 and custom)."""


def is_public(ip: str) -> bool:
    """Whether an IP address is globally reachable, also the IPv4 address inside an IPv6 one."""
    address = _without_wrapping(ip)
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not any(address in network for network in _NOT_PUBLIC)


def is_metadata_service(ip: str) -> bool:
    """Whether an IP address is link-local, or one at which a cloud gives out credentials of its machines."""
    address = _without_wrapping(ip)
    return address.is_link_local or address in _METADATA_SERVICES


def _without_wrapping(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IP address; of an IPv6 one that only carries an IPv4 address, that one."""
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address
    return address


def parse_url(url: str) -> SplitResult:
    """Parts of a URL; its host is not looked up.

    Raises FetchRefused if it is not http or https, or has no host, port 0, a user or a password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        _refuse(url, "is not a valid address")
    if parts.scheme not in ("http", "https"):
        _refuse(url, f"has the scheme {parts.scheme[:20]!r}; only https and http are fetched")
    if not host:
        _refuse(url, "names no host")
    if parts.username is not None or parts.password is not None:
        _refuse(url, "contains a user or password")
    if port == 0:
        _refuse(url, "has port 0")
    return parts


def endpoint(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port."""
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def display_address(address: str) -> str:
    """An address or path as shown in messages: no query, no user, no control characters, at most 160 characters.

    >>> display_address("https://me:secret@host/a.tif?sig=abc#x")
    'https://host/a.tif'
    """
    text = "".join(letter for letter in address if letter.isprintable())
    try:
        parts = urlsplit(text)
    except ValueError:
        return re.split(r"[?#@]", text)[0][:120]
    if parts.netloc:
        text = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    else:
        text = re.split(r"[?#]", text)[0]
    return text if len(text) <= 160 else f"{text[:100]}...{text[-50:]}"


def is_remote(address: str) -> bool:
    """Whether an address has a scheme other than ``file``."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", address)  # a single letter is a drive
    return bool(scheme) and scheme[1].lower() != "file"  # type: ignore[index]


def join_address(base: str, reference: str) -> str:
    """An address or path, relative to the address or path of the document that contains it."""
    if is_remote(reference) or reference.startswith("file:"):
        return reference
    if is_remote(base):
        return urljoin(base, reference)
    # Normalised, so that a catalogue that links back to itself is recognised.
    return os.path.normpath(os.path.join(os.path.dirname(local_path(base)), reference))


def local_path(address: str) -> str:
    """The path in a ``file:`` address; a plain path is returned unchanged."""
    if not address.startswith("file:"):
        return address
    parts = urlsplit(address)
    return unquote(parts.path) if parts.netloc in ("", "localhost") else f"//{parts.netloc}{unquote(parts.path)}"


def _refuse(url: str, why: str) -> NoReturn:
    raise FetchRefused(f"address {display_address(url)!r} {why}")
