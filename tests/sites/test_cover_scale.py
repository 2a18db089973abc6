"""Index cover against field cover: what was measured, and how a promise of field cover is judged."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from monitor.cover.fraction import ENDMEMBERS
from monitor.errors import BadData
from monitor.sites.biomes import BIOMES, in_field_cover
from monitor.sites.cover_scale import MEASUREMENTS, FieldFactor, field_cover
from monitor.sites.registry import read_sites
from monitor.sites.site import Plan, site_version
from monitor.verdict.assess import assess, with_field_cover
from monitor.verdict.assessment import Series
from monitor.verdict.explain import promised_in_field
from tests import builders

AS_OF = date(2025, 10, 1)
PLAN = Plan(A=0.2, k=0.5, L=0.5, too_early_years=2.0)


def site_of(biome="sandy", plan=PLAN):
    return builders.site(
        geometry=box(104, 38, 104.01, 38.01), start=date(2020, 4, 1), biome=biome, hectares=90.0, plan=plan, version="v"
    )


def series_of(share, plan=PLAN):
    """A site that achieves `share` of a plan in index cover, seen every ten days of nine seasons."""
    dates = np.arange("2017-01-05", "2025-10-01", 10, dtype="datetime64[D]")
    day = (dates - dates.astype("datetime64[Y]")).astype(int)
    season = np.exp(-0.5 * ((day - 215) / 45) ** 2)
    years = (dates - np.datetime64("2020-04-01")).astype(int) / 365.25
    noise = np.random.default_rng(1).normal(0, 0.01, dates.size)
    control = 0.1 + 0.15 * season
    uplift = np.array([plan.uplift(t) if t > 0 else 0.0 for t in years])
    return Series(dates=dates, cover=control + share * uplift * season + noise, control=control)


@pytest.mark.parametrize("biome", BIOMES)
def test_factors_are_those_of_the_measurements_and_their_range_holds_the_value(biome):
    ends, factor = ENDMEMBERS[biome], BIOMES[biome].field_factor
    slopes = [line.slope for line in MEASUREMENTS if line.index == ends.index]
    if factor is None:
        assert not slopes
        assert ends.index == "kndvi"
        return
    span = ends.vegetation - ends.soil
    assert factor.low == pytest.approx(min(slopes) / span, abs=0.005)
    assert factor.high == pytest.approx(max(slopes) / span, abs=0.005)
    assert factor.low < factor.value < factor.high
    assert 0.55 <= factor.value <= 1.1


@pytest.mark.parametrize("biome", BIOMES)
@pytest.mark.parametrize(("language", "words"), [("en", "expert values, not measured here"), ("zh", "端元为专家取值")])
def test_every_pair_of_endmembers_states_what_it_rests_on(biome, language, words):
    basis = BIOMES[biome].cover_basis(language)
    assert words in basis
    assert ("±0.10 至 ±0.15" if language == "zh" else "by 0.10 to 0.15 either way") in basis
    assert basis.isascii() == (language == "en"), "a CSV in English needs no byte order mark"
    assert f"{ENDMEMBERS[biome].soil:g}" in basis
    assert f"{ENDMEMBERS[biome].vegetation:g}" in basis


def test_the_line_of_the_namib_is_that_of_its_data(shared_data):
    flights = pd.read_csv(shared_data / "kuiseb_fvc" / "pixels.csv").groupby("site")[["fvc", "NDVI"]].mean()
    slope, bare = np.polyfit(flights["fvc"], flights["NDVI"], 1)
    (line,) = (line for line in MEASUREMENTS if "10.3390/rs13010051" in line.source)
    assert (line.bare, line.slope) == (pytest.approx(bare, abs=5e-4), pytest.approx(slope, abs=5e-4))
    assert flights.corr().iloc[0, 1] == pytest.approx(0.976, abs=1e-3)
    steppe = BIOMES["steppe"].field_factor
    assert steppe.low <= slope / (0.75 - 0.09) <= steppe.high


def test_a_promise_of_field_cover_is_judged_as_so_much_index_cover():
    stated = in_field_cover(PLAN, BIOMES["sandy"])
    converted = replace(PLAN, A=0.2 * 0.66)
    assert stated.A == 0.2
    assert stated.index_A == pytest.approx(converted.A)
    verdicts = [
        assess(series_of(0.7, converted), site_of(plan=plan), as_of=AS_OF) for plan in (stated, converted, PLAN)
    ]
    assert verdicts[0].theta == pytest.approx(verdicts[1].theta, rel=1e-9)
    assert verdicts[0].expected == pytest.approx(verdicts[1].expected, rel=1e-9)
    assert verdicts[2].theta < 0.8 * verdicts[0].theta
    assert [verdict.plan_cover for verdict in verdicts] == ["field", "index", "index"]


def test_field_cover_stands_beside_index_cover_and_is_unknown_where_nothing_was_measured():
    verdict = assess(series_of(1.0), site_of(), as_of=AS_OF)
    assert verdict.field_cover == pytest.approx(verdict.cover / 0.66)
    assert verdict.field_cover_low == pytest.approx(verdict.cover / 0.93)
    assert verdict.field_cover_high == pytest.approx(min(verdict.cover / 0.47, 1.0))
    assert (verdict.field_factor, verdict.field_factor_rows) == (0.66, 0)
    unknown = assess(series_of(1.0), site_of("karst"), as_of=AS_OF)
    assert (unknown.field_cover, unknown.field_factor, unknown.field_factor_low) == (None, None, None)
    assert "kNDVI" in unknown.cover_basis
    assert "MSAVI2" in verdict.cover_basis


def test_local_rows_change_field_cover_and_nothing_else():
    verdict = assess(series_of(1.0), site_of(), as_of=AS_OF)
    local = with_field_cover(verdict, FieldFactor(value=0.5, low=0.4, high=0.6, rows=12))
    assert local.field_cover == pytest.approx(verdict.cover / 0.5)
    assert local.field_factor_rows == 12
    names = {name for name in verdict.__slots__ if getattr(verdict, name) != getattr(local, name)}
    assert names == {
        "field_cover", "field_cover_low", "field_cover_high", "field_factor", "field_factor_low", "field_factor_high",
        "field_factor_rows",
    }  # fmt: skip


def test_field_cover_is_at_most_all_of_the_ground():
    assert field_cover(0.8, FieldFactor(value=0.7, low=0.5, high=0.9)) == (1.0, pytest.approx(0.8 / 0.9), 1.0)


@pytest.mark.parametrize(("language", "words"), [("en", "multiplied by 0.66"), ("zh", "乘以 0.66")])
def test_the_conversion_and_the_shares_of_other_factors_are_stated(language, words):
    site = site_of(plan=in_field_cover(PLAN, BIOMES["sandy"]))
    verdict = assess(series_of(1.0, site.plan), site, as_of=AS_OF)
    (sentence,) = promised_in_field(verdict, site, language=language)
    assert words in sentence
    low, high = (round(100 * verdict.theta * 0.66 / end) for end in (0.93, 0.47))
    assert f"{low}%" in sentence
    assert f"{high}%" in sentence
    assert promised_in_field(verdict, site_of(), language=language) == []
    local = with_field_cover(verdict, FieldFactor(value=0.5, low=0.4, high=0.6, rows=12))
    assert "12" in promised_in_field(local, site, language=language)[1]


def test_a_site_that_promises_index_cover_keeps_its_version():
    assert site_version(site_of()) == site_version(site_of(plan=replace(PLAN, factor=1.0)))
    assert site_version(site_of()) != site_version(site_of(plan=in_field_cover(PLAN, BIOMES["sandy"])))


def test_the_registry_says_how_a_promise_of_field_cover_is_judged(registry, entry):
    (found,) = read_sites(registry(entry(biome="sandy", plan_A=0.2, plan_cover="field"))).entries
    assert found.site.plan.cover == "field"
    assert found.site.plan.index_A == pytest.approx(0.132)
    (problem,) = found.problems
    assert (problem.code, problem.refuses) == ("PLAN_COVER", False)
    assert "0.132 of index cover" in problem.message
    assert "0.47 to 0.93" in problem.message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"plan_cover": "field"}, "plan_A is empty"),
        ({"plan_cover": "field", "plan_A": 0.2, "biome": "karst", "subtype": None}, "never measured"),
        ({"plan_cover": "ground", "plan_A": 0.2}, "unknown"),
    ],
)
def test_a_promise_that_cannot_be_converted_is_refused(registry, entry, given, words):
    (found,) = read_sites(registry(entry(**given))).entries
    assert found.site is None
    assert any(words in problem.message for problem in found.problems)


def test_index_cover_is_the_default_and_may_be_named(registry, entry):
    for given in ({}, {"plan_cover": "index"}):
        (found,) = read_sites(registry(entry(**given))).entries
        assert found.problems == []
        assert (found.site.plan.cover, found.site.plan.factor) == ("index", 1.0)


@pytest.mark.parametrize("by_biome", [BIOMES, ENDMEMBERS], ids=["biomes", "endmembers"])
def test_a_biome_that_is_not_built_in_is_refused_with_those_that_are(by_biome):
    with pytest.raises(BadData, match=r"biome 'mediterranean' is not built in; built-in are desert_steppe, .*loess"):
        by_biome["mediterranean"]
    assert "mediterranean" not in by_biome
    assert by_biome.get("mediterranean") is None
