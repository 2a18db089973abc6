"""Files under the output root: pages, maps and tables.

The files of each site are written first, then the tables, and the index last, so that all links of the index work.
Files are replaced atomically: if a run dies, every page is either the old or the new one. The same input gives the same
bytes, and unchanged files are not written.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from monitor.alerts.messages.tracks import attachments
from monitor.alerts.words import LANGUAGES, language_of
from monitor.cube.context_pictures import stretch_of
from monitor.files import write_atomically
from monitor.publish.index.page import programme_files, remove_old_provinces
from monitor.publish.index.programme_view import ProgrammeView
from monitor.publish.map_tags import map_tags
from monitor.publish.outdated import (
    LOSS_PAIR,
    MADE_FROM,
    MAP_FILES,
    PAIRS,
    PHOTOS,
    MadeFrom,
    drawn_keys,
    in_place,
    page_key,
    pictures_to_draw,
)
from monitor.publish.page_files import PAGE_FILES, PICTURE_FILE, TRACKS, PagePicture
from monitor.publish.pages import site_pages
from monitor.publish.pictures import (
    MAP_LAYERS,
    Window,
    cog,
    film_picture,
    film_png,
    frame,
    map_png,
    photograph,
    seen_window,
)
from monitor.publish.qgis import qml
from monitor.publish.stac import CATALOG_FILE, ITEM, StoredFile, catalogue, drawn_maps, site_item
from monitor.publish.tables import sites_parquet, status_json
from monitor.publish.view import SiteView
from monitor.series.field_rows import field_csv
from monitor.series.observations import observation_lines, observations_csv
from monitor.sites.names import folder_name
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.calibration import Calibration
from monitor.verdict.tables.plan_json import plan_json

PLAN: Final = "plan.json"
FIELD_TABLE: Final = "field.csv"
"""Table of the measurements on the ground; only where there are any."""


def write_photos(site: str, root: Path, photos: Mapping[str, bytes]) -> None:
    """Write photos (JPEG by id) to the folder of a site; to be called before the page shows them."""
    folder = root / "sites" / folder_name(site) / PHOTOS
    for photo, content in photos.items():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{photo}.jpg", content)


def write_site(view: SiteView, root: Path, inputs: str = "") -> bool:
    """Write page, series and maps of one site to ``sites/<folder>/``; return whether any file was written.

    A page is written again when a reader would see a change: another verdict or alert, a rounded number, another
    picture, plan, word or line of code that makes pages; not for the day of the assessment or a rejected scene alone.
    ``observations.csv`` is written again when a line is new or changed. For maps and pictures see
    :func:`monitor.publish.outdated.outdated_pictures`. `inputs` is the hash of all inputs of the view, for
    :func:`monitor.publish.outdated.is_current`. ``OSError``: the disk is full or the folder cannot be written; so for
    all functions here.
    """
    folder = root / "sites" / folder_name(view.site.id)
    made, here = in_place(folder)
    drawn = drawn_keys(view)
    draw = pictures_to_draw(drawn, made, here)
    before = {} if made is None else made.pictures
    images, files = _draw(view, draw)
    pictures = {name: picture for name, picture in before.items() if name in drawn and name not in draw}
    pictures |= {name: picture for name, (picture, _) in images.items()}
    page = page_key(view, pictures)
    files |= {picture.file: content for picture, content in images.values()} | _tables(view)
    if made is None or made.page != page or not {*PAGE_FILES.values()} <= here:
        pages = site_pages(view, pictures)
        files |= {PAGE_FILES[language]: pages[language].encode() for language in LANGUAGES}
    names = {
        *files,
        *(picture.file for picture in pictures.values()),
        *PAGE_FILES.values(),
        *(MAP_FILES & {f"{name}.tif" for name in drawn}),
    }
    facts = {} if made is None else made.files
    wanted = MadeFrom(
        inputs=inputs, page=page, drawn=drawn, pictures=pictures,
        maps=drawn_maps(view, draw, None if made is None else made.maps),
        files={name: StoredFile.of(files[name]) if name in files else facts[name] for name in sorted(names)},
    )  # fmt: skip
    changed = {name: content for name, content in files.items() if not _same(folder / name, content)}
    stale = {name for name in here if name in MAP_FILES or PICTURE_FILE.fullmatch(name)} - wanted.files.keys()
    if changed or stale or wanted != made:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MADE_FROM).unlink(missing_ok=True)
        for name, content in changed.items():
            write_atomically(folder / name, content)
        for name in stale:  # once no page links to it
            (folder / name).unlink()
        (folder / MADE_FROM).write_bytes(msgspec.json.encode(wanted))
    return bool(changed or stale)


def _tables(view: SiteView) -> dict[str, bytes]:
    """Tables of a site, styles of its maps and its place, by file name."""
    lines = [line.encode() for line in observation_lines(view.observations)] if view.lines is None else view.lines
    files = {"observations.csv": observations_csv(view.site.id, lines)}
    files |= {f"{layer.name}.qml": qml(layer) for layer in MAP_LAYERS if layer.name in view.maps}
    if view.controls is not None:
        files["controls.geojson"] = view.controls.geojson
    if view.measured:
        files[FIELD_TABLE] = field_csv(view.measured)
    tracks = attachments(view.site, view.patch[0] if view.patch else None, language_of(view.site))
    return files | {name: track.content for name, track in zip(TRACKS, tracks, strict=True)}


def _draw(view: SiteView, names: frozenset[str]) -> tuple[dict[str, tuple[PagePicture, bytes]], dict[str, bytes]]:
    """Pictures by name, and map files by file name, of the maps and pictures with these names."""
    images, files = {}, {}
    for pair in PAIRS:
        drawn = [name for name in view.chips if name in pair and name in names]
        pictures = [rgb for name in drawn if (rgb := view.chips[name].rgb) is not None]
        assert len(pictures) == len(drawn), f"{drawn} have to be drawn; see outdated_pictures()"
        for name, rgb in zip(drawn, pictures, strict=True):  # to be compared: the same part, the same stretch
            window = seen_window(pictures, view.chips[drawn[0]].outline)
            if pair == LOSS_PAIR:
                images[name] = _picture(name, film_picture(rgb, window), "png", window)
            else:
                images[name] = _picture(name, photograph(rgb, window, stretch_of(pictures)), "jpg", window)
    if "film" in names:
        assert view.film is not None
        assert view.film.frames is not None, "the film has to be drawn; see outdated_pictures()"
        height, width = view.film.frames.shape[1:]
        content, window = film_png(view.film.frames, frame(view.outline, (width, height)))
        images["film"] = _picture("film", content, "png", window)
    layers = [layer for layer in MAP_LAYERS if layer.name in names]
    tags = map_tags(view) if layers else {}
    for layer in layers:
        values = view.maps[layer.name]
        assert values is not None, f"{layer.name} has to be drawn; see outdated_pictures()"
        error = view.maps.get(f"{layer.name}_se")
        files[f"{layer.name}.tif"] = cog(values, layer, tags[layer.name], error)
        if layer.name in view.shown_maps:
            size = (values.shape[1], values.shape[0])
            images[layer.name] = _picture(layer.name, map_png(values.values, layer), "png", frame(view.outline, size))
    return images, files


def _picture(name: str, content: bytes, kind: str, window: Window) -> tuple[PagePicture, bytes]:
    """A picture with the name of its file, see :data:`PICTURE_FILE`."""
    file = f"{name}-{sha256(content).hexdigest()[:8]}.{kind}"
    return PagePicture(file=file, window=window), content


def write_plan(
    site: Site, assessment: Assessment, calibration: Calibration | None, root: Path, *,
    promises: Sequence[Mapping[str, Any]] = (), notice: Mapping[str, str] | None = None,
) -> date | None:  # fmt: skip
    """Write ``plan.json`` of a site (:func:`monitor.verdict.tables.plan_json.plan_json`) and then ``item.json``.

    They are written whenever the assessment is another, also of another day only, so that they belong to
    ``status.json``. The item is made again each time: after a run that died between two files the next one corrects it.
    Returns the first day of the season that the maps show; None without maps.
    """
    folder = root / "sites" / folder_name(site.id)
    plan = plan_content(site, assessment, calibration, promises=promises)
    replace_if_changed(folder / PLAN, plan)
    made, _ = in_place(folder)
    if made is None:  # its other files are not complete: the next run makes them, and the item then
        return None
    item = site_item(site, assessment, {**made.files, PLAN: StoredFile.of(plan)}, made.maps, notice)
    replace_if_changed(folder / ITEM, _json_lines(item))
    return None if made.maps is None else date.fromisoformat(made.maps.period[0])


def plan_content(
    site: Site, assessment: Assessment, calibration: Calibration | None, *, promises: Sequence[Mapping[str, Any]]
) -> bytes:
    """Content of ``plan.json``; parameters: see :func:`monitor.verdict.tables.plan_json.plan_json`."""
    plan = plan_json(site, assessment, calibration, promises=promises)
    text = json.dumps(plan, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    return text.encode("utf-8", "surrogatepass")


def write_catalogue(
    rows: Iterable[tuple[Site, Assessment]], root: Path, *, since: date | None,
    notice: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write ``catalog.json``, with the sites that have an item, unless it is unchanged.

    `since` is the first day that any map shows; None: no map.
    """
    ordered = sorted(rows, key=lambda row: row[0].id)
    listed = [row for row in ordered if (root / "sites" / folder_name(row[0].id) / ITEM).is_file()]
    write_files({CATALOG_FILE: _json_lines(catalogue(listed, since=since, notice=notice))}, root)


def _json_lines(document: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def write_index(view: ProgrammeView, root: Path, ground_keys: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write tables and index of the whole programme; unchanged files are not written.

    `ground_keys` are keys of what is stored of sites, by id.
    """
    rows = sorted(view.rows, key=lambda row: row[0].id)
    tables = {"status.json": status_json([a for _, a in rows]), "sites.parquet": sites_parquet(rows, ground_keys)}
    files = tables | programme_files(view)
    write_files(files, root)
    remove_old_provinces(root, files)


def _same(path: Path, content: bytes) -> bool:
    """Whether a file already has this content."""
    with suppress(OSError):
        return path.stat().st_size == len(content) and path.read_bytes() == content
    return False


def replace_if_changed(path: Path, content: bytes) -> None:
    """Write a file, unless it has this content already."""
    if not _same(path, content):
        write_atomically(path, content)


def write_files(files: Mapping[str, bytes], root: Path) -> None:
    """Write files by path under a root, in this order; unchanged ones are not written."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_if_changed(path, content)
