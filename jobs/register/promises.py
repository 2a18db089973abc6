"""Promises in the ledger: the sites of a night as promised on its day, changes by people, and notices about them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Final

from jobs.register.registry import Drift, columns_changed
from jobs.runtime.clock import now
from jobs.runtime.installation import selected_sites
from jobs.runtime.records import from_json, to_json
from monitor.alerts import words
from monitor.alerts.alert import LOT, Alert, AlertState, alert_id
from monitor.alerts.recipients import FILES, AddressBook, Recipient
from monitor.errors import BadData
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.checked_feature import promise_of_row
from monitor.sites.promise import KIND_OF_WORK, PLAN_COLUMNS, changed_columns, promise_of, promised_on, with_promise
from monitor.sites.site import Biome, Site, site_version
from monitor.verdict.lots import lot_of

_SHORT_DIGEST: Final = 16


class NoChange(BadData):
    """The new promise is the one that stands."""


def as_promised(ledger: Ledger, sites: Sequence[Site], day: date) -> list[Site]:
    """Sites as they were promised on a day; versions of them that the ledger does not have yet are stored."""
    with ledger.transaction() as t:
        promises = t.all_promises()
        promised = [promised_on(site, promises.get(site.id, ()), day) for site in sites]
        for site, before in zip(promised, sites, strict=True):
            if site is not before:
                t.store_version(site.id, site.version, to_json(site), now=now())
    return promised


def judged_site(t: Transaction, site: Site, version: str) -> Site:
    """Current site with the promise of the version that an assessment names."""
    values = None if version == site.version else t.site_version(site.id, version)
    return site if values is None else with_promise(site, promise_of(from_json(values, Site)))


def replan(
    ledger: Ledger,
    site_id: str,
    *,
    begins: date,
    why: str,
    by: str,
    columns: Mapping[str, Any],
    biomes: Mapping[str, Biome],
    book: AddressBook,
    today: date,
) -> dict[str, Any]:
    """Change the promise of a judged site from a day on, and notify operators and manager.

    Open alerts stay open, and are judged by the promise that they were raised under. `columns`: new values; an empty
    text empties a column. Without ``biome`` in it the site keeps its definition of the biome. Returns ``site``,
    ``number``, ``from``, ``by``, ``why``, ``columns`` (old and new value) and ``alerts`` that stay open. Raises
    NoChange if the promise stays the same. Raises BadData if the site is unknown, retired or was never judged, a value
    is refused, or the day is in the future or before the promise that stands.
    """
    (site,) = selected_sites(ledger, [site_id])
    with ledger.transaction() as t:
        promises = t.promises(site_id)
        if not promises:
            raise BadData(
                f"site {site_id!r} has not been judged yet, so nothing was promised by a verdict: edit the registry, "
                "then 'regrowth sites add FILE'"
            )
        last = promises[-1]
        if not max(last["begins"], site.start.isoformat()) <= begins.isoformat() <= today.isoformat():
            raise BadData(
                f"site {site_id!r}: --from {begins} must be from {last['begins']}, when the promise that stands began, "
                f"to today, {today}"
            )
        new = _checked(site, last["payload"], columns, biomes)
        promise = promise_of(new)
        if not (changed := changed_columns(last["payload"], promise)):
            msg = f"site {site_id!r}: this is the promise that stands; give what changes, such as --plan-a 0.15"
            raise NoChange(msg)
        number = t.add_promise(site_id, promise, begins=begins.isoformat(), by=by, why=why, recorded=now())
        t.add_site(site_id, new.version, to_json(new), start=new.start.isoformat(), now=now())
        done = {
            "site": site_id, "number": number, "from": begins.isoformat(), "by": by, "why": why,
            "columns": {name: list(values) for name, values in changed.items()},
            "alerts": _hold_alerts(t, site, last["number"]),
        }  # fmt: skip
        for recipients, language in (
            (book.of_manager(site), words.language_of(site)), (book.of_operators() or [Recipient(FILES, "")], None),
        ):  # fmt: skip
            t.add_notice(
                f"replan/{site_id}/{number}", "replan",
                {**done, "name": {each: words.site_name(site, each) for each in words.LANGUAGES}, "language": language},
                day=today.isoformat(), recipients=recipients,
            )  # fmt: skip
    return done


def _checked(site: Site, promise: Mapping[str, Any], columns: Mapping[str, Any], biomes: Mapping[str, Biome]) -> Site:
    """The site with new values of some columns, by the checks of the registry.

    A new kind of work has its own default plan; numbers that are not defaults stay.
    """
    usual = promise["defaults"] if any(name in columns for name in KIND_OF_WORK) else ()
    stated = {name: promise[name] for name in ("intervention", "subtype", "biome", "plan_cover", "cohorts")}
    stated |= {name: promise[name] for name in PLAN_COLUMNS if name not in usual}
    if "biome" not in columns:
        biomes = {} if site.own_biome is None else {site.biome: site.own_biome}
    try:
        fields = promise_of_row({**stated, **columns}, site.start, biomes)
    except BadData as error:
        raise BadData(f"site {site.id!r}: {error}") from error
    new = replace(site, **fields)
    return replace(new, version=site_version(new))


def _hold_alerts(t: Transaction, site: Site, number: int) -> list[str]:
    """Let the alerts of a site and its lot that wait follow the promise of this number; returns the open ones."""
    lot, held = lot_of(site), []
    rows = [*t.alerts_of(site.id), *([] if lot is None else [t.alert(alert_id(lot.id, LOT))])]
    for alert in (from_json(values, Alert) for values in rows if values):
        if alert.waits:
            t.save_alert(to_json(replace(alert, promise=alert.promise or number)))
            held += [alert.id] if alert.state is not AlertState.RESOLVED else []
    return held


def notify_edits(t: Transaction, drift: Drift, book: AddressBook, day: date) -> None:
    """Notify the operators, once, of each edited promise that is not applied.

    Not where the file still has an earlier promise: they know of the change.
    """
    for site, columns in drift.plan_edited.items():
        edit = {name: new for name, (_, new) in columns.items()}
        earlier = [row["payload"] for row in t.promises(site)]
        if any(all(promise[name] == new for name, new in edit.items()) for promise in earlier):
            continue
        digest = hashlib.sha256(json.dumps(edit, sort_keys=True).encode()).hexdigest()[:_SHORT_DIGEST]
        payload = {"site": site, "said": columns_changed(columns)}
        t.add_notice(
            f"plan/{site}/{digest}", "plan_edited", payload, day=day.isoformat(),
            recipients=book.of_operators() or [Recipient(FILES, "")],
        )  # fmt: skip
