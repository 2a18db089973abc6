"""Files of terrain and rain are regular files of this machine, read as what they are called."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from monitor.errors import BadData
from monitor.imagery.auxiliary.elevation import LocalElevation
from monitor.imagery.auxiliary.files import geotiff_paths, open_geotiff
from monitor.imagery.auxiliary.rainfall import LocalRain

VRT = (
    '<VRTDataset rasterXSize="2" rasterYSize="2"><SRS>EPSG:4326</SRS><VRTRasterBand dataType="Float32" band="1">'
    "<SimpleSource><SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
)


@pytest.fixture
def tif(tmp_path):
    path = tmp_path / "dem.tif"
    profile = {"width": 4, "height": 4, "count": 1, "dtype": "float32", "crs": "EPSG:32648"}
    with rasterio.open(path, "w", driver="GTiff", transform=Affine(30, 0, 5e5, 0, -30, 4e6), **profile) as file:
        file.write(np.full((4, 4), 1500, "float32"), 1)
    return path


@pytest.mark.parametrize("name", [
    "/vsicurl/http://127.0.0.1/dem.tif", "http://127.0.0.1/dem.tif", "GTIFF_DIR:1:dem.tif", "<VRTDataset/>", "no.tif",
    "nul\x00.tif",
])  # fmt: skip
@pytest.mark.parametrize("reader", [LocalElevation, LocalRain])
def test_a_path_that_is_not_a_local_file_is_refused_with_the_reason(reader, name):
    with pytest.raises(BadData, match=r"address|cannot be read|there is no file"):
        reader(Path(name))


@pytest.mark.parametrize("content", [VRT, "<GDAL_WMS></GDAL_WMS>", "<MRF_META></MRF_META>", ""])
def test_other_formats_under_the_name_of_a_geotiff_are_refused_unread(tmp_path, tif, content):
    path = tmp_path / "other.tif"
    path.write_text(content.format(tif))
    for given in (path, tmp_path):
        with pytest.raises(BadData, match="cannot be read as GeoTIFF"):
            LocalElevation(given)


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "dem.tif")
    with pytest.raises(BadData, match="not a plain file"):
        LocalElevation(tmp_path / "dem.tif")


def test_a_file_cut_short_is_refused_by_name(tmp_path, tif):
    whole = tif.read_bytes()
    for keep in (8, 40, len(whole) - 20):
        path = tmp_path / "cut.tif"
        path.write_bytes(whole[:keep])
        with pytest.raises(BadData, match=r"cut\.tif"), open_geotiff(path) as file:
            file.read(1)


def test_a_folder_without_geotiffs_is_refused(tmp_path):
    with pytest.raises(BadData, match="no GeoTIFF"):
        geotiff_paths(tmp_path)
