"""A night on real protocols: the same scenes as files in a folder, from a STAC API, and from Earth Engine."""

import csv
import json
import socket
import time
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from affine import Affine
from odc.geo import CRS
from shapely.geometry import box, mapping

from jobs.imagery.cost_estimate import PICTURES_PER_BATCH
from jobs.runtime.installation import locked_ledger
from jobs.runtime.settings import load
from monitor.cube.packed import PACKED_LAYERS
from monitor.imagery.transport import Fetcher
from monitor.ingest.steps import COMMIT_SIZE
from monitor.sites.projection import lonlat
from tests import builders
from tests.builders import feature, regrowth
from tests.landscape import records, stored_of
from tests.loopback.earthengine import EarthEngineServer, add_sentinel2
from tests.loopback.stac import BANDS, StacServer, write_cog

UTM = CRS("EPSG:32648")
CORNER = (600_000.0, 4_200_000.0)
SIDE = 400
"""Of the land, in pixels of 10 m."""
START = date(2020, 5, 1)
TIMES = [datetime(2018, 5, 20, 3, 51, 41, tzinfo=UTC) + timedelta(days=d) for d in range(0, 900, 20)]
SOIL, LEAF = np.array([900, 800, 1700, 2300, 3000, 2800]), np.array([300, 500, 400, 4200, 1900, 900])


def painted(when, baseline):
    """Bands at 10 m (the last two at 20 m) and scene classes at 20 m; some of the scenes have clouds."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rough = np.modf(np.abs(np.sin(rows * 0.13 + columns * 0.07)) * 97.0)[0]
    season = np.exp(-(((when.timetuple().tm_yday - 215) / 45.0) ** 2) / 2)
    share = (0.2 + 0.1 * rough) * season + 0.05
    pixels = np.rint(SOIL[:, None, None] * (1 - share) + LEAF[:, None, None] * share).astype(np.uint16)
    if baseline >= "04.00":
        pixels += 1000
    classes = np.full((SIDE // 2, SIDE // 2), 4, dtype=np.uint8)
    number = (when - TIMES[0]).days // 20
    if number % 5 == 2:  # cloud over a third of the land, and of the site
        classes[:, : SIDE // 6] = 9
    if number % 11 == 5:
        classes[:] = 9
    return pixels, classes


def item(folder, when, href):
    """Item of a granule of Earth Search's Collection 1; offset as its processing baseline has it."""
    baseline = "05.09" if when.year >= 2020 else "02.09"
    pixels, classes = painted(when, baseline)
    name = f"S2A_T48SXH_{when:%Y%m%dT%H%M%S}_L2A"
    assets = {}
    for number, (key, common) in enumerate(BANDS.items()):
        step = 2 if key in ("B11", "B12") else 1
        transform = Affine(10 * step, 0, CORNER[0], 0, -10 * step, CORNER[1])
        path = write_cog(folder / name / f"{key}.tif", pixels[number, ::step, ::step], transform, "EPSG:32648")
        assets[common] = {
            "href": href(path), "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data"],
            "eo:bands": [{"name": key, "common_name": common}],
            "raster:bands": [{"scale": 0.0001, "offset": -0.1 if baseline >= "04.00" else 0, "nodata": 0}],
        }  # fmt: skip
    path = write_cog(folder / name / "SCL.tif", classes, Affine(20, 0, CORNER[0], 0, -20, CORNER[1]), "EPSG:32648")
    assets["scl"] = {"href": href(path), "type": "image/tiff; application=geotiff", "roles": ["data"]}
    outline = lonlat(box(CORNER[0], CORNER[1] - SIDE * 10, CORNER[0] + SIDE * 10, CORNER[1]), UTM)
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-c1-l2a",
        "geometry": mapping(outline), "bbox": list(outline.bounds), "links": [], "assets": assets,
        "properties": {
            "datetime": f"{when:%Y-%m-%dT%H:%M:%SZ}", "platform": "sentinel-2a", "proj:epsg": 32648,
            "grid:code": "MGRS-48SXH", "s2:processing_baseline": baseline,
            "s2:datatake_id": f"GS2A_{when:%Y%m%dT%H%M%S}_023671_N{baseline}", "sat:relative_orbit": 104,
        },
    }  # fmt: skip


def outlined(n):
    x, y = CORNER[0] + 1000 + 500 * n, CORNER[1] - 2000
    return lonlat(box(x + 3, y - 117, x + 117, y - 3), UTM)


def installed(root, source, sites=1):
    features = [feature(f"s{n}", outlined(n), start=START.isoformat()) for n in range(sites)]
    builders.installed(root, features, f'since = "2018-01-01"\n{source}')
    return root / "regrowth.toml"


def run(config, *more, status=0):
    left, printed, errors = regrowth("run", "--as-of", "2020-10-31", "--json", *more, config=config)
    assert left == status, errors
    return json.loads(printed)


def stored(config, site=0):
    return stored_of(load(config), f"s{site}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Granules and items in a folder of files."""
    made = tmp_path_factory.mktemp("scenes")
    for when in TIMES:
        one = item(made, when, lambda path: str(path.relative_to(made)))
        (made / f"{one['id']}.json").write_text(json.dumps(one), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def engine():
    """The same scenes in Earth Engine's harmonised collection."""
    with EarthEngineServer() as server:
        yield filled(server)


@pytest.fixture
def own_engine():
    """The same, to which a test may add scenes."""
    with EarthEngineServer() as server:
        yield filled(server)


def filled(server, times=TIMES):
    """The server, with the scenes of some times."""
    for when in times:
        pixels, classes = painted(when, "02.09")
        layers = dict(zip(BANDS.values(), pixels, strict=True))
        layers |= {name: layers[name][::2, ::2] for name in ("swir16", "swir22")}
        transform = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
        baseline = "05.09" if when.year >= 2020 else "02.09"
        add_sentinel2(server, when, layers, classes, transform=transform, tile="48SXH", baseline=baseline)
    return server


def earthengine(server):
    return f'kind = "earthengine"\nproject = "p"\nurl = "{server.url}"\nallow_hosts = ["127.0.0.1"]'


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("REGROWTH_EE_TOKEN", "made-up")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)


@pytest.mark.slow
def test_a_folder_of_cogs_and_earth_engine_give_the_same_cube_to_the_last_digit(folder, engine, token, tmp_path):
    files = installed(tmp_path / "files", f'kind = "stac"\nurl = "{folder}"\nallow_hosts = ["{folder}"]')
    served = installed(tmp_path / "served", earthengine(engine))
    manifests = [run(files), run(served)]
    assert [[site["state"] for site in one["sites"]] for one in manifests] == [["done"], ["done"]]
    assert [len(one["sites"][0]["scenes_new"]) for one in manifests] == [len(TIMES)] * 2
    ours, theirs = (stored(config).cube() for config in (files, served))
    assert ours.odc.geobox == theirs.odc.geobox
    for band in (*BANDS.values(), "quality", "clear"):
        np.testing.assert_array_equal(ours[band].values, theirs[band].values, err_msg=band)
    assert ours.sizes["time"] == len(TIMES)
    assert PACKED_LAYERS[-1] == "clear"
    both = [{r.acquisition: r for r in records(stored(config))} for config in (files, served)]
    assert both[0].keys() == both[1].keys()
    for name, one in both[0].items():
        other = both[1][name]
        assert (one.n_pixels, one.measures.get("cover"), one.measures.get("ndvi"), one.granules) == (
            other.n_pixels, other.measures.get("cover"), other.measures.get("ndvi"), other.granules,
        )  # fmt: skip


def offering(server, folder):
    """Let an API offer the granules of a folder; the table of the configuration that names it."""
    for path in sorted(folder.glob("*.json")):
        one = json.loads(path.read_text(encoding="utf-8"))
        for asset in one["assets"].values():
            asset["href"] = server.file(folder / asset["href"])
        server.items.append(one)
    return f'kind = "stac"\nurl = "{server.url}"\ncollections = ["sentinel-2-c1-l2a"]\nallow_hosts = ["127.0.0.1"]'


@pytest.mark.slow
def test_an_api_and_a_folder_give_the_same_products(folder, tmp_path):
    files = installed(tmp_path / "files", f'kind = "stac"\nurl = "{folder}"\nallow_hosts = ["{folder}"]', sites=2)
    with StacServer(folder) as server:
        api = installed(tmp_path / "api", offering(server, folder), sites=2)
        run(api)
        read = server.counts["file"]
        assert server.counts["search"] == 1
        again = run(api)
        assert all(site["scenes_new"] == [] for site in again["sites"])
        assert (server.counts["search"], server.counts["file"]) == (2, read)
    run(files)
    for name in ("status.json", "sites/s0/observations.csv", "sites/s1/observations.csv"):
        assert (api.parent / "outputs" / name).read_bytes() == (files.parent / "outputs" / name).read_bytes()


def test_ids_of_items_that_mean_harm_are_inert_in_all_that_a_night_makes(folder, tmp_path):
    evil = [
        "=cmd|'/C calc'!A0", "<script>alert(1)</script>\r\nBcc: x@y", "../../../../outside", "\u202egpj\x00", "@SUM(1)",
    ]  # fmt: skip
    items = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))[:30]]
    for number, one in enumerate(items):
        one["id"] = f"{evil[number % len(evil)]} {number}"
        if number == 4:
            del one["assets"]["scl"]  # a refusal names it
        for asset in one["assets"].values():
            asset["href"] = str(folder / asset["href"])
    (tmp_path / "offered").mkdir()
    offered = tmp_path / "offered" / "items.json"
    offered.write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
    hosts = f'allow_hosts = ["{folder}", "{offered.parent}"]'
    config = installed(tmp_path / "in" / "stall" / "ed", f'kind = "stac"\nurl = "{offered}"\n{hosts}')
    (site,) = run(config)["sites"]
    assert len(site["scenes_new"]) == len(items)
    assert "BROKEN" in {one["reason"] for one in site["scenes_rejected"]}
    assert all(name.isprintable() for name in site["scenes_new"])
    table = config.parent / "outputs" / "sites" / "s0" / "observations.csv"
    cells = [row["scene"] for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())]
    assert len(cells) == len(items)
    assert all(cell[0] not in "=+-@" and cell.isprintable() for cell in cells)
    pages = list((config.parent / "outputs").rglob("*.html"))
    assert len(pages) >= 4
    assert not any("<script>alert" in page.read_text(encoding="utf-8") for page in pages)
    assert {path.name for path in tmp_path.rglob("*outside*")} == set()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "offered"]


@pytest.mark.slow
def test_ten_years_of_a_site_need_few_requests_and_a_night_one_of_pixels_and_one_of_its_picture(
    own_engine, token, tmp_path
):
    config = installed(tmp_path / "served", earthengine(own_engine))
    regrowth("backfill", config=config)
    own_engine.forget()
    when = datetime(2020, 10, 28, 3, 51, 41, tzinfo=UTC)
    filled(own_engine, [when])
    manifest = run(config)
    assert len(manifest["sites"][0]["scenes_new"]) == 1
    # The server has neither cloud scores nor Landsat: three of the searches find that out.
    assert (own_engine.counts["search"], own_engine.counts["pixels"], own_engine.counts["values"]) == (4, 2, 1)


@pytest.mark.slow
def test_a_dry_run_states_the_most_requests_that_the_night_makes_and_reads_no_pixels(folder, engine, token, tmp_path):
    config = installed(tmp_path / "served", earthengine(engine), sites=2)
    engine.forget()
    (first, second) = run(config, "--dry-run")["sites"]
    assert engine.counts["pixels"] == engine.counts["values"] == 0
    run(config)
    planned = first["requests"] + second["requests"]
    made = engine.counts["pixels"] + engine.counts["values"]
    assert planned - 4 * PICTURES_PER_BATCH <= made <= planned  # of two sites in two batches
    assert made > 0
    days = [name.split("/")[-1][:8] for name in first["scenes"]]
    assert len(days) == len(TIMES)
    before = sum(day < f"{START:%Y%m%d}" for day in days)
    grid = stored(config, site=int(first["site"].removeprefix("s"))).cube().odc.geobox
    scenes = (len(days) + before) * grid.shape[0] * grid.shape[1] * 14 / 1e6
    context = stored(config, site=int(first["site"].removeprefix("s"))).context
    taken = PICTURES_PER_BATCH * -(-len(days) // COMMIT_SIZE)
    pictures = taken * context.shape[0] * context.shape[1] * 14 / 1e6
    assert first["megabytes"] == pytest.approx(scenes + pictures, 1e-3)
    assert first["eecu_seconds"] > 0
    (first, second) = run(config, "--dry-run")["sites"]
    assert (first["scenes"], first["requests"], first["megabytes"], first["eecu_seconds"]) == ([], 0, 0, 0)
    files = installed(tmp_path / "files", f'kind = "stac"\nurl = "{folder}"\nallow_hosts = ["{folder}"]')
    (site,) = run(files, "--dry-run")["sites"]
    assert (site["requests"], site["eecu_seconds"]) == (None, None)
    assert site["megabytes"] > 0


@pytest.mark.slow
def test_a_night_stops_at_the_budget_of_earth_engine_and_a_larger_one_ends_where_none_does(engine, token, tmp_path):
    config = installed(tmp_path / "limited", earthengine(engine) + "\neecu_hours_per_month = 0.001")
    engine.forget()
    (site,) = run(config, status=75)["sites"]
    assert (site["state"], site["scenes_new"]) == ("deferred", [])
    assert "[source] eecu_hours_per_month = 0.001 holds until" in site["error"]
    read = engine.counts["pixels"] + engine.counts["values"]
    assert read > 0
    (site,) = run(config, status=75)["sites"]  # only searches: nothing more is read in this month
    assert engine.counts["pixels"] + engine.counts["values"] == read
    planned = run(config, "--dry-run")["earthengine"]
    assert planned["used_hours"] > planned["budget_hours"] == 0.001
    report = json.loads(regrowth("doctor", "--json", config=config)[1])
    (finding,) = [one for one in report["checks"] if one["check"] == "budget"]
    assert (finding["state"], "raise [source] eecu_hours_per_month" in finding["fix"]) == ("note", True)

    config.write_text(config.read_text(encoding="utf-8").replace("= 0.001", "= 9"), encoding="utf-8")
    unlimited = installed(tmp_path / "unlimited", earthengine(engine))
    assert [run(one)["sites"][0]["state"] for one in (config, unlimited)] == ["done", "done"]
    tables = [(one.parent / "outputs/sites/s0/observations.csv").read_bytes() for one in (config, unlimited)]
    assert tables[0] == tables[1]


def test_refused_credentials_exit_with_78_and_the_fix_and_never_the_key(engine, token, tmp_path):
    config = installed(tmp_path / "served", earthengine(engine))
    engine.fail("any", status=401, times=50)
    status, out, err = regrowth("run", "--as-of", "2020-10-31", config=config)
    engine.clear_faults()
    assert (status, "REGROWTH_EE_TOKEN" in err, "made-up" in err + out) == (78, True, False)


@pytest.mark.slow
def test_harmonised_scenes_alone_keep_a_site_on_their_own_thirty_metres(tmp_path):
    made = tmp_path / "scenes"
    place = Affine(30, 0, CORNER[0], 0, -30, CORNER[1])
    outline = lonlat(box(CORNER[0], CORNER[1] - SIDE * 10, CORNER[0] + SIDE * 10, CORNER[1]), UTM)
    for when in TIMES:
        pixels, classes = painted(when, "02.09")
        name = f"HLS.S30.T48SXH.{when:%Y%jT%H%M%S}.v2.0"
        keys = ("B02", "B03", "B04", "B8A", "B11", "B12")
        files = {key: band[1::3, 1::3].astype(np.int16) for key, band in zip(keys, pixels, strict=True)}
        files["Fmask"] = np.where(np.kron(classes, np.ones((2, 2)))[1::3, 1::3] == 9, 2, 64).astype(np.uint8)
        for key, band in files.items():
            write_cog(made / f"{name}.{key}.tif", band, place, "EPSG:32648", nodata=255 if key == "Fmask" else -9999)
        one = {
            "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "hls2-s30", "links": [],
            "geometry": mapping(outline), "bbox": list(outline.bounds),
            "assets": {key: {"href": f"{name}.{key}.tif"} for key in files},
            "properties": {"datetime": f"{when:%Y-%m-%dT%H:%M:%SZ}", "platform": "sentinel-2a"},
        }  # fmt: skip
        (made / f"{name}.json").write_text(json.dumps(one), encoding="utf-8")
    config = installed(tmp_path / "hls", f'kind = "stac"\nurl = "{made}"\nallow_hosts = ["{made}"]')
    (site,) = run(config)["sites"]
    assert (site["state"], len(site["scenes_new"])) == ("done", len(TIMES))
    assert {one["reason"] for one in site["scenes_rejected"]} == {"CLOUD"}
    stored_site = stored(config)
    assert stored_site.grid.resolution.x == 30
    seen = records(stored_site)
    assert {(r.quality, r.scale, r.offset, r.bandpass) for r in seen} == {("fmask", 1e-4, 0.0, False)}
    assert len({r.acquisition for r in seen}) == len(TIMES)
    assert sum(r.accepted for r in seen) > 0.6 * len(TIMES)


def test_a_catalogue_that_refuses_access_exits_with_78_and_one_that_is_down_with_75(folder, tmp_path):
    with StacServer(folder) as server:
        config = installed(tmp_path / "api", offering(server, folder))
        for status, code, message in ((403, 78, "refuses"), (401, 78, "refuses"), (429, 75, "deferred")):
            server.fail("search", status=status, times=99, headers={"Retry-After": "1000"})
            ended, out, err = regrowth("run", "--as-of", "2020-10-31", config=config)
            server.faults.clear()
            assert (ended, message in err + out) == (code, True), err
        assert server.counts["search"] == 3  # no request was repeated
        assert run(config)["sites"][0]["state"] == "done"


@pytest.fixture
def impatient(monkeypatch):
    """A request may take 3 s, not 90."""
    monkeypatch.setitem(Fetcher.__init__.__kwdefaults__, "budget", 3.0)


def drip(first, then):
    """An answer that goes on and on, a little at a time."""

    def act(handler):
        handler.close_connection = True
        handler.wfile.write(first)
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            handler.wfile.write(then)
            time.sleep(0.2)

    return act


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "how"),
    [(7, {"status": 500}), (-1, {"act": drip(b"HTTP/1.1 206 Partial Content\r\nX-Slow: ", b"a")})],
    ids=["of the history, at 500 for ever", "new, its headers drip"],
)
def test_one_file_that_is_never_answered_leaves_its_scene_for_later_and_all_else_is_stored(
    folder, tmp_path, impatient, how, number
):
    with StacServer(folder) as server:
        config = installed(tmp_path / "api", offering(server, folder), sites=2)
        bad = server.items[number]["id"]
        server.fail("file", match=f"{bad}/B04", **how)
        for site in run(config)["sites"]:
            assert (site["state"], len(site["scenes_new"])) == ("done", len(TIMES))
            assert [one["scene"] for one in site["scenes_rejected"] if one["reason"] == "NO_ANSWER"] == [bad]
        server.faults.clear()
        well = run(config)
        assert [site["scenes_new"] for site in well["sites"]] == [[bad], [bad]]
        assert not any(one["reason"] == "NO_ANSWER" for site in well["sites"] for one in site["scenes_rejected"])
        assert {record.reason for record in records(stored(config))} <= {"", "CLOUD"}


@pytest.mark.parametrize("host", ["http://nonexistent.invalid", "http://127.0.0.1:1"], ids=["no address", "refuses"])
def test_one_item_on_a_host_that_cannot_be_reached_waits_a_month_and_the_sites_are_judged(
    folder, tmp_path, impatient, host
):
    def reason_of(scene):
        return next(record.reason for record in records(stored(config)) if record.scene == scene)

    with StacServer(folder) as server:
        config = installed(tmp_path / "api", offering(server, folder), sites=2)
        server.items[:], later = server.items[:-4], server.items[-4:]
        bad = [item["id"] for item in server.items[-2:]]
        assets = [item["assets"]["red"] for item in server.items[-2:]]
        whole = assets[0]["href"]
        for asset in assets:
            asset["href"] = f"{host}/B04.tif"
        dead = run(config)
        judged = [(site["state"], site["status"], site["scenes_unread"]) for site in dead["sites"]]
        assert (judged, dead["unread_count"]) == ([("done", "too_early", 2)] * 2, 2)
        unread = [(one["scene"], one["since"], one["sites"]) for one in dead["unread"]]
        assert unread == [(name, "2020-07-28", ["s0", "s1"]) for name in bad]
        assert all(f"{host}/B04.tif gives no answer (" in one["reason"] for one in dead["unread"])
        assets[0]["href"] = whole
        well = run(config)
        assert ([site["scenes_new"] for site in well["sites"]], well["unread_count"]) == ([bad[:1]] * 2, 1)
        assert reason_of(bad[0]) == ""
        server.items += later[:1]  # 20 days newer
        assert run(config)["unread"][0]["since"] == "2020-07-28"
        server.items += later[1:2]  # 40 days newer
        (site, _) = run(config)["sites"]
        assert (site["scenes_unread"], site["scenes_rejected"][0]) == (0, {"scene": bad[1], "reason": "NO_ANSWER"})
        assets[1]["href"] = whole
        assert bad[1] not in run(config)["sites"][0]["scenes_new"]
        assert reason_of(bad[1]) == "NO_ANSWER"


def test_a_catalogue_that_says_continue_without_end_is_left_in_time_and_the_lock_is_released(
    folder, tmp_path, impatient
):
    with StacServer(folder) as server:
        config = installed(tmp_path / "api", offering(server, folder))
        server.fail("search", act=drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"))
        begun = time.monotonic()
        status, _, err = regrowth("run", "--as-of", "2020-10-31", config=config)
        assert time.monotonic() - begun < 15
        assert (status, "too slowly" in err) == (75, True)
        with locked_ledger(load(config), "the next night"):
            pass


@pytest.mark.slow
def test_a_catalogue_stands_in_for_earth_engine_and_no_socket_leads_elsewhere(
    folder, engine, token, tmp_path, monkeypatch
):
    connect, hosts = socket.socket.connect, set()

    def watched(self, address):
        hosts.add(address[0])
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    alone = installed(tmp_path / "alone", earthengine(engine))
    run(alone, "--as-of", f"{TIMES[-1]:%Y-%m-%d}")
    with StacServer(folder) as server:
        catalogue = offering(server, folder)
        late = server.items.pop()
        config = installed(tmp_path / "both", earthengine(engine))
        one = config.read_text("utf-8").replace("[source]", "[[source]]")
        config.write_text(f'{one}\n[[source]]\nsince = "2018-01-01"\n{catalogue}', "utf-8")
        day = late["properties"]["datetime"][:10]
        before = str(date.fromisoformat(day) - timedelta(days=1))
        run(config, "--as-of", before)
        assert server.counts["file"] == 0
        server.items.append(late)
        engine.fail("any", status=503, times=99, retry_after=1000)
        (site,) = run(config, "--as-of", day)["sites"]
        engine.clear_faults()
        assert (site["state"], site["scenes_new"]) == ("done", [late["id"]])
        assert server.counts["file"] > 0
        (site,) = run(config, "--as-of", day)["sites"]
        assert (site["state"], site["scenes_new"]) == ("done", [])
    np.testing.assert_array_equal(stored(config).cube()["nir"].values, stored(alone).cube()["nir"].values)
    ours, theirs = ({r.acquisition: r.measures.get("ndvi") for r in records(stored(one))} for one in (config, alone))
    assert ours == theirs
    assert hosts == {"127.0.0.1"}
