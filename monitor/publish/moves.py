"""The account of a programme with time: which hectares moved from one status to another, when and why.

It is computed from what was published. A verdict counts from the night that published it, a change of the registry from
the first night after it. What is added for an earlier night (another run of it, other constants, imagery that came
late) counts from the next night on. So the account of a period never changes once a later night has run.

Every hectare counts once: ground that several sites have registered counts for the one registered first, among those
registered on that night and by their outlines of that night. On the newest night that is the rule of
:func:`monitor.publish.programme.programme_account`.

A verdict on another outline or on an earlier episode says nothing of what is registered: the site is not assessed. A
disturbance counts as ``disturbed`` whatever its probability: the split of suspected losses is that of the newest night.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from monitor.publish.statuses import SHOWN_STATUSES, SIDES, UNJUDGED
from monitor.sites.promise import promise_of
from monitor.sites.shared_ground import added_hectares, overlaps
from monitor.sites.site import Site, ground_key

STATUSES: Final = (*(status for status in SHOWN_STATUSES if status != "loss_suspected"), UNJUDGED)
TAKING_HOLD: Final = SIDES["works"]  # statuses that are compared with the pledge
BELOW: Final = ("lagging", "failing")
REASONS: Final = (
    "taking_hold", "new", "fell_below", "loss", "not_seen", "promise", "outline", "replanted", "retired", "other",
)  # fmt: skip
"""In the order shown."""


class Registration(NamedTuple):
    """Registration of a site from a night on."""

    day: str
    """The night, ISO 8601."""
    site: Site | None
    """None: it is retired."""
    episode: int


class Verdict(NamedTuple):
    """Status of a site from a night on."""

    day: str
    """The night that published it, ISO 8601."""
    status: str | None
    site: Site | None
    """The site as judged; None: unknown."""
    episode: int


class Move(NamedTuple):
    """Hectares that changed their status, or the group in which they count."""

    date: str  # night that published it, ISO 8601
    site: str
    old: str | None  # one of `STATUSES`; None: they did not count
    new: str | None
    hectares: float
    reason: str  # one of `REASONS`
    before: Site | None  # the site as registered before; None as for `old`
    after: Site | None

    @property
    def name(self) -> str:
        """Name of the site on that day."""
        site = self.after or self.before
        return self.site if site is None else site.name

    @property
    def taking_hold(self) -> float:
        """Hectares by which ground that is taking hold grew. [ha]"""
        return self.hectares * ((self.new in TAKING_HOLD) - (self.old in TAKING_HOLD))


class _Standing(NamedTuple):
    day: str
    status: str | None  # None: it does not count
    hectares: float
    registered: Site | None
    verdict: Verdict | None
    episode: int


def moves_of(
    registrations: Mapping[str, Sequence[Registration]], verdicts: Mapping[str, Sequence[Verdict]]
) -> list[Move]:
    """All moves of a programme, by day, those of a day in the order of registration; for sums of them see
    :func:`balance`.

    `registrations` are by site, in the order in which the sites were registered, ascending by night; `verdicts` are by
    site in the order of the nights that they are of: of those published, the last one counts.
    """
    counted = _counted_hectares(registrations)
    moves: list[Move] = []
    for site, registered in registrations.items():
        before = _Standing("", None, 0.0, None, None, 0)
        for standing in _standings(registered, verdicts.get(site, ()), counted.get(site)):
            moves += _moves(site, before, standing)
            before = standing
    return sorted(moves, key=lambda move: move.date)


def balance(moves: Iterable[Move]) -> dict[str, float]:
    """Hectares by status after some moves, all of :data:`STATUSES`. [ha]"""
    parts: dict[str, list[float]] = {status: [] for status in STATUSES}
    for move in moves:
        if move.old is not None:
            parts[move.old].append(-move.hectares)
        if move.new is not None:
            parts[move.new].append(move.hectares)
    return {status: math.fsum(areas) for status, areas in parts.items()}


def _standings(
    registrations: Sequence[Registration], verdicts: Sequence[Verdict], counted: Mapping[str, float] | None
) -> Iterator[_Standing]:
    """Status that a site counts under, on each day on which that may change.

    `counted`: its counted hectares by day; None: it shares no ground, and counts with all of it.
    """
    registered, verdict, rank = Registration("", None, 0), None, -1
    ranked = sorted(enumerate(verdicts), key=lambda one: one[1].day)
    days = sorted({*(one.day for one in registrations), *(one.day for one in verdicts), *(counted or ())})
    next_registration = next_verdict = 0
    area = 0.0
    for day in days:
        while next_registration < len(registrations) and registrations[next_registration].day <= day:
            registered = registrations[next_registration]
            next_registration += 1
        while next_verdict < len(ranked) and ranked[next_verdict][1].day <= day:
            place, candidate = ranked[next_verdict]
            rank, verdict = (place, candidate) if place > rank else (rank, verdict)
            next_verdict += 1
        site = registered.site
        area = (0.0 if site is None else site.hectares) if counted is None else counted.get(day, area)
        yield _Standing(day, _status(registered, verdict), area, site, verdict, registered.episode)


def _status(registered: Registration, verdict: Verdict | None) -> str | None:
    site = registered.site
    if site is None:
        return None
    if verdict is None or verdict.site is None or verdict.status is None or verdict.episode != registered.episode:
        return UNJUDGED
    if verdict.site is not site and ground_key(verdict.site) != ground_key(site):
        return UNJUDGED
    return "no_loss_seen" if verdict.status == "on_track" and verdict.site.plan.A <= 0 else verdict.status


def _moves(site: str, before: _Standing, after: _Standing) -> Iterator[Move]:
    """Moves from one standing of a site to the next."""

    def move(old: str | None, new: str | None, hectares: float, reason: str) -> Move:
        then = None if old is None else before.registered
        return Move(after.day, site, old, new, hectares, reason, then, None if new is None else after.registered)

    if before.status is None or after.status is None:
        if before.status != after.status:
            is_new = before.status is None
            yield move(
                before.status, after.status, (after if is_new else before).hectares, "new" if is_new else "retired"
            )
        return
    grown = after.hectares - before.hectares
    if grown < 0:
        yield move(before.status, None, -grown, "outline")
    if before.status != after.status or _groups(before.registered) != _groups(after.registered):
        yield move(before.status, after.status, min(before.hectares, after.hectares), _reason(before, after))
    if grown > 0:
        yield move(None, after.status, grown, "outline")


def _groups(site: Site | None) -> tuple[object, ...]:
    """Properties that decide in which groups a site counts."""
    return () if site is None else (site.partner, site.programme_year, site.intervention, site.province)


def _reason(before: _Standing, after: _Standing) -> str:
    """Reason for which a site that was and is registered changed its status."""
    if before.episode != after.episode:
        return "replanted"
    if before.registered is not after.registered and _changed(before.registered, after.registered, ground_key):
        return "outline"
    new, old = after.status, before.status
    if before.verdict and after.verdict and UNJUDGED not in (old, new):
        judged, now = before.verdict.site, after.verdict.site
        if judged is not now and _changed(judged, now, promise_of):
            return "promise"
    if new in TAKING_HOLD:
        return "other" if old in TAKING_HOLD else "taking_hold"
    if new == "disturbed":
        return "loss"
    if new in BELOW:
        return "other" if old == "failing" else "fell_below"
    return "not_seen" if new == "insufficient_data" else "other"


def _changed[Content](before: Site | None, after: Site | None, content: Callable[[Site], Content]) -> bool:
    return before is not None and after is not None and content(before) != content(after)


def _counted_hectares(registrations: Mapping[str, Sequence[Registration]]) -> dict[str, dict[str, float]]:
    """Counted hectares by day of each site that shares ground with one registered before, on some day."""
    versions = [(site, one.site) for site, rows in registrations.items() for one in rows if one.site is not None]
    versions = list({id(registered): (site, registered) for site, registered in versions}.values())
    together: set[tuple[int, int]] = set()
    neighbours: dict[str, set[str]] = {}
    for overlap in overlaps([registered.geometry for _, registered in versions]):
        (first, earlier), (second, later) = versions[overlap.first], versions[overlap.second]
        if first != second and overlap.ground is not None:
            together.add((id(earlier), id(later)))
            neighbours.setdefault(second, set()).add(first)
    place = {site: number for number, site in enumerate(registrations)}
    counted: dict[str, dict[str, float]] = {}
    for site, others in neighbours.items():
        before = [registrations[other] for other in sorted(others, key=place.__getitem__)]
        counted[site] = {}
        for day in sorted({one.day for one in itertools.chain(registrations[site], *before)}):
            own = _registered_on(day, registrations[site])
            taken = [_registered_on(day, rows) for rows in before]
            outlines = [one.geometry for one in taken if one is not None and (id(one), id(own)) in together]
            area = 0.0 if own is None else own.hectares
            counted[site][day] = added_hectares(own.geometry, area, outlines) if own and outlines else area
    return counted


def _registered_on(day: str, registrations: Sequence[Registration]) -> Site | None:
    return next((one.site for one in reversed(registrations) if one.day <= day), None)
