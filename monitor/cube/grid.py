"""The fixed grid of a site, on which every scene is stored, and the pixels that a shape covers on a grid."""

import math
from typing import Any

import numpy as np
import shapely
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from monitor.sites.projection import projected, utm_zone

GRID_MARGIN = 80.0
"""Ground read around a site, so that a cloud just outside can be grown into it: eight Sentinel-2 pixels, two more than
:data:`monitor.cube.masks.CLOUD_BUFFER`. [m]"""
FINEST_RESOLUTION = 10.0  # side of the smallest pixel in use [m]
EDGE_TOLERANCE = 1e-3  # sides of a unit deviate less from the axes after conversion to degrees and back [pixel]


def crs_of(grid: GeoBox) -> CRS:
    """Projected system of a grid; ValueError if it has none."""
    if grid.crs is None:
        raise ValueError(f"the grid {grid} has no coordinate reference system")
    return grid.crs


def site_grid(
    geometry: BaseGeometry,
    *,
    crs: CRS | None = None,
    resolution: float = FINEST_RESOLUTION,
    anchor: tuple[float, float] = (0.0, 0.0),
    margin: float = GRID_MARGIN,
) -> GeoBox:
    """Smallest grid of whole pixels that covers a geometry (longitude and latitude) and a margin [m] around it.

    `crs` is by default the UTM zone of the centroid, `anchor` any corner of a pixel of the lattice, x and y [m].
    """
    crs = crs or utm_zone(geometry)
    return covering_grid(projected(geometry, crs).bounds, crs, resolution=resolution, anchor=anchor, margin=margin)


def covering_grid(
    bounds: tuple[float, ...], crs: CRS, *, resolution: float, anchor: tuple[float, float], margin: float
) -> GeoBox:
    """Smallest grid of a lattice, see :func:`site_grid`, that covers projected bounds and a margin. [m]"""
    left, bottom, right, top = bounds
    x0 = anchor[0] + math.floor((left - margin - anchor[0]) / resolution) * resolution
    y1 = anchor[1] + math.ceil((top + margin - anchor[1]) / resolution) * resolution
    width = math.ceil((right + margin - x0) / resolution)
    height = math.ceil((y1 - bottom + margin) / resolution)
    return GeoBox((height, width), Affine(resolution, 0.0, x0, 0.0, -resolution, y1), crs)


def inside(geometry: BaseGeometry, grid: GeoBox) -> np.ndarray:
    """Pixels of a grid whose centre lies inside a geometry in longitude and latitude, (y, x) bool."""
    return inside_projected(projected(geometry, crs_of(grid)), grid)


def inside_projected(shape: BaseGeometry, grid: GeoBox) -> np.ndarray:
    """Pixels of a grid whose centre lies inside a shape of the grid's own projected system, (y, x) bool."""
    pixel = abs(grid.resolution.x)
    left, bottom, right, top = shape.bounds
    column, row = (int(np.floor(value)) for value in ~grid.affine @ (left, top))
    columns = slice(max(column, 0), max(column + math.ceil((right - left) / pixel) + 1, 0))
    rows = slice(max(row, 0), max(row + math.ceil((top - bottom) / pixel) + 1, 0))
    pixels = np.zeros(grid.shape, dtype=bool)
    height, width = pixels[rows, columns].shape
    x = grid.affine.c + (np.arange(width) + columns.start + 0.5) * grid.affine.a
    y = grid.affine.f + (np.arange(height) + rows.start + 0.5) * grid.affine.e
    shapely.prepare(shape)
    pixels[rows, columns] = shapely.contains_xy(shape, *np.meshgrid(x, y))
    return pixels


def rectangle_spans(shapes: np.ndarray, grid: GeoBox) -> list[tuple[tuple[int, int], tuple[int, int]] | None]:
    """Rows and columns of the pixels whose centres lie inside rectangles along the axes, of many rectangles at once.

    `shapes` are in the projected system of the grid, which is north up. For each the first row and the row after the
    last, then the columns, counted from the corner of the grid, whose lattice continues beyond its edges. None: not
    such a rectangle (within :data:`EDGE_TOLERANCE`), or an edge so near to a centre that only :func:`inside_projected`
    can decide.
    """
    pixel = abs(grid.resolution.x)
    plain = (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON) & (shapely.get_num_coordinates(shapes) == 5)
    sides = np.abs(np.diff(shapely.get_coordinates(shapes[plain]).reshape(-1, 5, 2), axis=1)) > EDGE_TOLERANCE * pixel
    plain[plain] = (sides.sum(axis=2) == 1).all(axis=1) & (sides[:, 0] != sides[:, 1]).all(axis=1)
    left, bottom, right, top = shapely.bounds(shapes).reshape(-1, 4).T
    north, west = grid.affine.f, grid.affine.c
    # centres are at whole numbers
    edges = np.column_stack([north - top, north - bottom, left - west, right - west]) / pixel - 0.5
    plain &= (np.abs(edges - np.rint(edges)) > EDGE_TOLERANCE).all(axis=1)
    spans = np.ceil(edges).reshape(-1, 2, 2).tolist()
    return [
        ((int(a), int(b)), (int(c), int(d))) if is_rectangle else None
        for is_rectangle, ((a, b), (c, d)) in zip(plain.tolist(), spans, strict=True)
    ]


def outline(geometry: BaseGeometry, grid: GeoBox) -> np.ndarray:
    """Outline of a geometry (longitude and latitude) in a grid, (n, 2): column and row of each vertex. [pixel]

    0 is the upper left corner; rings are separated by a row of NaN.
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
