"""Control units: pieces of ground like a site, nearby, where nothing is being restored.

Candidates are squares on a lattice in a ring around the site, outside every registered site. Those that behaved most
like the site before the start are selected, and frozen for good: what grows there later is what would have grown on the
site, the idea of matched and synthetic controls [1]_. Their list is part of the evidence. A site whose work began
before all imagery gets the units that were most like it in the first growing season seen; what it had gained by then is
unknown.

References
----------
.. [1] A. Abadie, A. Diamond and J. Hainmueller, "Synthetic control methods for comparative case studies," J. Am. Stat.
   Assoc., 2010, doi:10.1198/jasa.2009.ap08746.
.. [2] P. C. Austin, "Balance diagnostics for comparing the distribution of baseline covariates between treatment
   groups," Stat. Med., 2009, doi:10.1002/sim.3697.
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely import polygons
from shapely.geometry import box, mapping, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union
from shapely.prepared import prep

from monitor.cube.grid import crs_of, site_grid
from monitor.imagery.auxiliary.terrain import Terrain
from monitor.sites.projection import lonlat, projected

MAX_CANDIDATES: Final = 240  #: candidates whose scenes are read, at most; thinned evenly over the ring
UNITS_PER_RING: Final = 30  #: units selected in a ring, at most
MIN_CANDIDATES_TWO_RINGS: Final = 160  #: candidates seen before the start that are needed for two rings; fewer give one
REFERENCE_RING: Final = 0  #: ring of the reference units: never compared with, they show what the site should come to
MAX_REFERENCES: Final = 15  #: reference units selected, at most
MAX_YEARLY_DIFFERENCE: Final = 0.03  #: root mean square in yearly means that still counts as alike [cover fraction]
MAX_HEIGHT_DIFFERENCE: Final = 150.0  #: [m]
SLOPE_CLASSES: Final = (5.0, 8.0, 15.0, 25.0, 35.0)  #: borders of the classes of slope [degree]
MAX_ASPECT_DIFFERENCE: Final = 45.0  #: where both slope by more than :data:`STEEP_SLOPE` [degree]
STEEP_SLOPE: Final = 8.0  #: [degree]
MIN_UNITS: Final = 10  #: with fewer units than this, in all or in a scene, no failure is reported
MIN_SELECTION_SCENES: Final = 3
"""Clear scenes needed to choose units by growing seasons after the start: as many as a season before the start needs to
count (:func:`monitor.verdict.kernels.state_space.agreement_before`)."""
STRIP_DISTANCE: Final = 130.0
"""Distance from the site up to which control ground is strips of it, whose noise was measured
(:data:`monitor.verdict.detectability.STRIP_DRIFT`); a ring begins farther out. [m]"""
MIN_UNIT_SIDE: Final = 5  #: of a unit, but for those of named ground that does not hold ten of this side [pixel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One piece of control ground."""

    id: str
    geometry: BaseGeometry  #: square, longitude and latitude [degree]
    distance: float  #: distance from the site, edge to edge [m]
    ring: int = 1  #: 1 (near) or 2 (far), disjoint; :data:`REFERENCE_RING`: never compared with


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSet:
    """The frozen units of one version of a site, and how alike they were."""

    units: tuple[Unit, ...]
    balance: dict[str, float]
    """Before the start: standardised mean difference [2]_ between units and site by feature [standard deviation], and
    ``rmspe`` [1]_, the root mean square of the difference in yearly means [cover fraction]."""
    candidates: int | None  #: number of candidates compared; None: none could be compared yet, see :data:`NOT_CHOSEN`

    @property
    def waits(self) -> bool:
        """Whether the units cannot be chosen before another growing season has been observed."""
        return self.candidates is None

    @property
    def compared(self) -> np.ndarray:
        """(unit,) bool: control ground; the other units are references."""
        return np.array([unit.ring != REFERENCE_RING for unit in self.units], dtype=bool)

    @property
    def strips(self) -> bool:
        """Whether the control ground is strips within the site or beside it, not a ring around it."""
        distances = [unit.distance for unit in self.units if unit.ring != REFERENCE_RING]
        return bool(distances) and max(distances) <= STRIP_DISTANCE

    @property
    def rings(self) -> int:
        """Number of rings of control ground, 0 to 2."""
        return len({unit.ring for unit in self.units} - {REFERENCE_RING})

    def to_json(self) -> dict[str, Any]:
        """As plain values, for the ledger."""
        units = [
            {"id": u.id, "geometry": mapping(u.geometry), "distance": round(u.distance, 1)}
            | ({} if u.ring == 1 else {"ring": u.ring})  # sets frozen before there were rings keep their hash
            for u in self.units
        ]
        return {"units": units, "balance": self.balance, "candidates": self.candidates}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "ControlSet":
        """The set written by :meth:`to_json`."""
        units = tuple(
            Unit(id=u["id"], geometry=geometry, distance=u["distance"], ring=u.get("ring", 1))
            for u, geometry in zip(stored["units"], _shapes([u["geometry"] for u in stored["units"]]), strict=True)
        )
        return cls(units=units, balance=stored["balance"], candidates=stored["candidates"])

    @property
    def hash(self) -> str:
        """SHA-256 of the set."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


NOT_CHOSEN: Final = ControlSet(units=(), balance={}, candidates=None)  #: of a site that waits for its control units


def _shapes(geometries: Sequence[dict[str, Any]]) -> Sequence[BaseGeometry]:
    """Geometries of GeoJSON; squares, as nearly all are, at once."""
    rings = [geometry["coordinates"] for geometry in geometries if geometry["type"] == "Polygon"]
    if len(rings) == len(geometries) and all(len(ring) == 1 and len(ring[0]) == 5 for ring in rings):
        squares = polygons(np.array(rings, np.float64).reshape(-1, 5, 2))
        return list(np.atleast_1d(np.asarray(squares, object)))
    return [shape(geometry) for geometry in geometries]


def candidate_units(
    site: BaseGeometry, others: Sequence[BaseGeometry], lattice: GeoBox, ring: tuple[float, float], *,
    covered: BaseGeometry | None = None, within: Sequence[BaseGeometry] | None = None,
) -> list[Unit]:  # fmt: skip
    """Squares of the site's size in a ring around it, outside every registered site.

    Parameters
    ----------
    site, others : shapely geometry
        Site, and every other registered site, longitude and latitude: ground within the inner distance of any of them
        is excluded. [degree]
    lattice : GeoBox
        Grid that gives the projected system and the lattice of pixels.
    ring : tuple of float
        Nearest and farthest distance from the site. [m]
    covered : shapely geometry, optional
        Ground that scenes cover, longitude and latitude; None or empty: everywhere. [degree]
    within : sequence of shapely geometry, optional
        Named control ground, longitude and latitude: units are cut from it alone, at any distance, and made smaller,
        down to one pixel, where it does not hold ten of the site's size. Parts inside a registered site are excluded,
        where they are not strips cut out of it. [degree]

    Returns
    -------
    list of Unit
        At most :data:`MAX_CANDIDATES`, thinned evenly, nearest first; the same for the same input.
    """
    crs, pixel = crs_of(lattice), abs(lattice.resolution.x)
    shape_ = projected(site, crs)
    side = max(MIN_UNIT_SIDE, round(math.sqrt(shape_.area) / pixel))
    inner, outer = ring
    sites = unary_union([shape_, *(projected(other, crs) for other in others)])
    ground = None if covered is None or covered.is_empty else projected(covered, crs)
    if within is None:
        squares = _squares(shape_, sites.buffer(inner), ground, lattice, side, reach=outer, inner=inner)
    else:
        named = unary_union([projected(geometry, crs) for geometry in within])
        ground = named if ground is None else named.intersection(ground)
        reach = 0.0
        if not ground.is_empty:
            (left, bottom, right, top), centre = ground.bounds, shape_.centroid
            across = max(abs(left - centre.x), abs(right - centre.x))
            reach = math.hypot(across, max(abs(bottom - centre.y), abs(top - centre.y)))
        squares = []
        while not ground.is_empty and len(squares) < MIN_UNITS and side >= 1:
            squares = _squares(shape_, sites, ground, lattice, side, reach=reach, inner=-1.0)
            side = max(MIN_UNIT_SIDE, side // 2) if side > MIN_UNIT_SIDE else side - 1
    squares.sort(key=lambda unit: (unit.distance, unit.id))
    if len(squares) > MAX_CANDIDATES:
        chosen = np.unique(np.linspace(0, len(squares) - 1, MAX_CANDIDATES).round().astype(int))
        squares = [squares[index] for index in chosen]
    return [Unit(id=u.id, geometry=lonlat(u.geometry, crs), distance=u.distance) for u in squares]


def _squares(
    site: BaseGeometry, closed: BaseGeometry, ground: BaseGeometry | None, lattice: GeoBox, side: int, *,
    reach: float, inner: float,
) -> list[Unit]:  # fmt: skip
    """Squares of `side` pixels on the site's lattice, farther than `inner` and up to `reach` [m], projected."""
    crs, pixel = crs_of(lattice), abs(lattice.resolution.x)
    step = (side + (side >= MIN_UNIT_SIDE)) * pixel  # small ones, of narrow strips, side by side
    inset = pixel / 3
    shut, seen = prep(closed), None if ground is None else prep(ground)
    anchor = lattice.affine.c, lattice.affine.f
    grid = site_grid(lonlat(site, crs), crs=crs, resolution=pixel, anchor=anchor, margin=0.0)
    left, top = grid.affine.c, grid.affine.f
    steps = math.ceil(reach / step)
    rows = columns = range(-steps, steps + 1)
    if ground is not None:
        west, south, east, north = ground.bounds
        rows = range(max(-steps, math.floor((top - north) / step)), min(steps, math.ceil((top - south) / step)) + 1)
        columns = range(max(-steps, math.floor((west - left) / step)), min(steps, math.ceil((east - left) / step)) + 1)
    squares = []
    for row in rows:
        for column in columns:
            x, y = left + column * step, top - row * step
            square = box(x + inset, y - side * pixel + inset, x + side * pixel - inset, y - inset)
            distance = square.distance(site)
            free = inner < distance <= reach and not shut.intersects(square)
            if free and (seen is None or seen.contains(square)):
                squares.append(Unit(id=f"r{row}c{column}", geometry=square, distance=distance))
    return squares


def select_units(
    site: xr.DataArray, ground: xr.DataArray, units: Sequence[Unit], *, promised: float = 0.0,
    terrain: tuple[Terrain, Sequence[Terrain | None]] | None = None,
) -> ControlSet:  # fmt: skip
    """Select the candidates that behaved most like the site before the start, in two disjoint rings where possible.

    Parameters
    ----------
    site : xr.DataArray
        (time, measure) means of the site in the scenes before the start; NaN where not seen. If there are none, of the
        first growing season seen, without `promised`: "before the start" then means that season in all below.
    ground : xr.DataArray
        (time, unit, measure) means of the candidates in the same scenes.
    units : sequence of Unit
        The candidates, in the order of ``ground``.
    promised : float
        Uplift of the plan at maturity; 0: no references are selected. [cover fraction]
    terrain : (Terrain, sequence of Terrain or None), optional
        Terrain of the site and of each candidate.

    Returns
    -------
    ControlSet
        At most :data:`UNITS_PER_RING` units a ring, nearest to the site in the space of the features; units unlike it
        year by year are excluded as long as ten others remain. And, where there are ten or more, at most
        :data:`MAX_REFERENCES` references: units that had before the start, in the growing season, nearly the cover that
        the site was promised, and at least half of the promise above the site.

    Notes
    -----
    The features are differences from the site in the same scene, so that scenes in which a candidate was hidden do not
    matter: cover of each year's growing season, its trend, amplitude and dry season, moisture, and brightness of the
    red band; each over its standard deviation among the candidates, the years together counting as one. Where terrain
    is known, height, slope and northness are features too, and candidates of another class of slope, more than 150 m
    higher or lower, or of another aspect on a steep slope, are excluded as long as ten others remain.

    The two rings are the nearer and the farther half of the candidates: what spreads from the site itself, or what its
    neighbours do, is unlikely to reach both.
    """
    if not units:
        return ControlSet(units=(), balance={}, candidates=0)
    features, yearly = _features(site, ground)
    usable = np.isfinite(features["cover"])
    if terrain is not None:
        usable = _add_terrain(features, usable, *terrain)
    if not usable.any():
        return ControlSet(units=(), balance={}, candidates=len(units))
    order = _nearest(features, yearly, usable)
    chosen = _in_rings(order, np.array([unit.distance for unit in units]), usable)
    selected = [i for i, _ in chosen]
    balance = _balance(features, yearly, selected)
    chosen += [(i, REFERENCE_RING) for i in _references(yearly, usable, selected, promised)]
    frozen = tuple(replace(units[i], ring=ring) for i, ring in chosen)
    return ControlSet(units=frozen, balance=balance, candidates=len(units))


def _features(site: xr.DataArray, ground: xr.DataArray) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Differences of the candidates from the site, (unit,) each, and those of each year's growing season."""
    difference = (ground - site).transpose("time", "unit", "measure")
    cover = difference.sel(measure="cover").values
    own = site.sel(measure="cover").values
    known = np.isfinite(own)
    growing = known & (own >= np.median(own[known])) if known.any() else known
    features = {"cover": _mean(cover)}
    half = cover.shape[0] // 2
    if half >= 3:
        features["cover_change"] = _mean(cover[half:]) - _mean(cover[:half])
    if growing.sum() >= 3 and (known & ~growing).sum() >= 3:
        features["dry_season"] = _mean(cover[known & ~growing])
        features["amplitude"] = _mean(cover[growing]) - features["dry_season"]
    for name in ("ndmi", "red"):
        features[name] = _mean(difference.sel(measure=name).values)
    year = np.zeros(cover.shape[0], dtype=int)
    if "time" in difference.coords:
        year = difference.time.values.astype("datetime64[Y]").astype(int)
    seasons = [growing & (year == each) for each in np.unique(year)]
    yearly = [_mean(cover[season]) for season in seasons if season.sum() >= 2]
    return features, yearly or [features["cover"]]


def _add_terrain(
    features: dict[str, np.ndarray], usable: np.ndarray, here: Terrain, there: Sequence[Terrain | None]
) -> np.ndarray:
    """Add the features of terrain; the usable candidates on terrain like the site's, or all usable if too few are."""
    for name in ("elevation", "slope", "northness"):
        features[name] = np.array([np.nan if u is None else getattr(u, name) for u in there]) - getattr(here, name)
    alike = usable & np.array([u is not None and _same_terrain(here, u) for u in there])
    return alike if alike.sum() >= MIN_UNITS else usable


def _nearest(features: Mapping[str, np.ndarray], yearly: Sequence[np.ndarray], usable: np.ndarray) -> list[int]:
    """Usable candidates that were like the site year by year, nearest in the space of the features first."""
    apart = np.where(usable, 0.0, np.inf)
    for values in features.values():
        apart += _standardised(values, usable)
    apart += sum(_standardised(values, usable) for values in yearly) / max(len(yearly), 1)
    with np.errstate(invalid="ignore"):
        miss = np.sqrt(_mean(np.stack(yearly) ** 2))
    miss = np.where(usable, np.where(np.isfinite(miss), miss, np.abs(features["cover"])), np.inf)
    tenth = np.sort(miss)[min(MIN_UNITS, usable.sum()) - 1]
    unlike = miss > max(MAX_YEARLY_DIFFERENCE, 2 * tenth)
    return [int(i) for i in np.argsort(apart, kind="stable") if usable[i] and not unlike[i]]


def _in_rings(order: Sequence[int], distance: np.ndarray, usable: np.ndarray) -> list[tuple[int, int]]:
    """Candidates selected from those in order, each with its ring: two halves by distance, or one ring."""
    middle = np.median(distance[usable])
    near, far = ([i for i in order if (distance[i] <= middle) == side][:UNITS_PER_RING] for side in (True, False))
    if usable.sum() >= MIN_CANDIDATES_TWO_RINGS and min(len(near), len(far)) >= MIN_UNITS:
        return [(i, 1) for i in near] + [(i, 2) for i in far]
    return [(i, 1) for i in order[:UNITS_PER_RING]]


def _balance(features: Mapping[str, np.ndarray], yearly: Sequence[np.ndarray], selected: list[int]) -> dict[str, float]:
    """Balance of the selected units, see :class:`ControlSet`."""
    balance = {}
    for name, values in features.items():
        spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
        if selected and spread > 0 and np.isfinite(values[selected]).any():
            balance[name] = round(float(np.nanmean(values[selected])) / spread, 3)
    years = [float(np.nanmean(v[selected])) for v in yearly if selected and np.isfinite(v[selected]).any()]
    if years:
        balance["rmspe"] = round(math.sqrt(sum(value**2 for value in years) / len(years)), 4)
    return balance


def _references(
    yearly: Sequence[np.ndarray], usable: np.ndarray, selected: Collection[int], promised: float
) -> list[int]:
    """Candidates with the cover that the site was promised, nearest first; none if there are fewer than ten."""
    with np.errstate(invalid="ignore"):
        ahead = _mean(np.stack(yearly)) - promised
        good = [int(i) for i in np.argsort(np.abs(ahead), kind="stable") if usable[i] and ahead[i] >= -promised / 2]
    references = [i for i in good if i not in set(selected)][:MAX_REFERENCES]
    return references if promised > 0 and len(references) >= MIN_UNITS else []


def _standardised(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Squared difference over its variance among the usable candidates; 0 where it is unknown."""
    known = values[usable & np.isfinite(values)]
    spread = float(np.std(known)) if known.size else 0.0
    if not spread > 0:
        return np.zeros(values.size)
    return np.asarray(np.where(np.isfinite(values), (values / spread) ** 2, 0.0))


def _same_terrain(here: Terrain, there: Terrain) -> bool:
    classes = np.searchsorted(SLOPE_CLASSES, [here.slope, there.slope], side="right")
    if not abs(there.elevation - here.elevation) <= MAX_HEIGHT_DIFFERENCE or classes[0] != classes[1]:
        return False
    if min(here.slope, there.slope) <= STEEP_SLOPE:
        return True
    turn = here.northness * there.northness + here.eastness * there.eastness
    length = math.hypot(here.northness, here.eastness) * math.hypot(there.northness, there.eastness)
    return length == 0 or turn / length >= math.cos(math.radians(MAX_ASPECT_DIFFERENCE))


def _mean(values: np.ndarray) -> np.ndarray:
    seen = np.isfinite(values)
    n = seen.sum(axis=0)
    return np.asarray(np.divide(np.where(seen, values, 0.0).sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0))
