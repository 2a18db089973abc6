"""The manifest of a run, as the ledger stores it: source of exit status, report, summary and metrics."""

import re
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import msgspec

from jobs import __version__
from jobs.imagery.freshness import SourceResult
from jobs.register.registry import needs_correction
from jobs.runtime.exits import Exit
from jobs.runtime.logs import redacted

if TYPE_CHECKING:
    from monitor.ingest.task import UnreadScene

MAX_REASON_LETTERS: Final = 300  # longest reason that a page shows [characters]
MAX_PROBLEMS: Final = 20  # most reasons of one night that a page shows
MAX_SITES: Final = 10  # most sites with one reason, or of one unread scene, that are named
MAX_UNREAD: Final = 100  # most unread scenes that a manifest names

_ADDRESS: Final = re.compile(r"\b(?!file:)([a-z][a-z0-9+.-]*://[^\s/'\"<>;,)]+)(/[^\s'\"<>;,)]*)?", re.IGNORECASE)
_PATH: Final = re.compile(r"(?<![\w/.…])(?:file://|~)?(?:\.{0,2}/[^\s/'\"<>:;,)]+)+/?|\b[A-Za-z]:\\[^\s'\"<>;,)]+")


class Rejected(msgspec.Struct, frozen=True):
    """A scene that was fetched and is not used for a site."""

    scene: str
    reason: str


class SiteResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one site in a run."""

    site: str  # id
    state: str  # `done`, `failed` or `deferred`
    error: str | None = None  # why it is not done
    scenes_new: list[str] = []  # ids of the scenes stored by this run
    scenes_rejected: list[Rejected] = []  # those of them that are not used
    scenes_unread: int = 0  # scenes that could not be read and wait
    status: str | None = None  # status of its assessment; None: it was not judged
    alert: str | None = None  # alert level of its assessment

    @property
    def reason(self) -> str:
        """Its error without secrets and without its id, which stands beside it; empty: none."""
        return redacted(self.error or "").removeprefix(f"site {self.site!r}: ")


class WaitingScene(msgspec.Struct, frozen=True, kw_only=True):
    """A scene that could not be read for some sites, and that later nights try again."""

    scene: str  # id
    since: str  # day from which it waits, ISO 8601
    age_days: int  # [day]
    reason: str
    sites: list[str]  # ids of some of the sites
    n_sites: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a night or a backfill that was completed."""

    run: str  # id of the run
    as_of: date  # scenes acquired up to the end of this day were used
    version: str = __version__  # of this program
    sites: list[SiteResult]
    registry: dict[str, Any] = {}  # differences from the ledger, see `Drift.to_json` of jobs.register.registry
    never_offered: list[str] = []  # ids of the sites of which no source has ever offered a scene
    messages_sent: int = 0
    messages_waiting: int = 0  # messages that are neither sent nor given up
    pages_failed: dict[str, str] = {}  # by site why its page was not written
    self_check: dict[str, Any] | None = None  # see `jobs.night.self_check.self_check`
    unread_count: int = 0  # number of scenes that could not be read and wait
    unread: list[WaitingScene] = []  # some of them, the longest waiting first
    sources: list[SourceResult] = []  # of each source, in order of preference; empty for a night of some sites only
    seconds: float = 0.0  # time from the start of the run until the pages are written [s]

    def in_state(self, state: str) -> list[SiteResult]:
        """Results of the sites in a state."""
        return [site for site in self.sites if site.state == state]


def exit_status(manifest: Manifest) -> Exit:
    """Exit status of a night or a backfill."""
    states = [site.state for site in manifest.sites]
    if states and len(manifest.never_offered) == len(states):
        return Exit.CONFIGURATION
    unfinished = needs_correction(manifest.registry) or manifest.pages_failed or manifest.messages_waiting
    if all(state == "done" for state in states):
        return Exit.SOME_FAILED if unfinished else Exit.DONE
    if all(state == "deferred" for state in states):
        return Exit.TRY_LATER
    return Exit.ALL_FAILED if all(state == "failed" for state in states) else Exit.SOME_FAILED


def waiting_scenes(by_site: "Mapping[str, Mapping[str, UnreadScene]]", as_of: date) -> list[WaitingScene]:
    """Scenes that could not be read, the longest waiting first; `by_site` gives them by site and acquisition."""
    sites: dict[str, list[tuple[UnreadScene, str]]] = {}
    for site, scenes in by_site.items():
        for scene in scenes.values():
            sites.setdefault(scene.scene, []).append((scene, site))
    waiting = [
        WaitingScene(
            scene=name, since=(since := min(one.since for one, _ in found)),
            age_days=(as_of - date.fromisoformat(since)).days, reason=redacted(found[0][0].why),
            sites=[site for _, site in found[:MAX_SITES]], n_sites=len(found),
        )
        for name, found in sites.items()
    ]  # fmt: skip
    return sorted(waiting, key=lambda one: (one.since, one.scene))


def unread_sentence(manifest: Manifest) -> str:
    """Number of scenes that wait unread, for how long and why; empty: none."""
    if not manifest.unread:
        return ""
    count, oldest = manifest.unread_count, manifest.unread[0]
    age = "since this night" if not oldest.age_days else f"for {oldest.age_days} days"
    scenes = "1 scene waits" if count == 1 else f"{count} scenes wait"
    return f"{scenes} unread, the oldest {age}: {oldest.reason}"


def source_sentences(manifest: Manifest) -> list[str]:
    """Which source each new scene came from, if there are several; and which sources are stale."""
    named = [(f"{one.source} ({one.provider})", one) for one in manifest.sources]
    stale = [
        f"{name} offers nothing newer than {one.newest}; before, it never had a gap of more than {one.usual_gap} days"
        for name, one in named
        if one.stale
    ]
    counts = ", ".join(f"{one.scenes_new} from {name}" for name, one in named)
    return [f"New scenes: {counts}", *stale] if len(named) > 1 else stale


def to_correct(manifest: Manifest) -> list[str]:
    """Problems that a person must correct, apart from failed sites."""
    sentences = manifest.registry["said"][:5] if needs_correction(manifest.registry) else []
    pages = list(manifest.pages_failed.items())[:3]
    return [*sentences, *(f"page of {site} not written: {why}" for site, why in pages)]


def self_check_problems(check: Mapping[str, Any] | None) -> list[str]:
    """Findings of a self-check, in sentences; empty: all was equal, or no check was due."""
    if not check or not (check["error"] or check["n_differences"]):
        return []
    name = f"self-check of {check['site']}"
    if check["error"]:
        return [f"{name}: it could not be recomputed: {check['error']}"]
    n, first = check["n_differences"], check["differences"][0]
    return [f"{name} as of {check['as_of']}: {n} {'value differs' if n == 1 else 'values differ'}; the first: {first}"]


def public(text: str) -> str:
    """Text of an error for a page that anyone may read: without secrets, paths, and the paths of addresses.

    >>> public("/srv/regrowth/store/x: is broken; https://host.example/a/b?sig=1 did not answer")
    '(path): is broken; https://host.example did not answer'
    """
    text = _ADDRESS.sub(r"\1", redacted(text))
    parts = re.split(r"([a-z][a-z0-9+.-]*://[^\s/'\"<>;,)]+)", text, flags=re.IGNORECASE)
    text = "".join(part if place % 2 else _PATH.sub("(path)", part) for place, part in enumerate(parts))
    return text if len(text) <= MAX_REASON_LETTERS else text[: MAX_REASON_LETTERS - 1] + "…"


def summary(manifest: Manifest) -> dict[str, Any]:
    """Counts of a night and the reasons of its failures, as JSON values.

    ``done, failed, deferred``: sites; ``scenes``: new scenes, each counted once; ``sent, waiting``: messages;
    ``problems``: ``reason`` with ``sites`` and ``state`` (``failed``, ``deferred``, or ``correct`` where a person must
    correct something).
    """
    reasons: dict[tuple[str, str], list[str]] = {}
    for state in ("failed", "deferred"):
        for site in manifest.in_state(state):
            reasons.setdefault((state, public(site.reason)), []).append(site.site)
    for sentence in (*to_correct(manifest), *self_check_problems(manifest.self_check)):
        reasons.setdefault(("correct", public(sentence)), [])
    return {
        **{state: len(manifest.in_state(state)) for state in ("done", "failed", "deferred")},
        "scenes": len({scene for site in manifest.sites for scene in site.scenes_new}),
        "sent": manifest.messages_sent,
        "waiting": manifest.messages_waiting,
        "seconds": round(manifest.seconds, 1),
        "problems": [
            {"state": state, "reason": reason, "sites": found[:MAX_SITES], "n_sites": len(found)}
            for (state, reason), found in list(reasons.items())[:MAX_PROBLEMS]
        ],
    }
