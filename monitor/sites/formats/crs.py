"""Coordinate systems stated in files, and transformation to longitude and latitude."""

import re
from dataclasses import replace
from typing import Final

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from monitor.sites.formats.feature import Feature, FileRefused

_NAME: Final = re.compile(r"(?:urn:ogc:def:crs:)?(?:EPSG:(?:[\d.]*:)?(\d{4,6})|OGC:(?:[\d.]*:)?CRS84)", re.IGNORECASE)
_LONGITUDE_LATITUDE: Final = (4326, 4490)  # EPSG codes of WGS 84 and of CGCS2000, a few decimetres apart
_OLD_DATUM: Final = re.compile(r"beijing|xi.?an", re.IGNORECASE)
_REFERS_ELSEWHERE: Final = re.compile(r"EXTENSION|GRIDS|PARAMETERFILE", re.IGNORECASE)  # makes PROJ open other files


def crs_from_name(name: str, *, file: str) -> CRS | None:
    """Coordinate system of a name such as ``urn:ogc:def:crs:OGC:1.3:CRS84``; None: longitude and latitude.

    FileRefused for a name that is neither an EPSG code nor CRS84: nothing else is looked up.
    """
    match = _NAME.fullmatch(name.strip())
    if not match:
        raise unknown_crs(file, f"the coordinate system {name[:80]!r}")
    if not match[1] or int(match[1]) in _LONGITUDE_LATITUDE:
        return None
    try:
        return CRS.from_epsg(int(match[1]))
    except CRSError:
        raise unknown_crs(file, f"the coordinate system {name!r}") from None


def crs_from_wkt(wkt: str, *, file: str) -> CRS | None:
    """Coordinate system of a definition as in a ``.prj`` file; None: longitude and latitude.

    FileRefused where it cannot be read, or refers to other files (shift grids), which are never opened.
    """
    try:
        crs = CRS.from_wkt(wkt)
        code = crs.to_epsg()
    except CRSError:
        raise unknown_crs(file, "a coordinate system that cannot be read") from None
    if code in _LONGITUDE_LATITUDE:
        return None
    if code:
        return CRS.from_epsg(code)
    if _REFERS_ELSEWHERE.search(wkt):
        raise unknown_crs(file, "a coordinate system that refers to other files")
    return crs


def unknown_crs(file: str, what: str) -> FileRefused:
    """Error for a file whose coordinate system cannot be used."""
    fix = "Export the layer again as GeoJSON in EPSG:4326 (longitude, latitude)."
    return FileRefused("CRS_UNKNOWN", f"{file} names {what}", fix)


def to_longitude_latitude(features: list[Feature], crs: CRS | None, *, file: str) -> list[Feature]:
    """Transform the outlines of features from `crs` (None: longitude and latitude already); `file` is for messages.

    Results are rounded to 1e-9 degrees, 0.1 mm; a vertex without a result is infinite. FileRefused where the datum is
    Beijing 1954 or Xi'an 1980, whose local parameters, worth up to 100 m, survey offices hold; or where PROJ has no
    transformation.
    """
    if crs is None:
        return features
    datum = getattr(getattr(crs.geodetic_crs, "datum", None), "name", "")
    if _OLD_DATUM.search(datum):
        msg = f"{file} is on the datum {datum}, which cannot be converted without local parameters"
        raise FileRefused("CRS_OLD_DATUM", msg, "Ask the survey office for the layer in CGCS2000 or WGS 84.")
    try:
        transformer = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    except ProjError:
        what = f"the coordinate system {crs.name!r}, which cannot be transformed to EPSG:4326"
        raise unknown_crs(file, what) from None

    def transformed(ring: np.ndarray) -> np.ndarray:
        return np.column_stack(transformer.transform(ring[:, 0], ring[:, 1])).round(9) if len(ring) else ring

    return [
        replace(feature, polygons=[[transformed(ring) for ring in rings] for rings in feature.polygons])
        for feature in features
    ]
