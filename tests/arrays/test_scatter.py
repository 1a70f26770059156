"""Rows added where indices say, against a plain loop on every array library."""

import numpy as np
import pytest

from xpnet.arrays import scatter_add, to_numpy
from xpnet.arrays.scatter import _sums_of_runs
from xpnet.errors import ArgumentError

SHAPES = [(0,), (1,), (2,), (7,), (64,), (37, 3), (17, 2, 5), (5, 0), (0, 4)]


def drawn(shape, rows, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(dtype), rng.integers(rows + 1, size=shape[0])


def looped(values, index, rows):
    y = np.zeros((rows, *values.shape[1:]))
    for r, row in zip(index, values, strict=True):
        if r < rows:
            y[r] += row
    return y


@pytest.mark.parametrize("rows", [1, 4, 50])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_loop(device, shape, rows):
    values, index = drawn(shape, rows)
    got = scatter_add(device.asarray(values), device.asarray(index), rows)
    assert got.dtype == device.xp.float64
    np.testing.assert_allclose(to_numpy(got), looped(values, index, rows), rtol=1e-13, atol=1e-14)


def test_the_quick_way_is_the_portable_one():
    for shape in SHAPES:
        values, index = drawn(shape, 6)
        flat = values.reshape(shape[0], int(np.prod(shape[1:])))
        got = scatter_add(flat, index, 6)
        np.testing.assert_allclose(got, _sums_of_runs(flat, index, 6), rtol=1e-13, atol=1e-14)


def test_it_is_the_transpose_of_take(device):
    x, (v, index) = np.random.default_rng(1).standard_normal((9, 2)), drawn((40, 2), 8)
    y = to_numpy(scatter_add(device.asarray(v), device.asarray(index), 9))
    assert np.sum(x[index] * v) == pytest.approx(np.sum(x * y), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_dtypes_are_kept(device, dtype):
    values, index = drawn((20, 2), 4)
    values = (8 * values).astype(dtype)
    got = scatter_add(device.asarray(values), device.asarray(index.astype("int32")), 4)
    assert got.dtype == device.dtype(dtype)
    np.testing.assert_allclose(to_numpy(got), looped(values, index, 4), rtol=1e-6, atol=1e-5)


def test_every_run_repeats_and_rows_do_not_touch_each_other(device):
    values, index = drawn((301, 3), 4, "float32")
    values[index == 2] = np.nan
    runs = [
        to_numpy(scatter_add(device.asarray(values), device.asarray(index), 4)) for _ in range(2)
    ]
    np.testing.assert_array_equal(*runs)
    assert np.isnan(runs[0]).all(axis=1).tolist() == [False, False, True, False]


def test_nothing_is_read(strict_device, unread):
    values, index = drawn((20, 2), 4)
    x, i = strict_device.asarray(values), strict_device.asarray(index)
    with unread():
        got = scatter_add(x, i, 4)
    np.testing.assert_allclose(to_numpy(got), looped(values, index, 4), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 5], "indices of scatter_add must be from 0 to 4, of which 4 adds nothing, got 0 to 5"),
        ([-1, 2], "got -1 to 2"),
        ([0, 1, 2], r"a whole number for each of 2 rows, got int64 of shape \(3,\)"),
        ([0.0, 1.0], r"got float64 of shape \(2,\)"),
    ],
)
def test_what_is_no_row_is_an_error(index, message):
    with pytest.raises(ArgumentError, match=message):
        scatter_add(np.ones((2, 3)), np.asarray(index), 4)
