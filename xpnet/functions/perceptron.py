"""Perceptrons and the logic built from them (Deep Learning from Scratch, chapter 2)."""

from collections.abc import Sequence

import numpy as np

from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import floating
from xpnet.errors import ArgumentError


def weighted_sum(x: Array, w: Array) -> Array:
    """Compute w.x over the last axis, for x of shape (..., n) and w of (n,), or (m, n) for m units.

    Several x for several units are not paired: one of them has an axis of 1 for the other's.

    Raises
    ------
    ArgumentError
        x and w differ in n, or there are several x for several units.
    """
    paired = x.ndim > 1 and w.ndim > 1 and 1 not in (x.shape[-2], w.shape[-2])
    if x.shape[-1:] != w.shape[-1:] or paired:
        raise ArgumentError(
            f"a weight is needed for each input, got inputs of shape {tuple(x.shape)} and weights "
            f"of shape {tuple(w.shape)}; their last axes must be equal, and one of the others 1"
        )
    return array_namespace(x).sum(floating(x) * floating(w), axis=-1)


def perceptron(x: Array, w: Array, b: float) -> Array:
    """Decide y = 1 if b + w.x > 0, else 0 (eq. 2.2); the boundary itself gives 0.

    x is (..., n) and w is (n,); the result has the leading shape of x.
    """
    xp = array_namespace(x)
    return xp.astype(weighted_sum(x, w) + b > 0, xp.int64)


def _gate(x1: float, x2: float, w: tuple[float, float], b: float) -> int:
    return int(perceptron(np.asarray([x1, x2], dtype=np.float64), np.asarray(w), b))


def AND(x1: float, x2: float) -> int:
    """Return 1 only if both are 1: w = (0.5, 0.5), b = -0.7."""
    return _gate(x1, x2, (0.5, 0.5), -0.7)


def NAND(x1: float, x2: float) -> int:
    """Return 0 only if both are 1: AND with every sign turned round."""
    return _gate(x1, x2, (-0.5, -0.5), 0.7)


def OR(x1: float, x2: float) -> int:
    """Return 1 if at least one is 1: w = (0.5, 0.5), b = -0.2."""
    return _gate(x1, x2, (0.5, 0.5), -0.2)


def XOR(x1: float, x2: float) -> int:
    """Return 1 if exactly one is 1, which needs two layers of perceptrons: AND(NAND, OR)."""
    return AND(NAND(x1, x2), OR(x1, x2))


def half_adder(a: int, b: int) -> tuple[int, int]:
    """Add two bits: their sum and carry."""
    return XOR(a, b), AND(a, b)


def full_adder(a: int, b: int, carry: int) -> tuple[int, int]:
    """Add two bits and a carried one: their sum and carry."""
    partial, first = half_adder(a, b)
    total, second = half_adder(partial, carry)
    return total, OR(first, second)


def add_bits(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """Add two binary numbers of equal length, lowest bit first; the result is one bit longer."""
    if len(a) != len(b):
        raise ArgumentError(
            f"add_bits needs numbers of equal length, got {len(a)} and {len(b)} bits; "
            "fill the shorter one up with zeros"
        )
    bits, carry = [], 0
    for bit_a, bit_b in zip(a, b, strict=True):
        bit, carry = full_adder(bit_a, bit_b, carry)
        bits.append(bit)
    return [*bits, carry]
