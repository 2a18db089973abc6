"""What a run leaves under the output root: pages, maps and tables.

A site's files first, then the tables, the index last: whoever reads the index finds what it links to.
Each file is made whole beside its place and then moved into it, so that a run that dies leaves every
page either old or new. The same input gives the same bytes, and what has not changed is not written.
"""

import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date
from hashlib import sha256
from pathlib import Path
from types import UnionType
from typing import Any, Final, get_args

import geopandas as gpd
import numpy as np
import pandas as pd

from monitor.alerts.alert import Alert
from monitor.alerts.messages import assessment_values, replace_file
from monitor.alerts.words import LANGUAGES
from monitor.publish.pages import PAGE, edition, index_page, site_pages
from monitor.publish.pictures import LAYERS, Layer, chip_png, cog, map_png
from monitor.publish.view import Chip, SiteView
from monitor.series.observations import observation_lines, observations_csv
from monitor.sites.names import folder_name
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.explain import chances, early_news, explain

PICTURES: Final = frozenset(
    {"before.png", "now.png", *(f"{layer.name}.{kind}" for layer in LAYERS for kind in ("png", "tif"))}
)
"""Files of maps and pictures that a site may have."""

DRAWING: Final = ".drawing"
"""File that is there while maps and pictures are put in place."""

SHOWN: Final = 2
"""Decimals of a fraction that the pages show: less than that is no change worth rewriting a page for."""


def write_site(view: SiteView, root: Path) -> bool:
    """Page, series and maps of one site, under ``sites/<folder>/``; True if they were written.

    Nothing is written where the page in place was made from the same: assessment (as far as it is shown),
    observations, pictures, plan, words and code. The day of the assessment alone is no change: it is said in
    ``status.json`` and on the index.

    Parameters
    ----------
    view : SiteView
        The site as it stands.
    root : Path
        Output root.
    """
    folder = root / "sites" / folder_name(view.site.id)
    lines = [line.encode() for line in observation_lines(view.observations)] if view.lines is None else view.lines
    table = observations_csv(view.site.id, lines)
    chips = {name: chip for name, chip in (("before", view.before), ("now", view.now)) if chip is not None}
    layers = [layer for layer in LAYERS if layer.name in view.maps] if view.grid is not None else []
    drawn = _drawn(view, chips, layers)
    fingerprint = _fingerprint(view, table, drawn)
    needed = {name: {f"{name}.png"} for name in chips}
    needed |= {layer.name: {f"{layer.name}.tif", f"{layer.name}.png"} for layer in layers}
    here = {entry.name: entry.stat().st_size for entry in os.scandir(folder)} if folder.is_dir() else {}
    stale = PICTURES & here.keys() - set().union(*needed.values())
    # of a run that died: its pictures may be newer than what the page says that they were made from
    made_from, drawn_from = _made_from(folder) if DRAWING not in here else ("", {})
    same = {name for name in needed if drawn_from.get(name) == drawn[name] and needed[name] <= here.keys()}
    complete = {"observations.csv", *PAGE.values()} <= here.keys() and same == needed.keys()
    if made_from == fingerprint and complete and not stale:
        return False
    files: dict[str, bytes] = {"observations.csv": table}
    for name in chips.keys() - same:
        files[f"{name}.png"] = chip_png(chips[name])
    for layer in layers:
        if layer.name not in same and view.grid is not None:
            files[f"{layer.name}.tif"] = cog(view.maps[layer.name], layer, view.grid)
            files[f"{layer.name}.png"] = map_png(view.maps[layer.name], layer)
    pages = site_pages(view, fingerprint, drawn)
    for language in reversed(LANGUAGES):  # the English page holds the fingerprints that are read back: it comes last
        files[PAGE[language]] = pages[language].encode()
    folder.mkdir(parents=True, exist_ok=True)
    if not files.keys() <= {"observations.csv", *PAGE.values()}:
        (folder / DRAWING).touch()
    for name, content in files.items():
        if here.get(name) != len(content) or (folder / name).read_bytes() != content:
            replace_file(folder / name, content)
    for name in stale:  # of what is told no longer, once no page links to it
        (folder / name).unlink()
    (folder / DRAWING).unlink(missing_ok=True)
    return True


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
        _replace_if_changed(root / PAGE[language], page.encode())


def as_json(assessment: Assessment) -> dict[str, Any]:
    """An assessment as ``status.json`` has it: dates as text, null where there is no value."""
    return assessment_values(assessment)


def status_json(assessments: Iterable[Assessment]) -> bytes:
    """Assessments as ``status.json`` has them: by site id, null where there is no value."""
    rows = [as_json(a) for a in sorted(assessments, key=lambda a: a.site)]
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


def _drawn(view: SiteView, chips: Mapping[str, Chip], layers: Iterable[Layer]) -> dict[str, str]:
    """Of each picture and map of a site, a hash of all that it is made from."""
    made_from: dict[str, tuple[np.ndarray, object]] = {name: (chip.rgb, None) for name, chip in chips.items()}
    if view.grid is not None:
        lies = tuple(view.grid.affine)[:6], str(view.grid.crs)
        made_from |= {layer.name: (view.maps[layer.name], lies) for layer in layers}
    hashes = {}
    for name, (values, more) in made_from.items():
        digest = sha256(repr((edition(), name, more, values.dtype, values.shape)).encode())
        digest.update(np.ascontiguousarray(values).data)
        hashes[name] = digest.hexdigest()
    return hashes


def _fingerprint(view: SiteView, table: bytes, drawn: Mapping[str, str]) -> str:
    """Hash of all that a site's files are made from, with the assessment no finer than it is shown."""
    row = {name: value for name, value in as_json(view.assessment).items() if name != "as_of"}
    shown = {name: round(value, SHOWN) if isinstance(value, float) else value for name, value in row.items()}
    told = view.assessment
    said = [
        explain(told, view.site, language=one) + chances(told, language=one) + early_news(told, language=one)
        for one in LANGUAGES
    ]
    dates = [chip.date if chip is not None else None for chip in (view.before, view.now)]
    digest = sha256(repr(drawn).encode())
    beside = (view.power, view.assumed, view.calibration, view.elevation, view.slope)
    for part in (shown, said, view.site, view.site.geometry.wkb_hex, view.alert, view.notice, dates, beside):
        digest.update(repr(part).encode("utf-8", "surrogatepass") + b"\0")
    digest.update(table)
    if view.outline is not None:
        digest.update(np.ascontiguousarray(view.outline).data)
    return digest.hexdigest()


def _made_from(folder: Path) -> tuple[str, dict[str, str]]:
    """Fingerprints that the page in place carries: of all, and of each map and picture; empty where it has none."""
    try:
        with (folder / PAGE["en"]).open(encoding="utf-8") as file:
            found = dict(re.findall(r'<meta name="(fingerprint|pictures)" content="([0-9a-z= ]*)">', file.read(2000)))
    except (OSError, UnicodeDecodeError):
        return "", {}
    return found.get("fingerprint", ""), dict(re.findall("([a-z]+)=([0-9a-f]{64})", found.get("pictures", "")))


def _replace_if_changed(path: Path, content: bytes) -> None:
    if not (path.is_file() and path.read_bytes() == content):
        replace_file(path, content)
