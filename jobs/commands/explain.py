"""``regrowth explain``: why a site is judged as it is."""

from datetime import date
from functools import partial
from typing import Annotated

import typer

from jobs.console import AsJson, Config, print_json, print_line
from jobs.exits import Exit


def explain(
    site: Annotated[str, typer.Argument(help="Id of the site.")],
    config: Config = None,
    language: Annotated[str, typer.Option(help="en or zh.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Why a site is judged as it is, in sentences, and what would clear it.

    Exit status: 0 done, 65 it has not been assessed yet; where no scene of it has ever been offered 10, or 78 if that
    holds for all sites.
    """
    from jobs.calibration import constants_used
    from jobs.episodes import in_episode
    from jobs.installation import open_ledger, selected_sites
    from jobs.records import from_json
    from jobs.settings import load
    from jobs.sources import describe_sources
    from monitor.errors import BadData
    from monitor.sites.site import ground_key
    from monitor.verdict.assessment import Assessment
    from monitor.verdict.calibrate import constants_table
    from monitor.verdict.explain import explain as explanation
    from monitor.verdict.explain import false_alarm_rate, never_offered, probabilities

    if language not in ("en", "zh"):
        msg = f"{language!r} is neither en nor zh"
        raise typer.BadParameter(msg, param_hint="--language")
    settings = load(config)
    with open_ledger(settings) as ledger:
        (chosen,) = selected_sites(settings, ledger, [site])
        with ledger.reading() as t:
            latest, records, detectability = (
                t.latest_assessment(site),
                t.calibrations(),
                t.ground_data(ground_key(chosen), "detectability"),
            )
            episodes, night = t.episodes(site), t.last_night(site)
    if night is not None and site in night.get("never_offered", ()):
        until = date.fromisoformat(night["as_of"])
        why = partial(never_offered, chosen, sources=describe_sources(settings.source), until=until)
        sentences = [why(language=language)]
        error = next(one["error"] for one in night["sites"] if one["site"] == site).removeprefix(f"site {site!r}: ")
        if error != why():  # a source has said why
            sentences.append(error)
        if as_json:
            print_json({"site": site, "as_of": night["as_of"], "sentences": sentences})
        else:
            print_line("\n".join(sentences))
        everywhere = len(night["never_offered"]) == len(night["sites"])
        raise typer.Exit(Exit.CONFIGURATION if everywhere else Exit.SOME_FAILED)
    if latest is None:
        msg = f"site {site!r} has not been assessed yet: regrowth run"
        raise BadData(msg)
    found = from_json(latest[2], Assessment)
    chosen = in_episode(chosen, episodes, found.episode)
    sentences = explanation(found, chosen, language=language)
    sentences += probabilities(found, language=language) + false_alarm_rate(found, language=language)
    if as_json:
        used = constants_used(found, chosen, records)
        calibration = {
            "hash": found.calibration, "source": found.calibration_source, "dated": found.calibration_dated,
            "placebos": None if used is None else used[1], "table": None if used is None else constants_table(used[0]),
        }  # fmt: skip
        print_json(
            {"site": site, "as_of": latest[0], "episode": found.episode, "start": chosen.start, "sentences": sentences,
             "calibration": calibration, "detectability": detectability}
        )  # fmt: skip
        return
    for sentence in sentences:
        print_line(sentence)
