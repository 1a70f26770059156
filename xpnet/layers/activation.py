"""Activation functions as layers."""

from math import isfinite
from typing import Any

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import floating
from xpnet.errors import ArgumentError
from xpnet.functions import activations
from xpnet.layers.base import Backward, Leaf, Params, Shape

HEIGHT, STEEPNESS = 1.7159, 2 / 3
"""The limit of `ScaledTanh`, and what its input is multiplied by."""


class Elementwise(Leaf):
    """A function of each number by itself: no parameters, and shapes stay."""

    def __init__(self) -> None:
        self.params: Params = {}

    def output_shape(self, shape: Shape) -> Shape:
        """The same shape."""
        return shape


class ReLU(Elementwise):
    """y = max(x, 0); the slope at 0 is taken as 0 (eqs. 5.7, 5.8)."""

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The rectified x, of any shape."""
        y = activations.relu(x)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            # A product: selecting with where is several times slower on NumPy.
            return dy * array_namespace(dy).astype(y > 0, dy.dtype), {}

        return y, backward


class ReLU6(Elementwise):
    """y = min(max(x, 0), 6); the slope at 0 and at 6 is taken as 0.

    Its outputs fit into numbers of few digits, for which MobileNet has it: Krizhevsky 2010,
    "Convolutional deep belief networks on CIFAR-10"; Sandler et al. 2018, arXiv:1801.04381.
    """

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The rectified x with the ceiling, of any shape."""
        y = activations.relu6(x)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            # A product, as of ReLU.
            return dy * array_namespace(dy).astype((y > 0) & (y < 6), dy.dtype), {}

        return y, backward


class LeakyReLU(Elementwise):
    """y = x if x > 0, else slope x; the derivative at 0 is taken as the slope.

        dx = dy if y > 0, else slope dy

    It lets gradients through everywhere, which the generator of a GAN needs of its discriminator:
    Radford, Metz, Chintala 2015, arXiv:1511.06434, have the slope 0.2. Maas, Hannun, Ng 2013,
    "Rectifier nonlinearities improve neural network acoustic models", have 0.01, which is PyTorch's
    default.

    Parameters
    ----------
    slope : of what is below 0, above 0 and below 1

    Raises
    ------
    ArgumentError
        The slope is another.
    """

    @checked
    def __init__(self, slope: float = 0.2) -> None:
        if not 0.0 < slope < 1.0:
            raise ArgumentError(
                f"LeakyReLU needs a slope above 0 and below 1, got {slope}; a ReLU has 0"
            )
        super().__init__()
        self.slope = float(slope)

    def arguments(self) -> dict[str, Any]:
        """The slope."""
        return {"slope": self.slope}

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """x, and what is below 0 made smaller, of any shape."""
        y = activations.leaky_relu(x, self.slope)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            xp = array_namespace(dy)
            # A product, as of ReLU, with 1 or the slope.
            return dy * xp.maximum(xp.astype(y > 0, dy.dtype), self.slope), {}

        return y, backward


class Sigmoid(Elementwise):
    """y = 1 / (1 + exp(-x)), with dy/dx = y (1 - y) (eq. 5.12)."""

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The sigmoid of x, of any shape."""
        y = activations.sigmoid(x)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            return dy * (y * (1.0 - y)), {}

        return y, backward


class Tanh(Elementwise):
    """y = tanh(x), with dy/dx = 1 - y^2."""

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The hyperbolic tangent of x, of any shape."""
        y = activations.tanh(x)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            return dy * (1.0 - y * y), {}

        return y, backward


class ScaledTanh(Elementwise):
    """y = 1.7159 tanh(2 x / 3), which is near 1 at 1 and -1 at -1, as LeNet squashes.

    dy/dx = 2/3 (1.7159 - y^2 / 1.7159). LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp",
    section 4.4.
    """

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The squashed x, of any shape."""
        y = HEIGHT * activations.tanh(x * STEEPNESS)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            return dy * (STEEPNESS * (HEIGHT - y * y / HEIGHT)), {}

        return y, backward


class Rescale(Elementwise):
    """y = scale x + shift, the same for all numbers; pixels from 0 to 1 become -1 to 1 by (2, -1).

    Parameters
    ----------
    scale, shift : numbers; they do not learn
    """

    @checked
    def __init__(self, scale: float, shift: float) -> None:
        if not (isfinite(scale) and isfinite(shift)):
            raise ArgumentError(f"Rescale needs finite numbers, got scale={scale}, shift={shift}")
        super().__init__()
        self.scale, self.shift = scale, shift

    def arguments(self) -> dict[str, Any]:
        """Both numbers."""
        return {"scale": self.scale, "shift": self.shift}

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """scale x + shift, of any shape."""

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            return dy * self.scale, {}

        return floating(x) * self.scale + self.shift, backward
