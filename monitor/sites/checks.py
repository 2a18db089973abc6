"""Judge every entry of a registry: its values, its outline, and how it lies to the others.

A problem that would make a verdict wrong or impossible refuses the site; one that a person should only know
of is a warning. Two entries that contradict each other are both refused: which is right cannot be told from here.
"""

import difflib
import hashlib
import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from itertools import pairwise

import numpy as np
import shapely
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

from monitor.sites import gcj02
from monitor.sites.biomes import BIOMES, default_plan
from monitor.sites.formats.feature import Feature
from monitor.sites.geometry import PIXEL_HECTARES, Problem, borders_tangled, check_outline
from monitor.sites.names import comparable_id, folder_name, has_invisible, without_invisible
from monitor.sites.site import INTERVENTIONS, SUBTYPES, Plan, Site

PROPERTIES = (
    "id", "name", "start", "intervention", "biome", "subtype", "province", "programme_year", "partner", "slope_degrees",
    "manager_name", "manager_language", "manager_channel", "plan_A", "plan_k", "plan_L", "too_early_years", "cohorts",
)  # fmt: skip
"""Columns of the registry. In a shapefile, names are cut to ten characters and case is lost; both are understood."""
_SPELT = {name[:10].casefold(): name for name in PROPERTIES} | {name.casefold(): name for name in PROPERTIES}
"""Each by what is left of it in a shapefile and in whole."""
TEXT_LIMIT = 300
"""Longest text that is kept; more is no name. [characters]"""
FIRST_YEAR, LAST_YEAR = 1980, 2100
"""[D] Starts outside are slips of the pen: Landsat sees 30 m since 1982."""
LIMITS = {
    "plan_A": (0.0, 1.0, "a share of the ground: 0.12 for 12 %"),
    "plan_k": (0.01, 10.0, "the rate of approach per year, 0.2 to 0.6 as a rule"),
    "plan_L": (0.0, 20.0, "the lag in years"),
    "too_early_years": (0.0, 30.0, "years after the start"),
    "slope_degrees": (0.0, 90.0, "the mean slope of the ground in degrees"),
    "programme_year": (FIRST_YEAR, LAST_YEAR, "a year, such as 2024"),
}
"""Least and greatest value that is accepted, and what is meant. [D]"""
COHORT_ROUNDING = 0.011
"""[D] By how much the shares of cohorts may miss 1, having been rounded to hundredths; they are then scaled to it."""
OVERLAP_SHARE = 0.05
"""[D] Share of the smaller site above which an overlap is no slip in drawing, and counts ground twice."""
SAME_GROUND = 0.99
"""[D] Intersection over union above which two outlines are one."""
_PAIR_LIMIT = 100_000
"""Pairs of near sites that are laid over each other, twenty a site; beyond, one more pair a site."""
_NAMED_OVERLAPS = 5
"""Overlaps of a site that are told; the rest will show when those are gone."""
COLUMN_LIKE = 0.65
"""[D] From this similarity on (``difflib``: twice the shared letters over all) a column is taken for a slip of a known
one: ``Start Date`` is .67 to ``start``."""
LONGEST_COLUMN = 40
"""As much of the name of an unknown column is compared with the known ones. [characters]"""
MOST_COLUMNS = 100
"""Unknown columns that are named; a sane table has fewer."""
_WEB_MAP = re.compile(r"gcj|bd-?09|火星|高德|amap|腾讯|百度", re.IGNORECASE)
_DATUM_COLUMNS = ("datum", "crs", "coordinate_system", "coordsys", "坐标系")
_DATE = re.compile(r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})([T ][\d:.]+(Z|[+-]\d{2}(:?\d{2})?)?)?", re.ASCII)
"""Year first, since of 04/05/2021 it cannot be told which is the month; the time of day that GIS programs add is left
out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFeature:
    """One feature of the file, judged."""

    label: str
    """The id; where there is none, the place in the file."""
    feature: Feature = field(repr=False)
    problems: list[Problem]
    hectares: float | None
    """Geodesic area as drawn. [ha]"""
    site: Site | None
    """None where a problem refuses it."""

    @property
    def ok(self) -> bool:
        """Whether the site is taken."""
        return self.site is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Every entry of a registry, in the order of the file."""

    entries: list[CheckedFeature]
    columns: dict[str, str | None] = field(default_factory=dict)
    """Columns of the file that are not read, each with the nearest of :data:`PROPERTIES`, None where none is near."""

    @property
    def sites(self) -> list[Site]:
        """Sites that are taken."""
        return [entry.site for entry in self.entries if entry.site is not None]

    @property
    def refused(self) -> list[CheckedFeature]:
        """Entries that are not."""
        return [entry for entry in self.entries if not entry.ok]

    @property
    def problems(self) -> list[tuple[str, Problem]]:
        """Every problem, warnings too, with the label of its site."""
        return [(entry.label, problem) for entry in self.entries for problem in entry.problems]


def check(features: Iterable[Feature]) -> Report:
    """Judge all features of a registry.

    Parameters
    ----------
    features : iterable of Feature
        As :func:`monitor.sites.formats.reader.read_features` gives them.

    Returns
    -------
    Report
        A typed site for each entry that no problem refuses.
    """
    features = list(features)
    columns = _unknown_columns(features)
    drafts = [_draft(feature, place, columns) for place, feature in enumerate(features, start=1)]
    _compare_ids(drafts)
    _compare_outlines([draft for draft in drafts if draft.outline is not None])
    return Report(entries=[draft.entry() for draft in drafts], columns=columns)


def canonical_properties(properties: Mapping[str, object]) -> dict[str, object]:
    """Properties under the names of :data:`PROPERTIES`, whatever their case or if cut to ten characters."""
    found: dict[str, object] = {}
    for key, value in properties.items():
        name = key if key in PROPERTIES else _SPELT.get(str(key).casefold(), str(key))
        if name == key or name not in properties:
            found[name] = value
    return found


def stated_datum(properties: Mapping[str, object]) -> str | None:
    """Chinese web-map datum that a column states, None if none does."""
    for key in _DATUM_COLUMNS:
        value = properties.get(key)
        if isinstance(value, str) and _WEB_MAP.search(value):
            return value
    return None


def drop_datum_columns(properties: Mapping[str, object]) -> dict[str, object]:
    """Properties without the columns that state a datum."""
    return {key: value for key, value in properties.items() if key not in _DATUM_COLUMNS}


def site_version(site: Site) -> str:
    """SHA-256 of what the registry says of a site.

    The area is left out, since it follows from the outline and its last digits from the version of PROJ; so are the
    winding and the first point of rings, which say nothing.
    """
    said = {item.name: getattr(site, item.name) for item in fields(site) if item.name not in ("version", "hectares")}
    said["geometry"] = shapely.to_wkb(shapely.normalize(site.geometry), hex=True, byte_order=1, output_dimension=2)
    said["start"] = site.start.isoformat()
    said["plan"] = asdict(site.plan)
    said["cohorts"] = [(begun.isoformat(), share) for begun, share in site.cohorts]
    if not site.cohorts:
        del said["cohorts"]  # sites that were added before there were cohorts keep their version
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True, kw_only=True)
class _Draft:
    """An entry on its way: values as far as they are good, problems as they are found."""

    feature: Feature
    place: int
    properties: dict[str, object]
    problems: list[Problem]
    label: str = ""
    site_id: str | None = None
    outline: BaseGeometry | None = None
    overlaps: int = 0
    hectares: float | None = None
    site: Site | None = None

    def add(self, code: str, message: str, fix: str, *, refuses: bool = True) -> None:
        self.problems.append(Problem(code=code, message=message, fix=fix, refuses=refuses))

    def entry(self) -> CheckedFeature:
        fit = self.site is not None and not any(problem.refuses for problem in self.problems)
        return CheckedFeature(
            label=self.label,
            feature=self.feature,
            problems=self.problems,
            hectares=self.hectares,
            site=self.site if fit else None,
        )

    def text(self, name: str) -> str | None:
        """Read a text, None if empty; what is invisible is taken out and said."""
        value = self.properties.get(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self.add("BAD_VALUE", f"{name} is {_shown(value)}, not a text.", f"Write {name} as a text.")
            return None
        text = _plain(value)
        if has_invisible(text):
            if name == "manager_channel":
                self.add("BAD_CHANNEL", f"manager_channel has control characters: {_shown(text)}.", "Type it again.")
                return None
            self.add(
                "TEXT_CLEANED",
                f"{name} has control characters, line ends or changes of writing direction: {_shown(text)}.",
                "They are left out; type it again to be rid of this line.",
                refuses=False,
            )
            text = without_invisible(text)
        text = unicodedata.normalize("NFC", text.strip())
        if len(text) > TEXT_LIMIT:
            self.add(
                "TEXT_LONG", f"{name} has {len(text)} characters; {TEXT_LIMIT} are kept.", "Shorten it.", refuses=False
            )
            text = text[:TEXT_LIMIT]
        return text or None

    def choice(self, name: str, options: tuple[str, ...], *, required: bool) -> str | None:
        """Read a value of an enumeration; the nearest is named where it is none of them."""
        value = self.text(name)
        if value is None:
            if required:
                self.add("MISSING", f"{name} is missing.", f"Give one of: {', '.join(options)}.")
            return None
        if value in options:
            return value
        near = difflib.get_close_matches(value.lower().replace(" ", "_").replace("-", "_"), options, n=1, cutoff=0.6)
        fix = f"Did you mean {near[0]!r}? " if near else ""
        self.add(
            "UNKNOWN_VALUE", f"{name} is {_shown(value)}, which is unknown.", f"{fix}Give one of: {', '.join(options)}."
        )
        return None

    def number(self, name: str) -> float | None:
        """Read a number within :data:`LIMITS`, None if empty."""
        value = self.properties.get(name)
        if value is None or value == "":
            return None
        low, high, meaning = LIMITS[name]
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not low <= number <= high or (name == "programme_year" and not number.is_integer()):
            fix = f"Give {meaning}, within {low:g} to {high:g}; or leave it empty."
            self.add("OUT_OF_LIMITS", f"{name} is {_shown(value)}.", fix)
            return None
        return number


def _draft(feature: Feature, place: int, columns: Mapping[str, str | None]) -> _Draft:
    draft = _Draft(feature=feature, place=place, properties=canonical_properties(feature.properties), problems=[])
    draft.site_id = _site_id(draft)
    draft.label = draft.site_id or f"feature {place}"
    for column, near in columns.items():
        if near and column in feature.properties:
            message = f"The column {_shown(column)} is unknown and not read."
            draft.add("UNKNOWN_COLUMN", message, f"Did you mean {near!r}?", refuses=False)
    values = {name: draft.text(name) for name in ("name", "province", "partner", "manager_name", "manager_channel")}
    start = _start(draft)
    intervention = draft.choice("intervention", INTERVENTIONS, required=True)
    biome = draft.choice("biome", tuple(BIOMES), required=True)
    subtype = draft.choice("subtype", SUBTYPES, required=False)
    language = draft.choice("manager_language", ("zh", "en"), required=False)
    year = draft.number("programme_year")
    slope = draft.number("slope_degrees")
    plan = _plan(draft, intervention, biome, subtype)
    cohorts = _cohorts(draft, start)

    outline = check_outline(feature)
    draft.problems += outline.problems
    draft.outline, draft.hectares = outline.geometry, outline.hectares
    if (datum := stated_datum(draft.properties)) is not None:
        draft.add(
            "GCJ02",
            f"The coordinates are stated to be those of a Chinese web map ({_shown(datum)}), 100 to 700 m off WGS 84.",
            "Convert them to WGS 84; --repair does so for GCJ-02.",
        )
    if (
        any(problem.refuses for problem in draft.problems)
        or draft.site_id is None
        or start is None
        or intervention is None
        or biome is None
        or plan is None
        or outline.geometry is None
        or outline.hectares is None
    ):  # each None has its problem; they are named for the type checker
        return draft
    site = Site(
        id=draft.site_id,
        name=values["name"] or draft.site_id,
        geometry=outline.geometry,
        start=start,
        intervention=intervention,
        biome=biome,
        plan=plan,
        hectares=outline.hectares,
        subtype=subtype,
        province=values["province"],
        programme_year=None if year is None else int(year),
        partner=values["partner"],
        slope_degrees=slope,
        manager_name=values["manager_name"],
        manager_language=language or "en",
        manager_channel=values["manager_channel"],
        cohorts=cohorts,
    )
    draft.site = replace(site, version=site_version(site))
    return draft


def _site_id(draft: _Draft) -> str | None:
    value = draft.properties.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not _plain(value).strip():
        found = "is missing" if value is None or value == "" else f"is {_shown(value)}"
        draft.add("ID_MISSING", f"The id {found}.", "Give each site an id of its own that never changes.")
        return None
    site_id = unicodedata.normalize("NFC", _plain(value).strip())
    if has_invisible(site_id):
        draft.add(
            "ID_INVISIBLE",
            f"The id has control characters or other invisible signs: {_shown(site_id)}.",
            "Type it again, with letters, digits, - and _.",
        )
        return None
    if len(site_id) > TEXT_LIMIT:
        draft.add("ID_LONG", f"The id has {len(site_id)} characters: {_shown(site_id)}.", "Give a short one.")
        return None
    if (folder := folder_name(site_id)) != site_id:
        draft.add(
            "ID_FOLDER",
            f"The id {_shown(site_id)} cannot name a folder everywhere; its folder is {folder!r}.",
            "Nothing need be done; an id of letters, digits, - and _ is easier to find.",
            refuses=False,
        )
    return site_id


def _unknown_columns(features: Iterable[Feature]) -> dict[str, str | None]:
    """Columns that are not read, in the order of the file, each with the nearest known one."""
    known = {name.casefold(): name for name in PROPERTIES}
    names = dict.fromkeys(str(key) for feature in features for key in feature.properties)
    unknown = [name for name in names if name.casefold() not in _SPELT and name not in _DATUM_COLUMNS]
    found: dict[str, str | None] = {}
    for name in unknown[:MOST_COLUMNS]:
        words = re.sub(r"\W+", "_", name[:LONGEST_COLUMN].casefold()).strip("_")
        near = difflib.get_close_matches(words, known, n=1, cutoff=COLUMN_LIKE)
        found[name] = known[near[0]] if near else None
    return found


def _date(text: str) -> date | None:
    written = _DATE.fullmatch(text)
    try:
        day = date(*map(int, written.group(1, 3, 4))) if written else None
    except ValueError:
        return None
    return day if day is not None and FIRST_YEAR <= day.year <= LAST_YEAR else None


def _start(draft: _Draft) -> date | None:
    text = draft.text("start")
    fix = "Write the first day of the work as YYYY-MM-DD, such as 2021-04-15."
    if text is None:
        if not any(problem.message.startswith("start ") for problem in draft.problems):
            draft.add("MISSING", "start is missing.", fix)
        return None
    start = _date(text)
    if start is None:
        draft.add("BAD_DATE", f"start is {_shown(text)}, not a date from {FIRST_YEAR} to {LAST_YEAR}.", fix)
        return None
    return start


def _plan(draft: _Draft, intervention: str | None, biome: str | None, subtype: str | None) -> Plan | None:
    given = {
        key: value
        for key, column in (("A", "plan_A"), ("k", "plan_k"), ("L", "plan_L"), ("too_early_years", "too_early_years"))
        if (value := draft.number(column)) is not None
    }
    if intervention is None or biome is None:
        return None
    plan = replace(default_plan(intervention, biome, subtype), **given)
    if intervention == "tending" and plan.A > 0:
        draft.add("PLAN", f"Tending promises no uplift, but plan_A is {plan.A:g}.", "Leave plan_A empty.")
    elif intervention != "tending" and plan.A == 0:
        fix = "Give the promised uplift, or call the intervention tending."
        draft.add("PLAN", f"plan_A is 0, but {intervention} promises uplift.", fix)
    if plan.too_early_years < plan.L:
        draft.add(
            "PLAN",
            f"A verdict would be given after {plan.too_early_years:g} years, "
            f"before growth can be seen at {plan.L:g} years (plan_L).",
            "Give too_early_years of at least plan_L.",
        )
    return plan


def _cohorts(draft: _Draft, start: date | None) -> tuple[tuple[date, float], ...]:
    """Read the parts of a site that was begun in several years; none where all of it was begun at its start."""
    text = draft.text("cohorts")
    if text is None:
        return ()
    example = "Write day:share of the area, such as 2021-04-01:0.6;2022-04-10:0.4, or leave it empty."
    found = []
    for part in text.replace("；", ";").replace("：", ":").strip("; ").split(";"):
        day, _, share = (word.strip() for word in part.partition(":"))
        begun = _date(day)
        try:
            size = float(share)
        except ValueError:
            size = math.nan
        if begun is None or not 0 < size <= 1:
            draft.add("COHORTS", f"cohorts has {_shown(part.strip())}.", example)
            return ()
        found.append((begun, size))
    total = sum(size for _, size in found)
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(found)):
        draft.add("COHORTS", f"The days of cohorts do not ascend: {_shown(text)}.", "Sort them; join those of one day.")
    elif abs(total - 1) > COHORT_ROUNDING:
        draft.add("COHORTS", f"The shares of cohorts add up to {total:g}, not 1: {_shown(text)}.", example)
    elif start is not None and found[0][0] != start:
        fix = f"Write start {found[0][0]}, or begin the cohorts on {start}."
        draft.add("COHORTS", f"The first cohort was begun on {found[0][0]}, but start is {start}.", fix)
    return tuple((begun, size / total) for begun, size in found)


def _compare_ids(drafts: list[_Draft]) -> None:
    same = defaultdict(list)
    for draft in drafts:
        if draft.site_id is not None:
            same[comparable_id(draft.site_id)].append(draft)
    for group in same.values():
        if len(group) == 1:
            continue
        for draft in group:
            others = [other for other in group if other is not draft][:5]
            places = ", ".join(f"{_shown(other.site_id)} (feature {other.place})" for other in others)
            draft.add(
                "ID_DUPLICATE",
                f"The id is used more than once, case and Unicode form apart: {places}.",
                "Give each site an id of its own.",
            )


def _compare_outlines(drafts: list[_Draft]) -> None:
    """Name sites that share ground, and those that are another moved by a web map's offset."""
    outlines = np.array([draft.outline for draft in drafts], dtype=object)
    tree = shapely.STRtree(outlines)
    found: list[tuple[int, int]] = []
    for i, outline in enumerate(outlines):
        near = tree.query(outline)
        near = near[near > i] if len(found) < _PAIR_LIMIT else near[near > i][:1]
        found += [(i, int(j)) for j in near]
    found = [(i, j) for i, j in found if not _name_tangle(drafts[i], drafts[j])]
    pairs = np.array(found, dtype=np.intp).reshape(-1, 2)
    shared = shapely.area(shapely.intersection(outlines[pairs[:, 0]], outlines[pairs[:, 1]]))
    areas = shapely.area(outlines)
    share = shared / np.minimum(areas[pairs[:, 0]], areas[pairs[:, 1]])
    for place in np.argsort(-share, kind="stable"):  # the gravest first: not all may be told
        (i, j), common = pairs[place], shared[place]
        if common > 0:
            _name_overlap(drafts[i], drafts[j], common / areas[i], common / areas[j])
    _name_shifts(drafts)


def _name_tangle(one: _Draft, other: _Draft) -> bool:
    """Refuse two sites whose borders cross too often to be laid over each other."""
    if one.outline is None or other.outline is None or not borders_tangled(one.outline, other.outline):
        return False
    for draft, neighbour in ((one, other), (other, one)):
        draft.add(
            "OVERLAP",
            f"Its border crosses that of site {neighbour.label!r} millions of times.",
            "Draw the two outlines apart, with fewer points.",
        )
    return True


def _name_overlap(one: _Draft, other: _Draft, of_one: float, of_other: float) -> None:
    """Add what two sites share, given as a share of each (in square degrees, which cancel)."""
    union = 1 / of_one + 1 / of_other - 1
    for draft, neighbour, share in ((one, other, of_one), (other, one, of_other)):
        draft.overlaps += 1
        if draft.overlaps > _NAMED_OVERLAPS:
            continue
        hectares = share * (draft.hectares or 0.0)
        if 1 / union >= SAME_GROUND:
            draft.add(
                "OUTLINE_DUPLICATE",
                f"The outline is the same as that of site {neighbour.label!r}.",
                "Keep one of the two; a later phase on the same ground is a new version, not a new site.",
            )
        elif max(of_one, of_other) > OVERLAP_SHARE:
            draft.add(
                "OVERLAP",
                f"{hectares:,.2f} ha ({share:.0%}) also belong to site {neighbour.label!r} and would count twice.",
                "Cut the shared ground out of one of the two, or join them.",
            )
        elif hectares >= PIXEL_HECTARES:
            draft.add(
                "OVERLAP_SLIVER",
                f"{hectares:,.2f} ha along the edge also belong to site {neighbour.label!r}.",
                "Snap the two outlines together when next you edit them.",
                refuses=False,
            )


def _name_shifts(drafts: list[_Draft]) -> None:
    """Name pairs of which one is the other moved by the GCJ-02 offset.

    A single outline cannot betray its datum; the same outline in both can: no chance makes two outlines
    one after a move by just the hundreds of metres that hold at that place.
    """
    drafts = [draft for draft in drafts if all(gcj02.in_china(rings[0]) for rings in draft.feature.polygons)]
    if not drafts:
        return
    low = shapely.bounds([draft.outline for draft in drafts])[:, :2]
    tree = shapely.STRtree([Point(corner) for corner in low])
    # The offset varies by metres over a site, so corners of boxes agree to some 20 m (2e-4 degrees).
    near = tree.query([Point(corner) for corner in gcj02.from_wgs84(low)], predicate="dwithin", distance=2e-4)
    for i, j in near.T:
        if i == j or borders_tangled(drafts[i].outline, drafts[j].outline):
            continue
        moved = shapely.transform(drafts[i].outline, gcj02.from_wgs84)
        common = shapely.area(shapely.intersection(moved, drafts[j].outline))
        if common > SAME_GROUND * shapely.area(shapely.union(moved, drafts[j].outline)):
            for draft, other in ((drafts[i], drafts[j]), (drafts[j], drafts[i])):
                draft.add(
                    "GCJ02_SUSPECTED",
                    f"This outline and that of site {other.label!r} differ by just the offset of Chinese web maps "
                    f"(GCJ-02): {drafts[j].label!r} seems to be the shifted one.",
                    "Check both on satellite imagery; convert the shifted one to WGS 84.",
                    refuses=False,
                )


def _plain(value: object) -> str:
    """Text of a value; a whole number without its .0, as tables write ids."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _shown(value: object) -> str:
    """Value for a message: escaped, so that it cannot change how the message reads, and short."""
    text = ascii(value) if has_invisible(str(value)) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
