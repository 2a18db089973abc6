"""``regrowth trends --bands --scale --offset --mask``: cubes whose files do not state what they hold."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives Datasets their .rio
import typer
import xarray as xr
from rasterio.transform import from_origin

from jobs.cli import app
from jobs.commands.trends import trends
from jobs.runtime.console import exit_status_of
from monitor.errors import BadData
from tests.trends.test_trends_command import maps_of, refused, written

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning:rioxarray")

DAY = np.timedelta64(1, "D")
CLEAR, CLOUD = 4, 9


@pytest.fixture(scope="module")
def stated():
    """Bands of five years as integers whose file states scale and offset, beside a layer of classes."""
    rng = np.random.default_rng(8)
    time = np.datetime64("2019-01-03", "ns") + np.arange(60) * 30 * DAY
    shape = (time.size, 4, 5)
    year = ((time - time[0]) / DAY / 365.25)[:, None, None]
    rising = {"B4": 3000 - 200 * year, "B8": 3500 + 200 * year, "B11": 4000 - 100 * year, "B12": 4200 + 0 * year}
    classes = rng.choice([CLEAR, CLEAR, CLEAR, CLOUD, 0], shape).astype(np.uint8)
    layers = {name: np.round(level + 50 * rng.standard_normal(shape)) for name, level in rising.items()}
    cloudy = {name: np.where(classes == CLOUD, 8000, layer) for name, layer in layers.items()}
    made = xr.Dataset(
        {name: (("time", "y", "x"), layer.astype(np.uint16)) for name, layer in cloudy.items()}
        | {"SCL": (("time", "y", "x"), classes)},
        coords={"time": time, "y": 5_000_055.0 - 10 * np.arange(4), "x": 300_005.0 + 10 * np.arange(5)},
    )
    for name in rising:
        made[name].attrs = {"scale_factor": 1e-4, "add_offset": -0.1}
    return made.rio.write_crs("EPSG:32648")


@pytest.fixture
def silent(stated):
    """The same without scale and offset."""
    plain = stated.copy(deep=True)
    for layer in plain.data_vars.values():
        layer.attrs = {}
    return plain


def images(cube, folder, **stated):
    """A folder of GeoTIFFs with all layers of a cube; B11 holds nothing of interest."""
    folder.mkdir()
    place = {"crs": "EPSG:32648", "transform": from_origin(3e5, 5_000_060, 10, 10), "dtype": "uint16"}
    for day in cube["time"].values:
        layers = cube.sel(time=day).drop_vars("spatial_ref").to_dataarray("band")
        path = folder / f"{str(day)[:10]}.tif"
        with rasterio.open(path, "w", driver="GTiff", count=5, height=4, width=5, **place) as out:
            out.write(layers.values.astype("uint16"))
            out.descriptions = tuple(map(str, layers["band"].values))
            if stated:
                out.scales, out.offsets = (stated["scale"],) * 5, (stated["offset"],) * 5
    return folder


@pytest.mark.parametrize("form", ["nc", "zarr", "tif"])
def test_a_cube_that_states_no_scale_gives_with_one_what_it_gives_where_the_file_states_it(
    stated, silent, form, tmp_path
):
    expected = written(stated, tmp_path / "stated.nc")
    given = tmp_path / f"in.{form}"
    images(silent, given) if form == "tif" else written(silent, given)
    bands = {"bands": "red=B4,nir=B8", "mask": "SCL=4"}
    by_file = maps_of(expected, tmp_path / "a.nc", **bands)
    by_option = maps_of(given, tmp_path / "b.nc", **bands, scale=1e-4, offset=-0.1)
    assert by_option.rio.crs.to_epsg() == 32648
    np.testing.assert_array_equal(by_option["n"], by_file["n"])
    np.testing.assert_array_equal(by_option["n"], (stated["SCL"] == CLEAR).sum("time"))
    for name in ("slope", "tau", "p", "harmonic_slope", "rmse"):
        np.testing.assert_allclose(by_option[name], by_file[name], atol=2e-6, err_msg=name)


def test_every_index_that_a_night_computes_can_be_requested(stated, tmp_path):
    stated.to_netcdf(tmp_path / "in.nc")
    band = {name: stated[name].astype(float) * 1e-4 - 0.1 for name in ("B4", "B8", "B11", "B12")}
    expected = {
        "ndvi": (band["B8"] - band["B4"]) / (band["B8"] + band["B4"]),
        "ndmi": (band["B8"] - band["B11"]) / (band["B8"] + band["B11"]),
        "nbr": (band["B8"] - band["B12"]) / (band["B8"] + band["B12"]),
        "evi2": 2.5 * (band["B8"] - band["B4"]) / (band["B8"] + 2.4 * band["B4"] + 1),
    }
    year = (stated["time"] - stated["time"][0]) / DAY / 365.25
    for name, layers in expected.items():
        out = maps_of(
            tmp_path / "in.nc", tmp_path / "out.nc", variable=name.upper(),
            bands="red=b4,nir=b8,swir16=B11,swir22=B12", mask="scl=4",
        )  # fmt: skip
        clear = layers.where(stated["SCL"] == CLEAR)
        pairs = np.triu_indices(60, 1)
        slopes = (clear.values[pairs[1]] - clear.values[pairs[0]]) / np.diff(year.values[np.array(pairs)], axis=0)[
            0, :, None, None
        ]
        np.testing.assert_allclose(out["slope"], np.nanmedian(slopes, axis=0), atol=1e-6, err_msg=name)
        assert out.attrs["title"].startswith(f"Trends of {name},")


def test_bands_that_are_named_count_before_an_index_of_the_file(stated, tmp_path):
    wrong = stated.assign(ndvi=stated["B4"].astype(float) * 0 + 0.5)
    wrong.to_netcdf(tmp_path / "in.nc")
    assert (maps_of(tmp_path / "in.nc", tmp_path / "a.nc")["slope"] == 0).all()
    assert (maps_of(tmp_path / "in.nc", tmp_path / "b.nc", bands="red=B4,nir=B8", mask="SCL=4")["slope"] > 0.05).all()


def test_a_band_with_a_common_name_need_not_be_named(stated, tmp_path):
    common = written(stated.rename(B4="red", B8="infrared"), tmp_path / "in.nc")
    named = maps_of(common, tmp_path / "a.nc", bands="nir=infrared", mask="SCL=4")
    same = written(stated, tmp_path / "same.nc")
    xr.testing.assert_equal(named, maps_of(same, tmp_path / "b.nc", bands="red=B4,nir=B8", mask="SCL=4"))


def test_a_scale_alone_or_an_offset_alone_is_enough_where_the_file_states_neither(silent, tmp_path):
    (silent["B8"].astype(float) * 1e-4).rename("cover").to_netcdf(tmp_path / "in.nc")
    plain = maps_of(tmp_path / "in.nc", tmp_path / "plain.nc")
    double = maps_of(tmp_path / "in.nc", tmp_path / "double.nc", scale=2.0)
    moved = maps_of(tmp_path / "in.nc", tmp_path / "moved.nc", offset=-0.1)
    np.testing.assert_allclose(double["slope"], 2 * plain["slope"], rtol=1e-5)
    np.testing.assert_allclose(moved["slope"], plain["slope"], rtol=1e-5)
    np.testing.assert_allclose(moved["harmonic_mean"], plain["harmonic_mean"] - 0.1, rtol=1e-5)


def test_pixels_stored_as_0_are_not_seen_also_under_an_offset_that_was_given(silent, tmp_path):
    holes = silent.assign(B8=silent["B8"].where(silent["time"].dt.year != 2020, 0).astype("uint16"))
    holes.to_netcdf(tmp_path / "in.nc")
    out = maps_of(tmp_path / "in.nc", tmp_path / "out.nc", variable="B8", scale=1e-4, offset=-0.1)
    assert (out["n"] == (silent["time"].dt.year != 2020).sum()).all()


def test_a_scale_that_agrees_with_the_file_changes_nothing(stated, tmp_path):
    for name in ("B4", "B8"):  # in single precision, as many files state it
        stated = stated.assign({name: stated[name].assign_attrs(scale_factor=np.float32(1e-4))})
    stated.to_netcdf(tmp_path / "in.nc")
    plain = maps_of(tmp_path / "in.nc", tmp_path / "a.nc", bands="red=B4,nir=B8")
    agreed = maps_of(tmp_path / "in.nc", tmp_path / "b.nc", bands="red=B4,nir=B8", scale=1e-4, offset=-0.1)
    xr.testing.assert_equal(plain, agreed)


@pytest.mark.parametrize(("option", "value"), [("scale", 2e-4), ("offset", -0.2), ("offset", 0.0)])
@pytest.mark.parametrize("form", ["nc", "tif"])
def test_a_scale_that_contradicts_the_file_is_refused(stated, silent, form, option, value, tmp_path):
    if form == "nc":
        stated.to_netcdf(tmp_path / "in.nc")
    else:
        images(silent, tmp_path / "in.tif", scale=1e-4, offset=-0.1)
    says = rf"'B4' has scale 0.0001 and offset -0.1, and --{option} is {value:.7g}; leave"
    refused(says, tmp_path / f"in.{form}", tmp_path / "out.nc", bands="red=B4,nir=B8", **{option: value})


def test_an_offset_beside_a_scale_of_the_file_contradicts_it_because_none_means_0(stated, tmp_path):
    for name in ("B4", "B8"):
        del stated[name].attrs["add_offset"]
    try:
        stated.to_netcdf(tmp_path / "in.nc")
    finally:
        for name in ("B4", "B8"):
            stated[name].attrs["add_offset"] = -0.1
    says = r"has scale 0\.0001 and offset 0, and --offset is -0\.1"
    refused(says, tmp_path / "in.nc", tmp_path / "out.nc", bands="red=B4,nir=B8", offset=-0.1)


NAMES = {
    "no such band": ({"bands": "red=B4,nir=B9"}, "--bands nir=B9: there is no 'B9'; there is B11, B12, B4, B8, SCL$"),
    "no such role": ({"bands": "red=B4,green=B3"}, "needs the bands red, nir, swir16, swir22, and none called .green"),
    "no index": ({"bands": "red=B4,nir=B8", "variable": "B4"}, "and 'B4' is none: give --variable ndvi, evi2, msavi2"),
    "bands of another index": ({"bands": "red=B4,nir=B8", "variable": "nbr"}, "by --bands nir=NAME,swir22=NAME"),
    "no such layer": ({"variable": "B4", "mask": "QA=1"}, "--mask: there is no 'QA'; there is B11, B12, B4, B8, SCL$"),
    "no such value": ({"variable": "B4", "mask": "SCL=77"}, "keeps no pixel: its layer has none of these values"),
    "no such variable": ({"variable": "evi"}, "has no 'evi'; it has B11, B12, B4, B8, SCL"),
}


@pytest.mark.parametrize(("options", "message"), NAMES.values(), ids=NAMES)
def test_a_wrong_name_is_refused_with_the_available_ones(stated, options, message, tmp_path):
    stated.to_netcdf(tmp_path / "in.nc")
    with pytest.raises(BadData, match=message) as error:
        trends(tmp_path / "in.nc", tmp_path / "out.nc", **options)
    assert exit_status_of(error.value) == 65
    assert [path.name for path in tmp_path.iterdir()] == ["in.nc"]


USAGE = {
    "a band without a role": {"bands": "B4,B8"}, "a role without a band": {"bands": "red=,nir=B8"},
    "a role twice": {"bands": "red=B4,red=B8"}, "no bands": {"bands": ""}, "a mask without values": {"mask": "SCL"},
    "a mask without a layer": {"mask": "=4"}, "a mask of words": {"mask": "SCL=clear"},
    "a mask of fractions": {"mask": "SCL=4.5"}, "scale of nothing": {"scale": 0.0},
    "no number": {"scale": float("nan")}, "an infinite offset": {"offset": float("inf")},
}  # fmt: skip


@pytest.mark.parametrize("options", USAGE.values(), ids=USAGE)
def test_an_option_in_another_form_is_a_mistake_of_the_command(stated, options, tmp_path):
    stated.to_netcdf(tmp_path / "in.nc")
    with pytest.raises(typer.BadParameter, match=f"--{next(iter(options))} ") as refused:
        trends(tmp_path / "in.nc", tmp_path / "out.nc", **options)
    assert exit_status_of(refused.value) == 64


def test_a_mask_of_another_resolution_is_refused_with_its_grid(stated, tmp_path):
    coarse = xr.DataArray(stated["SCL"].values[:, ::2, ::2], dims=("time", "y20", "x20"))
    stated.drop_vars("SCL").assign(SCL=coarse).to_netcdf(tmp_path / "in.nc")
    says = r"'SCL' is on .time, y20, x20., not on .time, y, x. as the bands are; resa"
    refused(says, tmp_path / "in.nc", tmp_path / "out.nc", bands="red=B4,nir=B8", mask="SCL=4")


def test_a_mask_counts_in_every_form_of_the_output_and_is_named_in_the_history(stated, tmp_path, capsys):
    stated.to_netcdf(tmp_path / "in.nc")
    files = [str(tmp_path / "in.nc"), str(tmp_path / "out.nc")]
    app(["trends", *files, "--bands", "red=B4,nir=B8", "--mask", "SCL=4", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["variable"] == "ndvi"
    trends(tmp_path / "in.nc", tmp_path / "out.tif", bands="red=B4,nir=B8", mask="SCL=4")
    with rasterio.open(tmp_path / "out.tif") as file, xr.open_dataset(tmp_path / "out.nc") as out:
        history = out.attrs["history"]
        assert history.endswith("regrowth trends in.nc out.nc --variable ndvi --bands red=B4,nir=B8 --mask SCL=4")
        assert str(tmp_path) not in history
        np.testing.assert_array_equal(file.read(file.descriptions.index("slope") + 1), out["slope"])


def test_a_mask_given_from_python_leaves_the_cube_lazy(stated, tmp_path):
    from dask.callbacks import Callback

    from monitor.trends.cubes import Mask, Packing, open_series

    stated.to_netcdf(tmp_path / "in.nc")

    def fail(*_):
        pytest.fail("read before it was needed")

    with Callback(start=fail):
        opened = open_series(
            Path(tmp_path / "in.nc"), bands={"red": "B4", "nir": "B8"}, packing=Packing(1e-4), mask=Mask("SCL", [CLEAR])
        )
    assert opened.series.chunks is not None
