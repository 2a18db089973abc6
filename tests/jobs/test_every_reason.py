"""Whatever a verdict adds to its reasons from elsewhere than the series, the pack and the self-check find it equal."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from jobs.night import self_check
from jobs.night.pipeline import night
from jobs.proof.evidence import write_evidence
from jobs.runtime.installation import open_ledger
from monitor.verdict.reasons import BACKGROUND, Reason
from tests.builders import feature, installed, plan_properties, use_sources
from tests.jobs.painted import PLAN, START, Painted, ground, growing, verdicts, within
from tests.jobs.reproduction import verified_and_recomputed

FIRE = date(2020, 7, 10)
NIGHTS = (date(2020, 9, 30), date(2020, 10, 1))  # what neighbours lost is known a night later
LATE, UNMASKED = "48SUG", "48SUH"
"""Tiles: one that is first seen in the last season, and one whose scenes have no quality layer."""
TILES = {"48SUF": (0, 0, 18e3, 30e3), LATE: (20e3, 0, 30e3, 13e3), UNMASKED: (20e3, 15e3, 30e3, 30e3)}
DAYS = [date(year, 5, 10) + timedelta(days=d) for year in range(2015, 2021) for d in range(0, 141, 14)]
FAILED = (12_000, 6_000, 12_120, 6_300)
BURNT = ((12_000, 12_000, 12_300, 12_300), (13_200, 12_000, 13_500, 12_300), (12_000, 13_200, 12_300, 13_500))
SITES = {
    "small": (4_000, 4_000, 4_020, 4_020), "part": (12_000, 6_000, 12_300, 6_300), "dry": (4_000, 9_000, 4_200, 9_200),
    "enclosed": (4_000, 13_000, 4_100, 13_100), "waiting": (25_000, 6_000, 25_200, 6_200),
    "unmasked": (25_000, 22_000, 25_200, 22_200), "bright": (8_000, 20_000, 8_200, 20_200),
    **{f"burnt-{n}": place for n, place in enumerate(BURNT)},
}  # fmt: skip
BRIGHT = (7_000, 19_000, 9_200, 21_200)
"""Ground whose pixels in the last season were made with another offset than stated."""
DRY = np.array([900, 1300, 1900, 2600, 3400, 2200])[:, None, None]  # reflectance of dead grass, times 10,000
SHOWN_BY = {
    Reason.FEW_PIXELS: "small", Reason.CONTROL_FEW: "enclosed", Reason.RAIN_LOW: "dry", Reason.RAIN_UNKNOWN: "part",
    Reason.TERRAIN_UNKNOWN: "part", Reason.CLOUDS_UNMASKED: "unmasked", Reason.SPATIAL_PATCH: "part",
    Reason.DRY_MATTER: "dry", Reason.NEIGHBOURS_LOST: "burnt-0",
    Reason.RADIOMETRY: "bright",
}  # fmt: skip
"""A site for each reason: one that is new needs a site here."""


class Land(Painted):
    def search(self, area, since, until, stored=None):
        found = super().search(area, since, until, stored)
        return [
            replace(scene, quality="none") if scene.tile == UNMASKED and scene.quality else scene
            for scene in found
            if scene.tile != LATE or scene.time.year == NIGHTS[0].year
        ]

    def _frame(self, scene, grid):
        theta = np.where(within(grid, *SITES.values()), 1.0, 0.0)
        theta[within(grid, FAILED)] = -0.3
        burnt = within(grid, *BURNT) & (scene.handle >= FIRE)
        frame = growing(scene.handle, grid, theta, np.where(burnt, 0.3, 1.0))
        pixels = np.where(within(grid, SITES["dry"]), DRY, frame.pixels)
        bright = within(grid, BRIGHT) & (scene.handle.year == NIGHTS[0].year)
        return replace(frame, pixels=np.where(bright, pixels + 1000, pixels).astype(np.uint16))


def registry():
    """The sites, and one that leaves no ground around `enclosed`."""
    x0, y0, x1, y1 = SITES["enclosed"]
    around = ground(x0 - 500, y0 - 500, x1 + 500, y1 + 500).difference(ground(x0 - 15, y0 - 15, x1 + 15, y1 + 15))
    outlines = {name: ground(*place) for name, place in SITES.items()} | {"around": around}
    work = {"dry": {"intervention": "erosion_control"}}
    common = {"start": START.isoformat(), **plan_properties(PLAN)}
    return [feature(id, place, **common, **work.get(id, {})) for id, place in outlines.items()]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    settings = installed(tmp_path_factory.mktemp("reasons"), registry(), 'kind = "sample"\nsince = "2015-01-01"')
    with pytest.MonkeyPatch.context() as patch:
        use_sources(patch, Land(DAYS, tiles=TILES, ring=(50.0, 400.0)))
        rain = {name: Reason.RAIN_LOW if name == "dry" else Reason.RAIN_UNKNOWN for name in [*SITES, "around"]}
        patch.setattr("jobs.night.pipeline.rain_reasons", lambda *_, **__: rain)
        for day in NIGHTS:
            night(settings, as_of=day)
    return settings


@pytest.mark.parametrize("site", [*dict.fromkeys(SHOWN_BY.values()), "waiting"])
def test_a_site_with_any_reason_is_recomputed_equal_from_its_pack_and_by_the_self_check(
    settings, signing_key, site, tmp_path
):
    with open_ledger(settings, create=False) as ledger:
        write_evidence(settings, ledger, site, tmp_path / "pack.zip", key=signing_key)
        checked = self_check._checked(settings, ledger, site, b"seed" * 8, "next")
    verified_and_recomputed(tmp_path / "pack.zip", signing_key.public_key(), tmp_path / "work")
    assert (checked["differences"], checked["error"], checked["published"]) == ([], None, True)


@pytest.mark.parametrize("reason", BACKGROUND)
def test_each_reason_from_elsewhere_than_the_series_is_shown_by_one_of_these_sites(settings, reason):
    assert reason in verdicts(settings)[SHOWN_BY[reason]]["reasons"]


def test_a_site_that_waits_for_control_units_does_not_say_that_they_are_too_few(settings):
    assert "CONTROL_FEW" not in verdicts(settings)["waiting"]["reasons"]
