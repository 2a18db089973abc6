from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.sites.names import comparable_id, folder_name, has_invisible, without_invisible

HOSTILE = [
    "../../etc", "..", ".", "", "/", "a/b", "a\\b", "C:", "CON", "con.txt", "NUL", "nul", "COM1", "a\0b", "x" * 300,
    "民" * 100, "🌱", "~", "a.", " a", "a b", "-rf", "\u202eabc", "\ud800", "e\u0301", "a\nb", "%2e%2e", "site~1",
]  # fmt: skip


def stays_inside(name: str) -> bool:
    return all(kind(name).parts == (name,) and name not in (".", "..") for kind in (PurePosixPath, PureWindowsPath))


@pytest.mark.parametrize(
    "site_id", ["lowood", "GS-2021_007", "site.v2", "民勤-03", "ᠮᠣᠩᠭᠣᠯ", "བོད་"[:-1], "ئۇيغۇر", "_a"]
)
def test_an_ordinary_id_of_any_script_is_its_own_folder(site_id):
    assert folder_name(site_id) == site_id


@pytest.mark.parametrize("site_id", HOSTILE, ids=ascii)
def test_a_hostile_id_becomes_a_plain_name_inside_the_output_root(site_id, tmp_path):
    name = folder_name(site_id)
    assert name != site_id
    assert stays_inside(name)
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@given(st.text(st.characters(exclude_categories=[])))
def test_no_id_leads_out_of_its_folder_or_is_too_long_for_a_file_system(site_id):
    name = folder_name(site_id)
    assert stays_inside(name)
    assert 0 < len(name.encode()) <= 120
    assert not has_invisible(name)


@given(st.lists(st.text(st.sampled_from("aA.~-_/ \\é民\0"), max_size=6), unique=True))
def test_two_ids_never_share_a_folder(ids):
    assert len({folder_name(site_id) for site_id in ids}) == len(ids)


def test_no_id_can_take_the_folder_of_another_by_spelling_it():
    assert folder_name(folder_name("../../etc")) != folder_name("../../etc")


@pytest.mark.parametrize(("one", "other"), [("Site", "sITE"), ("é", "e\u0301"), ("Ａ１", "a1"), ("straße", "STRASSE")])
def test_case_and_unicode_form_make_no_different_id(one, other):
    assert comparable_id(one) == comparable_id(other)


def test_a_text_loses_what_would_change_how_it_is_read_and_nothing_else():
    assert without_invisible("a\r\nBcc: x\u202e<script>=1民\u200b\0") == "a Bcc: x<script>=1民"
