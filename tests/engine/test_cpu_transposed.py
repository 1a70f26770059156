"""Transposed convolution in the CPU's engine, with compiled loops and without, beside the layer."""

import numpy as np
import pytest

from test_cpu_kernels import Built, alone
from xpnet.engine import get_engine
from xpnet.engine.cpu import CpuEngine, transposed
from xpnet.engine.cpu.kernel import kernel_of
from xpnet.engine.cpu.transposed import SubpixelGemm
from xpnet.layers import (
    Affine,
    BatchNorm,
    Concatenate,
    Convolution,
    Identity,
    IdentityWithLoss,
    ReLU,
    Sequential,
    Sum,
    TransposedConvolution,
)
from xpnet.models import Network

GEOMETRY = [
    # channels, filters, window, stride, pad, output_pad, image
    (6, 6, 4, 2, 1, 0, (5, 4)),
    (3, 2, 16, 8, 4, 0, (3, 2)),
    (4, 3, 3, 2, 1, 1, (4, 5)),
    (2, 5, (3, 2), 1, 0, 0, (4, 3)),
    (1, 4, 1, 3, 0, 2, (3, 2)),
    (3, 1, (2, 5), (3, 1), (0, 2), (2, 0), (1, 4)),
    (2, 2, (4, 3), (2, 3), (1, 0, 2, 1), (1, 2), (3, 3)),
    (9, 8, 2, 2, 0, 0, (3, 4)),
    (2, 3, 2, 2, (3, 0, 0, 4), 1, (4, 4)),
    (1, 1, (7, 5), (2, 3), (9, 1), 1, (7, 1)),
]


@pytest.fixture(params=[1, transposed.BYTES], ids=["by rows", "at once"])
def size(request, monkeypatch):
    """Rows of blocks one by one, and all at once."""
    monkeypatch.setattr(transposed, "BYTES", request.param)


def of(geometry, **options):
    channels, filters, window, stride, pad, output_pad, image = geometry
    layer = TransposedConvolution(
        channels, filters, window, stride=stride, pad=pad, output_pad=output_pad, rng=0, **options
    )
    return layer, (channels, *image)


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("geometry", GEOMETRY, ids=str)
def test_the_product_is_the_layer(geometry):
    for n, need_dx in ((1, True), (3, False), (4, True)):
        layer, shape = of(geometry, bias=n != 3)
        built = Built(layer, shape, n, kind=SubpixelGemm, need_dx=need_dx)
        assert (built.kernel.dx is not None) == need_dx
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


@pytest.fixture(scope="module")
def fast():
    pytest.importorskip("numba", reason="numba is not installed")
    from xpnet.engine.cpu.fast import transposed

    return transposed


@pytest.mark.parametrize("geometry", GEOMETRY, ids=str)
def test_compiled_loops_are_the_layer(fast, geometry):
    for n, need_dx in ((1, True), (3, False), (4, True)):
        layer, shape = of(geometry, bias=n != 3)
        for behind, kind in (([], fast.RowsSubpixel), ([ReLU()], fast.RectifiedSubpixel)):
            built = Built(
                [layer, *behind], shape, n, kind=kind, need_dx=need_dx, compiled=bool(behind)
            )
            built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


def test_arrays_whose_pixels_do_not_lie_side_by_side_are_the_same(fast):
    layer, shape = of(GEOMETRY[2])
    for behind in ([], [ReLU()]):
        built = Built([layer, *behind], shape, 3, compiled=True)
        kernel = built.kernel
        H, W, n, C = kernel.y.shape
        kernel.y = np.empty((H, W, n, C + 2))[..., 1:-1]
        kernel.dy = np.empty((n, C, H, W)).transpose(2, 3, 0, 1)
        built.assert_equals_the_layer(np.random.default_rng(0))


@pytest.mark.parametrize("behind", [[], [ReLU()]])
def test_which_kernel_does_it(fast, behind):
    layer, shape = of(GEOMETRY[0])
    first, *others = alone([layer, *behind], shape).ops
    assert kernel_of(first) is SubpixelGemm
    assert len(others) == len(behind)
    (op,) = alone([layer, *behind], shape, compiled=True).ops
    assert kernel_of(op, compiled=True) is (fast.RectifiedSubpixel if behind else fast.RowsSubpixel)


def network(dtype):
    """It goes down and up again, and joins on the way: its values live in others' memory."""
    up = TransposedConvolution(5, 4, 3, stride=2, pad=1, output_pad=(0, 1), bias=False, rng=2)
    odd = TransposedConvolution(4, 3, (3, 4), stride=2, pad=(1, 1, 1, 2), output_pad=1, rng=3)
    down = Convolution(4, 5, 3, stride=2, pad=1, uneven="drop", rng=1)
    layers = {
        "enter": TransposedConvolution(2, 4, 3, pad=1, rng=0),
        "relu": ReLU(),
        "skips": Sum([Identity(), Sequential([down, BatchNorm(5), ReLU(), up, BatchNorm(4)])]),
        "joined": Concatenate([odd, TransposedConvolution.bilinear(4, 2)]),
        "scores": Convolution(7, 3, 3, rng=4),
        "fc": Affine(3 * 12 * 10, 4, rng=5),
    }
    return Network(layers, input_shape=(2, 7, 6), dtype=dtype)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("dtype", "tol"), [("float64", 1e-10), ("float32", 2e-4)])
def test_networks_compute_what_their_layers_do(fast, compiled, dtype, tol):
    net, rng = network(dtype), np.random.default_rng(0)
    for array in net.state.values():
        if array.dtype.kind == "f":
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    for n, threads in ((1, 1), (25, 2)):
        x, t = rng.standard_normal((n, 2, 7, 6)).astype(dtype), rng.integers(4, size=n)
        engine = (
            get_engine(net, "cpu", threads) if compiled else CpuEngine(net, threads, compiled=False)
        )
        pairs = [(engine.predict(x), net.predict(x))]
        state = {name: array.copy() for name, array in net.state.items()}
        if n > 1:
            loss, scores, grads = engine.loss_and_gradient(x, t)
            found = {name: grad.copy() for name, grad in grads.items()}
            for name, array in state.items():
                net.state[name][...] = array
            want_loss, want_scores, want = net.loss_and_gradient(x, t)
            pairs += [(loss, want_loss), (scores, want_scores)]
            pairs += [(found[name], want[name]) for name in want]
        y, back = engine.forward(x)
        want_y, want_back = net.forward(x)
        dy = rng.standard_normal(y.shape).astype(dtype)
        dx, _ = back(dy)
        pairs += [(y, want_y), (dx, want_back(dy)[0])]
        for got, other in pairs:
            limit = tol * max(1.0, float(np.max(np.abs(other))))
            np.testing.assert_allclose(got, other, rtol=0, atol=limit)


@pytest.mark.parametrize("compiled", [False, True])
def test_it_repeats_bit_for_bit_and_learns_nothing_where_it_is_frozen(fast, compiled):
    net, rng = network("float32"), np.random.default_rng(0)
    net.freeze("skips.branch2.TransposedConvolution1", "joined")
    x, t = rng.standard_normal((25, 2, 7, 6)).astype("float32"), rng.integers(4, size=25)
    runs = []
    for _ in range(2):
        _, scores, grads = CpuEngine(net, 2, compiled=compiled).loss_and_gradient(x, t)
        runs.append([scores.copy(), grads.flat.copy()])
        assert not any(np.any(grads[name]) for name in grads if name.startswith("joined"))
        assert np.any(grads["enter.W"])
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_no_number_reaches_what_it_reaches_in_the_layers(fast, compiled):
    """A window of 3 and steps of 2 leave places of the matrices without a weight."""
    layers = [TransposedConvolution(1, 2, 3, stride=2, pad=1, rng=0), ReLU()]
    net = Network(layers, IdentityWithLoss(), input_shape=(1, 4, 4), dtype="float64")
    x = np.random.default_rng(0).standard_normal((2, 1, 4, 4))
    x[0, 0, 1, 2] = np.nan
    engine = CpuEngine(net, 1, compiled=compiled)
    for got, want in (
        (engine.predict(x), net.predict(x)),
        (engine.forward(x)[0], net.forward(x)[0]),
    ):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    y, back = engine.forward(np.ones_like(x))
    dy = np.where(y == 0, np.nan, 1.0)
    dx, grads = back(dy)
    want_dx, want = net.forward(np.ones_like(x))[1](dy)
    assert not np.any(np.isnan(want_dx) & ~np.isnan(dx))
    for name, grad in want.items():
        assert not np.any(np.isnan(grad) & ~np.isnan(grads[name]))
