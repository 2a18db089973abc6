"""Biomes: everything that depends on the biome of a site, in one table.

To add a biome, add an entry to :data:`BIOMES`, its name to the list in ``aoi/schema.json`` and a row to
``docs/biomes.md``; no other code names biomes. A biome of one installation is defined in its configuration instead
(:mod:`monitor.sites.own_biome`). All values are defaults of the design (2026-11) and expert priors, to be replaced by a
project's own plans, placebos and chronosequences.
"""

from dataclasses import replace
from difflib import get_close_matches
from typing import Final

from monitor.errors import BadData
from monitor.sites.cover_scale import INDEX_NAMES
from monitor.sites.site import Biome, Plan, Site

# Expected trajectories, as rows of the method's table. A combination without a row borrows from the nearest row and is
# marked "by analogy".
_DRY_CLOSURE: Final = Plan(A=0.12, k=0.35, L=0.5, too_early_years=2)  # enclosure, desert steppe and sandy land
_STEPPE_CLOSURE: Final = Plan(A=0.18, k=0.45, L=0.5, too_early_years=2)  # enclosure, Loess Plateau, typical steppe
_DRY_SHRUB: Final = Plan(A=0.12, k=0.25, L=1.5, too_early_years=3)  # shrub planting, sandy land and Hexi
_LOESS_TREE: Final = Plan(A=0.22, k=0.22, L=2, too_early_years=4)  # tree planting, Loess Plateau
_MOUNTAIN_TREE: Final = Plan(A=0.25, k=0.25, L=2, too_early_years=4)  # tree planting, Hebei and Shaanxi mountains
_SOUTHWEST: Final = Plan(A=0.25, k=0.35, L=1, too_early_years=3)  # karst, Yunnan, Sichuan: closure and planting
_ALPINE_SEED: Final = Plan(A=0.20, k=0.60, L=0.5, too_early_years=2)  # alpine meadow reseeding
_SLOPE: Final = Plan(A=0.25, k=0.60, L=0.3, too_early_years=1.5)  # slope and gully stabilisation, every biome
_CHECKERBOARD: Final = Plan(A=0.12, k=0.45, L=0.5, too_early_years=2)  # straw checkerboard and sowing, every biome
_STEPPE_SHRUB: Final = Plan(A=0.18, k=0.25, L=1.5, too_early_years=3)  # by analogy: cover of closure, rate of shrubs
_DRY_TREE: Final = Plan(A=0.12, k=0.22, L=2, too_early_years=4)  # by analogy: cover of shrubs, rate of trees
_STEPPE_TREE: Final = Plan(A=0.18, k=0.22, L=2, too_early_years=4)  # by analogy: cover of closure, rate of trees
_TENDING: Final = Plan(A=0.0, k=1.0, L=0.0, too_early_years=0)  # no uplift: only loss is judged, at once


class ByBiome[T](dict[str, T]):
    """Something of each built-in biome, by its name."""

    def __missing__(self, name: str) -> T:
        near = get_close_matches(name, self, n=1)
        hint = f"did you mean {near[0]!r}? Built-in" if near else "built-in"
        raise BadData(f"biome {name!r} is not built in; {hint} are {', '.join(self)}. Others: docs/biomes.md")


BIOMES: Final = ByBiome({
    "desert_steppe": Biome(
        names={"en": "desert steppe", "zh": "荒漠草原"}, index="msavi2", bare_soil=0.06, full_cover=0.65,
        peak_cover=0.2, closure=_DRY_CLOSURE, tree=_DRY_TREE, planting="shrub", erosion_control="checkerboard",
        shrub=_DRY_SHRUB,  # by analogy with sandy land
    ),
    "sandy": Biome(
        names={"en": "sandy land", "zh": "沙地"}, index="msavi2", bare_soil=0.05, full_cover=0.65, peak_cover=0.2,
        closure=_DRY_CLOSURE, shrub=_DRY_SHRUB, tree=_DRY_TREE, planting="shrub", erosion_control="checkerboard",
    ),
    "hexi": Biome(
        names={"en": "Hexi corridor", "zh": "河西走廊"}, index="msavi2", bare_soil=0.06, full_cover=0.65,
        peak_cover=0.2, closure=_DRY_CLOSURE,  # by analogy: Alxa, in the row, is its neighbour
        shrub=_DRY_SHRUB, tree=_DRY_TREE, planting="shrub", erosion_control="checkerboard",
    ),
    "loess": Biome(
        names={"en": "loess hills", "zh": "黄土丘陵"}, index="ndvi", bare_soil=0.09, full_cover=0.86, peak_cover=0.4,
        closure=_STEPPE_CLOSURE, shrub=_STEPPE_SHRUB, tree=_LOESS_TREE,
    ),
    "steppe": Biome(
        names={"en": "typical steppe", "zh": "典型草原"}, index="ndvi", bare_soil=0.09, full_cover=0.75, peak_cover=0.4,
        closure=_STEPPE_CLOSURE, shrub=_STEPPE_SHRUB, tree=_STEPPE_TREE, planting="shrub",
    ),
    "north_mountain": Biome(
        names={"en": "northern mountains", "zh": "北方山地"}, season_shape=(210, 50),
        index="ndvi", bare_soil=0.09, full_cover=0.86, peak_cover=0.4,
        closure=_STEPPE_CLOSURE,  # by analogy: the rain of the Loess Plateau, without planting
        shrub=_STEPPE_SHRUB, tree=_MOUNTAIN_TREE,
    ),
    "karst": Biome(
        names={"en": "karst", "zh": "喀斯特"}, season=(1, 365), season_shape=(210, 95),
        index="kndvi", bare_soil=0.01, full_cover=0.65, peak_cover=0.6, clear_share=0.25,
        closure=_SOUTHWEST, shrub=_SOUTHWEST, tree=_SOUTHWEST,
    ),
    "southwest_mountain": Biome(
        names={"en": "southwestern mountains", "zh": "西南山地"}, season=(1, 365), season_shape=(210, 95),
        index="kndvi", bare_soil=0.01, full_cover=0.65, peak_cover=0.6, clear_share=0.25,
        closure=_SOUTHWEST, shrub=_SOUTHWEST, tree=_SOUTHWEST,
    ),
    "alpine": Biome(
        names={"en": "alpine meadow", "zh": "高寒草甸"}, season=(152, 258), season_shape=(210, 35),
        index="ndvi", bare_soil=0.09, full_cover=0.80, peak_cover=0.4,
        closure=_DRY_CLOSURE,  # by analogy: without seed, a short and cold season allows the slowest closure
        shrub=_DRY_SHRUB,  # by analogy: the slowest shrubs of the table
        tree=_DRY_TREE,  # by analogy: at the tree line, the least that the table expects of trees
        reseeding=_ALPINE_SEED, planting="reseeding",
    ),
})  # fmt: skip
"""Every biome that a registry may name."""


def biome_of(site: Site) -> Biome:
    """Definition of the biome of a site: its own, else the built-in one of that name; BadData for an unknown name."""
    return site.own_biome or BIOMES[site.biome]


def default_plan(intervention: str, biome: Biome, subtype: str | None = None) -> Plan:
    """Plan of a site whose registry entry has none.

    Parameters
    ----------
    intervention : str
        One of :data:`monitor.sites.site.INTERVENTIONS`.
    biome : Biome
    subtype : str, optional
        One of :data:`monitor.sites.site.SUBTYPES`; None: the usual one of the intervention in the biome.

    Returns
    -------
    Plan
        In index cover.
    """
    if intervention == "tending":
        return _TENDING
    usual = {"assisted_regeneration": "enclosure", "planting": biome.planting}
    plans = {
        "enclosure": biome.closure, "reseeding": biome.reseeding or biome.closure,
        "shrub": biome.shrub, "tree": biome.tree,
        "slope": _SLOPE, "gully": _SLOPE, "checkerboard": _CHECKERBOARD,
    }  # fmt: skip
    return plans[subtype or usual.get(intervention, biome.erosion_control)]


def in_field_cover(plan: Plan, biome: Biome) -> Plan:
    """Plan whose uplift is a promise of field cover.

    Parameters
    ----------
    plan : Plan
        Its `A` is in field cover.
    biome : Biome

    Returns
    -------
    Plan
        The same numbers, with the factor by which it is judged as index cover.

    Raises
    ------
    BadData
        No factor is known for the biome.
    """
    factor = biome.field_factor
    if factor is None:
        index = f"its index, {INDEX_NAMES[biome.index]}, was never measured against cover in the field"
        raise BadData(f"field cover cannot be converted in {biome.names['en']}: {index}")
    return replace(plan, cover="field", factor=factor.value)
