"""A site: its outline, start, intervention and plan."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from datetime import date

import shapely
from shapely.geometry.base import BaseGeometry

INTERVENTIONS = ("assisted_regeneration", "planting", "erosion_control", "tending")
SUBTYPES = ("enclosure", "shrub", "tree", "reseeding", "slope", "gully", "checkerboard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Expected uplift of vegetation cover over the counterfactual, as a curve in time.

    ``g(tau) = A (1 - exp(-k max(tau - L, 0)))`` with tau in years since the start.
    """

    A: float
    """Uplift at maturity, in the cover that `cover` names; 0 for an intervention that promises none (tending).
    [cover fraction]"""
    k: float
    """Rate of approach. [1/year]"""
    L: float
    """Lag before growth is visible to a satellite. [year]"""
    too_early_years: float
    """Time after the start during which no failure is reported. [year]"""
    cover: str = "index"
    """Cover that is promised: ``index``, or ``field`` as people estimate it on the ground
    (:mod:`monitor.sites.cover_scale`)."""
    factor: float = 1.0
    """Index cover per cover that is promised. [1]"""

    @property
    def index_A(self) -> float:
        """Uplift at maturity in index cover, which is what is judged. [cover fraction]"""
        return self.A * self.factor

    def uplift(self, years: float) -> float:
        """Expected uplift of index cover at a time after the start [year]. [cover fraction]"""
        return self.index_A * -math.expm1(-self.k * max(years - self.L, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One area under restoration, as described in the registry."""

    id: str
    """Unique in the registry, NFC-normalised; may be Chinese."""
    name: str
    geometry: BaseGeometry = field(repr=False)
    """Polygon or MultiPolygon, longitude and latitude (EPSG:4326)."""
    start: date
    """First day of the intervention."""
    intervention: str
    """One of :data:`INTERVENTIONS`."""
    biome: str
    """One of :data:`monitor.sites.biomes.BIOMES`."""
    plan: Plan
    """Plan of the registry, else the default, see :func:`monitor.sites.biomes.default_plan`."""
    hectares: float
    """Geodesic area. [ha]"""
    subtype: str | None = None
    """One of :data:`SUBTYPES`, or None."""
    province: str | None = None
    programme_year: int | None = None
    partner: str | None = None
    slope_degrees: float | None = None
    """Mean slope of the terrain; None: unknown. [degree]"""
    manager_name: str | None = None
    manager_language: str = "en"
    """``zh`` or ``en``."""
    manager_email: str | None = None
    """Address for alerts by mail."""
    manager_channel: str | None = None
    """Name of the configured channel for alerts; None: the default channels (:mod:`monitor.alerts.recipients`)."""
    cohorts: tuple[tuple[date, float], ...] = ()
    """Parts that were begun on different days: day, ascending from the start, and share of the area, summing to 1;
    empty: all of it was begun at the start."""
    version: str = ""
    """See :func:`site_version`."""


def ground_key(site: Site) -> str:
    """Key under which observations of a site are stored: hash of its outline, start and biome.

    A change of any of the three is a new ground, with observations of its own; a change of plan or manager is not.
    """
    return ground_key_of(site.geometry, site.start, site.biome)


def ground_key_of(geometry: BaseGeometry, start: date, biome: str) -> str:
    """Ground key of a site with this outline, start and biome, see :func:`ground_key`."""
    content = geometry.normalize().wkb + f"|{start}|{biome}".encode()
    return hashlib.sha256(content).hexdigest()[:16]


def site_version(site: Site) -> str:
    """SHA-256 of the registry's content about a site.

    The area is left out: it follows from the outline, and its last digits depend on the version of PROJ. So are the
    winding and first point of rings, which have no meaning.
    """
    content = {item.name: getattr(site, item.name) for item in fields(site) if item.name not in ("version", "hectares")}
    content["geometry"] = shapely.to_wkb(shapely.normalize(site.geometry), hex=True, byte_order=1, output_dimension=2)
    content["start"] = site.start.isoformat()
    content["plan"] = asdict(site.plan)
    if site.plan.cover == "index":  # the version from before plans could promise field cover
        del content["plan"]["cover"], content["plan"]["factor"]
    content["cohorts"] = [(begun.isoformat(), share) for begun, share in site.cohorts]
    for later in ("cohorts", "manager_email"):  # sites without one keep the version from before it existed
        if not content[later]:
            del content[later]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
