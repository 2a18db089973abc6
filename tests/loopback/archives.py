"""Granules of Sentinel-2 as public archives write them, after their recorded items or their documentation.

    scene = Granule(when, tile, transform, epsg, pixels, classes)
    server.items.append(of_cdse(folder, scene, href=...))

Pixels are reflectance x 10,000 without offset, at 10 m; classes are those of Sen2Cor, at 20 m.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.shutil
from affine import Affine
from odc.geo import CRS
from shapely.geometry import box, mapping

from monitor.sites.projection import lonlat
from tests.loopback.stac import BANDS, write_cog

type Href = Callable[[Path], str]
"""Address of a file."""
GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


@dataclass(frozen=True, kw_only=True)
class Granule:
    """A granule of Sentinel-2A."""

    when: datetime
    tile: str
    transform: Affine
    epsg: int
    pixels: np.ndarray
    """(band, y, x)"""
    classes: np.ndarray
    """(y, x)"""

    def write(self, path: Path, key: str, pixels: np.ndarray, **options: Any) -> Path:
        """A file of the granule, of 20 m if it is of such a band."""
        step = 2 if key in ("B11", "B12", "SCL") else 1
        pixels = pixels[::step, ::step] if key != "SCL" else pixels
        place = self.transform @ Affine.scale(step)
        tiff = write_cog(path.with_suffix(".tif"), pixels, place, f"EPSG:{self.epsg}", **options)
        if path.suffix == ".jp2":
            lossless = {"QUALITY": 100, "REVERSIBLE": "YES", "BLOCKXSIZE": 1024, "BLOCKYSIZE": 1024}
            rasterio.shutil.copy(tiff, path, driver="JP2OpenJPEG", **lossless)
            tiff.unlink()
        return path

    def item(self, name: str, collection: str, assets: dict[str, Any], **properties: Any) -> dict[str, Any]:
        """The item with what is common to all archives."""
        height, width = self.pixels.shape[1:]
        left, top = self.transform.c, self.transform.f
        area = box(left, top - height * self.transform.a, left + width * self.transform.a, top)
        outline = lonlat(area, CRS(f"EPSG:{self.epsg}"))
        return {
            "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection, "links": [],
            "geometry": mapping(outline), "bbox": list(outline.bounds), "assets": assets,
            "properties": {
                "datetime": f"{self.when:%Y-%m-%dT%H:%M:%SZ}", "platform": "sentinel-2a", "sat:relative_orbit": 104,
                **properties,
            },
        }  # fmt: skip


def of_earth_search(folder: Path, scene: Granule, collection: str, *, href: Href) -> dict[str, Any]:
    """Either collection of Earth Search: in the older one the offset was taken off, in the newer one it is stated."""
    is_old = collection == "sentinel-2-l2a"
    shift, baseline = (0, "05.09") if is_old else (1000, "05.10")
    name = f"S2A_48SXH_{scene.when:%Y%m%d}_0_L2A" if is_old else f"S2A_T48SXH_{scene.when:%Y%m%dT%H%M%S}_L2A"
    assets = {}
    for (key, common), pixels in zip(BANDS.items(), scene.pixels, strict=True):
        path = scene.write(folder / collection / name / f"{key}.tif", key, pixels + np.uint16(shift))
        assets[common] = {
            "href": href(path), "type": GEOTIFF, "roles": ["data", "reflectance"],
            "eo:bands": [{"name": common, "common_name": common}],
            "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}],
        }  # fmt: skip
        assets[f"{common}-jp2"] = {**assets[common], "href": f"s3://sentinel-s2-l2a/{key}.jp2", "type": "image/jp2"}
    classes = scene.write(folder / collection / name / "SCL.tif", "SCL", scene.classes)
    assets["scl"] = {"href": href(classes), "type": GEOTIFF, "roles": ["data", "reflectance"]}
    return scene.item(
        name, collection, assets,
        **{"proj:epsg": scene.epsg, "grid:code": f"MGRS-{scene.tile}", "s2:processing_baseline": baseline,
           "s2:datatake_id": f"GS2A_{scene.when:%Y%m%dT%H%M%S}_023671_N{baseline}"},
        **({"earthsearch:boa_offset_applied": True} if is_old else {}),
    )  # fmt: skip


def of_planetary_computer(folder: Path, scene: Granule, *, href: Href) -> dict[str, Any]:
    """Planetary Computer states no offset."""
    shift, baseline = (1000, "05.09") if scene.when.year >= 2020 else (0, "02.09")
    number = baseline.replace(".", "")
    name = f"S2A_MSIL2A_{scene.when:%Y%m%dT%H%M%S}_N{number}_R104_T{scene.tile}_{scene.when:%Y%m%d}T093102"
    assets = {}
    for (key, common), pixels in zip(BANDS.items(), scene.pixels, strict=True):
        path = scene.write(folder / name / f"{key}.tif", key, pixels + np.uint16(shift))
        assets[key] = {
            "href": href(path), "type": GEOTIFF, "roles": ["data"],
            "eo:bands": [{"name": key, "common_name": common}],
        }  # fmt: skip
    classes = scene.write(folder / name / "SCL.tif", "SCL", scene.classes)
    assets["SCL"] = {"href": href(classes), "type": GEOTIFF, "roles": ["data"]}
    return scene.item(
        name, "sentinel-2-l2a", assets,
        **{"proj:epsg": scene.epsg, "s2:mgrs_tile": scene.tile, "s2:processing_baseline": baseline,
           "s2:datatake_id": f"GS2A_{scene.when:%Y%m%dT%H%M%S}_023671_N{baseline}"},
    )  # fmt: skip


def of_cdse(folder: Path, scene: Granule) -> dict[str, Any]:
    """Copernicus Data Space: STAC 1.1, JPEG 2000 in a bucket of an account, each band in several resolutions."""
    name = f"S2A_MSIL2A_{scene.when:%Y%m%dT%H%M%S}_N0510_R104_T{scene.tile}_{scene.when:%Y%m%d}T093102"
    key_of_product = f"Sentinel-2/MSI/L2A_N0500/{scene.when:%Y/%m/%d}/{name}.SAFE/GRANULE/L2A_T{scene.tile}/IMG_DATA"
    assets: dict[str, Any] = {}

    def asset(key: str, pixels: np.ndarray, gsd: int, **described: Any) -> None:
        file = f"{key_of_product}/R{gsd}m/T{scene.tile}_{scene.when:%Y%m%dT%H%M%S}_{key}_{gsd}m.jp2"
        path = scene.write(folder / file, key, pixels)
        path.parent.mkdir(parents=True, exist_ok=True)
        assets[f"{key}_{gsd}m"] = {
            "href": f"s3://eodata/{file}", "type": "image/jp2", "roles": ["data"], "gsd": gsd, "nodata": 0,
            "proj:code": f"EPSG:{scene.epsg}", "auth:refs": ["s3"], "storage:refs": ["cdse-s3", "creodias-s3"],
            **described,
        }  # fmt: skip

    for (key, common), pixels in zip(BANDS.items(), scene.pixels, strict=True):
        gsd = 20 if key in ("B11", "B12") else 10
        asset(
            key, pixels + np.uint16(1000), gsd, data_type="uint16",
            bands=[{"name": key, "eo:common_name": common, "raster:scale": 0.0001, "raster:offset": -0.1}],
        )  # fmt: skip
        if gsd == 10:  # as the archive has them, and nothing reads
            coarse = {**assets[f"{key}_10m"], "href": f"s3://eodata/{key_of_product}/R20m/{key}_20m.jp2", "gsd": 20}
            assets[f"{key}_20m"] = coarse
    asset("SCL", scene.classes, 20, data_type="uint8", title="Scene classification map (SCL)")
    assets["TCI_10m"] = {"href": f"s3://eodata/{key_of_product}/TCI.jp2", "type": "image/jp2", "roles": ["visual"]}
    assets["Product"] = {"href": f"https://download.example/{name}.zip", "type": "application/zip"}
    item = scene.item(
        name, "sentinel-2-l2a", assets,
        **{"grid:code": f"MGRS-{scene.tile}", "processing:version": "05.10", "product:type": "S2MSI2A",
           "eopf:datatake_id": f"GS2A_{scene.when:%Y%m%dT%H%M%S}_023671_N05.10", "constellation": "sentinel-2"},
    )  # fmt: skip
    return {**item, "stac_version": "1.1.0"}


def of_dea(folder: Path, scene: Granule) -> dict[str, Any]:
    """Digital Earth Australia: signed integers with nodata -999, numbers of Fmask, files in a public bucket."""
    keys = ("nbart_blue", "nbart_green", "nbart_red", "nbart_nir_1", "nbart_swir_2", "nbart_swir_3")
    fmask = np.select([scene.classes == 4, scene.classes == 9], [1, 2], 0).astype(np.uint8)
    start = f"baseline/ga_s2am_ard_3/{scene.tile[:2]}/{scene.tile[2:]}/{scene.when:%Y/%m/%d}"
    assets = {}
    for key, band, pixels in zip(keys, BANDS, scene.pixels, strict=True):
        file = f"{start}/ga_s2am_nbart_3-2-1_{scene.tile}_{scene.when:%Y-%m-%d}_final_band{band[1:]}.tif"
        scene.write(folder / file, band, np.where(pixels > 0, pixels.astype(np.int16), -999), nodata=-999)
        assets[key] = {"href": f"s3://dea-public-data/{file}", "type": GEOTIFF, "eo:bands": [{"name": key}]}
    file = f"{start}/ga_s2am_oa_3-2-1_{scene.tile}_{scene.when:%Y-%m-%d}_final_fmask.tif"
    scene.write(folder / file, "SCL", fmask)
    assets["oa_fmask"] = {"href": f"s3://dea-public-data/{file}", "type": GEOTIFF, "eo:bands": [{"name": "oa_fmask"}]}
    strip = f"{scene.when:%Y%m%dT%H%M%S}"
    return scene.item(
        f"00000000-0000-5000-8000-{scene.when:%y%m%d%H%M%S}", "ga_s2am_ard_3", assets,
        **{"proj:epsg": scene.epsg, "odc:region_code": scene.tile, "odc:dataset_version": "3.2.1",
           "dea:dataset_maturity": "final", "odc:product": "ga_s2am_ard_3",
           "sentinel:datastrip_id": f"S2A_OPER_MSI_L1C_DS_VGS4_{scene.when:%Y%m%d}T081017_S{strip}_N03.01"},
    )  # fmt: skip
