"""Pages of the whole programme, in English and in Chinese: index, provinces, last nights."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from monitor.alerts import words
from monitor.publish.index import wording
from monitor.publish.index.history import AlertChange
from monitor.publish.index.locator import MAP_WIDTH, STATUS_MARKS, locator
from monitor.publish.index.programme_view import LotRow, ProgrammeView, counts
from monitor.publish.index.provinces import MAX_ON_INDEX, Province, by_province, page_file
from monitor.publish.index.script_data import outlines_script, script_json, sites_script
from monitor.publish.page_files import PAGE_FILES
from monitor.publish.pages import render
from monitor.publish.programme_page import ACCOUNT_PAGES
from monitor.sites.names import folder_name, without_invisible

ASSETS: Final = Path(__file__).parent / "assets"
NIGHTS_FILES: Final = {"en": "nights.html", "zh": "nights.zh.html"}
"""File name of the page of the last nights in each language."""
MAX_CHANGES: Final = 20
"""Changes of one kind since the last night that the index names, at most."""


def programme_files(view: ProgrammeView) -> dict[str, bytes]:
    """Files of the whole programme by path under the output root, in the order in which they are to be written.

    The index is last, so that what it links to is there.
    """
    provinces = by_province(view.sites)
    files = {f"assets/{name}": content for name, content in _assets().items()}
    files["assets/sites.js"] = sites_script(view)
    files["assets/outlines.js"] = outlines_script(view)
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
    large = len(view.sites) > MAX_ON_INDEX
    changes = view.history.changes
    return render(
        "index.html",
        language,
        **counts(view),
        **_shared(language),
        view=view,
        history=view.history,
        changes=None if changes is None else _changes(view, language),
        newest=max((row.seen for row in view.sites if row.seen), default=None),
        large=large,
        provinces=provinces,
        hrefs={row.folder: f"sites/{row.folder}/{PAGE_FILES[language]}" for row in view.sites},
        locator=locator([(site, row.status) for (site, _), row in zip(view.ordered, view.sites, strict=True)]),
        MAP_WIDTH=MAP_WIDTH,
        precision=_groups_of(view.precision),
        lots=sorted(view.lots, key=_worst_lot_first),
        script_words=script_json(_script_words(view, language)),
        tiles=None if view.basemap is None else view.basemap.host,
    )


def province_page(view: ProgrammeView, province: Province, number: int, language: words.Language) -> str:
    """One page of the list of sites of a province; pages count from 0."""
    other = words.LANGUAGES[1 - words.LANGUAGES.index(language)]
    return render(
        "province.html",
        language,
        **_shared(language),
        view=view,
        province=province,
        number=number,
        rows=province.pages[number],
        links=[page_file(n, language) for n in range(len(province.pages))],
        twin=page_file(number, other),
    )


def nights_page(view: ProgrammeView, language: words.Language) -> str:
    """Page of the last nights."""
    other = words.LANGUAGES[1 - words.LANGUAGES.index(language)]
    return render(
        "nights.html",
        language,
        **_shared(language),
        view=view,
        history=view.history,
        twin=NIGHTS_FILES[other],
        hrefs={row.id: f"sites/{row.folder}/{PAGE_FILES[language]}" for row in view.sites},
    )


@cache
def _assets() -> dict[str, bytes]:
    """Scripts and styles that are the same for every programme, Leaflet with its licence among them."""
    return {path.name: path.read_bytes() for path in sorted(ASSETS.iterdir()) if path.is_file()}


def _shared(language: words.Language) -> dict[str, Any]:
    return {
        "NIGHTS": NIGHTS_FILES[language],
        "ACCOUNT": ACCOUNT_PAGES[language],
        "OUTCOMES": wording.OUTCOMES,
        "PROBLEM_STATES": wording.PROBLEM_STATES,
        "duration": lambda seconds: duration(seconds, language),
        "whole": _percent,
        "signed": _points,
        "at": _on_scale,
        "day_words": cache(lambda day: words.day(day, language)),
        "ago": lambda days: wording.SCRIPT_WORDS["ago_1" if days == 1 else "ago"][language].format(n=days),
        "folder": lambda site: quote(folder_name(site.id)),
    }


def _script_words(view: ProgrammeView, language: words.Language) -> dict[str, Any]:
    """Words and settings of the script of the index, in one language."""
    return {
        "language": language,
        "page": PAGE_FILES[language],
        "status": {status: names[language] for status, names in words.STATUS_NAMES.items()},
        "level": {level: names[language] for level, names in words.ALERT_LEVEL_NAMES.items()},
        "intervention": {name: names[language] for name, names in words.INTERVENTION_NAMES.items()},
        "months": [words.day(view.as_of.replace(day=1, month=month), "en").split()[1] for month in range(1, 13)],
        "marks": STATUS_MARKS,
        "filters": {name: names[language] for name, names in wording.FILTERS.items()},
        "sort": {name: names[language] for name, names in wording.SORT_KEYS.items()},
        **{name: names[language] for name, names in wording.SCRIPT_WORDS.items()},
        "basemap": None if view.basemap is None else {"url": view.basemap.url, "credit": view.basemap.credit},
    }


def _changes(view: ProgrammeView, language: words.Language) -> dict[str, Any]:
    """What changed since the night before, in words, each with how many more there are."""
    changes = view.history.changes
    assert changes is not None
    rows = {site.id: (row, site) for (site, _), row in zip(view.ordered, view.sites, strict=True)}
    lots = {lot.id: lot for lot, _, _, _ in view.lots}
    statuses = [
        (row, words.shown_status(site, changes.before[site.id]))
        for row, site in rows.values()
        if site.id in changes.before
    ]

    def named(change: AlertChange) -> tuple[str, str] | None:
        if change.site in rows:
            row = rows[change.site][0]
            return row.name, f"sites/{row.folder}/{PAGE_FILES[language]}"
        if change.site in lots:
            lot = lots[change.site]
            return f"{without_invisible(lot.partner)}, {lot.programme_year}", f"lots/{lot.id}/{PAGE_FILES[language]}"
        return None  # the site is retired

    alerts = [(where, change) for change in changes.alerts if (where := named(change))]
    lists: dict[str, Sequence[Any]] = {
        "statuses": statuses,
        "alerts": [(where, _alert_change(change, language)) for where, change in alerts],
        "new": [rows[site][0] for site in changes.new if site in rows],
        "replanted": [(rows[site][0], start) for site, start in changes.replanted if site in rows],
        "retired": [without_invisible(name) for _, name in changes.retired],
    }
    return {
        "since": changes.since,
        "any": any(lists.values()),
        **{name: (found[:MAX_CHANGES], max(0, len(found) - MAX_CHANGES)) for name, found in lists.items()},
    }


def _alert_change(change: AlertChange, language: words.Language) -> tuple[str, str]:
    """Level of the alert, and its cause with what happened to it."""
    event = wording.EVENTS[change.event][language]
    answer = words.ANSWER_NAMES.get(change.answer or "", {}).get(language)
    colon, comma = ("：", "，") if language == "zh" else (": ", ", ")
    return change.level, words.cause(change.rule, change.level, language) + comma + event + (
        colon + answer if answer else ""
    )


def _percent(value: int | None) -> str:
    return "–" if value is None else f"{words.sign(value, signed=False)}{abs(value)}%"


def _points(value: int | None) -> str:
    return "–" if value is None else f"{words.sign(value)}{abs(value)}"


def _on_scale(share: int) -> str:
    """Position of a share of the plan [%] on a scale from -50 % to 150 %, in percent of its length."""
    return f"{min(max((share + 50) / 2, 0), 100):g}"


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
