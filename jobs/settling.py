"""What the stored scenes of a site tell, all of them together: the rows of its series.

How one scene counts may depend on the others: whether its offset can be true, and which control units are still fit to
compare with. So that is never stored with a scene. It is settled anew from all of them whenever one was added, and
comes out the same in whatever order they arrived.

The site's own values stay as measured. Those of the control ground (every ``control_*`` column and the reference) are
brought to the orbit that the site was seen from (:mod:`monitor.controls.orbits`): they say what the control ground
would show if it lay as the site lies, so that whoever takes the difference takes the right one.

Most nights bring the newest scene of a year that has begun, and then nothing that was settled before changes: which
units are fit, and what the orbits differ by, follows from the years before. What is needed to settle such a scene is
kept beside the store, so that the night does not read ten years of scenes to add one. Whatever is not that case is
settled from all scenes; what is kept is derived, and may be deleted at any time.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from jobs import derived, records
from jobs.records import JUDGED, OBSERVED, Columns, chained, observation, texts, typed
from monitor.controls import comparison, neighbours, orbits, units
from monitor.controls.comparison import compare, shown
from monitor.controls.neighbours import LeftOut, absent
from monitor.controls.orbits import orbit_steps
from monitor.controls.units import ControlSet
from monitor.cover.zonal_means import MEASURES
from monitor.cube import granules, radiometry
from monitor.cube.radiometry import EVIDENCE, SEASON, evidence, judged, settle, tells, wrong
from monitor.cube.store import Record, StoredSite
from monitor.imagery import bands
from monitor.ledger.ledger import Transaction
from monitor.publish import observations
from monitor.publish.observations import observation_lines
from monitor.sites.site import Site

SERIES: Final = (*JUDGED, "acquisition", "digest", "reason")
"""Columns of a site's series that its verdict, maps and page are drawn from; beside them `date`, `chain`
(:func:`jobs.records.chained`) and `line`, that of ``observations.csv``."""
_LINE: Final = ("scene", "source", "baseline", "n_pixels")
"""What a line says beside these."""


class Settled(NamedTuple):
    """What the stored scenes of a site tell."""

    rows: list[dict[str, Any]]
    """The series, one row an acquisition, as :func:`jobs.records.observation` names them; if `series` is given, only
    those of the new scenes."""
    series: Columns | None
    """:data:`SERIES` columns of the whole series, where the other rows are as the ledger has them."""
    kept: str = ""
    """Mark of the file that these columns are kept in, for the ledger; empty: they are not kept."""


class _Series(msgspec.Struct, kw_only=True):
    """The series of a site."""

    mark: str
    """Of this file and of no other."""
    code: str
    """Hash of the code that made it."""
    values: dict[str, tuple[str, bytes]]
    """What its columns hold (:data:`SERIES` and those beside them), and their content."""

    @property
    def columns(self) -> dict[str, Any]:
        """All of them."""
        return {name: np.frombuffer(content, kind) for name, (kind, content) in self.values.items()}

    def add(self, told: Columns) -> None:
        """Add observations at the end."""
        for name, more in told.items():
            kind, content = self.values.get(name, (more.dtype.str, b""))
            if more.dtype.itemsize <= np.dtype(kind).itemsize:  # most texts are no longer than the longest so far
                added = more.astype(kind)
            else:
                kind, added = more.dtype.str, np.concatenate([np.frombuffer(content, kind), more])
                content = b""
            self.values[name] = kind, content + added.tobytes()


class _Kept(_Series, kw_only=True):
    """The same, with what a site's newest scene is settled by."""

    key: str
    """See :func:`_key`."""
    units: list[str]
    """Ids of the control units in the order in which their means are stored."""
    fit: list[bool]
    """Which of them are fit in the year of the newest scene."""
    steps: dict[str, dict[str, float]]
    """By orbit and column of the control ground what is added to it; of the orbits and columns that are corrected."""
    kin: dict[str, int]
    evidence: bytes
    """Of the scenes that tell their offset, by time; see :mod:`monitor.cube.radiometry`."""
    wrong: bytes
    """Which of them are set aside."""
    season: bytes
    """What they tell of the season, likewise; empty: not reckoned yet."""


def settled(
    store: StoredSite,
    controls: ControlSet,
    site: Site,
    *,
    left_out: LeftOut | None = None,
    mark: str | None = None,
    added: Sequence[tuple[Record, np.ndarray]] = (),
) -> Settled:
    """The series of a site, after scenes were stored.

    Parameters
    ----------
    store : StoredSite
        Of the site, with the new scenes.
    controls : ControlSet
        Its frozen units.
    site : Site
        Gives the start of the work.
    left_out : mapping, optional
        From which day on units do not count, see :func:`monitor.controls.neighbours.left_out`.
    mark : str, optional
        Of the file beside the store that has the series as the ledger has it, if the store held just these scenes
        before; None: there is none, or it may be out of step.
    added : sequence of (Record, (unit, measure) float32 array)
        New scenes, and the means of the control units in them.

    Raises
    ------
    StoreBroken
        What is stored cannot be read.
    """
    left_out = left_out or {}
    path, key = _place(store.derived), _key(controls, site, left_out)
    kept = _load(path, _Kept) if mark and added else None
    found = None
    if kept is not None and (kept.key, kept.mark) == (key, mark):
        new = sorted(added, key=lambda one: (one[0].time, one[0].acquisition))
        found = _with_newest(kept, controls, left_out, new)
    told, kept = found or _from_all(store, controls, site, left_out, key)
    new_mark = ""
    if kept is not None:
        kept.mark = os.urandom(16).hex()
        with suppress(OSError):  # without it the next night settles from all scenes
            derived.keep(path, kept)
            new_mark = kept.mark
    return Settled(told, kept.columns if kept is not None and found is not None else None, new_mark)


def known_series(t: Transaction, folder: Path, ground: str) -> Columns:
    """:data:`SERIES` columns of a piece of ground as the ledger has them, read from beside its store if kept there.

    Parameters
    ----------
    t : Transaction
        Of the ledger.
    folder : Path
        Of the store.
    ground : str
        Key of the ground.

    Returns
    -------
    mapping
        One value an acquisition, ascending by time; `date`, `chain` and `line` beside :data:`SERIES`. A file that is
        missing, torn or of another mark is no error: the table of the ledger is read.
    """
    mark = t.kept_of(ground)
    kept = _load(_place(folder), _Series) if mark else None
    return kept.columns if kept is not None and kept.mark == mark else _complete(t.columns(ground, [*SERIES, *_LINE]))


def rows(
    store: StoredSite, controls: ControlSet, site: Site, *, left_out: LeftOut | None = None
) -> list[dict[str, Any]]:
    """The series of a site from all stored scenes; parameters and errors as for :func:`settled`."""
    return _from_all(store, controls, site, left_out or {}, "")[0]


def _from_all(
    store: StoredSite, controls: ControlSet, site: Site, left_out: LeftOut, key: str
) -> tuple[list[dict[str, Any]], _Kept | None]:
    """Rows of all scenes, and what the next one is settled by."""
    stored = sorted(store.records(), key=_moment)
    chosen = settle(stored)
    if not stored or not controls.units:
        return [observation(record) for record in chosen], None
    means = store.unit_means().sel(measure=list(OBSERVED))
    whole = compare(means, controls, since=site.start)
    # From all units, left out or not: steps between orbits are of slopes, which no planting changes, and earlier scenes
    # are taken for what they were.
    steps = _orbit_steps(_ground(whole), chosen, means.time.values, whole.units)
    found = compare(means, controls, since=site.start, left_out=left_out) if left_out else whole
    told = _rows(chosen, _corrected(_ground(found), chosen, steps), found.few)
    kin: dict[str, int] = {}
    telling = [(before, after) for before, after in zip(stored, chosen, strict=True) if tells(before)]
    kept = _Kept(
        mark="",
        code=_code(),
        key=key,
        units=means.unit.values.tolist(),
        fit=found.fit[-1].tolist(),
        steps=steps,
        kin=kin,
        evidence=evidence([record for record, _ in telling], kin).tobytes(),
        wrong=np.array([not record.accepted for _, record in telling], bool).tobytes(),
        season=b"",
        values={},
    )
    kept.add(_of_rows(told))
    return told, kept


def _with_newest(
    kept: _Kept, controls: ControlSet, left_out: LeftOut, added: Sequence[tuple[Record, np.ndarray]]
) -> tuple[list[dict[str, Any]], _Kept] | None:
    """Rows of new scenes, and what the next one is settled by; None where the rows of others may change by them."""
    before = kept.columns
    last = before["time"][-1].decode(), before["acquisition"][-1].decode()
    new = [record for record, _ in added]
    replaced = np.isin(before["acquisition"], texts(record.acquisition for record in new)).any()
    if replaced or _moment(new[0]) <= last or {record.time[:4] for record in new} != {last[0][:4]}:
        return None
    telling = [record for record in new if tells(record)]
    told = np.concatenate([np.frombuffer(kept.evidence, EVIDENCE), evidence(telling, kept.kin)])
    known = np.frombuffer(kept.wrong, bool)
    flags, season = wrong(told, np.frombuffer(kept.season, SEASON) if kept.season else None, known.size)
    if (flags[: known.size] != known).any():
        return None
    flagged = dict(zip((record.acquisition for record in telling), flags[known.size :].tolist(), strict=True))
    new = [judged(record, wrong=flagged[record.acquisition]) if tells(record) else record for record in new]
    means = np.stack([units[:, [MEASURES.index(name) for name in OBSERVED]] for _, units in added])
    days = np.array([record.time[:10] for record in new], "datetime64[D]")
    fit = np.array(kept.fit) & ~absent(kept.units, days, left_out)
    shows = shown(means[:, : len(kept.units)].astype(np.float64), kept.units, controls, fit, OBSERVED)
    rows_of_new = _rows(new, _corrected(_ground(shows), new, kept.steps), shows.few)
    kept.evidence, kept.wrong, kept.season = told.tobytes(), flags.tobytes(), season.tobytes()
    kept.add(_of_rows(rows_of_new, before["chain"][-1].tobytes()))
    return rows_of_new, kept


def _of_rows(told: Sequence[Mapping[str, Any]], before: bytes = b"") -> Columns:
    return _complete({name: [row[name] for row in told] for name in (*SERIES, *_LINE)}, before)


def _complete(plain: Mapping[str, Sequence[Any]], before: bytes = b"") -> Columns:
    """:data:`SERIES` columns and those beside them, of plain values; `before` as of :func:`jobs.records.chained`."""
    known = typed({name: plain[name] for name in SERIES})
    lines = observation_lines({**plain, "date": known["date"]})
    return {**known, "chain": chained(known, before), "line": texts(lines)}


def _moment(record: Record) -> tuple[str, str]:
    return record.time, record.acquisition


def _ground(found: comparison.Comparison) -> dict[str, np.ndarray]:
    """(time,) values of the control ground, by column of the series."""
    cover = OBSERVED.index("cover")
    return {
        **{f"control_{name}": found.rings[0, :, k] for k, name in enumerate(OBSERVED)},
        "control_cover_2": found.rings[1, :, cover],
        "reference_cover": found.reference,
    }


def _rows(chosen: Iterable[Record], ground: dict[str, np.ndarray], few: np.ndarray) -> list[dict[str, Any]]:
    """Rows of scenes; `few`: whether fewer than ten units are fit to compare each with."""
    plain = {name: _plain(values) for name, values in ground.items()}
    told = []
    for place, record in enumerate(chosen):
        if record.accepted and plain["control_cover"][place] is None:
            record = replace(record, accepted=False, reason="CONTROL_FEW" if few[place] else "CONTROL_HIDDEN")
        row = observation(record)
        if record.accepted:
            row |= {name: values[place] for name, values in plain.items()}
        told.append(row)
    return told


def _orbit(record: Record) -> str:
    """Name of the orbit that a scene was seen from; empty: it tells nothing."""
    # a path of Landsat and an orbit of Sentinel-2 may have the same number
    return f"{record.sensor.split('-')[0]} {record.orbit}" if record.accepted and record.orbit else ""


def _orbit_steps(
    ground: dict[str, np.ndarray], chosen: Sequence[Record], times: np.ndarray, units: np.ndarray
) -> dict[str, dict[str, float]]:
    """What is added to the control ground so that it lies as the site lies, by orbit and column of the series."""
    names = [_orbit(record) for record in chosen]
    first = {name: place for place, name in reversed([*enumerate(names)])}
    found: dict[str, dict[str, float]] = {}
    for measure in ("cover", *(name for name in OBSERVED if name != "cover")):
        told = [name for name in ground if name.removeprefix("control_").removesuffix("_2") == measure]
        told += ["reference_cover"] if measure == "cover" else []
        own = np.array([r.measures.get(measure) if r.accepted else None for r in chosen], dtype=np.float64)
        difference = own[:, None] - np.stack([ground[name] for name in told], axis=1)
        steps = orbit_steps(times, names, difference, units[:, :, OBSERVED.index(measure)])
        if not steps.any():
            if measure == "cover":
                return found
            continue
        for name, place in first.items():
            found.setdefault(name, {}).update(zip(told, steps[place].tolist(), strict=True))
    return found


def _corrected(
    ground: dict[str, np.ndarray], chosen: Sequence[Record], steps: dict[str, dict[str, float]]
) -> dict[str, np.ndarray]:
    """Values of the control ground as they would be if it lay as the site lies, by column of the series."""
    corrected = dict(ground)
    for name in {name: None for of in steps.values() for name in of}:
        step = np.array([steps.get(_orbit(record), {}).get(name, 0.0) for record in chosen])
        corrected[name] = np.clip(ground[name] + step, 0.0 if "cover" in name else -1.0, 1.0)
    return corrected


def _plain(values: np.ndarray) -> list[float | None]:
    """Six decimals: what is judged is exactly what the tables show."""
    return [round(value, 6) if isfinite(value) else None for value in values.tolist()]


def _key(controls: ControlSet, site: Site, left_out: LeftOut) -> str:
    """Hash of all that rows depend on besides scenes and code: of the units their rings and from which day on they are
    left out, and the start of the work.
    """
    units = [(unit.id, unit.ring, left_out.get(unit.id)) for unit in controls.units]
    return sha256(repr((units, site.start)).encode()).hexdigest()


@cache
def _code() -> str:
    """Hash of the code that a row depends on."""
    digest = sha256(Path(__file__).read_bytes())
    for module in (records, comparison, neighbours, orbits, units, granules, radiometry, bands, observations):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _place(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.settled")


def _load[S: _Series](path: Path, form: type[S]) -> S | None:
    """What is kept; None where there is nothing, nothing to be trusted, or what other code made."""
    found = derived.kept(path, form)
    return found if found is not None and found.code == _code() else None
