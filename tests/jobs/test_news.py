"""Addresses of pages in messages; what a message says is tested where a night raises one (test_failing_ground)."""

import pytest

from jobs.messages.news import page_link
from jobs.runtime.settings import Settings


def settings(address: str) -> Settings:
    return Settings(outputs={"base_url": address})


@pytest.mark.parametrize("address", ["https://pages.example.org", "https://pages.example.org/"])
def test_a_page_is_linked_by_an_absolute_address_in_the_language_of_the_reader(address):
    assert page_link(settings(address), "ulan-03", "en") == "https://pages.example.org/sites/ulan-03/index.html"
    assert page_link(settings(address), None, "zh") == "https://pages.example.org/index.zh.html"


def test_the_address_of_a_page_is_ascii_whatever_the_id():
    link = page_link(settings("https://pages.example.org"), "民勤-03", "zh")
    assert link == "https://pages.example.org/sites/%E6%B0%91%E5%8B%A4-03/index.zh.html"
    hostile = page_link(settings("https://pages.example.org"), '"><script>\r\n../..', "en")
    assert hostile.isascii()
    assert not set(hostile) & set('"<>\r\n ')
    assert ".." not in hostile


def test_without_an_address_there_is_no_link():
    assert page_link(settings(""), "ulan-03", "en") is None
