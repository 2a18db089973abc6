"""An overpass counts once, however many granules, catalogues and baselines offer it."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from monitor.cube.overpass import merge_granules, not_yet_stored, overpasses, pending_days
from monitor.cube.packed import PACKED_LAYERS
from monitor.imagery.source import Scene

OWN, NEIGHBOUR = "EPSG:32648", "EPSG:32649"


def scene(name, *, acquisition="S2A/20200103T035141", tile="48SUF", baseline="02.09", crs=OWN, offset=0.0, source="a"):
    return Scene(
        id=name, acquisition=acquisition, tile=tile, time=datetime(2020, 1, 3, 3, 51, tzinfo=UTC), sensor="sentinel-2a",
        baseline=baseline, source=source, scale=1e-4, offset=offset, quality="scl", crs=crs,
    )  # fmt: skip


def packed(red, *, quality=4, clear=1):
    """One row of pixels, equal in all bands."""
    red = np.asarray(red, dtype=np.uint16)[None]
    layers = np.repeat(red[None], len(PACKED_LAYERS), axis=0)
    layers[PACKED_LAYERS.index("quality")] = np.where(red > 0, quality, 0)
    layers[PACKED_LAYERS.index("clear")] = np.where(red > 0, clear, 0)
    return layers


@pytest.mark.parametrize("tile", ["47SRV", "49SCA"])
def test_two_granules_of_one_overpass_are_one_and_the_own_projection_comes_first(tile):
    offered = [scene("other", tile=tile, crs=NEIGHBOUR), scene("own")]
    (one,) = overpasses(offered, OWN)
    assert [granule.id for granule in one.granules] == ["own", "other"]
    assert one.baselines == {"48SUF": "02.09", tile: "02.09"}


def test_the_newest_baseline_of_a_granule_in_two_catalogues_wins_and_among_equals_the_preferred_source():
    old, new = scene("old"), scene("new", baseline="05.00", source="b")
    for order in itertools.permutations([old, new]):
        (one,) = overpasses(order, OWN)
        assert one.main.id == "new"
    (one,) = overpasses([scene("first"), scene("second", source="b")], OWN)
    assert one.main.id == "first"


@pytest.mark.parametrize(("older", "newer"), [("02.09", "02.14"), ("2.0", "10.0"), ("", "01.14")])
def test_baselines_are_compared_as_numbers_and_an_unknown_one_is_the_oldest(older, newer):
    old, new = scene("old", baseline=older), scene("new", baseline=newer)
    for order in ([old, new], [new, old]):
        assert overpasses(order, OWN)[0].main.id == "new"
    stored = {old.acquisition: {old.tile: older}}
    assert not_yet_stored(overpasses([new], OWN), stored)
    assert not not_yet_stored(overpasses([old], OWN), {new.acquisition: {new.tile: newer}})


@pytest.mark.parametrize("stamp", ["99991231T235959", "00010101T000000", "20209999T999999", "T", ""])
def test_a_time_that_no_satellite_saw_is_a_name_like_any_other(stamp):
    made = overpasses([scene("odd", acquisition=f"S2A/{stamp}"), scene("it")], OWN)
    assert {one.acquisition for one in made} == {f"S2A/{stamp}", "S2A/20200103T035141"}


def test_overpasses_come_in_order_of_time_and_of_one_moment_by_name():
    later = replace(scene("later", acquisition="S2A/20200108T035141"), time=datetime(2020, 1, 8, 3, 51, tzinfo=UTC))
    first, second = scene("first"), scene("second", acquisition="S2B/20200103T035141")
    for order in itertools.permutations([first, second, later]):
        assert [one.main.id for one in overpasses(order, OWN)] == ["first", "second", "later"]


def test_a_datatake_over_midnight_is_one_overpass():
    begun = scene("a", acquisition="S2A/20181231T235957")
    seen = scene("b", acquisition="S2A/20190101T000001", tile="01KAB")
    for order in ([begun, seen], [seen, begun]):
        (one,) = overpasses(order, OWN)
        assert one.acquisition == begun.acquisition
        assert {granule.id for granule in one.granules} == {"a", "b"}
    assert not not_yet_stored(overpasses([seen], OWN, [begun.acquisition]), {begun.acquisition: {"01KAB": "02.09"}})


def test_catalogues_that_name_an_acquisition_by_other_times_mean_the_same_overpass():
    datatake, granule = scene("a"), scene("b", acquisition="S2A/20200103T035502", baseline="05.00")
    day = scene("c", acquisition="S2A/20200103", tile="48SUG")
    for order in itertools.permutations([datatake, granule, day]):
        (one,) = overpasses(order, OWN)
        assert one.acquisition == "S2A/20200103T035141"
        assert [part.id for part in one.granules] == ["b", "c"]
    (one,) = overpasses([datatake], OWN, stored=["S2A/20200103T035502"])
    assert one.acquisition == "S2A/20200103T035502"
    other_satellite = scene("d", acquisition="S2B/20200103T035141")
    assert len(overpasses([datatake, other_satellite], OWN)) == 2


@pytest.mark.parametrize(("stored", "wanted"), [
    ({}, True), ({"48SUF": "02.09"}, False), ({"48SUF": "02.14"}, False), ({"48SUF": "01.14"}, True),
    ({"48SUG": "02.09"}, True), ({"48SUF": ""}, True),
])  # fmt: skip
def test_an_overpass_is_fetched_if_a_granule_is_missing_or_older(stored, wanted):
    offered = overpasses([scene("it")], OWN)
    assert bool(not_yet_stored(offered, {offered[0].acquisition: stored} if stored else {})) is wanted


def test_an_overpass_with_one_of_two_granules_missing_or_older_is_fetched():
    offered = overpasses([scene("it"), scene("other", tile="48SUG")], OWN)
    for less in ({"48SUF": "02.09"}, {"48SUF": "02.09", "48SUG": "01.14"}):
        assert not_yet_stored(offered, {offered[0].acquisition: less}) == offered
    assert not_yet_stored(offered, {offered[0].acquisition: {"48SUF": "02.09", "48SUG": "02.09"}}) == []


def test_an_older_baseline_that_is_offered_beside_the_stored_one_is_not_fetched():
    offered = [scene("old", baseline="02.09"), scene("new", baseline="05.00"), scene("other", tile="48SUG")]
    stored = {offered[0].acquisition: {"48SUF": "05.00", "48SUG": "02.09"}}
    assert pending_days(offered, stored) == ((), frozenset())
    for older_or_less in ({"48SUF": "02.09", "48SUG": "02.09"}, {"48SUF": "05.00"}):
        stored = {offered[0].acquisition: older_or_less}
        assert pending_days(offered, stored) == (tuple(offered), frozenset(stored))


def test_a_second_granule_only_fills_where_the_first_has_no_value():
    first, second = packed([1000, 0, 3000]), packed([7, 2000, 9])
    together = merge_granules([(scene("west"), first), (scene("east", tile="49SCA", crs=NEIGHBOUR), second)])
    assert together[2].tolist() == [[1000, 2000, 3000]]
    assert together[PACKED_LAYERS.index("clear")].tolist() == [[1, 1, 1]]
    assert first[2].tolist() == [[1000, 0, 3000]]


def test_a_filling_granule_of_another_offset_is_moved_to_the_offset_of_the_first():
    first, second = packed([0, 1200]), packed([2300, 0])
    parts = [(scene("new", offset=-0.1), first), (scene("old", tile="49SCA", offset=0.0), second)]
    # 2300 at offset 0 is reflectance .23, which is 3300 at offset -.1
    assert merge_granules(parts)[2].tolist() == [[3300, 1200]]


def test_a_band_without_value_stays_without_value_when_its_granule_is_moved_to_another_offset():
    second = packed([2300])
    second[PACKED_LAYERS.index("swir22")] = 0
    parts = [(scene("new", offset=-0.1), packed([0])), (scene("old", tile="49SCA", offset=0.0), second)]
    together = merge_granules(parts)
    assert together[PACKED_LAYERS.index("red")].tolist() == [[3300]]
    assert together[PACKED_LAYERS.index("swir22")].tolist() == [[0]]


@pytest.mark.parametrize("changed", [{"scale": 2.75e-5}, {"quality": "scl_cs"}])
def test_a_granule_of_another_scale_or_kind_of_quality_layer_fills_nothing(changed):
    other = replace(scene("other", tile="49SCA"), **changed)
    assert not merge_granules([(scene("own"), packed([0, 0])), (other, packed([1000, 2000]))]).any()


def test_a_cloudy_pixel_of_the_first_granule_is_not_filled_by_the_second():
    first, second = packed([900], quality=9, clear=0), packed([1000])
    together = merge_granules([(scene("west"), first), (scene("east", tile="x"), second)])
    assert together[PACKED_LAYERS.index("clear")].tolist() == [[0]]


def test_missing_overpasses_are_the_same_from_all_scenes_and_from_the_days_with_new_ones():
    rng = np.random.default_rng(1)
    stamps = [
        *("20200103T035141", "20200103T035502", "20200103", "20200103T051141"),
        *("20200103T233000", "20200103T235957", "20200104T000512", "20200104T002000", "20200104"),
    ]  # one datatake under several names, another, two that are near midnight
    known = [
        scene(f"{n}", acquisition=f"S2{craft}/{stamp}", tile=tile, baseline=baseline, source=source)
        for n, (craft, stamp, tile, baseline, source) in enumerate(
            itertools.product("AB", stamps, ("48SUF", "48SUG"), ("", "02.09", "05.00"), "ab")
        )
    ]
    for _ in range(100):
        offered = [known[n] for n in rng.permutation(len(known))[: rng.integers(1, 25)]]
        before = [one for one in offered if rng.random() < 0.7]
        stored = {one.acquisition: one.baselines for one in overpasses(before, OWN)}
        everything = not_yet_stored(overpasses(offered, OWN, stored), stored)
        left = pending_days(offered, stored)
        for names in (left.stored, stored):
            assert not_yet_stored(overpasses(left.scenes, OWN, names), stored) == everything
