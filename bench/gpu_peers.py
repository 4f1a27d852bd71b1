"""The peers on an NVIDIA GPU: torch eager, compiled and as one CUDA graph a step, and JAX's scan; all in true float32.

The learning data lies on the device, and every batch is gathered there, as ours is.
"""

import importlib
import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from nnaccel.bench.cases import Case, Work
from nnaccel.bench.contender import Layers, Peer, Task, Training
from nnaccel.bench.peer_jax import JaxTraining
from nnaccel.optimizers import Adam, Optimizer

_ACTIVATIONS = {"relu": "ReLU", "sigmoid": "Sigmoid"}

_WARM_STEPS = 3
"""As torch wants before a capture."""


class TorchGpuPeer(Peer):
    """Modules, autograd and a fused optimizer, step by step in Python."""

    name = "torch"
    module = "torch"
    install = "pip install torch"
    note = "eager, fused=True in the optimizer, float32 products at the highest precision; Adam with torch's epsilon"
    mode = "eager"

    def optimizer(self, case: Case) -> Optimizer:
        """torch corrects Adam's moments, not its learning rate."""
        if isinstance(case.optimizer, Adam):
            return Adam(case.optimizer.learning_rate, correction="moments")
        return case.optimizer

    def missing(self) -> str | None:
        found = super().missing()
        if found is None and not importlib.import_module("torch").cuda.is_available():
            return "torch finds no GPU: install the build for this driver's CUDA"
        return found

    def start(self, task: Task, threads: int | None) -> "TorchGpuTraining":
        return TorchGpuTraining(task, self.mode)


class TorchGpuCompilePeer(TorchGpuPeer):
    """The same with forward pass, loss and backward pass through torch.compile and its own graphs."""

    name = "torch.compile"
    note = "as torch, the loss of a batch through torch.compile(mode='reduce-overhead')"
    mode = "compile"


class TorchGpuGraphPeer(TorchGpuPeer):
    """The whole step, from the gathering of its rows to its update, as one graph."""

    name = "torch graph"
    note = "as torch, the whole step captured by torch.cuda.graph, its row numbers copied before each replay"
    mode = "graph"


class JaxGpuPeer(Peer):
    """All steps of a sample as one `lax.scan`."""

    name = "jax"
    module = "jax"
    install = "pip install 'jax[cuda13]'"
    note = "jit of a lax.scan over all steps, jax_default_matmul_precision='highest'"

    def missing(self) -> str | None:
        found = super().missing()
        if found is None and importlib.import_module("jax").default_backend() != "gpu":
            return "jax finds no GPU: install jax[cuda13]"
        return found

    def start(self, task: Task, threads: int | None) -> JaxTraining:
        # Or it would take most of the memory for itself.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        jax: Any = importlib.import_module("jax")
        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_default_matmul_precision", "highest")
        return JaxTraining(task, jax)


GPU_PEERS: tuple[Peer, ...] = (TorchGpuPeer(), TorchGpuCompilePeer(), TorchGpuGraphPeer(), JaxGpuPeer())


class TorchGpuTraining(Training):
    """A module, an optimizer, and what makes one step with the rows whose numbers it is given."""

    def __init__(self, task: Task, mode: str, device: str = "cuda") -> None:
        torch: Any = importlib.import_module("torch")
        torch.set_float32_matmul_precision("highest")
        self.kernel, self._torch, self._task, self._device, self._mode = mode, torch, task, device, mode
        self._x = torch.from_numpy(task.rows.x).to(device)
        targets = task.rows.targets.astype(np.int64) if task.labels else task.rows.targets
        self._targets = torch.from_numpy(targets).to(device)
        self._module = _module(torch, task).to(device)
        self._optimizer = self._new_optimizer()
        self._graphs: dict[int, Callable[[Any], None]] = {}
        loss_of = self._loss
        if mode == "compile":
            torch.compiler.reset()
            loss_of = torch.compile(self._loss, mode="reduce-overhead", dynamic=False)
        self._loss_of = loss_of
        self.restart()

    def restart(self) -> None:
        torch = self._torch
        with torch.no_grad():
            for linear, arrays in zip(self._linears(), self._task.layers(), strict=True):
                linear.weight.copy_(torch.from_numpy(arrays[0].T.copy()))
                for bias in arrays[1:]:
                    linear.bias.copy_(torch.from_numpy(bias))
            # In place, since a graph knows their addresses.
            for state in self._optimizer.state.values():
                for value in state.values():
                    if torch.is_tensor(value):
                        value.zero_()

    def train(self, work: Work) -> None:
        order = self._torch.from_numpy(work.order.astype(np.int64)).to(self._device)
        for start, stop in pairwise(work.bounds.tolist()):
            rows = order[start:stop]
            if self._mode == "graph":
                self._graph(stop - start)(rows)
            else:
                self._step(rows)
        if self._device == "cuda":
            self._torch.cuda.synchronize()

    def parameters(self) -> np.ndarray:
        found: Layers = []
        for linear in self._linears():
            weight = linear.weight.detach().cpu().numpy().T
            found.append((weight,) if linear.bias is None else (weight, linear.bias.detach().cpu().numpy()))
        return self._task.pack(found)

    def _loss(self, x: Any, targets: Any) -> Any:
        return _losses(self._torch)[self._task.case.loss](self._module(x), targets)

    def _step(self, rows: Any) -> None:
        if self._mode == "compile":
            self._torch.compiler.cudagraph_mark_step_begin()
        self._optimizer.zero_grad(set_to_none=self._mode != "graph")
        self._loss_of(self._x.index_select(0, rows), self._targets.index_select(0, rows)).backward()
        self._optimizer.step()

    def _graph(self, length: int) -> Callable[[Any], None]:
        """The function that replays a step with so many rows; capturing one restarts the training, before its first step."""
        if length not in self._graphs:
            torch = self._torch
            rows = torch.zeros(length, dtype=torch.int64, device=self._device)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_STEPS):
                    self._step(rows)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step(rows)
            self.restart()

            def replay(numbers: Any) -> None:
                rows.copy_(numbers)
                graph.replay()

            self._graphs[length] = replay
        return self._graphs[length]

    def _new_optimizer(self) -> Any:
        torch, optimizer = self._torch, self._task.case.optimizer
        parameters, rate = self._module.parameters(), optimizer.learning_rate
        if optimizer.name == "adam":
            return torch.optim.Adam(parameters, lr=rate, fused=True, capturable=self._mode == "graph")
        return torch.optim.SGD(parameters, lr=rate, fused=True)

    def _linears(self) -> list[Any]:
        return [part for part in self._module if isinstance(part, self._torch.nn.Linear)]


def _module(torch: Any, task: Task) -> Any:
    case, parts = task.case, []
    widths = (case.features, *case.hidden, case.outputs)
    activations = [case.activation] * len(case.hidden) + [case.output_activation]
    for (inputs, outputs), activation in zip(pairwise(widths), activations, strict=True):
        parts.append(torch.nn.Linear(inputs, outputs, bias=case.bias, dtype=getattr(torch, case.dtype)))
        if activation != "identity":
            parts.append(getattr(torch.nn, _ACTIVATIONS[activation])())
    return torch.nn.Sequential(*parts)


def _losses(torch: Any) -> dict[str, Any]:
    return {
        "softmax_cross_entropy": torch.nn.functional.cross_entropy,
        "mean_squared_error": torch.nn.functional.mse_loss,
        "sum_of_squares": lambda outputs, targets: ((outputs - targets) ** 2).sum(),
    }
