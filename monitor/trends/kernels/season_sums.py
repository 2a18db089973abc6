"""Sums and means over the scenes of growing seasons, by pixel, and sums over blocks of pixels."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from monitor.kernel_cache import njit

SUMS: Final = ("seen", "cover", "ndvi", "over")
"""Sums of a pixel over the scenes in which it was seen: count, cover, NDVI, and cover minus that of the control."""


@njit(nogil=True, cache=True)
def _add_scene(sums: np.ndarray, cover: np.ndarray, ndvi: np.ndarray, control: float) -> None:
    """Add one scene to the sums of its season, in place.

    Parameters
    ----------
    sums : (rows, pixels) float32 array
        Rows of :data:`SUMS`; zeros before the first scene of the season.
    cover, ndvi : (pixels,) float32 array
        Values of the scene; a pixel counts where both are finite. [1]
    control : float
        Mean cover of the control in the same scene. [1]

    Notes
    -----
    Each scene is one rounded addition to each row. The sums therefore depend only on the scenes and their order, not on
    how many of them are added on the same night.
    """
    reference = np.float32(control)
    for pixel in range(cover.size):
        value, index = cover[pixel], ndvi[pixel]
        if abs(value) < np.inf and abs(index) < np.inf:
            sums[0, pixel] += np.float32(1)
            sums[1, pixel] += value
            sums[2, pixel] += index
            sums[3, pixel] += value - reference


def add_scenes(sums: np.ndarray, cover: np.ndarray, ndvi: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Add scenes to the sums of a season, one after the other.

    Parameters
    ----------
    sums : (..., row) float32 array
        Rows of :data:`SUMS`; not changed.
    cover, ndvi : (..., scene) float32 arrays
        Values, not finite where not seen. [1]
    controls : (scene,) array
        Mean cover of the control in each scene. [1]

    Returns
    -------
    (..., row) float32 array
    """
    rows = np.moveaxis(sums, -1, 0).reshape(len(SUMS), -1).copy()
    scenes = (np.moveaxis(values, -1, 0).reshape(values.shape[-1], -1) for values in (cover, ndvi))
    for scene_cover, scene_ndvi, control in zip(*scenes, controls.tolist(), strict=True):
        _add_scene(rows, scene_cover, scene_ndvi, control)
    return np.moveaxis(rows.reshape(len(SUMS), *sums.shape[:-1]), 0, -1)


def season_mean(sums: np.ndarray, row: str) -> np.ndarray:
    """Mean over the scenes of a season.

    Parameters
    ----------
    sums : (..., row, y, x) float32 array
        Rows of :data:`SUMS`.
    row : str
        One of :data:`SUMS`.

    Returns
    -------
    (..., y, x) float32 array
        In the unit of the row; NaN where the pixel was not seen.
    """
    seen = sums[..., SUMS.index("seen"), :, :]
    means: np.ndarray = np.full_like(seen, np.nan)
    np.divide(sums[..., SUMS.index(row), :, :], seen, out=means, where=seen > 0)
    return means


def season_means(y: np.ndarray, seasons: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the values seen in each season.

    Parameters
    ----------
    y : (n, ...) array
        Values, not finite where not seen.
    seasons : sequence of (k,) int arrays
        Indices of the layers of each season.

    Returns
    -------
    (seasons, ...) float32 array
        NaN where nothing was seen.

    Notes
    -----
    Layers are added one by one in double precision: numpy groups the terms of its sums by the shape of the array, and a
    mean must not depend on how many pixels a chunk has.
    """
    out = np.full((len(seasons), *y.shape[1:]), np.nan, np.float32)
    for season, layers in enumerate(seasons):
        total = np.zeros(y.shape[1:])
        seen = np.zeros(y.shape[1:], np.int32)
        for layer in layers:
            finite = np.isfinite(y[layer])
            total += np.where(finite, y[layer], 0.0)
            seen += finite
        np.divide(total, seen, out=total, where=seen > 0)
        out[season] = np.where(seen > 0, total, np.nan)
    return out


def block_sums(values: np.ndarray, inside: np.ndarray, times: int) -> np.ndarray:
    """Sums over blocks of pixels of the values inside a site.

    Parameters
    ----------
    values : (..., y, x) array of float
        Finite inside.
    inside : (y, x) bool array
        Pixels of the site.
    times : int
        Pixels along each side of a block; the last blocks may be cut.

    Returns
    -------
    (..., block, block) array
        In the type of `values`; 0 where no pixel is inside.
    """
    height, width = (-(-side // times) for side in inside.shape)
    out = np.zeros((*values.shape[:-2], height, width), values.dtype)
    layers = np.ascontiguousarray(values).reshape(-1, *inside.shape)
    _add_inner(layers, np.ascontiguousarray(inside, bool), times, out.reshape(-1, height, width))
    return out


@njit(nogil=True, cache=True)
def _add_inner(values: np.ndarray, inside: np.ndarray, times: int, out: np.ndarray) -> None:
    layers, height, width = values.shape
    for i in range(layers):
        for down in range(height):
            for across in range(width):
                if inside[down, across]:
                    out[i, down // times, across // times] += values[i, down, across]
