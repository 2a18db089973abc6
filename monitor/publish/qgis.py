"""Styles of the maps for QGIS: ``<layer>.qml`` beside ``<layer>.tif``, which QGIS finds by itself."""

from functools import cache
from xml.etree import ElementTree as ET

from monitor.publish.pictures import PALETTES, Layer


@cache
def qml(layer: Layer) -> bytes:
    """Style of a map in the colours and with the legend of its picture on the page, in UTF-8.

    The same for every site: it has no text of users. The format is that of QGIS 3: a colour at each of evenly spaced
    values, and straight lines between them.
    """
    colours = PALETTES[layer.palette].split()
    root = ET.Element("qgis", version="3.16.0", styleCategories="Symbology|CustomProperties")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="singlebandpseudocolor", band="1", opacity="1", alphaBand="-1",
        classificationMin=f"{layer.low:g}", classificationMax=f"{layer.high:g}", nodataColor="",
    )  # fmt: skip
    ET.SubElement(renderer, "rasterTransparency")
    shading = ET.SubElement(renderer, "rastershader")
    shader = ET.SubElement(
        shading, "colorrampshader", colorRampType="INTERPOLATED", classificationMode="1",
        clip="0", minimumValue=f"{layer.low:g}", maximumValue=f"{layer.high:g}",
    )  # fmt: skip
    for number, colour in enumerate(colours):
        value = layer.low + (layer.high - layer.low) * number / (len(colours) - 1)
        shown = f"{value * layer.factor:{'+' if layer.low < 0 else ''}.3g}".replace("-", "−")
        label = shown if layer.factor == 1 else f"{shown} {layer.legend_unit[0]}"
        ET.SubElement(shader, "item", value=f"{value:.6g}", label=label, color=f"#{colour}", alpha="255")
    ET.indent(root, " ")
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"
