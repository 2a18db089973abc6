"""``assess --units`` and ``--placebos``: own mean of screened units, constants from ground where nothing was done."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from monitor.controls.control_means import control_mean
from monitor.verdict.tables.placebos import _placebo
from monitor.verdict.tables.plans import read_plans
from monitor.verdict.tables.series import read_placebos, read_series
from monitor.verdict.tables.units import compare_with_units

PLANS = "site,start,intervention,biome,A,k,L,too_early_years\n"
DAYS = np.arange("2012-01-03", "2021-12-28", 10, dtype="datetime64[D]")
SEASON = np.exp(-0.5 * (((DAYS - DAYS.astype("datetime64[Y]")).astype(int) + 1 - 212) / 45) ** 2)
TAU = (DAYS - np.datetime64("2017-01-01")).astype(int) / 365.25
GROWTH = 0.25 * -np.expm1(-0.6 * np.maximum(TAU - 0.3, 0))
YEARS = DAYS.astype("datetime64[Y]").astype(int)

MATCHED = "site 'a': 30 of 30 units are like it before its start and count"


def ground(seed: int, theta: float = 0.0, noise: float = 0.012) -> np.ndarray:
    """Cover of ground that gained a share of the uplift since 2017."""
    rng = np.random.default_rng(seed)
    rain = np.random.default_rng(1).normal(0, 0.15, 99)[YEARS - YEARS[0]]
    return np.clip(0.04 + (0.25 * (1 + rain) + theta * GROWTH) * SEASON + rng.normal(0, noise, DAYS.size), 0, 1)


def units(restored: int = 0, number: int = 30, site: str = "a") -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame(
            {"site": site, "date": DAYS.astype(str), "unit": f"u{k}", "cover": ground(100 + k, float(k < restored))}
        )
        for k in range(number)
    )


def series(theta: float, site: str = "a", seed: int = 7) -> pd.DataFrame:
    return pd.DataFrame({"site": site, "date": DAYS.astype(str), "cover": ground(seed, theta)})


@pytest.fixture
def files(tmp_path):
    """A writer of the four tables, which runs the command: its result and the assessments, unless it refuses."""

    def run(says=None, **tables):
        (tmp_path / "o.csv").unlink(missing_ok=True)
        for name, frame in tables.items():
            frame.to_csv(tmp_path / f"{name}.csv", index=False)
        if "plans" not in tables:
            sites = tables["series"]["site"].unique()
            rows = (f"{site},2017-01-01,planting,loess,.25,.6,.3,2\n" for site in sites)
            (tmp_path / "plans.csv").write_text(PLANS + "".join(rows))
        arguments = ["assess", tmp_path / "series.csv", "--plans", tmp_path / "plans.csv", "--out", tmp_path / "o.csv"]
        for name in ("units", "placebos"):
            arguments += [f"--{name}", tmp_path / f"{name}.csv"] if name in tables else []
        ran = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=True)
        if says:
            assert says in str(ran.exception)
            assert not (tmp_path / "o.csv").exists()
            return None
        assert ran.exit_code == 0, ran.output
        return json.loads(ran.stdout), pd.read_csv(tmp_path / "o.csv")

    return run


def test_the_mean_of_units_is_the_control_and_no_column_is_needed(files, tmp_path):
    report, found = files(series=series(0.0), units=units())
    assert report["latest"] == {"failing": 1}
    table = units()
    mean = control_mean(table["cover"].to_numpy().reshape(30, -1).T, DAYS, pd.Timestamp("2017-01-01").date())
    _, same = files(series=series(0.0).assign(control=mean))
    columns = ["status", "theta", "e_failure", "control_cover"]
    pd.testing.assert_frame_equal(found[columns], same[columns])


def test_units_that_were_restored_too_do_not_make_a_success_look_like_a_failure(files):
    site = series(1.0)
    naive = units(restored=9).groupby("date")["cover"].mean()
    _, by_mean = files(series=site.assign(control=site["date"].map(naive)))
    _, screened = files(series=site, units=units(restored=9))
    assert screened.theta.iloc[-1] == pytest.approx(1.0, abs=0.15)
    assert by_mean.theta.iloc[-1] < screened.theta.iloc[-1] - 0.15


def test_units_come_before_a_column_control(files):
    _, found = files(series=series(0.0).assign(control=ground(5, 1.0)), units=units())
    _, alone = files(series=series(0.0), units=units())
    pd.testing.assert_frame_equal(found, alone)


def test_a_site_without_units_needs_a_control_and_is_named(files):
    both = pd.concat([series(0.0).assign(control=ground(5)), series(1.0, "b", 8).assign(control=ground(6))])
    report, _ = files(series=both, units=units())
    assert report["notes"] == [MATCHED, "site 'b' has no units; its column control is used"]
    says = "has no units of site 'b', whose series has no control either"
    files(says, series=both.drop(columns="control"), units=units())
    files("has units of site 'c', which has no series", series=series(0.0), units=units(site="c"))


def test_too_few_units_give_no_verdict_and_it_says_so(files):
    report, found = files(series=series(0.0), units=units(number=9))
    assert set(found.status) == {"insufficient_data"}
    assert found.reasons.str.contains("NO_CONTROL").all()
    seen = f"{DAYS.size} of {DAYS.size} scenes are left out, since fewer than 10 units count and are seen in them"
    assert report["notes"] == [MATCHED.replace("30", "9"), f"site 'a': {seen}"]


def test_units_that_are_all_unlike_the_site_are_not_called_like_it(files):
    report, _ = files(series=series(0.0), units=units().assign(cover=lambda table: table["cover"] / 2))
    note = "30 of 30 units count, although their mean differs from it by 0.09 before its start: give ground like it"
    assert report["notes"] == [f"site 'a': {note}"]


def test_units_seen_on_other_days_than_the_site_are_reported(files):
    table = units()
    report, _ = files(series=series(0.0), units=table[table["date"] < "2021"])
    assert "36 of 365 scenes are left out" in report["notes"][1]


def test_units_of_other_ground_are_left_out_and_counted(files):
    """Wetter ground nearby, twice as green and of another rhythm before the start, is not what the site would be."""
    table = units(number=60)
    other = table["unit"].str[1:].astype(int) >= 20
    wet = np.clip(ground(3) * 2 + 0.1 * np.sin(TAU), 0, 1)
    table.loc[other, "cover"] = np.tile(wet, other.sum() // DAYS.size)
    report, found = files(series=series(0.0), units=table)
    assert report["notes"] == ["site 'a': 20 of 60 units are like it before its start and count"]
    _, alike = files(series=series(0.0), units=units(number=20))
    pd.testing.assert_frame_equal(found, alike)


def test_units_that_cannot_be_matched_are_refused_with_the_reason(files):
    table = units()
    later = table.assign(date=np.tile((DAYS + np.timedelta64(1, "D")).astype(str), 30))
    says = "the units of site 'a' cannot be matched: no scene before its start (2017-01-01) shows site"
    files(says, series=series(0.0), units=later)
    began_first = table[table["date"] >= "2017"]
    report, _ = files(series=series(0.0)[lambda rows: rows["date"] >= "2017"], units=began_first)
    assert report["notes"] == [MATCHED]  # by its first growing season
    spring = (table["date"] >= "2017") & (table["date"] < "2017-05-20")
    files("nor do 3 scenes of the growing seasons that have ended since", series=series(0.0), units=table[spring])


def test_ground_compared_with_itself_is_refused_and_no_failure(files):
    site = series(1.0)
    says = f"site 'a': the control has the cover of the site itself on {DAYS.size} of {DAYS.size} dates"
    files(says, series=site.assign(control=site["cover"].round(3)))
    copied = units()
    copied.loc[copied["unit"] == "u4", "cover"] = site["cover"].to_numpy()
    files(f"unit 'u4' has the cover of site 'a' itself on {DAYS.size} of {DAYS.size} dates", series=site, units=copied)
    bare = site.assign(cover=0.0, control=np.where(np.arange(DAYS.size) % 30, 0.0, 0.1))
    files(series=bare)  # two grounds may both be bare


def test_a_scene_without_units_is_not_seen(files, tmp_path):
    table = units()
    table[table["date"] != str(DAYS[-1])].to_csv(tmp_path / "units.csv", index=False)
    series(0.0).to_csv(tmp_path / "series.csv", index=False)
    (tmp_path / "plans.csv").write_text(PLANS + "a,2017-01-01,planting,loess,.25,.6,.3,2\n")
    observed = read_series(tmp_path / "series.csv", control=False).series
    compared, _, _ = compare_with_units(observed, read_plans(tmp_path / "plans.csv"), tmp_path / "units.csv")
    assert np.isnan(compared["a"].control).tolist() == [False] * (DAYS.size - 1) + [True]


def test_cover_of_units_is_checked_clipped_and_counted(files):
    table = units()
    table.iloc[5, 3] = -0.02
    report, _ = files(series=series(0.0), units=table)
    assert report["clipped"] == {"a": 1}
    table.iloc[5, 3] = -0.2
    files("line 7, site 'a', 2012-02-22: cover is -0.2", series=series(0.0), units=table)


def test_a_unit_with_two_covers_on_a_day_is_refused(files):
    table = units()
    again = pd.concat([table, table.iloc[3:4].assign(cover=0.9)])
    files("unit 'u0' of site 'a' has two different rows for 2012-02-02", series=series(0.0), units=again)
    files(series=series(0.0), units=pd.concat([table, table.iloc[3:4]]))


def placebos(number: int) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame(
            {"placebo": f"p{k}", "date": DAYS.astype(str), "cover": ground(500 + k, noise=0.02),
             "control": ground(900 + k, noise=0.004)}
        )
        for k in range(number)
    )  # fmt: skip


JUDGED = series(0.0).assign(control=ground(5, noise=0.004))


def test_few_placebos_leave_a_stated_origin(files):
    report, found = files(series=JUDGED, placebos=placebos(4))
    (constants,) = report["constants"]
    assert "placebos of loess, placebos.csv" in constants["source"]
    assert found.calibration_source.unique().tolist() == [constants["source"]]
    assert found.calibration.unique().tolist() == [constants["hash"]]


@pytest.mark.slow
def test_placebos_set_the_constants_and_are_counted(files):
    report, found = files(series=JUDGED, placebos=placebos(100))
    (constants,) = report["constants"]
    assert constants["placebos"] == 100
    assert constants["source"] == "placebos of loess, placebos.csv"
    _, by_default = files(series=JUDGED)
    assert (found.theta_high - found.theta_low).iloc[-1] != (by_default.theta_high - by_default.theta_low).iloc[-1]
    assert found.status.iloc[-1] == "failing"


def test_a_placebo_that_is_a_site_is_refused(files):
    some = placebos(3)
    named = some.replace({"placebo": {"p1": "A"}})
    files("placebo 'A' is also a site to be judged", series=JUDGED, placebos=named)
    copied = some.copy()
    copied.loc[copied["placebo"] == "p2", "cover"] = JUDGED["cover"].to_numpy()
    files(f"placebo 'p2' has the cover of site 'a' on {DAYS.size} of {DAYS.size} dates", series=JUDGED, placebos=copied)
    partly = copied.copy()
    partly.loc[(partly["placebo"] == "p2") & (partly["date"] < "2015"), "cover"] += 0.01
    files("placebo 'p2' has the cover of site 'a'", series=JUDGED, placebos=partly)
    rounded = copied.assign(cover=copied["cover"].round(3))
    files("placebo 'p2' has the cover of site 'a'", series=JUDGED, placebos=rounded)


def test_placebos_that_show_nothing_are_left_out_and_named(files):
    some = placebos(4)
    some.loc[some["placebo"] == "p1", "control"] = 0.2
    some = some[(some["placebo"] != "p2") | (some["date"] < "2013")]
    twin = some[some["placebo"] == "p0"].assign(placebo="p9")
    alone = some[some["placebo"] == "p3"].assign(placebo="p4", cover=ground(77))
    alone["control"] = alone["cover"]
    winter = some[(some["placebo"] == "p3") & (some["date"].str[5:7] < "03")].assign(placebo="p5")
    report, _ = files(series=JUDGED, placebos=pd.concat([some, twin, alone, winter]))
    assert report["notes"] == [
        "placebo 'p1' is left out: its control is constant, or was never seen",
        "placebo 'p2' is left out: it has fewer than three years",
        "placebo 'p4' is left out: its control has the cover of the placebo itself",
        "placebo 'p9' is left out: it has the same series as placebo 'p0'",
        "placebo 'p5' is left out in loess: it has too few scenes in the growing season",
    ]
    files("no placebo has three years", series=JUDGED, placebos=some[some["placebo"] == "p1"])


@pytest.mark.parametrize("level", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("theta", [0.0, 1.0])
def test_a_constant_control_never_gives_a_verdict(files, level, theta):
    _, found = files(series=series(theta).assign(control=level))
    assert set(found.status) == {"insufficient_data"}
    assert set(found.alert) == {"none"}
    assert found.reasons.str.contains("CONTROL_CONSTANT").all()


def test_clipped_cover_is_counted_in_words_and_in_json(files, tmp_path):
    table = JUDGED.copy()
    table.loc[[3, 5], "cover"] = -0.01
    report, _ = files(series=table)
    assert report["clipped"] == {"a": 2}
    assert report["notes"] == ["site 'a': 2 cover values slightly outside 0..1 were set to 0 or 1"]
    arguments = ["assess", tmp_path / "series.csv", "--plans", tmp_path / "plans.csv", "--out", tmp_path / "p.csv"]
    ran = CliRunner().invoke(app, [*map(str, arguments)])
    assert ran.stderr == "site 'a': 2 cover values slightly outside 0..1 were set to 0 or 1\n"
    assert "constants: defaults" in ran.stdout


def test_the_examples_of_the_guide_run_as_they_are(root, tmp_path, monkeypatch):
    text = (root / "docs" / "assess.md").read_text(encoding="utf-8")
    tables = {"series": JUDGED, "sites-only": series(0.0), "units": units(), "placebos": placebos(4)}
    plans = series(0.0)[:1].assign(start="2017-01-01", intervention="planting", biome="loess", A=0.25, k=0.6, L=0.3)
    tables["plans"] = plans.assign(too_early_years=2, hectares=48.2).drop(columns=["date", "cover"])
    examples = [block.splitlines()[0].split(",") for block in re.findall(r"```csv\n(.*?)```", text, re.DOTALL)]
    assert examples == [[*tables[name]] for name in ("series", "plans", "units", "placebos")]
    monkeypatch.chdir(tmp_path)
    for name, table in tables.items():
        table.to_csv(f"{name}.csv", index=False)
    (shell, *_) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = re.findall(r"^regrowth (assess .*csv.*)$", shell, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        ran = CliRunner().invoke(app, command.split())
        assert ran.exit_code == 0, (command, ran.output, ran.exception)


def test_a_plan_of_placebos_is_that_of_the_sites_in_turn(files, tmp_path):
    placebos(1).to_csv(tmp_path / "p.csv", index=False)
    one = read_placebos(tmp_path / "p.csv").series["p0"]
    (tmp_path / "plans.csv").write_text(PLANS + "a,2017-05-31,planting,loess,.25,.6,.3,2\n")
    site = read_plans(tmp_path / "plans.csv")["a"].site
    made = _placebo("p0", one, site)
    assert (made.site.id, made.site.start.isoformat(), made.site.plan) == ("p0", "2015-05-28", site.plan)
    assert replace(made.site, hectares=1.0) == replace(site, id="p0", start=made.site.start, hectares=1.0)
