"""Windows of images: im2col, col2im, sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet import col2im, conv_output_size, im2col, to_numpy
from xpnet.errors import ArgumentError


@st.composite
def windows(draw):
    """Shapes of images and a window that fits them, evenly or not."""
    N, C = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    FH, FW = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride, pad = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    H = draw(st.integers(max(1, FH - 2 * pad), 7))
    W = draw(st.integers(max(1, FW - 2 * pad), 7))
    return (N, C, H, W), (FH, FW, stride, pad)


def by_definition(x, FH, FW, stride, pad):
    """Row (n OH + oy) OW + ox, column (c FH + fy) FW + fx: x[n, c, oy S + fy, ox S + fx]."""
    N, C, H, W = x.shape
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    OH, OW = (H + 2 * pad - FH) // stride + 1, (W + 2 * pad - FW) // stride + 1
    col = np.empty((N * OH * OW, C * FH * FW), x.dtype)
    for n, oy, ox, c, fy, fx in np.ndindex(N, OH, OW, C, FH, FW):
        value = x[n, c, oy * stride + fy, ox * stride + fx]
        col[(n * OH + oy) * OW + ox, (c * FH + fy) * FW + fx] = value
    return col


@settings(max_examples=50)
@given(windows())
def test_im2col_is_its_index_formula(case):
    shape, window = case
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    np.testing.assert_array_equal(im2col(x, *window, uneven="drop"), by_definition(x, *window))


@settings(max_examples=50)
@given(windows(), st.integers(0, 99))
def test_col2im_is_the_transpose_of_im2col(case, seed):
    """<im2col(x), c> = <x, col2im(c)>."""
    shape, window = case
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    col = im2col(x, *window, uneven="drop")
    c = rng.standard_normal(col.shape)
    back = col2im(c, shape, *window, uneven="drop")
    assert back.shape == shape
    assert np.sum(col * c) == pytest.approx(np.sum(x * back), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("window", [(3, 3, 1, 1), (2, 3, 2, 0), (1, 1, 1, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_on_every_library(device, window, dtype):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(dtype)
    there = device.asarray(x)
    col = im2col(there, *window)
    np.testing.assert_array_equal(to_numpy(col), by_definition(x, *window))
    back = col2im(col, x.shape, *window)
    assert col.dtype == back.dtype == device.dtype(dtype)
    np.testing.assert_allclose(to_numpy(back), col2im(im2col(x, *window), x.shape, *window))
    np.testing.assert_array_equal(to_numpy(there), x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (4, 3, 2),
            r"does not end at the edge of 4 pixels with pad 0: 1 would be left over; .*drop",
        ),
        ((2, 3), "needs an image of at least 3 pixels, got 2 with pad 0; use a smaller window"),
        ((4, 0), "window and its stride must be 1 or more"),
        ((4, 2, 0), "window and its stride must be 1 or more"),
        ((4, 2, 1, -1), "padding 0 or more, got window 2, stride 1, pad -1"),
    ],
)
def test_windows_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        conv_output_size(*arguments)
    if len(arguments) == 3 and arguments[2]:
        assert conv_output_size(*arguments, uneven="drop") == 1
