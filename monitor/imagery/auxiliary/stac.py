"""Terrain from a STAC collection of GeoTIFFs, such as ``cop-dem-glo-30``: only the blocks under the ground are fetched.

Searches, signatures, hosts and sizes are under the same rules as imagery's.
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
from monitor.imagery.auxiliary.terrain import PIXEL, Tile, mosaic
from monitor.imagery.source import IsStored, Scene
from monitor.imagery.stac import blocks
from monitor.imagery.stac.asset_reader import AssetAddresses, AssetReader
from monitor.imagery.stac.assets import ItemAsset, SceneAssets, is_data_geotiff
from monitor.imagery.stac.fields import safe_text
from monitor.imagery.stac.items import item_address
from monitor.imagery.stac.source import Stac
from monitor.sites.projection import lonlat

ALWAYS: Final = (date(1990, 1, 1), date(2100, 1, 1))
SOME_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""An elevation model carries some date; which one does not matter."""
NAMES: Final = ("data", "elevation", "dem", "height")
"""Keys of the file of elevations, the most wanted first; else the only GeoTIFF of an item is taken."""


class StacElevation:
    """An elevation model in a STAC catalogue.

    Parameters
    ----------
    url, collection, allow_hosts
        See :class:`monitor.imagery.stac.source.Stac`.
    pixel : float
        Of the model, where it is coarser than 30 m. [m]
    """

    def __init__(self, url: str, *, collection: str, allow_hosts: Sequence[str] = (), pixel: float = PIXEL) -> None:
        self.name = collection
        self.pixel = max(pixel, PIXEL)
        self._catalogue = _Catalogue(url, collections=(collection,), allow_hosts=allow_hosts, name="terrain")

    def read(self, grid: GeoBox) -> np.ndarray:
        """See :class:`monitor.imagery.auxiliary.terrain.ElevationModel`.

        Raises
        ------
        BadData
            An item or a file of it cannot be read.
        TryLater, BadConfiguration
            See :meth:`monitor.imagery.stac.source.Stac.search`.
        """
        assert grid.crs is not None
        # Half a pixel of a tile beyond, for what lies between its pixels and the next tile's.
        area = lonlat(box(*grid.boundingbox.bbox).buffer(2 * self.pixel), grid.crs)
        try:
            return mosaic([_tile(reader) for reader in self._catalogue.files(area)], grid)
        except SceneRejected as error:
            msg = f"terrain from {self.name}: {error}"
            raise BadData(msg) from error


class _Catalogue(Stac):
    """A catalogue whose items are files of elevations, not scenes."""

    def files(self, area: BaseGeometry) -> Iterator[AssetReader]:
        """Of each item that touches an area, by id, the file of elevations."""
        for scene in sorted(self.search(area, *ALWAYS), key=lambda scene: scene.id):
            if not isinstance(scene.handle, SceneAssets):
                msg = (
                    f"item {scene.id!r} of {', '.join(self._catalogue.collections)} has no single GeoTIFF of elevations"
                )
                raise BadData(msg)
            yield AssetReader(
                self._fetcher, AssetAddresses(self._fetcher, scene.handle, self._sign), scene.handle.quality
            )

    def _scene(self, item: Mapping[str, Any], base: str, stored: IsStored | None = None) -> Scene | None:
        name = safe_text(item.get("id"))
        asset = _elevation(item)
        handle = asset and SceneAssets(
            bands=(asset,), quality=asset, epsg=None, base=base, item_address=item_address(item)
        )
        return Scene(
            id=name, acquisition=name, time=SOME_TIME, sensor="", baseline="", source=self.name, scale=1.0, offset=0.0,
            quality="", footprint=_extent(item), handle=handle,
        )  # fmt: skip


def _extent(item: Mapping[str, Any]) -> BaseGeometry | None:
    """Where an item lies; None, which is everywhere, for one that does not say so in words that make sense."""
    try:
        bounds = [float(side) for side in item["bbox"]]
        half = len(bounds) // 2  # of six sides the third and the last are heights
        return box(bounds[0], bounds[1], bounds[half], bounds[half + 1])
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _elevation(item: Mapping[str, Any]) -> ItemAsset | None:
    assets = item.get("assets")
    said = {str(k): v for k, v in assets.items() if isinstance(v, dict)} if isinstance(assets, dict) else {}
    files = {key: one for key, one in said.items() if is_data_geotiff(key, one)}
    key = next((name for name in NAMES if name in files), next(iter(files)) if len(files) == 1 else None)
    return None if key is None else ItemAsset(key=key, href=str(files[key]["href"]), selected_by="key")


def _tile(reader: AssetReader) -> Tile:
    """A file of a catalogue as a piece of an elevation model."""
    found = blocks.read_layout(reader)
    if not found.wkt or min(found.shape) < 2 or found.samples != 1:
        msg = f"{reader.name} has {found.samples} bands and {found.shape} pixels, or no coordinate system"
        raise BadData(msg)

    def values(window: Window) -> np.ndarray:
        top, left, height, width = window.row_off, window.col_off, window.height, window.width
        out = np.full((height, width), np.nan)
        (high, wide), across = found.block, found.grid[1]
        down = range(top // high, (top + height - 1) // high + 1)
        right = range(left // wide, (left + width - 1) // wide + 1)
        stored = blocks.fetch_blocks(reader, found, [i * across + j for i in down for j in right])
        for i in down:
            rows = high if found.tiled else min(high, found.shape[0] - i * high)
            for j in right:
                if i * across + j not in stored:
                    continue  # never written: unknown
                (block,) = blocks.decode_blocks(
                    found, [stored.pop(i * across + j)], band=0, rows=rows, name=reader.name
                )
                r0, c0 = max(top, i * high), max(left, j * wide)
                r1, c1 = min(top + height, i * high + rows), min(left + width, (j + 1) * wide)
                part = block[r0 - i * high : r1 - i * high, c0 - j * wide : c1 - j * wide].astype(np.float64)
                if found.nodata is not None:
                    part[part == found.nodata] = np.nan
                out[r0 - top : r1 - top, c0 - left : c1 - left] = part
        return out

    return Tile(reader.name, shape=found.shape, affine=found.transform, crs=found.wkt, values=values)
