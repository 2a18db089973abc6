"""Answer links: signed, expiring, and bound to one notice of one ledger."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.links import LinkExpired, LinkInvalid, link_address, read_link

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEY = "a key of this installation"
LINK = "00112233445566ff"


def token_of(link: str = LINK, *, key: str = KEY, valid: timedelta = timedelta(days=30)) -> str:
    return link_address("https://answers.example", key, link, NOW + valid).removeprefix("https://answers.example/a/")


@given(st.binary(min_size=8, max_size=8))
def test_a_link_names_the_notice_that_it_was_made_for(link):
    assert read_link(token_of(link.hex()), KEY, NOW) == link.hex()


def test_a_token_is_short_and_needs_no_quoting():
    token = token_of()
    assert len(token) <= 70
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert token[-1].isalnum()  # programs that make links of texts leave out a dash at the end


@pytest.mark.parametrize("base", ["https://x.example/regrowth", "https://x.example/regrowth/"])
def test_a_base_address_may_have_a_path(base):
    assert link_address(base, KEY, LINK, NOW).startswith("https://x.example/regrowth/a/")


def test_a_link_expires_at_its_time_even_when_it_is_valid_for_less_than_a_second():
    token = token_of(valid=timedelta(days=0.00001))  # 0.864 s
    assert read_link(token, KEY, NOW + timedelta(seconds=0.86)) == LINK
    with pytest.raises(LinkExpired, match="2026-11-28 12:00 UTC"):
        read_link(token, KEY, NOW + timedelta(seconds=0.87))


def test_a_token_altered_at_any_place_is_refused():
    token = token_of()
    for place, letter in enumerate(token):
        for other in "AB-.~中\n":
            if other != letter:
                with pytest.raises(LinkInvalid):
                    read_link(token[:place] + other + token[place + 1 :], KEY, NOW)


@pytest.mark.parametrize("token", ["", ".", "a.b", "x" * 100_000, "é.é", "\x00", f"{token_of()}.", f" {token_of()}"])
def test_an_invalid_token_is_refused(token):
    with pytest.raises(LinkInvalid):
        read_link(token, KEY, NOW)


def test_the_signature_of_another_link_or_installation_does_not_fit():
    mine, other = token_of().split("."), token_of("ff" * 8).split(".")
    for token in (f"{mine[0]}.{other[1]}", token_of(key="a key of another installation")):
        with pytest.raises(LinkInvalid):
            read_link(token, KEY, NOW)


@given(st.text())
def test_no_text_passes_as_a_token(token):
    with pytest.raises(LinkInvalid):
        read_link(token, KEY, NOW)


def test_a_personal_link_is_not_an_answer_link_nor_the_other_way_round():
    personal = link_address("https://x.example", KEY, LINK, NOW + timedelta(days=30), folder="m").removeprefix(
        "https://x.example/m/"
    )
    assert read_link(personal, KEY, NOW, folder="m") == LINK
    for token, folder in ((personal, "a"), (token_of(), "m")):
        with pytest.raises(LinkInvalid):
            read_link(token, KEY, NOW, folder=folder)


def test_an_expired_link_still_says_whose_it_was_so_that_it_can_be_renewed():
    with pytest.raises(LinkExpired) as expired:
        read_link(token_of(), KEY, NOW + timedelta(days=31))
    assert expired.value.link == LINK
