"""HTML pages of the programme and of each site, in English and in Chinese.

They are plain files without scripts or requests and with the style inside, so that a page opens from a memory card in
the field as it does from a server.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from itertools import compress, groupby
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import jinja2
import numpy as np

from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertState
from monitor.alerts.messages.places import map_link, position
from monitor.publish import pictures
from monitor.publish.chart import WIDTH, season_table, series_chart
from monitor.publish.control_ground import REASONS
from monitor.publish.locator import MAP_WIDTH, locator
from monitor.publish.page_files import PAGE_FILES
from monitor.publish.view import IMPROVEMENT_YEARS, SiteView
from monitor.series.field_rows import FieldRow, index_cover_beside
from monitor.sites.biomes import BIOMES
from monitor.sites.names import without_invisible, without_invisible_lines
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.erosion import UNVERIFIED
from monitor.verdict.explain import explain, false_alarm_rate, probabilities, promised_in_field
from monitor.verdict.lots import Lot, LotVerdict, lot_of
from monitor.verdict.reasons import sentence

type LotRow = tuple[Lot, int, float, LotVerdict]
"""A lot, the number of its sites and their hectares, and the newest verdict on it."""

PAGE_TEMPLATES: Final = Path(__file__).parent / "templates"

GRADE: Final = {
    "slight": {"en": "slight", "zh": "微度"},
    "light": {"en": "light", "zh": "轻度"},
    "moderate": {"en": "moderate", "zh": "中度"},
    "intense": {"en": "intense", "zh": "强烈"},
    "very_intense": {"en": "very intense", "zh": "极强烈"},
    "extreme": {"en": "extreme", "zh": "剧烈"},
}
"""Names of the grades of soil erosion in SL 190-2007."""

NOTE: Final = {
    "en": "Unverified: the grade table of SL 190 and the coefficients of the cover factor (Cai 2000) are quoted from "
    "memory. Check them before these figures are used in an audit.",
    "zh": "未经核实：SL 190 分级表和覆盖因子系数（蔡崇法，2000）凭记忆引用。用于审计之前须先核对。",
}
"""Shown for a verdict with the note :data:`monitor.verdict.erosion.UNVERIFIED`."""


FIELD_KINDS: Final = {
    "cover": {"en": "vegetation cover", "zh": "植被覆盖度"},
    "survival": {"en": "survival", "zh": "成活率"},
    "density": {"en": "plants a hectare", "zh": "每公顷株数"},
}
"""What was measured on the ground, see :data:`monitor.series.field_rows.FIELD_KINDS`."""
IMPROVEMENT_WORDS: Final = {
    "now": ("As it is", "现状"),
    "more_scenes": ("Twice the clear scenes (Landsat beside Sentinel-2)", "无云影像加倍（哨兵二号与 Landsat 并用）"),
    "strips": ("Control strips left untreated in the site", "地块内留出不处理的对照条带"),
    "both": ("Both", "两者并用"),
}
"""English and Chinese, by what is done to see a failure earlier."""
MAX_FIELD_ROWS: Final = 60
"""Measurements that a page shows; all are in ``field.csv``."""

CAME_BY: Final = {
    "link": {"en": "by the link in a message", "zh": "通过消息中的链接答复"},
    "command": {"en": "entered by the operators", "zh": "由管理人员登记"},
    "import": {"en": "from a list of answers", "zh": "批量导入"},
    "replant": {"en": "when replanting was registered", "zh": "登记补植时记录"},
}
"""How an answer came."""

NUMBERS_TEMPLATE: Final = "drawing.html"
"""Template without escaping: it has hundreds of numbers and no text of users."""


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE_TEMPLATES),
        autoescape=lambda name: name != NUMBERS_TEMPLATE,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "inert": without_invisible, "inert_lines": without_invisible_lines, "percent": words.percent,
        "points": words.points, "probability": words.probability,
        "hectares": hectares, "long_day": words.day, "on_scale": on_scale,
    }  # fmt: skip
    environment.globals |= {
        "STATUS": words.STATUS_NAMES, "ALERT": words.ALERT_LEVEL_NAMES, "ANSWERS": words.ANSWER_NAMES, "GRADE": GRADE,
        "RULES": words.RULE_NAMES, "INTERVENTIONS": words.INTERVENTION_NAMES,
        "NOTE": NOTE, "UNVERIFIED": UNVERIFIED, "cause": words.cause, "PAGE_FILES": PAGE_FILES, "WIDTH": WIDTH,
        "MAP_WIDTH": MAP_WIDTH, "REASONS": words.TEXTS["false_alarm_reason"], "CAME_BY": CAME_BY, "map_link": map_link,
        "FIELD_KINDS": FIELD_KINDS, "sentence": sentence,
        "position_text": position,
    }  # fmt: skip
    return environment


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


def site_pages(view: SiteView) -> dict[words.Language, str]:
    """Page of one site in each language."""
    site, a, grid = view.site, view.assessment, view.grid
    map_size = None if grid is None else (grid.shape.x, grid.shape.y)
    reasons = compress(view.observations["reason"], ~np.asarray(view.observations["accepted"], bool))
    rejected = Counter(reason or "–" for reason in reasons)
    shares = None if a.theta is None else (a.theta, a.theta_low, a.theta_high)
    drawing = {"chart": series_chart(view), "seasons": season_table(view), "shares": shares}
    context: dict[str, Any] = {
        "view": view,
        "site": site,
        "a": a,
        "status": words.shown_status(site, a.status),
        "position": words.coordinates(site),
        **drawing,
        "drawn": _environment().get_template(NUMBERS_TEMPLATE).make_module(drawing),
        "control_reasons": REASONS,
        "improvement_years": IMPROVEMENT_YEARS,
        "improvement_words": IMPROVEMENT_WORDS,
        "measured": _measured(view),
        "rejected": sorted(rejected.items(), key=lambda item: (-item[1], item[0])),
        "chips": [(name, chip, pictures.outline_path(chip.outline)) for name, chip in view.chips.items()],
        "outline": pictures.outline_path(view.outline) if view.outline is not None else "",
        "patch_outline": "" if view.patch is None else pictures.outline_path(view.patch[1]),
        "layers": [(layer, pictures.ramp(layer)) for layer in pictures.MAP_LAYERS if layer.name in view.maps],
        "map_size": map_size,
        "frame": None if map_size is None else pictures.frame(view.outline, map_size),
    }
    return {
        language: render(
            "site.html",
            language,
            sentences=explain(a, site, language=language),
            false_alarm_rate=false_alarm_rate(a, language=language),
            chances=probabilities(a, language=language),
            field_plan=promised_in_field(a, site, language=language),
            cover_basis=BIOMES[site.biome].cover_basis(language),
            reasons=[sentence(code, language) for code in a.reasons],
            intervention=words.INTERVENTION_NAMES[site.intervention][language],
            biome=BIOMES[site.biome].names[language],
            pick=words.LANGUAGES.index(language),
            **context,
        )
        for language in words.LANGUAGES
    }


def _measured(view: SiteView) -> list[tuple[FieldRow, float | None]]:
    """Measurements to show, newest first, each with the index cover at that time where it is of cover."""
    rows = view.measured[::-1][:MAX_FIELD_ROWS]
    table = view.observations
    days, accepted = np.asarray(table["date"], "datetime64[D]"), np.asarray(table["accepted"], bool)
    observed = {"date": days, "accepted": accepted, "cover": np.asarray(table["cover"], np.float64)}
    index = index_cover_beside(rows, observed).tolist()
    return [
        (row, None if row.kind != "cover" or math.isnan(beside) else beside)
        for row, beside in zip(rows, index, strict=True)
    ]


def hectares(value: float | None) -> str:
    """Format an area: three digits below a hundred, whole hectares above.

    >>> hectares(3.14159), hectares(48.26), hectares(12345.6), hectares(None)
    ('3.14', '48.3', '12,346', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def on_scale(share: float) -> str:
    """Position of a share of the plan on a scale from -50 % to 150 %, in percent of its length.

    >>> on_scale(0.25), on_scale(-9), on_scale(9)
    ('37.5', '0.0', '100.0')
    """
    return f"{min(max((share + 0.5) * 50, 0), 100):.1f}"


def _worst_first(row: tuple[Site, Assessment]) -> tuple[int, int, float, str]:
    site, a = row
    status = list(words.STATUS_NAMES).index(words.shown_status(site, a.status))
    alert = list(words.ALERT_LEVEL_NAMES).index(a.alert)
    return status, alert, 9.0 if a.theta is None else a.theta, site.id


def render(template: str, language: words.Language, **context: Any) -> str:
    """Fill in a template of pages; text is escaped."""
    pick = words.LANGUAGES.index(language)
    page = _environment().get_template(template)
    return page.render(lang=language, other=words.LANGUAGES[1 - pick], t=lambda *both: both[pick], **context)
