"""Read the bytes of a scene's files, at signed addresses where the provider requires it."""

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from monitor.errors import BROKEN_SCENE, MISSING_FILE, UNANSWERED_FILE, BadConfiguration, SceneRejected, TryLater
from monitor.imagery.addresses import display_address, is_remote, join_address
from monitor.imagery.byte_ranges import LocalFile, RemoteFile
from monitor.imagery.fetch_errors import AccessDenied, FetchError, FetchRefused, NotFound, RequestRejected
from monitor.imagery.stac import buckets
from monitor.imagery.stac.assets import ItemAsset, SceneAssets
from monitor.imagery.stac.documents import as_mapping, read_document, safe_text
from monitor.imagery.transport import Fetcher

TOKENS: Final = "https://planetarycomputer.microsoft.com/api/sas/v1/token"  # of Planetary Computer
STORAGE: Final = ".blob.core.windows.net"
PUBLIC_ACCOUNT: Final = "ai4edatasetspublicassets"  # its account whose files need no token
MIN_TOKEN_AGE: Final = 60.0  # a token younger than this is not renewed: many files are refused at once [s]
MAX_TOKEN_BYTES: Final = 1 << 16  # largest answer with a token [byte]

type Sign = Callable[[str, bool], str]  # signs the address of an asset; True: again, since the last one was refused


@dataclass(eq=False)
class AssetAddresses:
    """Addresses of the files of a scene, signed if necessary."""

    fetcher: Fetcher
    assets: SceneAssets
    sign: Sign | None

    def __post_init__(self) -> None:
        self._renewed: dict[str, str] | None = None
        self._lock = threading.Lock()

    def unsigned(self, asset: ItemAsset) -> str:
        """Address of a file as the item states it, ``https`` for a known bucket."""
        return buckets.fetched_address(join_address(self.assets.base, asset.href))

    def signed(self, asset: ItemAsset) -> str:
        """Address of a file, signed if the provider requires it."""
        href = self.unsigned(asset)
        return self.sign(href, False) if self.sign and is_remote(href) else href

    def can_renew(self, asset: ItemAsset) -> bool:
        """Whether a new signature is available."""
        return self.sign is not None or bool(urlsplit(asset.href).query and self.assets.item_address)

    def renew(self, asset: ItemAsset) -> str:
        """Address of a file with a new signature: signed again, or from the item fetched again."""
        href = self.unsigned(asset)
        if self.sign is not None:
            return self.sign(href, True)
        with self._lock:
            if self._renewed is None:
                address = join_address(self.assets.base, self.assets.item_address)
                assets = as_mapping(read_document(self.fetcher, address).get("assets"))
                self._renewed = {
                    str(key): join_address(self.assets.base, str(renewed["href"]))
                    for key, renewed in assets.items()
                    if isinstance(renewed, dict) and "href" in renewed
                }
        return self._renewed.get(asset.key, href)


class AssetReader:
    """Bytes of one file of a scene; errors are converted to rejections of the scene."""

    def __init__(
        self, fetcher: Fetcher, addresses: AssetAddresses, asset: ItemAsset, cancelled: threading.Event | None = None
    ) -> None:
        self._cancelled = cancelled
        self.name = f"asset {safe_text(asset.key)!r}"
        self._fetcher = fetcher
        self._addresses = addresses
        self._asset = asset
        self._file: RemoteFile | LocalFile | None = None
        self._opening = threading.Lock()
        self.address = addresses.unsigned(asset)  # address as the item states it
        self.size: int | None = None  # size of the file, once known [byte]

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, fewer than requested at the end of the file; safe to call from several threads.

        Raises SceneRejected (``MISSING``, ``NO_ANSWER`` or ``BROKEN``), and BadConfiguration if the host requires
        credentials.
        """
        try:
            with self._opening:
                if self._file is None:
                    self._file = self._open()
            data = self._file.read(offset, length)
            self.size = self._file.size
            return data
        except TryLater as error:
            raise SceneRejected(UNANSWERED_FILE, str(error)) from None
        except NotFound as error:
            raise SceneRejected(MISSING_FILE, str(error)) from None
        except AccessDenied as error:
            account = buckets.needs_account(self.address)
            if self._addresses.can_renew(self._asset) and not account:
                raise SceneRejected(MISSING_FILE, f"{error}, also with a new signature") from None
            if (
                error.status == 403
                and isinstance(self._file, RemoteFile)
                and self._fetcher.has_answered(self._file.url)
            ):  # object stores answer 403 for a file that does not exist
                raise SceneRejected(MISSING_FILE, str(error)) from None
            advice = "this version sends no credentials: name a catalogue whose files are open or signed"
            raise BadConfiguration(f"{error}; {buckets.ADVICE if account else advice}") from None
        except (FetchRefused, RequestRejected, OSError) as error:
            raise SceneRejected(BROKEN_SCENE, str(error)) from None

    def _open(self) -> RemoteFile | LocalFile:
        address = self._addresses.signed(self._asset)
        if not is_remote(address):
            return LocalFile(self._fetcher.file(address), self._fetcher.transfers)
        renew = (lambda: self._addresses.renew(self._asset)) if self._addresses.can_renew(self._asset) else None
        return RemoteFile(self._fetcher, address, renew, self._cancelled, size=self.size)


class PlanetaryComputer:
    """Signs addresses in the storage of Planetary Computer [1]_, which gives a token for a container to anyone.

    References
    ----------
    .. [1] Planetary Computer, "Using tokens for data access,"
       https://planetarycomputer.microsoft.com/docs/concepts/sas/.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._tokens: dict[str, tuple[float, str]] = {}  # time of each token, by account and container [s]
        self._lock = threading.Lock()

    def __call__(self, href: str, renew: bool) -> str:
        """An address with a token; other addresses stay as they are."""
        parts = urlsplit(href)
        account, storage, _ = parts.netloc.partition(STORAGE)
        if not storage or parts.query or account == PUBLIC_ACCOUNT:
            return href
        container, slash, _ = parts.path.strip("/").partition("/")
        if not slash:
            raise FetchRefused(f"{display_address(href)} names no container, so it cannot be signed")
        key = f"{quote(account)}/{quote(container)}"
        with self._lock:
            made, token = self._tokens.get(key, (-math.inf, ""))
            if not token or (renew and time.monotonic() - made > MIN_TOKEN_AGE):
                token = self._new_token(key)
                self._tokens[key] = time.monotonic(), token
        return f"{href}?{token}"

    def _new_token(self, key: str) -> str:
        try:
            answer = json.loads(self._fetcher.get(f"{TOKENS}/{key}", max_bytes=MAX_TOKEN_BYTES).body)
            return str(answer["token"])
        except (FetchError, ValueError, LookupError, TypeError) as error:
            raise TryLater(f"Planetary Computer gives no signature ({type(error).__name__}); try again later") from None
