"""The two nodes of the first computational graphs: apples and oranges (section 5.4)."""

from xpnet.arrays import Array
from xpnet.arrays.values import check_same_shape, floating
from xpnet.described import Described
from xpnet.layers.base import Backward, Params


class Add(Described):
    """z = x + y; the gradient goes to both unchanged (eq. 5.5)."""

    def __init__(self) -> None:
        self.params: Params = {}

    def forward(self, x: Array, y: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The sum; `backward(dz)` gives `((dx, dy), {})`."""
        x, y = _pair("Add", x, y)

        def backward(dz: Array, need_dx: bool = True) -> tuple[Array, Params]:
            return (dz, dz), {}

        return x + y, backward


class Mul(Described):
    """z = x y, so dx = dz y and dy = dz x (eq. 5.6)."""

    def __init__(self) -> None:
        self.params: Params = {}

    def forward(self, x: Array, y: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The product; `backward(dz)` gives `((dx, dy), {})`."""
        x, y = _pair("Mul", x, y)

        def backward(dz: Array, need_dx: bool = True) -> tuple[Array, Params]:
            return (dz * y, dz * x), {}

        return x * y, backward


def _pair(name: str, x: Array, y: Array) -> tuple[Array, Array]:
    """Two numbers, or arrays of one shape as floats: their gradients have the same."""
    check_same_shape(name, x, y)
    return floating(x), floating(y)
