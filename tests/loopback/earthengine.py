"""A stand-in for Earth Engine on loopback, for the unpatched client.

It speaks the REST protocol as the client of the wheel ``earthengine-api`` expects it (discovery document and list of
algorithms come from that wheel) and evaluates the expression graphs with numpy, on scenes in memory. Pixels are
pulled: an image is a function from points of the ground to values and masks, so that every output grid and every
region is answered by the nearest pixel of the scene. Traps of the real service are reproduced: arithmetic drops all
properties, ``unmask`` fills the footprint only, weighted reducers count parts of pixels, a reduced image of one band
is named by its reducer, and what is not implemented here is refused with status 400.

    with EarthEngineServer() as server:
        server.add("COPERNICUS/S2_SR_HARMONIZED", "20200103T035141_20200103T035142_T48SUF", bands={"B2": array, ...},
                   transform=Affine(10, 0, 300000, 0, -10, 4200000), crs="EPSG:32648", time=datetime(...))
        EarthEngine(connect(project="any", url=server.url, token="any", allow_hosts=["127.0.0.1"]))
        server.counts                       # Counter of requests by kind
        server.fail("pixels", status=429, retry_after=1, times=2)
"""

import gzip
import io
import json
import re
import threading
import time as clock
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import shapely
from affine import Affine
from pyproj import Transformer
from shapely.geometry import Polygon, mapping, shape
from shapely.geometry.base import BaseGeometry

SENTINEL2 = "COPERNICUS/S2_SR_HARMONIZED"
SENTINEL2_BANDS = ("B2", "B3", "B4", "B8", "B11", "B12")
SCORES = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
LARGEST = 48 << 20
MOST_BANDS = 1024
LONGEST_SIDE = 32_768


class Wrong(Exception):
    """The request cannot be answered: status 400."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in."""

    kind: str
    """``discovery``, ``algorithms``, ``search``, ``pixels``, ``values``, ``token``, ``assets``, ``other``."""
    functions: frozenset[str]
    """Names of the functions in its expression."""
    status: int
    received: int
    sent: int
    body: dict[str, Any] = field(repr=False)


@dataclass(slots=True)
class _Fault:
    kind: str
    times: int
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    spoil: str = ""
    seconds: float = 0.0
    together: int = 1000


@dataclass(eq=False)
class Points:
    """Points of the ground at which images are evaluated, and what was found there."""

    crs: str
    x: np.ndarray
    y: np.ndarray
    memo: dict[int, Any] = field(default_factory=dict)
    images: list[Any] = field(default_factory=list)
    moved: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    found: dict[Any, Any] = field(default_factory=dict)

    def to(self, crs: str) -> tuple[np.ndarray, np.ndarray]:
        if crs == self.crs:
            return self.x, self.y
        if crs not in self.moved:
            self.moved[crs] = _transformer(self.crs, crs).transform(self.x, self.y)
        return self.moved[crs]

    def pixels(self, crs: str, transform: Affine, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row and column of the nearest pixel of an array, and whether there is one."""
        key = (crs, transform, shape)
        if key not in self.found:
            x, y = self.to(crs)
            column, row = (np.floor(place).astype(int) for place in ~transform @ (x, y))
            within = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
            self.found[key] = np.where(within, row, 0), np.where(within, column, 0), within
        return self.found[key]

    def inside(self, footprint: BaseGeometry) -> np.ndarray:
        """Whether the points lie in a footprint."""
        if footprint.wkb not in self.found:
            shapely.prepare(footprint)
            self.found[footprint.wkb] = shapely.intersects_xy(footprint, *self.to("EPSG:4326"))
        return self.found[footprint.wkb]

    def forget(self, known: int = 0) -> None:
        """Lose the values of all images but the first, not where their pixels lie."""
        for image in self.images[known:]:
            del self.memo[id(image)]
        del self.images[known:]


Layers = list[tuple[np.ndarray, np.ndarray]]


@dataclass(eq=False)
class Image:
    """Bands that can be evaluated at points."""

    names: list[str]
    types: list[str]
    at: Callable[[Points], Layers]
    properties: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    footprint: BaseGeometry | None = None
    crs: str = "EPSG:4326"
    transform: Affine = field(default_factory=lambda: Affine(1, 0, 0, 0, 1, 0))
    shape: tuple[int, int] | None = None

    def values(self, points: Points) -> Layers:
        if id(self) not in points.memo:
            points.memo[id(self)] = self.at(points)
            points.images.append(self)  # so that its id is not given to another
        return points.memo[id(self)]

    def like(self, names: list[str], types: list[str], at: Callable[[Points], Layers]) -> "Image":
        """Other bands, the same image."""
        return Image(names, types, at, dict(self.properties), self.id, self.footprint, self.crs, self.transform,
                     self.shape)  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        crs_transform = list(self.transform)[:6]
        layers = [
            {"id": name, "data_type": {"type": "PixelType", "precision": kind}, "crs": self.crs,
             "crs_transform": crs_transform, "dimensions": list(self.shape or ())[::-1]}
            for name, kind in zip(self.names, self.types, strict=True)
        ]  # fmt: skip
        found = {"type": "Image", "bands": layers, "properties": self.properties}
        return {**found, "id": self.id} if self.id else found


@dataclass(eq=False)
class Features:
    """A feature collection."""

    geometries: list[BaseGeometry]
    properties: list[dict[str, Any]]
    pixels: dict[Any, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        features = [
            {"type": "Feature", "id": str(i), "geometry": mapping(g), "properties": p}
            for i, (g, p) in enumerate(zip(self.geometries, self.properties, strict=True))
        ]
        return {"type": "FeatureCollection", "columns": {}, "features": features}


@dataclass(eq=False)
class Collection:
    """An image collection."""

    images: list[Image]
    id: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"type": "ImageCollection", "id": self.id, "bands": [], "features": [i.to_json() for i in self.images]}


class EarthEngineServer:
    """The stand-in, used as a context; `token` is the bearer token that alone is let in, None: any."""

    def __init__(self, *, token: str | None = None) -> None:
        self.token = token
        self.most_elements = 5000
        """Of one query."""
        self.collections: dict[str, dict[str, Image]] = {}
        self.requests: list[Request] = []
        self.bugs: list[Exception] = []
        """Errors of the stand-in itself; raised when it stops."""
        self.most_in_flight = 0
        self._in_flight = 0
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._http: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self._http is not None, "the server is not started"
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def counts(self) -> Counter[str]:
        """Requests so far, by kind."""
        with self._lock:
            return Counter(request.kind for request in self.requests)

    @property
    def functions(self) -> set[str]:
        """Names of all functions in requests so far."""
        with self._lock:
            return {name for request in self.requests for name in request.functions}

    def __enter__(self) -> "EarthEngineServer":
        handler = type("Handler", (_Handler,), {"stand_in": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._http is not None
        self._http.shutdown()
        self._http.server_close()
        if self.bugs:
            raise self.bugs[0]

    def forget(self) -> None:
        """Empty the log."""
        with self._lock:
            self.requests.clear()
            self.most_in_flight = 0

    def clear_faults(self) -> None:
        """Answer correctly from now on."""
        with self._lock:
            self._faults.clear()

    def reset(self) -> None:
        """As if restarted, at the same address."""
        with self._lock:
            self.requests.clear()
            self.collections.clear()
            self._faults.clear()
            self.most_in_flight, self.most_elements = 0, 5000

    def create(self, collection: str) -> None:
        """Add a collection, though it has no image."""
        self.collections.setdefault(collection, {})

    def add(
        self,
        collection: str,
        index: str,
        *,
        bands: Mapping[str, np.ndarray],
        transform: Affine,
        crs: str,
        time: datetime,
        properties: Mapping[str, Any] | None = None,
        masks: Mapping[str, np.ndarray] | None = None,
        steps: Mapping[str, int] | None = None,
        broken: bool = False,
    ) -> None:
        """Put an image into a collection.

        Parameters
        ----------
        bands : mapping of (y, x) array
            Values by name.
        transform : Affine
            Of the finest pixels.
        steps : mapping of int, optional
            For coarser bands, how many of the finest pixels a side of theirs is.
        masks : mapping of (y, x) bool array, optional
            True where a band has a value; default: everywhere.
        broken : bool
            Its description can be read, its pixels cannot.
        """
        steps, masks = steps or {}, masks or {}
        names = list(bands)
        finest = next(name for name in names if steps.get(name, 1) == 1)
        height, width = bands[finest].shape
        corners = [transform @ corner for corner in ((0, 0), (width, 0), (width, height), (0, height))]
        footprint = Polygon([_transformer(crs, "EPSG:4326").transform(x, y) for x, y in corners])
        places = {name: transform @ Affine.scale(steps.get(name, 1)) for name in names}

        def at(points: Points) -> Layers:
            if broken:
                raise Wrong(f"Image.load: Image asset '{collection}/{index}': a tile of it cannot be read.")
            return [_nearest(bands[name], masks.get(name), points.pixels(crs, places[name], bands[name].shape))
                    for name in names]  # fmt: skip

        known = {
            "system:index": index,
            "system:time_start": round(time.timestamp() * 1000),
            "system:footprint": {"type": "LinearRing", "coordinates": [list(c) for c in footprint.exterior.coords]},
            **(properties or {}),
        }
        image = Image(
            names, [str(bands[name].dtype) for name in names], at, known, f"{collection}/{index}", footprint, crs,
            transform, (height, width),
        )  # fmt: skip
        self.collections.setdefault(collection, {})[index] = image

    def fail(
        self, kind: str, *, status: int, times: int = 1, retry_after: float | None = None, message: str = "a fault"
    ) -> None:
        """Answer the next requests of a kind (or ``any``) with a status."""
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        with self._lock:
            self._faults.append(_Fault(kind, times, status=status, headers=headers, message=message))

    def spoil(self, kind: str, how: str, *, times: int = 1, seconds: float = 0.0, together: int = 1000) -> None:
        """Spoil the next answers of a kind.

        `how` is ``shape`` (one column less), ``type`` (floats), ``bands`` (one less), ``truncated`` (half of it, as if
        whole), ``cut`` (the connection ends midway), ``slow`` (comes after `seconds`, or once so many requests were
        under way `together`), ``drip`` (a byte every `seconds`), ``huge``, ``nonsense`` or ``redirect``.
        """
        with self._lock:
            self._faults.append(_Fault(kind, times, spoil=how, seconds=seconds, together=together))

    def _fault(self, kind: str) -> _Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.kind in (kind, "any") and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


def add_sentinel2(
    server: EarthEngineServer,
    time: datetime,
    bands: Mapping[str, np.ndarray],
    scl: np.ndarray,
    *,
    transform: Affine,
    crs: str = "EPSG:32648",
    tile: str = "48SUF",
    baseline: str = "05.09",
    score: np.ndarray | None = None,
    masks: Mapping[str, np.ndarray] | None = None,
    broken: bool = False,
) -> str:
    """Put a scene into the harmonised collection, as the real one describes it, and return its id.

    `bands` are those of ``monitor.imagery.bands.OBSERVED`` at 10 m, but 20 m for the last two; `scl` is at 20 m,
    `score` (``cs_cdf``, 10 m) goes into the collection of Cloud Score+.
    """
    stamp = f"{time:%Y%m%dT%H%M%S}"
    index = f"{stamp}_{stamp}_T{tile}"
    short = baseline.replace(".", "")
    names = dict(zip(("blue", "green", "red", "nir", "swir16", "swir22"), SENTINEL2_BANDS, strict=True))
    server.add(
        SENTINEL2, index, bands={**{names[band]: values for band, values in bands.items()}, "SCL": scl},
        transform=transform, crs=crs, time=time, steps={"B11": 2, "B12": 2, "SCL": 2}, masks=masks, broken=broken,
        properties={
            "DATATAKE_IDENTIFIER": f"GS2A_{stamp}_023671_N{baseline}", "SPACECRAFT_NAME": "Sentinel-2A",
            "PRODUCT_ID": f"S2A_MSIL2A_{stamp}_N{short}_R104_T{tile}_{stamp}", "MGRS_TILE": tile,
            "PROCESSING_BASELINE": baseline, "SENSING_ORBIT_NUMBER": 104, "CLOUDY_PIXEL_PERCENTAGE": 12.5,
        },
    )  # fmt: skip
    if score is not None:
        server.add(SCORES, index, bands={"cs": score, "cs_cdf": score}, transform=transform, crs=crs, time=time)
    return f"{SENTINEL2}/{index}"


def add_landsat(
    server: EarthEngineServer,
    time: datetime,
    bands: Mapping[str, np.ndarray],
    qa: np.ndarray,
    *,
    transform: Affine,
    saturated: np.ndarray | None = None,
    number: int = 8,
) -> str:
    """Put a scene into the Collection 2 Level 2 of Landsat 8 or 9, and return its id."""
    index = f"LC{number:02}_129034_{time:%Y%m%d}"
    names = [f"SR_B{band}" for band in (2, 3, 4, 5, 6, 7)]
    radiometry = np.zeros(qa.shape, np.uint16) if saturated is None else saturated.astype(np.uint16)
    collection = f"LANDSAT/LC{number:02}/C02/T1_L2"
    server.add(
        collection, index,
        bands={**dict(zip(names, bands.values(), strict=True)), "QA_PIXEL": qa, "QA_RADSAT": radiometry},
        transform=transform, crs="EPSG:32648", time=time,
        properties={
            "LANDSAT_PRODUCT_ID": f"LC{number:02}_L2SP_129034_{time:%Y%m%d}_20210823_02_T1",
            "SPACECRAFT_ID": f"LANDSAT_{number}", "WRS_PATH": 129, "WRS_ROW": 34,
        },
    )  # fmt: skip
    return f"{collection}/{index}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: EarthEngineServer

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: requests are in the log of the server."""

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _serve(self, received: bytes) -> None:
        server = self.stand_in
        with server._lock:
            server._in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server._in_flight)
        try:
            self._answer(received)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with server._lock:
                server._in_flight -= 1

    def _answer(self, received: bytes) -> None:
        server = self.stand_in
        path = urlsplit(self.path).path
        body: dict[str, Any] = {}
        if received and self.headers.get("Content-Type", "").startswith("application/json"):
            body = json.loads(received)
        functions = frozenset(_functions(body.get("expression")))
        kind = _kind(self.command, path, functions)
        fault = server._fault(kind)
        status, content, sort, headers = 200, b"", "application/json; charset=UTF-8", {}
        if fault is not None and fault.status:
            status, content, headers = fault.status, _error(fault.status, fault.message), dict(fault.headers)
        elif kind == "token":
            content = json.dumps({"access_token": server.token or "any", "expires_in": 3600, "token_type": "Bearer"})
        elif server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
            message = f"Request had invalid authentication credentials: {self.headers.get('Authorization')}"
            status, content = 401, _error(401, message)
        else:
            try:
                content, sort = _content(server, kind, body, fault.spoil if fault else "")
            except Wrong as wrong:
                status, content = 400, _error(400, str(wrong))
            except Exception as bug:  # noqa: BLE001 - raised when the server stops
                server.bugs.append(bug)
                status, content = 400, _error(400, f"a bug of the stand-in: {bug!r}")
        content = content.encode() if isinstance(content, str) else content
        if sort.startswith("application/json") and "gzip" in self.headers.get("Accept-Encoding", ""):
            content, headers = gzip.compress(content, 1), {**headers, "Content-Encoding": "gzip"}
        length = len(content)
        if fault is not None:
            if fault.spoil == "slow":
                ends = clock.monotonic() + fault.seconds
                while clock.monotonic() < ends and server.most_in_flight < fault.together:
                    clock.sleep(min(fault.seconds, 0.01))
            elif fault.spoil in ("truncated", "cut"):
                content, headers = (gzip.decompress(content) if "Content-Encoding" in headers else content), {}
                length, content = len(content), content[: len(content) // 2]
                length = len(content) if fault.spoil == "truncated" else length
            elif fault.spoil == "nonsense":
                content, headers = b"<html>not what you asked for</html>", {}
                length = len(content)
            elif fault.spoil == "redirect":
                status, headers, content, length = 302, {"Location": "http://169.254.169.254/"}, b"", 0
            elif fault.spoil in ("huge", "drip"):
                content, length, headers = b"", 1 << 40, {}
        with server._lock:
            server.requests.append(Request(kind, functions, status, len(received), len(content), body))
        self.send_response(status)
        for name, value in {"Content-Type": sort, "Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if fault is not None and fault.spoil == "drip":
            while True:
                self.wfile.write(b" ")
                clock.sleep(fault.seconds)
        if fault is not None and fault.spoil == "huge":
            while True:
                self.wfile.write(b"\0" * (1 << 20))
        if length != len(content):
            self.close_connection = True


def _kind(method: str, path: str, functions: frozenset[str]) -> str:
    if path.startswith("/$discovery"):
        return "discovery"
    ends = {"/algorithms": "algorithms", "image:computePixels": "pixels", "/token": "token"}
    for end, kind in ends.items():
        if path.endswith(end):
            return kind
    if path.endswith("value:compute"):
        return "values" if any(".reduce" in name for name in functions) else "search"
    return "assets" if method == "GET" else "other"


def _content(server: EarthEngineServer, kind: str, body: dict[str, Any], spoil: str) -> tuple[bytes | str, str]:
    sort = "application/json; charset=UTF-8"
    if kind == "discovery":
        return _wheel("cloud_api_discovery_document.json").replace("v1alpha", "v1"), sort
    if kind == "algorithms":
        return _wheel("algorithms.json"), sort
    if kind == "pixels":
        return _pixels(server, body, spoil), "application/octet-stream"
    if kind in ("search", "values"):
        return json.dumps({"result": _plain(_Graph(server, body["expression"]).result(), server)}), sort
    raise Wrong("nothing is known of this address here")


@cache
def _wheel(name: str) -> str:
    return resources.files("ee.tests").joinpath(name).read_text(encoding="utf-8")


def _error(status: int, message: str) -> bytes:
    return json.dumps({"error": {"code": status, "message": message, "status": "FAULT"}}).encode()


def _functions(expression: Any) -> set[str]:
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("functionName"), str):
                found.add(node["functionName"])
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(expression)
    return found


def _plain(value: Any, server: EarthEngineServer) -> Any:
    if isinstance(value, Collection):
        if len(value.images) > server.most_elements:
            raise Wrong(f"Collection query aborted after accumulating over {server.most_elements} elements.")
        return value.to_json()
    if isinstance(value, Image | Features):
        return value.to_json()
    if isinstance(value, list):
        return [_plain(one, server) for one in value]
    return value


def _pixels(server: EarthEngineServer, body: dict[str, Any], spoil: str) -> bytes:
    image = _Graph(server, body["expression"]).result()
    if not isinstance(image, Image) or body.get("fileFormat") != "NPY":
        raise Wrong("only images, and only as NPY")
    grid = body["grid"]
    width, height = (int(grid["dimensions"][side]) for side in ("width", "height"))
    step = {name: float(value) for name, value in grid["affineTransform"].items()}
    transform = Affine(
        step["scaleX"], step.get("shearX", 0.0), step["translateX"],
        step.get("shearY", 0.0), step["scaleY"], step["translateY"],
    )  # fmt: skip
    size = width * height * sum(np.dtype(kind).itemsize for kind in image.types)
    if size > LARGEST or len(image.names) > MOST_BANDS or max(width, height) > LONGEST_SIDE:
        of = f"{size} bytes, {len(image.names)} bands, {width} x {height}"
        raise Wrong(f"Total request size ({of}) is over the limit.")
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = transform @ (column.ravel(), row.ravel())
    layers = image.values(Points(grid["crsCode"], x, y))
    types = ["f8" if spoil == "type" else kind for kind in image.types]
    found = np.zeros((height, width), dtype=list(zip(image.names, types, strict=True)))
    for name, (values, mask) in zip(image.names, layers, strict=True):
        found[name] = np.where(mask, values, 0).reshape(height, width).astype(found.dtype[name])
    if spoil == "shape":
        found = found[:, :-1]
    if spoil == "bands":
        found = found[list(found.dtype.names[:-1])].copy()
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(found), allow_pickle=False)
    return out.getvalue()


@cache
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def _nearest(
    values: np.ndarray, mask: np.ndarray | None, pixels: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    row, column, within = pixels
    return values[row, column].astype(np.float64), within if mask is None else within & mask[row, column]


class _Graph:
    """One expression."""

    def __init__(self, server: EarthEngineServer, expression: dict[str, Any]) -> None:
        self.server = server
        self.nodes: dict[str, Any] = expression["values"]
        self.root: str = expression["result"]

    def result(self) -> Any:
        return self.node(self.root, _Frame({}))

    def node(self, key: str, frame: "_Frame") -> Any:
        if key not in frame.memo:
            frame.memo[key] = self.value(self.nodes[key], frame)
        return frame.memo[key]

    def value(self, node: dict[str, Any], frame: "_Frame") -> Any:
        if "constantValue" in node:
            return node["constantValue"]
        if "integerValue" in node:
            return int(node["integerValue"])
        if "valueReference" in node:
            return self.node(node["valueReference"], frame)
        if "argumentReference" in node:
            return frame.arguments[node["argumentReference"]]
        if "arrayValue" in node:
            return [self.value(one, frame) for one in node["arrayValue"]["values"]]
        if "dictionaryValue" in node:
            return {name: self.value(one, frame) for name, one in node["dictionaryValue"]["values"].items()}
        if "functionDefinitionValue" in node:
            defined = node["functionDefinitionValue"]

            def called(*arguments: Any) -> Any:
                inner = dict(zip(defined["argumentNames"], arguments, strict=True))
                return self.node(defined["body"], _Frame({**frame.arguments, **inner}))

            return called
        if "functionInvocationValue" in node:
            call = node["functionInvocationValue"]
            given = {name: self.value(one, frame) for name, one in call.get("arguments", {}).items()}
            name = call.get("functionName")
            if name not in FUNCTIONS:
                raise Wrong(f"the function {name!r} is not known here")
            return FUNCTIONS[name](self.server, **given)
        raise Wrong(f"a node of {sorted(node)} is not known here")


@dataclass(eq=False)
class _Frame:
    arguments: dict[str, Any]
    memo: dict[str, Any] = field(default_factory=dict)


Server = EarthEngineServer


def _image(value: Any) -> Image:
    if isinstance(value, Image):
        return value
    if isinstance(value, int | float):
        return _constant(None, value=value)
    raise Wrong(f"{value!r} is no image")


def _constant(_: Any, value: float) -> Image:
    def at(points: Points) -> Layers:
        return [(np.full(points.x.shape, float(value)), np.ones(points.x.shape, bool))]

    return Image(["constant"], ["float64"], at)


def _load_collection(server: Server, id: str, version: Any = None) -> Collection:
    if id not in server.collections:
        why = "not found (does not exist or caller does not have access)"
        raise Wrong(f"ImageCollection.load: ImageCollection asset '{id}' {why}.")
    images = sorted(server.collections[id].values(), key=lambda image: image.properties["system:time_start"])
    return Collection(images, id)


def _load_image(server: Server, id: str, version: Any = None) -> Image:
    collection, _, index = id.rpartition("/")
    try:
        return server.collections[collection][index]
    except KeyError:
        msg = f"Image.load: Image asset '{id}' not found (does not exist or caller does not have access)."
        raise Wrong(msg) from None


def _filter(_: Server, collection: Collection, filter: Callable[[Image], bool]) -> Collection:
    return Collection([image for image in collection.images if filter(image)], collection.id)


def _map(_: Server, collection: Collection, baseAlgorithm: Callable[[Any], Any], dropNulls: bool = False) -> Collection:
    return Collection([baseAlgorithm(image) for image in collection.images], collection.id)


def _date_range(_: Server, start: Any, end: Any = None, timeZone: Any = None) -> tuple[float, float]:
    def ms(value: Any) -> float:
        if isinstance(value, int | float):
            return float(value)
        return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp() * 1000

    return ms(start), ms(end) if end is not None else ms(start) + 1


def _in_dates(_: Server, leftValue: tuple[float, float], rightField: str) -> Callable[[Image], bool]:
    return lambda image: leftValue[0] <= image.properties[rightField] < leftValue[1]


def _intersects(_: Server, leftField: str, rightValue: Any, maxError: Any = None) -> Callable[[Image], bool]:
    region = rightValue["geometry"] if isinstance(rightValue, dict) else rightValue
    return lambda image: image.footprint is not None and image.footprint.intersects(region)


def _in_list(_: Server, leftValue: Sequence[Any], rightField: str) -> Callable[[Image], bool]:
    return lambda image: image.properties.get(rightField) in leftValue


def _link(
    server: Server, input: Image, imageCollection: Collection, linkedBands: Any = None, linkedProperties: Any = None,
    matchPropertyName: str = "system:index",
) -> Image:  # fmt: skip
    wanted = [linkedBands] if isinstance(linkedBands, str) else list(linkedBands)
    key = input.properties.get(matchPropertyName)
    other = next((image for image in imageCollection.images if image.properties.get(matchPropertyName) == key), None)
    if other is not None:
        return _add_bands(server, input, _select(server, other, wanted), overwrite=True)

    def nothing(points: Points) -> Layers:
        return [(np.zeros(points.x.shape), np.zeros(points.x.shape, bool)) for _ in wanted]

    return _add_bands(server, input, Image(wanted, ["float64"] * len(wanted), nothing), overwrite=True)


def _select(_: Server, input: Image, bandSelectors: Any, newNames: Sequence[str] | None = None) -> Image:
    selectors = [bandSelectors] if isinstance(bandSelectors, str | int) else bandSelectors
    places = []
    for selector in selectors:
        if selector not in input.names:
            why = f"did not match any bands. Available bands: {input.names[:30]}"
            raise Wrong(f"Image.select: Band pattern '{selector}' {why}")
        places.append(input.names.index(selector))
    names = list(newNames) if newNames is not None else [input.names[i] for i in places]
    if len(names) != len(places):
        raise Wrong("Image.select: as many new names as bands are needed")
    return input.like(names, [input.types[i] for i in places], lambda points: [input.values(points)[i] for i in places])


def _rename(_: Server, input: Image, names: Any) -> Image:
    names = [names] if isinstance(names, str) else list(names)
    if len(names) != len(input.names):
        raise Wrong(f"Image.rename: {len(names)} names for {len(input.names)} bands")
    return input.like(names, input.types, input.values)


def _add_bands(_: Server, dstImg: Image, srcImg: Any, names: Any = None, overwrite: bool = False) -> Image:
    source = _image(srcImg)
    keep = [i for i, name in enumerate(dstImg.names) if not (overwrite and name in source.names)]
    taken = [dstImg.names[i] for i in keep]
    added = [name if name not in taken else f"{name}_1" for name in source.names]

    def at(points: Points) -> Layers:
        own = dstImg.values(points)
        return [own[i] for i in keep] + source.values(points)

    return dstImg.like(taken + added, [dstImg.types[i] for i in keep] + source.types, at)


def _unmask(_: Server, input: Image, value: Any = 0, sameFootprint: bool = True) -> Image:
    filling = _image(value)

    def at(points: Points) -> Layers:
        ((fill, _),) = filling.values(points)
        if sameFootprint and input.footprint is not None:
            inside = points.inside(input.footprint)
        else:
            inside = np.ones(points.x.shape, bool)
        return [(np.where(mask, values, fill), mask | inside) for values, mask in input.values(points)]

    return input.like(input.names, input.types, at)


def _update_mask(_: Server, image: Image, mask: Any) -> Image:
    given = _image(mask)
    if len(given.names) not in (1, len(image.names)):
        raise Wrong(f"Image.updateMask: a mask of {len(given.names)} bands for {len(image.names)}")

    def at(points: Points) -> Layers:
        masks = given.values(points)
        masks = masks * len(image.names) if len(masks) == 1 else masks
        pairs = zip(image.values(points), masks, strict=True)
        return [(values, seen & there & (allowed != 0)) for (values, seen), (allowed, there) in pairs]

    return image.like(image.names, image.types, at)


def _unary(function: Callable[[np.ndarray], np.ndarray], kind: str = "float64") -> Callable[..., Image]:
    def call(_: Server, **arguments: Any) -> Image:
        (value,) = arguments.values()
        image = _image(value)

        def at(points: Points) -> Layers:
            with np.errstate(all="ignore"):
                return [(function(values), mask) for values, mask in image.values(points)]

        return Image(image.names, [kind] * len(image.names), at, {}, "", image.footprint, image.crs, image.transform)

    return call


def _binary(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., Image]:
    def call(_: Server, image1: Any, image2: Any) -> Image:
        one, two = _image(image1), _image(image2)
        n = max(len(one.names), len(two.names))
        if {len(one.names), len(two.names)} - {1, n}:
            raise Wrong(f"images of {len(one.names)} and {len(two.names)} bands do not go together")
        names = one.names if len(one.names) == n else two.names

        def at(points: Points) -> Layers:
            left, right = one.values(points), two.values(points)
            left, right = (left * n if len(left) == 1 else left), (right * n if len(right) == 1 else right)
            with np.errstate(all="ignore"):
                return [
                    (np.asarray(function(a, b), dtype=np.float64), seen & there)
                    for (a, seen), (b, there) in zip(left, right, strict=True)
                ]

        # The footprint of arithmetic is the intersection of both.
        prints = [image.footprint for image in (one, two) if image.footprint is not None]
        footprint = prints[0] if prints else None
        if len(prints) == 2 and prints[1] is not footprint:
            footprint = prints[0].intersection(prints[1])
        return Image(names, ["float64"] * n, at, {}, "", footprint, one.crs, one.transform)

    return call


def _to_bands(_: Server, collection: Collection) -> Image:
    if any("system:index" not in image.properties for image in collection.images):
        raise Wrong("ImageCollection.toBands: an image has lost its system:index")
    names = [f"{image.properties['system:index']}_{name}" for image in collection.images for name in image.names]
    types = [kind for image in collection.images for kind in image.types]
    if len(names) > 5000:
        raise Wrong("ImageCollection.toBands: more than 5000 bands")

    def at(points: Points) -> Layers:
        layers = []
        for image in collection.images:
            known = len(points.images)
            layers += image.values(points)
            points.forget(known)  # the inputs of one image; those of a hundred images take a gigabyte
        return layers

    return Image(names, types, at)


@dataclass(frozen=True, slots=True)
class _Reducer:
    name: str
    weighted: bool = True


def _polygon(_: Server, coordinates: Any, crs: Any = None, geodesic: bool = True, **other: Any) -> BaseGeometry:
    if crs not in (None, "EPSG:4326"):
        raise Wrong("geometries in longitude and latitude only")
    return shape({"type": "Polygon", "coordinates": coordinates})


def _multi_polygon(_: Server, coordinates: Any, crs: Any = None, geodesic: bool = True, **other: Any) -> BaseGeometry:
    return shape({"type": "MultiPolygon", "coordinates": coordinates})


def _feature(_: Server, geometry: Any = None, metadata: Any = None, **other: Any) -> dict[str, Any]:
    return {"geometry": geometry, "properties": metadata or {}}


def _features(_: Server, features: Sequence[dict[str, Any]]) -> Features:
    return Features([f["geometry"] for f in features], [dict(f["properties"]) for f in features])


def _reduce_regions(
    _: Server, image: Image, collection: Features, reducer: _Reducer, crs: Any = None, crsTransform: Any = None,
    scale: Any = None, **other: Any,
) -> Features:  # fmt: skip
    if crs is None or crsTransform is None or scale is not None:
        raise Wrong("Image.reduceRegions: a grid is needed here, by crs and crsTransform")
    key = (crs, tuple(crsTransform), reducer.weighted)
    if key not in collection.pixels:
        collection.pixels[key] = _pixels_of(collection.geometries, crs, Affine(*crsTransform), reducer.weighted)
    points, weights, labels = collection.pixels[key]
    n = len(collection.geometries)
    found = [dict(properties) for properties in collection.properties]
    single = len(image.names) == 1
    layers = image.values(points)
    points.forget()  # one image of a collection; the values of all of them take gigabytes
    for name, (values, mask) in zip(image.names, layers, strict=True):
        weight = np.where(mask, weights, 0.0)
        total = np.bincount(labels, weight * np.where(mask, values, 0.0), minlength=n)
        whole = np.bincount(labels, weight, minlength=n)
        key_ = reducer.name if single else name
        for i in range(n):
            if reducer.name == "sum":
                found[i][key_] = float(total[i])
            elif whole[i] > 0:
                found[i][key_] = float(total[i] / whole[i])
    return Features(collection.geometries, found)


def _pixels_of(
    shapes: Sequence[BaseGeometry], crs: str, transform: Affine, weighted: bool
) -> tuple[Points, np.ndarray, np.ndarray]:
    """Centres of the pixels of shapes, their weights, and which shape they belong to."""
    move = _transformer("EPSG:4326", crs)
    xs, ys, weights, labels = [], [], [], []
    for i, given in enumerate(shapes):
        there = shapely.transform(given, lambda points: np.column_stack(move.transform(points[:, 0], points[:, 1])))
        left, bottom, right, top = there.bounds
        corners = [~transform @ corner for corner in ((left, top), (right, bottom))]
        columns = np.arange(int(np.floor(corners[0][0])), int(np.ceil(corners[1][0])) + 1)
        rows = np.arange(int(np.floor(corners[0][1])), int(np.ceil(corners[1][1])) + 1)
        column, row = (place.ravel() for place in np.meshgrid(columns, rows))
        x, y = transform @ (column + 0.5, row + 0.5)
        if weighted:
            ends = np.array([transform @ (column, row), transform @ (column + 1, row + 1)])
            squares = shapely.box(*ends.min(axis=0), *ends.max(axis=0))
            weight = shapely.area(shapely.intersection(squares, there)) / abs(transform.a * transform.e)
        else:
            shapely.prepare(there)
            weight = shapely.contains_xy(there, x, y).astype(float)
        covered = weight > 0.005
        xs.append(x[covered])
        ys.append(y[covered])
        weights.append(weight[covered])
        labels.append(np.full(int(covered.sum()), i))
    points = Points(crs, np.concatenate(xs), np.concatenate(ys))
    return points, np.concatenate(weights), np.concatenate(labels)


def documented_functions() -> list[str]:
    """Server functions that the documentation lists for whoever sets up a server of their own."""
    text = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
    return re.findall(r"`([\w.]+)`", text.partition("<!-- functions -->")[2].partition("<!-- end -->")[0])


_OF_TWO: dict[str, Callable[..., Any]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "max": np.maximum,
    "min": np.minimum, "eq": np.equal, "neq": np.not_equal, "gt": np.greater, "gte": np.greater_equal,
    "and": lambda a, b: (a != 0) & (b != 0), "or": lambda a, b: (a != 0) | (b != 0),
    "bitwiseAnd": lambda a, b: a.astype(np.int64) & b.astype(np.int64),
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"Image.{name}": _binary(function) for name, function in _OF_TWO.items()},
    "Collection": _features,
    "Collection.filter": _filter,
    "Collection.map": _map,
    "DateRange": _date_range,
    "Feature": _feature,
    "Filter.dateRangeContains": _in_dates,
    "Filter.listContains": _in_list,
    "Filter.intersects": _intersects,
    "GeometryConstructors.MultiPolygon": _multi_polygon,
    "GeometryConstructors.Polygon": _polygon,
    "Image.addBands": _add_bands,
    "Image.constant": _constant,
    "Image.linkCollection": _link,
    "Image.load": _load_image,
    "Image.not": _unary(lambda values: (values == 0).astype(np.float64)),
    "Image.reduceRegions": _reduce_regions,
    "Image.rename": _rename,
    "Image.round": _unary(lambda values: np.floor(values + 0.5)),
    "Image.select": _select,
    "Image.sqrt": _unary(np.sqrt),
    "Image.tanh": _unary(np.tanh),
    "Image.toUint16": _unary(lambda values: np.clip(np.trunc(values), 0, 65535), "uint16"),
    "Image.unmask": _unmask,
    "Image.updateMask": _update_mask,
    "ImageCollection.load": _load_collection,
    "ImageCollection.toBands": _to_bands,
    "Projection": lambda _, crs: crs,
    "Reducer.mean": lambda _: _Reducer("mean"),
    "Reducer.sum": lambda _: _Reducer("sum"),
    "Reducer.unweighted": lambda _, reducer: _Reducer(reducer.name, weighted=False),
}
"""What is implemented, by the names of the graphs."""
