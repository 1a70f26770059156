"""A network compiled for a number of samples: fixed arrays, and what is to be done with them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cpu.between import (
    Copy,
    DropUnits,
    Pass,
    Pool2x2,
    Rectify,
    Reference,
    Wires,
    in_memory_order,
)
from xpnet.engine.cpu.convolution import PlanesGemm, ShiftGemm
from xpnet.engine.cpu.dense import Dense
from xpnet.engine.cpu.loss import MeanLoss, SoftmaxLoss
from xpnet.engine.cpu.scratch import Scratch
from xpnet.engine.cpu.winograd import Winograd
from xpnet.layers import (
    Affine,
    AveragePool,
    BatchNorm,
    Convolution,
    Dropout,
    IdentityWithLoss,
    Loss,
    MaxPool,
    Params,
    ReLU,
    Shape,
    Sigmoid,
    SigmoidWithLoss,
    SoftmaxWithLoss,
    Tanh,
)
from xpnet.models.nodes import Node

SEPARABLE = {
    Affine, AveragePool, Convolution, Dropout, MaxPool, ReLU, Sigmoid, Tanh,
    SoftmaxWithLoss, SigmoidWithLoss, IdentityWithLoss,
}  # fmt: skip
"""Layers that treat every sample by itself, and losses that are means over samples. A batch that
meets any other must stay whole; BatchNorm mixes samples in training only."""


def separable(leaves: Sequence[Node], loss: Loss, *, train: bool) -> bool:
    """Whether the parts of a batch may be computed one by one."""
    kinds: set[type] = {type(leaf.layer) for leaf in leaves}
    return kinds | {type(loss)} <= SEPARABLE if train else kinds <= SEPARABLE | {BatchNorm}


class Piece(Protocol):
    """A step of the computation."""

    method: str

    def forward(self) -> None:
        """Go on from the input."""

    def backward(self) -> None:
        """Bring the gradient back."""


class Kernel(Piece, Protocol):
    """A piece that owns its arrays; `xpnet.engine.cpu.between` explains them."""

    x: np.ndarray
    y: np.ndarray
    dy: np.ndarray
    dx: np.ndarray | None

    def prepare(self) -> None:
        """Take up the parameters as they are now."""


class PartLoss(Protocol):
    """A loss on fixed scores."""

    def __call__(self, t: np.ndarray, share: float) -> float:
        """`share` times the mean over these samples; leaves its gradient by the scores."""


class Shard:
    """Forward and backward for n samples.

    Kernels, which multiply matrices, own the arrays that they read from; what stands between them,
    such as ReLU, writes straight there. So a padded image is never copied to be padded.

    Parameters
    ----------
    leaves : the network's layers
    loss : its loss
    n : number of samples
    grads : arrays for the gradient of every parameter, under the network's names

    Attributes
    ----------
    scores : (n, K), of the last pass
    methods : how each layer is computed, in words
    """

    def __init__(
        self, leaves: Sequence[Node], loss: Loss, n: int, grads: Mapping[str, Array]
    ) -> None:
        self.n, self._leaves, self._grads = n, leaves, grads
        self._dtype = next(iter(grads.values())).dtype
        self._scratch = Scratch()
        self._compile(loss)  # this once to learn how large the shared buffers must be
        self._compile(loss)

    def _compile(self, loss: Loss) -> None:
        """Lay the pieces out, from the first layer to the last."""
        self._pass = Pass()
        self._pieces: list[Piece] = []
        self._kernels: list[Kernel] = []
        self.methods: dict[str, str] = {}
        self._learning = False  # whether there have been parameters
        self._first: int | None = None  # the piece that has the first of them
        # Where the pieces so far leave their output, and look for its gradient
        self._y: Array = None
        self._dy: Array = None
        waiting: list[Node] = []
        for leaf in self._leaves:
            kernel = self._kernel(leaf)
            if kernel is None:
                waiting.append(leaf)
                continue
            self._connect(waiting, kernel)
            waiting = []
            self._kernels.append(kernel)
            self._append([leaf], kernel)
            self._y, self._dy = kernel.y, kernel.dy
        self._connect(waiting, None)
        if type(loss) is SoftmaxWithLoss:
            self._loss: PartLoss = SoftmaxLoss(loss, self._y, self._dy)
        else:
            self._loss = MeanLoss(loss, self._y, self._dy)
        self.scores: np.ndarray = self._y

    def _kernel(self, leaf: Node) -> Kernel | None:
        """The kernel for a layer, if there is one."""
        layer, shape = leaf.layer, leaf.input_shape
        # Whether it has a dX depends on what comes before it.
        need_dx = self._learning
        self._learning = self._learning or bool(layer.params)
        arguments: Any = (layer, shape, self.n, self._grads_of(leaf), self._scratch)
        if type(layer) is Affine:
            return Dense(*arguments, need_dx=need_dx)
        if type(layer) is not Convolution:
            return None
        if PlanesGemm.fits(layer, shape) and not need_dx:
            return PlanesGemm(*arguments)
        if Winograd.fits(layer, shape):
            return Winograd(*arguments, need_dx=need_dx)
        return ShiftGemm(*arguments, need_dx=need_dx)

    def _connect(self, waiting: list[Node], kernel: Kernel | None) -> None:
        """Have the layers that have no kernel write into the next one that has, or for the loss."""
        groups = _fused(waiting)
        if self._y is None:
            self._enter(groups, kernel)
        elif not groups and kernel is not None:
            self._pieces.append(Copy(Wires(self._y, kernel.x, kernel.dx, self._dy)))
        for k, group in enumerate(groups):
            if kernel is not None and k == len(groups) - 1:
                y, dy = kernel.x, kernel.dx
            else:
                y, dy = (self._array(group[-1].output_shape) for _ in range(2))
            self._append(group, self._between(group, Wires(self._y, y, dy, self._dy)))
            self._y, self._dy = y, dy

    def _enter(self, groups: list[list[Node]], kernel: Kernel | None) -> None:
        """Where samples are copied to; rows that a product reads first stay where they are."""
        self._input: np.ndarray | Dense
        if groups:
            self._y = self._input = self._array(groups[0][0].input_shape)
        else:
            assert kernel is not None
            self._input = kernel if isinstance(kernel, Dense) else kernel.x

    def _between(self, group: list[Node], wires: Wires) -> Piece:
        """One piece for a layer, or for two that are fused."""
        layer = group[-1].layer
        if type(layer) is MaxPool and Pool2x2.fits(layer, group[-1].input_shape):
            return Pool2x2(wires, self._scratch, rectify=len(group) == 2)
        if type(layer) is ReLU:
            return Rectify(wires, self._scratch)
        if type(layer) is Dropout:
            return DropUnits(layer, wires, self._pass)
        return Reference(layer, wires, self._grads_of(group[-1]), self._pass)

    def _append(self, group: list[Node], piece: Piece) -> None:
        *fused, leaf = group
        if leaf.layer.params and self._first is None:
            self._first = len(self._pieces)
        self._pieces.append(piece)
        self.methods |= {before.name: f"in {leaf.name}" for before in fused}
        self.methods[leaf.name] = piece.method

    def _grads_of(self, leaf: Node) -> Params:
        return {key: self._grads[name] for key, name in leaf.names.items()}

    def _array(self, shape: Shape) -> np.ndarray:
        """For samples of this shape, in memory order."""
        features, *image = shape
        return np.empty((*image, self.n, features), dtype=self._dtype)

    def prepare(self) -> None:
        """Take up the parameters as they are now."""
        for kernel in self._kernels:
            kernel.prepare()

    def forward(self, x: np.ndarray, *, train: bool = False, first: int = 0) -> None:
        """Scores of x, (n, ...); `first` is the number of its first sample within its batch."""
        self._pass.train, self._pass.first = train, first
        if isinstance(self._input, Dense):
            self._input.feed(x.reshape(self.n, -1))
        else:
            np.copyto(self._input, in_memory_order(x))
        for piece in self._pieces:
            piece.forward()

    def backward(self, t: np.ndarray, share: float) -> float:
        """`share` times the mean loss of these samples; leaves its gradient."""
        loss = self._loss(t, share)
        for piece in reversed(self._pieces[self._first :]):
            piece.backward()
        return loss


def _fused(leaves: list[Node]) -> list[list[Node]]:
    """Layers in groups, each to become one piece: ReLU goes with the pool behind it."""
    groups: list[list[Node]] = []
    for leaf in leaves:
        layer = leaf.layer
        pooled = type(layer) is MaxPool and Pool2x2.fits(layer, leaf.input_shape)
        if pooled and groups and [type(before.layer) for before in groups[-1]] == [ReLU]:
            groups[-1].append(leaf)
        else:
            groups.append([leaf])
    return groups
