"""What a layer is."""

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from xpnet.arrays import Array

Params: TypeAlias = dict[str, Array]
"""Arrays by parameter name; gradients have the same names."""

Backward: TypeAlias = Callable[..., tuple[Array, Params]]
"""`backward(dy, need_dx=True)` gives `(dx, grads)`; dx is None where it was not needed."""


Shape: TypeAlias = tuple[int, ...]
"""Shape of one sample, without the axis of the batch."""


@runtime_checkable
class Layer(Protocol):
    """A function with parameters, and its derivative.

    `forward(x, train=...)` gives `(y, backward)`. `backward(dy)` is the derivative of that one
    call: it holds what it needs, and nothing is kept on the layer. So several batches may be on
    their way at once, and no backward can meet the wrong forward. A layer never alters its inputs.
    The first layer of a network is asked for `backward(dy, need_dx=False)`: nobody reads the
    gradient of the images, and it would be the largest one.

    """

    params: Params

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The output for `x`, and the function that takes its gradient back."""

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of a sample's output, for a sample of this shape; ArgumentError if none fits."""


@runtime_checkable
class Stateful(Layer, Protocol):
    """A layer with arrays that training changes besides the parameters.

    Such as a counter of random draws. A training pass updates them in place.
    """

    state: Params
