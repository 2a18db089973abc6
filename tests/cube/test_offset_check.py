"""Whether the offset of a scene is the one that its metadata state."""

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from monitor.cube import masks
from monitor.cube.offset_check import OFFSET_REASON, check_offsets
from monitor.cube.records import MEANS, encode_texts
from monitor.imagery import bands

SOIL = {"loess": (0.11, 0.16, 0.24, 0.32, 0.38, 0.34), "forest": (0.05, 0.07, 0.08, 0.16, 0.20, 0.15),
        "sand": (0.16, 0.22, 0.30, 0.38, 0.45, 0.42)}  # fmt: skip
LEAF = {"loess": (0.03, 0.06, 0.05, 0.30, 0.20, 0.11), "forest": (0.02, 0.04, 0.02, 0.35, 0.16, 0.07),
        "sand": (0.05, 0.09, 0.10, 0.26, 0.28, 0.20)}  # fmt: skip
GREEN = {"loess": (0.05, 0.9), "forest": (0.35, 1.0), "sand": (0.05, 0.35)}
"""Share of leaf in winter and in summer: red of loess runs from .23 to .07."""
HAZE = np.array([1.0, 0.75, 0.55, 0.3, 0.08, 0.05])
SNOW = np.array([0.8, 0.8, 0.78, 0.65, 0.1, 0.08])
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """A place seen every five days, half of the time, by a simulated sensor; all that varies hits site and control."""

    ground: str = "loess"
    years: float = 5
    first: datetime = datetime(2018, 1, 1, tzinfo=UTC)
    clear: float = 0.5
    drought: int = 0
    """Year in which growth is a third."""
    logged: datetime = NEVER
    """Day from which the site, and it alone, has no leaf."""
    burnt: datetime = NEVER
    """Day from which all ground has a tenth of its leaf, and is black for half a year."""
    thick: float = 0.0
    """Share of scenes under haze thicker than .05 in blue, or with snow that the masks miss."""

    def scenes(self, seed):
        """Time, (ground, band) means, and whether haze or snow lies over them, of each scene."""
        rng = np.random.default_rng(seed)
        soil, leaf, (low, high) = np.array(SOIL[self.ground]), np.array(LEAF[self.ground]), GREEN[self.ground]
        own_soil = soil * rng.normal(1, 0.05)
        growth = {year: (rng.normal(1, 0.12), rng.normal(0, 8)) for year in range(2000, 2050)}
        wet, made = 0.0, []
        for day in range(0, int(self.years * 365.25), 5):
            wet = 0.8 * wet + rng.normal(0, 0.6)
            if rng.random() > self.clear:
                continue
            time = self.first + timedelta(days=day, hours=3)
            amount, shift = growth[time.year]
            date = time.timetuple().tm_yday - shift
            season = amount * (1 / (1 + np.exp((130 - date) / 12)) - 1 / (1 + np.exp((275 - date) / 14)))
            season *= 0.35 if time.year == self.drought else 1.0
            bright = 1 + rng.normal(0, 0.05) - 0.06 * np.clip(wet, -1.5, 1.5)
            thin, dirty = rng.exponential(0.01) * (rng.random() < 0.3), rng.random() < self.thick
            means = []
            for name, bare in (("site", own_soil), ("control", soil)):
                share = np.clip(low + (high - low) * season, 0, 1)
                if name == "site" and time > self.logged:
                    share *= 0.05
                if time > self.burnt:
                    share *= 0.1
                value = share * leaf + (1 - share) * bare * bright
                if timedelta(0) < time - self.burnt < timedelta(days=183):
                    value = value * (0.7, 0.7, 0.75, 0.5, 0.9, 1.1)
                means.append(value + thin * HAZE + rng.normal(0, (0.003, 0.003, 0.004, 0.008, 0.008, 0.006)))
            seen = np.array(means)
            if dirty:
                cover = rng.uniform(0.05, 0.4)
                winter = time.month in (12, 1, 2)
                seen = (1 - cover) * seen + cover * SNOW if winter else seen + rng.uniform(0.05, 0.15) * HAZE
            made.append((time, seen, dirty))
        return made


simulated = cache(World.scenes)
"""Scenes of a world and a seed, simulated once; only to be read."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A scene of a site, as far as its offset is checked."""

    scene: str
    acquisition: str
    time: str
    sensor: str
    baseline: str
    source: str
    offset: float
    quality: str
    accepted: bool
    reason: str
    measures: dict[str, float | None]


def records(scenes, *, wrong=None, offset=None, baseline="05.00", **changes):
    """Records of scenes, some with an offset that is not the one they were made with."""
    n = len(scenes)
    wrong = np.zeros(n, dtype=bool) if wrong is None else wrong
    offset = np.zeros(n) if offset is None else offset
    made = []
    for i, (time, seen, _) in enumerate(scenes):
        shown = seen + wrong[i] * (-0.1 if offset[i] else 0.1)
        measures = {
            ground + band: round(float(value), 6)
            for ground, means in zip(("", "control_"), shown, strict=True)
            for band, value in zip(bands.OBSERVED, means, strict=True)
        }
        fields = {
            "scene": f"scene-{i}", "acquisition": f"S2A/{i:04d}", "time": time.isoformat(), "sensor": "sentinel-2a",
            "baseline": baseline if isinstance(baseline, str) else baseline[i], "source": "test",
            "offset": float(offset[i]), "quality": "scl", "accepted": True, "reason": "", "measures": measures,
        }  # fmt: skip
        made.append(Record(**(fields | changes)))
    return made


def settle(records):
    """The records after the check, in the same order."""
    order = sorted(range(len(records)), key=lambda i: (records[i].time, records[i].acquisition, records[i].scene))
    some = [records[i] for i in order]
    texts = ("source", "baseline", "sensor", "quality", "reason")
    columns = {
        **{name: encode_texts(getattr(one, name) for one in some) for name in texts},
        "date": np.array([one.time[:10] for one in some], "datetime64[s]"),
        "offset": np.array([one.offset for one in some], np.float64),
        "accepted": np.array([one.accepted for one in some], bool),
        "there": np.ones(len(some), bool),
    }
    shape = (1, len(some), len(MEANS))
    means = {
        name: np.array([[one.measures.get(prefix + mean) for mean in MEANS] for one in some], float).reshape(shape)
        for name, prefix in (("site_means", ""), ("control_means", "control_"))
    }
    scenes = xr.Dataset(
        {name: (("site", "time"), values[None]) for name, values in columns.items()}
        | {name: (("site", "time", "measure"), values) for name, values in means.items()},
        coords={"measure": list(MEANS)},
    )
    checked = check_offsets(scenes)
    settled = list(records)
    for i, accepted, reason in zip(
        order, checked["accepted"].values[0].tolist(), checked["reason"].values[0].tolist(), strict=True
    ):
        settled[i] = replace(records[i], accepted=accepted, reason=reason.decode())
    return settled


def set_aside(settled):
    assert all(record.reason == (OFFSET_REASON if not record.accepted else "") for record in settled)
    return np.array([not record.accepted for record in settled])


def mixed(n, seed):
    return np.random.default_rng(seed).choice([0.0, -0.1], n)


def tally(world, sites, *, wrong=None, offset=mixed, baseline="05.00"):
    """Scenes of many sites without haze: right ones set aside, all right ones, wrong ones set aside, all wrong ones."""
    false = right = caught = faulty = 0
    for seed in range(sites):
        scenes = simulated(world, seed)
        chosen = np.random.default_rng(seed + 999)
        times = [time for time, _, _ in scenes]
        bad = np.array([wrong(time, chosen) for time in times]) if wrong else np.zeros(len(scenes), dtype=bool)
        stamp = baseline if isinstance(baseline, str) else [baseline(time) for time in times]
        found = set_aside(settle(records(scenes, wrong=bad, offset=offset(len(scenes), seed), baseline=stamp)))
        plain = np.array([not dirty for _, _, dirty in scenes])
        false += (found & ~bad & plain).sum()
        right += (~bad & plain).sum()
        caught += (found & bad & plain).sum()
        faulty += (bad & plain).sum()
    return false, right, caught, faulty


def zero(n, _seed):
    return np.zeros(n)


def one_in(share):
    return lambda _time, rng: rng.random() < share


@pytest.mark.parametrize("ground", list(SOIL))
def test_not_one_right_scene_in_four_thousand_is_set_aside(ground):
    false, right, _, _ = tally(World(ground), 30)
    assert right > 5000
    assert false <= right / 4000


@pytest.mark.parametrize("ground", list(SOIL))
def test_one_wrong_flag_in_a_hundred_is_found_and_next_to_nothing_else(ground):
    false, right, caught, faulty = tally(World(ground), 30, wrong=one_in(0.01))
    assert faulty > 40
    assert false <= right / 4000
    assert caught >= 0.99 * faulty - 1


@pytest.mark.parametrize(
    "world",
    [World("loess", logged=datetime(2020, 3, 1, tzinfo=UTC)), World("forest", logged=datetime(2020, 6, 1, tzinfo=UTC)),
     World("forest", burnt=datetime(2020, 6, 1, tzinfo=UTC)), World("forest", drought=2020),
     World("forest", drought=2022), World("sand", drought=2022)],
    ids=["loess logged", "forest logged", "forest burnt", "forest drought", "forest drought now", "sand drought now"],
)  # fmt: skip
def test_changes_on_the_ground_are_not_called_radiometry(world):
    false, right, _, _ = tally(world, 20)
    assert right > 3500
    assert false == 0


@pytest.mark.parametrize(
    ("world", "most"),
    [(World("loess", drought=2020), 0.001), (World("loess", burnt=datetime(2021, 6, 1, tzinfo=UTC)), 0.01)],
    ids=["drought", "burnt"],
)
def test_loess_laid_bare_comes_nearest_to_a_wrong_offset_and_is_seldom_taken_for_it(world, most):
    # Bare loess is brighter than leaf in every band but the near infrared, on site and control ground alike.
    false, right, _, _ = tally(world, 20)
    assert false <= most * right


@pytest.mark.parametrize("ground", list(SOIL))
@pytest.mark.parametrize("offset", [0.0, -0.1])
def test_a_block_of_wrong_flags_is_found_whole(ground, offset):
    false, right, caught, faulty = tally(
        World(ground), 10, wrong=lambda time, _: time.year == 2021, offset=lambda n, _: np.full(n, offset)
    )
    assert right > 1000
    assert faulty > 300
    assert caught > 0.99 * faulty
    assert false <= 0.001 * right


@pytest.mark.parametrize(("offset", "least"), [(0.0, 0.95), (-0.1, 0.55)])
def test_most_scenes_under_haze_or_snow_in_a_block_of_wrong_flags_are_found_too(offset, least):
    # Haze over a scene too dark hides the step; its long bands still show it.
    caught = faulty = 0
    for ground, seed in itertools.product(SOIL, range(8)):
        scenes = simulated(World(ground, thick=0.2), seed)
        bad = np.array([time.year == 2021 for time, _, _ in scenes])
        dirty = np.array([scene[2] for scene in scenes])
        found = set_aside(settle(records(scenes, wrong=bad, offset=np.full(len(scenes), offset))))
        caught += (found & bad & dirty).sum()
        faulty += (bad & dirty).sum()
    assert faulty > 100
    assert caught >= least * faulty


@pytest.mark.parametrize("ground", list(SOIL))
def test_flags_wrong_since_2022_are_found_though_in_the_majority_where_older_scenes_vouch(ground):
    def baseline(time):
        return "04.00" if time.year >= 2022 else "03.01"

    false, right, caught, faulty = tally(
        World(ground, years=10), 6, wrong=lambda time, _: time.year >= 2022, offset=zero, baseline=baseline
    )
    assert faulty > right
    assert caught > 0.99 * faulty
    assert false <= 0.002 * right


@pytest.mark.parametrize("ground", list(SOIL))
def test_an_offset_stated_since_2022_although_already_applied_is_found_where_older_scenes_vouch(ground):
    scenes = World(ground, years=10).scenes(2)
    since = np.array([time.year >= 2022 for time, _, _ in scenes])
    assert since.sum() > (~since).sum()
    baselines = ["04.00" if late else "03.01" for late in since]
    found = set_aside(settle(records(scenes, wrong=since, offset=-0.1 * since, baseline=baselines)))
    assert found[since].mean() > 0.99
    assert found[~since].mean() <= 0.002


@pytest.mark.parametrize(("baseline", "older_offset"), [("", 0.0), ("03.01", -0.1)], ids=["unknown", "with an offset"])
def test_only_scenes_of_a_known_older_baseline_without_offset_vouch(baseline, older_offset):
    scenes = World("loess", years=10).scenes(2)
    late = np.array([time.year >= 2022 for time, _, _ in scenes])
    assert late.sum() > (~late).sum()
    baselines = ["04.00" if one else baseline for one in late]
    found = set_aside(settle(records(scenes, wrong=~late, offset=older_offset * ~late, baseline=baselines)))
    assert found[~late].mean() > 0.98
    assert found[late].mean() <= 0.002


def test_with_older_scenes_right_ones_are_recognised_though_most_of_the_later_ones_are_wrong():
    scenes = World("loess", years=10).scenes(2)
    late = np.array([time.year >= 2022 for time, _, _ in scenes])
    bad = late & (np.random.default_rng(4).random(len(scenes)) < 0.75)
    baselines = ["04.00" if one else "03.01" for one in late]
    found = set_aside(settle(records(scenes, wrong=bad, baseline=baselines)))
    assert found[bad].mean() > 0.95
    assert found[late & ~bad].mean() < 0.05
    assert not found[~late].any()


def test_older_scenes_of_one_side_of_a_day_do_not_vouch_for_it():
    # They define the season at day 183 but not at day 198, and the later ones all lie between.
    everything = World("loess", years=30).scenes(1)
    days = np.array([(time.year, time.timetuple().tm_yday) for time, _, _ in everything])
    old = (days[:, 0] < 2036) & (days[:, 1] >= 138) & (days[:, 1] <= 152)
    new = (days[:, 0] >= 2036) & (days[:, 1] >= 184) & (days[:, 1] <= 196)
    scenes = [one for one, chosen in zip(everything, old | new, strict=True) if chosen]
    old, n = old[old | new], int((old | new).sum())
    assert min(old.sum(), n - old.sum()) >= 10
    bad = ~old & (np.random.default_rng(5).random(n) < 0.5)
    baselines = ["03.01" if one else "05.00" for one in old]
    found = set_aside(settle(records(scenes, wrong=bad, offset=np.where(old, 0, mixed(n, 3)), baseline=baselines)))
    assert found[~old].all()  # half of them are wrong, and nothing shows which half
    assert not found[old].any()


def test_an_older_scene_stays_where_nothing_shows_which_half_of_the_others_is_right():
    scenes = World("loess").scenes(1)
    n = len(scenes)
    old = np.arange(n) % 25 == 0  # too few to define a season
    bad = ~old & (np.random.default_rng(5).random(n) < 0.5)
    baselines = ["03.01" if one else "05.00" for one in old]
    found = set_aside(settle(records(scenes, wrong=bad, offset=np.where(old, 0, mixed(n, 3)), baseline=baselines)))
    assert found[~old].all()
    assert not found[old].any()


def test_scenes_below_zero_define_no_season_though_they_are_the_majority():
    scenes = World("forest").scenes(1)
    bad = np.random.default_rng(3).random(len(scenes)) < 0.65
    found = set_aside(settle(records(scenes, wrong=bad, offset=-0.1 * bad)))
    assert found[bad].mean() > 0.95
    assert found[~bad].mean() <= 0.02


def test_without_older_scenes_all_are_set_aside_when_half_are_wrong():
    scenes = World("loess").scenes(1)
    rng = np.random.default_rng(5)
    bad = rng.random(len(scenes)) < 0.5
    found = set_aside(settle(records(scenes, wrong=bad, offset=mixed(len(scenes), 3))))
    assert found.all()  # offsets of both kinds, half of them wrong: nothing shows which half


@pytest.mark.parametrize("ground", list(SOIL))
def test_where_all_claim_the_same_offset_two_fifths_wrong_do_not_carry_the_others_away(ground):
    # Without an offset a scene can be too bright only, so that the dark ones are right.
    false, right, caught, faulty = tally(World(ground), 5, wrong=one_in(0.4), offset=zero)
    assert caught > 0.95 * faulty
    assert false < 0.02 * right


@pytest.mark.parametrize("ground", list(SOIL))
@pytest.mark.parametrize("share", [0.3, 0.4, 0.45])
def test_up_to_nearly_half_of_the_flags_may_be_wrong_and_hardly_anything_wrong_is_averaged_in(ground, share):
    *_, caught, faulty = tally(World(ground), 5, wrong=one_in(share))
    assert caught > 0.9 * faulty


@pytest.mark.parametrize("seed", range(5))
def test_dark_ground_below_zero_is_caught_without_any_other_scene(seed):
    scenes = World("forest").scenes(seed)[:1]
    settled = settle(records(scenes, wrong=np.array([True]), offset=np.array([-0.1])))
    assert set_aside(settled).all()


def test_a_site_below_zero_whose_control_ground_is_not_has_the_right_offset():
    scenes = World("forest").scenes(1)[:1]
    scenes[0][1][0] -= 0.1
    assert not set_aside(settle(records(scenes))).any()


def test_with_too_few_other_scenes_the_metadata_are_believed():
    scenes = World("loess").scenes(1)[:4]
    assert not set_aside(settle(records(scenes, wrong=np.array([False, False, True, False])))).any()


def test_in_its_first_months_a_site_has_a_season_after_five_scenes():
    scenes = World("loess", first=datetime(2024, 7, 1, tzinfo=UTC), clear=1.0).scenes(1)[:8]
    bad = np.arange(8) == 5
    np.testing.assert_array_equal(set_aside(settle(records(scenes, wrong=bad))), bad)


def test_a_season_that_was_never_seen_is_not_judged_by_another():
    summer = World("loess", years=3).scenes(2)
    scenes = [scene for scene in summer if 5 <= scene[0].month <= 9]
    lone = next(scene for scene in summer if scene[0].month == 12)
    bad = np.append(np.zeros(len(scenes), dtype=bool), True)
    assert not set_aside(settle(records([*scenes, lone], wrong=bad)))[-1]


@pytest.mark.parametrize("ground", list(SOIL))
def test_at_the_edge_of_the_observed_days_the_observed_side_defines_the_season(ground):
    everything = World(ground, years=12).scenes(1)
    days = np.array([time.timetuple().tm_yday for time, _, _ in everything])
    many, late = (days >= 158) & (days <= 168), (days >= 206) & (days <= 212)
    late &= np.cumsum(late) <= 4  # too few to define a season by themselves
    scenes = [one for one, chosen in zip(everything, many | late, strict=True) if chosen]
    late = late[many | late]
    bad = late & (np.arange(late.size) % 2 == 0)
    assert bad.any()
    assert set_aside(settle(records(scenes, wrong=bad, offset=np.zeros(late.size)))).tolist() == bad.tolist()


def test_a_step_of_the_site_alone_in_every_band_is_left_to_the_verdict():
    scenes = World("loess").scenes(4)
    for time, seen, _ in scenes:
        if time.year == 2022:
            seen[0] += 0.1
    assert not set_aside(settle(records(scenes))).any()


@pytest.mark.parametrize("stepped", [slice(3), slice(3, None)], ids=["visible: haze", "long"])
def test_a_step_in_some_bands_alone_is_not_a_wrong_offset(stepped):
    scenes = World("forest").scenes(4)
    scenes[60][1][:, stepped] += 0.1
    assert not set_aside(settle(records(scenes))).any()


@pytest.mark.parametrize(("step", "offset"), [(-0.1, 0.0), (0.1, -0.1)])
def test_a_step_the_way_that_no_wrong_offset_can_make_is_left_alone(step, offset):
    scenes = World("sand").scenes(4)
    scenes[60][1][:] += step
    assert not set_aside(settle(records(scenes, offset=np.full(len(scenes), offset)))).any()


def test_haze_and_unseen_snow_seldom_make_a_right_scene_wrong():
    world = World("loess", thick=0.2)
    found, dirty = [], []
    for seed in range(10):
        scenes = world.scenes(seed)
        found += list(set_aside(settle(records(scenes, offset=mixed(len(scenes), seed)))))
        dirty += [scene[2] for scene in scenes]
    found, dirty = np.array(found), np.array(dirty)
    assert dirty.sum() > 300
    assert found[dirty].mean() < 0.08
    assert found[~dirty].mean() < 0.003


@pytest.mark.parametrize("offset", [mixed, zero])
def test_settling_twice_changes_nothing(offset):
    scenes = World("loess", thick=0.3).scenes(7)
    bad = np.random.default_rng(1).random(len(scenes)) < 0.05
    bad |= [time.year == 2020 for time, _, _ in scenes]
    settled = settle(records(scenes, wrong=bad, offset=offset(len(scenes), 2)))
    assert not all(record.accepted for record in settled)
    assert settle(settled) == settled


def test_a_scene_set_aside_comes_back_once_later_scenes_agree_with_it():
    scenes = World("loess").scenes(3)
    made = records(scenes)
    made[5] = replace(made[5], accepted=False, reason=OFFSET_REASON)
    assert settle(made) == records(scenes)


@pytest.mark.parametrize("changes", [
    {"sensor": "landsat-8", "quality": "qa_pixel"}, {"quality": "fmask"}, {"accepted": False, "reason": "CLOUD"},
    {"accepted": False, "reason": OFFSET_REASON, "measures": {}},
], ids=["landsat", "harmonised", "rejected already", "refused as stretched"])  # fmt: skip
def test_only_scenes_that_may_have_another_offset_are_judged_and_no_reason_is_overwritten(changes):
    scenes = World("loess").scenes(3)
    bad = np.arange(len(scenes)) == 40
    made = records(scenes)
    for other in (made, records(scenes, wrong=bad)):
        made[40] = replace(other[40], **changes)
        assert settle(made) == made


def test_landsat_scenes_do_not_define_the_season_of_sentinel_2():
    scenes = World("loess", years=2).scenes(3)
    made = records(scenes)
    landsat = [
        replace(record, sensor="landsat-8", quality="qa_pixel", acquisition=f"L{i}")
        for i, record in enumerate(records(scenes, wrong=np.ones(len(scenes), dtype=bool)) * 3)
    ]
    assert settle(made + landsat) == made + landsat


def lacking(made, *names):
    """The records without bands of the site and of the control ground."""
    for record in made:
        for name in names:
            record.measures[name] = record.measures["control_" + name] = None
    return made


@pytest.mark.parametrize("names", [
    *itertools.combinations(("blue", "swir16", "swir22", "green"), 2), ("blue", "green", "swir16", "swir22"),
])  # fmt: skip
def test_a_sensor_or_service_that_lacks_bands_is_judged_by_those_it_has_though_only_red_and_infrared(names):
    scenes = World("forest").scenes(5)
    bad = np.arange(len(scenes)) == 70
    np.testing.assert_array_equal(set_aside(settle(lacking(records(scenes, wrong=bad), *names))), bad)


def test_a_site_without_control_ground_is_judged_by_itself():
    scenes = World("forest").scenes(5)
    bad = np.arange(len(scenes)) == 70
    made = records(scenes, wrong=bad)
    for record in made:
        record.measures.update({f"control_{band}": None for band in bands.OBSERVED})
    np.testing.assert_array_equal(set_aside(settle(made)), bad)


def test_without_records_there_is_no_error():
    assert settle([]) == []


@pytest.fixture(scope="module")
def real_forest():
    """Five years of a real mountain forest, in 25 sites of 4 ha with all else as control ground: of each scene in which
    both were seen, the time, the (ground, band) means, and that nothing is known of haze.
    """
    pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")
    folder = Path(str(resources.files("nrt.data")))
    fine, coarse = (
        xr.open_dataset(folder / f"sentinel2_cube_subset_romania_{name}.nc").load() for name in ("10m", "20m")
    )
    pixels = np.zeros((fine.sizes["time"], len(bands.OBSERVED), 100, 100), np.uint16)
    for number, name in enumerate(("B2", "B3", "B4", "B8")):
        pixels[:, number] = np.nan_to_num(fine[name].values).round().clip(0, 65534)
    pixels[:, 4] = np.nan_to_num(coarse["B11"].values).round().clip(0, 65534).repeat(2, 1).repeat(2, 2)
    classes = np.nan_to_num(fine["SCL"].values).astype(np.uint16)
    seen = np.stack(
        [masks.clear(p, q, "scl", resolution=10, scale=1e-4, offset=0.0) for p, q in zip(pixels, classes, strict=True)]
    )
    times = [datetime.fromisoformat(str(t)[:19]).replace(tzinfo=UTC) for t in fine["time"].values]
    made = []
    for row, column in itertools.product(range(0, 100, 20), repeat=2):
        own = np.zeros((100, 100), bool)
        own[row : row + 20, column : column + 20] = True
        both = [(clear & own, clear & ~own) for clear in seen]
        made.append([
            (time, np.array([1e-4 * p[:, g].mean(axis=1) for g in grounds]), False)
            for time, p, grounds in zip(times, pixels, both, strict=True)
            if grounds[0].sum() >= 240 and grounds[1].sum() >= 2880
        ])  # fmt: skip
    return made


@pytest.mark.parametrize(("offset", "least"), [(0.0, 0.9), (-0.1, 0.98)])
def test_on_real_ground_no_right_scene_is_set_aside_and_nearly_every_wrong_one_is(real_forest, offset, least):
    false = right = caught = faulty = 0
    for number, scenes in enumerate(real_forest):
        given = np.full(len(scenes), offset)
        assert not set_aside(settle(lacking(records(scenes, offset=given), "swir22"))).any()
        for one in np.random.default_rng(number).choice(len(scenes), 4, replace=False):
            wrong = np.arange(len(scenes)) == one
            found = set_aside(settle(lacking(records(scenes, offset=given, wrong=wrong), "swir22")))
            caught, faulty = caught + found[one], faulty + 1
            false, right = false + found.sum() - found[one], right + len(scenes) - 1
    assert right > 6000
    assert false <= right / 4000
    assert caught >= least * faulty


@pytest.mark.parametrize("offset", [0.0, -0.1])
def test_on_real_ground_a_year_of_wrong_flags_is_found_whole(real_forest, offset):
    for scenes in real_forest:
        bad = np.array([time.year == 2018 for time, _, _ in scenes])
        made = records(scenes, offset=np.full(len(scenes), offset), wrong=bad)
        found = set_aside(settle(lacking(made, "swir22")))
        np.testing.assert_array_equal(found, bad)
