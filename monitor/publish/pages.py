"""HTML pages of the programme and of each site, in English and in Chinese.

They are plain files without scripts or requests and with the style inside, so that a page opens from a memory card in
the field as it does from a server.
"""

import math
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from itertools import compress, pairwise
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np

from monitor.alerts import words
from monitor.alerts.messages.findings import WHOLE_SITE, where_to_look
from monitor.alerts.messages.places import look_at, map_link, on_chinese_map, position
from monitor.alerts.messages.progress import progress
from monitor.alerts.messages.rendering import templates, text_in_context
from monitor.alerts.messages.steps import alert_steps, site_steps
from monitor.maps.film_years import WEEKS, peak_day
from monitor.maps.worst_patch import LIKELY as LIKELY_ABSENT
from monitor.publish import pictures
from monitor.publish.calibrated import calibration_table
from monitor.publish.chart import WIDTH, season_table, series_chart
from monitor.publish.growth_chart import chart_years, growth_chart
from monitor.publish.page_files import PAGE_FILES, TRACKS, PagePicture
from monitor.publish.view import IMPROVEMENT_YEARS, Chip, SiteView
from monitor.series.field_rows import FieldRow, index_cover_beside
from monitor.sites.biomes import biome_of
from monitor.sites.names import without_invisible, without_invisible_lines
from monitor.sites.promise import changed_columns
from monitor.verdict.assessment import Status
from monitor.verdict.detectability import LIKELY
from monitor.verdict.erosion import UNVERIFIED
from monitor.verdict.explain import explain, false_alarm_rate, measured_difference, probabilities, promised_in_field
from monitor.verdict.reasons import sentence

PAGE_TEMPLATES: Final = Path(__file__).parent / "templates"
INDEX_TEMPLATES: Final = Path(__file__).parent / "index/templates"
"""Templates of the pages of the whole programme (:mod:`monitor.publish.index`)."""
MAX_FIELD_ROWS: Final = 60
"""Measurements that a page shows; all are in ``field.csv``."""
NUMBERS_TEMPLATE: Final = "drawing.html"
"""Template without escaping: it has hundreds of numbers and no text of users."""


@cache
def _environment() -> jinja2.Environment:
    environment = templates(PAGE_TEMPLATES, INDEX_TEMPLATES, escaped=lambda name: name != NUMBERS_TEMPLATE)
    environment.filters |= {
        "inert": without_invisible, "inert_lines": without_invisible_lines, "percent": words.percent,
        "points": words.points, "probability": words.probability,
        "hectares": hectares, "area": area, "long_day": words.day, "on_scale": on_scale,
    }  # fmt: skip
    environment.globals |= {
        "STATUS": words.STATUS_NAMES, "ALERT": words.ALERT_LEVEL_NAMES, "ANSWERS": words.ANSWER_NAMES,
        "RULES": words.RULE_NAMES, "INTERVENTIONS": words.INTERVENTION_NAMES,
        "TEXTS": words.TEXTS, "UNVERIFIED": UNVERIFIED, "cause": words.cause, "PAGE_FILES": PAGE_FILES, "WIDTH": WIDTH,
        "text": text_in_context, "map_link": map_link, "sentence": sentence, "site_name": words.site_name,
        "position_text": position,
    }  # fmt: skip
    return environment


def site_pages(view: SiteView, drawn: Mapping[str, PagePicture]) -> dict[words.Language, str]:
    """Page of one site in each language; `drawn`: its pictures and maps, by name."""
    site, a = view.site, view.assessment
    patch = None if view.patch is None else view.patch[0]
    shares = None if a.theta is None else (a.theta, a.theta_low, a.theta_high)
    drawing = {"chart": series_chart(view), "seasons": season_table(view), "shares": shares}
    place = look_at(site, patch)
    context: dict[str, Any] = {
        "view": view, "site": site, "a": a, "status": words.shown_status(site, a.status), "place": place,
        "film": _film(view, drawn),
        "failing_shown": "failing" in view.shown_maps and "failing" in drawn and _fails_in_part(view),
        "on_chinese_map": on_chinese_map(*place), "patch": patch, "tracks": TRACKS, **drawing,
        "drawn": _environment().get_template(NUMBERS_TEMPLATE).make_module(drawing),
        "calibration": view.calibration and calibration_table(view.calibration, biome=biome_of(site)),
        "improvement_years": IMPROVEMENT_YEARS, "unknowable": _unknowable(view),
        "measured": _measured(view), "rejected": _rejected(view),
        "photos": {name: _photo(chip, drawn[name]) for name, chip in view.chips.items() if name in drawn},
        "maps": _maps(view, drawn), "outline": pictures.outline_path(view.outline) if view.outline is not None else "",
        "patch_outline": "" if view.patch is None else pictures.outline_path(view.patch[1]),
    }  # fmt: skip
    area = a.hectares_failing if a.hectares_lost is None else a.hectares_lost
    brief = {language: explain(a, site, language=language, brief=True) for language in words.LANGUAGES}
    return {
        language: render(
            "site.html", language, growth=growth_chart(view.growth, site, a, size="page", language=language),
            progress=progress(a, view.growth, language), weeks=_weeks(view, language),
            map_note=_map_note(view, language), sentences=brief[language],
            in_full=[
                full
                for full in explain(a, site, language=language)
                if not any(sentence in full for sentence in brief[language])
            ],
            difference=measured_difference(a, language=language, brief=True),
            where=where_to_look(site, patch, area=area, language=language), steps=_steps(view, language),
            promise_changes=_promise_changes(view, language), false_alarm_rate=false_alarm_rate(a, language=language),
            chances=probabilities(a, language=language), field_plan=promised_in_field(a, site, language=language),
            cover_basis=biome_of(site).cover_basis(language), reasons=[sentence(code, language) for code in a.reasons],
            intervention=words.INTERVENTION_NAMES[site.intervention][language], biome=biome_of(site).names[language],
            name=words.site_name(site, language), pick=words.LANGUAGES.index(language), **context,
        )
        for language in words.LANGUAGES
    }  # fmt: skip


def _steps(view: SiteView, language: words.Language) -> tuple[str, ...]:
    """Steps at a site; an alert that is open under an earlier promise is still to be answered."""
    alert, patch = view.alert, view.patch is not None
    if alert is not None and alert.held_by is not None:
        return alert_steps(alert.rule, patch=patch, link=False, language=language)
    return site_steps(view.assessment, patch=patch, language=language)


def _promise_changes(view: SiteView, language: words.Language) -> list[dict[str, Any]]:
    """Changes of the promise, newest first: day, who and why, and the columns with their values before and after."""
    changes = [
        {
            "day": date.fromisoformat(after["from"]), "by": after["by"], "why": after["why"],
            "columns": words.promise_changes(changed_columns(before, after), language),
        }
        for before, after in pairwise(view.promises)
    ]  # fmt: skip
    return changes[::-1]


def _rejected(view: SiteView) -> list[tuple[str, Mapping[str, str] | None, int]]:
    """Reasons for which scenes were rejected, the most frequent first: code, words, number of scenes."""
    reasons = compress(view.observations["reason"], ~np.asarray(view.observations["accepted"], bool))
    counts = Counter(reason or "–" for reason in reasons)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(code, words.TEXTS["rejected"].get(code), count) for code, count in ordered]


def _photo(chip: Chip, picture: PagePicture) -> dict[str, Any]:
    """A natural-colour picture for the template: file, window, outlines and scale bar, in pixels of the picture."""
    left, top, width, height = picture.window
    metres = pictures.scale_bar(width * chip.pixel)
    low = float(np.nanmean(chip.outline[:, 1])) > top + 0.6 * height  # the bar does not cover a site in the lower part
    return {
        "file": picture.file, "date": chip.date, "level": chip.level, "window": picture.window,
        "outline": pictures.outline_path(chip.outline),
        "controls": "" if chip.controls is None else pictures.outline_path(chip.controls, picture.window),
        "metres": metres, "letter": 0.05 * width,
        "bar": (left + 0.04 * width, top + (0.1 * width if low else height - 0.04 * width), metres / chip.pixel),
    }  # fmt: skip


def _maps(view: SiteView, drawn: Mapping[str, PagePicture]) -> dict[str, dict[str, Any]]:
    """The maps for the template, by name."""
    size = None if view.grid is None else (view.grid.shape.x, view.grid.shape.y)
    return {
        layer.name: {
            "layer": layer, "file": drawn[layer.name].file, "window": drawn[layer.name].window,
            "ramp": pictures.ramp(layer), "size": size,
        }
        for layer in pictures.MAP_LAYERS
        if layer.name in view.shown_maps and layer.name in drawn
    }  # fmt: skip


def _film(view: SiteView, drawn: Mapping[str, PagePicture]) -> dict[str, Any] | None:
    """The film for the template: a cell for each year of the chart, in pixels of its picture."""
    if view.film is None or view.grid is None or "film" not in drawn:
        return None
    width, height = drawn["film"].window[2:]
    left, top, *_ = window = pictures.frame(view.outline, (view.grid.shape.x, view.grid.shape.y))
    place = {year: k * (width + 1) for k, year in enumerate(view.film.years)}
    scale = 1 / pictures.film_times(window)
    return {
        "file": drawn["film"].file,
        "frame": (width, height),
        "size": (len(place) * (width + 1), height),
        "transform": f"scale({scale:.4g}) translate({-left:g} {-top:g})",
        "ramp": pictures.ramp(pictures.FILM_LAYER),
        "cells": [
            {"year": year, "left": place.get(year), **(view.film.years[year]._asdict() if year in place else {})}
            for year in chart_years(view.growth, view.site, view.assessment)
        ],
    }  # fmt: skip


def _weeks(view: SiteView, language: words.Language) -> str:
    """The weeks that the film shows, from day to day of a year."""
    first = date(2001, 1, 1) + timedelta(days=peak_day(view.site) - 1)
    first_day, last_day = (
        words.day(day.replace(year=2001), language).removesuffix(" 2001").removeprefix("2001年")
        for day in (first, first + timedelta(days=WEEKS - 1))
    )
    return words.text("growth.weeks", language, first=first_day, last=last_day)


def _fails_in_part(view: SiteView) -> bool:
    """Whether the map of absent growth belongs to what is said first: it shows a part of the site to go to."""
    a = view.assessment
    said = (a.status in (Status.FAILING, Status.LAGGING) or a.alert_rule == "failure") and "loss" not in view.maps
    area = max(view.patch[0].hectares, a.hectares_failing or 0.0) if view.patch else view.site.hectares
    return said and area < WHOLE_SITE * view.site.hectares


def _map_note(view: SiteView, language: words.Language) -> str | None:
    """Why the map of absent growth says something else than the headline; None where they agree."""
    values = view.maps.get("failing")
    if values is None or "failing" not in view.shown_maps:
        return None
    known = values.values[np.isfinite(values.values)]
    absent = known.size > 0 and float((known >= LIKELY_ABSENT).mean()) >= 0.5
    if absent == (view.assessment.status is Status.FAILING):
        return None
    return words.text("growth.map_differs", language, share=words.percent(view.assessment.theta))


def _unknowable(view: SiteView) -> tuple[float, float | None] | None:
    """Chance that a failure is red by the end of year 5, and with strips by that of year 6 (None: it has strips).

    None: a failure is likely red by the end of year 5, or the sixth year is over.
    """
    improved = view.detection_improvements.items()
    chances = {name: dict(zip(IMPROVEMENT_YEARS, red, strict=True)) for name, red in improved}
    young = view.assessment.as_of < view.site.start + timedelta(days=round(6 * 365.25))
    if not chances or not young or chances["now"][5] >= LIKELY:
        return None
    return chances["now"][5], chances.get("strips", {}).get(6)


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


def area(value: float, language: words.Language) -> str:
    """Format an area: in Chinese mu, with the hectares in brackets.

    >>> area(0.538, "en"), area(0.538, "zh")
    ('0.54 ha', '8.1 亩（0.54 公顷）')
    """
    plain = words.area(value, language)
    return f"{plain}（{hectares(value)} 公顷）" if language == "zh" else f"{hectares(value)} ha"


def on_scale(share: float) -> str:
    """Position of a share of the plan on a scale from -50 % to 150 %, in percent of its length.

    >>> on_scale(0.25), on_scale(-9), on_scale(9)
    ('37.5', '0.0', '100.0')
    """
    return f"{min(max((share + 0.5) * 50, 0), 100):.1f}"


def render(template: str, language: words.Language, **context: Any) -> str:
    """Fill in a template of pages; text is escaped."""
    pick = words.LANGUAGES.index(language)
    page = _environment().get_template(template)
    return page.render(lang=language, other=words.LANGUAGES[1 - pick], t=lambda *both: both[pick], **context)
