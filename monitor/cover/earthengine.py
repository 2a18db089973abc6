"""The measures of :mod:`monitor.cover.zonal_means` as expressions that Earth Engine evaluates.

Earth Engine computes the means of control units itself, so their pixels are not read here, and the formulas of
:mod:`monitor.cover.kernels` are stated a second time, in terms of ``ee.Image``. This is the only module that does so; a
test compares the two on the same pixels. A pixel whose index is undefined is masked there, as it is NaN here. The
client is not imported: an image is any object with its methods.
"""

from collections.abc import Callable
from typing import Any, Final

from monitor.cover.fraction import Endmembers
from monitor.imagery import bands


def recipe(endmembers: Endmembers, *, bandpass: bool = False) -> Callable[[Any], dict[str, Any]]:
    """Return the function that computes the layers to be averaged over the clear pixels of a unit.

    It takes an image of reflectances with the bands of :data:`monitor.imagery.bands.OBSERVED`, and returns the layers
    of :data:`monitor.cube.records.MEASURES` after the count, by name and in that order, one band each. With `bandpass`,
    Landsat reflectances are first converted to Sentinel-2's: :func:`monitor.imagery.bands.scaled_to_msi`.
    """

    def layers(reflectance: Any) -> dict[str, Any]:
        measures = {band: reflectance.select(band) for band in bands.OBSERVED}
        if bandpass:
            measures = {band: _as_msi(band, value) for band, value in measures.items()}
        for name, (index, needed) in SERVER_INDICES.items():
            measures[name] = index(*(measures[band] for band in needed))
        return measures | {"cover": cover(measures[endmembers.index], endmembers)}

    return layers


def _as_msi(band: str, reflectance: Any) -> Any:
    slope, intercept = bands.BANDPASS[band]
    return reflectance.subtract(intercept).divide(slope)


def normalized_difference(a: Any, b: Any) -> Any:
    """(a - b) / (a + b), masked where a + b is not positive. [1]"""
    total = a.add(b)
    return a.subtract(b).divide(total).updateMask(total.gt(0))


def ndvi(red: Any, nir: Any) -> Any:
    """NDVI, as :func:`monitor.cover.indices.ndvi`. [1]"""
    return normalized_difference(nir, red)


def evi2(red: Any, nir: Any) -> Any:
    """EVI2, as :func:`monitor.cover.indices.evi2`. [1]"""
    denominator = nir.add(red.multiply(2.4)).add(1)
    return nir.subtract(red).multiply(2.5).divide(denominator).updateMask(denominator.gt(0))


def msavi2(red: Any, nir: Any) -> Any:
    """MSAVI2, as :func:`monitor.cover.indices.msavi2`. [1]"""
    b = nir.multiply(2).add(1)
    inner = b.multiply(b).subtract(nir.subtract(red).multiply(8))
    return b.subtract(inner.max(0).sqrt()).divide(2).updateMask(inner.gte(0))


def kndvi(red: Any, nir: Any) -> Any:
    """Kernel NDVI, as :func:`monitor.cover.indices.kndvi`. [1]"""
    value = ndvi(red, nir)
    return value.multiply(value).tanh()


def ndmi(nir: Any, swir16: Any) -> Any:
    """NDMI, as :func:`monitor.cover.indices.ndmi`. [1]"""
    return normalized_difference(nir, swir16)


def nbr(nir: Any, swir22: Any) -> Any:
    """NBR, as :func:`monitor.cover.indices.nbr`. [1]"""
    return normalized_difference(nir, swir22)


def cover(index: Any, endmembers: Endmembers) -> Any:
    """Vegetation cover, as :func:`monitor.cover.fraction.cover`. [1]"""
    scaled = index.subtract(endmembers.soil).divide(endmembers.vegetation - endmembers.soil)
    return scaled.max(0).min(1)


SERVER_INDICES: Final[dict[str, tuple[Callable[..., Any], tuple[str, ...]]]] = {
    "ndvi": (ndvi, ("red", "nir")),
    "evi2": (evi2, ("red", "nir")),
    "msavi2": (msavi2, ("red", "nir")),
    "kndvi": (kndvi, ("red", "nir")),
    "ndmi": (ndmi, ("nir", "swir16")),
    "nbr": (nbr, ("nir", "swir22")),
}
"""Function and bands of each index: names, bands and order of :data:`monitor.cover.indices.INDICES`."""
