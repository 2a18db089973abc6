"""What each kind of work promises by default: (intervention, biome, subtype) -> plan.

The defaults are expert priors, to be replaced by a project's own plan or by local chronosequences.
Comments name the row of the method's table of expected trajectories that a plan is taken from; a
combination that the table does not have borrows from the nearest row and is marked "by analogy".
"""

from typing import Final

from monitor.sites.site import Plan

_DRY_CLOSURE: Final = Plan(A=0.12, k=0.35, L=0.5, too_early_years=2)
"""Row "enclosure or assisted regeneration, desert steppe and sandy land"."""
_STEPPE_CLOSURE: Final = Plan(A=0.18, k=0.45, L=0.5, too_early_years=2)
"""Row "enclosure, Loess Plateau and typical steppe"."""
_DRY_SHRUB: Final = Plan(A=0.12, k=0.25, L=1.5, too_early_years=3)
"""Row "shrub planting, sandy land and Hexi"."""
_LOESS_TREE: Final = Plan(A=0.22, k=0.22, L=2, too_early_years=4)
"""Row "tree planting, Loess Plateau"."""
_MOUNTAIN_TREE: Final = Plan(A=0.25, k=0.25, L=2, too_early_years=4)
"""Row "tree planting, mountains of Hebei and Shaanxi"."""
_SOUTHWEST: Final = Plan(A=0.25, k=0.35, L=1, too_early_years=3)
"""Row "karst, Yunnan and Sichuan: closure and planting"."""
_ALPINE_SEED: Final = Plan(A=0.20, k=0.60, L=0.5, too_early_years=2)
"""Row "alpine meadow reseeding"."""
_SLOPE: Final = Plan(A=0.25, k=0.60, L=0.3, too_early_years=1.5)
"""Row "slope and gully stabilisation, check-dam and grass"; the table gives it for every biome."""
_CHECKERBOARD: Final = Plan(A=0.12, k=0.45, L=0.5, too_early_years=2)
"""Row "straw checkerboard and sowing"; the table gives it for every biome."""

_STEPPE_SHRUB: Final = Plan(A=0.18, k=0.25, L=1.5, too_early_years=3)
"""By analogy: the cover that closure reaches on such ground, at the pace at which shrubs grow."""
_DRY_TREE: Final = Plan(A=0.12, k=0.22, L=2, too_early_years=4)
"""By analogy: the cover that dry ground carries (shrub row), at the pace at which trees grow."""
_STEPPE_TREE: Final = Plan(A=0.18, k=0.22, L=2, too_early_years=4)
"""By analogy: the cover that steppe carries (closure row), at the pace at which trees grow."""

_TENDING: Final = Plan(A=0.0, k=1.0, L=0.0, too_early_years=0)
"""Tending promises no uplift: only loss is judged, from the first day."""

_CLOSURE: Final = {
    "desert_steppe": _DRY_CLOSURE,
    "sandy": _DRY_CLOSURE,
    "hexi": _DRY_CLOSURE,  # by analogy: Alxa, in the row, is its neighbour
    "loess": _STEPPE_CLOSURE,
    "steppe": _STEPPE_CLOSURE,
    "north_mountain": _STEPPE_CLOSURE,  # by analogy: the same rain as the Loess Plateau, no planting
    "karst": _SOUTHWEST,
    "southwest_mountain": _SOUTHWEST,
    "alpine": _DRY_CLOSURE,  # by analogy: without seed, a short and cold season allows the slowest closure
}

_DEFAULTS: Final[dict[str, dict[str, Plan]]] = {
    "enclosure": _CLOSURE,
    # By analogy except for alpine: sown grass outside meadows does what closure does there, no more is promised.
    "reseeding": {**_CLOSURE, "alpine": _ALPINE_SEED},
    "shrub": {
        "desert_steppe": _DRY_SHRUB,  # by analogy with sandy land
        "sandy": _DRY_SHRUB,
        "hexi": _DRY_SHRUB,
        "loess": _STEPPE_SHRUB,
        "steppe": _STEPPE_SHRUB,
        "north_mountain": _STEPPE_SHRUB,
        "karst": _SOUTHWEST,
        "southwest_mountain": _SOUTHWEST,
        "alpine": _DRY_SHRUB,  # by analogy: the slowest shrubs of the table
    },
    "tree": {
        "desert_steppe": _DRY_TREE,
        "sandy": _DRY_TREE,
        "hexi": _DRY_TREE,
        "loess": _LOESS_TREE,
        "steppe": _STEPPE_TREE,
        "north_mountain": _MOUNTAIN_TREE,
        "karst": _SOUTHWEST,
        "southwest_mountain": _SOUTHWEST,
        "alpine": _DRY_TREE,  # by analogy: at the tree line, the least that the table expects of trees
    },
    "slope": dict.fromkeys(_CLOSURE, _SLOPE),
    "gully": dict.fromkeys(_CLOSURE, _SLOPE),
    "checkerboard": dict.fromkeys(_CLOSURE, _CHECKERBOARD),
}


def default_subtype(intervention: str, biome: str) -> str:
    """Subtype that is meant where the registry names none.

    Regeneration is closure; planted are shrubs where it is dry, grass on alpine meadows and trees
    elsewhere; erosion is by wind, and held by checkerboards, where there is sand, else by water.
    """
    if intervention == "assisted_regeneration":
        return "enclosure"
    if intervention == "planting":
        if biome == "alpine":
            return "reseeding"
        return "shrub" if biome in ("desert_steppe", "sandy", "hexi", "steppe") else "tree"
    return "checkerboard" if biome in ("desert_steppe", "sandy", "hexi") else "slope"


def default_plan(intervention: str, biome: str, subtype: str | None = None) -> Plan:
    """Plan of a site whose registry entry states none.

    Parameters
    ----------
    intervention, biome : str
        One of :data:`monitor.sites.site.INTERVENTIONS`, :data:`monitor.sites.site.BIOMES`.
    subtype : str, optional
        One of :data:`monitor.sites.site.SUBTYPES`; default: :func:`default_subtype`.

    Raises
    ------
    KeyError
        The biome or the subtype is not one of those.
    """
    if intervention == "tending":
        return _TENDING
    return _DEFAULTS[subtype or default_subtype(intervention, biome)][biome]
