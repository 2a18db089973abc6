"""What a run did, by its manifest: the exit status, what failed, and a summary for the page of the last nights."""

import re
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from jobs.exits import Exit
from jobs.logs import redacted
from jobs.registry import needs_correction

if TYPE_CHECKING:
    from monitor.ingest.task import UnreadScene

MAX_REASON_LETTERS: Final = 300
"""Longest reason that a page shows. [characters]"""
MAX_PROBLEMS: Final = 20
"""Most reasons of one night that a page shows."""
MAX_SITES: Final = 10
"""Most sites with one reason, or of one unread scene, that are named."""
MAX_UNREAD: Final = 100
"""Most unread scenes that a manifest names."""

_ADDRESS: Final = re.compile(r"\b(?!file:)([a-z][a-z0-9+.-]*://[^\s/'\"<>;,)]+)(/[^\s'\"<>;,)]*)?", re.IGNORECASE)
_PATH: Final = re.compile(r"(?<![\w/.…])(?:file://|~)?(?:\.{0,2}/[^\s/'\"<>:;,)]+)+/?|\b[A-Za-z]:\\[^\s'\"<>;,)]+")


def exit_status(manifest: Mapping[str, Any]) -> Exit:
    """Exit status of a night or a backfill, from its manifest."""
    states = [site["state"] for site in manifest["sites"]]
    if states and len(manifest.get("never_offered", ())) == len(states):
        return Exit.CONFIGURATION
    unfinished = (
        needs_correction(manifest.get("registry", {}))
        or manifest.get("pages_failed")
        or manifest.get("messages_waiting")
    )
    if all(state == "done" for state in states):
        return Exit.SOME_FAILED if unfinished else Exit.DONE
    if all(state == "deferred" for state in states):
        return Exit.TRY_LATER
    return Exit.ALL_FAILED if all(state == "failed" for state in states) else Exit.SOME_FAILED


def unread_scenes(by_site: "Mapping[str, Mapping[str, UnreadScene]]", as_of: date) -> dict[str, Any]:
    """Scenes that could not be read and wait, for a manifest; `by_site` gives them by site and acquisition.

    Returns
    -------
    dict
        ``unread_count``, and ``unread``: the longest waiting first, of each ``scene``, ``since``, ``age_days`` [day],
        ``reason``, ``sites`` and ``n_sites``.
    """
    sites: dict[str, list[tuple[UnreadScene, str]]] = {}
    for site, scenes in by_site.items():
        for scene in scenes.values():
            sites.setdefault(scene.scene, []).append((scene, site))
    entries = [
        {
            "scene": name, "since": (since := min(one.since for one, _ in found)),
            "age_days": (as_of - date.fromisoformat(since)).days, "reason": redacted(found[0][0].why),
            "sites": [site for _, site in found[:MAX_SITES]], "n_sites": len(found),
        }
        for name, found in sites.items()
    ]  # fmt: skip
    entries.sort(key=lambda entry: (entry["since"], entry["scene"]))
    return {"unread_count": len(entries), "unread": entries[:MAX_UNREAD]}


def unread_sentence(manifest: Mapping[str, Any]) -> str:
    """How many scenes wait unread, for how long and why; empty: none."""
    if not manifest.get("unread"):
        return ""
    count, oldest = manifest["unread_count"], manifest["unread"][0]
    age = "since this night" if not oldest["age_days"] else f"for {oldest['age_days']} days"
    scenes = "1 scene waits" if count == 1 else f"{count} scenes wait"
    return f"{scenes} unread, the oldest {age}: {oldest['reason']}"


def error_of(site: Mapping[str, Any]) -> str:
    """Error of a site in a manifest, without its id, which stands beside it."""
    return redacted(site["error"] or "").removeprefix(f"site {site['site']!r}: ")


def to_correct(manifest: Mapping[str, Any]) -> list[str]:
    """What a person must correct, apart from failed sites."""
    registry, pages = manifest.get("registry", {}), manifest.get("pages_failed") or {}
    sentences = registry.get("said", [])[:5] if needs_correction(registry) else []
    return [*sentences, *(f"page of {site} not written: {why}" for site, why in list(pages.items())[:3])]


def self_check_problems(check: Mapping[str, Any] | None) -> list[str]:
    """What a self-check found, in sentences; empty: all was equal, or no check was due."""
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


def summary(manifest: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Counts of a night and the reasons of its failures.

    Parameters
    ----------
    manifest : mapping
        Of a night that ran to its end.
    seconds : float
        Time from its start until its pages were written. [s]

    Returns
    -------
    dict
        ``done, failed, deferred``: numbers of sites; ``scenes``: number of new scenes, each counted once; ``sent,
        waiting``: messages; ``seconds``; ``problems``: for each reason ``state`` (``failed``, ``deferred``, or
        ``correct`` where a person must correct something), ``reason``, ``sites`` and ``n_sites``.
    """
    sites = manifest["sites"]
    states = [site["state"] for site in sites]
    reasons: dict[tuple[str, str], list[str]] = {}
    for state in ("failed", "deferred"):
        for site in sites:
            if site["state"] == state:
                reasons.setdefault((state, public(error_of(site))), []).append(site["site"])
    for sentence in (*to_correct(manifest), *self_check_problems(manifest.get("self_check"))):
        reasons.setdefault(("correct", public(sentence)), [])
    return {
        **{state: states.count(state) for state in ("done", "failed", "deferred")},
        "scenes": len({scene for site in sites for scene in site["scenes_new"]}),
        "sent": manifest.get("messages_sent", 0),
        "waiting": manifest.get("messages_waiting", 0),
        "seconds": round(seconds, 1),
        "problems": [
            {"state": state, "reason": reason, "sites": found[:MAX_SITES], "n_sites": len(found)}
            for (state, reason), found in list(reasons.items())[:MAX_PROBLEMS]
        ],
    }
