"""Neural networks trained as fast as the machine at hand allows, on a backend of your choice.

Names are imported when they are first used, so that `import nnaccel` itself loads nothing heavy.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnaccel.version import VERSION as __version__

if TYPE_CHECKING:
    from nnaccel.activations import ELU as ELU

_ROOMS = {
    "activations": ["ELU", "GELU", "SELU", "Identity", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softplus", "Tanh"],
    "backends": ["backend_names", "get_backend"],
    "errors": ["BackendUnavailable", "InputError"],
    "losses": [
        "BinaryCrossEntropy",
        "HalfSquaredError",
        "Huber",
        "MeanAbsoluteError",
        "MeanSquaredError",
        "Poisson",
        "SoftmaxCrossEntropy",
        "SumOfSquares",
    ],
    "metrics": ["Metric"],
    "model": ["History", "Model", "TrainingReport"],
    "network": ["Dense", "Network"],
    "optimizers": ["L2", "SGD", "Adam", "AdamW"],
    "order": ["Sequential", "Shuffled"],
    "schedules": ["Constant", "Cosine", "InverseScaling", "OneCycle", "Plateau", "StepDecay"],
    "training": ["EarlyStopping", "TrainingDiverged", "train"],
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = ["__version__", *_ROOM_OF]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'nnaccel' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"nnaccel.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOM_OF])


# A checkout that isn't installed finds kernels/ and bench/ beside this folder, where they lie.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").exists() and (_root / "kernels").is_dir():
    __path__.append(str(_root))
