"""The cases under pytest-benchmark: `pytest bench`, or `pytest bench -k "digits and numpy"`.

Every contender is checked before it is timed. For a comparison in which all take turns, run `nnaccel bench --peers`.
"""

from typing import Any

import pytest
from nnaccel.bench.agreement import Oracle, checked_work
from nnaccel.bench.cases import Case, variants
from nnaccel.bench.contender import BackendContender, Contender, Task
from nnaccel.bench.peers import PEERS

from nnaccel.backends import backend_class, backend_names, get_backend

_ROUNDS = 5


@pytest.fixture(params=[*backend_names(), *PEERS])
def contender(request: pytest.FixtureRequest) -> Contender:
    """Each backend and each peer; those that can't run here are skipped with the reason."""
    name: str = request.param
    reason = PEERS[name].missing() if name in PEERS else backend_class(name).unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    return PEERS[name] if name in PEERS else BackendContender(get_backend(name))


@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:torch\.")  # of what it imports of itself
@pytest.mark.parametrize("case", variants(), ids=lambda case: f"{case.name}-{case.optimizer.name}")
def test_case(benchmark: Any, case: Case, contender: Contender) -> None:
    """The time of a sample: `case.epochs` epochs."""
    if reason := contender.cannot(case):
        pytest.skip(reason)
    task = Task.of(case)
    training = contender.start(task, None)
    training.train(checked_work(case))
    agreement = Oracle(task).compare(training.parameters(), contender.optimizer(case))
    assert agreement.ok, f"not timed, as it computes something else: {agreement}"
    benchmark.group = f"{case.name}, {case.optimizer.name}: {case.epochs} epochs"
    benchmark.extra_info.update(kernel=training.kernel, difference=agreement.relative)
    work = case.work()
    benchmark.pedantic(training.train, (work,), setup=training.restart, rounds=_ROUNDS, warmup_rounds=1)
