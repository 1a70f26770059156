"""The losses that a network ends in: one for its output, or one for each of its heads."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cuda.chain import Below, Chain
from xpnet.engine.cuda.driver import NULL, Argument
from xpnet.engine.cuda.function import (
    POINTWISE,
    Call,
    Function,
    Parameter,
    Parameters,
    blocks,
    boolean,
    counts,
    reads,
    writes,
)
from xpnet.engine.cuda.kernel import Kernel, counter_of
from xpnet.functions.losses import check_weights
from xpnet.layers import (
    Dropout,
    HeadsWithLoss,
    IdentityWithLoss,
    Loss,
    SigmoidWithLoss,
    SoftmaxWithLoss,
)
from xpnet.layers.loss import ignored_by
from xpnet.models.network import Network

COSTS: dict[type[Loss], str] = {
    IdentityWithLoss: "SquaredError",
    SigmoidWithLoss: "SigmoidCrossEntropy",
}
"""Losses that are sums over scores, by what they are called in loss.cuh."""

TARGETS = {"labels": ("Labels", "int"), "rows": ("Rows", "real")}
"""Forms of targets: what reads them in loss.cuh, and numbers of which type."""

COUNTING = 64
"""Blocks that count what labels weigh, each of which leaves a number."""


def loss_obstacle(loss: Loss, outputs: Any) -> str | None:
    """Say why there is no kernel for a loss; None if there is.

    Parameters
    ----------
    outputs : the shape of a sample's output, or shapes by name
    """
    several = loss.losses if type(loss) is HeadsWithLoss else {"": loss}
    for each in several.values():
        if type(each) not in (SoftmaxWithLoss, *COSTS):
            return f"there is no kernel for {type(each).__name__}"
    for name, shape in (outputs if isinstance(outputs, Mapping) else {"": outputs}).items():
        # Outputs that the loss is not for have gradients from elsewhere.
        if len(shape) > 1 and name in several and type(several[name]) is not SoftmaxWithLoss:
            return "it puts out images"
    return None


class Outcome(NamedTuple):
    """The arrays that a loss reads and writes; a `function.Place`.

    Attributes
    ----------
    z, dz : scores, and the gradient by what comes before the last chain
    t : targets, labels or rows
    losses : of every sample
    places : of every place of their images, where there are such
    weights, counted : of the classes, and what the labels of all places count, by blocks
    calls : as in `kernel.Arrays`
    """

    n: int
    real: type[np.generic]
    z: Array
    dz: Argument
    t: Array
    losses: Array
    places: Argument = NULL
    weights: Argument = NULL
    counted: Argument = NULL
    calls: Callable[[Dropout], Array] = counter_of


class HeadLoss:
    """The loss of one output, and its weight among others.

    Attributes
    ----------
    head : the name of the output; "" if there is but one
    source : what puts it out
    classes, places : of a sample's output, places being those of an image of scores
    """

    def __init__(self, name: str, head: str, source: Kernel, loss: Loss, weight: float) -> None:
        self.name, self.head, self.source = name, head, source
        self.loss, self.weight = loss, weight
        self.classes, self.places = prod(source.output_shape), 1
        if isinstance(loss, SoftmaxWithLoss):
            self.classes, *image = source.output_shape
            self.places = prod(image)
            check_weights(loss.class_weights, self.classes)

    @property
    def ignore(self) -> int | None:
        """The label that is left out."""
        found: int | None = ignored_by(self.loss)
        return found

    def weighs(self, targets: str) -> bool:
        """Whether the places count otherwise than each the same."""
        loss = self.loss
        if not isinstance(loss, SoftmaxWithLoss):
            return False
        return loss.class_weights is not None or (targets == "labels" and loss.ignore is not None)

    def _reader(self, targets: str) -> tuple[str, Parameters]:
        """What reads targets as a value of C++, and the parameters that it is made of."""
        kind, number = TARGETS[targets]
        value, parameters = f"{kind}<{self.classes}, {self.places}>{{t}}", reads("t", kind=number)
        if targets == "labels" and self.ignore is not None:
            value = f"SomeLabels<{self.classes}, {self.places}>{{{value}, ignore}}"
            parameters += (Parameter("int", "ignore", self.ignore),)
        return value, parameters

    def function(self, targets: str) -> Function:
        """The kernel for labels or for rows of targets."""
        (reader, read), source = self._reader(targets), self.source
        below = Below(source.chain if source.reader_takes_slope else Chain())
        out = "places" if self.places > 1 else "losses"
        parameters: Parameters = (*reads("z"), *read, *writes(out))
        parameters += (*writes("dz"), *counts(samples=lambda a: a.n))
        parameters += (Parameter("real", "weight", self.weight),)
        more, of = "", f"{self.classes}"
        if isinstance(self.loss, SoftmaxWithLoss):
            parameters += (Parameter("real", "smoothing", self.loss.smoothing),)
            parameters += reads("weights", "counted")
            made = f"softmax_loss<{of}, {self.places}, {boolean(self.weighs(targets))}, {COUNTING}"
            more = "smoothing, weights, counted, "
        else:
            made = f"summed_loss<{of}, {COSTS[type(self.loss)]}"
        return Function(
            f"{self.name}_of_{targets}",
            POINTWISE,
            parameters + below.parameters,
            f"{made}>(z, {reader}, {out}, dz, samples, weight, {more}{below.value});",
        )

    def _count(self, targets: str) -> Function:
        """The kernel that finds what the labels count."""
        reader, read = self._reader(targets)
        return Function(
            f"{self.name}_counts_{targets}",
            POINTWISE,
            (*read, *reads("weights"), *writes("counted"), *counts(samples=lambda a: a.n)),
            f"count_places<{POINTWISE}>({reader}, weights, counted, samples * {self.places});",
        )

    @property
    def _add(self) -> Function:
        """The kernel that adds up the losses of the places of each sample."""
        return Function(
            f"{self.name}_of_places",
            POINTWISE,
            (*reads("places"), *writes("losses")),
            f"add_places<{POINTWISE}, {self.places}>(places, losses);",
        )

    def functions(self) -> list[Function]:
        """The kernels for every form of targets."""
        found = [self.function(targets) for targets in TARGETS]
        found += [self._count(targets) for targets in TARGETS if self.weighs(targets)]
        return found + ([self._add] if self.places > 1 else [])

    def calls(self, targets: str, outcome: Outcome) -> list[Call]:
        """A thread a place; before it what they count, behind it their sum, where it is needed."""
        grid = blocks(outcome.n * self.places)
        found = [self.function(targets).call(outcome, grid)]
        if self.weighs(targets):
            found.insert(0, self._count(targets).call(outcome, (COUNTING, 1, 1)))
        if self.places > 1:
            found.append(self._add.call(outcome, (outcome.n, 1, 1)))
        return found


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
