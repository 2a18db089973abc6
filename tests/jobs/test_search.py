"""A night examines only new scenes, and finds every scene that a search of everything would find."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from unittest.mock import Mock

import pytest
from odc.geo import CRS
from shapely.geometry import box

from jobs.imagery.sources import Sources, open_sources
from jobs.night.pipeline import night, plan
from jobs.register.registry import add_sites
from jobs.runtime.installation import open_ledger
from jobs.runtime.settings import SourceSettings, load
from monitor.cube.stored_site import StoredSite
from monitor.imagery.stac import items
from monitor.imagery.stac.source import Stac
from monitor.imagery.transport import Fetcher
from monitor.sites.projection import lonlat, projected
from tests.builders import feature, installed, write_features
from tests.landscape import records, stored_of
from tests.loopback.stac import StacServer, sentinel_item

NIGHT = date(2020, 12, 31)
WEST, EAST = 600_000.0, 601_000.0  # left edges of two granules of 1.2 km that overlap by 200 m
TOP = 4_200_000.0


def granule(
    folder, day, *, tile="48SUF", left=WEST, top=TOP, epsg=32648, baseline="0213", shift=0, at="035141", made="064512",
    **properties,
):  # fmt: skip
    name = f"S2A_MSIL2A_2020{day}T{at}_N{baseline}_R104_T{tile}_2020{day}T{made}"
    return sentinel_item(
        folder, name, href=lambda path: f"file://{path}", corner=(left, top), size=120, epsg=epsg, shift=shift,
        properties={"s2:processing_baseline": f"{baseline[:2]}.{baseline[2:]}", **properties},
    )  # fmt: skip


@dataclass
class Installation:
    """Sites, and a catalogue that grows."""

    root: Path
    server: StacServer | None  # the server of an API; None: the catalogue is a file
    allowed: list[str]
    offered: list[dict] = field(default_factory=list)
    sites: dict[str, float] = field(default_factory=lambda: {"a": WEST + 300, "both": EAST + 50})
    """Left edge of each site, by its name."""
    looked_at: list[str] = field(default_factory=list)  # days of the items that were examined beyond their name

    def night(self, job: Callable = night) -> dict:
        self.root.mkdir(exist_ok=True)
        features = []
        for name, left in self.sites.items():
            outline = lonlat(box(left, TOP - 420, left + 100, TOP - 300), CRS("EPSG:32648"))
            features.append(feature(name, outline, start="2019-01-01"))
        catalogue = self.root / "catalogue.json"
        if self.server is None:
            write_features(catalogue, self.offered)
        else:
            self.server.items = self.offered
        url = self.server.url if self.server else str(catalogue)
        hosts = [*self.allowed, str(self.root), *([self.server.host] if self.server else [])]
        source = f'kind = "stac"\nsince = "2017-01-01"\nurl = "{url}"\ncollections = ["sentinel-2-l2a"]'
        installed(self.root, features, f"{source}\nallow_hosts = {json.dumps(hosts)}")
        with open_ledger(self.settings) as ledger:
            add_sites(ledger, self.settings.registry.path)
        return job(self.settings, as_of=NIGHT, **({"pages": False} if job is night else {}))

    def new(self) -> dict[str, list[str]]:
        """New scenes of a night, by site, after a dry run that lists the same."""
        planned = {site["site"]: site["scenes"] for site in self.night(plan)["sites"]}
        self.looked_at.clear()
        if self.server is not None:
            self.server.forget()
        sites = self.night().sites
        assert [site.error for site in sites] == [None] * len(sites)
        found = {site.site: site.scenes_new for site in sites}
        assert planned == found
        return found

    @property
    def searches(self) -> int:
        """Number of search requests of the last night to an API; a file is read once, whatever the search."""
        return 1 if self.server is None else self.server.counts["search"]

    @property
    def settings(self):
        return load(self.root / "regrowth.toml")

    def store(self, name: str) -> StoredSite:
        return stored_of(self.settings, name)

    def records(self) -> dict[str, list[tuple]]:
        """Stored overpasses by site, with a digest of their pixels."""
        return {
            name: sorted((one.acquisition, sorted(one.granules.items()), one.reason, one.digest)
                         for one in records(self.store(name)))
            for name in self.sites
        }  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Granules by name, and the folder of their files."""
    folder = tmp_path_factory.mktemp("scenes")
    made = {day: granule(folder, day) for day in ("0103", "0108", "0113", "0118")}
    made["0108 east"] = granule(folder, "0108", tile="48SVF", left=EAST, shift=50)
    made["0108 piece"] = granule(folder, "0108", left=EAST, shift=50, made="070000")
    made["0108 copy"] = granule(folder, "0108", shift=70, made="080000")
    for tile, left in (("48SUF", WEST), ("48SVF", EAST)):
        properties = {"datetime": "2020-01-23T00:03:10Z"}
        made[f"0122 {tile}"] = granule(folder, "0122", at="235958", tile=tile, left=left, **properties)
    zone_47 = projected(lonlat(box(WEST, TOP - 1200, WEST + 1200, TOP), CRS("EPSG:32648")), CRS("EPSG:32647"))
    left, top = round(zone_47.bounds[0], -1), round(zone_47.bounds[3], -1)
    made["0113 west"] = granule(folder, "0113", tile="47SVV", left=left, top=top, epsg=32647)
    made["0108 reprocessed"] = granule(folder, "0108", baseline="0500", shift=1000)
    made["0113 elsewhere"] = granule(tmp_path_factory.mktemp("elsewhere"), "0113")
    return folder, made


@pytest.fixture(params=["an API", "a static catalogue"])
def stored(request, tmp_path, scenes, monkeypatch):
    """An installation that has stored every scene that its catalogue offers."""
    folder, made = scenes
    with_assets = items._with_assets

    def look(scene, item, *rest, **more):
        one.looked_at.append(item["properties"]["datetime"][5:10])
        return with_assets(scene, item, *rest, **more)

    monkeypatch.setattr(items, "_with_assets", look)
    with StacServer(tmp_path) as server:
        one = Installation(tmp_path / "old", server if request.param == "an API" else None, [str(folder)])
        one.offered = [made["0103"], made["0108"], made["0108 east"]]
        one.night()
        yield one


def ends_as_from_scratch(one):
    scratch = Installation(one.root.parent / "scratch", one.server, one.allowed, one.offered, one.sites)
    scratch.night()
    return one.records() == scratch.records()


def test_when_everything_is_stored_no_item_is_examined_and_no_file_is_checked(stored, monkeypatch):
    assert stored.new() == {"a": [], "both": []}
    assert stored.looked_at == []
    monkeypatch.setattr(Fetcher, "check", Mock(side_effect=AssertionError("checked")))
    assert [site.error for site in stored.night().sites] == [None, None]


@pytest.mark.parametrize("day", ["0118", "0113"], ids=["new", "late"])
def test_a_new_scene_is_read_and_nothing_else_is_examined(stored, scenes, day):
    if day == "0113":
        stored.offered = [*stored.offered, scenes[1]["0118"]]
        stored.night()
    fresh = scenes[1][day]
    stored.offered = [*stored.offered, fresh]
    assert stored.new() == {"a": [fresh["id"]], "both": [fresh["id"]]}
    assert set(stored.looked_at) == {f"{day[:2]}-{day[2:]}"}
    assert stored.searches == 1
    assert ends_as_from_scratch(stored)


@pytest.mark.slow
@pytest.mark.parametrize(("second", "tile"), [("0108 east", "48SVF"), ("0108 piece", "48SUF.1")])
def test_an_overpass_with_a_new_granule_or_a_new_piece_of_one_is_read_whole(stored, scenes, second, tile):
    made = scenes[1]
    late = Installation(stored.root.parent / "late", stored.server, stored.allowed, [made["0103"], made["0108"]])
    late.night()
    late.looked_at = stored.looked_at
    late.offered = [*late.offered, made[second]]
    assert late.new() == {"a": [], "both": [made["0108"]["id"]]}
    assert set(late.looked_at) == {"01-08"}
    assert ends_as_from_scratch(late)
    assert [tile for tile, _ in late.records()["both"][1][1]] == ["48SUF", tile]
    assert late.new() == {"a": [], "both": []}


@pytest.mark.slow
def test_an_overpass_that_a_catalogue_dates_to_the_next_day_is_read_whole(stored, scenes):
    made = scenes[1]
    stored.offered = [*stored.offered, made["0122 48SUF"]]
    stored.night()
    stored.offered = [*stored.offered, made["0122 48SVF"]]
    assert stored.new() == {"a": [], "both": [made["0122 48SUF"]["id"]]}
    assert ends_as_from_scratch(stored)


@pytest.mark.slow
def test_a_granule_with_another_piece_is_read_again_under_its_name_in_the_search(stored, scenes):
    made = scenes[1]
    one = Installation(stored.root.parent / "pieces", stored.server, stored.allowed, [made["0108 piece"]])
    one.sites = {"east": EAST + 600}
    one.night()
    one.sites, one.offered = {**one.sites, "a": WEST + 300}, [made["0108"], made["0108 piece"]]
    assert one.new() == {"east": [], "a": [made["0108"]["id"]]}  # each is searched by itself while one is new
    assert one.new() == {"east": [made["0108 piece"]["id"]], "a": []}
    assert [granules for _, granules, *_ in one.records()["east"]] == [[("48SUF.1", "02.13")]]
    assert one.new() == {"east": [], "a": []}


@pytest.mark.slow
def test_the_granule_in_the_projection_of_the_site_comes_first_though_the_other_is_stored(stored, scenes):
    made = scenes[1]
    stored.offered = [*stored.offered, made["0113 west"]]
    stored.night()
    stored.offered = [*stored.offered, made["0113"]]
    assert stored.new() == {"a": [made["0113"]["id"]], "both": [made["0113"]["id"]]}
    assert ends_as_from_scratch(stored)


@pytest.mark.slow
def test_an_overpass_with_a_newer_baseline_of_one_granule_is_read_whole(stored, scenes):
    stored.offered = [*stored.offered, scenes[1]["0108 reprocessed"]]
    assert stored.new() == {"a": [scenes[1]["0108 reprocessed"]["id"]], "both": [scenes[1]["0108 reprocessed"]["id"]]}
    assert set(stored.looked_at) == {"01-08"}
    assert ends_as_from_scratch(stored)
    assert stored.new() == {"a": [], "both": []}
    assert stored.looked_at == []  # the older one is offered still


@pytest.mark.slow
def test_a_scene_that_was_refused_is_read_once_its_folder_is_allowed(stored, scenes):
    fresh = scenes[1]["0113 elsewhere"]
    stored.offered = [*stored.offered, fresh]
    assert stored.new()["a"] == [fresh["id"]]
    assert stored.records()["a"][-1][1:3] == ([], "BROKEN")
    before = stored.records()
    assert stored.night(plan)["sites"][0]["scenes"] == [fresh["id"]]  # tried again, for a month
    assert [site.scenes_new for site in stored.night().sites] == [[], []]  # without success, so nothing is new
    assert stored.records() == before
    stored.allowed = [*stored.allowed, str(scenes[0].parent)]
    assert stored.new() == {"a": [fresh["id"]], "both": [fresh["id"]]}
    assert ends_as_from_scratch(stored)


@pytest.mark.slow
def test_a_site_added_among_others_gets_its_history_and_the_others_are_not_read(stored, scenes):
    stored.sites = {**stored.sites, "east": EAST + 600}
    assert stored.new() == {"a": [], "both": [], "east": [scenes[1]["0108 east"]["id"]]}
    assert set(stored.looked_at) == {"01-08"}
    assert stored.searches <= 2  # for known sites, then for new ones; what is static is read once
    assert ends_as_from_scratch(stored)


def test_a_landscape_restored_from_an_older_copy_gets_the_scenes_that_the_copy_lacks(stored, scenes, tmp_path):
    folder = stored.store("both").landscape.path
    shutil.copytree(folder, tmp_path / "copy")
    stored.offered.append(scenes[1]["0118"])
    assert [len(new) for new in stored.new().values()] == [1, 1]
    before = stored.records()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    assert [len(site.scenes_new) for site in stored.night().sites] == [1, 1]
    assert stored.records() == before


@pytest.mark.slow
def test_granules_of_two_catalogues_are_both_read_when_one_is_late(stored, scenes, tmp_path, monkeypatch):
    made = scenes[1]
    one = Installation(tmp_path / "two", None, stored.allowed, [made["0103"], made["0108"]])
    one.night()
    more = {"type": "FeatureCollection", "features": [made["0108 copy"], made["0108 east"]]}
    (tmp_path / "more.json").write_text(json.dumps(more), encoding="utf-8")
    second = Stac(str(tmp_path / "more.json"), allow_hosts=[str(tmp_path), *stored.allowed], name="more")

    def both(settings):
        sources = open_sources(settings)
        return Sources([*sources.opened, (second, settings[0])])

    monkeypatch.setattr("jobs.night.pipeline.open_sources", both)
    assert one.new() == {"a": [], "both": [made["0108"]["id"]]}  # of the copies that of the preferred catalogue
    assert one.records()["both"] == stored.records()["both"]


def test_processes_of_one_machine_share_the_requests_in_flight(monkeypatch):
    chosen = SourceSettings(kind="stac", url="https://example.org")
    for share, most in ((1, 32), (2, 16), (100, 1)):
        monkeypatch.setattr("jobs.imagery.sources.worker_processes", lambda share=share: share)
        assert open_sources([chosen]).first._pool._max_workers == most
