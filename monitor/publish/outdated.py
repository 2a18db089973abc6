"""Outdated files of a site, by hashes of their inputs.

The hashes are stored beside the files. A picture or page is made again when a reader would see a change, or when the
code or the words that make it are others.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from monitor.alerts.words import CATALOGUE, LANGUAGES, percent, points
from monitor.derived import code_hash
from monitor.publish.chart import season_table
from monitor.publish.page_files import PagePicture
from monitor.publish.pages import PAGE_TEMPLATES, hectares
from monitor.publish.pictures import MAP_LAYERS
from monitor.publish.stac import DrawnMaps, StoredFile
from monitor.publish.view import SiteView
from monitor.sites.names import folder_name
from monitor.verdict.assessment import assessment_to_json
from monitor.verdict.explain import explain, false_alarm_rate, probabilities, promised_in_field

MAP_FILES: Final = frozenset(f"{layer.name}.{kind}" for layer in MAP_LAYERS for kind in ("tif", "qml"))
"""Maps that a site may have, and their styles."""
LOSS_PAIR: Final = frozenset({"before-loss", "after-loss"})
PAIRS: Final = (frozenset({"before", "now"}), LOSS_PAIR)  # pictures that are compared with each other
PHOTOS: Final = "photos"  # folder of the photos of a site
MADE_FROM: Final = ".made-from"
"""File with hashes of what the other files of a site were made from. It is deleted before they are changed and written
after them: if it is missing, all of them are made again."""
SHOWN_DECIMALS: Final = 2
"""Decimals of a fraction on the pages: a smaller change does not rewrite a page."""
NOT_SHOWN: Final = ("as_of", "e_uplift", "alpha", "series_digest", "code_version")
"""Fields of an assessment whose change alone does not rewrite a page."""


class MadeFrom(msgspec.Struct, kw_only=True):
    """Hashes of the inputs of the files of a site."""

    inputs: str  # hash of all inputs, as passed to `monitor.publish.products.write_site`
    page: str  # hash of the content of the page, except maps and pictures
    drawn: dict[str, str]  # hash that decides whether a map or picture is drawn again, by name
    pictures: dict[str, PagePicture]  # each picture, by name; a map is a picture too
    maps: DrawnMaps | None
    files: dict[str, StoredFile]  # size and checksum of each file, by name


def is_current(site: str, root: Path, inputs: str, photos: Iterable[str] = ()) -> bool:
    """Whether all files of a site exist and were made from these inputs.

    `inputs` is their hash, as for :func:`monitor.publish.products.write_site`; `photos` are the ids of the photos on
    the page.
    """
    made, here = in_place(root / "sites" / folder_name(site))
    current = made is not None and made.inputs == inputs and made.files.keys() <= here
    return current and not missing_photos(site, root, photos)


def missing_photos(site: str, root: Path, photos: Iterable[str]) -> list[str]:
    """Ids of the photos that are not in the folder of a site."""
    folder = root / "sites" / folder_name(site) / PHOTOS
    return [photo for photo in photos if not (folder / f"{photo}.jpg").is_file()]


def outdated_pictures(view: SiteView, root: Path) -> frozenset[str]:
    """Names of the maps and pictures that :func:`monitor.publish.products.write_site` must draw, and so needs.

    A picture is drawn again for another scene. Maps are drawn again when a number has changed in whole percent (cover
    of the site or its control, uplift, share of failing area), or the status, the alert or the growing season shown.
    Between such changes one more scene changes the means of a season by less than a reader can see.
    """
    made, here = in_place(root / "sites" / folder_name(view.site.id))
    return pictures_to_draw(drawn_keys(view), made, here)


@cache
def pages_code_hash() -> str:
    """Hash of the code, templates and words that make pages and maps: if it changes, all of them are made again."""
    digest = sha256(code_hash("monitor.publish.drafts").encode())
    for path in (CATALOGUE, *sorted(PAGE_TEMPLATES.iterdir())):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def in_place(folder: Path) -> tuple[MadeFrom | None, frozenset[str]]:
    """Hashes of the inputs of the files in a folder (None: unknown), and the names of the files."""
    try:
        here = frozenset(os.listdir(folder))
        return msgspec.json.decode((folder / MADE_FROM).read_bytes(), type=MadeFrom), here
    except ValueError:  # a run died while writing it
        return None, here
    except OSError:  # a broken folder is reported when it is written to
        with suppress(OSError):
            return None, frozenset(os.listdir(folder))
        return None, frozenset()


def pictures_to_draw(drawn: Mapping[str, str], made: MadeFrom | None, here: frozenset[str]) -> frozenset[str]:
    """Names of the maps and pictures whose hash is another than in `made`, or whose file is not in place."""
    if made is None:
        return frozenset(drawn)
    absent = {name for name, picture in made.pictures.items() if picture.file not in here}
    absent |= {name for name in drawn if f"{name}.tif" in MAP_FILES - here}
    names = {name for name, key in drawn.items() if made.drawn.get(name) != key or name in absent}
    for pair in PAIRS:  # they are cut alike
        if names & pair:
            names |= pair & drawn.keys()
    return frozenset(names)


def drawn_keys(view: SiteView) -> dict[str, str]:
    """Hash that decides whether a picture or map is drawn again, by its name."""
    chips = view.chips
    scenes = {pair: [(name, chips[name].scene) for name in sorted(pair & chips.keys())] for pair in PAIRS}
    drawn = {
        name: _hash(pages_code_hash(), scenes[pair], chips[name].size) for pair in PAIRS for name in pair & chips.keys()
    }
    if view.film is not None and view.grid is not None:
        where = (view.site.geometry.wkb, tuple(view.grid.affine), tuple(view.grid.shape))
        drawn["film"] = _hash(pages_code_hash(), view.film.scenes, where)
    if view.grid is not None:
        a, seasons = view.assessment, season_table(view)
        failing = None if a.hectares_failing is None or not a.hectares else a.hectares_failing / a.hectares
        lost = None if a.hectares_lost is None or not a.hectares else a.hectares_lost / a.hectares
        shown = (a.status, a.alert, percent(a.cover), percent(a.control_cover), points(a.uplift), percent(failing))
        grid = (tuple(view.grid.affine), tuple(view.grid.shape), str(view.grid.crs))
        last = [season.year for season in seasons[-1:]]
        loss = (percent(lost), a.loss_after, a.loss_on)
        key = _hash(pages_code_hash(), view.site.start, view.site.geometry.wkb, grid, shown, loss, last)
        drawn |= {layer.name: key for layer in MAP_LAYERS if layer.name in view.maps}
    return drawn


def page_key(view: SiteView, files: Mapping[str, PagePicture]) -> str:
    """Hash of the content of a page, with numbers rounded as shown."""
    a = view.assessment
    shown = {name: _shown(name, value) for name, value in assessment_to_json(a).items() if name not in NOT_SHOWN}
    said = [
        explain(a, view.site, language=one)
        + probabilities(a, language=one)
        + false_alarm_rate(a, language=one)
        + promised_in_field(a, view.site, language=one)
        for one in LANGUAGES
    ]
    seasons = [(s.year, percent(s.cover), percent(s.control), percent(s.expected)) for s in season_table(view)]
    pictures = [(name, chip.date, chip.size, points(chip.level)) for name, chip in view.chips.items()]
    judged = None if view.judged_hectares is None else hectares(view.judged_hectares)
    controls = view.controls
    units = None if controls is None else (controls.units, controls.reasons, controls.ground.wkb)
    beside = (
        units, [(point.day, *map(points, point[1:])) for point in view.growth],
        [(year, one.scenes, points(one.level)) for year, one in view.film.years.items()] if view.film else [],
        view.detectability, view.detection_improvements, view.detection_assumptions, view.calibration, view.promises,
        view.elevation, view.slope, judged, None if view.patch is None else view.patch[0],
    )  # fmt: skip
    outline = b"" if view.outline is None else np.ascontiguousarray(view.outline).tobytes()
    drawing = (seasons, pictures, sorted(files.items()), outline)
    site = (view.site, view.site.geometry.wkb, view.alert, view.notice, view.answers, view.measured, view.biome_factor)
    return _hash(pages_code_hash(), shown, said, drawing, site, beside)


def _shown(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return f"{value:.3g}" if name.startswith("e_") else round(value, SHOWN_DECIMALS)


def _hash(*parts: object) -> str:
    digest = sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
