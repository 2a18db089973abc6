"""A promise that was judged changes only by a person, with a reason, from a day on, and never closes an alert."""

import json
from datetime import date

from jobs.night.pipeline import night
from jobs.pages.publishing import publish_once
from jobs.proof.evidence import write_evidence
from jobs.runtime.installation import open_ledger
from monitor.evidence.container import Container
from tests.builders import printed
from tests.jobs.reproduction import verified_and_recomputed

BEFORE, EDITED, AFTER = date(2020, 6, 30), date(2020, 7, 20), date(2020, 8, 31)
WHY, BY = "the planting density was halved 密度减半", "王局长"


def test_no_new_promise_closes_a_red_alert_and_both_stand_in_pages_and_packs(stocked, signing_key, tmp_path):
    settings = stocked.settings
    night(settings, as_of=BEFORE)
    text = stocked.registry.read_text(encoding="utf-8")
    stocked.registry.write_text(text.replace('"plan_A": 0.3', '"plan_A": 0.04'))
    manifest = night(settings, as_of=EDITED)
    site = manifest.registry["plan_edited"][0]
    assert {one.site: one.status for one in manifest.sites}[site] == "failing"
    assert len(list((stocked.root / "messages").glob("plan_edited*.json"))) == 1
    promise = ("--from", "2020-08-01", "--plan-a", "0.04", "--why", WHY, "--by", BY)
    printed("sites", "replan", site, *promise, config=stocked.config)
    publish_once(settings)  # the page still shows the verdict and its promise
    assert json.loads((stocked.root / "sites" / site / "plan.json").read_text())["A"] == 0.3
    manifest = night(settings, as_of=AFTER)
    assert site not in manifest.registry["plan_edited"]
    assert manifest.self_check["n_differences"] == 0

    with open_ledger(settings) as ledger:
        with ledger.reading() as t:
            (alert,) = t.alerts_of(site)
        assert (alert["state"], alert["level"], alert["promise"], alert["clear_since"]) == ("open", "red", 1, None)
        for name, until, promised in (("then", EDITED, [0.3]), ("now", None, [0.3, 0.04])):
            pack = tmp_path / f"{name}.zip"
            write_evidence(settings, ledger, site, pack, key=signing_key, until=until)
            verified_and_recomputed(pack, signing_key.public_key(), tmp_path / name)
            with Container(pack, signing_key.public_key()) as opened:
                assert [one["plan_A"] for one in opened.read_json("plan.json")["promises"]] == promised
    plan = json.loads((stocked.root / "sites" / site / "plan.json").read_text(encoding="utf-8"))
    assert [(one["from"], one["by"], one["why"]) for one in plan["promises"]][1] == ("2020-08-01", BY, WHY)
    page = (stocked.root / "sites" / site / "index.html").read_text(encoding="utf-8")
    assert all(text in page for text in (WHY, BY, "30 points", "4 points", "judged by the promise before"))
    assert "Nothing needs to be done" not in page

    again = night(settings, as_of=EDITED)  # an earlier day is judged by the promise of that day
    assert {one.site: one.status for one in again.sites}[site] == "failing"
