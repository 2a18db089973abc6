"""A site: where it is, since when, what was done there and what was promised."""

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
    """The promised uplift of vegetation cover over the counterfactual, as a curve in time.

    ``g(tau) = A (1 - exp(-k max(tau - L, 0)))`` with tau in years since the start.
    """

    A: float
    """Uplift at maturity; 0 for an intervention that promises none (tending). [cover fraction]"""
    k: float
    """Rate of approach. [1/year]"""
    L: float
    """Lag before growth can be seen from above. [year]"""
    too_early_years: float
    """Years after the start before which no verdict of failure is given. [year]"""

    def uplift(self, years: float) -> float:
        """Promised uplift so many years after the start. [cover fraction]"""
        return self.A * -math.expm1(-self.k * max(years - self.L, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One piece of ground under restoration, as the registry describes it."""

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
    """From the registry where given there, else by intervention, biome and subtype."""
    hectares: float
    """Geodesic area. [ha]"""
    subtype: str | None = None
    """One of :data:`SUBTYPES`, or None."""
    province: str | None = None
    programme_year: int | None = None
    partner: str | None = None
    slope_degrees: float | None = None
    """Mean slope of the ground, where it is known. [degree]"""
    manager_name: str | None = None
    manager_language: str = "en"
    """``zh`` or ``en``."""
    manager_channel: str | None = None
    """Where alerts go; None: to a file under ``messages/``."""
    cohorts: tuple[tuple[date, float], ...] = ()
    """Where it was begun in several years: the day of each part, ascending from the start, and its share of the area,
    1 in all; empty: all of it at its start."""
    version: str = ""
    """Hash of everything above: an edited site is a new version."""


def ground_key(site: Site) -> str:
    """Key under which observations of a site are stored: 16 hex digits of a hash of outline, start and biome.

    A change of any of the three is new ground, with a store of its own; a change of manager or plan is not.
    """
    content = site.geometry.normalize().wkb + f"|{site.start}|{site.biome}".encode()
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
    content["cohorts"] = [(begun.isoformat(), share) for begun, share in site.cohorts]
    if not site.cohorts:
        del content["cohorts"]  # sites without cohorts keep the version that they had before cohorts existed
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
