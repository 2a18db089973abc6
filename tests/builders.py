"""What many tests begin with: sites, verdicts, scenes, installations. Each is valid, and any value may be replaced."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry

from jobs.cli import main
from jobs.imagery.sources import Sources
from jobs.runtime.settings import Settings, load
from monitor.alerts.alert import Alert, AlertState, alert_id
from monitor.imagery.source import Scene, Source
from monitor.publish import products
from monitor.publish.index.programme_view import ProgrammeView
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import AlertLevel, Assessment, Status

PLAN = Plan(A=0.2, k=0.45, L=1.0, too_early_years=2.0)  # plan of a site, unless another is given


def site(id: str = "a", **more: Any) -> Site:
    """A planted site on loess, begun in April 2021."""
    values = {
        "id": id, "name": id, "geometry": box(100, 36, 100.01, 36.01), "start": date(2021, 4, 1),
        "intervention": "planting", "biome": "loess", "plan": PLAN, "hectares": 100.0, "version": "v1",
    }  # fmt: skip
    return Site(**(values | more))


def assessment(site: str = "a", **more: Any) -> Assessment:
    """The verdict on a site that fails, with a red alert, in August 2021."""
    values = {
        "site": site, "as_of": date(2021, 8, 20), "last_observed": date(2021, 8, 12), "status": Status.FAILING,
        "probability": 0.97, "p_failing": 0.97, "p_lagging": 0.024, "p_on_track": 0.006, "alert": AlertLevel.RED,
        "alert_rule": "failure", "theta": 0.08, "theta_low": -0.07, "theta_high": 0.23, "uplift": 0.023,
        "uplift_low": -0.02, "uplift_high": 0.066, "expected": 0.289, "cover": 0.21, "control_cover": 0.19,
        "e_failure": 412.7, "n_scenes": 78, "n_pre": 24, "reasons": ("LOW_UPLIFT",), "hectares": 94.6,
        "hectares_failing": None,
    }  # fmt: skip
    return Assessment(**(values | more))


def alert(site: str = "a", rule: str = "failure", *, opened: date, **more: Any) -> Alert:
    """A red alert that was opened on a day and is open."""
    values = {"level": AlertLevel.RED, "state": AlertState.OPEN, "opened": opened, "updated": opened}
    return Alert(**({"id": alert_id(site, rule), "site": site, "rule": rule} | values | more))


def scene(id: str, time: datetime | date, **more: Any) -> Scene:
    """A Sentinel-2 scene of a time, or of the beginning of a day."""
    if not isinstance(time, datetime):
        time = datetime(time.year, time.month, time.day, tzinfo=UTC)
    values = {
        "id": id, "acquisition": f"s2/{id}", "time": time, "sensor": "sentinel-2a", "baseline": "05.09",
        "source": "test", "scale": 1e-4, "offset": 0.0, "quality": "scl",
    }  # fmt: skip
    return Scene(**(values | more))


def plan_properties(plan: Plan) -> dict[str, float]:
    """A plan as properties of the registry."""
    return {"plan_A": plan.A, "plan_k": plan.k, "plan_L": plan.L, "too_early_years": plan.too_early_years}


def feature(id: str, outline: BaseGeometry, **properties: Any) -> dict[str, Any]:
    """A planted site on loess as an entry of the registry; `start` is to be given."""
    common = {"id": id, "name": id, "intervention": "planting", "biome": "loess"}
    return {"type": "Feature", "geometry": mapping(outline), "properties": common | properties}


def write_features(path: Path, features: Iterable[Mapping[str, Any]]) -> None:
    """Write features as GeoJSON."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}), encoding="utf-8")


@contextmanager
def edited_features(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Features of a registry, which are written back as they are left."""
    registry = json.loads(path.read_text(encoding="utf-8"))
    yield registry["features"]
    path.write_text(json.dumps(registry), encoding="utf-8")


def installed(folder: Path, features: Iterable[Mapping[str, Any]], source: str = 'kind = "sample"') -> Settings:
    """Set up an installation in a folder: ``regrowth.toml`` with a source, or more text after it, and the registry."""
    folder.mkdir(parents=True, exist_ok=True)
    write_features(folder / "sites.geojson", features)
    text = f'[registry]\npath = "sites.geojson"\n[source]\n{source}\n'
    (folder / "regrowth.toml").write_text(text, encoding="utf-8")
    return load(folder / "regrowth.toml")


def use_sources(patch: pytest.MonkeyPatch, *sources: Source, until: date | None = None) -> None:
    """Let nights take their scenes from these sources."""

    def opened(settings: Any) -> Sources:
        return Sources([(one, settings[0].model_copy(update={"until": until})) for one in sources])

    patch.setattr("jobs.night.pipeline.open_sources", opened)


def regrowth(*arguments: object, config: Path | None = None) -> tuple[int, str, str]:
    """Run a command in this process; returns its exit status and what it wrote on stdout and stderr."""
    options = [] if config is None else ["--config", str(config)]
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err, pytest.raises(SystemExit) as left:
        main([*map(str, arguments), *options])
    assert "Traceback" not in err.getvalue()
    return left.value.code or 0, out.getvalue(), err.getvalue()


def printed(*arguments: object, status: int = 0, config: Path | None = None) -> str:
    """All that a command writes which ends with a status."""
    left, out, err = regrowth(*arguments, config=config)
    assert left == status, out + err
    return out + err


def printed_json(*arguments: object, status: int = 0, config: Path | None = None) -> Any:
    """The JSON that a command writes on stdout which ends with a status."""
    left, out, err = regrowth(*arguments, "--json", config=config)
    assert left == status, out + err
    return json.loads(out)


def write_index(rows, alerts, root, as_of, *, ground_keys=MappingProxyType({}), **more) -> None:
    """Write tables and index of some sites under a root."""
    view = ProgrammeView(rows=rows, alerts={alert.site: alert for alert in alerts}, as_of=as_of, **more)
    products.write_index(view, root, ground_keys)
