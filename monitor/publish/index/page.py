"""Pages of the whole programme, in English and in Chinese: index, provinces, last nights."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from monitor.alerts import words
from monitor.day_in_words import near_day_in_words as near_day
from monitor.publish.growth_chart import growth_chart
from monitor.publish.index.history import Changes
from monitor.publish.index.locator import MAP_WIDTH, MAX_LABELS, STATUS_MARKS, locator
from monitor.publish.index.programme_view import LotRow, ProgrammeView, counts
from monitor.publish.index.provinces import MAX_ON_INDEX, Province, by_province, page_file
from monitor.publish.index.row_charts import growth_script
from monitor.publish.index.script_data import outlines_script, script_json, sites_script
from monitor.publish.page_files import PAGE_FILES
from monitor.publish.pages import render
from monitor.publish.programme_page import ACCOUNT_PAGES
from monitor.sites.names import folder_name, without_invisible
from monitor.verdict.assessment import Assessment

ASSETS: Final = Path(__file__).parent / "assets"
NIGHTS_FILES: Final = {"en": "nights.html", "zh": "nights.zh.html"}
"""File name of the page of the last nights in each language."""
MAX_CHANGES: Final = 6  # changes of one kind that the index names, at most


def programme_files(view: ProgrammeView) -> dict[str, bytes]:
    """Files of the whole programme by path under the output root, in the order in which they are to be written.

    The index is last, so that what it links to is there.
    """
    provinces = by_province(view.sites)
    files = {f"assets/{name}": content for name, content in _assets().items()}
    files["assets/sites.js"] = sites_script(view)
    files["assets/outlines.js"] = outlines_script(view)
    files["assets/growth.js"] = growth_script(view)
    for language in reversed(words.LANGUAGES):
        if len(view.sites) > MAX_ON_INDEX:
            for province in provinces:
                for number in range(len(province.pages)):
                    path = f"province/{province.folder}/{page_file(number, language)}"
                    files[path] = province_page(view, province, number, language).encode()
        files[NIGHTS_FILES[language]] = nights_page(view, language).encode()
    for language in reversed(words.LANGUAGES):
        files[PAGE_FILES[language]] = index_page(view, provinces, language).encode()
    return files


def remove_old_provinces(root: Path, files: Collection[str]) -> None:
    """Remove the pages of provinces that have none among the `files` of the programme any more."""
    for page in (root / "province").glob("*/*.html"):
        if page.relative_to(root).as_posix() not in files:
            page.unlink()
            with suppress(OSError):  # others are in it
                page.parent.rmdir()


def index_page(view: ProgrammeView, provinces: Sequence[Province], language: words.Language) -> str:
    """Overview page of the programme."""
    changes, last = view.history.changes, view.history.nights[:1]
    return render(
        "index.html", language, **counts(view), **_shared(view, language), history=view.history,
        changes=None if changes is None else _changes(view, changes, language),
        newest=max((row.seen for row in view.sites if row.seen), default=None),
        bad_night=next((night for night in last if night.outcome != "done"), None),
        rows=[
            (row, growth_chart(view.growth.get(site.id, ()), site, a, size="row", language=language))
            for row, (site, a) in zip(view.sites[:MAX_ON_INDEX], view.ordered[:MAX_ON_INDEX], strict=True)
        ],
        large=len(view.sites) > MAX_ON_INDEX, provinces=provinces,
        locator=locator(
            [(site, row.status) for (site, _), row in zip(view.ordered, view.sites, strict=True)], view.grounds
        ),
        MAP_WIDTH=MAP_WIDTH, precision=_groups_of(view.precision), lots=sorted(view.lots, key=_worst_lot_first),
        script_words=script_json(_script_words(view, language)),
        tiles=None if view.basemap is None else view.basemap.host,
    )  # fmt: skip


def province_page(view: ProgrammeView, province: Province, number: int, language: words.Language) -> str:
    """One page of the list of sites of a province; pages count from 0."""
    other = words.LANGUAGES[1 - words.LANGUAGES.index(language)]
    return render(
        "province.html", language, **_shared(view, language), province=province, number=number,
        rows=province.pages[number], links=[page_file(n, language) for n in range(len(province.pages))],
        twin=page_file(number, other),
    )  # fmt: skip


def nights_page(view: ProgrammeView, language: words.Language) -> str:
    """Page of the last nights."""
    other = words.LANGUAGES[1 - words.LANGUAGES.index(language)]
    return render(
        "nights.html", language, **_shared(view, language), history=view.history, twin=NIGHTS_FILES[other],
        hrefs={row.id: f"sites/{row.folder}/{PAGE_FILES[language]}" for row in view.sites}
    )  # fmt: skip


@cache
def _assets() -> dict[str, bytes]:
    """Scripts and styles that are the same for every programme, Leaflet with its licence among them."""
    return {path.name: path.read_bytes() for path in sorted(ASSETS.iterdir()) if path.is_file()}


def _shared(view: ProgrammeView, language: words.Language) -> dict[str, Any]:
    return {
        "view": view, "NIGHTS": NIGHTS_FILES[language], "ACCOUNT": ACCOUNT_PAGES[language],
        "duration": lambda seconds: duration(seconds, language), "site_name": words.site_name,
        "near_day": lambda day: near_day(day, view.as_of, language), "area": lambda value: words.area(value, language),
        "href": lambda row: f"sites/{row.folder}/{PAGE_FILES[language]}",
        "folder": lambda site: quote(folder_name(site.id)),
    }  # fmt: skip


def _script_words(view: ProgrammeView, language: words.Language) -> dict[str, Any]:
    """Words and settings of the script of the index, in one language."""

    def table(section: str) -> dict[str, str]:
        return {name: both[language] for name, both in words.TEXTS[section].items()}

    return {
        "language": language, "page": PAGE_FILES[language], "status": table("status"), "level": table("level"),
        "intervention": table("intervention"), "marks": STATUS_MARKS, "max_labels": MAX_LABELS,
        "filters": table("filter"), "sort": table("sort"), **table("script"), "grounds": view.grounds,
        "basemap": view.basemap and {"url": view.basemap.url, "credit": view.basemap.credit},
    }  # fmt: skip


def _changes(view: ProgrammeView, changes: Changes, language: words.Language) -> dict[str, Any]:
    """Changes in words, each with how many more there are."""
    rows = {site.id: (row, a) for (site, a), row in zip(view.ordered, view.sites, strict=True)}
    statuses = [
        (row, _loss_in_words(a, view.as_of, language) if row.status == "disturbed" else None, before)
        for site, (row, a) in rows.items()
        if (before := changes.before.get(site))
    ]
    lists: dict[str, Sequence[Any]] = {
        "statuses": statuses,
        "new": [rows[site][0] for site in changes.new if site in rows],
        "replanted": [(rows[site][0], start) for site, start in changes.replanted if site in rows],
        "retired": [without_invisible(names[language]) for names in changes.retired],
    }
    return {
        "since": changes.since,
        **{name: (found[:MAX_CHANGES], max(0, len(found) - MAX_CHANGES)) for name, found in lists.items()},
    }


def _loss_in_words(a: Assessment, today: date, language: words.Language) -> str:
    if a.loss_on is None or a.loss_confirmed_on is None:
        return words.text("event.lost", language)
    days = {"day": near_day(a.loss_on, today, language), "confirmed": near_day(a.loss_confirmed_on, today, language)}
    return words.text("event.lost_known", language, **days)


def _worst_lot_first(row: LotRow) -> tuple[int, float, str]:
    lot, _, _, verdict = row
    alert = list(words.ALERT_LEVEL_NAMES).index(verdict.alert)
    return alert, 9.0 if verdict.theta is None else verdict.theta, lot.id


def _groups_of(precision: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Rows of the measured precision by what they are counted by, without groups in which all is unknown."""
    groups = [(by, list(rows)) for by, rows in groupby(precision, key=lambda row: row["by"])]
    return [(by, rows) for by, rows in groups if by == "all" or any(row["value"] is not None for row in rows)]


def duration(seconds: float | None, language: words.Language) -> str:
    """Time in words, to the minute.

    >>> duration(31, "en"), duration(5400, "en"), duration(7260, "zh"), duration(None, "en")
    ('under 1 min', '1 h 30 min', '2 小时 1 分', '–')
    """
    if seconds is None:
        return "–"
    minutes = int(seconds // 60)
    if minutes == 0:
        return "不到 1 分" if language == "zh" else "under 1 min"
    hours, minutes = divmod(minutes, 60)
    units = ("小时", "分") if language == "zh" else ("h", "min")
    parts = [f"{n} {unit}" for n, unit in ((hours, units[0]), (minutes, units[1])) if n]
    return " ".join(parts)
