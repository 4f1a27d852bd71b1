"""Checkpoints: whatever ends a training, the next sitting goes on to the same bits; and no file makes it go wrong."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nnaccel.checkpoint
from nnaccel.backends import get_backend
from nnaccel.checkpoint import CheckpointWarning, Keeper, newest
from nnaccel.checkpoint_file import Checkpoint, Frame, read_checkpoint, read_header, write_checkpoint
from nnaccel.errors import InputError
from nnaccel.loop import TrainingDiverged
from nnaccel.losses import MeanSquaredError
from nnaccel.network import Dense, Network
from nnaccel.optimizers import SGD, Adam
from nnaccel.order import BlockShuffled, Order, Sequential
from nnaccel.plan import Plan
from nnaccel.program import TrainingState
from nnaccel.progress import Best, Progress
from nnaccel.recipe import EarlyStopping
from nnaccel.report import History
from nnaccel.schedules import PlateauState
from nnaccel.training import train

ROOT = Path(__file__).resolve().parent.parent
ROWS = 53


class Backwards(Order):
    """An order that says nothing of itself."""

    def epoch(self, number, rows):
        return np.roll(rows[::-1], number)


def problem(rows=ROWS):
    random = np.random.default_rng(3)
    x = random.standard_normal((rows, 4))
    return {"X": x, "y": (x[:, 0] - x[:, 1] > 0).astype(int)}


WEIGHTS = np.random.default_rng(4).uniform(0, 2, ROWS)

BASE = {"epochs": 5, "batch_size": 10, "optimizer": "adam,learning_rate=0.02", "seed": 7}

OPTIONS = {
    "plain": {},
    "float64": {"dtype": "float64"},
    "validation": {"validation": 0.25},
    "a validation set with weights": {"validation": (problem(20)["X"], problem(20)["y"], WEIGHTS[:20])},
    "early stopping": {"validation": 0.3, "early_stopping": 2, "epochs": 60, "optimizer": "adam,learning_rate=0.1"},
    "early stopping without validation": {"early_stopping": EarlyStopping(1, tolerance=0.05), "epochs": 30},
    "plateau": {"validation": 0.3, "schedule": "plateau,patience=0,factor=0.5,tolerance=0.05"},
    "weights": {"sample_weight": WEIGHTS},
    "full batch": {"batch_size": None, "epochs": 30},
    "cosine": {"schedule": "cosine,warmup=1.5"},
    "one_cycle": {"schedule": "one_cycle", "optimizer": "sgd,momentum=0.9,nesterov=true"},
    "clipping and penalty": {"clip_norm": 0.1, "l2": 0.01, "optimizer": "adamw,weight_decay=0.1"},
    "no slots": {"optimizer": "sgd,learning_rate=0.1"},
    "blocks": {"order": BlockShuffled(3, block=4, window=3)},
    "an order of one's own": {"order": Backwards()},
    "a metric that is NaN": {
        "metrics": ["roc_auc"], "validation": (problem(5)["X"], np.zeros(5, int)), "batch_size": 20,
    },
}  # fmt: skip


def network():
    return Network(4, [Dense(6, "tanh", dropout=0.2), Dense(2)])


def fit(**options):
    return train(network(), **(problem() | BASE | options))


def result(model):
    """All that must not depend on how often a training was stopped."""
    report = model.report.describe()
    for name in ("seconds", "seconds_compile", "finished", "reason", "settings"):
        del report[name]
    return model.parameters.tobytes(), json.dumps(report)


def fit_step_by_step(folder, **options):
    """The same with as many sittings as there are steps: each makes one slice, the first of which is one step."""
    options = {"checkpoint": folder, "resume": True} | options
    seconds, sittings = 0.0, 0
    while True:
        model = fit(time_limit=seconds + 1e-9, **options)
        sittings += 1
        seconds = model.report.seconds
        if model.report.stopped_by != "time limit":
            return model, sittings


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kept"


@pytest.fixture
def kept(folder):
    """A folder with two checkpoints, of the epochs 2 and 4 of 5."""
    fit(epochs=2, checkpoint=folder)
    fit(epochs=4, checkpoint=folder, resume=True)
    return folder


@pytest.fixture
def always(monkeypatch):
    """After every slice a checkpoint is written, whatever that costs."""
    monkeypatch.setattr(nnaccel.checkpoint, "SHARE", math.inf)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("backend", ["cpu", "numba"])
@pytest.mark.parametrize("name", OPTIONS)
def test_as_many_sittings_as_steps_change_no_bit(folder, name, backend):
    options = OPTIONS[name] | {"backend": backend}
    whole = fit(**options)
    cut, sittings = fit_step_by_step(folder, **options)
    assert result(cut) == result(whole)
    steps_per_epoch = (
        math.ceil(whole.report.rows / (BASE | options)["batch_size"]) if options.get("batch_size", 1) else 1
    )
    # The last one may stop by the clock although there is nothing left to do.
    assert sittings - whole.report.epochs * steps_per_epoch in (0, 1)
    assert cut.report.settings.keys() - {"time limit"} == whole.report.settings.keys()


def test_two_checkpoints_are_kept_and_nothing_else(folder, always):
    fit(checkpoint=folder, every=0)
    found = names(folder)
    assert len(found) == 2
    last = nnaccel.checkpoint._number(folder / found[1])
    assert last > 5
    assert found[0] == f"checkpoint-{last - 1:06}.safetensors"
    assert (newest(folder)[1].epoch, newest(folder)[1].step) == (5, 0)


def test_a_finished_training_ends_at_once_with_its_result(folder):
    whole = fit(validation=0.3, early_stopping=2, epochs=60, checkpoint=folder)
    before = names(folder)
    seen = []
    again = fit(validation=0.3, early_stopping=2, epochs=60, checkpoint=folder, resume=True, report=seen.append)
    assert result(again) == result(whole)
    assert (names(folder), seen) == (before, [])
    assert again.report.seconds == whole.report.seconds


def test_more_epochs_train_on(kept):
    assert result(fit(epochs=9, checkpoint=kept, resume=True)) == result(fit(epochs=9))


def test_more_epochs_with_a_schedule_that_stretches_are_told_of(folder):
    fit(schedule="cosine", epochs=4, checkpoint=folder)
    with pytest.warns(CheckpointWarning, match=r"cosine stretches .* with 8 instead of 4 .* is 0\.5, .* been 0\."):
        model = fit(schedule="cosine", epochs=8, checkpoint=folder, resume=True)
    rates = model.report.history["learning_rate"]
    assert rates[:4] == fit(schedule="cosine", epochs=4).report.history["learning_rate"]
    assert rates[4:] == fit(schedule="cosine", epochs=8).report.history["learning_rate"][4:]


def test_fewer_epochs_than_were_made_are_refused(kept):
    with pytest.raises(InputError, match=r"gone further, to epoch 4, than the 3 asked for: ask for more than 4\."):
        fit(epochs=3, checkpoint=kept, resume=True)


def test_the_time_limit_counts_all_sittings(folder):
    first = fit(epochs=10**7, time_limit=0.2, checkpoint=folder)
    again = fit(epochs=10**7, time_limit=0.2, checkpoint=folder, resume=True)
    assert result(again) == result(first)
    more = fit(epochs=10**7, time_limit=0.4, checkpoint=folder, resume=True)
    assert more.report.epochs > first.report.epochs
    assert 0.4 <= more.report.seconds < 5


def test_callbacks_are_asked_again(folder):
    first = fit(epochs=50, callbacks=[lambda training: training.progress.epoch == 3], checkpoint=folder)
    assert (first.report.stopped_by, first.report.epochs) == ("callback", 3)
    seen = []
    fit(callbacks=[lambda training: seen.append(training.progress.epoch)], checkpoint=folder, resume=True)
    assert seen == [3, 4]


def test_the_status_goes_on_as_well(kept):
    seen = []
    fit(validation=0.3, checkpoint=kept / "own")
    fit(validation=0.3, epochs=8, checkpoint=kept / "own", resume=True, report=seen.append)
    assert seen[0].epoch >= 5
    assert set(seen[0].validation) >= {"loss", "accuracy"}


def test_another_backend_may_go_on(kept, monkeypatch):
    """And auto takes the one before, whatever it would take otherwise."""
    assert fit(checkpoint=kept, resume=True, backend="cpu").report.backend == "cpu"
    assert fit(epochs=6, checkpoint=kept, resume=True).report.backend == "cpu"
    monkeypatch.setattr(type(get_backend("cpu")), "unavailable_reason", staticmethod(lambda: "it is broken."))
    assert fit(epochs=7, checkpoint=kept, resume=True).report.backend == "numba"


def test_an_existing_checkpoint_is_not_written_over(kept):
    before = {name: (kept / name).read_bytes() for name in names(kept)}
    with pytest.raises(InputError, match="has the checkpoints of a training: resume that"):
        fit(checkpoint=kept)
    assert {name: (kept / name).read_bytes() for name in names(kept)} == before


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"resume": True}, "resume needs the folder"),
        ({"every": -1}, "every 0 seconds or more, not every -1"),
        ({"every": math.nan}, "not every nan"),
        ({"checkpoint": __file__}, "checkpoints can't be written to .*File exists"),
        ({"checkpoint": Path(__file__) / "below"}, "checkpoints can't be written to .*Not a directory"),
    ],
)
def test_what_makes_no_sense_is_refused(options, match):
    with pytest.raises(InputError, match=match):
        fit(**options)


def other(name, change):
    data = problem()
    data[name] = change(data[name].copy())
    return data


def with_another_value(array):
    array[-1] = 1 - array[-1]
    return array


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"network": Network(4, [Dense(7, "tanh", dropout=0.2), Dense(2)])}, "units of layer 1: then 6, now 7"),
        ({"network": Network(4, [Dense(2)])}, "number of layers: then 2, now 1"),
        ({"network": Network(4, [Dense(6, "relu", dropout=0.2), Dense(2)])}, "activation of layer 1: then tanh, now relu"),
        ({"loss": "softmax_cross_entropy,label_smoothing=0.1"}, "loss: then softmax_cross_entropy, now softmax_cross_entropy,l"),
        ({"optimizer": "adam"}, "optimizer: then adam,learning_rate=0.02, now adam"),
        ({"schedule": "cosine"}, "schedule: then constant, now cosine"),
        ({"l2": 0.1}, "L2 penalty: then l2, now l2,strength=0.1"),
        ({"clip_norm": 1.0}, "clipping norm: then none, now 1.0"),
        ({"seed": 8}, "seed: then 7, now 8"),
        ({"dtype": "float64"}, "dtype: then float32, now float64"),
        ({"batch_size": 11}, "batch size: then 10, now 11"),
        ({"order": Sequential()}, r"order of rows: then Shuffled\(seed=7\), now Sequential\(\)"),
        ({"order": Backwards()}, "order of rows: then"),
        ({"metrics": ["f1"]}, "metrics: then accuracy, now f1"),
        ({"early_stopping": 3}, "early stopping: then none, now by loss with a patience of 3"),
        ({"validation": 0.2}, "number of training rows: then 53, now 42"),
        ({"validation": (problem(9)["X"], problem(9)["y"])}, "number of rows held out: then 0, now 9"),
        (other("X", with_another_value), r"other data: features"),
        (other("X", lambda x: x.astype(np.float32)), r"other data: features"),
        (other("y", with_another_value), r"other data: targets"),
        ({"sample_weight": WEIGHTS}, r"other data: weights"),
        ({"initial": network().initial_parameters(1, "float32")}, r"other data: initial parameters"),
    ],
)  # fmt: skip
def test_another_training_is_refused_and_the_difference_named(kept, options, difference):
    before = names(kept)
    with pytest.raises(
        InputError, match=rf"safetensors is of another training \({difference}.*\): ask for the same"
    ) as e:
        train(**({"network": network()} | problem() | BASE | options), checkpoint=kept, resume=True)
    assert "\n" not in str(e.value)
    assert names(kept) == before


@pytest.mark.parametrize("validation", [0.2, (problem(9)["X"], problem(9)["y"])])
def test_another_validation_set_of_the_same_size_is_refused(folder, validation):
    fit(validation=validation, checkpoint=folder)
    others = {"validation": (problem(9)["X"] + 1, problem(9)["y"])} if isinstance(validation, tuple) else {"seed": 8}
    with pytest.raises(InputError, match=r"other data: validation set|seed: then 7, now 8"):
        fit(**({"validation": validation} | others), checkpoint=folder, resume=True)


# --- files that are not as they should be ---


def damaged(path, how):
    content = bytearray(path.read_bytes())
    match how:
        case "empty":
            content = b""
        case "torn":
            content = content[:-7]
        case "longer":
            content += b"\0"
        case "a bit":
            content[len(content) // 2 + len(content) // 4] ^= 1
        case "zeros":
            content = bytes(len(content))
        case "the description":
            content = content.replace(b'\\"seconds\\": 0', b'\\"seconds\\": 1')
        case "newer":
            content = content.replace(b'\\"format\\": 1', b'\\"format\\": 2')
    assert bytes(content) != path.read_bytes()
    path.write_bytes(content)


HOW = ["empty", "torn", "longer", "a bit", "zeros", "the description", "newer"]


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(kept, how):
    whole = result(fit())
    first, last = (kept / name for name in names(kept))
    damaged(last, how)
    with pytest.warns(CheckpointWarning) as told:
        model = fit(checkpoint=kept, resume=True)
    assert len(told) == 1
    assert str(told[0].message).startswith(str(last))
    assert str(told[0].message).endswith(f"it goes on from {first}, at epoch 2.")
    assert result(model) == whole
    # The sound one stays beside the new one.
    assert names(kept) == [first.name, "checkpoint-000003.safetensors"]


@pytest.mark.parametrize("how", HOW)
def test_where_no_checkpoint_is_sound_nothing_begins_and_nothing_is_lost(kept, how):
    for name in names(kept):
        damaged(kept / name, how)
    before = {name: (kept / name).read_bytes() for name in names(kept)}
    with pytest.raises(InputError, match="no other one there is sound: remove them to start from the beginning"):
        fit(checkpoint=kept, resume=True)
    assert {name: (kept / name).read_bytes() for name in names(kept)} == before


def test_a_stale_checkpoint_gives_way_to_the_one_that_is_further(kept):
    """Such as an old copy that was put back."""
    first, last = (kept / name for name in names(kept))
    shutil.copy(first, kept / "checkpoint-000009.safetensors")
    with pytest.warns(
        CheckpointWarning, match=r"checkpoint-000009.safetensors is older than its name says; it goes on"
    ):
        model = fit(checkpoint=kept, resume=True)
    assert result(model) == result(fit())
    assert names(kept) == [last.name, "checkpoint-000010.safetensors"]


def test_what_else_lies_in_the_folder_is_left_alone_but_for_remnants(kept):
    for name in ("notes.txt", "checkpoint-1.safetensors", "checkpoint-000001.safetensors.bak", ".other.part"):
        (kept / name).write_text("mine")
    (kept / ".checkpoint-000003.safetensors.0a1b2c3d.part").write_text("half a file of a process that was killed")
    (kept / "checkpoint-000007.safetensors").mkdir()
    with pytest.warns(CheckpointWarning, match="is no regular file; it goes on from"):
        fit(checkpoint=kept, resume=True)
    assert {"notes.txt", "checkpoint-1.safetensors", "checkpoint-000001.safetensors.bak", ".other.part"} < set(
        names(kept)
    )
    assert not any(name.endswith("d.part") for name in names(kept))


PLAN = Plan(Network(3, [Dense(2), Dense(1)]), MeanSquaredError(), Adam(0.1))
FRAME = Frame(PLAN, steps_per_epoch=4, validation_columns=("validation_loss",))


def any_checkpoint():
    """A checkpoint in which each number is another, infinity and NaN among them."""
    random = np.random.default_rng(1)

    def state(count):
        vectors = [random.standard_normal(PLAN.network.size).astype(np.float32) for _ in range(3)]
        return TrainingState(vectors[0], tuple(vectors[1:]), count, 2**70 + count)

    history = History()
    history.extend({
        "epoch": [1, 2, 3], "train_loss": [0.1, 1 / 3, 5e-324], "penalty": [0.0, -0.0, 1e300],
        "learning_rate": [0.1, 0.2, 0.3], "validation_loss": [math.inf, math.nan, 2.0],
    })  # fmt: skip
    progress = Progress(
        epoch=3, step=2, log=[random.standard_normal((1, 3)), random.standard_normal((1, 3))], seconds=0.1 + 0.2,
        history=history, best=Best(-math.inf, 2, state(4), 1), bad_epochs=6, plateau=PlateauState(0.3, math.inf, 8),
    )  # fmt: skip
    return Checkpoint({"seed": "1", "loss": "häßlich"}, "numba", 9, state(14), progress)


def test_a_file_has_every_bit(tmp_path):
    path, want = tmp_path / "checkpoint-000001.safetensors", any_checkpoint()
    write_checkpoint(path, want)
    got = read_checkpoint(path, FRAME)
    assert repr(replace(got, progress=replace(got.progress, history=None, log=None))) == repr(
        replace(want, progress=replace(want.progress, history=None, log=None))
    )
    np.testing.assert_array_equal(got.progress.log[0], np.concatenate(want.progress.log))
    assert repr(got.progress.history.as_dict()) == repr(want.progress.history.as_dict())
    for state, wanted in ((got.state, want.state), (got.progress.best.anchor, want.progress.best.anchor)):
        assert state.parameters.tobytes() == wanted.parameters.tobytes()
        assert [slot.tobytes() for slot in state.slots] == [slot.tobytes() for slot in wanted.slots]
    assert read_header(path).place == "epoch 3, step 2 of the next"


def test_any_library_reads_a_file(tmp_path):
    from safetensors.numpy import load_file

    path, checkpoint = tmp_path / "checkpoint-000001.safetensors", any_checkpoint()
    write_checkpoint(path, checkpoint)
    tensors = load_file(path)
    np.testing.assert_array_equal(tensors["parameters"], checkpoint.state.parameters)
    np.testing.assert_array_equal(tensors["best.slots.1"], checkpoint.progress.best.anchor.slots[1])
    assert path.stat().st_mode & 0o777 == 0o666 & ~os.umask(os.umask(0o022))


FRAMES = {
    "another optimizer": replace(FRAME, plan=replace(PLAN, optimizer=SGD(0.1))),
    "another dtype": replace(FRAME, plan=replace(PLAN, dtype="float64")),
    "a larger network": replace(FRAME, plan=replace(PLAN, network=Network(99, [Dense(99), Dense(1)]))),
    "shorter epochs": replace(FRAME, steps_per_epoch=2),
    "longer epochs": replace(FRAME, steps_per_epoch=5),
    "other metrics": replace(FRAME, validation_columns=("validation_f1",)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_file_must_fit_the_training(tmp_path, name):
    path = tmp_path / "checkpoint-000001.safetensors"
    write_checkpoint(path, any_checkpoint())
    with pytest.raises(InputError, match=r"checkpoint-000001\.safetensors is damaged \("):
        read_checkpoint(path, FRAMES[name])


def changed(name, value):
    checkpoint = any_checkpoint()
    if hasattr(checkpoint.progress, name):
        return replace(checkpoint, progress=replace(checkpoint.progress, **{name: value}))
    return replace(checkpoint, state=replace(checkpoint.state, **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", -1), ("epoch", 10**30), ("epoch", 2), ("epoch", 1.5), ("epoch", True), ("step", 4), ("step", 10**12),
        ("step", -2), ("seconds", math.nan), ("seconds", -1.0), ("seconds", math.inf), ("bad_epochs", "many"), ("count", 15),
        ("seed", None), ("parameters", np.full(PLAN.network.size, np.nan, np.float32)), ("slots", ()),
        ("best", Best(0.0, 4, any_checkpoint().state, 1)), ("best", Best(0.0, 2, any_checkpoint().state, 2)),
        ("plateau", PlateauState(0.5, 1.0, -1)), ("history", History()),
    ],
)  # fmt: skip
def test_every_number_is_checked(tmp_path, name, value):
    """Though its digest is right: whoever wrote such a file meant it."""
    path = tmp_path / "checkpoint-000001.safetensors"
    write_checkpoint(path, changed(name, value))
    with pytest.raises(InputError, match=r"checkpoint-000001\.safetensors is damaged \("):
        read_checkpoint(path, FRAME)


def test_a_whole_epoch_of_steps_is_an_epoch(tmp_path):
    path, whole = tmp_path / "checkpoint-000001.safetensors", changed("step", 4)
    progress = replace(whole.progress, log=[np.zeros((4, 3))])
    write_checkpoint(path, replace(whole, progress=progress, state=replace(whole.state, count=16)))
    with pytest.raises(InputError, match="it has more steps than an epoch"):
        read_checkpoint(path, FRAME)


# --- disks and folders that fail ---


def disk_full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_of_once_and_loses_nothing(folder, always, monkeypatch):
    """The disk is full from epoch 3 to 7 of 9."""
    sync, safe = os.fsync, {}

    def fill(training):
        if training.progress.epoch == 3:
            monkeypatch.setattr(os, "fsync", disk_full)
        elif 4 <= training.progress.epoch < 7:
            safe[training.progress.epoch] = newest(folder)[1].epoch
        elif training.progress.epoch == 7:
            monkeypatch.setattr(os, "fsync", sync)

    with pytest.warns(CheckpointWarning) as told:
        model = fit(epochs=9, checkpoint=folder, every=0, callbacks=[fill])
    assert len(told) == 1
    assert str(told[0].message).endswith("No space left on device: the training goes on without it.")
    assert set(safe.values()) == {2}
    assert result(model) == result(fit(epochs=9))
    assert newest(folder)[1].epoch == 9
    assert len(names(folder)) == 2, "no part of a file is left behind"


def test_that_the_last_checkpoint_fails_is_told_even_if_others_did(folder, always, monkeypatch):
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.warns(CheckpointWarning) as told:
        fit(checkpoint=folder, every=0)
    assert len(told) == 2
    assert str(told[1].message).endswith("No space left on device: there is none to go on from.")
    assert names(folder) == []


def test_memory_that_is_lacking_for_a_checkpoint_ends_no_training(folder, monkeypatch):
    def lacking(*arguments):
        raise MemoryError

    monkeypatch.setattr(nnaccel.checkpoint, "write_checkpoint", lacking)
    with pytest.warns(CheckpointWarning, match="a checkpoint can't be written: no memory: there is none to go on from"):
        assert result(fit(checkpoint=folder)) == result(fit())


def test_a_folder_that_has_gone_is_made_again(folder, always):
    model = fit(
        checkpoint=folder, every=0, callbacks=[lambda training: training.progress.epoch == 2 and shutil.rmtree(folder)]
    )
    assert result(model) == result(fit())
    assert newest(folder)[1].epoch == 5


def test_without_the_folder_above_it_the_training_goes_on(tmp_path, always):
    def remove(training):
        if training.progress.epoch == 2:
            shutil.rmtree(tmp_path / "above")

    with pytest.warns(CheckpointWarning, match="there is no folder") as told:
        model = fit(checkpoint=tmp_path / "above" / "kept", every=0, callbacks=[remove])
    assert len(told) == 2  # one of them is the last
    assert result(model) == result(fit())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of this kind")
def test_a_limit_of_the_system_loses_nothing(kept):
    """A file that is cut off in the middle by the system itself."""
    code = f"""
        import resource, sys, warnings
        sys.dont_write_bytecode = True  # it would be cut as well, and stay so
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        from tests.test_checkpoint import fit
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            print(fit(checkpoint={str(kept)!r}, resume=True).report.epochs)
        print(*(one.message for one in told), sep="\\n")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("5\n"), done.stderr
    assert "File too large: " in done.stdout
    assert names(kept) == ["checkpoint-000001.safetensors", "checkpoint-000002.safetensors"]
    assert result(fit(checkpoint=kept, resume=True)) == result(fit())


@pytest.mark.parametrize("rate", ["1e30", "1e60"])
def test_a_training_that_diverges_leaves_its_last_sound_checkpoint(folder, always, rate):
    """By the larger rate the first step makes parameters infinite, which no loss has shown yet."""
    options = {"optimizer": f"sgd,learning_rate={rate}", "loss": "mean_squared_error", "every": 0}
    x, y = problem()["X"], problem()["X"] * 3
    net = Network(4, [Dense(6, "relu"), Dense(4)])
    messages = []
    for resume in (False, True):
        with pytest.raises(TrainingDiverged) as caught:
            train(net, x, y, **(BASE | options), checkpoint=folder, resume=resume)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert len(names(folder)) == (1 if rate == "1e30" else 0)


# --- how often ---


def test_a_slow_disk_is_written_to_less_often(folder, monkeypatch):
    """The clock stands still but for what writing takes."""
    clock = [100.0]
    monkeypatch.setattr(nnaccel.checkpoint.time, "perf_counter", lambda: clock[0])
    folder.mkdir()
    keeper = Keeper(folder, 60.0, any_checkpoint)
    real = nnaccel.checkpoint.write_checkpoint

    def slow(path, checkpoint):
        clock[0] += 3.0
        real(path, checkpoint)

    monkeypatch.setattr(nnaccel.checkpoint, "write_checkpoint", slow)
    assert not keeper.is_due
    clock[0] = 160.0
    assert keeper.is_due
    assert keeper.save()
    clock[0] = 163.0 + 299.0
    assert not keeper.is_due, "3 s are 1 % of 300 s"
    clock[0] = 163.0 + 300.1
    assert keeper.is_due


def test_not_before_it_is_asked_for(folder):
    """A short training writes one, at its end."""
    fit(checkpoint=folder)
    assert names(folder) == ["checkpoint-000001.safetensors"]


# --- killed at any moment ---

KILLED = """
    import json, math, os, random, signal, sys, time
    from pathlib import Path

    import nnaccel.checkpoint, nnaccel.loop, nnaccel.training
    from nnaccel.training import train
    from tests.test_checkpoint import network, problem, result

    BACKEND, FOLDER, KILLS = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    OPTIONS = problem(400) | {
        "sample_weight": problem(400)["X"][:, 3] ** 2, "epochs": 250, "batch_size": 24, "optimizer": "adam,learning_rate=0.01",
        "validation": 0.2, "early_stopping": 200, "schedule": "plateau,patience=4,factor=0.8", "backend": BACKEND, "threads": 1,
    }
    nnaccel.checkpoint.SHARE = math.inf

    def told(pipe):
        '''Have the training tell where it goes on, where it is after each slice, and what is safe.'''
        def tell(what, progress):
            os.write(pipe, f"{what} {progress.epoch} {progress.step}\\n".encode())

        resume, save, slice_ = nnaccel.training.resume_from, nnaccel.checkpoint.Keeper.save, nnaccel.loop.Training.one_slice

        def resuming(*arguments):
            found = resume(*arguments)
            if found is not None:
                tell("begin", found[1].progress)
            return found

        def saving(keeper, is_last=False):
            taken = []
            take = keeper._take
            keeper._take = lambda: taken.append(take()) or taken[0]
            safe = save(keeper, is_last)
            keeper._take = take
            assert safe, "every checkpoint is written"
            tell("safe", taken[0].progress)
            return safe

        def slicing(training):
            done = slice_(training)
            tell("slice", training.progress)
            return done

        nnaccel.training.resume_from, nnaccel.checkpoint.Keeper.save = resuming, saving
        nnaccel.loop.Training.one_slice = slicing

    def sitting(seed, folder, out, pipe):
        '''A process that trains until it is done or killed.'''
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            nnaccel.loop.SLICE_SECONDS = 0.004 if kills < KILLS else 0.1
            if folder is not None:
                told(pipe)
            more = {} if folder is None else {"checkpoint": folder, "every": 0, "resume": True}
            model = train(network(), **OPTIONS, seed=seed, **more)
            parameters, report = result(model)
            out.write_text(json.dumps([parameters.hex(), report]))
            code = 0
        finally:
            os._exit(code)

    train(network(), **OPTIONS | {"epochs": 1})  # what is slow the first time is done before the processes are forked
    moments, kills, trainings, begun = random.Random(1), 0, 0, 0
    while kills < KILLS:
        folder, out, whole = (FOLDER / f"{name}{trainings}" for name in ("kept", "cut", "whole"))
        safe, slices, ended = (0, 0), [(0, 0)], False
        while not ended:
            reader, writer = os.pipe()
            child = sitting(trainings, folder, out, writer)
            os.close(writer)
            if kills < KILLS:
                time.sleep(moments.uniform(0, 0.06))
                os.kill(child, signal.SIGKILL)
            with os.fdopen(reader) as told_lines:
                lines = told_lines.read().splitlines()
            status = os.waitpid(child, 0)[1]
            ended = os.WIFEXITED(status)
            assert not ended or os.WEXITSTATUS(status) == 0, "a sitting has failed"
            kills += not ended
            for line in lines:
                what, *place = line.split()
                place = tuple(map(int, place))
                if what == "begin":
                    begun += 1
                    assert place >= safe, "what was safe has been lost"
                    assert place >= slices[-2:][0], "more than a slice has been lost"
                    slices = [place]
                elif what == "safe":
                    safe = place
                else:
                    slices.append(place)
        # Each sitting that was killed before it could remove the oldest has left that to the next one.
        assert len(list(folder.iterdir())) == 2
        os.waitpid(sitting(trainings, None, whole, None), 0)
        assert out.read_text() == whole.read_text(), "a bit differs"
        trainings += 1
    print(kills, trainings, begun)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes aren't forked here")
@pytest.mark.parametrize("backend", ["cpu", "numba"])
def test_killed_at_50_moments_it_loses_nothing(tmp_path, backend):
    code = textwrap.dedent(KILLED)
    done = subprocess.run(
        [sys.executable, "-c", code, backend, str(tmp_path), "50"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    kills, _, begun = map(int, done.stdout.split())
    assert kills == 50
    assert begun > 20, "most sittings go on from a checkpoint before they are killed"


def test_no_warning_where_all_is_well(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(checkpoint=folder)
        fit(epochs=6, checkpoint=folder, resume=True)
