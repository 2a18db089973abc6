"""Calibration: the constants of the verdict are set on stored placebos, once a season for each tile and biome.

A night does it where it is due, after fetching and before judging. Only scenes acquired before the end of the last
ended growing season are used, so that the same stores give the same constants on any night. They are then frozen:
later scenes and sites count in the next season.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import structlog

from jobs.settings import Settings
from monitor.controls.selection import REFERENCE_RING, ControlSet
from monitor.cube.store import LandscapeStore, landscape_at_snapshot
from monitor.cube.stored_site import StoredSite
from monitor.errors import StoreBroken
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.landscapes import tile_name
from monitor.sites.site import Site, ground_key
from monitor.verdict.assess import DEFAULT
from monitor.verdict.assessment import Assessment
from monitor.verdict.calibrate import MIN_PLACEBOS, calibrate, constants_table
from monitor.verdict.calibration import Calibration
from monitor.verdict.placebos import (
    MAX_PLACEBOS,
    Placebo,
    has_enough_scenes,
    independent_units,
    pool_placebos,
    unit_placebos,
)

log = structlog.get_logger()

A_NIGHT: Final = 1
"""Sets of placebos that one night looks into: a thousand placebos take half a minute. Where more are due, each of the
following nights takes one, and what was in force stays so until then. A night that is run again takes no second."""


class Pool(NamedTuple):
    """Sites that share their constants."""

    tile: str
    biome: str

    @classmethod
    def of(cls, site: Site) -> "Pool":
        """Pool of a site."""
        return cls(tile_name(site), site.biome)


class Calibrations:
    """Constants of each pool on a night, and the pools whose constants are due.

    Parameters
    ----------
    t : Transaction
        Of the ledger.
    sites : sequence of Site
        All of the ledger, those that the night leaves out too.
    as_of : date
        Of the night.
    """

    def __init__(self, t: Transaction, sites: Sequence[Site], *, as_of: date) -> None:
        self.as_of = as_of
        self.members: dict[Pool, list[Site]] = {}
        for site in sorted(sites, key=ground_key):
            self.members.setdefault(Pool.of(site), []).append(site)
        self._made: dict[Pool, list[dict[str, Any]]] = {}
        for row in t.calibrations():
            self._made.setdefault(Pool(row["tile"], row["biome"]), []).append(row)
        self.asked = any(row["as_of"] == as_of.isoformat() for rows in self._made.values() for row in rows)
        """Whether calibration already ran on this night."""
        grounds = cache(self._grounds)
        self.grounds = {pool: grounds(pool.biome) for pool in self.members}
        """Hash of all ground of the pool's biome."""
        self.due = sorted(filter(self._is_due, self.members), key=lambda pool: (self._newest(pool), pool))
        """Those that were set longest ago first."""

    def record(self, pool: Pool) -> dict[str, Any] | None:
        """Ledger record that applies to a pool on this night; without placebos it left the defaults in place."""
        rows = [row for row in self._made.get(pool, ()) if row["as_of"] <= self.as_of.isoformat()]
        return max(rows, key=lambda row: (row["placebos"] > 0, row["season"], row["id"]), default=None)

    def of(self, pool: Pool) -> Calibration:
        """Calibrations that hold for a pool on this night."""
        row = self.record(pool)
        return Calibration.from_json(row["payload"]["constants"]) if row is not None and row["placebos"] else DEFAULT

    def season(self, pool: Pool) -> tuple[int, date]:
        """The last ended growing season of a pool, and its last day."""
        return GrowingSeason.of(self.members[pool][0]).last_ended(self.as_of)

    def _grounds(self, biome: str) -> str:
        keys = sorted(ground_key(site) for pool, sites in self.members.items() if pool.biome == biome for site in sites)
        return hashlib.sha256(json.dumps(keys).encode()).hexdigest()

    def _newest(self, pool: Pool) -> int:
        return max((row["season"] for row in self._made.get(pool, ())), default=0)

    def _is_due(self, pool: Pool) -> bool:
        """Whether this season has not been tried, or failed with different ground."""
        season, newest = self.season(pool)[0], self._newest(pool)
        if season != newest:
            return season > newest
        rows = [row for row in self._made[pool] if row["season"] == season]
        return not any(row["placebos"] or row["grounds"] == self.grounds[pool] for row in rows)


class PlaceboPools(Mapping[tuple[str, str], list[Placebo]]):
    """Placebos of one biome by tile, read from the stores on access; none overlap.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    constants : Calibrations
        Gives the sites.
    biome : str
    controls : mapping
        Frozen units of each piece of ground that has a store.
    snapshots : mapping
        Of each piece of ground.
    left_out : mapping
        By piece of ground the units on which another site was begun: they are no placebos, nor compared with.
    """

    def __init__(
        self, settings: Settings, constants: Calibrations, biome: str, controls: Mapping[str, ControlSet],
        snapshots: Mapping[str, str], left_out: Mapping[str, Collection[str]],
    ) -> None:  # fmt: skip
        self._settings, self._constants, self._snapshots = settings, constants, snapshots
        self._tiles = {pool: sites for pool, sites in constants.members.items() if pool.biome == biome}
        named = [
            (ground, unit)
            for pool in sorted(self._tiles)
            for ground in map(ground_key, self._tiles[pool]) if ground in controls
            for unit in controls[ground].units
            if unit.ring != REFERENCE_RING and unit.id not in left_out.get(ground, ())
        ]  # fmt: skip
        worked = [site.geometry for sites in constants.members.values() for site in sites]
        alone = independent_units([unit.geometry for _, unit in named], worked)
        self.units = {(ground, unit.id) for (ground, unit), free in zip(named, alone, strict=True) if free}
        """Ground and id of the units that count."""
        self._with_units = {ground for ground, _ in self.units}
        self._compared: dict[str, list[str]] = {}
        """Ids of all control ground of a site, which each of those is compared with."""
        for ground, unit in named:
            self._compared.setdefault(ground, []).append(unit.id)
        self._read = cache(self._of_tile)

    def __getitem__(self, key: tuple[str, str]) -> list[Placebo]:
        """Of a tile: enough of them, as far as there are so many."""
        return self._read(Pool(*key))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._tiles)

    def __len__(self) -> int:
        return len(self._tiles)

    def _of_tile(self, pool: Pool) -> list[Placebo]:
        found: list[Placebo] = []
        landscape: LandscapeStore | None = None
        end = np.datetime64(self._constants.season(pool)[1] + timedelta(days=1))
        for site in self._tiles[pool]:
            ground = ground_key(site)
            if len(found) >= MAX_PLACEBOS:
                break
            if ground not in self._with_units:
                continue
            try:
                snapshot = self._snapshots[ground]
                landscape = landscape_at_snapshot(self._settings.store.root, snapshot, landscape)
                means = StoredSite(landscape, ground).unit_means(snapshot)
            except StoreBroken as error:
                log.warning("placebos of a site left out", site=site.id, error=str(error))
                continue
            compared = np.isin(means.unit.values, self._compared[ground])
            before = means.isel(time=means.time.values < end, unit=compared)
            found += [one for one in unit_placebos(site, before) if (ground, one.unit) in self.units]
        return found


def calibrate_due(
    settings: Settings, ledger: Ledger, sites: Sequence[Site], *, as_of: date, most: int | None = A_NIGHT
) -> Calibrations:
    """Set constants where they are due.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    ledger : Ledger
        Open.
    sites : sequence of Site
        All of the ledger.
    as_of : date
        Of the night.
    most : int or None
        Sets of placebos that are looked into; None: all.

    Returns
    -------
    Calibrations
        As they hold now.
    """
    with ledger.transaction() as t:
        constants = Calibrations(t, sites, as_of=as_of)
        if most is not None and constants.asked:
            return constants
        snapshots, left_out = t.snapshots(), t.all_ground_data("left_out")
        controls: dict[str, ControlSet] = {}
        for biome in {pool.biome for pool in constants.due}:
            for ground in (ground_key(site) for site in sites if site.biome == biome):
                frozen = t.controls(ground) if ground in snapshots else None
                controls |= {} if frozen is None else {ground: ControlSet.from_json(frozen)}
    land = cache(lambda biome: PlaceboPools(settings, constants, biome, controls, snapshots, left_out))
    found: dict[tuple[str, ...], tuple[Calibration, int]] = {}
    rows: list[dict[str, Any]] = []
    work = 0
    for pool in constants.due:
        here = land(pool.biome)
        if not here.units:
            continue  # nothing is stored yet
        # Where a biome has fewer than are wanted, all its tiles take all of them.
        key: tuple[str, ...] = pool if len(here.units) >= MAX_PLACEBOS else (pool.biome,)
        if key not in found:
            if len(here.units) >= MIN_PLACEBOS:
                if work == most:
                    continue
                work += 1
            try:
                chosen, source = pool_placebos(here, *pool)
                made = calibrate(chosen, source=source, dated=constants.season(pool)[1])
            except Exception:
                log.exception(
                    "a bug while setting constants; what was in force stays", tile=pool.tile, biome=pool.biome
                )
                continue
            found[key] = made, sum(has_enough_scenes(one) for one in chosen)
            log.info("constants set", biome=pool.biome, placebos=made.placebos, source=made.source)
        made, count = found[key]
        rows.append(
            {
                "tile": pool.tile, "biome": pool.biome, "season": constants.season(pool)[0],
                "as_of": as_of.isoformat(), "grounds": constants.grounds[pool], "hash": made.hash,
                "placebos": made.placebos, "payload": {"constants": made.to_json(), "found": count},
            }
        )  # fmt: skip
        if most is None:  # a night keeps all or nothing, so that one that is killed is done again as it would have been
            _keep(ledger, rows)
    _keep(ledger, rows)
    with ledger.transaction() as t:
        return Calibrations(t, sites, as_of=as_of)


def _keep(ledger: Ledger, rows: list[dict[str, Any]]) -> None:
    with ledger.transaction() as t:
        for row in rows:
            t.add_calibration(**row)
    rows.clear()


def constants_used(
    assessment: Assessment, site: Site, records: Sequence[Mapping[str, Any]]
) -> tuple[Calibration, int] | None:
    """Calibrations that an assessment was given by, and how many placebos there were; None: not kept in this ledger.

    Parameters
    ----------
    assessment : Assessment
        Of `site`.
    site : Site
    records : sequence of mapping
        All of the ledger, as ``Transaction.calibrations`` gives them.
    """
    for row in reversed(records):
        if row["hash"] == assessment.calibration:
            return Calibration.from_json(row["payload"]["constants"]), row["placebos"]
    if assessment.calibration != DEFAULT.hash:
        return None
    pool = Pool.of(site)
    vain = [row["payload"]["found"] for row in records if (row["tile"], row["biome"]) == pool and not row["placebos"]]
    return DEFAULT, vain[-1] if vain else 0


def calibration_json(pool: Pool, constants: Calibrations) -> dict[str, Any]:
    """What ``regrowth calibrate --json`` says of the sites of one tile and biome."""
    used, record = constants.of(pool), constants.record(pool)
    return {
        "tile": pool.tile,
        "biome": pool.biome,
        "sites": len(constants.members[pool]),
        "source": used.source,
        "dated": used.dated.isoformat(),
        "hash": used.hash,
        "placebos": used.placebos,
        "found": 0 if record is None else record["payload"]["found"],
        "needed": MIN_PLACEBOS,
        "table": constants_table(used),
    }
