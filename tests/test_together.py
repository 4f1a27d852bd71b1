"""Threads, forks and processes beside each other: the bits of a training that is alone, no deadlock, no thread too many.

Threads are counted in /proc while they work. What shares a process with nothing is asked in one of its own.
"""

import contextlib
import functools
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import nnaccel.fused
import nnaccel.machine
from nnaccel import Dense, MLPClassifier, Network, train

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 120
"""After so long, what hasn't ended is a deadlock."""

linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc to count threads in")
BACKENDS = pytest.mark.parametrize("backend", ["cpu", "numba"])


@functools.cache
def data():
    random = np.random.default_rng(5)
    x = random.standard_normal((1500, 64)).astype(np.float32)
    return x, (x[:, :4] + random.standard_normal((1500, 4))).argmax(axis=1)


def learnt(seed, backend="numba", epochs=2, width=256):
    """The parameters of a training that is long enough for a team of threads."""
    network = Network(64, [Dense(width, "tanh"), Dense(width, "relu", dropout=0.1), Dense(4)])
    return train(network, *data(), epochs=epochs, batch_size=500, seed=seed, backend=backend).parameters


def estimated(seed, backend="numba"):
    """What a scikit-learn estimator predicts after two passes."""
    classifier = MLPClassifier((32,), random_state=seed, backend=backend)
    for _ in range(2):
        classifier.partial_fit(*data(), classes=range(4))
    return classifier.predict_proba(data()[0])


def in_threads(*functions):
    """Their results, from threads that begin at once."""
    results, barrier = [None] * len(functions), threading.Barrier(len(functions))

    def call(number, function):
        barrier.wait(SECONDS)
        results[number] = function()

    threads = [threading.Thread(target=call, args=item, daemon=True) for item in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    return results


@contextlib.contextmanager
def most_threads() -> Iterator[list[int]]:
    """The most threads that the process has while the block runs, this watch not counted."""
    most, stop = [0], threading.Event()

    def watch():
        while not stop.wait(0.0005):
            most[0] = max(most[0], sum(1 for _ in Path("/proc/self/task").iterdir()) - 1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        stop.set()
        watcher.join()


def python(script, **options):
    """What a script prints, in a process of its own."""
    code = "from tests.test_together import *\n" + textwrap.dedent(script)
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": SECONDS, "check": False} | options
    result = subprocess.run([sys.executable, "-c", code], **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()


# --- threads ---


@BACKENDS
def test_eight_threads_train_and_predict_at_once(backend):
    """Among them some of the same seed, and all of them with one model, which predicts."""
    x = data()[0]
    shared = train(Network(64, [Dense(64, "relu"), Dense(4)]), *data(), epochs=1, backend=backend)
    alone = [learnt(0, backend), learnt(1, backend), estimated(0, backend), shared.predict_proba(x)]
    work = [lambda: learnt(0, backend), lambda: learnt(1, backend), lambda: estimated(0, backend)]
    work.append(lambda: [shared.predict_proba(x) for _ in range(20)][-1])
    for number, got in enumerate(in_threads(*work, *work)):
        np.testing.assert_array_equal(got, alone[number % 4])


CORES = 4


@linux
def test_threads_that_train_at_once_are_no_more_than_the_cores_allow(monkeypatch):
    """Eight that call, and beside them a core's worth each but for the first: threads that end are counted once more."""
    monkeypatch.setattr(nnaccel.fused, "usable_cores", lambda: CORES)
    monkeypatch.setattr(nnaccel.fused, "allowed_threads", lambda wanted, cores: CORES)
    want = learnt(0)
    with most_threads() as most:
        np.testing.assert_array_equal(learnt(0), want)
        before = sum(1 for _ in Path("/proc/self/task").iterdir()) - 1
    assert most[0] > before, "no team was at work: there was nothing to count"
    with most_threads() as most:
        for got in in_threads(*[lambda: learnt(0)] * 8):
            np.testing.assert_array_equal(got, want)
    assert most[0] <= before + 8 + 2 * (CORES - 1)


# --- processes ---

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@needs_fork
def test_a_child_trains_though_its_parents_threads_held_every_lock():
    """The locks are held by a thread that the child doesn't have."""
    output = python(
        """
        import signal
        from nnaccel import backends

        want = {name: learnt(3, name) for name in ("cpu", "numba")}
        held, done = threading.Event(), threading.Event()

        def hold():
            instances = backends._instances
            with backends._instances_lock, instances["cpu"]._lock, instances["numba"]._lock:
                held.set()
                done.wait()

        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        held.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            same = all((learnt(3, name) == want[name]).all() for name in want)
            os._exit(0 if same and len(learnt(3, "numba", width=8)) else 1)
        _, status = os.waitpid(child, 0)
        done.set()
        print(os.waitstatus_to_exitcode(status), (learnt(3) == want["numba"]).all())
        """
    )
    assert output == "0 True"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing(method):
    output = python(
        f"""
        import multiprocessing
        if {method!r} not in multiprocessing.get_all_start_methods():
            print(True)
            sys.exit()
        work = [(seed, backend, 1) for seed in range(2) for backend in ("cpu", "numba")]
        want = [learnt(*one) for one in work]
        with multiprocessing.get_context({method!r}).Pool(2) as pool:
            got = pool.starmap_async(learnt, work).get(60)
        print(all((a == b).all() for a, b in zip(got, want, strict=True)))
        """
    )
    assert output == "True"


def threads_of_a_training(seed):
    """What was learnt, and how many threads there were more than before."""
    learnt(seed, epochs=1)
    before = sum(1 for _ in Path("/proc/self/task").iterdir())
    with most_threads() as most:
        parameters = learnt(seed)
    return parameters, most[0] - before


@linux
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_of_joblib_share_the_cores(backend):
    """Each of loky's workers, which are one for each core, trains on one thread; those in threads take no more than there are."""
    pytest.importorskip("joblib")
    output = python(
        f"""
        import joblib
        from tests import test_together

        one_each = {{"inner_max_num_threads": 1}} if {backend!r} == "loky" else {{}}
        with joblib.parallel_config(backend={backend!r}, n_jobs=2, **one_each):
            got = joblib.Parallel(timeout=60)(joblib.delayed(test_together.threads_of_a_training)(seed) for seed in (0, 1))
        same = all((parameters == learnt(seed)).all() for seed, (parameters, _) in enumerate(got))
        cores = nnaccel.machine.usable_cores()
        print(same, max(more for _, more in got) <= (0 if {backend!r} == "loky" else 2 + 2 * cores))
        """
    )
    assert output == "True True"


# --- little to work with ---

HALF_A_CORE = """
    parameters, more = threads_of_a_training(0)
    print(nnaccel.machine.usable_cores(), more)
    np.save(sys.argv[1], parameters) if len(sys.argv) > 1 else sys.stdout.write(parameters.tobytes().hex())
"""


def assert_one_thread_with_the_usual_bits(output):
    """A process on half a core has one core to work on, and no thread more than before."""
    facts, _, parameters = output.partition("\n")
    assert facts == "1 0"
    np.testing.assert_array_equal(np.frombuffer(bytes.fromhex(parameters), np.float32), learnt(0))


@linux
def test_half_a_core_by_what_the_system_says():
    script = textwrap.dedent(HALF_A_CORE)
    assert_one_thread_with_the_usual_bits(
        python(
            f"type(nnaccel.machine._source()).quota_cores = lambda self: 0.5\nnnaccel.machine._cores_until = 0\n{script}"
        )
    )


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """The file of a group of processes that have half a core, to which a process writes its number."""
    first, second = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    group = (first if first.is_dir() else second) / f"nnaccel-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no group of processes can be made here: {error}")
    try:
        try:
            if first.is_dir():
                (group / "cpu.cfs_period_us").write_text("100000")
                (group / "cpu.cfs_quota_us").write_text("50000")
            else:
                (group / "cpu.max").write_text("50000 100000")
        except OSError as error:
            pytest.skip(f"no quota can be set here: {error}")
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


@linux
def test_half_a_core_by_a_quota(half_a_core):
    assert_one_thread_with_the_usual_bits(
        python(HALF_A_CORE, preexec_fn=lambda: half_a_core.write_text(str(os.getpid())))
    )


@pytest.fixture
def load():
    """Busy processes beside this one, twice as many as cores."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * nnaccel.machine.usable_cores())
    ]
    yield
    for process in busy:
        process.kill()
        process.wait()


@BACKENDS
def test_load_changes_no_bit(backend, request):
    want = [learnt(0, backend), estimated(0, backend)]
    request.getfixturevalue("load")
    np.testing.assert_array_equal(learnt(0, backend), want[0])
    np.testing.assert_array_equal(estimated(0, backend), want[1])
