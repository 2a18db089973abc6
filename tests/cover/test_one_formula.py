"""NDVI is written once: who changes that line changes it everywhere."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.cover.uses_of_ndvi import results

LINE = "    return normalized_difference(nir, red)\n"
RUN = """
import json, sys
from pathlib import Path

import monitor
from tests.cover.uses_of_ndvi import results

assert Path(monitor.__file__).is_relative_to(sys.argv[1]), monitor.__file__
print(json.dumps(results()))
"""


@pytest.mark.slow
def test_changing_the_one_ndvi_function_changes_the_series_of_a_night_the_map_and_the_trends(root, tmp_path):
    shutil.copytree(root / "monitor", tmp_path / "monitor", ignore=shutil.ignore_patterns("__pycache__"))
    kernels = tmp_path / "monitor" / "cover" / "kernels.py"
    code = kernels.read_text(encoding="utf-8")
    assert code.count(LINE) == 1
    kernels.write_text(code.replace(LINE, LINE.replace("return", "return np.float32(0.5) *")), encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(root)])
    environment = os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    changed, before = json.loads(done.stdout), results()
    assert set(changed) == {"series", "map", "trends", "python"}
    for name, values in changed.items():
        assert min(before[name]) > 0.03, name
        np.testing.assert_allclose(values, np.array(before[name]) / 2, rtol=1e-5, err_msg=name)
