"""The verdict on one site on one date with its evidence, and the series that it is drawn from."""

from dataclasses import dataclass, fields, replace
from datetime import date
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import xarray as xr

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
    """Sites and their controls through time, one entry an acquisition, site after site, ascending by date within one.

    All arrays have shape (n,) unless stated; NaN means not seen.
    """

    dates: np.ndarray
    """datetime64[D], strictly ascending within a site."""
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
    edge: np.ndarray | None = None
    """(site + 1,) entries of site k are those from ``edge[k]`` up to ``edge[k + 1]``; None: all are of one site."""

    @classmethod
    def of(cls, observed: Columns) -> "Series":
        """Series of one site from its observations (:mod:`monitor.series.columns`): the clearest one of each day."""
        columns = {name: values[None] for name, values in observed.items()}
        return replace(_clearest(columns, np.asarray(observed["accepted"], bool)[None]), edge=None)

    @classmethod
    def of_sites(cls, series: xr.Dataset, until: date) -> "Series":
        """Series of all sites of a landscape, up to the end of a day.

        Parameters
        ----------
        series : xr.Dataset
            As :func:`monitor.series.build.landscape_series` returns it.
        until : date
        """
        columns = {str(name): values.values for name, values in series.data_vars.items()}
        return _clearest(columns, columns["accepted"] & (columns["date"] <= np.datetime64(until, "D")))

    @property
    def edges(self) -> np.ndarray:
        """The same as `edge`, also of one site."""
        return np.array([0, self.dates.size]) if self.edge is None else self.edge

    @property
    def digest(self) -> str:
        """SHA-256 of the judged values of the only site, column by column in the order of the fields.

        Days are counted from 1970-01-01; days and values are little-endian numbers of 64 bits. A column without values
        is NaN throughout.
        """
        return self.digests[0]

    @property
    def digests(self) -> list[str]:
        """The digest of each site, see :attr:`digest`."""
        nothing = np.full(self.dates.size, np.nan)
        columns = (self.cover, self.control, self.control_2, self.clear, self.second, self.reference)
        plain = [
            nothing if values is None else np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8")
            for values in columns
        ]  # no -0, one NaN
        days = self.dates.astype("datetime64[D]").astype("<i8")
        digests = []
        for first, end in pairwise(self.edges.tolist()):
            content = sha256(days[first:end].tobytes())
            for values in plain:
                content.update(values[first:end].tobytes())
            digests.append(content.hexdigest())
        return digests

    def until(self, day: date) -> "Series":
        """The acquisitions of the only site up to the end of a day."""
        count = int(np.searchsorted(self.dates, np.datetime64(day, "D"), side="right"))
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        columns = {name: None if values is None else values[:count] for name, values in columns.items()}
        return Series(**columns)


def _clearest(columns: Columns, accepted: np.ndarray) -> Series:
    """The clearest accepted acquisition of each site and day, from (site, time) columns."""
    site, time = np.nonzero(accepted)
    day = columns["date"][site, time].astype("datetime64[D]")
    keys = (site.astype(np.int64) << 32) + day.astype(np.int64)
    chosen = clearest_each_day(keys, columns["clear_fraction"][site, time])
    site, time, day = site[chosen], time[chosen], day[chosen]
    column = {name: columns[name][site, time] for name in JUDGED_COLUMNS if name not in ("time", "accepted")}
    site_index, control_index = second_index(column)
    return Series(
        dates=day, cover=column["cover"], control=column["control_cover"], clear=column["clear_fraction"],
        control_2=_if_any(column["control_cover_2"]), reference=_if_any(column["reference_cover"]),
        second=_if_any(site_index - control_index), edge=np.searchsorted(site, np.arange(len(accepted) + 1)),
    )  # fmt: skip


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
    interval of theta does not. None where theta is unknown. [1]"""
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
    measured: float | None = None
    """Site minus control in this season to date, against the same weeks of the years before the start; None with fewer
    than three scenes, and without years before the start. [cover fraction]"""
    measured_se: float | None = None
    """Its standard error."""
    measured_season: float | None = None
    """The same of the last season that has ended. [cover fraction]"""
    measured_season_se: float | None = None
    contradiction: bool = False
    """Whether it and the model's estimate for that season differ by more than .05 and two standard errors, whether the
    uplift follows the season of the control or is green all the year round."""
    loss_from: float | None = None
    """The same of the year before the last sudden loss; None without a loss, and as `measured`. [cover fraction]"""
    loss_to: float | None = None
    """The same since that loss. [cover fraction]"""
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
    """False-alarm budget for ten years with which the episode was judged; None: unknown. [1]"""
    series_digest: str = ""
    """:attr:`Series.digest` of what was judged."""
    code_version: str = ""
    """Version of the program that judged."""


def assessment_to_json(assessment: Assessment) -> dict[str, Any]:
    """JSON values of an assessment: dates as text, null instead of NaN and infinity."""
    values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(assessment, enc_hook=np.generic.item))
    return values
