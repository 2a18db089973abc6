"""The maps of a site follow the definition of the sums of its seasons."""

import numpy as np
import pytest
import rioxarray  # noqa: F401  gives DataArrays their ``rio``
from shapely.geometry import box

from monitor.cube.grid import site_grid
from monitor.maps.site_maps import MAPS, PIXEL_VARIANCE, site_maps
from monitor.trends.kernels.monotonic import slope_and_score
from monitor.trends.kernels.season_sums import SUMS

GRID = site_grid(box(103.800, 36.000, 103.801, 36.001))
SHAPE = (GRID.shape.y, GRID.shape.x)
GROUND = np.random.default_rng(0).random(SHAPE) < 0.7
EVERY = np.ones(SHAPE, bool)
SEASONS = [(2016, True), (2017, True), (2018, True), (2019, False), (2019, True), (2020, False), (2021, False)]


def noisy(seasons):
    """Sums of up to eight scenes; some pixels were never seen."""
    found = {}
    for year, before in seasons:
        noise = np.random.default_rng([year, before])
        seen = noise.integers(0, 8, SHAPE).astype(np.float32)
        found[year, before] = np.stack([seen, *(seen * noise.random((3, *SHAPE), dtype=np.float32))])
    return found


def plainly(sums):
    """The maps by their definition."""

    def mean(row, chosen):
        total, seen = np.zeros((2, *SHAPE), np.float32)
        for season in sorted(filter(chosen, sums)):
            total += sums[season][SUMS.index(row)]
            seen += sums[season][0]
        return np.divide(total, seen, out=np.full(SHAPE, np.nan, np.float32), where=seen > 0)

    years = sorted({year for year, _ in sums})
    last = years[-1]
    covers = np.stack([mean("cover", lambda season, year=year: season[0] == year) for year in years])
    slope, _ = slope_and_score(np.array(years, float), covers.reshape(len(years), -1))
    since = {(last, False)} & set(sums) or {(last, True)}
    uplift = mean("over", since.__contains__)
    if any(before for _, before in sums):
        uplift = uplift - mean("over", lambda season: season[1])
    found = {
        "ndvi": mean("ndvi", lambda season: season[0] == last), "cover": covers[-1], "slope": slope.reshape(SHAPE),
        "uplift": uplift,
    }  # fmt: skip
    return {name: np.where(GROUND, values, np.float32(np.nan)).tobytes() for name, values in found.items()}


@pytest.mark.parametrize("first", range(len(SEASONS)))
def test_maps_are_those_of_the_definition_to_the_last_bit_whichever_seasons_were_seen(first):
    for end in range(first + 1, len(SEASONS) + 1):
        sums = noisy(SEASONS[first:end])
        found = site_maps(sums, GROUND, GRID)
        assert tuple(found) == (*MAPS, "uplift_se")
        assert {name: found[name].values.tobytes() for name in MAPS} == plainly(sums)


def test_maps_lie_where_the_site_lies():
    found = site_maps(noisy(SEASONS), GROUND, GRID)
    assert found["slope"].rio.crs == "EPSG:32648"
    assert found["slope"].rio.transform() == GRID.affine
    assert {layer.dtype for layer in found.values()} == {np.dtype(np.float32)}


def flat(value):
    return np.full(SHAPE, value, np.float32)


def test_maps_of_known_ground_say_what_is_known():
    """Cover 0.1 before the start, then 0.2, 0.3, 0.4; the control stays at 0.1, but 0.15 in the last season."""
    green = dict(zip(range(2016, 2022), [0.1, 0.1, 0.1, 0.2, 0.3, 0.4], strict=True))
    sums = {
        (year, year < 2019): 2 * np.stack([flat(1), flat(value), flat(value + 0.5), flat(value - control)])
        for year, value in green.items()
        for control in [0.15 if year == 2021 else 0.1]
    }
    for total in sums.values():
        total[:, 0, 0] = 0  # never seen
        total[:, 1, 1] /= 2  # seen in one scene of two
    ground = EVERY.copy()
    ground[2] = False
    found = site_maps(sums, ground, GRID)
    inside = (3, 3)
    np.testing.assert_allclose(found["cover"].values[inside], 0.4, rtol=1e-6)
    np.testing.assert_allclose(found["ndvi"].values[inside], 0.9, rtol=1e-6)
    np.testing.assert_allclose(found["uplift"].values[inside], (0.4 - 0.15) - (0.1 - 0.1), rtol=1e-5)
    # of the 15 slopes between pairs of years, seven are less than 1/15 (0 0 0 1/30 .05 .05 .06), seven more
    np.testing.assert_allclose(found["slope"].values[inside], 1 / 15, rtol=1e-5)
    for name, layer in found.items():
        assert np.isnan(layer.values[0, 0])
        assert np.isnan(layer.values[2]).all()
        if name != "uplift_se":
            np.testing.assert_array_equal(layer.values[1, 1], layer.values[inside])
    usual = 0.02**2 + PIXEL_VARIANCE / 2  # three equal seasons of two scenes before the start
    np.testing.assert_allclose(found["uplift_se"].values[inside], np.sqrt(2 * usual / 4 * (1 + 1 / 3)), rtol=1e-5)
    assert found["uplift_se"].values[1, 1] > found["uplift_se"].values[inside]


def test_in_the_season_of_the_start_uplift_is_that_of_scenes_since_then():
    sums = {
        (2019, True): np.stack([flat(4), flat(0.8), flat(2.0), flat(0.4)]),
        (2019, False): np.stack([flat(2), flat(0.8), flat(1.2), flat(0.5)]),
    }
    found = site_maps(sums, EVERY, GRID)
    np.testing.assert_allclose(found["uplift"], 0.25 - 0.1, rtol=1e-6)
    np.testing.assert_allclose(found["cover"], 1.6 / 6, rtol=1e-6)
    assert np.isnan(found["slope"]).all()


def test_without_a_scene_before_the_start_uplift_is_the_difference_from_the_control():
    sums = {(2019, False): np.stack([flat(2), flat(0.8), flat(1.2), flat(0.5)])}
    found = site_maps(sums, EVERY, GRID)
    np.testing.assert_allclose(found["uplift"], 0.25)
    assert np.isnan(found["uplift_se"]).all()


@pytest.mark.parametrize("scenes", [2, 8])
def test_of_twenty_pixels_about_nineteen_lie_within_two_standard_errors_of_the_truth(scenes):
    """Seasons differ by .02, scenes of a pixel by .05; the last season has one scene or as many as the others."""
    noise, off = np.random.default_rng(1), []
    for _ in range(40):
        sums = {}
        for year in range(2015, 2020):
            n = 1 if (year, scenes) == (2019, 8) else scenes
            over = noise.normal(0.3 * (year == 2019), 0.02, SHAPE) + noise.normal(0, 0.05 / np.sqrt(n), SHAPE)
            sums[year, year < 2019] = n * np.stack([flat(1), flat(0.4), flat(0.5), over.astype(np.float32)])
        found = site_maps(sums, EVERY, GRID)
        off.append(np.abs(found["uplift"] - 0.3) < 1.96 * found["uplift_se"])
    assert 0.9 < np.mean(off) < 0.98
