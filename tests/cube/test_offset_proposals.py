"""Offsets are proposed where scenes of one ground contradict each other, and never where they do not."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from shapely.geometry import box

from monitor.cube.offset_proposals import Proposal, propose_offsets
from monitor.imagery.source import Frame, Scene

GROUND = np.array([0.16, 0.18, 0.2, 0.3, 0.3, 0.25])
"""Bright ground: no number of it is impossible with either offset. [1]"""


class Painted:
    """A source whose scenes show one ground, with 1,000 added to the numbers of some."""

    def __init__(self, added):
        self.added = added

    def read(self, scenes, grids):
        random = np.random.default_rng(1)
        for scene in scenes:
            level = 10_000 * GROUND * random.normal(1, 0.03) + 1000 * self.added[int(scene.id)]
            pixels = np.broadcast_to(np.rint(level).astype(np.uint16)[:, None, None], (6, *grids[0].shape))
            yield [Frame(grid=grid, pixels=pixels, quality=np.full(grid.shape, 4, np.uint16)) for grid in grids]


def scenes(count, **values):
    start = datetime(2020, 7, 1, tzinfo=UTC)
    return [
        Scene(id=str(number), acquisition=str(number), time=start + timedelta(20 * number), sensor="sentinel-2",
              baseline="", source="folder", scale=1e-4, quality="scl", footprint=box(106, 37, 106.1, 37.1),
              **{"offset": 0.0} | values)
        for number in range(count)
    ]  # fmt: skip


def proposed(added, is_known=None, **values):
    made = propose_offsets(Painted(added), scenes(len(added), **values), is_known or [False] * len(added))
    assert all(isinstance(one, Proposal) for one in made)
    return [one.offset for one in made]


def test_each_half_of_a_folder_gets_its_own_offset():
    assert proposed([0] * 30 + [1] * 30) == [0.0] * 30 + [-0.1] * 30


@pytest.mark.parametrize("added", [0, 1])
def test_where_all_scenes_are_alike_nothing_is_proposed(added):
    assert proposed([added] * 40) == [None] * 40


def test_a_stated_offset_decides_those_of_the_others():
    assert proposed([1] * 45, [number < 30 for number in range(45)], offset=-0.1) == [-0.1] * 45
