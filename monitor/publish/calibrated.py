"""Data on which the constants of a verdict were calibrated, in the words of the pages."""

from typing import Final

from monitor.publish.view import CalibrationTable
from monitor.sites.site import Biome
from monitor.verdict.calibrate import constants_table, weight
from monitor.verdict.calibration import Calibration
from monitor.verdict.placebos import MIN_SITES

CONSTANT_NAMES: Final = {
    "slow_sd": ("Drift within a year, cover", "一年内的漂移（覆盖度）"),
    "scene_sd": ("Noise of one scene, cover", "单景噪声（覆盖度）"),
    "year_sd": ("Difference between seasons, cover", "生长季自身差异（覆盖度）"),
    "year_memory": ("Of that, carried into the next season", "其中延续到下一生长季的比例"),
    "elasticity_sd": ("Difference in response to rain", "对降雨响应的差异"),
    "trend_sd": ("Lasting trend, cover a year", "持续趋势（覆盖度/年）"),
    "rain_sd": ("Variation of rain between years", "降雨的年际波动"),
    "stiff_slow_sd": ("Drift allowed when testing for a sudden loss, cover", "判断突然受损时容许的漂移（覆盖度）"),
    "disturbance_score": ("Threshold for a sudden loss", "突然受损的判定门槛"),
    "widening": ("Intervals widened by", "区间放宽倍数"),
}
"""English and Chinese, by field of the calibration."""
BOUNDARY_NAME: Final = ("Evidence needed for red, false-alarm budget {}", "红色警报所需证据，误报预算 {}")


def calibration_table(used: Calibration, *, biome: Biome) -> CalibrationTable:
    """Constants of a verdict with their defaults and their source; `biome` is that of the site."""
    if used.placebos:
        _, _, tiles = used.source.partition(", tile ")
        source = (used.source, f"{biome.names['zh']}对照地块，{tiles}")
    else:
        source = (
            f"{used.source}; placebos count once {MIN_SITES} sites of the biome are stored",
            f"默认值：由模拟地块得出，并经真实哨兵二号噪声检验；同一区域至少 {MIN_SITES} 个地块入库后才采用安慰剂序列",
        )
    rows = []
    for row in constants_table(used):
        budget = row["constant"].removeprefix("boundary at ")
        english, chinese = CONSTANT_NAMES.get(row["constant"]) or (words.format(budget) for words in BOUNDARY_NAME)
        beside = "" if row["calibrated"] == row["default"] else f" ({row['default']:g})"
        rows.append((english, chinese, f"{row['calibrated']:g}{beside}"))
    return CalibrationTable(
        source=source, dated=used.dated, hash=used.hash, placebos=used.placebos, weight=weight(used.placebos),
        rows=tuple(rows),
    )  # fmt: skip
