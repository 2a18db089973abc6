"""The JSON members of a pack: how the site, its assessments, control units and alerts are written, and read again.

Each is the record of the ledger as plain values, without the name, address and channel of the manager of the site.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from shapely.errors import ShapelyError
from shapely.geometry import mapping, shape

from monitor.errors import BadData
from monitor.evidence.chain import Proof, answer_record, record_of
from monitor.sites.site import Site, ground_key

if TYPE_CHECKING:
    from monitor.controls.selection import ControlSet

MANAGER: Final = ("manager_name", "manager_language", "manager_email", "manager_channel")
"""Fields of a site that no pack has."""
ORIGIN: Final = ("digest", "version", "snapshot", "left_out")
"""Columns of the ledger that ``assessments.json`` has beside the fields of an assessment."""
ABOUT_VERSION: Final = (
    "SHA-256 by which the assessments name this version of the site in the registry. It covers all entries here but "
    "hectares, ground, the episodes and the promises, and also name, language, mail address and channel of the "
    "manager, which are left out of the pack. So it cannot be computed from this file; it shows that two assessments "
    "rest on the same version of the site. Whoever has the registry can compute it."
)
ABOUT_SITE: Final = (
    "The site as registered, in the version that the last assessment rests on. start is that of its first episode; "
    "episodes later than that of the assessment are left out, as are promises later than the one that it rests on, the "
    "last of promises. slope_degrees is that of the registry; the slope that "
    "the assessment used is in plan.json."
)
ABOUT_CONTROLS: Final = (
    "Ground that is compared with the site, chosen once and frozen. balance: before the start, the standardised mean "
    "difference between units and site by feature [standard deviation], and rmspe, the root mean square of the "
    "difference in yearly means [cover fraction]. ring: 1 near, 2 far, 0 a reference that is never compared with. "
    "distance is from edge to edge [m]. left_out: first day on which a unit no longer counted, because another site "
    "covers it. Of each unit only its means in each scene are stored, in data.zarr/unit_means, never its pixels."
)


def json_member(value: Mapping[str, Any]) -> bytes:
    """Content of a member of a pack: a JSON object in UTF-8, one entry a line."""
    entries = [_encoded(name) + b": " + _encoded(entry) for name, entry in value.items()]
    return b"{\n" + b",\n".join(entries) + b"\n}\n"


def json_lines(values: Sequence[Any]) -> bytes:
    """A JSON list, one value a line."""
    return b"[\n" + b",\n".join(map(_encoded, values)) + b"\n]\n"


def _encoded(value: Any) -> bytes:
    """JSON of a value. Text with half characters (lone surrogates), which UTF-8 cannot hold, is escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False).encode()


def assessment_entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Entry of ``assessments.json`` from columns of the ledger: the fields of ``status.json``, and :data:`ORIGIN`."""
    return {**row["payload"], **{name: row[name] for name in ORIGIN}}


def assessment_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the ledger from an entry of ``assessments.json``, the inverse of :func:`assessment_entry`.

    Raises ``BadData`` where the entry is not an object, or lacks one of the columns.
    """
    names = ("site", "as_of", *ORIGIN)
    if not isinstance(entry, dict) or (absent := [name for name in names if name not in entry]):
        msg = f"assessments.json: an entry {f'lacks {absent[0]!r}' if isinstance(entry, dict) else 'is no object'}"
        raise BadData(msg)
    payload = {name: value for name, value in entry.items() if name not in ORIGIN}
    return {**{name: entry[name] for name in names}, "payload": payload}


def site_json(
    site: Site, episodes: Sequence[Mapping[str, Any]], *, episode: int, promises: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """``site.json``: the site as a GeoJSON feature, without its manager.

    `site` has the start of its first episode, as registered. Of `episodes` (columns of the ledger, first one first)
    those after `episode`, which was assessed, and the end of this one are left out. `promises` are those of
    :func:`monitor.sites.promise.promises_until`.
    """
    values: dict[str, Any] = msgspec.to_builtins(site, enc_hook=mapping)
    geometry = values.pop("geometry")
    names = ("number", "start", "opened", "closed", "why", "budget")
    begun = [{name: row[name] for name in names} for row in episodes if row["number"] <= episode]
    if begun and begun[0]["number"] == 1:
        begun[0]["start"] = values["start"]
    if begun and begun[-1]["number"] == episode:
        begun[-1] |= {"closed": None, "why": None}
    properties = {name: value for name, value in values.items() if name not in MANAGER}
    properties |= {"ground": ground_key(site), "episode": episode, "episodes": begun, "promises": list(promises)}
    return {
        "type": "Feature", "id": site.id, "geometry": geometry, "properties": properties,
        "about": ABOUT_SITE, "about_version": ABOUT_VERSION,
    }  # fmt: skip


def site_from_json(document: Any) -> Site:
    """The registered site from ``site.json``; that of the assessment has the start of its episode and a slope.

    Raises ``BadData`` where the document is not that of :func:`site_json`.
    """
    try:
        values = {**document["properties"], "geometry": document["geometry"]}
        return msgspec.convert(values, Site, dec_hook=lambda _, geojson: shape(geojson))
    except (TypeError, KeyError, ValueError, AttributeError, IndexError, ShapelyError) as error:
        raise BadData(f"site.json describes no site: {type(error).__name__}: {error}") from error


def controls_json(controls: "ControlSet", left_out: Mapping[str, str]) -> dict[str, Any]:
    """``controls.json``: the frozen control units, how alike they were, and which of them no longer count.

    A site that waits for control ground has no units. `left_out` is the first day (ISO 8601) on which a unit no longer
    counted, by id, as known at the assessment.
    """
    from monitor.controls.selection import REFERENCE_RING  # loads xarray, which `verify` does without

    return {
        "about": ABOUT_CONTROLS,
        "hash": controls.hash,
        "compared": int(controls.compared.sum()),
        "references": sum(unit.ring == REFERENCE_RING for unit in controls.units),
        "left_out": dict(left_out),
        "controls": controls.to_json(),
    }


def alerts_json(alerts: Sequence[Mapping[str, Any]], photos: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """``alerts.json``: each alert of the site with its events, answers from the field among them.

    `alerts` have ``id``, ``rule`` and ``events``, as :meth:`Transaction.events` of the ledger gives them, first one
    first; `photos` are columns of the ledger without their content. The state of an alert is that of its last event; an
    event names its photos by SHA-256, with the time and position that their camera stated. The id of an answer link is
    left out.
    """
    of_event: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for photo in photos:
        shown = {"sha256": photo["id"], **{name: photo[name] for name in ("taken", "latitude", "longitude")}}
        of_event.setdefault((photo["alert"], photo["number"]), []).append(shown)
    return [
        {
            "id": alert["id"],
            "rule": alert["rule"],
            "state": alert["events"][-1]["state"],
            "events": [
                {name: value for name, value in event.items() if name not in ("alert", "link")}
                | {"photos": of_event.get((alert["id"], event["number"]), [])}
                for event in alert["events"]
            ],
        }
        for alert in alerts
        if alert["events"]
    ]


def proofs_json(
    assessments: Sequence[Proof | None], answers: Mapping[tuple[str, int], Proof | None],
    promises: Sequence[Proof | None] = (),
) -> dict[str, list[Any]]:  # fmt: skip
    """``chain-proofs.json``: where the chain covers the assessments, answers and promises of the pack.

    In the order of ``assessments.json``, by alert and number of the event, and in the order of ``site.json``; None: no
    line covers it yet, the next night does.
    """
    proofs = [{"alert": alert, "number": number, "proof": proof} for (alert, number), proof in answers.items()]
    return {"assessments": list(assessments), "answers": proofs, "promises": list(promises)}


def records_and_proofs(
    assessments: Any, alerts: Any, site: Any, proofs: Any
) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Records of a pack as the chain covers them, from the content of its members, which may be anything.

    Yields
    ------
    tuple
        Description, for messages; the record, for :func:`monitor.evidence.chain.check_proof`; and its proof, unchecked,
        or None where the pack says that no line covers it yet.

    Raises
    ------
    BadData
        A member is not as :func:`assessment_entry`, :func:`alerts_json`, :func:`site_json` and :func:`proofs_json` make
        it, or proofs and records do not belong together.
    """
    try:
        rows = [assessment_row(entry) for entry in assessments]
        answered = [
            ((str(alert["id"]), int(event["number"])), _answer_of(alert["id"], event))
            for alert in alerts for event in alert["events"] if event["kind"] == "answered"
        ]  # fmt: skip
        answers = dict(answered)
        of_answers = {(str(one["alert"]), int(one["number"])): one["proof"] for one in proofs["answers"]}
        of_assessments = list(proofs["assessments"])
        properties, of_promises = site["properties"], list(proofs["promises"])
        promises = [record_of("promise", {"site": properties["id"], **entry}) for entry in properties["promises"]]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        members = "assessments.json, alerts.json, site.json or chain-proofs.json"
        raise BadData(f"{members} is malformed: {type(error).__name__}: {error}") from error
    if (
        len(of_assessments) != len(rows)
        or len(of_promises) != len(promises)
        or len(answers) != len(answered)
        or len(of_answers) != len(proofs["answers"])
        or of_answers.keys() != answers.keys()
    ):
        raise BadData("chain-proofs.json does not have one proof for each assessment, answer and promise of the pack")
    for row, proof in zip(rows, of_assessments, strict=True):
        yield f"the assessment of {row['as_of']}", record_of("assessment", row), proof
    for (alert, number), record in answers.items():
        yield f"event {number} of alert {alert}", record, of_answers[alert, number]
    for record, proof in zip(promises, of_promises, strict=True):
        yield f"promise {record.get('number')}", record, proof


def _answer_of(alert: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Record of an answer from its event in ``alerts.json``."""
    columns = ("number", "time", "kind", "photos")
    payload = {name: value for name, value in event.items() if name not in columns}
    answer = {"alert": alert, "number": event["number"], "time": event["time"], "payload": payload}
    return answer_record(answer, [photo["sha256"] for photo in event["photos"]])
