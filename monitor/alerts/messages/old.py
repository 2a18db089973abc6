"""Messages about alerts: a mail and a JSON record, in the language of the site's manager.

A message has the site, the finding, its probability, the expectation, the next steps and the location. A notice gives
the same bytes whenever it is composed, so that receivers can recognise a repeated message.
"""

import hashlib
import json
from datetime import UTC, datetime, time
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec

from monitor.alerts import words
from monitor.alerts.alert import AlertEvent, Notice
from monitor.files import write_atomically
from monitor.sites.names import folder_name, without_invisible
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment, assessment_to_json
from monitor.verdict.explain import explain, false_alarm_rate, probabilities

MESSAGE_TEMPLATES: Final = Path(__file__).parent / "old_templates"

MAX_SUBJECT_NAME: Final = 120
"""Longest site name in a subject; the body has the full name. [characters]"""

NEXT_STEPS: Final = {
    "failure": {
        "en": (
            "Walk the site and look where growth is missing; photograph it.",
            "Count survivors, and note grazing, drought, washed-out or unplanted ground.",
            "Answer the alert: confirmed, false alarm, or treated, with a note. If you replant, report the day.",
        ),
        "zh": (
            "请到现场查看缺苗、缺草的地方并拍照。",
            "清点成活情况，注意放牧、干旱、冲刷或漏种的地块。",
            "请回复警报：属实、误报或已处理，并附说明。如已补植，请上报补植日期，以登记新一期。",
        ),
    },
    "disturbance": {
        "en": (
            "Go and look soon. Watch for fire, clearing, digging, flood or grazing.",
            "Photograph what you find and mark its edge.",
            "Answer the alert: confirmed, false alarm, or treated, with a note.",
        ),
        "zh": (
            "请尽快到现场查看，留意火烧、砍伐、开挖、洪水或放牧。",
            "请拍照并标出受损范围。",
            "请回复警报：属实、误报或已处理，并附说明。",
        ),
    },
    "erosion": {
        "en": (
            "Look at the slope after rain: rills, bare strips, broken check-dams or torn checkerboards.",
            "Photograph them and note where sowing or repair is needed.",
            "Answer the alert: confirmed, false alarm, or treated, with a note.",
        ),
        "zh": (
            "请在雨后查看坡面：细沟、裸露带、损坏的谷坊或草方格。",
            "请拍照并记录需要补播或修复的位置。",
            "请回复警报：属实、误报或已处理，并附说明。",
        ),
    },
}  # fmt: skip
"""Next steps in the field, by the rule that raised the alert and by language."""


def compose_mail(notice: Notice, site: Site, assessment: Assessment) -> EmailMessage:
    """Compose the mail of a notice: plain text with an HTML alternative, without sender and recipient.

    Parameters
    ----------
    notice : Notice
        Its id gives the Message-ID, its day the Date.
    site, assessment
        Site of the alert, and the assessment that the message describes.
    """
    language = words.language_of(site)
    context = _context(notice, site, assessment, language)
    message = EmailMessage(policy=SMTP)
    message["Subject"] = _subject(notice, site, assessment, language)
    message["Message-ID"] = _message_id(notice.id)
    if notice.event is not AlertEvent.OPENED:  # threads an alert's later messages under its first
        message["References"] = _message_id(f"{notice.alert.id}/1")
    message["Date"] = format_datetime(datetime.combine(notice.day, time(), UTC))
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_environment().get_template("message.txt").render(context), cte="base64")
    message.add_alternative(_environment().get_template("message.html").render(context), subtype="html", cte="base64")
    message["Content-Language"] = "zh-Hans" if language == "zh" else "en"  # last, else the first part gets it
    message.set_boundary(f"=_{_digest(notice.id)}")
    return message


def message_to_json(notice: Notice, site: Site, assessment: Assessment) -> dict[str, Any]:
    """JSON values of the message of a notice, for webhooks and files; null instead of NaN and infinity.

    Parameters
    ----------
    notice, site, assessment
        See :func:`compose_mail`.
    """
    language = words.language_of(site)
    context = _context(notice, site, assessment, language)
    latitude, longitude = words.coordinates(site)
    return {
        "id": notice.id,
        "event": str(notice.event),
        "day": notice.day.isoformat(),
        "alert": msgspec.to_builtins(notice.alert),
        "site": {"id": site.id, "name": context["name"], "latitude": latitude, "longitude": longitude},
        "language": language,
        "subject": _subject(notice, site, assessment, language),
        "text": _environment().get_template("message.txt").render(context),
        "page": context["page"],
        "assessment": assessment_to_json(assessment),
    }


def write_message(notice: Notice, site: Site, assessment: Assessment, root: Path) -> Path:
    """Write a message to ``messages/`` under an output root, as ``.eml`` and ``.json``; the path of the mail.

    Writing the same notice again gives the same two files.

    Parameters
    ----------
    notice, site, assessment
        See :func:`compose_mail`.
    root : Path
        Output root.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written.
    """
    folder = root / "messages"
    folder.mkdir(parents=True, exist_ok=True)
    event = notice.id.removeprefix(f"{notice.alert.site}/").replace("/", "_")
    name = f"{folder_name(notice.alert.site)}_{folder_name(event)}"
    record = json.dumps(message_to_json(notice, site, assessment), ensure_ascii=False, indent=1, allow_nan=False)
    write_atomically(folder / f"{name}.json", f"{record}\n".encode(), lasting=True)
    write_atomically(folder / f"{name}.eml", compose_mail(notice, site, assessment).as_bytes(), lasting=True)
    return folder / f"{name}.eml"


def _subject(notice: Notice, site: Site, assessment: Assessment, language: words.Language) -> str:
    name = without_invisible(site.name)
    name = name if len(name) <= MAX_SUBJECT_NAME else name[: MAX_SUBJECT_NAME - 1] + "…"
    level = words.ALERT_LEVEL_NAMES[notice.alert.level][language]
    status = words.STATUS_NAMES[words.shown_status(site, assessment.status)][language]
    if notice.event is AlertEvent.RESOLVED:
        return f"[已解除] {name}：{status}" if language == "zh" else f"[Resolved] {name}: {status.lower()}"
    change = {"zh": "（升级）", "en": ", worse"}[language] if notice.event is AlertEvent.WORSENED else ""
    cause = words.cause(notice.alert.rule, notice.alert.level, language)
    return f"[{level}{change}] {name}{'：' if language == 'zh' else ': '}{cause}"


def _context(notice: Notice, site: Site, assessment: Assessment, language: words.Language) -> dict[str, Any]:
    latitude, longitude = words.coordinates(site)
    return {
        "lang": language,
        "notice": notice,
        "site": site,
        "a": assessment,
        "name": without_invisible(site.name),
        "id": without_invisible(site.id),
        "manager": without_invisible(site.manager_name) if site.manager_name else None,
        "level": words.ALERT_LEVEL_NAMES[notice.alert.level][language],
        "rule": words.cause(notice.alert.rule, notice.alert.level, language),
        "status": words.STATUS_NAMES[words.shown_status(site, assessment.status)][language],
        "sentences": [
            without_invisible(sentence)
            for sentence in explain(assessment, site, language=language)
            + false_alarm_rate(assessment, language=language)
        ],
        "chances": probabilities(assessment, language=language),
        "steps": () if notice.event is AlertEvent.RESOLVED else NEXT_STEPS[notice.alert.rule][language],
        "latitude": f"{latitude:.5f}",
        "longitude": f"{longitude:.5f}",
        "page": f"sites/{folder_name(site.id)}/index{'.zh' if language == 'zh' else ''}.html",
    }


def _message_id(notice_id: str) -> str:
    return f"<{_digest(notice_id)}@regrowth-monitor.invalid>"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(MESSAGE_TEMPLATES),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        percent=words.percent, points=words.points, probability=words.probability, long_day=words.day
    )
    return environment
