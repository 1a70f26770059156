"""What users give as arrays, and what the numbers in them mean."""

import numpy as np
import pytest

from xpnet import Affine, Batches, Network, Trainer, to_numpy
from xpnet.arrays.values import as_array, check_same_shape, floating, scaled
from xpnet.errors import ArgumentError


class Table:
    """What a DataFrame or a Series has: columns, and to_numpy."""

    def __init__(self, values):
        self._values = values

    def to_numpy(self):
        return self._values


class Named(Table):
    """A table whose columns have names."""

    columns = ("age", "city", "date")


MIXED = Named(np.array([[41, "Rome", 1], [np.float32(2), "Oslo", 2]], object))


class Buffer:
    """What hands out an array and knows nothing else."""

    def __array__(self, dtype=None, copy=None):
        return np.arange(3.0)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
        (((0.5, 1.0),), np.array([[0.5, 1.0]])),
        ([np.array([1, 2]), np.array([3, 4])], np.array([[1, 2], [3, 4]])),
        (Table(np.eye(2)), np.eye(2)),
        (Table(np.array([[True, 1.5], [False, 2]], object)), np.array([[1, 1.5], [0, 2]])),
        (Table(np.array([0, 1], object)), np.array([0, 1])),
        (Buffer(), np.arange(3.0)),
        (np.zeros((1, 2)).view(np.recarray), np.zeros((1, 2))),
        (np.float32(2), np.array(2, np.float32)),
        (3, np.array(3)),
    ],
)
def test_tables_and_lists_become_arrays(given, want):
    got = as_array(given)
    assert type(got) is np.ndarray
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def test_arrays_stay_as_they_are(device):
    x = device.asarray([1.0, 2.0])
    assert as_array(x) is x


MASKED = np.ma.masked_array([1, 2], [True, False])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MASKED, "an array without a mask is needed, got a masked one"),
        ([MASKED, MASKED], "an array without a mask is needed, got a masked one"),
        (np.ma.masked_array([1, 2]), "an array without a mask is needed"),
        (np.array([1j]), "numbers are needed, real ones, got complex128; give integers or floats"),
        (np.array([1, 2], object), "numbers are needed, real ones, got object"),
        (
            Table(np.array(["a", 1], object)),
            "where these are names of classes",
        ),
        (MIXED, "got others in column 'city'; leave it out, or bring what is in it to numbers"),
        (Named(np.array([["a"] * 3])), "got others in column 'age'"),
        (Named(np.array([[True, 1.5, None]], object)), "got others in column 'date'"),
        (["cat", "dog"], r"got text \(<U3\); .* number them, as numpy.unique\(t, return_inverse"),
        (np.array(["2020-01-01"], "datetime64[D]"), "numbers are needed, real ones, got datetime"),
        ([[1], [2, 3]], "an array of numbers is needed, got list that becomes none: setting an"),
        ("text", "an array of numbers is needed, got str; convert it first"),
        (None, "an array of numbers is needed, got NoneType"),
        ({"a": 1}, "an array of numbers is needed, got dict"),
        (iter([1]), "an array of numbers is needed, got list_iterator"),
    ],
)
def test_what_is_no_array_of_numbers_is_told(given, message):
    with pytest.raises(ArgumentError, match=message):
        as_array(given)


def test_it_is_told_of_which_array_numbers_are_needed():
    x, text = np.eye(2), np.array(["a", "b"])
    net = Network([Affine(2, 2, rng=0)])
    for call in (
        lambda x, t: Batches(x, t, 1),
        lambda x, t: Trainer(net, x, t, verbose=False),
        net.accuracy,
    ):
        with pytest.raises(ArgumentError, match=r"^inputs: numbers .* in column 'city'"):
            call(MIXED, [0, 1])
        with pytest.raises(ArgumentError, match=r"^targets: numbers .* got text \(<U1\)"):
            call(x, text)
    with pytest.raises(ArgumentError, match=r"^targets: numbers .* got text"):
        net.loss(x, text)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_alone_are_divided(device, dtype):
    """One rule: pixels are uint8; False and True are 0 and 1; whole numbers are what they are."""
    for given, want in (
        (np.array([0, 51, 255], np.uint8), np.array([0, 51, 255], dtype) / np.array(255, dtype)),
        (np.array([False, True]), [0, 1]),
        (np.array([0, 1, 300], np.int16), [0, 1, 300]),
        (np.array([0, 255], np.int64), [0, 255]),
        (np.array([-2.5, 255], np.float32), [-2.5, 255]),
    ):
        got = scaled(device.asarray(given), device.dtype(dtype))
        assert got.dtype == device.dtype(dtype)
        np.testing.assert_array_equal(to_numpy(got), np.asarray(want, dtype))


def test_what_are_no_real_numbers_is_not_scaled():
    with pytest.raises(ArgumentError, match="real ones, got complex64"):
        scaled(np.ones(2, np.complex64), np.float32)


def test_formulas_are_of_floats(device):
    for kind in ("uint8", "int8", "int64", "bool"):
        assert floating(device.asarray(np.ones(2, kind))).dtype == device.xp.float64
    x = device.asarray(np.ones(2, "float32"))
    assert floating(x) is x
    assert floating(2) == 2
    for wrong, message in ((np.ones(2, complex), "got complex128"), (MASKED, "without a mask")):
        with pytest.raises(ArgumentError, match=message):
            floating(wrong)


def test_shapes_are_compared():
    check_same_shape("f", np.zeros((2, 3)), np.ones((2, 3)))
    check_same_shape("f", 1.0, np.float64(2))
    with pytest.raises(ArgumentError, match=r"f needs two arrays of one shape, got \(2, 1\) and "):
        check_same_shape("f", np.zeros((2, 1)), np.ones(2))
