"""The cases under pytest-benchmark: `pytest bench`, or `pytest bench -k "digits and numpy"`.

Every contender is checked before it is timed. For a comparison in which all take turns, run `nnaccel bench --peers`.
"""

import unittest
import warnings
from typing import Any

from nnaccel.backends import backend_class, backend_names, get_backend
from nnaccel.bench.agreement import Oracle, checked_work
from nnaccel.bench.cases import Case, variants
from nnaccel.bench.contender import BackendContender, Contender, Task
from nnaccel.bench.peers import PEERS

_ROUNDS = 5


def pytest_generate_tests(metafunc: Any) -> None:
    """Let every backend and every peer run every case; a hook, so that this file loads without pytest."""
    metafunc.parametrize("name", [*backend_names(), *PEERS])
    metafunc.parametrize("case", variants(), ids=lambda case: f"{case.name}-{case.optimizer.name}")


def test_case(benchmark: Any, case: Case, name: str) -> None:
    """The time of a sample: `case.epochs` epochs."""
    contender = _contender(name, case)
    task, work = Task.of(case), case.work()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what other libraries say of themselves
        training = contender.start(task, None)
        training.train(checked_work(case))
    agreement = Oracle(task).compare(training.parameters(), contender.optimizer(case))
    assert agreement.ok, f"not timed, as it computes something else: {agreement}"
    benchmark.group = f"{case.name}, {case.optimizer.name}: {case.epochs} epochs"
    benchmark.extra_info.update(kernel=training.kernel, difference=agreement.relative)
    benchmark.pedantic(training.train, (work,), setup=training.restart, rounds=_ROUNDS, warmup_rounds=1)


def _contender(name: str, case: Case) -> Contender:
    """The backend or peer of this name; one that can't run here, or can't do the case, is skipped with the reason."""
    reason = PEERS[name].missing() if name in PEERS else backend_class(name).unavailable_reason()
    if reason is not None:
        raise unittest.SkipTest(reason)
    contender: Contender = PEERS[name] if name in PEERS else BackendContender(get_backend(name))
    reason = contender.cannot(case)
    if reason is not None:
        raise unittest.SkipTest(reason)
    return contender
