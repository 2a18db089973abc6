"""The verdict on one site on one date with its evidence, and the series that it is drawn from."""

from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np

from monitor.series.columns import JUDGED_COLUMNS, Columns, clearest_each_day, second_index


class Status(StrEnum):
    """Status of a site: what is most likely true."""

    INSUFFICIENT_DATA = "insufficient_data"
    TOO_EARLY = "too_early"
    UNDECIDED = "undecided"
    ON_TRACK = "on_track"
    LAGGING = "lagging"
    FAILING = "failing"
    DISTURBED = "disturbed"
    RECOVERED = "recovered"


class AlertLevel(StrEnum):
    """Level of the alert that people receive."""

    NONE = "none"
    WATCH = "watch"
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A site and its control through time, one entry an acquisition, ascending by date.

    All arrays have shape (n,); NaN means not seen.
    """

    dates: np.ndarray
    """datetime64[D], strictly ascending."""
    cover: np.ndarray
    """Mean vegetation cover of the site. [1]"""
    control: np.ndarray
    """Mean vegetation cover of the control units in the same scene. [1]"""
    control_2: np.ndarray | None = None
    """Mean vegetation cover of the second ring of control units, where there is one. [1]"""
    clear: np.ndarray | None = None
    """Clear share of the site; None: every row counts as clear. [1]"""
    second: np.ndarray | None = None
    """A second, independent index of the site minus that of its control (NDMI or NBR), to confirm a disturbance. [1]"""
    reference: np.ndarray | None = None
    """Cover, in the same scene, of nearby ground that was, before the start, in the state that the plan aims at. Needed
    for ``recovered``. [1]"""

    @classmethod
    def of(cls, observed: Columns) -> "Series":
        """Series from a site's observations (:mod:`monitor.series.columns`): the clearest accepted one of each day."""
        accepted = np.flatnonzero(observed["accepted"])
        chosen = accepted[clearest_each_day(observed["date"][accepted], observed["clear_fraction"][accepted])]
        column = {name: observed[name][chosen] for name in JUDGED_COLUMNS if name not in ("time", "accepted")}
        site_index, control_index = second_index(column)
        return cls(
            dates=observed["date"][chosen],
            cover=column["cover"],
            control=column["control_cover"],
            control_2=_if_any(column["control_cover_2"]),
            reference=_if_any(column["reference_cover"]),
            clear=column["clear_fraction"],
            second=_if_any(site_index - control_index),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the judged values, column by column in the order of the fields.

        Days are counted from 1970-01-01; days and values are little-endian numbers of 64 bits. A column without values
        is NaN throughout.
        """
        nothing = np.full(self.dates.size, np.nan)
        columns = (self.cover, self.control, self.control_2, self.clear, self.second, self.reference)
        content = sha256(self.dates.astype("datetime64[D]").astype("<i8").tobytes())
        for values in columns:
            values = nothing if values is None else np.where(np.isnan(values), np.nan, values + 0.0)  # no -0, one NaN
            content.update(values.astype("<f8").tobytes())
        return content.hexdigest()

    def until(self, day: date) -> "Series":
        """The acquisitions up to the end of a day."""
        count = int(np.searchsorted(self.dates, np.datetime64(day, "D"), side="right"))
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        columns = {name: None if values is None else values[:count] for name, values in columns.items()}
        return Series(**columns)


def _if_any(values: np.ndarray) -> np.ndarray | None:
    return values if np.isfinite(values).any() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The verdict on one site on one date."""

    site: str
    as_of: date
    last_observed: date | None
    """Date of the last accepted scene."""
    status: Status
    probability: float | None
    """Probability of `status`; None where it is undecided, too early or lacks data. [1]"""
    p_failing: float | None = None
    """P(theta < .25). [1]"""
    p_lagging: float | None = None
    """P(.25 <= theta < .7). [1]"""
    p_on_track: float | None = None
    """P(theta >= .7). The three sum to 1; they allow for a plan up to a fifth too large or a year late, which the
    interval of theta does not. None where there is no theta. [1]"""
    alert: AlertLevel
    alert_rule: str | None
    """``failure``, ``disturbance`` or ``erosion``; None without an alert."""
    theta: float | None
    """Share of the expected uplift achieved. [1]"""
    theta_low: float | None
    theta_high: float | None
    uplift: float | None
    """Cover over the counterfactual now. [cover fraction]"""
    uplift_low: float | None
    uplift_high: float | None
    expected: float | None
    """Uplift that the plan expected by now. [cover fraction]"""
    cover: float | None
    """Mean over the current growing season, the last one out of season. [cover fraction]"""
    control_cover: float | None
    e_failure: float | None
    """Highest evidence of this episode against "at least half the plan", capped at 1e12."""
    n_scenes: int
    """Accepted scenes in all."""
    n_pre: int
    """Accepted scenes before the start."""
    reasons: tuple[str, ...]
    """Codes of :mod:`monitor.verdict.reasons`."""
    hectares: float | None
    """Geodesic area of the site. [ha]"""
    hectares_failing: float | None
    """Failing area; None where unknown. [ha]"""
    hectares_failing_low: float | None = None
    hectares_failing_high: float | None = None
    """Upper limit of its 95 % interval. [ha]"""
    hectares_failing_on: date | None = None
    """Date of the last late-season scene whose pixels were used."""
    e_uplift: float | None = None
    """Highest evidence of this episode against "no uplift at all", guarded like that of failure, capped at 1e12."""
    uplift_confirmed: bool = False
    """Whether that evidence has reached the bar of the certificate: such growth is not chance, however often one looks.
    The growth may have been lost since."""
    uplift_confirmed_on: date | None = None
    """Date of the scene that confirmed it."""
    loss_after: date | None = None
    """Date of the last scene before a sudden loss, as far as can be seen; None where it is the first scene, and without
    a confirmed loss in the last year."""
    loss_on: date | None = None
    """Date of the scene that first shows it; a small loss may have come weeks earlier."""
    loss_confirmed_on: date | None = None
    """Date of the scene that confirmed it."""
    hectares_lost: float | None = None
    """Area that lost a quarter of its cover or more; None without a loss, and where unknown. [ha]"""
    hectares_lost_low: float | None = None
    hectares_lost_high: float | None = None
    """Upper limit of its 95 % interval. [ha]"""
    neighbours: int | None = None
    """Other sites of the same landscape; None without a loss."""
    neighbours_lost: int | None = None
    """How many of them lost cover in the same weeks, as known the day before."""
    soil_loss_ratio: float | None = None
    """Soil loss relative to what it would be without the work, 0..1 where the work helps; erosion control only."""
    soil_loss_ratio_low: float | None = None
    soil_loss_ratio_high: float | None = None
    """Limits of its 95 % interval; None: without limit, since the ground may lose no soil without the work."""
    erosion_grade: str | None = None
    """Grade of SL 190 by the season's cover and the slope; erosion control with a known slope only."""
    erosion_grade_without: str | None = None
    """Grade that the cover without the work would give."""
    cover_basis: str = ""
    """What the endmembers of the cover rest on, and how uncertain absolute cover is."""
    plan_cover: str = "index"
    """Cover that the plan promises: ``index``, or ``field``, which was converted by `field_factor` before judging."""
    field_cover: float | None = None
    """Cover in the field that `cover` stands for: `cover` / `field_factor`, at most 1; None: unknown. [1]"""
    field_cover_low: float | None = None
    field_cover_high: float | None = None
    """By the upper and lower end of the factor; its error is not all of the error of absolute cover."""
    field_factor: float | None = None
    """Index cover per field cover; None: unknown for the index of the biome. [1]"""
    field_factor_low: float | None = None
    field_factor_high: float | None = None
    """Range of measurements elsewhere, or 95 % interval of local field rows."""
    field_factor_rows: int = 0
    """Local field rows of cover behind the factor; 0: measured elsewhere. Local rows never change a verdict."""
    notes: str = ""
    """Parts of this verdict that rest on unverified values."""
    calibration: str = ""
    """Hash of the constants of the verdict."""
    calibration_source: str = ""
    """Origin of the constants."""
    calibration_placebos: int = 0
    """Number of placebo series behind the constants; 0: none, they are the defaults."""
    calibration_dated: date | None = None
    """Last day of the data behind the constants."""
    episode: int = 1
    """Number of the episode; 2 and more: work restarted, see ``regrowth sites replant``."""
    alpha: float | None = None
    """Lifetime false-alarm budget with which the episode was judged; None: unknown. [1]"""
    series_digest: str = ""
    """:attr:`Series.digest` of what was judged."""
    code_version: str = ""
    """Version of the program that judged."""


def assessment_to_json(assessment: Assessment) -> dict[str, Any]:
    """JSON values of an assessment: dates as text, null instead of NaN and infinity."""
    values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(assessment, enc_hook=np.generic.item))
    return values
