"""Assessments as a night makes them; only the fields that alerts depend on are chosen."""

from monitor.verdict.assessment import AlertLevel, Assessment, Status

NUMBERS = dict.fromkeys(
    ("probability", "theta", "theta_low", "theta_high", "uplift", "uplift_low", "uplift_high", "expected", "cover",
     "control_cover", "e_failure", "hectares", "hectares_failing")
)  # fmt: skip


def assessment(day, level, *, site="lowood", rule="failure", status=None, scene=None, n_scenes=None):
    """Assessment of the night of a day; its newest scene is of that day, or of the day `scene`."""
    scene = scene or day
    is_none = level is AlertLevel.NONE
    return Assessment(
        site=site, as_of=day, last_observed=scene, status=status or (Status.ON_TRACK if is_none else Status.FAILING),
        alert=level, alert_rule=None if is_none else rule, n_scenes=n_scenes or scene.toordinal(), n_pre=3, reasons=(),
        **NUMBERS,
    )  # fmt: skip
