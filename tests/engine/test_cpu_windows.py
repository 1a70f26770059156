"""The CPU engine's kernels for groups, tables, four-sided padding, and windows beyond the image."""

from itertools import product

import numpy as np
import pytest

from test_cpu_kernels import EITHER, EXACT, FORMS, Built, alone, enter_loops, randomize
from xpnet.engine.cpu.conv import PlanesGemm, ShiftGemm
from xpnet.engine.cpu.depthwise import Depthwise
from xpnet.engine.cpu.kernel import kernel_of
from xpnet.engine.cpu.lrn import NormalizeLocally
from xpnet.engine.cpu.pool import Averages, BorderedWindows, ScaledSums, Windows
from xpnet.engine.cpu.winograd import Winograd
from xpnet.layers import LRN, AveragePool, Convolution, MaxPool, ReLU, Subsampling

STEPS = [
    # stride, pad
    (1, 0), (1, (1, 2)), ((2, 1), (2, 0, 1, 3)), ((1, 2), 1), ((2, 3), 4), (2, (0, 0, 1, 1)),
]  # fmt: skip


def kernels(layer, shape, n, *, kind=None):
    """With the gradient of the images, and without."""
    for need_dx in (True, False):
        yield Built(layer, shape, n, kind=kind, need_dx=need_dx)


@pytest.mark.parametrize(("stride", "pad"), STEPS)
@pytest.mark.parametrize(
    ("channels", "filters", "groups", "kind"),
    [
        (4, 4, 4, Depthwise),
        (4, 8, 4, ShiftGemm),  # two filters for each channel
        (6, 9, 3, ShiftGemm),
        (5, 3, 1, ShiftGemm),
    ],
)
def test_groups_and_uneven_sides_are_the_convolution(channels, filters, groups, kind, stride, pad):
    """Also with padding wider than the window, and pixels at the end that no window reaches."""
    for window, n in product([(3, 3), (2, 3), (1, 1)], (1, 17)):
        options = {"stride": stride, "pad": pad, "groups": groups, "bias": n == 1}
        layer = Convolution(channels, filters, window, uneven="drop", rng=0, **options)
        for built in kernels(layer, (channels, 6, 7), n, kind=kind):
            built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


@pytest.mark.parametrize(("stride", "pad"), STEPS)
def test_planes_of_few_channels_are_the_convolution(stride, pad):
    for channels, n in product((1, 3), (1, 5)):
        options = {"stride": stride, "pad": pad, "uneven": "drop", "bias": n == 1}
        layer = Convolution(channels, 4, (2, 3), rng=0, **options)
        built = Built(layer, (channels, 6, 7), n, kind=PlanesGemm, need_dx=False)
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


@pytest.mark.parametrize("pad", [0, (1, 2), (0, 3, 1, 0)])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_winograd_of_groups_and_uneven_sides_is_the_convolution(groups, pad):
    layer = Convolution(12, 6, 3, pad=pad, groups=groups, rng=0)
    for built in kernels(layer, (12, 6, 9), 3, kind=Winograd):
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(0))


@pytest.mark.parametrize("kind", [Winograd, ShiftGemm, PlanesGemm])
def test_what_a_table_does_not_connect_has_no_gradient(kind):
    table = [(0, 1), (1, 2), (0, 2, 3), (3,), (0, 1, 2, 3)]
    layer = Convolution(4, 5, 3, pad=1, table=table, rng=0)
    built = Built(layer, (4, 6, 6), 3, kind=kind, need_dx=kind is not PlanesGemm)
    rng = np.random.default_rng(0)
    randomize(layer.params, rng)
    layer.params["W"] *= layer.mask
    x, dy = rng.standard_normal((3, 4, 6, 6)), rng.standard_normal((3, 5, 6, 6))
    want, backward = layer.forward(x)
    y, _, grads = built.pass_through(x, dy)
    np.testing.assert_allclose(y, want, rtol=0, atol=EXACT * np.max(np.abs(want)))
    for key, wanted in backward(dy)[1].items():
        limit = EXACT * np.max(np.abs(wanted))
        np.testing.assert_allclose(grads[key], wanted, rtol=0, atol=limit, err_msg=key)
    assert np.all(grads["W"][:, :, 0, 0][layer.mask[:, :, 0, 0] == 0] == 0)
    assert np.count_nonzero(grads["W"]) == np.count_nonzero(layer.mask) * 9


@pytest.mark.parametrize(
    ("layer", "shape", "kind"),
    [
        (Convolution(8, 8, 3, groups=8), (8, 9, 9), Depthwise),
        (Convolution(8, 16, 3, groups=8), (8, 9, 9), ShiftGemm),
        (Convolution(16, 16, 3, pad=1, groups=2), (16, 8, 8), Winograd),
        (Convolution(16, 16, 3, pad=1, groups=4), (16, 8, 8), ShiftGemm),
        (Convolution(16, 16, 3, pad=(0, 1, 2, 3)), (16, 8, 8), Winograd),
        (Convolution(16, 16, 3, stride=(1, 2), uneven="drop"), (16, 8, 8), ShiftGemm),
        (Convolution(3, 16, 7, stride=2, pad=3, uneven="drop"), (3, 16, 16), PlanesGemm),
        (Convolution(3, 16, 3, pad=1), (3, 16, 16), Winograd),
        (Convolution(3, 3, 7, groups=3), (3, 16, 16), Depthwise),
        (Convolution(5, 16, 7), (5, 16, 16), ShiftGemm),
        (MaxPool(3, stride=2, pad=1, uneven="drop"), (3, 8, 8), BorderedWindows),
        (MaxPool(3, stride=2, uneven="ceil"), (3, 8, 8), BorderedWindows),
        (MaxPool(3, stride=2, uneven="ceil"), (3, 9, 9), Windows),
        (AveragePool(2, stride=2), (3, 8, 8), Averages),
    ],
)
def test_which_kernel_does_it(layer, shape, kind):
    (op,) = alone([layer], shape, need_dx=False).ops
    assert kernel_of(op) is kind


def test_a_colour_image_whose_gradient_is_needed_has_no_planes():
    (op,) = alone([Convolution(3, 16, 7)], (3, 16, 16), need_dx=True).ops
    assert kernel_of(op) is ShiftGemm


@FORMS
@EITHER
@pytest.mark.parametrize("uneven", ["drop", "ceil"])
@pytest.mark.parametrize(("stride", "pad"), [(2, 1), ((2, 1), 0), (3, (1, 0)), (1, 1), (2, 0)])
def test_pools_beyond_the_image_are_the_layers_bit_for_bit(stride, pad, uneven, dtype, compiled):
    """Of small whole numbers, so that many maxima are equal; the border never wins."""
    rng = np.random.default_rng(0)
    options = {"stride": stride, "pad": pad}
    layers = [MaxPool((3, 2), uneven=uneven, **options)]
    layers += [AveragePool((3, 2), uneven="drop", **options)] if uneven == "drop" else []
    for layer, n in product(layers, (1, 3)):
        built = Built(layer, (2, 6, 9), n, dtype, compiled=compiled)
        dy = (n, *layer.output_shape((2, 6, 9)))
        for _ in range(2):
            x = rng.integers(-9, -6, (n, 2, 6, 9)).astype(dtype)
            built.assert_is_the_layer(x, rng.standard_normal(dy).astype(dtype))


@EITHER
@pytest.mark.parametrize("uneven", ["drop", "ceil"])
def test_where_maxima_were_is_only_found_for_a_way_back(uneven, dtype, monkeypatch):
    layer = MaxPool(3, stride=2, uneven=uneven)
    built = Built(layer, (2, 8, 8), 3, dtype)
    built.under_way.train = built.under_way.keep = False
    monkeypatch.setattr(np, "equal", None)
    x = np.random.default_rng(0).standard_normal((3, 2, 8, 8)).astype(dtype)
    built.x[...] = x.transpose(2, 3, 0, 1)
    built.kernel.forward()
    monkeypatch.undo()
    np.testing.assert_array_equal(built.kernel.y.transpose(2, 3, 0, 1), layer.forward(x)[0])


@pytest.mark.parametrize("window", [3, 2, (2, 3), (4, 2)])
def test_maxima_are_the_same_whether_their_places_are_kept_or_not(window):
    """Bit for bit: of zeros of either sign, infinities, and what is no number."""
    enter_loops()
    rng, values = np.random.default_rng(0), [0.0, -0.0, 1.0, -1.0, -np.inf, np.inf, np.nan]
    rows = [[ReLU(), MaxPool(2, stride=2)]]
    for stride, pad in product((1, 2, (3, 1)), (0, 1, (0, 1, 0, 1))):
        rows.append([MaxPool(window, stride=stride, pad=pad, uneven="drop")])
    for layers, n in product(rows, (1, 3)):
        built = Built(layers, (5, 6, 8), n, "float32", compiled=True)
        for count in (4, 6, 7):
            x = rng.choice(values[:count], (n, 5, 6, 8)).astype("float32")
            found = []
            for keep in (True, False):
                built.under_way.keep = keep
                built.x[...] = x.transpose(2, 3, 0, 1)
                built.kernel.y[...] = 9.0
                built.kernel.forward()
                found.append(built.kernel.y.tobytes())
            assert found[0] == found[1]


@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize(
    "constants", [{"size": 5, "alpha": 0.3}, {"size": 1}, {"size": 9, "beta": 0.4, "k": 1.5}]
)
def test_lrn_is_the_layer(constants, channels):
    """Also where a window reaches beyond all channels."""
    for built in kernels(LRN(**constants), (channels, 4, 3), 2, kind=NormalizeLocally):
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(0))


def test_what_is_too_large_for_lrn_stays_with_its_neighbours():
    """The square of one is infinite; sums that are none of its windows' are not NaN for it."""
    built = Built(LRN(size=3), (6, 1, 2), 2)
    x = np.random.default_rng(0).standard_normal((2, 6, 1, 2))
    x[1, 4, 0, 1] = 1e200
    with np.errstate(over="ignore"):
        y, dx, _ = built.pass_through(x, np.ones_like(x))
        want, backward = built.layer.forward(x)
        np.testing.assert_allclose(y, want, rtol=1e-12)
        np.testing.assert_allclose(dx, backward(np.ones_like(x))[0], rtol=1e-12)


@pytest.mark.parametrize("n", [1, 5])
def test_subsampling_is_the_layer(n):
    for built in kernels(Subsampling(3), (3, 4, 6), n, kind=ScaledSums):
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))
