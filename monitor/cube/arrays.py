"""The arrays of a landscape's store: how they are created, and how new rows and pictures are put into them.

The stored format is defined here alone; :mod:`monitor.cube.store` describes it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from monitor.cube.granules import MAX_GRANULES, encode_granules
from monitor.cube.grid import crs_of, grid_to_json
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import COUNTS, MEANS, MEASURES, STATES, UNIT_MEASURES, Member, Picture, SiteScene
from monitor.errors import BadData
from monitor.imagery.source import Scene

CHUNK_PIXELS: Final = 100_000  # pixels in a stored chunk, of one scene [pixel]
CHUNK_CONTEXT: Final = 400_000  # pixels of pictures in a stored chunk [pixel]
CHUNK_ROWS: Final = 64  # rows of small arrays in a chunk: a night rewrites the last, a history is read in one piece
_OF_UNITS: Final = np.array([MEASURES.index(name) for name in UNIT_MEASURES])
CHUNK_CODECS: Final = (ZstdCodec(), Crc32cCodec())
"""Compression and checksum of the chunks. Most bits of reflectances do not compress: without the checksum, which is
compared at every read, a damaged byte would pass for another value."""


def create_arrays(group: zarr.Group, members: Sequence[Member]) -> None:
    """Create all arrays of a new landscape in its empty group, and fill those that never change."""
    sizes = [int(member.inside.sum()) for member in members]
    contexts = [int(np.prod(member.context.shape)) for member in members]
    _fixed(group, "site", ("site",), [member.site for member in members])
    _fixed(group, "ground", ("site",), [member.ground for member in members])
    _fixed(group, "grid", ("site",), [json.dumps(grid_to_json(member.grid)) for member in members])
    _fixed(group, "controls", ("site",), [json.dumps(member.controls) for member in members])
    _fixed(group, "context", ("site",), [json.dumps(grid_to_json(member.context)) for member in members])
    _fixed(group, "first_pixel", ("edge",), np.cumsum([0, *sizes]))
    _fixed(group, "first_context", ("edge",), np.cumsum([0, *contexts]))
    _fixed(group, "first_unit", ("edge",), np.cumsum([0, *(len(member.units) for member in members)]))
    _fixed(group, "unit", ("unit",), [unit for member in members for unit in member.units] or [""])
    _create_coordinates(group, members)
    for name, labels in (
        ("band", PACKED_LAYERS), ("measure", MEANS), ("unit_measure", UNIT_MEASURES), ("count", COUNTS),
    ):  # fmt: skip
        _fixed(group, name, (name,), list(labels))
    layers, pixels = len(PACKED_LAYERS), sum(sizes)
    chunk = -(-pixels // max(1, round(pixels / CHUNK_PIXELS)))
    _growing(group, "pixels", ("band", "pixel"), (layers, pixels), "uint16", chunks=(1, layers, chunk))
    units = (max(sum(len(member.units) for member in members), 1), len(UNIT_MEASURES))
    _growing(group, "unit_means", ("unit", "unit_measure"), units, "float32", fill=np.nan, chunks=(1, *units))
    n = len(members)
    for name in ("site_means", "control_means"):
        _growing(group, name, ("site", "measure"), (n, len(MEANS)), "float64", fill=np.nan)
    _growing(group, "counts", ("site", "count"), (n, len(COUNTS)), "int32")
    flags = {"flag_values": list(range(len(STATES))), "flag_meanings": " ".join(STATES)}
    _growing(group, "state", ("site",), (n,), "uint8", attributes=flags)
    _growing(group, "granule_bits", ("site",), (n,), "uint32")
    _growing(group, "digest", ("site",), (n,), "uint64")
    _growing(group, "time", (), (), "int64", attributes={"units": "microseconds since 1970-01-01"})
    _growing(group, "acquisition", (), (), "string", fill="")
    _growing(group, "granules", (), (), "string", fill="")
    _growing(group, "picture", (), (), "string", fill="", along="picture")
    _growing(group, "picture_time", ("site",), (n,), "string", fill="", along="picture")
    _growing(group, "picture_clear", ("site",), (n,), "float32", fill=np.nan, along="picture")
    colours = (1, min(sum(contexts), CHUNK_CONTEXT), 3)
    shape = (sum(contexts), 3)
    _growing(group, "pictures", ("context_pixel", "colour"), shape, "uint8", chunks=colours, along="picture")


def _create_coordinates(group: zarr.Group, members: Sequence[Member]) -> None:
    """Row, column, x and y of every stored pixel, and the projected system."""
    places = [np.argwhere(member.inside) for member in members]
    x, y = [], []
    for member, place in zip(members, places, strict=True):
        affine = member.grid.affine
        x.append(affine.c + affine.a * (place[:, 1] + 0.5))
        y.append(affine.f + affine.e * (place[:, 0] + 0.5))
    _fixed(group, "row", ("pixel",), np.concatenate([place[:, 0] for place in places]).astype(np.int32))
    _fixed(group, "column", ("pixel",), np.concatenate([place[:, 1] for place in places]).astype(np.int32))
    for name, centres in (("x", x), ("y", y)):
        attributes = {"units": "m", "standard_name": f"projection_{name}_coordinate"}
        _fixed(group, name, ("pixel",), np.concatenate(centres), attributes)
    wkt = crs_of(members[0].grid).to_wkt()
    _fixed(group, "spatial_ref", (), np.int64(0), {"crs_wkt": wkt, "grid_mapping_name": "crs"})


def _fixed(group: Any, name: str, dims: tuple[str, ...], values: Any, attributes: dict[str, Any] | None = None) -> None:
    """Create and fill an array that never changes; a list holds texts."""
    text = isinstance(values, list)
    shape = (len(values),) if text else np.shape(values)
    array = group.create_array(
        name, shape=shape, chunks=shape, dtype="string" if text else values.dtype, dimension_names=dims,
        attributes=attributes or {}, compressors=CHUNK_CODECS,
    )  # fmt: skip
    array = array.with_config({"write_empty_chunks": True})
    array[...] = np.array(values, dtype=object) if text else values


def _growing(
    group: Any, name: str, dims: tuple[str, ...], shape: tuple[int, ...], dtype: str, *, fill: Any = 0,
    chunks: tuple[int, ...] | None = None, attributes: dict[str, Any] | None = None, along: str = "time",
) -> None:  # fmt: skip
    """Create an array without rows that grows along its first dimension."""
    group.create_array(
        name, shape=(0, *shape), chunks=chunks or (CHUNK_ROWS, *shape), dtype=dtype, fill_value=fill,
        dimension_names=(along, *dims), attributes=attributes or {}, compressors=CHUNK_CODECS,
    )  # fmt: skip


def granules_of(row: Mapping[str, SiteScene]) -> dict[tuple[str, str], Scene]:
    """Granules of an overpass over all sites, by source and id."""
    return {(scene.source, scene.id): scene for entry in row.values() for scene in entry.granules}


def encode_rows(
    rows: Sequence[Mapping[str, SiteScene]], fixed: Mapping[str, np.ndarray], grounds: Sequence[str]
) -> dict[str, np.ndarray]:
    """Arrays of new rows, by name.

    `rows` has for each overpass what each site saw, by ground key; an empty one holds a place. `fixed` are the arrays
    of the landscape that never change, `grounds` the ground keys of its sites. Raises BadData for an overpass with more
    than :data:`monitor.cube.granules.MAX_GRANULES` granules.
    """
    n, sites, units = len(rows), len(grounds), max(int(fixed["first_unit"][-1]), 1)
    encoded: dict[str, np.ndarray] = {
        "pixels": np.zeros((n, len(PACKED_LAYERS), int(fixed["first_pixel"][-1])), np.uint16),
        "unit_means": np.full((n, units, len(UNIT_MEASURES)), np.nan, np.float32),
        "site_means": np.full((n, sites, len(MEANS)), np.nan),
        "control_means": np.full((n, sites, len(MEANS)), np.nan),
        "counts": np.zeros((n, sites, len(COUNTS)), np.int32),
        "state": np.zeros((n, sites), np.uint8),
        "granule_bits": np.zeros((n, sites), np.uint32),
        "digest": np.zeros((n, sites), np.uint64),
        "time": np.zeros(n, np.int64),
        "acquisition": np.empty(n, object),
        "granules": np.empty(n, object),
    }
    for at, row in enumerate(rows):
        scenes = granules_of(row)
        name = next((entry.acquisition for entry in row.values()), "")
        if len(scenes) > MAX_GRANULES:
            raise BadData(f"overpass {name!r} has {len(scenes)} granules; {MAX_GRANULES} can be stored")
        encoded["time"][at] = min((_microseconds(entry.scene.time) for entry in row.values()), default=0)
        encoded["acquisition"][at] = name
        encoded["granules"][at] = encode_granules(list(scenes.values()))
        for ground, entry in row.items():
            site = grounds.index(ground)
            pixels, of_units = (slice(*fixed[edges][site : site + 2]) for edges in ("first_pixel", "first_unit"))
            if entry.pixels.dtype != np.uint16:
                msg = f"scene {entry.scene.id!r}: pixels are {entry.pixels.dtype}, not the integers as delivered"
                raise TypeError(msg)
            encoded["pixels"][at, :, pixels] = entry.pixels
            encoded["unit_means"][at, of_units] = entry.units[: of_units.stop - of_units.start, _OF_UNITS]
            used = [
                scene in entry.granules and entry.used.get(scene.tile) == scene.baseline for scene in scenes.values()
            ]
            preferred = list(scenes).index((entry.scene.source, entry.scene.id))
            of_site = {
                "site_means": entry.site_means, "control_means": entry.control_means,
                "counts": (entry.n_pixels, entry.n_units), "state": STATES.index(entry.reason or "ACCEPTED"),
                "granule_bits": sum(bit << k for k, bit in enumerate(used)) | preferred << MAX_GRANULES,
                "digest": int(entry.digest, 16),
            }  # fmt: skip
            for array, value in of_site.items():
                encoded[array][at, site] = value
    return encoded


def _microseconds(time: datetime) -> int:
    """Microseconds since 1970, UTC."""
    return int(np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "us").astype(np.int64))


def put_pictures(
    group: Any, pictures: Mapping[str, Sequence[Picture]], first_context: np.ndarray, grounds: Sequence[str]
) -> None:
    """Store the pictures of each site, by ground key, in place of those of the same name.

    Context pixels of site k are those from ``first_context[k]`` up to ``first_context[k + 1]``.
    """
    if not pictures:
        return
    arrays = {name: group[name] for name in ("picture", "picture_time", "picture_clear", "pictures")}
    names = [str(name) for name in arrays["picture"][:]]
    names += sorted({picture.name for of_site in pictures.values() for picture in of_site} - {*names})
    for array in arrays.values():
        array.resize((len(names), *array.shape[1:]))
    arrays["picture"][:] = np.array(names, dtype=object)
    for slot, name in enumerate(names):
        chosen = {
            grounds.index(ground): picture
            for ground, of_site in pictures.items()
            for picture in of_site
            if picture.name == name
        }
        if not chosen:
            continue
        # one block from the first site to the last: site by site would rewrite chunks many times
        first, last = int(first_context[min(chosen)]), int(first_context[max(chosen) + 1])
        block = np.asarray(arrays["pictures"][slot, first:last])
        times, clear = (np.asarray(arrays[of][slot]) for of in ("picture_time", "picture_clear"))
        for site, picture in chosen.items():
            place = slice(int(first_context[site]) - first, int(first_context[site + 1]) - first)
            block[place] = picture.rgb.reshape(-1, 3)
            times[site], clear[site] = picture.time, picture.clear
        arrays["pictures"][slot, first:last] = block
        arrays["picture_time"][slot], arrays["picture_clear"][slot] = times, clear
