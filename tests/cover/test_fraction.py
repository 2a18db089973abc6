"""Cover between frozen end members."""

import numpy as np
import pytest
import xarray as xr

from monitor.cover.fraction import ENDMEMBERS, Endmembers, cover
from monitor.cover.indices import INDICES
from monitor.sites.biomes import BIOMES
from tests.cover import reference

MIDDLING = Endmembers(index="ndvi", soil=0.1, vegetation=0.8)


def test_cover_is_linear_between_soil_and_vegetation_and_cut_outside():
    index = xr.DataArray(np.array([0.0, 0.1, 0.45, 0.8, 0.9, np.nan], dtype=np.float32), dims="x")
    np.testing.assert_allclose(cover(index, MIDDLING), [0.0, 0.0, 0.5, 1.0, 1.0, np.nan], atol=1e-6)


@pytest.mark.parametrize(("kind", "rtol"), [(np.float32, 1e-6), (np.float64, 1e-7)])
@pytest.mark.parametrize("biome", ENDMEMBERS)
def test_cover_agrees_with_its_formula_in_double_precision(biome, kind, rtol):
    index = np.append(np.linspace(-1.5, 1.5, 301), [np.nan, np.inf, -np.inf]).astype(kind)
    found = cover(xr.DataArray(index, dims="x"), ENDMEMBERS[biome])
    assert found.dtype == kind
    expected = [reference.cover(float(value), ENDMEMBERS[biome]) for value in index]
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def test_every_biome_has_end_members_in_order_and_a_known_index():
    assert set(ENDMEMBERS) == set(BIOMES)
    for biome, ends in ENDMEMBERS.items():
        assert ends.index in INDICES, biome
        assert ends.soil < ends.vegetation, biome
