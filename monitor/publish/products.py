"""What a run leaves under the output root: pages, maps and tables.

A site's files first, then the tables, the index last: whoever reads the index finds what it links to.
Each file is made whole beside its place and then moved into it, so that a run that dies leaves every
page either old or new. The same input gives the same bytes, and what has not changed is not written.
"""

import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import date
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import UnionType
from typing import Any, Final, get_args

import geopandas as gpd
import msgspec
import numpy as np
import pandas as pd

from monitor.alerts.alert import Alert
from monitor.alerts.messages import assessment_to_json, write_atomically
from monitor.alerts.words import LANGUAGES, percent, points
from monitor.derived import code_hash
from monitor.publish.chart import season_table
from monitor.publish.pages import PAGE_FILES, PAGE_TEMPLATES, hectares, index_page, site_pages
from monitor.publish.pictures import MAP_LAYERS, chip_png, cog, map_png
from monitor.publish.view import Chip, SiteView
from monitor.series.observations import observation_lines, observations_csv
from monitor.sites.names import folder_name
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.explain import explain, false_alarm_rate, probabilities

PICTURE_FILES: Final = frozenset(
    {"before.png", "now.png", *(f"{layer.name}.{kind}" for layer in MAP_LAYERS for kind in ("png", "tif"))}
)
"""Files of maps and pictures that a site may have."""

MADE_FROM: Final = ".made-from"
"""File that says what the other files of a site were made from. It is taken away before they are changed and written
after them: where it is missing, all of them are made again."""

MAPS_MADE_BY: Final = ("monitor.maps.site_maps", "monitor.maps.failing")

SHOWN_DECIMALS: Final = 2
"""Decimals of a fraction that the pages show: less than that is no change worth rewriting a page for."""


class _MadeFrom(msgspec.Struct, kw_only=True):
    """Hashes of what the files of a site were made from."""

    inputs: str
    """All that is known of the site, as the caller of :func:`write_site` says it."""
    page: str
    """What a reader sees on its page, maps and pictures aside."""
    drawn: dict[str, str]
    """By name, of each map and picture."""


def is_current(site: str, root: Path, inputs: str) -> bool:
    """Whether the files of a site are all there and were made from these inputs; see :func:`write_site`."""
    made, here = _in_place(root / "sites" / folder_name(site))
    return made is not None and made.inputs == inputs and _needed(made.drawn) <= here


def outdated_pictures(view: SiteView, root: Path) -> frozenset[str]:
    """Names of the maps and pictures of a view that are to be drawn, and therefore needed for :func:`write_site`.

    A picture is drawn again when it is of another scene. Maps are drawn again when a number that they show by pixel has
    changed as the page rounds it, to whole percent: cover of the site or its control, uplift, share of failing ground;
    or status, alert, or the growing season that they show. Between such changes one more scene moves the means of a
    season by less than a reader can see.
    """
    made, here = _in_place(root / "sites" / folder_name(view.site.id))
    return _outdated(_drawn(view), made, here)


def write_site(view: SiteView, root: Path, inputs: str = "") -> bool:
    """Page, series and maps of one site, under ``sites/<folder>/``; True if any of them was written.

    A page is written again when a reader would see a change: another verdict or alert, a number as it is rounded there,
    another picture, plan, word or line of code that makes pages. The day of the assessment and a rejected scene alone
    are no change. ``observations.csv`` is written again whenever a line is new or changed. For maps and pictures see
    :func:`outdated_pictures`.

    Parameters
    ----------
    view : SiteView
        The site as it stands.
    root : Path
        Output root.
    inputs : str
        Hash of all that the view is made from, for :func:`is_current`.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written.
    """
    folder = root / "sites" / folder_name(view.site.id)
    lines = [line.encode() for line in observation_lines(view.observations)] if view.lines is None else view.lines
    made, here = _in_place(folder)
    wanted = _MadeFrom(inputs=inputs, page=_page_key(view), drawn=_drawn(view))
    draw = _outdated(wanted.drawn, made, here)
    files = {"observations.csv": observations_csv(view.site.id, lines)}
    for name, chip in _chips(view).items():
        if name in draw:
            assert chip.rgb is not None, f"{name} is to be drawn; see outdated_pictures()"
            files[f"{name}.png"] = chip_png(chip.rgb)
    for layer in MAP_LAYERS:
        if layer.name in draw:
            values = view.maps[layer.name]
            assert values is not None, f"{layer.name} is to be drawn; see outdated_pictures()"
            files[f"{layer.name}.tif"] = cog(values, layer)
            files[f"{layer.name}.png"] = map_png(values.values, layer)
    if made is None or made.page != wanted.page or not {*PAGE_FILES.values()} <= here:
        pages = site_pages(view)
        files |= {PAGE_FILES[language]: pages[language].encode() for language in LANGUAGES}
    changed = {name: content for name, content in files.items() if not _same(folder / name, content)}
    stale = (PICTURE_FILES & here) - _needed(wanted.drawn)
    if changed or stale or wanted != made:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MADE_FROM).unlink(missing_ok=True)
        for name, content in changed.items():
            write_atomically(folder / name, content)
        for name in stale:  # once no page links to it
            (folder / name).unlink()
        (folder / MADE_FROM).write_bytes(msgspec.json.encode(wanted))
    return bool(changed or stale)


def write_index(
    rows: Sequence[tuple[Site, Assessment]],
    alerts: Iterable[Alert],
    root: Path,
    as_of: date,
    *,
    alpha: float,
    notice: Mapping[str, str] | None = None,
) -> None:
    """Tables and index of the whole programme; a file whose content has not changed is left alone.

    Parameters
    ----------
    rows : sequence of (Site, Assessment)
        Every assessed site, in any order.
    alerts : iterable of Alert
        Those not yet resolved, and those that a person has resolved while their cause is still seen.
    root : Path
        Output root.
    as_of : date
        Day of the assessments.
    alpha : float
        Lifetime false-alarm budget of one site. [1]
    notice : mapping, optional
        By language, what a reader must know before all else.
    """
    ordered = sorted(rows, key=lambda row: row[0].id)
    open_alerts = {alert.site: alert for alert in alerts}
    folders = {site.id: folder_name(site.id) for site, _ in ordered}
    root.mkdir(parents=True, exist_ok=True)
    _replace_if_changed(root / "status.json", status_json([a for _, a in ordered]))
    _replace_if_changed(root / "sites.parquet", sites_parquet(ordered))
    for language in reversed(LANGUAGES):
        page = index_page(ordered, folders, open_alerts, as_of=as_of, alpha=alpha, notice=notice, language=language)
        _replace_if_changed(root / PAGE_FILES[language], page.encode())


def status_json(assessments: Iterable[Assessment]) -> bytes:
    """Assessments as ``status.json`` has them: by site id, null where there is no value."""
    rows = [assessment_to_json(a) for a in sorted(assessments, key=lambda a: a.site)]
    return (json.dumps(rows, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def sites_parquet(rows: Sequence[tuple[Site, Assessment]]) -> bytes:
    """Sites and their assessments as GeoParquet (EPSG:4326), one row a site; reasons joined by ``;``.

    Every column has the type that its field is declared with, also where no site has a value: the tables of several
    programmes or nights can be concatenated.
    """
    declared = {field.name: field.type for kind in (Site, Plan, Assessment) for field in fields(kind)}
    plain = ("name", "start", "intervention", "biome", "subtype", "province", "programme_year", "partner", "version")
    values: dict[str, list[Any]] = {"site": [site.id for site, _ in rows]}
    values |= {name: [getattr(site, name) for site, _ in rows] for name in plain}
    values |= {f"plan_{name}": [getattr(site.plan, name) for site, _ in rows] for name in ("A", "k", "L")}
    values["too_early_years"] = [site.plan.too_early_years for site, _ in rows]
    values |= {field.name: [getattr(a, field.name) for _, a in rows] for field in fields(Assessment)}
    values["reasons"] = [";".join(codes) for codes in values["reasons"]]
    columns = {
        name: pd.array(column, dtype=_dtype(declared[name.removeprefix("plan_")])) for name, column in values.items()
    }
    frame = gpd.GeoDataFrame(columns, geometry=[site.geometry for site, _ in rows], crs="EPSG:4326")
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _dtype(declared: Any) -> Any:
    """Type of the column of a field; texts, codes and lists of codes are texts."""
    plain = get_args(declared)[0] if isinstance(declared, UnionType) else declared
    return {float: "float64", int: "Int64", bool: "bool", date: "date32[pyarrow]"}.get(plain, "string")


@cache
def pages_code_hash() -> str:
    """Hash of the code, templates and words that make pages and maps: a new hash makes all of them again."""
    digest = sha256("".join(map(code_hash, ("monitor.publish.products", *MAPS_MADE_BY))).encode())
    for path in sorted(PAGE_TEMPLATES.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _in_place(folder: Path) -> tuple[_MadeFrom | None, frozenset[str]]:
    """What the files in a folder were made from, None where that is not known, and their names."""
    try:
        here = frozenset(os.listdir(folder))
        return msgspec.json.decode((folder / MADE_FROM).read_bytes(), type=_MadeFrom), here
    except ValueError:  # a run died as it wrote the mark
        return None, here
    except OSError:  # what is wrong with it is reported as it is written
        with suppress(OSError):
            return None, frozenset(os.listdir(folder))
        return None, frozenset()


def _needed(drawn: Iterable[str]) -> set[str]:
    """Files of a site that has these maps and pictures."""
    layers = {layer.name for layer in MAP_LAYERS}
    return {"observations.csv", *PAGE_FILES.values(), *(f"{name}.png" for name in drawn),
            *(f"{name}.tif" for name in layers.intersection(drawn))}  # fmt: skip


def _outdated(drawn: Mapping[str, str], made: _MadeFrom | None, here: frozenset[str]) -> frozenset[str]:
    before = {} if made is None else made.drawn
    return frozenset(
        name for name, key in drawn.items() if before.get(name) != key or not _needed([name]) & PICTURE_FILES <= here
    )


def _chips(view: SiteView) -> dict[str, Chip]:
    return {name: chip for name, chip in (("before", view.before), ("now", view.now)) if chip is not None}


def _drawn(view: SiteView) -> dict[str, str]:
    """Of each picture and map of a site, a hash of what decides whether it is drawn again."""
    drawn = {name: _hash(pages_code_hash(), chip.date, chip.scene, chip.size) for name, chip in _chips(view).items()}
    if view.grid is not None:
        a, seasons = view.assessment, season_table(view)
        failing = None if a.hectares_failing is None or not a.hectares else a.hectares_failing / a.hectares
        key = _hash(
            pages_code_hash(), view.site.start, view.site.geometry.wkb, tuple(view.grid.affine), tuple(view.grid.shape),
            str(view.grid.crs), a.status, a.alert, percent(a.cover), percent(a.control_cover), points(a.uplift),
            percent(failing), [season.year for season in seasons[-1:]],
        )  # fmt: skip
        drawn |= {layer.name: key for layer in MAP_LAYERS if layer.name in view.maps}
    return drawn


def _page_key(view: SiteView) -> str:
    """Hash of what a reader sees on a page, with the assessment no finer than it is shown."""
    a = view.assessment
    shown = {
        name: _shown(name, value) for name, value in assessment_to_json(a).items() if name not in ("as_of", "e_uplift")
    }
    said = [explain(a, view.site, language=one) + probabilities(a, language=one) + false_alarm_rate(a, language=one)
            for one in LANGUAGES]  # fmt: skip
    seasons = [
        (one.year, percent(one.cover), percent(one.control), percent(one.expected)) for one in season_table(view)
    ]
    pictures = [(name, chip.date, chip.size) for name, chip in _chips(view).items()]
    judged = None if view.judged is None else hectares(view.judged)
    beside = (view.power, view.assumed, view.calibration, view.elevation, view.slope, judged)
    outline = b"" if view.outline is None else np.ascontiguousarray(view.outline).tobytes()
    return _hash(
        pages_code_hash(), shown, said, seasons, pictures, sorted(view.maps), outline, view.site,
        view.site.geometry.wkb, view.alert, view.notice, beside,
    )  # fmt: skip


def _shown(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return f"{value:.3g}" if name.startswith("e_") else round(value, SHOWN_DECIMALS)


def _hash(*parts: object) -> str:
    digest = sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _same(path: Path, content: bytes) -> bool:
    """Whether a file has this content already."""
    with suppress(OSError):
        return path.stat().st_size == len(content) and path.read_bytes() == content
    return False


def _replace_if_changed(path: Path, content: bytes) -> None:
    if not _same(path, content):
        write_atomically(path, content)
