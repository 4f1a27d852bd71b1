"""PyTorch on the CPU, eager and compiled: the usual loop, with its fused optimizers."""

import importlib
from itertools import pairwise
from typing import Any

import numpy as np

from nnaccel.bench.cases import Case, Work
from nnaccel.bench.contender import Layers, Peer, Task, Training
from nnaccel.optimizers import Adam, Optimizer

_ACTIVATIONS = {"relu": "ReLU", "sigmoid": "Sigmoid"}
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}


class TorchPeer(Peer):
    """Modules, autograd and an optimizer, step by step in Python."""

    name = module = "torch"
    install = "pip install torch"
    note = "nn.Linear, autograd, index_select for the batch, fused=True in the optimizer; Adam with torch's epsilon"
    compiled = False

    def optimizer(self, case: Case) -> Optimizer:
        """torch corrects Adam's moments, not its learning rate."""
        if isinstance(case.optimizer, Adam):
            return Adam(case.optimizer.learning_rate, correction="moments")
        return case.optimizer

    def start(self, task: Task, threads: int | None) -> "TorchTraining":
        return TorchTraining(task, threads, self.compiled)


class TorchCompilePeer(TorchPeer):
    """The same with forward pass, loss and backward pass through torch.compile."""

    name = "torch.compile"
    note = "as torch, the loss of a batch as a function of its rows through torch.compile; needs a C++ compiler"
    compiled = True


class TorchTraining(Training):
    """A module, an optimizer, and the function that turns a batch into its loss."""

    def __init__(self, task: Task, threads: int | None, compiled: bool) -> None:
        torch: Any = importlib.import_module("torch")
        if threads is not None:
            torch.set_num_threads(threads)
        self.kernel = "torch.compile" if compiled else "eager"
        self._torch = torch
        self._task = task
        self._x = torch.from_numpy(task.rows.x)
        self._targets = torch.from_numpy(task.rows.targets.astype(np.int64) if task.labels else task.rows.targets)
        self._module = _module(torch, task)
        module, loss = self._module, _losses(torch)[task.case.loss]

        def loss_of(x: Any, targets: Any) -> Any:
            return loss(module(x), targets)

        if compiled:
            # What was compiled for other networks counts against a limit, beyond which torch runs eagerly in silence.
            torch.compiler.reset()
        self._loss_of = torch.compile(loss_of, dynamic=False) if compiled else loss_of
        self.restart()

    def restart(self) -> None:
        torch, optimizer = self._torch, self._task.case.optimizer
        with torch.no_grad():
            for linear, arrays in zip(self._linears(), self._task.layers(), strict=True):
                linear.weight.copy_(torch.from_numpy(arrays[0].T.copy()))
                for bias in arrays[1:]:
                    linear.bias.copy_(torch.from_numpy(bias))
        kind = getattr(torch.optim, _OPTIMIZERS[optimizer.name])
        self._optimizer = kind(self._module.parameters(), lr=optimizer.learning_rate, fused=True)

    def train(self, work: Work) -> None:
        x, targets, optimizer, loss_of = self._x, self._targets, self._optimizer, self._loss_of
        order = self._torch.from_numpy(work.order.astype(np.int64))
        for start, stop in pairwise(work.bounds.tolist()):
            rows = order[start:stop]
            optimizer.zero_grad()
            loss_of(x.index_select(0, rows), targets.index_select(0, rows)).backward()
            optimizer.step()

    def parameters(self) -> np.ndarray:
        found: Layers = []
        for linear in self._linears():
            weight = linear.weight.detach().numpy().T
            found.append((weight,) if linear.bias is None else (weight, linear.bias.detach().numpy()))
        return self._task.pack(found)

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
