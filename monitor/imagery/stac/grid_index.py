"""Find the pixels of a grid in a file of another lattice or coordinate system.

A pixel of the grid takes the value of the file's pixel that contains its centre: ``floor((x - left) / width)``. In the
coordinate system of the file that is arithmetic on rows and columns; from another system every centre is projected.
Nothing is interpolated or approximated.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from monitor.imagery.stac.blocks import TileLayout


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridIndex:
    """Rows and columns of a file from which the pixels of a grid are taken."""

    rows: np.ndarray  # (y,) int32, or (y, x) int16 or int32 if the grid is rotated or projected; -1 outside the file
    columns: np.ndarray  # (x,) int32, or (y, x) int16 or int32 if the grid is rotated or projected; -1 outside the file
    blocks: tuple[int, ...]  # numbers of the blocks that contain these pixels, ascending
    pixels_used: int  # pixels of the file that are taken, each counted once [pixel]


class GridIndexes:
    """Index of each of the grids that scenes are read on, calculated once for all files of one layout."""

    def __init__(self, grids: Sequence[GeoBox]) -> None:
        self.grids = grids
        self._by_layout: dict[tuple[object, ...], list[GridIndex]] = {}
        self._lock = threading.Lock()

    def of(self, layout: TileLayout) -> list[GridIndex]:
        """Index of each grid in a file."""
        key = (crs_name(layout), layout.transform, layout.shape, layout.block)
        with self._lock:
            if key not in self._by_layout:
                crs = CRS(crs_name(layout))
                self._by_layout[key] = [grid_index(grid, layout, crs) for grid in self.grids]
            return self._by_layout[key]


def crs_name(layout: TileLayout) -> str:
    """Coordinate system of a file: its EPSG code if it has one, else WKT."""
    return f"EPSG:{layout.epsg}" if layout.epsg else layout.wkt


def grid_index(grid: GeoBox, layout: TileLayout, crs: CRS) -> GridIndex:
    """Row and column of the file's pixel that contains the centre of each pixel of a grid; -1 outside the file."""
    height, width = layout.shape
    across = layout.grid[1]
    if grid.crs == crs and _is_upright(grid.affine) and _is_upright(layout.transform):
        x = grid.affine.c + (np.arange(grid.shape[1]) + 0.5) * grid.affine.a
        y = grid.affine.f + (np.arange(grid.shape[0]) + 0.5) * grid.affine.e
        columns = np.floor((x - layout.transform.c) / layout.transform.a)
        rows = np.floor((y - layout.transform.f) / layout.transform.e)
        columns = np.where((columns >= 0) & (columns < width), columns, -1).astype(np.int32)
        rows = np.where((rows >= 0) & (rows < height), rows, -1).astype(np.int32)
        used_rows, used_columns = np.unique(rows[rows >= 0]), np.unique(columns[columns >= 0])
        down, right = np.unique(used_rows // layout.block[0]), np.unique(used_columns // layout.block[1])
        blocks = (down[:, None] * across + right).ravel()
        return GridIndex(
            rows=rows, columns=columns, blocks=tuple(blocks.tolist()), pixels_used=used_rows.size * used_columns.size
        )
    centre_x, centre_y = np.meshgrid(np.arange(grid.shape[1]) + 0.5, np.arange(grid.shape[0]) + 0.5)
    x, y = _transformed(grid.affine, centre_x, centre_y)
    if grid.crs != crs:
        x, y = Transformer.from_crs(str(grid.crs), crs.to_wkt(), always_xy=True).transform(x, y)
    column, row = _transformed(~layout.transform, x, y)
    with np.errstate(invalid="ignore"):
        column, row = np.floor(column), np.floor(row)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    kind = np.int16 if max(*layout.shape, *layout.block) <= np.iinfo(np.int16).max else np.int32
    used_row, used_column = row[inside].astype(np.int64), column[inside].astype(np.int64)
    numbers = (used_row // layout.block[0]) * across + used_column // layout.block[1]
    return GridIndex(
        rows=np.where(inside, row, -1).astype(kind),
        columns=np.where(inside, column, -1).astype(kind),
        blocks=tuple(np.unique(numbers).tolist()),
        pixels_used=np.unique(used_row * width + used_column).size,
    )


def _transformed(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _is_upright(affine: Affine) -> bool:
    return affine.b == 0 and affine.d == 0
