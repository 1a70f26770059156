"""Every layer against its definition and its own differences."""

import re
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet import Network, layers
from xpnet.arrays import Device, to_numpy
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.testing import check_backward

TOL = {"float32": 1e-5, "float64": 2e-14}  # ten times the worst of 200 seeds


def placed(layer: layers.Layer, device: Device, dtype: str = "float64") -> layers.Layer:
    """The layer with its parameters on the device."""
    layer.params = {key: device.asarray(p, dtype=dtype) for key, p in layer.params.items()}
    return layer


def mlp() -> layers.Sequential:
    return layers.Sequential(
        {
            "in": layers.ReLU(),
            "first": layers.Affine(6, 5, rng=1),
            "inner": layers.Sequential([layers.Tanh(), layers.Affine(5, 4, rng=2)]),
            "out": layers.Sigmoid(),
        }
    )


CASES = {
    "Affine": (lambda: layers.Affine(6, 3, rng=0), [(4, 6)]),
    "Affine of one sample": (lambda: layers.Affine(6, 3, rng=0), [(6,)]),
    "Affine of images": (lambda: layers.Affine(6, 3, rng=0), [(4, 1, 2, 3)]),
    "ReLU": (layers.ReLU, [(4, 3, 2)]),
    "ReLU6": (
        lambda: layers.Sequential([layers.Affine(6, 5, std=4.0, rng=0), layers.ReLU6()]),
        [(4, 6)],
    ),
    "LeakyReLU": (layers.LeakyReLU, [(4, 3, 2)]),
    "Unflatten": (
        lambda: layers.Sequential([layers.Unflatten((3, 1, 2)), layers.Tanh()]),
        [(4, 6)],
    ),
    "Sigmoid": (layers.Sigmoid, [(4, 3, 2)]),
    "Tanh": (layers.Tanh, [(4, 3, 2)]),
    "ScaledTanh": (layers.ScaledTanh, [(4, 3, 2)]),
    "Add": (layers.Add, [(4, 3), (4, 3)]),
    "Mul": (layers.Mul, [(4, 3), (4, 3)]),
    "Sequential": (mlp, [(4, 6)]),
}


@pytest.mark.parametrize(("make", "shapes"), CASES.values(), ids=CASES)
def test_backward_is_the_derivative_of_forward(make, shapes, device):
    rng = np.random.default_rng(0)
    inputs = [device.asarray(rng.standard_normal(shape)) for shape in shapes]
    check_backward(placed(make(), device), *inputs, rng=rng)


def test_check_backward_finds_a_wrong_gradient():
    class Wrong(layers.Tanh):
        def forward(self, x, *, train=False):
            y, backward = super().forward(x)
            return y, lambda dy, need_dx=True: (backward(dy)[0] * 1.00001, {})

    with pytest.raises(AssertionError, match="numerical"):
        check_backward(Wrong(), np.ones((2, 3)), rng=np.random.default_rng(0))


class Own:
    """y = x; it does what is given here."""

    def __init__(self, forward):
        self.params, self._forward = {}, forward

    def output_shape(self, shape):
        return shape

    def forward(self, x, *, train=False):
        return self._forward(x)


def own(**methods):
    """A layer of a class of its own: each class is looked at once."""
    kind = type("Mine", (Own,), methods)
    return lambda forward=lambda x: (x, lambda dy, need_dx=True: (dy, {})): kind(forward)


CONTRACT = re.escape(
    "forward(x, train=...) returns the output and backward(dy, need_dx=True), which returns dx and "
    "a dictionary of the gradients of params"
)


@pytest.mark.parametrize("engine", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("forward", "told"),
    [
        (lambda x: x, "that of Mine returned ndarray"),
        (lambda x: x[:2], "that of Mine returned ndarray"),  # which has two parts
        (lambda x: None, "that of Mine returned NoneType"),
        (lambda x: (x, x), r"that of Mine returned \(ndarray, ndarray\)"),
        (lambda x: (x, lambda dy: (dy, {})), r"that of Mine returned a backward\(dy\)"),
        (lambda x: (x, lambda dy, need_dx: dy), "backward of Mine returned ndarray"),
        (lambda x: (x, lambda dy, need_dx: (dy, None)), r"returned \(ndarray, NoneType\)"),
        (lambda x: (x, lambda dy, need_dx: (dy, {}, 1)), r"returned \(ndarray, dict, int\)"),
    ],
)
def test_what_a_layer_of_ones_own_must_return_is_told(forward, told, engine):
    x, t, layer = np.ones((2, 3), dtype="float32"), np.zeros(2, int), own()(forward)
    branches = layers.Concatenate([layer, layers.Identity()])
    for middle in (layer, branches):
        network = Network(
            [layers.Affine(3, 3), middle, layers.Affine(3 if middle is layer else 6, 2)]
        )
        with pytest.raises(ArgumentError, match=f"a layer's {CONTRACT}; .*{told}"):
            get_engine(network, engine).loss_and_gradient(x, t)
        with pytest.raises(ArgumentError, match=CONTRACT):
            check_backward(layer, np.ones((2, 3)))


def test_a_forward_of_other_arguments_is_told_when_a_network_is_made():
    for forward in (lambda self, x: x, lambda self, x, t, train: x, lambda self: 1):
        with pytest.raises(ArgumentError, match=rf"layer 'Mine2': {CONTRACT}; got a forward\("):
            layers.Sequential([own()(), own(forward=forward)()])
    for forward in (lambda self, x, **any: x, lambda self, x, train: x):
        layers.Sequential([own(forward=forward)()])


def test_check_backward_takes_a_seed_and_float64_alone():
    check_backward(own()(), np.ones((2, 3)))
    check_backward(own()(), np.ones((2, 3)), rng=7)
    with pytest.raises(ArgumentError, match="rng of check_backward must be"):
        check_backward(own()(), np.ones((2, 3)), rng=-1)
    for arrays in ((), (np.ones((2, 3), dtype="float32"),)):
        with pytest.raises(ArgumentError, match=r"needs inputs, .* in float64, got"):
            check_backward(own()(), *arrays)


def test_check_backward_finds_an_altered_input():
    class Greedy(layers.Tanh):
        def forward(self, x, *, train=False):
            y, backward = super().forward(x)

            def altering(dy, need_dx=True):
                x[...] = 0.0
                return backward(dy)

            return y, altering

    with pytest.raises(AssertionError, match="altered"):
        check_backward(Greedy(), np.ones((2, 3)), rng=np.random.default_rng(0))


@pytest.mark.parametrize("dtype", TOL)
def test_affine_is_its_definition(device, dtype):
    """Against einsum in float64, which shares no code with the layer."""
    rng = np.random.default_rng(0)
    layer = placed(layers.Affine(5, 3, rng=rng), device, dtype)
    x, dy = (rng.standard_normal(s).astype(dtype) for s in [(4, 5), (4, 3)])

    y, backward = layer.forward(device.asarray(x))
    dx, grads = backward(device.asarray(dy))

    W, einsum = to_numpy(layer.params["W"]), partial(np.einsum, dtype="float64")
    want = {
        "y": einsum("ni,ij->nj", x, W),
        "dx": einsum("nj,ij->ni", dy, W),
        "W": einsum("ni,nj->ij", x, dy),
        "b": einsum("nj->j", dy),
    }
    for name, got in {"y": y, "dx": dx, **grads}.items():
        assert got.dtype == device.dtype(dtype), name
        np.testing.assert_allclose(to_numpy(got), want[name], atol=TOL[dtype], err_msg=name)


@given(
    leading=st.integers(1, 4),
    inner=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    n_out=st.integers(1, 4),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_affine_keeps_shape_and_dtype_for_any_rank(leading, inner, n_out, dtype):
    shape = (leading, *inner)
    layer = layers.Affine(int(np.prod(inner)), n_out, rng=0)
    layer.params = {key: p.astype(dtype) for key, p in layer.params.items()}
    y, backward = layer.forward(np.ones(shape, dtype=dtype))
    dx, grads = backward(np.ones_like(y))
    assert (y.shape, y.dtype) == ((leading, n_out), dtype)
    assert (dx.shape, dx.dtype) == (shape, dtype)
    assert all(g.shape == layer.params[k].shape and g.dtype == dtype for k, g in grads.items())


def test_two_batches_may_be_on_their_way_at_once():
    layer = layers.Sigmoid()
    _, backward_1 = layer.forward(np.asarray([0.0]))
    _, backward_2 = layer.forward(np.asarray([2.0]))
    dx_1, dx_2 = backward_1(np.ones(1))[0], backward_2(np.ones(1))[0]
    assert dx_1[0] == 0.25
    assert dx_2[0] == pytest.approx(0.1049935854)


def test_relu_shows_nan_and_closes_at_zero():
    y, backward = layers.ReLU().forward(np.asarray([np.nan, 0.0, -1.0, 2.0]))
    np.testing.assert_array_equal(y, [np.nan, 0.0, 0.0, 2.0])
    np.testing.assert_array_equal(backward(np.ones(4))[0][1:], [0.0, 0.0, 1.0])


def test_relu6_shows_nan_and_closes_at_both_ends():
    y, backward = layers.ReLU6().forward(np.asarray([np.nan, 0.0, -1.0, 2.0, 6.0, 7.0, np.inf]))
    np.testing.assert_array_equal(y, [np.nan, 0.0, 0.0, 2.0, 6.0, 6.0, 6.0])
    np.testing.assert_array_equal(backward(np.ones(7))[0][1:], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0])


def test_leaky_relu_is_its_definition(device):
    x, dy = (device.asarray(a) for a in ([-2.0, -0.5, 0.0, 0.5, 2.0], [1.0] * 5))
    y, backward = layers.LeakyReLU(0.2).forward(x)
    np.testing.assert_array_equal(to_numpy(y), [-0.4, -0.1, 0.0, 0.5, 2.0])
    np.testing.assert_array_equal(to_numpy(backward(dy)[0]), [0.2, 0.2, 0.2, 1.0, 1.0])
    assert np.isnan(layers.LeakyReLU().forward(np.asarray([np.nan]))[0][0])
    for slope in (0.0, 1.0, -0.2):
        with pytest.raises(ArgumentError, match="LeakyReLU needs a slope above 0 and below 1, got"):
            layers.LeakyReLU(slope)


def test_unflatten_undoes_what_affine_does_to_images(device):
    images = device.asarray(np.arange(24.0).reshape(2, 3, 2, 2))
    layer = layers.Unflatten((3, 2, 2))
    y, backward = layer.forward(device.xp.reshape(images, (2, 12)))
    np.testing.assert_array_equal(to_numpy(y), to_numpy(images))
    np.testing.assert_array_equal(to_numpy(backward(y)[0]), np.arange(24.0).reshape(2, 12))
    with pytest.raises(ArgumentError, match=r"takes rows of 12 numbers, got the shape \(13,\)"):
        Network([layers.Affine(4, 13), layer])
    for shape in ((3, 2), (3, 0, 2), 5):
        with pytest.raises(ArgumentError, match=r"Unflatten|shape"):
            layers.Unflatten(shape)


def test_nothing_is_computed_below_the_first_layer_that_learns():
    asked = []

    class Spy(layers.ReLU):
        def forward(self, x, *, train=False):
            y, backward = super().forward(x)

            def noted(dy, need_dx=True):
                asked.append(need_dx)
                return backward(dy)

            return y, noted

    net = layers.Sequential([Spy(), layers.Affine(3, 2, rng=0), Spy()])
    _, backward = net.forward(np.ones((1, 3)))
    assert backward(np.ones((1, 2)), need_dx=False)[0] is None
    assert asked == [True]  # the one above Affine


@pytest.mark.parametrize(
    "loss", [layers.SoftmaxWithLoss(), layers.SigmoidWithLoss(), layers.IdentityWithLoss()]
)
def test_loss_gradient_is_the_derivative_of_the_loss(loss, device):
    rng = np.random.default_rng(0)
    z, v, h = rng.standard_normal((4, 3)), rng.standard_normal((4, 3)), 1e-5
    t = device.asarray(rng.dirichlet(np.ones(3), size=4))

    def value(x):
        return float(loss.forward(device.asarray(x), t)[0])

    _, backward = loss.forward(device.asarray(z), t)
    numerical = (value(z + h * v) - value(z - h * v)) / (2 * h)
    assert np.sum(to_numpy(backward(2.0)) * v) == pytest.approx(2 * numerical, rel=1e-8)


@pytest.mark.parametrize(
    "loss", [layers.SoftmaxWithLoss(0.1), layers.SigmoidWithLoss(), layers.IdentityWithLoss()]
)
def test_the_loss_of_one_sample_is_that_of_a_batch_of_one(loss, device):
    x, t = device.asarray([0.5, -1.0, 2.0]), device.asarray([0.0, 1.0, 0.0])
    value, backward = loss.forward(x, t)
    want, of_batch = loss.forward(x[None, :], t[None, :])
    assert float(value) == float(want)
    np.testing.assert_array_equal(to_numpy(backward()), to_numpy(of_batch())[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.Affine(0, 3), "Affine needs at least one input and one output, got n_in=0"),
        (
            lambda: layers.Affine(4, 2).forward(np.ones((2, 5))),
            "Affine takes 4 numbers a sample, got the shape (5,)",
        ),
        (lambda: layers.Sequential([]), "Sequential needs at least one layer, got none"),
        (
            lambda: layers.Sequential([np.tanh]),
            "layer 'ufunc1' must have forward(x, train=...), output_shape(shape) and params, "
            "got ufunc",
        ),
        (
            lambda: layers.SoftmaxWithLoss().forward(np.ones((2, 3)), np.ones(3, dtype=int)),
            "targets for outputs of shape (2, 3) must be integer labels of shape (2,) or one-hot "
            "of shape (2, 3), got int64 of shape (3,)",
        ),
    ],
)
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError) as error:
        call()
    assert message in str(error.value)
