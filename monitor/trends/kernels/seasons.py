"""Means over seasons of every pixel."""

from collections.abc import Sequence

import numpy as np


def season_means(y: np.ndarray, seasons: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of what was seen in each season.

    Parameters
    ----------
    y : (n, ...) array of float
        Values, not finite where there was none.
    seasons : sequence of (k,) int arrays
        Layers of each season.

    Returns
    -------
    (seasons, ...) array
        In the type of `y`; NaN where nothing was seen.

    Notes
    -----
    Layers are added one by one in double precision: a mean must not hang on how many pixels a chunk has, and
    numpy's own sums group their terms by the shape of the array.
    """
    out = np.full((len(seasons), *y.shape[1:]), np.nan, y.dtype)
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
