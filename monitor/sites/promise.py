"""Promises: what a site was promised, from which day on it is judged by it, who changed it and why.

The first promise is that of the registry when the site is first judged. Afterwards only a person changes it, by
``regrowth sites replan``; days before the new promise are still judged by the earlier one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Final

from monitor.sites.biomes import biome_of, default_plan
from monitor.sites.own_biome import biome_from_json, biome_json
from monitor.sites.site import Biome, Plan, Site, site_version

type Row = Mapping[str, Any]
"""One promise: columns of the ledger's table of promises, the promise itself in ``payload``."""

PLAN_COLUMNS: Final = {"plan_A": "A", "plan_k": "k", "plan_L": "L", "too_early_years": "too_early_years"}
"""Columns of the registry with the numbers of a plan, and fields of :class:`monitor.sites.site.Plan`."""
COLUMNS: Final = (*PLAN_COLUMNS, "plan_cover", "intervention", "subtype", "biome", "cohorts")  # part of a promise
KIND_OF_WORK: Final = ("intervention", "subtype", "biome")  # columns that the default plan follows from


def promise_of(site: Site) -> dict[str, Any]:
    """Promise of a site, as JSON values by column of the registry.

    Beside :data:`COLUMNS`: ``plan_factor``; ``defaults``, the numbers that are those of the table of default plans; and
    ``biome_definition`` of an own biome.
    """
    usual = default_plan(site.intervention, biome_of(site), site.subtype)
    numbers = {column: getattr(site.plan, name) for column, name in PLAN_COLUMNS.items()}
    promise = {
        **numbers, "plan_cover": site.plan.cover, "plan_factor": site.plan.factor, "intervention": site.intervention,
        "subtype": site.subtype, "biome": site.biome,
        "cohorts": ";".join(f"{day.isoformat()}:{share!r}" for day, share in site.cohorts),
        "defaults": [column for column, name in PLAN_COLUMNS.items() if numbers[column] == getattr(usual, name)],
    }  # fmt: skip
    if site.own_biome is not None:
        promise["biome_definition"] = biome_json(site.own_biome)
    values: dict[str, Any] = json.loads(json.dumps(promise))
    return values


def with_promise(site: Site, promise: Mapping[str, Any]) -> Site:
    """The site with a promise of :func:`promise_of`, itself where it has that; BadData for a broken own biome."""
    if _alike(promise, promise_of(site)):
        return site
    parts = (part.partition(":") for part in promise["cohorts"].split(";") if part)
    plan = Plan(
        **{name: promise[column] for column, name in PLAN_COLUMNS.items()},
        cover=promise["plan_cover"], factor=promise["plan_factor"],
    )  # fmt: skip
    promised = replace(
        site, plan=plan, intervention=promise["intervention"], subtype=promise["subtype"], biome=promise["biome"],
        cohorts=tuple((date.fromisoformat(day), float(share)) for day, _, share in parts),
        own_biome=_definition(promise),
    )  # fmt: skip
    return replace(promised, version=site_version(promised))


def changed_columns(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Columns in which two promises (:func:`promise_of`) differ, with both values.

    An own biome whose definition changed in what is judged has the digest of the definition beside its name.
    """
    changed = {column: (before[column], after[column]) for column in COLUMNS if before[column] != after[column]}
    digests = ["" if (biome := _definition(promise)) is None else biome.digest for promise in (before, after)]
    if digests[0] != digests[1]:
        changed["biome"] = f"{before['biome']} {digests[0]}".strip(), f"{after['biome']} {digests[1]}".strip()
    return changed


def edited_columns(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Columns in which a person edited a promise in the registry, as :func:`changed_columns`.

    A number that is the default in both, of the same kind of work, was not edited: another version of this program may
    have another table of default plans.
    """
    same_table = all(before[column] == after[column] for column in KIND_OF_WORK) and _table(before) == _table(after)
    usual = {*before["defaults"]} & {*after["defaults"]} if same_table else set()
    return {name: values for name, values in changed_columns(before, after).items() if name not in usual}


def promise_on(promises: Sequence[Row], day: date) -> Row | None:
    """Promise by which a day is judged: the last one that had begun, else the first; None: there is none yet."""
    begun = _begun(promises, day)
    return begun[-1] if begun else None


def promised_on(site: Site, promises: Sequence[Row], day: date) -> Site:
    """Site as it was promised on a day."""
    row = promise_on(promises, day)
    return site if row is None else with_promise(site, row["payload"])


def promises_until(promises: Sequence[Row], judged: Site, day: date) -> list[dict[str, Any]]:
    """Entries of the promises up to the one that a verdict on a day rests on; `judged`: that version of the site."""
    own = promise_of(judged)
    numbers = [row["number"] for row in _begun(promises, day) if _alike(row["payload"], own)]
    return [entry(row) for row in promises[: max(numbers, default=0)]]


def entry(row: Row) -> dict[str, Any]:
    """Entry of a promise in ``plan.json``, evidence packs and the chain of nights."""
    about = {"number": row["number"], "from": row["begins"]}
    return {**about, **{name: row[name] for name in ("by", "why", "recorded")}, **row["payload"]}


def _begun(promises: Sequence[Row], day: date) -> list[Row]:
    return [row for row in promises if row["number"] == 1 or row["begins"] <= day.isoformat()]


def _alike(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first["plan_factor"] == second["plan_factor"] and not changed_columns(first, second)


def _definition(promise: Mapping[str, Any]) -> Biome | None:
    given = promise.get("biome_definition")
    return None if given is None else biome_from_json(given, name=promise["biome"])


def _table(promise: Mapping[str, Any]) -> dict[str, Any]:
    """Definition of an own biome without its names: the default plans come from it."""
    return {name: value for name, value in (promise.get("biome_definition") or {}).items() if name != "names"}
