"""Reasons of a verdict: codes, each with one plain sentence in English and in Chinese."""

from enum import StrEnum


class Reason(StrEnum):
    """Codes of an assessment's ``reasons``, in the order in which they are reported."""

    START_IN_FUTURE = "START_IN_FUTURE"
    FEW_PIXELS = "FEW_PIXELS"
    CONTROL_FEW = "CONTROL_FEW"
    RADIOMETRY = "RADIOMETRY"
    NO_CONTROL = "NO_CONTROL"
    CONTROL_CONSTANT = "CONTROL_CONSTANT"
    SEASON_ELSEWHERE = "SEASON_ELSEWHERE"
    FEW_SCENES = "FEW_SCENES"
    DATA_OLD = "DATA_OLD"
    INTERVAL_WIDE = "INTERVAL_WIDE"
    SUDDEN_DROP = "SUDDEN_DROP"
    DROUGHT_DIEBACK = "DROUGHT_DIEBACK"
    FIRE = "FIRE"
    INDEX_DISAGREE = "INDEX_DISAGREE"
    SPATIAL_PATCH = "SPATIAL_PATCH"
    NEG_UPLIFT = "NEG_UPLIFT"
    LOW_UPLIFT = "LOW_UPLIFT"
    MEASURED_HIGHER = "MEASURED_HIGHER"
    MEASURED_LOWER = "MEASURED_LOWER"
    EVIDENCE_LOWER = "EVIDENCE_LOWER"
    EROSION_COVER_LOW = "EROSION_COVER_LOW"
    DROUGHT = "DROUGHT"
    CONTROL_POOR = "CONTROL_POOR"
    NO_PRE_SEASONS = "NO_PRE_SEASONS"
    FEW_PRE_SEASONS = "FEW_PRE_SEASONS"
    TOO_EARLY = "TOO_EARLY"
    NO_PLAN = "NO_PLAN"
    UNCERTAIN = "UNCERTAIN"
    NEIGHBOURS_LOST = "NEIGHBOURS_LOST"
    RAIN_LOW = "RAIN_LOW"
    RAIN_UNKNOWN = "RAIN_UNKNOWN"
    TERRAIN_UNKNOWN = "TERRAIN_UNKNOWN"
    CLOUDS_UNMASKED = "CLOUDS_UNMASKED"
    DRY_MATTER = "DRY_MATTER"


BACKGROUND = (
    Reason.FEW_PIXELS, Reason.CONTROL_FEW, Reason.RADIOMETRY, Reason.RAIN_LOW, Reason.RAIN_UNKNOWN,
    Reason.TERRAIN_UNKNOWN, Reason.CLOUDS_UNMASKED, Reason.SPATIAL_PATCH, Reason.DRY_MATTER, Reason.NEIGHBOURS_LOST,
)  # fmt: skip
"""Reasons that come from the ground, its pixels or other data, not from the series."""

SENTENCES = {
    Reason.START_IN_FUTURE: ("The work had not begun on this day.", "该日期时工程尚未开始。"),
    Reason.FEW_PIXELS: (
        "The site has fewer than ten pixels, so no scene of it counts.",
        "地块不足十个像元，因此任何影像都不能采用。",
    ),
    Reason.CONTROL_FEW: (
        "Fewer than ten control units can be compared with the site: they could not be selected, or other sites have "
        "started on them since. No new scene counts.",
        "可供对比的地块不足十块（未能选出，或已有其他地块在其上开工），新的影像均不能采用。",
    ),
    Reason.RADIOMETRY: (
        "Of the last thirteen months more scenes were rejected for a wrong offset or scale than were usable.",
        "近十三个月内，因偏移量或比例系数有误而未采用的影像多于可用影像。",
    ),
    Reason.NO_CONTROL: (
        "No scene shows both the site and its control ground.",
        "没有任何影像同时看到本地块和对照地块。",
    ),
    Reason.CONTROL_CONSTANT: (
        "The control ground hardly changes with the seasons, unlike the site, or has the same cover in every scene: it "
        "shows neither seasons nor rain.",
        "对照地块不像本地块那样随季节变化，或在所有影像中的覆盖度都相同，看不出季节和降水影响。",
    ),
    Reason.SEASON_ELSEWHERE: (
        "The control ground is greenest outside the growing season of the biome, so growth would be measured at the "
        "wrong time of the year.",
        "对照地块最绿的时段不在所选生物群系的生长季之内，若据此判断，会在错误的季节寻找生长。",
    ),
    Reason.FEW_SCENES: (
        "Fewer than three usable scenes in this growing season and the last.",
        "本生长季和上一生长季的可用影像不足三景。",
    ),
    Reason.DATA_OLD: ("The last usable scene is more than thirteen months old.", "最近一景可用影像已超过十三个月。"),
    Reason.INTERVAL_WIDE: (
        "The observations leave the share achieved too uncertain to judge.",
        "现有观测不足以判断完成比例，不确定性过大。",
    ),
    Reason.SUDDEN_DROP: (
        "Vegetation cover seems to have fallen suddenly, and that of the control ground did not.",
        "植被覆盖度似突然下降，而对照地块没有下降。",
    ),
    Reason.DROUGHT_DIEBACK: (
        "The loss came in a season in which the control ground did badly too, as in a drought.",
        "损失发生时对照地块同样明显偏差，类似干旱。",
    ),
    Reason.FIRE: (
        "A second index fell as far as after a fire or a clearing, and the control ground grew as usual.",
        "第二指数同时大幅下降，类似火烧或砍伐之后，而对照地块生长如常。",
    ),
    Reason.INDEX_DISAGREE: (
        "Cover seemed to fall suddenly, but a second index did not; no alarm was raised.",
        "覆盖度似有突降，但第二指数未下降，因此未报警。",
    ),
    Reason.SPATIAL_PATCH: (
        "Regrowth is absent on part of the site, in patches of half a hectare or more; the map shows where.",
        "地块的一部分未见成效，成片达半公顷以上，位置见地图。",
    ),
    Reason.NEG_UPLIFT: ("The site is below what it would be without the work.", "地块状况低于未实施工程时的预期水平。"),
    Reason.LOW_UPLIFT: (
        "Cover has risen less, relative to the control ground, than the plan promised.",
        "相对对照地块的覆盖度增量低于规划预期。",
    ),
    Reason.MEASURED_HIGHER: (
        "Measured directly, the site stands higher above its control ground than the model estimates.",
        "直接测得的地块相对对照的差值高于模型估计。",
    ),
    Reason.MEASURED_LOWER: (
        "Measured directly, the site stands lower against its control ground than the model estimates.",
        "直接测得的地块相对对照的差值低于模型估计。",
    ),
    Reason.EVIDENCE_LOWER: (
        "Newer scenes are weaker evidence of failure than those that raised the alert.",
        "较新的影像对失败的支持弱于触发警报时的影像。",
    ),
    Reason.EROSION_COVER_LOW: (
        "Cover has not improved the erosion grade of the site (SL 190).",
        "植被覆盖未使侵蚀强度等级改善（SL 190）。",
    ),
    Reason.DROUGHT: (
        "The control ground is well below its normal growth this season too, as in a drought.",
        "本季对照地块的生长也明显低于常年，类似干旱。",
    ),
    Reason.CONTROL_POOR: (
        "The control ground did not match the site well before the start; intervals are wider.",
        "开工前对照地块与本地块吻合较差，区间已放宽。",
    ),
    Reason.NO_PRE_SEASONS: (
        "No growing season before the start was observed, so the control cannot be checked; intervals are wider.",
        "没有开工前的生长季观测，无法检验对照地块，区间已放宽。",
    ),
    Reason.FEW_PRE_SEASONS: ("Only one growing season before the start was observed.", "开工前只有一个生长季的观测。"),
    Reason.TOO_EARLY: ("Growth of this kind cannot be judged from above yet.", "此类恢复目前尚不能从遥感判断。"),
    Reason.NO_PLAN: ("No uplift was promised here; only loss is judged.", "此处未承诺增量，只判断是否有损失。"),
    Reason.UNCERTAIN: (
        "The observations so far fit a good outcome as well as a poor one.",
        "目前的观测既可能对应好的结果，也可能对应差的结果。",
    ),
    Reason.NEIGHBOURS_LOST: (
        "Other sites nearby lost cover in the same weeks: a common cause such as fire, flood, frost, hail, snow or "
        "haze is likely.",
        "附近其他地块在同一时期也有植被损失，可能有共同原因，如火灾、洪水、霜冻、冰雹、积雪或雾霾。",
    ),
    Reason.RAIN_LOW: (
        "The season's rain is more than one standard deviation below what is usual here.",
        "本季降水比常年低一个标准差以上。",
    ),
    Reason.RAIN_UNKNOWN: (
        "Rain is unknown here; drought is judged from the control ground alone.",
        "此处降水未知，干旱仅依据对照地块判断。",
    ),
    Reason.TERRAIN_UNKNOWN: (
        "Terrain is unknown here; it was not used to select control ground or for the erosion grade.",
        "此处地形未知，未用于对照地块的选择和侵蚀分级。",
    ),
    Reason.CLOUDS_UNMASKED: (
        "Scenes without a quality layer were used: no cloud was masked in them, unless the files hold no value there.",
        "使用了没有质量图层的影像：除非文件中云的位置本来就没有值，否则云未被剔除。",
    ),
    Reason.DRY_MATTER: (
        "Dry plants and litter probably cover a good part of the ground (estimated, give or take 16 points) and "
        "protect the soil too; erosion grade and soil loss count green cover only.",
        "枯草和凋落物很可能覆盖了相当一部分地面（估计值，误差约 ±16 个百分点），同样能保护土壤；"
        "侵蚀等级和土壤流失只计绿色植被。",
    ),
}
"""(English, Chinese) sentence of each code."""


def sentence(code: str, language: str) -> str:
    """One plain sentence for a code; ``ValueError``: the code is unknown.

    Parameters
    ----------
    code : str, value of :class:`Reason`
    language : str, ``zh`` for Chinese; anything else is English

    Returns
    -------
    str
    """
    return SENTENCES[Reason(code)][language == "zh"]
