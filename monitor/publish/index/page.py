"""The index of the programme, in English and in Chinese."""

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import Any
from urllib.parse import quote

from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertState
from monitor.publish.index.locator import MAP_WIDTH, locator
from monitor.publish.page_files import PAGE_FILES
from monitor.publish.pages import render
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.lots import Lot, LotVerdict, lot_of

type LotRow = tuple[Lot, int, float, LotVerdict]
"""A lot, the number of its sites and their hectares, and the newest verdict on it."""


def index_page(
    rows: Sequence[tuple[Site, Assessment]],
    folders: dict[str, str],
    alerts: dict[str, Alert],
    *,
    as_of: date,
    alpha: float,
    precision: Sequence[Mapping[str, Any]] = (),
    lots: Sequence[LotRow] = (),
    notice: Mapping[str, str] | None,
    language: words.Language,
) -> str:
    """Overview page of the programme.

    Parameters
    ----------
    rows : sequence of (Site, Assessment)
        In any order; shown worst first.
    folders, alerts : dict
        By site id: folder of its page under ``sites/``; by id of a site or lot: its alert, as in
        :func:`monitor.publish.products.write_index`.
    as_of, alpha, precision, lots, notice
        See :func:`monitor.publish.products.write_index`.
    language : str
        ``en`` or ``zh``.
    """
    ordered = sorted(rows, key=_worst_first)
    total = sum(site.hectares for site, _ in ordered)
    groups = [
        (status, [row for row in ordered if words.shown_status(row[0], row[1].status) == status])
        for status in words.STATUS_NAMES
    ]
    totals = []
    for status, group in groups:
        area = sum(site.hectares for site, _ in group)
        share = 100 * area / total if total else 0.0
        totals.append({"status": status, "sites": len(group), "hectares": area, "share": share})
    levels = [_level(a.alert, alerts.get(site.id)) for site, a in ordered]
    lot_levels = [_level(verdict.alert, alerts.get(lot.id)) for lot, _, _, verdict in lots]
    return render(
        "index.html",
        language,
        groups=[(status, group) for status, group in groups if group],
        totals=totals,
        total=total,
        n_sites=len(ordered),
        n_red=levels.count("red"),
        n_watch=levels.count("watch"),
        n_answered=sum(
            level == "red" and site.id in alerts and alerts[site.id].state == AlertState.RESOLVED
            for (site, _), level in zip(ordered, levels, strict=True)
        ),
        false_reds=alpha * len(ordered),
        confirmed=[site.hectares for site, a in ordered if a.uplift_confirmed],
        hrefs={key: f"sites/{quote(folder)}/{PAGE_FILES[language]}" for key, folder in folders.items()},
        alerts=alerts,
        MAP_WIDTH=MAP_WIDTH,
        locator=locator([(site, words.shown_status(site, a.status)) for site, a in ordered]),
        as_of=as_of,
        precision=_groups_of(precision),
        lots=sorted(lots, key=_worst_lot_first),
        n_red_lots=lot_levels.count("red"),
        n_watched_lots=lot_levels.count("watch"),
        lotless=sum(lot_of(site) is None for site, _ in ordered),
        notice=notice,
    )


def _level(shown: str, known: Alert | None) -> str:
    """Level of an alert to count: one that is still open counts even if the latest data show nothing."""
    is_open = known is not None and known.state is not AlertState.RESOLVED
    return str(known.level if known is not None and is_open and shown == "none" else shown)


def _worst_lot_first(row: LotRow) -> tuple[int, float, str]:
    lot, _, _, verdict = row
    alert = list(words.ALERT_LEVEL_NAMES).index(verdict.alert)
    return alert, 9.0 if verdict.theta is None else verdict.theta, lot.id


def _groups_of(precision: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Rows of the measured precision by what they are counted by, without groups in which all is unknown."""
    groups = [(by, list(rows)) for by, rows in groupby(precision, key=lambda row: row["by"])]
    return [(by, rows) for by, rows in groups if by == "all" or any(row["value"] is not None for row in rows)]


def _worst_first(row: tuple[Site, Assessment]) -> tuple[int, int, float, str]:
    site, a = row
    status = list(words.STATUS_NAMES).index(words.shown_status(site, a.status))
    alert = list(words.ALERT_LEVEL_NAMES).index(a.alert)
    return status, alert, 9.0 if a.theta is None else a.theta, site.id
