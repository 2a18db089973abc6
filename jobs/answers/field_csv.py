"""Read measurements on the ground from a CSV file and store them: all of them or, if any line is wrong, none."""

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import shapely
from shapely.geometry import Point

from jobs.runtime.clock import now, today
from jobs.runtime.records import from_json, to_json
from monitor.ledger.transaction import Transaction
from monitor.series.field_rows import FIELD_KINDS, FieldRow
from monitor.series.observations import FORMULA_STARTS
from monitor.sites.clusters import METRES_PER_DEGREE
from monitor.sites.names import has_invisible
from monitor.sites.site import Site
from monitor.tables import Column, Table, read

COLUMNS: Final = (
    Column("site", "id", True), Column("date", "day", True), Column("kind", required=True, choices=FIELD_KINDS),
    Column("value", "number", True, low=0.0, meaning="0 or more"),
    Column("n", "number", low=1, high=1_000_000, meaning="a whole number from 1 on, the plots or plants"),
    Column("lon", "number"), Column("lat", "number"), Column("note"),
)  # fmt: skip
FORM: Final = (  # questions of KoboToolbox or ODK, see docs/field.md; each submission gives up to three rows
    Column("site", "id", True), Column("date", "day", True, aliases=("today",)),
    Column("cover_percent", "number", low=0.0, high=100.0, meaning="a percentage 0..100"),
    Column("survival_percent", "number", low=0.0, high=100.0, meaning="a percentage 0..100"),
    Column("density", "number", low=0.0, meaning="0 or more plants a hectare"),
    Column("n", "number", low=1, high=1_000_000, meaning="a whole number from 1 on, the plots or plants"),
    Column("lon", "number"), Column("lat", "number"), Column("photo"), Column("note"),
)  # fmt: skip
# By kind: the question, and its unit in that of the row.
SCALES: Final = {"cover": ("cover_percent", 100), "survival": ("survival_percent", 100), "density": ("density", 1)}
POSITION_ERROR: Final = 30.0  # positions up to this far from a site are on it: error of hand-held receivers [m]
MAX_DENSITY: Final = 1_000_000.0  # largest density that is believed: a hundred plants a square metre [1/ha]
MAX_NOTE: Final = 500  # length of the longest note [characters]


# Place of a row in the table, day, kind, value, n, longitude, latitude, note; NaN where not stated.
type _Line = tuple[int, date | None, str, float, float, float, float, str]


class Added(NamedTuple):
    """Result of adding the lines of a file."""

    fresh: list[FieldRow]  # rows that were stored
    known: int  # number of rows that had been stored before
    not_measured: int  # lines without day and value, as an inspection sheet has before it is filled in


def add_field_rows(t: Transaction, path: Path) -> Added:
    """Store the measurements of a file. Safe to run twice: the same row again stores nothing.

    Raises BadData if the file cannot be read or lines are wrong; the message names each, and nothing was stored.
    """
    sites = {values["id"]: from_json(values, Site) for values in t.all_sites()}
    first = {site: date.fromisoformat(episodes[0]["start"]) for site, episodes in t.all_episodes().items()}
    starts = {site_id: min(site.start, first.get(site_id, site.start)) for site_id, site in sites.items()}
    rows, not_measured = read_field_rows(path, sites, starts)
    added = now()
    fresh = t.add_field_rows({**to_json(row), "digest": digest, "added": added} for digest, row in rows.items())
    return Added([rows[row["digest"]] for row in fresh], len(rows) - len(fresh), not_measured)


def read_field_rows(
    path: Path, sites: Mapping[str, Site], starts: Mapping[str, date]
) -> tuple[dict[str, FieldRow], int]:
    """Measurements of a file by digest, and the number of lines without day and value; BadData names each wrong line.

    `starts`: first day of the work at each site.
    """
    table = read(path, COLUMNS, empty=True, any_case=True, form=FORM)
    of_form = "kind" not in table.schema
    measured = [question for question, _ in SCALES.values()] if of_form else ["date", "value"]
    not_measured = np.logical_and.reduce([table.empty(name) for name in measured])
    table = table.where(~not_measured)
    names, of_row = table.ids()
    lines = _of_form(table) if of_form else _of_table(table)
    wrong = {problem.row for problem in table.problems}
    rows: dict[str, FieldRow] = {}
    places: dict[str, int] = {}
    for at, day, kind, value, n, lon, lat, note in lines:
        name = names[of_row[at]]
        site = sites.get(name)
        problems = [f"no site {name!r}; 'regrowth sites list' shows all sites"] if site is None and name else []
        if day is not None:
            problems += _day_problems(day, starts.get(name))
        if math.isnan(value) and int(table.rows[at]) not in wrong:
            problems.append("value is absent, not a number")
        problems += _value_problems(value, kind)
        if n % 1 > 0:
            problems.append(f"n is {n:g}, not a whole number")
        place = None if math.isnan(lon) and math.isnan(lat) else (lon, lat)
        if place and not (abs(lon) <= 180 and abs(lat) <= 90):
            swapped = "; they are swapped" if abs(lon) <= 90 < abs(lat) <= 180 else ""
            problems.append(
                f"lon {lon:g}, lat {lat:g} is not a position: give both in degrees (WGS 84), or neither{swapped}"
            )
        elif place and site is not None:
            problems += _elsewhere(place, site, sites)
        problems += _note_problems(note)
        for problem in problems:
            table.add(at, problem)
        if problems or day is None or int(table.rows[at]) in wrong:
            continue
        east, north = place or (None, None)
        row = FieldRow(
            site=name, date=day, kind=kind, value=value + 0.0, n=1 if math.isnan(n) else int(n), lon=east, lat=north,
            note=note or None,
        )  # fmt: skip
        if (same := places.setdefault(_digest(row), at)) != at:
            hint = "if both were measured, give n 2 once, or a place or note that tells them apart"
            table.add(at, f"the same as {table.row(same)}; {hint}")
        rows[_digest(row)] = row
    table.check_lines("stored")
    return rows, int(not_measured.sum())


def _of_table(table: Table) -> list[_Line]:
    values = [table[column.name].tolist() for column in COLUMNS[1:]]
    return list(zip(range(table.size), *values, strict=True))


def _of_form(table: Table) -> list[_Line]:
    """Measurements of the submissions of a form; the name of a photo is added to the note."""
    days, n, lon, lat = (table[name].tolist() for name in ("date", "n", "lon", "lat"))
    words = zip(table["note"], table["photo"], strict=True)
    notes = ["; ".join(filter(None, (note, photo and f"photo {photo}"))) for note, photo in words]
    lines = [
        (at, days[at], kind, value / unit, n[at], lon[at], lat[at], notes[at])
        for kind, (question, unit) in SCALES.items()
        for at, value in enumerate(table[question].tolist())
        if not math.isnan(value)
    ]
    return sorted(lines, key=lambda line: line[0])


def _digest(row: FieldRow) -> str:
    return hashlib.sha256(json.dumps(to_json(row), sort_keys=True).encode()).hexdigest()


def _day_problems(day: date, start: date | None) -> list[str]:
    if day > today() + timedelta(days=1):  # where it is tomorrow already
        return [f"date {day} is in the future"]
    if start is not None and day < start:
        return [f"date {day} is before the start of the work ({start}); rows show what the work has done"]
    return []


def _value_problems(value: float, kind: str) -> list[str]:
    if kind == "density" and value > MAX_DENSITY:
        return [f"value {value:g} is more than {MAX_DENSITY:,.0f}; a density is in plants a hectare"]
    if kind in ("cover", "survival") and value > 1:
        return [f"value {value:g} of {kind} is above 1; in percent? give a fraction, 0.35 for 35 %"]
    return []


def _elsewhere(place: tuple[float, float], site: Site, sites: Mapping[str, Site]) -> list[str]:
    """Why a position is not on a site; empty: it is."""
    away = _metres(place, site)
    if away <= POSITION_ERROR:
        return []
    others = [other.id for other in sites.values() if other.geometry.covers(Point(place))]
    where = f"in site {others[0]!r}" if others else "outside every site"
    swapped = _metres((place[1], place[0]), site) <= POSITION_ERROR
    hint = "; longitude and latitude are swapped" if swapped else ""
    return [f"the position {place[0]:g}, {place[1]:g} is {where}, {away:,.0f} m from site {site.id!r}{hint}"]


def _metres(place: tuple[float, float], site: Site) -> float:
    """Distance of a position from a site, 0 inside. [m]"""
    scale = METRES_PER_DEGREE * np.array([math.cos(math.radians(place[1])), 1.0])
    around = shapely.transform(site.geometry, lambda degrees: (degrees - np.array(place)) * scale)
    return float(around.distance(Point(0.0, 0.0)))


def _note_problems(note: str) -> list[str]:
    if has_invisible(note):
        return ["the note has control characters, line ends or changes of writing direction; type it again"]
    if note[:1] in FORMULA_STARTS and note:
        return [f"the note begins with {note[0]!r}, which spreadsheets run as a formula; begin it with a word"]
    if len(note) > MAX_NOTE:
        return [f"the note has {len(note)} characters, more than {MAX_NOTE}; shorten it"]
    return []
