"""The assessments that may be published: those that are as they were made, by their checksum and by the chain."""

from jobs.proof.chain import RESTORE, CoveredAssessments
from monitor.errors import BadData
from monitor.ledger.rows import Payload
from monitor.ledger.transaction import Transaction


def sound_assessments(t: Transaction) -> tuple[dict[str, Payload], dict[str, str]]:
    """The newest sound assessment of every current site, and what is wrong with a newer one.

    Parameters
    ----------
    t : Transaction, of the ledger

    Returns
    -------
    rows : dict
        By site, the newest assessment that is as it was made; columns of
        :class:`monitor.ledger.models.AssessmentRow` without `run`. A site without one is left out.
    problems : dict
        By site, the error if its newest assessment is another one, which is damaged.
    """
    covered = CoveredAssessments(t)
    rows: dict[str, Payload] = {}
    problems: dict[str, str] = {}
    for site, (day, newest) in t.latest_rows().items():
        if newest is not None and covered.has(newest):
            rows[site] = newest
            continue
        if newest is None:
            repair = f" To make it again: regrowth run --as-of {day} --site {site}."
            what = "its checksum is not that of its content"
        else:
            repair, what = "", "the chain of nights does not cover it as it is now"
        problems[site] = (
            f"site {site!r}: its assessment of {day} in the ledger is not as it was made ({what}), so it is not "
            f"published; its pages stay as they are.{repair} {RESTORE}"
        )
        sound = next((row for row in t.sound_assessments(site) if covered.has(row)), None)
        if sound is not None:
            rows[site] = sound
    return rows, problems


def sound_or_error(t: Transaction) -> dict[str, Payload]:
    """The newest assessment of every current site that has one; see :func:`sound_assessments`.

    Raises
    ------
    BadData
        One of them is damaged.
    """
    rows, problems = sound_assessments(t)
    if problems:
        raise BadData(next(iter(problems.values())))
    return rows
