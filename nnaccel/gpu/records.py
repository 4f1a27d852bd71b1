"""The records that kernels read from memory, as NumPy's dtypes: the same as the structs in `kernels/*.cu`, which explain them."""

import numpy as np

from nnaccel.kernels.job import LOSSES, RULES
from nnaccel.losses import Loss
from nnaccel.optimizers import Adam
from nnaccel.plan import Plan

SLICE = np.dtype(
    [
        ("step", np.int32),
        ("finished", np.int32),
        ("dropping", np.int32),
        ("unused", np.int32),
        ("bounds", np.int64),
        ("order", np.int64),
        ("numbers", np.int64),
        ("masks", np.int64),
        ("log", np.int64),
    ]
)

STEP_NUMBERS = np.dtype([(name, np.float64) for name in ("rate", "momentum", "decay", "floor")])

MASK_NUMBERS = np.dtype([(name, np.uint32) for name in ("key_0", "key_1", "threshold", "unused")])

LOSS = np.dtype([("kind", np.int32), ("unused", np.int32), ("parameter", np.float64), ("clip", np.float64)])

RULE = np.dtype(
    [
        ("kind", np.int32),
        ("divides", np.int32),
        ("l2_by_row", np.int32),
        ("decays", np.int32),
        ("beta_1", np.float64),
        ("beta_2", np.float64),
        ("l2", np.float64),
        ("clip_norm", np.float64),
    ]
)


def loss_record(loss: Loss, dtype: str) -> np.ndarray:
    """A loss for the kernels."""
    record = np.zeros((), LOSS)
    record["kind"] = LOSSES.index(loss.name)
    record["parameter"] = getattr(loss, "delta" if loss.name == "huber" else "label_smoothing", 0.0)
    record["clip"] = float(np.finfo(dtype).eps) if getattr(loss, "clip", False) else 0.0
    return record


def rule_record(plan: Plan) -> np.ndarray:
    """An optimizer for the kernels, with the penalty and the largest norm."""
    optimizer, record = plan.optimizer, np.zeros((), RULE)
    record["kind"] = RULES.index(rule_name(plan))
    if isinstance(optimizer, Adam):
        record["beta_1"], record["beta_2"] = optimizer.beta_1, optimizer.beta_2
    record["divides"], record["decays"] = plan.loss.divides_by_weights, optimizer.name == "adamw"
    record["l2"], record["l2_by_row"] = plan.l2.strength, plan.l2.scaling == "row"
    record["clip_norm"] = plan.clip_norm or 0.0
    return record


def rule_name(plan: Plan) -> str:
    """Which of `RULES` an optimizer is."""
    optimizer = plan.optimizer
    if isinstance(optimizer, Adam):
        return f"adam_{optimizer.correction}"
    return "sgd" if not optimizer.slots else "nesterov" if getattr(optimizer, "nesterov", False) else "momentum"
