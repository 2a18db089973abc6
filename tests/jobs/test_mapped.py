"""What goes into the maps of a site: as scenes are stored only the seasons that got one, later what is out of date."""

from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from jobs.mapped import NEEDED, _Wanted, add, mapped
from monitor.cover.zonal_means import MEASURES
from monitor.cube.grid import site_grid
from monitor.cube.packed import LAYERS
from monitor.cube.store import Entry, digest, record_of
from monitor.imagery.source import Scene
from monitor.sites.site import BIOMES, Plan, Site
from monitor.trends.state import maps
from monitor.verdict.window import Window
from tests.landscape import columns_of, lone_site, put

OUTLINE = (103.800, 36.000, 103.801, 36.001)
GRID = site_grid(box(*OUTLINE))


def planted(*, start=date(2019, 7, 1), biome="loess", outline=OUTLINE):
    plan = Plan(A=0.3, k=0.5, L=0.5, too_early_years=2.0)
    return Site(
        id="lowood", name="Lowood", geometry=box(*outline), start=start, intervention="planting", biome=biome,
        plan=plan, hectares=1.0,
    )  # fmt: skip


def row(day, *, accepted=True, control=0.3, version=0):
    return {
        "acquisition": f"s2/{day}", "time": f"{day}T03:45:31+00:00", "digest": f"digest-{day}-{version}",
        "accepted": accepted, "control_cover": control,
    }  # fmt: skip


def plain(rows):
    return columns_of(rows, NEEDED)


def told(wanted):
    if wanted is None:
        return None
    return {season: [list(one) for one in scenes.used()] for season, scenes in wanted.seasons.items()}


def one_by_one(site, rows):
    """The same from one row after the other."""
    seasons = {}
    for one in rows:
        day = date.fromisoformat(one["time"][:10])
        days = np.array([day], "datetime64[D]").astype(np.int64)
        (year,), (position,) = Window.of(site).place(days)
        if one["accepted"] and one["control_cover"] is not None and position <= Window.of(site).length:
            scene = [one["acquisition"], one["digest"], one["control_cover"]]
            seasons.setdefault((int(year), day < site.start), []).append(scene)
    return seasons or None


DAYS = st.sets(st.dates(date(2015, 1, 1), date(2021, 12, 31)), max_size=40)


@settings(deadline=None)
@given(
    days=DAYS, start=st.dates(date(2014, 1, 1), date(2023, 1, 1)), biome=st.sampled_from(BIOMES), south=st.booleans(),
    data=st.data(),
)  # fmt: skip
def test_a_scene_counts_in_its_growing_season_if_it_and_its_control_were_seen(days, start, biome, south, data):
    outline = (103.0, -36.001, 103.001, -36.0) if south else OUTLINE
    site = planted(start=start, biome=biome, outline=outline)
    rows = [
        row(day, accepted=data.draw(st.booleans()), control=data.draw(st.sampled_from([None, 0.0, 0.25])))
        for day in sorted(days)
    ]
    expected = one_by_one(site, rows)
    assert told(_Wanted.of(site, plain(rows))) == expected
    assert told(_Wanted.of(site, columns_of(rows, NEEDED))) == expected


def test_the_first_and_the_last_day_of_a_season_and_the_day_of_the_start_belong_to_it():
    days = ["2019-04-30", "2019-05-01", "2019-06-30", "2019-07-01", "2019-10-15", "2019-10-16"]
    wanted = _Wanted.of(planted(), plain([row(day) for day in days]))
    counted = {season: [scene.acquisition for scene in scenes.used()] for season, scenes in wanted.seasons.items()}
    assert counted == {
        (2019, True): ["s2/2019-05-01", "s2/2019-06-30"],
        (2019, False): ["s2/2019-07-01", "s2/2019-10-15"],
    }


# out of a real store


SEEN = [date(year, month, 10) for year in (2017, 2018, 2019, 2020) for month in (6, 7, 8)]


def entry(day):
    scene = Scene(
        id=f"scene-{day}", acquisition=f"s2/{day}", time=datetime(day.year, day.month, day.day, tzinfo=UTC),
        sensor="sentinel-2a", baseline="05.09", source="test", scale=1e-4, offset=0.0, quality="scl",
    )  # fmt: skip
    noise = np.random.default_rng(day.toordinal())
    pixels = noise.integers(1200, 6000, (len(LAYERS), *GRID.shape)).astype(np.uint16)
    pixels[LAYERS.index("clear")] = noise.random(GRID.shape) > 0.2
    units = np.ones((1, len(MEASURES)), np.float32)
    record = record_of(
        scene,
        accepted=True,
        reason="",
        clear_fraction=1.0,
        n_pixels=9,
        measures={},
        digest=digest(pixels.reshape(len(LAYERS), -1), units),
    )
    return Entry(record=record, pixels=pixels, units=units)


@pytest.fixture
def stored(tmp_path):
    """A site's store, its columns, and what stands beside it; all scenes but the last are in its maps."""
    store = lone_site(tmp_path / "valley", grid=GRID, units=["a"])
    snapshot = put(store, [entry(day) for day in SEEN])
    mapped(store, snapshot, planted(), plain([row(day) for day in SEEN[:-1]]))
    return store, snapshot, store.derived.with_suffix(".maps")


def changed(folder, stamps):
    return {path.name for path in folder.iterdir() if stamps.get(path.name) != path.stat().st_mtime_ns}


def stamps_of(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def layers(found):
    return {name: values.tobytes() for name, values in maps(found.state, found.ground).items()}


def test_as_a_scene_is_stored_its_own_season_is_added_to_and_no_other_is_looked_at(stored):
    store, snapshot, folder = stored
    rows = plain([row(day) for day in SEEN])
    for path in folder.glob("201*.sums"):
        path.write_bytes(b"torn")
    stamps = stamps_of(folder)
    add(store, snapshot, planted(), rows, [f"s2/{SEEN[-1]}"], [entry(SEEN[-1])])
    assert changed(folder, stamps) == {"2020.sums"}


@pytest.mark.parametrize("new", [[], [SEEN[4]], [SEEN[-1]], SEEN], ids=["none", "late", "last", "all"])
def test_whatever_was_added_as_scenes_were_stored_the_maps_are_those_from_scratch(stored, tmp_path, new):
    store, snapshot, folder = stored
    rows = [row(day, control=0.2 if day == SEEN[1] else 0.3) for day in SEEN]
    add(store, snapshot, planted(), plain(rows), [f"s2/{day}" for day in new], [entry(day) for day in new[:1]])
    found = mapped(store, snapshot, planted(), plain(rows))
    folder.rename(tmp_path / "aside")
    assert layers(found) == layers(mapped(store, snapshot, planted(), plain(rows)))
