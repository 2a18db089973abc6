"""Checks of the sources of imagery: their settings and credentials, and with ``--online`` their scenes."""

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from jobs.health.finding import Finding, broken, list_ids, note, ok, one_line
from jobs.health.machine import installed
from jobs.runtime.console import count_of
from jobs.runtime.secrets import file_content, secret
from monitor.errors import BadConfiguration, MonitorError, TryLater
from monitor.imagery.stac.buckets import ACCOUNT_DOMAIN, ADVICE

if TYPE_CHECKING:
    from jobs.imagery.sources import Sources
    from jobs.runtime.settings import Settings, SourceSettings
    from monitor.sites.site import Site

RECENT: Final = timedelta(days=20)  # period in which a source is searched first


def source_settings(check: str, source: "SourceSettings") -> Iterator[Finding]:
    """A source has what it needs; no request is sent."""
    if source.kind == "sample":
        yield _sample(check)
    elif source.kind == "stac":
        yield _stac(check, source.url or "")
    else:
        yield _earthengine(check, source)


def eecu_budget(settings: "Settings") -> Iterator[Finding]:
    """Use of Earth Engine in this month, against the budget."""
    from jobs.health.ledger import reading
    from jobs.imagery.eecu_budget import eecu_use

    with reading(settings.ledger.url) as t:
        use = eecu_use(t, settings.source)
    if use is None:
        return
    if use.used_up:
        fix = f"wait until {use.last_day} has passed (UTC), or raise [source] eecu_hours_per_month"
        yield note("budget", f"{use}: no further scenes are read", fix)
    elif use.budget is None:
        yield ok("budget", f"{use}; [source] eecu_hours_per_month sets no limit")
    else:
        yield ok("budget", str(use))


def _sample(check: str) -> Finding:
    version = installed("nrt") or "missing"
    if version == "0.2.1":
        return ok(check, "the embedded sample, nrt 0.2.1")
    message = f"the embedded sample needs nrt 0.2.1; it is {version}"
    return broken(check, message, "pip install 'regrowth-monitor[demo]'")


def _stac(check: str, url: str) -> Finding:
    if not url:
        return broken(check, "STAC: no url is given", '[source] url = "https://earth-search.aws.element84.com/v1"')
    if re.match(r"https?://", url):
        if (urlsplit(url).hostname or "").endswith(ACCOUNT_DOMAIN):
            try:
                problem = "" if secret("S3_KEY") and secret("S3_SECRET") else "credentials are missing"
            except BadConfiguration as error:
                problem = str(error)
            if problem:
                return broken(check, f"STAC: the Copernicus Data Space gives files to accounts only; {problem}", ADVICE)
        public = re.sub(r"[?#].*", "", re.sub(r"//[^/@]*@", "//", url))  # without user, password and query
        return ok(check, f"STAC, {public}; --online asks it")
    path = Path(url.removeprefix("file://"))
    if path.exists():
        return ok(check, f"STAC, {path}")
    return broken(check, f"STAC, {path} does not exist", "correct [source] url")


def _earthengine(check: str, source: "SourceSettings") -> Finding:
    origin, problem = _credentials()
    if problem:
        fix = "earthengine authenticate    (or set GOOGLE_APPLICATION_CREDENTIALS, or REGROWTH_EE_TOKEN)"
        return broken(check, f"Earth Engine: {problem}", fix)
    if not source.project and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return broken(check, "Earth Engine: no Cloud project is set", '[source] project = "<your Cloud project>"')
    return ok(check, f"Earth Engine, credentials: {origin}; --online tries them")


def _credentials() -> tuple[str, str | None]:
    """Where the credentials of Earth Engine come from, and the problem with them or None. They are never printed."""
    if os.environ.get("REGROWTH_EE_TOKEN"):
        return "REGROWTH_EE_TOKEN", None
    if os.environ.get("REGROWTH_EE_TOKEN_FILE"):
        name = "the file that REGROWTH_EE_TOKEN_FILE names"
        try:
            return name, None if secret("EE_TOKEN") else f"{name} is empty"
        except BadConfiguration as error:
            return name, str(error)
    if key := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return key, _unreadable(Path(key)) or _not_a_key(Path(key))
    home = Path.home() / ".config"
    for path in (home / "earthengine" / "credentials", home / "gcloud" / "application_default_credentials.json"):
        if path.is_file():
            return str(path), _unreadable(path)
    return "", "there are no credentials"


def _unreadable(path: Path) -> str | None:
    try:
        return None if file_content(str(path)) else f"{path} is empty"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"


def _not_a_key(path: Path) -> str | None:
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("type")
    except (ValueError, AttributeError):
        kind = None
    if kind in ("service_account", "authorized_user"):
        return None
    return f"GOOGLE_APPLICATION_CREDENTIALS is {path}, which is not the key of a service account"


def answers(check: str, source: "SourceSettings", settings: "Settings") -> Iterator[Finding]:
    """A source answers a search for recent scenes over the first site, and opens a file if that needs an account."""
    from jobs.imagery.sources import open_sources
    from jobs.runtime.biome_settings import own_biomes
    from monitor.imagery.stac.source import Stac
    from monitor.sites.registry import read_sites

    sites = read_sites(settings.registry.path, own_biomes(settings.biomes)).sites
    if not sites:
        yield note(check, "there is no site yet to search for", "regrowth sites add FILE")
        return
    today = datetime.now(UTC).date()
    started = time.monotonic()
    try:
        (opened,) = open_sources([source]).all
        opened.check_collections()
        scenes = opened.search(sites[0].geometry, today - RECENT, today)
        if isinstance(opened, Stac):
            opened.check_account(scenes)
    except TryLater as error:
        fix = "check the network and the status page of the provider; nights catch up by themselves when it answers"
        yield broken(check, one_line(error), fix)
        return
    except MonitorError as error:
        yield broken(check, one_line(error), "correct [source], or its credentials (docs/sources.md)")
        return
    seconds = time.monotonic() - started
    yield ok(check, f"answers in {seconds:.1f} s: {len(scenes)} scenes of the last 20 days over {sites[0].id}")


def imagery(settings: "Settings") -> Iterator[Finding]:
    """Every site has been offered a scene: in the last 20 days, else in the whole period that a night searches."""
    from jobs.imagery.sources import describe_sources, open_sources
    from jobs.runtime.biome_settings import own_biomes
    from monitor.sites.clusters import group_nearby, split_by_tile
    from monitor.sites.registry import read_sites
    from monitor.verdict.explain import never_offered

    sites = read_sites(settings.registry.path, own_biomes(settings.biomes)).sites
    today = datetime.now(UTC).date()
    sources = open_sources(settings.source)
    searches = (members for group in group_nearby(sites, apart=0.0) for members in split_by_tile(group))
    without_scenes = [site for members in searches for site in _without_scenes(members, sources, today)]
    if not without_scenes:
        yield ok(
            "imagery", "the site is offered scenes" if len(sites) == 1 else f"all {len(sites)} sites are offered scenes"
        )
        return
    first = without_scenes[0]
    ids = list_ids([site.id for site in without_scenes])
    reason = never_offered(first, sources=describe_sources(settings.source), until=today)
    message = f"{len(without_scenes)} of {len(sites)} sites were never offered a scene: {ids}"
    fix = f"correct the outline, or [source] url, collections or since; {first.id}: {reason}"
    yield broken("imagery", message, fix)


def control_ground(settings: "Settings") -> Iterator[Finding]:
    """Sites whose control units are not chosen yet are offered enough ground for them."""
    from jobs.night.pipeline import plan
    from jobs.register.registry import read_and_compare
    from jobs.runtime.installation import open_ledger
    from jobs.runtime.records import current_sites
    from monitor.sites.site import ground_key

    try:
        with open_ledger(settings, create=False) as ledger:
            fresh = [site.id for site in read_and_compare(ledger, settings).fresh]
            with ledger.reading() as t:
                frozen, known = t.all_controls(), current_sites(t)
        waiting = sorted({*fresh, *(site.id for site in known if ground_key(site) not in frozen)})
        if not waiting:
            return
        planned = plan(settings, as_of=datetime.now(UTC).date(), only=waiting)
    except MonitorError:
        return  # reported by `registry`, `ledger` and `source`
    few, shown = planned["few_controls"], len(planned["sites"])
    if not few:
        if shown:  # else reported by `imagery`
            yield ok("controls", f"{count_of(shown, 'new site')}: the images show enough control ground")
        return
    first = next(iter(few))
    message = f"too little control ground for {len(few)} of {count_of(len(waiting), 'new site')}: {list_ids([*few])}"
    yield note("controls", message, f"{first}: {few[first]} (docs/sources.md)")


def _without_scenes(sites: "list[Site]", sources: "Sources", today: date) -> "list[Site]":
    """Sites for which no source offers a scene."""
    import shapely

    remaining = sites
    for source, period in sources.opened:
        last = min(today, period.until or today)
        for first in (max(period.since, last - RECENT), period.since):
            if remaining and first <= last:
                area = shapely.box(*shapely.total_bounds([site.geometry for site in remaining]))
                scenes = source.search(area, first, last)
                remaining = [site for site in remaining if not any(scene.touches(site.geometry) for scene in scenes)]
    return remaining
