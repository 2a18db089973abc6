"""Verdicts on lots in the ledger: appended, never edited, and never counted as sites."""

HOW = {"run": "night-1"}


def test_verdicts_on_a_lot_are_appended_and_the_newest_counts(ledger):
    with ledger.transaction() as t:
        assert t.latest_lot_verdicts() == {}
        t.add_lot_verdict("lot-1", "2024-10-20", "d1", {"theta": 0.5}, **HOW)
        t.add_lot_verdict("lot-1", "2025-10-20", "d2", {"theta": 0.4}, **HOW)
        t.add_lot_verdict("lot-1", "2025-10-20", "d3", {"theta": 0.3}, **HOW)
        t.add_lot_verdict("lot-1", "2023-10-20", "d4", {"theta": 0.9}, **HOW)
        t.add_lot_verdict("lot-2", "2022-10-20", "d1", {"theta": None}, **HOW)
    with ledger.reading() as t:
        assert t.latest_lot_verdicts() == {
            "lot-1": ("2025-10-20", "d3", {"theta": 0.3}), "lot-2": ("2022-10-20", "d1", {"theta": None}),
        }  # fmt: skip


def test_the_same_verdict_of_a_day_is_stored_once_and_stays_as_it_was(ledger):
    with ledger.transaction() as t:
        t.add_lot_verdict("lot-1", "2025-10-20", "d1", {"theta": 0.5}, **HOW)
        t.add_lot_verdict("lot-1", "2025-10-20", "d1", {"theta": 9.9}, run="night-2")
        assert t.latest_lot_verdicts()["lot-1"][2] == {"theta": 0.5}


def test_alerts_of_lots_do_not_count_among_the_sites_that_fell(ledger):
    with ledger.transaction() as t:
        for place, rule in (("a", "failure"), ("lot-1", "lot")):
            alert = {"id": f"{place}/{rule}", "site": place, "state": "open", "opened": "2025-10-20", "rule": rule}
            t.save_alert(alert)
            t.add_event(alert["id"], "opened", {"day": "2025-10-20"}, time="n")
        assert t.sites_that_fell("2025-10-20") == {"a"}
