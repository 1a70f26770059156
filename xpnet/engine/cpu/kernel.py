"""The kernels of the operations of a program: their base, and the choice among them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import ClassVar, TypeVar

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cpu.buffers import Buffers, in_book_order, zeros
from xpnet.engine.lower import Fits, Op, Pattern
from xpnet.errors import ArgumentError
from xpnet.layers import Backward, Layer, Params, Unpooled
from xpnet.layers.base import Leaf, run_layer, take_back
from xpnet.models.nodes import Node

BLOCK = 8192
"""Numbers. So many zeros at most are kept for ReLU to compare with."""


@dataclass
class Pass:
    """The pass that is under way, as far as kernels must know it.

    Attributes
    ----------
    train : whether the network is training
    keep : whether a way back may follow
    first : number of the first sample within its batch
    """

    train: bool = False
    keep: bool = False
    first: int = 0


class Kernel:
    """Forward and backward of one operation, for a fixed number of samples.

    `forward` goes from x to y, `backward` from dy to dx and to the gradients of the parameters.
    Nothing here allocates memory from step to step, but `AsWritten`. What is read in `backward` is
    x, y and dy alone, or an array of the kernel's own.

    Attributes
    ----------
    owns_x : whether it reads from an array that it makes itself, `x`, and leaves dx in one, `dx`
    owns_y : whether it makes `y` and `dy` itself
    keeps_x : whether it reads its inputs on the way back
    keeps_y : whether it reads y there
    holds_inputs : whether its inputs are parts of y, and their gradients of dy, side by side in the
        last axis, where these have no other readers
    passes_dy : whether the gradient of an input may be dy itself, as it leaves it
    adds : whether it adds to gradients that another reader has left, as `Op.adds` says; what others
        leave is added by the program
    shares_prepared : whether `prepare` fills but what is `Buffers.prepared`, so that one kernel
        does it for all programs of a thread
    main : of the layers that it does, the number of the one that `method` is of
    method : how, in words
    inputs, y, dy : the arrays of what it reads and puts out, and of its gradient
    gradients : the arrays for the gradient of each input; None where it is not needed
    below : the kernels that put its inputs out; None for what enters the network
    """

    owns_x: ClassVar[bool] = False
    owns_y: ClassVar[bool] = False
    keeps_x: ClassVar[bool] = False
    keeps_y: ClassVar[bool] = False
    holds_inputs: ClassVar[bool] = False
    passes_dy: ClassVar[bool] = False
    adds: ClassVar[bool] = False
    shares_prepared: ClassVar[bool] = False
    main: ClassVar[int] = 0
    method: str = "as it is"

    def __init__(
        self, op: Op, number: int, buffers: Buffers, grads: Params, under_way: Pass
    ) -> None:
        self.op, self.number, self.buffers = op, number, buffers
        self.grads, self.under_way = grads, under_way
        self.y: np.ndarray
        self.dy: Array = None
        self.inputs: list[np.ndarray] = []
        self.gradients: list[Array] = []
        self.below: list[Kernel | None] = []
        self.build()

    @classmethod
    def best(cls, op: Op) -> "type[Kernel]":
        """The class whose kernel does it fastest."""
        return cls

    def build(self) -> None:
        """Make the arrays that are its own."""

    def bordered(
        self, pads: tuple[int, int, int, int], outside: float = 0.0
    ) -> tuple[np.ndarray, Array]:
        """Make images with a border, `x` inside, and gradients likewise, `dx` inside.

        The gradients are None where they are not needed.

        Parameters
        ----------
        pads : pixels of the border: top, left, bottom, right
        outside : what is there of x
        """
        H, W, *rest = self.buffers.shape(self.op.input_shapes[0])
        top, left, bottom, right = pads
        shape = (top + H + bottom, left + W + right, *rest)
        inside = (slice(top, top + H), slice(left, left + W))
        images = zeros(shape, self.buffers.dtype)
        if outside:  # zeros take no memory before they are used
            images[...] = outside
        gradients: Array = None
        if any(self.op.need_dx):
            gradients = self.buffers.passed(self.number, shape)
        self.x, self.dx = images[inside], None if gradients is None else gradients[inside]
        return images, gradients

    def prepare(self) -> None:
        """Take up the parameters as they are now."""

    def forward(self) -> None:
        """Compute y from x."""
        raise NotImplementedError

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute dx from dy, for each input where it is needed, and the gradients.

        What it leaves of these where the layer's masks are 0 is made 0 by `steps_back`.
        """
        raise NotImplementedError

    def steps_back(self, need_dx: Sequence[bool], need_grads: bool) -> list[Callable[[], object]]:
        """The way back: `backward`, and the masks of the gradients, where the layer has any."""
        steps: list[Callable[[], object]] = [partial(self.backward, need_dx, need_grads)]
        layer = self.op.layer
        if need_grads and isinstance(layer, Leaf):
            for key, mask in layer.masks().items():
                steps.append(partial(np.multiply, self.grads[key], mask, out=self.grads[key]))
        return steps

    def commit(self) -> None:
        """Have the layer's state follow a training pass of the whole batch, once."""


KERNELS: dict[type[Layer], type[Kernel]] = {}
"""Kernels by the class of the layer that they do; each does every sample by itself, or meets."""

FUSED: list[tuple[Pattern, type[Kernel]]] = []
"""Kernels that do several layers."""

COMPILED: dict[type[Kernel], type[Kernel]] = {}
"""By kernel, the one with compiled loops that does the same in its place."""

FUSED_COMPILED: list[tuple[Pattern, type[Kernel]]] = []
"""Kernels with compiled loops that do several layers which nothing else does together."""

K = TypeVar("K", bound=type[Kernel])


def computes(*layers: type[Layer] | Pattern) -> Callable[[K], K]:
    """Enter a kernel for layers of these classes, or for such layers in a row."""

    def enter(kernel: K) -> K:
        for layer in layers:
            if isinstance(layer, Pattern):
                FUSED.append((layer, kernel))
            else:
                KERNELS[layer] = kernel
        return kernel

    return enter


def instead_of(*kinds: type[Kernel]) -> Callable[[K], K]:
    """Enter a kernel with compiled loops, which does the same as these and takes their place."""

    def enter(kernel: K) -> K:
        COMPILED.update(dict.fromkeys(kinds, kernel))
        return kernel

    return enter


def computes_compiled(pattern: Pattern) -> Callable[[K], K]:
    """Enter a kernel with compiled loops for layers in a row that no other does together."""

    def enter(kernel: K) -> K:
        FUSED_COMPILED.append((pattern, kernel))
        return kernel

    return enter


def patterns(nodes: Sequence[Node], *, compiled: bool = False) -> list[Pattern]:
    """List the layers of a network that one kernel may do together.

    The pool of an `Unpooled` stands alone: behind a ReLU that is fused with it, the places of
    maxima that are not positive would be others.
    """
    alone = {id(node.layer.pool) for node in nodes if isinstance(node.layer, Unpooled)}

    def outside(fits: Fits) -> Fits:
        return lambda group: fits(group) and not any(id(node.layer) in alone for node in group)

    fused = FUSED + FUSED_COMPILED * compiled
    return [Pattern(pattern.kinds, outside(pattern.fits)) for pattern, _ in fused]


def kernel_of(op: Op, *, compiled: bool = False) -> type[Kernel]:
    """The class of the kernel for an operation, with compiled loops if there is one and wanted."""
    if len(op.nodes) > 1:
        fused = FUSED + FUSED_COMPILED * compiled
        found = next(kernel for pattern, kernel in fused if pattern.matches(op.nodes)).best(op)
    else:
        found = KERNELS.get(type(op.layer), AsWritten).best(op)
    return COMPILED.get(found, found) if compiled else found


class AsWritten(Kernel):
    """Any layer, as it is written in `xpnet.layers`."""

    method = "reference"

    def build(self) -> None:
        """Its own copy of x: a layer may keep x for its backward, and here it is written over."""
        self._x = self.buffers.kept(self.buffers.shape(self.op.input_shapes[0]))
        self._backward: Backward | None = None

    def forward(self) -> None:
        """x to y."""
        np.copyto(self._x, self.inputs[0])
        train = self.under_way.train
        y, self._backward = run_layer(self.op.layer, in_book_order(self._x), train=train)
        self._leave("the output", y, in_book_order(self.y))

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to the gradients and dx."""
        assert self._backward is not None
        (need,), dy = need_dx, in_book_order(self.dy)
        layer = self.op.layer
        dx, grads = take_back(self._backward, layer, dy, need_dx=need, need_grads=need_grads)
        if need_grads:
            # What one call leaves out would be that of the call before.
            if grads.keys() != self.grads.keys():
                needed, got = (", ".join(names) or "none" for names in (self.grads, grads))
                raise ArgumentError(
                    f"layer {self.op.name}: backward must give the gradients of {needed}, got "
                    f"{got}; give one for each of the layer's params"
                )
            for name, grad in grads.items():
                self._leave(f"the gradient of {name}", grad, self.grads[name])
        if need:
            self._leave("dx", dx, in_book_order(self.gradients[0]))

    def _leave(self, what: str, found: Array, target: np.ndarray) -> None:
        """Copy what the layer has computed; NumPy would stretch some of what does not fit."""
        if (got := np.shape(found)) != target.shape:
            raise ArgumentError(
                f"layer {self.op.name}: {what} must have shape {target.shape}, got "
                f"{'None' if found is None else got}; see its forward and output_shape"
            )
        np.copyto(target, found)


def zeros_beside(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros to compare with: NumPy's maximum of two arrays is 3 times as fast as with a number.

    Of the innermost axes only, so that they stay in the cache.
    """
    last = len(shape) - 1
    axes = next(k for k in range(len(shape)) if prod(shape[k:]) <= BLOCK or k == last)
    return zeros(shape[axes:], dtype)
