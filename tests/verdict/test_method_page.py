"""The page of the method names every constant of the verdict with the value that the code has."""

import re

import pytest

from monitor.controls import control_means, orbit_bias, selection
from monitor.verdict import calibrate, calibration, lots, measured, programme_list
from monitor.verdict.calibration import Calibration
from monitor.verdict.kernels import constants, lot_model

PAGE_MODULES = (
    constants, calibration, calibrate, control_means, orbit_bias, selection, lots, lot_model, measured, programme_list,
)  # fmt: skip


@pytest.fixture(scope="module")
def rows(root) -> dict[str, tuple[str, str]]:
    """Value and origin of each constant in the tables of the page."""
    text = (root / "docs" / "method.md").read_text(encoding="utf-8")
    return {
        name: (value, origin) for name, value, origin in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", text, re.M)
    }


def written(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"({written(part)})" if isinstance(part, tuple) else written(part) for part in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def of_the_code() -> dict[str, object]:
    calibrated, described = Calibration(), {"source", "dated", "placebos", "boundary"}
    known = {name: getattr(calibrated, name) for name in Calibration.__dataclass_fields__ if name not in described}
    known |= {name: value for name, value in vars(constants).items() if name.isupper()}
    return known


def test_every_constant_of_the_verdict_is_on_the_page_with_its_value_and_origin(rows):
    for name, value in of_the_code().items():
        assert name in rows, name
        assert rows[name][0] == written(value), name
        assert rows[name][1].strip() not in ("", "?"), name


def test_no_constant_of_the_page_is_unknown_to_the_code_or_has_another_value(rows):
    known = of_the_code()
    for module in PAGE_MODULES:
        known |= {name: value for name, value in vars(module).items() if name.isupper() and name not in known}
    for name, (value, _) in rows.items():
        assert name in known, name
        assert value == written(known[name]), name
