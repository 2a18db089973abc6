"""Write the scenes of a folder of GeoTIFFs as a static STAC catalogue beside them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from monitor.errors import BadData
from monitor.files import write_atomically
from monitor.imagery.stac.folder_index import ITEMS_FOLDER
from monitor.imagery.stac.folder_scene import IndexedScene
from monitor.sites.names import folder_name

CATALOGUE_ID: Final = "regrowth-folder"  # of catalogues written here; any other in the folder stays as it is


def write_catalogue(folder: Path, scenes: Sequence[IndexedScene]) -> tuple[Path, list[str]]:
    """Write ``catalog.json`` and an item a scene under ``stac/``; files whose content stays are not touched.

    Each file is replaced in one step, the catalogue last. Items of scenes that are gone are removed after it. Returns
    the catalogue, and the scenes that an earlier one described otherwise. Raises BadData if something else wrote the
    catalogue of the folder, and OSError if the folder cannot be written to.
    """
    folder = folder.resolve()
    path, items = folder / "catalog.json", folder / ITEMS_FOLDER
    before = _own_items(path)
    if items.is_symlink() or (items.exists() and not items.is_dir()):
        raise BadData(f"{items} is a link or a file; items are written to a folder of this name")
    items.mkdir(exist_ok=True)
    above = [{"rel": rel, "href": "../catalog.json", "type": "application/json"} for rel in ("root", "parent")]
    names = {f"{folder_name(one.scene.id)}.json": one for one in scenes}
    changed = []
    for name, one in names.items():
        existed = name in before and (items / name).is_file()
        if _write(items / name, {**one.item, "id": one.scene.id, "links": above}) and existed:
            changed.append(one.scene.id)
    links = [{"rel": "root", "href": "./catalog.json", "type": "application/json"}]
    links += [{"rel": "item", "href": f"./{ITEMS_FOLDER}/{name}", "type": "application/geo+json"} for name in names]
    described = "Scenes of the GeoTIFFs in this folder, written by regrowth source index."
    _write(path, {
        "type": "Catalog", "stac_version": "1.0.0", "id": CATALOGUE_ID, "description": described, "links": links,
    })  # fmt: skip
    for name in before.difference(names):
        (items / name).unlink(missing_ok=True)
    return path, changed


def _own_items(path: Path) -> set[str]:
    """File names of the items of an earlier catalogue of this folder; BadData if something else wrote it."""
    if not path.exists():
        return set()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        names = {PurePosixPath(link["href"]).name for link in document["links"] if link["rel"] == "item"}
        is_own = document["id"] == CATALOGUE_ID
    except (ValueError, KeyError, TypeError):
        is_own = False
    if not is_own:
        msg = f"{path} was written by something else and stays: the folder has a catalogue, so name it as [source] url"
        raise BadData(msg)
    return {name for name in names if name.endswith(".json")}


def _write(path: Path, document: Mapping[str, Any]) -> bool:
    """Write a document unless it is there already; whether it was written."""
    content = json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"
    if path.is_file() and path.read_bytes() == content:
        return False
    write_atomically(path, content)
    return True
