"""Settings: ``regrowth.toml`` and ``REGROWTH_*``, read once into frozen records.

The environment overrides the file: ``REGROWTH_LEDGER__URL`` sets ``url`` in ``[ledger]``. Relative paths start from the
folder of the file. Unknown keys are errors that name the nearest known key.
"""

import difflib
import os
import re
import tomllib
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    InstanceOf,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from jobs.runtime.biome_settings import BiomePlanSettings, BiomeSettings, Section, own_biomes
from jobs.runtime.logs import hide_passwords, hide_paths
from jobs.runtime.secrets import channel_variable, provide_bucket_keys
from monitor.cube.bucket import LOCAL_FOLDER, SCHEME, BucketFolder, is_this_machine, local_folder
from monitor.errors import BadConfiguration, BadData
from monitor.publish.index.basemap import Basemap

_ADDRESS = r"^(|https?://[^\s?#@]+)$"  # an address without user, query and fragment, or nothing


def _without_scheme(value: Any) -> Any:
    if isinstance(value, str) and (scheme := re.match(r"[a-z][a-z0-9+.-]+:/", value, re.IGNORECASE)):
        msg = f"'{scheme[0]}/...' is an address; but for stores (s3://) give a path on a local or mounted disk"
        raise ValueError(msg)
    return value


LocalPath = Annotated[Path, BeforeValidator(_without_scheme)]  # an address would become a local folder of that name


class RegistrySettings(Section):
    """``[registry]``: the file of sites."""

    path: LocalPath = Path("aoi/sites.geojson")
    controls: LocalPath | None = None  # named control ground; None: units are chosen in a ring round each site


class SourceSettings(Section):
    """``[source]``, or one of several ``[[source]]`` in order of preference."""

    kind: Literal["earthengine", "stac", "sample"]
    since: date = date(2017, 1, 1)
    until: date | None = None  # last day used from this source, for instance of Landsat before Sentinel-2; None: no end
    url: str | None = None
    collections: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    project: str | None = None
    eecu_hours_per_month: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # a month [EECU h]
    seed: int = Field(default=1, ge=0)  # seed that assigns the fates of the sites of the embedded sample

    @model_validator(mode="after")
    def _budget_of_earth_engine(self) -> Self:
        if self.eecu_hours_per_month is not None and self.kind != "earthengine":
            raise ValueError(f"eecu_hours_per_month belongs to a source of kind 'earthengine', not {self.kind!r}")
        return self


class TerrainSettings(Section):
    """``[terrain]``: an elevation model. Without one only slopes that the registry gives are known."""

    path: LocalPath | None = None  # a GeoTIFF, or a folder of them
    collection: str | None = None  # of Earth Engine (COPERNICUS/DEM/GLO30) or of a STAC catalogue
    url: str | None = None  # URL of that catalogue; None: that of the source

    @model_validator(mode="after")
    def _path_or_collection(self) -> Self:
        if (self.path and self.collection) or (self.url and not self.collection):
            raise ValueError("give either path, or collection (and its url)")
        return self


class RainSettings(Section):
    """``[rain]``: a rainfall product. Without one only the control ground shows a drought."""

    path: LocalPath | None = None  # a CSV (date, mm), a NetCDF, or a folder of GeoTIFFs
    variable: str | None = None  # name of the variable, if a NetCDF has several
    collection: Literal["UCSB-CHG/CHIRPS/DAILY"] | None = None  # collection of Earth Engine

    @model_validator(mode="after")
    def _path_or_collection(self) -> Self:
        if (self.path and self.collection) or (self.variable and not self.path):
            raise ValueError("give either path (and variable), or collection")
        return self


class ProgrammeSettings(Section):
    """``[programme]``: the pledge, and the path to it."""

    pledge_hectares: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # pledged area; None: unknown [ha]
    path: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default={})  # by year, at its end [ha]

    @model_validator(mode="after")
    def _possible_path(self) -> Self:
        for year in self.path:
            if not re.fullmatch(r"(19|20|21)\d\d", year):
                raise ValueError(f'path: {year!r} is not a year; write for instance path = {{ "2030" = 120000 }}')
        for before, after in pairwise(sorted(self.path)):
            if self.path[after] < self.path[before]:
                raise ValueError(
                    f"path falls from {self.path[before]:g} ha at the end of {before} to {self.path[after]:g} ha at "
                    f"that of {after}; each year states all hectares taking hold by then, earlier ones included"
                )
        if self.path and self.pledge_hectares is not None and max(self.path.values()) > self.pledge_hectares:
            raise ValueError(f"path ends above pledge_hectares, {self.pledge_hectares:g}")
        return self

    @property
    def path_by_year(self) -> dict[int, float]:
        """The path to the pledge. [ha]"""
        return {int(year): hectares for year, hectares in self.path.items()}


def _folder_or_bucket(value: Any) -> Any:
    if isinstance(value, str) and value.lower().startswith(SCHEME):
        return BucketFolder.parse(value, Path("."))
    return _without_scheme(value)


class StoreSettings(Section):
    """``[store]``: what is stored of all sites."""

    root: Annotated[Path | InstanceOf[BucketFolder], BeforeValidator(_folder_or_bucket)] = Path("store")
    endpoint_url: str = Field(default="", pattern=_ADDRESS)  # address of the service; empty: AWS
    region: str = Field(default="", pattern=r"^[\w-]*$")  # region of the bucket; empty: `AWS_REGION`, else `us-east-1`
    path_style: bool = True  # the bucket is in the path of addresses; false: in the name of the host
    conditional_writes: bool = True  # whether the service takes writes on the condition that nobody else has written
    allow_hosts: tuple[str, ...] = ()  # hosts that may be contacted without encryption; this machine always may

    @model_validator(mode="after")
    def _of_a_bucket(self) -> Self:
        fields = type(self).model_fields
        given = [name for name in fields if name != "root" and getattr(self, name) != fields[name].default]
        if isinstance(self.root, Path):
            if given:
                raise ValueError(f'{given[0]} belongs to stores in a bucket: root = "s3://bucket/prefix"')
            return self
        address = urlsplit(replace(self.root, endpoint_url=self.endpoint_url).endpoint)
        host = address.hostname or ""
        if address.scheme == "http" and not is_this_machine(host) and not {host, address.netloc} & {*self.allow_hosts}:
            raise ValueError(
                f"endpoint_url or AWS_ENDPOINT_URL: http does not encrypt what is sent to {host}; use https, or name "
                "it by allow_hosts"
            )
        return self

    @property
    def local(self) -> Path:
        """Folder of this machine that belongs to the stores: the root itself where it is one."""
        return local_folder(self.root)


class LedgerSettings(Section):
    """``[ledger]``: the database."""

    url: str = "sqlite:///regrowth.db"


class EngineSettings(Section):
    """``[engine]``: where work on sites is computed."""

    scheduler: str = Field(default="", pattern=r"^(|processes|[a-z]+://.+)$")  # empty: threads
    tls_ca: LocalPath | None = None  # of the authority
    tls_cert: LocalPath | None = None
    tls_key: LocalPath | None = None  # the three files for tls://; without them, the configuration of dask holds

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if any(self.tls_files) and not all(self.tls_files):
            raise ValueError("tls_ca, tls_cert and tls_key belong together: give all three files, or none")
        return self

    @property
    def tls_files(self) -> tuple[Path | None, ...]:
        """Files of the authority, of the certificate and of the key."""
        return self.tls_ca, self.tls_cert, self.tls_key


class OutputsSettings(Section):
    """``[outputs]``: pages, maps and tables."""

    root: LocalPath = Path("outputs")
    base_url: str = Field(default="", pattern=_ADDRESS)  # where pages are served; empty: no links to pages
    basemap: str = ""  # https://host/{z}/{x}/{y}.png, or a path relative to the root; published, a key in it too
    basemap_attribution: str = ""  # text that the provider of the tiles wants shown; empty: the host of the template
    manager_names: bool = False  # index can be filtered by managers, whose names are published then

    @field_validator("basemap")
    @classmethod
    def _valid_template(cls, value: str) -> str:
        if value:
            Basemap(url=value)
        return value

    @property
    def map_tiles(self) -> Basemap | None:
        """Tiles under the map of the index."""
        return Basemap(url=self.basemap, attribution=self.basemap_attribution) if self.basemap else None


class AlertsSettings(Section):
    """``[alerts]``: the false-alarm budget, and to whom alerts go."""

    alpha: float = Field(default=0.05, gt=0, lt=1)  # false-alarm probability of a site in ten years [1]
    channels: tuple[str, ...] = ()  # for managers whose site names none; empty: files in messages/
    digest_above: int = Field(default=3, ge=1)  # more alerts to one recipient in a night are one message
    escalate_days: int = Field(default=14, ge=1)  # then the operators get a red alert without answer [day]
    silence_days: int = Field(default=45, ge=1)  # without an accepted scene in the growing season [day]


class ChannelSettings(Section):
    """``[channels.NAME]``: one way to deliver messages. Secrets: environment, see :mod:`jobs.messages.channels`."""

    kind: Literal["smtp", "wecom", "dingtalk", "feishu", "webhook", "apprise"]
    host: str = ""  # mail server. This and the next four are for `smtp` only.
    port: int = Field(default=25, ge=1, le=65535)
    starttls: bool = True  # whether the connection must be encrypted; false: it is not
    sender: str = ""  # mail address of the sender
    user: str = ""  # name to log in with; empty: no login
    url: str = Field(default="", pattern=_ADDRESS)  # address of the receiver, without token; empty: that of the service
    allow_hosts: tuple[str, ...] = ()  # private hosts, or host:port, that may be contacted; apprise: any

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = {"smtp": ("host", "sender"), "webhook": ("url",)}.get(self.kind, ())
        other = {"url", "allow_hosts"} if self.kind == "smtp" else {"host", "port", "starttls", "sender", "user"}
        if lacking := [name for name in missing if not getattr(self, name)]:
            raise ValueError(f"a channel of kind {self.kind!r} needs {' and '.join(lacking)}")
        if self.kind == "apprise" and self.url:
            msg = "a channel of kind 'apprise' has its address in the environment: REGROWTH_CHANNEL_<NAME>_URL"
            raise ValueError(msg)
        if foreign := sorted(other & self.model_fields_set):
            raise ValueError(f"a channel of kind {self.kind!r} has no {foreign[0]!r}")
        return self


class OperatorsSettings(Section):
    """``[operators]``: who is notified of failed nights, silence and unanswered alerts."""

    channels: tuple[str, ...] = ()
    email: str = ""  # mail addresses for channels of kind `smtp`, separated by commas


class HeartbeatSettings(Section):
    """``[heartbeat]``: an address that is requested when a night starts and ends (dialect of healthchecks)."""

    url: str = Field(default="", pattern=_ADDRESS)  # empty: none
    allow_hosts: tuple[str, ...] = ()


class AnswersSettings(Section):
    """``[answers]``: the page where managers answer alerts."""

    base_url: str = Field(default="", pattern=_ADDRESS)  # address of `regrowth serve`; empty: no links to answer
    valid_days: float = Field(default=30.0, gt=0, le=3650)  # from sending until links expire [day]


class EvidenceSettings(Section):
    """``[evidence]``: who receives the head of the chain of each month."""

    witness: str = ""  # mail address, for instance of an auditor, or name of a channel; empty: nobody


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
    registry: RegistrySettings = RegistrySettings()
    source: tuple[SourceSettings, ...] = ()
    terrain: TerrainSettings = TerrainSettings()
    rain: RainSettings = RainSettings()
    programme: ProgrammeSettings = ProgrammeSettings()
    store: StoreSettings = StoreSettings()
    ledger: LedgerSettings = LedgerSettings()
    engine: EngineSettings = EngineSettings()
    outputs: OutputsSettings = OutputsSettings()
    alerts: AlertsSettings = AlertsSettings()
    channels: dict[Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,40}$")], ChannelSettings] = {}
    operators: OperatorsSettings = OperatorsSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    answers: AnswersSettings = AnswersSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    biomes: dict[str, BiomeSettings] = {}

    @field_validator("biomes")
    @classmethod
    def _possible_biomes(cls, biomes: dict[str, BiomeSettings]) -> dict[str, BiomeSettings]:
        try:
            own_biomes(biomes)
        except BadData as error:
            raise ValueError(str(error)) from None
        return biomes

    @model_validator(mode="after")
    def _known_channels(self) -> Self:
        if "files" in self.channels:
            raise ValueError("[channels.files]: this name is taken by messages/; choose another")
        for section, names in (("alerts", self.alerts.channels), ("operators", self.operators.channels)):
            for name in names:
                if name not in self.channels:
                    raise ValueError(f"[{section}] channels: there is no [channels.{name}]")
        self._check_witness()
        variables: dict[str, str] = {}
        for name in self.channels:
            if (same := variables.setdefault(channel_variable(name, ""), name)) != name:
                msg = f"[channels.{same}] and [channels.{name}] would share their secrets; rename one of them"
                raise ValueError(msg)
        kinds = {self.channels[name].kind for name in self.operators.channels}
        if "smtp" in kinds and not self.operators.email:
            raise ValueError("[operators] has a channel of kind 'smtp': give their address as email")
        return self

    @model_validator(mode="after")
    def _locks_of_a_bucket(self) -> Self:
        if isinstance(self.store.root, BucketFolder) and self.ledger.url.startswith("sqlite"):
            raise ValueError(
                "[store] root is in a bucket, which has no locks: it needs a ledger on a server, which has them; set "
                "[ledger] url to postgresql+psycopg://host/name"
            )
        return self

    def _check_witness(self) -> None:
        witness, kinds = self.evidence.witness, {name: channel.kind for name, channel in self.channels.items()}
        if "@" in witness and "smtp" not in kinds.values():
            raise ValueError(f"[evidence] witness: {witness!r} is a mail address; add a channel of kind 'smtp'")
        if witness and "@" not in witness and kinds.get(witness, "smtp") == "smtp":
            what = "has kind 'smtp': give a mail address" if witness in kinds else "is not configured"
            raise ValueError(f"[evidence] witness: [channels.{witness}] {what}")

    @field_validator("source", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: Any, env_settings: Any, *_args: Any, **_more: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides the file."""
        return env_settings, init_settings


def config_path(path: Path | None) -> Path:
    """The given path, else that in ``REGROWTH_CONFIG``, else ``regrowth.toml`` in the working directory."""
    return path or Path(os.environ.get("REGROWTH_CONFIG") or "regrowth.toml")


def load(path: Path | None, *, needs_source: bool = True) -> Settings:
    """Read the settings from a file (see :func:`config_path`); all paths are absolute.

    `needs_source`: a file without a source is refused. Raises BadConfiguration if the file is missing or unreadable, or
    a setting is invalid.
    """
    chosen = config_path(path)
    values = _read(chosen)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise BadConfiguration(f"{chosen}: {_problems(error)}") from error
    except SettingsError as error:  # names the field; the content may be secret
        field = re.search(r'field "(\w+)"', str(error))
        name = f"REGROWTH_{field[1].upper()}" if field else "a variable REGROWTH_..."
        msg = f"{name} in the environment is not JSON; write it as JSON, or a section's keys as REGROWTH_SECTION__KEY"
        raise BadConfiguration(msg) from error
    addresses = [settings.ledger.url, settings.engine.scheduler, settings.terrain.url]
    hide_passwords([*addresses, *(source.url for source in settings.source)])
    hide_paths([settings.heartbeat.url])
    if isinstance(settings.store.root, BucketFolder):
        provide_bucket_keys()
    if needs_source and not settings.source:
        raise BadConfiguration(f'{chosen}: there is no [source]; add one with kind = "stac", "earthengine" or "sample"')
    return _with_absolute_paths(settings, chosen.resolve().parent)


def load_readable(path: Path | None) -> Settings | None:
    """Settings of those sections that are valid, after :func:`load` has failed; None if the environment is not.

    They serve to report that failure only: of the paths, only the root of the stores starts from the folder of the
    file. If the file cannot be read, only the environment counts.
    """
    dropped: set[str] = set()
    try:
        values = _read(config_path(path))
    except BadConfiguration:
        values = {}
    while True:
        try:
            settings = Settings(**{name: value for name, value in values.items() if name not in dropped})
            hide_paths([settings.heartbeat.url])
            return settings.model_copy(update={"store": _store(settings, config_path(path).resolve().parent)})
        except SettingsError:
            return None
        except ValidationError as error:
            wrong = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
            wrong = wrong or {"alerts", "channels", "operators"}  # each is valid, but they do not fit together
            if wrong <= dropped:  # the error is in the environment
                return None
            dropped |= wrong


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        place = path.absolute()
        msg = f"no configuration at {place}; give one by --config or REGROWTH_CONFIG, or see the README for a first one"
        raise BadConfiguration(msg) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadConfiguration(f"{path} cannot be read: {error}") from error


def _problems(error: ValidationError) -> str:
    """The first problems in one line, with the nearest known key for an unknown one."""
    problems = []
    for problem in error.errors()[:3]:
        place = [str(part) for part in problem["loc"]]
        if problem["type"] == "extra_forbidden":
            nearest = difflib.get_close_matches(place[-1], _known_keys(place[:-1]), n=1, cutoff=0.0)
            problems.append(f"unknown key {'.'.join(place)!r}; the nearest known one is {nearest[0]!r}")
        else:
            problems.append(f"{'.'.join(place)}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(problems)


def _known_keys(place: list[str]) -> list[str]:
    """Keys of a section; of the whole file where `place` is empty."""
    if not place:
        return list(Settings.model_fields)
    several: dict[str, Any] = {
        "source": SourceSettings, "channels": ChannelSettings,
        "biomes": BiomePlanSettings if len(place) > 2 else BiomeSettings,
    }  # fmt: skip
    section: Any = several.get(place[0], Settings.model_fields[place[0]].annotation)
    return list(section.model_fields)


def _with_absolute_paths(settings: Settings, folder: Path) -> Settings:
    """Settings whose relative paths start from the folder of the configuration."""

    def absolute(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    url = _ledger_url(settings.ledger.url)
    if url.drivername.startswith("sqlite") and url.database and url.database != ":memory:":
        url = url.set(database=str(folder / url.database))
    registry, terrain, rain = settings.registry, settings.terrain, settings.rain
    return settings.model_copy(
        update={
            "registry": RegistrySettings(path=folder / registry.path, controls=absolute(registry.controls)),
            "source": tuple(_source_with_absolute_paths(source, folder) for source in settings.source),
            "terrain": terrain.model_copy(update={"path": absolute(terrain.path)}),
            "rain": rain.model_copy(update={"path": absolute(rain.path)}),
            "engine": settings.engine.model_copy(
                update={name: absolute(getattr(settings.engine, name)) for name in ("tls_ca", "tls_cert", "tls_key")}
            ),
            "store": _store(settings, folder),
            "outputs": settings.outputs.model_copy(update={"root": folder / settings.outputs.root}),
            "ledger": LedgerSettings(url=url.render_as_string(hide_password=False)),
        }
    )


def _store(settings: Settings, folder: Path) -> StoreSettings:
    """Settings of the stores with an absolute root; a root in a bucket knows how it is reached."""
    store, root = settings.store, settings.store.root
    place = folder / root if isinstance(root, Path) else replace(
        root, local=folder / settings.outputs.root / LOCAL_FOLDER, endpoint_url=store.endpoint_url, region=store.region,
        path_style=store.path_style, conditional_writes=store.conditional_writes,
    )  # fmt: skip
    return store.model_copy(update={"root": place})


def _source_with_absolute_paths(source: SourceSettings, folder: Path) -> SourceSettings:
    """A source whose local catalogue and allowed folders start from the folder of the configuration."""

    def absolute(name: str) -> str:
        path = folder / name
        local = "://" not in name and (name.startswith((".", "/")) or os.path.exists(path))  # False for long names too
        return str(path.resolve()) if local else name

    url = absolute(source.url) if source.kind == "stac" and source.url else source.url
    return source.model_copy(update={"url": url, "allow_hosts": tuple(absolute(name) for name in source.allow_hosts)})


def _ledger_url(text: str) -> URL:
    try:
        if text.count("@") > 1:  # a password with @ would be split in the wrong place, and partly shown
            raise ArgumentError
        return make_url(text)
    except (ArgumentError, ValueError) as error:  # a port that is not a number is a ValueError that quotes it
        raise BadConfiguration(
            "[ledger] url is not a database URL; write for instance sqlite:///regrowth.db or "
            "postgresql+psycopg://host:5432/name; @, : and / in a password are written %40, %3A and %2F"
        ) from error
