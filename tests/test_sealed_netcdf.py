"""An untrusted NetCDF file cannot make its reader open another file, or read values that were not expected."""

from pathlib import Path

import netCDF4
import pytest

from monitor.errors import BadData
from monitor.sealed_netcdf import Arrays, SealedFiles

HOSTILE = Path(__file__).parent / "hostile_netcdf"
PLAIN = {"a": {"dtype": "<i4", "shape": [3], "chunks": None, "filters": []}}


def read_alone(path, arrays=PLAIN):
    with SealedFiles([Arrays(path, arrays)]) as opened:
        return opened.read(0, [*arrays], 0, 3)


@pytest.fixture
def beside(monkeypatch):
    """The folder in which relative names of other files lead to them."""
    monkeypatch.chdir(HOSTILE)


@pytest.mark.usefixtures("beside")
def test_the_library_follows_references_to_other_files():
    """If the library no longer follows them, the process that reads need not be sealed."""
    for name, values in (("link", [7, 8, 9]), ("virtual", [7, 8, 9]), ("storage", [1178880137, 169478669, 0])):
        with netCDF4.Dataset(HOSTILE / f"{name}.nc") as file:
            assert file["a"][:].tolist() == values
    with netCDF4.Dataset(HOSTILE / "group.nc") as file:
        assert file.groups["more"]["a"][:].tolist() == [7, 8, 9]


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("name", ["link", "group", "storage"])
def test_a_file_that_refers_to_another_one_is_refused_and_the_other_is_not_opened(name):
    with pytest.raises(BadData, match=rf"{name}.nc cannot be read as it should be: .*refers to other files"):
        read_alone(HOSTILE / f"{name}.nc")


@pytest.mark.usefixtures("beside")
def test_values_in_another_file_never_arrive():
    (values,) = read_alone(HOSTILE / "virtual.nc")
    assert values.tolist() == [-1, -1, -1]  # what the library gives where the other file cannot be opened


def test_what_a_file_states_is_compared_before_anything_is_read():
    for key, value in (("dtype", "<f8"), ("shape", [2**40]), ("chunks", [1]), ("filters", ["zlib"])):
        with pytest.raises(BadData, match=rf"other.nc cannot be read as it should be: a has {key}"):
            read_alone(HOSTILE / "other.nc", {"a": PLAIN["a"] | {key: value}})
    assert read_alone(HOSTILE / "other.nc")[0].tolist() == [7, 8, 9]


def test_some_places_of_an_array_are_read_and_places_beyond_its_end_are_refused():
    with SealedFiles([Arrays(HOSTILE / "other.nc", PLAIN)]) as opened:
        assert opened.read(0, ["a"], 1, 2)[0].tolist() == [8]
        with pytest.raises(IndexError, match="a has no places 2 to 5"):
            opened.read(0, ["a"], 2, 5)


@pytest.mark.usefixtures("beside")
def test_a_file_that_was_refused_stays_refused():
    with SealedFiles([Arrays(HOSTILE / "link.nc", PLAIN)]) as opened:
        for _ in range(2):
            with pytest.raises(BadData, match=r"link\.nc cannot be read as it should be"):
                opened.read(0, ["a"], 0, 3)
