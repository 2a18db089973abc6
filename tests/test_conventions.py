"""NetCDF files and Zarr stores are described as the CF conventions demand."""

from datetime import UTC, datetime, timedelta, timezone

import netCDF4
import numpy as np
import pytest
import xarray as xr
from compliance_checker.cf.cf_1_11 import CF1_11Check
from compliance_checker.runner import CheckSuite

from monitor.conventions import follow_cf, history_line

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning:rioxarray")


def faults(path):
    """What the compliance checker of IOOS finds wrong with a file, by the newest conventions that it knows."""
    suite = CheckSuite()
    suite.checkers = {"cf:1.11": CF1_11Check}
    with netCDF4.Dataset(path) as file:
        scored, errors = suite.run_all(file, ["cf:1.11"])["cf:1.11"]
    assert not errors
    return [message for result in scored if not passed(result.value) for message in result.msgs or []]


def passed(points):
    """Whether a check gives all its points; messages of such a one only say what was looked at."""
    return points[0] == points[1] if isinstance(points, tuple) else points is not False


def layer(crs, step):
    made = xr.Dataset(
        {"slope": (("y", "x"), np.ones((3, 4), np.float32), {"units": "year-1", "long_name": "slope"})},
        coords={
            "y": ("y", 40 - step * np.arange(3.0)),
            "x": ("x", 105 + step * np.arange(4.0), {"ancillary_variables": "sigma"}),
        },
        attrs={"title": "A slope", "history": history_line(datetime(2026, 6, 28, tzinfo=UTC), "test 1.0", "made")},
    )
    return made if crs is None else made.rio.write_crs(crs)


@pytest.mark.parametrize(
    ("crs", "step", "name", "units"),
    [("EPSG:32648", 10, "projection_x_coordinate", "metre"), ("EPSG:3035", 10, "projection_x_coordinate", "metre"),
     ("EPSG:4326", 1e-4, "longitude", "degrees_east"), (None, 10, None, None)],
)  # fmt: skip
def test_axes_are_described_by_the_crs_and_a_checker_of_the_conventions_finds_nothing(crs, step, name, units, tmp_path):
    described = follow_cf(layer(crs, step))
    described.to_netcdf(tmp_path / "out.nc")
    assert faults(tmp_path / "out.nc") == []
    with xr.open_dataset(tmp_path / "out.nc", decode_cf=False) as out:
        assert (out["x"].attrs.get("standard_name"), out["x"].attrs.get("units")) == (name, units)
        assert "_FillValue" not in out["x"].attrs
        assert "_FillValue" not in out["y"].attrs
        assert "ancillary_variables" not in out["x"].attrs  # names a variable that is not written
        assert crs is None or out["spatial_ref"].dtype == np.int32


def test_the_checker_finds_what_is_missing_from_a_plain_file(tmp_path):
    layer("EPSG:32648", 10).to_netcdf(tmp_path / "out.nc")
    assert any("must not have the _FillValue" in fault for fault in faults(tmp_path / "out.nc"))
    assert any("projection_x_coordinate" in fault for fault in faults(tmp_path / "out.nc"))


def test_the_dataset_that_is_described_is_not_changed():
    given = layer("EPSG:32648", 10)
    follow_cf(given)
    assert given["x"].attrs == {"ancillary_variables": "sigma"}
    assert "_FillValue" not in given["x"].encoding
    assert "Conventions" not in given.attrs


def test_a_line_of_history_is_in_utc():
    noon_in_china = datetime(2026, 6, 28, 12, tzinfo=timezone(timedelta(hours=8)))
    assert history_line(noon_in_china, "regrowth 1.0", "regrowth trends a.nc b.nc") == (
        "2026-06-28T04:00:00Z regrowth 1.0: regrowth trends a.nc b.nc"
    )
