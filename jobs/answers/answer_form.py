"""Read the form of the answer page: fields and photos as a browser sends them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from jobs.answers.request_limits import MAX_SHORT_BYTES, Refusal, Why, limited_body, one_of
from monitor.alerts import words
from monitor.alerts.alert import FalseAlarmReason, Verdict
from monitor.alerts.answer_page import Entered, Question
from monitor.alerts.answer_page.pages import LATER, MAX_NOTE, MAX_PHOTOS
from monitor.alerts.photos import MAX_PHOTO_BYTES, Photo, PhotoProblem, PhotoRefused, read_photo_apart
from monitor.sites.names import without_invisible_lines


class Answer(NamedTuple):
    """A complete answer to one alert."""

    verdict: Verdict | None  # None: later
    reason: FalseAlarmReason | None
    note: str | None
    photos: Sequence[Photo]


class Filled(NamedTuple):
    """Fields of a form about one alert."""

    answer: Answer | None  # None: something is wrong
    entered: Entered
    status: int  # HTTP status
    seen: int | None  # number of the newest event of the alert when the form was opened; None: unknown


async def read_form(request: Request, alerts: int = 1) -> FormData:
    """Fields and files of a request about some alerts; raises Refusal if it is too large, too slow, or not a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            parser = MultiPartParser(
                request.headers,
                limited_body(request),
                max_files=9 + alerts,
                max_fields=16 + 4 * alerts,
                max_part_size=65_536,
            )
            return await parser.parse()
        if kind == "application/x-www-form-urlencoded":
            content = b"".join([piece async for piece in limited_body(request, MAX_SHORT_BYTES)])
            text, most = content.decode(errors="replace"), 16 + 4 * alerts
            return FormData([*parse_qsl(text, keep_blank_values=True, max_num_fields=most)])
    except (MultiPartException, ValueError) as error:
        raise Refusal(Why.UNREADABLE) from error
    raise Refusal(Why.UNREADABLE)


async def check_form(
    form: FormData, question: Question, language: words.Language, decoders: asyncio.Semaphore, *, is_one_of_many: bool
) -> Filled:
    """Read the fields of a form about one alert; Refusal: too many photos of others wait to be decoded.

    A reason counts for a false alarm only: with another finding it may be left over. `is_one_of_many`: names of fields
    end with the id of the alert, and it may be put off.
    """
    suffix = f":{question.news.alert.id}" if is_one_of_many else ""
    most = 1 if is_one_of_many else MAX_PHOTOS
    entered = Entered(
        verdict=_only(form, f"verdict{suffix}"), reason=_only(form, f"reason{suffix}"),
        note=without_invisible_lines(_only(form, "note")),
    )  # fmt: skip
    sent = form.getlist(f"photo{suffix}")
    files = [file for file in sent if (file if isinstance(file, str) else file.filename or file.size)]
    is_false_alarm = entered.verdict == Verdict.FALSE_ALARM
    problems, status, photos = [], 422, dict[str, Photo]()
    if entered.verdict not in (*Verdict, *([LATER] if is_one_of_many else [])):
        problems.append(words.text("answer_page.no_verdict", language))
    if is_false_alarm and entered.reason not in ("", *FalseAlarmReason):
        problems.append(words.text("answer_page.unknown_reason", language))
    elif is_false_alarm and not entered.reason and question.needs_reason:
        problems.append(words.text("answer_page.needs_reason", language))
    if len(entered.note) > MAX_NOTE:
        problems.append(words.text("answer_page.long_note", language, n=len(entered.note), most=MAX_NOTE))
    if len(files) > most:
        problems.append(words.text("answer_page.many_photos", language, n=most))
    for number, file in enumerate([] if problems else files, start=1):
        try:
            photo = await _read_photo(file, decoders)
            photos[photo.id] = photo
        except PhotoRefused as refused:
            values = {"number": number, "megabytes": MAX_PHOTO_BYTES // 1_000_000}
            problems.append(words.text(f"answer_page.{refused.problem}", language, **values))
            status = 413 if refused.problem is PhotoProblem.TOO_LARGE else 422
    if problems:
        again = [words.text("answer_page.again", language)] if files else []
        return Filled(None, replace(entered, problems=[*problems, *again]), status, None)
    reason = FalseAlarmReason(entered.reason) if is_false_alarm and entered.reason else None
    verdict = None if entered.verdict == LATER else Verdict(entered.verdict)
    answer = Answer(verdict, reason, entered.note.strip() or None, list(photos.values()))
    seen = _only(form, f"seen{suffix}")
    return Filled(answer, entered, 200, int(seen) if seen.isdecimal() and len(seen) < 9 else None)


def _only(form: FormData, name: str) -> str:
    """Text of a field; empty where it is missing or given more than once."""
    texts = [value for value in form.getlist(name) if isinstance(value, str)]
    return texts[0] if len(texts) == 1 else ""


async def _read_photo(file: UploadFile | str, decoders: asyncio.Semaphore) -> Photo:
    if isinstance(file, str):
        raise PhotoRefused(PhotoProblem.UNKNOWN_FORMAT, "the photo is not a file")
    if (file.size or 0) > MAX_PHOTO_BYTES:
        raise PhotoRefused(PhotoProblem.TOO_LARGE, f"the photo has {file.size:,} bytes")
    async with one_of(decoders):
        return await run_in_threadpool(read_photo_apart, await file.read())
