"""``regrowth explain``: why a site is judged as it is."""

from contextlib import suppress
from datetime import date
from functools import partial
from typing import Annotated, Literal

import typer

from jobs.runtime.console import AsJson, Config, installation, show
from jobs.runtime.exits import Exit


def explain(
    site: Annotated[str, typer.Argument(help="Id of the site.")],
    config: Config = None,
    language: Annotated[Literal["en", "zh"], typer.Option(help="Language of the sentences.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Why a site is judged as it is, in sentences, and what would clear it.

    Exit status: 0 done, 65 it has not been assessed yet; where no scene of it has ever been offered 10, or 78 if that
    holds for all sites.
    """
    from jobs.imagery.sources import describe_sources
    from jobs.register.calibration import constants_used
    from jobs.register.episodes import in_episode
    from jobs.runtime.installation import selected_sites
    from jobs.runtime.records import from_json
    from jobs.runtime.settings import config_path
    from monitor.access.series import open_series
    from monitor.errors import BadData, MonitorError
    from monitor.sites.site import ground_key
    from monitor.verdict.assessment import Assessment
    from monitor.verdict.calibrate import constants_table
    from monitor.verdict.explain import (
        REJECTED_RADIOMETRY,
        false_alarm_rate,
        measured_difference,
        never_offered,
        probabilities,
        promised_in_field,
    )
    from monitor.verdict.explain import explain as explanation
    from monitor.verdict.reasons import Reason

    with installation(config) as (settings, ledger):
        (chosen,) = selected_sites(ledger, [site])
        with ledger.reading() as t:
            latest, calibrations, episodes = t.latest_assessment(site), t.calibrations(), t.episodes(site)
            detectability, night = t.ground_data(ground_key(chosen), "detectability"), t.last_night(site)
    if night is not None and site in night.get("never_offered", ()):
        until = date.fromisoformat(night["as_of"])
        why = partial(never_offered, chosen, sources=describe_sources(settings.source), until=until)
        sentences = [why(language=language)]
        result = next(result for result in night["sites"] if result["site"] == site)
        error = result["error"].removeprefix(f"site {site!r}: ")
        if error != why():  # a source gave the reason
            sentences.append(error)
        show({"site": site, "as_of": night["as_of"], "sentences": sentences}, sentences, as_json=as_json)
        everywhere = len(night["never_offered"]) == len(night["sites"])
        raise typer.Exit(Exit.CONFIGURATION if everywhere else Exit.SOME_FAILED)
    if latest is None:
        raise BadData(f"site {site!r} has not been assessed yet: regrowth run")
    assessment = from_json(latest.payload, Assessment)
    chosen = in_episode(chosen, episodes, assessment.episode)
    sentences = explanation(assessment, chosen, language=language)
    sentences += measured_difference(assessment, language=language)
    sentences += probabilities(assessment, language=language) + false_alarm_rate(assessment, language=language)
    sentences += promised_in_field(assessment, chosen, language=language)
    if Reason.RADIOMETRY.value in assessment.reasons:
        with suppress(MonitorError):  # the explanation stands without their number
            reasons = open_series(config_path(config), site)["reason"]
            wrong = int((reasons == Reason.RADIOMETRY.value).sum())
            sentences.append(REJECTED_RADIOMETRY[language == "zh"].format(count=wrong, scenes=len(reasons)))
    used = constants_used(assessment, calibrations)
    calibration = {
        "hash": assessment.calibration, "source": assessment.calibration_source,
        "dated": assessment.calibration_dated,
        "placebos": assessment.calibration_placebos, "table": None if used is None else constants_table(used),
    }  # fmt: skip
    values = {
        "site": site, "as_of": latest.as_of, "episode": assessment.episode, "start": chosen.start,
        "sentences": sentences, "calibration": calibration, "detectability": detectability,
    }  # fmt: skip
    show(values, sentences, as_json=as_json)
