"""Indices against values worked out by hand, on numpy and dask alike."""

import dask
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback
from hypothesis import given
from hypothesis import strategies as st

from monitor.cover import indices as ix


def band(*values):
    return xr.DataArray(np.array(values, dtype=np.float32), dims="x")


def test_ndvi_of_reflectances_worked_out_by_hand():
    np.testing.assert_allclose(ix.ndvi(band(0.1), band(0.3)), 0.5, rtol=1e-6)
    np.testing.assert_allclose(ix.ndvi(band(0.3), band(0.1)), -0.5, rtol=1e-6)


@pytest.mark.parametrize(("red", "nir"), [(0.0, 0.0), (-0.1, 0.05), (np.nan, 0.3), (0.3, np.nan)])
def test_without_a_positive_denominator_or_an_input_there_is_no_index(red, nir):
    assert np.isnan(ix.ndvi(band(red), band(nir))).all()


reflectance = st.floats(0.0078125, 1.0, width=32)


@given(red=reflectance, nir=reflectance, swir=reflectance)
def test_indices_agree_with_their_published_formulas_in_double_precision(red, nir, swir):
    expected = {
        "ndvi": (nir - red) / (nir + red),
        "evi2": 2.5 * (nir - red) / (nir + 2.4 * red + 1),
        "msavi2": 0.5 * (2 * nir + 1 - np.sqrt((2 * nir + 1) ** 2 - 8 * (nir - red))),
        "kndvi": np.tanh(((nir - red) / (nir + red)) ** 2),
        "ndmi": (nir - swir) / (nir + swir),
        "nbr": (nir - swir) / (nir + swir),
    }
    for name, (function, needed) in ix.INDICES.items():
        given_ = {"red": band(red), "nir": band(nir), "swir16": band(swir), "swir22": band(swir)}
        found = function(*(given_[one] for one in needed))
        np.testing.assert_allclose(found, expected[name], rtol=2e-5, atol=2e-6, err_msg=name)


def cube(chunks):
    rng = np.random.default_rng(1)
    data = {b: (("time", "y", "x"), rng.uniform(0.02, 0.5, (4, 5, 6)).astype("float32"))
            for b in ("blue", "green", "red", "nir", "swir16", "swir22")}  # fmt: skip
    data["clear"] = (("time", "y", "x"), rng.uniform(size=(4, 5, 6)) > 0.3)
    made = xr.Dataset(data)
    return made.chunk(chunks) if chunks else made


def test_dask_and_numpy_give_the_same_bits():
    xr.testing.assert_identical(ix.indices(cube(None)), ix.indices(cube({"time": 1})).compute())


def test_nothing_is_computed_before_it_is_asked_for():
    def start(_dsk):
        msg = "something was computed"
        raise AssertionError(msg)

    lazy = cube({"time": 1})
    with Callback(start=start):
        assert dask.is_dask_collection(ix.indices(lazy))


def test_ground_that_was_not_seen_has_no_index():
    made = cube(None)
    found = ix.indices(made)
    for name in ix.INDICES:
        np.testing.assert_array_equal(np.isnan(found[name]), ~made.clear)
