"""Inputs of an assessment of a site, from the ledger: for the self-check and for evidence."""

from datetime import date

from jobs.register.calibration import constants_used
from jobs.register.episodes import in_episode
from jobs.runtime.records import from_json
from monitor.errors import BadData
from monitor.evidence.site_check import Assessed
from monitor.imagery.auxiliary.terrain import Terrain, with_slope
from monitor.ledger.assessments import StoredAssessment
from monitor.ledger.transaction import Transaction
from monitor.sites.promise import promises_until
from monitor.sites.site import Site, ground_key
from monitor.verdict.assessment import Assessment
from monitor.verdict.reasons import Reason


def assessed_site(t: Transaction, site: str, row: StoredAssessment) -> Assessed:
    """A site as one of its assessments judged it; raises BadData if the ledger lacks what the assessment names."""
    assessment = from_json(row.payload, Assessment)
    version, constants = t.site_version(site, row.version), constants_used(assessment, t.calibrations())
    if version is None or constants is None:
        what = f"version {row.version} of the site" if version is None else "its constants"
        raise BadData(
            f"site {site!r}: the ledger no longer has {what}, on which its assessment of {assessment.as_of} rests; "
            "use the ledger from a backup of that time, or run a night and write evidence of its assessment"
        )
    registered = from_json(version, Site)
    known = Reason.TERRAIN_UNKNOWN.value not in assessment.reasons
    terrain = t.ground_data(ground_key(registered), "terrain") if known else None
    judged = in_episode(registered, t.episodes(site), assessment.episode)
    return Assessed(
        site=registered, judged=with_slope(judged, Terrain.from_json(terrain) if terrain else None), row=row.record,
        assessment=assessment, constants=constants,
        promises=promises_until(t.promises(site), registered, date.fromisoformat(row.as_of)),
    )  # fmt: skip
