"""Profiles as files, which anyone may have written: all that is read back, and all that is refused."""

import json
import math

import pytest

from nnaccel.errors import InputError
from nnaccel.profile import FORMAT, MOST_BYTES, read_profile, store_profile, stored_profile, write_profile
from tests.test_cost import make_machine, make_profile


@pytest.fixture
def machine():
    return make_machine(cpu=make_profile(), numba=make_profile(True, device_bytes=7, transfer_bytes_per_s=1e9))


def test_what_is_written_is_read_back(tmp_path, machine) -> None:
    write_profile(tmp_path / "a.json", machine)
    assert read_profile(tmp_path / "a.json") == machine
    assert math.isinf(read_profile(tmp_path / "a.json").backends["cpu"].transfer_bytes_per_s)


def without(described, *path):
    *way, last = path
    target = described
    for key in way:
        target = target[key]
    del target[last]


def with_entry(described, value, *path):
    *way, last = path
    target = described
    for key in way:
        target = target[key]
    target[last] = value


DAMAGES = {
    "another kind": (lambda d: with_entry(d, "cat", "kind"), "no machine profile"),
    "another format": (lambda d: with_entry(d, FORMAT + 1, "format"), "another version"),
    "no name": (lambda d: without(d, "name"), "'name'"),
    "a name that is a number": (lambda d: with_entry(d, 3, "name"), "'name'"),
    "no backends": (lambda d: without(d, "backends"), "'backends'"),
    "backends in a list": (lambda d: with_entry(d, [], "backends"), "'backends'"),
    "a backend that is text": (lambda d: with_entry(d, "fast", "backends", "cpu"), "lacks"),
    "negative cores": (lambda d: with_entry(d, -1, "cores"), "'cores'"),
    "no time": (lambda d: with_entry(d, None, "backends", "cpu", "setup_s"), "'setup_s'"),
    "half a thread": (lambda d: with_entry(d, 0.5, "backends", "cpu", "threads"), "'threads'"),
    "too many threads": (lambda d: with_entry(d, 10**400, "backends", "cpu", "threads"), "'threads'"),
    "a time too long for a float": (lambda d: with_entry(d, 10**400, "backends", "cpu", "setup_s"), "'setup_s'"),
    "vectors as long as a file": (lambda d: with_entry(d, 10**30, "backends", "cpu", "vector_bytes"), "'vector_bytes'"),
    "a way to the device that takes forever": (
        lambda d: with_entry(d, 0, "backends", "cpu", "transfer_bytes_per_s"),
        "'transfer_bytes_per_s' is not above 0",
    ),
    "a way to the device that takes less than no time": (
        lambda d: with_entry(d, -1e9, "backends", "cpu", "transfer_bytes_per_s"),
        "'transfer_bytes_per_s' is not above 0",
    ),
    "regimes in a list": (lambda d: with_entry(d, [1], "backends", "cpu", "coefficients"), "'coefficients'"),
    "a negative coefficient": (
        lambda d: with_entry(d, -1.0, "backends", "cpu", "coefficients", "float32 reference", "step"),
        "coefficient",
    ),
    "a coefficient that is no number": (
        lambda d: with_entry(d, "1", "backends", "cpu", "coefficients", "float32 reference", "step"),
        "float32 reference",
    ),
    "bounds the wrong way": (
        lambda d: with_entry(d, {"low": 2.0, "high": 1.0}, "backends", "cpu", "ratios"),
        "interval",
    ),
    "a bound of 0": (lambda d: with_entry(d, {"low": 0.0, "high": 1.0}, "backends", "cpu", "ratios"), "interval"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_profiles_are_refused_in_one_sentence(tmp_path, machine, damage) -> None:
    spoil, word = DAMAGES[damage]
    described = json.loads(json.dumps(machine.describe()).replace("Infinity", "null"))
    spoil(described)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(described))
    with pytest.raises(InputError, match=word) as caught:
        read_profile(path)
    assert "damaged.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"kind": "nnaccel machine profile", "format": 1}',
        b"\0" * 50,
    ],
)
def test_what_is_no_profile_is_refused(tmp_path, content) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.json"):
        read_profile(path)


def test_long_files_are_not_read(tmp_path) -> None:
    path = tmp_path / "long.json"
    path.write_bytes(b" " * (MOST_BYTES + 1))
    with pytest.raises(InputError, match="too long"):
        read_profile(path)


def test_missing_files_and_folders_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_profile(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="is a folder"):
        read_profile(tmp_path)


def test_the_stored_profile_is_read_anew_when_it_has_changed(tmp_path, monkeypatch, machine) -> None:
    monkeypatch.setenv("NNACCEL_CACHE_DIR", str(tmp_path / "cache"))
    assert stored_profile() is None
    path = store_profile(machine)
    assert stored_profile() == machine
    path.write_text("spoiled")
    assert stored_profile() is None
    other = make_machine(cpu=make_profile(threads=3))
    store_profile(other)
    assert stored_profile() == other


def test_summary_has_a_line_for_each_backend(machine) -> None:
    first, *lines, last = machine.summary()
    assert machine.name in first
    assert [line.partition(":")[0] for line in lines] == list(machine.backends)
    assert "5%" in last
