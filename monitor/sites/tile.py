"""The 100 km tile of a site, named as in the military grid and Sentinel-2's tiling."""

import shapely

from monitor.sites.projection import projected, utm_zone
from monitor.sites.site import Site


def tile_name(site: Site) -> str:
    """Name of the 100 km square of the military grid that contains the centroid of a site, such as ``48SXF``."""
    crs, middle = utm_zone(site.geometry), site.geometry.centroid
    zone = int(str(crs)[-2:])
    east, north = (int(value // 100_000) for value in shapely.get_coordinates(projected(middle, crs))[0])
    band = "CDEFGHJKLMNPQRSTUVWX"[min(max(int((middle.y + 80) // 8), 0), 19)]
    column = "ABCDEFGHJKLMNPQRSTUVWXYZ"[((zone - 1) % 3 * 8 + east - 1) % 24]
    row = "ABCDEFGHJKLMNPQRSTUV"[(north + (5 if zone % 2 == 0 else 0)) % 20]
    return f"{zone:02d}{band}{column}{row}"
