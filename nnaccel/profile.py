"""Machine profiles: what `calibrate` measured of one machine, as a file that other machines can read.

A profile is JSON. It holds no host or user names, and nothing in it is ever executed; `read_profile` checks all of it.
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nnaccel.described import entry, named_entries, to_json
from nnaccel.errors import InputError, check
from nnaccel.files import check_writable, first_sentence, open_regular, reading, written_whole
from nnaccel.kernels.cache import Unusable, folder
from nnaccel.version import VERSION

FORMAT = 1
"""The number of the format. A file of a higher one was written by a newer nnaccel."""

KIND = "nnaccel machine profile"

MOST_BYTES = 1 << 20
"""A profile is far shorter; a longer file is none."""

MOST_COUNT = 1 << 62
"""No number of threads, or of bytes, is larger."""

MOST_VECTOR_BYTES = 1 << 16
"""No vector is longer: those of the longest that there are have 256 bytes."""

STORED = "profile.json"
"""The name in the cache folder of the profile of this machine."""


@dataclass(frozen=True)
class BackendProfile:
    """What was measured of one backend.

    Attributes
    ----------
    device : str
        What it ran on, for people to read.
    fused : bool
        Whether it has kernels of its own, with vectors of `vector_bytes`, or runs the reference formulas.
    vector_bytes : int
    threads : int
        The most that it used.
    setup_s : float
        From a new process to a program that is ready: imports, and loading or compiling kernels that were compiled before.
    epoch_s : float
        What an epoch takes beside its steps: stopping, looking at results, starting again.
    metric_s : float
        What a validation takes for each output of each row beside the forward pass.
    device_bytes : int
        All memory of a device of its own; 0 where it works in the machine's memory.
    transfer_bytes_per_s : float
        To the device; infinite where nothing is transferred.
    coefficients : dict of str to dict of str to float
        For each regime of `nnaccel.cost` the seconds that one of each term takes.
    ratios : tuple of (float, float)
        Between these, as parts of the projection, lay 80 % of the steps measured in calibration that weren't fitted to.
    """

    device: str
    fused: bool
    vector_bytes: int
    threads: int
    setup_s: float
    epoch_s: float
    metric_s: float
    device_bytes: int = 0
    transfer_bytes_per_s: float = math.inf
    coefficients: dict[str, dict[str, float]] = field(default_factory=dict)
    ratios: tuple[float, float] = (0.8, 1.25)

    @staticmethod
    def restore(described: Any) -> "BackendProfile":
        """The profile that was described.

        Raises
        ------
        ValueError
            If something is missing, of another type, or no number that a measurement could give.
        """
        numbers: dict[str, Any] = {name: _amount(described, name) for name in ("setup_s", "epoch_s", "metric_s")}
        numbers |= {name: _count(described, name) for name in ("vector_bytes", "threads", "device_bytes")}
        if numbers["vector_bytes"] > MOST_VECTOR_BYTES:
            raise ValueError("'vector_bytes' is more than any vector has")
        transfer = entry(described, "transfer_bytes_per_s", float)
        if transfer <= 0:
            raise ValueError("'transfer_bytes_per_s' is not above 0")
        regimes = entry(described, "coefficients", dict)
        coefficients = {name: named_entries(regimes, name, float) for name in regimes}
        if not all(0 <= value < math.inf for terms in coefficients.values() for value in terms.values()):
            raise ValueError("a coefficient is no number of 0 or more")
        low, high = (_amount(entry(described, "ratios", dict), name) for name in ("low", "high"))
        if not 0 < low <= high:
            raise ValueError("'ratios' are no interval")
        return BackendProfile(
            device=entry(described, "device", str),
            fused=entry(described, "fused", bool),
            transfer_bytes_per_s=math.inf if math.isnan(transfer) else transfer,
            coefficients=coefficients,
            ratios=(low, high),
            **numbers,
        )

    def describe(self) -> dict[str, Any]:
        """All of it, for JSON; see `restore`."""
        return asdict(self) | {"ratios": dict(zip(("low", "high"), self.ratios, strict=True))}


@dataclass(frozen=True)
class MachineProfile:
    """What was measured of one machine.

    Attributes
    ----------
    name : str
        For people to tell machines apart.
    created : str
        When, by ISO 8601.
    processor : str
    cores : float
        Those that the process may use.
    memory_bytes : int
        All that it may have; 0 where the system doesn't tell.
    drift : float
        By how much the same work took longer or shorter from one moment to another, as a part: the standard deviation.
    backends : dict of str to BackendProfile
    version : str
        Of the nnaccel that measured it.
    """

    name: str
    created: str
    processor: str
    cores: float
    memory_bytes: int
    drift: float
    backends: dict[str, BackendProfile]
    version: str = VERSION

    def describe(self) -> dict[str, Any]:
        """All of it, for JSON; see `restore`."""
        backends = {name: profile.describe() for name, profile in self.backends.items()}
        return {"kind": KIND, "format": FORMAT} | asdict(self) | {"backends": backends}

    @staticmethod
    def restore(described: Any) -> "MachineProfile":
        """The profile that was described.

        Raises
        ------
        ValueError
            If it isn't one of this format, or something is missing or of another type.
        """
        if not isinstance(described, Mapping) or described.get("kind") != KIND:
            raise ValueError("it is no machine profile: nnaccel calibrate --out FILE writes one")
        if entry(described, "format", int) != FORMAT:
            raise ValueError("another version of nnaccel wrote it: calibrate that machine anew with this one")
        backends = entry(described, "backends", dict)
        return MachineProfile(
            **{name: entry(described, name, str) for name in ("name", "created", "processor", "version")},
            cores=_amount(described, "cores"),
            memory_bytes=_count(described, "memory_bytes"),
            drift=_amount(described, "drift"),
            backends={name: BackendProfile.restore(backends[name]) for name in backends},
        )

    def summary(self) -> list[str]:
        """What it says, in lines for people."""
        lines = [f"{self.name}, measured {self.created}"]
        for name, backend in self.backends.items():
            low, high = backend.ratios
            lines.append(
                f"{name}: {backend.device}; ready after {backend.setup_s:.2f} s, {backend.epoch_s * 1e3:.3g} ms an epoch beside "
                f"its steps; {1 / high - 1:+.0%} to {1 / low - 1:+.0%} off in 8 of 10 steps that it wasn't fitted to"
            )
        return [*lines, f"the same work took {self.drift:.0%} more or less from one moment to another"]


def read_profile(path: Path) -> MachineProfile:
    """Read a profile.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged, foreign, or of another version.
    """
    with reading(path):
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
        check(len(content) <= MOST_BYTES, f"{path} is too long for a machine profile.")
        try:
            return MachineProfile.restore(json.loads(content))
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} can't be read as a machine profile: {first_sentence(error)}.") from error


def write_profile(path: Path, profile: MachineProfile) -> None:
    """Write a profile, whole or not at all.

    Raises
    ------
    InputError
        If it can't be written.
    """
    with written_whole(path) as part:
        part.write_text(to_json(profile.describe()) + "\n", encoding="utf-8")


def store_profile(profile: MachineProfile) -> Path:
    """Keep the profile of this machine for later estimates, and say where.

    Raises
    ------
    InputError
        If it can't be written.
    """
    path = place_to_store()
    write_profile(path, profile)
    _as_of.cache_clear()
    return path


def place_to_store() -> Path:
    """Where the profile of this machine is kept: a file in a folder that is there.

    Raises
    ------
    InputError
        If it can't be written.
    """
    path = _stored_at()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} can't be written: {error.strerror or error}; NNACCEL_CACHE_DIR can name another folder."
        ) from error
    check_writable(path)
    return path


def stored_profile() -> MachineProfile | None:
    """The profile of this machine, if it has been calibrated; one that can't be read counts as none."""
    try:
        path = _stored_at()
        facts = path.stat()
    except (OSError, InputError):
        return None
    return _as_of(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=1)
def _as_of(path: Path, changed_ns: int, size: int) -> MachineProfile | None:
    """The profile in a file that was last changed then: choosing a backend asks for it again and again, in any thread."""
    try:
        return read_profile(path)
    except InputError:
        return None


def _stored_at() -> Path:
    try:
        return folder() / STORED
    except Unusable as error:
        raise InputError(f"there is no place to keep a machine profile: {error}; set NNACCEL_CACHE_DIR.") from None


def _amount(described: Any, key: str) -> float:
    value = entry(described, key, float)
    if not 0 <= value < math.inf:
        raise ValueError(f"{key!r} is no number of 0 or more")
    return value


def _count(described: Any, key: str) -> int:
    value = entry(described, key, int)
    if not 0 <= value <= MOST_COUNT:
        raise ValueError(f"{key!r} is no number of 0 or more, or too large")
    return value
