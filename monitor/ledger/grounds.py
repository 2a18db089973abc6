"""Grounds of the sites: control units, snapshots, terrain and other data, measurements, constants of the verdict."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import insert, select

from monitor.ledger.models import CalibrationRow, ControlsRow, FieldRow, GroundDataRow, SnapshotRow
from monitor.ledger.rows import Payload, Rows


class Grounds(Rows):
    """Queries and changes of what is known about grounds."""

    def controls(self, ground: str) -> Payload | None:
        """Frozen control units of a ground; None: none yet."""
        return self._connection.execute(select(ControlsRow.payload).where(ControlsRow.ground == ground)).scalar()

    def all_controls(self) -> dict[str, Payload]:
        """Frozen control units of every ground that has any."""
        return self._pairs(select(ControlsRow.ground, ControlsRow.payload))

    def freeze_controls(self, ground: str, site: str, payload: Payload, *, digest: str, now: str) -> None:
        """Store the control units of a ground, unless it has some already."""
        row = {"ground": ground, "site": site, "hash": digest, "frozen": now, "payload": payload}
        self._upsert(ControlsRow, [row], ("ground",), keep=True)

    def snapshots(self, grounds: Collection[str] | None = None) -> dict[str, str]:
        """Landscape and number of rows that every ground, or some, were last read from."""
        query = select(SnapshotRow.ground, SnapshotRow.snapshot)
        return self._pairs(query if grounds is None else query.where(SnapshotRow.ground.in_(grounds)))

    def save_snapshots(self, snapshots: Mapping[str, tuple[str, str]]) -> None:
        """Store, by ground, the site and which landscape, and how many of its rows, it was last read from."""
        rows = [{"ground": ground, "site": site, "snapshot": last} for ground, (site, last) in snapshots.items()]
        self._upsert(SnapshotRow, rows, ("ground",))

    def ground_data(self, ground: str, kind: str) -> Payload | None:
        """Data of one kind of :class:`GroundDataRow` about a ground; None: not known."""
        query = select(GroundDataRow.payload).where(GroundDataRow.ground == ground, GroundDataRow.kind == kind)
        return self._connection.execute(query).scalar()

    def all_ground_data(self, kind: str) -> dict[str, Payload]:
        """Data of one kind about every ground that has it."""
        return self._pairs(select(GroundDataRow.ground, GroundDataRow.payload).where(GroundDataRow.kind == kind))

    def data_of(self, grounds: Collection[str]) -> dict[str, dict[str, Payload]]:
        """All data about some grounds, by ground and kind; a ground without any is there too."""
        query = select(GroundDataRow.ground, GroundDataRow.kind, GroundDataRow.payload)
        data: dict[str, dict[str, Payload]] = {ground: {} for ground in grounds}
        for row in self._connection.execute(query.where(GroundDataRow.ground.in_(grounds))):
            data[row.ground][row.kind] = row.payload
        return data

    def save_data(self, data: Mapping[tuple[str, str], Payload]) -> None:
        """Store data by ground and kind; earlier data is replaced."""
        rows = [{"ground": ground, "kind": kind, "payload": payload} for (ground, kind), payload in data.items()]
        self._upsert(GroundDataRow, rows, ("ground", "kind"))

    def calibrations(self) -> list[Payload]:
        """All constants of the verdict, in the order in which they were added; columns of :class:`CalibrationRow`."""
        return self._rows(select(CalibrationRow.__table__).order_by(CalibrationRow.id))

    def add_calibration(self, payload: Payload, **columns: Any) -> None:
        """Store constants, unless their tile, biome, season, number of stored sites and code have some already."""
        keys = ("tile", "biome", "season", "stored", "made_from")
        self._upsert(CalibrationRow, [{**columns, "payload": payload}], keys, keep=True)

    def field_rows(self, sites: Collection[str] | None = None) -> dict[str, list[Payload]]:
        """Measurements on the ground of all sites, or of some, by site and date: columns of :class:`FieldRow`."""
        return self._by_site(FieldRow, FieldRow.date, sites)

    def add_field_rows(self, rows: Iterable[Payload]) -> list[Payload]:
        """Append the measurements whose digest is not stored yet; returns them."""
        stored = set(self._connection.execute(select(FieldRow.digest)).scalars())
        fresh = {row["digest"]: row for row in rows if row["digest"] not in stored}
        if fresh:
            self._connection.execute(insert(FieldRow), list(fresh.values()))
        return list(fresh.values())
