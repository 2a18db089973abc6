"""Convert between WGS 84 and the datum of Chinese web maps (GCJ-02), which is shifted by 100 to 700 m.

The official formula is not published; this is the one in general use since 2013 [1]_. The inverse is iterated to less
than a millimetre.

References
----------
.. [1] wandergis, coordtransform, https://github.com/wandergis/coordtransform (MIT licence).
"""

import numpy as np

_AXIS = 6378245.0  # semi-major axis of the Krassowsky 1940 ellipsoid [m]
_ECCENTRICITY = 0.00669342162296594323  # first eccentricity squared of the Krassowsky 1940 ellipsoid


def from_wgs84(lonlat: np.ndarray) -> np.ndarray:
    """Convert (n, 2) longitude and latitude within China from WGS 84 to GCJ-02 [degree]."""
    x, y = lonlat[:, 0] - 105.0, lonlat[:, 1] - 35.0
    pi = np.pi
    ripple = 20 * np.sin(6 * pi * x) + 20 * np.sin(2 * pi * x)
    north = -100 + 2 * x + 3 * y + 0.2 * y**2 + 0.1 * x * y + 0.2 * np.sqrt(np.abs(x))
    north += (ripple + 20 * np.sin(pi * y) + 40 * np.sin(pi * y / 3)) * 2 / 3
    north += (160 * np.sin(pi * y / 12) + 320 * np.sin(pi * y / 30)) * 2 / 3
    east = 300 + x + 2 * y + 0.1 * x**2 + 0.1 * x * y + 0.1 * np.sqrt(np.abs(x))
    east += (ripple + 20 * np.sin(pi * x) + 40 * np.sin(pi * x / 3)) * 2 / 3
    east += (150 * np.sin(pi * x / 12) + 300 * np.sin(pi * x / 30)) * 2 / 3
    latitude = np.radians(lonlat[:, 1])
    w = 1 - _ECCENTRICITY * np.sin(latitude) ** 2
    d_lat = np.degrees(north / (_AXIS * (1 - _ECCENTRICITY) / (w * np.sqrt(w))))
    d_lon = np.degrees(east / (_AXIS / np.sqrt(w) * np.cos(latitude)))
    return np.asarray(lonlat + np.column_stack([d_lon, d_lat]))


def to_wgs84(shown: np.ndarray) -> np.ndarray:
    """Convert (n, 2) longitude and latitude from GCJ-02 to WGS 84 [degree]; the inverse of :func:`from_wgs84`."""
    lonlat = shown
    for _ in range(5):  # each step divides the error by a thousand
        lonlat = lonlat - (from_wgs84(lonlat) - shown)
    return lonlat


def in_china(lonlat: np.ndarray) -> bool:
    """Whether all points (n, 2) are in the box in which web maps apply the shift."""
    x, y = lonlat[:, 0], lonlat[:, 1]
    return bool(((x > 72) & (x < 138) & (y > 0.8) & (y < 56)).all())
