"""`nnaccel train --checkpoint` and `--resume`: what they say, what they refuse, and where the result goes if it must."""

import importlib
import json
import re
import shutil
import tempfile

import numpy as np
import pytest

import nnaccel

# The package's name of it is the command.
train_module = importlib.import_module("nnaccel.cli.train")
IRIS = ["train", "iris", "--hidden", "6", "--epochs", "6", "--dropout", "0.1", "--early-stopping", "4"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kept"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def result(out):
    """What `--json` printed, but for times."""
    values = json.loads(out)
    for name in ("seconds", "seconds_compile", "seconds_read", "reason", "settings"):
        del values[name]
    return values


def test_it_goes_on_to_the_same_numbers(command, folder):
    whole = result(command(*IRIS, "--json")[1])
    code, _, shown = command(*IRIS, "--epochs", "3", "--resume", folder, "--json")
    assert code == 0
    assert f"checkpoint none in {folder} yet: it starts from the beginning\n" in shown
    code, out, shown = command(*IRIS, "--resume", folder, "--json")
    assert (code, result(out)) == (0, whole)
    assert f"checkpoint {folder}/checkpoint-000001.safetensors: it goes on from epoch 3, on numba so far\n" in shown
    kept = names(folder)
    code, out, _ = command(*IRIS, "--resume", folder, "--json")
    assert (code, result(out), names(folder)) == (0, whole, kept)


def test_checkpoint_begins_and_resume_goes_on(command, folder):
    assert command(*IRIS, "--checkpoint", folder, "--every", "10m", "--quiet") == (0, "", "")
    code, _, error = command(*IRIS, "--checkpoint", folder)
    assert code == 2
    assert error == (
        f"nnaccel: {folder} has the checkpoints of a training: resume that (--resume, or resume=True), or name another folder.\n"
    )
    # Both may be given, if they are one.
    assert command(*IRIS, "--checkpoint", f"{folder}/../kept", "--resume", folder, "--quiet") == (0, "", "")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--every", "30s"], "--every is for checkpoints: add --checkpoint DIR."),
        (["--checkpoint", "a", "--resume", "b"], "--resume goes on keeping checkpoints in its folder: leave --checkpoint out."),
        (["--checkpoint", "a", "--every", "often"], "a time is written like 90s, 10m or 1h30m, not 'often'."),
        (["--resume", "/dev/null"], "checkpoints can't be written to /dev/null: File exists; name another folder."),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_the_data_are_read(command, tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_module, "make_ready", None)
    assert command("train", "no-such-file.csv", *options) == (2, "", f"nnaccel: {sentence}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--seed", "1"], "seed: then 0, now 1"),
        (["--hidden", "7"], "units of layer 1: then 6, now 7"),
        (["--batch-size", "20"], "batch size: then 64, now 20"),
        (["--rows", ":149"], "number of training rows: then 120, now 119"),
        (["--validation", "0.3"], "number of training rows: then 120, now 105"),
        (["--metric", "f1"], "metrics: then accuracy, now f1"),
    ],
)
def test_another_option_is_refused_and_named(command, folder, options, difference):
    command(*IRIS, "--checkpoint", folder)
    code, _, error = command(*IRIS, *options, "--resume", folder)
    assert code == 2
    assert f" is of another training ({difference}): ask for the same, or name another folder.\n" in error
    assert error.count("\n") == 1


def test_another_file_is_refused(command, tmp_path, folder):
    x = np.random.default_rng(0).standard_normal((80, 3))
    for name, scale in (("first", 1), ("second", 1.5)):
        np.savez(
            tmp_path / f"{name}.npz", X=x**scale if scale == 1 else np.abs(x) ** scale, y=(x[:, 0] > 0).astype(int)
        )
    assert command("train", tmp_path / "first.npz", "--epochs", "2", "--checkpoint", folder)[0] == 0
    shutil.copy(tmp_path / "first.npz", tmp_path / "copy.npz")
    assert command("train", tmp_path / "copy.npz", "--epochs", "3", "--resume", folder)[0] == 0
    code, _, error = command("train", tmp_path / "second.npz", "--epochs", "4", "--resume", folder)
    assert (code, "(other data: features)" in error) == (2, True)


def test_a_damaged_checkpoint_is_told_of_in_a_line(command, folder):
    whole = result(command(*IRIS, "--json")[1])
    command(*IRIS, "--epochs", "2", "--checkpoint", folder)
    command(*IRIS, "--epochs", "4", "--resume", folder)
    last = folder / names(folder)[1]
    last.write_bytes(last.read_bytes()[:-1])
    code, out, shown = command(*IRIS, "--resume", folder, "--json")
    assert (code, result(out)) == (0, whole)
    assert re.search(
        rf"^nnaccel: {last} is damaged \(.*\); it goes on from .*checkpoint-000001\.safetensors, at epoch 2\.$",
        shown,
        re.MULTILINE,
    )


@pytest.mark.parametrize("kept", [True, False])
def test_an_output_folder_that_has_gone_loses_no_model(command, tmp_path, folder, monkeypatch, kept):
    """It is there at first; and the summary is shown, whatever comes after."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    out = tmp_path / "models" / "model.safetensors"
    out.parent.mkdir()
    real = train_module._fit

    def fit(*arguments):
        model = real(*arguments)
        shutil.rmtree(out.parent)
        return model

    monkeypatch.setattr(train_module, "_fit", fit)
    code, shown, error = command(*IRIS, "--out", out, *(["--checkpoint", folder] if kept else []))
    assert code == 2
    assert "held out   accuracy" in shown
    assert error.startswith(f"nnaccel: {out} can't be written: there is no folder {out.parent}. ")
    monkeypatch.undo()
    if kept:
        assert error.endswith(f"Nothing is lost: --resume {folder} ends at once, and writes it elsewhere.\n")
        elsewhere = tmp_path / "model.safetensors"
        assert command(*IRIS, "--out", elsewhere, "--resume", folder)[0] == 0
    else:
        elsewhere = error.removesuffix(".\n").rpartition("The model is saved as ")[2]
    assert nnaccel.load(elsewhere).report.epochs == 6


def test_a_log_that_cannot_be_written_says_nothing_of_the_model(command, tmp_path, monkeypatch):
    real = train_module._fit

    def fit(*arguments):
        model = real(*arguments)
        (tmp_path / "log.csv").mkdir()
        return model

    monkeypatch.setattr(train_module, "_fit", fit)
    out = tmp_path / "model.safetensors"
    code, shown, error = command(*IRIS, "--out", out, "--log", tmp_path / "log.csv")
    assert (code, error) == (2, f"nnaccel: {tmp_path / 'log.csv'} can't be written: it is no regular file.\n")
    assert f"written    {out}\n" in shown
