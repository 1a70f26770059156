"""What the tests of Wakui's book share: its tolerances, its images, and how to fill networks.

The classes are those of the specification of "The Mathematics of Deep Learning", section 0.1.
"""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from conftest import DATA_DEFAULT, DATA_VARIABLE
from xpnet import to_numpy
from xpnet.data.tiny import FILE, TinyImages, parse_images, read_tiny_images

X = {"rtol": 0, "atol": 1e-12}  # integers, rationals, closed forms
P2 = {"rtol": 0, "atol": 0.0051}  # printed with two decimals
P3 = {"rtol": 0, "atol": 0.003}  # one image: rounded start, rounded result
P3_UPDATE = {"rtol": 0, "atol": 0.0012}  # rounded old value, gradient and new value
P3_SUM = {"rtol": 0, "atol": 0.003}  # a sum over a set, from a rounded start
D = {"rtol": 1e-5, "atol": 1e-6}  # derived, and given with six decimals
D_F32 = {"rtol": 1e-5, "atol": 1e-4}  # the same in float32

IN_BOTH = pytest.mark.parametrize(("dtype", "tol"), [("float64", D), ("float32", D_F32)])

ZERO, ONE = [[1.0, 0.0]], [[0.0, 1.0]]  # targets of M1
IMAGE_1 = parse_images("111/101/101/111")
IMAGE_2 = parse_images("011/101/101/111")
IMAGE_3 = parse_images("110/101/101/111")
IMAGE_64 = parse_images("010/100/100/010")


@cache
def images_of_the_book(model: str) -> TinyImages:
    """The book's images of M1 or M2."""
    path = Path(os.environ.get(DATA_VARIABLE, DATA_DEFAULT)) / FILE
    if not path.is_file():
        pytest.skip(f"the book's images: {path} is not there; set {DATA_VARIABLE} to the data")
    return read_tiny_images(path, model)


def assert_params(got, want, tol):
    """Parameters or gradients by name, against tables."""
    assert got.keys() == want.keys()
    for name, values in want.items():
        array = to_numpy(got[name])
        assert array.shape == values.shape, name
        np.testing.assert_allclose(array, values, **tol, err_msg=name)
