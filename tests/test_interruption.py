"""Interruptions: a training stops at once, keeps what it has, and the next sitting goes on to the same bits."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import nnaccel.interruption
from nnaccel.checkpoint import CheckpointWarning, newest
from nnaccel.interruption import Interruption, TrainingInterrupted
from nnaccel.loop import Training
from tests.test_checkpoint import disk_full, fit, result

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are of another kind here")


def at_epoch(number, act):
    """A callback that does something, which stops nothing by itself, after an epoch."""

    def callback(training):
        if training.progress.epoch == number:
            act()

    return callback


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kept"


@pytest.fixture(autouse=True)
def handlers_stay():
    """Whatever happens, handlers are as they were."""
    before = [signal.getsignal(number) for number in nnaccel.interruption.SIGNALS]
    yield
    assert [signal.getsignal(number) for number in nnaccel.interruption.SIGNALS] == before


def test_ctrl_c_raises_keyboard_interrupt_with_what_there_is():
    with pytest.raises(
        KeyboardInterrupt, match=r"interrupted after 2 epochs: nothing was kept to go on from\."
    ) as caught:
        fit(epochs=9, callbacks=[at_epoch(2, interrupt)])
    assert isinstance(caught.value, TrainingInterrupted)
    assert (caught.value.signal, caught.value.checkpoint) == (signal.SIGINT, None)
    model = caught.value.model
    assert (model.report.stopped_by, model.report.epochs, model.report.best_epoch) == ("interrupt", 2, 2)
    assert model.parameters.tobytes() == fit(epochs=2).parameters.tobytes()


def test_with_early_stopping_the_best_epoch_is_what_there_is():
    options = {"validation": 0.3, "optimizer": "adam,learning_rate=0.3", "epochs": 30}
    losses = fit(**options).report.history["validation_loss"]
    late = next(epoch for epoch in range(3, 30) if min(losses[:epoch]) < losses[epoch - 1])
    with pytest.raises(TrainingInterrupted) as caught:
        fit(**options, early_stopping=30, callbacks=[at_epoch(late, interrupt)])
    best = losses.index(min(losses[:late])) + 1
    report = caught.value.model.report
    assert (report.epochs, report.best_epoch) == (late, best)
    assert report.metrics["loss"] == losses[best - 1]
    assert caught.value.model.parameters.tobytes() == fit(**options | {"epochs": best}).parameters.tobytes()


def test_in_the_middle_of_an_epoch_the_state_is_what_there_is(monkeypatch):
    monkeypatch.setattr(nnaccel.loop, "SLICE_SECONDS", 0.0)
    real, slices = Training.one_slice, []

    def one_slice(training):
        slices.append(real(training))
        if len(slices) == 3:
            interrupt()

    monkeypatch.setattr(Training, "one_slice", one_slice)
    with pytest.raises(TrainingInterrupted, match="after 0 epochs") as caught:
        fit(validation=0.3)
    assert len(slices) == 3
    assert set(caught.value.model.report.metrics) == {"loss", "accuracy"}


@pytest.mark.parametrize("backend", ["cpu", "numba"])
def test_an_interrupted_training_goes_on_to_the_same_bits(folder, backend):
    options = {"validation": 0.25, "schedule": "plateau,patience=1", "backend": backend, "checkpoint": folder}
    for number in (1, 3, 4):
        with pytest.raises(TrainingInterrupted, match=f"resume=True goes on from {folder}") as caught:
            fit(**options, resume=number > 1, callbacks=[at_epoch(number, interrupt)])
        assert caught.value.checkpoint == folder
        assert newest(folder)[1].epoch == number
    options.pop("checkpoint")
    assert result(fit(**options, checkpoint=folder, resume=True)) == result(fit(**options))


def test_an_interruption_in_the_last_slice_is_no_reason_to_lose_the_result(folder, monkeypatch):
    real = Training.one_slice

    def one_slice(training):
        real(training)
        if training.progress.epoch == 5:
            interrupt()

    monkeypatch.setattr(Training, "one_slice", one_slice)
    with pytest.raises(TrainingInterrupted) as caught:
        fit(checkpoint=folder)
    monkeypatch.undo()
    assert result(caught.value.model) == result(fit()) == result(fit(checkpoint=folder, resume=True))


def test_a_full_disk_at_an_interruption_is_told(folder, monkeypatch):
    fit(epochs=2, checkpoint=folder)
    monkeypatch.setattr(os, "fsync", disk_full)
    told = r"No space left on device: .*checkpoint-000001\.safetensors is what there is to go on from"
    with pytest.warns(CheckpointWarning, match=told), pytest.raises(TrainingInterrupted) as caught:
        fit(checkpoint=folder, resume=True, callbacks=[at_epoch(4, interrupt)])
    monkeypatch.undo()
    assert caught.value.checkpoint == folder
    assert result(fit(checkpoint=folder, resume=True)) == result(fit())


def test_a_handler_of_the_users_is_called_once_all_is_kept(folder):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(newest(folder)[1].epoch))
    try:
        with pytest.raises(TrainingInterrupted) as caught:
            fit(checkpoint=folder, callbacks=[at_epoch(3, lambda: signal.raise_signal(signal.SIGTERM))])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (seen, caught.value.signal) == ([3], signal.SIGTERM)


def test_an_ignored_signal_stays_ignored(folder):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        model = fit(checkpoint=folder, callbacks=[at_epoch(3, lambda: signal.raise_signal(signal.SIGHUP))])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert model.report.epochs == 5


def test_a_second_one_ends_it_at_once_but_not_one_that_was_typed_twice(monkeypatch):
    with Interruption(saving=False) as interruption:
        interrupt()
        interrupt()
        assert interruption.number == signal.SIGINT
        monkeypatch.setattr(nnaccel.interruption, "PATIENCE", 0.0)
        with pytest.raises(KeyboardInterrupt):
            interrupt()


def test_in_other_threads_trainings_train():
    models = []
    thread = threading.Thread(target=lambda: models.append(fit()))
    thread.start()
    thread.join()
    assert result(models[0]) == result(fit())


def python(code, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


TRAINING = """
    import sys
    from tests.test_checkpoint import fit
    fit(epochs=10**6, checkpoint=sys.argv[1] if sys.argv[1:] else None, report=lambda status: print(flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_processes_waits_for_the_checkpoint(folder, number):
    with python(TRAINING, folder) as process:
        process.stdout.readline()
        process.send_signal(number)
        process.communicate()
    assert process.returncode == -number
    header = newest(folder)[1]
    assert (header.epoch, header.step) > (0, 0)


def test_without_checkpoints_it_waits_for_nothing():
    with python(TRAINING) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert "Traceback" not in process.communicate()[1]
    assert process.returncode == -signal.SIGTERM


# --- on the command line ---


def nnaccel_train(*arguments, **more):
    command = [sys.executable, "-m", "nnaccel", "train", "digits", "--epochs", "100000", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def until_checkpoint(folder, after=0):
    while not folder.exists() or not newest(folder) or newest(folder)[1].epoch <= after:
        time.sleep(0.02)


@pytest.mark.parametrize("backend", ["cpu", "numba"])
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "the terminal was closed")],
)  # fmt: skip
def test_signals_end_the_command_with_all_that_there_is(tmp_path, number, code, word, backend):
    folder, out = tmp_path / "kept", tmp_path / "model.safetensors"
    options = ["--backend", backend, "--early-stopping", "90000", "--out", out, "--every", "0.2s"]
    with nnaccel_train(*options, "--checkpoint", folder) as process:
        until_checkpoint(folder)
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(number)
        began = time.perf_counter()
        shown, error = process.communicate()
        took = time.perf_counter() - began
    assert (process.returncode, error) == (code, f"nnaccel: {word}.\n")
    assert took < 5, "0.1 s on a machine that has nothing else to do"
    assert f"to go on   the same command, with --resume {folder} instead of --checkpoint" in shown
    assert "ended by an interruption" in shown
    assert "held out   accuracy" in shown
    report = nnaccel.load(out).report
    assert (report.stopped_by, report.epochs) == ("interrupt", newest(folder)[1].epoch)
    assert report.best_epoch <= report.epochs
    with nnaccel_train(*options, "--resume", folder) as process:
        until_checkpoint(folder, after=report.epochs)
        process.send_signal(number)
        shown, _ = process.communicate()
    assert f"it goes on from epoch {report.epochs}" in shown
    assert f"to go on   the same command, with --resume {folder}\n" in shown
    assert nnaccel.load(out).report.epochs > report.epochs


SLOW = """
    import hashlib, sys
    from nnaccel.cli.interrupts import answered
    from nnaccel.interruption import Interruption

    with answered(lambda sentence: print(sentence, flush=True)), Interruption(saving=False) as interruption:
        print("native", flush=True)
        hashlib.pbkdf2_hmac("sha1", b"", b"", int(sys.argv[1]))  # gives back the GIL, and returns when it likes
    print(interruption.number, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_a_slow_step_it_says_what_it_waits_for_and_a_second_signal_ends_it(number):
    with python(SLOW, 100_000_000) as process:
        assert process.stdout.readline() == "native\n"
        process.send_signal(number)
        assert process.stdout.readline().startswith("it stops once the step under way is done")
        time.sleep(0.1)
        assert process.poll() is None, "the one that said so doesn't count twice"
        time.sleep(1)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 128 + number


def test_a_slow_step_is_waited_for():
    with python(SLOW, 6_000_000) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        shown, error = process.communicate(timeout=120)
    assert (shown.splitlines()[-1], process.returncode, error) == ("2", 0, "")


def test_a_signal_before_the_training_ends_the_command():
    code = """
        import signal, sys, time
        import nnaccel.training
        from nnaccel.cli import run

        def compiling(*arguments):
            signal.raise_signal(int(sys.argv[1]))
        nnaccel.training.choose_backend = compiling
        print(run(["train", "iris", "--backend", "cpu"]))
    """
    for number, want in ((signal.SIGINT, "130"), (signal.SIGTERM, "143")):
        with python(code, int(number)) as process:
            shown, error = process.communicate()
        assert (shown.split()[-1], "Traceback" in error) == (want, False)


def test_a_closed_terminal_ends_no_training(tmp_path):
    """Neither one that nobody reads, nor one that is gone: stdout and stderr both fail."""
    out = tmp_path / "model.safetensors"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "nnaccel", "train", "iris", "--epochs", "40", "--out", str(out)]
    done = subprocess.run(command, stdout=writer, stderr=writer)
    os.close(writer)
    assert done.returncode == 0
    assert nnaccel.load(out).report.epochs == 40
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([*command, "--epochs", "41"], stdout=full, stderr=full).returncode == 0
    assert nnaccel.load(out).report.epochs == 41
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([*command, "--epochs", "none"], stdout=full, stderr=full).returncode == 2
        assert subprocess.run([*command[:4], "no-such-file.csv"], stdout=full, stderr=full).returncode == 2


def test_a_progress_line_on_a_terminal_that_has_gone_ends_no_training(tmp_path):
    main, other = os.openpty()
    command = [sys.executable, "-m", "nnaccel", "train", "digits", "--epochs", "3000", "--backend", "numba"]
    out = tmp_path / "model.safetensors"
    with subprocess.Popen([*command, "--out", out], stdout=other, stderr=other, start_new_session=True) as process:
        os.close(other)
        shown = b""
        while b"epoch " not in shown:
            shown += os.read(main, 1000)
        os.close(main)
    assert process.returncode == 0
    assert nnaccel.load(out).report.epochs == 3000
