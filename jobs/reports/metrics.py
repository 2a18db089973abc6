"""``metrics.prom`` in the output root: the state of the programme for Prometheus, in its text format.

The textfile collector of node_exporter, or a web server, serves it. Names and units follow the conventions of
Prometheus: seconds, and times as Unix time. The file is replaced as a whole at the end of every night.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from jobs.imagery.eecu_budget import eecu_use
from jobs.reports.night import Night
from jobs.runtime.settings import Settings
from monitor.alerts.alert import AlertState
from monitor.alerts.words import ALERT_LEVEL_NAMES, STATUS_NAMES
from monitor.files import write_atomically
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction

FILE: Final = "metrics.prom"
LAST_SUCCESS: Final = "regrowth_last_success_timestamp_seconds"
NOT_ASSESSED: Final = "not_assessed"  # status of a site without an assessment


def write_metrics(settings: Settings, ledger: Ledger | None, night: Night) -> None:
    """Write the metrics file; without a ledger, which cannot be opened then, only the metrics of the night.

    Raises OSError if the output root cannot be written; MonitorError if the ledger cannot be read.
    """
    path = settings.outputs.root / FILE
    registry = CollectorRegistry()
    gauge = partial(_gauge, registry)
    end = datetime.fromisoformat(night.ended)
    seconds = (end - datetime.fromisoformat(night.began)).total_seconds()
    gauge("regrowth_night_duration_seconds", "Duration of the last night.", seconds)
    gauge("regrowth_night_exit_status", "Exit status of the last night.", night.status)
    gauge("regrowth_last_night_timestamp_seconds", "End of the last night.", end.timestamp())
    success: float | None = end.timestamp() if night.status == 0 else _previous(path, LAST_SUCCESS)
    if ledger is not None:
        with ledger.reading() as t:
            _add_ledger(gauge, t, night)
            if (use := eecu_use(t, settings.source)) is not None:
                time_of, name = "Computing time of Earth Engine", "regrowth_earthengine"
                gauge(f"{name}_month_eecu_seconds", f"{time_of} in this month, estimated.", 3600 * use.used)
                if use.budget is not None:
                    gauge(f"{name}_budget_eecu_seconds", f"{time_of} that a month may use.", 3600 * use.budget)
            if (known := t.last_success()[1]) is not None:
                success = max(success or 0.0, datetime.fromisoformat(known).timestamp())
    if success is not None:
        gauge(LAST_SUCCESS, "End of the last night with exit status 0.", success)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, generate_latest(registry))


def _add_ledger(gauge: Callable[..., None], t: Transaction, night: Night) -> None:
    sites, assessments = t.versions(), t.latest_assessments()
    statuses = Counter(dict.fromkeys([*(name for name in STATUS_NAMES if name != "no_loss"), NOT_ASSESSED], 0))
    levels = Counter(dict.fromkeys(ALERT_LEVEL_NAMES, 0))
    for site in sites:
        values: Mapping[str, Any] = assessments[site].payload if site in assessments else {}
        statuses[values.get("status", NOT_ASSESSED)] += 1
        levels[values.get("alert", "none")] += 1
    gauge("regrowth_sites", "Sites by status of the latest assessment.", statuses, "status")
    gauge("regrowth_sites_by_alert", "Sites by alert of the latest assessment.", levels, "alert")

    manifest = night.manifest
    results = {state: len(manifest.in_state(state)) if manifest else 0 for state in ("done", "failed", "deferred")}
    gauge("regrowth_night_sites", "Sites of the last night by result.", results, "state")
    if manifest is not None and manifest.sources:
        new = {one.source: one.scenes_new for one in manifest.sources}
        gauge("regrowth_night_scenes", "Scenes stored by the last night, by source.", new, "source")
        stale = {one.source: int(one.stale) for one in manifest.sources}
        gauge("regrowth_source_stale", "1 if a source offers nothing newer although it usually would.", stale, "source")
        ages = {one.source: 86400 * (night.as_of - one.newest).days for one in manifest.sources if one.newest}
        what = "Age of the newest scene that a source offers, on the day of the night."
        gauge("regrowth_source_newest_scene_age_seconds", what, ages, "source")
    if manifest is not None:
        unread = "Scenes that the last night could not read and that wait"
        gauge("regrowth_unread_scenes", f"{unread}.", manifest.unread_count)
        oldest = max((86400 * scene.age_days for scene in manifest.unread), default=0)
        gauge("regrowth_unread_scenes_oldest_age_seconds", f"{unread}: age of the oldest wait.", oldest)

    newest = max((day for one in assessments.values() if (day := one.payload.get("last_observed"))), default=None)
    if newest is not None:
        taken = datetime.combine(date.fromisoformat(newest), time(), UTC)
        name = "regrowth_newest_scene"
        gauge(f"{name}_timestamp_seconds", "Day of the newest accepted scene.", taken.timestamp())
        age = (datetime.fromisoformat(night.ended) - taken).total_seconds()
        gauge(f"{name}_age_seconds", "Age of the newest accepted scene when this was written.", age)

    messages = {state: t.count_messages(state) for state in ("waiting", "held", "dead")}
    gauge("regrowth_messages", "Messages that are not delivered, by state.", messages, "state")
    open_states = [state.value for state in AlertState if state is not AlertState.RESOLVED]
    open_levels = Counter({level: 0 for level in ALERT_LEVEL_NAMES if level != "none"})
    open_levels.update(alert["level"] for alert in t.alerts(open_states))
    gauge("regrowth_open_alerts", "Alerts that are not resolved, by level.", open_levels, "level")


def _gauge(
    registry: CollectorRegistry, name: str, what: str, value: float | Mapping[str, float], label: str | None = None
) -> None:
    """Add a gauge: one value, or a value for each value of a label."""
    gauge = Gauge(name, what, [label] if label else [], registry=registry)
    if isinstance(value, Mapping):
        for key, number in value.items():
            gauge.labels(key).set(number)
    else:
        gauge.set(value)


def _previous(path: Path, name: str) -> float | None:
    """Value of a gauge in the file of the night before, or None."""
    try:
        found = re.search(rf"^{name} (\S+)$", path.read_text(encoding="utf-8"), re.M)
        return float(found[1]) if found else None
    except (OSError, ValueError):
        return None
