"""The fixed grid of a site: one GeoBox, decided once, that every scene is kept on."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from monitor.sites.projection import projected, utm_zone

GRID_MARGIN = 80.0
"""Ground kept around a site, so that a cloud just outside can be dilated into it. Eight Sentinel-2 pixels, two more
than the dilation of :mod:`monitor.cube.masks` reaches. [m]"""

FINEST_RESOLUTION = 10.0
"""Pixel of the finest bands used. [m]"""

EDGE_TOLERANCE = 1e-3
"""A side of a control unit is off its axis by less, after its way through longitude and latitude. [pixel]"""


def crs_of(grid: GeoBox) -> CRS:
    """Projected system of a grid; every grid of the monitor has one."""
    if grid.crs is None:
        msg = f"the grid {grid} has no coordinate reference system"
        raise ValueError(msg)
    return grid.crs


def site_grid(
    geometry: BaseGeometry,
    *,
    crs: CRS | None = None,
    resolution: float = FINEST_RESOLUTION,
    anchor: tuple[float, float] = (0.0, 0.0),
    margin: float = GRID_MARGIN,
) -> GeoBox:
    """Smallest grid with whole pixels that holds a geometry and a margin around it.

    Parameters
    ----------
    geometry : shapely geometry
        Longitude and latitude (EPSG:4326). [degree]
    crs : CRS, optional
        Projected system of the grid; default: the UTM zone of the centroid.
    resolution : float
        Side of a pixel. [m]
    anchor : tuple of float
        Any corner of the lattice of pixels, x and y. [m]
    margin : float
        Ground kept on all sides. [m]
    """
    crs = crs or utm_zone(geometry)
    return covering_grid(projected(geometry, crs).bounds, crs, resolution=resolution, anchor=anchor, margin=margin)


def covering_grid(
    bounds: tuple[float, float, float, float],
    crs: CRS,
    *,
    resolution: float,
    anchor: tuple[float, float],
    margin: float,
) -> GeoBox:
    """Smallest grid of a lattice that holds bounds (left, bottom, right, top, in the projected system) and a margin."""
    left, bottom, right, top = bounds
    x0 = anchor[0] + math.floor((left - margin - anchor[0]) / resolution) * resolution
    y1 = anchor[1] + math.ceil((top + margin - anchor[1]) / resolution) * resolution
    width = math.ceil((right + margin - x0) / resolution)
    height = math.ceil((y1 - bottom + margin) / resolution)
    return GeoBox((height, width), Affine(resolution, 0.0, x0, 0.0, -resolution, y1), crs)


def inside(geometry: BaseGeometry, grid: GeoBox) -> np.ndarray:
    """Pixels of a grid whose centre lies inside a geometry.

    Parameters
    ----------
    geometry : shapely geometry
        Longitude and latitude. [degree]
    grid : GeoBox
        Shape (y, x).

    Returns
    -------
    (y, x) bool array
    """
    # no grid as a key: to hash one, its system is written out as text
    bits = np.frombuffer(_inside(geometry, str(crs_of(grid)), grid.affine, grid.shape.yx), np.uint8)
    return np.unpackbits(bits, count=grid.shape.y * grid.shape.x).reshape(grid.shape).view(bool)


@lru_cache(maxsize=4096)
def _inside(geometry: BaseGeometry, crs: str, affine: Affine, shape: tuple[int, int]) -> bytes:
    """The same as bits: a night asks it of a site as it is read, as its pixels are judged, and for its page."""
    grid = GeoBox(shape, affine, crs)
    return np.packbits(inside_projected(projected(geometry, crs_of(grid)), grid)).tobytes()


def inside_projected(shape: BaseGeometry, grid: GeoBox) -> np.ndarray:
    """Pixels of a grid whose centre lies inside a shape of the grid's own projected system, (y, x) bool."""
    pixel = abs(grid.resolution.x)
    left, bottom, right, top = shape.bounds
    column, row = (int(np.floor(value)) for value in ~grid.affine @ (left, top))
    columns = slice(max(column, 0), max(column + math.ceil((right - left) / pixel) + 1, 0))
    rows = slice(max(row, 0), max(row + math.ceil((top - bottom) / pixel) + 1, 0))
    found = np.zeros(grid.shape, dtype=bool)
    height, width = found[rows, columns].shape
    x = grid.affine.c + (np.arange(width) + columns.start + 0.5) * grid.affine.a
    y = grid.affine.f + (np.arange(height) + rows.start + 0.5) * grid.affine.e
    shapely.prepare(shape)
    found[rows, columns] = shapely.contains_xy(shape, *np.meshgrid(x, y))
    return found


def rectangle_spans(shapes: np.ndarray, grid: GeoBox) -> list[tuple[tuple[int, int], tuple[int, int]] | None]:
    """Rows and columns of the pixels whose centres lie inside rectangles along the axes, of many rectangles at once.

    Parameters
    ----------
    shapes : (n,) array of shapely geometries
        In the grid's own projected system.
    grid : GeoBox
        North up, of square pixels.

    Returns
    -------
    list
        Of each the first row and the one after the last, then the columns, counted from the corner of the grid, whose
        lattice goes on beyond its edges. None: it is no such rectangle (but for :data:`EDGE_TOLERANCE`), or an edge
        lies so near to a centre that the shape itself must tell on which side; see :func:`inside_projected`.
    """
    pixel = abs(grid.resolution.x)
    plain = (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON) & (shapely.get_num_coordinates(shapes) == 5)
    sides = np.abs(np.diff(shapely.get_coordinates(shapes[plain]).reshape(-1, 5, 2), axis=1)) > EDGE_TOLERANCE * pixel
    plain[plain] = (sides.sum(axis=2) == 1).all(axis=1) & (sides[:, 0] != sides[:, 1]).all(axis=1)
    left, bottom, right, top = shapely.bounds(shapes).reshape(-1, 4).T
    north, west = grid.affine.f, grid.affine.c
    # centres lie on whole numbers
    edges = np.column_stack([north - top, north - bottom, left - west, right - west]) / pixel - 0.5
    plain &= (np.abs(edges - np.rint(edges)) > EDGE_TOLERANCE).all(axis=1)
    spans = np.ceil(edges).reshape(-1, 2, 2).tolist()
    return [
        ((int(a), int(b)), (int(c), int(d))) if told else None
        for told, ((a, b), (c, d)) in zip(plain.tolist(), spans, strict=True)
    ]


def outline(geometry: BaseGeometry, grid: GeoBox) -> np.ndarray:
    """Outline of a geometry in pixels of a grid.

    Returns
    -------
    (n, 2) float array
        Column and row of each vertex, 0 at the upper left corner; rings separated by a row of NaN. [pixel]
    """
    shape = projected(geometry, crs_of(grid))
    polygons = getattr(shape, "geoms", [shape])
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
    parts: list[np.ndarray] = []
    for ring in rings:
        x, y = np.asarray(ring.coords)[:, :2].T
        column, row = ~grid.affine @ (x, y)
        parts += [np.column_stack([column, row]), np.full((1, 2), np.nan)]
    return np.concatenate(parts[:-1])


def grid_to_json(grid: GeoBox) -> dict[str, Any]:
    """A grid as plain values, for the store."""
    return {"crs": str(grid.crs), "transform": list(grid.affine)[:6], "shape": list(grid.shape)}


def grid_from_json(stored: dict[str, Any]) -> GeoBox:
    """The grid written by :func:`grid_to_json`."""
    return GeoBox(tuple(stored["shape"]), Affine(*stored["transform"]), stored["crs"])
