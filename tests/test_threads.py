"""How many threads a run takes: what it finds out while it works."""

import pytest

from nnaccel.threads import ALONE_EVERY, TOGETHER_EVERY, Pace


def calls(pace, count, seconds):
    """How many threads each of so many calls took, where a row takes so long on 1 and on 4."""
    taken = []
    for _ in range(count):
        threads = pace.threads(4)
        pace.note(threads, seconds[threads])
        taken.append(threads)
    return taken


def test_a_team_that_is_faster_is_seldom_left():
    taken = calls(Pace(), 2 + 3 * ALONE_EVERY, {1: 3.0, 4: 2.0})
    assert taken[:3] == [4, 1, 4], "one of each at first"
    assert taken[2:].count(1) == 3


def test_one_thread_that_is_faster_goes_on_alone():
    taken = calls(Pace(), 2 + 2 * TOGETHER_EVERY, {1: 2.0, 4: 3.0})
    assert taken[:3] == [4, 1, 1]
    assert taken[2:].count(4) == 2


@pytest.mark.parametrize(("before", "after", "within"), [(2.0, 4.0, 1), (4.0, 2.0, TOGETHER_EVERY)])
def test_a_change_of_the_machine_is_noticed(before, after, within):
    pace = Pace()
    calls(pace, 100, {1: 3.0, 4: before})
    taken = calls(pace, 200, {1: 3.0, 4: after})
    wanted = 1 if after > 3.0 else 4
    assert taken[within:].count(wanted) >= 200 - within - 200 // TOGETHER_EVERY


def test_one_thread_needs_no_trial():
    pace = Pace()
    for _ in range(3):
        assert pace.threads(1) == 1
        pace.note(1, 1.0)
