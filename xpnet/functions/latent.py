"""Ways from one latent vector to another, along which a generator is looked at."""

from math import isfinite

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import check_same_shape, floating
from xpnet.errors import ArgumentError

PARALLEL = 1e-6
"""Vectors whose angle has a smaller sine are gone between in a straight line."""


@checked
def lerp(z0: Array, z1: Array, u: float) -> Array:
    """The straight line from z0 to z1: (1 - u) z0 + u z1.

    Of normal vectors what is between is shorter than both: a generator has seen few such.

    Parameters
    ----------
    z0, z1 : of one shape
    u : 0 for z0, 1 for z1; beyond, the line goes on

    Raises
    ------
    ArgumentError
        The shapes differ, or u is not finite.
    """
    z0, z1 = _pair("lerp", z0, z1, u)
    return (1.0 - u) * z0 + u * z1


@checked
def slerp(z0: Array, z1: Array, u: float) -> Array:
    """The great circle from z0 to z1, on which lengths change evenly: for the angle w between them

        sin((1 - u) w) / sin w z0 + sin(u w) / sin w z1

    for each vector of the last axis; the straight line where sin w is below 1e-6, as for vectors
    that are parallel, or 0. Shoemake 1985, "Animating rotation with quaternion curves"; White 2016,
    "Sampling generative networks", arXiv:1609.04468.

    Parameters
    ----------
    z0, z1 : (..., D), of one shape
    u : 0 for z0, 1 for z1

    Raises
    ------
    ArgumentError
        The shapes differ, they have no axis, or u is not finite.
    """
    z0, z1 = _pair("slerp", z0, z1, u)
    if not z0.ndim:
        raise ArgumentError("slerp needs vectors, (..., D), got numbers; use lerp")
    xp = array_namespace(z0)
    lengths = xp.sqrt(xp.sum(z0 * z0, axis=-1) * xp.sum(z1 * z1, axis=-1))
    known = lengths > 0
    cosine = xp.sum(z0 * z1, axis=-1) / xp.where(known, lengths, 1.0)
    angle = xp.acos(xp.clip(cosine, -1.0, 1.0))[..., None]
    sine = xp.sin(angle)
    straight = (sine < PARALLEL) | ~known[..., None]
    sine = xp.where(straight, 1.0, sine)
    a = xp.where(straight, 1.0 - u, xp.sin((1.0 - u) * angle) / sine)
    b = xp.where(straight, u, xp.sin(u * angle) / sine)
    return a * z0 + b * z1


def _pair(what: str, z0: Array, z1: Array, u: float) -> tuple[Array, Array]:
    if not isfinite(u):
        raise ArgumentError(f"{what} needs a finite number as the place between, got u={u}")
    z0, z1 = floating(z0), floating(z1)
    check_same_shape(what, z0, z1)
    return z0, z1
