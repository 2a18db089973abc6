"""A site: its outline, start, intervention, biome and plan."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from datetime import date

import shapely
from shapely.geometry.base import BaseGeometry

from monitor.sites.cover_scale import FieldFactor, cover_basis, measured_factor

INTERVENTIONS = ("assisted_regeneration", "planting", "erosion_control", "tending")
SUBTYPES = ("enclosure", "shrub", "tree", "reseeding", "slope", "gully", "checkerboard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Expected uplift of vegetation cover over the counterfactual, as a curve in time.

    ``g(tau) = A (1 - exp(-k max(tau - L, 0)))`` with tau in years since the start.
    """

    A: float  #: uplift at maturity, in the cover that `cover` names; 0: none is promised (tending) [cover fraction]
    k: float  #: rate of approach [1/year]
    L: float  #: lag before growth is visible to a satellite [year]
    too_early_years: float  #: time after the start during which no failure is reported [year]
    cover: str = "index"  #: promised cover, of :data:`monitor.sites.cover_scale.PLAN_COVERS`
    factor: float = 1.0  #: index cover per cover that is promised [1]

    @property
    def index_A(self) -> float:
        """Uplift at maturity in index cover, which is what is judged. [cover fraction]"""
        return self.A * self.factor

    def uplift(self, years: float) -> float:
        """Expected uplift of index cover at a time after the start [year]. [cover fraction]"""
        return self.index_A * -math.expm1(-self.k * max(years - self.L, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Biome:
    """Defaults for the sites of one biome."""

    names: dict[str, str] = field(hash=False)  #: name by language
    season: tuple[int, int] = (121, 288)
    """First and last day of the year of the growing season, northern hemisphere; above 365: of the next year. Snow and
    senescence carry no information on cover; the evergreen south-west has no such days."""
    season_shape: tuple[int, int] = (215, 45)
    """Usual peak (day of the year, northern hemisphere) and width (standard deviation, days) of the season, until the
    control units have shown their own."""
    local_season: bool = False  #: days are those of the place itself; else half a year later south of the equator
    index: str  #: index of the cover: MSAVI2 in arid biomes (bright soil), kNDVI in dense ones, since NDVI saturates
    bare_soil: float  #: index of bare soil: NDVI .06 sand, .09 loess, .08 karst, where kNDVI is .01 [1]
    full_cover: float
    """Index of full vegetation cover: NDVI .75 steppe, .80 shrub, .86 to .90 forest; MSAVI2 .60 to .75; kNDVI .65 is
    NDVI .88. [1]"""
    endmembers_stated: bool = False  #: whether the endmembers are those of a configuration; else they are expert values
    peak_cover: float  #: cover at the peak of the season, assumed while a site has no scenes [1]
    clear_share: float = 0.45  #: share of satellite passes with a clear view, assumed while a site has no scenes [1]
    closure: Plan  #: plan of enclosure and assisted regeneration; also of sown grass unless `reseeding` is given
    shrub: Plan
    tree: Plan
    reseeding: Plan | None = None
    planting: str = "tree"  #: subtype where the registry names none: shrubs on dry ground, grass on alpine meadows
    erosion_control: str = "slope"  #: subtype where the registry names none: checkerboards where wind moves sand

    @property
    def digest(self) -> str:
        """Short hash of what observations and verdicts depend on: the season, the index and its endmembers."""
        content = (
            self.season, self.season_shape, self.local_season, self.index, self.bare_soil, self.full_cover,
        )  # fmt: skip
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]

    @property
    def field_factor(self) -> FieldFactor | None:
        """Index cover per field cover, as measured elsewhere; None: unknown."""
        return measured_factor(self.index, self.bare_soil, self.full_cover)

    def cover_basis(self, language: str = "en") -> str:
        """Basis of absolute cover in the biome, see :func:`monitor.sites.cover_scale.cover_basis`."""
        return cover_basis(self.index, self.bare_soil, self.full_cover, language, stated=self.endmembers_stated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One area under restoration, as described in the registry."""

    id: str  #: unique in the registry, NFC-normalised; may be Chinese
    name: str
    geometry: BaseGeometry = field(repr=False)  #: Polygon or MultiPolygon, longitude and latitude (EPSG:4326)
    start: date  #: first day of the intervention
    intervention: str  #: one of :data:`INTERVENTIONS`
    biome: str  #: name of one of :data:`monitor.sites.biomes.BIOMES`, or of `own_biome`
    plan: Plan  #: plan of the registry, else the default, see :func:`monitor.sites.biomes.default_plan`
    hectares: float  #: geodesic area [ha]
    name_zh: str | None = None  #: short Chinese name, used in Chinese instead of `name`; None: there is none
    subtype: str | None = None  #: one of :data:`SUBTYPES`, or None
    province: str | None = None
    programme_year: int | None = None
    partner: str | None = None
    slope_degrees: float | None = None  #: mean slope of the terrain; None: unknown [degree]
    manager_name: str | None = None
    manager_language: str = "en"  #: ``zh`` or ``en``
    manager_email: str | None = None  #: address for alerts by mail
    manager_channel: str | None = None  #: configured channel for alerts; None: :mod:`monitor.alerts.recipients`
    cohorts: tuple[tuple[date, float], ...] = ()
    """Parts that were begun on different days: day, ascending from the start, and share of the area, summing to 1;
    empty: all of it was begun at the start."""
    own_biome: Biome | None = None
    """Definition of a biome that the configuration defines; None: a built-in one. It travels with the site, so that
    every process judges by the same definition, and a verdict can be reproduced after the configuration has changed."""
    controls_again: tuple[str, ...] = ()  #: decisions to choose the control units again, oldest first: day, who, why
    version: str = ""  #: see :func:`site_version`

    @property
    def biome_key(self) -> str:
        """Key by which sites share a landscape and constants: the name of the biome; of an own one also its digest."""
        return self.biome if self.own_biome is None else f"{self.biome}-{self.own_biome.digest}"


def ground_key(site: Site) -> str:
    """Key under which observations of a site are stored, 16 hexadecimal digits: hash of its outline, start and biome.

    A change of any of the three, of the season, index or endmembers of an own biome, or a decision to choose the
    control units again, is a new ground, whose observations are fetched again; a change of plan or manager is not.
    """
    again = f"|{len(site.controls_again)}" if site.controls_again else ""
    content = site.geometry.normalize().wkb + f"|{site.start}|{site.biome_key}{again}".encode()
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
    content["own_biome"] = None if site.own_biome is None else asdict(site.own_biome)
    # A site without one of these has the version from before they existed.
    for later in ("cohorts", "controls_again", "manager_email", "name_zh", "own_biome"):
        if not content[later]:
            del content[later]
    text = json.dumps(json.loads(json.dumps(content), parse_int=float), sort_keys=True)  # 2 and 2.0 are the same
    return hashlib.sha256(text.encode()).hexdigest()
