"""How many threads a run takes: what it finds out while it works."""

from itertools import pairwise

import pytest

from nnaccel.threads import ALONE_EVERY, MOST_ALONE, Pace


def calls(pace, count, seconds):
    """How many threads each of so many calls took, where a row takes so long on 1 and on 4."""
    taken = []
    for _ in range(count):
        threads = pace.threads(4)
        pace.note(threads, seconds[threads])
        taken.append(threads)
    return taken


def test_a_team_that_is_faster_is_seldom_left():
    taken = calls(Pace(), 3 + 3 * ALONE_EVERY, {1: 3.0, 4: 2.0})
    assert taken[:4] == [4, 4, 1, 4], "the first call of a team counts for nothing"
    assert taken[4:].count(1) == 3


def test_one_thread_that_is_faster_goes_on_alone_for_longer_and_longer():
    taken = calls(Pace(), 200, {1: 2.0, 4: 3.0})
    trials = [call for call, (before, threads) in enumerate(pairwise(taken)) if (before, threads) == (1, 4)]
    pauses = [b - a for a, b in pairwise(trials)]
    assert pauses == sorted(pauses)
    assert MOST_ALONE < pauses[-1] <= MOST_ALONE + 2


def test_one_slow_call_of_a_team_is_soon_forgotten():
    pace = Pace()
    calls(pace, 1, {4: 9.0})
    assert calls(pace, 20, {1: 3.0, 4: 2.0}).count(4) >= 17


@pytest.mark.parametrize(("before", "after", "within"), [(2.0, 4.0, 1), (4.0, 2.0, MOST_ALONE)])
def test_a_change_of_the_machine_is_noticed(before, after, within):
    pace = Pace()
    calls(pace, 100, {1: 3.0, 4: before})
    taken = calls(pace, 200, {1: 3.0, 4: after})
    wanted = 1 if after > 3.0 else 4
    assert taken[within:].count(wanted) >= 165


def test_one_thread_needs_no_trial():
    pace = Pace()
    for _ in range(3):
        assert pace.threads(1) == 1
        pace.note(1, 1.0)
