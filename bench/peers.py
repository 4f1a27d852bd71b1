"""The peers: what else trains the same networks on a CPU. To add one, write a `Peer` and name it here."""

from typing import NamedTuple

from nnaccel.bench.contender import Peer
from nnaccel.bench.peer_jax import JaxPeer
from nnaccel.bench.peer_numpy import NumpyPeer
from nnaccel.bench.peer_sklearn import SklearnPeer
from nnaccel.bench.peer_torch import TorchCompilePeer, TorchPeer

PEERS: dict[str, Peer] = {
    peer.name: peer for peer in (NumpyPeer(), SklearnPeer(), TorchPeer(), TorchCompilePeer(), JaxPeer())
}
"""All peers by name; none of their libraries is imported before a peer starts."""


class Skipped(NamedTuple):
    """A peer that can't take part, and why."""

    name: str
    reason: str


def installed_peers() -> tuple[list[Peer], list[Skipped]]:
    """The peers that can take part here, and those that aren't installed.

    Examples
    --------
    >>> found, skipped = installed_peers()
    >>> "numpy" in [peer.name for peer in found]
    True
    """
    reasons = {name: peer.missing() for name, peer in PEERS.items()}
    found = [PEERS[name] for name, reason in reasons.items() if reason is None]
    return found, [Skipped(name, reason) for name, reason in reasons.items() if reason is not None]
