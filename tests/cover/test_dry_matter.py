"""Dry matter from three indices: mixtures of known shares, and ground without a share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from monitor.cover.dry_matter import DRY, GREEN, SOIL, dead_fuel_index, dry_share

BANDS = ("red", "nir", "swir16", "swir22")
LEAF, STRAW, SAND = (0.04, 0.45, 0.20, 0.09), (0.24, 0.36, 0.42, 0.25), (0.27, 0.33, 0.40, 0.375)
"""Reflectances of green leaves, straw and dry sandy soil."""


def indices_of(reflectance):
    red, nir, swir16, swir22 = np.asarray(reflectance, np.float64).T
    return (nir - red) / (nir + red), (nir - swir16) / (nir + swir16), (nir - swir22) / (nir + swir22)


def indices_for(ndvi, dfi, swir16=0.9):
    """NDMI and NBR of a pixel with this NDVI and this dead fuel index; `swir16` is relative to the near infrared."""
    swir22 = swir16 * (1 - dfi / 100 / ((1 - ndvi) / (1 + ndvi)))
    return (1 - swir16) / (1 + swir16), (1 - swir22) / (1 + swir22)


def test_the_dead_fuel_index_is_that_of_the_bands():
    reflectance = np.random.default_rng(1).uniform(0.02, 0.6, (50, 4))
    red, nir, swir16, swir22 = reflectance.T
    expected = 100 * (1 - swir22 / swir16) * red / nir
    np.testing.assert_allclose(dead_fuel_index(*indices_of(reflectance)), expected, rtol=1e-9)


@given(shares=st.tuples(*[st.floats(0, 1)] * 3).filter(lambda parts: sum(parts) > 0.1))
def test_a_mixture_of_the_pure_covers_gives_back_its_dry_share(shares):
    green, dry, soil = np.array(shares) / sum(shares)
    ndvi, dfi = green * np.array(GREEN) + dry * np.array(DRY) + soil * np.array(SOIL)
    found = dry_share(np.array([ndvi]), *(np.array([index]) for index in indices_for(ndvi, dfi)))
    assert found[0] == pytest.approx(dry, abs=1e-9)


def test_unmixing_agrees_with_constrained_least_squares_inside_the_triangle_and_is_0_to_1_outside():
    rng = np.random.default_rng(2)
    ndvi, dfi = rng.uniform(0, 0.9, 300), rng.uniform(-5, 35, 300)
    dfi = np.minimum(dfi, 95 * (1 - ndvi) / (1 + ndvi))
    found = dry_share(ndvi, *indices_for(ndvi, dfi))
    assert ((found >= 0) & (found <= 1)).all()
    corners = np.array([[*GREEN, 1.0], [*DRY, 1.0], [*SOIL, 1.0]]).T
    inside = 0
    for k in range(300):
        shares, rest = nnls(corners, [ndvi[k], dfi[k], 1.0])
        if rest < 1e-9:
            inside += 1
            assert found[k] == pytest.approx(shares[1], abs=1e-6)
    assert inside > 20


@pytest.mark.parametrize("dry", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_reflectances_mixed_by_area_give_the_dry_share_within_its_error(dry):
    for green in (0.0, 0.1, 0.3):
        rest = 1 - dry
        mixed = dry * np.array(STRAW) + rest * (green * np.array(LEAF) + (1 - green) * np.array(SAND))
        assert dry_share(*indices_of([mixed]))[0] == pytest.approx(dry, abs=0.16)


def test_bare_soil_and_closed_green_cover_have_no_dry_matter():
    np.testing.assert_allclose(dry_share(*indices_of([SAND, LEAF])), [0.0, 0.0], atol=0.05)


def test_there_is_no_dry_share_without_short_wave_bands_over_water_or_from_impossible_indices():
    ndvi = np.array([np.nan, 0.2, 0.2, -0.1, 1.0, 0.2])
    ndmi = np.array([0.0, np.nan, 0.0, 0.0, 0.0, -1.0])
    nbr = np.array([0.1, 0.1, np.nan, 0.1, 0.1, 0.1])
    assert np.isnan(dry_share(ndvi, ndmi, nbr)).all()
    assert dry_share(*(np.empty(0) for _ in range(3))).shape == (0,)
