"""Ten years of a small programme on painted land, on a clock of its own: what the source offers, and what people do."""

import gc
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import process_time

import numpy as np

from jobs.night import snapshot_expiry
from jobs.night.pipeline import night
from jobs.night.self_check import self_check
from jobs.register.answering import answer_alert
from jobs.register.episodes import replant
from jobs.register.registry import retire
from jobs.runtime.installation import open_ledger
from monitor.alerts.alert import Verdict
from monitor.imagery.source import Frame
from monitor.sites.site import Plan
from tests.builders import feature, installed, plan_properties, use_sources, write_features
from tests.jobs.painted import LEAF, SOIL, Painted, _places, ground, within

SINCE = date(2028, 1, 1)
"""First scene. All lies in the future, since stores accept no time before that of the real clock."""
START = date(2030, 4, 1)  # start of the first sites
FIRST_NIGHT = date(2030, 6, 1)
REVISIT = timedelta(days=6)
STORED_SNAPSHOTS = snapshot_expiry.RETENTION
PLAN = Plan(A=0.25, k=0.9, L=0.3, too_early_years=1.5)
YEAR = 365.25

PLACES = {
    "grows": (12_000, 12_000, 12_120, 12_120),
    "fails": (16_000, 12_000, 16_120, 12_120),
    "edited": (12_000, 16_000, 12_120, 12_120 + 4_000),
    "late": (16_000, 16_000, 16_120, 16_120),
    "retired": (20_000, 12_000, 20_120, 12_120),
}
"""Site, and its rectangle in metres from the corner of the painted land: none is control ground of another."""
LARGER = (12_000, 16_000, 12_160, 16_120)
"""Outline of the site `edited` from :data:`EDIT` on."""
EDIT, ADD, REPLANT, RETIRE = (START + timedelta(days=int(years * YEAR)) for years in (3, 4, 5, 7))
"""Days on which people change the programme, shifted to nights."""


class Land(Painted):
    """What is offered on a day: most scenes at once, some 30 days late, those of one summer in two baselines."""

    def __init__(self, today):
        super().__init__(days=(), ring=(50.0, 900.0))
        self.today = today
        self.days = [SINCE + k * REVISIT for k in range(5000)]
        self.tiles = {"48SUF": (0, 0, 30e3, 30e3)}

    def search(self, area, since, until, stored=None):
        today = self.today()
        self.offered = [day for day in self.days if day <= until and not missing(day) and day + delay(day) <= today]
        whole, self.days = self.days, self.offered
        try:
            return super().search(area, since, until, stored)
        finally:
            self.days = whole

    def scene(self, day, tile, footprint):
        again = reprocessed(day) and self.today() >= day.replace(month=12, day=1)
        self.baseline, self.offset = ("05.10", -0.1) if again else ("04.00", 0.0)
        return super().scene(day, tile, footprint)

    def _frame(self, scene, grid):
        day = scene.handle
        x, y = _places(grid)
        season = np.exp(-(((day.timetuple().tm_yday - 215) / 45.0) ** 2) / 2)
        noise = 0.035 * np.modf(np.sin(x * 12.9898 + y * 78.233 + day.toordinal() * 37.719) * 43758.5453)[0]
        rough = 0.04 * np.sin((x + 31) / 170) * np.cos(y / 230)
        uplift = np.zeros(x.shape)
        for name, place in {**PLACES, "edited": LARGER}.items():
            uplift[within(grid, place)] = 1.3 * growth(name, day)
        share = np.clip((0.25 + rough + uplift) * season + 0.05 + noise, 0, 1)[None]
        pixels = np.rint(SOIL[:, None, None] * (1 - share) + LEAF[:, None, None] * share - scene.offset * 1e4)
        quality = np.full(x.shape, 9 if cloudy(day) else 4, np.uint16)
        return Frame(grid=grid, pixels=pixels.astype(np.uint16), quality=quality)


def number(day):
    return (day - SINCE).days // REVISIT.days


def missing(day):
    """Scenes that were never offered: one in eleven."""
    return number(day) % 11 == 7


def delay(day):
    """One scene in nine arrives 30 days late. [day]"""
    return timedelta(days=30 if number(day) % 9 == 4 else 0)


def cloudy(day):
    """Cloud on two scenes of five, and for 40 days in one summer."""
    return number(day) % 5 in (1, 3) or date(2034, 7, 1) <= day < date(2034, 8, 10)


def reprocessed(day):
    """Scenes of the summer of 2033 come again, in a new baseline, in December."""
    return date(2033, 6, 1) <= day < date(2033, 9, 1)


def growth(name, day):
    """Uplift of a site: as promised, but none at the site that fails until it is planted again. [cover fraction]"""
    begun = {"fails": REPLANT, "late": ADD}.get(name, START)
    return PLAN.uplift(max((day - begun).days / YEAR, 0.0))


def registry(day):
    """Features of the sites that the registry has on a day."""
    outlines = {**PLACES, "edited": LARGER if day >= EDIT else PLACES["edited"]}
    common = {
        **plan_properties(PLAN), "partner": "Green Fund", "programme_year": 2030, "manager_name": "Li",
        "manager_language": "zh",
    }  # fmt: skip
    return [
        feature(name, ground(*outlines[name]), start=(ADD if name == "late" else START).isoformat(), **common)
        for name in PLACES
        if (name != "late" or day >= ADD) and (name != "retired" or day < RETIRE)
    ]


class Decade:
    """An installation in a folder, and the day that its clock shows.

    Parameters
    ----------
    folder : Path
        Empty.
    patch : pytest.MonkeyPatch
        Replaces the clock and the source of this process.
    """

    def __init__(self, folder: Path, patch):
        self.day, self.ticks = FIRST_NIGHT, 0
        self.began: dict[date, datetime] = {}
        """Real time at which each night began: snapshots carry it."""
        self.patch = patch
        self.settings = installed(folder, registry(self.day), f'kind = "sample"\nsince = "{SINCE}"')
        self.land = Land(lambda: self.day)
        patch.setattr("jobs.runtime.clock.datetime", _clock(self))
        use_sources(patch, self.land)

    def run(self, day, **options):
        """The night of a day, with what people did to the registry before; returns its CPU time. [s]

        Without that of the self-check, which reads all scenes of a site: it is weekly, as these nights are.
        """
        self.day = day
        write_features(self.settings.registry.path, registry(self.day))
        self.began[day] = datetime.now(UTC)
        oldest = min(time for night, time in self.began.items() if night >= day - STORED_SNAPSHOTS)
        self.patch.setattr("jobs.night.snapshot_expiry.RETENTION", self.began[day] - oldest)
        checking = 0.0

        def timed_check(*arguments, **named):
            nonlocal checking
            began = process_time()
            try:
                return self_check(*arguments, **named)
            finally:
                checking = process_time() - began

        self.patch.setattr("jobs.night.pipeline.self_check", timed_check)
        began = process_time()
        self.manifest = night(self.settings, as_of=day, **options)
        return process_time() - began - checking

    def replant(self, day):
        self.day = day
        with open_ledger(self.settings) as ledger:
            return replant(ledger, "fails", start=REPLANT, why="planted again", alpha=0.05, today=day)

    def retire(self, day):
        self.day = day
        with open_ledger(self.settings) as ledger:
            return retire(ledger, ["retired"], today=day)

    def answer(self, day):
        """A person answers each open alert of a site."""
        self.day, answered = day, 0
        with open_ledger(self.settings) as ledger, ledger.transaction() as t:
            for alert in t.alerts(["open"]):
                if alert["rule"] != "lot":
                    answer_alert(t, alert["id"], Verdict.CONFIRMED, None, "seen", day=day, by="command")
                    answered += 1
        return answered

    def sizes(self):
        """Number and bytes of files of each kind, rows of every table, snapshots, and memory."""
        gc.collect()
        root = self.settings.store.root
        files: dict[str, list[int]] = {}
        for path in sorted(root.parent.rglob("*")):
            if path.is_file():
                files.setdefault(_kind(path.relative_to(root.parent)), []).append(path.stat().st_size)
        with closing(sqlite3.connect(self.settings.ledger.url.removeprefix("sqlite:///"))) as ledger:
            names = [name for (name,) in ledger.execute("select name from sqlite_master where type = 'table'")]
            rows = {name: ledger.execute(f"select count(*) from {name}").fetchone()[0] for name in names}
            rows["manifests"] = ledger.execute("select count(*) from runs where manifest is not null").fetchone()[0]
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        return {
            "files": {kind: (len(sizes), sum(sizes)) for kind, sizes in sorted(files.items())},
            "rows": rows, "resident": resident,
        }  # fmt: skip


def _kind(path):
    """Kind of a file: which part of a store, or which folder of the installation."""
    parts = path.parts
    if parts[0] == "store":
        if len(parts) == 2 or parts[1][0] == "." or parts[1] == "derived":
            return f"store/{parts[1]}"
        return f"landscape/{parts[2]}"
    return parts[0] if len(parts) == 1 else f"{parts[0]}/{parts[1]}" if parts[0] == "outputs" else parts[0]


def _clock(decade):
    """A class of times whose `now` is the day that a simulation has reached; it always moves on."""

    class Simulated(datetime):
        @classmethod
        def now(cls, tz=None):
            decade.ticks += 1
            seconds = timedelta(hours=12, milliseconds=decade.ticks)
            return datetime.combine(decade.day, datetime.min.time(), UTC) + seconds

    return Simulated
