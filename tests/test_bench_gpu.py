"""The command for the day with a GPU, as far as it runs without one."""

import json
import subprocess
import sys

import pytest

import nnaccel.bench.gpu
from nnaccel.bench.cases import Case
from nnaccel.bench.contender import BackendContender, Task
from nnaccel.bench.gpu import (
    GPU_CASES,
    PRODUCTS,
    describe_case,
    main,
    measure_case,
    measure_cases,
    product_facts,
    run_tests,
)
from nnaccel.bench.gpu_peers import GPU_PEERS, TorchGpuTraining
from nnaccel.described import to_json
from tests import cuda_on_cpu
from tests.cuda_stand_in_backend import CudaOnCpuBackend

SMALL = Case("small", 40, 5, (7,), 3, "relu", "softmax_cross_entropy", batch=8, epochs=1)

needs_compiler = pytest.mark.skipif(cuda_on_cpu.compiler() is None, reason="no C++ compiler; apt-get install g++")


class Broken(BackendContender):
    """A contender that computes something else, or nothing."""

    def __init__(self, name, fault):
        super().__init__(CudaOnCpuBackend())
        self.name, self.fault = name, fault

    def start(self, task, threads):
        if self.fault == "fails":
            raise OSError("out of order. Ask again.")
        training = super().start(task, threads)
        if self.fault == "disagrees":
            training.parameters = lambda: task.initial
        return training


@needs_compiler
def test_contenders_are_checked_and_timed_beside_the_products_alone():
    contenders = [BackendContender(CudaOnCpuBackend()), Broken("a", "disagrees"), Broken("b", "fails")]
    entries = {entry.name: entry for entry in measure_case(SMALL, contenders, 0.0)}
    assert [entry.status for entry in entries.values()] == ["timed", "disagrees", "failed", "timed"]
    assert entries["b"].reason == "OSError: out of order"
    assert entries["a"].reason.startswith("off by ")
    for name in ("cuda_on_cpu", PRODUCTS):
        assert len(entries[name].samples) == nnaccel.bench.gpu.FEWEST_ROUNDS
    assert entries["cuda_on_cpu"].kernel == "graph"
    described = describe_case(SMALL, list(entries.values()))
    assert json.loads(to_json(described)) == described
    assert described["steps_per_sample"] == 5
    assert described["contenders"][0]["seconds_per_step"] > 0


@needs_compiler
def test_all_cases_are_told():
    lines = []
    found = list(measure_cases([SMALL, SMALL], [BackendContender(CudaOnCpuBackend())], 0.0, lines.append))
    assert len(found) == 2
    assert len(lines) == 4
    assert lines[0].startswith("small, cuda_on_cpu: ")
    assert lines[0].endswith(" µs a step")


@needs_compiler
@pytest.mark.parametrize("refuses", [(), ("product",)])
def test_the_products_alone_are_those_of_the_steps(refuses):
    backend, task = CudaOnCpuBackend(refuses=refuses), Task.of(SMALL)
    contender = BackendContender(backend)
    run = nnaccel.bench.gpu._products([contender], task)
    backend.cupy.counts.clear()
    run()
    expected = {"product": 25} if refuses else {"graph": 1}  # in 5 steps two forward, two for weights, one for inputs
    assert backend.cupy.counts == expected


@needs_compiler
def test_what_products_bring_along_is_written_down():
    assert product_facts(CudaOnCpuBackend(unsupported={256}).gpu.products) == {
        "bias in float32": True,
        "bias gradient in float32": False,
        "bias in float64": True,
        "bias gradient in float64": False,
    }


@needs_compiler
def test_the_whole_command_writes_one_file(monkeypatch, tmp_path):
    backend = CudaOnCpuBackend()
    monkeypatch.setattr(nnaccel.bench.gpu, "backend_class", lambda name: CudaOnCpuBackend)
    monkeypatch.setattr(nnaccel.bench.gpu, "get_backend", lambda name: backend)
    monkeypatch.setattr(nnaccel.bench.gpu, "GPU_CASES", (SMALL,))
    monkeypatch.setattr(nnaccel.bench.gpu, "run_tests", lambda: {"exit_code": 1, "output": ["1 failed"]})
    path = tmp_path / "gpu.json"
    assert main(["--out", str(path)]) == 1
    assert main(["--out", str(path), "--no-tests"]) == 0
    result = json.loads(path.read_text())
    assert (result["format"], result["finished"]) == ("nnaccel-gpu", True)
    assert all(result["device"].pop("products").values())
    assert result["device"] == {
        "name": "fibers on the CPU",
        "kernel": "graph",
        "reason": "graphs of 64 steps and of one",
    }
    assert [each["name"] for each in result["results"][0]["contenders"]] == ["cuda_on_cpu", PRODUCTS]


def test_without_a_gpu_it_says_why(monkeypatch, capsys):
    class Missing:
        @staticmethod
        def unavailable_reason():
            return "there is none; buy one."

    monkeypatch.setattr(nnaccel.bench.gpu, "backend_class", lambda name: Missing)
    assert main([]) == 2
    assert capsys.readouterr().err == "backend cuda can't run here: there is none; buy one.\n"


def test_tests_are_found_in_a_checkout_alone(tmp_path):
    assert run_tests(tmp_path)["exit_code"] is None


def test_tests_that_take_too_long_are_ended(tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()

    def run(command, **options):
        assert options["cwd"] == tmp_path
        raise subprocess.TimeoutExpired(command, options["timeout"], output=b"....\n")

    monkeypatch.setattr(nnaccel.bench.gpu.subprocess, "run", run)
    assert run_tests(tmp_path) == {"exit_code": None, "output": ["....", "not done after 240 s"]}


def test_cases_have_names_of_their_own():
    assert len({case.name for case in GPU_CASES}) == len(GPU_CASES)
    assert {case.name for case in GPU_CASES} >= {"512x2 at 128", "512x2 at 1024", "512x2 at 8192", "1024x8 at 4096"}


def test_nothing_of_the_peers_is_loaded_at_once():
    code = "import nnaccel.bench.gpu, sys; print(sorted({'torch', 'jax', 'cupy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_peers_have_names_of_their_own():
    assert len({peer.name for peer in GPU_PEERS}) == len(GPU_PEERS)


@pytest.mark.parametrize("mode", ["eager"])
def test_torch_trains_as_the_reference_does(mode):
    pytest.importorskip("torch")
    task = Task.of(SMALL)
    training = TorchGpuTraining(task, mode, device="cpu")
    training.train(nnaccel.bench.gpu.checked_work(SMALL))
    assert nnaccel.bench.gpu.Oracle(task).compare(training.parameters(), SMALL.optimizer).ok
