"""Every kernel of the GPU's engine beside the layer that it stands for, and the tiles of products.

Errors are relative to the largest number of an array. Without a GPU the same source runs on the
CPU: see cuda_on_cpu.py.
"""

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet import to_numpy
from xpnet.engine.cuda.activation import Pointwise
from xpnet.engine.cuda.compiled import kernels_of
from xpnet.engine.cuda.function import Function, writes
from xpnet.engine.cuda.kernel import PATTERNS, Arrays, Way
from xpnet.engine.cuda.module import Module, source
from xpnet.engine.cuda.tiles import BLOCKS, MOST_PARTS, TILES, Product, tile_for
from xpnet.engine.lower import lower
from xpnet.layers import (
    LRN,
    Affine,
    AveragePool,
    BatchNorm,
    BinaryAffine,
    BinaryConvolution,
    Convolution,
    Dropout,
    GlobalAveragePool,
    LeakyReLU,
    MaxPool,
    PadShortcut,
    ReLU,
    ReLU6,
    Rescale,
    ScaledTanh,
    Sigmoid,
    Sign,
    Subsampling,
    Tanh,
    TransposedConvolution,
)
from xpnet.models.nodes import Node

# Sums in another order; the worst here is 5e-15 and 9e-7.
TOLERANCE = {"float64": 1e-13, "float32": 6e-6}

# Sums of float32, since factors are rounded alike; the worst here is 6e-7. Tensor cores cut digits
# off where the CPU rounds.
SUMS = 1e-5

# No multiples of any tile.
SAMPLES = (1, 7, 33, 130)

# Training passes so far: the number has more than 32 bits.
CALLS = 2**32 + 3

GUARD = 64


def conv(channels, filters, window=3, **options):
    return Convolution(channels, filters, window, uneven="drop", **options)


def up(channels, filters, window, **options):
    return TransposedConvolution(channels, filters, window, **options)


def pool(kind, height, width, stride, pad=0, uneven="drop"):
    return kind((height, width), stride=stride, pad=pad, uneven=uneven)


def by_table(channels, rows, window=2, **options):
    """Filters that read some channels each."""
    return Convolution(channels, len(rows), window, table=rows, **options)


def frozen(layer):
    """Statistics that stay as they are."""
    layer.statistics_frozen = True
    return layer


# Shape of a sample and layers, of which the last operation is tested. Those before it are in its
# backward pass, since gradients are taken back to before their activations.
CASES = {
    "1x1 of one channel": ((1, 5, 4), [conv(1, 1, 1)]),
    "simple-convnet's": ((1, 9, 9), [conv(1, 30, 5), ReLU()]),
    "one channel padded": ((1, 6, 5), [ReLU(), conv(1, 16, pad=1), ReLU()]),
    "few channels": ((3, 7, 6), [Tanh(), conv(3, 4, (3, 2), stride=2, pad=1), Sigmoid()]),
    "stride 3": ((3, 8, 8), [Sigmoid(), conv(3, 5, 5, stride=3, pad=2), Tanh()]),
    "16 channels": ((16, 6, 6), [ReLU(), Dropout(0.3, rng=1), conv(16, 16, pad=1), ReLU()]),
    "16 to 32 channels": ((16, 5, 6), [Dropout(0.3, rng=2), conv(16, 32, 3, stride=2)]),
    "32 channels": ((32, 7, 5), [conv(32, 3, (3, 2), pad=2), ReLU(), Dropout(0.5, rng=3)]),
    "32 channels, 1x1": ((32, 4, 4), [ReLU(), conv(32, 16, 1, stride=2), Dropout(0.5, rng=4)]),
    "pad wider than the window": ((2, 4, 4), [ReLU(), conv(2, 3, 1, stride=3, pad=2)]),
    "more filters than a tile": ((4, 4, 4), [ReLU(), conv(4, 70, 3, pad=1)]),
    "two groups": (
        (6, 5, 4),
        [ReLU(), conv(6, 4, (3, 2), stride=(2, 1), pad=(0, 1, 1, 0), groups=2), ReLU()],
    ),
    "table": ((3, 4, 4), [ReLU(), by_table(3, [(0, 1), (2,), (0, 2, 1), (1, 2)]), ScaledTanh()]),
    "depthwise": (
        (3, 5, 4), [ReLU(), conv(3, 6, 3, stride=(2, 1), pad=(1, 0, 2, 1), groups=3), ReLU()]
    ),
    "enlarged": ((3, 4, 3), [ReLU(), up(3, 2, 4, stride=2, pad=1), ReLU(), Dropout(0.3, rng=24)]),
    "1 to 1": ((1,), [Affine(1, 1)]),
    "images to rows": ((3, 2, 2), [ReLU(), Affine(12, 5), ReLU()]),
    "long to short rows": ((200,), [Sigmoid(), Affine(200, 10)]),
    "short to long rows": ((10,), [Dropout(0.2, rng=5), Affine(10, 130), Tanh()]),
    "long rows": ((300,), [Tanh(), Dropout(0.2, inverted=True, rng=6), Affine(300, 200)]),
    "1x1 of one channel without bias": ((1, 5, 4), [conv(1, 1, 1, bias=False)]),
    "few channels without bias": ((3, 7, 6), [Tanh(), conv(3, 4, 3, pad=1, bias=False), ReLU()]),
    "16 channels without bias": ((16, 6, 6), [ReLU(), conv(16, 33, 3, pad=1, bias=False)]),
    "rows without bias": ((33,), [Tanh(), Affine(33, 130, bias=False), Sigmoid()]),
    "2x2": ((3, 6, 4), [ReLU(), pool(MaxPool, 2, 2, 2)]),
    "overlapping maxima": ((2, 6, 7), [Sigmoid(), pool(MaxPool, 3, 2, 1, 1), ReLU()]),
    "maxima with gaps": ((2, 7, 8), [pool(MaxPool, 2, 2, 3), Dropout(0.5, rng=7)]),
    "maxima of uneven images": ((2, 7, 5), [Tanh(), pool(MaxPool, 3, 3, 2, 2), Tanh()]),
    "means": ((3, 6, 4), [ReLU(), pool(AveragePool, 2, 2, 2), Sigmoid()]),
    "overlapping means": ((2, 6, 7), [Dropout(0.5, rng=8), pool(AveragePool, 3, 2, 1, 1)]),
    "means with gaps": ((2, 7, 8), [pool(AveragePool, 2, 2, 3), ReLU(), Dropout(0.5, rng=9)]),
    "maxima of a ceiling": ((2, 6, 5), [ReLU(), pool(MaxPool, 3, 2, 2, uneven="ceil"), Tanh()]),
    "norm of rows": ((5,), [ReLU(), BatchNorm(5), ReLU()]),
    "norm of rows, unbiased": ((3,), [BatchNorm(3, ddof=1, momentum=0.7), Tanh()]),
    "norm of images": ((4, 5, 3), [Sigmoid(), BatchNorm(4, eps=0.1), Dropout(0.3, rng=10)]),
    "norm of images, unbiased": ((2, 4, 4), [Dropout(0.3, rng=11), BatchNorm(2, ddof=1), ReLU()]),
    "norm of large images": ((3, 9, 11), [Tanh(), BatchNorm(3, ddof=1), ReLU()]),
    "norm of large images by frozen statistics": ((2, 9, 8), [frozen(BatchNorm(2)), Sigmoid()]),
    "norm by frozen statistics": (
        (3, 2, 2), [Tanh(), frozen(BatchNorm(3)), ReLU(), Dropout(0.3, rng=19)]
    ),
    "norm across channels": ((4, 3, 2), [ReLU(), LRN(size=3, alpha=0.5, beta=0.6, k=1.5)]),
    "subsampling": ((3, 4, 6), [ScaledTanh(), Subsampling(3), ScaledTanh(), Dropout(0.3, rng=21)]),
    "means of all": ((3, 4, 5), [ReLU(), GlobalAveragePool(), Dropout(0.3, rng=17)]),
    "shortcut": ((3, 6, 4), [Sigmoid(), PadShortcut(2, 6), Tanh()]),
    "uneven shortcut": ((2, 5, 7), [PadShortcut(3, 5)]),
    "ReLU": ((7,), [ReLU()]),
    "Sigmoid after ReLU": ((7,), [ReLU(), Sigmoid()]),
    "Sigmoid after Dropout": ((7,), [Dropout(0.3, rng=16), Sigmoid()]),
    "Tanh of images": ((2, 3, 3), [Sigmoid(), Tanh()]),
    "ReLU with Dropout, after Tanh": ((7,), [Tanh(), ReLU(), Dropout(0.3, inverted=True, rng=12)]),
    "Dropout": ((2, 3, 3), [Dropout(0.3, rng=13)]),
    "inverted Dropout after Dropout": (
        (7,), [Dropout(0.3, rng=14), Dropout(0.6, inverted=True, rng=15)]
    ),
    "rows of signs": ((9,), [Tanh(), BinaryAffine(9, 5), Sigmoid()]),
    "images of signs": ((3, 5, 4), [Tanh(), BinaryConvolution(3, 4, (3, 2), pad=1), ReLU()]),
    "depthwise signs": (
        (2, 4, 5), [Tanh(), BinaryConvolution(2, 4, 3, groups=2, stride=(1, 2))]
    ),
    "signs": ((2, 3, 3), [Tanh(), Sign(), Dropout(0.3, rng=23)]),
    "LeakyReLU with Dropout, behind sums": (
        (9,),
        [LeakyReLU(0.2), Affine(9, 5), LeakyReLU(0.1), Dropout(0.3, inverted=True, rng=25)],
    ),
    "rescaled": ((7,), [Sigmoid(), Rescale(-3.0, 0.5), Tanh()]),
    "ReLU6 with Dropout, behind sums": (
        (40,), [ReLU6(), Affine(40, 7), ReLU6(), Dropout(0.3, inverted=True, rng=18)]
    ),
}  # fmt: skip

# Others, whose kernels take longer to compile than the tests of all have time for.
UNCOMMON = {
    "groups of 32 channels": (
        (64, 3, 3), [Tanh(), conv(64, 70, 3, pad=1, groups=2, bias=False), Dropout(0.3, rng=22)]
    ),
    "pads of four sides": (
        (3, 5, 4), [Sigmoid(), conv(3, 4, (3, 2), stride=(1, 2), pad=(0, 2, 1, 0)), Tanh()]
    ),
    "pads below alone": ((2, 4, 5), [ReLU(), conv(2, 3, 2, pad=(0, 0, 1, 0))]),
    "pads at the right alone": ((2, 4, 5), [ReLU(), conv(2, 3, 2, pad=(0, 0, 0, 2))]),
    "enlarged unevenly": (
        (2, 3, 4),
        [Tanh(), up(2, 5, (3, 2), stride=(2, 3), pad=(1, 0, 2, 1), output_pad=(1, 2), bias=False)],
    ),
    "enlarged, of 16 channels": ((16, 3, 3), [Sigmoid(), up(16, 33, 3, pad=1), Tanh()]),
    "enlarged 8 times": ((2, 2, 3), [ReLU(), up(2, 2, 16, stride=8, pad=4, bias=False)]),
    "enlarged by steps past the window": (
        (3, 3, 2), [Tanh(), up(3, 4, 1, stride=(3, 2), output_pad=(2, 0)), ReLU()]
    ),
    "enlarged and cut": ((2, 4, 5), [ReLU(), up(2, 3, (2, 3), stride=(1, 2), pad=(3, 0, 1, 5))]),
    "depthwise without bias": ((4, 4, 4), [conv(4, 4, 3, pad=1, groups=4, bias=False)]),
    "maxima of a ceiling, padded": (
        (2, 6, 7), [pool(MaxPool, 3, 3, (2, 3), 1, "ceil"), Dropout(0.5, rng=18)]
    ),
    "means of steps apart": ((2, 5, 7), [Tanh(), pool(AveragePool, 2, 3, (1, 2), (1, 0))]),
    "norm that keeps another variance": (
        (2, 3, 3), [Sigmoid(), BatchNorm(2, running_ddof=1, momentum=0.7), ReLU()]
    ),
    "norm across all channels": ((3, 2, 2), [Tanh(), LRN(size=9, alpha=0.3), Dropout(0.3, rng=20)]),
}  # fmt: skip

# What float32 could do in another way, and what tensor cores do.
SINGLE = (
    "simple-convnet's", "16 channels", "long rows", "overlapping maxima", "overlapping means",
    "norm of images", "ReLU with Dropout, after Tanh",
)  # fmt: skip
PRODUCTS = ("few channels", "16 channels", "long to short rows", "short to long rows")


class Ground:
    """Arrays with guards on both sides, which a kernel must neither change nor compute with."""

    def __init__(self, device, dtype):
        self.device, self.dtype, self.buffers = device, dtype, []

    def array(self, values, dtype=None):
        """On the device; guards of reals are NaN, which reaches what is computed with it."""
        values, dtype = np.asarray(values), dtype or self.dtype
        guard = np.nan if dtype == self.dtype else -12345
        buffer = np.full(values.size + 2 * GUARD, guard, dtype=dtype)
        buffer[GUARD:-GUARD] = values.ravel()
        buffer = self.device.asarray(buffer)
        self.buffers.append((guard, buffer))
        return self.device.xp.reshape(buffer[GUARD:-GUARD], values.shape, copy=False)

    def assert_kept(self):
        for guard, buffer in self.buffers:
            buffer = to_numpy(buffer)
            for end in (buffer[:GUARD], buffer[-GUARD:]):
                np.testing.assert_array_equal(end, np.full(GUARD, guard, end.dtype))


def through(layers, x, *, train=True):
    """A pass through layers, and the way back, which gives the gradient of the first one, too."""
    backwards = []
    for layer in layers:
        x, backward = layer.forward(x, train=train)
        backwards.append(backward)

    def way_back(d):
        grads = {}
        for backward in reversed(backwards):
            d, grads = backward(d)
        return d, grads

    return x, way_back


def filled(layers, rng, dtype):
    """Layers with random parameters and states."""
    layers = deepcopy(layers)
    for layer in layers:
        for name, array in layer.params.items():
            values = rng.standard_normal(array.shape).astype(dtype).astype("float64")
            layer.params[name] = values * layer.masks().get(name, 1)
        for name, array in getattr(layer, "state", {}).items():
            values = rng.uniform(0.5, 2, array.shape).astype(dtype).astype("float64")
            layer.state[name] = np.asarray([CALLS]) if name == "calls" else values
    return layers


class Case:
    """The last operation of some layers on a device, and the layers themselves on the host."""

    def __init__(self, number, shape, layers, device, dtype, precision):
        self.shape, self.dtype, self.ground = shape, dtype, Ground(device, dtype)
        self.layers = filled(layers, np.random.default_rng(number), dtype)
        leaves = []
        for k, layer in enumerate(deepcopy(self.layers)):
            layer.params = {key: self.ground.array(p) for key, p in layer.params.items()}
            if hasattr(layer, "state"):
                layer.state = {
                    key: self.ground.array(a, "int64" if key == "calls" else dtype)
                    for key, a in layer.state.items()
                }
            names = {key: key for key in layer.params}
            leaves.append(Node("", layer, (k - 1,), (shape,), layer.output_shape(shape), names))
            shape = leaves[-1].output_shape
        ops = lower(leaves, len(leaves) - 1, PATTERNS, need_dx=True).ops
        self.kernel = kernels_of(ops, Way(need_dx=True), precision)[-1]
        self.kernel.name = f"case{number}"
        self.placed = [leaf.layer for leaf in leaves]
        self.scratch = self.ground.array(np.full(self.kernel.scratch, np.nan))
        self.tickets = self.ground.array(np.zeros(BLOCKS), "int32")

    @property
    def functions(self):
        """Of both directions."""
        found = self.kernel.forward_functions(train=True)
        found += self.kernel.forward_functions(train=False)
        return found + self.kernel.all_backward_functions()

    def parts(self):
        """Copies of the layers before the operation, of the one it begins with, of its chain."""
        layers = deepcopy(self.layers)
        first = len(layers) - len(self.kernel.op.nodes)
        then = first + (not isinstance(self.kernel, Pointwise))
        return layers[:first], layers[first:then], layers[then:]

    def input(self, z):
        """What the layers before the operation make of z."""
        return through(self.parts()[0], z)[0].astype(self.dtype)

    def expected(self, z, x, dy):
        """By the layers; dy is of what comes before the chain, dx of what came before the last."""
        _, *own = self.parts()
        inferred, _ = through(own[0] + own[1], x, train=False)
        before, layer, chain = self.parts()
        _, back_before = through(before, z)
        y, back = through(layer, x)
        d, grads = back(dy)
        running = {k: a for each in layer for k, a in getattr(each, "state", {}).items()}
        y, dx = through(chain, y)[0], back_before(d)[0]
        return {"inferred": inferred, "y": y, "dx": dx, **grads, **running}

    def got(self, module, x, dy):
        """By the kernels."""
        kernel, n, ground = self.kernel, len(x), Ground(self.ground.device, self.dtype)
        for layer, host in zip(self.placed, self.layers, strict=True):
            for key, array in getattr(host, "state", {}).items():
                layer.state[key][...] = ground.device.asarray(array, dtype=str(array.dtype))

        def nothing(*shape):
            return ground.array(np.full(shape, np.nan))

        parts = nothing(kernel.parts(n), kernel.part_size)
        arrays = Arrays(
            n,
            np.dtype(self.dtype).type,
            (ground.array(x),),
            nothing(n, *kernel.output_shape),
            dxs=(nothing(n, *kernel.input_shape),),
            dy=ground.array(dy),
            parts=parts,
            kept={name: nothing(*shape) for name, (shape, _) in kernel.keeps(n).items()},
            scratch=self.scratch,
            tickets=self.tickets,
        )
        inferred = nothing(n, *kernel.output_shape)
        calls = kernel.forward(arrays._replace(y=inferred), train=False)
        calls += kernel.forward(arrays, train=True) + kernel.all_backward(arrays)
        for launch in module.bind(calls):
            launch()
        for each in (ground, self.ground):
            each.assert_kept()
        assert not np.any(to_numpy(self.tickets))
        found = {"inferred": inferred, "y": arrays.y, "dx": arrays.dxs[0]}
        found = {key: to_numpy(array).copy() for key, array in found.items()}
        gradient, start = np.sum(to_numpy(parts), axis=0, dtype="float64"), 0
        for key, array in kernel.parameters:
            found[key] = gradient[start : start + array.size].reshape(array.shape)
            start += array.size
        for key, array in getattr(kernel.layer, "state", {}).items():
            if key != "calls":
                found[key] = to_numpy(array).copy()
        return found


class Kernels:
    """Cases compiled as one program."""

    def __init__(self, accelerator, names, dtype, precision=None):
        self.cases = {
            name: Case(
                number, *(CASES | UNCOMMON)[name], accelerator.device, dtype, precision or dtype
            )
            for number, name in enumerate(names)
        }
        functions = [f for case in self.cases.values() for f in case.functions]
        text = source(dtype, functions)
        self.modules = [Module(accelerator.driver(), text)] * 2
        if not accelerator.is_gpu:
            self.modules.append(Module(accelerator.driver(backwards=True), text))

    def results(self, name, x, dy):
        """Of one case, which are the same again, and whatever the order of threads and blocks."""
        first, *others = (self.cases[name].got(module, x, dy) for module in self.modules)
        for other in others:
            for key, array in first.items():
                np.testing.assert_array_equal(other[key], array, err_msg=key)
        return first


@pytest.fixture(scope="module")
def double(accelerator):
    return Kernels(accelerator, CASES, "float64")


def assert_near(got, want, tol, *, nan=False):
    assert got.keys() == want.keys()
    for key, array in want.items():
        assert got[key].shape == array.shape, key
        assert nan or np.all(np.isfinite(array)), key
        limit = tol * np.nanmax(np.abs(array), initial=0)
        np.testing.assert_allclose(got[key], array, rtol=0, atol=limit, err_msg=key)


def draw(case, n, seed=0):
    """What goes into the layers before the operation, and a gradient of what that puts out."""
    rng = np.random.default_rng([n, seed])
    z = rng.standard_normal((n, *case.shape))
    return z, rng.standard_normal((n, *case.kernel.output_shape)).astype(case.dtype)


def assert_its_layer(kernels, name):
    case = kernels.cases[name]
    for n in SAMPLES[1 if "unbiased" in name else 0 :]:
        z, dy = draw(case, n)
        x = case.input(z)
        assert_near(kernels.results(name, x, dy), case.expected(z, x, dy), TOLERANCE["float64"])


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_is_its_layer(double, name):
    assert_its_layer(double, name)


@pytest.fixture(scope="module")
def uncommon(accelerator):
    return Kernels(accelerator, UNCOMMON, "float64")


@pytest.mark.slow
@pytest.mark.parametrize("name", UNCOMMON)
def test_an_uncommon_kernel_is_its_layer(uncommon, name):
    assert_its_layer(uncommon, name)


@pytest.fixture(scope="module")
def single(accelerator):
    return Kernels(accelerator, SINGLE, "float32")


@pytest.mark.parametrize("name", SINGLE)
def test_a_kernel_is_its_layer_in_float32(single, name):
    case = single.cases[name]
    z, dy = draw(case, 130)
    x = case.input(z)
    wide = (array.astype("float64") for array in (z, x, dy))
    assert_near(single.results(name, x, dy), case.expected(*wide), TOLERANCE["float32"])


@pytest.mark.parametrize("name", [name for name in CASES if "max" in name or "2x2" in name])
def test_on_even_ground_the_first_maximum_gets_the_gradient(double, name):
    case = double.cases[name]
    z, dy = draw(case, 33)
    z = np.round(z)
    x = case.input(z)
    assert_near(double.results(name, x, dy), case.expected(z, x, dy), TOLERANCE["float64"])


@pytest.mark.parametrize("name", ["ReLU", "2x2", "overlapping maxima", "simple-convnet's"])
def test_nan_stays_nan(double, name):
    """What gradients come back from there is nobody's concern."""
    case = double.cases[name]
    z, dy = draw(case, 33)
    z[np.random.default_rng(0).random(z.shape) < 0.01] = np.nan
    x = case.input(z)
    got, want = case.got(double.modules[0], x, dy), case.expected(z, x, dy)
    assert 0 < np.sum(np.isnan(want["y"])) < want["y"].size / 2
    for key in ("inferred", "y"):
        assert_near({key: got[key]}, {key: want[key]}, TOLERANCE["float64"], nan=True)


def test_the_cases_meet_products_that_are_divided_and_others(double):
    kernels = [double.cases[name].kernel for name in PRODUCTS]
    grids = [kernel.grids(n) for kernel in kernels for n in SAMPLES]
    for which in zip(*grids, strict=True):
        assert {splits > 1 for _, _, splits in which} == {True, False}


# Tensor cores


def rounded(x, precision):
    """To the 11 or 8 bits of a mantissa; ties go away from 0 in tf32, and to even in bfloat16."""
    mantissa, exponent = np.frexp(np.asarray(x, dtype="float64"))
    if precision == "bfloat16":
        return np.ldexp(np.rint(mantissa * 2**8), exponent - 8)
    return np.ldexp(np.trunc(mantissa * 2**11 + np.copysign(0.5, mantissa)), exponent - 11)


@pytest.mark.parametrize("precision", ["tf32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_tensor_cores_multiply_rounded_numbers(accelerator, precision):
    """And add them up as float32: which fragment holds which number is right, then."""
    kernels = Kernels(accelerator, PRODUCTS, "float32", precision)
    for name, case in kernels.cases.items():
        z, dy = draw(case, 130)
        x = case.input(z)
        got, unrounded = kernels.results(name, x, dy), case.expected(z, x, dy)
        for layer in case.layers:
            if "W" in layer.params:
                layer.params["W"] = rounded(layer.params["W"], precision)
        want = case.expected(z, rounded(x, precision), rounded(dy, precision))
        assert_near(got, want, SUMS)
        for key in ("y", "dx", "W"):
            assert np.max(np.abs(got[key] - unrounded[key])) > 5 * SUMS * np.max(np.abs(want[key]))


# Tiles

LENGTHS = st.integers(1, 3000)


@given(LENGTHS, LENGTHS, st.integers(1, 200_000), st.integers(1, 4), st.booleans())
def test_tiles_cover_a_product(rows, columns, depth, groups, joined):
    """And every part of a divided sum has steps of its own."""
    product = Product(rows, columns, depth, groups, joined, whole=rows)
    tile = tile_for(product)
    across, down, splits = product.grid(tile)
    assert (across - 1) * tile.columns < columns <= across * tile.columns
    assert (down // groups - 1) * tile.rows < rows <= down // groups * tile.rows
    assert down % groups == 0
    assert 1 <= splits <= (MOST_PARTS if joined else BLOCKS)
    assert splits <= -(-depth // tile.depth)
    assert splits == 1 or across * down * splits <= BLOCKS


@given(LENGTHS, LENGTHS, LENGTHS)
def test_what_divided_products_leave_in_memory_has_its_place(n_in, n_out, n):
    """In the scratch and the tickets of a program."""
    leaf = Node("", Affine(1, 1), (-1,), ((n_in,),), (n_out,), {})
    (dense,) = kernels_of(lower([leaf], 0, PATTERNS, need_dx=True).ops, Way(), "float32")
    for which in (0, 2):
        tile, (across, down, splits) = dense.tiles[which], dense.grids(n)[which]
        if splits > 1:
            assert across * down <= BLOCKS
            assert across * down * splits * tile.rows * tile.columns <= dense.scratch


def test_every_tile_compiles(accelerator):
    """That can be chosen, in every precision: product.cuh says what it asks of them."""
    for tile in TILES:
        assert tile.threads % 32 == 0
        assert 8 * tile.depth * (tile.rows + tile.columns + 2 * 8) <= 48 * 1024
    types = {tile.source(math) for tile in TILES for math in ("FLOAT", "TF32", "BFLOAT16")} | {
        f"Loads<{width}, {tile.depth}, {tile.threads}, {along}>"
        for tile in TILES
        for width in (tile.rows, tile.columns)
        for along in ("true", "false")
    }
    instances = "".join(f"template struct {name};\n" for name in sorted(types))
    nothing = Function("nothing", 1, writes("x", kind="int"), "")
    module = Module(accelerator.driver(), source("float32", []) + instances + nothing.source)
    place = SimpleNamespace(x=accelerator.device.zeros(1, dtype="int32"))
    (launch,) = module.bind([nothing.call(place, (1, 1, 1))])
    launch()
    assert len(TILES) > 10
