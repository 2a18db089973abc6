import itertools

import pytest

from monitor.sites.biomes import BIOMES, default_plan
from monitor.sites.site import INTERVENTIONS, SUBTYPES, Plan


@pytest.mark.parametrize(
    ("intervention", "biome", "subtype", "expected"),
    [
        ("assisted_regeneration", "desert_steppe", "enclosure", (0.12, 0.35, 0.5, 2)),
        ("assisted_regeneration", "sandy", None, (0.12, 0.35, 0.5, 2)),
        ("assisted_regeneration", "loess", None, (0.18, 0.45, 0.5, 2)),
        ("assisted_regeneration", "steppe", "enclosure", (0.18, 0.45, 0.5, 2)),
        ("planting", "sandy", "shrub", (0.12, 0.25, 1.5, 3)), ("planting", "hexi", None, (0.12, 0.25, 1.5, 3)),
        ("planting", "loess", "tree", (0.22, 0.22, 2, 4)), ("planting", "north_mountain", None, (0.25, 0.25, 2, 4)),
        ("assisted_regeneration", "karst", None, (0.25, 0.35, 1, 3)),
        ("planting", "southwest_mountain", None, (0.25, 0.35, 1, 3)),
        ("planting", "alpine", "reseeding", (0.20, 0.60, 0.5, 2)),
        ("erosion_control", "loess", "gully", (0.25, 0.60, 0.3, 1.5)),
        ("erosion_control", "karst", None, (0.25, 0.60, 0.3, 1.5)),
        ("erosion_control", "sandy", "checkerboard", (0.12, 0.45, 0.5, 2)),
    ],
)  # fmt: skip
def test_the_rows_of_the_method_are_given_as_they_stand(intervention, biome, subtype, expected):
    a, k, lag, early = expected
    assert default_plan(intervention, BIOMES[biome], subtype) == Plan(A=a, k=k, L=lag, too_early_years=early)


def test_every_combination_promises_what_some_ground_in_the_table_reaches():
    for intervention, biome, subtype in itertools.product(INTERVENTIONS, BIOMES.values(), (None, *SUBTYPES)):
        plan = default_plan(intervention, biome, subtype)
        if intervention == "tending":
            assert plan.uplift(10) == 0
        else:
            assert 0.12 <= plan.A <= 0.25
            assert plan.too_early_years > plan.L  # nothing is judged before it could be seen
            assert plan.uplift(plan.too_early_years) > 0.1 * plan.A


def test_dry_ground_is_never_promised_more_than_its_closure_by_planting():
    for biome, subtype in itertools.product(("desert_steppe", "sandy", "hexi"), ("shrub", "tree", None)):
        assert default_plan("planting", BIOMES[biome], subtype).A == 0.12
