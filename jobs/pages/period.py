"""The account of a period, from the ledger."""

from bisect import bisect_right
from datetime import date, timedelta

from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.errors import BadData
from monitor.ledger.assessments import LAST_DAY
from monitor.ledger.transaction import Transaction
from monitor.publish.moves import Move, Registration, Verdict, moves_of
from monitor.publish.period import Period, period_of
from monitor.sites.site import Site


def read_period(
    settings: Settings, t: Transaction, first: date | None = None, last: date | None = None
) -> Period | None:
    """Account of a period as published then; by default of the year of the newest night. None: no night has run."""
    nights = t.night_days()
    if not nights:
        return None
    last = last or date.fromisoformat(nights[-1])
    return period_of(read_moves(t), nights, first or date(last.year, 1, 1), last, settings.programme.path_by_year)


def read_moves(t: Transaction) -> list[Move]:
    """All moves of hectares between statuses, as the nights published them: see :mod:`monitor.publish.moves`."""
    nights, registered, judged = t.night_days(), t.registrations(), t.state_changes()
    versions = {row["version"] for row in (*registered, *judged)}
    stored = t.versions_of(versions)
    sites = {key: from_json(values, Site) for key, values in stored.items()}

    def after(night: str) -> str:
        """The first night after a night, or the day after it where none has run yet."""
        place = bisect_right(nights, night)
        if place < len(nights):
            return nights[place]
        return (date.fromisoformat(night) + timedelta(days=1)).isoformat() if night else LAST_DAY

    on_time = {(row["site"], row["version"], row["episode"] or 1, row["since"]) for row in judged}
    registrations: dict[str, list[Registration]] = {}
    for row in registered:
        name, night = row["site"], row["newest_night"]
        site = None if row["version"] is None else sites.get((name, row["version"]))
        if site is None and row["version"] is not None:
            raise BadData(
                f"the ledger names a version of site {name!r} in its table registrations that it does not have: "
                "'regrowth doctor --deep' says what is damaged"
            )
        by_the_same_night = (name, row["version"], row["episode"], night) in on_time  # it ran again after the edit
        earlier = registrations.setdefault(name, [])
        day = max(night if by_the_same_night else after(night), earlier[-1].day if earlier else "")
        earlier.append(Registration(day, site, row["episode"]))
    verdicts: dict[str, list[Verdict]] = {}
    for row in judged:
        day = row["since"] if row["newest_night"] <= row["since"] else after(row["newest_night"])
        site = sites.get((row["site"], row["version"]))
        verdicts.setdefault(row["site"], []).append(Verdict(day, row["status"], site, row["episode"] or 1))
    return moves_of(registrations, verdicts)
