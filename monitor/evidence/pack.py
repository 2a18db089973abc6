"""The members of an evidence pack: everything that one assessment of a site rests on, as it was published.

Whatever a page shows is made here by the same functions from the same inputs, so that the pack has the same bytes. An
assessment was made from the first rows of the store, the version of the site, the constants and the control units that
it names; where these no longer give the series that it was made from, no pack is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from monitor.alerts.words import ALERT_LEVEL_NAMES, LANGUAGES, STATUS_NAMES, day, shown_status, text
from monitor.controls.control_means import UnitChoice
from monitor.controls.selection import ControlSet
from monitor.cube.bucket import Place
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData, StoreBroken
from monitor.evidence.chain import Line, Proof, chain_bytes
from monitor.evidence.crate import METADATA, README, crate_metadata, description_of, part_of
from monitor.evidence.documents import (
    alerts_json,
    assessment_entry,
    controls_json,
    json_lines,
    json_member,
    proofs_json,
    site_json,
)
from monitor.evidence.site_check import Assessed
from monitor.evidence.site_data import site_data_members
from monitor.publish.control_ground import control_ground
from monitor.publish.products import PLAN, plan_content
from monitor.series.build import series_and_units
from monitor.series.columns import Columns, observed_until
from monitor.series.observations import observations_csv
from monitor.sites.names import without_invisible
from monitor.sites.site import ground_key
from monitor.verdict.assessment import Series

_README_TEXT: Final = Path(__file__).with_name("readme.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackInputs(Assessed):
    """Entries of the ledger on a site and its published assessment, the last of `rows`."""

    episodes: Sequence[Mapping[str, Any]]  # columns of the ledger's table of episodes, first one first
    rows: Sequence[Mapping[str, Any]]  # columns of the ledger's table of assessments, in order
    alerts: Sequence[Mapping[str, Any]]  # see `monitor.evidence.documents.alerts_json`
    photos: Sequence[Mapping[str, Any]]  # photos of the answers to these alerts, see there
    chain: Sequence[Line]
    assessment_proofs: Sequence[Proof | None]  # of each of `rows`
    answer_proofs: Mapping[tuple[str, int], Proof | None]  # of each answer, by alert and number of the event
    promise_proofs: Sequence[Proof | None]  # of each of `promises`
    environment: Mapping[str, Any]  # from `monitor.evidence.environment.environment`
    fingerprint: str  # of the key that signs the pack


def open_stored(root: Place, inputs: PackInputs, folder: Path) -> StoredSite:
    """Open the store that an assessment was made from, in the root of the stores, without the right to change it.

    `folder` is for derived results, so that those of the nights stay as they are. Raises ``StoreBroken`` where the
    store is gone or cannot be read.
    """
    name = inputs.snapshot.rpartition(":")[0]
    landscape = LandscapeStore(root / name, read_only=True)
    if not landscape.exists:
        raise StoreBroken(
            f"site {inputs.site.id!r}: the store {name}, from which its assessment of {inputs.assessment.as_of} was "
            f"made, is not under {root}; if it is in a backup, run this where the backup was restored"
        )
    return StoredSite(landscape, ground_key(inputs.site), derived=folder)


def pack_members(stored: StoredSite, inputs: PackInputs) -> Iterator[tuple[str, bytes]]:
    """All members of a pack but the manifest and its signature, name and content, in order.

    The same inputs give the same bytes. Raises ``BadData`` where the stored scenes no longer give the series that the
    assessment was made from, and ``StoreBroken`` where the store cannot be read, or has no such snapshot.
    """
    controls = ControlSet.from_json(stored.controls)
    observed, choice = _observations(stored, inputs, controls)
    names: list[str] = []
    documents = _documents(stored, inputs, controls, observed, choice).items()
    for name, content in chain(documents, site_data_members(stored, inputs.snapshot)):
        names.append(name)
        yield name, content
    parts = list(dict.fromkeys(map(part_of, names)))
    yield README, _readme(inputs, parts)
    yield METADATA, crate_metadata(inputs.row["payload"], [*parts, README])


def _observations(
    stored: StoredSite, inputs: PackInputs, controls: ControlSet
) -> tuple[Columns, UnitChoice | None]:  # fmt: skip
    """Series up to the day of the assessment, and the choice of control units, as the assessment used them."""
    site, assessment = inputs.judged, inputs.assessment
    first = replace(site, start=inputs.site.start)
    series, choice = series_and_units(stored, controls, first, left_out=inputs.left_out, snapshot=inputs.snapshot)
    observed = observed_until(series, assessment.as_of)
    if Series.of(observed).digest != assessment.series_digest:
        raise BadData(
            f"site {site.id!r}: what is stored no longer gives the series that its assessment of {assessment.as_of} "
            f"was made from (snapshot {inputs.snapshot}), so no evidence is written about it. It was made by version "
            f"{assessment.code_version} of this program: use that version, or the store from a backup of that time"
        )
    return observed, choice


def _documents(
    stored: StoredSite, inputs: PackInputs, controls: ControlSet, observed: Columns, choice: UnitChoice | None
) -> dict[str, bytes]:
    """Members other than the scenes, by name."""
    assessment, left_out = inputs.assessment, inputs.left_out
    documents = {
        "assessments.json": json_lines([assessment_entry(row) for row in inputs.rows]),
        "observations.csv": observations_csv(inputs.site.id, observed["line"].tolist()),
        PLAN: plan_content(inputs.judged, assessment, inputs.constants, promises=inputs.promises),
        "site.json": json_member(
            site_json(inputs.site, inputs.episodes, episode=assessment.episode, promises=inputs.promises)
        ),
        "controls.json": json_member(controls_json(controls, inputs.row["left_out"])),
    }
    if choice is not None:
        ground = control_ground(controls, stored.units, choice, left_out, assessment.as_of)
        documents["controls.geojson"] = ground.geojson
    return documents | {
        "alerts.json": json_lines(alerts_json(inputs.alerts, inputs.photos)),
        "chain.jsonl": chain_bytes(inputs.chain),
        "chain-proofs.json": json_member(
            proofs_json(inputs.assessment_proofs, inputs.answer_proofs, inputs.promise_proofs)
        ),
        "environment.json": json_member(inputs.environment),
    }


def _readme(inputs: PackInputs, names: Sequence[str]) -> bytes:
    """``readme.txt``, in English and Chinese; `names` are those of the members that it lists."""
    a, last = inputs.assessment, inputs.chain[-1] if inputs.chain else None
    status = shown_status(inputs.judged, a.status)
    values: dict[str, str] = {}
    for language in LANGUAGES:
        head = text("pack.no_head", language)
        if last is not None:
            night = day(last["night"], language)
            head = text("pack.head", language, n=last["number"], day=night, head=last["hash"])
        values |= {
            f"day_{language}": day(a.as_of, language), f"status_{language}": STATUS_NAMES[status][language],
            f"alert_{language}": ALERT_LEVEL_NAMES[a.alert][language], f"head_{language}": head,
        }  # fmt: skip
    members = "\n".join(f"{name:<26}{description_of(name)[0]}" for name in names)
    readme, site = _README_TEXT.read_text(encoding="utf-8"), without_invisible(inputs.site.id)
    return readme.format(site=site, fingerprint=inputs.fingerprint, members=members, **values).encode()
