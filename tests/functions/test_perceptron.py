"""Circuits of perceptrons; the gates themselves are in test_book_ch2.py."""

from itertools import product

import pytest

from xpnet.errors import ArgumentError
from xpnet.functions.perceptron import add_bits, full_adder, half_adder


@pytest.mark.parametrize(("a", "b"), list(product((0, 1), repeat=2)))
def test_half_adder(a, b):
    total, carry = half_adder(a, b)
    assert total + 2 * carry == a + b


@pytest.mark.parametrize(("a", "b", "c"), list(product((0, 1), repeat=3)))
def test_full_adder(a, b, c):
    total, carry = full_adder(a, b, c)
    assert total + 2 * carry == a + b + c


@pytest.mark.parametrize(("a", "b"), list(product(range(8), repeat=2)))
def test_numbers_of_three_bits(a, b):
    bits = add_bits([a >> i & 1 for i in range(3)], [b >> i & 1 for i in range(3)])
    assert sum(bit << i for i, bit in enumerate(bits)) == a + b


def test_unequal_lengths_are_refused():
    with pytest.raises(ArgumentError, match="numbers of equal length, got 2 and 1 bits; fill"):
        add_bits([1, 0], [1])
