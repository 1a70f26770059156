"""Initial weights: normal numbers whose spread depends on the numbers of units (section 6.2).

A weight layer adds up n_in products. With weights too small its outputs shrink from layer to layer,
with weights too large they grow; each rule here is the standard deviation that keeps them as they
are, for another activation. NumPy draws for every array library, so that one seed is one network.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf, isfinite, prod, sqrt

import numpy as np

from xpnet.arguments import checked
from xpnet.errors import ArgumentError, DeviceMemoryError
from xpnet.functions.im2col import Stride, strides_of


def xavier(n_in: float) -> float:
    """Give sqrt(1 / n_in), for sigmoid and tanh: Glorot's rule as the book and Caffe have it."""
    return sqrt(1 / n_in)


def glorot(n_in: float, n_out: float) -> float:
    """Give sqrt(2 / (n_in + n_out)), which keeps gradients as well.

    Glorot, Bengio, AISTATS 2010, "Understanding the difficulty of training deep feedforward neural
    networks", eq. 12.
    """
    return sqrt(2 / (n_in + n_out))


def he(n_in: float) -> float:
    """Give sqrt(2 / n_in), for ReLU, which lets half through (He et al. 2015, arXiv:1502.01852)."""
    return sqrt(2 / n_in)


RULES: dict[str, Callable[[float, float], float]] = {
    "relu": lambda n_in, n_out: he(n_in),
    "he": lambda n_in, n_out: he(n_in),
    "sigmoid": lambda n_in, n_out: xavier(n_in),
    "tanh": lambda n_in, n_out: xavier(n_in),
    "xavier": lambda n_in, n_out: xavier(n_in),
    "glorot": glorot,
    "standard": lambda n_in, n_out: 1.0,
    "fan-out": lambda n_in, n_out: he(n_out),
}
"""The rules by the names that `std` and `weight_init_std` take: an activation names its own.

"fan-out" is He's rule for gradients, which go back through the outputs (its eq. 14).
"""


def initial_std(std: float | str | None, n_in: float, n_out: float) -> float:
    """Choose the standard deviation of a layer's initial weights, n_in inputs and n_out outputs.

    Parameters
    ----------
    std : the number itself, or the name of a rule in upper or lower case; He's rule if None
    n_in, n_out : products that make up an output, and outputs that an input has a part in
    """
    if isinstance(std, str):
        rule = RULES.get(std.lower())
        if rule is None:
            raise ArgumentError(
                f"initial weights {std!r} are unknown; use a number or {', '.join(RULES)}"
            )
        return rule(n_in, n_out)
    if std is None:
        return he(n_in)
    if not (isfinite(std) and std >= 0):
        raise ArgumentError(f"a standard deviation must be 0 or more, got {std}; try 0.01")
    return std


class OverBudgetError(ArgumentError):
    """A layer holds more numbers than the weights that are for it."""


_budget: ContextVar["Budget | None"] = ContextVar("budget", default=None)


@dataclass
class Budget:
    """A limit to the numbers that may be laid out in `zeros_within`.

    Attributes
    ----------
    largest : in one array
    left : in all that are still to come
    """

    largest: float
    left: float

    def spend(self, shape: tuple[int, ...]) -> None:
        """Refuse an array that is too large."""
        self.left -= prod(shape)
        if prod(shape) > self.largest or self.left < 0:
            raise OverBudgetError(f"a layer has {shape} numbers, and the file holds no such array")


@contextmanager
def zeros_within(budget: Budget) -> Iterator[None]:
    """Layers made in it begin with zeros, for weights that are about to be copied in.

    Nothing is drawn, and a layer that the budget does not allow is an ArgumentError before memory
    is asked for: what describes the layers may be damaged. Zeros take no memory before they are
    written, and a network made in it leaves its buffer unwritten.
    """
    token = _budget.set(budget)
    try:
        yield
    finally:
        _budget.reset(token)


def shapes_alone() -> AbstractContextManager[None]:
    """Networks made in it are for their names, shapes and counts: nothing is drawn or laid out."""
    return zeros_within(Budget(largest=inf, left=inf))


def is_unwritten() -> bool:
    """Tell whether initial weights are not looked at now, since others follow or none."""
    return _budget.get() is not None


def normal(
    shape: tuple[int, ...], std: float, rng: np.random.Generator | int | None = None
) -> np.ndarray:
    """Draw independent normal numbers of mean 0, float64; `std=1.0` is the standard normal.

    Raises
    ------
    DeviceMemoryError
        There is no memory for so many.
    """
    if _budget.get() is not None:
        return filled(shape, 0.0)
    generator = np.random.default_rng(rng)
    with _told(shape):
        drawn = np.asarray(generator.standard_normal(shape))
        drawn *= std  # in place: the largest layer of VGG has 100 million
        return drawn


@checked
def bilinear(channels: int, stride: Stride) -> np.ndarray:
    """The weights with which a transposed convolution interpolates between pixels, float64.

        W[k, k] = v_down v_across^T, and 0 between different channels;   v[i] = 1 - |i/h - c|,
        i = 0 ... F-1,   F = 2 s - s mod 2,   h = ceil(F / 2),   c = (2 h - 1 - F mod 2) / (2 h)

    with the step s down or across. With padding of ceil((s - 1) / 2) the image is s times as large.
    It is Caffe's rule, which FCN begins with: Long, Shelhamer, Darrell 2015, section 3.3. Away from
    the border that is what resizing with half-pixel centres gives.

    Parameters
    ----------
    stride : s, or that down and that across

    Returns
    -------
    (channels, channels, F down, F across)
    """
    strides = strides_of(stride, "bilinear")
    if min(channels, *strides) < 1:
        raise ArgumentError(
            f"bilinear needs at least one channel and step, got channels={channels}, "
            f"stride={stride}"
        )
    W = filled((channels, channels, *map(bilinear_size, strides)), 0.0)
    if not is_unwritten():
        W[range(channels), range(channels)] = np.outer(*map(_ramp, strides))
    return W


def bilinear_size(step: int) -> int:
    """Height or width of the windows of `bilinear`."""
    return 2 * step - step % 2


def _ramp(step: int) -> np.ndarray:
    """The weights along one axis."""
    F = bilinear_size(step)
    h = -(-F // 2)
    ramp: np.ndarray = 1 - np.abs(np.arange(F) / h - (2 * h - 1 - F % 2) / (2 * h))
    return ramp


def filled(shape: int | tuple[int, ...], value: float) -> np.ndarray:
    """The same number everywhere, float64.

    Raises
    ------
    DeviceMemoryError
        There is no memory for so many.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    if (budget := _budget.get()) is not None:
        budget.spend(shape)
    with _told(shape):
        # Zeros that the system promises cost nothing until they are used.
        return np.full(shape, value) if value else np.zeros(shape)


@contextmanager
def _told(shape: tuple[int, ...]) -> Iterator[None]:
    """Errors of an allocation become xpnet's own."""
    try:
        yield
    except (MemoryError, ValueError) as error:  # the latter where no array could be so large
        raise DeviceMemoryError(
            f"there is no memory for initial weights of shape {shape}; use smaller layers"
        ) from error
