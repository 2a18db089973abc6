"""The functions of the package itself: what the commands and the nights do, in one call each."""

import json
import pydoc

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from typer.testing import CliRunner

import monitor
from jobs.cli import app
from jobs.commands.assess import assess as command
from monitor.errors import BadConfiguration, BadData
from monitor.trends.maps import trend

SITE = "demo-02"
PLAN = {"start": "2017-04-01", "intervention": "planting", "biome": "loess"}


@pytest.fixture(scope="module")
def series(demo):
    return monitor.open_series(demo, SITE)


def by_command(demo, plan, out):
    """The table of ``regrowth assess`` for the published series of the site."""
    command(demo / "sites" / SITE / "observations.csv", plans=plan, out=out)
    return pq.read_table(out).to_pandas(date_as_object=False)


def test_help_lists_every_function_with_its_signature_and_what_it_is_for():
    text = pydoc.plain(pydoc.render_doc(monitor))
    for name in monitor.__all__:
        function = getattr(monitor, name)
        assert f"    {name}(" in text
        assert function.__doc__.splitlines()[0] in text
        assert name in dir(monitor)
    assert "plan: " in text


def test_a_misspelt_function_is_named_with_the_nearest():
    with pytest.raises(AttributeError, match=r"no attribute 'asess'; did you mean 'assess'\?"):
        monitor.asess  # noqa: B018 - the look-up raises
    assert not hasattr(monitor, "zzzz")


@pytest.mark.parametrize("site", [f"demo-{number:02d}" for number in range(1, 11)])
def test_one_call_gives_the_published_verdict(demo, site):
    row = monitor.assess(monitor.open_series(demo, site), demo / "sites" / site / "plan.json").iloc[-1]
    (published,) = [row for row in json.loads((demo / "status.json").read_bytes()) if row["site"] == site]
    for name in {*row.index} & {*published}:
        theirs = published[name]
        if theirs is None:
            assert pd.isna(row[name]), name
        elif isinstance(theirs, float):
            assert row[name] == pytest.approx(theirs, abs=1e-6), name
        else:
            ours = str(row[name].date()) if isinstance(row[name], pd.Timestamp) else row[name]
            assert ours == (";".join(theirs) if isinstance(theirs, list) else theirs), name


@pytest.mark.parametrize("given", ["path", "mapping", "frame", "keywords"])
def test_the_call_equals_the_command_however_the_plan_is_given(demo, series, tmp_path, given):
    values = {**PLAN, "A": 0.3, "k": 0.9, "L": 0.3, "hectares": 0.54}
    (tmp_path / "plan.json").write_text(json.dumps({"site": SITE, **values}))
    plan = {"path": tmp_path / "plan.json", "mapping": values, "frame": pd.DataFrame([{"site": SITE, **values}])}
    found = monitor.assess(series, **values) if given == "keywords" else monitor.assess(series, plan[given])
    pd.testing.assert_frame_equal(found, by_command(demo, tmp_path / "plan.json", tmp_path / "out.parquet"))


def test_a_tampered_plan_changes_the_call_as_it_changes_the_command_and_a_warning_says_so(demo, series, tmp_path):
    plan = json.loads((demo / "sites" / SITE / "plan.json").read_bytes())
    plan["calibration"]["scene_sd"] *= 3
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.warns(UserWarning, match="the constants are not those of the published verdict"):
        found = monitor.assess(series, plan)
    pd.testing.assert_frame_equal(found, by_command(demo, tmp_path / "plan.json", tmp_path / "out.parquet"))
    with pytest.warns(UserWarning, match="the series is not the one of the verdict published"):
        monitor.assess(series.assign(cover=series.cover * 0.9), demo / "sites" / SITE / "plan.json")


def test_a_series_needs_no_id_may_be_indexed_by_date_and_be_judged_on_any_day(series):
    own = series.loc[series.accepted, ["date", "cover", "control_cover"]].set_index("date")
    of_xarray = own.to_xarray().rename(date="time").to_dataframe().reset_index()
    pd.testing.assert_frame_equal(monitor.assess(of_xarray, PLAN), monitor.assess(own, PLAN))
    found = monitor.assess(own, PLAN, at=["2020-10-31", "2016-06-01"])
    assert found.site.tolist() == ["site", "site"]
    assert found.as_of.tolist() == [pd.Timestamp("2016-06-01"), pd.Timestamp("2020-10-31")]
    assert found.reasons[0] == "START_IN_FUTURE"
    two = pd.concat([own.assign(site=name) for name in "ab"])
    plans = pd.DataFrame([{"site": "a", **PLAN}, {"site": "b", "subtype": "shrub", **PLAN}])
    assert monitor.assess(two, plans, at="2020-10-31").site.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "plan", "says"),
    [
        (lambda s: s.to_dict("list"), PLAN, "the series is of type dict; give a pandas.DataFrame"),
        (lambda s: s.assign(cover=100 * s.cover), PLAN, r"series: row \d+, site 'demo-02', .*divide by 100"),
        (lambda s: s.rename(columns={"cover": "covr"}), PLAN, "column 'covr' is unknown; did you mean 'cover'"),
        (lambda s: s.assign(cover=object()), PLAN, "neither text, numbers nor dates"),
        (lambda s: s.iloc[:0], PLAN, "series: has no rows"),
        (lambda s: s, None, "give a plan, or its values start, intervention and biome"),
        (lambda s: s, 3, "the plan is of type int; give a mapping"),
        (lambda s: s, "nowhere.json", "nowhere.json: no such file"),
        (lambda s: s, {**PLAN, "biome": "loes"}, "biome is 'loes', .*Did you mean 'loess'"),
        (lambda s: s, {**PLAN, "hectars": 3}, "column 'hectars' is unknown; did you mean 'hectares'"),
        (lambda s: s, {**PLAN, "A": "much"}, "plan: row 0, site 'demo-02': A is 'much', not a number"),
        (lambda s: s, {**PLAN, "site": "other"}, "there is no plan for site 'demo-02'; there are plans for 'other'"),
    ],
)
def test_a_wrong_series_or_plan_gets_one_sentence(series, change, plan, says):
    with pytest.raises(BadData, match=says) as raised:
        monitor.assess(change(series), plan)
    assert "\n" not in str(raised.value)


def test_a_day_that_is_none_and_a_cube_without_control_ground_are_named(demo, series):
    with pytest.raises(BadData, match="at is 'summer'; a date such as"):
        monitor.assess(series, PLAN, at="summer")
    with pytest.raises(BadData, match=r"give monitor\.open_series"):
        monitor.assess(monitor.open_site(demo, SITE), PLAN)
    with pytest.raises(BadData, match="not both"):
        monitor.assess(series, PLAN, A=0.2)


def test_cover_and_trend_of_a_cube_are_those_of_the_nights(demo):
    cube = monitor.open_site(demo, SITE).compute()
    np.testing.assert_array_equal(monitor.vegetation_cover(cube), cube["cover"])
    bands = {"red": cube["red"], "nir": cube["nir"]}
    np.testing.assert_array_equal(monitor.vegetation_cover(bands, "loess").where(cube["clear"]), cube["cover"])
    np.testing.assert_array_equal(monitor.ndvi(**bands).where(cube["clear"]), cube["ndvi"])
    xr.testing.assert_identical(monitor.trend(cube), trend(cube["ndvi"][cube["accepted"].values]))
    with pytest.raises(BadData, match=r"2 variables on time and place \(red, nir\); .*monitor.trend\(monitor.ndvi\("):
        monitor.trend(cube[["red", "nir"]])


@pytest.mark.parametrize(
    ("bands", "biome", "says"),
    [
        (3, "loess", "the bands are of type int; give an xarray.Dataset"),
        ({"red": xr.DataArray(0.1)}, "loess", "band 'nir' is missing among red; cover needs red and nir"),
        ({"red": xr.DataArray(0.1), "nir": xr.DataArray(3000)}, "loess", "nir holds whole numbers .*apply scale"),
        ({"red": [0.1], "nir": [0.2]}, "loess", "ndvi needs an xarray.DataArray of numbers for each band, not list"),
        ({}, None, "no biome is given; give one of desert_steppe"),
        ({}, 2, "the biome is of type int, not a text"),
        ({}, "loes", "did you mean 'loess'"),
    ],
)
def test_wrong_bands_or_biomes_get_one_sentence(bands, biome, says):
    with pytest.raises(BadData, match=says):
        monitor.vegetation_cover(bands, biome)


def test_the_account_is_that_of_the_command(demo, tmp_path):
    ran = CliRunner().invoke(app, ["programme", "--config", str(demo / "regrowth.toml"), "--json"])
    printed, account = json.loads(ran.stdout), monitor.programme(demo)
    whole = account.iloc[0]
    assert (whole["by"], whole["sites"]) == ("programme", 10)
    assert {name: whole[name] for name in printed["hectares"]} == printed["hectares"]
    assert account["by"].tolist()[1:] == [group["by"] for group in printed["groups"]]
    assert account.attrs == {"as_of": printed["as_of"], "pledge_hectares": None}
    (tmp_path / "regrowth.toml").write_text('[outputs]\nroot = "."\n')
    with pytest.raises(BadData, match="the account is not published yet"):
        monitor.programme(tmp_path)
    (tmp_path / "programme.json").write_text("[]")
    with pytest.raises(BadData, match="is not a published account"):
        monitor.programme(tmp_path)
    with pytest.raises(BadConfiguration, match="3 is of type int"):
        monitor.programme(3)


@pytest.mark.parametrize("name", ["site.nc", "site.zarr"])
def test_an_exported_site_is_that_of_the_command_and_gives_the_published_verdict(demo, series, tmp_path, name):
    CliRunner().invoke(app, ["export", SITE, str(tmp_path / f"c-{name}"), "--config", str(demo / "regrowth.toml")])
    assert monitor.export(demo, SITE, tmp_path / name) == tmp_path / name
    plan = demo / "sites" / SITE / "plan.json"
    with (
        xr.open_dataset(tmp_path / name, decode_coords="all") as found,
        xr.open_dataset(tmp_path / f"c-{name}", decode_coords="all") as expected,
    ):
        for one in (found, expected):
            del one.attrs["history"], one.attrs["date_created"]
        xr.testing.assert_identical(found, expected)
        pd.testing.assert_frame_equal(monitor.assess(found, plan), monitor.assess(series, plan))


@pytest.mark.parametrize(
    ("out", "says"),
    [("site.tif", "must end in .nc"), ("store/site.nc", "inside the store"), (3, "out is of type int; give the path")],
)
def test_a_wrong_target_of_an_export_gets_one_sentence(demo, out, says):
    with pytest.raises(BadData, match=says):
        monitor.export(demo, SITE, demo / out if isinstance(out, str) else out)
