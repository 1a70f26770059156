"""Networks that are nothing but their layers."""

from xpnet.errors import ArgumentError
from xpnet.layers.base import has_own_forward
from xpnet.models.network import Network


def own_computation(network: Network) -> str | None:
    """Say what computes otherwise than the classes of the layers do; None if nothing does."""
    if (name := network.changed_method()) is not None:
        return f"{type(network).__name__} has a {name} of its own"
    for node in network.nodes():
        if has_own_forward(node.layer):
            return f"{node.name}, {type(node.layer).__name__}, has a forward of its own"
    return None


def check_plain(network: Network) -> None:
    """Refuse a network of which another is to be made, layer by layer, that is more than these.

    Raises
    ------
    ArgumentError
        It computes otherwise than its layers do.
    """
    if (problem := own_computation(network)) is not None:
        raise ArgumentError(
            f"{problem}, and would be another network without it; give one of layers alone"
        )
