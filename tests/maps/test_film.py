"""The film of a site: the same weeks of each year, zero before the start as in the growth chart."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from shapely.geometry import box

from monitor.maps.film import film_frames, film_scenes, film_years
from tests import builders

SITE = builders.site(start=date(2019, 4, 1))


def observed(*scenes: tuple[str, float]):
    """Scenes of a day and a difference from the control, all accepted."""
    days = np.array([day for day, _ in scenes], "datetime64[D]")
    return {
        "acquisition": np.array([str(day).encode() for day in days]), "digest": np.arange(days.size), "date": days,
        "control_cover": np.full(days.size, 0.3), "cover": 0.3 + np.array([value for _, value in scenes]),
        "accepted": np.ones(days.size, bool),
    }  # fmt: skip


def test_a_frame_has_the_scenes_of_the_same_weeks_and_the_years_before_are_zero_on_average():
    table = observed(
        ("2017-08-20", 0.02), ("2018-06-01", 0.5), ("2018-08-20", 0.04), ("2019-08-10", 0.08), ("2019-08-20", 0.10),
        ("2019-10-10", 0.5), ("2020-06-01", 0.5),
    )  # fmt: skip
    scenes = film_scenes(SITE, table)
    years, zero = film_years(SITE, table, scenes)
    assert {year: one.scenes for year, one in years.items()} == {2017: 1, 2018: 1, 2019: 2}
    assert zero == pytest.approx(0.03)
    assert [one.level for one in years.values()] == pytest.approx([-0.01, 0.01, 0.06])


def test_without_years_before_the_start_the_difference_is_shown_as_it_is_and_without_scenes_there_is_no_film():
    table = observed(("2020-08-20", 0.02))
    years, zero = film_years(SITE, table, film_scenes(SITE, table))
    assert (zero, years[2020].level) == (0.0, pytest.approx(0.02))
    winter = observed(("2020-01-20", 0.02))
    assert film_years(SITE, winter, film_scenes(SITE, winter)) == ({}, 0.0)


def test_south_of_the_equator_a_frame_is_of_the_year_in_which_the_season_peaks():
    south = replace(SITE, geometry=box(20, -30, 20.01, -29.99))
    assert list(film_scenes(south, observed(("2020-02-20", 0.0)))) == [2020]


def test_frames_are_means_of_their_scenes_inside_the_site():
    sums = np.zeros((4, 1, 3), np.float32)
    sums[:, 0, 0], sums[:, 0, 2] = (2, 0.8, 1.0, 0.2), (1, 0.4, 0.5, 0.1)
    (frame,) = film_frames({2019: sums}, np.array([[True, True, False]]), 0.03)
    np.testing.assert_allclose(frame, [[0.07, np.nan, np.nan]], rtol=1e-6)
