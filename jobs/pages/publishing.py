"""Write pages, maps and tables from what is stored, without network. Safe to rerun: only changed files are written."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec
import structlog
from dask import delayed
from dask.delayed import Delayed

from jobs import __version__
from jobs.pages.account import read_account
from jobs.pages.ground import write_grounds
from jobs.pages.period import read_period
from jobs.proof.chain import chain_head, unknown_published_head
from jobs.proof.sound_assessments import sound_assessments
from jobs.register.answering import precision
from jobs.register.calibration import constants_used
from jobs.register.detectability import assumptions, chances, improvements
from jobs.register.episodes import in_episode
from jobs.register.lots import latest_records
from jobs.register.promises import judged_site
from jobs.reports.manifest import Manifest
from jobs.reports.night_history import read_history
from jobs.runtime.executor import Compute, local_executor, open_executor
from jobs.runtime.installation import locked_ledger
from jobs.runtime.logs import redacted
from jobs.runtime.records import current_sites, from_json, stored_rows, to_json
from jobs.runtime.settings import Settings
from monitor.alerts.alert import LOT, Alert, AlertState, FalseAlarmReason, Verdict, alert_id
from monitor.alerts.lifecycle import is_answered, shown_alert
from monitor.cube.bucket import Place
from monitor.cube.store import LandscapeStore
from monitor.errors import MonitorError, as_disk_full
from monitor.imagery.auxiliary.terrain import Terrain, with_slope
from monitor.ledger.assessments import StoredAssessment
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.publish.drafts import (
    PageInputs,
    SiteSeries,
    compared_ground,
    draft_page,
    series_at,
    sums_of_drafts,
    write_draft,
)
from monitor.publish.index.programme_view import ProgrammeView
from monitor.publish.lots import LotView, write_lots
from monitor.publish.outdated import is_current, missing_photos, pages_code_hash
from monitor.publish.products import write_catalogue, write_index, write_photos, write_plan
from monitor.publish.programme_files import write_account
from monitor.publish.view import FieldAnswer, FieldPhoto
from monitor.series.field_rows import biome_factor
from monitor.sites.cover_scale import FieldFactor
from monitor.sites.promise import promises_until
from monitor.sites.site import Site, ground_key
from monitor.verdict.assessment import Assessment
from monitor.verdict.calibration import Calibration
from monitor.verdict.growth import GrowthPoint, growth_from_json
from monitor.verdict.lots import Use, lots_of

log = structlog.get_logger()

PLAN_WRITERS: Final = 4  # threads: most time is spent waiting for the disk to free the replaced files


def publish_once(settings: Settings) -> tuple[dict[str, str | None], int]:
    """Run :func:`publish` alone, as ``regrowth publish`` does; also return the number of sites."""
    with (
        locked_ledger(settings, "the writing of pages") as ledger,
        open_executor(settings.engine.scheduler, settings.engine.tls_files) as compute,
    ):
        with ledger.reading() as t:
            sites = len(t.sites())
        return publish(settings, ledger, compute), sites


def publish(
    settings: Settings, ledger: Ledger, compute: Compute, *, as_of: date | None = None, night: Manifest | None = None
) -> dict[str, str | None]:
    """Write the pages of the sites that changed, then tables and the index.

    `as_of`: default, day of the newest assessment. `night`: the night that writes the pages, if any. Returns, for each
    site whose pages were outdated, None or the error.
    """
    demonstrated = _demonstrated_sites(settings)
    with ledger.reading() as t:
        assessed = _assessed_sites(settings, t, demonstrated)
        measured = precision(t)
        rows = [(plan.site, plan.assessment) for plan in assessed.plans]
        lots = _lot_views(settings, t, rows, demonstrated)
        account = read_account(settings, t, {plan.site.id: plan.row for plan in assessed.plans})
        period = read_period(settings, t)
        last_night = t.newest_night()
    for error in assessed.damaged.values():
        log.error("assessment not published", error=error)
    with local_executor(settings.engine.scheduler, compute) as here:
        outcomes = assessed.damaged | _write_pages(settings, ledger, here, assessed)
    since, errors = _write_plans(settings, [plan for plan in assessed.plans if outcomes.get(plan.site.id) is None])
    outcomes |= errors
    days = [*(assessment.as_of for _, assessment in rows), *([] if as_of is None else [as_of])]
    if not days and last_night is not None:
        days = [date.fromisoformat(last_night["as_of"])]
    if days:
        day = max(days)
        notice = _notice(settings, demonstrated=all(site.id in demonstrated for site, _ in rows))
        write_catalogue(rows, settings.outputs.root, since=since, notice=notice)
        write_lots(lots, settings.outputs.root)
        write_account(account, settings.outputs.root, as_of=day, period=period, notice=notice)
        with_sites = [view for view in lots if view.members]
        alerts = [*assessed.alerts, *(view.alert for view in with_sites if view.alert)]
        if night is not None:
            failed = {site: error for site, error in outcomes.items() if error}
            night = msgspec.structs.replace(night, pages_failed=failed)
        with ledger.reading() as t:
            head = chain_head(t)
            if unknown := unknown_published_head(t, settings.outputs.root):
                log.warning("no line of the chain has the head that the index stated until now", head=unknown)
            history = read_history(t, rows, day=day, night=night, silence_days=settings.alerts.silence_days)
        judged = [(plan.site, plan.ground, plan.row.snapshot) for plan in assessed.plans]
        index = ProgrammeView(
            rows=rows, alerts={alert.site: alert for alert in alerts}, as_of=day, alpha=settings.alerts.alpha,
            precision=measured,
            lots=[(view.lot, len(view.members), view.hectares, view.verdict) for view in with_sites],
            notice=notice, history=history, basemap=settings.outputs.map_tiles, head=head,
            growth={plan.site.id: plan.growth for plan in assessed.plans},
            grounds=write_grounds(judged, settings.store.root, settings.outputs.root),
            manager_names=settings.outputs.manager_names,
        )  # fmt: skip
        write_index(index, settings.outputs.root, {site.id: ground for site, ground, _ in judged})
    return outcomes


class _Plan(NamedTuple):
    """Contents of ``plan.json`` and ``item.json`` of a site."""

    site: Site  # in the episode of its assessment, as promised then
    ground: str  # key of what is stored of it, which stays that of the start in the registry
    terrain: Terrain | None
    assessment: Assessment
    calibration: Calibration | None
    notice: Mapping[str, str] | None
    row: StoredAssessment
    promises: Sequence[Mapping[str, Any]]  # up to the one that the assessment rests on
    growth: tuple[GrowthPoint, ...]


class _Assessed(NamedTuple):
    """The sites with an assessment."""

    plans: list[_Plan]
    alerts: list[Alert]  # to be shown
    outdated: list[PageInputs]
    damaged: dict[str, str | None]  # by site, why its newest assessment is not published: `plans` has an older one


def _assessed_sites(settings: Settings, t: Transaction, demonstrated: frozenset[str]) -> _Assessed:
    """Sites with their latest assessments, the alerts to show, and the inputs of the pages that are outdated."""
    plans: list[_Plan] = []
    alerts: list[Alert] = []
    outdated: list[PageInputs] = []
    # one query each for all sites: one a site would take longer than all else here
    calibrations, episodes = t.calibrations(), t.all_episodes()
    latest, damaged = sound_assessments(t)
    stored_alerts, snapshots, terrains = _by_site(t.alerts()), t.snapshots(), t.all_ground_data("terrain")
    detectabilities, left_out = t.all_ground_data("detectability"), t.all_ground_data("left_out")
    growths = t.all_ground_data("growth")
    answers = _answers_by_site(t)
    measured = {site: stored_rows(rows) for site, rows in t.field_rows().items()}
    promises = t.all_promises()
    sites = current_sites(t)
    sites = [judged_site(t, site, latest[site.id].version) if site.id in latest else site for site in sites]
    factors = _factors_by_biome(sites, latest)
    for site in sites:
        if site.id not in latest:
            continue
        ground, row, begun = ground_key(site), latest[site.id], site.start
        assessment = from_json(row.payload, Assessment)
        promised = promises_until(promises.get(site.id, ()), site, assessment.as_of)
        site = in_episode(site, episodes[site.id], assessment.episode)
        alert = shown_alert([from_json(one, Alert) for one in stored_alerts.get(site.id, ())], assessment)
        alerts += [alert] if alert else []
        snapshot, units, terrain = snapshots.get(ground), left_out.get(ground, {}), terrains.get(ground)
        if snapshot is None and _is_stored(settings, row.landscape, ground):  # the ledger has lost where
            snapshot = row.snapshot
        # another one, if the outline of the site has changed since
        same_store = snapshot is not None and snapshot.rpartition(":")[0] == row.landscape
        if same_store:
            snapshot, units = row.snapshot, row.left_out  # scenes fetched since are for the next assessment
        slope = None if terrain is None else Terrain.from_json(terrain)
        constants = constants_used(assessment, calibrations)
        notice = _notice(settings, demonstrated=site.id in demonstrated)
        gone = sorted(unit for unit, day in units.items() if day <= assessment.as_of.isoformat())
        growth = growth_from_json(growths.get(ground))
        plans.append(_Plan(site, ground, slope, assessment, constants, notice, row, promised, growth))
        if site.id in damaged:
            continue
        detectability = detectabilities.get(ground)
        content = [
            pages_code_hash(), site.version, promised, notice, assessment.status, assessment.alert,
            list(assessment.reasons), row.digest, alert and to_json(alert), snapshot, gone, terrain, detectability,
            growths.get(ground), assessment.hectares_failing, assessment.hectares_lost,
            assessment.neighbours_lost, msgspec.to_builtins(answers.get(site.id, ())),
            msgspec.to_builtins((measured.get(site.id, ()), factors.get(site.biome_key))),
        ]  # fmt: skip
        key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        photos = [photo.id for answer in answers.get(site.id, ()) for photo in answer.photos]
        if is_current(site.id, settings.outputs.root, key, photos):
            continue
        inputs = PageInputs(
            site=site, begun=begun, ground=ground, assessment=assessment, snapshot=snapshot,
            left_out=units, terrain=slope, growth=growth,
            detectability=chances(detectability),
            detection_improvements=improvements(detectability), detection_assumptions=assumptions(detectability),
            calibration=constants, alert=alert, answers=answers.get(site.id, ()), measured=measured.get(site.id, ()),
            biome_factor=factors.get(site.biome_key), promises=tuple(promised), notice=notice, key=key,
            series_recorded=same_store and assessment.code_version == __version__,
        )  # fmt: skip
        outdated.append(inputs)
    return _Assessed(plans, alerts, outdated, {**damaged})


def _is_stored(settings: Settings, landscape: str, ground: str) -> bool:
    """Whether the store of a landscape has a ground; not if it cannot be read."""
    with suppress(MonitorError):
        store = LandscapeStore(settings.store.root / landscape, read_only=True)
        return store.exists and ground in store.grounds
    return False


def _lot_views(
    settings: Settings, t: Transaction, rows: Sequence[tuple[Site, Assessment]], demonstrated: frozenset[str]
) -> list[LotView]:
    """Contents of the pages of all lots that were ever judged: messages link to those that have no sites any more."""
    sites = current_sites(t)
    members, assessed = lots_of(sites), {site.id: assessment for site, assessment in rows}
    alerts = {alert.site: alert for alert in (from_json(a, Alert) for a in t.alerts()) if alert.rule == LOT}
    views = []
    for record in latest_records(t):
        theirs, alert = members.get(record.lot, []), alerts.get(record.lot.id)
        view = LotView(
            lot=record.lot,
            hectares=sum(site.hectares for site in theirs),
            verdict=record.verdict,
            looks=record.looks,
            members=[(site, assessed.get(site.id), record.uses.get(site.id, Use.UNSEEN)) for site in theirs],
            alert=alert if alert and (alert.state is not AlertState.RESOLVED or is_answered(alert)) else None,
            notice=_notice(settings, demonstrated=all(site.id in demonstrated for site in theirs or sites)),
        )
        views.append(view)
    return views


def _by_site(alerts: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    by_site: dict[str, list[dict[str, Any]]] = {}
    for alert in alerts:
        by_site.setdefault(alert["site"], []).append(alert)
    return by_site


def _answers_by_site(t: Transaction) -> dict[str, tuple[FieldAnswer, ...]]:
    """Answers to the alerts of each site that has any, newest first."""
    photos: dict[tuple[str, int], list[FieldPhoto]] = {}
    for row in t.photo_list():
        stated = row["latitude"] is not None and row["longitude"] is not None
        photo = FieldPhoto(
            id=row["id"],
            taken=datetime.fromisoformat(row["taken"]) if row["taken"] else None,
            position=(row["latitude"], row["longitude"]) if stated else None,
        )
        photos.setdefault((row["alert"], row["number"]), []).append(photo)
    answers: dict[str, list[FieldAnswer]] = {}
    answered, rejected = t.all_events(kind="answered"), set[tuple[str, int]]()
    for review in t.all_events(kind="reviewed"):
        before = [
            one["number"] for one in answered
            if one["alert"] == review["alert"] and one["number"] < review["number"] and one.get("unreviewed")
        ]  # fmt: skip
        if review["decision"] == "reopen":
            rejected.add((review["alert"], max(before)))
    for event in answered:
        site, _, rule = event["alert"].rpartition("/")
        answer = FieldAnswer(
            day=date.fromisoformat(event["day"]),
            by=event["by"],
            rule=rule,
            level=event["level"],
            finding=Verdict(event["answer"]),
            reason=FalseAlarmReason(event["reason"]) if event["reason"] else None,
            note=event["note"],
            photos=tuple(photos.get((event["alert"], event["number"]), ())),
            rejected=(event["alert"], event["number"]) in rejected,
        )
        answers.setdefault(site, []).append(answer)
    # of one day, the one that was recorded later is the newer one
    return {site: tuple(reversed(sorted(found, key=lambda answer: answer.day))) for site, found in answers.items()}


def _factors_by_biome(sites: Sequence[Site], latest: Mapping[str, StoredAssessment]) -> dict[str, FieldFactor | None]:
    """Factor of each biome by its sites whose latest assessment has a factor of local field rows."""
    local: dict[str, list[FieldFactor]] = {}
    for site in sites:
        values = latest[site.id].payload if site.id in latest else {}
        if values.get("field_factor_rows"):
            value, low, high = (values[f"field_factor{end}"] for end in ("", "_low", "_high"))
            factor = FieldFactor(value=value, low=low, high=high, rows=values["field_factor_rows"])
            local.setdefault(site.biome_key, []).append(factor)
    return {biome: biome_factor(factors) for biome, factors in local.items()}


def _write_pages(settings: Settings, ledger: Ledger, compute: Compute, assessed: _Assessed) -> dict[str, str | None]:
    """Write outdated pages, those of one snapshot by one call; for each site None, or the error."""
    judged: Counter[str | None] = Counter(plan.row.snapshot for plan in assessed.plans)
    pages = sorted(assessed.outdated, key=lambda page: page.snapshot or "")
    batches = [[*members] for _, members in groupby(pages, key=lambda page: page.snapshot)]
    outcomes: dict[str, str | None] = {}
    for number, result in compute(
        _call(settings, ledger, batch, every=len(batch) == judged[batch[0].snapshot]) for batch in batches
    ):
        for place, page in enumerate(batches[number]):
            error = redacted(f"its worker died: {result}") if isinstance(result, BaseException) else result[place]
            if error is not None:
                log.error("page not written", site=page.site.id, error=error)
            outcomes[page.site.id] = error
    return outcomes


def _write_plans(settings: Settings, plans: Sequence[_Plan]) -> tuple[date | None, dict[str, str]]:
    """Write plan.json and item.json of sites with a page, if they changed; first day of any map, and errors by site."""
    root = settings.outputs.root

    def write(plan: _Plan) -> tuple[date | None, str | None]:
        try:
            site = with_slope(plan.site, plan.terrain)
            return write_plan(
                site, plan.assessment, plan.calibration, root, promises=plan.promises, notice=plan.notice
            ), None
        except OSError as error:
            return None, str(as_disk_full(error, root) or error)

    with ThreadPoolExecutor(PLAN_WRITERS) as writers:
        written = list(writers.map(write, plans))
    errors = {plan.site.id: error for plan, (_, error) in zip(plans, written, strict=True) if error is not None}
    for site, error in errors.items():
        log.error("plan not written", site=site, error=error)
    return min((day for day, _ in written if day is not None), default=None), errors


def _call(settings: Settings, ledger: Ledger, pages: Sequence[PageInputs], *, every: bool) -> Delayed:
    """Delayed call of :func:`_write_batch`. Control units and photos are large: they are read when it is submitted."""
    root = settings.outputs.root
    with ledger.reading() as t:
        controls = [t.controls(page.ground) for page in pages]
        photos = [_missing_photos(t, page, root) for page in pages]
    write = partial(_write_batch, settings.store.root, root, pages, controls, photos, every=every)
    return cast("Delayed", delayed(write, pure=False, traverse=False)())  # arguments would be searched for graphs


def _missing_photos(t: Transaction, page: PageInputs, root: Path) -> dict[str, bytes]:
    """Content, by id, of the photos that a page shows and that are not in its folder yet."""
    missing = missing_photos(page.site.id, root, [photo.id for answer in page.answers for photo in answer.photos])
    alerts = {alert_id(page.site.id, answer.rule) for answer in page.answers} if missing else set()
    rows = [row for alert in sorted(alerts) for row in t.photos(alert)]
    return {row["id"]: row["content"] for row in rows if row["id"] in missing}


def _write_batch(
    store: Place,
    outputs: Path,
    pages: Sequence[PageInputs],
    controls: Sequence[dict[str, Any] | None],
    photos: Sequence[Mapping[str, bytes]],
    *,
    every: bool,
) -> list[str | None]:
    """Write the pages of sites of one snapshot, perhaps of `every` one; for each site None, or the error."""
    landscape = LandscapeStore(store / pages[0].landscape)
    errors: list[str | None] = [None] * len(pages)

    def attempt[T](place: int, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except (MonitorError, OSError) as error:
            errors[place] = str(as_disk_full(error, f"{outputs} and {store}") or error)
        except Exception as error:
            log.exception("a bug while writing a page", site=pages[place].site.id)
            errors[place] = redacted(f"a bug, {type(error).__name__}: {error}")
        return None

    compared = [
        attempt(place, partial(compared_ground, landscape, page, units))
        for place, (page, units) in enumerate(zip(pages, controls, strict=True))
    ]
    stored, series = [place for place, one in enumerate(compared) if one is not None], dict[int, SiteSeries]()
    with suppress(MonitorError):  # draft_page builds that of each site alone, and names the one that fails
        sites = [one for one in compared if one is not None]
        built = series_at(landscape, str(pages[0].snapshot), sites, every=every) if sites else []
        series = dict(zip(stored, built, strict=True))
    drafts = [
        attempt(place, partial(draft_page, landscape, outputs, page, compared[place], series.get(place)))
        if errors[place] is None
        else None
        for place, page in enumerate(pages)
    ]
    sums = sums_of_drafts([draft for draft in drafts if draft is not None])
    for place, draft in enumerate(drafts):
        if draft is not None:
            attempt(place, partial(write_photos, pages[place].site.id, outputs, photos[place]))
        if draft is not None and errors[place] is None:
            attempt(place, partial(write_draft, draft, outputs, sums.get(draft.inputs.site.id)))
    return errors


def _demonstrated_sites(settings: Settings) -> frozenset[str]:
    """Ids of the sites that the demonstration dealt fates to; empty for outputs of no demonstration."""
    try:
        return frozenset(json.loads((settings.outputs.root / "truth.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return frozenset()


def _notice(settings: Settings, *, demonstrated: bool) -> dict[str, str] | None:
    """Notice at the top of a page; `demonstrated`: the demonstration dealt the fates of the sites."""
    if all(source.kind != "sample" for source in settings.source):
        return None
    from monitor.imagery.sample import DEMONSTRATION_NOTICE, SAMPLE_NOTICE

    return DEMONSTRATION_NOTICE if demonstrated else SAMPLE_NOTICE
