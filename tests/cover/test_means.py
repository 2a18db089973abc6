"""Means of pieces of ground over their clear pixels."""

import numpy as np
import pytest
import xarray as xr

from monitor.cover.fraction import Endmembers
from monitor.cover.means import MEASURES, means
from monitor.imagery import bands

ENDS = Endmembers(index="ndvi", soil=0.0, vegetation=1.0)


def cube(red, nir, clear):
    shape = np.shape(red)
    data = {b: (("time", "y", "x"), np.full(shape, np.nan, dtype="float32")) for b in bands.OBSERVED}
    data["red"], data["nir"] = (("time", "y", "x"), np.float32(red)), (("time", "y", "x"), np.float32(nir))
    data["clear"] = (("time", "y", "x"), np.array(clear, dtype=bool))
    return xr.Dataset(data)


def on_grid(pieces):
    return xr.DataArray(np.array(pieces), dims=("y", "x"))


def in_a_row(grid):
    return grid.stack(pixel=("y", "x"), create_index=False)


RED = [[[0.1, 0.2], [0.3, 0.1]]]
NIR = [[[0.3, 0.2], [0.1, 0.4]]]


@pytest.mark.parametrize("chunks", [None, {"time": 1}], ids=["numpy", "dask"])
def test_a_mean_is_over_clear_pixels_of_the_piece_and_taken_pixel_by_pixel(chunks):
    made = cube(RED, NIR, [[[1, 1], [1, 0]]])
    made = made.chunk(chunks) if chunks else made
    found = means(made, on_grid([[0, 0], [1, 0]]), ENDS).compute()
    ndvi = found.sel(measure="ndvi").values[0]
    np.testing.assert_allclose(ndvi, [(0.5 + 0.0) / 2, -0.5], rtol=1e-6)
    np.testing.assert_allclose(found.sel(measure="cover").values[0], [0.25, 0.0], rtol=1e-6)
    np.testing.assert_array_equal(found.sel(measure="n_pixels").values[0], [2, 1])
    np.testing.assert_allclose(found.sel(measure="red").values[0], [0.15, 0.3], rtol=1e-6)
    assert np.isnan(found.sel(measure="ndmi").values).all()


def test_a_piece_nobody_saw_has_a_count_of_zero_and_no_mean():
    found = means(cube(RED, NIR, [[[0, 0], [0, 0]]]), on_grid([[0, 0], [0, 0]]), ENDS)
    assert found.sel(measure="n_pixels").item() == 0
    assert np.isnan(found.sel(measure=[m for m in MEASURES if m != "n_pixels"])).all()


def test_dask_and_numpy_give_the_same_bits():
    rng = np.random.default_rng(3)
    made = cube(rng.uniform(0, 1, (5, 8, 9)), rng.uniform(0, 1, (5, 8, 9)), rng.uniform(size=(5, 8, 9)) > 0.4)
    pieces = on_grid(rng.integers(-1, 4, (8, 9)))
    numpy = means(made, pieces, ENDS)
    lazy = means(made.chunk({"time": 2}), pieces, ENDS).compute()
    np.testing.assert_array_equal(numpy.values, lazy.values)


def test_pixels_in_a_row_give_the_bits_that_pixels_on_a_grid_give():
    rng = np.random.default_rng(4)
    made = cube(rng.uniform(0, 1, (3, 8, 9)), rng.uniform(0, 1, (3, 8, 9)), rng.uniform(size=(3, 8, 9)) > 0.4)
    pieces = on_grid(rng.integers(-1, 4, (8, 9)))
    row = means(in_a_row(made), in_a_row(pieces), ENDS)
    np.testing.assert_array_equal(row.values, means(made, pieces, ENDS).values)
