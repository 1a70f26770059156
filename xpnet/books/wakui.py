"""The notions of Wakui's "The Mathematics of Deep Learning", on the library's layers.

    net = M1()
    costs = train(net, x, t, eta=0.2, n_iter=50)
    net.decide(x)

The book counts layers from the input, 1; z is a weighted input and a = a(z) an output. C is half
the squared error of one example, and C_T is the sum of C over all of them, never a mean: every
gradient and every learning rate eta refers to it. Parameters stand a unit a line here, its weights
and then its bias; the library has them transposed, as W (units below, units) and b.

The cross-entropy that section 3-3 mentions is `xpnet.functions.losses.sigmoid_cross_entropy` of the
last z.
"""

from collections.abc import Callable, Mapping
from itertools import accumulate, repeat
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from xpnet.arguments import checked
from xpnet.arrays import Array, Device, array_namespace, to_numpy
from xpnet.arrays.values import as_array, check_same_shape, floating
from xpnet.errors import ArgumentError
from xpnet.functions.gradients import descend
from xpnet.functions.losses import as_one_hot, mean_squared_error
from xpnet.functions.perceptron import weighted_sum
from xpnet.layers import (
    Affine,
    AveragePool,
    Convolution,
    Layer,
    MaxPool,
    Sigmoid,
)
from xpnet.layers.base import Params, Shape
from xpnet.layers.loss import LossBackward
from xpnet.models import Network
from xpnet.optim import SGD
from xpnet.optional import needed

State = TypeVar("State")


def step(z: Array) -> Array:
    """Unit step: u(z) = 1 for z >= 0, else 0, in the dtype of z (section 1-2).

    u(0) = 1, where the library's `step_function` is 0.
    """
    xp = array_namespace(z)
    z = xp.asarray(z)
    return xp.astype(z >= 0, z.dtype)


def unit(x: Array, w: Array, b: Array | float, activation: Callable[[Array], Array]) -> Array:
    """Compute a unit's output y = a(w.x + b) (section 1-3, eqs. 4, 5).

    x is (..., n) and w is (n,), or (m, n) for m units side by side on one x; b is a number or (m,).
    The activation also decides what happens at z = 0: `step` fires there, `step_function` does not.
    """
    return activation(weighted_sum(x, w) + b)


def neuron(x: Array, w: Array, theta: float) -> Array:
    """Fire, 1, if w.x >= theta, else 0: at the threshold itself, too (section 1-2, eqs. 1 to 4).

    `xpnet.functions.perceptron` with b = -theta differs there alone.
    """
    return unit(x, w, -theta, step)


LIKED = ((4, 7), (5, 8), (6, 9))
"""The pixels that the demons A, B and C like, counted from 1 row by row (section 1-5)."""


def demons(x: Array) -> tuple[Array, Array]:
    """Find the demons that an image excites: A, B, C, and those of 0 and 1 (section 1-5).

    x holds 12 pixels. The book tells who is whose friend and no numbers: here friends are linked by
    1 and others by 0, a hidden demon wants both its pixels (b = -1.5), and that of a digit is
    content with one hidden demon (b = -0.5).
    """
    xp = array_namespace(x)
    liked = [[float(pixel in pixels) for pixel in range(1, 13)] for pixels in LIKED]

    def units(x: Array, w: list[list[float]], b: float) -> Array:
        return unit(x, xp.asarray(w, dtype=x.dtype, device=x.device), b, step)

    hidden = units(xp.reshape(x, (12,)), liked, -1.5)
    return hidden, units(hidden, [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], -0.5)


def iterate(f: Callable[[State], State], start: State, n: int) -> list[State]:
    """List the first n terms of a_1 = start, a_(k+1) = f(a_k) (section 2-2).

    Several sequences at once are one of tuples, whose next terms all come from the old ones.
    """
    return list(accumulate(repeat(start, n), lambda a, _: f(a)))


@checked
def gradient_descent(
    grad: Callable[[Array], Array],
    x0: Array,
    eta: float,
    n: int,
    *,
    normalised: bool = False,
) -> Array:
    """Walk n steps x <- x - eta grad f(x) from x0; the path is (n + 1, ...) (section 2-10).

    With `normalised` the gradient is divided by its length, which makes eta that of the step
    (section 2-11).
    """
    points = list(descend(grad, x0, eta, n, normalised=normalised))
    return array_namespace(x0).stack(points)


class Line(NamedTuple):
    """y = p x + q, and the cost C_T that it leaves."""

    p: float
    q: float
    cost: float


def fit_line(x: ArrayLike, y: ArrayLike) -> Line:
    """Fit the line of least squares, C_T = sum of (y - (p x + q))^2 / 2 (section 2-12).

        p sum x + n q = sum y,   p sum x^2 + q sum x = sum xy

    solved with x and y counted from their means, where fewer digits are lost.

    Raises
    ------
    ArgumentError
        x and y differ in length, or x has fewer than two different values: two parameters need at
        least two data.
    """
    xs, ys = (np.asarray(as_array(given), dtype=np.float64) for given in (x, y))
    if xs.ndim != 1 or xs.shape != ys.shape or len(np.unique(xs)) < 2:
        raise ArgumentError(
            "fit_line needs as many y as x, and at least two different x, "
            f"got {xs.tolist()} and {ys.tolist()}"
        )
    dx = xs - xs.mean()
    p = float(dx @ ys / (dx @ dx))
    q = float(ys.mean() - p * xs.mean())
    return Line(p, q, float(mean_squared_error(p * xs + q, ys)))


def similarity(a: Array, f: Array) -> Array:
    """Sum a_ij f_ij over two arrays of one shape: their inner product as vectors (appendix C).

    Of black and white patterns it is the number of pixels that are ink in both.

    Raises
    ------
    ArgumentError
        The shapes differ.
    """
    check_same_shape("similarity", a, f)
    return array_namespace(a).sum(floating(a) * floating(f))


def feature_map(x: Array, w: Array, b: float = 0.0) -> Array:
    """Compute the similarity of a filter w (FH, FW) to each window of x (N, 1, H, W), plus b.

    Section 5-3, eq. 1; (N, 1, OH, OW).
    """
    xp, x, w = array_namespace(x), floating(x), floating(w)
    layer = Convolution(1, 1, tuple(w.shape), std=0.0)
    layer.params = {
        "W": xp.reshape(w, (1, 1, *w.shape)),
        "b": xp.full((1,), b, dtype=w.dtype, device=w.device),
    }
    return layer.forward(x)[0]


def l2_pool(x: Array, size: int = 2) -> Array:
    """Take the root of the sum of squares in each window of x (N, C, H, W) (section 5-3, memo)."""
    x = floating(x)
    means, _ = AveragePool(size, stride=size).forward(x * x)
    return array_namespace(x).sqrt(size * size * means)


class SquaredError:
    """C_T = 1/2 sum of (a - t)^2 over outputs and examples: `IdentityWithLoss` without its mean."""

    def forward(self, x: Array, t: Array) -> tuple[Array, LossBackward]:
        """Compute C_T of outputs x, (N, K) or (K,), against labels or targets of the same shape."""
        x = floating(x)
        target = as_one_hot(t, x)

        def backward(dout: float = 1.0) -> Array:
            return dout * (x - target)

        return mean_squared_error(x, target), backward


def m1_parameters(hidden: str, output: str) -> dict[str, np.ndarray]:
    """Read W1, b1, W2, b2 of M1 from its tables: a unit a line, its weights and then its bias."""
    return _dense(hidden, 1) | _dense(output, 2)


def m2_parameters(filters: str, output: str) -> dict[str, np.ndarray]:
    """Read W1, b1, W2, b2 of M2 from its tables: a filter or output a line, and then its bias.

    The weights of an output run over the pooled maps, and row by row over the cells of each.
    """
    params = _dense(filters, 1)
    return params | {"W1": params["W1"].T.reshape(3, 1, 3, 3)} | _dense(output, 2)


def _dense(table: str, number: int) -> dict[str, np.ndarray]:
    rows = np.array([line.split() for line in table.strip().splitlines()], dtype=np.float64)
    return {f"W{number}": rows[:, :-1].T, f"b{number}": rows[:, -1]}


M1_SOLVER = m1_parameters(
    """
     3.214 -4.562 -0.541 -2.359 -1.071 -2.808 -1.382  3.991 -2.218  5.730  5.310 -2.286 -1.076
    -4.044 -3.275  1.017 -1.716  5.457 -1.821  5.361  0.303  0.940 -0.289  3.505  1.463  0.687
    -1.712  3.601 -0.774 -1.456 -0.836 -2.440  1.496 -0.193  3.128  0.423 -3.249  2.292 -1.189
    """,
    """
    -3.575   4.446    5.666  -5.578
    -0.9406  2.93089 -3.4101 -2.2691
    """,
)
"""The values at which the minimiser starts (section 3-5)."""

M1_BACKPROP = m1_parameters(
    """
    0.490  0.348 0.073 0.837 -0.071 -3.617 -0.536 -0.023 -1.717 -1.456 -0.556  0.852 -0.185
    0.442 -0.537 1.008 1.072 -0.733  0.823 -0.453 -0.014 -0.027 -0.427  1.876 -2.305  0.526
    0.654 -1.389 1.246 0.057 -0.183 -0.743 -0.461  0.331  0.449 -1.296  1.569 -0.471 -1.169
    """,
    """
    0.388  0.803 0.029 -1.438
    0.025 -0.790 1.553 -1.379
    """,
)
"""The values at which backpropagation starts (section 4-4)."""

M2_START = m2_parameters(
    """
    -1.277 -0.454  0.358  1.138 -2.398 -1.664 -0.794  0.899  0.675 -3.363
    -1.274  2.338  2.301  0.649 -0.339 -2.054 -1.022 -1.204 -1.900 -3.176
    -1.869  2.044 -1.290 -1.710 -2.091 -2.946  0.201 -1.323  0.207 -1.739
    """,
    """
    -0.276  0.124 -0.961 0.718 -3.680 -0.594  0.280 -0.782 -1.475 -2.010 -1.085 -0.188  2.060
     0.010  0.661 -1.591 2.189  1.728  0.003 -0.250  1.898  0.238  1.589  2.246 -0.093 -2.746
    -1.322 -0.218  3.527 0.061  0.613  0.218 -2.130 -1.678  1.236 -0.486 -0.144 -1.235 -1.818
    """,
)
"""The values at which both methods start (sections 5-4, 5-6)."""


class _Reader(Network):
    """A network that reads digits, with its parameters given.

    Raises
    ------
    ArgumentError
        A parameter is missing, is none of this network's, or has another shape.
    """

    digits: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        layers: Mapping[str, Layer],
        start: Mapping[str, Array],
        input_shape: Shape,
        device: str | Device,
        dtype: str,
    ) -> None:
        super().__init__(
            layers,
            SquaredError(),
            input_shape=input_shape,
            names="book",
            device=device,
            dtype=dtype,
        )
        if set(start) != set(self.params):
            raise ArgumentError(
                f"{type(self).__name__} starts from {', '.join(self.params)}, "
                f"got {', '.join(start)}; give these"
            )
        for name, array in start.items():
            self.params[name] = array

    def decide(self, x: Array) -> Array:
        """Read the digit of each image: that of the largest output, (N,)."""
        xp = self.device.xp
        return xp.take(self.device.asarray(self.digits), xp.argmax(self.predict(x), axis=-1))


class M1(_Reader):
    """12-3-2 with sigmoids, which reads 0 and 1 from 4 by 3 pixels (sections 1-4, 3-2).

    Layers are called by what they give: z2, a2, z3, a3.

    Parameters
    ----------
    start : parameters, as from `m1_parameters`
    device, dtype : as of `Network`; the book's numbers are float64
    """

    digits = (0, 1)

    def __init__(
        self,
        start: Mapping[str, Array] = M1_BACKPROP,
        *,
        device: str | Device = "cpu",
        dtype: str = "float64",
    ) -> None:
        layers: dict[str, Layer] = {
            "z2": Affine(12, 3, std=0.0),
            "a2": Sigmoid(),
            "z3": Affine(3, 2, std=0.0),
            "a3": Sigmoid(),
        }
        super().__init__(layers, start, (12,), device, dtype)


class M2(_Reader):
    """A convolutional network with sigmoids, which reads 1, 2 and 3 from 6 by 6 pixels (5-1, 5-3).

    Three filters of 3 by 3, max pooling of 2 by 2, and three outputs on the 12 pooled cells. Layers
    are called by what they give: zF, aF, P, zO, aO.

    Parameters
    ----------
    start : parameters, as from `m2_parameters`
    ties : whether the gradient of a maximum goes to "all" cells that have it, as in the book, or to
        the "first". Equal windows must then have equal sums to the last bit, which rests on how the
        array library multiplies matrices.
    device, dtype : as of `Network`; the book's numbers are float64
    """

    digits = (1, 2, 3)

    def __init__(
        self,
        start: Mapping[str, Array] = M2_START,
        *,
        ties: Literal["first", "all"] = "all",
        device: str | Device = "cpu",
        dtype: str = "float64",
    ) -> None:
        layers: dict[str, Layer] = {
            "zF": Convolution(1, 3, 3, std=0.0),
            "aF": Sigmoid(),
            "P": MaxPool(2, stride=2, ties=ties),
            "zO": Affine(12, 3, std=0.0),
            "aO": Sigmoid(),
        }
        super().__init__(layers, start, (1, 6, 6), device, dtype)


class Worksheet(NamedTuple):
    """A pass as the book's worksheets show it, by the names of the layers."""

    cost: Array
    """C_T."""
    outputs: Params
    """z and a of every layer."""
    errors: Params
    """The derivative of each example's C by these; by a z it is the error delta (section 4-2)."""


def worksheet(net: Network, x: Array, t: Array) -> Worksheet:
    """Forward and backward through a network, with all that lies between.

        delta_j of the last layer = dC/da_j a'(z_j)
        delta_i of a layer = (sum over k of delta_k w_ki) a'(z_i), k running over the next layer

    Section 4-3, eqs. 4 and 16. The derivatives by the parameters are `net.gradient(x, t)`.
    """
    outputs: Params = {}
    steps = []
    y = net.place(x)
    for name, layer in net.layers.items():
        y, backward = layer.forward(y)
        outputs[name] = y
        steps.append((name, backward))
    cost, loss_backward = net.last_layer.forward(y, net.place_targets(t))
    d, errors = loss_backward(), Params()
    for name, backward in reversed(steps):
        errors[name] = d
        d, _ = backward(d)
    return Worksheet(cost, outputs, errors)


@checked
def train(net: Network, x: Array, t: Array, *, eta: float = 0.2, n_iter: int = 50) -> list[float]:
    """Descend the gradient of C_T by all examples at once (section 4-4).

    Iteration n takes the cost and the gradient of the parameters that n - 1 updates have made.

    Returns
    -------
    C_T of the iterations 1 to n_iter; the network is left with the parameters of the last one
    """
    x, t, optimizer = net.place(x), net.place_targets(t), SGD(lr=eta)
    costs: list[float] = []
    while len(costs) < n_iter:
        cost, _, grads = net.loss_and_gradient(x, t)
        costs.append(float(cost))
        if len(costs) < n_iter:
            optimizer.update(net.params, grads)
    return costs


@checked
def minimise(
    net: Network, x: Array, t: Array, *, method: str | Callable[..., Any] = "BFGS", n_iter: int = 50
) -> list[float]:
    """Hand C_T, as a function of all parameters, to a minimiser: SciPy's, for the book's Solver.

    Sections 3-5 and 5-4. Needs SciPy, the `minimise` extra, and a network in float64, since line
    searches compare costs that hardly differ.

    Parameters
    ----------
    method : of `scipy.optimize.minimize`, by gradients: "BFGS", "L-BFGS-B", "CG"

    Returns
    -------
    C_T at the start and after each iteration; the network is left with the parameters found

    Raises
    ------
    ArgumentError
        SciPy is not installed.
    """
    try:
        from scipy.optimize import minimize
    except ModuleNotFoundError as error:
        raise needed("scipy", "minimise") from error
    x, t, params = net.place(x), net.place_targets(t), net.params

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        # The gaps between the parameters take part, with derivatives that are always zero.
        params.flat[...] = net.device.asarray(values, dtype=net.dtype)
        loss, _, grads = net.loss_and_gradient(x, t)
        return float(loss), to_numpy(params.like().gather(grads)).astype(np.float64)

    start = to_numpy(params.flat).astype(np.float64)
    costs = [cost(start)[0]]

    def note(intermediate_result: Any) -> None:
        costs.append(float(intermediate_result.fun))

    found = minimize(
        cost, start, jac=True, method=method, callback=note, options={"maxiter": n_iter}
    )
    cost(found.x)
    return costs
