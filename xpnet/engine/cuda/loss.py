"""The losses that a network ends in: one for its output, or one for each of its heads."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cuda.chain import Below, Chain
from xpnet.engine.cuda.driver import Argument
from xpnet.engine.cuda.function import (
    POINTWISE,
    Call,
    Function,
    Parameter,
    Parameters,
    blocks,
    counts,
    reads,
    writes,
)
from xpnet.engine.cuda.kernel import Kernel, counter_of
from xpnet.layers import (
    Dropout,
    HeadsWithLoss,
    IdentityWithLoss,
    Loss,
    SigmoidWithLoss,
    SoftmaxWithLoss,
)
from xpnet.models.network import Network

COSTS: dict[type[Loss], str] = {
    IdentityWithLoss: "SquaredError",
    SigmoidWithLoss: "SigmoidCrossEntropy",
}
"""Losses that are sums over scores, by what they are called in loss.cuh."""

TARGETS = {"labels": ("Labels", "int"), "rows": ("Rows", "real")}
"""Forms of targets: what reads them in loss.cuh, and numbers of which type."""


def loss_obstacle(loss: Loss) -> str | None:
    """Say why there is no kernel for a loss; None if there is."""
    losses = list(loss.losses.values()) if type(loss) is HeadsWithLoss else [loss]
    for each in losses:
        if type(each) not in (SoftmaxWithLoss, *COSTS):
            return f"there is no kernel for {type(each).__name__}"
    return None


class Outcome(NamedTuple):
    """The arrays that a loss reads and writes; a `function.Place`.

    Attributes
    ----------
    z, dz : scores, and the gradient by what comes before the last chain
    t : targets, labels or rows
    losses : of every sample
    calls : as in `kernel.Arrays`
    """

    n: int
    real: type[np.generic]
    z: Array
    dz: Argument
    t: Array
    losses: Array
    calls: Callable[[Dropout], Array] = counter_of


class HeadLoss:
    """The loss of one output, and its weight among others.

    Attributes
    ----------
    head : the name of the output; "" if there is but one
    source : what puts it out
    """

    def __init__(self, name: str, head: str, source: Kernel, loss: Loss, weight: float) -> None:
        self.name, self.head, self.source = name, head, source
        self.loss, self.weight = loss, weight
        self.classes = prod(source.output_shape)

    def function(self, targets: str) -> Function:
        """The kernel for labels or for rows of targets."""
        kind, number = TARGETS[targets]
        source = self.source
        below = Below(source.chain if source.reader_takes_slope else Chain())
        parameters: Parameters = (*reads("z"), *reads("t", kind=number), *writes("losses"))
        parameters += (*writes("dz"), *counts(samples=lambda a: a.n))
        parameters += (Parameter("real", "weight", self.weight),)
        more, of = "", f"{self.classes}"
        if isinstance(self.loss, SoftmaxWithLoss):
            parameters += (Parameter("real", "smoothing", self.loss.smoothing),)
            made, more = f"softmax_loss<{of}", "smoothing, "
        else:
            made = f"summed_loss<{of}, {COSTS[type(self.loss)]}"
        return Function(
            f"{self.name}_of_{targets}",
            POINTWISE,
            parameters + below.parameters,
            f"{made}>(z, {kind}<{of}>{{t}}, losses, dz, samples, weight, {more}{below.value});",
        )

    def functions(self) -> list[Function]:
        """The kernels for every form of targets."""
        return [self.function(targets) for targets in TARGETS]

    def call(self, targets: str, outcome: Outcome) -> Call:
        """A thread a sample."""
        return self.function(targets).call(outcome, blocks(outcome.n))


def losses_of(
    network: Network, outputs: int | Mapping[str, int], kernels: Sequence[Kernel]
) -> list[HeadLoss]:
    """The loss of each output, in the order in which they are added.

    None if the network's loss is for other outputs: it can be computed with all the same, but for
    its loss, of which `check_outputs` tells.
    """
    loss = network.last_layer
    if not isinstance(outputs, Mapping):
        if isinstance(loss, HeadsWithLoss):
            return []
        return [HeadLoss("loss", "", kernels[outputs], loss, 1.0)]
    if not isinstance(loss, HeadsWithLoss) or loss.losses.keys() != outputs.keys():
        return []
    return [
        HeadLoss(f"loss{k}", head, kernels[outputs[head]], each, loss.weights[head])
        for k, (head, each) in enumerate(loss.losses.items(), start=1)
    ]
