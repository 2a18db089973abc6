"""Terrain from a STAC collection of GeoTIFFs, such as ``cop-dem-glo-30``; only the blocks under the ground are fetched.

Searches, signed addresses, allowed hosts and sizes follow the same rules as for imagery.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from monitor.errors import BadData, SceneRejected
from monitor.imagery.auxiliary.elevation import TERRAIN_PIXEL, ElevationTile, mosaic
from monitor.imagery.source import IsStored, Scene
from monitor.imagery.stac import blocks
from monitor.imagery.stac.asset_reader import AssetAddresses, AssetReader
from monitor.imagery.stac.assets import ItemAsset, SceneAssets, image_assets
from monitor.imagery.stac.documents import safe_text
from monitor.imagery.stac.items import item_address
from monitor.imagery.stac.source import Stac
from monitor.sites.projection import lonlat

ALL_DATES: Final = (date(1990, 1, 1), date(2100, 1, 1))
PLACEHOLDER_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)  # of an elevation model, where time does not matter
ELEVATION_ASSETS: Final = ("data", "elevation", "dem", "height")
"""Keys of the elevation file, most preferred first; without one of them the only GeoTIFF of an item is used."""


class StacElevation:
    """An :class:`ElevationModel` in a STAC catalogue; parameters as of :class:`monitor.imagery.stac.source.Stac`."""

    pixel = TERRAIN_PIXEL

    def __init__(self, url: str, *, collection: str, allow_hosts: Sequence[str] = ()) -> None:
        self.name = collection
        self._catalogue = _Catalogue(url, collections=(collection,), allow_hosts=allow_hosts, name="terrain")

    def read(self, grid: GeoBox) -> np.ndarray:
        """Elevation on a grid, see :meth:`ElevationModel.read`."""
        assert grid.crs is not None
        # A margin for interpolation between the pixels of neighbouring tiles.
        area = lonlat(box(*grid.boundingbox.bbox).buffer(2 * self.pixel), grid.crs)
        try:
            return mosaic([_tile(reader) for reader in self._catalogue.files(area)], grid)
        except SceneRejected as error:
            raise BadData(f"terrain from {self.name}: {error}") from error


class _Catalogue(Stac):
    """A catalogue whose items are elevation files, not scenes."""

    def files(self, area: BaseGeometry) -> Iterator[AssetReader]:
        """Elevation file of each item that touches an area, sorted by item id."""
        for scene in sorted(self.search(area, *ALL_DATES), key=lambda scene: scene.id):
            if not isinstance(scene.handle, SceneAssets):
                collections = ", ".join(self._catalogue.collections)
                raise BadData(f"item {scene.id!r} of {collections} has no single GeoTIFF of elevations")
            addresses = AssetAddresses(self._fetcher, scene.handle, self._sign)
            yield AssetReader(self._fetcher, addresses, scene.handle.quality)

    def _scene(self, item: Mapping[str, Any], base: str, stored: IsStored | None = None) -> Scene | None:
        name = safe_text(item.get("id"))
        asset = _elevation(item)
        handle = asset and SceneAssets(
            bands=(asset,), quality=asset, epsg=None, base=base, item_address=item_address(item)
        )
        return Scene(
            id=name, acquisition=name, time=PLACEHOLDER_TIME, sensor="", baseline="", source=self.name, scale=1.0,
            offset=0.0, quality="", footprint=_extent(item), handle=handle,
        )  # fmt: skip


def _extent(item: Mapping[str, Any]) -> BaseGeometry | None:
    """Bounding box of an item; None, which counts as everywhere: it is missing or invalid."""
    try:
        bounds = [float(side) for side in item["bbox"]]
        half = len(bounds) // 2  # a box of six numbers has heights as third and last
        return box(bounds[0], bounds[1], bounds[half], bounds[half + 1])
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _elevation(item: Mapping[str, Any]) -> ItemAsset | None:
    files = dict(image_assets(item))
    key = next((name for name in ELEVATION_ASSETS if name in files), next(iter(files)) if len(files) == 1 else None)
    return None if key is None else ItemAsset(key=key, href=str(files[key]["href"]))


def _tile(reader: AssetReader) -> ElevationTile:
    """One file of a catalogue as a tile of the elevation model."""
    layout = blocks.read_layout(reader)
    if not layout.wkt or min(layout.shape) < 2 or layout.samples != 1:
        raise BadData(f"{reader.name} has {layout.samples} bands and {layout.shape} pixels, or no coordinate system")

    def values(window: Window) -> np.ndarray:
        top, left, height, width = window.row_off, window.col_off, window.height, window.width
        out = np.full((height, width), np.nan)
        (high, wide), across = layout.block, layout.grid[1]
        down = range(top // high, (top + height - 1) // high + 1)
        right = range(left // wide, (left + width - 1) // wide + 1)
        stored = blocks.fetch_blocks(reader, layout, [i * across + j for i in down for j in right])
        for number in list(stored):  # one that is missing was never written: unknown
            i, j = divmod(number, across)
            (block,) = blocks.decode_blocks(layout, {number: stored.pop(number)}, band=0, name=reader.name).values()
            r0, c0 = max(top, i * high), max(left, j * wide)
            r1, c1 = min(top + height, i * high + block.shape[0]), min(left + width, (j + 1) * wide)
            part = block[r0 - i * high : r1 - i * high, c0 - j * wide : c1 - j * wide].astype(np.float64)
            if layout.nodata is not None:
                part[part == layout.nodata] = np.nan
            out[r0 - top : r1 - top, c0 - left : c1 - left] = part
        return out

    return ElevationTile(reader.name, shape=layout.shape, affine=layout.transform, crs=layout.wkt, values=values)
