"""A short soak, which an hour of `python -m tests.soak` goes on with; and that such a soak would see what it looks for."""

import os
import threading
from pathlib import Path

import pytest

from tests import soak
from tests.soak import Figures, Soaked, faults

MB = 1 << 20
ROUNDS = 160


def figures(grown=0, descriptors=0, threads=0, count=40):
    """What is seen of a process that warms up for a quarter of the time, and then grows by so many bytes to the end."""
    return [
        Figures(k, 60.0 * k, 200 * MB + min(k, 10) * MB + grown * k // count, 6 + descriptors * k, 2 + threads * k)
        for k in range(count + 1)
    ]


def test_what_grows_is_seen():
    assert faults(Soaked(figures(), [])) == []
    assert faults(Soaked(figures(grown=30 * MB), [])) == ["memory grew by 16.5 MB."]
    assert faults(Soaked(figures(descriptors=1), [])) == ["46 file descriptors instead of 6."]
    assert faults(Soaked(figures(threads=1), [])) == ["42 threads instead of 2."]
    assert faults(Soaked(figures(), [7])) == ["rounds [7] came out otherwise than before."]


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="there is no /proc to look into")
@pytest.mark.parametrize("leak", [None, "memory", "descriptors", "threads"])
def test_a_short_soak(leak, monkeypatch, tmp_path):
    """Nothing is left behind; what is left on purpose is noticed."""
    kept, done, original = [], threading.Event(), soak.work

    def leaking(*arguments):
        if leak == "memory":
            kept.append(bytearray(os.urandom(64)) * 131_072)
        elif leak == "descriptors":
            kept.append(os.open(os.devnull, os.O_RDONLY))
        elif leak == "threads" and len(kept) < 20:
            kept.append(threading.Thread(target=done.wait, daemon=True))
            kept[-1].start()
        return original(*arguments)

    monkeypatch.setattr(soak, "work", leaking)
    *_, soaked = soak.soak(tmp_path, rounds=ROUNDS if leak is None else ROUNDS // 4, looks=20)
    done.set()
    for left in kept if leak == "descriptors" else ():
        os.close(left)
    assert [leak.rstrip("s") in fault for fault in faults(soaked)] == [True] if leak else not faults(soaked)
