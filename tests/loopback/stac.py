"""A STAC API and an object store on loopback, for the unpatched client, with faults on request.

    with StacServer(folder) as server:
        item = sentinel_item(folder, "S2A_MSIL2A_20200103T035141_N0213_R104_T48SUF_20200103T064512", href=server.file)
        server.items.append(item)
        Stac(server.url, collections=["sentinel-2-l2a"], allow_hosts=[server.host])
        server.fail("search", status=429, headers={"Retry-After": "1"}, times=2)
        server.counts               # Counter of requests by kind: landing, search, item, file, collections, other

Pixels of :func:`sentinel_item` follow :func:`value`, so that every expected frame is known beforehand.
"""

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import rasterio
from affine import Affine
from odc.geo import CRS
from shapely.geometry import box, mapping, shape

from monitor.imagery.stac.buckets import S3Account
from monitor.sites.projection import lonlat

BANDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B11": "swir16", "B12": "swir22"}
PIXEL = {"B11": 20.0, "B12": 20.0, "SCL": 20.0}


def value(number: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What band `number` (from 0; 6: scene classes) holds at rows and columns of its own file."""
    if number == 6:
        return np.where((rows // 5 + columns // 7) % 4 == 0, 8, 4 + (rows + columns) % 2)
    return 1 + (rows * 7 + columns * 13 + number * 1009) % 9000


def write_cog(path: Path, pixels: np.ndarray, transform: Affine, crs: str, **options: Any) -> Path:
    """A cloud-optimised GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chosen = {"compress": "deflate", "blocksize": 256, "nodata": 0, **options}
    with rasterio.open(
        path, "w", driver="COG", height=pixels.shape[-2], width=pixels.shape[-1], dtype=pixels.dtype,
        count=1 if pixels.ndim == 2 else pixels.shape[0], crs=crs, transform=transform, **chosen,
    ) as file:  # fmt: skip
        file.write(pixels[None] if pixels.ndim == 2 else pixels)
    return path


def sentinel_item(
    folder: Path,
    name: str,
    *,
    href: Callable[[Path], str] = str,
    corner: tuple[float, float] = (600_000.0, 4_200_000.0),
    size: int = 600,
    epsg: int = 32648,
    properties: Mapping[str, Any] | None = None,
    shift: int = 0,
) -> dict[str, Any]:
    """Files and item of a Sentinel-2 granule, as Planetary Computer spells it.

    Parameters
    ----------
    folder : Path
        The files go to ``<folder>/<name>``.
    name : str
        Product id, with its baseline.
    href : callable
        Address of a file.
    corner : tuple of float
        Upper left. [m]
    size : int
        Pixels of 10 m on a side.
    shift : int
        Added to all reflectances, so that granules differ.
    """
    craft, when, baseline, orbit, tile = re.match(
        r"(S2.)_MSIL2A_(\d{8}T\d{6})_N(\d{4})_R(\d{3})_T(\w{5})", name
    ).groups()  # type: ignore[union-attr]
    assets: dict[str, Any] = {}
    for number, key in enumerate([*BANDS, "SCL"]):
        pixel = PIXEL.get(key, 10.0)
        side = int(size * 10 / pixel)
        rows, columns = np.mgrid[:side, :side]
        pixels = value(number, rows, columns) + (0 if key == "SCL" else shift)
        transform = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
        path = write_cog(
            folder / name / f"{key}.tif",
            pixels.astype("uint8" if key == "SCL" else "uint16"),
            transform,
            f"EPSG:{epsg}",
        )
        assets[key] = {
            "href": href(path),
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "proj:shape": [side, side],
            "proj:transform": list(transform)[:6],
            **({"eo:bands": [{"name": key, "common_name": BANDS[key]}]} if key in BANDS else {}),
        }
    outline = lonlat(box(corner[0], corner[1] - size * 10, corner[0] + size * 10, corner[1]), CRS(f"EPSG:{epsg}"))
    day = f"{when[:4]}-{when[4:6]}-{when[6:8]}T{when[9:11]}:{when[11:13]}:{when[13:15]}Z"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": mapping(outline),
        "bbox": list(outline.bounds),
        "links": [],
        "assets": assets,
        "properties": {
            "datetime": day,
            "platform": f"sentinel-2{craft[2].lower()}",
            "proj:epsg": epsg,
            "s2:mgrs_tile": tile,
            "s2:processing_baseline": f"{baseline[:2]}.{baseline[2:]}",
            "s2:datatake_id": f"G{craft}_{when}_023678_N{baseline[:2]}.{baseline[2:]}",
            "sat:relative_orbit": int(orbit),
            **(properties or {}),
        },
    }


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@dataclass
class Fault:
    """An answer that replaces the true one."""

    kind: str
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1_000_000
    after: int = 0
    """Number of requests of the kind that are answered truly first."""
    match: str = ""
    """Only requests whose address contains it."""
    act: Callable[["Handler"], None] | None = None
    """Function that sends the answer itself."""


class StacServer:
    """See the module."""

    def __init__(self, folder: Path, *, page: int = 100) -> None:
        self.folder = folder
        self.page = page
        self.items: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.sent = 0
        """Bytes of all bodies that were sent."""
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        """Method, address, headers and body of each request."""
        self.faults: list[Fault] = []
        self.next_by = "POST"
        """Method of the request for the next page."""
        self.landing: dict[str, Any] | None = None
        self.collections: list[str] | None = None
        """Ids that it lists; None: it lists none and has no such addresses."""
        self.token = ""
        """If set, files are given only to addresses that carry it."""
        self.account: S3Account | None = None
        """If set, files are given only to addresses that it has signed, as an object store does."""
        self.delay = 0.0
        """Pause before each answer. [s]"""
        self.together = ("", 0)
        """Part of an address: requests for such files are answered once so many were under way at one time, or after
        10 s."""
        self.peak = 0
        """Most requests for files that were under way at one time."""
        self._under_way = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "StacServer":
        owner = self

        class Bound(Handler):
            server_of = owner

        class Patient(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                if not isinstance(sys.exception(), ConnectionError):  # clients may leave when they like
                    super().handle_error(request, client_address)  # type: ignore[arg-type]

        self._server = Patient(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """Empty the log."""
        with self._lock:
            self.counts.clear()
            self.requests.clear()
            self.sent = self.peak = 0

    def file(self, path: Path) -> str:
        """Address of a file of the folder."""
        signed = f"?sig={self.token}" if self.token else ""
        return f"{self.url}/files/{path.relative_to(self.folder)}{signed}"

    def fail(self, kind: str, **what: Any) -> None:
        """From now on answer requests of a kind with a fault."""
        self.faults.append(Fault(kind, **what))

    def fault(self, kind: str, address: str) -> Fault | None:
        """The fault that is due, counted down."""
        with self._lock:
            for fault in self.faults:
                if fault.kind != kind or fault.match not in address:
                    continue
                if fault.after > 0:
                    fault.after -= 1
                elif fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def count(self, kind: str, entry: tuple[str, str, dict[str, str], bytes]) -> None:
        """Remember a request."""
        with self._lock:
            self.counts[kind] += 1
            self.requests.append(entry)

    def wait(self, kind: str, address: str) -> None:
        """Count a request as under way, until it is answered: from then on its client may have sent the next one."""
        here = int(kind == "file")
        with self._lock:
            self._under_way += here
            self.peak = max(self.peak, self._under_way)
        time.sleep(self.delay)
        (part, number), ends = self.together, time.monotonic() + 10
        while here and part in address and self.peak < number and time.monotonic() < ends:
            time.sleep(0.01)
        with self._lock:
            self._under_way -= here

    def matching(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Items that match a search."""
        wanted = query.get("collections")
        area = box(*query["bbox"]) if query.get("bbox") else None
        first, _, last = str(query.get("datetime") or "..").partition("/")
        items = []
        for item in self.items:
            when = str(item.get("properties", {}).get("datetime"))
            if wanted and item.get("collection") not in wanted:
                continue
            if query.get("datetime") and not first <= when <= last:
                continue
            if area is not None and isinstance(item.get("geometry"), dict):
                try:
                    if not shape(item["geometry"]).intersects(area):
                        continue
                except Exception:  # noqa: BLE001 - a broken item is sent as it is
                    pass
            items.append(item)
        return items


class Handler(BaseHTTPRequestHandler):
    """Answers."""

    server_of: StacServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        owner = self.server_of
        path = urlsplit(self.path).path
        kind = (
            "landing" if path == "/" else "search" if path == "/search" else "file" if path.startswith("/files/")
            else "item" if "/items/" in path
            else "collections" if path.startswith("/collections") and owner.collections is not None else "other"
        )  # fmt: skip
        owner.count(kind, (self.command, self.path, dict(self.headers), body))
        owner.wait(kind, path)
        self._give(kind, path, body)

    def _give(self, kind: str, path: str, body: bytes) -> None:
        owner = self.server_of
        fault = owner.fault(kind, self.path)
        try:
            if fault is not None and fault.act is not None:
                fault.act(self)
            elif fault is not None:
                self.send(fault.status, b"no", headers=fault.headers)
            elif kind == "landing":
                self.json(owner.landing or self._landing())
            elif kind == "search":
                self._search(body)
            elif kind == "item":
                name = path.rpartition("/")[2]
                self.json(next(item for item in owner.items if item["id"] == name))
            elif kind == "collections":
                self._collections(path.removeprefix("/collections").strip("/"))
            elif kind == "file":
                self._file(path.removeprefix("/files/"))
            else:
                self.send(404, b"nothing here")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def json(self, document: object) -> None:
        """Send a document."""
        self.send(200, json.dumps(document).encode(), headers={"Content-Type": "application/geo+json"})

    def send(self, status: int, body: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        """Send an answer."""
        self.send_response(status)
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        with self.server_of._lock:
            self.server_of.sent += len(body)

    def _collections(self, collection: str) -> None:
        owner = self.server_of
        if not collection:
            size = owner.page
            page = int(parse_qs(urlsplit(self.path).query).get("page", ["0"])[0])
            names = (owner.collections or [])[page * size : (page + 1) * size]
            more = (page + 1) * size < len(owner.collections or ())
            links = (
                [{"rel": "next", "href": f"{owner.url}/collections?page={page + 1}", "method": "GET"}] if more else []
            )
            self.json({"collections": [{"type": "Collection", "id": name} for name in names], "links": links})
        elif collection in (self.server_of.collections or ()):
            self.json({"type": "Collection", "id": collection})
        else:
            self.send(404, b"no such collection")

    def _landing(self) -> dict[str, Any]:
        url = self.server_of.url
        return {
            "type": "Catalog", "id": "loopback", "stac_version": "1.0.0", "description": "of the tests",
            "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
            "links": [
                {"rel": "self", "href": url}, {"rel": "root", "href": url},
                {"rel": "search", "href": f"{url}/search", "type": "application/geo+json", "method": "GET"},
                {"rel": "search", "href": f"{url}/search", "type": "application/geo+json", "method": "POST"},
            ],
        }  # fmt: skip

    def _search(self, body: bytes) -> None:
        owner = self.server_of
        if self.command == "POST":
            query = json.loads(body)
        else:
            query = {key: text[0] for key, text in parse_qs(urlsplit(self.path).query).items()}
            query["bbox"] = [float(side) for side in query["bbox"].split(",")] if "bbox" in query else None
            query["collections"] = query["collections"].split(",") if "collections" in query else None
        start = int(query.get("token") or 0)
        found = owner.matching(query)
        page = found[start : start + min(owner.page, int(query.get("limit") or 10))]
        links = []
        if start + len(page) < len(found):
            token = str(start + len(page))
            if owner.next_by == "POST":
                links = [
                    {"rel": "next", "href": f"{owner.url}/search", "method": "POST", "body": {**query, "token": token}}
                ]
            else:
                plain = "&".join(
                    f"{key}={','.join(map(str, text)) if isinstance(text, list) else text}"
                    for key, text in {**query, "token": token}.items() if text is not None
                )  # fmt: skip
                links = [{"rel": "next", "href": f"{owner.url}/search?{plain}", "method": "GET"}]
        self.json({"type": "FeatureCollection", "features": page, "links": links})

    def _is_signed(self, account: S3Account, query: Mapping[str, list[str]]) -> bool:
        try:
            time = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except (KeyError, ValueError):
            return False
        origin = f"http://{self.headers['Host']}"
        return account.signed(origin + urlsplit(self.path).path, time) == origin + self.path

    def _file(self, name: str) -> None:
        owner = self.server_of
        query = parse_qs(urlsplit(self.path).query)
        if owner.token and query.get("sig") != [owner.token]:
            self.send(403, b"expired")
            return
        if owner.account is not None and not self._is_signed(owner.account, query):
            self.send(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
            return
        path = owner.folder / name
        if not path.is_file():
            self.send(404, b"no such file")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if not wanted:
            self.send(200, path.read_bytes())
            return
        size = path.stat().st_size
        first, last = int(wanted[1]), min(int(wanted[2]), size - 1)
        if first >= size:
            self.send(416, b"", headers={"Content-Range": f"bytes */{size}"})
            return
        with path.open("rb") as file:
            file.seek(first)
            part = file.read(last + 1 - first)
        self.send(206, part, headers={"Content-Range": f"bytes {first}-{last}/{size}"})
