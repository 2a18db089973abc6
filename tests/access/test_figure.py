"""The figure of a site shows what its page shows."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt

import monitor
from monitor.access import figure
from monitor.errors import BadConfiguration, BadData
from monitor.sites.names import has_invisible

plt.switch_backend("Agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def labels(drawn) -> set[str]:
    return {text.get_text() for text in drawn.legends[0].get_texts()}


def test_the_figure_of_a_site_that_is_judged_has_every_mark_of_its_page(demo):
    drawn = monitor.plot(demo, "demo-02")
    above, below = drawn.axes
    assert labels(drawn) == {
        "growing season", "control units, 10 % to 90 % of them", "95 % band of the uplift", "fitted", "control",
        "site; below, site − control", "outside the growing season", "expected: control + plan; below, the plan",
        "estimate now, with its 95 % interval", "rejected scene", "work begins",
    }  # fmt: skip
    series = monitor.open_series(demo, "demo-02")
    lines = {line.get_label(): line for line in above.get_lines()}
    seen = series[series.accepted]
    np.testing.assert_allclose(lines["site; below, site − control"].get_ydata(), 100 * seen.cover)
    assert lines["rejected scene"].get_xdata().size == (~series.accepted).sum()
    assert above.get_ylim()[0] == 0
    assert "demo-02" in drawn.get_suptitle()
    assert below.get_ylim()[1] - below.get_ylim()[0] >= 40


def test_a_site_that_cannot_be_judged_has_no_curve(demo):
    assert not {"fitted", "95 % band of the uplift", "estimate now, with its 95 % interval"} & labels(
        monitor.plot(demo, "demo-01")
    )


def test_a_site_that_is_unknown_is_named(demo):
    with pytest.raises(BadData, match="demo-99"):
        monitor.plot(demo, "demo-99")


@pytest.mark.parametrize("name", [r"$\frac{a}$ <script>", "a\r\nb\u202ec", "$" * 300, "\\$"])
def test_a_hostile_name_is_plain_text(demo, monkeypatch, name):
    published = figure.published_site(figure.installation_of(demo, "demo-02"), "demo-02")
    hostile = replace(published, values=published.values | {"name": name})
    monkeypatch.setattr(figure, "published_site", lambda *_: hostile)
    drawn = monitor.plot(demo, "demo-02")
    drawn.canvas.draw()
    assert not has_invisible(drawn.get_suptitle())
    assert len(drawn.get_suptitle()) < 250


def test_without_matplotlib_the_extra_is_named(demo, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BadConfiguration, match=r"pip install 'regrowth-monitor\[plot\]'"):
        monitor.plot(demo, "demo-02")
