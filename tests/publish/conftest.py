"""Made-up sites whose looks are known, from a well-behaved one to a hostile one."""

from dataclasses import replace
from datetime import date, datetime
from hashlib import sha256
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from PIL import Image
from scipy.ndimage import binary_erosion
from shapely.geometry import Polygon, box

from monitor.alerts.alert import AlertState, FalseAlarmReason, Verdict
from monitor.cube.grid import inside, outline, site_grid
from monitor.maps.worst_patch import WorstPatch
from monitor.publish.page_files import PagePicture
from monitor.publish.pages import site_pages
from monitor.publish.view import Chip, DetectionChance, FieldAnswer, FieldPhoto, SiteView
from monitor.series.field_rows import FieldRow
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import AlertLevel, Assessment, Status
from monitor.verdict.calibration import Calibration
from tests import builders

AS_OF = date(2021, 8, 20)


def pages_of(view: SiteView) -> dict[str, str]:
    """Pages of a site by language, as if its pictures were drawn."""
    drawn = (*view.chips, *view.shown_maps)
    whole = (0.0, 0.0, 100.0, 80.0)
    return site_pages(view, {name: PagePicture(file=f"{name}-01234567.png", window=whole) for name in drawn})


PLAN = Plan(A=0.3, k=0.9, L=0.3, too_early_years=1.5)


def make_site(id="ulan-03", *, name="Ulan Buh, plot 3", at=(106.9, 40.1), **more) -> Site:
    x, y = at
    ring = [(0, 0), (0.009, 0.001), (0.011, 0.006), (0.004, 0.0075), (-0.001, 0.004)]
    given = {
        "name": name, "geometry": Polygon([(x + a, y + b) for a, b in ring]), "start": date(2017, 4, 1),
        "plan": PLAN, "hectares": 48.26, "province": "Inner Mongolia", "version": "9f86d081884c7d65",
    }  # fmt: skip
    return builders.site(id, **(given | more))


def make_assessment(site: str = "ulan-03", **more) -> Assessment:
    return builders.assessment(site, **({"as_of": AS_OF, "hectares": 48.26} | more))


def make_undecided(site: str) -> Assessment:
    """A site without any outcome that is likely enough; its interval ends below what its probabilities allow for."""
    return make_assessment(
        site, status=Status.UNDECIDED, probability=None, p_failing=0.272, p_lagging=0.366, p_on_track=0.362,
        alert=AlertLevel.NONE, alert_rule=None, theta=0.2, theta_low=-0.22, theta_high=0.63, uplift=0.02,
        uplift_low=-0.024, uplift_high=0.07, expected=0.11, e_failure=1.4, reasons=("UNCERTAIN",),
    )  # fmt: skip


def make_view(*, share: float = 0.08, seed: int = 4, site: Site | None = None, assessment=None, **more) -> SiteView:
    """A view of a site that achieves `share` of its plan, over six seasons of Sentinel-2."""
    site = site or make_site()
    table = series(site, share, np.random.default_rng(seed))
    grid = site_grid(site.geometry)
    drawn = outline(site.geometry, grid)
    given = {
        "site": site, "assessment": assessment or make_assessment(site.id), "observations": table,
        "before": chip(date(2016, 9, 3), grid, 0.0, seed, drawn),
        "now": chip(date(2021, 8, 12), grid, share, seed + 1, drawn),
        "maps": maps(site, grid, share, seed), "judged_hectares": 40.1, "grid": grid, "outline": drawn,
        "alert": builders.alert(site.id, opened=date(2020, 7, 30), state=AlertState.ACKNOWLEDGED),
        "notice": {"en": "Demonstration: the fates are injected.", "zh": "演示：结局是人为设定的。"},
    }  # fmt: skip
    return SiteView(**(given | more))


def make_loss_view(id: str) -> SiteView:
    """A site that lost a quarter of its ground suddenly, with its worst patch and its control ground."""
    site = make_site(id, name="Burnt slope", at=(107.5, 40.4))
    a = make_assessment(
        id, status=Status.DISTURBED, alert_rule="disturbance", probability=0.98, loss_after=date(2021, 6, 25),
        loss_on=date(2021, 6, 30), loss_confirmed_on=date(2021, 8, 10), hectares_lost=12.34, hectares_lost_low=9.1,
        hectares_lost_high=16.6, reasons=("SUDDEN_DROP",),
    )  # fmt: skip
    view = make_view(site=site, assessment=a, share=0.6)
    grid, x, y = view.grid, *site.geometry.representative_point().coords[0]
    ring = ((x, y), (x + 0.002, y), (x + 0.002, y + 0.002), (x, y))
    patch = WorstPatch(latitude=y + 0.0005, longitude=x + 0.0015, hectares=8.1, ring=ring)
    units = outline(box(x - 0.004, y - 0.001, x - 0.003, y + 0.001), grid)
    pair = {
        name: replace(chip(day, grid, share, 3, view.outline), scene=name)
        for name, day, share in (("before_loss", date(2021, 6, 25), 0.6), ("after_loss", date(2021, 6, 30), 0.1))
    }
    return replace(
        view, patch=(patch, outline(Polygon(ring), grid)), maps=view.maps | {"loss": view.maps["failing"]}, **pair,
        **{name: replace(view.chips[name], controls=units) for name in ("before", "now")},
    )  # fmt: skip


FACTS = {
    "detectability": (
        DetectionChance(years=2, red=0.11, watch=0.42), DetectionChance(years=3.5, red=0.63, watch=0.87),
    ),
    "calibration": Calibration(
        source="placebos of the loess, tile T48", dated=date(2026, 11, 1), placebos=1234, scene_sd=0.025
    ),
    "elevation": 1432.4, "slope": 17.6,
}  # fmt: skip
"""All facts that a page shows only where they are known."""


@pytest.fixture(scope="session")
def field_photos() -> dict[str, bytes]:
    """Two photos from the field, by id."""
    photos = {}
    for colour in ((150, 120, 80), (90, 140, 70)):
        buffer = BytesIO()
        Image.new("RGB", (1600, 1200), colour).save(buffer, "JPEG")
        photos[sha256(buffer.getvalue()).hexdigest()] = buffer.getvalue()
    return photos


MEASURED = (
    *(
        FieldRow(site="ulan-03", date=date(year, 8, 5), kind="cover", value=value, n=20)
        for year, value in ((2019, 0.28), (2019, 0.33), (2021, 0.3), (2021, 0.24))
    ),
    FieldRow(
        site="ulan-03", date=date(2021, 8, 5), kind="survival", value=0.82, n=150,
        note="<script>alert(1)</script> {{ 7 * 7 }}",
    ),
    FieldRow(site="ulan-03", date=date(2021, 8, 6), kind="density", value=1650.0, n=4, lon=106.9042, lat=40.1031),
)  # fmt: skip
"""Measurements on the ground: cover of two summers, survival with a hostile note, density in a place."""


@pytest.fixture(scope="session")
def answers(field_photos) -> tuple[FieldAnswer, ...]:
    """Two answers from the field, the newer one with a note of several lines and photos."""
    first, second = field_photos
    return (
        FieldAnswer(
            day=date(2021, 8, 18), by="link", rule="failure", level="red", finding=Verdict.CONFIRMED, reason=None,
            note="Half of the seedlings are dry.\n  - north: 30 of 100 alive\n<script>alert(1)</script>\u202egnp.exe",
            photos=(
                FieldPhoto(
                    id=first, taken=datetime.fromisoformat("2021-08-17T09:30:00+08:00"), position=(40.1031, 106.9042)
                ),
                FieldPhoto(id=second, taken=None, position=None),
            ),
        ),
        FieldAnswer(
            day=date(2020, 8, 3), by="import", rule="failure", level="watch", finding=Verdict.FALSE_ALARM,
            reason=FalseAlarmReason.GRAZING, note=None,
        ),
    )  # fmt: skip


def series(site: Site, share: float, noise: np.random.Generator) -> pd.DataFrame:
    dates = pd.date_range("2015-08-01", AS_OF, freq="10D")
    season = np.exp(-0.5 * ((dates.day_of_year - 212) / 48.0) ** 2)
    rain = np.repeat(noise.normal(0, 0.12, 8), 60)[: len(dates)]
    control = 0.04 + 0.17 * season * (1 + rain) + noise.normal(0, 0.012, len(dates))
    years = (dates - pd.Timestamp(site.start)) / pd.Timedelta(days=365.25)
    cover = (
        control + share * np.array([site.plan.uplift(y) for y in years]) * season + noise.normal(0, 0.015, len(dates))
    )
    accepted = noise.random(len(dates)) > 0.4
    clear = np.where(accepted, noise.uniform(0.7, 1.0, len(dates)), noise.uniform(0.0, 0.6, len(dates)))
    unseen = clear < 0.25
    cover, control = np.clip(cover, 0, 1), np.clip(control, 0, 1)
    return pd.DataFrame({
        "site": site.id, "date": dates, "scene": [f"S2A_MSIL2A_{d:%Y%m%d}T033541" for d in dates], "source": "sample",
        "baseline": "02.14", "clear_fraction": clear, "n_pixels": (clear * 4800).astype(int),
        "ndvi": np.where(unseen, np.nan, 0.09 + 0.77 * cover), "cover": np.where(unseen, np.nan, cover),
        "control_ndvi": np.where(unseen, np.nan, 0.09 + 0.77 * control),
        "control_cover": np.where(unseen, np.nan, control), "accepted": accepted,
        "reason": np.where(accepted, "", np.where(dates.month.isin([12, 1, 2]), "SNOW", "CLOUD")),
        "control_2": np.nan, "second_index": np.where(unseen, np.nan, cover - 0.1),
        "control_second_index": np.where(unseen, np.nan, control - 0.1), "reference_cover": np.nan,
    })  # fmt: skip


def ground(grid: GeoBox, seed: int) -> np.ndarray:
    """Smooth made-up ground, 0..1."""
    rows, columns = np.mgrid[: grid.shape[0], : grid.shape[1]]
    noise = np.random.default_rng(seed)
    waves = sum(np.sin(columns / a + p) * np.cos(rows / b + q) for a, b, p, q in noise.uniform(3, 12, (5, 4)))
    return 0.5 + 0.12 * waves + noise.normal(0, 0.03, grid.shape)


def chip(day: date, grid: GeoBox, share: float, seed: int, drawn: np.ndarray) -> Chip:
    green = share * ground(grid, seed)
    rgb = np.stack([0.24 - 0.12 * green, 0.19 - 0.05 * green, 0.13 - 0.06 * green], axis=-1) * (
        0.8 + 0.4 * ground(grid, 1)[..., None]
    )
    picture = (1 + 254 * np.sqrt(np.clip(rgb, 0, 0.35) / 0.35)).astype(np.uint8)
    picture[:6, :20] = 0
    return Chip(date=day, scene=f"{day}", size=(grid.shape.x, grid.shape.y), rgb=picture, outline=drawn, pixel=20.0)


def maps(site: Site, grid: GeoBox, share: float, seed: int) -> dict[str, xr.DataArray]:
    texture = ground(grid, seed)
    within = inside(site.geometry, grid)
    edge = within & ~binary_erosion(within, np.ones((3, 3)), iterations=2)
    layers = {
        "ndvi": 0.2 + 0.3 * texture, "cover": 0.15 + 0.3 * texture,
        "slope": 0.05 * (share - 0.3) + 0.02 * (texture - 0.5), "uplift": share * 0.3 + 0.2 * (texture - 0.5),
        "failing": np.where(edge, np.nan, np.clip(1.2 - share - 0.4 * texture, 0, 1)),
    }  # fmt: skip
    return {name: wrap_xr(np.where(within, values, np.nan).astype(np.float32), grid) for name, values in layers.items()}


def bare(view: SiteView, **more) -> SiteView:
    """The site without any scene."""
    nothing = dict.fromkeys(
        ("theta", "theta_low", "theta_high", "uplift", "uplift_low", "uplift_high", "cover", "control_cover",
         "probability", "p_failing", "p_lagging", "p_on_track", "e_failure", "alert_rule", "last_observed")
    )  # fmt: skip
    none = {"status": Status.INSUFFICIENT_DATA, "alert": AlertLevel.NONE, "n_scenes": 0, "n_pre": 0}
    return replace(
        view, assessment=replace(view.assessment, **none, **nothing, **({"reasons": ("FEW_SCENES",)} | more)),
        observations=view.observations[:0], before=None, now=None, maps={}, judged_hectares=None, grid=None,
        outline=None, alert=None, notice=None,
    )  # fmt: skip


def make_programme(n: int) -> list[tuple[Site, Assessment]]:
    """So many sites of every status, spread over northern China."""
    noise = np.random.default_rng(7)
    known = {
        Status.FAILING: (0.05, AlertLevel.RED), Status.DISTURBED: (0.4, AlertLevel.RED),
        Status.LAGGING: (0.45, AlertLevel.WATCH),
        Status.UNDECIDED: (0.55, AlertLevel.NONE), Status.INSUFFICIENT_DATA: (None, AlertLevel.NONE),
        Status.TOO_EARLY: (0.6, AlertLevel.NONE), Status.ON_TRACK: (0.95, AlertLevel.NONE),
        Status.RECOVERED: (1.2, AlertLevel.NONE),
    }  # fmt: skip
    statuses = [*known, *[Status.ON_TRACK] * 6, Status.TOO_EARLY]
    rows = []
    for i in range(n):
        status = statuses[i % len(statuses)]
        theta, level = known[status]
        theta = None if theta is None else theta + float(noise.normal(0, 0.05))
        site = make_site(
            f"site-{i:05d}", name=f"Township {i // 40}, plot {i % 40}", hectares=float(noise.uniform(5, 250)),
            at=(float(noise.uniform(98, 115)), float(noise.uniform(34, 43))),
        )  # fmt: skip
        rule = {Status.DISTURBED: "disturbance"}.get(status, "failure") if level is not AlertLevel.NONE else None
        rows.append((site, make_assessment(
            site.id, status=status, theta=theta, theta_low=None if theta is None else theta - 0.2,
            theta_high=None if theta is None else theta + 0.2, alert=level, alert_rule=rule,
            uplift=None if theta is None else theta * 0.289, reasons=(),
            probability=None if theta is None or status is Status.UNDECIDED else 0.9,
        )))  # fmt: skip
    return rows


HOSTILE = "<script>alert(1)</script>{{7*7}}\r\nBcc: all@example.org\u202egnp.exe=cmd|'/C calc'!A0"
HOSTILE_SITE = make_site(
    "../../etc/<b>passwd", name=HOSTILE, name_zh=f"中{HOSTILE}", province=HOSTILE, partner=HOSTILE,
    manager_name=HOSTILE, geometry=box(106.9, 40.1, 106.91, 40.105),
)  # fmt: skip
