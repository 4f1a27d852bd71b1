"""Names for what any array library offers, so that a formula is written once for all of them."""

from types import ModuleType
from typing import Any, TypeAlias

Array: TypeAlias = Any
"""An array of whichever library `xp` is: NumPy, CuPy, array-api-strict, ..."""

Namespace: TypeAlias = ModuleType | Any
"""An array-API namespace (https://data-apis.org/array-api/latest/), called `xp` throughout."""
