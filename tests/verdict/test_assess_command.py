"""``regrowth assess``: anyone's tables in, assessments out, or one line that says what to correct."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from jobs.commands.assess import assess as command
from monitor.errors import BadData
from monitor.verdict.assess import assess
from monitor.verdict.tables.plans import read_plans
from monitor.verdict.tables.series import read_series
from tests.verdict.tables.test_series import refused
from tests.verdict.test_known_fates import assess_all

PLANS = "site,start,intervention,biome,subtype,A,k,L,too_early_years\n"


def table(theta: float, seed: int = 0, site: str = "a") -> pd.DataFrame:
    """A bell-shaped season, five years before and five after 2017-01-01, a scene a week; A .25, k .6, L .3."""
    rng = np.random.default_rng(seed)
    days = np.arange("2012-01-03", "2021-12-28", 7, dtype="datetime64[D]")
    doy = (days - days.astype("datetime64[Y]")).astype(int) + 1
    s = np.exp(-0.5 * ((doy - 212) / 45) ** 2)
    tau = (days - np.datetime64("2017-01-01")).astype(int) / 365.25
    uplift = theta * 0.25 * -np.expm1(-0.6 * np.maximum(tau - 0.3, 0))
    cover = (0.25 + uplift) * s + 0.04 + rng.normal(0, 0.015, days.size)
    control = 0.25 * s + 0.04 + rng.normal(0, 0.004, days.size)
    return pd.DataFrame({"site": site, "date": days.astype(str), "cover": cover.clip(0), "control": control.clip(0)})


def planned(folder: Path, *rows: str) -> Path:
    """A table of plans."""
    (folder / "p.csv").write_text(PLANS + "".join(f"{row}\n" for row in rows))
    return folder / "p.csv"


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Three sites whose fate is in their names."""
    series = pd.concat([table(1.0, 1, "成功"), table(0.4, 2, "007"), table(0.0, 3, "lost, all")])
    series.to_csv(tmp_path / "series.csv", index=False)
    rows = "".join(f'"{name}",2017-01-01,planting,loess,,.25,.6,.3,2\n' for name in ("lost, all", "成功", "007"))
    (tmp_path / "plans.csv").write_text(PLANS + rows, encoding="utf-8")
    return tmp_path / "series.csv", tmp_path / "plans.csv"


def test_each_site_gets_its_fate_and_a_row_for_every_acquisition_since_its_start(tables, tmp_path):
    command(tables[0], plans=tables[1], out=tmp_path / "out.csv")
    found = pd.read_csv(tmp_path / "out.csv", dtype={"site": str})
    since = (table(1.0).date >= "2017-01-01").sum()
    assert found.groupby("site").size().to_dict() == {"007": since, "lost, all": since, "成功": since}
    assert found.groupby("site").status.last().to_dict() == {
        "007": "lagging", "lost, all": "failing", "成功": "on_track"
    }  # fmt: skip
    assert found.equals(found.sort_values(["site", "as_of"], ignore_index=True))
    assert found.alert[found.site == "lost, all"].iloc[-1] == "red"
    assert found.alert_rule.dropna().unique().tolist() == ["failure"]


def test_a_configuration_that_only_defines_biomes_is_enough(tables, tmp_path):
    config = tmp_path / "biomes.toml"
    config.write_text('[biomes.pontic]\nlike = "loess"\n', encoding="utf-8")
    tables[1].write_text(tables[1].read_text(encoding="utf-8").replace(",loess,", ",pontic,"), encoding="utf-8")
    command(tables[0], plans=tables[1], out=tmp_path / "out.csv", config=config)
    found = pd.read_csv(tmp_path / "out.csv", dtype={"site": str})
    assert found.groupby("site").status.last().to_dict()["成功"] == "on_track"


def test_the_table_says_what_the_library_says(tables, tmp_path):
    command(tables[0], plans=tables[1], out=tmp_path / "out.parquet")
    found = pd.read_parquet(tmp_path / "out.parquet")
    sites, series = read_plans(tables[1]), read_series(tables[0]).series
    expected = [record for name in sorted(sites) for record in assess_all(series[name], sites[name].site)]
    assert len(expected) == len(found)
    for record, row in zip(expected[::97], found.iloc[::97].itertuples(), strict=True):
        assert (row.site, row.as_of, row.status, row.alert) == (record.site, record.as_of, record.status, record.alert)
        assert row.n_scenes == record.n_scenes
        assert row.reasons == ";".join(record.reasons)
        assert record.theta is None or row.theta == record.theta


def test_dates_may_be_requested_and_json_has_no_nan(tables, tmp_path, capsys):
    command(
        tables[0], plans=tables[1], out=tmp_path / "o.csv", as_json=True,
        at=[pd.Timestamp("2022-03-01").to_pydatetime(), pd.Timestamp("2016-06-01").to_pydatetime()],
    )  # fmt: skip
    found = pd.read_csv(tmp_path / "o.csv")
    assert found.as_of.tolist() == ["2016-06-01", "2022-03-01"] * 3
    assert found.status[::2].unique().tolist() == ["insufficient_data"]
    assert set(found.reasons[::2]) == {"START_IN_FUTURE"}
    report = json.loads(capsys.readouterr().out)
    assert report["latest"] == {"failing": 1, "lagging": 1, "on_track": 1}


def test_the_order_of_rows_and_repeated_rows_change_nothing(tables, tmp_path):
    command(tables[0], plans=tables[1], out=tmp_path / "once.csv")
    frame = pd.read_csv(tables[0], dtype={"site": str})
    shuffled = pd.concat([frame, frame.iloc[::5]]).sample(frac=1, random_state=1)
    shuffled.to_csv(tmp_path / "shuffled.csv", index=False)
    command(tmp_path / "shuffled.csv", plans=tables[1], out=tmp_path / "again.csv")
    assert (tmp_path / "once.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()


def test_a_site_never_seen_with_its_control_cannot_be_judged(tmp_path):
    table(0.0).assign(control="").to_csv(tmp_path / "s.csv", index=False)
    plans = planned(tmp_path, "a,2017-01-01,planting,loess,,,,,")
    command(tmp_path / "s.csv", plans=plans, out=tmp_path / "o.csv")
    found = pd.read_csv(tmp_path / "o.csv")
    assert found.status.unique().tolist() == ["insufficient_data"]
    assert found.alert.unique().tolist() == ["none"]
    assert found.reasons.str.contains("NO_CONTROL").all()
    assert found.theta.isna().all()


def test_plans_left_out_are_the_defaults_of_intervention_and_biome(tmp_path):
    sites = read_plans(planned(tmp_path, "a,2017-01-01,planting,loess,tree,,,,", "b,2017-01-01,tending,sandy,,,,,"))
    assert (sites["a"].site.plan.A, sites["a"].site.plan.L, sites["a"].site.plan.too_early_years) == (0.22, 2.0, 4.0)
    assert sites["b"].site.plan.A == 0


def test_south_of_the_equator_the_season_is_half_a_year_later_if_the_latitude_is_given(tmp_path):
    north = pd.concat([table(1.0, 1, "well"), table(0.0, 3, "lost")])
    south = north.assign(date=(pd.to_datetime(north.date) + pd.Timedelta(days=183)).dt.strftime("%Y-%m-%d"))
    south.to_csv(tmp_path / "series.csv", index=False)
    rows = [f"{site},2017-07-03,planting,loess,.25,.6,.3,2" for site in ("well", "lost")]

    def judged(latitude):
        header = "site,start,intervention,biome,A,k,L,too_early_years,latitude\n"
        (tmp_path / "plans.csv").write_text(header + "".join(f"{row},{latitude}\n" for row in rows))
        command(tmp_path / "series.csv", plans=tmp_path / "plans.csv", out=tmp_path / "out.csv")
        return pd.read_csv(tmp_path / "out.csv").groupby("site").last()

    with pytest.raises(BadData, match=r"site 'well': latitude is -352; it must be degrees"):
        judged(-352)
    assert judged(-35.2).status.to_dict() == {"lost": "failing", "well": "on_track"}
    for unstated in ("", 35.2):
        found = judged(unstated)
        assert set(found.status) == {"insufficient_data"}
        assert found.reasons.str.contains("SEASON_ELSEWHERE").all()


def test_a_plan_that_promises_nothing_is_refused_where_something_was_promised(tmp_path):
    says = r"'a': plan_A is 0, but planting promises uplift.*call the intervention tending"
    refused(planned(tmp_path, "a,2017-01-01,planting,loess,,0,.45,1,"), says, read_plans)


def test_tending_is_judged_by_loss_alone(tmp_path):
    site = read_plans(planned(tmp_path, "a,2017-01-01,tending,loess,,,,,"))["a"].site
    for theta, status in ((0.0, "on_track"), (1.0, "on_track"), (-0.8, "failing")):
        table(theta).to_csv(tmp_path / "s.csv", index=False)
        found = assess(read_series(tmp_path / "s.csv").series["a"], site, as_of=date(2021, 12, 31))
        assert found.status == status
        assert found.theta is None
        assert found.alert_rule in (None, "failure")
        assert found.alert == ("watch" if theta < 0 else "none")
        assert "NO_PLAN" in found.reasons


@pytest.mark.parametrize(("change", "says"), [
    (lambda s: s.assign(cover=s.cover * 100), r"site 'a', 2012-.*cover is .*percent: divide by 100"),
    (lambda s: s.assign(cover=-0.2), r"site 'a', 2012-01-03: cover is -0.2; it must be a fraction"),
    (lambda s: s.assign(cover=np.inf), r"cover is 'inf', not a finite number"),
    (lambda s: s.drop(columns="control"), r"column 'control' is absent; it has 'site', 'date', 'cover'"),
    (lambda s: s.assign(date="last summer"), r"line 2, site 'a': date is 'last summer'"),
    (lambda s: s.assign(cover="n/a"), r"line 2, site 'a', 2012-01-03: cover is 'n/a', not a number"),
    (lambda s: s.assign(site=""), r"line 2, 2012-01-03: site is absent"),
    (lambda s: s.assign(date="2018-07-01"), r"two different rows for 2018-07-01 \(line 2 and line 3\)"),
    (lambda s: s.assign(site="b"), r"no plan for site 'b'"),
    (lambda s: s.iloc[:0], r"has no rows"),
])  # fmt: skip
def test_a_bad_series_is_refused_in_one_line_and_nothing_is_written(change, says, tmp_path):
    change(table(0.5)).to_csv(tmp_path / "s.csv", index=False)
    plans = planned(tmp_path, "a,2017-01-01,planting,loess,,,,,")
    with pytest.raises(BadData, match=says) as caught:
        command(tmp_path / "s.csv", plans=plans, out=tmp_path / "o.csv")
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.csv", "s.csv"]


@pytest.mark.parametrize(("plan", "says"), [
    ("a,2017-01-01,planting,loes,,,,,", r"site 'a': biome is 'loes', which is unknown. Did you mean 'loess'\?"),
    ("a,2017-01-01,plantin,loess,,,,,", r"did you mean 'planting'\?"),
    ("a,2017-01-01,planting,loess,trees,,,,", r"did you mean 'tree'\?"),
    ("a,2017-01-01,planting,,,,,,", r"biome is absent; known are"),
    ("a,soon,planting,loess,,,,,", r"start is 'soon'; a date such as"),
    ("a,2017-01-01,planting,loess,,20,,,", r"A is 20; it must be a share of the ground"),
    ("a,2017-01-01,planting,loess,,,0,,", r"k is 0; it must be the rate of approach"),
    ("a,2017-01-01,planting,loess,,,,-1,", r"L is -1; it must be the lag in years"),
    ("a,2017-01-01,planting,loess,,x,,,", r"A is 'x', not a number"),
    ("a,2017-01-01,planting,loess,,,,3,1", r"after 1 years, before growth can be seen at 3 years"),
    ("a,2017-01-01,planting,loess,,,,,\na,2018-01-01,planting,loess,,,,,", r"site 'a' has more than one plan"),
])  # fmt: skip
def test_a_bad_plan_is_refused_in_one_line(plan, says, tmp_path):
    refused(planned(tmp_path, plan), says, read_plans)


def test_files_that_are_not_what_their_name_says_are_refused(tmp_path):
    (tmp_path / "p.csv").write_bytes("site,start,intervention,biome\n成功,2017-01-01,planting,loess\n".encode("gbk"))
    refused(tmp_path / "p.csv", "not UTF-8", read_plans)
    (tmp_path / "s.parquet").write_text("site,date\n")
    for name, says in (
        ("s.parquet", "cannot be read as PARQUET"), ("none.csv", "no such file"), ("s.xlsx", r"in \.csv or \.parquet")
    ):  # fmt: skip
        refused(tmp_path / name, says)


def test_a_year_or_a_month_is_not_accepted_as_a_date(tmp_path):
    for given in ("2017", "2017-05", "201705"):
        plans = planned(tmp_path, f"a,{given},planting,loess,,,,,")
        refused(plans, f"start is '{given}'; a date such as", read_plans)
        pd.DataFrame({"site": ["a"], "date": [given], "cover": [0.1], "control": [0.1]}).to_csv(tmp_path / "s.csv")
        refused(tmp_path / "s.csv", f"date is '{given}'")
    for given in ("2017-05-01", "2017/05/01", "20170501", "2017-05-01T03:51:41Z"):
        plans = planned(tmp_path, f"a,{given},planting,loess,,,,,")
        assert read_plans(plans)["a"].site.start == date(2017, 5, 1)


def test_dates_of_a_parquet_may_be_dates_or_text_and_no_numbers(tmp_path):
    rest = {"site": ["a"], "cover": [0.1], "control": [0.1]}
    for day in (date(2021, 7, 15), pd.Timestamp("2021-07-15 04:00"), "2021-07-15"):
        pd.DataFrame({**rest, "date": [day]}).to_parquet(tmp_path / "s.parquet")
        assert read_series(tmp_path / "s.parquet").series["a"].dates.astype(str).tolist() == ["2021-07-15"]
    pd.DataFrame({**rest, "date": [18_823]}).to_parquet(tmp_path / "s.parquet")
    refused(tmp_path / "s.parquet", "18823")


def test_assessments_never_take_the_place_of_what_they_were_made_from(tables, tmp_path, capsys):
    from jobs.cli import main

    before = [path.read_bytes() for path in tables]
    for out in (*tables, tmp_path / "v.json"):
        with pytest.raises(SystemExit) as left:
            main(["assess", str(tables[0]), "--plans", str(tables[1]), "--out", str(out)])
        assert left.value.code == 64
        assert out.name in capsys.readouterr().err
    assert [path.read_bytes() for path in tables] == before


def test_a_plan_that_starts_after_all_scenes_gets_one_row_that_says_so(tmp_path):
    table(0.0).to_csv(tmp_path / "s.csv", index=False)
    plans = planned(tmp_path, "a,2030-01-01,planting,loess,,,,,")
    command(tmp_path / "s.csv", plans=plans, out=tmp_path / "o.csv")
    found = pd.read_csv(tmp_path / "o.csv")
    assert found[["as_of", "status", "reasons"]].to_numpy().tolist() == [
        ["2021-12-21", "insufficient_data", "START_IN_FUTURE"]
    ]


def test_the_options_come_after_the_name_and_dates_are_iso(tables, tmp_path):
    import typer

    app = typer.Typer()
    app.command()(command)
    arguments = [str(tables[0]), "--plans", str(tables[1]), "--out", str(tmp_path / "o.csv"), "--at", "2021-09-01"]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    assert "3 assessments of 3 sites" in ran.output
    assert CliRunner().invoke(app, [*arguments, "--at", "1.9.2021"]).exit_code == 2
