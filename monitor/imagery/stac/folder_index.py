"""Make a folder of GeoTIFFs or JPEG 2000 files a STAC catalogue, so that it can be a source.

A scene is one file with several bands, or one file a band; :mod:`monitor.imagery.stac.file_names` reads which belong
together, and :mod:`monitor.imagery.stac.folder_scene` makes an item of them.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

from monitor.errors import BadData, SceneRejected
from monitor.imagery.stac.documents import safe_text
from monitor.imagery.stac.file_names import is_metadata, read_name, satellite, time_in_path
from monitor.imagery.stac.folder_scene import (
    QUALITY_KIND,
    Image,
    IndexedScene,
    IndexOptions,
    index_scene,
    open_image,
    stated_product,
)

ITEMS_FOLDER: Final = "stac"  # folder of the items, in the folder of the images
_ARCHIVE: Final = re.compile(r".*\.(zip|tar|tar\.gz|tgz)", re.IGNORECASE)
MASKS_FOLDER: Final = "QI_DATA"  # folder of masks in a Sentinel-2 product, which have names of bands
MAX_NAMED: Final = 20  # most scenes named in an error
MAX_FILES: Final = 200_000  # most files of a folder


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderIndex:
    """Scenes of a folder, and what could not be used."""

    scenes: list[IndexedScene]  # ascending by time
    problems: list[tuple[str, str]]  # path of a file, or of one file of a scene, and why it is not used
    unread: Counter[str]  # number of files of each known layer that is not read


def index_folder(folder: Path, options: IndexOptions) -> FolderIndex:
    """Read the headers of all images of a folder and its folders, and make an item of each scene.

    Raises BadData if it is not a folder, holds no image or too many files, or lacks a scene that has an offset in the
    table of `options`, and OSError if it cannot be read.
    """
    folder = folder.resolve()
    problems: list[tuple[str, str]] = []
    unread: Counter[str] = Counter()
    groups: dict[str, list[Image]] = {}
    broken: dict[str, str] = {}
    products: dict[PurePosixPath, str] = {}
    own_names = [place for place in options.bands.values() if not place.isdigit()]
    number = 0
    for path in _files(folder, problems):
        name = read_name(PurePosixPath(path), own_names)
        try:
            if is_metadata(name.path):
                text = stated_product(folder / path)
                is_only = products.setdefault(name.path.parent, text) == text
                products[name.path.parent] = text if is_only else ""  # those of several scenes
                continue
            number += 1
            if not name.is_read:
                unread[name.band] += 1
                continue
            image = open_image(folder, name, options)
        except (SceneRejected, OSError) as error:
            problems.append((path, getattr(error, "strerror", None) or str(error).removeprefix("it ")))
            broken[name.scene] = path
        else:
            groups.setdefault(name.scene, []).append(image)
    if not number and not problems:
        raise BadData(f"{folder} holds no image (.tif, .tiff, .jp2)")
    scenes: list[IndexedScene] = []
    base = str(folder / ITEMS_FOLDER / "item.json")
    ids: set[str] = set()  # of scenes that are used
    known: set[str] = set()  # of all scenes
    for images in _with_separate_quality(groups):
        first = images[0].name
        above = [products.get(parent, "") for parent in first.path.parents]
        stated = min(filter(None, above), key=lambda text: "_MSIL" not in text, default="")
        scene_id = _free_id(first.scene, ids)
        known.add(scene_id)
        try:
            if first.scene in broken:
                raise BadData(f"is of a scene with a file that cannot be read: {broken[first.scene]}")
            scenes.append(index_scene(images, options, scene_id, stated=stated, base=base))
            ids.add(scene_id)
        except (SceneRejected, BadData) as error:
            problems.append((str(first.path), str(error).removeprefix("the item ")))
    if unknown := sorted(options.offsets.keys() - known - {_free_id(scene, ids) for scene in broken}):
        names = ", ".join(map(safe_text, unknown[:MAX_NAMED])) + (", ..." if unknown[MAX_NAMED:] else "")
        msg = (
            f"--offsets names {len(unknown)} scenes that {folder} does not have: {names}; correct or remove their rows"
        )
        raise BadData(msg)
    return FolderIndex(
        scenes=sorted(scenes, key=lambda one: (one.scene.time, one.scene.id)), problems=sorted(problems), unread=unread
    )


def _files(folder: Path, problems: list[tuple[str, str]]) -> Iterator[str]:
    """Relative paths of images and metadata; links that lead out of the folder, and packed products, are problems."""
    if not folder.is_dir():
        raise BadData(f"{folder} is not a folder")
    count = 0
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != MASKS_FOLDER)
        here = Path(root).relative_to(folder)
        problems += [(str(here / name), "is a link to a folder; links are not followed")
                     for name in folders if (Path(root) / name).is_symlink()]  # fmt: skip
        count += len(files)
        if count > MAX_FILES:
            raise BadData(f"{folder} holds more than {MAX_FILES:,} files; index its folders one by one")
        for name in sorted(files):
            if _ARCHIVE.fullmatch(name) and satellite(PurePosixPath(name)):
                problems.append((str(here / name), "is a packed product; unpack it into the folder"))
            is_image = name.lower().endswith((".tif", ".tiff", ".jp2"))
            if name.startswith(".") or not (is_image or is_metadata(PurePosixPath(name))):
                continue
            if why := _not_plain(folder, Path(root) / name):
                problems.append((str(here / name), why))
            else:
                yield str(here / name)


def _not_plain(folder: Path, path: Path) -> str | None:
    """Why a file is not opened at all; None: it may be."""
    try:
        str(path).encode()
        real = path.resolve()
        is_plain = stat.S_ISREG(real.stat().st_mode)
    except UnicodeEncodeError:
        return "has a name that is not UTF-8; rename it"
    except (OSError, RuntimeError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if not real.is_relative_to(folder):
        return "is a link that leads out of the folder; put the file itself into the folder"
    return None if is_plain else "is not a regular file"


def _with_separate_quality(groups: Mapping[str, list[Image]]) -> list[list[Image]]:
    """Files of each scene; a quality layer whose name begins otherwise joins the only scene of its folder and time."""
    scenes: list[list[Image]] = []
    alone: list[list[Image]] = []
    for images in groups.values():
        is_quality = all(name in QUALITY_KIND for image in images for name in image.bands)
        (alone if is_quality else scenes).append(images)
    by_time: dict[tuple[PurePosixPath, datetime | None], list[list[Image]]] = {}
    for images in scenes:
        by_time.setdefault(_folder_and_time(images[0]), []).append(images)
    for images in alone:
        matching = by_time.get(_folder_and_time(images[0]), [])
        if len(matching) == 1:
            matching[0] += images
        else:
            scenes.append(images)
    return scenes


def _folder_and_time(image: Image) -> tuple[PurePosixPath, datetime | None]:
    try:
        return image.name.path.parent, time_in_path(image.name.path)
    except BadData:
        return image.name.path.parent, None


def _free_id(scene: str, ids: set[str]) -> str:
    """Id of a scene: the last part of its path, with as many folders before it as make it differ from `ids`."""
    parts = [part for part in PurePosixPath(scene).parts if part not in (".", "..")] or ["scene"]
    for first in range(len(parts) - 1, -1, -1):
        name = safe_text("_".join(parts[first:])) or "scene"
        if name not in ids:
            return name
    return next(name for number in range(2, len(ids) + 3) if (name := f"{safe_text(parts[-1])}_{number}") not in ids)
