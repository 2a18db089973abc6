"""Indices against values worked out by hand and in double precision, on numpy and dask alike."""

import dask
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.cover import indices as ix
from monitor.cover.fraction import ENDMEMBERS, cover, vegetation_cover
from monitor.errors import BadData
from tests.cover import reference


def band(*values):
    return xr.DataArray(np.array(values, dtype=np.float32), dims="x")


def test_ndvi_of_reflectances_worked_out_by_hand():
    np.testing.assert_allclose(ix.ndvi(band(0.1), band(0.3)), 0.5, rtol=1e-6)
    np.testing.assert_allclose(ix.ndvi(band(0.3), band(0.1)), -0.5, rtol=1e-6)


@pytest.mark.parametrize(("red", "nir"), [(0.0, 0.0), (-0.1, 0.05), (np.nan, 0.3), (0.3, np.nan)])
def test_without_a_positive_denominator_or_an_input_there_is_no_index(red, nir):
    assert np.isnan(ix.ndvi(band(red), band(nir))).all()


reflectance = st.floats(0.0078125, 1.0, width=32)


@settings(deadline=None)  # the first call compiles
@given(red=reflectance, nir=reflectance, swir=reflectance)
def test_indices_agree_with_their_published_formulas_in_double_precision(red, nir, swir):
    pixel = {"red": red, "nir": nir, "swir16": swir, "swir22": swir}
    for name, (function, needed) in ix.INDICES.items():
        found = function(*(band(pixel[one]) for one in needed))
        expected = reference.FORMULAS[name](*(pixel[one] for one in needed))
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6, err_msg=name)


CORNERS = [np.nan, np.inf, -0.5, -0.125, 0.0, 0.0625, 0.125, 0.5, 1.0, 1.5]
"""Missing, negative, nothing, dark, bright: all exact in single precision, and so are their sums."""


@pytest.mark.parametrize(("kind", "rtol"), [(np.float32, 2e-6), (np.float64, 2e-7)])  # the 2.4 of EVI2 is float32
@pytest.mark.parametrize("name", ix.INDICES)
def test_missing_inputs_and_denominators_that_are_not_positive_give_nan_and_all_else_a_number(name, kind, rtol):
    a, b = (values.ravel() for values in np.meshgrid(np.array(CORNERS, kind), np.array(CORNERS, kind)))
    found = ix.INDICES[name][0](xr.DataArray(a, dims="x"), xr.DataArray(b, dims="x"))
    expected = [reference.FORMULAS[name](float(x), float(y)) for x, y in zip(a, b, strict=True)]
    assert found.dtype == kind
    assert found.name == name
    assert 0 < np.isnan(expected).sum() < len(expected)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def test_packed_numbers_are_refused_since_an_offset_would_be_taken_for_reflectance():
    with pytest.raises(BadData, match="evi2 needs reflectance from 0 to 1, not uint16: apply scale and offset"):
        ix.evi2(*(xr.DataArray(np.array([1500], np.uint16)) for _ in range(2)))


def test_bands_of_other_coordinates_are_refused_not_cut_to_what_they_share():
    red, nir = band(0.1, 0.2).assign_coords(x=[0, 1]), band(0.3, 0.4).assign_coords(x=[1, 2])
    with pytest.raises(ValueError, match="cannot align"):
        ix.ndvi(red, nir)


def test_an_index_has_the_crs_of_its_bands_and_not_their_names():
    system = xr.DataArray(0, attrs={"crs_wkt": "a system"})
    red, nir = (
        band(0.1, 0.2).assign_coords(spatial_ref=system).assign_attrs(grid_mapping="spatial_ref", long_name=name)
        for name in ("red", "nir")
    )
    for found in (ix.ndvi(red, nir), cover(ix.ndvi(red, nir), ENDMEMBERS["steppe"])):
        assert found["spatial_ref"].attrs == {"crs_wkt": "a system"}
        assert found.attrs["grid_mapping"] == "spatial_ref"
        assert found.attrs.get("long_name") not in ("red", "nir")


def cube(chunks):
    rng = np.random.default_rng(1)
    data = {b: (("time", "y", "x"), rng.uniform(0.02, 0.5, (4, 5, 6)).astype("float32"))
            for b in ("blue", "green", "red", "nir", "swir16", "swir22")}  # fmt: skip
    data["clear"] = (("time", "y", "x"), rng.uniform(size=(4, 5, 6)) > 0.3)
    made = xr.Dataset(data)
    return made.chunk(chunks) if chunks else made


def measured(made):
    """Indices and cover."""
    found = {name: index(*(made[band] for band in needed)) for name, (index, needed) in ix.INDICES.items()}
    return xr.Dataset({**found, "cover": cover(found["msavi2"], ENDMEMBERS["sandy"])})


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_dask_and_numpy_give_the_same_bits(scheduler):
    lazy = measured(cube({"time": 1, "x": 4}))
    found = lazy.compute(scheduler=scheduler, num_workers=1)
    xr.testing.assert_identical(found, measured(cube(None)))
    assert {layer.dtype for layer in lazy.data_vars.values()} == {np.dtype(np.float32)}


def test_nothing_is_computed_before_it_is_needed():
    def start(_dsk):
        raise AssertionError("something was computed")

    lazy = cube({"time": 1})
    with Callback(start=start):
        assert all(dask.is_dask_collection(layer) for layer in measured(lazy).data_vars.values())


def test_ground_that_was_not_seen_has_no_cover():
    made = cube(None)
    np.testing.assert_array_equal(np.isnan(vegetation_cover(made, "sandy")), ~made.clear)
