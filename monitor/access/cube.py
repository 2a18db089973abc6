"""The stored scenes of a site as a cube on (time, y, x), described by the CF conventions."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from monitor.access.installation import Installation
from monitor.access.series import published_series
from monitor.access.stored import PublishedSite, installation_of, published_site, stored_site
from monitor.conventions import follow_cf
from monitor.cover.fraction import Endmembers, cover_of_bands
from monitor.cover.indices import ndvi
from monitor.cube.offset_check import check_offsets
from monitor.cube.scenes import of_one_site
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData, StoreBroken
from monitor.imagery import bands
from monitor.imagery.sample import DEMONSTRATION_NOTICE, SAMPLE_NOTICE
from monitor.series.columns import decode_texts
from monitor.sites.biomes import BIOMES
from monitor.sites.own_biome import biome_from_json
from monitor.sites.site import Biome

SCENE_COORDINATES: Final = {
    "scene": "id of the scene as its source gives it",
    "source": "name of the source of the imagery",
    "sensor": "satellite",
    "baseline": "processing baseline; empty: unknown",
    "reason": "why the scene does not count; empty: it does",
}
"""Coordinates along time that are texts, and what they are."""
WAVELENGTHS: Final = {
    "blue": "0.49", "green": "0.56", "red": "0.66", "nir": "0.83", "swir16": "1.6", "swir22": "2.2",
}  # fmt: skip
"""Centre of each band, rounded: sensors differ. [micrometre]"""
REFERENCES: Final = "doi:10.1016/0034-4257(79)90013-0 (NDVI); doi:10.1080/014311698215333 (vegetation cover)"
PRODUCERS: Final = {
    "sentinel-2": ("European Space Agency (Copernicus)", "Contains modified Copernicus Sentinel data {years}."),
    "landsat": ("U.S. Geological Survey", "Landsat imagery courtesy of the U.S. Geological Survey."),
}
"""Producer of the imagery, and the notice that its licence asks for, by the begin of the sensor's name."""


def open_site(path: str | Path, site: str) -> xr.Dataset:
    """Open the cube of a site: every stored scene, lazily.

    Nothing is read but coordinates until values are needed; a run may store new scenes at the same time.

    Parameters
    ----------
    path : str or Path
        The configuration file of the installation, or its output root. The environment is not read, but for the keys
        of a bucket. Or the address of stores in a bucket, ``s3://bucket/prefix``, which say all but what was published.
    site : str
        Id of the site.

    Returns
    -------
    xr.Dataset
        On (time, y, x), ascending in time (UTC), with a CRS that rioxarray reads:

        - ``blue``, ``green``, ``red``, ``nir``, ``swir16``, ``swir22``: surface reflectance, float32, of all pixels of
          the site, also under clouds; NaN where there is no value, where the sensor was saturated, and outside the
          site. [1]
        - ``clear``: bool, true where the ground was seen.
        - ``ndvi`` and ``cover``: float32, NaN where the ground was not seen. The mean of ``ndvi`` over y and x is that
          of ``observations.csv``. [1]
        - ``inside`` (y, x): bool, pixels whose centre lies inside the site.

        Along time there are also ``scene``, ``source``, ``sensor``, ``baseline``, ``accepted`` (bool, whether the scene
        counts in the published series) and ``reason`` (why it does not).

    Raises
    ------
    BadConfiguration
        `path` is not an installation.
    BadData
        `site` is not a text, the site is unknown, or nothing of it is stored yet.
    StoreBroken
        The store of the site cannot be read; also while values are computed.

    Examples
    --------
    >>> cube = open_site("outputs/demo", "demo-01")  # doctest: +SKIP
    >>> cube.ndvi.where(cube.accepted).mean(("y", "x")).plot()  # doctest: +SKIP
    """
    places = installation_of(path, site)
    published = published_site(places, site)
    stored = stored_site(places, site, published)
    return site_cube(stored, published_series(places, site)).assign_attrs(attributes(places, stored, site, published))


def site_cube(stored: StoredSite, series: pd.DataFrame | None) -> xr.Dataset:
    """Cube of what is stored of a site, without attributes; scenes missing in `series` count as stored."""
    columns = of_one_site(check_offsets(stored.scenes()))
    cube = stored.cube(layers=(*bands.OBSERVED, "clear"))
    texts = {name: decode_texts(columns[name]) for name in SCENE_COORDINATES}
    accepted = columns["accepted"].tolist()
    judged = {} if series is None else {row.scene: (row.accepted, row.reason) for row in series.itertuples()}
    for at, scene in enumerate(texts["scene"]):
        accepted[at], texts["reason"][at] = judged.get(scene, (accepted[at], texts["reason"][at]))
    for name, values in texts.items():
        cube = cube.assign_coords({name: ("time", np.array(values, object), {"long_name": SCENE_COORDINATES[name]})})
    cube = cube.assign_coords(
        accepted=("time", np.array(accepted, bool), _flags("whether the scene counts", "rejected accepted"))
    )
    biome = _biome(stored.landscape)
    cube["ndvi"] = ndvi(cube["red"], cube["nir"]).where(cube["clear"])
    cube["cover"] = cover_of_bands(cube, Endmembers.of_biome(biome))
    cube["inside"] = (("y", "x"), stored.inside)
    for name in bands.OBSERVED:
        long_name = f"surface reflectance, {name} ({WAVELENGTHS[name]} um)"
        cube[name].attrs = _unitless("surface_bidirectional_reflectance", long_name)
    cube["clear"].attrs = _flags("whether the ground was seen", "not_seen seen")
    cube["inside"].attrs = _flags("whether the centre of the pixel lies inside the site", "outside inside")
    long_name = "normalised difference vegetation index of clear pixels"
    cube["ndvi"].attrs = _unitless("normalized_difference_vegetation_index", long_name)
    long_name = "vegetation cover of clear pixels, from a vegetation index"
    cube["cover"].attrs = _unitless("vegetation_area_fraction", long_name) | {"comment": biome.cover_basis()}
    for name in (*bands.OBSERVED, "clear", "ndvi", "cover", "inside"):
        cube[name].encoding = {"grid_mapping": "spatial_ref"}
    cube["spatial_ref"].attrs["long_name"] = "coordinate reference system"
    cube["time"].attrs = {
        "standard_name": "time", "long_name": "time of acquisition", "axis": "T",
        "units_metadata": "leap_seconds: none",
    }  # fmt: skip
    return follow_cf(cube)


def _biome(landscape: LandscapeStore) -> Biome:
    """Biome of a landscape: a built-in one, or as the landscape was created with."""
    definition = landscape.biome_definition
    if definition is None:
        return BIOMES[landscape.biome]
    try:
        return biome_from_json(definition, name=landscape.biome)
    except BadData as error:
        msg = f"store {landscape.path}: the definition of its biome is broken: {error}; restore the store from a backup"
        raise StoreBroken(msg) from error


def attributes(places: Installation, stored: StoredSite, site: str, published: PublishedSite | None) -> dict[str, Any]:
    """Attributes of the cube of a site: what it is, from whom, and by which licence."""
    columns = stored.columns()
    sensors, sources = (sorted({*decode_texts(columns[name])}) for name in ("sensor", "source"))
    years = np.unique(columns["date"].astype("datetime64[Y]")).astype(str)
    producers = [PRODUCERS[kind] for kind in PRODUCERS if any(sensor.startswith(kind) for sensor in sensors)]
    described = {
        "title": f"Surface reflectance, NDVI and vegetation cover of site {site}",
        "id": f"{site}-{stored.snapshot}",
        "summary": f"All stored satellite acquisitions of restoration site {site}: surface reflectance, clear pixels, "
        "NDVI and vegetation cover, for judging whether the restoration takes hold.",
        "keywords": ", ".join(["ecological restoration", "vegetation cover", "NDVI", "surface reflectance", *sensors]),
        "creator_name": "regrowth-monitor",
        "institution": "; ".join(name for name, _ in producers) or "not known",
        "source": f"surface reflectance of {', '.join(sensors) or 'no scene'} from {', '.join(sources) or 'no source'}",
        "processing_level": "surface reflectance as delivered (level 2), masked, with index and cover derived from it",
        "references": REFERENCES,
        "license": " ".join(notice.format(years="-".join(years[[0, -1]])) for _, notice in producers) or "not known",
        "site": site, "snapshot": stored.snapshot, "biome": stored.landscape.biome,
    }  # fmt: skip
    if published is not None:
        described |= {name: str(published.values[name]) for name in ("start", "intervention", "partner")}
    if "sample" in sources:
        demonstrated = (places.outputs / "truth.json").is_file()
        described["comment"] = (DEMONSTRATION_NOTICE if demonstrated else SAMPLE_NOTICE)["en"]
    return {name: value for name, value in described.items() if value not in ("", "None")}


def _unitless(standard_name: str, long_name: str) -> dict[str, Any]:
    return {"standard_name": standard_name, "units": "1", "long_name": long_name}


def _flags(long_name: str, meanings: str) -> dict[str, Any]:
    return {"long_name": long_name, "flag_values": np.array([0, 1], np.int8), "flag_meanings": meanings}
