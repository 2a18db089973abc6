"""The embedded sample: real scenes, fates of known size."""

from datetime import date

import numpy as np
import pytest
from shapely.geometry import box

from monitor.cover.fraction import ENDMEMBERS
from monitor.cube.grid import inside, site_grid
from monitor.errors import SceneRejected
from monitor.imagery import bands, sample
from monitor.imagery.sample import (
    BASELINE,
    DISTURBANCE_DROP,
    FATES,
    PLACE_CORNERS,
    PLAN,
    SIZE,
    Fate,
    Sample,
    deal_fates,
)

pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")


@pytest.fixture(scope="module")
def source():
    return Sample(1)


def test_a_seed_deals_every_fate_to_one_place_and_another_seed_to_other_places():
    first, second = deal_fates(1), deal_fates(2)
    assert first == deal_fates(1)
    assert sorted(f.story for _, f in first) == sorted(f.story for f in FATES)
    assert first != second
    assert len(FATES) == len(PLACE_CORNERS)


def test_every_fate_that_the_product_must_name_is_there():
    assert {f.name for f in FATES} >= {"on_track", "lagging", "failing", "disturbed", "too_early", "insufficient_data"}
    assert any(f.lost for f in FATES)
    assert any(f.intervention == "erosion_control" and f.slope_degrees for f in FATES)


def test_the_series_has_the_scenes_that_its_wheel_is_known_to_have(source):
    scenes = source.search(source.place(0), date(2015, 1, 1), date(2021, 12, 31))
    assert len(scenes) == 140
    assert (scenes[0].time.date(), scenes[-1].time.date()) == (date(2015, 8, 1), date(2021, 1, 1))
    assert len({scene.acquisition for scene in scenes}) == 140


def test_only_requested_scenes_are_offered_and_none_far_away(source):
    scenes = source.search(source.place(0), date(2017, 4, 2), date(2017, 4, 12))
    assert [scene.id for scene in scenes] == ["romania-2017-04-02", "romania-2017-04-12"]
    assert source.search(box(100, 30, 101, 31), date(2015, 1, 1), date(2021, 12, 31)) == []


@pytest.mark.parametrize("place", range(len(PLACE_CORNERS)))
def test_a_place_holds_exactly_the_centres_of_its_pixels(source, place):
    lattice = source.grid(source.place(place))
    grid = site_grid(source.place(place), crs=lattice.crs, anchor=(lattice.affine.c, lattice.affine.f))
    assert inside(source.place(place), grid).sum() == SIZE * SIZE


def test_before_the_start_all_ground_stands_at_the_baseline_and_the_soil_shows(source):
    fate = FATES[0]
    control = Fate(name="control", story="", theta=0.0)
    day = date(2016, 7, 1)
    assert source.weight(fate, day) == pytest.approx(source.weight(control, day))
    shares, covers = source._mixture
    assert np.interp(source.weight(fate, day), shares, covers) == pytest.approx(BASELINE, abs=1e-3)
    ends = ENDMEMBERS["loess"]
    assert (ends.index, ends.soil, ends.vegetation) == ("ndvi", 0.09, 0.86)


@pytest.mark.parametrize("theta", [1.0, 0.35, 0.0, -0.1])
def test_the_uplift_laid_in_is_theta_times_the_plan(source, theta):
    fate = Fate(name="x", story="", theta=theta)
    shares, covers = source._mixture
    for day in (date(2018, 7, 1), date(2020, 7, 1)):
        years = (day - fate.start).days / 365.25
        found = np.interp(source.weight(fate, day), shares, covers) - BASELINE
        assert found == pytest.approx(theta * PLAN.uplift(years), abs=1e-3)


def test_a_loss_dies_back_to_the_baseline_and_a_drop_takes_what_it_says(source):
    shares, covers = source._mixture

    def cover(fate, day):
        return np.interp(source.weight(fate, day), shares, covers)

    lost = next(f for f in FATES if f.lost)
    assert cover(lost, date(2018, 5, 4)) > BASELINE + 0.1
    assert cover(lost, date(2018, 6, 30)) == pytest.approx(BASELINE, abs=1e-3)
    fell = next(f for f in FATES if f.drop)
    after, whole = cover(fell, date(2020, 8, 1)), cover(FATES[0], date(2020, 8, 1))
    assert whole - after == pytest.approx(DISTURBANCE_DROP, abs=2e-3)


def test_pixels_are_a_mixture_of_the_real_pixel_and_soil(source):
    place = next(
        p for p, f in source.places if f.theta == 1.0 and not f.cloudy and f.start == sample.START and not f.lost
    )
    (scene,) = source.search(source.place(place), date(2019, 7, 1), date(2019, 7, 1))
    native = source.grid(source.place(place))
    ((frame,),) = source.read([scene], [native])
    row, column = PLACE_CORNERS[place]
    window = (slice(row, row + SIZE), slice(column, column + SIZE))
    fate = dict(source.places)[place]
    share = source.weight(fate, date(2019, 7, 1))
    real = source._series[0].isel(time=scene.handle)
    soil = (frame.pixels[bands.OBSERVED.index("red")][window] - share * real.red.values[window]) / (1 - share)
    assert np.ptp(soil) < 4
    assert 0.5 * 1900 <= soil.mean() <= 2.0 * 1900
    outside = frame.pixels[bands.OBSERVED.index("red")][0, 0]
    assert outside > real.red.values[0, 0]


def test_a_grid_beyond_the_square_kilometre_is_filled_with_no_value(source):
    lattice = source.grid(source.place(0))
    wide = lattice.pad(3)
    (scene,) = source.search(source.place(0), date(2019, 7, 1), date(2019, 7, 1))
    ((frame,),) = source.read([scene], [wide])
    assert (frame.pixels[:, :3] == bands.NODATA).all()
    assert (frame.quality[:, -3:] == 0).all()
    assert (frame.pixels[bands.OBSERVED.index("red"), 3:-3, 3:-3] > 0).all()


def test_another_lattice_is_refused_rather_than_resampled(source):
    (scene,) = source.search(source.place(0), date(2019, 7, 1), date(2019, 7, 1))
    with pytest.raises(ValueError, match="own lattice"):
        list(source.read([scene], [site_grid(source.place(0))]))


def test_a_scene_of_another_source_is_rejected_without_stopping_the_rest(source):
    from dataclasses import replace

    (scene,) = source.search(source.place(0), date(2019, 7, 1), date(2019, 7, 1))
    native = source.grid(source.place(0))
    first, second = source.read([replace(scene, handle=None), scene], [native])
    assert isinstance(first, SceneRejected)
    assert first.reason == "BROKEN"
    assert len(second) == 1
