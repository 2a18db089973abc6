"""Steps between the orbits from which a slope is seen."""

import numpy as np
import pytest

from monitor.controls import orbit_bias as module

NOISE = 0.025


def orbit_steps(times, orbits, difference, units):
    """The correction of each scene, estimated from the years before the last."""
    columns = difference.reshape(len(times), -1)
    over = times.astype("datetime64[Y]") < times[-1].astype("datetime64[Y]")
    steps = module.orbit_steps(times[over], np.array(orbits)[over].tolist(), columns[over], units[over])
    nothing = np.zeros(columns.shape[1])
    return np.stack([steps.get(name, nothing) for name in orbits]).reshape(difference.shape)


def world(seed, *, step=0.02, years=6, orbits=("R033", "R076", "R119"), n_units=30, clear=0.5, growth=0.03):
    """Scenes every three days, orbits by turns, half of them cloudy; steps of sd `step` for each piece of ground."""
    rng = np.random.default_rng(seed)
    days = np.arange(0, int(years * 365.25), 3)
    visible = rng.random(days.size) < clear
    turn = (np.arange(days.size) % len(orbits))[visible]
    days = days[visible]
    times = np.datetime64("2017-01-01T03:30") + days * np.timedelta64(1, "D")
    steps = rng.normal(0, step, (n_units + 1, len(orbits)))
    season = 0.2 + 0.15 * np.sin(2 * np.pi * days / 365.25)
    ground = season[:, None] + rng.normal(0, 0.03, n_units + 1) + steps[:, turn].T
    ground = ground + rng.normal(0, NOISE, ground.shape) + rng.normal(0, 0.02, days.size)[:, None]
    ground[:, 0] += growth * np.clip(days / 365.25 - 2, 0, None)
    ground[rng.random(ground.shape) < 0.1] = np.nan
    units = ground[:, 1:]
    difference = ground[:, 0] - np.nanmean(units, axis=1)
    truth = (steps[0] - steps[1:].mean(axis=0))[turn]
    return times, [orbits[i] for i in turn], difference, units, truth - truth[np.isfinite(difference)].mean()


@pytest.mark.parametrize("orbits", [("R033", "R076"), ("R033", "R076", "R119")])
def test_most_of_a_step_between_orbits_is_taken_off(orbits):
    before, after = [], []
    for seed in range(20):
        *given, truth = world(seed, orbits=orbits)
        before.append(truth.std())
        after.append((truth - orbit_steps(*given)).std())
    assert np.sqrt(np.mean(np.square(after))) < 0.3 * np.sqrt(np.mean(np.square(before)))


def test_where_there_is_no_step_next_to_nothing_is_corrected():
    made = np.array([np.abs(orbit_steps(*world(seed, step=0.0)[:4])).max() for seed in range(60)])
    assert (made == 0).mean() > 0.9
    assert made.max() < 0.1 * NOISE + 0.002


def test_the_level_and_the_growth_of_a_site_are_left_as_they_are():
    times, orbits, difference, units, truth = world(3, growth=0.05)
    taken = orbit_steps(times, orbits, difference, units)
    assert np.abs(taken).max() > 0.005
    seen = np.isfinite(difference)
    learnt = times.astype("datetime64[Y]") < times[-1].astype("datetime64[Y]")
    assert abs(taken[seen & learnt].mean()) < 1e-12
    years = (times - times[0]) / np.timedelta64(365, "D")
    # Orbits that are seen more often in some years make a trend, which must be removed, and nothing else.
    assert abs(np.polyfit(years[seen], (truth - taken)[seen], 1)[0]) < 0.0005


def test_growth_alone_makes_no_step():
    quick = orbit_steps(*world(5, step=0.02, growth=0.10)[:4])
    slow = orbit_steps(*world(5, step=0.02, growth=0.0)[:4])
    assert np.abs(quick - slow).max() < 0.003


def test_a_step_of_the_site_is_not_believed_where_its_units_have_none():
    times, orbits, difference, units, _ = world(2, step=0.0)
    difference = difference + 0.03 * (np.array(orbits) == "R033")
    assert (orbit_steps(times, orbits, difference, units) == 0).all()


def test_a_step_that_all_ground_shares_in_a_scene_is_not_called_a_step_of_the_site():
    times, orbits, difference, units, _ = world(2, step=0.0)
    common = 0.05 * (np.array(orbits) == "R033")
    assert (orbit_steps(times, orbits, difference, units + common[:, None]) == 0).all()


def test_scenes_of_the_last_year_change_nothing_for_earlier_ones():
    times, orbits, difference, units, _ = world(3)
    taken = orbit_steps(times, orbits, difference, units)
    fewer = slice(None, len(times) - 20)
    assert (orbit_steps(times[fewer], orbits[fewer], difference[fewer], units[fewer]) == taken[fewer]).all()


def test_several_kinds_of_control_ground_are_evened_out_as_each_alone():
    times, orbits, difference, units, _ = world(3)
    other = difference + 0.02 * (np.array(orbits) == "R033")
    both = orbit_steps(times, orbits, np.stack([difference, other], axis=1), units)
    np.testing.assert_array_equal(both[:, 0], orbit_steps(times, orbits, difference, units))
    np.testing.assert_array_equal(both[:, 1], orbit_steps(times, orbits, other, units))


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"orbits": ("R033",)}, "one orbit"), ({"n_units": 9}, "few units"), ({"years": 1.9}, "one whole year"),
     ({"clear": 0.02}, "few scenes")],
)  # fmt: skip
def test_with_too_little_to_learn_from_nothing_is_corrected(changes, why):
    assert (orbit_steps(*world(1, **changes)[:4]) == 0).all(), why


def test_scenes_of_unknown_orbit_are_left_as_they_are():
    times, orbits, difference, units, _ = world(1)
    orbits = ["" if i % 7 == 0 else name for i, name in enumerate(orbits)]
    taken = orbit_steps(times, orbits, difference, units)
    assert (taken[::7] == 0).all()
    assert np.abs(taken).max() > 0.005


def test_a_few_wild_scenes_do_not_make_a_step():
    times, orbits, difference, units, _ = world(1)
    calm = orbit_steps(times, orbits, difference, units)
    wild = difference.copy()
    wild[np.flatnonzero(np.array(orbits) == "R076")[::20]] += 0.5
    assert np.abs(orbit_steps(times, orbits, wild, units) - calm).max() < 0.01


def test_names_of_orbits_mean_nothing():
    times, orbits, difference, units, _ = world(4)
    other = [{"R033": "z", "R076": "a", "R119": "m"}[name] for name in orbits]
    np.testing.assert_allclose(
        orbit_steps(times, other, difference, units), orbit_steps(times, orbits, difference, units), atol=1e-12
    )


def test_a_site_and_a_unit_that_were_never_seen_cause_no_error():
    times, orbits, difference, units, _ = world(4)
    units[:, 3] = np.nan
    assert np.isfinite(orbit_steps(times, orbits, difference, units)).all()
    assert (orbit_steps(times, orbits, np.full_like(difference, np.nan), units) == 0).all()
