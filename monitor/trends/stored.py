"""What is drawn from a few scenes of a store, at the cost of those scenes and not of the history."""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from itertools import count, product
from typing import Any, Final

import dask.array as da
import numpy as np
import xarray as xr

from monitor.cube.grid import grid_from_json
from monitor.cube.packed import unpack
from monitor.cube.store import Record, SiteStore, _decode
from monitor.errors import StoreBroken

CHUNK_BYTES: Final = 32_000_000
"""Stored pixels of a dask chunk: many scenes of a small site, one of a large one. [byte]"""


_count = count()


FEW: Final = 8
"""So many records are looked for by their text, before any is taken apart."""


class Stored:
    """The scenes of a site, opened once.

    Parameters
    ----------
    store : SiteStore
        Of the site.
    snapshot : str, optional
        Id; None: as they stand, with what is not yet committed.

    Raises
    ------
    StoreBroken
        The store can not be read, or has no such snapshot.
    """

    def __init__(self, store: SiteStore, snapshot: str | None = None) -> None:
        self.store = store
        with store._guarded():
            opened = store._opened(snapshot)
            self._opened = opened
            self.grid = grid_from_json(opened.attributes["grid"])

    def draw(
        self,
        acquisitions: Sequence[str],
        function: Callable[[xr.Dataset], Sequence[xr.DataArray]],
        *,
        names: Sequence[str],
        layers: Collection[str],
    ) -> xr.DataArray:
        """Draw values from some scenes, pixel by pixel.

        Parameters
        ----------
        acquisitions : sequence of str
            The scenes.
        function : callable
            Makes values of a cube (see :mod:`monitor.cube.packed`; without its times) of some of the scenes and some
            of the ground, each on (time, y, x) of that cube.
        names : sequence of str
            Of the values that it makes.
        layers : collection of str
            That it needs, of :data:`monitor.cube.packed.LAYERS`.

        Returns
        -------
        xr.DataArray
            (acquisition, value, y, x) float32 in the order of `acquisitions`, without coordinates in space. Lazy: a
            dask chunk reads the stored chunks of its own scenes, once, and does all the arithmetic on them.

        Raises
        ------
        StoreBroken
            The store can not be read, or lacks one of the scenes.
        """
        with self.store._guarded():
            found = _find(self._opened.array("scenes"), set(acquisitions))
            pixels = self._opened.array("pixels")
        absent = set(acquisitions) - found.keys()
        if absent:
            msg = (
                f"the store {self.store.path.name} lacks {len(absent)} scenes that the ledger names, "
                f"{min(absent)} among them; the next run fetches them, then publish again"
            )
            raise StoreBroken(msg)
        slots = np.array([found[name][0] for name in acquisitions])
        records = [found[name][1] for name in acquisitions]

        def block(some: slice, *ground: slice) -> np.ndarray:
            with self.store._guarded():
                packed = _read(pixels, slots[some], ground)
            cube = unpack(
                packed,
                ("y", "x"),
                times=[datetime.fromisoformat(record.time) for record in records[some]],
                scale=[record.scale for record in records[some]],
                offset=[record.offset for record in records[some]],
                bandpass=[record.bandpass for record in records[some]],
                layers=layers,
            )
            made = function(cube.drop_vars("time"))  # to compare the times of every pair of layers would cost the most
            return np.stack([np.asarray(values, np.float32) for values in made], axis=1)

        _, n_layers, height, width = pixels.shape
        _, _, rows, columns = pixels.chunks
        together = max(1, CHUNK_BYTES // (2 * n_layers * rows * columns))
        cuts = [_cuts(slots.size, together), _cuts(height, rows), _cuts(width, columns)]
        name = f"drawn-{next(_count)}"
        graph = {
            (name, i, 0, j, k): (block, some, slice(None), y, x)
            for (i, some), (j, y), (k, x) in product(*map(enumerate, cuts))
        }
        times, ys, xs = (tuple(cut.stop - cut.start for cut in some) for some in cuts)
        lazy = da.Array(graph, name, (times, (len(names),), ys, xs), dtype=np.float32)
        return xr.DataArray(lazy, dims=("acquisition", "value", "y", "x"), coords={"value": list(names)})


def _find(scenes: Any, wanted: set[str]) -> dict[str, tuple[int, Record]]:
    """Slot and record of acquisitions; the newest slots are looked at first, for new scenes lie there."""
    found: dict[str, tuple[int, Record]] = {}
    texts = [json.dumps(name, ensure_ascii=False).encode() for name in wanted] if len(wanted) <= FEW else [b""]
    count, together = scenes.shape[0], scenes.chunks[0]
    for first in range((count - 1) // together * together, -1, -together):
        for slot, row in enumerate(np.asarray(scenes[first : min(first + together, count)]), start=first):
            raw = row.tobytes()
            if not any(text in raw for text in texts):
                continue
            (record,) = _decode(row[None])
            if record.acquisition in wanted:
                found[record.acquisition] = slot, record
        if len(found) == len(wanted):
            break
    return found


def _read(pixels: Any, slots: np.ndarray, ground: tuple[slice, ...]) -> np.ndarray:
    if (np.diff(slots) == 1).all():
        return np.asarray(pixels[slice(int(slots[0]), int(slots[-1]) + 1), *ground])
    return np.asarray(pixels.oindex[slots, *ground])


def _cuts(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]
