"""Photos of strangers: only the pixels are stored, with time and place, whatever the file tries."""

import io
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from monitor.alerts import photos
from monitor.alerts.photos import PhotoProblem, read_photo, read_photo_apart

NAN = IFDRational(0, 0)


def picture(width=40, height=20, mode="RGB"):
    """Red above green, and blue in the lower right quarter."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2] = (200, 0, 0)
    pixels[height // 2 :] = (0, 200, 0)
    pixels[height // 2 :, width // 2 :] = (0, 0, 200)
    return Image.fromarray(pixels).convert(mode)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def metadata(*, orientation=None, time="2026:06:01 09:30:00", offset="+08:00", gps=None):
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Artist] = "CameraMaker", "Wang Wei"
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.DateTimeOriginal], inner[ExifTags.Base.OffsetTimeOriginal] = time, offset
    inner[ExifTags.Base.BodySerialNumber], inner[ExifTags.Base.MakerNote] = "SERIAL-4711", b"maker" * 100
    north = {1: "N", 2: (39.0, 0.0, 10.8), 3: "E", 4: (103.0, 6.0, 18.0), 6: 1370.0}
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(north if gps is None else gps)
    return exif


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def webp(width, height):
    inside = encoded(picture(), "WEBP", lossless=True)[12:]
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size + inside
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg(width, height):
    content = bytearray(encoded(picture()))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def segment(marker, data):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def refused(content, problem, match=None, read=photos.read_photo):
    """A file that is refused for a reason."""
    with pytest.raises(photos.PhotoRefused, match=match) as error:
        read(content)
    assert error.value.problem is problem


def decoded(photo):
    with Image.open(io.BytesIO(photo.content)) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        return np.asarray(image).astype(int)


def corners(photo):
    """Colours of the corners: upper left, upper right, lower left, lower right."""
    pixels = decoded(photo)
    names = {0: "red", 1: "green", 2: "blue"}
    return [names[int(pixels[y, x].argmax())] for y in (2, -3) for x in (2, -3)]


UPRIGHT = ["red", "red", "green", "blue"]


def test_time_and_place_stay_and_nothing_else_of_the_metadata():
    more = {"comment": b"a comment", "icc_profile": b"profile" * 100, "xmp": b"<x:xmpmeta/>"}
    content = encoded(picture(), exif=metadata(), **more)
    photo = read_photo(content)
    assert photo.taken == "2026-06-01T09:30:00+08:00"
    assert (photo.latitude, photo.longitude) == (39.003, 103.105)
    for secret in (b"CameraMaker", b"Wang", b"SERIAL", b"maker", b"comment", b"profile", b"xmp"):
        assert secret in content
        assert secret not in photo.content
    with Image.open(io.BytesIO(photo.content)) as image:
        exif = image.getexif()
        assert set(exif) == {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo}
        times = {ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal}
        assert set(exif.get_ifd(ExifTags.IFD.Exif)) == times
        assert set(exif.get_ifd(ExifTags.IFD.GPSInfo)) == {1, 2, 3, 4}
    again = read_photo(photo.content)
    assert (again.taken, again.latitude, again.longitude) == (photo.taken, photo.latitude, photo.longitude)


def test_south_and_west_are_negative():
    gps = {1: "S", 2: (12.0, 30.0, 0.0), 3: "W", 4: (0.0, 15.0, 0.0)}
    photo = read_photo(encoded(picture(), exif=metadata(gps=gps)))
    assert (photo.latitude, photo.longitude) == (-12.5, -0.25)
    assert read_photo(photo.content).longitude == -0.25


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_time_and_place_of_other_formats_stay_too(kind):
    photo = read_photo(encoded(picture(), kind, exif=metadata()))
    assert (photo.taken, photo.latitude) == ("2026-06-01T09:30:00+08:00", 39.003)


@pytest.mark.parametrize("gps", [
    {1: "N", 2: (NAN, NAN, NAN), 3: "E", 4: (103.0, 0.0, 0.0)},
    {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (103.0, 0.0, 0.0)},
    {1: "N", 2: (39.0, 0.0, 0.0), 3: "E", 4: (180.0, 0.0, 1.0)},
    {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
    {1: "N", 2: (39.0, 0.0), 3: "E", 4: (103.0, 0.0, 0.0)},
    {1: "N", 2: (39.0, 0.0, 0.0)},
    {},
], ids=[
    "not a number", "north of the pole", "east of the date line", "0, 0", "two numbers", "half", "none",
])  # fmt: skip
def test_an_invalid_position_is_dropped(gps):
    photo = read_photo(encoded(picture(), exif=metadata(gps=gps)))
    assert (photo.latitude, photo.longitude) == (None, None)
    assert photo.taken is not None


@pytest.mark.parametrize(("time", "offset", "taken"), [
    ("2026:06:01 09:30:00", "", "2026-06-01T09:30:00"),
    ("2026:06:01 09:30:00", "+25:99", "2026-06-01T09:30:00"),
    ("2026:06:01 09:30:00", "<b>", "2026-06-01T09:30:00"),
    ("2026:06:31 09:30:00", "+08:00", None),
    ("0000:00:00 00:00:00", "+08:00", None),
    ("1904:01:01 00:00:00", "+08:00", None),
    ("<script>", "+08:00", None),
])  # fmt: skip
def test_an_invalid_time_is_dropped(time, offset, taken):
    photo = read_photo(encoded(picture(), exif=metadata(time=time, offset=offset)))
    assert photo.taken == taken
    assert b"script" not in photo.content


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_upright_however_the_camera_was_held(orientation):
    turned = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = picture() if turned is None else picture().transpose(turned)
    photo = read_photo(encoded(stored, quality=95, exif=metadata(orientation=orientation)))
    assert decoded(photo).shape == (20, 40, 3)
    assert corners(photo) == UPRIGHT


def test_a_large_photo_becomes_a_small_one():
    photo = read_photo(encoded(picture(4800, 3600), exif=metadata()))
    assert decoded(photo).shape == (1200, 1600, 3)
    assert corners(photo) == UPRIGHT


@pytest.mark.parametrize("size", [(2000, 1700), (50, 9000)])
def test_even_noise_fits_the_limits(size):
    noise = np.random.default_rng(1).integers(0, 255, (*size, 3), dtype=np.uint8)
    photo = read_photo(encoded(Image.fromarray(noise), quality=60))
    assert len(photo.content) <= photos.MAX_STORED_BYTES
    assert max(decoded(photo).shape) <= photos.MAX_SIDE


MODES = {
    "JPEG": ["RGB", "L", "1", "CMYK"],
    "PNG": ["RGB", "L", "1", "P", "LA", "RGBA", "I;16"],
    "WEBP": ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK"],
}
"""Kinds of pixels that each format can be written from."""


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_a_photo_of_any_mode_looks_as_it_did(kind, mode):
    grey = mode in ("L", "1", "LA", "I;16")
    image = picture(mode="L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    content = encoded(image, kind)
    pixels = decoded(read_photo(content))
    expected = np.asarray(picture(mode="1" if mode == "1" else "L" if grey else "RGB").convert("RGB")).astype(int)
    assert np.abs(np.median(pixels - expected)) <= 3
    assert np.abs(pixels - expected).mean() < (70 if mode in ("1", "P") else 25)


def test_what_is_transparent_is_white():
    image = picture(mode="RGBA")
    image.putalpha(0)
    for content in (encoded(image, "PNG"), encoded(image.convert("P"), "PNG", transparency=0), encoded(image, "WEBP")):
        assert decoded(read_photo(content))[5, 5].min() > 150


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_first_picture_of_an_animation_counts(kind):
    content = encoded(picture(), kind, save_all=True, append_images=[picture().rotate(180)], duration=100)
    assert corners(read_photo(content)) == UPRIGHT


@pytest.mark.parametrize("content", [
    b"", b"\xff", b"GIF89a" + b"\0" * 100, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html><script>", b"%PDF-1.7",
    b"PK\x03\x04", b"MZ\x90", b"II*\0" + b"\0" * 100, b"BM" + b"\0" * 100, b"\0\0\0\x18ftypheic", b"RIFF\0\0\0\0WAVE",
    b"%!PS-Adobe-3.0 EPSF-3.0", b"8BPS", b"\x00\x00\x02\x00",
])  # fmt: skip
def test_a_file_that_is_not_a_photo_is_refused_under_any_name(content):
    refused(content, PhotoProblem.UNKNOWN_FORMAT, "neither JPEG, PNG nor WebP")


BOMBS = {
    "png": png(50_000, 50_000, chunk(b"IDAT", zlib.compress(b"\0" * 10_000_000, 9))),
    "jpeg": jpeg(65_500, 65_500),
    "webp": webp(16_383, 16_383),
    "webp canvas": webp(2**24, 2**24),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_a_photo_bomb_is_refused_at_once_and_takes_no_memory(content, tmp_path, cpu_seconds):
    with cpu_seconds(at_most=0.5):
        refused(content, PhotoProblem.TOO_MANY_PIXELS)
    (tmp_path / "bomb").write_bytes(content)
    program = (
        "import resource, sys\nfrom monitor.alerts.photos import PhotoRefused, read_photo\n"
        "content = open(sys.argv[1], 'rb').read()\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_photo(content)\nexcept PhotoRefused:\n    pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "bomb")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 10_000, "KiB"


def test_a_file_that_is_too_large_is_refused_unread():
    refused(encoded(picture()) + b"\0" * photos.MAX_PHOTO_BYTES, PhotoProblem.TOO_LARGE)


@pytest.mark.parametrize("tail", [b"PK\x03\x04 an archive", b"<script>alert(1)</script>", b"<?php system('id'); ?>"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_polyglot_file_loses_its_tail(kind, tail):
    photo = read_photo(encoded(picture(), kind) + tail * 50)
    assert tail not in photo.content
    assert corners(photo) == UPRIGHT
    assert photo.content.endswith(b"\xff\xd9")


def test_a_file_inside_the_metadata_and_huge_metadata_are_lost():
    content, tagged = encoded(picture()), encoded(picture(), exif=metadata())
    hidden = segment(0xFE, b"<script>alert(1)</script>") + segment(0xEF, b"MZ" + b"\x90" * 60_000)
    many = segment(0xE1, b"Exif\0\0" + b"x" * 60_000) * 100
    for more in (content[:2] + hidden + content[2:], tagged[:-2] + many + b"\xff\xd9", tagged[:2] + many + tagged[2:]):
        photo = read_photo(more)
        assert b"script" not in photo.content
        assert len(photo.content) < 5000


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_photo_is_refused(kind, share):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (300, 300, 3), dtype=np.uint8))
    content = encoded(noise, kind)
    refused(content[: int(len(content) * share)], PhotoProblem.UNREADABLE, "damaged or incomplete")


@given(
    head=st.sampled_from([encoded(picture(), kind, exif=metadata()) for kind in ("JPEG", "PNG", "WEBP")]),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8)), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_a_damaged_file_is_a_photo_or_is_refused(head, cuts):
    content = bytearray(head)
    for place, bytes_ in cuts:
        at = int(place * len(content))
        content[at : at + len(bytes_)] = bytes_
    try:
        photo = read_photo(bytes(content))
    except photos.PhotoRefused:
        return
    assert photo.content.startswith(b"\xff\xd8")
    assert len(photo.content) <= photos.MAX_STORED_BYTES


def test_a_child_process_gives_the_same_photo_or_says_why_it_refuses():
    content = encoded(picture(), exif=metadata())
    assert read_photo_apart(content) == read_photo(content)
    refused(b"GIF89a", PhotoProblem.UNKNOWN_FORMAT, "neither JPEG", read_photo_apart)


def test_a_file_that_keeps_the_decoder_busy_is_given_up(monkeypatch):
    content = encoded(picture())
    busy = content[:2] + segment(0xE1, b"Exif\0\0x") * 700_000 + content[2:]
    monkeypatch.setattr(photos, "LIMITS", replace(photos.LIMITS, seconds=1))
    start = time.perf_counter()
    refused(busy, PhotoProblem.UNREADABLE, "too long", read_photo_apart)
    assert time.perf_counter() - start < 15


def test_a_decoder_that_dies_takes_nothing_with_it(monkeypatch, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(photos.PhotoRefused):
        read_photo_apart(encoded(picture()))
