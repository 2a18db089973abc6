"""The embedded sample as a folder of images, in the forms in which people have them."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox

from monitor.imagery import bands
from monitor.imagery.sample import LAEA, Sample

BANDS = ("blue", "green", "red", "nir", "swir16")
MSI = dict(zip(BANDS, ("B02", "B03", "B04", "B08", "B11"), strict=True))
OLI = dict(zip(BANDS, ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6"), strict=True))


def write(
    path: Path, layers: Mapping[str, np.ndarray], grid: GeoBox, *, driver="GTiff", scale=None, named=True, **options
) -> None:
    """Write one image with named bands; by the driver of JPEG 2000 with tiles of 64 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.stack(list(layers.values()))
    made = path.with_suffix(".making") if driver == "JP2OpenJPEG" else path
    with rasterio.open(
        made, "w", driver="GTiff" if made != path else driver, width=grid.shape[1], height=grid.shape[0],
        count=len(pixels), dtype=pixels.dtype, crs=str(LAEA), transform=grid.affine, compress="deflate", **options,
    ) as file:  # fmt: skip
        file.write(pixels)
        for number, name in enumerate(layers, start=1):
            if len(layers) > 1 and named:
                file.set_band_description(number, name)
        if scale is not None:
            file.scales = [scale if name in BANDS else 1.0 for name in layers]
    if made != path:
        rasterio.shutil.copy(made, path, driver=driver, BLOCKXSIZE=64, BLOCKYSIZE=64, QUALITY=100, REVERSIBLE="YES")
        made.unlink()


def safe(folder: Path, day: str, optical: dict, classes: np.ndarray, grid: GeoBox, baseline="0209") -> None:
    """A Sentinel-2 product with JPEG 2000."""
    root = folder / f"S2A_MSIL2A_{day}T093041_N{baseline}_R136_T35TKL_{day}T120000.SAFE"
    granule(root / "GRANULE", day, optical, classes, grid, baseline)
    (root / "MTD_MSIL2A.xml").write_text(f"<A><PRODUCT_URI>{root.name}</PRODUCT_URI></A>")


def granule(folder: Path, day: str, optical: dict, classes: np.ndarray, grid: GeoBox, baseline="0209") -> None:
    """A granule folder of such a product."""
    root = folder / f"L2A_T35TKL_A012345_{day}T093041"
    name = f"T35TKL_{day}T093041"
    for band, pixels in optical.items():
        if band == "swir16":
            write(
                root / f"IMG_DATA/R20m/{name}_B11_20m.jp2", {"": pixels[::2, ::2]}, coarse(grid), driver="JP2OpenJPEG"
            )
        else:
            write(root / f"IMG_DATA/R10m/{name}_{MSI[band]}_10m.jp2", {"": pixels}, grid, driver="JP2OpenJPEG")
    scl = {"": classes[::2, ::2].astype("uint8")}
    write(root / f"IMG_DATA/R20m/{name}_SCL_20m.jp2", scl, coarse(grid), driver="JP2OpenJPEG")
    write(root / "QI_DATA/MSK_DETFOO_B04.jp2", {"": classes.astype("uint8")}, grid, driver="JP2OpenJPEG")
    tile_id = f"S2A_OPER_MSI_L2A_TL_VGS4_{day}T120000_A012345_T35TKL_N{baseline[:2]}.{baseline[2:]}"
    (root / "MTD_TL.xml").write_text(f'<A><TILE_ID metadataLevel="Brief">{tile_id}</TILE_ID></A>')


def coarse(grid: GeoBox) -> GeoBox:
    """The grid with pixels of twice the side."""
    return grid.zoom_out(2)


def landsat(folder: Path, day: str, optical: dict, classes: np.ndarray, grid: GeoBox) -> None:
    """A bundle of Landsat Collection 2, unpacked, with temperature and quality files beside."""
    name = f"LC08_L2SP_183029_{day}_{day}_02_T1"
    for band, pixels in optical.items():
        write(folder / name / f"{name}_{OLI[band]}.TIF", {"": landsat_numbers(pixels)}, grid)
    bits = np.select([classes == 0, np.isin(classes, (4, 5))], [1, 21824], 22280).astype("uint16")
    for other in ("QA_PIXEL", "ST_B10", "ST_QA", "SR_QA_AEROSOL", "QA_RADSAT"):
        write(folder / name / f"{name}_{other}.TIF", {"": bits}, grid)
    (folder / name / f"{name}_MTL.txt").write_text(f'LANDSAT_PRODUCT_ID = "{name}"\n')


def landsat_numbers(pixels: np.ndarray) -> np.ndarray:
    """Numbers of Landsat for reflectance times 10,000."""
    return np.where(pixels > 0, np.rint((pixels * 1e-4 + 0.2) / 2.75e-5), 0).astype("uint16")


def floats(name: str, scale: float, *, named: bool = True) -> Callable[..., None]:
    """Stacks of floats, of reflectance times a number, with the classes as floats beside; NaN where there is none."""

    def written(folder: Path, day: str, optical: dict, classes: np.ndarray, grid: GeoBox) -> None:
        layers = {MSI[band]: np.where(pixels > 0, pixels * scale, np.nan) for band, pixels in optical.items()}
        layers = {band: pixels.astype("float32") for band, pixels in (layers | {"SCL": classes}).items()}
        write(folder / f"{name.format(day=day)}.tif", layers, grid, nodata=np.nan, named=named)

    return written


def band_files(folder: Path, day: str, optical: dict, classes: np.ndarray, grid: GeoBox) -> None:
    """A file a band."""
    for band, pixels in (optical | {"SCL": classes.astype("uint8")}).items():
        write(folder / f"{day}_{band}.tif", {"": pixels}, grid)


def stack(folder: Path, day: str, optical: dict, classes: np.ndarray, grid: GeoBox, driver="GTiff") -> None:
    """A file a date with named bands and classes."""
    name = f"S2_{day[:4]}-{day[4:6]}-{day[6:]}.tif"
    write(folder / name, optical | {"SCL": classes}, grid, driver=driver, scale=1e-4)


def cog(*arguments) -> None:
    """The same, cloud-optimised."""
    stack(*arguments, driver="COG")


KINDS = {
    "stack": stack, "cog": cog, "safe": safe, "granule": granule, "landsat": landsat, "bands": band_files,
    "earthengine": floats("{day}T093041_{day}T093042_T35TKL", 1e-4), "openeo": floats("openEO_{day}Z", 1e-4),
    "sentinelhub": floats("{day}/response", 1.0, named=False),
}  # fmt: skip


def export_sample(
    folder: Path, *, seed: int = 1, every: int = 1, kind: str = "stack", years: int = 0, added: date | None = None
) -> Path:
    """Write every n-th scene of the sample up to the end of October 2020 in one of :data:`KINDS`.

    Dates are moved by `years`; from `added` on 1,000 is added to the numbers, as the offset of Sentinel-2.
    """
    folder.mkdir(parents=True)
    source = Sample(seed)
    grid = source.grid(source.place(0))
    scenes = source.search(source.place(0), date(2015, 8, 1), date(2020, 10, 31))[::every]
    for scene, (frame,) in zip(scenes, source.read(scenes, [grid]), strict=True):
        day = scene.time.date() + timedelta(round(365.25 * years))
        step = 1000 if added and day >= added else 0
        optical = {name: frame.pixels[bands.OBSERVED.index(name)] for name in BANDS}
        optical = {name: np.where(pixels > 0, pixels + step, 0).astype("uint16") for name, pixels in optical.items()}
        KINDS[kind](folder, f"{day:%Y%m%d}", optical, frame.quality, grid)
    return folder
