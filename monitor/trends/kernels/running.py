"""The seasonal fit of :mod:`monitor.trends.kernels.harmonic` from running sums, so that a new image costs one pass.

What the normal equations need of a pixel is a few sums (:func:`rows`; 22 with two harmonics), kept in single
precision and one set a year. A new image is added to the sums of its year; a year one of whose images was replaced
is added up again from nothing, never corrected by taking away; a fit adds up the years in double precision. Images
go into a year in the order of acquisition: then sums brought up to date night by night and sums from scratch are
the same to the bit.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from monitor.trends.kernels.harmonic import LANES, PARTS, _features, _normal_terms, _solved
from monitor.trends.kernels.vectors import aligned, fma, full_width, prefetch

STRETCH: Final = 2048
"""Pixels added to one sum before the next: long enough for memory to be read ahead, short enough for the cache."""

WIDTH: Final = 256
"""Pixels whose sums of a year stay in the first-level cache while its images go by."""

AHEAD: Final = 8
"""Images that go by together, and by which memory is asked for ahead."""


class Frame(NamedTuple):
    """What must not change as long as sums are kept."""

    middle: float
    """Time that the fit calls 0, best near the middle of the years to come. Years of 365.25 days since the start of
    2000. [year]"""
    half: float
    """Time from there that the fit calls 1; within a few times this, single precision is enough. [year]"""
    harmonics: int
    """Number of harmonics of the year, 1 or more."""


def rows(frame: Frame) -> int:
    """Sums kept of a pixel and year: of the dates seen, of the values, and of their squares."""
    return (3 + 6 * frame.harmonics) + (2 + 2 * frame.harmonics) + 1


def add(sums: np.ndarray, t: float, y: np.ndarray, frame: Frame) -> None:
    """Add one image to the sums of its year, in place.

    Parameters
    ----------
    sums : (rows, pixels) float32 array
        See :func:`rows`; zeros before the first image of the year.
    t : float
        Time of the image. Years of 365.25 days since the start of 2000. [year]
    y : (pixels,) array
        Values, not finite where there was none.
    frame : Frame
        The same for all images.
    """
    basis, features = _of_date(t, frame, sums.dtype)
    _add_floats(sums, features, basis, y)


def add_packed(
    sums: np.ndarray,
    t: float,
    packed: np.ndarray,
    frame: Frame,
    *,
    scale: float,
    offset: float,
    nodata: int,
    clear: np.ndarray | None = None,
) -> None:
    """Add one image of integers, as they are stored, to the sums of its year, in place.

    Parameters
    ----------
    sums, t, frame
        As for :func:`add`.
    packed : (pixels,) array
        uint16 or int16.
    scale, offset : float
        Value = scale * integer + offset.
    nodata : int
        Integer that marks no value.
    clear : (pixels,) bool array, optional
        Where the ground was seen. None: wherever there is a value.
    """
    basis, features = _of_date(t, frame, sums.dtype)
    seen = np.ones(1, np.uint8) if clear is None else clear.view(np.uint8)
    kind = sums.dtype.type
    _add_integers(
        sums, features, basis, packed, packed.dtype.type(nodata), kind(scale), kind(offset), seen, clear is not None
    )


def add_all(
    sums: np.ndarray,
    t: np.ndarray,
    packed: np.ndarray,
    frame: Frame,
    *,
    scale: np.ndarray,
    offset: np.ndarray,
    nodata: int,
    clear: np.ndarray | None = None,
) -> None:
    """Add a year's images to its sums, in place: the same bits as :func:`add_packed` one after the other.

    Parameters
    ----------
    sums, frame
        As for :func:`add`.
    t, scale, offset : (n,) arrays
        Of each image, in order of acquisition.
    packed : (n, pixels) array
        uint16 or int16.
    nodata : int
        Integer that marks no value.
    clear : (n, pixels) bool array, optional
        Where the ground was seen. None: wherever there is a value.
    """
    whole = np.zeros(-(-t.size // AHEAD) * AHEAD)  # an image of weight 0 adds nothing
    whole[: t.size] = t
    basis, features = _features(whole, (whole - frame.middle) / frame.half, frame.harmonics)
    basis[t.size :], features[t.size :] = 0, 0
    kind, mask = sums.dtype, np.ones((1, 1), np.uint8) if clear is None else clear.view(np.uint8)
    work = aligned((sums.shape[0] + 2 * AHEAD, WIDTH), kind)
    _add_images(
        sums,
        features.astype(kind),
        basis.astype(kind),
        packed,
        packed.dtype.type(nodata),
        scale.astype(kind),
        offset.astype(kind),
        mask,
        clear is not None,
        work,
    )


def fit(years: np.ndarray, frame: Frame) -> np.ndarray:
    """Least-squares fit of all years together.

    Parameters
    ----------
    years : (years, rows, pixels) float32 array
        Sums of each year.
    frame : Frame
        The same as when they were added up.

    Returns
    -------
    (5, pixels) array
        As :func:`monitor.trends.kernels.harmonic.harmonic`, but the mean is the level at `frame.middle`.
    """
    out = np.empty((len(PARTS), years.shape[2]), years.dtype)
    terms, weights = _normal_terms(frame.harmonics)
    p = terms.shape[0]
    room = (
        aligned((years.shape[1], LANES), np.float64),
        aligned((p, p, LANES), np.float64),
        aligned((p, LANES), np.float64),
        aligned((len(PARTS), LANES), np.float64),
        np.empty(LANES, np.bool_),
    )
    _fit_sums(years, terms, weights, frame.half, room, out)
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _add_group(sums: np.ndarray, factors: np.ndarray, values: np.ndarray) -> None:
    """Add eight images, one after the other, to each of some sums: (8, k) factors of (8, WIDTH) values."""
    full_width()
    v0, v1, v2, v3 = values[0], values[1], values[2], values[3]
    v4, v5, v6, v7 = values[4], values[5], values[6], values[7]
    for k in range(factors.shape[1]):
        f0, f1, f2, f3 = factors[0, k], factors[1, k], factors[2, k], factors[3, k]
        f4, f5, f6, f7 = factors[4, k], factors[5, k], factors[6, k], factors[7, k]
        row = sums[k]
        for lane in range(WIDTH):
            a = fma(v3[lane], f3, fma(v2[lane], f2, fma(v1[lane], f1, fma(v0[lane], f0, row[lane]))))
            row[lane] = fma(v7[lane], f7, fma(v6[lane], f6, fma(v5[lane], f5, fma(v4[lane], f4, a))))


@njit(nogil=True, cache=True, error_model="numpy")
def _add_squares(row: np.ndarray, values: np.ndarray) -> None:
    full_width()
    for i in range(values.shape[0]):
        image = values[i]
        for lane in range(WIDTH):
            row[lane] = fma(image[lane], image[lane], row[lane])


@njit(nogil=True, cache=True, error_model="numpy")
def _add_images(
    sums: np.ndarray,
    features: np.ndarray,
    basis: np.ndarray,
    packed: np.ndarray,
    none: int,
    scale: np.ndarray,
    offset: np.ndarray,
    clear: np.ndarray,
    masked: bool,
    work: np.ndarray,
) -> None:
    full_width()
    n, pixels = packed.shape
    size, q, p = sums.shape[0], features.shape[1], basis.shape[1]
    kind, one, zero = sums.dtype.type, sums.dtype.type(1), sums.dtype.type(0)
    here, values, seen = work[:size], work[size : size + AHEAD], work[size + AHEAD :]
    for start in range(0, pixels, WIDTH):
        width = min(WIDTH, pixels - start)
        for k in range(size):
            to, row = here[k], sums[k, start : start + width]
            for lane in range(width):
                to[lane] = row[lane]
        for first in range(0, n, AHEAD):
            for i in range(first + AHEAD, min(first + 2 * AHEAD, n)):
                for pixel in range(start, start + width, 32):
                    prefetch(packed, i, pixel)
            last = min(first + AHEAD, n)
            if last - first < AHEAD:
                values[:] = zero
                seen[:] = zero
            for i in range(first, last):
                image, factor, shift = packed[i, start : start + width], scale[i], offset[i]
                value, sight = values[i - first], seen[i - first]
                for lane in range(width):
                    there = image[lane] != none
                    value[lane] = fma(kind(image[lane]), factor, shift) if there else zero
                    sight[lane] = one if there else zero
                if masked:
                    mask = clear[i, start : start + width]
                    for lane in range(width):
                        there = mask[lane] != 0
                        value[lane] = value[lane] if there else zero
                        sight[lane] = sight[lane] if there else zero
            _add_group(here[:q], features[first : first + AHEAD], seen)
            _add_group(here[q : q + p], basis[first : first + AHEAD], values)
            _add_squares(here[q + p], values)
        for k in range(size):
            to, row = sums[k, start : start + width], here[k]
            for lane in range(width):
                to[lane] = row[lane]


def _of_date(t: float, frame: Frame, kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    when = np.array([t])
    basis, features = _features(when, (when - frame.middle) / frame.half, frame.harmonics)
    return basis[0].astype(kind), features[0].astype(kind)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_stretch(
    sums: np.ndarray,
    features: np.ndarray,
    basis: np.ndarray,
    values: np.ndarray,
    seen: np.ndarray,
    start: int,
    width: int,
) -> None:
    """Add decoded values, 0 where not seen, and whether they were (1 or 0)."""
    full_width()
    q, p = features.size, basis.size
    for k in range(q):
        row, factor = sums[k, start : start + width], features[k]
        for lane in range(width):
            row[lane] = fma(seen[lane], factor, row[lane])
    for k in range(p):
        row, factor = sums[q + k, start : start + width], basis[k]
        for lane in range(width):
            row[lane] = fma(values[lane], factor, row[lane])
    row = sums[q + p, start : start + width]
    for lane in range(width):
        row[lane] = fma(values[lane], values[lane], row[lane])


@njit(nogil=True, cache=True, error_model="numpy")
def _add_floats(sums: np.ndarray, features: np.ndarray, basis: np.ndarray, y: np.ndarray) -> None:
    full_width()
    one, zero = sums.dtype.type(1), sums.dtype.type(0)
    values, seen = np.empty(STRETCH, sums.dtype), np.empty(STRETCH, sums.dtype)
    for start in range(0, y.size, STRETCH):
        width = min(STRETCH, y.size - start)
        image = y[start : start + width]
        for lane in range(width):
            value = image[lane]
            clear = abs(value) < np.inf
            values[lane] = value if clear else zero
            seen[lane] = one if clear else zero
        _add_stretch(sums, features, basis, values, seen, start, width)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_integers(
    sums: np.ndarray,
    features: np.ndarray,
    basis: np.ndarray,
    packed: np.ndarray,
    none: int,
    scale: float,
    offset: float,
    clear: np.ndarray,
    masked: bool,
) -> None:
    full_width()
    kind, one, zero = sums.dtype.type, sums.dtype.type(1), sums.dtype.type(0)
    values, seen = np.empty(STRETCH, sums.dtype), np.empty(STRETCH, sums.dtype)
    for start in range(0, packed.size, STRETCH):
        width = min(STRETCH, packed.size - start)
        image = packed[start : start + width]
        for lane in range(width):
            there = image[lane] != none
            values[lane] = fma(kind(image[lane]), scale, offset) if there else zero
            seen[lane] = one if there else zero
        if masked:
            mask = clear[start : start + width]
            for lane in range(width):
                there = mask[lane] != 0
                values[lane] = values[lane] if there else zero
                seen[lane] = seen[lane] if there else zero
        _add_stretch(sums, features, basis, values, seen, start, width)


@njit(nogil=True, cache=True, error_model="numpy")
def _fit_sums(
    years: np.ndarray,
    terms: np.ndarray,
    weights: np.ndarray,
    half: float,
    room: tuple[np.ndarray, ...],
    out: np.ndarray,
) -> None:
    full_width()
    total, matrix, beta, parts, determined = room
    count, size, pixels = years.shape
    q = size - terms.shape[0] - 1
    for start in range(0, pixels, LANES):
        width = min(LANES, pixels - start)
        total[:] = 0
        for year in range(count):
            sums = years[year]
            for k in range(size):
                for pixel in range(start + LANES, start + 2 * LANES, 16):
                    prefetch(sums, k, pixel)
                part, row = sums[k, start : start + width], total[k]
                for lane in range(width):
                    row[lane] += part[lane]
        flat = total.reshape(-1)
        _solved(flat[: q * LANES], flat[q * LANES :], terms, weights, half, matrix, beta, determined, parts)
        for k in range(len(PARTS)):
            to, found = out[k, start : start + width], parts[k]
            for lane in range(width):
                to[lane] = found[lane]
