"""The account of a programme as files: pages, ``programme.csv``, ``.json``, ``.geojson`` and ``visit-first.csv``."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import shapely

from monitor.alerts import words
from monitor.publish.period import Period, csv_of, period_csv
from monitor.publish.products import write_files
from monitor.publish.programme import STATES, Account, CountedSite, sums_by_probability
from monitor.publish.programme_page import ACCOUNT_PAGES, MOVES_FILE, account_page

CLAIM_COLUMNS: Final = (
    "site", "other_site", "partner", "other_partner", "across_partners", "kind", "shared_hectares", "share_of_smaller",
)  # fmt: skip
"""Columns of ``programme.csv`` that only rows of double registrations fill."""
VISIT_COLUMNS: Final = (
    "site", "name", "probability", "hectares", "status", "alert", "partner", "province", "longitude", "latitude",
)  # fmt: skip
"""Columns of ``visit-first.csv``."""
COORDINATE_DIGITS: Final = 7
"""Decimals of longitude and latitude in ``programme.geojson``: a centimetre. ``sites.parquet`` has all of them."""
ROW_COLUMNS: Final = ("sites", "total_hectares", "registered_hectares", "share_of_pledge")


def write_account(
    account: Account, root: Path, *, as_of: date, period: Period | None = None, notice: Mapping[str, str] | None = None
) -> None:
    """Write the account of a programme under the output root; unchanged files are not written.

    `period` is that of the year to date; None: no night has run. `notice`, by language, is shown first.
    """
    files = {
        "programme.json": account_json(account),
        "programme.csv": account_csv(account),
        "programme.geojson": account_geojson(account),
        "visit-first.csv": visit_csv(account),
    }
    for language in words.LANGUAGES:
        page = account_page(account, language, as_of=as_of, period=period, notice=notice)
        files[ACCOUNT_PAGES[language]] = page.encode()
    if period is not None:
        files[MOVES_FILE] = period_csv(period)
    write_files(files, root)


def write_period(period: Period, folder: Path, *, pledge: float | None) -> None:
    """Write page and table of a period into a folder; parameters as for :func:`write_account`."""
    name = f"programme-{period.first}-{period.last}"
    pages = {"en": f"{name}.html", "zh": f"{name}.zh.html"}
    files = {f"{name}.csv": period_csv(period)}
    for language in words.LANGUAGES:
        page = account_page(
            None, language, as_of=period.last, period=period, csv=f"{name}.csv", pledge=pledge,
            twin=pages["zh" if language == "en" else "en"],
        )  # fmt: skip
        files[pages[language]] = page.encode()
    write_files(files, folder)


def account_json(account: Account) -> bytes:
    """``programme.json``, which ``regrowth programme --json`` prints."""
    return (json.dumps(account.summary, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def account_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Hectares of the programme, then of each group: the summary of an account as rows of a table."""
    rows = [("programme", None, summary), *((row["by"], row["value"], row) for row in summary["groups"])]
    return [
        {
            "by": by, "value": value, **{name: row[name] for name in ROW_COLUMNS}, **row["hectares"],
            **{name: row[name] for name in sums_by_probability([])},
        }
        for by, value, row in rows
    ]  # fmt: skip


def account_csv(account: Account) -> bytes:
    """``programme.csv``: one row for the programme, one a group, and one a pair of sites that claim the same ground."""
    rows = account_rows(account.summary)
    columns = (*rows[0], *CLAIM_COLUMNS)
    rows += [
        {**claim, "by": "double_registration", "sites": 2, "shared_hectares": claim["hectares"]}
        for claim in account.summary["double_registrations"]
    ]
    return csv_of(columns, rows)


def visit_csv(account: Account) -> bytes:
    """``visit-first.csv``: the sites to visit first, the likeliest failure first."""
    members = {member.site.id: member for member in account.sites}
    rows = []
    for row in account.summary["to_visit"]["sites"]:
        member = members[row["site"]]
        point = member.site.geometry.representative_point()
        own = {name: getattr(member.site, name) for name in ("name", "partner", "province")}
        verdict = {"status": member.status, "alert": member.assessment.get("alert")}
        rows.append({**row, **own, **verdict, "longitude": point.x, "latitude": point.y})
    return csv_of(VISIT_COLUMNS, rows)


def account_geojson(account: Account) -> bytes:
    """``programme.geojson`` (RFC 7946): one feature a site, and one for ground that two sites have registered.

    The member ``feature`` of the properties tells them apart. A line holds one feature. Outer rings are
    counter-clockwise; coordinates have :data:`COORDINATE_DIGITS` decimals.
    """
    members, claims = account.sites, account.summary["double_registrations"]
    features = [(member.site.geometry, _site_properties(member)) for member in members]
    features += [
        (one.ground, {"feature": "shared_ground", **claim})
        for one, claim in zip(account.double, claims, strict=True)
        if one.ground is not None
    ]
    shapes = shapely.orient_polygons(np.array([geometry for geometry, _ in features], object))
    outlines = shapely.to_geojson(shapely.transform(shapes, lambda points: points.round(COORDINATE_DIGITS)))
    lines = [
        msgspec.json.encode(
            {
                "type": "Feature",
                "properties": properties,
                "geometry": None if geometry.is_empty else msgspec.Raw(outline.encode()),
            }
        )
        for (geometry, properties), outline in zip(features, outlines, strict=True)
    ]
    return b'{"type":"FeatureCollection","features":[\n' + b",\n".join(lines) + b"\n]}\n"


def _site_properties(member: CountedSite) -> dict[str, Any]:
    site, assessment = member.site, member.assessment
    chances = member.posterior or (None,) * len(STATES)
    failing = member.failing_area or (None, None, None)
    return {
        "feature": "site", "site": site.id, "name": site.name, "name_zh": site.name_zh, "status": member.status,
        "alert": assessment.get("alert"), "as_of": assessment.get("as_of"), "hectares": site.hectares,
        "counted_hectares": member.hectares, "probability": assessment.get("probability"),
        **{f"p_{state}": chance for state, chance in zip(STATES, chances, strict=True)},
        **dict(zip(("failing_area", "failing_area_low", "failing_area_high"), failing, strict=True)),
        "province": site.province, "intervention": site.intervention, "partner": site.partner, "lot": member.lot,
        "programme_year": site.programme_year,
    }  # fmt: skip
