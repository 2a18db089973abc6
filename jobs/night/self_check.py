"""The weekly self-check: a night recomputes one random site from its stored pixels and compares it with the record.

Neither the programme nor the operators can choose the site: it follows from the head of the chain of nights, which
depends on every assessment before, and from the day. A night that runs again checks nothing again.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog

from jobs.proof.assessed import assessed_site
from jobs.proof.chain import newest_line
from jobs.register.alerting import address_book
from jobs.runtime.logs import redacted
from jobs.runtime.settings import Settings
from monitor.controls.selection import NOT_CHOSEN, ControlSet
from monitor.cube.bucket import Place
from monitor.cube.store import LandscapeStore, landscape_at_snapshot
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData, MonitorError
from monitor.evidence.site_check import Assessed, Difference, Published, check_site, values_differences
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.names import folder_name
from monitor.sites.site import ground_key
from monitor.verdict.assessment import assessment_to_json

log = structlog.get_logger()

CHECK_DAYS: Final = 7  # days between two self-checks, counted by the days of the nights [day]
MAX_PIXELS: Final = 20_000_000  # more than these: random scenes are compared [pixel]
MAX_LISTED: Final = 20  # differences that are stored and reported, at most


def self_check(settings: Settings, ledger: Ledger, *, run: str, as_of: date) -> dict[str, Any] | None:
    """Check one site where the last check is a week ago; a difference is logged and reported to the operators, once.

    Call it before the night fetches anything, when the last night's pages are as it left them. The result has ``site``;
    ``as_of`` of the assessment; ``scenes`` compared, ``of`` so many; ``published``: whether the files of the last night
    were compared too, not after one that was cut short; ``differences``: at most :data:`MAX_LISTED` sentences;
    ``n_differences``; ``error``: why it could not be checked. None: no check is due. Raises TryLater if the lock of the
    night was lost.
    """
    day = as_of.isoformat()
    with ledger.reading() as t:
        last, sites = t.last_self_check(), sorted(t.states(until=(as_of - timedelta(days=1)).isoformat()))
        line = newest_line(t)
    if last is not None and (as_of - date.fromisoformat(last["day"])).days < CHECK_DAYS:
        return {"site": last["site"], **last["payload"]} if last["day"] == day else None
    if not sites:
        return None
    seed = hashlib.sha256(f"{line['hash'] if line else ''} {day}".encode()).digest()
    site = sites[int.from_bytes(seed) % len(sites)]
    began = time.monotonic()
    result = _checked(settings, ledger, site, seed, run)
    seconds = round(time.monotonic() - began, 2)
    ledger.guard()
    operators = address_book(settings).of_operators()
    failed = result["n_differences"] or result["error"]
    with ledger.transaction() as t:
        t.add_self_check(day, site, result)
        if failed:
            payload = {"site": site, "day": day, **result}
            t.add_notice(f"self-check/{day}", "self_check", payload, day=day, recipients=operators)
    if result["error"]:
        log.error("self-check: the site could not be checked", site=site, seconds=seconds, error=result["error"])
    elif failed:
        log.error("self-check: the record does not give what was published", site=site, seconds=seconds, **result)
    else:
        log.info("self-check: equal", site=site, as_of=result["as_of"], scenes=result["scenes"], seconds=seconds)
    if failed and not operators:
        log.warning("no [operators] to notify", self_check=site)
    return {"site": site, **result}


def _checked(settings: Settings, ledger: Ledger, site: str, seed: bytes, run: str) -> dict[str, Any]:
    """Result of a check; whatever goes wrong is part of it, since a check never stops a night."""
    result: dict[str, Any] = {
        "as_of": None, "scenes": 0, "of": 0, "published": False, "differences": [], "n_differences": 0, "error": None,
    }  # fmt: skip
    try:
        differences: list[Difference] = []
        folder = settings.outputs.root / "sites" / folder_name(site)
        published = _published(folder)
        with ledger.reading() as t:
            assessed = published_assessment(t, site, published.plan)
            frozen = t.controls(ground_key(assessed.site))
            is_published = _is_published(t, site, run)
        result["as_of"] = day = assessed.row["as_of"]
        if published.plan is not None and published.plan.get("as_of") != day:
            there = f"no assessment; {day} is the newest"
            differences.append(
                Difference(step="plan", variable="as_of", recorded=published.plan.get("as_of"), recomputed=there)
            )
        if not is_published:  # its files may be of two nights
            published = Published()
        result["published"] = published.plan is not None
        differences += _status_differences(settings.outputs.root, assessed) if published.plan is not None else []
        controls = ControlSet.from_json(frozen) if frozen else NOT_CHOSEN
        differences += _site_differences(settings.store.root, assessed, controls, published, seed, result)
        result["n_differences"] = len(differences)
        result["differences"] = [redacted(str(one)) for one in differences[:MAX_LISTED]]
    except Exception as error:
        if not isinstance(error, MonitorError):
            log.exception("self-check failed", site=site)
        result["error"] = redacted(f"{type(error).__name__}: {error}")
    return result


def _published(folder: Path) -> Published:
    """Published files of a site; empty where it has no page yet."""
    plan = folder / "plan.json"
    if not plan.is_file():
        return Published()
    read = _json(plan, dict)
    units = folder / "controls.geojson"
    return Published(
        observations=(folder / "observations.csv").read_bytes(), plan=read,
        units=units.read_bytes() if units.is_file() else None,
    )  # fmt: skip


def _json[T](file: Path, kind: type[T]) -> T:
    """Content of a published file."""
    try:
        read = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadData(f"{file} is not JSON: {error}") from error
    if not isinstance(read, kind):
        raise BadData(f"{file} is not as it was published: it holds no {kind.__name__}")
    return read


def published_assessment(t: Transaction, site: str, plan: Mapping[str, Any] | None) -> Assessed:
    """The assessment that was published (of that day, and of the series of its plan), or else the newest.

    Raises BadData if the ledger lacks it, or what it names.
    """
    latest = t.latest_assessment(site)
    days = [] if latest is None else [latest.as_of if plan is None else str(plan.get("as_of")), latest.as_of]
    stored = ([one for one in t.assessments_of(site, day=day) if one.payload] for day in days)
    rows = next(filter(None, stored), [])
    if not rows:  # none of a day that has some: an index of the ledger is damaged
        msg = f"the assessments of site {site!r} in the ledger are damaged: 'regrowth doctor --deep' names them"
        raise BadData(msg)
    series = None if plan is None else plan.get("series_digest")
    row = ([one for one in rows if one.payload.get("series_digest") == series] or rows)[-1]
    return assessed_site(t, site, row)


def _is_published(t: Transaction, site: str, run: str) -> bool:
    """Whether the night before this run ran to its end and wrote the files of a site."""
    before = next((night for night in t.nights(2) if night["id"] != run), None)
    if before is None or before["summary"] is None:
        return False
    manifest = t.last_night(site)
    return manifest is not None and site not in manifest["pages_failed"]


def _status_differences(outputs: Path, assessed: Assessed) -> list[Difference]:
    """Differences between the entry of a site in ``status.json`` and the ledger, if it is of the same day."""
    entries = _json(outputs / "status.json", list)
    entry = next((one for one in entries if one["site"] == assessed.site.id), None)
    if entry is None:
        return [Difference(step="status.json", variable="site", recorded=None, recomputed=assessed.site.id)]
    recorded = assessment_to_json(assessed.assessment)
    if entry["as_of"] != recorded["as_of"]:
        return []
    return values_differences("status.json", entry, recorded, 0.0)


def _site_differences(
    root: Place, assessed: Assessed, controls: ControlSet, published: Published, seed: bytes, result: dict[str, Any]
) -> list[Difference]:
    """Differences of a site recomputed from its store; `result` gets the number of scenes compared."""
    landscape, ground = landscape_at_snapshot(root, assessed.snapshot), ground_key(assessed.site)
    rows = StoredSite(landscape, ground).columns(assessed.snapshot)["row"]
    chosen = _chosen_rows(landscape, ground, rows, seed)
    result |= {"scenes": len(chosen), "of": rows.size}
    with tempfile.TemporaryDirectory(prefix="regrowth-self-check-") as folder:
        # of a large site the areas and sums that the night stored are taken as they are
        stored = StoredSite(landscape, ground, derived=Path(folder) if len(chosen) == rows.size else None)
        return check_site(stored, assessed, controls, published, rows=None if len(chosen) == rows.size else chosen)


def _chosen_rows(landscape: LandscapeStore, ground: str, rows: np.ndarray, seed: bytes) -> list[int]:
    """Rows whose pixels are compared: all, or of a large site a random sample."""
    size = max(int(StoredSite(landscape, ground).inside.sum()), 1)
    most = max(MAX_PIXELS // size, 1)
    if rows.size <= most:
        return [int(row) for row in rows]
    chosen = np.random.default_rng(int.from_bytes(seed[:8])).choice(rows, most, replace=False)
    return sorted(int(row) for row in chosen)
