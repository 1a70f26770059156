"""Derivatives by differences: slow, plain, and what every backward pass is checked against.

Source: Saitoh, Deep Learning from Scratch, chapter 4.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from math import isfinite
from typing import Any

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import floating
from xpnet.errors import ArgumentError

H = 1e-4
"""The book's step: smaller ones lose digits to rounding, larger ones to curvature."""


def numerical_diff(f: Callable[[float], float], x: float) -> float:
    """df/dx = (f(x + h) - f(x - h)) / (2 h), the central difference with h = 1e-4 (section 4.3)."""
    return (f(x + H) - f(x - H)) / (2 * H)


@checked
def numerical_gradient(f: Callable[[Array], Any], x: Array) -> Array:
    """Take the central difference of the scalar f by every element of x.

    f is called twice for each element, with x itself changed in place; x is as before afterwards,
    also when f raises.

    Parameters
    ----------
    f : function of x, or of something that holds x; gives a number or a 0-d array
    x : float64, any shape

    Returns
    -------
    the gradient, in the shape of x

    Raises
    ------
    ArgumentError
        f gives no number, or x is not float64. In integers x + h is x, and in float32 the
        difference of two nearby losses keeps three digits at best: both would give a wrong gradient
        without a sign of it.
    """
    xp = array_namespace(x)
    if getattr(x, "dtype", None) != xp.float64:
        raise ArgumentError(
            f"numerical_gradient needs a float64 array, got {getattr(x, 'dtype', type(x).__name__)}"
            "; convert it, or build the network with dtype='float64'"
        )
    gradient = xp.zeros_like(x)
    for index in product(*(range(n) for n in x.shape)):
        kept = float(x[index])
        try:
            x[index] = kept + H
            above = _number(f(x))
            x[index] = kept - H
            below = _number(f(x))
        finally:
            x[index] = kept
        gradient[index] = (above - below) / (2 * H)
    return gradient


def _number(value: Any) -> float:
    """Return what a function gives, where there must be one number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ArgumentError(
            "the function must give one number, such as a loss or a sum, got "
            f"{type(value).__name__} of shape {tuple(getattr(value, 'shape', ()))}"
        ) from None


def descend(
    gradient: Callable[[Array], Array],
    init_x: Array,
    lr: float,
    step_num: int,
    *,
    normalised: bool = False,
) -> Iterator[Array]:
    """List the points of x <- x - lr g(x): first init_x, which is not altered, then step_num more.

    With `normalised` it is x <- x - lr g / |g|, so that lr is the length of every step; where the
    gradient is zero x stays.
    """
    xp = array_namespace(init_x)
    x = xp.asarray(floating(init_x), copy=True)
    yield x
    for _ in range(step_num):
        g = gradient(x)
        if normalised:
            length = xp.sqrt(xp.sum(g * g))
            g = g / xp.where(length > 0, length, 1.0)
        x = x - lr * g
        yield x


@checked
def gradient_descent(
    f: Callable[[Array], Any],
    init_x: Array,
    lr: float = 0.01,
    step_num: int = 100,
    *,
    return_path: bool = False,
) -> Any:
    """Minimise f by x <- x - lr df/dx, step_num times, from init_x, which is not altered (4.7).

    Returns
    -------
    the last x; with `return_path` also all points from the first to the last,
    shape (step_num + 1, ...)
    """
    if not isfinite(lr) or step_num < 0:
        raise ArgumentError(
            f"a finite rate and steps from 0 on are needed, got lr={lr}, step_num={step_num}"
        )
    points = descend(partial(numerical_gradient, f), init_x, lr, step_num)
    if return_path:
        path = array_namespace(init_x).stack(list(points))
        return path[-1, ...], path
    return deque(points, maxlen=1).pop()
