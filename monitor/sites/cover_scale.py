"""Index cover and field cover: how far apart they are, and what the endmembers of a biome rest on.

Index cover is where a vegetation index lies between its endmembers; field cover is what people estimate on the ground
or from a drone. A point of field cover raises the index by less or more than the endmembers say, by plants and soil:
grey shrubs over sand by half as much, a dense green canopy by nearly as much. No single scale fits, so verdicts are in
index cover, and field cover is reported beside it with a factor and its range.
"""

from dataclasses import dataclass
from typing import Final

COVER_ERROR: Final = (0.10, 0.15)  #: of absolute cover by endmembers not measured here, from and to [cover fraction]
INDEX_NAMES: Final = {"ndvi": "NDVI", "msavi2": "MSAVI2", "kndvi": "kNDVI"}  #: names of indices, as people write them
PLAN_COVERS: Final = ("index", "field")  #: covers that a plan may promise


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Cover that people or drones measured, against an index in the same pixels: a straight line."""

    index: str  #: name of the index in :data:`monitor.cover.indices.INDICES`
    bare: float | None  #: index at no cover; None: not recorded [1]
    slope: float  #: rise of the index from no cover to full cover [1]
    where: dict[str, str]  #: ground, method and number of samples, by language
    source: str  #: publication and licence; empty: a measurement of this project, whose data are not redistributed


_SCENE: Final = "3,872 pixels of a published fractional-cover scene, Australian drylands"
_SCENE_ZH: Final = "澳大利亚旱地一景已发表的植被覆盖度产品，3,872 个像元"
_FLIGHTS: Final = "drone images of 1,724 Landsat pixels, 30 flights, Kuiseb river, Namib"
_FLIGHTS_ZH: Final = "纳米布沙漠奎塞布河，30 次无人机飞行覆盖的 1,724 个 Landsat 像元"
_PROSAIL: Final = "green canopies over 48 bright soils, simulated with PROSAIL"
_PROSAIL_ZH: Final = "48 种明亮土壤上的绿色冠层，PROSAIL 模拟"
_PLOTS, _PLOTS_ZH = "160 field plots, central Australia", "澳大利亚中部 160 个样地"
MEASUREMENTS: Final = tuple(
    Measurement(index=index, bare=bare, slope=slope, where={"en": english, "zh": chinese}, source=source)
    for index, bare, slope, english, chinese, source in (
        ("msavi2", 0.094, 0.279, f"{_PLOTS}, Sentinel-2", f"{_PLOTS_ZH}，Sentinel-2", ""),
        ("msavi2", 0.112, 0.287, f"{_PLOTS}, Landsat 8", f"{_PLOTS_ZH}，Landsat 8", ""),
        ("msavi2", 0.094, 0.556, _PROSAIL, _PROSAIL_ZH, ""),
        ("msavi2", 0.101, 0.30, _SCENE, _SCENE_ZH, ""),
        ("ndvi", 0.152, 0.544, _PLOTS, _PLOTS_ZH, ""),
        ("ndvi", 0.084, 0.554, _FLIGHTS, _FLIGHTS_ZH, "doi:10.3390/rs13010051, MIT"),
        ("ndvi", None, 0.73, _SCENE, _SCENE_ZH, ""),
    )
)
"""Lines of index against measured cover. None was measured in the programme's region, none with kNDVI."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFactor:
    """Index cover per field cover."""

    value: float  #: [1]
    low: float  #: lower end of its range: of the measurements elsewhere, or of the 95 % interval of local rows [1]
    high: float  #: upper end of its range [1]
    rows: int = 0  #: local field rows that it was estimated from; 0: measured elsewhere, :data:`MEASUREMENTS`


def measured_factor(index: str, bare_soil: float, full_cover: float) -> FieldFactor | None:
    """Index cover per field cover by measurements elsewhere, for a pair of endmembers.

    The range is that of :data:`MEASUREMENTS`; the value is its geometric mean, so that a plan is as far from either
    end.

    Parameters
    ----------
    index : str
        Name of the index.
    bare_soil, full_cover : float
        Endmembers of the index. [1]

    Returns
    -------
    FieldFactor or None
        Rounded to hundredths; None: no measurement with this index.

    Examples
    --------
    >>> factor = measured_factor("ndvi", 0.09, 0.75)
    >>> factor.low, factor.value, factor.high
    (0.82, 0.95, 1.11)
    >>> measured_factor("kndvi", 0.01, 0.65) is None
    True
    """
    factors = [line.slope / (full_cover - bare_soil) for line in MEASUREMENTS if line.index == index]
    if not factors:
        return None
    low, high = min(factors), max(factors)
    return FieldFactor(value=round((low * high) ** 0.5, 2), low=round(low, 2), high=round(high, 2))


def field_cover(cover: float | None, factor: FieldFactor | None) -> tuple[float | None, float | None, float | None]:
    """Field cover for an index cover: estimate, and its limits by the range of the factor.

    It is index cover divided by the factor, at most 1. On bare bright soil index cover may read up to 0.09 above field
    cover, which this does not remove.

    Parameters
    ----------
    cover : float or None
        Index cover. [1]
    factor : FieldFactor or None
        Index cover per field cover; None: unknown.

    Returns
    -------
    (float, float, float) or (None, None, None)
        [1]

    Examples
    --------
    >>> field_cover(0.25, FieldFactor(value=0.5, low=0.4, high=1.0))
    (0.5, 0.25, 0.625)
    """
    if cover is None or factor is None:
        return None, None, None
    value, low, high = (min(cover / scale, 1.0) for scale in (factor.value, factor.high, factor.low))
    return value, low, high


def cover_basis(index: str, bare_soil: float, full_cover: float, language: str = "en", *, stated: bool = False) -> str:
    """Basis of absolute cover from a pair of endmembers, in two sentences.

    Parameters
    ----------
    index : str
        Name of the index.
    bare_soil, full_cover : float
        Endmembers of the index. [1]
    language : str
        ``zh`` for Chinese; anything else is English, in ASCII, since it stands in every row of a table.
    stated : bool
        Whether the endmembers are those of a configuration; else they are expert values.

    Returns
    -------
    str
    """
    low, high = (f"{error:.2f}" for error in COVER_ERROR)
    name, known = INDEX_NAMES.get(index, index), any(line.index == index for line in MEASUREMENTS)
    if language == "zh":
        checked = "该指数只在其他地区与实测覆盖度对比过" if known else "该指数从未与实测覆盖度对比"
        origin = "端元由本系统配置给定" if stated else "端元为专家取值，未在当地实测"
        return (
            f"{origin}（{name}：裸土 {bare_soil:g}，全覆盖 {full_cover:g}）；{checked}。"
            f"覆盖度绝对值有 ±{low} 至 ±{high} 的不确定性。"
        )
    checked = "compared with measured cover in other regions only" if known else "never compared with measured cover"
    origin = "those of the configuration" if stated else "expert values, not measured here"
    return (
        f"Endmembers are {origin} ({name}: {bare_soil:g} bare soil, {full_cover:g} full "
        f"cover); the index was {checked}. Absolute cover is uncertain by {low} to {high} either way."
    )
