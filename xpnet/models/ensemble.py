"""Several networks that answer together."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

from xpnet.arrays import Array
from xpnet.errors import ArgumentError
from xpnet.layers.loss import ignored_by, main_loss, predicted
from xpnet.models.accuracy import check_one_output, share_correct
from xpnet.models.network import Network


class Ensemble:
    """The mean of several networks' probabilities (section 6.4.3).

        p(k | x) = (1 / M) sum over the M networks of p_m(k | x),    p_m = softmax(scores of m)

    or, with `SigmoidWithLoss`, their sigmoid.

    Networks that were trained apart err apart, and the mean evens that out. Its cross-entropy is at
    most the mean of theirs, since -log is convex; its accuracy most often is higher, too.

    Parameters
    ----------
    networks : on one device, of one dtype; a sample may be flat for some and an image for others,
        as long as it holds the same number of values

    Raises
    ------
    ArgumentError
        There is no network, or they differ in device, dtype, samples or outputs.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        found = list(networks) if isinstance(networks, Iterable) else [networks]
        if not found:
            raise ArgumentError("an ensemble needs at least one network, got none")
        for network in found:
            if not isinstance(network, Network):
                raise ArgumentError(f"an ensemble is of networks, got {network!r:.100}")
            check_one_output(_outputs(network), "an ensemble is of networks with one")
        self.networks = found
        first, *others = map(_traits, self.networks)
        for number, traits in enumerate(others, start=2):
            for name, value in traits.items():
                if value != first[name]:
                    raise ArgumentError(
                        f"the networks of an ensemble must agree in their {name}, "
                        f"got {first[name]} and, in network {number}, {value}"
                    )
        self.device, self.dtype = self.networks[0].device, self.networks[0].dtype

    def __repr__(self) -> str:
        return f"Ensemble({self.networks})"

    def probabilities(self, x: Array) -> Array:
        """The mean of the networks' probabilities: (N, K)."""
        x = self.device.asarray(x)
        total = sum(network.probabilities(x) for network in self.networks)
        return total / len(self.networks)

    def predict(self, x: Array) -> Array:
        """The same as `probabilities`: unlike those of one network, scores have no useful mean."""
        return self.probabilities(x)

    def accuracy(self, x: Array, t: Array, batch_size: int | None = None) -> float:
        """Share of samples whose highest probability is at the target, `batch_size` at a time."""
        ignore = ignored_by(main_loss(self.networks[0].last_layer))
        return share_correct(self.predict, x, t, self.device, batch_size, ignore)


def _outputs(network: Network) -> Any:
    """The shape of what a network predicts."""
    return predicted(network.last_layer, network.output_shape)


def _traits(network: Network) -> dict[str, str | int]:
    """List what the networks of an ensemble have in common."""
    return {
        "device": network.device.name,
        "dtype": network.dtype,
        "values of a sample": prod(network.input_shape),
        "number of classes": prod(_outputs(network)),
    }
