"""Measurements on the ground: each row is stored once, all lines of a file or none, whatever happens to its site."""

from datetime import date

import pytest
from shapely.geometry import box

from jobs.answers.field_csv import add_field_rows
from jobs.register.episodes import replant
from jobs.register.registry import retire
from jobs.runtime.records import to_json
from monitor.errors import BadData
from tests import builders

HEADER = "site,date,kind,value,n,lon,lat,note\n"
GOOD = "lowood,2024-08-01,cover,0.35,20,100.005,36.005,ten quadrats\n"
MORE = "lowood,2024/8/1,survival,0.9,120,,,\n民勤,2024-08-02,density,1650,4,,,沙枣\n"


@pytest.fixture
def known(ledger):
    """A ledger with two sites begun in 2021, one replanted since."""
    with ledger.transaction() as t:
        for place, west in (("lowood", 100.0), ("民勤", 103.0)):
            site = builders.site(place, geometry=box(west, 36, west + 0.01, 36.01))
            t.add_site(place, "v1", to_json(site), start="2021-04-01", now="2021-04-01")
    return ledger


@pytest.fixture
def add(known, tmp_path):
    """Store a file of lines; returns the numbers of new and of known rows."""

    def store(lines, header=HEADER, encoding="utf-8"):
        path = tmp_path / "field.csv"
        path.write_bytes((header + lines).encode(encoding))
        with known.transaction() as t:
            fresh, already, _ = add_field_rows(t, path)
        return len(fresh), already

    return store


@pytest.fixture
def stored(known):
    def rows(site=None):
        with known.reading() as t:
            found = [row for of_site in t.field_rows(site and [site]).values() for row in of_site]
        return [tuple(row[name] for name in HEADER.strip().split(",")) for row in found]

    return rows


def test_the_same_file_twice_adds_nothing_and_a_longer_one_only_what_is_new(add, stored):
    assert add(GOOD + MORE, encoding="utf-8-sig") == (3, 0)
    before = stored()
    assert add(GOOD + MORE) == (0, 3)
    assert stored() == before
    assert add(GOOD + MORE + GOOD.replace("2024", "2025")) == (1, 3)
    assert stored("lowood") == [
        ("lowood", "2024-08-01", "cover", 0.35, 20, 100.005, 36.005, "ten quadrats"),
        ("lowood", "2024-08-01", "survival", 0.9, 120, None, None, None),
        ("lowood", "2025-08-01", "cover", 0.35, 20, 100.005, 36.005, "ten quadrats"),
    ]
    assert stored("民勤") == [("民勤", "2024-08-02", "density", 1650.0, 4, None, None, "沙枣")]


def test_a_corrected_value_is_another_row_and_the_old_one_stays(add, stored):
    add(GOOD)
    assert add(GOOD.replace("0.35", "0.4")) == (1, 0)
    assert [row[3] for row in stored()] == [0.35, 0.4]


def test_the_same_number_written_otherwise_is_the_same_row(add):
    add(GOOD)
    assert add(GOOD.replace("0.35", "0.350").replace("cover", "Cover").replace("2024-08-01", "2024/8/1")) == (0, 1)


def test_columns_may_stand_in_any_order_and_the_last_four_be_left_out(add, stored):
    assert add("0.4,cover,lowood,2024-08-01\n", header="value,kind,site,date\n") == (1, 0)
    assert stored() == [("lowood", "2024-08-01", "cover", 0.4, 1, None, None, None)]


KOBO = (
    "start;end;today;plot/site;plot/cover_percent;plot/survival_percent;plot/density;plot/n;plot/place;"
    "plot/_place_latitude;plot/_place_longitude;plot/_place_altitude;plot/_place_precision;plot/soil;photo;photo_URL;note;"
    "_id;_uuid;_submission_time;_validation_status;_notes;_status;_submitted_by;__version__;_tags;_index\n"
)
ODK = (
    "SubmissionDate,start,end,today,plot-site,plot-cover_percent,plot-survival_percent,plot-density,plot-n,"
    "plot-place-Latitude,plot-place-Longitude,plot-place-Altitude,plot-place-Accuracy,photo,note,meta-instanceID,KEY,"
    "SubmitterID,SubmitterName,AttachmentsPresent,DeviceID,Edits,FormVersion\n"
)
VISITED = [
    ("lowood", "2024-08-01", "cover", 0.35, 20, 100.005, 36.005, "east; photo 17.jpg"),
    ("lowood", "2024-08-01", "survival", 0.9, 20, 100.005, 36.005, "east; photo 17.jpg"),
]


@pytest.mark.parametrize(
    ("header", "line", "empty"),
    [
        (
            KOBO,
            "2024-08-01T07:30:00+08:00;x;2024-08-01;lowood;35;90;;20;36.005 100.005 0 0;36.005;100.005;0;0;sand;17.jpg;"
            "https://x/17.jpg;east;1;u-1;2024-08-01T01:00:00;;;submitted_via_web;;v1;;1\n",
            "x;x;2024-08-02;lowood;;;;;;;;;;;;;not reached;2;u-2;2024-08-02T01:00:00;;;;;v1;;2\n",
        ),
        (
            ODK,
            "2024-08-01T01:00:00Z,2024-08-01T07:30:00+08:00,x,2024-08-01,lowood,35,90,,20,36.005,100.005,0,5,17.jpg,"
            "east,uuid:1,uuid:1,7,Li,1,d,0,v1\n",
            "x,x,x,2024-08-02,lowood,,,,,,,,,,not reached,uuid:2,uuid:2,7,Li,0,d,0,v1\n",
        ),
    ],
)
def test_an_export_of_a_form_gives_a_row_for_each_value_that_was_measured(add, stored, header, line, empty):
    assert add(line + empty, header=header) == (2, 0)
    assert stored() == VISITED
    assert add(line, header=header, encoding="utf-8-sig") == (0, 2)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lowood", "nowhere", "line 2: no site 'nowhere'; 'regrowth sites list' shows all sites"),
        (",35,", ",135,", "line 2: cover_percent is 135; it must be a percentage 0..100"),
        ("36.005,100.005", "100.005,36.005", "swapped"),
        ("2024-08-01,lowood", "2999-08-01,lowood", "line 2: date 2999-08-01 is in the future"),
        (",east,", ",=cmd|x,", "begins with '='"),
        (",20,", ",1.5,", "n is 1.5, not a whole number"),
    ],
)
def test_a_wrong_submission_of_a_form_is_named_once_and_nothing_is_stored(add, stored, old, new, words):
    line = "x,x,x,2024-08-01,lowood,35,90,,20,36.005,100.005,0,5,17.jpg,east,uuid:1,uuid:1,7,Li,1,d,0,v1\n"
    with pytest.raises(BadData) as error:
        add(line.replace(old, new), header=ODK)
    assert str(error.value).count(words) == 1
    assert stored() == []


def test_an_export_of_a_form_that_never_asked_for_the_site_is_refused(add):
    with pytest.raises(BadData, match="column 'site' is absent"):
        add("x,2024-08-01,35,uuid:1\n", header="SubmissionDate,today,cover_percent,KEY\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nowhere,2024-08-01,cover,0.3,1,,,", "no site 'nowhere'"),
        ("lowood,2024-08-01,cover,0.3,1,103.005,36.005,", "in site '民勤'"),
        ("lowood,2024-08-01,cover,0.3,1,101,36.005,", "outside every site"),
        ("lowood,2024-08-01,cover,0.3,1,36.005,100.005,", "swapped"),
        ("lowood,2024-08-01,cover,0.3,1,100.005,,", "give both in degrees"),
        ("lowood,2024-08-01,cover,35,1,,,", "in percent? give a fraction"),
        ("lowood,2024-08-01,survival,85,1,,,", "in percent? give a fraction"),
        ("lowood,2024-08-01,cover,-0.1,1,,,", "value is -0.1; it must be 0 or more"),
        ("lowood,2024-08-01,cover,nan,1,,,", "value is absent, not a number"),
        ("lowood,2024-08-01,cover,,1,,,", "value is absent, not a number"),
        ("lowood,2024-08-01,density,1e9,1,,,", "plants a hectare"),
        ("lowood,2021-03-31,cover,0.3,1,,,", "before the start of the work (2021-04-01)"),
        ("lowood,2099-08-01,cover,0.3,1,,,", "in the future"),
        ("lowood,08/01/2024,cover,0.3,1,,,", "day and month could be either way round"),
        ("lowood,2024-08-01,height,0.3,1,,,", "known are cover, survival, density"),
        ("lowood,2024-08-01,cover,0.3,0,,,", "n is 0; it must be a whole number"),
        ("lowood,2024-08-01,cover,0.3,1.5,,,", "n is 1.5, not a whole number"),
        ("lowood,2024-08-01,cover,0.3,1,,,=HYPERLINK(1)", "formula"),
        ("lowood,2024-08-01,cover,0.3,1,,,a\u202eb", "writing direction"),
        ('lowood,2024-08-01,cover,0.3,1,,,"two\nlines"', "line ends"),
        ("lowood,2024-08-01,cover,0.3,1,,,a,b", "more cells than columns"),
        (GOOD.strip(), "the same as line 2"),
    ],
)
def test_one_wrong_line_is_named_and_nothing_is_stored(add, stored, line, words):
    with pytest.raises(BadData) as refused:
        add(GOOD + line + "\n")
    message = str(refused.value)
    assert "line 3: " in message
    assert "line 2:" not in message
    assert words in message
    assert message.isprintable() or "\n" in message
    assert "\u202e" not in message
    assert stored() == []


def test_a_position_within_the_error_of_a_receiver_counts_as_on_the_site(add):
    assert add(GOOD.replace("100.005", "100.0102")) == (1, 0)  # 18 m
    with pytest.raises(BadData, match="36 m from site 'lowood'"):
        add(GOOD.replace("100.005", "100.0104"))


@pytest.mark.parametrize(
    ("header", "lines", "words"),
    [
        ("site,date,kind\n", "", "column 'value' is absent; it has 'site', 'date', 'kind'"),
        (HEADER.replace("note", "remark"), GOOD, "column 'remark' is unknown"),
        (HEADER, 'lowood,"2024', "not CSV"),
    ],
)
def test_a_file_that_is_not_a_table_of_the_kind_is_refused(add, header, lines, words):
    with pytest.raises(BadData, match=words):
        add(lines, header=header)
    with pytest.raises(BadData, match="not UTF-8"):
        add(MORE, encoding="gb18030")


def test_rows_stay_when_a_site_is_retired_or_replanted(add, stored, known):
    add(GOOD + MORE)
    before = stored()
    replant(known, "lowood", start=date(2025, 4, 10), why="frost", alpha=0.05, today=date(2025, 6, 1))
    retire(known, ["民勤"], today=date(2025, 6, 1))
    assert stored() == before
    assert add(GOOD + MORE) == (0, 3)
    assert add(GOOD.replace("2024", "2023")) == (1, 0)  # of the first episode, written down later


def test_lines_that_are_not_measured_yet_are_counted_and_left_out(known, tmp_path, stored):
    path = tmp_path / "sheet.csv"
    path.write_text(
        HEADER + "lowood,,cover,,,100.005,36.005,point 1\n" + GOOD + "nowhere,,cover,,,,,\n", encoding="utf-8"
    )
    with known.transaction() as t:
        added = add_field_rows(t, path)
    assert (len(added.fresh), added.known, added.not_measured) == (1, 0, 2)
    path.write_text(HEADER + "lowood,2024-08-01,cover,,,,,\n", encoding="utf-8")
    with known.transaction() as t, pytest.raises(BadData, match="line 2: value is absent, not a number"):
        add_field_rows(t, path)
    assert len(stored()) == 1


def test_an_id_that_files_of_the_program_quote_is_understood(in_sqlite, tmp_path):
    site = builders.site("=1+1")
    path = tmp_path / "field.csv"
    path.write_text(HEADER + "'=1+1,2024-08-01,cover,0.3,,,,\n", encoding="utf-8")
    with in_sqlite.transaction() as t:
        t.add_site(site.id, "v1", to_json(site), start="2021-04-01", now="2021-04-01")
        assert [row.site for row in add_field_rows(t, path).fresh] == ["=1+1"]
