"""Calibration: the constants of the verdict are set on stored placebos, once a season for each tile and biome.

A night does it where it is due, between fetching and judging. Only scenes acquired before the end of the last growing
season are used, so that the same stores give the same constants on any night. They are then frozen: later scenes and
sites count in the next season, unless the stored sites of the biome have doubled since, or the code has changed. Sites
that come with a night count from the next night on, so that running it again changes nothing. With fewer than five
stored sites the defaults hold.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import structlog

from jobs.runtime.settings import Settings
from monitor import derived
from monitor.controls.selection import REFERENCE_RING, ControlSet
from monitor.cube.bucket import Place
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
from monitor.verdict.calibrate import calibrate, constants_table, weight
from monitor.verdict.calibration import Calibration
from monitor.verdict.placebos import MAX_PLACEBOS, MIN_SITES, Placebo, independent_units, pool_placebos, unit_placebos

log = structlog.get_logger()

# Calibrations of one night (a thousand placebos take half a minute). Where more are due, each later night does one.
A_NIGHT: Final = 1


class Pool(NamedTuple):
    """Sites that share their constants."""

    tile: str
    biome: str  # key of the biome, see `monitor.sites.site.Site.biome_key`

    @classmethod
    def of(cls, site: Site) -> "Pool":
        """Pool of a site."""
        return cls(tile_name(site), site.biome_key)


class Calibrations:
    """Constants of each pool on a night, and the pools whose constants are due."""

    def __init__(self, t: Transaction, sites: Sequence[Site], *, as_of: date) -> None:
        """Read the calibrations for all sites of the ledger, also those that the night leaves out."""
        self.as_of = as_of
        self.members: dict[Pool, list[Site]] = {}
        for site in sorted(sites, key=ground_key):
            self.members.setdefault(Pool.of(site), []).append(site)
        self._records: dict[Pool, list[dict[str, Any]]] = {}
        for row in t.calibrations():
            self._records.setdefault(Pool(row["tile"], row["biome"]), []).append(row)
        self.ran = any(
            row["as_of"] == as_of.isoformat() for rows in self._records.values() for row in rows
        )  # on this day
        snapshots, known = t.snapshots(), t.states(until=(as_of - timedelta(days=1)).isoformat())
        stored = [site for site in sites if ground_key(site) in snapshots]
        self.stored = self._by_pool(stored)  # stored sites of the pool's biome
        self._known = self._by_pool([site for site in stored if site.id in known])  # assessed by an earlier night
        self.due = sorted(filter(self._is_due, self.members), key=lambda pool: (self._newest(pool), pool))

    def _by_pool(self, sites: Sequence[Site]) -> dict[Pool, int]:
        """Number of sites of each pool's biome."""
        count = Counter(site.biome_key for site in sites)
        return {pool: count[pool.biome] for pool in self.members}

    def of(self, pool: Pool) -> Calibration:
        """Constants that apply to a pool on this night; a record without placebos leaves the defaults in place."""
        day, current = self.as_of.isoformat(), self.key(pool)
        rows = [row for row in self._records.get(pool, ()) if row["as_of"] <= day and row["placebos"]]
        if not rows:
            return DEFAULT
        row = max(rows, key=lambda row: (row["season"], row["made_from"] == current, row["id"]))
        return Calibration.from_json(row["payload"]["constants"])

    def season(self, pool: Pool) -> tuple[int, date]:
        """The last ended growing season of a pool, and its last day."""
        return GrowingSeason.of(self.members[pool][0]).last_ended(self.as_of)

    def key(self, pool: Pool) -> str:
        """Hash of a pool, its last ended season and the code that sets its constants."""
        return derived.key([pool, self.season(pool)[0]], module=__name__)

    def _newest(self, pool: Pool) -> int:
        return max((row["season"] for row in self._records.get(pool, ())), default=0)

    def _is_due(self, pool: Pool) -> bool:
        """Whether this code has not tried this season, or with at most half of the sites assessed by earlier nights."""
        if self.season(pool)[0] < self._newest(pool):
            return False
        rows = [row for row in self._records.get(pool, ()) if row["made_from"] == self.key(pool)]
        if not rows:
            return True
        stored, placebos = (max(int(row[name]) for row in rows) for name in ("stored", "placebos"))
        return self._known[pool] >= 2 * stored and placebos < MAX_PLACEBOS


class BiomePlacebos:
    """Placebos of one biome, read from the stores tile by tile; none overlap.

    `controls`, `snapshots`: frozen control units and snapshot, by ground key. `left_out`: units on which another site
    was started, which are not placebos, nor compared with.
    """

    def __init__(
        self, root: Place, constants: Calibrations, biome: str, controls: Mapping[str, ControlSet],
        snapshots: Mapping[str, str], left_out: Mapping[str, Collection[str]],
    ) -> None:  # fmt: skip
        self._root, self._constants, self._snapshots = root, constants, snapshots
        self._sites = {pool.tile: sites for pool, sites in sorted(constants.members.items()) if pool.biome == biome}
        self.tiles = tuple(self._sites)
        grounds = [ground for sites in self._sites.values() for ground in map(ground_key, sites) if ground in controls]
        rings = [ground for ground in grounds if controls[ground].units and not controls[ground].strips]
        named = [
            (ground, unit)
            for ground in rings or grounds  # strips are calmer: they calibrate only where all sites have them
            for unit in controls[ground].units
            if unit.ring != REFERENCE_RING and unit.id not in left_out.get(ground, ())
        ]  # fmt: skip
        worked = [site.geometry for sites in constants.members.values() for site in sites]
        independent = independent_units([unit.geometry for _, unit in named], worked)
        self.units = {(ground, unit.id) for (ground, unit), used in zip(named, independent, strict=True) if used}
        self._compared: dict[str, list[str]] = {}  # ids of all control units of a site, compared with each placebo
        for ground, unit in named:
            self._compared.setdefault(ground, []).append(unit.id)
        self.of_tile = cache(self._of_tile)

    def _of_tile(self, tile: str) -> list[Placebo]:
        """Placebos of one tile, until there are enough."""
        placebos: list[Placebo] = []
        landscape: LandscapeStore | None = None
        grounds = {ground for ground, _ in self.units}
        for site in self._sites[tile]:
            ground = ground_key(site)
            if len(placebos) >= MAX_PLACEBOS:
                break
            if ground not in grounds:
                continue
            try:
                snapshot = self._snapshots[ground]
                landscape = landscape_at_snapshot(self._root, snapshot, landscape)
                means = StoredSite(landscape, ground).unit_means(snapshot)
            except StoreBroken as error:
                log.warning("placebos of a site left out", site=site.id, error=str(error))
                continue
            end = np.datetime64(self._constants.season(Pool.of(site))[1] + timedelta(days=1))
            compared = np.isin(means.unit.values, self._compared[ground])
            before = means.isel(time=means.time.values < end, unit=compared)
            placebos += unit_placebos(site, before, wanted={unit for own, unit in self.units if own == ground})
        return placebos


def calibrate_due(
    settings: Settings, ledger: Ledger, sites: Sequence[Site], *, as_of: date, most: int | None = A_NIGHT
) -> Calibrations:
    """Calibrate the pools that are due, and return the constants that apply afterwards.

    `most`: sets of placebos that are calibrated with; None: all that are due.
    """
    with ledger.transaction() as t:
        constants = Calibrations(t, sites, as_of=as_of)
        if most is not None and constants.ran:
            return constants
        snapshots, left_out = t.snapshots(), t.all_ground_data("left_out")
        controls: dict[str, ControlSet] = {}
        for biome in {pool.biome for pool in constants.due}:
            for ground in (ground_key(site) for site in sites if site.biome_key == biome):
                frozen = t.controls(ground) if ground in snapshots else None
                controls |= {} if frozen is None else {ground: ControlSet.from_json(frozen)}
    placebos_of = cache(
        lambda biome: BiomePlacebos(settings.store.root, constants, biome, controls, snapshots, left_out)
    )
    results: dict[tuple[str, ...], Calibration] = {}
    rows: list[dict[str, Any]] = []
    calibrated = 0
    for pool in constants.due:
        if constants.stored[pool] < MIN_SITES:
            continue
        placebos = placebos_of(pool.biome)
        if not placebos.units:
            continue  # nothing is stored yet
        # Where a biome has fewer placebos than needed, all its tiles use all of them.
        key: tuple[str, ...] = pool if len(placebos.units) >= MAX_PLACEBOS else (pool.biome,)
        if key not in results:
            if calibrated == most:
                continue
            calibrated += 1
            try:
                chosen, source = pool_placebos(placebos.tiles, placebos.of_tile, *pool)
                result = calibrate(chosen, source=source, dated=constants.season(pool)[1])
            except Exception:
                log.exception("a bug in calibration; the constants in force stay", tile=pool.tile, biome=pool.biome)
                continue
            results[key] = result
            log.info("constants set", biome=pool.biome, placebos=result.placebos, source=result.source)
        result = results[key]
        rows.append(
            {
                "tile": pool.tile, "biome": pool.biome, "season": constants.season(pool)[0],
                "as_of": as_of.isoformat(), "stored": constants.stored[pool],
                "made_from": constants.key(pool), "hash": result.hash, "placebos": result.placebos,
                "payload": {"constants": result.to_json()},
            }
        )  # fmt: skip
        if most is None:  # a night stores all or nothing, so that a killed one is repeated exactly
            _store(ledger, rows)
    _store(ledger, rows)
    with ledger.transaction() as t:
        return Calibrations(t, sites, as_of=as_of)


def _store(ledger: Ledger, rows: list[dict[str, Any]]) -> None:
    with ledger.transaction() as t:
        for row in rows:
            t.add_calibration(**row)
    rows.clear()


def constants_used(assessment: Assessment, records: Sequence[Mapping[str, Any]]) -> Calibration | None:
    """Constants of an assessment from the rows of ``Transaction.calibrations``; None: not stored in this ledger."""
    for row in reversed(records):
        if row["hash"] == assessment.calibration:
            return Calibration.from_json(row["payload"]["constants"])
    return DEFAULT if assessment.calibration == DEFAULT.hash else None


def calibration_json(pool: Pool, constants: Calibrations) -> dict[str, Any]:
    """Output of ``regrowth calibrate --json`` for the sites of one tile and biome."""
    used = constants.of(pool)
    return {
        "tile": pool.tile,
        "biome": pool.biome,
        "sites": len(constants.members[pool]),
        "source": used.source,
        "dated": used.dated.isoformat(),
        "hash": used.hash,
        "placebos": used.placebos,
        "weight": weight(used.placebos),
        "table": constants_table(used),
    }
