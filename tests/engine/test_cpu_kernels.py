"""Every kernel of the CPU's engine against the layers that it does.

Errors are relative to the largest number of an array. Direct products err by 2e-15 in float64 here,
Winograd's by 7e-15, the worst of 20 seeds; EXACT is more than 10 times that.
"""

from copy import deepcopy
from functools import partial
from importlib import import_module
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet import get_device, softmax_cross_entropy, to_numpy
from xpnet.arrays.random import random_words
from xpnet.engine.cpu.activation import Rectify, RectifyBelow6, RectifyLeaking
from xpnet.engine.cpu.buffers import (
    LINE,
    Buffers,
    Scratch,
    in_book_order,
    in_memory_order,
    zeros,
)
from xpnet.engine.cpu.conv import PlanesGemm, ShiftGemm
from xpnet.engine.cpu.dense import Dense, Images
from xpnet.engine.cpu.dropout import DropUnits
from xpnet.engine.cpu.join import Copy, Padded
from xpnet.engine.cpu.kernel import COMPILED, KERNELS, AsWritten, Pass, kernel_of, patterns
from xpnet.engine.cpu.loss import LossAsWritten, part_loss
from xpnet.engine.cpu.norm import Normalize, RectifiedNorm
from xpnet.engine.cpu.philox import Philox
from xpnet.engine.cpu.pool import BorderedWindows, Mean, Pool2x2, RectifiedPool2x2, Windows
from xpnet.engine.cpu.winograd import POINTS, Winograd, toom_cook
from xpnet.engine.lower import lower
from xpnet.errors import ArgumentError
from xpnet.layers import (
    LRN,
    Affine,
    AveragePool,
    BatchNorm,
    Convolution,
    Dropout,
    GlobalAveragePool,
    Identity,
    IdentityWithLoss,
    LeakyReLU,
    MaxPool,
    PadShortcut,
    ReLU,
    ReLU6,
    ScaledTanh,
    Sequential,
    Sigmoid,
    SoftmaxWithLoss,
    Subsampling,
    Tanh,
    Unflatten,
    Unpooled,
)
from xpnet.layers.base import leaves
from xpnet.models.nodes import Trace

EXACT = 1e-13
EITHER = pytest.mark.parametrize("dtype", ["float64", "float32"])
SIZES = (1, 3, 50)
FORMS = pytest.mark.parametrize("compiled", [False, True], ids=["numpy", "compiled"])
"""For tests of kernels that have two forms: see `form_of`."""


def form_of(kind, compiled):
    """The kernel, or the one with compiled loops that takes its place."""
    if not compiled:
        return kind
    enter_loops()
    return COMPILED.get(kind, kind)


def enter_loops():
    """Have the kernels with compiled loops enter themselves; without numba the test is skipped."""
    pytest.importorskip("numba", reason="numba is not installed")
    import_module("xpnet.engine.cpu.fast")


class Poisoned(Scratch):
    """Shared memory that others write to."""

    def poison(self):
        """Fill it with NaN, as bits of either type; as a boolean, they are True."""
        for buffer in self._buffers.values():
            buffer.fill(0xFF)


def randomize(params, rng):
    """Other values, in place."""
    for array in params.values():
        array[...] = rng.standard_normal(array.shape)


def assert_near(got, want, tol, name=""):
    assert got.shape == want.shape, name
    limit = tol * np.max(np.abs(want))
    np.testing.assert_allclose(got, want, rtol=0, atol=limit, err_msg=name)


def alone(layers, shape, *, need_dx=True, compiled=False):
    """Layers in a row, lowered; their one operation is what these tests are of."""
    body = Sequential(layers)
    trace = Trace(body, shape, {key: key for key in body.params})
    fusible = patterns(trace.nodes, compiled=compiled)
    return lower(trace.nodes, trace.outputs, fusible, need_dx=need_dx)


class Built:
    """The kernel of one operation, made twice as `Program` does: the first learns of memory.

    What it does not make itself it finds in arrays of NaN: y inside a border of zeros.
    """

    def __init__(
        self,
        layers,
        shape,
        n,
        dtype="float64",
        *,
        kind=None,
        need_dx=True,
        border=1,
        compiled=False,
    ):
        layers = layers if isinstance(layers, list) else [layers]
        self.layer, self.samples = Sequential(layers), (n, *shape)
        lowered = alone(layers, shape, need_dx=need_dx, compiled=compiled)
        (op,) = lowered.ops
        kind = form_of(kind or kernel_of(op, compiled=compiled), compiled)
        self.scratch, self.under_way = Poisoned(), Pass(True, True)
        params = op.layer.params
        self.grads = {key: np.full(p.shape, np.nan, dtype) for key, p in params.items()}
        buffers = Buffers(lowered, [kind], n, np.dtype(dtype), self.scratch)
        for _ in range(2):
            buffers.begin()
            self.kernel = kind(op, 0, buffers, self.grads, self.under_way)
        kernel, self.needs = self.kernel, (need_dx,)
        if kernel.owns_x:
            self.x, self.dx = kernel.x, kernel.dx
        else:
            self.x, self.dx = (np.full(buffers.shape(shape), np.nan, dtype) for _ in "xd")
            kernel.inputs, kernel.gradients = [self.x], [self.dx if need_dx else None]
            self.dx = self.dx if need_dx else None
        if kernel.owns_y:
            self.around = kernel.y
        else:
            *image, n, features = buffers.shape(op.output_shape)
            self.around = np.zeros((*(size + 2 * border for size in image), n, features), dtype)
            inside = tuple(slice(border, border + size) for size in image)
            kernel.y, kernel.dy = self.around[inside], np.full((*image, n, features), np.nan, dtype)

    def pass_through(self, x, dy, *, need_grads=True):
        """y, dx and gradients, in the book's order; others write into shared memory meanwhile."""
        kernel = self.kernel
        kernel.prepare()
        self.x[...] = in_memory_order(x)
        self.scratch.poison()
        kernel.forward()
        if not (kernel.owns_x or kernel.keeps_x):
            self.x[...] = np.nan  # gone before the way back
        y = in_book_order(kernel.y).copy()
        self.scratch.poison()
        kernel.dy[...] = in_memory_order(dy)
        for step in kernel.steps_back(self.needs, need_grads):
            step()
        dx = None if self.dx is None else in_book_order(self.dx).copy()
        return y, dx, {key: grad.copy() for key, grad in self.grads.items()}

    def assert_equals_the_layer(self, rng, tol=EXACT):
        """Values and gradients, for random parameters and samples; what is not needed stays."""
        randomize(self.layer.params, rng)
        x = rng.standard_normal(self.samples)
        want, backward = self.layer.forward(x)
        dy = rng.standard_normal(want.shape)
        want_dx, want_grads = backward(dy)
        for need_grads in (False, True):
            for grad in self.grads.values():
                grad.fill(np.nan)
            y, dx, grads = self.pass_through(x, dy, need_grads=need_grads)
            assert_near(y, want, tol, "y")
            assert len(grads) == len(want_grads)
            for name, wanted in zip(grads, want_grads.values(), strict=True):
                if need_grads:
                    assert_near(grads[name], wanted, tol, name)
                else:
                    assert np.all(np.isnan(grads[name])), name
            if self.dx is not None:
                assert_near(dx, want_dx, tol, "dx")

    def assert_equals_the_layer_again_and_again(self, rng):
        """What an earlier pass left in its arrays, be it NaN, does not reach a later one."""
        self.assert_equals_the_layer(rng)
        y = in_book_order(self.kernel.y)
        self.pass_through(np.full(self.samples, np.nan), np.full(y.shape, np.nan))
        self.assert_equals_the_layer(rng)

    def assert_is_the_layer(self, x, dy, *, gradient=True):
        """Values and gradient are the layer's, bit for bit."""
        want, backward = self.layer.forward(x, train=self.under_way.train)
        want_dx, want_grads = backward(dy)
        y, dx, grads = self.pass_through(x, dy)
        np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(dx, want_dx)
        for key, wanted in zip(grads, want_grads.values(), strict=True):
            np.testing.assert_array_equal(grads[key], wanted)
        # The border stays 0.
        assert np.count_nonzero(self.around) == np.count_nonzero(self.kernel.y)


# Convolution


@pytest.mark.parametrize("pad", [0, 1, 2, 4])
@pytest.mark.parametrize("image", [(4, 4), (3, 8), (5, 7), (13, 6), (8, 11)])
@pytest.mark.parametrize("channels", [(8, 9), (1, 3), (16, 8)])
def test_winograd_is_the_convolution(channels, image, pad):
    """Sizes of which tiles of 4 cover no more than they have, and of which they do."""
    for n, need_dx in product(SIZES, (True, False)):
        layer = Convolution(*channels, 3, pad=pad, rng=0, bias=n != 3)
        built = Built(layer, (channels[0], *image), n, kind=Winograd, need_dx=need_dx)
        assert (built.kernel.dx is not None) == need_dx
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


def test_winograd_of_rows_that_are_cut_into_pieces():
    """A product with a whole row of these, 18 x 50 x 40 numbers, would no longer be small."""
    layer = Convolution(40, 32, 3, pad=1, rng=0)
    built = Built(layer, (40, 6, 16), 50, kind=Winograd)
    built.assert_equals_the_layer_again_and_again(np.random.default_rng(0))


WINDOWS = [
    # window, stride, pad
    ((1, 1), 1, 0), ((2, 2), 1, 1), ((3, 3), 1, 1), ((5, 3), 1, 2), ((3, 3), 1, 4),
    ((3, 3), 2, 0), ((2, 3), 2, 1), ((1, 1), 3, 2), ((2, 2), 3, 0),
]  # fmt: skip


@pytest.mark.parametrize(("window", "stride", "pad"), WINDOWS)
@pytest.mark.parametrize("image", [(6, 6), (7, 5), (5, 8)])
def test_shift_gemm_is_the_convolution(image, window, stride, pad):
    """Also with padding wider than the window, and pixels at the end that no window reaches."""
    for channels, n, need_dx in product([(1, 3), (4, 2), (9, 8)], SIZES, (True, False)):
        options = {"stride": stride, "pad": pad, "uneven": "drop", "bias": n != 3}
        layer = Convolution(*channels, window, rng=0, **options)
        built = Built(layer, (channels[0], *image), n, kind=ShiftGemm, need_dx=need_dx)
        assert (built.kernel.dx is not None) == need_dx
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


@pytest.mark.parametrize(("window", "stride", "pad"), WINDOWS)
@pytest.mark.parametrize("image", [(6, 6), (7, 5), (5, 8)])
def test_planes_gemm_is_the_convolution(image, window, stride, pad):
    for filters, n in product((1, 5), SIZES):
        options = {"stride": stride, "pad": pad, "uneven": "drop", "bias": n != 3}
        layer = Convolution(1, filters, window, rng=0, **options)
        built = Built(layer, (1, *image), n, kind=PlanesGemm, need_dx=False)
        assert built.kernel.dx is None
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


@pytest.mark.parametrize(
    ("window", "options", "image", "fits"),
    [
        (3, {"pad": 1}, (4, 4), True),
        (3, {"pad": 2}, (14, 14), True),
        (3, {"pad": 3}, (8, 8), True),
        (3, {"pad": 1}, (3, 3), True),  # a tile, 36 products, for 9 outputs and 81
        (3, {"pad": 1}, (2, 4), True),  # ... for 8 outputs and 72
        (3, {"pad": 1}, (2, 3), False),  # ... for 6 outputs and 54
        (3, {"pad": 1}, (5, 5), False),  # 4 tiles, 144 products, for 25 outputs and 225
        ((3, 2), {"pad": 1}, (8, 8), False),
        (5, {"pad": 2}, (8, 8), False),
        (3, {"stride": 2}, (9, 9), False),
    ],
)
def test_where_winograd_is_used(window, options, image, fits):
    """Where it saves half of the products."""
    assert Winograd.fits(Convolution(8, 8, window, rng=0, **options), (8, *image)) == fits


def test_where_planes_are_used():
    """For one channel, of which nobody asks the gradient."""
    assert PlanesGemm.fits(Convolution(1, 2, 3), (1, 8, 8))
    assert not PlanesGemm.fits(Convolution(2, 2, 3), (2, 8, 8))
    for channels, need_dx, want in (
        (1, False, PlanesGemm),
        (1, True, Winograd),
        (2, False, Winograd),
    ):
        layer = Convolution(channels, 2, 3, pad=1)
        (op,) = alone([layer], (channels, 8, 8), need_dx=need_dx).ops
        assert kernel_of(op) is want


@pytest.mark.parametrize(
    ("points", "outputs", "taps"),
    [
        ((0.0, 1.0, -1.0), 2, 3),
        ((0.0, 1.0, -1.0), 3, 2),
        ((0.0, 1.0, -1.0, 2.0, -2.0), 4, 3),
        ((2.0, 1 / 2, -3.0, 3 / 4, 1.0, -1 / 4), 5, 3),
        (POINTS, 4, 3),
    ],
)
def test_minimal_filtering_is_correlation(points, outputs, taps):
    """For all w and x at once: y_i = sum over k, m of C_ikm w_k x_m, where C_ikm is [m = i + k]."""
    BT, G, AT = toom_cook(points, outputs, taps)
    n = outputs + taps - 1
    assert [M.shape for M in (BT, G, AT)] == [(n, n), (n, taps), (outputs, n)]
    i, k, m = np.ogrid[:outputs, :taps, :n]
    got = np.einsum("ij,jk,jm->ikm", AT, G, BT)
    # Coefficients of up to 20 are rounded in the 16th place, and 7 products added.
    np.testing.assert_allclose(got, m == i + k, rtol=0, atol=1e-13)


def test_f23_is_that_of_the_literature():
    """Lavin, Gray 2015, section 4.1, whose B^T and A^T turn two signs round."""
    BT, G, AT = toom_cook((0.0, 1.0, -1.0), 2, 3)
    np.testing.assert_array_equal(BT, [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]])
    np.testing.assert_array_equal(G, [[-1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    np.testing.assert_array_equal(AT, [[1, 1, 1, 0], [0, 1, -1, 1]])


# How many times the error of PyTorch's convolution is allowed, array by array. Of 20 seeds the
# worst was 1.2 times with direct products, in db of few numbers. With Winograd's it was 8 times in
# y and dx, 1.7 times in dW and 0.2 times in db: products saved cost digits. What the gradients of
# whole networks lose by that is in test_engine.py.
DIRECT = {"y": 2, "dx": 2, "W": 2, "b": 2}
FILTERED = {"y": 12, "dx": 12, "W": 3, "b": 1}


@pytest.mark.parametrize(
    ("kind", "case", "allowed"),
    [
        (Winograd, (16, 16, 3, 1, (14, 14), 20), FILTERED),
        (Winograd, (64, 64, 3, 1, (8, 8), 20), FILTERED),
        (Winograd, (16, 32, 3, 2, (13, 11), 5), FILTERED),
        (PlanesGemm, (1, 30, 5, 0, (28, 28), 20), DIRECT),
        (PlanesGemm, (1, 4, 3, 1, (7, 6), 3), DIRECT),
        (ShiftGemm, (16, 16, 3, 1, (14, 14), 20), DIRECT),
        (ShiftGemm, (3, 8, 5, 2, (13, 11), 5), DIRECT),
    ],
)
def test_float32_is_about_as_near_to_float64_as_pytorch_is(kind, case, allowed):
    """The worst of 5 seeds of each."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.set_num_threads(1)
    channels, filters, window, pad, image, n = case
    shape, options = (channels, *image), {"kind": kind, "need_dx": kind is not PlanesGemm}
    ours, theirs = dict.fromkeys(allowed, 0.0), dict.fromkeys(allowed, 0.0)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        layer = Convolution(channels, filters, window, pad=pad, rng=rng)
        layer.params["b"] = rng.standard_normal(filters)
        x = rng.standard_normal((n, *shape))
        y, backward = layer.forward(x)
        dy = rng.standard_normal(y.shape)
        dx, grads = backward(dy)
        want = {"y": y, "dx": dx, **grads}

        layer.params = {key: p.astype(np.float32) for key, p in layer.params.items()}
        y, dx, grads = Built(layer, shape, n, "float32", **options).pass_through(x, dy)
        got = {"y": y, "dx": dx, **grads}
        tensors = {
            key: torch.tensor(a.astype(np.float32), requires_grad=True)
            for key, a in {"dx": x, **layer.params}.items()
        }
        y = torch.nn.functional.conv2d(*tensors.values(), padding=pad)
        y.backward(torch.tensor(dy.astype(np.float32)))
        torchs = {"y": y.detach(), **{key: tensor.grad for key, tensor in tensors.items()}}
        for errors, results in ((ours, got), (theirs, torchs)):
            for key, array in results.items():
                if array is not None:
                    error = np.max(np.abs(to_numpy(array) - want[key])) / np.max(np.abs(want[key]))
                    errors[key] = max(errors[key], error)
    assert all(ours[key] <= allowed[key] * theirs[key] for key in allowed), (ours, theirs)


# Products


@pytest.mark.parametrize(
    ("kind", "layer", "shape"),
    [
        (Winograd, lambda: Convolution(2, 3, 3, pad=1, rng=0), (2, 8, 8)),
        (ShiftGemm, lambda: Convolution(2, 3, 3, pad=1, rng=0), (2, 8, 8)),
        (Dense, lambda: Affine(12, 5, rng=0), (12,)),
    ],
)
def test_products_that_are_not_needed_are_not_computed(kind, layer, shape):
    """Of a kernel that could."""
    built, rng = Built(layer(), shape, 4, kind=kind), np.random.default_rng(0)
    y = built.layer.forward(np.zeros(built.samples))[0]
    x, dy = rng.standard_normal(built.samples), rng.standard_normal(y.shape)
    for needs, need_grads in product([(False,), (True,)], (False, True)):
        built.needs = needs
        built.dx.fill(np.nan)
        for grad in built.grads.values():
            grad.fill(np.nan)
        _, dx, grads = built.pass_through(x, dy, need_grads=need_grads)
        assert np.all(np.isnan(dx)) == (not needs[0])
        for grad in grads.values():
            assert np.all(np.isnan(grad)) == (not need_grads)


# The fully connected layer


@pytest.mark.parametrize("shape", [(12,), (3, 2, 2), (1, 3, 4)])
def test_dense_is_the_affine_layer(shape):
    for n, need_dx in product(SIZES, (True, False)):
        layer = Affine(12, 5, rng=0, bias=n != 3)
        built = Built(layer, shape, n, kind=Dense, need_dx=need_dx)
        assert (built.kernel.dx is not None) == need_dx
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


def test_dense_takes_rows_from_outside():
    """As they are, also where they are no neighbours in memory."""
    built, rng = Built(Affine(6, 5, rng=0), (6,), 4, need_dx=False), np.random.default_rng(0)
    rows, dy = rng.standard_normal((8, 6))[::2], rng.standard_normal((4, 5))
    kept = rows.copy()
    want, backward = built.layer.forward(rows)
    built.kernel.feed(rows)
    built.kernel.forward()
    assert_near(built.kernel.y, want, EXACT)
    built.kernel.dy[...] = dy
    built.kernel.backward((False,), True)
    assert_near(built.grads["W"], backward(dy)[1]["Affine1.W"], EXACT)
    np.testing.assert_array_equal(rows, kept)


# Without products


@FORMS
@EITHER
@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 4, 6), (5, 12, 2)])
def test_pool_is_the_layer_bit_for_bit(dtype, rectify, shape, compiled):
    """Of few values, so that most windows tie: among positive, zero and negative ones."""
    rng, (C, H, W) = np.random.default_rng(0), shape
    layers = [ReLU(), MaxPool(2, stride=2)][not rectify :]
    for n, values in product(SIZES, [(0, 1), (-1, 2), (-3, 0), (0, 2), (-9, 9)]):
        built = Built(layers, shape, n, dtype, compiled=compiled)
        assert type(built.kernel) is form_of(RectifiedPool2x2 if rectify else Pool2x2, compiled)
        for _ in range(2):
            x = rng.integers(*values, size=(n, *shape)).astype(dtype)
            dy = rng.standard_normal((n, C, H // 2, W // 2)).astype(dtype)
            built.assert_is_the_layer(x, dy)


@FORMS
@EITHER
@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 7, 8)])
@pytest.mark.parametrize(("window", "stride"), [(3, 1), (2, 2), (3, 3), ((2, 3), 2), (1, 2)])
def test_pool_of_any_windows_is_the_layer_bit_for_bit(dtype, window, stride, shape, compiled):
    """Also where they overlap; of few values, so that most windows tie."""
    rng = np.random.default_rng(0)
    layer = MaxPool(window, stride=stride, uneven="drop")
    for n, values in product(SIZES, [(0, 1), (-1, 2), (-9, 9)]):
        built = Built(layer, shape, n, dtype, kind=Windows, compiled=compiled)
        for _ in range(2):
            x = rng.integers(*values, size=(n, *shape)).astype(dtype)
            dy = rng.standard_normal((n, *layer.output_shape(shape))).astype(dtype)
            built.assert_is_the_layer(x, dy)


@FORMS
@EITHER
@pytest.mark.parametrize(("shape", "kind"), [((3, 4, 6), Pool2x2), ((2, 5, 7), Windows)])
def test_places_of_a_pool_are_those_of_the_layer(dtype, shape, kind, compiled):
    """Where values are put back, and gathered; of images with ties, and pixels left over."""
    rng, layer = np.random.default_rng(0), MaxPool(2, stride=2, uneven="drop")
    built = Built(layer, shape, 5, dtype, compiled=compiled)
    assert type(built.kernel) is form_of(kind, compiled)
    x = rng.integers(0, 3, (5, *shape)).astype(dtype)
    v = rng.standard_normal((5, *layer.output_shape(shape))).astype(dtype)
    built.pass_through(x, v)
    built.scratch.poison()
    got = np.full_like(built.x, np.nan)
    built.kernel.scatter(in_memory_order(v), got)
    flat = np.zeros((5, shape[0], shape[1] * shape[2]), dtype)
    places = layer.places(x).reshape(5, shape[0], -1)
    np.put_along_axis(flat, places, v.reshape(5, shape[0], -1), axis=2)
    np.testing.assert_array_equal(in_book_order(got), flat.reshape(x.shape))
    y = rng.standard_normal(x.shape).astype(dtype)
    built.scratch.poison()
    found = np.full_like(built.kernel.dy, np.nan)
    built.kernel.gather(in_memory_order(y), found)
    want = np.take_along_axis(y.reshape(5, shape[0], -1), places, axis=2)
    np.testing.assert_array_equal(in_book_order(found), want.reshape(v.shape))


def test_the_pool_of_a_scope_is_not_fused():
    """After ReLU the first of four zeros is the maximum, wherever the largest was before."""
    scope = Unpooled([ReLU()])
    for pool, count in ((MaxPool(2, stride=2), 1), (scope, 4)):
        assert len(alone([ReLU(), pool], (2, 4, 4)).ops) == count
    ops = alone([ReLU(), scope], (2, 4, 4)).ops
    assert [type(op.layer) for op in ops] == [ReLU, MaxPool, ReLU, Unpooled]


def test_the_first_maximum_of_a_window_gets_the_gradient():
    """Row by row, for each set of places that share the maximum; written out."""
    first = {
        (1, 1, 1, 1): 0, (0, 1, 1, 1): 1, (0, 0, 1, 1): 2, (0, 0, 0, 1): 3, (1, 0, 0, 1): 0,
        (0, 1, 1, 0): 1, (0, 1, 0, 1): 1, (1, 0, 1, 0): 0, (0, 0, 1, 0): 2,
    }  # fmt: skip
    for layers in ([MaxPool(2, stride=2)], [ReLU(), MaxPool(2, stride=2)]):
        built = Built(layers, (1, 2, 2), 1)
        for window, place in first.items():
            x = np.reshape(np.asarray(window, float), (1, 1, 2, 2))
            _, dx, _ = built.pass_through(x, np.full((1, 1, 1, 1), 3.0))
            assert dx.ravel().tolist() == [3.0 * (k == place) for k in range(4)]


@pytest.mark.parametrize(
    ("layer", "shape", "fits"),
    [
        (MaxPool(2, stride=2), (3, 4, 6), True),
        (MaxPool(2, stride=2, uneven="drop"), (3, 5, 6), False),
        (MaxPool(2, stride=2, uneven="drop"), (3, 4, 7), False),
        (MaxPool(2, stride=1), (3, 4, 6), False),
        (MaxPool(2, stride=2, pad=1), (3, 4, 6), False),
        (MaxPool(3, stride=2, uneven="drop"), (3, 4, 6), False),
        (MaxPool((2, 1), stride=2, uneven="drop"), (3, 4, 6), False),
        (MaxPool(2, stride=2, ties="all"), (3, 4, 6), False),
    ],
)
def test_where_the_fast_pool_is_used(layer, shape, fits):
    assert Pool2x2.fits(layer, shape) == fits


@FORMS
@EITHER
def test_rectify_below_6_is_the_layer_bit_for_bit(dtype, compiled):
    rng = np.random.default_rng(0)
    for n in (1, 30):
        built = Built(ReLU6(), (3, 5, 4), n, dtype, compiled=compiled)
        assert type(built.kernel) is form_of(RectifyBelow6, compiled)
        for _ in range(2):
            x = rng.integers(-3, 10, (n, 3, 5, 4)).astype(dtype)
            built.assert_is_the_layer(x, rng.standard_normal(x.shape).astype(dtype))


@FORMS
@EITHER
def test_leaky_relu_is_the_layer_bit_for_bit(dtype, compiled):
    rng = np.random.default_rng(0)
    for n, shape in product((1, 30), [(7,), (3, 5, 4)]):
        built = Built(LeakyReLU(0.2), shape, n, dtype, compiled=compiled)
        assert type(built.kernel) is form_of(RectifyLeaking, compiled)
        for _ in range(2):
            x = rng.integers(-3, 4, (n, *shape)).astype(dtype)
            built.assert_is_the_layer(x, rng.standard_normal(x.shape).astype(dtype))


def test_unflatten_is_the_layer_bit_for_bit():
    rng = np.random.default_rng(0)
    for n in SIZES:
        built = Built(Unflatten((3, 5, 4)), (60,), n, "float32")
        assert type(built.kernel) is Images
        for _ in range(2):
            x = rng.standard_normal((n, 60)).astype("float32")
            dy = rng.standard_normal((n, 3, 5, 4)).astype("float32")
            built.assert_is_the_layer(x, dy)


@FORMS
@EITHER
@pytest.mark.parametrize("shape", [(7,), (3, 5, 4), (30, 24, 24)])
def test_rectify_is_the_layer_bit_for_bit(dtype, shape, compiled):
    """The last is larger than the zeros it is compared with."""
    rng = np.random.default_rng(0)
    for n in (1, 30):
        built = Built(ReLU(), shape, n, dtype, compiled=compiled)
        assert type(built.kernel) is form_of(Rectify, compiled)
        for _ in range(2):
            x = rng.integers(-2, 3, (n, *shape)).astype(dtype)
            built.assert_is_the_layer(x, rng.standard_normal(x.shape).astype(dtype))
            assert np.count_nonzero(built.around) == np.count_nonzero(x > 0)


@pytest.mark.parametrize(
    ("layer", "shape", "kind"),
    [
        (Identity(), (3, 4, 5), Copy),
        (Identity(), (6,), Copy),
        (PadShortcut(1, 5), (3, 4, 5), Padded),
        (PadShortcut(2, 6), (3, 5, 4), Padded),
        (PadShortcut(3, 3), (3, 5, 7), Padded),
    ],
)
def test_shortcuts_are_the_layers_bit_for_bit(layer, shape, kind):
    rng = np.random.default_rng(0)
    for n in SIZES:
        built = Built(layer, shape, n, "float32")
        assert type(built.kernel) is kind
        for _ in range(2):
            x = rng.standard_normal((n, *shape)).astype("float32")
            dy = rng.standard_normal((n, *layer.output_shape(shape))).astype("float32")
            built.assert_is_the_layer(x, dy)


def test_the_mean_of_all_pixels_is_the_layer():
    for n, shape in product(SIZES, [(3, 4, 5), (1, 1, 7)]):
        built = Built(GlobalAveragePool(), shape, n)
        assert type(built.kernel) is Mean
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


@EITHER
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1 - 2**-40], ids=["none", "some", "all"])
@pytest.mark.parametrize("shape", [(7,), (3, 5, 2)])
def test_parts_have_their_part_of_the_mask_of_the_batch(dtype, inverted, ratio, shape):
    """Bit for bit; the inverted form multiplies by a factor, which rounds once more."""
    rng, n, tol = np.random.default_rng(0), 23, {"float64": 4e-16, "float32": 2e-7}[dtype]
    layer = Dropout(ratio, inverted=inverted, rng=1)
    layer.state["calls"][0] = 5 + 2**33
    x = rng.uniform(1, 2, (n, *shape)).astype(dtype)  # no zeros, so that a zero was left out
    dy = rng.uniform(1, 2, x.shape).astype(dtype)
    mask = layer.mask(x)
    whole = deepcopy(layer)
    want, backward = whole.forward(x, train=True)
    want_dx, _ = backward(dy)
    for first, end in [(0, 23), (0, 1), (1, 9), (9, 22), (22, 23)]:
        part = slice(first, end)
        built = Built(layer, shape, end - first, dtype)
        assert type(built.kernel) is DropUnits
        built.under_way.first = first
        y, dx, _ = built.pass_through(x[part], dy[part])
        for got, wanted in ((y, want), (dx, want_dx)):
            np.testing.assert_array_equal(got != 0, mask[part] == 1)
            np.testing.assert_allclose(got, wanted[part], rtol=tol if inverted else 0)
    assert layer.state["calls"][0] == 5 + 2**33
    built.kernel.commit()  # once for all parts
    assert layer.state["calls"][0] == 6 + 2**33


@EITHER
@pytest.mark.parametrize("inverted", [False, True])
def test_dropout_scales_at_inference(dtype, inverted):
    layer = Dropout(0.3, inverted=inverted, rng=1)
    x = np.random.default_rng(0).standard_normal((4, 3, 5, 2)).astype(dtype)
    built = Built(layer, (3, 5, 2), 4, dtype)
    built.under_way.train = False
    built.assert_is_the_layer(x, np.random.default_rng(1).standard_normal(x.shape).astype(dtype))
    assert layer.state["calls"][0] == 0


ANY = {
    "average": (lambda: AveragePool(2, stride=2), (3, 4, 6)),
    "max": (lambda: MaxPool(3, stride=2, pad=1), (3, 5, 7)),
    "sigmoid": (Sigmoid, (3, 4, 6)),
    "sigmoid of rows": (Sigmoid, (5,)),
    "batch norm": (lambda: BatchNorm(3), (3, 4, 6)),
    "batch norm of rows": (lambda: BatchNorm(5), (5,)),
}


@EITHER
@pytest.mark.parametrize("name", ANY)
def test_any_other_layer_is_itself(dtype, name):
    """Bit for bit, with gradients and running statistics; it keeps its own copy of x."""
    make, shape = ANY[name]
    rng = np.random.default_rng(0)
    layer = make()
    randomize(layer.params, rng)
    for arrays in (layer.params, getattr(layer, "state", {})):
        arrays |= {key: array.astype(dtype) for key, array in arrays.items()}
    built, twin = Built(layer, shape, 3, dtype, kind=AsWritten), deepcopy(layer)
    built.layer = Sequential([twin])
    for _ in range(2):
        x = rng.standard_normal((3, *shape)).astype(dtype)
        dy = rng.standard_normal((3, *layer.output_shape(shape))).astype(dtype)
        built.assert_is_the_layer(x, dy)
    for key, array in getattr(twin, "state", {}).items():
        np.testing.assert_array_equal(layer.state[key], array)


def test_a_layer_in_front_has_gradients_without_dx():
    layer, twin, rng = BatchNorm(5), BatchNorm(5), np.random.default_rng(0)
    built = Built(layer, (5,), 4, kind=AsWritten, need_dx=False)
    x, dy = rng.standard_normal((2, 4, 5))
    y, dx, grads = built.pass_through(x, dy)
    assert dx is None
    for key, want in twin.forward(x, train=True)[1](dy)[1].items():
        np.testing.assert_array_equal(grads[key], want)
    built.under_way.train = False
    y, *_ = built.pass_through(x, dy)
    np.testing.assert_array_equal(y, twin.forward(x)[0])


def test_every_layer_of_the_library_has_a_kernel_of_its_own():
    assert AsWritten not in KERNELS.values()
    assert {Sigmoid, Tanh, ScaledTanh, AveragePool, Subsampling, LRN} < KERNELS.keys()
    for layer, shape, kind in (
        (MaxPool(3, stride=2, pad=1), (3, 9, 9), BorderedWindows),
        (MaxPool(3, stride=2), (3, 9, 9), Windows),
        (MaxPool(2, stride=2), (3, 4, 4), Pool2x2),
    ):
        (op,) = alone([layer], shape).ops
        assert kernel_of(op) is kind


@EITHER
@pytest.mark.parametrize("layer", [Sigmoid, Tanh, ScaledTanh])
def test_squashing_functions_are_the_layers_bit_for_bit(layer, dtype):
    rng = np.random.default_rng(0)
    for shape in ((3, 4, 6), (7,)):
        built = Built(layer(), shape, 5, dtype)
        x, dy = rng.standard_normal((2, 5, *shape)).astype(dtype) * 9
        x.flat[:5] = [0.0, -0.0, 800.0, -800.0, -1e-30]
        built.assert_is_the_layer(x, dy)


# Batch normalization

NORMS = {"images": (3, 4, 6), "rows": (5,)}


def parts_of(shape, sizes, dtype, *, rectify, ddof=0, need_dx=True, compiled=False):
    """The layer, and a kernel of it for each part."""
    layer, rng = BatchNorm(shape[0], ddof=ddof), np.random.default_rng(3)
    randomize(layer.params, rng)
    for arrays in (layer.params, layer.state):
        arrays |= {key: array.astype(dtype) for key, array in arrays.items()}
    layer.state["running_mean"] += 2
    layers = [layer, ReLU()][: 1 + rectify]
    built = [Built(layers, shape, n, dtype, need_dx=need_dx, compiled=compiled) for n in sizes]
    kind = form_of(RectifiedNorm if rectify else Normalize, compiled)
    assert {type(each.kernel) for each in built} == {kind}
    return layer, built


@FORMS
@EITHER
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize(("sizes", "ddof"), [((7,), 0), ((7,), 1), ((4, 1, 6), 0), ((2, 9), 1)])
def test_parts_that_meet_are_the_layer(name, sizes, ddof, rectify, dtype, compiled):
    """Of features whose mean is large: values, gradients and running statistics.

    float64 errs by 4e-15 here, float32 by 3e-6, as far as the layer itself is from exact.
    """
    shape, tol = NORMS[name], {"float64": 1e-13, "float32": 3e-5}[dtype]
    layer, parts = parts_of(shape, sizes, dtype, rectify=rectify, ddof=ddof, compiled=compiled)
    twin, rng = deepcopy(parts[0].layer), np.random.default_rng(1)
    bounds = np.cumsum([0, *sizes])
    for _ in range(2):
        x = (rng.standard_normal((sum(sizes), *shape)) + 3).astype(dtype)
        want, backward = twin.forward(x, train=True)
        dy = rng.standard_normal(x.shape).astype(dtype)
        want_dx, want_grads = backward(dy)
        brought = []
        for built, first, end in zip(parts, bounds, bounds[1:], strict=False):
            built.x[...] = in_memory_order(x[first:end])
            built.scratch.poison()
            brought.append(built.kernel.bring())
            if not built.kernel.keeps_x:
                built.x[...] = np.nan
            built.scratch.poison()
        total = brought[0]
        for more in brought[1:]:
            total = total + more
        for built in parts:
            built.kernel.settle(total)
        y = np.concatenate([in_book_order(built.kernel.y) for built in parts])
        assert_near(y, want, tol, "y")
        brought = []
        for built, first, end in zip(parts, bounds, bounds[1:], strict=False):
            built.kernel.dy[...] = in_memory_order(dy[first:end])
            built.scratch.poison()
            brought.append(built.kernel.bring_back())
            if not built.kernel.keeps_x:  # else it reads both once more
                built.kernel.dy[...] = np.nan
            built.scratch.poison()
        for built in parts:
            built.kernel.settle_back(sum(brought[1:], brought[0]))
            built.kernel.backward((True,), True)
        dx = np.concatenate([in_book_order(built.dx) for built in parts])
        assert_near(dx, want_dx, tol, "dx")
        for key, wanted in want_grads.items():
            got = sum(built.grads[key.split(".")[-1]] for built in parts)
            assert_near(got, wanted, tol, key)
        parts[0].kernel.commit()
        for key, array in next(leaf for _, leaf in leaves(twin)).state.items():
            assert_near(layer.state[key], array, tol, key)


@FORMS
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("need_dx", [False, True])
@pytest.mark.parametrize("name", NORMS)
def test_batch_norm_by_running_statistics_is_the_layer(name, need_dx, rectify, compiled):
    """Whether a way back follows or not; what a training pass left does not reach it."""
    _, (built,) = parts_of(
        NORMS[name], (4,), "float64", rectify=rectify, need_dx=need_dx, compiled=compiled
    )
    rng = np.random.default_rng(0)
    built.x[...] = rng.standard_normal(built.x.shape)
    built.kernel.settle(built.kernel.bring())
    built.under_way.train = False
    layers = built.layer
    for keep in (True, False):
        built.under_way.keep = keep
        x, dy = rng.standard_normal((2, *built.samples))
        want, backward = layers.forward(x)
        want_dx, want_grads = backward(dy)
        if not keep:
            built.x[...] = in_memory_order(x)
            built.kernel.forward()
            assert_near(in_book_order(built.kernel.y), want, EXACT)
            continue
        y, dx, grads = built.pass_through(x, dy)
        assert_near(y, want, EXACT)
        for key, wanted in want_grads.items():
            assert_near(grads[key.split(".")[-1]], wanted, EXACT, key)
        if need_dx:
            assert_near(dx, want_dx, EXACT)


# Memory


def test_shared_memory_grows_and_old_arrays_keep_theirs():
    scratch = Scratch()
    small = scratch.get("a", (2, 3), np.float32)
    small[...] = 7
    large = scratch.get("a", (5,), np.float64)
    again = scratch.get("a", (3, 3), np.float32)
    assert [a.shape for a in (small, large, again)] == [(2, 3), (5,), (3, 3)]
    assert [a.dtype for a in (small, large, again)] == [np.float32, np.float64, np.float32]
    assert np.shares_memory(large, again)
    assert not np.shares_memory(small, large)
    assert not np.shares_memory(again, scratch.get("b", (5,), np.float64))
    large[...] = 0
    assert np.all(small == 7)


@EITHER
def test_arrays_begin_with_a_line_of_the_cache(dtype):
    """Whatever makes them, and however much lies before them."""
    lowered, scratch = alone([Sigmoid()], (5, 3, 3)), Scratch()
    buffers = Buffers(lowered, [AsWritten], 3, np.dtype(dtype), scratch)
    arrays = [zeros((3, 5), np.dtype(dtype)), buffers.kept((2, 7)), scratch.get("a", (3,), dtype)]
    arrays += [buffers.value(0), buffers.gradient(0)]
    arrays += [Built(Convolution(3, 2, 3, pad=1), (3, 5, 5), 3, dtype).kernel.y]
    assert [array.ctypes.data % LINE for array in arrays] == [0] * len(arrays)
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}


def test_arrays_share_memory_when_they_are_not_in_use_together():
    """Of a row of layers; scores are still there when their gradient and the next one are."""
    lowered = alone([Sigmoid(), Sigmoid(), Sigmoid(), Sigmoid()], (5,))
    buffers = Buffers(lowered, [AsWritten] * 4, 3, np.dtype("float64"), Scratch())
    for _ in range(2):
        buffers.begin()
        values = [buffers.value(k) for k in range(4)]
        gradients = [buffers.gradient(k) for k in range(4)]
    assert {a.shape for a in values + gradients} == {(3, 5)}
    assert np.shares_memory(values[0], values[2])
    assert not np.shares_memory(values[0], values[1])
    together = values[3], gradients[3], gradients[2]
    assert len({array.ctypes.data for array in together}) == 3
    assert len({array.ctypes.data for array in values + gradients}) == 3


# Random words


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(*[st.integers(0, 2**32 - 1)] * 2),
    st.integers(0, 200),
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 999)), min_size=1, max_size=3),
)
def test_words_from_anywhere_are_those_of_the_reference(key, n, wanted):
    """Also of steps beyond a 32-bit word, and again and again from the same arrays."""
    philox, cpu = Philox(key, n), get_device("cpu")
    for step, start in [*wanted, (2**32, 1), (2**33 + 7, 2)]:
        want = random_words(start + n, key=key, step=np.asarray([step]), device=cpu)[start:]
        got = philox.words(step, start)
        assert got.dtype.kind == "u"
        np.testing.assert_array_equal(got, want)


# Losses

SCORES = np.random.default_rng(0).standard_normal((6, 4)) * [[1], [1], [10], [100], [1e3], [1e-3]]
TARGETS = {
    "labels": np.array([0, 3, 1, 1, 2, 0]),
    "bytes": np.array([0, 3, 1, 1, 2, 0], np.uint8),
    "labels of a file": np.array([0, 3, 1, 1, 2, 0], ">i4"),
    "labels one a row": np.array([[0], [3], [1], [1], [2], [0]]),
    "one-hot": np.eye(4)[[0, 3, 1, 1, 2, 0]],
    "one-hot of integers": np.eye(4, dtype=int)[[0, 3, 1, 1, 2, 0]],
    "shares": np.random.default_rng(1).dirichlet(np.ones(4), 6),
    "shares of a file": np.random.default_rng(1).dirichlet(np.ones(4), 6).astype(">f8"),
}


@pytest.fixture(params=[False, True], ids=["NumPy", "loops"])
def softmax_loss(request):
    """What computes it, by NumPy and by compiled loops."""
    if request.param:
        enter_loops()
    return partial(part_loss, compiled=request.param)


@pytest.mark.parametrize(("dtype", "tol"), [("float64", 1e-15), ("float32", 1e-6)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("targets", TARGETS)
def test_softmax_loss_is_the_layer(softmax_loss, dtype, tol, smoothing, targets):
    """A share of it. Both round the same numbers, in another order."""
    layer, t = SoftmaxWithLoss(smoothing), TARGETS[targets]
    scores = np.empty((6, 4), dtype)
    dscores = np.full_like(scores, np.nan)
    loss = softmax_loss(layer, scores, dscores)
    for turn in range(2):
        scores[...] = np.roll(SCORES, turn)
        want, backward = layer.forward(scores, t)
        got = loss(t, 0.25)
        assert type(got) is float
        assert got == pytest.approx(0.25 * float(want), rel=10 * tol)
        np.testing.assert_allclose(dscores, 0.25 * backward(), rtol=tol, atol=tol)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("label", [4, 255, -1, -5, 2**63 - 1, -(2**63)])
def test_a_label_without_a_class_is_refused_as_by_the_layer(softmax_loss, label, smoothing):
    layer, scores, t = SoftmaxWithLoss(smoothing), SCORES.copy(), np.array([0, label, 1, 1, 2, 0])
    with pytest.raises(ArgumentError) as want:
        layer.forward(scores, t)
    with pytest.raises(ArgumentError) as got:
        softmax_loss(layer, scores, scores.copy())(t, 0.25)
    assert str(got.value) == str(want.value)


def test_a_class_that_is_impossible_has_no_part_in_the_softmax_loss(softmax_loss):
    scores = np.array([[1, -np.inf, 2], [0, 0, -np.inf]])
    for t in (np.array([0, 0]), np.eye(3)[[0, 0]]):
        dscores = np.empty_like(scores)
        loss = softmax_loss(SoftmaxWithLoss(), scores, dscores)(t, 1.0)
        assert loss == pytest.approx(1.003204434039084, rel=1e-15)
        want = softmax_cross_entropy(scores, t)[1]
        np.testing.assert_allclose(dscores, want, atol=1e-16)
    smoothed = softmax_loss(SoftmaxWithLoss(0.1), scores, np.empty_like(scores))
    assert smoothed(np.array([0, 0]), 1.0) == np.inf


def test_softmax_of_one_output_is_refused_as_by_the_layer(softmax_loss):
    scores = np.zeros((3, 1))
    for loss in (SoftmaxWithLoss(), SoftmaxWithLoss(0.1)):
        with pytest.raises(ArgumentError, match="of one output is always 1"):
            softmax_loss(loss, scores, scores.copy())(np.zeros(3, int), 1.0)


@EITHER
def test_any_mean_loss_is_itself(dtype):
    layer, rng = IdentityWithLoss(), np.random.default_rng(0)
    scores, t = rng.standard_normal((2, 6, 4)).astype(dtype)
    dscores = np.full_like(scores, np.nan)
    want, backward = layer.forward(scores, t)
    got = LossAsWritten(layer, scores, dscores)(t, 0.25)
    assert type(got) is float
    assert got == 0.25 * float(want)
    np.testing.assert_array_equal(dscores, 0.25 * backward())


@pytest.mark.parametrize("t", [np.zeros(6), np.zeros((6, 3)), np.zeros((6, 2), int)])
def test_targets_that_do_not_fit_are_refused_as_by_the_layer(softmax_loss, t):
    scores = np.zeros((6, 4))
    with pytest.raises(ArgumentError) as want:
        SoftmaxWithLoss().forward(scores, t)
    for loss in (softmax_loss(SoftmaxWithLoss(), scores, scores.copy()),
                 LossAsWritten(IdentityWithLoss(), scores, scores.copy())):  # fmt: skip
        with pytest.raises(ArgumentError) as got:
            loss(t, 1.0)
        assert str(got.value) == str(want.value)
