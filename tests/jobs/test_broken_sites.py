"""One site or landscape that is not like the others: they are judged as without it, and it has a reason."""

from datetime import date
from unittest.mock import Mock

import pytest
from sqlalchemy import select, type_coerce, update
from sqlalchemy.types import LargeBinary

from jobs.health.damage import ledger_rows
from jobs.health.ledger import read_ledger
from jobs.night import judging
from jobs.pages.publishing import publish_once
from jobs.runtime.installation import open_ledger
from jobs.runtime.settings import load
from monitor.errors import BadData, TryLater
from monitor.ledger.models import AssessmentsRow
from tests.jobs.painted import DAYS, NIGHT, ROW, Painted, ground, installed, night, observations, states, status

LONG = [date(year, month, 5) for year in range(1999, 2018) for month in (6, 8, 9)]


@pytest.mark.parametrize("error", [BadData, ValueError], ids=["error", "bug"])
def test_a_site_that_cannot_be_judged_fails_alone_with_its_reason(tmp_path, night_with, monkeypatch, error):
    settings = installed(tmp_path, ROW)
    judge = judging.series_verdicts

    def fail_for_s2(sites, series, as_of):
        if any(inputs.site.id == "s2" for *_, inputs in sites):
            raise error("no verdict is possible")
        return judge(sites, series, as_of)

    monkeypatch.setattr(judging, "series_verdicts", fail_for_s2)
    manifest = night_with(settings, Painted(DAYS[::4]))
    assert states(manifest) == {"s1": "done", "s2": "failed", "s3": "done"}
    assert "no verdict is possible" in manifest.sites[1].error


def test_a_ledger_in_use_defers_a_landscape_and_is_not_waited_for_site_by_site(tmp_path, night_with, monkeypatch):
    settings = installed(tmp_path, ROW)
    judge = Mock(side_effect=TryLater("the ledger was locked for 60 s"))
    monkeypatch.setattr(judging, "series_verdicts", judge)
    assert states(night_with(settings, Painted(DAYS[::4]))) == dict.fromkeys(("s1", "s2", "s3"), "deferred")
    judge.assert_called_once()


class LongBefore(Painted):
    """Until 2017 its scenes show the first site of the row alone."""

    def scene(self, day, tile, footprint):
        return super().scene(day, tile, footprint if day.year > 2017 else ground(6_500, 10_500, 8_600, 13_500))


def test_twenty_years_of_one_site_and_one_pixel_of_another_change_nothing_for_the_third(tmp_path, night_with):
    found, row = [], [ROW[2], ROW[0], (8_700, 12_000, 8_712, 12_012)]
    for source in (LongBefore([*LONG, *DAYS[::2]]), Painted(DAYS[::2])):
        settings = installed(tmp_path / str(len(found)), row)
        config = settings.registry.path.parent / "regrowth.toml"
        config.write_text(config.read_text(encoding="utf-8").replace("2018-01-01", "1999-01-01"), encoding="utf-8")
        manifest = night_with(load(config), source, pages=True)
        assert {(one.state, one.error) for one in manifest.sites} == {("done", None)}
        assert manifest.pages_failed == {}
        lines = [len(observations(settings, site).splitlines()) for site in ("s1", "s2", "s3")]
        found.append((lines, observations(settings), status(settings)))
        assert "FEW_PIXELS" in status(settings, "s3")["reasons"]
    (long, *mixed), (short, *plain) = found
    assert mixed == plain
    assert [more - less for more, less in zip(long, short, strict=True)] == [0, len(LONG), 0]


def test_a_flipped_bit_in_the_assessments_of_a_landscape_holds_back_no_other_landscape(tmp_path, night_with):
    settings = installed(tmp_path, ROW)
    night_with(settings, Painted(DAYS[:-4:4]), only=["s1", "s2"])
    night(settings, pages=True)
    column = type_coerce(AssessmentsRow.payloads, LargeBinary)
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        number, payloads = t._connection.execute(select(AssessmentsRow.id, column).order_by(AssessmentsRow.id)).first()
        middle = len(payloads) // 2
        flipped = payloads[:middle] + bytes([payloads[middle] ^ 16]) + payloads[middle + 1 :]
        row = update(AssessmentsRow).where(AssessmentsRow.id == number)
        t._connection.execute(row.values(payloads=type_coerce(flipped, LargeBinary)))
    outcomes, _ = publish_once(settings)
    assert set(outcomes) == {"s1", "s2"}
    assert "its checksum is not that of its content" in outcomes["s1"]
    assert f"table assessments, id {number}: " in next(iter(ledger_rows(settings, read_ledger(settings)))).message
    manifest = night_with(settings, Painted(DAYS[::4]), as_of=NIGHT.replace(month=10), pages=True)
    assert [(one.state, len(one.scenes_new)) for one in manifest.sites] == [("done", 1)] * 3
    assert manifest.pages_failed == {}
