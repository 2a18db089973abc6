"""Which acquisition a scene is, whatever the catalogue calls it.

An acquisition is a platform and the start of its datatake: ``S2A/20200103T035141``; for Landsat a platform, a path and
a day: ``LC08/129/20200103``. With the tile (``48SUF``; the row of a Landsat path, ``034``) it is counted once. Products
of the harmonised Landsat and Sentinel-2 project are other pixels than those of their parents, so they are other
acquisitions: ``HLS-S30/20200103T035141``.

The functions take whatever names a catalogue gives, the surest first: datatake id, product, granule, item id,
``system:index``. Several catalogues give no datatake. Then the time of the scene stands for its start, and where
there is only a day, the day: ``S2A/20200714T115552``, ``S2A/20200714``. Such a stand-in is up to 40 minutes late, since
a datatake is no longer than that, while the same satellite comes back over neighbouring ground only after an orbit of
100 minutes; :func:`same` decides by that.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

NEAR: Final = timedelta(minutes=50)
"""Half the orbital period of Sentinel-2 (100.6 min): two times of one platform nearer than that are of one datatake."""

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
_INDEX: Final = re.compile(rf"(?<![A-Z0-9]){_STAMP}_\d{{8}}T\d{{6}}_T(?P<tile>\d\d[A-Z]{{3}})(?![A-Z0-9])")
_TIMED_ITEM: Final = re.compile(
    r"(?<![A-Z0-9])(?P<platform>S2[A-D])_T(?P<tile>\d\d[A-Z]{3})_(?P<seen>\d{8}T\d{6})(?!\d)"
)
_DAY_ITEM: Final = re.compile(
    r"(?<![A-Z0-9])(?P<platform>S2[A-D])_(?P<tile>\d\d[A-Z]{3}|\d[A-Z]{3})_(?P<day>\d{8})(?![0-9T])"
)
_SENTINEL: Final = (_DATATAKE, _PRODUCT, _OLD_PRODUCT, _INDEX, _GRANULE, _TIMED_ITEM, _DAY_ITEM)
"""Surest first for the start of the datatake: a granule's own times are not it, nor is the time in the id of a
Collection 1 item of Earth Search, which is that of the datastrip."""

_STAND_INS: Final = {"seen", "day"}
"""Of no use where a name tells the start."""

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
_HLS: Final = re.compile(
    r"HLS\.(?P<product>[LS]30)\.T(?P<tile>\d\d[A-Z]{3})\.(?P<ordinal>\d{7})T(?P<clock>\d{6})(?:\.V(?P<version>\d+\.\d+))?"
)
_LANDSAT_LETTERS: Final = {"4": "LT", "5": "LT", "7": "LE", "8": "LC", "9": "LC"}
_BASELINE: Final = re.compile(r"(\d{1,2})\.(\d{1,2})")
_SQUARE: Final = re.compile(r"(?:^|[^0-9A-Z]|T)(\d{1,2})([A-Z]{3})$")
_ACQUISITION: Final = re.compile(r"(?P<platform>[^/]+)/(?P<day>\d{8})(?:T(?P<clock>\d{6}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a scene is, apart from who offers it."""

    acquisition: str
    """See the module; empty: nothing told it."""
    tile: str
    """``48SUF``, or the row of a Landsat path, ``034``; empty: not known."""
    baseline: str
    """``05.09``; of Landsat collection and day of processing, ``02.20200824``; empty: not known. Compared part by part
    as numbers, the newest is the largest."""
    orbit: str
    """Relative orbit, or path, three digits; empty: not known."""
    exact: bool
    """Whether the acquisition is certain; if not, a time or a day stands for the start of the datatake."""

    @property
    def start(self) -> datetime | None:
        """Start of the datatake, the same in every catalogue; None where it is not certain or only a day is known."""
        stamp = self.acquisition.rpartition("/")[2]
        if not self.exact or "T" not in stamp:
            return None
        try:
            return datetime.fromisoformat(stamp).replace(tzinfo=UTC)
        except ValueError:
            return None


def sentinel2(
    *names: str,
    platform: str = "",
    tile: str = "",
    time: datetime | None = None,
    baseline: object = "",
    orbit: object = "",
) -> Identity:
    """Identity of a Sentinel-2 granule.

    Parameters
    ----------
    *names : str
        Everything that may name it, the surest first; empty ones are skipped.
    platform : str
        ``sentinel-2a``, ``Sentinel-2A``, ``S2A``, if the names do not tell.
    tile : str
        ``48SUF``, ``T48SUF`` or ``MGRS-48SUF``, if the names do not tell.
    time : datetime, optional
        Of the scene, aware; stands for the start of the datatake where no name gives one.
    baseline, orbit
        As the catalogue gives them; they go before what the names say.

    Examples
    --------
    >>> sentinel2("GS2A_20200103T035141_023678_N02.13", tile="48SUF").acquisition
    'S2A/20200103T035141'
    >>> sentinel2("S2A_48SUF_20200103_0_L2A").acquisition
    'S2A/20200103'
    """
    found = _read(_SENTINEL, names)
    craft = found.get("platform") or _sentinel_platform(platform)
    start = found.get("start", "")
    seen = time.astimezone(UTC).strftime("%Y%m%dT%H%M%S") if time and not start else found.get("seen", "")
    when = start or seen or found.get("day", "")
    return Identity(
        acquisition=f"{craft}/{when}" if craft and when else "",
        tile=_mgrs(tile) or _mgrs(found.get("tile", "")),
        baseline=normal_baseline(baseline) or normal_baseline(found.get("baseline", "")),
        orbit=_three(orbit) or found.get("orbit", ""),
        exact=bool(craft and start),
    )


def landsat(
    *names: str,
    platform: str = "",
    path: object = "",
    row: object = "",
    time: datetime | None = None,
    processed: str = "",
    collection: object = "",
) -> Identity:
    """Identity of a Landsat scene.

    Parameters
    ----------
    *names : str
        Product id, scene id, item id, ``system:index``: whatever there is.
    platform : str
        ``landsat-8``, ``LANDSAT_8``, ``LC08``, if the names do not tell.
    path, row
        If the names do not tell.
    time : datetime, optional
        Of the scene, aware.
    processed : str
        Day of processing, ``20200824``, if the names do not tell.
    collection
        Number of the Landsat collection, if the names do not tell.

    Examples
    --------
    >>> landsat("LC08_129034_20200103").acquisition, landsat("LC81290342020003LGN00").tile
    ('LC08/129/20200103', '034')
    """
    found = _read((_LANDSAT_PRODUCT, _LANDSAT_INDEX, _LANDSAT_SCENE), names)
    if "number" in found:
        found.setdefault("platform", f"{found['letters']}0{found['number']}")
        found.setdefault("day", _day_of(found["ordinal"]))
    craft = found.get("platform") or _landsat_platform(platform)
    track = found.get("path") or _three(path)
    day = found.get("day") or (time.astimezone(UTC).strftime("%Y%m%d") if time else "")
    numbers = (_digits(found.get("collection") or collection), _digits(found.get("processed") or processed))
    known = craft and track and day
    return Identity(
        acquisition=f"{craft}/{track}/{day}" if known else "",
        tile=found.get("row") or _three(row),
        baseline=f"{(numbers[0] or '0').zfill(2)}.{numbers[1]}"
        if numbers[1]
        else numbers[0].zfill(2) * bool(numbers[0]),
        orbit=track,
        exact=bool(known),
    )


def hls(*names: str) -> Identity:
    """Identity of a tile of the harmonised Landsat and Sentinel-2 project, from its granule id.

    Examples
    --------
    >>> hls("HLS.S30.T48SUF.2020003T035141.v2.0").acquisition
    'HLS-S30/20200103T035141'
    """
    found = _read((_HLS,), names)
    if not found:
        return Identity(acquisition="", tile="", baseline="", orbit="", exact=False)
    return Identity(
        acquisition=f"HLS-{found['product']}/{_day_of(found['ordinal'])}T{found['clock']}",
        tile=found["tile"],
        baseline=found.get("version", ""),
        orbit="",
        exact=True,
    )


def normal_baseline(value: object) -> str:
    """A Sentinel-2 processing baseline in one spelling; empty where it is none.

    Examples
    --------
    >>> [normal_baseline(given) for given in ("05.09", "N0509", "0509", 5.09, 5.1, "none", None)]
    ['05.09', '05.09', '05.09', '05.09', '05.10', '', '']
    """
    text = str(value).strip().upper().removeprefix("N") if isinstance(value, str | int | float) else ""
    if matched := _BASELINE.fullmatch(text):
        # A number has lost its last zero: 5.1 is 05.10.
        return f"{matched[1].zfill(2)}.{matched[2].ljust(2, '0')}"
    if re.fullmatch(r"\d{3,4}", text):
        return f"{text.zfill(4)[:2]}.{text[-2:]}"
    return ""


def same(one: str, other: str) -> bool:
    """Whether two acquisitions are one, though a time or a day may stand for the start of a datatake.

    Only of scenes of one tile: neighbouring datatakes of a platform never show one tile within 50 minutes.

    Examples
    --------
    >>> same("S2A/20200714T115221", "S2A/20200714T115552"), same("S2A/20200714T115221", "S2A/20200714")
    (True, True)
    >>> same("S2A/20200714T115221", "S2A/20200714T133305"), same("S2A/20200714T115221", "S2B/20200714T115221")
    (False, False)
    """
    if one == other:
        return True
    first, second = _ACQUISITION.fullmatch(one), _ACQUISITION.fullmatch(other)
    if not first or not second or first["platform"] != second["platform"] or first["platform"].startswith("HLS"):
        return False
    if not first["clock"] or not second["clock"]:
        return first["day"] == second["day"]
    return abs(_moment(first) - _moment(second)) < NEAR


@lru_cache(maxsize=65536)  # the same ones of all sites of a tile
def days(acquisition: str) -> tuple[str, ...]:
    """Where acquisitions that are the :func:`same` are found together: platform and day, around midnight two days.

    Examples
    --------
    >>> days("S2A/20181231T235957"), days("S2A/20200714T115552"), days("LC08/129/20200103")
    (('S2A/20181231', 'S2A/20190101'), ('S2A/20200714',), ('LC08/129/20200103',))
    """
    platform, _, stamp = acquisition.rpartition("/")
    day, _, clock = stamp.partition("T")
    matched = None if not clock or "01" <= clock < "23" else _ACQUISITION.fullmatch(acquisition)
    if matched is None:
        return (f"{platform}/{day}",)
    when = _moment(matched)
    try:
        return tuple(sorted({f"{platform}/{moment:%Y%m%d}" for moment in (when - NEAR, when + NEAR)}))
    except OverflowError:  # at the end of all days
        return (f"{platform}/{day}",)


def _read(patterns: Iterable[re.Pattern[str]], names: Iterable[str]) -> dict[str, str]:
    """What the names tell; the surest pattern first, then the first name."""
    found: dict[str, str] = {}
    known: set[str] = set()
    given = [name for name in names if name]
    for pattern in patterns:
        for name in given:
            if known.issuperset(pattern.groupindex):
                break  # it has no more to tell
            if matched := pattern.search(name.upper()):
                found = {key: value for key, value in matched.groupdict().items() if value} | found
                known = found.keys() | (_STAND_INS if "start" in found else set())
    return found


def _sentinel_platform(text: str) -> str:
    matched = re.search(r"(?:S|SENTINEL)[-_ ]?2[-_ ]?([A-D])$", text.strip().upper())
    return f"S2{matched[1]}" if matched else ""


def _landsat_platform(text: str) -> str:
    text = text.strip().upper()
    if re.fullmatch(r"L[COTEM]0\d", text):
        return text
    matched = re.search(r"LANDSAT[-_ ]?0?([45789])$", text)
    return f"{_LANDSAT_LETTERS[matched[1]]}0{matched[1]}" if matched else ""


def _mgrs(text: str) -> str:
    """Grid square with two digits of zone: ``MGRS-4QFJ`` is ``04QFJ``."""
    matched = _SQUARE.search(text.strip().upper())
    return f"{matched[1].zfill(2)}{matched[2]}" if matched else ""


def _three(value: object) -> str:
    digits = _digits(value)
    return str(int(digits)).zfill(3) if digits else ""


def _digits(value: object) -> str:
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    text = text.removesuffix(".0").lstrip("Rr")
    return text if text.isascii() and text.isdigit() else ""


def _day_of(ordinal: str) -> str:
    """``2020003`` is ``20200103``; empty where there is no such day."""
    try:
        return datetime.strptime(ordinal, "%Y%j").replace(tzinfo=UTC).strftime("%Y%m%d")
    except ValueError:
        return ""


def _moment(matched: re.Match[str]) -> datetime:
    try:
        return datetime.strptime(matched["day"] + matched["clock"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC) + NEAR
