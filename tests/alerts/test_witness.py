"""The head of the chain leaves the house once a month, and shows a rewritten history."""

from contextlib import closing
from datetime import date

import pytest

from benchmarks.programme import configure
from jobs.messages.outbox import send
from jobs.messages.witness import send_head
from monitor.errors import BadConfiguration
from monitor.evidence.keys import new_keys, private_key
from monitor.ledger.ledger import Ledger
from tests.builders import regrowth
from tests.evidence import small_pack
from tests.loopback.mail import MailServer

WITNESS = '[evidence]\nwitness = "auditor@example.org"\n'


def test_the_mail_of_the_month_verifies_a_pack_and_refuses_one_of_a_rewritten_history(tmp_path, monkeypatch):
    with MailServer() as server:
        settings = configure(tmp_path, port=server.port, more=WITNESS)
        lines, leaves = small_pack.chain()
        with closing(Ledger(settings.ledger.url)) as ledger:
            for line, of_line in zip(lines, leaves, strict=True):
                with ledger.transaction() as t:
                    t.add_chain_line(
                        {**line}, last_assessment=0, last_event=0, last_promise=0, leaves=b"".join(of_line)
                    )
                    send_head(t, settings, night=date.fromisoformat(line["night"]))
                send(settings, ledger)
    (mail,) = server.mails
    assert mail.recipients == ["auditor@example.org"]
    assert lines[0]["hash"] in mail.text
    assert lines[1]["hash"] not in mail.text
    assert "26 September 2020" in mail.text
    assert not [part for part in mail.message.walk() if part.get_content_type() == "text/html"]

    folder = tmp_path / "keys"
    new_keys(folder)
    key = private_key((folder / "signing.key").read_bytes())
    pack = small_pack.write_pack(tmp_path / "pack.zip", small_pack.contents(), key=key)
    verify = ("verify", str(pack), "--key", str(folder / "signing.pub"), "--head", mail.text)
    status, out, _ = regrowth(*verify)
    assert (status, out[:4]) == (0, "PASS")
    assert "the head given is that of line 1, night 2020-09-26" in out
    honest = small_pack.assessment
    monkeypatch.setattr(small_pack, "assessment", lambda day, **site: (
        honest(day, **site) | {"payload": honest(day)["payload"] | {"theta": 0.9}}
    ))  # fmt: skip
    pack.unlink()
    small_pack.write_pack(pack, small_pack.contents(), key=key)
    status, out, _ = regrowth(*verify)
    assert (status, out[:4]) == (65, "FAIL")
    assert "no line of the chain has the head" in out


@pytest.mark.parametrize(("witness", "why"), [("nobody", "is not configured"), ("mail", "give a mail address")])
def test_a_witness_who_cannot_be_reached_is_refused_at_once(tmp_path, witness, why):
    configure(tmp_path, port=25, more=WITNESS)
    with pytest.raises(BadConfiguration, match=f"witness.*{why}"):
        configure(tmp_path, port=25, more=f'[evidence]\nwitness = "{witness}"\n')
