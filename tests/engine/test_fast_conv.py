"""Convolution with compiled loops, and ReLU and a pool behind it, against the layers."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

import test_cpu_kernels
from test_cpu_kernels import (
    EXACT,
    FILTERED,
    WINDOWS,
    Built,
    alone,
)
from xpnet.engine.cpu.conv import PlanesGemm
from xpnet.engine.cpu.depthwise import Depthwise
from xpnet.engine.cpu.fast import winograd
from xpnet.engine.cpu.fast.conv import (
    PooledPlanes,
    PooledShift,
    RectifiedPlanes,
    RectifiedShift,
)
from xpnet.engine.cpu.fast.pointwise import RectifiedPointwise
from xpnet.engine.cpu.fast.products import AS_IT_IS, TURNED, add_product, product_address
from xpnet.engine.cpu.fast.shift import RowsGemm
from xpnet.engine.cpu.fast.vectors import Flat, arithmetic
from xpnet.engine.cpu.fast.winograd import PooledWinograd, RectifiedWinograd, TiledWinograd
from xpnet.engine.cpu.kernel import kernel_of
from xpnet.layers import Convolution, MaxPool, ReLU

POOL = MaxPool(2, stride=2)


@pytest.fixture(params=[(1, 1), (1, 20), (10**6, 1)], ids=["one by one", "by rows", "at once"])
def size(request, monkeypatch):
    """Samples and rows one by one, rows of a few samples, and all at once."""
    numbers, tiles = request.param
    monkeypatch.setattr(winograd, "BYTES", numbers)
    monkeypatch.setattr(winograd, "LEAST_TILES", tiles)


def build(kind, layer, shape, n, need_dx=True, dtype="float64"):
    """The convolution with as many layers behind it as the kernel does."""
    behind = [] if kind is TiledWinograd else [ReLU()]
    behind += [POOL] if "Pooled" in kind.__name__ else []
    return Built(
        [layer, *behind], shape, n, dtype, kind=kind, need_dx=need_dx, compiled=bool(behind)
    )


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("kind", [TiledWinograd, RectifiedWinograd, PooledWinograd])
@pytest.mark.parametrize(
    ("channels", "image", "pad", "groups"),
    [
        ((3, 2), (4, 4), 1, 1), ((8, 9), (10, 6), 2, 1), ((1, 3), (6, 8), (1, 2), 1),
        ((12, 6), (8, 12), (2, 0, 2, 0), 3), ((6, 4), (14, 18), 1, 2),
    ],
)  # fmt: skip
def test_winograd_is_the_convolution(kind, channels, image, pad, groups):
    """Sizes of which tiles of 4 cover no more than they have, and of which they do."""
    for n, need_dx in ((1, True), (3, False), (7, True)):
        layer = Convolution(*channels, 3, pad=pad, groups=groups, rng=0, bias=n != 3)
        built = build(kind, layer, (channels[0], *image), n, need_dx)
        assert (built.kernel.dx is not None) == need_dx
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("kind", [TiledWinograd, RectifiedWinograd])
@pytest.mark.parametrize("image", [(3, 5), (13, 7)])
def test_winograd_of_odd_images_is_the_convolution(kind, image):
    layer = Convolution(3, 2, 3, pad=1, rng=0)
    build(kind, layer, (3, *image), 2).assert_equals_the_layer(np.random.default_rng(0))


@pytest.mark.parametrize("kind", [RectifiedPlanes, PooledPlanes, RectifiedShift, PooledShift])
@pytest.mark.parametrize(
    ("window", "stride", "pad"), [(3, 1, 1), (5, 1, 2), ((2, 3), (2, 1), (1, 2)), (1, 1, 0)]
)
def test_direct_products_are_the_convolution(kind, window, stride, pad):
    options = {"stride": stride, "pad": pad, "uneven": "drop"}
    for channels, n in ((1, 3), (3, 1), (4, 7)):
        groups = 2 if channels == 4 and issubclass(kind, RectifiedShift) else 1
        layer = Convolution(channels, 6, window, rng=0, bias=n != 3, groups=groups, **options)
        image = (11, 8) if window == (2, 3) else (6, 8)
        need_dx = issubclass(kind, RectifiedShift)
        built = build(kind, layer, (channels, *image), n, need_dx)
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


@pytest.mark.parametrize(("window", "stride", "pad"), WINDOWS)
@pytest.mark.parametrize("groups", [1, 2])
def test_products_row_by_row_are_the_convolution(window, stride, pad, groups):
    for n, need_dx in ((1, True), (3, False), (7, True)):
        options = {"stride": stride, "pad": pad, "uneven": "drop", "bias": n != 3}
        layer = Convolution(4, 6, window, rng=0, groups=groups, **options)
        built = Built(layer, (4, 7, 6), n, kind=RowsGemm, need_dx=need_dx)
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


@pytest.mark.parametrize("sides", ["as they are", "some of more channels", "rows of features"])
def test_products_of_pixels_are_the_convolution(sides):
    """More of them than are at work at a time; arrays as others have them."""
    for n, image in ((1, (4, 5)), (3, (6, 1)), (40, (3, 9))):
        layer = Convolution(6, 4, 1, rng=0, bias=n != 3)
        built = Built([layer, ReLU()], (6, *image), n, compiled=True)
        assert type(built.kernel) is RectifiedPointwise
        kernel, x, dx = built.kernel, built.x, built.dx
        if sides == "some of more channels":
            kernel.inputs, kernel.y, kernel.dy = [wider(x)], wider(kernel.y), wider(kernel.dy)
            kernel.gradients = [wider(dx)]
        elif sides == "rows of features":
            kernel.y, kernel.dy = features(kernel.y), features(kernel.dy)
        built.x, built.dx = kernel.inputs[0], kernel.gradients[0]
        built.assert_equals_the_layer(np.random.default_rng(n))


@pytest.mark.parametrize("sides", [np.copy, lambda dx: wider(dx)], ids=["as it is", "of more"])
def test_products_of_pixels_add_to_the_gradient_that_others_have_left(sides):
    built = Built([Convolution(6, 4, 1, rng=0), ReLU()], (6, 4, 5), 3, compiled=True)
    rng, kernel = np.random.default_rng(0), built.kernel
    x, dy = rng.standard_normal(built.samples), rng.standard_normal((3, 4, 4, 5))
    _, want, _ = built.pass_through(x, dy)
    kernel.op = replace(kernel.op, adds=(True,))
    kernel.__dict__.pop("_back")
    kernel.__dict__.pop("_outside")
    kernel.gradients = [sides(built.dx)]
    kernel.gradients[0][...] = 1.0
    kernel.backward((True,), True)
    np.testing.assert_allclose(kernel.gradients[0].transpose(2, 3, 0, 1), want + 1.0, rtol=1e-12)


def wider(array):
    """Some channels of more, as large as an array."""
    return np.full((*array.shape[:-1], array.shape[-1] + 3), np.nan)[..., 2:-1]


def features(array):
    """As large as an array, in the order of a fully connected layer's rows."""
    H, W, n, C = array.shape
    return np.full((n, C, H, W), np.nan).transpose(2, 3, 0, 1)


KINDS = [RectifiedWinograd, PooledWinograd, RectifiedPlanes, PooledPlanes, PooledShift]


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_whose_pixels_do_not_lie_side_by_side_are_the_same(kind):
    """Such as some channels of several that are joined, or the rows of a fully connected layer."""
    shape, rng = (1, 6, 8), np.random.default_rng(0)
    layer = Convolution(1, 4, 3, pad=1, rng=0)
    built = build(kind, layer, shape, 3, need_dx=not issubclass(kind, RectifiedPlanes))
    kernel = built.kernel
    H, W, n, C = kernel.y.shape
    assert Flat.of(kernel.y) is not None
    kernel.y = np.empty((H, W, n, C + 2))[..., 1:-1]
    kernel.dy = np.empty((n, C, H, W)).transpose(2, 3, 0, 1)
    assert Flat.of(kernel.y) is Flat.of(kernel.dy) is None
    built.assert_equals_the_layer(rng)


@pytest.mark.parametrize("kind", KINDS)
def test_of_equal_numbers_the_first_wins_and_what_is_no_number_goes_on(kind):
    """A filter that takes images as they are: of few values, so that most windows tie."""
    shape, rng = (1, 8, 8), np.random.default_rng(0)
    layer = Convolution(1, 1, 3, pad=1, rng=0)
    layer.params["W"][...] = np.eye(3)[1] * np.eye(3)[1][:, np.newaxis]
    layer.params["b"][...] = 0
    built = build(kind, layer, shape, 5, need_dx=False)
    x = rng.integers(-1, 2, built.samples).astype(float)
    if issubclass(kind, TiledWinograd):
        x = np.repeat(np.repeat(x[:, :, ::4, ::4], 4, 2), 4, 3)  # it rounds equal numbers apart
        x = np.abs(x)
    y, backward = built.layer.forward(x)
    dy = rng.standard_normal(y.shape)
    _, grads = backward(dy)
    got, _, found = built.pass_through(x, dy)
    np.testing.assert_allclose(got, y, atol=EXACT)
    if not issubclass(kind, TiledWinograd):
        for name, want in zip(found, grads.values(), strict=True):
            np.testing.assert_allclose(found[name], want, atol=1e-12)
    x[2, 0, 3, 3] = np.nan
    got, _, _ = built.pass_through(x, dy)
    with np.errstate(invalid="ignore"):
        assert np.isnan(got[2]).any()
    assert not np.isnan(got[:2]).any()


@pytest.mark.parametrize(
    ("layer", "image", "need_dx", "kinds"),
    [
        (Convolution(16, 8, 3, pad=1), (8, 8), True, "Winograd"),
        (Convolution(1, 8, 5), (12, 12), False, "Planes"),
        (Convolution(1, 8, 5), (12, 12), True, "Shift"),
        (Convolution(16, 8, 5, groups=2), (12, 12), True, "Shift"),
    ],
)
def test_which_kernel_does_it(layer, image, need_dx, kinds):
    shape = (layer.params["W"].shape[1] * layer.groups, *image)
    for behind, name in (([ReLU()], "Rectified"), ([ReLU(), POOL], "Pooled")):
        (op,) = alone([layer, *behind], shape, need_dx=need_dx, compiled=True).ops
        assert kernel_of(op, compiled=True).__name__ == name + kinds
    (op,) = alone([layer], shape, need_dx=need_dx, compiled=True).ops
    assert (kernel_of(op, compiled=True) is TiledWinograd) == (kinds == "Winograd")


def test_depthwise_convolution_is_by_itself():
    ops = alone([Convolution(4, 4, 3, groups=4), ReLU()], (4, 8, 8), compiled=True).ops
    assert len(ops) == 2
    assert kernel_of(ops[0], compiled=True) is Depthwise
    (op,) = alone([Convolution(1, 2, 3)], (1, 8, 8), need_dx=False, compiled=True).ops
    assert kernel_of(op, compiled=True) is PlanesGemm


@pytest.mark.parametrize(
    ("kind", "case", "allowed"),
    [(TiledWinograd, (16, 16, 3, 1, (14, 14), 20), FILTERED)],
)
def test_float32_is_near_to_float64(kind, case, allowed):
    test_cpu_kernels.test_float32_is_about_as_near_to_float64_as_pytorch_is(kind, case, allowed)


def test_a_pass_repeats_bit_for_bit():
    layer, rng = Convolution(8, 8, 3, pad=1, rng=0), np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 5, 8, 12, 12)).astype(np.float32)
    runs = [
        build(RectifiedWinograd, layer, (8, 12, 12), 5, dtype="float32").pass_through(x, dy)
        for _ in range(2)
    ]
    for a, b in zip(*([y, dx, *grads.values()] for y, dx, grads in runs), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_within_loops_are_those_of_numpy(dtype):
    """Also where matrices are parts of wider ones, and where something is there before."""

    @arithmetic
    def multiply(address, turned, A, B, before, C, m, n, k):
        add_product(address, turned, m, n, k, A, A.shape[1], B, B.shape[1], before, C, C.shape[1])

    rng, address = np.random.default_rng(0), product_address(dtype)
    A, B, C = (rng.standard_normal(shape).astype(dtype) for shape in ((5, 7), (7, 4), (6, 9)))
    for turned, given in ((AS_IT_IS, A), (TURNED, np.ascontiguousarray(A.T))):
        for before in (0.0, 1.0):
            got, want = C.copy(), C.copy()
            want[:5, :3] = before * want[:5, :3] + A @ B[:, :3]
            multiply(address, turned, given, B, before, got, 5, 3, 7)
            np.testing.assert_allclose(got, want, rtol=100 * np.finfo(dtype).eps)
