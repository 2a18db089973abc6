"""``scenes.csv``: every stored row of a site, one line each in order of arrival, superseded ones too.

Numbers have as many digits as it takes to read the same number again. Text that a spreadsheet would run as a formula
has a quote before it, as in ``observations.csv``.
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from monitor.cube.granules import MAX_GRANULES
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEANS, STATES, Record
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData
from monitor.imagery.source import Scene
from monitor.series.columns import decode_texts
from monitor.series.observations import BYTE_ORDER_MARK, FORMULA_STARTS, csv_cell, marked

SCENES: Final = "scenes.csv"
MAX_TEXT: Final = 100_000
"""Longest text of a cell. [character]"""
MAX_ROWS: Final = 50_000
"""Most rows of a landscape that are read: of 64 sites, ten years and two sensors there are some thousands."""

TEXTS: Final = ("acquisition", "time", "scene", "source", "baseline", "sensor", "orbit", "quality")
VALUES: Final = (*MEANS, *(f"control_{name}" for name in MEANS))
COLUMNS: Final = (
    "row", *TEXTS, "scale", "offset", "bandpass", "granules", "state", "clear_fraction", "n_pixels", "n_units",
    "digest", "pixels_sha256", *VALUES,
)  # fmt: skip
"""Columns of the table.

``row`` is the number of the row in the landscape's store, from 0; ``time`` to ``offset`` are those of the preferred
granule, where an empty text is unknown; ``granules`` is JSON, see :func:`_granules_json`; ``state`` is ``ACCEPTED`` or
why the scene does not count; ``n_units`` is empty where the scene could not be read; ``digest`` is the hash stored
with the row (:func:`monitor.cube.records.digest`); ``pixels_sha256`` see :func:`pixels_sha256`. Means are empty where
they are unknown."""

DELIVERED_LAYERS: Final = tuple(name for name in PACKED_LAYERS if name != "clear")
"""Layers that a provider delivers, in the order of :func:`pixels_sha256`."""
_GRANULE_FIELDS: Final = {"scene": "id"} | {
    name: name for name in ("time", "source", "baseline", "sensor", "orbit", "quality", "scale", "offset")
}
"""Values of a granule that are those of the row unless its JSON states them, and what the store calls them."""
_YEARS: Final = range(1972, 2200)
"""Years in which a scene can have been acquired; the first Landsat flew in 1972."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRow:
    """A line of the table."""

    row: int
    """Number of the row in the landscape's store."""
    record: Record
    granules: tuple[Scene, ...]
    pixels_sha256: str


def pixels_sha256(pixels: np.ndarray) -> str:
    """SHA-256 of the pixels of one scene as delivered, in hexadecimal digits.

    Parameters
    ----------
    pixels : (layer, pixel) uint16 array
        In the order of :data:`monitor.cube.packed.PACKED_LAYERS`, of the pixels inside the site, row by row from the
        north-west. The bands and the quality layer are hashed, as little-endian numbers, one layer after the other.
    """
    return hashlib.sha256(np.ascontiguousarray(pixels[: len(DELIVERED_LAYERS)], "<u2").tobytes()).hexdigest()


def scenes_csv(stored: StoredSite, rows: np.ndarray, checksums: Sequence[str]) -> bytes:
    """The table of some rows of a site.

    Parameters
    ----------
    stored : StoredSite
    rows : (n,) int array, numbers of rows that have the site
    checksums : sequence of str, :func:`pixels_sha256` of each
    """
    columns = stored.columns_of(rows)
    cells: dict[str, list[str]] = {name: [_text(text) for text in decode_texts(columns[name])] for name in TEXTS}
    cells |= {name: [_number(value) for value in columns[name].tolist()] for name in ("scale", "offset", *VALUES)}
    cells |= {name: list(map(str, columns[name].tolist())) for name in ("row", "clear_fraction", "n_pixels")}
    cells["bandpass"] = ["true" if adjusted else "false" for adjusted in columns["bandpass"].tolist()]
    cells["n_units"] = ["" if n < 0 else str(n) for n in columns["n_units"].tolist()]
    cells["state"] = [reason or "ACCEPTED" for reason in decode_texts(columns["reason"])]
    cells["digest"] = decode_texts(columns["digest"])
    cells["pixels_sha256"] = list(checksums)
    plain = {name: decode_texts(columns[name]) if name in TEXTS else columns[name].tolist() for name in _GRANULE_FIELDS}
    cells["granules"] = [
        csv_cell(_granules_json(granules, {name: values[at] for name, values in plain.items()}))
        for at, granules in enumerate(stored.granules_of(rows))
    ]
    lines = [",".join(COLUMNS), *map(",".join, zip(*(cells[name] for name in COLUMNS), strict=True))]
    return marked(("\n".join(lines) + "\n").encode())


def _text(text: str) -> str:
    return csv_cell(f"'{text}" if text[:1] == "'" else text)  # so that the quote can be taken away again


def _number(value: float) -> str:
    return "" if value != value else repr(value)


def _granules_json(granules: Sequence[tuple[Mapping[str, Any], bool]], row: Mapping[str, Any]) -> str:
    """Granules of a row as JSON.

    Each has ``tile``, ``used`` (whether pixels or means come from it), and those of :data:`_GRANULE_FIELDS` that differ
    from the values of the row.
    """
    plain = [
        {"tile": granule["tile"], "used": used}
        | {name: granule[key] for name, key in _GRANULE_FIELDS.items() if granule[key] != row[name]}
        for granule, used in granules
    ]
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def read_scenes_csv(content: bytes, *, limit: int) -> list[SceneRow]:
    """The lines of the table.

    Parameters
    ----------
    content : bytes
    limit : int, number of rows of the landscape

    Raises
    ------
    BadData
        The content is not such a table; the message names the line.
    """
    try:
        text = content.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        msg = f"{SCENES} is not text in UTF-8: {error}"
        raise BadData(msg) from error
    scenes: list[SceneRow] = []
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = 0
    try:
        for number, cells in enumerate(lines, start=1):
            if number == 1:
                if tuple(cells) != COLUMNS:
                    raise ValueError("its columns are not " + ", ".join(COLUMNS))
                continue
            if len(cells) != len(COLUMNS):
                msg_0 = f"it has {len(cells)} cells, not {len(COLUMNS)}"
                raise ValueError(msg_0)
            scene = _scene_row(dict(zip(COLUMNS, cells, strict=True)))
            if not (scenes[-1].row if scenes else -1) < scene.row < limit:
                msg_0 = f"row {scene.row} is not after the one before, or not below {limit}"
                raise ValueError(msg_0)
            scenes.append(scene)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, csv.Error) as error:
        msg = f"{SCENES}, line {number}: {error or type(error).__name__}"
        raise BadData(msg) from error
    if not number:
        msg = f"{SCENES} is empty"
        raise BadData(msg)
    return scenes


def _scene_row(cells: Mapping[str, str]) -> SceneRow:
    """The line of these cells; ValueError, KeyError or TypeError where one cannot be meant."""
    texts = {name: _plain_text(cells[name]) for name in TEXTS}
    row = _whole(cells["row"])
    own: dict[str, Any] = texts | {name: _finite(cells[name]) for name in ("scale", "offset")}
    if not texts["acquisition"]:
        msg = "acquisition is empty"
        raise ValueError(msg)
    if cells["state"] not in STATES[1:]:
        msg = f"state {cells['state']!r} is not one of {', '.join(STATES[1:])}"
        raise ValueError(msg)
    if cells["state"] == "ACCEPTED" and own["scale"] <= 0:
        msg = f"scale {own['scale']} of a scene that counts is not positive"
        raise ValueError(msg)
    if cells["bandpass"] not in ("true", "false"):
        msg = f"bandpass {cells['bandpass']!r} is neither true nor false"
        raise ValueError(msg)
    for name, digits in (("digest", 16), ("pixels_sha256", 64)):
        if len(cells[name]) != digits or not set(cells[name]) <= set("0123456789abcdef"):
            msg = f"{name} {cells[name]!r} is not {digits} hexadecimal digits"
            raise ValueError(msg)
    _time(texts["time"])
    granules, used = _granules(cells["granules"], own)
    measures: dict[str, float | None] = {name: _finite(cells[name]) for name in VALUES if cells[name]}
    if cells["n_units"]:
        measures["n_units"] = float(_whole(cells["n_units"]))
    record = Record(
        **own, granules=used, bandpass=cells["bandpass"] == "true", accepted=cells["state"] == "ACCEPTED",
        reason="" if cells["state"] == "ACCEPTED" else cells["state"], clear_fraction=_finite(cells["clear_fraction"]),
        n_pixels=_whole(cells["n_pixels"]), measures=measures, digest=cells["digest"],
    )  # fmt: skip
    return SceneRow(row=row, record=record, granules=granules, pixels_sha256=cells["pixels_sha256"])


def _granules(text: str, own: Mapping[str, Any]) -> tuple[tuple[Scene, ...], dict[str, str]]:
    """Granules of the column of that name, and the baseline of each used one by tile."""
    plain = json.loads(_plain_text(text))
    if not isinstance(plain, list) or not 0 < len(plain) <= MAX_GRANULES:
        msg = f"granules is not a list of 1 to {MAX_GRANULES}"
        raise ValueError(msg)
    granules, used = [], {}
    known = {"tile", "used", *_GRANULE_FIELDS}
    for one in plain:
        if not isinstance(one, dict) or not {"tile", "used"} <= one.keys() <= known:
            msg = f"a granule has other keys than {', '.join(sorted(known))}"
            raise ValueError(msg)
        values = {**{name: own[name] for name in _GRANULE_FIELDS}, **one}
        for name in ("tile", *_GRANULE_FIELDS):
            if not (_is_number(values[name]) if name in ("scale", "offset") else _is_text(values[name])):
                msg = f"{name} of a granule has an impossible value"
                raise ValueError(msg)
        if values.pop("used") is True:
            used[values["tile"]] = values["baseline"]
        fields = {"id": values.pop("scene"), "time": _time(values.pop("time"))}
        granules.append(Scene(**values, **fields, acquisition=own["acquisition"]))
    if (own["source"], own["scene"]) not in {(granule.source, granule.id) for granule in granules}:
        msg = f"scene {own['scene']!r} is not one of its granules"
        raise ValueError(msg)
    return tuple(granules), used


def _plain_text(cell: str) -> str:
    """The text of a cell, without the quote that makes a formula inert."""
    text = cell[1:] if cell[:1] == "'" and (cell[1:2] in FORMULA_STARTS or cell[1:2] == "'") else cell
    if not _is_text(text):
        msg = "a text is too long or has a NUL"
        raise ValueError(msg)
    return text


def _is_text(value: object) -> bool:
    """Whether a value is a text that a store can hold."""
    return isinstance(value, str) and len(value) < MAX_TEXT and "\0" not in value and _is_unicode(value)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair of UTF-16, which JSON can state
        return False
    return True


def _is_number(value: object) -> bool:
    return type(value) is float and math.isfinite(value)


def _whole(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) >= 2**31:
        msg = f"{text[:40]!r} is not a whole number"
        raise ValueError(msg)
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        msg = f"{text[:40]!r} is not a number"
        raise ValueError(msg)
    return number


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.utcoffset() != timedelta(0) or time.astimezone(UTC).isoformat() != text or time.year not in _YEARS:
        msg = f"{text[:40]!r} is not a time in UTC"
        raise ValueError(msg)
    return time
