"""All that is to be done on a machine with a GPU, in one command of at most ten minutes, into one file.

python -m nnaccel.bench.gpu                 tests, then the benchmark beside the peers that are installed
python -m nnaccel.bench.gpu --out FILE      the file to write; by default one in the user's folder of results
python -m nnaccel.bench.gpu --no-tests      the benchmark alone

The tests are `pytest -m cuda` of the checkout. Each contender is checked against the reference before it is timed, in turn with
the others; beside them runs a step's products alone, which is what the library of products reaches.
"""

import argparse
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnaccel.backends import backend_class, get_backend
from nnaccel.bench.agreement import Oracle, checked_work
from nnaccel.bench.cases import CASES, Case
from nnaccel.bench.conditions import read_conditions
from nnaccel.bench.contender import SEED, BackendContender, Contender, Task, Training
from nnaccel.bench.gpu_peers import GPU_PEERS
from nnaccel.bench.keeping import keep, kept_path, make_results_folder
from nnaccel.bench.stopwatch import Timing, Turn, rounds
from nnaccel.errors import InputError
from nnaccel.files import first_sentence
from nnaccel.gpu.products import BIAS, BIAS_GRADIENT, Products, forward_product, weight_product
from nnaccel.gpu.program import CudaProgram
from nnaccel.plan import DTYPES
from nnaccel.program import TrainingState

FORMAT, VERSION = "nnaccel-gpu", 1

TEST_SECONDS, BENCHMARK_SECONDS = 240.0, 300.0
"""What either may take; a case that is under way is finished."""

MOST_ROUNDS, FEWEST_ROUNDS = 11, 3

PRODUCTS = "products alone"

_CLASSES: tuple[int, str, str] = (10, "relu", "softmax_cross_entropy")

GPU_CASES: tuple[Case, ...] = (
    *CASES.values(),
    *(
        Case(f"512x2 at {batch}", 32_768, 784, (512, 512), *_CLASSES, batch=batch, epochs=1)
        for batch in (128, 1024, 8192)
    ),
    Case("1024x8 at 4096", 16_384, 1024, (1024,) * 8, *_CLASSES, batch=4096, epochs=2),
)
"""The suite's cases, each with its own optimizer, and larger ones."""

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Entry:
    """What became of one contender on one case.

    Attributes
    ----------
    name, kernel : str
    status : "timed", "disagrees", "failed" or "left out"
    reason : str
        Why it isn't timed.
    relative, allowed : float, optional
        How far its parameters are from the reference's, and how far they may be.
    first_seconds : float, optional
        From its start to the end of the checked steps.
    samples : tuple of float
        Seconds of `case.epochs` epochs.
    """

    name: str
    kernel: str
    status: str
    reason: str = ""
    relative: float | None = None
    allowed: float | None = None
    first_seconds: float | None = None
    samples: tuple[float, ...] = ()

    def describe(self, case: Case) -> dict[str, Any]:
        """All of it for JSON, with the median of a step in seconds."""
        steps = case.steps_per_epoch * case.epochs
        median = Timing(self.samples).median / steps if self.samples else None
        return {**vars(self), "samples": list(self.samples), "seconds_per_step": median}


def measure_case(case: Case, contenders: Sequence[Contender], seconds: float) -> list[Entry]:
    """Check the contenders and time them in turn, for so many seconds or the fewest rounds."""
    began, oracle, work = time.perf_counter(), Oracle(Task.of(case)), case.work()
    entries: dict[str, Entry] = {}
    turns: dict[str, Turn] = {}
    for contender in contenders:
        entries[contender.name], training = _checked(contender, oracle)
        if training is not None:
            training.restart()
            training.train(work)  # what is compiled or captured for its length isn't timed
            turns[contender.name] = Turn(lambda training=training: training.train(work), training.restart)  # type: ignore[misc]
    products = _products(contenders, oracle.task)
    if products is not None:
        entries[PRODUCTS], turns[PRODUCTS] = Entry(PRODUCTS, "", "timed"), Turn(products)
    for number, sample in enumerate(rounds(turns), start=1):
        for name, taken in sample.items():
            entries[name] = replace(entries[name], samples=(*entries[name].samples, taken))
        if number >= MOST_ROUNDS or (number >= FEWEST_ROUNDS and time.perf_counter() - began > seconds):
            break
    return list(entries.values())


def _checked(contender: Contender, oracle: Oracle) -> tuple[Entry, Training | None]:
    """Start a contender and compare it with the reference; no training if it isn't to be timed."""
    case = oracle.task.case
    reason = contender.cannot(case)
    if reason is not None:
        return Entry(contender.name, "", "left out", reason), None
    began = time.perf_counter()
    try:
        training = contender.start(oracle.task, None)
        training.train(checked_work(case))
        agreement = oracle.compare(training.parameters(), contender.optimizer(case))
    except (
        Exception
    ) as error:  # what libraries raise can't be foreseen, and one failure must not cost the others their turn
        traceback.print_exc()
        return Entry(contender.name, "", "failed", f"{type(error).__name__}: {first_sentence(error)}"), None
    entry = Entry(
        contender.name, training.kernel, "timed", "", agreement.relative, agreement.allowed, time.perf_counter() - began
    )
    if agreement.ok:
        return entry, training
    reason = f"off by {agreement.relative:.1e}, where {agreement.allowed:.1e} is allowed"
    return replace(entry, status="disagrees", reason=reason), None


def _products(contenders: Sequence[Contender], task: Task) -> Callable[[], None] | None:
    """What computes all products of a sample, if a contender runs on the GPU's kernels."""
    for contender in contenders:
        program = contender.backend.compile(task.plan) if isinstance(contender, BackendContender) else None
        if isinstance(program, CudaProgram):
            case, state = task.case, TrainingState.initial(task.plan, SEED, task.initial)
            run = program.start(state, task.rows, case.batch)
            return run.products_alone(case.batch, case.steps_per_epoch * case.epochs)
    return None


def describe_case(case: Case, entries: Sequence[Entry]) -> dict[str, Any]:
    """A case and what became of its contenders, for JSON."""
    return {
        "case": case.name,
        "shape": case.shape,
        "optimizer": str(case.optimizer),
        "dtype": case.dtype,
        "steps_per_sample": case.steps_per_epoch * case.epochs,
        "operations_per_step": case.operations_per_epoch // case.steps_per_epoch,
        "contenders": [entry.describe(case) for entry in entries],
    }


def product_facts(products: Products) -> dict[str, bool]:
    """What the library of products can bring along, by dtype."""
    facts = {}
    for dtype in DTYPES:
        for make, extra in ((forward_product, BIAS), (weight_product, BIAS_GRADIENT)):
            # The address is only looked at for what it is aligned to.
            facts[f"{extra} in {dtype}"] = products.prepare(make(128, 512, 256, dtype, extra), 1 << 20) is not None
    return facts


def run_tests(root: Path = ROOT) -> dict[str, Any]:
    """The outcome of `pytest -m cuda`; its last lines say what failed."""
    if not (root / "tests").is_dir():
        return {"exit_code": None, "output": ["there are no tests outside a checkout"]}
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-q", "-rf", "--tb=short", "tests"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=TEST_SECONDS, check=False)
        return {"exit_code": done.returncode, "output": done.stdout.splitlines()[-60:]}
    except subprocess.TimeoutExpired as error:
        text = error.stdout or b""
        lines = (text if isinstance(text, str) else text.decode(errors="replace")).splitlines()[-60:]
        return {"exit_code": None, "output": [*lines, f"not done after {TEST_SECONDS:.0f} s"]}


def measure_cases(
    cases: Sequence[Case], contenders: Sequence[Contender], seconds: float, tell: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """All cases, which share the time evenly."""
    end = time.perf_counter() + seconds
    for number, case in enumerate(cases):
        share = (end - time.perf_counter()) / (len(cases) - number)
        found = describe_case(case, measure_case(case, contenders, share))
        for each in found["contenders"]:
            step = each["seconds_per_step"]
            tell(f"{case.name}, {each['name']}: {each['reason'] or f'{1e6 * step:,.1f} µs a step'}")
        yield found


def main(arguments: Sequence[str]) -> int:
    """Test, measure, write the file, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nnaccel.bench.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="the file to write")
    parser.add_argument("--no-tests", action="store_true", help="the benchmark alone")
    options = parser.parse_args(arguments)
    reason = backend_class("cuda").unavailable_reason()
    if reason is not None:
        print(f"backend cuda can't run here: {reason}", file=sys.stderr)
        return 2
    conditions = read_conditions()
    try:
        path = options.out or kept_path("gpu", conditions["machine"], make_results_folder())
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    result: dict[str, Any] = {"format": FORMAT, "version": VERSION, **conditions, "finished": False}
    if not options.no_tests:
        print("pytest -m cuda", flush=True)
        result["tests"] = run_tests()
        print("\n".join(result["tests"]["output"][-5:]), flush=True)
    _benchmark(result, path)
    print(path)
    return 0 if result.get("tests", {"exit_code": 0})["exit_code"] == 0 else 1


def _benchmark(result: dict[str, Any], path: Path) -> None:
    """Measure all cases into the result; the file is written after each, so that an interruption costs only one."""
    backend = get_backend("cuda")
    missing = {peer.name: peer.missing() for peer in GPU_PEERS}
    contenders = [BackendContender(backend), *(peer for peer in GPU_PEERS if missing[peer.name] is None)]
    program = backend.compile(GPU_CASES[0].plan())
    result["device"] = {
        "name": backend.device, "kernel": program.kernel, "reason": getattr(program, "reason", ""),
        "products": product_facts(program.gpu.products) if isinstance(program, CudaProgram) else {},
    }  # fmt: skip
    result["skipped"] = [{"name": name, "reason": reason} for name, reason in missing.items() if reason]
    result["notes"], result["results"] = {peer.name: peer.note for peer in GPU_PEERS}, []
    for found in measure_cases(GPU_CASES, contenders, BENCHMARK_SECONDS, lambda line: print(line, flush=True)):
        result["results"].append(found)
        keep(path, result)
    result["finished"] = True
    keep(path, result)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
