"""Runs of the jobs, and the computing time that they used."""

from sqlalchemy import func, select, union_all, update

from monitor.ledger.models import EecuRow, RunRow, SnapshotRow
from monitor.ledger.rows import Payload, Rows


class Runs(Rows):
    """Queries and changes of runs."""

    def begin_run(self, run: str, kind: str, as_of: str, *, now: str) -> None:
        """Store that a run has begun, unless that is stored."""
        self._upsert(RunRow, [{"id": run, "kind": kind, "as_of": as_of, "started": now}], ("id",), keep=True)

    def end_run(
        self, run: str, *, status: int, now: str, manifest: Payload | None = None, summary: Payload | None = None,
        error: str | None = None,
    ) -> None:  # fmt: skip
        """Store how a run ended, unless it has: its exit status, and its manifest with a summary or its error."""
        ended = {"finished": now, "status": status, "manifest": manifest, "summary": summary, "error": error}
        running = (RunRow.id == run) & RunRow.finished.is_(None)
        self._connection.execute(update(RunRow).where(running).values(**ended))

    def newest_night(self) -> Payload | None:
        """The night that began last: columns of :class:`RunRow`; None: there was none."""
        return self._row(select(RunRow.__table__).where(RunRow.kind == "night").order_by(RunRow.started.desc()))

    def unfinished_nights(self) -> list[Payload]:
        """Nights that did not end, the oldest first: columns of :class:`RunRow`."""
        query = select(RunRow.__table__).where(RunRow.kind == "night", RunRow.finished.is_(None))
        return self._rows(query.order_by(RunRow.started))

    def nights(self, limit: int) -> list[Payload]:
        """The nights that began last, newest first: columns of :class:`RunRow` without the manifest."""
        columns = [column for column in RunRow.__table__.c if column.name != "manifest"]
        query = select(*columns).where(RunRow.kind == "night").order_by(RunRow.started.desc()).limit(limit)
        return self._rows(query)

    def finished_night_before(self, day: str) -> Payload | None:
        """Columns of :class:`RunRow` of the last night before that of a day that ran to its end; None: none did.

        A night of an earlier day that was run later does not count.
        """
        first = select(func.min(RunRow.started)).where(RunRow.kind == "night", RunRow.as_of == day).scalar_subquery()
        query = select(RunRow.__table__).where(RunRow.kind == "night", RunRow.manifest.is_not(None))
        query = query.where(RunRow.as_of < day, RunRow.started < func.coalesce(first, "9"))
        return self._row(query.order_by(RunRow.as_of.desc(), RunRow.started.desc()))

    def last_success(self) -> tuple[str | None, str | None]:
        """Latest day, and latest time of the end, of the nights with exit status 0; None: none has."""
        query = select(func.max(RunRow.as_of), func.max(RunRow.finished))
        query = query.where(RunRow.kind == "night", RunRow.status == 0)
        day, ended = self._connection.execute(query).one()
        return day, ended

    def count_nights(self) -> int:
        """Number of nights that have begun."""
        return int(self._scalar(select(func.count()).where(RunRow.kind == "night")))

    def last_night(self, site: str) -> Payload | None:
        """Manifest of the newest finished night that included a site; None: there is none."""
        query = select(RunRow.manifest).where(RunRow.kind == "night", RunRow.manifest.is_not(None))
        for manifest in self._connection.execute(query.order_by(RunRow.started.desc())).scalars():
            if manifest is not None and any(entry["site"] == site for entry in manifest["sites"]):
                return dict(manifest)
        return None

    def last_activity(self) -> tuple[str, str] | None:
        """Id of the run that last began or ended, and the time of that; None: there was no run."""
        began = select(RunRow.id, RunRow.started.label("time"))
        ended = select(RunRow.id, RunRow.finished).where(RunRow.finished.is_not(None))
        times = union_all(began, ended).subquery()
        newest = self._connection.execute(select(times).order_by(times.c.time.desc()).limit(1)).first()
        return None if newest is None else (newest.id, newest.time)

    def has_history(self) -> bool:
        """Whether any run has begun or any observation was stored."""
        return any(self._row(select(key)) for key in (RunRow.id, SnapshotRow.ground))

    def eecu_seconds(self, month: str) -> float:
        """Computing time of Earth Engine that the runs of a month (``2026-11``) have used, estimated. [EECU s]"""
        return self._scalar(select(EecuRow.seconds).where(EecuRow.month == month)) or 0.0

    def add_eecu_seconds(self, month: str, seconds: float) -> None:
        """Add to the computing time of a month. [EECU s]"""
        self._upsert(EecuRow, [{"month": month, "seconds": 0.0}], ("month",), keep=True)
        added = EecuRow.seconds + seconds
        self._connection.execute(update(EecuRow).where(EecuRow.month == month).values(seconds=added))
