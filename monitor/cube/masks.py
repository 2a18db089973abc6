"""Which pixels of a scene show the ground: the provider's own classes, with a buffer around clouds.

To add a sensor or mask: write a function that decodes its quality layer, and give it a row in :data:`QUALITY_LAYERS`
under a new kind, which its source then sets as ``Scene.quality``.

The classes are those of the scene itself and are never interpolated. Clouds and their shadows are grown by
:data:`CLOUD_BUFFER`, since classes leak at the edges: without it NDVI next to clouds is off by .012 to .018. They are
grown on the lattice on which the classes were made, where a cell is hidden if its centre lies within reach of the
centre of a cloudy cell; classes that arrive repeated on a finer grid are brought back to it first.

Two rules of thumb are left out on purpose. Class 7 of Sentinel-2 (unclassified) does not count where blue is dark: on
the real forest of the sample, away from clouds and with blue below .20, its NDVI in summer was .37 too low (median of
5,465 pixels against the ground classes of the same season). And no pixel is exempted for being called cloud too often:
a mask that depends on the scenes stored so far would depend on their order of arrival. Bright sand that is always
called cloud does not count; Cloud Score+ (kind ``scl_cs``) is the remedy.

References
----------
.. [1] M. Main-Knorn et al., "Sen2Cor for Sentinel-2," Proc. SPIE 10427, 2017, doi:10.1117/12.2278218.
.. [2] V. J. Pasquarella et al., "Comprehensive quality assessment of optical satellite imagery using weakly supervised
   video learning," CVPR Workshops, 2023, doi:10.1109/CVPRW59228.2023.00206.
.. [3] Z. Zhu and C. E. Woodcock, "Object-based cloud and cloud shadow detection in Landsat imagery," Remote Sens.
   Environ., 2012, doi:10.1016/j.rse.2011.10.028.
.. [4] M. Claverie et al., "The Harmonized Landsat and Sentinel-2 surface reflectance data set," Remote Sens. Environ.,
   2018, doi:10.1016/j.rse.2018.09.002.
.. [5] Geoscience Australia, definition of the product ``ga_s2cm_ard_3``,
   https://github.com/GeoscienceAustralia/dea-config.
"""

from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt

from monitor.imagery import bands

CLOUD_BUFFER: Final = 60.0
"""How far clouds and shadows are grown. [m]"""

GROUND: Final = 1
CLOUD: Final = 2
GROWS: Final = 4
"""Cloud or shadow that the provider has not grown already."""
SNOW: Final = 8
EMPTY: Final = 16
"""The provider has no value, or a defective one."""

SCL_EMPTY: Final = (0, 1)
"""Sentinel-2 scene classes [1]_: no data, saturated or defective."""
SCL_GROUND: Final = (4, 5)
"""Vegetation and bare ground. Water (6) is not ground that can regrow; for class 7 see the module."""
SCL_CLOUD: Final = (3, 8, 9, 10)
"""Shadow, cloud of medium and high probability, thin cirrus."""
SCL_WATER: Final = 6
SCL_SNOW: Final = 11

QA_FILL: Final = 1 << 0
QA_GROWN: Final = 1 << 1
"""Landsat Collection 2 QA_PIXEL (USGS LSDS-1619; made by Fmask [3]_): dilated cloud, not grown again."""
QA_CLOUD: Final = (1 << 2) | (1 << 3) | (1 << 4)
"""Cirrus, cloud, shadow."""
QA_SNOW: Final = 1 << 5
QA_WATER: Final = 1 << 7

FMASK_CLOUD: Final = (1 << 1) | (1 << 3)
"""HLS v2.0 Fmask [4]_ (user guide, quality layer): cloud, shadow. Bit 0 is reserved, bits 6 and 7 are the aerosol."""
FMASK_GROWN: Final = 1 << 2
"""Next to cloud or shadow: grown by the provider."""
FMASK_SNOW: Final = 1 << 4
FMASK_WATER: Final = 1 << 5
FMASK_EMPTY: Final = 255

DEA_EMPTY, DEA_GROUND, DEA_SNOW = 0, 1, 4
"""Classes of ``oa_fmask`` of Digital Earth Australia [5]_, made by Fmask [3]_; not the bits of HLS."""
DEA_CLOUD: Final = (2, 3)
"""Cloud, shadow. Water (5) is not ground that can regrow."""


class Classes(NamedTuple):
    """Meaning of the values of a quality layer; bool arrays of one shape."""

    ground: np.ndarray
    cloud: np.ndarray
    grows: np.ndarray
    """Clouds and shadows that are grown by :data:`CLOUD_BUFFER`."""
    snow: np.ndarray
    empty: np.ndarray


def _scene_classes(value: np.ndarray) -> Classes:
    """Sentinel-2 scene classification."""
    cloud = np.isin(value, SCL_CLOUD)
    return Classes(np.isin(value, SCL_GROUND), cloud, cloud, value == SCL_SNOW, np.isin(value, SCL_EMPTY))


def _scored_scene_classes(value: np.ndarray) -> Classes:
    """Scene classification in the low byte, Cloud Score+ [2]_ as 1 + percent in the high byte; 0: no score."""
    score, scene_class = value >> 8, value & 255
    classes = _scene_classes(scene_class)
    scored, clear = score > 0, score > bands.SCORE_CLEAR
    usable = ~(classes.empty | classes.snow | (scene_class == SCL_WATER) | (scene_class > SCL_SNOW))
    cloud = np.where(scored, ~clear, classes.cloud)
    ground = np.where(scored, clear & usable, classes.ground)
    return classes._replace(ground=ground, cloud=cloud, grows=cloud)


def _qa_pixel(value: np.ndarray) -> Classes:
    """Landsat Collection 2."""
    empty = ((value & QA_FILL) != 0) | (value == 0)
    cloud = ((value & (QA_CLOUD | QA_GROWN)) != 0) & ~empty
    snow = (value & QA_SNOW) != 0
    ground = ~(empty | cloud | snow | ((value & QA_WATER) != 0))
    return Classes(ground, cloud, ((value & QA_CLOUD) != 0) & ~empty, snow, empty)


def _fmask(value: np.ndarray) -> Classes:
    """Harmonized Landsat and Sentinel-2."""
    empty = value >= FMASK_EMPTY
    cloud = ((value & (FMASK_CLOUD | FMASK_GROWN)) != 0) & ~empty
    snow = ((value & FMASK_SNOW) != 0) & ~empty
    ground = ~(empty | cloud | snow | ((value & FMASK_WATER) != 0))
    return Classes(ground, cloud, ((value & FMASK_CLOUD) != 0) & ~empty, snow, empty)


def _dea_classes(value: np.ndarray) -> Classes:
    """Digital Earth Australia."""
    cloud = np.isin(value, DEA_CLOUD)
    return Classes(value == DEA_GROUND, cloud, cloud, value == DEA_SNOW, value == DEA_EMPTY)


def _values(value: np.ndarray) -> Classes:
    """Without a quality layer: every value but 0 is ground; what is cloud is unknown."""
    nowhere = np.zeros_like(value, dtype=bool)
    return Classes(value != 0, nowhere, nowhere, nowhere, value == 0)


class QualityLayer(NamedTuple):
    """How a kind of quality layer is used."""

    decode: Callable[[np.ndarray], Classes]
    """Meaning of its values, an int array."""
    cell: float
    """Side of the cells on which its classes are made (Cloud Score+ itself is made at 10 m). [m]"""
    limited: bool = False
    """Whether red and near infrared must lie between 0 and 1, both excluded."""


QUALITY_LAYERS: Final = {
    "scl": QualityLayer(_scene_classes, 20.0),
    "scl_cs": QualityLayer(_scored_scene_classes, 20.0),
    "qa_pixel": QualityLayer(_qa_pixel, 30.0, limited=True),
    "fmask": QualityLayer(_fmask, 30.0, limited=True),
    "oa_fmask": QualityLayer(_dea_classes, 20.0, limited=True),
    "none": QualityLayer(_values, 10.0, limited=True),
}
"""Known kinds of quality layers, the values of ``Scene.quality``."""


@cache
def _flags(kind: str) -> np.ndarray:
    """Meaning of each of the 65,536 values of a quality layer, as flags."""
    if kind not in QUALITY_LAYERS:
        raise ValueError(f"quality layer of kind {kind!r} is unknown; known are {', '.join(map(repr, QUALITY_LAYERS))}")
    classes = QUALITY_LAYERS[kind].decode(np.arange(1 << 16))
    flags = sum(flag * which for flag, which in zip((GROUND, CLOUD, GROWS, SNOW, EMPTY), classes, strict=True))
    table: np.ndarray = np.asarray(flags).astype(np.uint8)
    table.setflags(write=False)
    return table


def clear(
    pixels: np.ndarray, quality: np.ndarray, kind: str, *, resolution: float, scale: float, offset: float
) -> np.ndarray:
    """Pixels that show the ground.

    Sentinel-2 is not limited to reflectances between 0 and 1: with a wrong offset the dark ground of a whole scene is
    negative, and :mod:`monitor.cube.offset_check` must see it to report it.

    Parameters
    ----------
    pixels : (band, y, x) uint16 array
        Bands of :data:`monitor.imagery.bands.OBSERVED`, as delivered; 0 is no value, 65535 saturated.
    quality : (y, x) uint16 array, the provider's quality layer
    kind : str, key of :data:`QUALITY_LAYERS`, the ``quality`` of the scene
    resolution : float, side of a pixel [m]
    scale, offset : float, reflectance = scale * integer + offset [1]

    Returns
    -------
    (y, x) bool array
        True where red and near infrared have a value (a possible one, for `limited` kinds), the class is ground, no
        snow is seen and no cloud lies within :data:`CLOUD_BUFFER`.

    Raises
    ------
    ValueError
        The kind is unknown.
    """
    flags = _flags(kind)[quality]
    seen = (flags & GROUND) != 0
    needed = pixels[[bands.OBSERVED.index("red"), bands.OBSERVED.index("nir")]]
    seen &= bands.has_value(needed).all(axis=0)
    if QUALITY_LAYERS[kind].limited:
        seen &= _possible(needed, scale, offset)
    seen &= ~snow(pixels, scale=scale, offset=offset)
    grows = (flags & GROWS) != 0
    if not (seen.any() and grows.any()):
        return np.asarray(seen)
    scored = (quality >> 8 != 0) if kind == "scl_cs" else np.False_
    for clouds, cell in ((grows & ~scored, QUALITY_LAYERS[kind].cell), (grows & scored, resolution)):
        if clouds.any():
            seen &= ~_near(clouds, resolution=resolution, cell=cell)
    return np.asarray(seen)


def snow(pixels: np.ndarray, *, scale: float, offset: float) -> np.ndarray:
    """Pixels that are snow by their normalised difference snow index; False where green or 1.6 um have no value.

    The provider's classes miss some: in the real series of the sample 368 pixels, all on eight days from November to
    early April.

    Parameters
    ----------
    pixels, scale, offset
        See :func:`clear`.

    Returns
    -------
    (...) bool array
        Shape of a band.
    """
    green, infrared = (pixels[bands.OBSERVED.index(band)] for band in ("green", "swir16"))
    bright = bands.has_value(green) & bands.has_value(infrared) & (green >= (bands.SNOW_BRIGHT - offset) / scale)
    if not bright.any():
        return np.asarray(bright)
    a, b = (np.float32(scale) * band + np.float32(offset) for band in (green, infrared))
    return np.asarray(bright & (a - b > bands.NDSI_SNOW * (a + b)))


def _possible(needed: np.ndarray, scale: float, offset: float) -> np.ndarray:
    reflectance = np.float32(scale) * needed + np.float32(offset)
    return np.asarray(((reflectance > 0) & (reflectance < 1)).all(axis=0))


def _near(clouds: np.ndarray, *, resolution: float, cell: float) -> np.ndarray:
    """Pixels whose own cell has its centre within :data:`CLOUD_BUFFER` of the centre of a cloudy one.

    Where classes do not come in whole blocks of `cell` (they were resampled), pixels are the cells.
    """
    times = round(cell / resolution)
    rows, columns = (_blocks(clouds, axis, times) for axis in (0, 1)) if times > 1 else (None, None)
    if rows is None or columns is None:
        return np.asarray(distance_transform_edt(~clouds, sampling=resolution) <= CLOUD_BUFFER)
    first = [np.flatnonzero(np.diff(index, prepend=-1)) for index in (rows, columns)]
    near = distance_transform_edt(~clouds[np.ix_(*first)], sampling=cell) <= CLOUD_BUFFER
    return np.asarray(near[np.ix_(rows, columns)])


def _blocks(clouds: np.ndarray, axis: int, times: int) -> np.ndarray | None:
    """Number of the block that each row (or column) belongs to; None where edges of clouds lie within blocks."""
    edges = np.flatnonzero(np.diff(clouds, axis=axis).any(axis=1 - axis)) + 1
    phases = np.unique(edges % times)
    if phases.size > 1:
        return None
    phase = int(phases[0]) if phases.size else 0
    block = (np.arange(clouds.shape[axis]) - phase) // times
    return np.asarray(block - block[0])


def unseen_reason(quality: np.ndarray, kind: str) -> str:
    """The most frequent reason why the ground of a site was not seen.

    Parameters
    ----------
    quality : array of int
        Quality layer of the pixels of the site, any shape.
    kind : str
        Its kind, as for :func:`clear`.

    Returns
    -------
    str
        ``CLOUD``, ``SNOW`` or ``NODATA``.
    """
    flags = _flags(kind)[quality]
    empty = (flags & EMPTY) != 0
    hidden = {"CLOUD": (flags & CLOUD != 0) & ~empty, "SNOW": (flags & SNOW != 0) & ~empty, "NODATA": empty}
    counts = {name: int(which.sum()) for name, which in hidden.items()}
    reason = max(counts, key=lambda name: counts[name])
    return reason if counts[reason] else "CLOUD"
