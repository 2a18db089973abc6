"""Assessments that may be published: those that are as they were made, by their checksum and by the chain."""

from jobs.proof.chain import RESTORE, CoveredAssessments
from monitor.errors import BadData
from monitor.ledger.assessments import StoredAssessment
from monitor.ledger.transaction import Transaction


def sound_assessments(t: Transaction) -> tuple[dict[str, StoredAssessment], dict[str, str]]:
    """The newest sound assessment of every current site that has one, and by site what is wrong with a newer one."""
    covered = CoveredAssessments(t)
    sound: dict[str, StoredAssessment] = {}
    problems: dict[str, str] = {}
    for site, newest in t.latest_assessments(damaged=True).items():
        if newest.payload and covered.has(newest):
            sound[site] = newest
            continue
        problems[site] = damage(newest)
        if earlier := next((one for one in t.earlier_assessments(site) if covered.has(one)), None):
            sound[site] = earlier
    return sound, problems


def damage(newest: StoredAssessment) -> str:
    """The error that an assessment, the newest of its site, is not as it was made."""
    repair, what = "", "the chain of nights does not cover it as it is now"
    if not newest.payload:
        repair = f" To make it again, with those of its landscape: regrowth run --as-of {newest.as_of}."
        what = "its checksum is not that of its content"
    return (
        f"site {newest.site!r}: its assessment of {newest.as_of} in the ledger is not as it was made ({what}), so it "
        f"is not published; its pages stay as they are.{repair} {RESTORE}"
    )


def sound_or_error(t: Transaction) -> dict[str, StoredAssessment]:
    """The newest assessment of every current site that has one; raises BadData if one of them is damaged."""
    rows, problems = sound_assessments(t)
    if problems:
        raise BadData(next(iter(problems.values())))
    return rows
