"""The second demonstration: what its page quotes is what its script gives, on ground whose fate is real."""

import json
import re

import numpy as np
import pytest
import rasterio

from docs import real_fate
from jobs.runtime.logs import set_up_logs

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning:rioxarray")


@pytest.fixture(scope="module")
def page(root):
    """Rows of the page's verdicts: (day, site) -> (status, alert)."""
    text = (root / "docs" / "real-fate.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{4}-\d\d-\d\d) \| `(\w+)` \| `(\w+)` \| (\w+) \|", text, re.M)
    return {(day, site): (status, alert) for day, site, status, alert in rows}


def assert_as_quoted(page, verdicts):
    for row in verdicts.itertuples():
        assert (row.status, row.alert) == page[row.as_of, row.site], (row.as_of, row.site)


def test_the_page_has_a_verdict_of_each_site_and_night_of_the_script(page, root):
    felled = {(day, site) for day in real_fate.FELLED_NIGHTS for site in real_fate.FELLED_SITES}
    assert page.keys() == felled | {(day, "burnt") for day in real_fate.BURNT_NIGHTS}
    assert (root / "docs" / "real-fate.png").stat().st_size < 600_000


def test_scenes_of_the_felled_forest_are_the_pixels_as_the_package_stores_them(tmp_path):
    cubes = {size: cube.isel(time=slice(0, 2)) for size, cube in real_fate.square().items()}
    real_fate.prepare_felled(tmp_path / "felled", cubes)
    with rasterio.open(tmp_path / "felled" / "scenes" / "romania_2015-08-11_B08.tif") as file:
        np.testing.assert_array_equal(file.read(1), cubes["10m"]["B8"].values[1])
        assert file.crs.to_epsg() == 3035
        assert file.xy(0, 0) == (float(cubes["10m"].x[0]), float(cubes["10m"].y[0]))
    catalogue = json.loads((tmp_path / "felled" / "scenes" / "catalog.json").read_text(encoding="utf-8"))
    assert catalogue["type"] == "Catalog"
    report = json.loads(real_fate.regrowth(tmp_path / "felled", "sites", "check", "sites.geojson", "--json"))
    assert {site["site"]: site["ok"] for site in report["sites"]} == dict.fromkeys(real_fate.FELLED_SITES, True)


@pytest.mark.slow
def test_a_felling_is_named_in_its_first_summer_and_the_stand_beside_it_is_not(page, tmp_path):
    set_up_logs(quiet=True)
    real_fate.prepare_felled(tmp_path / "felled", real_fate.square())
    verdicts = real_fate.nights(tmp_path / "felled", ("2018-11-15", "2019-09-15"))
    assert_as_quoted(page, verdicts)
    found = verdicts.set_index(["as_of", "site"]).loc["2019-09-15"]
    assert found.loc["felled", "status"] == "disturbed"
    assert found.loc["felled", "loss_after"] >= "2018-10-01"  # seen standing on the images of that autumn
    assert found.loc["felled", "loss_on"] <= "2019-06-30"  # bare on all images of that summer
    assert found.loc["standing", "alert"] == "none"


@pytest.mark.slow
def test_composites_of_one_a_year_give_no_verdict_and_trends_say_what_is_known(page, root, shared_data, tmp_path):
    text = (root / "docs" / "real-fate.md").read_text(encoding="utf-8")
    set_up_logs(quiet=True)
    real_fate.prepare_burnt(tmp_path / "burnt", shared_data / "bc06_wildfire")
    verdicts = real_fate.nights(tmp_path / "burnt", real_fate.BURNT_NIGHTS[-1:])
    assert_as_quoted(page, verdicts)
    assert "FEW_SCENES" in verdicts["reasons"].item()
    measured = real_fate.burnt_trends(tmp_path / "burnt")
    # the median of all pixels was at 80 % of the level of 2003 and 2004 in 2009, three years after the start
    assert 1 <= measured["median years to 80 % of the level of 2003 and 2004"] <= 3
    for number, quoted in zip(measured, ("0.0082 a year", "73 %", "2.0 years", "93 %"), strict=True):
        value, percent = float(quoted.split()[0]), quoted.endswith("%")
        assert number * (100 if percent else 1) == pytest.approx(value, abs=0.5 if percent else 0.05 * value)
        assert f"| {quoted} |" in text
