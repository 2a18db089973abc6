"""Identify an acquisition independently of the catalogue that offers it.

An acquisition is a platform and the start of its datatake, ``S2A/20200103T035141``; for Landsat a platform, a path and
a day, ``LC08/129/20200103``. Products of the Harmonized Landsat and Sentinel-2 project (HLS) and of Digital Earth
Australia (DEA) have other pixel values than their parents, so they are separate acquisitions:
``HLS-S30/20200103T035141``, ``GA-LC08/088/20200525``. Some catalogues give no datatake: then the scene time, up to 40
minutes later than its start, or the day replaces it, see :func:`same_acquisition`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

MAX_START_DIFFERENCE: Final = timedelta(minutes=50)
"""Two times of one platform that differ by less belong to one datatake: half the orbital period of Sentinel-2
(100.6 min)."""

_STAMP: Final = r"(?P<start>\d{8}T\d{6})"
_DATATAKE: Final = re.compile(rf"(?<![A-Z0-9])G(?P<platform>S2[A-D])_{_STAMP}_\d{{6}}(?:_N(?P<baseline>\d\d\.\d\d))?")
_PRODUCT: Final = re.compile(
    rf"(?P<platform>S2[A-D])_MSIL[12][A-C]_{_STAMP}(?:_N(?P<baseline>\d{{4}}))?_R(?P<orbit>\d{{3}})"
    r"_T(?P<tile>\d\d[A-Z]{3})(?![A-Z0-9])"
)
_OLD_PRODUCT: Final = re.compile(
    rf"(?P<platform>S2[A-D])_[A-Z]{{4}}_PRD_MSIL[12][A-C]_PDMC_\d{{8}}T\d{{6}}_R(?P<orbit>\d{{3}})_V{_STAMP}"
)
_GRANULE: Final = re.compile(
    r"(?P<platform>S2[A-D])_[A-Z]{4}_MSI_L[12][A-C]_TL_.{4}_\d{8}T\d{6}_A\d{6}_T(?P<tile>\d\d[A-Z]{3})"
    r"(?:_N(?P<baseline>\d\d\.\d\d))?"
)
_DATASTRIP: Final = re.compile(rf"(?P<platform>S2[A-D])_OPER_MSI_L1C_DS_.{{4}}_\d{{8}}T\d{{6}}_S{_STAMP}")
_INDEX: Final = re.compile(rf"(?<![A-Z0-9]){_STAMP}_\d{{8}}T\d{{6}}_T(?P<tile>\d\d[A-Z]{{3}})(?![A-Z0-9])")
_TIMED_ITEM: Final = re.compile(
    r"(?<![A-Z0-9])(?P<platform>S2[A-D])_T(?P<tile>\d\d[A-Z]{3})_(?P<seen>\d{8}T\d{6})(?!\d)"
)
_DAY_ITEM: Final = re.compile(
    r"(?<![A-Z0-9])(?P<platform>S2[A-D])_(?P<tile>\d\d[A-Z]{3}|\d[A-Z]{3})_(?P<day>\d{8})(?![0-9T])"
)
_SENTINEL_NAMES: Final = (_DATATAKE, _PRODUCT, _OLD_PRODUCT, _INDEX, _GRANULE, _DATASTRIP, _TIMED_ITEM, _DAY_ITEM)
"""Most reliable first. Granule names and the ids of Collection 1 items of Earth Search hold other times (the latter
that of the datastrip) than the start of the datatake. DEA states the datastrip alone."""

_FALLBACK_GROUPS: Final = {"seen", "day"}  # groups that are not needed once a name gives the start of the datatake

_LANDSAT_PRODUCT: Final = re.compile(
    r"(?P<platform>L[COTEM]0\d)_L[12][A-Z0-9]{2}_(?P<path>\d{3})(?P<row>\d{3})_(?P<day>\d{8})(?:_(?P<processed>\d{8}))?"
    r"_(?P<collection>\d\d)(?!\d)"
)
_LANDSAT_INDEX: Final = re.compile(
    r"(?<![A-Z0-9])(?P<platform>L[COTEM]0\d)_(?P<path>\d{3})(?P<row>\d{3})_(?P<day>\d{8})(?!\d)"
)
_LANDSAT_SCENE: Final = re.compile(
    r"(?<![A-Z0-9])(?P<letters>L[COTEM])(?P<number>\d)(?P<path>\d{3})(?P<row>\d{3})(?P<ordinal>\d{7})[A-Z]{3}\d\d"
)
_HLS_GRANULE: Final = re.compile(
    r"HLS\.(?P<product>[LS]30)\.T(?P<tile>\d\d[A-Z]{3})\.(?P<ordinal>\d{7})T(?P<clock>\d{6})(?:\.V(?P<version>\d+\.\d+))?"
)
_LANDSAT_PREFIXES: Final = {"4": "LT", "5": "LT", "7": "LE", "8": "LC", "9": "LC"}
_BASELINE: Final = re.compile(r"(\d{1,2})\.(\d{1,2})")
_GRID_SQUARE: Final = re.compile(r"(?:^|[^0-9A-Z]|T)(\d{1,2})([A-Z]{3})$")
_ACQUISITION: Final = re.compile(r"(?P<platform>[^/]+)/(?P<day>\d{8})(?:T(?P<clock>\d{6}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Acquisition, tile and processing of a scene, independent of the catalogue that offers it; empty: unknown."""

    acquisition: str = ""  # platform and start, as in the module docstring
    tile: str = ""  # MGRS tile, `48SUF`, or row of a Landsat path, `034`
    baseline: str = ""
    """Processing baseline, ``05.09``; for Landsat collection and processing day, ``02.20200824``. The newest is the
    largest when the parts are compared as numbers."""
    orbit: str = ""  # relative orbit or path, three digits
    exact: bool = False  # whether the acquisition is certain, else a scene time or day replaces the datatake's start

    @property
    def start(self) -> datetime | None:
        """Start of the datatake, UTC; None if it is not exact or only a day is known."""
        stamp = self.acquisition.rpartition("/")[2]
        if not self.exact or "T" not in stamp:
            return None
        try:
            return datetime.fromisoformat(stamp).replace(tzinfo=UTC)
        except ValueError:
            return None


def sentinel2(
    *names: str, platform: str = "", tile: str = "", time: datetime | None = None, baseline: object = "",
    orbit: object = "",
) -> Identity:  # fmt: skip
    """Identify a Sentinel-2 granule by every string that may contain a product name, the most reliable first.

    `platform` (``sentinel-2a``, ``Sentinel-2A`` or ``S2A``) and `time`, that of the scene, are used where no name
    states them; `tile` (``48SUF``, ``T48SUF`` or ``MGRS-48SUF``), `baseline` and `orbit` take precedence over the
    names. Fields are empty where nothing is known.

    >>> sentinel2("GS2A_20200103T035141_023678_N02.13", tile="48SUF").acquisition
    'S2A/20200103T035141'
    >>> sentinel2("S2A_48SUF_20200103_0_L2A").acquisition
    'S2A/20200103'
    """
    groups = _read(_SENTINEL_NAMES, names)
    spacecraft = groups.get("platform") or _sentinel_platform(platform)
    start = groups.get("start", "")
    seen = time.astimezone(UTC).strftime("%Y%m%dT%H%M%S") if time and not start else groups.get("seen", "")
    when = start or seen or groups.get("day", "")
    return Identity(
        acquisition=f"{spacecraft}/{when}" if spacecraft and when else "",
        tile=_mgrs(tile) or _mgrs(groups.get("tile", "")),
        baseline=normalised_baseline(baseline) or normalised_baseline(groups.get("baseline", "")),
        orbit=_three_digits(orbit) or groups.get("orbit", ""),
        exact=bool(spacecraft and start),
    )


def landsat(
    *names: str, platform: str = "", path: object = "", row: object = "", time: datetime | None = None,
    collection: object = "",
) -> Identity:  # fmt: skip
    """Identify a Landsat scene by its product id, scene id, item id, ``system:index``; empty ones are skipped.

    The names take precedence over the platform (``landsat-8``, ``LANDSAT_8`` or ``LC08``), path and row (WRS-2), time
    of the scene and number of the Landsat collection. Fields are empty where nothing is known.

    >>> landsat("LC08_129034_20200103").acquisition, landsat("LC81290342020003LGN00").tile
    ('LC08/129/20200103', '034')
    """
    groups = _read((_LANDSAT_PRODUCT, _LANDSAT_INDEX, _LANDSAT_SCENE), names)
    if "number" in groups:
        groups.setdefault("platform", f"{groups['letters']}0{groups['number']}")
        groups.setdefault("day", _day_of(groups["ordinal"]))
    spacecraft = groups.get("platform") or _landsat_platform(platform)
    track = groups.get("path") or _three_digits(path)
    day = groups.get("day") or (time.astimezone(UTC).strftime("%Y%m%d") if time else "")
    number, processed = _digits(groups.get("collection") or collection), _digits(groups.get("processed"))
    baseline = (number or "0").zfill(2) if number or processed else ""
    known = spacecraft and track and day
    return Identity(
        acquisition=f"{spacecraft}/{track}/{day}" if known else "",
        tile=groups.get("row") or _three_digits(row),
        baseline=f"{baseline}.{processed}".rstrip("."),
        orbit=track,
        exact=bool(known),
    )


def hls(*names: str) -> Identity:
    """Identify an HLS granule from its granule id; all fields are empty if no name contains one.

    >>> hls("HLS.S30.T48SUF.2020003T035141.v2.0").acquisition
    'HLS-S30/20200103T035141'
    """
    groups = _read((_HLS_GRANULE,), names)
    if not groups:
        return Identity()
    acquisition = f"HLS-{groups['product']}/{_day_of(groups['ordinal'])}T{groups['clock']}"
    return Identity(acquisition=acquisition, tile=groups["tile"], baseline=groups.get("version", ""), exact=True)


def dea(parent: Identity, *, version: str, is_final: bool) -> Identity:
    """Identify a scene of Digital Earth Australia, from the identity of the scene that it was made from.

    `version` is that of the data set, empty if unknown; a final scene replaces an interim one.

    >>> found = dea(landsat("LC81290342020003LGN00"), version="3.2.1", is_final=True)
    >>> found.acquisition, found.baseline
    ('GA-LC08/129/20200103', '3.2.1.1')
    """
    known = f"GA-{parent.acquisition}" if parent.acquisition else ""
    return replace(parent, acquisition=known, baseline=f"{version}.{int(is_final)}" if version else "")


def normalised_baseline(value: object) -> str:
    """Sentinel-2 processing baseline as ``NN.NN``; empty if the value is not a baseline.

    >>> [normalised_baseline(value) for value in ("05.09", "N0509", "0509", 5.09, 5.1, "none", None)]
    ['05.09', '05.09', '05.09', '05.09', '05.10', '', '']
    """
    text = str(value).strip().upper().removeprefix("N") if isinstance(value, str | int | float) else ""
    if matched := _BASELINE.fullmatch(text):
        # Numbers lose a trailing zero: 5.1 is 05.10.
        return f"{matched[1].zfill(2)}.{matched[2].ljust(2, '0')}"
    if re.fullmatch(r"\d{3,4}", text):
        return f"{text.zfill(4)[:2]}.{text[-2:]}"
    return ""


def same_acquisition(first: str, second: str) -> bool:
    """Whether two acquisition ids of one tile are the same, also if one holds a scene time or only a day.

    Valid for scenes of one tile only: datatakes of a platform over one tile are never within 50 minutes.

    >>> same_acquisition("S2A/20200714T115221", "S2A/20200714T115552")
    True
    >>> same_acquisition("S2A/20200714T115221", "S2A/20200714")
    True
    >>> same_acquisition("S2A/20200714T115221", "S2A/20200714T133305")
    False
    >>> same_acquisition("S2A/20200714T115221", "S2B/20200714T115221")
    False
    """
    if first == second:
        return True
    one, other = _ACQUISITION.fullmatch(first), _ACQUISITION.fullmatch(second)
    if not one or not other or one["platform"] != other["platform"] or one["platform"].startswith("HLS"):
        return False
    if not one["clock"] or not other["clock"]:
        return one["day"] == other["day"]
    return abs(_moment(one) - _moment(other)) < MAX_START_DIFFERENCE


def day_keys(acquisition: str) -> tuple[str, ...]:
    """Platform and day, two days around midnight: ids of the same acquisition share at least one key.

    >>> day_keys("S2A/20181231T235957"), day_keys("S2A/20200714T115552"), day_keys("LC08/129/20200103")
    (('S2A/20181231', 'S2A/20190101'), ('S2A/20200714',), ('LC08/129/20200103',))
    """
    platform, _, stamp = acquisition.rpartition("/")
    day, _, clock = stamp.partition("T")
    matched = None if not clock or "01" <= clock < "23" else _ACQUISITION.fullmatch(acquisition)
    if matched is None:
        return (f"{platform}/{day}",)
    when = _moment(matched)
    try:
        limits = (when - MAX_START_DIFFERENCE, when + MAX_START_DIFFERENCE)
        return tuple(sorted({f"{platform}/{moment:%Y%m%d}" for moment in limits}))
    except OverflowError:  # at the limits of datetime
        return (f"{platform}/{day}",)


def _read(patterns: Iterable[re.Pattern[str]], names: Iterable[str]) -> dict[str, str]:
    """Groups matched in the names; the first pattern takes precedence, then the first name."""
    groups: dict[str, str] = {}
    known: set[str] = set()
    candidates = [name for name in names if name]
    for pattern in patterns:
        for name in candidates:
            if known.issuperset(pattern.groupindex):
                break  # nothing new to read
            if matched := pattern.search(name.upper()):
                groups = {key: value for key, value in matched.groupdict().items() if value} | groups
                known = groups.keys() | (_FALLBACK_GROUPS if "start" in groups else set())
    return groups


def _sentinel_platform(text: str) -> str:
    matched = re.search(r"(?:S|SENTINEL)[-_ ]?2[-_ ]?([A-D])$", text.strip().upper())
    return f"S2{matched[1]}" if matched else ""


def _landsat_platform(text: str) -> str:
    text = text.strip().upper()
    if re.fullmatch(r"L[COTEM]0\d", text):
        return text
    matched = re.search(r"LANDSAT[-_ ]?0?([45789])$", text)
    return f"{_LANDSAT_PREFIXES[matched[1]]}0{matched[1]}" if matched else ""


def _mgrs(text: str) -> str:
    """Grid square with two digits of zone: ``MGRS-4QFJ`` is ``04QFJ``."""
    matched = _GRID_SQUARE.search(text.strip().upper())
    return f"{matched[1].zfill(2)}{matched[2]}" if matched else ""


def _three_digits(value: object) -> str:
    digits = _digits(value)
    return str(int(digits)).zfill(3) if digits else ""


def _digits(value: object) -> str:
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    text = text.removesuffix(".0").lstrip("Rr")
    return text if text.isascii() and text.isdigit() else ""


def _day_of(ordinal: str) -> str:
    """Calendar day of a day of the year, ``2020003`` to ``20200103``; empty if there is no such day."""
    try:
        return datetime.strptime(ordinal, "%Y%j").replace(tzinfo=UTC).strftime("%Y%m%d")
    except ValueError:
        return ""


def _moment(matched: re.Match[str]) -> datetime:
    try:
        return datetime.strptime(matched["day"] + matched["clock"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC) + MAX_START_DIFFERENCE
