"""The account of a programme: hectares by status, province, intervention, partner, lot and year, against the pledge.

Ground counts once, under the latest assessment of its site; where several sites have registered it, it counts for the
one registered first. Sites without an assessment, or without a province, are counted too, so that all sums agree.

What is unknown stays unknown: undecided sites, and sites that cannot be judged, have separate statuses, and hectares
that are expected by probability stand beside them, never among the others.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from monitor.publish.programme_intervals import Interval, probable_hectares, summed_intervals
from monitor.publish.statuses import SHOWN_STATUSES, SIDES, UNJUDGED
from monitor.sites.names import comparable_id
from monitor.sites.shared_ground import DoubleRegistration, counted_hectares, double_registrations, overlaps
from monitor.sites.site import Site
from monitor.verdict.explain import LOSS_SURE
from monitor.verdict.lots import lot_of
from monitor.verdict.programme_list import ProgrammePosterior
from monitor.verdict.reasons import Reason

BY_GROWTH: Final = ("on_track", "recovered", "undecided", "lagging", "failing")
"""Statuses whose probabilities are a finding. An assessment may have some in others: they rest on the prior, on old or
doubtful scenes, or on growth that may have been lost since."""
STATES: Final = ("failing", "lagging", "on_track")
"""States whose probability an assessment has, as ``p_<state>``."""
WHY_UNKNOWN: Final = (
    Reason.UNCERTAIN, Reason.TOO_EARLY, Reason.START_IN_FUTURE, Reason.FEW_PIXELS, Reason.CONTROL_FEW,
    Reason.RADIOMETRY, Reason.NO_CONTROL, Reason.CONTROL_CONSTANT, Reason.SEASON_ELSEWHERE, Reason.FEW_SCENES,
    Reason.DATA_OLD, Reason.INTERVAL_WIDE,
)  # fmt: skip
"""Reasons that say why nothing is known of a site; others may stand beside them."""
DIGITS: Final = 6
"""Decimals of hectares, so that sums of ten thousand rounded numbers agree to 0.01 ha."""


@dataclass(frozen=True, kw_only=True)
class CountedSite:
    """One site as it counts."""

    site: Site
    lot: str | None
    """Id of its lot; None: it has none."""
    hectares: float
    """Area that counts for it: without ground that counts for a site registered before. [ha]"""
    status: str
    """One of :data:`monitor.publish.statuses.SHOWN_STATUSES`, or :data:`monitor.publish.statuses.UNJUDGED`."""
    assessment: Mapping[str, Any]
    """Its latest assessment as JSON; empty: none."""

    @cached_property
    def posterior(self) -> tuple[float, ...] | None:
        """Probability of each of :data:`STATES`; None: it has none that is a finding. [1]"""
        values = [self.assessment.get(f"p_{state}") for state in STATES]
        if self.status not in BY_GROWTH or None in values:
            return None
        return tuple(value for value in values if value is not None)

    @cached_property
    def failing_area(self) -> Interval | None:
        """Estimated failing area of the counted ground, by its share of the site; None where unknown. [ha]"""
        values = [self.assessment.get(f"hectares_failing{end}") for end in ("", "_low", "_high")]
        whole = self.assessment.get("hectares")
        if self.status not in BY_GROWTH or None in values or not whole:
            return None
        return Interval(*(value * self.hectares / whole for value in values if value is not None))

    @property
    def dependent_with(self) -> tuple[str, str | None]:
        """Sites with the same value are taken as fully dependent: those of a lot; without one, of a province."""
        return ("province", _same(self.site.province)) if self.lot is None else ("lot", self.lot)


GROUPS: Final[Mapping[str, Callable[[CountedSite], str | int | None]]] = {
    "province": lambda member: member.site.province,
    "intervention": lambda member: member.site.intervention,
    "partner": lambda member: member.site.partner,
    "lot": lambda member: member.lot,
    "programme_year": lambda member: member.site.programme_year,
}
"""Groups by which hectares are summed, and the value of a site; None: it has none."""

SHARE_GROUPS: Final[Mapping[str, Callable[[Site], str | None]]] = {
    "programme": lambda site: None,
    "biome": lambda site: site.biome,
    "partner": lambda site: site.partner,
}
"""Groups of sites whose failing share is estimated."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The account of a programme, and the sites that it was made from."""

    sites: Sequence[CountedSite]
    """In the order of registration."""
    double: Sequence[DoubleRegistration]
    """Pairs of sites that claim the same ground, by their places in `sites`: those of different partners first."""
    summary: Mapping[str, Any]
    """Content of ``programme.json``, which ``regrowth programme --json`` prints."""


def programme_account(
    sites: Sequence[Site], latest: Mapping[str, Mapping[str, Any]], *, pledge: float | None, alpha: float,
    posterior: ProgrammePosterior | None = None, more: Mapping[str, Any] | None = None,
) -> Account:  # fmt: skip
    """Sum the hectares of the sites that are judged now, in the order of their registration.

    Parameters
    ----------
    sites : sequence of Site
    latest : mapping
        Latest assessment of each site by its id, as JSON; sites may be missing.
    pledge : float or None
        Hectares pledged; None: unknown, and all shares of it are None. [ha]
    alpha : float
        False-alarm budget for ten years of one site: at most this share of the sites is expected to turn red falsely in
        that time, by whatever rule. [1]
    posterior : ProgrammePosterior, optional
        None: the sites are too few, and the summary has no site to visit first.
    more : mapping, optional
        Further members of the summary.

    Returns
    -------
    Account
        ``hectares`` of its summary are by status, :data:`monitor.publish.statuses.UNJUDGED` among them, for the
        programme and for each row of ``groups``, which has ``by`` and ``value``.
    """
    outlines = [site.geometry for site in sites]
    shared = overlaps(outlines)
    counted = counted_hectares(outlines, [site.hectares for site in sites], shared)
    members = [
        CountedSite(
            site=site, lot=lot.id if (lot := lot_of(site)) else None, hectares=hectares,
            status=_status(site, latest.get(site.id, {})), assessment=latest.get(site.id, {}),
        )
        for site, hectares in zip(sites, counted, strict=True)
    ]  # fmt: skip
    double = sorted(double_registrations(outlines, shared), key=lambda one: not _across(sites, one))
    return Account(
        sites=members,
        double=double,
        summary={
            **_summary(members, pledge, alpha),
            **_together(members, posterior),
            "double_registrations": _claims(sites, double),
            **(more or {}),
        },
    )


def _summary(members: Sequence[CountedSite], pledge: float | None, alpha: float) -> dict[str, Any]:
    def row(part: Sequence[CountedSite]) -> dict[str, Any]:
        hectares = sum((member.hectares for member in part), 0.0)
        share = round(hectares / pledge, 6) if pledge else None
        return {"sites": len(part), "total_hectares": round(hectares, DIGITS), "share_of_pledge": share}

    def full_row(part: Sequence[CountedSite]) -> dict[str, Any]:
        registered = round(sum((member.site.hectares for member in part), 0.0), DIGITS)
        return {**row(part), "registered_hectares": registered, **sums_by_probability(part)}

    groups = []
    for by, value_of in GROUPS.items():
        for value, part in _by_value(members, value_of):
            groups.append({"by": by, "value": value, **full_row(part), "hectares": _hectares(part)})
    hectares = _hectares(members)
    return {
        "as_of": max((member.assessment["as_of"] for member in members if member.assessment), default=None),
        "pledge_hectares": pledge,
        **full_row(members),
        "false_reds_expected_at_most": round(alpha * len(members), 2),
        "hectares": hectares,
        "why_unknown": _why_unknown(members),
        "by_status": {name: row([m for m in members if m.status == name]) for name in (*SHOWN_STATUSES, UNJUDGED)},
        "uplift_confirmed": row([member for member in members if member.assessment.get("uplift_confirmed")]),
        "groups": groups,
    }


def _together(members: Sequence[CountedSite], posterior: ProgrammePosterior | None) -> dict[str, Any]:
    """Sites to visit first, and the share of the programme and of each biome and partner that fails."""
    if posterior is None:
        return {"to_visit": {"sites": [], "share_wrong": None}, "failing_share": []}
    by_id = {member.site.id: member for member in members}
    listed = posterior.to_visit()
    sites = [
        {
            "site": posterior.sites[place],
            "probability": round(1.0 - float(posterior.above[place]), 6),
            "hectares": round(by_id[posterior.sites[place]].hectares, DIGITS),
        }
        for place in listed
    ]
    shares = []
    for by, value_of in SHARE_GROUPS.items():
        of_place = [value_of(by_id[site].site) for site in posterior.sites]
        for value, places in _by_value(range(len(of_place)), of_place.__getitem__):
            share = dict(zip(("share", "low", "high"), posterior.failing_share(places), strict=True))
            shares.append({"by": by, "value": value, **share})
    wrong = round(float(posterior.above[listed].mean()), 6) if listed else None
    return {"to_visit": {"sites": sites, "share_wrong": wrong}, "failing_share": shares}


def _by_value[Item, Value: (str | None, str | int | None)](
    items: Iterable[Item], value_of: Callable[[Item], Value]
) -> list[tuple[Value | None, list[Item]]]:
    """Items by value, spelt as by the first of them; those without one last."""
    parts: dict[Any, list[Item]] = {}
    for item in items:
        parts.setdefault(_same(value_of(item)), []).append(item)
    ordered = sorted(parts.items(), key=lambda part: (part[0] is None, part[0]))
    return [(None if key is None else value_of(part[0]), part) for key, part in ordered]


def _hectares(members: Sequence[CountedSite]) -> dict[str, float]:
    """Hectares of some sites by status."""
    sums = dict.fromkeys((*SHOWN_STATUSES, UNJUDGED), 0.0)
    for member in members:
        sums[member.status] += member.hectares
    return {name: round(hectares, DIGITS) for name, hectares in sums.items()}


def sums_by_probability(members: Sequence[CountedSite]) -> dict[str, float]:
    """Hectares by the probabilities of the sites and by their failing area, each with its interval."""
    likely = [member for member in members if member.posterior is not None]
    undecided = [member for member in likely if member.status == "undecided"]
    sums: dict[str, float] = {"posterior_hectares": sum((member.hectares for member in likely), 0.0)}
    sums["no_posterior_hectares"] = sum((m.hectares for m in members if m.posterior is None), 0.0)
    for name, part in (("expected", likely), ("undecided", undecided)):
        hectares, lots = [member.hectares for member in part], [member.dependent_with for member in part]
        posteriors = [posterior for member in part if (posterior := member.posterior)]
        for state, chances in zip(STATES, zip(*posteriors, strict=True) if part else [()] * len(STATES), strict=True):
            sums |= _with_limits(f"{name}_{state}", probable_hectares(hectares, chances, lots))
    estimated = [(member, area) for member in members if (area := member.failing_area) is not None]
    for name, chosen in (("failing_area", False), ("undecided_failing_area", True)):
        found = [(member, area) for member, area in estimated if (member.status == "undecided") is chosen]
        total = summed_intervals([area for _, area in found], [member.dependent_with for member, _ in found])
        sums |= _with_limits(name, total)
        sums[f"{name}_of"] = sum((member.hectares for member, _ in found), 0.0)
    return {name: round(value, DIGITS) for name, value in sums.items()}


def _with_limits(name: str, area: Interval) -> dict[str, float]:
    return {name: area.hectares, f"{name}_low": area.low, f"{name}_high": area.high}


def _why_unknown(members: Sequence[CountedSite]) -> list[dict[str, Any]]:
    """Hectares of unknown sites by status and reason; a site may have several reasons, and None stands for none."""
    found: dict[tuple[str, str | None], list[CountedSite]] = {}
    for member in members:
        if member.status in SIDES["unknown"]:
            codes = member.assessment.get("reasons") or ()
            reasons: list[str | None] = [reason.value for reason in WHY_UNKNOWN if reason.value in codes]
            for reason in reasons or [None]:
                found.setdefault((member.status, reason), []).append(member)
    rows = [
        {
            "status": status, "reason": reason, "sites": len(part),
            "hectares": round(sum(member.hectares for member in part), DIGITS),
        }
        for (status, reason), part in found.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (SIDES["unknown"].index(row["status"]), -row["hectares"], str(row["reason"])))


def _claims(sites: Sequence[Site], double: Sequence[DoubleRegistration]) -> list[dict[str, Any]]:
    """Pairs of sites that claim the same ground, the one for which it counts first."""
    return [
        {
            "site": sites[one.first].id, "other_site": sites[one.second].id, "partner": sites[one.first].partner,
            "other_partner": sites[one.second].partner, "across_partners": _across(sites, one), "kind": one.kind,
            "hectares": None if one.hectares is None else round(one.hectares, DIGITS),
            "share_of_smaller": None if one.share is None else round(one.share, 6),
        }
        for one in double
    ]  # fmt: skip


def _across(sites: Sequence[Site], one: DoubleRegistration) -> bool:
    """Whether two sites that claim the same ground are of different partners; one without a partner is of none."""
    return _same(sites[one.first].partner) != _same(sites[one.second].partner)


def _same[T: (str | None, str | int | None)](value: T) -> T:
    """Name without differences of case, spaces and Unicode form; None where nothing is left of it."""
    return comparable_id(" ".join(value.split())) or None if isinstance(value, str) else value


def _status(site: Site, assessment: Mapping[str, Any]) -> str:
    """Status under which a site counts.

    Without a promised uplift, on track only means that no loss is seen; and a sudden loss whose probability is below
    :data:`monitor.verdict.explain.LOSS_SURE` is suspected, as the page of the site says.
    """
    status: str = assessment.get("status") or UNJUDGED
    if status == "disturbed" and (assessment.get("probability") or 0.0) < LOSS_SURE:
        return "loss_suspected"
    return "no_loss_seen" if status == "on_track" and site.plan.A <= 0 else status
