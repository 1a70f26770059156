"""Deep Learning from Scratch, chapter 1: the array arithmetic everything else is made of.

The rows about Python itself (numbers, lists, dicts, if, for, classes) are left out: they test the
interpreter, not the library.
"""

import operator

import pytest

from tolerances import assert_near
from xpnet import to_numpy

X = [[51, 55], [14, 19], [0, 4]]


@pytest.mark.parametrize(
    ("op", "x", "y", "want"),
    [
        (operator.add, [1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3, 6, 9]),
        (operator.sub, [1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [-1, -2, -3]),
        (operator.mul, [1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [2, 8, 18]),
        (operator.truediv, [1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.5, 0.5, 0.5]),
        (operator.truediv, [1.0, 2.0, 3.0], 2.0, [0.5, 1.0, 1.5]),
        (operator.add, [[1, 2], [3, 4]], [[3, 0], [0, 6]], [[4, 2], [3, 10]]),
        (operator.mul, [[1, 2], [3, 4]], [[3, 0], [0, 6]], [[3, 0], [0, 24]]),
        (operator.mul, [[1, 2], [3, 4]], 10, [[10, 20], [30, 40]]),
        (operator.mul, [[1, 2], [3, 4]], [10, 20], [[10, 40], [30, 80]]),
    ],
)
def test_arithmetic_goes_element_by_element(device, op, x, y, want):
    y = device.asarray(y) if isinstance(y, list) else y
    assert_near(op(device.asarray(x), y), want)


def test_different_element_counts_are_an_error(device):
    with pytest.raises((ValueError, RuntimeError), match=r"broadcast|size of tensor"):
        device.asarray([1.0, 2.0, 3.0]) + device.asarray([1.0, 2.0])


def test_a_matrix_has_a_shape_and_a_dtype(device):
    a = device.asarray([[1, 2], [3, 4]])
    assert tuple(a.shape) == (2, 2)
    assert a.dtype == device.xp.int64


def test_indexing_by_row_and_column(device):
    x = device.asarray(X)
    assert_near(x[0, :], [51, 55])
    assert_near(x[0, 1], 55)
    for i, row in enumerate(X):
        assert_near(x[i, :], row)


def test_a_flat_array_is_picked_by_index_and_by_condition(device):
    """f[[0, 2, 4]] and f[f > 15]; the second on the host, for its shape depends on the data."""
    flat = device.xp.reshape(device.asarray(X), (-1,))
    assert_near(flat, [51, 55, 14, 19, 0, 4])
    assert_near(device.xp.take(flat, device.asarray([0, 2, 4])), [51, 14, 0])
    assert_near(flat > 15, [True, True, False, True, False, False])
    assert_near(to_numpy(flat)[to_numpy(flat > 15)], [51, 55, 19])


def test_the_sine_figure_has_60_points(device):
    """Figure 1-3: sin on arange(0, 6, 0.1)."""
    y = device.xp.sin(device.xp.arange(0, 6, 0.1, dtype=device.xp.float64))
    assert tuple(y.shape) == (60,)
    assert int(device.xp.argmax(y)) == 16  # pi / 2 lies nearest to 1.6
