"""Neural networks trained as fast as the machine at hand allows, on a backend of your choice.

Names are imported when they are first used, so that `import nnaccel` itself loads nothing heavy.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnaccel.version import VERSION as __version__

if TYPE_CHECKING:
    from nnaccel.activations import ELU as ELU
    from nnaccel.activations import GELU as GELU
    from nnaccel.activations import SELU as SELU
    from nnaccel.activations import Identity as Identity
    from nnaccel.activations import LeakyReLU as LeakyReLU
    from nnaccel.activations import ReLU as ReLU
    from nnaccel.activations import Sigmoid as Sigmoid
    from nnaccel.activations import SiLU as SiLU
    from nnaccel.activations import Softplus as Softplus
    from nnaccel.activations import Tanh as Tanh
    from nnaccel.backends import backend_names as backend_names
    from nnaccel.backends import get_backend as get_backend
    from nnaccel.checkpoint import CheckpointWarning as CheckpointWarning
    from nnaccel.errors import BackendUnavailable as BackendUnavailable
    from nnaccel.errors import InputError as InputError
    from nnaccel.estimation import Estimate as Estimate
    from nnaccel.estimation import estimate as estimate
    from nnaccel.estimators import MLPClassifier as MLPClassifier
    from nnaccel.estimators import MLPRegressor as MLPRegressor
    from nnaccel.interruption import TrainingInterrupted as TrainingInterrupted
    from nnaccel.loop import TrainingDiverged as TrainingDiverged
    from nnaccel.losses import BinaryCrossEntropy as BinaryCrossEntropy
    from nnaccel.losses import HalfSquaredError as HalfSquaredError
    from nnaccel.losses import Huber as Huber
    from nnaccel.losses import MeanAbsoluteError as MeanAbsoluteError
    from nnaccel.losses import MeanSquaredError as MeanSquaredError
    from nnaccel.losses import Poisson as Poisson
    from nnaccel.losses import SoftmaxCrossEntropy as SoftmaxCrossEntropy
    from nnaccel.losses import SumOfSquares as SumOfSquares
    from nnaccel.metrics import Metric as Metric
    from nnaccel.model import Model as Model
    from nnaccel.model import load as load
    from nnaccel.network import Dense as Dense
    from nnaccel.network import Network as Network
    from nnaccel.optimizers import L2 as L2
    from nnaccel.optimizers import SGD as SGD
    from nnaccel.optimizers import Adam as Adam
    from nnaccel.optimizers import AdamW as AdamW
    from nnaccel.order import BlockShuffled as BlockShuffled
    from nnaccel.order import Sequential as Sequential
    from nnaccel.order import Shuffled as Shuffled
    from nnaccel.recipe import EarlyStopping as EarlyStopping
    from nnaccel.report import History as History
    from nnaccel.report import TrainingReport as TrainingReport
    from nnaccel.schedules import Constant as Constant
    from nnaccel.schedules import Cosine as Cosine
    from nnaccel.schedules import InverseScaling as InverseScaling
    from nnaccel.schedules import OneCycle as OneCycle
    from nnaccel.schedules import Plateau as Plateau
    from nnaccel.schedules import StepDecay as StepDecay
    from nnaccel.training import train as train

# Where each public name lives; type checkers read the same from the imports above.
_ROOMS = {
    "activations": ["ELU", "GELU", "SELU", "Identity", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softplus", "Tanh"],
    "backends": ["backend_names", "get_backend"],
    "checkpoint": ["CheckpointWarning"],
    "errors": ["BackendUnavailable", "InputError"],
    "estimation": ["Estimate", "estimate"],
    "estimators": ["MLPClassifier", "MLPRegressor"],
    "interruption": ["TrainingInterrupted"],
    "loop": ["TrainingDiverged"],
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
    "model": ["Model", "load"],
    "network": ["Dense", "Network"],
    "optimizers": ["L2", "SGD", "Adam", "AdamW"],
    "order": ["BlockShuffled", "Sequential", "Shuffled"],
    "recipe": ["EarlyStopping"],
    "report": ["History", "TrainingReport"],
    "schedules": ["Constant", "Cosine", "InverseScaling", "OneCycle", "Plateau", "StepDecay"],
    "training": ["train"],
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
