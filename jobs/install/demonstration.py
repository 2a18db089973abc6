"""The demonstration: the whole job on the embedded Sentinel-2 series, with sites whose fate is known.

It writes an ordinary registry and configuration, fetches the history, runs a series of nights as a scheduler would, and
compares the assessments with the changes that were put into the imagery. Safe to run again: nothing changes. Both files
may be edited in between, for instance to add channels: only those of another seed are written again.
"""

import json
import shutil
import tomllib
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from shapely.geometry import mapping

from jobs.night.pipeline import fetch_history, night
from jobs.register.registry import add_sites
from jobs.reports.manifest import exit_status
from jobs.runtime.console import print_json
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.progress import progress
from jobs.runtime.settings import Settings, SourceSettings, load
from monitor.errors import BadConfiguration
from monitor.files import write_atomically
from monitor.imagery.sample import PLAN, START, Fate, Sample, deal_fates

FIRST_NIGHT = date(2020, 6, 25)  # earlier scenes are fetched by a backfill
LAST_NIGHT = date(2020, 10, 31)
DEMO_BIOME = "loess"
DEMO_PARTNER = "Loess Hills Cooperative 黄土丘陵合作社"  # of all sites, so that those of 2017 are a lot

PLACE_NAMES = (
    ("Upper slope", "上坡"), ("Mill terrace", "磨坊台地"), ("East gully", "东沟"), ("Long field", "长条地"),
    ("Spring hollow", "泉洼"), ("Middle ridge", "中梁"), ("Stone bank", "石坎"), ("West apron", "西坡脚"),
    ("Old pasture", "老牧场"), ("Lower bench", "下台地"),
)  # fmt: skip
CONFIGURATION = """\
# Written by `regrowth demo`: a configuration like any other.
[registry]
path = "sites.geojson"

[source]
kind = "sample"
since = "2015-08-01"
seed = {seed}

[store]
root = "store"

[ledger]
url = "sqlite:///regrowth.db"

[outputs]
root = "."
"""
OUTPUT_NAMES = (  # files and folders that a demonstration creates
    "store", "sites", "lots", "messages", "metrics.prom", "index.html", "index.zh.html",
    "nights.html", "nights.zh.html", "assets", "province", "status.json", "sites.parquet",
    "truth.json", "sites.geojson", "regrowth.toml", "regrowth.db", "regrowth.db-wal", "regrowth.db-shm",
    "regrowth.db.lock",
)  # fmt: skip


def demonstrate(out: Path, *, seed: int, as_json: bool) -> Exit:
    """Run the demonstration in a folder, print the comparison, and return the highest exit status of all nights.

    Outputs of another `seed`, which assigns the fates to the sites, are removed first. Raises BadConfiguration if the
    folder contains something else.
    """
    dealt = deal_fates(seed)
    _remove_other_seed(out, seed)
    truth = {_id(place): {"fate": fate.name, "theta": fate.truth} for place, fate in dealt}
    write_atomically(out / "truth.json", f"{json.dumps(truth, indent=2)}\n".encode())
    write_inputs(out, seed=seed)
    settings = load(out / "regrowth.toml")
    with open_ledger(settings) as ledger:
        add_sites(ledger, settings.registry.path)
    with progress("scenes", plain=True) as report:
        worst = exit_status(fetch_history(settings, until=FIRST_NIGHT - timedelta(days=1), progress=report))
    nights = _nights(Sample(seed))
    sent = 0
    with progress("nights", plain=True) as report:
        report(0, len(nights))
        for number, day in enumerate(nights, start=1):
            manifest = night(settings, as_of=day)
            worst = max(worst, exit_status(manifest))
            sent += manifest.messages_sent
            report(number, len(nights))
    status = settings.outputs.root / "status.json"
    latest = {values["site"]: values for values in json.loads(status.read_text(encoding="utf-8"))}
    if as_json:
        keys = ("status", "alert", "theta", "theta_low", "theta_high")
        sites = [
            {"site": site, "fate": true["fate"], **{key: latest[site][key] for key in keys}}
            for site, true in truth.items()
        ]
        print_json({"seed": seed, "sites": sites, "messages_sent": sent})
    else:
        _print_comparison(settings, dict(dealt), latest, nights=len(nights), sent=sent)
    return worst


def write_inputs(out: Path, *, seed: int) -> None:
    """Write the registry and the configuration of a demonstration into a folder, unless they are there."""
    for name, text in (
        ("sites.geojson", _registry(Sample(seed), deal_fates(seed))),
        ("regrowth.toml", CONFIGURATION.format(seed=seed)),
    ):
        if not (out / name).is_file():
            write_atomically(out / name, text.encode())


def _remove_other_seed(out: Path, seed: int) -> None:
    """Create the folder, and remove the outputs of another seed; anything else in it stays."""
    out.mkdir(parents=True, exist_ok=True)
    config = out / "regrowth.toml"
    present = config.read_text(encoding="utf-8") if config.is_file() else None
    if present is None and not any(out.iterdir()):
        return
    if present is not None and not present.startswith(CONFIGURATION.splitlines()[0]):
        raise BadConfiguration(f"{config} was not written by a demonstration; choose another folder with --out")
    if present is not None and _seed(present, config) == seed:
        return
    if present is None and not (out / "truth.json").is_file():
        raise BadConfiguration(f"{out} is not empty and contains no demonstration; choose another folder with --out")
    for name in OUTPUT_NAMES:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _seed(text: str, path: Path) -> int | None:
    """Seed in a configuration of a demonstration, which may have been edited; None: it has none."""
    try:
        source = tomllib.loads(text).get("source")
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} cannot be read: {error}; correct it, or choose another folder with --out"
        raise BadConfiguration(msg) from error
    return source.get("seed", SourceSettings.model_fields["seed"].default) if isinstance(source, dict) else None


def _registry(source: Sample, dealt: list[tuple[int, Fate]]) -> str:
    features = []
    for place, fate in dealt:
        english, chinese = PLACE_NAMES[place]
        properties = {
            "id": _id(place), "name": english, "name_zh": chinese, "start": fate.start.isoformat(),
            "intervention": fate.intervention, "biome": DEMO_BIOME, "programme_year": fate.start.year,
            "partner": DEMO_PARTNER,
            "manager_language": "zh" if place % 2 else "en",
            "manager_email": f"manager-{place + 1:02d}@example.org",
            "plan_A": PLAN.A, "plan_k": PLAN.k, "plan_L": PLAN.L, "too_early_years": PLAN.too_early_years,
        }  # fmt: skip
        if fate.slope_degrees is not None:
            properties["slope_degrees"] = fate.slope_degrees
        geometry = mapping(source.place(place))
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False, indent=1) + "\n"


def _nights(source: Sample) -> list[date]:
    """Days of the nights that have new scenes, and the last day."""
    area = source.place(0)
    days = [scene.time.date() for scene in source.search(area, FIRST_NIGHT, LAST_NIGHT)]
    return sorted({*days, LAST_NIGHT})


def _id(place: int) -> str:
    return f"demo-{place + 1:02d}"


def _print_comparison(
    settings: Settings, fates: dict[int, Fate], latest: dict[str, dict[str, Any]], *, nights: int, sent: int
) -> None:
    headings = ("site", "true story", "expected status", "reported status", "share of uplift (95 %)", "true", "alert")
    table = Table(*headings, title="Changes put into the imagery, and what the monitor reports")
    right = 0
    for place, fate in fates.items():
        values = latest[_id(place)]
        right += values["status"] == fate.name
        has_share = values["theta"] is not None and values["status"] != "insufficient_data"  # as on the pages
        share = "-"
        if has_share:
            share = f"{values['theta']:z.2f} ({values['theta_low']:z.2f} to {values['theta_high']:z.2f})"
        true = "-" if fate.truth is None else f"{fate.truth:.2f}"
        table.add_row(_id(place), fate.story, fate.name, str(values["status"]), share, true, str(values["alert"]))
    console = Console(width=140) if not Console().is_terminal else Console()
    console.print(table)
    console.print(
        f"{right} of {len(fates)} sites have the expected status after {nights} nights; {sent} messages sent now."
    )
    console.print(f"Plan of every site: uplift {PLAN.A}, rate {PLAN.k} a year, lag {PLAN.L} years, from {START}.")
    root, channels = settings.outputs.root, ", ".join(settings.alerts.channels)
    where = f"messages go through: {channels}" if channels else f"messages are in {root / 'messages'}"
    console.print(f"Open {root / 'index.html'}; {where}.", soft_wrap=True)
