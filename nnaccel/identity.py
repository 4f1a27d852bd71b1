"""What makes a training the one that it is: all that must be the same for another sitting to go on where the last one ended.

Not the epochs, the time limit, the backend, the threads, callbacks or reports: these may change from sitting to sitting.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import is_dataclass

import numpy as np

from nnaccel.order import Order
from nnaccel.plan import Plan
from nnaccel.program import Rows
from nnaccel.recipe import EarlyStopping, Recipe

_BLOCK_BYTES = 1 << 24
_NONE = "none"
_DATA = "data: "
"""Before this come the names of digests, which tell nobody anything."""

HeldOut = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def identity_of(
    plan: Plan,
    recipe: Recipe,
    seed: int,
    rows: Rows,
    training_rows: np.ndarray,
    held_out: HeldOut | None,
    parameters: np.ndarray | None,
) -> dict[str, str]:
    """A training's identity: by name, as text, settings before data. Of data it has digests.

    Parameters
    ----------
    plan : Plan
    recipe : Recipe
    seed : int
    rows : Rows
    training_rows : int32 array (n,)
        The numbers of those to train on.
    held_out : (array, array, array or None), optional
        Features, targets and weights of the validation set.
    parameters : array (size,), optional
        Those to begin with, if they aren't the seed's.
    """
    stopping = recipe.early_stopping
    settings = {
        **_network(plan),
        "loss": str(plan.loss),
        "optimizer": str(plan.optimizer),
        "L2 penalty": str(plan.l2),
        "clipping norm": _NONE if plan.clip_norm is None else repr(plan.clip_norm),
        "dtype": plan.dtype,
        "schedule": str(recipe.schedule),
        "batch size": str(recipe.batch_size),
        "seed": str(int(seed)),
        "order of rows": _order(recipe.order, training_rows),
        "metrics": ", ".join(metric.name for metric in recipe.metrics) or _NONE,
        "early stopping": _NONE if stopping is None else _stopping(stopping),
        "number of training rows": str(len(training_rows)),
        "number of rows held out": str(0 if held_out is None else len(held_out[0])),
    }
    return settings | {
        f"{_DATA}features": digest(rows.x),
        f"{_DATA}targets": digest(rows.targets),
        f"{_DATA}weights": digest(rows.weights),
        f"{_DATA}rows to train on": digest(training_rows),
        f"{_DATA}validation set": _NONE if held_out is None else " ".join(map(digest, held_out)),
        f"{_DATA}initial parameters": digest(parameters),
    }


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first difference between two identities, in a few words; None if there is none.

    Examples
    --------
    >>> difference({"seed": "0", "loss": "huber"}, {"seed": "1", "loss": "huber"})
    'seed: then 0, now 1'
    >>> difference({f"{_DATA}targets": "5ac8"}, {f"{_DATA}targets": "91d0"})
    'other data: targets'
    """
    for name in dict.fromkeys([*now, *before]):
        was, wanted = before.get(name, _NONE), now.get(name, _NONE)
        if was != wanted:
            return f"other {name}" if name.startswith(_DATA) else f"{name}: then {was}, now {wanted}"
    return None


def digest(array: np.ndarray | None) -> str:
    """A short text that hardly another array has; what is read of a file is read block by block.

    Examples
    --------
    >>> digest(np.arange(3.0)) == digest(np.arange(6.0)[:3]), digest(np.arange(3.0)) == digest(np.arange(3))
    (True, False)
    """
    if array is None:
        return _NONE
    total = hashlib.blake2b(f"{array.dtype.str} {array.shape}".encode(), digest_size=16)
    row_bytes = max(1, array.nbytes // max(1, len(array)))
    block = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(array), block):
        part = np.ascontiguousarray(array[start : start + block])
        total.update(part.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _network(plan: Plan) -> dict[str, str]:
    network = plan.network
    found = {"number of features": str(network.input_shape), "number of layers": str(len(network.layers))}
    if len(network.input_shape) == 1:
        found["number of features"] = str(network.input_shape[0])
    for number, layer in enumerate(network.layers, start=1):
        for name, value in layer.describe().items():
            found[f"{name} of layer {number}"] = str(value)
    return found


def _stopping(stopping: EarlyStopping) -> str:
    return f"by {stopping.metric} with a patience of {stopping.patience} and a tolerance of {stopping.tolerance!r}"


def _order(order: Order, rows: np.ndarray) -> str:
    """An order as text; of one that says nothing of itself, what it makes of the first epoch."""
    return repr(order) if is_dataclass(order) else f"{type(order).__name__} {digest(order.epoch(0, rows))}"
