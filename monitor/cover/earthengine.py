"""The measures of :mod:`monitor.cover.zonal_means` as an expression that Earth Engine evaluates.

Where Earth Engine averages control units itself, none of their pixels is read here, so the formulas of
:mod:`monitor.cover.kernels` are stated a second time, in terms of ``ee.Image``. This is the only place that does so; a
test compares the two on the same pixels. A pixel whose index is not defined is masked there, as it is NaN here. The
client is not imported: an image is anything with its methods.
"""

from collections.abc import Callable
from typing import Any, Final

from monitor.cover.fraction import Endmembers
from monitor.imagery import bands


def recipe(endmembers: Endmembers, *, bandpass: bool = False) -> Callable[[Any], dict[str, Any]]:
    """What is averaged over the clear pixels of a unit.

    Parameters
    ----------
    endmembers : Endmembers
        Of the biome, for the cover.
    bandpass : bool
        Bring the bands of Landsat to those of Sentinel-2 first, as :func:`monitor.imagery.bands.scaled_to_msi` does.

    Returns
    -------
    callable
        Of an image of reflectances with the bands of :data:`monitor.imagery.bands.OBSERVED` it makes the layers of
        :data:`monitor.cube.records.MEASURES` after the first (the count), by name and in that order; one band
        each.
    """

    def layers(reflectance: Any) -> dict[str, Any]:
        found = {band: reflectance.select(band) for band in bands.OBSERVED}
        if bandpass:
            found = {band: _as_msi(band, value) for band, value in found.items()}
        found |= {name: index(*(found[band] for band in needed)) for name, (index, needed) in SERVED.items()}
        return found | {"cover": cover(found[endmembers.index], endmembers)}

    return layers


def _as_msi(band: str, reflectance: Any) -> Any:
    slope, intercept = bands.BANDPASS[band]
    return reflectance.subtract(intercept).divide(slope)


def normalized_difference(a: Any, b: Any) -> Any:
    """(a - b) / (a + b); masked where a + b is not positive."""
    total = a.add(b)
    return a.subtract(b).divide(total).updateMask(total.gt(0))


def ndvi(red: Any, nir: Any) -> Any:
    """:func:`monitor.cover.indices.ndvi`."""
    return normalized_difference(nir, red)


def evi2(red: Any, nir: Any) -> Any:
    """:func:`monitor.cover.indices.evi2`."""
    denominator = nir.add(red.multiply(2.4)).add(1)
    return nir.subtract(red).multiply(2.5).divide(denominator).updateMask(denominator.gt(0))


def msavi2(red: Any, nir: Any) -> Any:
    """:func:`monitor.cover.indices.msavi2`."""
    b = nir.multiply(2).add(1)
    inner = b.multiply(b).subtract(nir.subtract(red).multiply(8))
    return b.subtract(inner.max(0).sqrt()).divide(2).updateMask(inner.gte(0))


def kndvi(red: Any, nir: Any) -> Any:
    """:func:`monitor.cover.indices.kndvi`."""
    value = ndvi(red, nir)
    return value.multiply(value).tanh()


def ndmi(nir: Any, swir16: Any) -> Any:
    """:func:`monitor.cover.indices.ndmi`."""
    return normalized_difference(nir, swir16)


def nbr(nir: Any, swir22: Any) -> Any:
    """:func:`monitor.cover.indices.nbr`."""
    return normalized_difference(nir, swir22)


def cover(index: Any, endmembers: Endmembers) -> Any:
    """:func:`monitor.cover.fraction.cover`."""
    scaled = index.subtract(endmembers.soil).divide(endmembers.vegetation - endmembers.soil)
    return scaled.max(0).min(1)


SERVED: Final[dict[str, tuple[Callable[..., Any], tuple[str, ...]]]] = {
    "ndvi": (ndvi, ("red", "nir")),
    "evi2": (evi2, ("red", "nir")),
    "msavi2": (msavi2, ("red", "nir")),
    "kndvi": (kndvi, ("red", "nir")),
    "ndmi": (ndmi, ("nir", "swir16")),
    "nbr": (nbr, ("nir", "swir22")),
}
"""As :data:`monitor.cover.indices.INDICES`: the same names, bands and order."""
