"""Values drawn from a few scenes of a site, at the cost of those scenes and not of the history."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from itertools import count
from typing import Final

import dask.array as da
import numpy as np
import xarray as xr

from monitor.cube.packed import LAYERS, unpack
from monitor.cube.store import StoredSite
from monitor.errors import StoreBroken

CHUNK_BYTES: Final = 32_000_000
"""Pixels of a dask chunk: many scenes of a small site, one of a large one. [byte]"""

_count = count()


class Stored:
    """The scenes of a site, looked up once.

    Parameters
    ----------
    store : StoredSite
        Of the site.
    snapshot : str, optional
        What is stored up to then; None: all, with what is not yet committed.

    Raises
    ------
    StoreBroken
        The store cannot be read, or has no such snapshot.
    """

    def __init__(self, store: StoredSite, snapshot: str | None = None) -> None:
        self.store, self.grid = store, store.grid
        self._scenes = store.columns(snapshot)
        names = self._scenes["acquisition"].tolist()
        self._place = {name.decode("utf-8", "surrogatepass"): place for place, name in enumerate(names)}

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
            Makes values of a cube (see :mod:`monitor.cube.packed`; without its times) of some of the scenes, each on
            (time, y, x) of that cube.
        names : sequence of str
            Of the values that it makes.
        layers : collection of str
            That it needs, of :data:`monitor.cube.packed.LAYERS`.

        Returns
        -------
        xr.DataArray
            (acquisition, value, y, x) float32 in the order of `acquisitions`, without coordinates in space. Lazy: a
            dask chunk reads the stored pixels of its own scenes, once, and does all the arithmetic on them.

        Raises
        ------
        StoreBroken
            The store cannot be read, or lacks one of the scenes.
        """
        absent = set(acquisitions) - self._place.keys()
        if absent:
            msg = (
                f"the store {self.store.landscape.name} lacks {len(absent)} scenes that the ledger names, "
                f"{min(absent)} among them; the next run fetches them, then publish again"
            )
            raise StoreBroken(msg)
        wanted = [self._place[name] for name in acquisitions]
        scenes = {name: self._scenes[name][wanted].tolist() for name in ("row", "time", "scale", "offset", "bandpass")}

        def block(some: slice) -> np.ndarray:
            cube = unpack(
                self.store.pixels(scenes["row"][some]),
                ("y", "x"),
                times=[datetime.fromisoformat(time.decode()) for time in scenes["time"][some]],
                scale=scenes["scale"][some],
                offset=scenes["offset"][some],
                bandpass=scenes["bandpass"][some],
                layers=layers,
            )
            made = function(cube.drop_vars("time"))  # to compare the times of every pair of layers would cost the most
            return np.stack([np.asarray(values, np.float32) for values in made], axis=1)

        height, width = self.grid.shape
        together = max(1, CHUNK_BYTES // (2 * len(LAYERS) * height * width))
        cuts = [slice(start, min(start + together, len(wanted))) for start in range(0, len(wanted), together)]
        name = f"drawn-{next(_count)}"
        graph = {(name, i, 0, 0, 0): (block, some) for i, some in enumerate(cuts)}
        times = tuple(cut.stop - cut.start for cut in cuts)
        lazy = da.Array(graph, name, (times, (len(names),), (height,), (width,)), dtype=np.float32)
        return xr.DataArray(lazy, dims=("acquisition", "value", "y", "x"), coords={"value": list(names)})
