"""A folder of images becomes a catalogue for the STAC source; what it cannot use is named, and never opened."""

import os
import shutil
from datetime import date

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import Point

from monitor.errors import BadData
from monitor.imagery.stac.folder_catalogue import write_catalogue
from monitor.imagery.stac.folder_index import index_folder
from monitor.imagery.stac.folder_scene import IndexOptions
from monitor.imagery.stac.source import Stac

LEFT, TOP = 600_000.0, 4_200_000.0
BANDS = {"blue": 300, "green": 500, "red": 700, "nir": 2900, "swir16": 2500}
SCL = 4


def image(path, layers, *, names=True, pixel=10.0, dtype="uint16", scale=None, crs="EPSG:32648", tags=None, side=20):
    """A GeoTIFF with one number a band."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = round(side * 10 / pixel)
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=len(layers), dtype=dtype, crs=crs,
        transform=Affine(pixel, 0, LEFT, 0, -pixel, TOP),
    ) as file:  # fmt: skip
        for number, (name, value) in enumerate(layers.items(), start=1):
            file.write(np.full((size, size), value, dtype), number)
            if names:
                file.set_band_description(number, name)
        if scale is not None:
            file.scales = [scale] * len(layers)
        file.update_tags(**(tags or {}))
    return path


def index(folder, **options):
    return index_folder(folder, IndexOptions(**options))


def why(folder, **options):
    found = index(folder, **options)
    assert found.scenes == []
    return " ".join(text for _, text in found.problems)


def read(folder):
    """Every scene of the folder as a night reads it: scene, pixels of the middle, quality of the middle."""
    source = Stac(str(folder), allow_hosts=[str(folder)])
    scenes = source.search(Point(106.14, 37.94).buffer(0.1), date(2000, 1, 1), date(2030, 1, 1))
    grid = GeoBox((2, 2), Affine(10, 0, LEFT + 80, 0, -10, TOP - 80), "EPSG:32648")
    frames = [next(iter(frames)) for frames in source.read(scenes, [grid])]
    return [
        (scene, frame.pixels[:, 0, 0].tolist(), int(frame.quality[0, 0]))
        for scene, frame in zip(scenes, frames, strict=True)
    ]


def indexed(folder, **options):
    """What is found in a folder, after the catalogue was written, and what a night reads by it."""
    found = index(folder, **options)
    write_catalogue(folder, found.scenes)
    return found, read(folder)


def test_one_file_a_date_with_named_bands_is_read_as_written(tmp_path):
    image(tmp_path / "S2_2021-07-06.tif", {**BANDS, "SCL": SCL}, scale=1e-4)
    found, ((scene, pixels, quality),) = indexed(tmp_path)
    assert found.problems == []
    assert pixels == [300, 500, 700, 2900, 2500, 0]
    assert (scene.quality, quality, scene.sensor) == ("scl", SCL, "sentinel-2")
    assert (scene.scale, scene.offset, scene.time.date()) == (1e-4, 0.0, date(2021, 7, 6))


def test_bands_without_names_are_named_by_their_numbers(tmp_path):
    image(tmp_path / "2021-07-06.tif", {**BANDS, "scl": SCL}, names=False)
    assert "--bands blue=1,green=2,red=3,nir=4" in why(tmp_path)
    places = {"blue": "1", "green": "2", "red": "3", "nir": "4", "scl": "6"}
    found = index(tmp_path, bands=places, scale=1e-4, offset=0.0)
    assert [one.bands for one in found.scenes] == [("blue", "green", "red", "nir")]


@pytest.mark.parametrize(
    ("names", "sensor", "acquisition", "scale", "offset"),
    [
        (["S2A_MSIL2A_20210706T033541_N0301_R061_T48SUD_20210706T064512.SAFE/GRANULE/R10m/T48SUD_20210706T033541_{}_10m.tif"],
         "sentinel-2a", "S2A/20210706T033541", 1e-4, 0.0),
        (["48/S/UD/2023/7/S2B_48SUD_20230706_0_L2A/{}.tif"], "sentinel-2b", "S2B/20230706T000000", 1e-4, -0.1),
        (["HLS.S30.T48SUD.2021187T033541.v2.0.{}.tif"], "hls-s30", "HLS-S30/20210706T033541", 1e-4, 0.0),
        (["LC08_L2SP_129034_20210706_20210714_02_T1_{}.TIF"], "landsat-8", "LC08/129/20210706", 2.75e-5, -0.2),
    ],
    ids=["SAFE", "Earth Search", "HLS", "Landsat"],
)  # fmt: skip
def test_one_file_a_band_is_known_by_the_names_of_its_product(tmp_path, names, sensor, acquisition, scale, offset):
    keys = ["B02", "B03", "B04", "B8A" if "hls" in sensor else "B08"]
    keys = ["SR_B2", "SR_B3", "SR_B4", "SR_B5"] if "landsat" in sensor else keys
    quality = {"landsat-8": ("QA_PIXEL", 21824), "hls-s30": ("Fmask", 64)}.get(sensor, ("SCL", 4))
    for key, value in zip(keys, BANDS.values(), strict=False):
        image(tmp_path / names[0].format(key), {key: value}, names=False)
    image(tmp_path / names[0].format(quality[0]), {"": quality[1]}, names=False, pixel=20.0)
    image(tmp_path / names[0].format("AOT"), {"": 1}, names=False)
    found, ((scene, pixels, classes),) = indexed(tmp_path, offset=-0.1 if sensor == "sentinel-2b" else None)
    assert (found.problems, found.unread) == ([], {"aot": 1})
    assert (scene.sensor, scene.acquisition, scene.scale, scene.offset) == (sensor, acquisition, scale, offset)
    assert (pixels[:4], classes) == ([300, 500, 700, 2900], quality[1])


def test_sentinel_2_that_does_not_state_its_offset_is_not_guessed(tmp_path):
    image(tmp_path / "T48SUD_20230706T033541.tif", {"B4": 700, "B8": 2900, "SCL": 4})
    assert "--offset -0.1" in why(tmp_path)
    assert index(tmp_path, offset=-0.1).scenes[0].scene.offset == -0.1


def test_without_a_quality_layer_a_scene_is_refused_unless_people_accept_it(tmp_path):
    image(tmp_path / "2021-07-06.tif", BANDS, scale=1e-4)
    assert "NAME_SCL.tif" in why(tmp_path)
    _, ((scene, pixels, quality),) = indexed(tmp_path, no_quality=True)
    assert (scene.quality, quality, pixels[2]) == ("none", 700, 700)
    image(tmp_path / "2021-07-06_SCL.tif", {"": 9}, names=False)  # as the advice says
    assert [one.scene.quality for one in index(tmp_path, no_quality=True).scenes] == ["scl"]


def test_a_quality_layer_with_another_beginning_joins_the_scene_of_its_folder_and_day(tmp_path):
    image(tmp_path / "mosaic_2021-07-06_all.tif", BANDS, scale=1e-4)
    image(tmp_path / "clouds_2021-07-06_SCL.tif", {"": 4}, names=False)
    assert [one.scene.quality for one in index(tmp_path).scenes] == ["scl"]


def test_the_day_may_stand_in_the_folder_or_in_a_tag_and_is_missed_otherwise(tmp_path):
    bands = {**BANDS, "SCL": 4}
    image(tmp_path / "2021-07-06" / "image.tif", bands, scale=1e-4)
    image(tmp_path / "tagged.tif", bands, scale=1e-4, tags={"ACQUISITION_DATE": "2021-08-01"})
    image(tmp_path / "undated.tif", bands, scale=1e-4, tags={"TIFFTAG_DATETIME": "2024:01:01 00:00:00"})
    image(tmp_path / "06.07.2021.tif", bands, scale=1e-4)
    found = index(tmp_path)
    assert [one.scene.time.date() for one in found.scenes] == [date(2021, 7, 6), date(2021, 8, 1)]
    problems = dict(found.problems)
    assert "scene_2021-07-15.tif" in problems["undated.tif"]
    assert "write it as 2021-07-15" in problems["06.07.2021.tif"]


@pytest.mark.parametrize(("dtype", "scale", "word"), [
    ("uint8", None, "take the product"), ("uint16", None, "--scale 0.0001"),
    ("uint16", 0.5, "stretched or already scaled"),
])  # fmt: skip
def test_numbers_that_are_not_reflectance_as_delivered_are_refused_with_the_fix(tmp_path, dtype, scale, word):
    image(tmp_path / "2021-07-06.tif", {"red": 1, "nir": 2}, dtype=dtype, scale=scale)
    image(tmp_path / "2021-07-06_Fmask.tif", {"": 64}, names=False)
    assert word in why(tmp_path)


@pytest.mark.parametrize(("times", "scale"), [(1e-4, None), (1.0, None), (0.01, 0.01)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_reflectance_whatever_their_scale_and_classes_beside_them_stay(tmp_path, times, scale, dtype):
    layers = {name: value * times for name, value in BANDS.items()} | {"SCL": SCL}
    image(tmp_path / "20210706T033541_20210706T034241_T48SUD.tif", layers, dtype=dtype)
    _, ((scene, pixels, quality),) = indexed(tmp_path, offset=0.0, scale=scale)
    assert (pixels, quality) == ([300, 500, 700, 2900, 2500, 0], SCL)
    assert (scene.scale, scene.offset, scene.sensor) == (1e-4, 0.0, "sentinel-2")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.01, 6.6, 1e30, -9999])
def test_floats_that_are_no_reflectance_have_no_value(tmp_path, value):
    path = image(tmp_path / "2021-07-06.tif", {"red": 0.07, "nir": 0.29, "Fmask": 64}, dtype="float32")
    with rasterio.open(path, "r+") as file:
        file.write(np.full((1, 3), value, "float32"), 1, window=((8, 9), (8, 11)))
    assert indexed(tmp_path)[1][0][1][2:4] == [0, 2900]


@pytest.mark.parametrize("fill", [0, 32767, -32768, -9999])
@pytest.mark.parametrize("no_quality", [False, True])
def test_fill_values_of_int16_have_no_value_without_a_tag(tmp_path, fill, no_quality):
    layers = {"red": 700, "nir": 2900} | ({} if no_quality else {"Fmask": 64})
    path = image(tmp_path / "2021-07-06.tif", layers, dtype="int16", scale=1e-4)
    with rasterio.open(path, "r+") as file:
        for band in (1, 2):
            file.write(np.full((1, 3), fill, "int16"), band, window=((8, 9), (8, 11)))
    ((_, pixels, quality),) = indexed(tmp_path, no_quality=no_quality)[1]
    assert (pixels[2:4], quality) == ([0, 0], 0 if no_quality else 64)


def test_what_a_file_calls_no_value_is_no_evidence(tmp_path):
    for number, dtype in enumerate(("float32", "uint16")):
        values = {"red": 0.07, "nir": 0.29} if dtype == "float32" else {"red": 700, "nir": 2900}
        scale = None if dtype == "float32" else 1e-4
        path = image(tmp_path / f"2021-07-0{number + 1}.tif", {**values, "SCL": 4}, dtype=dtype, scale=scale)
        with rasterio.open(path, "r+") as file:
            file.nodata = 65535
            file.write(np.full((3, 9, 20), 65535, dtype), window=((0, 9), (0, 20)))
    found = index(tmp_path, check=True)
    assert (found.problems, len(found.scenes)) == ([], 2)


def test_floats_of_landsat_may_be_reflectance_or_numbers_as_delivered(tmp_path):
    for day, red, nir in (("20210706", 0.07, 0.29), ("20210722", 9818.0, 17818.0)):
        image(tmp_path / f"LC08_129034_{day}.tif", {"SR_B4": red, "SR_B5": nir, "QA_PIXEL": 21824}, dtype="float32")
    found, (one, other) = indexed(tmp_path)
    assert [one.scene.offset for one in found.scenes] == [0.0, -0.2]
    assert (one[1][2:4], one[2]) == ([700, 2900], 21824)
    np.testing.assert_allclose(1e-4 * np.array(other[1][2:4]) - 0.2, [0.07, 0.29], atol=5e-5)


def test_floats_of_a_newer_baseline_do_not_say_whether_its_offset_was_subtracted(tmp_path):
    for baseline in ("N0301", "N0500"):
        folder = tmp_path / f"S2A_MSIL2A_20210706T033541_{baseline}_R061_T48SUD_20210706T064512"
        image(folder / "reflectance.tif", {"B04": 0.07, "B08": 0.29, "SCL": 4}, dtype="float32")
    ((path, text),) = index(tmp_path).problems
    assert "N0500" in path
    assert "--check" in text


@pytest.mark.parametrize(
    ("layers", "word"),
    [({"red": 7.0, "nir": 29.0, "SCL": 4}, "--scale"),  # percent
     ({"red": 0.07, "nir": 2900, "SCL": 4}, "--scale"),
     ({"red": np.nan, "nir": np.nan, "SCL": 0}, "only 0"),
     ({"red": np.nan, "nir": np.nan, "Fmask": 64}, "no value at all"),
     ({"red": 0.07, "nir": 0.29, "SCL": 4e-4}, "scaled or interpolated"),
     ({"red": 0.07, "nir": 0.29, "SCL": 4.5}, "scaled or interpolated"),
     ({"red": 0.07, "nir": 0.29, "SCL": 40_000}, "scene classes are 0 to 11")],
)  # fmt: skip
def test_floats_that_are_unclear_and_scaled_classes_are_refused(tmp_path, layers, word):
    image(tmp_path / "2021-07-06.tif", layers, dtype="float32")
    assert word in why(tmp_path, offset=0.0)


@pytest.mark.parametrize("where", ["file", "command"])
def test_a_stated_scale_that_is_ten_times_too_large_is_refused(tmp_path, where):
    image(tmp_path / "2021-07-06.tif", {**BANDS, "SCL": SCL}, scale=1e-3 if where == "file" else None)
    assert "not with the stated scale 0.001" in why(tmp_path, offset=0.0, scale=None if where == "file" else 1e-3)
    assert index(tmp_path, offset=0.0, scale=1e-4).problems == []


def test_a_picture_of_eight_bits_is_not_taken_for_ten_thousandths_and_dark_forest_is_reflectance(tmp_path):
    image(
        tmp_path / "picture_2021-07-06.tif", dict.fromkeys(("blue", "red", "nir"), 255) | {"Fmask": 64}, dtype="float32"
    )
    image(tmp_path / "forest_2021-07-16.tif", {"blue": 0.01, "red": 0.02, "nir": 0.3, "Fmask": 64}, dtype="float32")
    found = index(tmp_path)
    assert [one.scene.id for one in found.scenes] == ["forest_2021-07-16"]
    assert "not clearly reflectance" in found.problems[0][1]


def test_a_band_of_integers_taken_for_classes_is_refused(tmp_path):
    image(tmp_path / "2021-07-06.tif", {**BANDS, "SCL": SCL}, names=False)
    places = {"red": "3", "nir": "4", "scl": "1"}
    assert "scene classes are 0 to 11" in why(tmp_path, bands=places, offset=0.0)


@pytest.mark.parametrize("where", ["file", "command"])
def test_a_stated_offset_that_contradicts_the_baseline_is_refused_unless_a_table_says_it(tmp_path, where):
    for key, value in {"B04": 1700, "B08": 3900, "SCL": 4}.items():
        name = f"S2A_MSIL2A_20230706T033541_N0509_R061_T48SUD_20230706T064512.SAFE/T48SUD_20230706T033541_{key}.tif"
        image(tmp_path / name, {key: value}, names=False, scale=1e-4 if where == "file" else None)
    stated = None if where == "file" else 0.0
    assert "baseline 05.09 with the offset -0.1" in why(tmp_path, offset=stated)
    (one,) = index(tmp_path, offset=stated, offsets={"T48SUD_20230706T033541": 0.0}).scenes
    assert one.scene.offset == 0.0
    assert index(tmp_path, offset=-0.1).scenes[0].scene.offset == -0.1


def test_offsets_of_scenes_that_the_folder_lacks_are_an_error(tmp_path):
    image(tmp_path / "good_2021-07-06.tif", {**BANDS, "SCL": SCL}, scale=1e-4)
    image(tmp_path / "refused_2021-07-16.tif", {"blue": 300}, scale=1e-4)
    (tmp_path / "broken_2021-07-26.tif").write_text("no image")
    known = dict.fromkeys(["good_2021-07-06", "refused_2021-07-16", "broken_2021-07-26"], -0.1)
    assert [one.scene.offset for one in index(tmp_path, offsets=known).scenes] == [-0.1]
    with pytest.raises(BadData, match=r"does not have: S2_2021-08-01, S2_2021-08-11; "):
        index(tmp_path, offsets=known | {"S2_2021-08-11": 0.0, "S2_2021-08-01": 0.0})


def test_scenes_that_were_indexed_otherwise_before_are_named(tmp_path):
    for day in ("2021-07-06", "2021-07-16", "2021-07-26"):
        image(tmp_path / f"S2_{day}.tif", {"B4": 700, "B8": 2900, "SCL": 4})
    assert write_catalogue(tmp_path, index(tmp_path, offset=0.0).scenes)[1] == []
    image(tmp_path / "S2_2021-07-16.tif", {"B4": 700, "B8": 2900, "SCL": 4}, tags={"a": "replaced by a longer file"})
    image(tmp_path / "S2_2021-08-06.tif", {"B4": 700, "B8": 2900, "SCL": 4})
    offsets = {"S2_2021-07-06": -0.1}
    found = index(tmp_path, offset=0.0, offsets=offsets)
    assert write_catalogue(tmp_path, found.scenes)[1] == ["S2_2021-07-06", "S2_2021-07-16"]
    assert write_catalogue(tmp_path, found.scenes)[1] == []


def test_floats_stretched_for_the_eye_are_refused_whatever_is_stated(shared_data, tmp_path):
    shutil.copy(shared_data / "bc06_stretched" / "2006.tif", tmp_path / "2006-07-15.tif")
    for scale in (None, 1.0, 1e-4):
        places = {"blue": "1", "green": "2", "red": "3", "nir": "4"}
        text = why(tmp_path, bands=places, no_quality=True, scale=scale)
        assert "stretched for the eye" in text


def test_the_baseline_may_stand_in_the_metadata_of_a_product(tmp_path):
    bands = {"B04": 700, "B08": 2900, "SCL": 4}
    for key, value in bands.items():
        image(tmp_path / f"old/IMG_DATA/T48SUD_20210706T033541_{key}.tif", {key: value}, names=False)
        image(tmp_path / f"new/IMG_DATA/T48SUD_20210716T033541_{key}.tif", {key: value}, names=False)
    tile = "S2B_OPER_MSI_L2A_TL_VGS4_20210706T064512_A031543_T48SUD_N03.01"
    (tmp_path / "old/MTD_TL.xml").write_text(f'<!DOCTYPE a SYSTEM "x"><a><TILE_ID b="c">{tile}</TILE_ID></a>')
    name = "S2A_MSIL2A_20210716T033541_N0500_R061_T48SUD_20230316T064512.SAFE"
    (tmp_path / "new/MTD_MSIL2A.xml").write_text(f"<a><PRODUCT_URI>{name}</PRODUCT_URI></a>")
    one, other = (scene.scene for scene in index(tmp_path).scenes)
    assert (one.sensor, one.baseline, one.offset) == ("sentinel-2b", "03.01", 0.0)
    assert (other.acquisition, other.baseline, other.offset) == ("S2A/20210716T033541", "05.00", -0.1)


def test_renamed_files_of_landsat_are_known_by_their_metadata(tmp_path):
    for key, value in {"SR_B4": 9818, "SR_B5": 17818, "QA_PIXEL": 21824}.items():
        image(tmp_path / f"july/{key}.TIF", {key: value}, names=False)
    (tmp_path / "july/july_MTL.txt").write_text('LANDSAT_PRODUCT_ID = "LC09_L2SP_129034_20220706_20220708_02_T1"')
    (one,) = index(tmp_path).scenes
    assert (one.scene.acquisition, one.scene.offset) == ("LC09/129/20220706", -0.2)


def test_scenes_of_landsat_side_by_side_keep_their_own_names(tmp_path):
    for name in ("LC08_L2SP_129034_20210706_20210714_02_T1", "LC09_L2SP_129034_20220706_20220708_02_T1"):
        for key, value in {"SR_B4": 9818, "SR_B5": 17818, "QA_PIXEL": 21824}.items():
            image(tmp_path / f"{name}_{key}.TIF", {key: value}, names=False)
        (tmp_path / f"{name}_MTL.txt").write_text(f'LANDSAT_PRODUCT_ID = "{name}"')
    assert [one.scene.acquisition for one in index(tmp_path).scenes] == ["LC08/129/20210706", "LC09/129/20220706"]


def test_scaled_classes_in_integers_are_found_by_the_check(tmp_path):
    image(tmp_path / "2021-07-06.tif", {**BANDS, "SCL": 40_000}, scale=1e-4)
    assert "scene classes are 0 to 11" in why(tmp_path, check=True)


def test_level_1_and_packed_products_are_refused_by_name(tmp_path):
    image(tmp_path / "S2A_MSIL1C_20210706T033541_N0301_R061_T48SUD_20210706T064512.SAFE/B04.tif", {"": 1}, names=False)
    (tmp_path / "LC08_L2SP_129034_20210706_20210714_02_T1.tar").write_bytes(b"")
    text = why(tmp_path)
    assert "Level 1C" in text
    assert "unpack it" in text


def test_no_file_but_a_plain_tiff_of_the_folder_is_opened(tmp_path):
    folder, outside = tmp_path / "scenes", tmp_path / "outside"
    good = image(folder / "2021-07-06.tif", {**BANDS, "SCL": 4}, scale=1e-4)
    secret = image(outside / "2021-07-07.tif", {**BANDS, "SCL": 4}, scale=1e-4)
    (folder / "2021-07-08.tif").write_text(f"<VRTDataset><SimpleSource><SourceFilename>{secret}</SourceFilename>")
    (folder / "2021-07-09.tif").write_text(f"<MRF_META><CachedSource><Source>{secret}</Source></CachedSource>")
    (folder / "2021-07-10.tif").symlink_to(secret)
    (folder / "linked").symlink_to(outside)
    os.mkfifo(folder / "2021-07-11.tif")
    (folder / "2021-07-12.tif").write_bytes(good.read_bytes()[:60])
    (folder / "2021-07-13.tif").write_bytes(b"")
    found = index(folder)
    assert [one.scene.id for one in found.scenes] == ["2021-07-06"]
    problems = dict(found.problems)
    assert "is not a GeoTIFF" in problems["2021-07-08.tif"]
    assert "is not a GeoTIFF" in problems["2021-07-09.tif"]
    assert "out of the folder" in problems["2021-07-10.tif"]
    assert "links are not followed" in problems["linked"]
    assert problems["2021-07-11.tif"] == "is not a regular file"
    assert {"2021-07-12.tif", "2021-07-13.tif"} <= problems.keys()


@pytest.mark.parametrize("text", [
    b"<GDALMetadata>" + b"<Item>" * 5000, b"no XML", b'<Item name="A" sample="0" role="description">\xff\xfe</Item>',
    b'<Item name="X_DATASET" domain="GEOLOCATION">/etc/passwd</Item>', b'<Item sample="0" role="scale">nan</Item>',
], ids=["deep", "not XML", "not UTF-8", "another file", "NaN"])  # fmt: skip
def test_texts_in_a_header_that_mean_harm_are_not_read(tmp_path, text):
    path = image(tmp_path / "2021-07-06.tif", {**BANDS, "SCL": 4}, tags={"FILL": "x" * 40_000})
    header, begin, rest = path.read_bytes().partition(b"<GDALMetadata>")
    texts, end, rest = (begin + rest).partition(b"</GDALMetadata>")
    path.write_bytes(header + (begin + text).ljust(len(texts)) + end + rest)
    assert "has no" in why(tmp_path)


def test_hostile_names_stay_text(tmp_path):
    names = ["2021-07-06\nBcc: x", "2021-07-07 <script>", "2021-07-08 http:x", "2021-07-09 # ?a=1", "2021-07-10 %2e%2e"]
    for name in names:
        image(tmp_path / f"{name}.tif", {**BANDS, "SCL": 4}, scale=1e-4)
    found, scenes = indexed(tmp_path)
    assert len(found.scenes) == len(scenes) == len(names)
    assert all("\n" not in one.scene.id for one in found.scenes)
    assert sorted(path.parent for path in tmp_path.rglob("*.json")) == [tmp_path, *[tmp_path / "stac"] * len(names)]


def test_an_index_made_again_changes_nothing_and_follows_the_files(tmp_path):
    for day in ("2021-07-06", "2021-07-16"):
        image(tmp_path / f"{day}.tif", {**BANDS, "SCL": 4}, scale=1e-4)

    def made():
        write_catalogue(tmp_path, index(tmp_path).scenes)
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*.json")}

    before = made()
    assert made() == before
    (tmp_path / "2021-07-06.tif").rename(tmp_path / "2021-07-26.tif")
    assert {path.name for path in made()} == {"catalog.json", "2021-07-16.json", "2021-07-26.json"}


def test_other_tools_open_the_catalogue(tmp_path):
    path = image(tmp_path / "2021-07-06.tif", {**BANDS, "SCL": 4}, scale=1e-4)
    write_catalogue(tmp_path, index(tmp_path).scenes)
    (item,) = pystac.Catalog.from_file(str(tmp_path / "catalog.json")).get_items()
    (asset,) = item.assets.values()
    assert asset.get_absolute_href() == str(path)
    assert item.geometry["type"] == "Polygon"


def test_a_catalogue_of_something_else_stays(tmp_path):
    image(tmp_path / "2021-07-06.tif", {**BANDS, "SCL": 4}, scale=1e-4)
    (tmp_path / "catalog.json").write_text('{"type": "Catalog", "id": "mine", "links": []}')
    with pytest.raises(BadData, match="as \\[source\\] url"):
        write_catalogue(tmp_path, index(tmp_path).scenes)
    assert "mine" in (tmp_path / "catalog.json").read_text()


@pytest.mark.parametrize("link", ["stac", ".catalog.json.part"])
def test_nothing_is_written_through_a_link(tmp_path, link):
    folder, outside = tmp_path / "scenes", tmp_path / "outside"
    image(folder / "2021-07-06.tif", {**BANDS, "SCL": 4}, scale=1e-4)
    outside.mkdir() if link == "stac" else outside.write_text("mine")
    (folder / link).symlink_to(outside)
    with pytest.raises((BadData, OSError)):
        write_catalogue(folder, index(folder).scenes)
    assert list(outside.iterdir()) == [] if link == "stac" else outside.read_text() == "mine"


def test_an_empty_folder_and_a_missing_one_are_named(tmp_path):
    with pytest.raises(BadData, match="holds no image"):
        index(tmp_path)
    with pytest.raises(BadData, match="is not a folder"):
        index(tmp_path / "nowhere")
