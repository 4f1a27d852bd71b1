"""What a kernel is told: a job, the layers of the network and the rows of the caller, as records in memory.

Addresses are those of the first byte, offsets and strides count elements. Nothing here imports numba, so that a job can be
written where kernels come from the cache.
"""

import numpy as np

LINE = 128
"""Bytes between what different threads write: two cache lines, since processors fetch them in pairs."""

ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus")
"""Activations by number."""

LOSSES = (
    "sum_of_squares", "mean_squared_error", "half_squared_error", "mean_absolute_error", "huber",
    "binary_cross_entropy", "softmax_cross_entropy", "poisson",
)  # fmt: skip
"""Losses by number."""

RULES = ("sgd", "momentum", "nesterov", "adam_rate", "adam_moments")
"""Optimizers by number: SGD without a velocity and with one, and Adam with either correction of its bias."""

ROW_KINDS = ("float32", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
"""What the caller's rows may consist of, by number."""

SOURCE = np.dtype(
    [
        ("address", np.int64),
        ("kind", np.int64),
        ("columns", np.int64),
        ("row_bytes", np.int64),
        ("stride", np.int64),
        ("contiguous", np.int64),
        ("ahead_bytes", np.int64),
    ],
    align=True,
)
"""The caller's rows: what they consist of, by its number in `ROW_KINDS`; bytes from row to row, elements from column to
column, whether those follow each other, and how many bytes of each row to ask for before its batch begins."""

LAYER = np.dtype(
    [
        ("number", np.int64),
        ("inputs", np.int64),
        ("outputs", np.int64),
        # By its number in `ACTIVATIONS`, with its one number, if it has one.
        ("activation", np.int64),
        ("parameter", np.float64),
        ("dropout", np.float64),
        # Into the parameters: the weights, and the biases, -1 for none.
        ("weight", np.int64),
        ("bias", np.int64),
        # Into the transposed weights; -1 for the first layer, which passes no gradient on, and for a single output.
        ("transposed", np.int64),
        # Into the activations: what comes in, what the derivative takes, what goes out, and the gradient of the sums. The
        # second and the third may be the same.
        ("input", np.int64),
        ("saved", np.int64),
        ("output", np.int64),
        ("delta", np.int64),
        # Whether `saved` is a copy of the outputs before dropout, rather than the sums.
        ("saves_output", np.int64),
    ],
    align=True,
)
"""A layer, and where its numbers lie."""

RULE = np.dtype(
    [
        # What doesn't change during a training; only Adam reads more than the kind.
        ("kind", np.int64),
        ("beta_1", np.float64),
        ("beta_2", np.float64),
        ("log_beta_1", np.float64),
        ("log_beta_2", np.float64),
        ("epsilon", np.float64),
        # What the kernel sets for each step.
        ("rate", np.float64),
        ("momentum", np.float64),
        ("decay", np.float64),
        ("floor", np.float64),
    ],
    align=True,
)
"""An optimizer, by its number in `RULES`, and the numbers of one step, in the precision in which they are computed."""

TRAIN, GRADIENT, APPLY, EVALUATE, PREDICT, NOTHING = range(6)
"""What a job may be; see the functions of `epoch`."""

JOB = np.dtype(
    [
        ("mode", np.int64),
        # The number of threads, and where they wait for each other: a line to begin with, and one for each.
        ("threads", np.int64),
        ("flags", np.int64),
        ("layers", np.int64),
        ("layer_count", np.int64),
        # Rows that the activations have room for; after how many a batch goes in parts, and from how many on in halves.
        ("capacity", np.int64),
        ("part_rows", np.int64),
        ("rows_to_halve", np.int64),
        # The data.
        ("source", np.int64),
        ("targets", np.int64),
        ("weights", np.int64),
        # The work: row numbers, where each batch begins, the numbers of each step, and what is to be told of it.
        ("order", np.int64),
        ("bounds", np.int64),
        ("steps", np.int64),
        ("step_count", np.int64),
        ("log", np.int64),
        ("predictions", np.int64),
        ("first_row", np.int64),
        ("dropout", np.float64),
        # The state.
        ("parameters", np.int64),
        ("transposed", np.int64),
        ("slot_1", np.int64),
        ("slot_2", np.int64),
        ("gradient", np.int64),
        ("gradient_size", np.int64),
        ("count", np.int64),
        ("seed", np.int64),
        # The plan.
        ("loss", np.int64),
        ("loss_parameter", np.float64),
        # The values of cross-entropies are those of probabilities clipped to within so much of 0 and 1, if that isn't 0.
        ("clip", np.float64),
        ("divides", np.int64),
        ("l2", np.float64),
        ("l2_by_row", np.int64),
        ("clip_norm", np.float64),
        ("rules", np.int64),
        # Whether weights decay, as AdamW has it.
        ("decays", np.int64),
        # Room to work in: blocks of weights as (layer, first input, first output), the number of each thread's first block,
        # two sums for each block, the losses of rows, a panel's row of zeros, and some memory for each thread.
        ("blocks", np.int64),
        ("block_count", np.int64),
        ("first_blocks", np.int64),
        ("block_sums", np.int64),
        ("row_losses", np.int64),
        ("activations", np.int64),
        ("zeros", np.int64),
        ("scratch", np.int64),
        ("scratch_size", np.int64),
    ],
    align=True,
)
"""All that a kernel needs."""


def scratch_size(panel: int, outputs: int) -> int:
    """How many elements of memory a thread needs for itself, where a full panel has so many columns.

    The gradient of a block of weights and of as many biases; or a group of rows, with their targets.
    """
    return max(panel * (panel + 1), 2 * panel * (1 + outputs)) + panel
