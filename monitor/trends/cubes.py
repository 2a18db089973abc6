"""Open any cube for a trend: a NetCDF file, a Zarr store, or a folder of GeoTIFFs with a date in each name."""

from collections.abc import Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import xarray as xr

from monitor.cover.indices import INDICES
from monitor.errors import BadData
from monitor.imagery.bands import NODATA
from monitor.trends.bands import (
    INDEX_NAMES,
    MAX_INDEX,
    OFFSETS,
    POSSIBLE_REFLECTANCE,
    REFLECTANCES,
    SCALES,
    UNNAMED,
    UNSCALED,
    choose,
    kind_of,
    layer_called,
    where_possible,
    where_seen,
)
from monitor.trends.blocks import in_blocks
from monitor.trends.cf import is_zarr, open_dataset
from monitor.trends.geotiffs import open_geotiffs

PLAUSIBLE_SHARE: Final = 0.5
"""Minimum share of possible numbers; with fewer, the variable is not what it is taken for. [1]"""
ROUNDING: Final = 1e-6
"""Scales and offsets that differ by less are equal: files store them in single precision. [relative]"""


class Packing(NamedTuple):
    """How numbers are stored, for a file that does not state it: value = number * scale + offset. None: not given."""

    scale: float | None = None
    offset: float | None = None

    @property
    def given(self) -> bool:
        """Whether either is given."""
        return self != (None, None)


AS_STORED: Final = Packing()
"""Numbers are values, or the file states their scale and offset."""


class Mask(NamedTuple):
    """Pixels that count: those where a layer has one of some values."""

    layer: str
    values: Sequence[int]


class OpenedSeries(NamedTuple):
    """A series, with what is known only once it has been read."""

    series: xr.DataArray
    """(time, y, x), lazy, time first in memory, CRS in ``spatial_ref`` where there is one."""
    checks: xr.Dataset
    """Lazy, for :func:`check_values`: ``stretched`` (time), whether all bands run from exactly 0 to exactly 1;
    ``numbers``, how many the bands have except 0; ``possible``, how many of them can be values; ``clear``, how many
    pixels of all dates count by the mask (1 without a mask)."""


def open_series(
    path: Path,
    variable: str | None = None,
    *,
    bands: Mapping[str, str] | None = None,
    packing: Packing = AS_STORED,
    mask: Mask | None = None,
) -> OpenedSeries:
    """Open one variable of a cube.

    Parameters
    ----------
    path : Path
        NetCDF file, Zarr store, or folder of GeoTIFFs on one grid whose names hold a date, a month or a year.
    variable : str, optional
        Its name, in any case. An index of :data:`monitor.cover.indices.INDICES` is computed if only its bands are
        there. None: the only variable, or ``ndvi``.
    bands : mapping, optional
        Band of each role (``red``, ``nir``, ``swir16``, ``swir22``), for bands without a common name. The variable is
        then computed from them, even if the cube has it.
    packing : Packing
        Scale and offset of the variable or the bands, where the file states none.
    mask : Mask, optional
        Layer of the same grid, and its values where pixels count. All others are not seen.

    Returns
    -------
    OpenedSeries
        NaN where nothing was seen: by the mask, by the nodata and limits of the file, where NDVI is outside -1 to 1 or
        another index beyond :data:`monitor.trends.bands.MAX_INDEX`, and where reflectance is 0, with or without its
        offset, or impossible (:data:`monitor.trends.bands.POSSIBLE_REFLECTANCE`).

    Raises
    ------
    BadData
        The cube cannot be read or has no such variable, band or layer; it holds no real numbers, or an index or
        reflectance in integers without a scale; or it states another scale or offset.
    """
    if not path.exists():
        raise BadData(f"{path}: there is no such file or folder")
    images = path.is_dir() and not is_zarr(path)
    cube = open_geotiffs(path) if images else open_dataset(path)
    if 0 in cube.sizes.values():
        raise BadData(f"{path} is empty: the sizes of its dimensions are {dict(cube.sizes)}")
    name, roles = choose(path, cube, variable, bands or {})
    sources = tuple(roles.values()) or (name,)
    kinds = tuple(roles) or (kind_of(cube[name], variable),)
    layers = [layer_called(path, cube, mask.layer, "--mask")] if mask else []
    for source, kind in zip(sources, kinds, strict=True):
        _refuse_unusable(path, cube[source], kind, packing)
    for layer in layers:
        _refuse_text(path, cube[layer])
    displayed = tuple(map(str, cube.data_vars)) if sources[0].startswith(UNNAMED) else tuple(roles.values())
    if not images:
        cube = in_blocks(path, cube[[*dict.fromkeys((*displayed, *sources, *layers))]])
    clear = cube[layers[0]].isin(list(mask.values)) if mask else xr.DataArray(True)
    seen = [where_seen(_unpacked(cube[source], packing), kind) for source, kind in zip(sources, kinds, strict=True)]
    seen = [band.where(clear) for band in seen] if mask else seen
    possible = [where_possible(band, kind) for band, kind in zip(seen, kinds, strict=True)]
    series = where_possible(INDICES[name][0](*possible), name) if roles else possible[0]
    series = series.rename(name)
    series.attrs = {"units": str((not roles and cube[name].attrs.get("units")) or "1")}
    checks = {
        "stretched": _stretched([cube[band] for band in displayed]), "clear": clear.sum(),
        "numbers": _count(seen), "possible": _count(possible),
    }  # fmt: skip
    return OpenedSeries(series, xr.Dataset(checks))


def check_values(path: Path, name: str, checks: xr.Dataset) -> None:
    """Refuse a cube whose values, once read, cannot be what the variable is taken for.

    Parameters
    ----------
    path, name
        The cube, and its variable.
    checks : xr.Dataset
        Computed: those of :class:`OpenedSeries`, and ``most_values``, the largest number of values of a pixel.

    Raises
    ------
    BadData
        Layers are stretched for display, the mask keeps nothing, no pixel has two values, or most numbers are
        impossible.
    """
    least, most = POSSIBLE_REFLECTANCE
    limits = (
        f"reflectance is within {least} to {most}, NDVI within -1 to 1, other indices within -{MAX_INDEX:g} to "
        f"{MAX_INDEX:g}. State the meaning of scaled integers by scale_factor and add_offset in the file, or by "
        "--scale and --offset, and what marks no value by _FillValue (scale, offset and nodata of a GeoTIFF)"
    )
    stretched, count, possible = (int(checks[which].sum()) for which in ("stretched", "numbers", "possible"))
    if stretched:
        raise BadData(
            f"{path}: {stretched} layers run from exactly 0 to exactly 1 in every band, so they were "
            "stretched for display and are no reflectance; use the unstretched ones"
        )
    if not checks["clear"]:
        raise BadData(f"{path}: --mask keeps no pixel: its layer has none of these values; name those of clear ground")
    if checks["most_values"] < 2:
        raise BadData(
            f"{path}: no pixel of {name!r} has two values that count by the mask, the limits that the file sets "
            f"(valid_min, valid_max, valid_range) and what is possible: reflectance is not 0, and {limits}"
        )
    if possible < PLAUSIBLE_SHARE * count:
        raise BadData(
            f"{path}: of {count} numbers {count - possible} cannot be what {name!r} is taken for, so the others mean "
            f"nothing: {limits}"
        )


def _refuse_unusable(path: Path, band: xr.DataArray, kind: str, packing: Packing) -> None:
    """Refuse text, integers of a band or index without a scale, and a scale or offset that the file contradicts."""
    _refuse_text(path, band)
    if packing.given:
        _refuse_contradiction(path, band, packing)
        return
    stored = np.dtype(band.encoding.get("dtype", band.dtype))  # with nodata, integers are read as floats
    scaled = {"scale_factor", "add_offset"} & band.encoding.keys()
    integers = stored if stored.kind in "iu" and not scaled else band.attrs.get(UNSCALED)
    if integers is not None and (kind in INDEX_NAMES or kind in REFLECTANCES):
        raise BadData(
            f"{path}: {band.name!r} holds integers ({integers}) without a scale; state their meaning by --scale and "
            "--offset, or in the file by the attributes scale_factor and add_offset (of a GeoTIFF scale and offset). "
            "Sentinel-2: 0.0001, and -0.1 from baseline 04.00 on"
        )


def _refuse_text(path: Path, band: xr.DataArray) -> None:
    stored = np.dtype(band.encoding.get("dtype", band.dtype))  # with a scale, text too is said to become numbers
    if band.dtype.kind not in "biuf" or stored.kind not in "biuf":
        raise BadData(f"{path}: {band.name!r} holds no real numbers ({band.dtype}), and only those have a trend")


def _stated_packing(band: xr.DataArray) -> list[tuple[float, float]]:
    """Scale and offset that the file, or each file of a folder, states for a band; empty: none."""
    if SCALES in band.attrs:  # of GeoTIFFs: 1 and 0 are the defaults
        stated = sorted(set(zip(band.attrs[SCALES], band.attrs[OFFSETS], strict=True)))
        return [] if stated == [(1.0, 0.0)] else stated
    if not {"scale_factor", "add_offset"} & band.encoding.keys():
        return []
    return [(float(band.encoding.get("scale_factor", 1)), float(band.encoding.get("add_offset", 0)))]


def _refuse_contradiction(path: Path, band: xr.DataArray, packing: Packing) -> None:
    for stated in _stated_packing(band):
        for option, here, given in zip(("scale", "offset"), stated, packing, strict=True):
            if given is not None and not isclose(here, given, rel_tol=ROUNDING, abs_tol=0):
                raise BadData(
                    f"{path} states that {band.name!r} has scale {stated[0]:.7g} and offset {stated[1]:.7g}, and "
                    f"--{option} is {given:.7g}; leave --scale and --offset out, or correct the file"
                )


def _unpacked(band: xr.DataArray, packing: Packing) -> xr.DataArray:
    """Apply a scale and offset where the file states none."""
    if not packing.given or _stated_packing(band):
        return band
    scale, offset = (default if value is None else value for value, default in zip(packing, (1.0, 0.0), strict=True))
    kind = np.result_type(band.dtype, np.float32)
    values = (band.astype(np.float64) * scale + offset).astype(kind)  # rounded once, as if the file had stated them
    return values.rename(band.name).assign_attrs({OFFSETS: offset})


def _count(bands: Sequence[xr.DataArray]) -> xr.DataArray:
    """Number of the numbers of some bands except 0."""
    return sum((((abs(band) < np.inf) & (band != NODATA)).sum() for band in bands), xr.DataArray(0))


def _stretched(bands: Sequence[xr.DataArray]) -> xr.DataArray:
    """Whether each layer runs from exactly 0 to exactly 1 in every band; False without bands."""
    stretched = xr.DataArray(bool(bands))
    for band in bands:
        stretched = stretched & (band.min(("y", "x")) == 0) & (band.max(("y", "x")) == 1)
    return stretched
