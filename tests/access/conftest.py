"""The demonstration, as a person has it after `regrowth demo`."""

from datetime import date

import pytest

pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Folder of the demonstration of seed 1, with two nights instead of all."""
    from jobs import demonstration
    from jobs.exits import Exit

    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demonstration, "FIRST_NIGHT", date(2020, 10, 3))
        assert demonstration.demonstrate(out, seed=1, as_json=False) is Exit.DONE
    return out
