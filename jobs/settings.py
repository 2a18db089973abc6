"""Settings: ``regrowth.toml`` and ``REGROWTH_*``, read once into frozen records.

The environment wins over the file: ``REGROWTH_LEDGER__URL`` is ``url`` in ``[ledger]``. Relative paths count from the
folder of the file. Unknown keys are errors that name the nearest known one.
"""

import difflib
import os
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from jobs.logs import hide_passwords
from monitor.errors import BadConfiguration

_CLOSED = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Registry(BaseModel):
    """``[registry]``."""

    model_config = _CLOSED
    path: Path = Path("aoi/sites.geojson")
    controls: Path | None = None
    """Control ground that people have named; None: a ring round each site."""


class SourceSettings(BaseModel):
    """``[source]``, or one of several ``[[source]]`` in order of preference."""

    model_config = _CLOSED
    kind: Literal["earthengine", "stac", "sample"]
    since: date = date(2017, 1, 1)
    until: date | None = None
    """Last day that is taken from this source, for instance of Landsat before Sentinel-2; None: no end."""
    url: str | None = None
    collections: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    project: str | None = None
    seed: int = Field(default=1, ge=0)
    """Deals the fates of the sample."""


class Terrain(BaseModel):
    """``[terrain]``: an elevation model; without one slopes are known only where the registry tells them."""

    model_config = _CLOSED
    path: Path | None = None
    """A GeoTIFF, or a folder of them."""
    collection: str | None = None
    """``COPERNICUS/DEM/GLO30`` of Earth Engine, or of a STAC catalogue, for instance ``cop-dem-glo-30``."""
    url: str | None = None
    """Of that catalogue, if it is not the source's."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path and self.collection) or (self.url and not self.collection):
            msg = "give either path, or collection (and its url)"
            raise ValueError(msg)
        return self


class Rain(BaseModel):
    """``[rain]``: a rainfall product; without one drought is judged from the control ground alone."""

    model_config = _CLOSED
    path: Path | None = None
    """A CSV (date, mm), a NetCDF, or a folder of GeoTIFFs."""
    variable: str | None = None
    """In a NetCDF of several."""
    collection: Literal["UCSB-CHG/CHIRPS/DAILY"] | None = None
    """Of Earth Engine."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path and self.collection) or (self.variable and not self.path):
            msg = "give either path (and variable), or collection"
            raise ValueError(msg)
        return self


class Programme(BaseModel):
    """``[programme]``."""

    model_config = _CLOSED
    pledge_hectares: float | None = Field(default=None, gt=0)
    """What was pledged; None: not told. [ha]"""


class Store(BaseModel):
    """``[store]``."""

    model_config = _CLOSED
    root: Path = Path("store")


class LedgerSettings(BaseModel):
    """``[ledger]``."""

    model_config = _CLOSED
    url: str = "sqlite:///regrowth.db"


class Engine(BaseModel):
    """``[engine]``."""

    model_config = _CLOSED
    scheduler: str = Field(default="", pattern=r"^(|processes|[a-z]+://.+)$")
    """Empty: threads. ``processes``, or the address of a dask scheduler."""


class Outputs(BaseModel):
    """``[outputs]``."""

    model_config = _CLOSED
    root: Path = Path("outputs")


class Alerts(BaseModel):
    """``[alerts]``."""

    model_config = _CLOSED
    alpha: float = Field(default=0.05, gt=0, lt=1)


class Settings(BaseSettings):
    """All settings of one installation."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        env_prefix="REGROWTH_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )
    registry: Registry = Registry()
    source: tuple[SourceSettings, ...] = ()
    terrain: Terrain = Terrain()
    rain: Rain = Rain()
    programme: Programme = Programme()
    store: Store = Store()
    ledger: LedgerSettings = LedgerSettings()
    engine: Engine = Engine()
    outputs: Outputs = Outputs()
    alerts: Alerts = Alerts()

    @field_validator("source", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file."""
        return env_settings, init_settings


def load(path: Path | None) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path : Path or None
        The file asked for; None: ``REGROWTH_CONFIG``, else ``regrowth.toml`` in the working directory.

    Raises
    ------
    BadConfiguration
        The file is missing or something in it does not hold.
    """
    chosen = path or Path(os.environ.get("REGROWTH_CONFIG") or "regrowth.toml")
    try:
        values = tomllib.loads(chosen.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = (
            f"no configuration at {chosen}; name one by --config or REGROWTH_CONFIG, or see the README for a first one"
        )
        raise BadConfiguration(msg) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{chosen} cannot be read: {error}"
        raise BadConfiguration(msg) from error
    try:
        settings = Settings(**values)
    except ValidationError as error:
        msg = f"{chosen}: {_told(error)}"
        raise BadConfiguration(msg) from error
    except SettingsError as error:  # names the field; the content may be secret
        field = re.search(r'field "(\w+)"', str(error))
        name = f"REGROWTH_{field[1].upper()}" if field else "a variable REGROWTH_..."
        msg = f"{name} in the environment is not JSON; write it as JSON, or a section's keys as REGROWTH_SECTION__KEY"
        raise BadConfiguration(msg) from error
    hide_passwords(
        [settings.ledger.url, settings.engine.scheduler, settings.terrain.url, *(one.url for one in settings.source)]
    )
    if not settings.source:
        msg = f'{chosen}: there is no [source]; add one with kind = "stac", "earthengine" or "sample"'
        raise BadConfiguration(msg)
    return _rooted(settings, chosen.resolve().parent)


def _placed(source: SourceSettings, folder: Path) -> SourceSettings:
    """Local catalogues and folders of a source, counted from the folder of the configuration."""

    def placed(name: str) -> str:
        here = folder / name
        local = "://" not in name and (name.startswith((".", "/")) or here.exists())
        return str(here.resolve()) if local else name

    url = placed(source.url) if source.kind == "stac" and source.url else source.url
    return source.model_copy(update={"url": url, "allow_hosts": tuple(placed(name) for name in source.allow_hosts)})


def _told(error: ValidationError) -> str:
    """The first problems in one line, with the nearest known key for an unknown one."""
    told = []
    for problem in error.errors()[:3]:
        place = [str(part) for part in problem["loc"]]
        if problem["type"] == "extra_forbidden":
            known = _known(place[:-1])
            near = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.0)
            told.append(f"unknown key {'.'.join(place)!r}; the nearest known one is {near[0]!r}")
        else:
            told.append(f"{'.'.join(place)}: {problem['msg']}")
    return "; ".join(told)


def _known(place: list[str]) -> list[str]:
    if not place:
        return list(Settings.model_fields)
    sections: dict[str, type[BaseModel]] = {
        "registry": Registry, "source": SourceSettings, "terrain": Terrain, "rain": Rain, "programme": Programme,
        "store": Store, "ledger": LedgerSettings, "engine": Engine, "outputs": Outputs, "alerts": Alerts,
    }  # fmt: skip
    return list(sections[place[0]].model_fields)


def _rooted(settings: Settings, folder: Path) -> Settings:
    def rooted(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    try:
        if settings.ledger.url.count("@") > 1:  # what stands before the first and after it would pass for other parts
            raise ArgumentError
        url = make_url(settings.ledger.url)
    except (ArgumentError, ValueError) as error:  # a port that is no number is a ValueError that quotes it
        msg = (
            "[ledger] url is no database URL; write for instance sqlite:///regrowth.db or "
            "postgresql+psycopg://host:5432/name; @, : and / in a password are written %40, %3A and %2F"
        )
        raise BadConfiguration(msg) from error
    if url.drivername.startswith("sqlite") and url.database and url.database != ":memory:":
        url = url.set(database=str(folder / url.database))
    return settings.model_copy(
        update={
            "registry": Registry(path=folder / settings.registry.path, controls=rooted(settings.registry.controls)),
            "source": tuple(_placed(source, folder) for source in settings.source),
            "terrain": settings.terrain.model_copy(update={"path": rooted(settings.terrain.path)}),
            "rain": settings.rain.model_copy(update={"path": rooted(settings.rain.path)}),
            "store": Store(root=folder / settings.store.root),
            "outputs": Outputs(root=folder / settings.outputs.root),
            "ledger": LedgerSettings(url=url.render_as_string(hide_password=False)),
        }
    )
