"""The networks and batches that no engine can run."""

from xpnet.errors import ArgumentError
from xpnet.layers import MaxPool
from xpnet.models.network import Network
from xpnet.models.plain import own_computation


def obstacle_of(network: Network) -> str | None:
    """Say why a network cannot be compiled; None if it can."""
    if network.dtype not in ("float32", "float64"):
        return f"its numbers are {network.dtype}"
    if (problem := own_computation(network)) is not None:  # which no kernel would ask
        return problem
    if not network.params:
        return "it has no parameters"
    nodes = network.nodes()
    if any(isinstance(node.layer, MaxPool) and node.layer.ties == "all" for node in nodes):
        return "rounding would part the ties that MaxPool counts"
    shapes = [network.input_shape, *(node.output_shape for node in nodes)]
    if any(len(shape) not in (1, 3) for shape in shapes):
        return "a layer takes or gives neither rows nor images"
    return None


def check_counts(samples: int, targets: int) -> None:
    """Refuse an empty batch, and one without a target for each sample."""
    if samples == 0 or targets != samples:
        raise ArgumentError(
            f"at least one sample and one target for each are needed, got {samples} and {targets}"
        )
