"""Sums over the scenes of a season, pixel by pixel, and over the pixels of blocks, in one pass over memory."""

from typing import Final

import numpy as np
from numba import njit

SUMS: Final = ("seen", "cover", "ndvi", "over")
"""What is summed up of a pixel: 1, its cover, its NDVI, and its cover over that of the control, in each scene in which
it was seen."""


@njit(nogil=True, cache=True)
def _add_scene(sums: np.ndarray, cover: np.ndarray, ndvi: np.ndarray, control: float) -> None:
    """Add one scene to the sums of its season, in place.

    Parameters
    ----------
    sums : (rows, pixels) float32 array
        See :data:`SUMS`; zeros before the first scene of the season.
    cover, ndvi : (pixels,) float32 array
        Not finite where the pixel was not seen; a pixel counts where both are finite. [1]
    control : float
        Mean cover of the control ground in the same scene. [1]

    Notes
    -----
    One scene is one rounded addition to each row. The sums therefore depend on the scenes and their order alone, and
    not on how many of them were added on the same night.
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
    """Sums of a season after some more scenes, one after the other; see :func:`_add_scene`.

    Parameters
    ----------
    sums : (..., row) float32 array
        See :data:`SUMS`; is not changed.
    cover, ndvi : (..., scene) float32 arrays
        Not finite where a pixel was not seen. [1]
    controls : (scene,) array
        Mean cover of the control ground in each. [1]

    Returns
    -------
    (..., row) float32 array
    """
    rows = np.moveaxis(sums, -1, 0).reshape(len(SUMS), -1).copy()
    scenes = (np.moveaxis(values, -1, 0).reshape(values.shape[-1], -1) for values in (cover, ndvi))
    for one, index, control in zip(*scenes, controls.tolist(), strict=True):
        _add_scene(rows, one, index, control)
    return np.moveaxis(rows.reshape(len(SUMS), *sums.shape[:-1]), 0, -1)


def season_mean(sums: np.ndarray, row: str) -> np.ndarray:
    """Mean over the scenes of a season.

    Parameters
    ----------
    sums : (..., row, y, x) float32 array
        See :data:`SUMS`.
    row : str
        Which of them.

    Returns
    -------
    (..., y, x) float32 array
        In the unit of the row; NaN where the pixel was not seen.
    """
    seen = sums[..., SUMS.index("seen"), :, :]
    found: np.ndarray = np.full_like(seen, np.nan)
    np.divide(sums[..., SUMS.index(row), :, :], seen, out=found, where=seen > 0)
    return found


def block_sums(values: np.ndarray, inside: np.ndarray, times: int) -> np.ndarray:
    """Sums of what lies inside, of blocks of pixels.

    Parameters
    ----------
    values : (..., y, x) array of float
        Finite inside.
    inside : (y, x) bool array
    times : int
        Pixels along each side of a block; the last ones may be cut.

    Returns
    -------
    (..., block, block) array
        In the type of `values`; 0 where nothing lies inside.
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
