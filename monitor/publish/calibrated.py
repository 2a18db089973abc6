"""Data on which the constants of a verdict were calibrated, in the words of the pages."""

from typing import Any

from monitor.alerts import words
from monitor.sites.site import Biome
from monitor.verdict.calibrate import constants_table, weight
from monitor.verdict.calibration import Calibration
from monitor.verdict.placebos import MIN_SITES


def calibration_table(used: Calibration, *, biome: Biome) -> dict[str, Any]:
    """Constants of a verdict for the template, with their defaults and their source; `biome` is that of the site."""
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
        name, _, budget = row["constant"].partition(" at ")
        english, chinese = (words.text(f"constant.{name}", language, budget=budget) for language in words.LANGUAGES)
        beside = "" if row["calibrated"] == row["default"] else f" ({row['default']:g})"
        rows.append((english, chinese, f"{row['calibrated']:g}{beside}"))
    return {"used": used, "source": source, "weight": weight(used.placebos), "rows": rows}
