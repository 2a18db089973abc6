"""Where an installation keeps what is stored and published of its sites.

Only the configuration file says so. The environment, which can override it for the commands, is not read here.
"""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from monitor.cube.bucket import LOCAL_FOLDER, SCHEME, BucketFolder, Place
from monitor.errors import BadConfiguration

CONFIG_NAME: Final = "regrowth.toml"  # name of a configuration, where a folder is given
DEFAULTS: Final = {
    ("store", "root"): "store", ("outputs", "root"): "outputs", ("registry", "path"): "aoi/sites.geojson",
}  # fmt: skip
"""Settings that are used here, and their values where the configuration has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The places of an installation, as absolute paths."""

    config: Path  # the configuration file
    store: Place  # root of the stores
    outputs: Path  # folder of pages, maps and tables
    registry: Path  # the file of sites


def find_installation(path: str | Path) -> Installation:
    """Read the places of an installation from its configuration file.

    `path` is that file, or a folder that has ``regrowth.toml`` in it or beside it, as the output root does.
    BadConfiguration where there is none, it cannot be read, or `path` is not a path.
    """
    if not isinstance(path, str | Path):
        kind = f"{path!r} is of type {type(path).__name__}"
        raise BadConfiguration(f"{kind}; give the path of the configuration file, or of the output root")
    path = Path(path).expanduser().absolute()
    config = path if path.is_file() else _config_of(path)
    try:
        values = tomllib.loads(config.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{config} cannot be read as a configuration: {error}; give the folder of outputs, or regrowth.toml"
        raise BadConfiguration(msg) from error
    root = _setting(config, values, "store", "root")
    outputs, registry = (config.parent / _setting(config, values, *key) for key in DEFAULTS if key[0] != "store")
    store: Place = config.parent / root
    if root.startswith(SCHEME):
        names = ("endpoint_url", "region", "path_style")
        given = {name: value for name, value in values["store"].items() if name in names}
        store = replace(bucket_folder(root, outputs / LOCAL_FOLDER), **given)
    return Installation(config=config, store=store, outputs=outputs, registry=registry)


def bucket_folder(address: str, local: Path) -> BucketFolder:
    """The stores at an address ``s3://bucket/prefix``; BadConfiguration for another one."""
    try:
        return BucketFolder.parse(address, local)
    except ValueError as error:
        raise BadConfiguration(str(error)) from error


def _config_of(folder: Path) -> Path:
    """The configuration in a folder or in its parent."""
    if not folder.is_dir():
        raise BadConfiguration(f"{folder}: no such file or folder; give the configuration file, or the output root")
    for place in (folder, folder.parent):
        if (place / CONFIG_NAME).is_file():
            return place / CONFIG_NAME
    msg = f"{folder}: there is no {CONFIG_NAME} in it or in its parent; give the path of the configuration file"
    above = next((place / CONFIG_NAME for place in folder.parents if (place / CONFIG_NAME).is_file()), None)
    if above is not None:
        msg = f"{folder} is a folder inside an installation; give its configuration instead: {above}"
    raise BadConfiguration(msg)


def _setting(config: Path, values: dict[str, Any], section: str, key: str) -> str:
    table = values.get(section, {})
    value = table.get(key, DEFAULTS[section, key]) if isinstance(table, dict) else None
    if not isinstance(value, str):
        raise BadConfiguration(f"{config}: [{section}] {key} is not a path")
    return value
