"""The picture of a night's dask graph: two new scenes of a landscape of two sites with two control units each.

    python docs/night_graph.py docs/night_graph.svg

Needs graphviz (``apt-get install graphviz``) and its Python package. Drawn as it runs, after dask's optimization.
"""

import sys
from datetime import date
from pathlib import Path

import dask

from jobs.imagery.sources import open_sources
from jobs.runtime.settings import SourceSettings
from monitor.cover.fraction import ENDMEMBERS
from monitor.cover.observe import observe
from monitor.cube.grid import crs_of, inside, site_grid
from monitor.cube.layout import PixelLayout


def main(picture: Path) -> None:
    """Draw the picture."""
    sources = open_sources([SourceSettings(kind="sample", since=date(2017, 6, 1))])
    places = [sources.first.place(number) for number in range(6)]
    lattice = sources.first.grid(places[0])
    sites = []
    for number, place in enumerate(places[:2]):
        corner = (lattice.affine.c, lattice.affine.f)
        grid = site_grid(place, crs=crs_of(lattice), resolution=abs(lattice.resolution.x), anchor=corner)
        sites.append((grid, inside(place, grid), places[2 + 2 * number : 4 + 2 * number]))
    scenes = sources.first.search(places[0], date(2017, 6, 1), date(2017, 6, 30))[:2]
    night = observe(sources, sources.first, scenes, PixelLayout.of(sites, averaged=False), ENDMEMBERS["loess"])
    dask.visualize(
        night, filename=str(picture.with_suffix("")), format=picture.suffix[1:], optimize_graph=True, rankdir="LR"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
