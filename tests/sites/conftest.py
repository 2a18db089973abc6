"""A registry written as people write it, with one thing wrong at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.sites.checked_feature import CheckedFeature
from monitor.sites.registry import read_sites
from tests.builders import write_features

GOOD = {"start": "2021-04-20", "intervention": "planting", "biome": "loess", "subtype": "tree", "name": "a"}


def square(x: float = 104.6, y: float = 35.5, side: float = 0.01) -> list[list[float]]:
    """Closed ring, counter-clockwise; the default is about a square kilometre near Dingxi."""
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


BOW_TIE = [[104.6, 35.5], [104.61, 35.51], [104.61, 35.5], [104.6, 35.51], [104.6, 35.5]]


def codes(found: CheckedFeature) -> list[str]:
    """Codes of the problems of a site."""
    return [problem.code for problem in found.problems]


@pytest.fixture
def entry() -> Callable[..., dict[str, Any]]:
    """Feature with good properties; a property given as None is left out."""

    def build(*, ring: Any = None, geometry: Any = None, **properties: Any) -> dict[str, Any]:
        merged = {"id": "a"} | GOOD | properties
        return {
            "type": "Feature",
            "properties": {name: value for name, value in merged.items() if value is not None},
            "geometry": geometry or {"type": "Polygon", "coordinates": [ring or square()]},
        }

    return build


@pytest.fixture
def registry(tmp_path: Path) -> Callable[..., Path]:
    """File of such features."""

    def write(*features: dict[str, Any], name: str = "sites.geojson") -> Path:
        path = tmp_path / name
        write_features(path, features)
        return path

    return write


@pytest.fixture
def judged(entry: Callable[..., Any], registry: Callable[..., Path]) -> Callable[..., CheckedFeature]:
    """Report on one site with an outline and properties."""

    def judge(ring: Any = None, **properties: Any) -> CheckedFeature:
        (found,) = read_sites(registry(entry(ring=ring, **properties))).entries
        return found

    return judge
