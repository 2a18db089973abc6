"""Read measurements on the ground from a CSV file and store them: all of them or, if any line is wrong, none."""

import hashlib
import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import shapely
from shapely.geometry import Point

from jobs.clock import now, today
from jobs.console import printable
from jobs.csv_file import read_lines, written_day
from jobs.records import from_json, to_json
from monitor.errors import BadData
from monitor.ledger.transaction import Transaction
from monitor.series.field_rows import FIELD_COLUMNS, FIELD_KINDS, FieldRow
from monitor.series.observations import FORMULA_STARTS
from monitor.sites.clusters import METRES_PER_DEGREE
from monitor.sites.names import has_invisible
from monitor.sites.site import Site

POSITION_ERROR: Final = 30.0
"""Distance from the outline up to which a position still counts as on the site: error of a hand-held receiver. [m]"""
MAX_DENSITY: Final = 1_000_000.0
"""Largest density that is believed: a hundred plants a square metre. [1/ha]"""
MAX_NOTE: Final = 500
"""Length of the longest note. [characters]"""
MAX_PROBLEMS: Final = 50
"""Number of wrong lines that are reported."""


@dataclass(slots=True)
class _Known:
    """What the ledger knows of the sites."""

    sites: Mapping[str, Site]
    starts: Mapping[str, date]
    """First day of the work at each site: of its first episode."""
    lines: dict[str, int] = field(default_factory=dict)
    """Number of the line of each row of the file so far, by digest."""


class Added(NamedTuple):
    """What became of the lines of a file."""

    fresh: list[FieldRow]
    """Rows that were stored."""
    known: int
    """Number of rows that had been stored before."""
    not_measured: int
    """Number of lines without day and value, as an inspection sheet has them before they are filled in."""


def add_field_rows(t: Transaction, path: Path) -> Added:
    """Store the measurements of a file. Safe to run twice: the same row again stores nothing.

    Lines without day and value are counted, and not looked at.

    Raises
    ------
    BadData
        The file cannot be read, or lines are wrong; the message names each. Nothing was stored.
    """
    sites = {values["id"]: from_json(values, Site) for values in t.all_sites()}
    first = {site: date.fromisoformat(episodes[0]["start"]) for site, episodes in t.all_episodes().items()}
    known = _Known(sites, {site_id: min(site.start, first.get(site_id, site.start)) for site_id, site in sites.items()})
    rows: dict[str, FieldRow] = {}
    problems: list[str] = []
    not_measured = 0
    for number, cells in read_lines(path, required=FIELD_COLUMNS[:4], columns=FIELD_COLUMNS):
        if not cells["date"] and not cells["value"]:
            not_measured += 1
            continue
        read = _row(cells, known, number)
        if isinstance(read, FieldRow):
            rows[_digest(read)] = read
        else:
            problems.append(f"line {number}: {printable('; '.join(read))}")
    if problems:
        more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        heading = f"{path}: wrong lines ({len(problems)}), so nothing was stored"
        raise BadData("\n".join([heading, *problems[:MAX_PROBLEMS], *more]))
    added = now()
    fresh = t.add_field_rows({**to_json(row), "digest": digest, "added": added} for digest, row in rows.items())
    return Added([rows[row["digest"]] for row in fresh], len(rows) - len(fresh), not_measured)


def _digest(row: FieldRow) -> str:
    return hashlib.sha256(json.dumps(to_json(row), sort_keys=True).encode()).hexdigest()


def _row(cells: Mapping[str, str], known: _Known, number: int) -> FieldRow | list[str]:
    """The measurement of a line, or what is wrong with it."""
    problems: list[str] = []
    site_id = unicodedata.normalize("NFC", cells["site"])
    if site_id[:1] == "'" and site_id[1:2] in FORMULA_STARTS and site_id not in known.sites:
        site_id = site_id[1:]  # as files of this program quote an id that a spreadsheet would run
    site = known.sites.get(site_id)
    if site is None:
        problems.append(f"no site {site_id!r}; 'regrowth sites list' shows all sites")
    day = _day(cells["date"], site, known, problems)
    kind = cells["kind"].lower()
    if kind not in FIELD_KINDS:
        problems.append(f"kind {cells['kind']!r} is none of {', '.join(FIELD_KINDS)}")
    value = _value(cells["value"], kind, problems)
    n = _count(cells.get("n", ""), problems)
    place = _place(cells.get("lon", ""), cells.get("lat", ""), problems)
    if site is not None and place is not None and (elsewhere := _elsewhere(place, site, known)):
        problems.append(elsewhere)
    note = _note(cells.get("note", ""), problems)
    if cells["surplus"]:
        problems.append(f"more cells than columns ({cells['surplus']!r}); a note with a comma needs quotation marks")
    if problems or site is None or day is None:
        return problems
    lon, lat = place or (None, None)
    row = FieldRow(site=site_id, date=day, kind=kind, value=value, n=n, lon=lon, lat=lat, note=note)
    if (same := known.lines.setdefault(_digest(row), number)) != number:
        return [
            f"the same as line {same}; if both were measured, give n 2 once, or a place or note that tells them apart"
        ]
    return row


def _day(text: str, site: Site | None, known: _Known, problems: list[str]) -> date | None:
    day = written_day(text)
    if day is None:
        problems.append(f"date {text!r} is no date; write it as {today()}")
    elif day > today() + timedelta(days=1):  # where it is tomorrow already
        problems.append(f"date {text} is in the future")
    elif site is not None and day < known.starts[site.id]:
        start = known.starts[site.id]
        problems.append(f"date {text} is before the start of the work ({start}); rows show what the work has done")
    return day


def _value(text: str, kind: str, problems: list[str]) -> float:
    number = _number(text)
    if not math.isfinite(number):
        problems.append(f"value {text!r} is no number")
    elif number < 0:
        problems.append(f"value {text} is below 0")
    elif kind == "density" and number > MAX_DENSITY:
        problems.append(f"value {text} is more than {MAX_DENSITY:,.0f}; a density is in plants a hectare")
    elif kind in ("cover", "survival") and number > 1:
        problems.append(f"value {text} of {kind} is above 1; in percent? give a fraction, 0.35 for 35 %")
    return number + 0.0  # no zero below zero


def _count(text: str, problems: list[str]) -> int:
    number = _number(text or "1")
    if not (1 <= number <= 1_000_000 and number.is_integer()):
        problems.append(f"n {text!r} is no whole number from 1 on: the plots or plants behind the value")
        return 0
    return int(number)


def _place(lon: str, lat: str, problems: list[str]) -> tuple[float, float] | None:
    if not lon and not lat:
        return None
    x, y = _number(lon), _number(lat)
    if not (abs(x) <= 180 and abs(y) <= 90):
        swapped = "; they are swapped" if abs(x) <= 90 < abs(y) <= 180 else ""
        problems.append(f"lon {lon!r}, lat {lat!r} is no position: give both in degrees (WGS 84), or neither{swapped}")
        return None
    return x, y


def _elsewhere(place: tuple[float, float], site: Site, known: _Known) -> str | None:
    """Why a position is not on a site; None: it is."""
    away = _metres(place, site)
    if away <= POSITION_ERROR:
        return None
    others = [other.id for other in known.sites.values() if other.geometry.covers(Point(place))]
    where = f"in site {others[0]!r}" if others else "outside every site"
    swapped = _metres((place[1], place[0]), site) <= POSITION_ERROR
    hint = "; longitude and latitude are swapped" if swapped else ""
    return f"the position {place[0]:g}, {place[1]:g} is {where}, {away:,.0f} m from site {site.id!r}{hint}"


def _metres(place: tuple[float, float], site: Site) -> float:
    """Distance of a position from a site, 0 inside. [m]"""
    scale = METRES_PER_DEGREE * np.array([math.cos(math.radians(place[1])), 1.0])
    around = shapely.transform(site.geometry, lambda degrees: (degrees - np.array(place)) * scale)
    return float(around.distance(Point(0.0, 0.0)))


def _note(text: str, problems: list[str]) -> str | None:
    note = unicodedata.normalize("NFC", text)
    if has_invisible(note):
        problems.append("the note has control characters, line ends or changes of writing direction; type it again")
    elif note[:1] in FORMULA_STARTS and note:
        problems.append(f"the note begins with {note[0]!r}, which spreadsheets run as a formula; begin it with a word")
    elif len(note) > MAX_NOTE:
        problems.append(f"the note has {len(note)} characters, more than {MAX_NOTE}; shorten it")
    return note or None


def _number(text: str) -> float:
    """Number of a cell; NaN: it is none. Python also reads ``1_0`` and digits of other scripts: mistyped, here."""
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def stored_rows(values: list[dict[str, Any]]) -> tuple[FieldRow, ...]:
    """Records of rows of the ledger."""
    return tuple(from_json(row, FieldRow) for row in values)
