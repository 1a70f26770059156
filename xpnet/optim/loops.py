"""The rules of `rules` as loops that numba compiles: once over memory, and equal to the bit.

But for what fades: an average of gradients, or a speed, that is below `least` counts as 0. Where no
gradient comes any more it would end as a denormal number, with which processors are many times as
slow; and it no longer moves a parameter that is not as small itself.

Each takes parameters, gradient and state as one-dimensional arrays, and then numbers of their
dtype, in which it computes. Importing this module needs numba.
"""

import numpy as np

from xpnet.arrays import Array
from xpnet.compiled import loop


@loop
def sgd(p: Array, g: Array, lr: float) -> None:
    """p <- p - lr g."""
    for i in range(p.size):
        p[i] -= lr * g[i]


@loop
def momentum(p: Array, g: Array, v: Array, momentum: float, lr: float, least: float) -> None:
    """v <- momentum v - lr g; p <- p + v."""
    nothing = least - least
    for i in range(p.size):
        speed = momentum * v[i] - lr * g[i]
        speed = nothing if abs(speed) < least else speed
        v[i] = speed
        p[i] += speed


@loop
def nesterov(p: Array, g: Array, v: Array, momentum: float, lr: float, least: float) -> None:
    """v <- momentum v - lr g; p <- p + momentum v - lr g."""
    nothing = least - least
    for i in range(p.size):
        step = lr * g[i]
        speed = momentum * v[i] - step
        speed = nothing if abs(speed) < least else speed
        v[i] = speed
        p[i] += momentum * speed - step


@loop
def adagrad(p: Array, g: Array, h: Array, lr: float, eps: float) -> None:
    """h <- h + g^2; p <- p - lr g / (sqrt(h) + eps)."""
    for i in range(p.size):
        total = h[i] + g[i] * g[i]
        h[i] = total
        p[i] -= lr * g[i] / (np.sqrt(total) + eps)


@loop
def rmsprop(
    p: Array,
    g: Array,
    h: Array,
    stays: float,
    of_square: float,
    lr: float,
    eps: float,
) -> None:
    """h <- stays h + of_square g^2; p <- p - lr g / (sqrt(h) + eps)."""
    for i in range(p.size):
        mean = stays * h[i] + of_square * (g[i] * g[i])
        h[i] = mean
        p[i] -= lr * g[i] / (np.sqrt(mean) + eps)


@loop
def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    stays: float,
    of_g: float,
    of_square: float,
    least: float,
    rate: float,
    epsilon: float,
) -> None:
    """m <- m + of_g (g - m); v <- v + of_square (g^2 - v); then p, of which a part stays."""
    nothing = least - least
    if epsilon < 1e-20:  # then small numbers may be divided by small ones
        least = nothing
    for i in range(p.size):
        mean = m[i] + of_g * (g[i] - m[i])
        mean = nothing if abs(mean) < least else mean
        square = v[i] + of_square * (g[i] * g[i] - v[i])
        m[i], v[i] = mean, square
        p[i] = stays * p[i] - rate * mean / (np.sqrt(square) + epsilon)
