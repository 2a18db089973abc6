"""The seasonal fit of :mod:`monitor.trends.kernels.harmonic` from running sums, so that a new image costs one pass.

What the normal equations need of a pixel is a few sums (:func:`terms`; 22 with two harmonics). Those of the values
(:func:`rows`; 7) are kept in single precision, one set a year. The others depend on nothing but which of the year's
dates were seen, so a bit a date is kept in their place: a third of the bytes, and exact. A new image is added to the
sums of its year and sets its bit; a year one of whose images was replaced is added up again from nothing, never
corrected by taking away; a fit adds up the years in double precision, those that are over as one if :func:`total` of
them was kept. Images go into a year in the order of acquisition: then sums brought up to date night by night and sums
from scratch are the same to the bit.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from monitor.trends.kernels.harmonic import (
    FLUSH,
    GROUP,
    LANES,
    PARTS,
    TILE,
    _add_cases,
    _features,
    _normal_terms,
    _read_integer,
    _read_packed,
    _solved,
    _table,
    _take_out,
    _turned,
)
from monitor.trends.kernels.vectors import ROW, aligned, fma, full_width, prefetch

STRETCH: Final = 2048
"""Pixels added to one sum before the next: long enough for memory to be read ahead, short enough for the cache."""

WIDTH: Final = 512
"""Pixels whose sums of a year stay in the first-level cache while its images go by."""


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
    """Sums kept of a pixel and year: of the values with each term of the model, and of their squares."""
    return (2 + 2 * frame.harmonics) + 1


def terms(frame: Frame) -> int:
    """Sums that a fit is made from: those of the dates seen, then :func:`rows`."""
    return (3 + 6 * frame.harmonics) + rows(frame)


def octets(dates: int) -> int:
    """Bytes kept of a pixel and year of so many dates, a bit each."""
    return -(-dates // GROUP)


def add(sums: np.ndarray, seen: np.ndarray, place: int, t: float, y: np.ndarray, frame: Frame) -> None:
    """Add one image to the sums of its year, in place.

    Parameters
    ----------
    sums : (rows, pixels) float32 array
        See :func:`rows`; zeros before the first image of the year.
    seen : (octets, pixels) uint8 array
        Bit ``i % 8`` of ``seen[i // 8]`` tells whether a pixel was seen in the i-th image of the year; zeros before
        the first.
    place : int
        Images of the year that are in already.
    t : float
        Time of the image. Years of 365.25 days since the start of 2000. [year]
    y : (pixels,) array
        Values, not finite where there was none.
    frame : Frame
        The same for all images.
    """
    basis = _of_dates(np.array([t]), frame)[0][0].astype(sums.dtype)
    _add_floats(sums, seen[place // GROUP], place % GROUP, basis, y)


def add_packed(
    sums: np.ndarray,
    seen: np.ndarray,
    place: int,
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
    sums, seen, place, t, frame
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
    basis = _of_dates(np.array([t]), frame)[0][0].astype(sums.dtype)
    mask = np.ones(1, np.uint8) if clear is None else clear.view(np.uint8)
    kind, none = sums.dtype.type, packed.dtype.type(nodata)
    octet, bit = seen[place // GROUP], place % GROUP
    _add_integers(sums, octet, bit, basis, packed, none, kind(scale), kind(offset), mask, clear is not None)


def add_all(
    sums: np.ndarray,
    seen: np.ndarray,
    place: int,
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
    sums, seen, place, frame
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
    before = place % GROUP
    basis = np.zeros((octets(before + t.size) * GROUP, sums.shape[0] - 1), sums.dtype)  # of no image: adds nothing
    basis[before : before + t.size] = _of_dates(t, frame)[0]
    kind, mask = sums.dtype, np.empty((0, 0), np.uint8) if clear is None else clear.view(np.uint8)
    images = (packed, packed.dtype.type(nodata), scale.astype(kind), offset.astype(kind), mask)
    _add_images(sums, seen[place // GROUP :], before, basis, images, _images_room(sums), 0, packed.shape[1])


def add_history(
    sums: np.ndarray,
    seen: np.ndarray,
    times: Sequence[np.ndarray],
    packed: np.ndarray,
    frame: Frame,
    *,
    scale: np.ndarray,
    offset: np.ndarray,
    nodata: int,
    clear: np.ndarray | None = None,
) -> np.ndarray:
    """Sum up all years and fit them, in one pass: the same bits as :func:`add_all` of each year, then :func:`fit`.

    Parameters
    ----------
    sums : (years, rows, pixels) float32 array
        Overwritten with the sums of each year; see :func:`add`.
    seen : (years, octets, pixels) uint8 array
        Overwritten likewise.
    times : sequence of (n,) arrays
        Times of the images of each year, in order of acquisition. [year]
    packed : (images, pixels) array
        All of them, one year after the other; uint16 or int16.
    frame : Frame
        See :func:`add`.
    scale, offset : (images,) arrays
        Of each image.
    nodata : int
        Integer that marks no value.
    clear : (images, pixels) bool array, optional
        Where the ground was seen. None: wherever there is a value.

    Returns
    -------
    (5, pixels) array
        As of :func:`fit`.
    """
    kept, kind = np.array([octets(t.size) for t in times], np.int64), sums.dtype
    basis = np.zeros((kept.sum() * GROUP, sums.shape[1] - 1), kind)
    for t, first in zip(times, np.cumsum(kept) - kept, strict=True):
        basis[first * GROUP : first * GROUP + t.size] = _of_dates(t, frame)[0]
    mask = np.empty((0, 0), np.uint8) if clear is None else clear.view(np.uint8)
    out = np.empty((len(PARTS), sums.shape[2]), kind)
    images = (packed, packed.dtype.type(nodata), scale.astype(kind), offset.astype(kind), mask)
    sizes = np.array([t.size for t in times], np.int64)
    _add_history(sums, seen, sizes, basis, images, _images_room(sums), _gathering(times, frame), frame.half, out)
    return out


def total(sums: np.ndarray, seen: np.ndarray, times: Sequence[np.ndarray], frame: Frame) -> np.ndarray:
    """All that a fit needs of some years, to be kept in their place.

    Parameters
    ----------
    sums : (years, rows, pixels) float32 array
        Of each year; see :func:`add`.
    seen : (years, octets, pixels) uint8 array
        Likewise.
    times : sequence of (n,) arrays
        Times of the images of each year, as they were added. [year]
    frame : Frame
        The same as when they were added up.

    Returns
    -------
    (terms, pixels) float32 array
        See :func:`terms`.
    """
    out = np.empty((terms(frame), sums.shape[2]), sums.dtype)
    _from_sums(sums, seen, times, frame, None, out)
    return out


def fit(
    sums: np.ndarray, seen: np.ndarray, times: Sequence[np.ndarray], frame: Frame, closed: np.ndarray | None = None
) -> np.ndarray:
    """Least-squares fit of all years together.

    Parameters
    ----------
    sums, seen, times, frame
        As for :func:`total`.
    closed : (terms, pixels) float32 array, optional
        Other years, as :func:`total` gave them.

    Returns
    -------
    (5, pixels) array
        As :func:`monitor.trends.kernels.harmonic.harmonic`, but the mean is the level at `frame.middle`.
    """
    out = np.empty((len(PARTS), sums.shape[2]), sums.dtype)
    _from_sums(sums, seen, times, frame, closed, out)
    return out


def _of_dates(t: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    return _features(t, (t - frame.middle) / frame.half, frame.harmonics)


def _from_sums(
    sums: np.ndarray,
    seen: np.ndarray,
    times: Sequence[np.ndarray],
    frame: Frame,
    closed: np.ndarray | None,
    out: np.ndarray,
) -> None:
    """Fill `out` with the parts of the fit or with what it is made from, as many rows as it has."""
    others = np.empty((0, 0), sums.dtype) if closed is None else closed
    _gather(sums, seen, _gathering(times, frame), others, frame.half, out, 0, sums.shape[2])


def _images_room(sums: np.ndarray) -> tuple[np.ndarray, ...]:
    """What images are added in, on lines of the cache."""
    kind = sums.dtype
    return aligned((sums.shape[-2], WIDTH), kind), aligned((GROUP, WIDTH), kind), aligned((2, WIDTH), np.int32)


def _gathering(times: Sequence[np.ndarray], frame: Frame) -> tuple[Any, ...]:
    """How the sums of the dates seen come of the bits kept, how equations come of sums, and room to work in."""
    entries, weights = _normal_terms(frame.harmonics)
    p, kept = entries.shape[0], np.array([octets(t.size) for t in times], np.int64)
    features = np.zeros((kept.sum() * GROUP, terms(frame) - rows(frame)))
    for t, first in zip(times, np.cumsum(kept) - kept, strict=True):
        features[first * GROUP : first * GROUP + t.size] = _of_dates(t, frame)[1]
    largest = np.abs(features).sum(axis=0).max(initial=1)
    unit = 2.0 ** math.floor(math.log2((2**31 - 1) / largest))  # whole numbers, so that sums are exact
    table = _table(np.rint(features * unit), np.int32)
    room = (
        aligned((2 * FLUSH, TILE), np.int32),
        aligned((table.shape[0], TILE * ROW), np.int32),
        aligned((p + 1, TILE), np.float64),
        aligned((table.shape[0] * ROW, LANES), np.float64),
        aligned((p + 1, LANES), np.float64),
        aligned((p, p, LANES), np.float64),
        aligned((p, LANES), np.float64),
        aligned((len(PARTS), LANES), np.float64),
        np.empty(LANES, np.bool_),
    )
    return kept, table, 1 / unit, entries, weights, room


@njit(nogil=True, cache=True, error_model="numpy")
def _add_group(sums: np.ndarray, basis: np.ndarray, values: np.ndarray) -> None:
    """Add eight images (8, WIDTH), one after the other, to each sum of values: with each term, and the squares."""
    full_width()
    v0r, v1r, v2r, v3r = values[0], values[1], values[2], values[3]
    v4r, v5r, v6r, v7r = values[4], values[5], values[6], values[7]
    for k in range(0, basis.shape[1], 2):
        f0, f1, f2, f3 = basis[0, k], basis[1, k], basis[2, k], basis[3, k]
        f4, f5, f6, f7 = basis[4, k], basis[5, k], basis[6, k], basis[7, k]
        g0, g1, g2, g3 = basis[0, k + 1], basis[1, k + 1], basis[2, k + 1], basis[3, k + 1]
        g4, g5, g6, g7 = basis[4, k + 1], basis[5, k + 1], basis[6, k + 1], basis[7, k + 1]
        one, other = sums[k], sums[k + 1]
        for lane in range(WIDTH):
            v0, v1, v2, v3 = v0r[lane], v1r[lane], v2r[lane], v3r[lane]
            v4, v5, v6, v7 = v4r[lane], v5r[lane], v6r[lane], v7r[lane]
            a = fma(v3, f3, fma(v2, f2, fma(v1, f1, fma(v0, f0, one[lane]))))
            one[lane] = fma(v7, f7, fma(v6, f6, fma(v5, f5, fma(v4, f4, a))))
            b = fma(v3, g3, fma(v2, g2, fma(v1, g1, fma(v0, g0, other[lane]))))
            other[lane] = fma(v7, g7, fma(v6, g6, fma(v5, g5, fma(v4, g4, b))))
    squares = sums[basis.shape[1]]
    for lane in range(WIDTH):
        v0, v1, v2, v3 = v0r[lane], v1r[lane], v2r[lane], v3r[lane]
        v4, v5, v6, v7 = v4r[lane], v5r[lane], v6r[lane], v7r[lane]
        a = fma(v3, v3, fma(v2, v2, fma(v1, v1, fma(v0, v0, squares[lane]))))
        squares[lane] = fma(v7, v7, fma(v6, v6, fma(v5, v5, fma(v4, v4, a))))


@njit(nogil=True, cache=True, error_model="numpy")
def _add_images(
    sums: np.ndarray,
    seen: np.ndarray,
    before: int,
    basis: np.ndarray,
    images: tuple[Any, ...],
    room: tuple[np.ndarray, ...],
    begin: int,
    end: int,
) -> None:
    """Add images to the sums of the pixels from `begin` to `end`."""
    full_width()
    packed, none, scale, offset, clear = images
    n = packed.shape[0]
    here, values, case = room
    for start in range(begin, end, WIDTH):
        width = min(WIDTH, end - start)
        if width < WIDTH:
            values[:] = 0
        for k in range(sums.shape[0]):
            to, row = here[k], sums[k, start : start + width]
            for lane in range(width):
                to[lane] = row[lane]
        for group in range(basis.shape[0] // GROUP):
            first = group * GROUP - before
            if first < 0 or first + GROUP > n:
                values[:] = 0
                case[:] = 0
                for i in range(max(first, 0), min(first + GROUP, n)):
                    bit = i - first
                    _read_integer(packed, none, clear, scale[i], offset[i], i, start, width, values[bit], case, bit)
            else:
                _read_packed(packed, none, scale, offset, first, start, width, values, case)
                if clear.size:
                    _take_out(clear, first, start, width, values, case)
            for i in range(first + GROUP, min(first + 2 * GROUP, n)):
                for pixel in range(start, start + width, 32):
                    prefetch(packed, i, pixel)
            low, high, octet = case[0], case[1], seen[group, start : start + width]
            for lane in range(width):
                octet[lane] |= np.uint8(low[lane] | high[lane] << 4)
            _add_group(here, basis[group * GROUP : (group + 1) * GROUP], values)
        for k in range(sums.shape[0]):
            to, row = sums[k, start : start + width], here[k]
            for lane in range(width):
                to[lane] = row[lane]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_stretch(sums: np.ndarray, basis: np.ndarray, values: np.ndarray, start: int, width: int) -> None:
    """Add decoded values, 0 where not seen."""
    full_width()
    p = basis.size
    for k in range(p):
        row, factor = sums[k, start : start + width], basis[k]
        for lane in range(width):
            row[lane] = fma(values[lane], factor, row[lane])
    row = sums[p, start : start + width]
    for lane in range(width):
        row[lane] = fma(values[lane], values[lane], row[lane])


@njit(nogil=True, cache=True, error_model="numpy")
def _add_floats(sums: np.ndarray, octet: np.ndarray, bit: int, basis: np.ndarray, y: np.ndarray) -> None:
    full_width()
    zero, mark, none = sums.dtype.type(0), np.uint8(1 << bit), np.uint8(0)
    values = np.empty(STRETCH, sums.dtype)
    for start in range(0, y.size, STRETCH):
        width = min(STRETCH, y.size - start)
        image, marks = y[start : start + width], octet[start : start + width]
        for lane in range(width):
            value = image[lane]
            there = abs(value) < np.inf
            values[lane] = value if there else zero
            marks[lane] |= mark if there else none
        _add_stretch(sums, basis, values, start, width)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_integers(
    sums: np.ndarray,
    octet: np.ndarray,
    bit: int,
    basis: np.ndarray,
    packed: np.ndarray,
    none: int,
    scale: float,
    offset: float,
    clear: np.ndarray,
    masked: bool,
) -> None:
    full_width()
    kind, zero, mark = sums.dtype.type, sums.dtype.type(0), np.uint8(1 << bit)
    values, marked = np.empty(STRETCH, sums.dtype), np.empty(STRETCH, np.uint8)
    for start in range(0, packed.size, STRETCH):
        width = min(STRETCH, packed.size - start)
        image, marks = packed[start : start + width], octet[start : start + width]
        for lane in range(width):
            there = image[lane] != none
            values[lane] = fma(kind(image[lane]), scale, offset) if there else zero
            marked[lane] = mark if there else np.uint8(0)
        if masked:
            mask = clear[start : start + width]
            for lane in range(width):
                there = mask[lane] != 0
                values[lane] = values[lane] if there else zero
                marked[lane] = marked[lane] if there else np.uint8(0)
        for lane in range(width):
            marks[lane] |= marked[lane]
        _add_stretch(sums, basis, values, start, width)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_part(part: np.ndarray, first: int, count: int, row: np.ndarray) -> None:
    full_width()
    some = part[first : first + count]
    for lane in range(count):
        row[lane] += some[lane]


@njit(nogil=True, cache=True, error_model="numpy")
def _gather(
    sums: np.ndarray,
    seen: np.ndarray,
    gathering: tuple[Any, ...],
    closed: np.ndarray,
    half: float,
    out: np.ndarray,
    begin: int,
    end: int,
) -> None:
    """From the sums of the pixels from `begin` to `end` to their fit, or to what it is made from."""
    full_width()
    kept, table, unit, entries, weights, room = gathering
    cases, counts, long, some, right, matrix, beta, parts, determined = room
    years, size, _ = sums.shape
    q, splits = 3 + 3 * (size - 3), table.shape[0]
    for start in range(begin, end, TILE):
        width = min(TILE, end - start)
        counts[:] = 0
        long[:] = 0
        cases[:] = 0
        turn, group = 0, 0
        for year in range(years):
            for k in range(size):
                part, row = sums[year, k, start : start + width], long[k]
                for lane in range(width):
                    row[lane] += part[lane]
            for i in range(kept[year]):
                octet, low, high = seen[year, i, start : start + width], cases[2 * turn], cases[2 * turn + 1]
                for lane in range(width):
                    low[lane], high[lane] = octet[lane] & 15, octet[lane] >> 4
                turn += 1
                if turn == FLUSH:
                    for split in range(splits):
                        _add_cases(cases, table[split], group, counts[split])
                    turn, group = 0, group + FLUSH
        if turn:
            cases[2 * turn :] = 0
            for split in range(splits):
                _add_cases(cases, table[split], group, counts[split])
        for block in range(0, width, LANES):
            count = min(LANES, width - block)
            first = start + block
            for split in range(splits):
                _turned(counts[split, block * ROW : (block + LANES) * ROW], unit, some[split * ROW : (split + 1) * ROW])
            for k in range(size):
                to, row = right[k], long[k, block : block + LANES]
                for lane in range(LANES):
                    to[lane] = row[lane]
            if closed.size:
                for k in range(q):
                    _add_part(closed[k], first, count, some[k])
                for k in range(size):
                    _add_part(closed[q + k], first, count, right[k])
                for k in range(q + size):
                    for pixel in range(first + LANES, first + 2 * LANES, 16):
                        prefetch(closed, k, pixel)
            if out.shape[0] == q + size:
                for k in range(q + size):
                    out[k, first : first + count] = some[k, :count] if k < q else right[k - q, :count]
            else:
                dates = some.reshape(-1)[: q * LANES]
                _solved(dates, right.reshape(-1), entries, weights, half, matrix, beta, determined, parts)
                for k in range(len(PARTS)):
                    to, found = out[k, first : first + count], parts[k]
                    for lane in range(count):
                        to[lane] = found[lane]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_history(
    sums: np.ndarray,
    seen: np.ndarray,
    sizes: np.ndarray,
    basis: np.ndarray,
    images: tuple[Any, ...],
    room: tuple[np.ndarray, ...],
    gathering: tuple[Any, ...],
    half: float,
    out: np.ndarray,
) -> None:
    packed, none, scale, offset, clear = images
    kept, none_else = gathering[0], np.empty((0, 0), sums.dtype)
    pixels = sums.shape[2]
    for begin in range(0, pixels, WIDTH):
        end = min(begin + WIDTH, pixels)
        image, row = 0, 0
        for year in range(sizes.size):
            sums[year, :, begin:end] = 0
            seen[year, :, begin:end] = 0
            last, rows_end = image + sizes[year], row + kept[year] * GROUP
            mask = clear[image:last] if clear.size else clear
            some = (packed[image:last], none, scale[image:last], offset[image:last], mask)
            _add_images(sums[year], seen[year], 0, basis[row:rows_end], some, room, begin, end)
            image, row = last, rows_end
        _gather(sums, seen, gathering, none_else, half, out, begin, end)
