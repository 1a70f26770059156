"""How near a result must come to a book's printed number: one class for each reason to be off.

The classes are those of the specification of "Deep Learning from Scratch", section 0.2, written as
the keywords of `numpy.testing.assert_allclose`.
"""

import numpy as np
import pytest

from xpnet import to_numpy

EX = {"rtol": 0, "atol": 0}  # integers, booleans, shapes, argmax, exact binary fractions
E12 = {"rtol": 1e-12, "atol": 0}  # a full double; the last bits vary by library
P8 = {"rtol": 0, "atol": 5e-9}  # printed with 8 decimals: half a unit of the last one
P9 = {"rtol": 5e-9, "atol": 0}  # printed with 9 digits, whatever the exponent
P10 = {"rtol": 0, "atol": 5e-11}  # printed with 10 decimals
D12 = {"rtol": 0, "atol": 1e-11}  # derived, and given with 12 decimals
ND = {"rtol": 0, "atol": 1e-10}  # a difference divided by 2e-4: an ulp of f becomes 5000
CE = {"rtol": 0, "atol": 5e-7}  # a loss that adds 1e-7 inside its logarithm
CE_EXACT = {"rtol": 0, "atol": 1e-8}  # a loss that adds nothing there
F32 = {"rtol": 1e-5, "atol": 1e-6}  # any of these values again in float32

IN_BOTH = pytest.mark.parametrize(("dtype", "tol"), [("float64", E12), ("float32", F32)])


def assert_near(got, want, tol=EX):
    """`got`, of any library, has the shape of `want` and its values within `tol`."""
    got = to_numpy(got)
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, **tol)
