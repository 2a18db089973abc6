"""Read some blocks of the files of a folder: the scale of reflectance as floats, and whether classes are classes."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from monitor.errors import WRONG_RADIOMETRY, SceneRejected
from monitor.imagery import bands
from monitor.imagery.stac.blocks import Reader, TileLayout, decode_blocks, fetch_blocks

MAX_SAMPLE_PIXELS: Final = 2 << 20  # most pixels of a band that are read; a smaller file is read whole [pixel]
BRIGHT: Final = (0.002, 2.0)  # possible 99th percentile of reflectance, from blue of dense forest to cloud [1]
BRIGHTEST: Final = 0.05  # least of it in the brightest band; 8 bits taken as ten thousandths have 0.0255 [1]
MAX_FLOAT: Final = 1e30  # floats beyond this are fill values; of integers it is the largest one
MAX_SCENE_CLASS: Final = 11  # largest scene class of Sentinel-2


def sample(reader: Reader, layout: TileLayout, band: int) -> np.ndarray:
    """Pixels of evenly spaced blocks of a band, (pixel,); 0 where there is no value or a fill value.

    Raises SceneRejected (``BROKEN``) if a block cannot be read.
    """
    (down, across), (height, width) = layout.grid, layout.block
    count = max(1, min(down * across, MAX_SAMPLE_PIXELS // (height * width)))
    first = layout.first_block(band)
    numbers = np.unique(np.linspace(0, down * across - 1, count).astype(int)).tolist()
    stored = fetch_blocks(reader, layout, [first + number for number in numbers])
    pixels = [np.empty(0, layout.dtype)]
    for number, block in decode_blocks(layout, stored, band=band, name=reader.name).items():
        row, column = divmod(number - first, across)
        pixels.append(block[: layout.shape[0] - row * height, : layout.shape[1] - column * width].ravel())
    values = np.concatenate(pixels)
    is_fill = np.abs(values) > MAX_FLOAT if values.dtype.kind == "f" else values == np.iinfo(values.dtype).max
    return np.where(np.isfinite(values) & (values != layout.nodata) & ~is_fill, values, 0)


def checked_scale(samples: Mapping[str, np.ndarray], scales: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Scale and offset that make numbers reflectance, by pixels of the bands: the first of `scales` that does. [1]

    Raises SceneRejected (``RADIOMETRY``) if none does, or the bands were stretched for the eye.
    """
    values = list(samples.values())
    if len({band.size for band in values}) == 1 and bands.is_stretched(np.stack(values)):
        why = "is stretched for the eye: its bands have one highest value, each in another pixel; export reflectance"
        raise SceneRejected(WRONG_RADIOMETRY, why)
    seen = {name: band[band > 0] for name, band in samples.items()}
    bright = {name: float(np.quantile(band, 0.99)) for name, band in seen.items() if band.size}
    for scale, offset in scales:
        reflectances = [scale * value + offset for value in bright.values()]
        is_possible = all(BRIGHT[0] <= value <= BRIGHT[1] for value in reflectances)
        if (
            is_possible
            and max(reflectances, default=1.0) >= BRIGHTEST
            and (len(bright) == len(seen) or len(scales) == 1)
        ):
            return scale, offset
    found = ", ".join(f"{name} {value:.3g}" for name, value in bright.items()) or "no value at all"
    tried = f"not with the stated scale {scales[0][0]:g}" if len(scales) == 1 else "also not times 10,000"
    why = f"holds numbers that are not clearly reflectance, {tried} (brightest hundredth: {found})"
    raise SceneRejected(WRONG_RADIOMETRY, f"{why}; state what they are: --scale, where reflectance = scale * number")


def check_classes(kind: str, values: np.ndarray) -> None:
    """Check that a quality layer holds classes or bits; SceneRejected (``RADIOMETRY``) if scaled or interpolated."""
    if (values != np.rint(values)).any():
        what = "values between whole numbers: they were scaled or interpolated"
    elif kind == "scl" and values.size and values.max() > MAX_SCENE_CLASS:
        what = f"the value {values.max():g}, where scene classes are 0 to {MAX_SCENE_CLASS}: they were scaled"
    elif kind == "scl" and not values.any():
        what = "only 0 in the blocks that were read: they were scaled, or the scene is empty"
    else:
        return
    why = "export them as they are, with the nearest neighbour where pixels change"
    raise SceneRejected(WRONG_RADIOMETRY, f"holds classes ({kind}) with {what}; {why}")
