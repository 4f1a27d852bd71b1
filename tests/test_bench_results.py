"""The results in the repository, and what the README shows of them."""

import shutil
from pathlib import Path

import pytest

from nnaccel.bench import readme
from nnaccel.bench.keeping import machine_name
from nnaccel.bench.reading import KINDS, read_result
from tests.bench_results import case, estimates, goal, suite, written

RESULTS = sorted((readme.ROOT / "bench" / "results").rglob("*.json"))

SHOWN = [path for path in RESULTS if path.name.startswith(("suite--", "peers--"))]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_results_in_the_repository_follow_the_schema(path):
    read_result(path, *KINDS)


def test_there_is_a_result():
    assert SHOWN


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.name)
def test_results_in_the_repository_are_whole_and_name_their_machine(path):
    found = read_result(path)
    assert found["finished"]
    assert not found["settings"]["quick"]
    assert path.stem.partition("--")[2] == machine_name(found["machine"])


def test_the_readme_shows_the_results():
    assert readme.main(["--check"]) == 0


@pytest.fixture
def checkout(tmp_path):
    """A checkout with two machines and an estimate."""
    (tmp_path / "README.md").write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    folder = tmp_path / "bench" / "results" / "1.0"
    folder.mkdir(parents=True)
    written(
        folder / "peers--a.json",
        suite(case({"numba": [0.002, 0.004], "cpu": [0.02, 0.04]}), goal=goal({"cpu": [0.5, 0.7]})),
    )
    written(
        folder / "suite--b.json",
        suite(case({"cpu": [0.2, 0.4]}), case({"cpu": [1, 2]}, optimizer="adam"), processor="Abacus 4"),
    )
    written(folder / "estimates--a.json", estimates())
    written(folder / "notes.json", {})
    return tmp_path


def test_the_readme_is_written_from_the_results(checkout, capsys):
    assert readme.main(["--check"], checkout) == 1
    assert "README.md isn't what bench/results says: run python -m nnaccel.bench.readme.\n" in capsys.readouterr().err
    assert readme.main([], checkout) == 0
    assert readme.main(["--check"], checkout) == 0
    text = (checkout / "README.md").read_text()
    assert text.startswith(f"before\n{readme.BEGIN}\n")
    assert text.endswith(f"\n{readme.END}\nafter\n")
    assert "old" not in text
    for part in (
        "Time of an epoch on Abacus 3, 4 cores, nnaccel 0.1.0, 2026-01-02:",
        "| SGD | floor | numba | cpu |", "| digits: 1,797 x 64, 100-10, batch 200 | - | 1.5 ms | 15 ms |",
        "| digits: 1,797 x 64, 100-10, batch 200 | - | 150 ms |",
        "digits to accuracy 0.95 on rows held out, from call to model: 600 ms on cpu.",
        "Predicted against actual time, 2 trainings: median error 25.0%, 50% within the interval.",
    ):  # fmt: skip
        assert part in text
    assert "adam" not in text
    picture = (checkout / "bench" / "results" / "epochs.svg").read_text()
    assert picture.startswith("<svg ")
    assert "Abacus 4, 4 cores: digits, sgd" in picture
    assert (checkout / "bench" / "results" / "estimates.svg").exists()


def test_a_change_by_hand_is_found(checkout):
    readme.main([], checkout)
    path = checkout / "README.md"
    path.write_text(path.read_text().replace("1.5 ms", "1.4 ms"))
    assert readme.main(["--check"], checkout) == 1
    (checkout / "bench" / "results" / "epochs.svg").unlink()
    readme.main([], checkout)
    assert "1.5 ms" in path.read_text()
    assert readme.main(["--check"], checkout) == 0


def test_what_is_wrong_gets_one_sentence(checkout, capsys):
    (checkout / "README.md").write_text("no place")
    assert readme.main([], checkout) == 2
    assert "lacks the lines" in capsys.readouterr().err
    (checkout / "bench" / "results" / "1.0" / "suite--b.json").write_text("{")
    assert readme.main([], checkout) == 2
    assert "suite--b.json is no JSON file" in capsys.readouterr().err
    shutil.rmtree(checkout)
    assert readme.main(["--check"], checkout) == 2
    assert readme.main(["--chekc"]) == 2


def test_measuring_keeps_the_result_where_the_readme_looks(checkout, monkeypatch):
    commands = []

    def run(command, check):
        commands.append(command)
        written(Path(command[-1]) / "peers--c.json", suite(case({"cpu": [0.01, 0.02]}), processor="Abacus 5"))

    monkeypatch.setattr(readme.subprocess, "run", run)
    assert readme.main(["--measure"], checkout) == 0
    (command,) = commands
    assert command[1:-1] == ["-m", "nnaccel", "bench", "--peers", "--out"]
    assert "Time of an epoch on Abacus 5, 4 cores" in (checkout / "README.md").read_text()
