"""Styles for QGIS: well-formed, in the colours of the page, without any text of users."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from monitor.publish.pictures import MAP_LAYERS, SHADES, _colours
from monitor.publish.qgis import qml


@pytest.mark.parametrize("layer", MAP_LAYERS, ids=lambda layer: layer.name)
def test_a_style_has_the_scale_the_colours_and_the_labels_of_the_page(layer):
    root = ET.fromstring(qml(layer))
    renderer = root.find("pipe/rasterrenderer")
    assert (root.tag, renderer.get("type"), renderer.get("band")) == ("qgis", "singlebandpseudocolor", "1")
    items = renderer.findall("rastershader/colorrampshader/item")
    values = [float(item.get("value")) for item in items]
    assert (values[0], values[-1]) == (layer.low, layer.high)
    assert values == sorted(values)
    assert [items[end].get("label").split(" ")[0] for end in (0, -1)] == list(layer.ends)
    colours = np.array([[*bytes.fromhex(item.get("color").removeprefix("#"))] for item in items])
    shares = np.linspace(0, 1, SHADES)
    styled = [np.interp(layer.low + shares * (layer.high - layer.low), values, channel) for channel in colours.T]
    # the page has 256 steps of colour
    np.testing.assert_allclose(np.stack(styled, axis=1), _colours(layer, shares), atol=2.5)
