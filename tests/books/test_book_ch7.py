"""Deep Learning from Scratch, chapter 7: convolution, pooling, im2col and the SimpleConvNet.

Each example runs through `xpnet.books.saitoh`, whose nodes are the book's, and `xpnet.layers`.
col2im is in test_im2col.py; the training run and its pictures are left to the scripts.
"""

from math import prod
from types import SimpleNamespace

import numpy as np
import pytest

from tolerances import IN_BOTH, assert_near
from xpnet import SimpleConvNet, conv_output_size, gradient_check, im2col, layers, to_numpy
from xpnet.books import saitoh
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import padded


def kept_convolution(W, b, stride=1, pad=0):
    FN, C, FH, FW = W.shape
    layer = layers.Convolution(C, FN, (FH, FW), stride=stride, pad=pad)
    layer.params = {"W": W, "b": b}
    return SimpleNamespace(forward=lambda x: layer.forward(x)[0])


def kept_pooling(height, width, stride=1, pad=0):
    layer = layers.MaxPool((height, width), stride=stride, pad=pad)
    return SimpleNamespace(forward=lambda x: layer.forward(x)[0])


@pytest.fixture(params=["book", "layers"])
def nodes(request):
    """The book's nodes, in its own form or over `xpnet.layers`."""
    if request.param == "book":
        return SimpleNamespace(Convolution=saitoh.Convolution, Pooling=saitoh.Pooling)
    return SimpleNamespace(Convolution=kept_convolution, Pooling=kept_pooling)


FIGURE_7_3 = [[1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1]]
FILTER = [[2, 0, 1], [0, 1, 2], [1, 0, 2]]
FILTERED = [[15, 16], [6, 15]]
FIGURE_7_7 = [[(x - y) % 4 for x in range(1, 8)] for y in range(7)]  # 1, 2, 3, 0, 1, 2, 3


def convolved(device, nodes, image, *, bias=0.0, dtype="float64", kernel=FILTER, **options):
    """One filter over one image of one channel."""
    x, W = (device.asarray([[values]], dtype=dtype) for values in (image, kernel))
    return nodes.Convolution(W, device.asarray([bias], dtype=dtype), **options).forward(x)


@pytest.mark.parametrize(("bias", "want"), [(0, FILTERED), (3, [[18, 19], [9, 18]])])
@IN_BOTH
def test_filter_and_bias(device, nodes, bias, want, dtype, tol):
    """Figures 7-3 to 7-5: small integers, which both dtypes hold exactly."""
    assert_near(convolved(device, nodes, FIGURE_7_3, bias=bias, dtype=dtype), [[want]])


def test_a_filter_is_not_turned_round(device, nodes):
    """A 1 in one place of the window picks what that place sees."""
    for fy, fx in np.ndindex(3, 3):
        kernel = np.zeros((3, 3))
        kernel[fy, fx] = 1
        want = np.asarray(FIGURE_7_3)[fy : fy + 2, fx : fx + 2]
        assert_near(convolved(device, nodes, FIGURE_7_3, kernel=kernel), [[want]])


@pytest.mark.parametrize(("pad", "size", "out"), [(1, 6, 4), (2, 8, 6), (3, 10, 8)])
def test_padding(device, nodes, pad, size, out):
    """Figure 7-6; inside, the output is that without padding."""
    rows = device.asarray(np.reshape(FIGURE_7_3, (4, 4, 1, 1)))
    assert padded(rows, pad).shape == (size, size, 1, 1)
    y = convolved(device, nodes, FIGURE_7_3, pad=pad)
    assert y.shape == (1, 1, out, out)
    assert_near(y[..., pad : pad + 2, pad : pad + 2], [[FILTERED]])


def test_stride(device, nodes):
    """Figure 7-7: steps of 2 take (7, 7) to (3, 3), every second place of steps of 1."""
    assert FIGURE_7_7[:2] == [[1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 0, 1, 2]]
    y = convolved(device, nodes, FIGURE_7_7, stride=2)
    assert y.shape == (1, 1, 3, 3)
    assert_near(y, to_numpy(convolved(device, nodes, FIGURE_7_7))[:, :, ::2, ::2])


@pytest.mark.parametrize(
    ("image", "pad", "stride", "size", "want"),
    [((4, 4), 1, 1, 3, (4, 4)), ((7, 7), 0, 2, 3, (3, 3)), ((28, 31), 2, 3, 5, (10, 11))],
)
def test_output_size(device, nodes, image, pad, stride, size, want):
    """Equation 7.1, alone and in a layer."""
    assert tuple(conv_output_size(n, size, stride, pad) for n in image) == want
    kernel = np.ones((size, size))
    y = convolved(device, nodes, np.ones(image), kernel=kernel, stride=stride, pad=pad)
    assert y.shape == (1, 1, *want)


def test_sizes_that_do_not_divide_are_refused(device, nodes):
    x = device.asarray(np.ones((1, 1, 4, 4)))
    for node in (
        nodes.Convolution(device.asarray(np.ones((1, 1, 3, 3))), device.asarray([0.0]), stride=2),
        nodes.Pooling(3, 3, 2),
    ):
        with pytest.raises(ArgumentError, match="does not end at the edge of 4 pixels"):
            node.forward(x)
    with pytest.raises(ArgumentError, match="1 would be left over"):
        conv_output_size(4, 3, 2)


@IN_BOTH
def test_channels_are_convolved_separately_and_summed(device, nodes, dtype, tol):
    """Figure 7-8: three channels, for a batch and two filters; the bias is added once."""
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((2, 3, 3, 3))
    b = np.asarray([1.0, -2.0])

    def forward(x, W, b):
        x, W, b = (device.asarray(values, dtype=dtype) for values in (x, W, b))
        return to_numpy(nodes.Convolution(W, b).forward(x))

    alone = [forward(x[:, c : c + 1], W[:, c : c + 1], np.zeros(2)) for c in range(3)]
    sums = tol | {"atol": max(tol["atol"], 1e-12)}  # added in another order
    assert_near(forward(x, W, b), sum(alone) + b[:, None, None], sums)


def test_channels_must_match(device, nodes):
    W, b = device.asarray(np.ones((2, 3, 3, 3))), device.asarray(np.zeros(2))
    with pytest.raises(ArgumentError, match=r"images of 3 channels, \(3, H, W\), got \(1, 4, 4\)"):
        nodes.Convolution(W, b).forward(device.asarray(np.ones((1, 1, 4, 4))))


def test_weights_have_one_filter_a_row():
    """20 filters for 3 channels of 5 x 5."""
    layer = layers.Convolution(3, 20, 5)
    assert {k: p.shape for k, p in layer.params.items()} == {"W": (20, 3, 5, 5), "b": (20,)}


def test_the_books_convolution_keeps_its_gradients(device):
    """dW, db and dx of L = sum y: every window adds itself to dW, every place of W to dx."""
    x, W = (device.asarray([[v]], dtype="float64") for v in (FIGURE_7_3, FILTER))
    node = saitoh.Convolution(W, device.asarray([0.0]))
    dx = node.backward(device.xp.ones_like(node.forward(x)))
    image, kernel = np.asarray(FIGURE_7_3), np.asarray(FILTER)
    dW, want = np.zeros((3, 3)), np.zeros((4, 4))
    for y, x in np.ndindex(2, 2):
        dW += image[y : y + 3, x : x + 3]
        want[y : y + 3, x : x + 3] += kernel
    for got, value in ((node.dW, [[dW]]), (node.db, [4]), (dx, [[want]])):
        assert_near(got, value)


FIGURE_7_14 = [[1, 2, 1, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 4, 0, 1]]


@IN_BOTH
def test_max_pooling(device, nodes, dtype, tol):
    """Figure 7-14; a second channel and image are pooled by themselves."""
    image = np.asarray(FIGURE_7_14)
    x = device.asarray([[image, -image], [image + 1, image.T]], dtype=dtype)
    y = nodes.Pooling(2, 2, 2).forward(x)
    want = [[[[2, 3], [4, 2]], [[0, 0], [0, 0]]], [[[3, 4], [5, 3]], [[2, 4], [3, 2]]]]
    assert_near(y, want)


def test_the_books_pooling_sends_the_gradient_to_the_maximum(device):
    x = device.asarray([[FIGURE_7_14]], dtype="float64")
    node = saitoh.Pooling(2, 2, 2)
    node.forward(x)
    dx = node.backward(device.asarray([[[[5.0, 6.0], [7.0, 8.0]]]]))
    assert_near(dx, [[[[0, 5, 0, 0], [0, 0, 0, 6], [0, 0, 0, 8], [0, 7, 0, 0]]]])


def test_pooling_hardly_minds_a_shift(device, nodes):
    """Figure 7-16's point: maxima stay while they stay in their 3 x 3 windows: no identity."""
    image = np.asarray(
        [[1, 2, 0, 4, 1, 0], [0, 9, 2, 3, 7, 3], [3, 0, 1, 2, 1, 2],
         [2, 4, 0, 1, 0, 1], [6, 0, 1, 2, 8, 2], [2, 4, 0, 1, 3, 1]]
    )  # fmt: skip
    shifted = np.concatenate([image[:, :1], image[:, :-1]], axis=1)  # one column to the right
    pool = nodes.Pooling(3, 3, 3)
    for x in (image, shifted):
        assert_near(pool.forward(device.asarray([[x]], dtype="float64")), [[[[9, 7], [6, 8]]]])
    again = np.concatenate([shifted[:, :1], shifted[:, :-1]], axis=1)  # 9 and 8 leave theirs
    assert_near(pool.forward(device.asarray([[again]], dtype="float64")), [[[[3, 9], [6, 4]]]])


def test_shapes_of_arrays(device):
    """Sections 7.4.1 and 7.4.3: a batch of images, its rows, and im2col's."""
    x = device.asarray(np.zeros((10, 1, 28, 28)))
    assert (x[0, ...].shape, x[0, 0, ...].shape) == ((1, 28, 28), (28, 28))
    x = device.asarray(np.zeros((10, 3, 5, 5)))
    assert (prod(x.shape), device.xp.reshape(x, (10, -1)).shape) == (750, (10, 75))
    for n, rows in ((1, 9), (10, 90)):
        assert im2col(device.asarray(np.zeros((n, 3, 7, 7))), 5, 5, 1, 0).shape == (rows, 75)


def test_axes_of_the_product(device, nodes):
    """Figure 7-20: rows of im2col by columns of filters are (N, H, W, C); 0, 3, 1, 2 makes NCHW."""
    rng = np.random.default_rng(0)
    x, W = (device.asarray(rng.standard_normal(s)) for s in ((10, 3, 7, 6), (4, 3, 5, 3)))
    rows = im2col(x, 5, 3) @ device.xp.reshape(W, (4, -1)).T
    want = device.xp.permute_dims(device.xp.reshape(rows, (10, 3, 4, 4)), (0, 3, 1, 2))
    y = nodes.Convolution(W, device.asarray(np.zeros(4))).forward(x)
    assert_near(y, to_numpy(want), {"rtol": 1e-12, "atol": 1e-12})  # sums in another order


def test_simple_conv_net_in_numbers(device):
    """Section 7.5: 28 - 5 + 1 = 24, pooled to 12, 30 * 12 * 12 = 4320."""
    net = SimpleConvNet(rng=0, device=device)
    assert [(row.name, row.output_shape, row.parameters) for row in net.summary()] == [
        ("Conv1", (30, 24, 24), 780),
        ("Relu1", (30, 24, 24), 0),
        ("Pool1", (30, 12, 12), 0),
        ("Affine1", (100,), 432_100),
        ("Relu2", (100,), 0),
        ("Affine2", (10,), 1010),
    ]
    assert net.params.count == 433_890
    for name in ("b1", "b2", "b3"):
        assert not np.any(to_numpy(net.params[name]))
    std = np.std(to_numpy(net.params["W2"]))
    np.testing.assert_allclose(std, 0.01, rtol=4 / np.sqrt(2 * 432_000))  # four sd of 432,000 draws

    x = device.asarray(np.ones((2, 1, 28, 28), np.float32))
    for name, layer in net.layers.items():
        x = layer.forward(x)[0]
        assert x.shape == (2, *net.output_shapes[name])


def test_gradient_check():
    """ch07/gradient_check.py: one random image with label 1; bounds as in chapter 5.

    The seed is one of those where no difference steps over a kink of ReLU or pooling. All 1,820
    parameters take 10 s on array-api-strict: the other libraries are checked in test_conv_nets.py.
    """
    rng = np.random.default_rng(3)
    param = {"filter_num": 10, "filter_size": 3, "pad": 0, "stride": 1}
    net = SimpleConvNet((1, 10, 10), param, 10, rng=rng, dtype="float64")
    errors = gradient_check(net, rng.random((1, 1, 10, 10)), np.asarray([1]))
    bounds = dict.fromkeys(["W1", "b1", "W2", "b2", "W3"], 1e-11) | {"b3": 1e-9}
    assert errors.keys() == bounds.keys()
    assert {k: e for k, e in errors.items() if not e < bounds[k]} == {}
