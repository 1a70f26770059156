"""Batch normalization: worked examples, differences, PyTorch, and what inference remembers."""

import numpy as np
import pytest

from tolerances import E12, F32, P9, assert_near
from xpnet import Affine, BatchNorm, Convolution, Network, ReLU, Sigmoid, gradient_check
from xpnet.arrays import to_numpy
from xpnet.books import saitoh
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import inner, outer
from xpnet.testing import check_backward

RNG = np.random.default_rng(0)
DENSE, IMAGES = RNG.standard_normal((6, 4)) * 3 + 1, RNG.standard_normal((3, 4, 2, 5)) - 2
BOTH = pytest.mark.parametrize("x", [DENSE, IMAGES], ids=["dense", "images"])
EITHER = pytest.mark.parametrize("ddof", [0, 1])


def placed(device, features=4, *, dtype="float64", **options):
    """A layer on the device whose parameters and statistics are not those it starts with."""
    layer = BatchNorm(features, **options)
    rng = np.random.default_rng(1)
    layer.params = {k: device.asarray(rng.uniform(0.5, 2, features), dtype=dtype)
                    for k in layer.params}  # fmt: skip
    layer.state = {k: device.asarray(rng.uniform(0.5, 2, features), dtype=dtype)
                   for k in layer.state}  # fmt: skip
    return layer


def per_feature(values, x):
    """(features,) in a shape that goes with x."""
    return to_numpy(values).reshape(-1, *[1] * (x.ndim - 2))


@pytest.mark.parametrize(
    ("ddof", "var", "xhat"),
    [(0, 8 / 3, [-1.2247448, 0, 1.2247448]), (1, 4, [-0.9999999875, 0, 0.9999999875])],
)
def test_worked_examples(device, ddof, var, xhat):
    layer = BatchNorm(1, eps=1e-7, ddof=ddof, momentum=0)  # what is kept is then the batch's own
    layer.params, layer.state = (
        {k: device.asarray(a) for k, a in arrays.items()} for arrays in (layer.params, layer.state)
    )
    y, _ = layer.forward(device.asarray([[1.0], [3.0], [5.0]]), train=True)
    assert_near(y, np.reshape(xhat, (3, 1)), {"rtol": 0, "atol": 5e-8})
    assert_near(layer.state["running_mean"], [3], E12)
    assert_near(layer.state["running_var"], [var], E12)


def test_the_books_eps():
    """10e-7, which is 1e-6: against a feature whose variance is just that."""
    y, _ = BatchNorm(1).forward(np.asarray([[-1e-3], [1e-3]]), train=True)
    np.testing.assert_allclose(y, [[-np.sqrt(0.5)], [np.sqrt(0.5)]], rtol=1e-12)


@BOTH
@EITHER
@pytest.mark.parametrize(("dtype", "tol"), [("float64", {"rtol": 1e-12, "atol": 1e-12}),
                                            ("float32", {"rtol": 1e-5, "atol": 1e-5})])  # fmt: skip
def test_training_is_its_definition(device, x, ddof, dtype, tol):
    layer = placed(device, ddof=ddof, dtype=dtype)
    kept = {k: to_numpy(a).copy() for k, a in layer.state.items()}
    y, backward = layer.forward(device.asarray(x, dtype=dtype), train=True)
    dx, grads = backward(y)
    axes = (0, *range(2, x.ndim))
    mean, var = np.mean(x, axis=axes), np.var(x, axis=axes, ddof=ddof)
    gamma, beta = (per_feature(layer.params[k], x) for k in ("gamma", "beta"))
    xhat = (x - per_feature(mean, x)) / np.sqrt(per_feature(var, x) + 1e-6)
    assert_near(y, gamma * xhat + beta, tol)
    assert_near(layer.state["running_mean"], 0.9 * kept["running_mean"] + 0.1 * mean, tol)
    assert_near(layer.state["running_var"], 0.9 * kept["running_var"] + 0.1 * var, tol)
    for array in (y, dx, *grads.values(), *layer.state.values()):
        assert array.dtype == device.dtype(dtype)


@BOTH
def test_inference_takes_the_running_statistics_and_leaves_them(device, x):
    layer = placed(device)
    kept = {k: to_numpy(a).copy() for k, a in layer.state.items()}
    y, _ = layer.forward(device.asarray(x))
    mean, var, gamma, beta = (
        per_feature(a, x) for a in (*kept.values(), layer.params["gamma"], layer.params["beta"])
    )
    assert_near(y, gamma * (x - mean) / np.sqrt(var + 1e-6) + beta, E12)
    one, _ = layer.forward(device.asarray(x[:1]))
    assert_near(one, to_numpy(y)[:1], E12)
    for name, array in layer.state.items():
        np.testing.assert_array_equal(to_numpy(array), kept[name])


def test_inference_comes_to_agree_with_training(device):
    """After enough passes over one batch the running statistics are the batch's."""
    layer, x = placed(device), device.asarray(DENSE)
    for _ in range(400):
        trained, _ = layer.forward(x, train=True)
    assert_near(layer.forward(x)[0], to_numpy(trained), {"rtol": 1e-12, "atol": 1e-12})


@BOTH
@EITHER
@pytest.mark.parametrize("train", [True, False])
def test_backward_is_the_derivative_of_forward(device, x, ddof, train):
    layer = placed(device, ddof=ddof)
    check_backward(layer, device.asarray(x), rng=np.random.default_rng(0), train=train)


def test_a_backward_is_not_moved_by_later_passes(device):
    for train in (True, False):
        layer, x = placed(device), device.asarray(DENSE)
        y, backward = layer.forward(x, train=train)
        before = to_numpy(backward(y)[0]).copy()
        layer.forward(x * 2.0, train=True)
        np.testing.assert_array_equal(to_numpy(backward(y)[0]), before)


@BOTH
@pytest.mark.parametrize("train", [True, False])
def test_agrees_with_pytorch(x, train):
    """Whose running variance is that with m - 1, unlike what it divides by."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layer = BatchNorm(4)
    layer.params = {"gamma": RNG.standard_normal(4), "beta": RNG.standard_normal(4)}
    layer.state = {"running_mean": RNG.standard_normal(4), "running_var": RNG.uniform(1, 2, 4)}
    mean, var = (torch.tensor(a) for a in layer.state.values())
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, *layer.params.values())]
    want = torch.nn.functional.batch_norm(
        tensors[0], mean, var, *tensors[1:], training=train, momentum=0.1, eps=1e-6
    )
    dy = RNG.standard_normal(x.shape)
    want.backward(torch.tensor(dy))

    before = layer.state["running_var"].copy()
    y, backward = layer.forward(x, train=train)
    dx, grads = backward(dy)
    m = x.size // 4
    var = before + (var.numpy() - 0.9 * before) * (m - 1) / m - 0.1 * before if train else var
    got = (y, dx, *grads.values(), *layer.state.values())
    expected = (want.detach(), *(t.grad for t in tensors), mean, var)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_images_keep_their_order_in_memory():
    """That of the layers around: (H, W, N, C), so that nothing is copied."""
    x = inner(np.ascontiguousarray(outer(IMAGES)))
    y, backward = BatchNorm(4).forward(x, train=True)
    for array in (y, backward(x)[0]):
        assert outer(array).flags.c_contiguous


def test_a_network_with_it_passes_the_gradient_check(device):
    layers = [
        Convolution(1, 2, 2, rng=0), BatchNorm(2), Sigmoid(),
        Affine(8, 3, rng=1), BatchNorm(3, ddof=1), Sigmoid(), Affine(3, 2, rng=2),
    ]  # fmt: skip
    net = Network(layers, input_shape=(1, 3, 3), names="book", device=device, dtype="float64")
    assert list(net.params) == [
        "W1", "b1", "gamma1", "beta1", "W2", "b2", "gamma2", "beta2", "W3", "b3",
    ]  # fmt: skip
    x, t = np.random.default_rng(3).standard_normal((6, 1, 3, 3)), np.asarray([0, 1, 1, 0, 1, 0])
    assert max(gradient_check(net, x, t).values()) < 1e-9
    assert all(np.any(abs(to_numpy(net.gradient(x, t)[k])) > 1e-3) for k in ("gamma1", "W1"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_keeps_statistics_in_its_own_dtype(device, dtype):
    net = Network([Affine(4, 3, rng=0), BatchNorm(3), ReLU()], device=device, dtype=dtype)
    assert list(net.state) == ["BatchNorm1.running_mean", "BatchNorm1.running_var"]
    net.gradient(DENSE, np.zeros(6, dtype=int))
    assert all(a.dtype == device.dtype(dtype) for a in net.state.values())
    assert all(
        np.all(to_numpy(a) != start) for a, start in zip(net.state.values(), (0, 1), strict=True)
    )
    assert net.predict(DENSE).dtype == device.dtype(dtype)
    np.testing.assert_allclose(to_numpy(net.predict(DENSE[0])), to_numpy(net.predict(DENSE))[0],
                               **F32)  # fmt: skip


def test_the_books_batch_normalization(device):
    """Images are flattened; the arrays given for the running statistics are not altered."""
    x, dout = (device.asarray(RNG.standard_normal((3, 2, 2, 1))) for _ in range(2))
    gamma, beta, mean, var = (device.asarray(RNG.uniform(1, 2, 4)) for _ in range(4))
    kept = [to_numpy(a).copy() for a in (mean, var)]
    twin = BatchNorm(4)
    twin.params, twin.state = (
        {"gamma": gamma, "beta": beta},
        {"running_mean": device.asarray(kept[0].copy()),
         "running_var": device.asarray(kept[1].copy())},
    )  # fmt: skip
    node = saitoh.BatchNormalization(gamma, beta, 0.9, mean, var)
    rows = device.xp.reshape(x, (3, 4))
    for arguments in ((x,), (x, False)):
        want, backward = twin.forward(rows, train=arguments == (x,))
        dx, grads = backward(device.xp.reshape(dout, (3, 4)))
        assert_near(node.forward(*arguments), to_numpy(want).reshape(x.shape))
        assert_near(node.backward(dout), to_numpy(dx).reshape(x.shape))
        assert_near(node.dgamma, to_numpy(grads["gamma"]))
        assert_near(node.dbeta, to_numpy(grads["beta"]))
    assert_near(node.running_mean, to_numpy(twin.state["running_mean"]))
    assert_near(node.running_var, to_numpy(twin.state["running_var"]))
    for array, before in zip((mean, var), kept, strict=True):
        np.testing.assert_array_equal(to_numpy(array), before)


def test_the_books_statistics_start_at_0_and_1():
    node = saitoh.BatchNormalization(np.ones(4), np.zeros(4))
    np.testing.assert_allclose(node.forward(DENSE, train_flg=False), DENSE, rtol=1e-6)


def test_a_batch_of_one():
    """Its variance is 0: with ddof=0 the output is beta, with ddof=1 there is none."""
    layer = BatchNorm(4)
    layer.params["beta"] = np.arange(4.0)
    np.testing.assert_array_equal(layer.forward(DENSE[:1], train=True)[0], [np.arange(4.0)])
    BatchNorm(4, ddof=1).forward(IMAGES[:1], train=True)  # ten values each
    layer = BatchNorm(4, ddof=1)
    message = r"ddof=1 needs a batch of at least 2, got 1; use a larger batch, or ddof=0"
    with pytest.raises(ArgumentError, match=message):
        layer.forward(DENSE[:1], train=True)
    np.testing.assert_array_equal(layer.state["running_mean"], np.zeros(4))


@pytest.mark.parametrize("shape", [(3,), (2, 5, 5), (4, 5), ()])
def test_shapes_that_do_not_fit_are_refused(shape):
    message = r"BatchNorm takes \(4,\) or \(4, H, W\) a sample, got \("
    for call in (BatchNorm(4).output_shape, lambda s: BatchNorm(4).forward(np.ones((2, *s)))):
        with pytest.raises(ArgumentError, match=message):
            call(shape)
    assert BatchNorm(4).output_shape((4,)) == (4,)
    assert BatchNorm(4).output_shape((4, 5, 6)) == (4, 5, 6)


@pytest.mark.parametrize(
    "options", [{"features": 0}, {"momentum": 1.0}, {"momentum": -0.1}, {"eps": 0}, {"ddof": 2}]
)
def test_options_without_a_meaning_are_refused(options):
    with pytest.raises(ArgumentError, match="BatchNorm needs at least one feature, a momentum"):
        BatchNorm(**({"features": 3} | options))


@pytest.mark.parametrize(("running_ddof", "var"), [(None, 1.25), (0, 1.25), (1, 1.366666667)])
def test_the_worked_example_of_pytorchs_running_variance(device, running_ddof, var):
    layer = BatchNorm(1, eps=1e-5, running_ddof=running_ddof)
    layer.params, layer.state = (
        {k: device.asarray(a) for k, a in arrays.items()} for arrays in (layer.params, layer.state)
    )
    x = device.asarray([[1.0], [2], [3], [6]])
    y, _ = layer.forward(x, train=True)
    assert_near(y[:, 0], [-1.069043440, -0.5345217202, 0, 1.603565161], P9)
    assert_near(layer.state["running_mean"], [0.3], E12)
    assert_near(layer.state["running_var"], [var], P9)
    if running_ddof == 1:
        evaluated, _ = layer.forward(x)
        assert_near(evaluated[:, 0], [0.5987770553, 1.454172849, 2.309568642, 4.875756022], P9)


@BOTH
def test_trains_as_pytorch_does(x):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    there = (torch.nn.BatchNorm1d if x.ndim == 2 else torch.nn.BatchNorm2d)(4).double()
    layer = BatchNorm(4, eps=1e-5, running_ddof=1)
    for scale in (1.0, 3.0, 0.5):
        y, _ = layer.forward(scale * x, train=True)
        np.testing.assert_allclose(y, there(torch.tensor(scale * x)).detach().numpy(), rtol=1e-10)
    for name in layer.state:
        np.testing.assert_allclose(layer.state[name], getattr(there, name).numpy(), rtol=1e-12)


@BOTH
def test_frozen_statistics_are_those_of_inference_in_training_too(device, x):
    layer, x = placed(device), device.asarray(x)
    kept = {k: to_numpy(a).copy() for k, a in layer.state.items()}
    want, backward = layer.forward(x)
    layer.statistics_frozen = True
    y, frozen_backward = layer.forward(x, train=True)
    np.testing.assert_array_equal(to_numpy(y), to_numpy(want))
    (dx, grads), (want_dx, want_grads) = frozen_backward(y), backward(y)
    for got, want in zip((dx, *grads.values()), (want_dx, *want_grads.values()), strict=True):
        np.testing.assert_array_equal(to_numpy(got), to_numpy(want))
    for name, array in layer.state.items():
        np.testing.assert_array_equal(to_numpy(array), kept[name])
    check_backward(layer, x, train=True)


def test_a_batch_of_one_has_no_running_variance_of_pytorchs_kind():
    with pytest.raises(ArgumentError, match="running_ddof=1 needs a batch of at least 2, got 1"):
        BatchNorm(4, running_ddof=1).forward(DENSE[:1], train=True)
    with pytest.raises(ArgumentError, match="running_ddof of BatchNorm must be 0 or 1, or None"):
        BatchNorm(4, running_ddof=2)
    frozen = BatchNorm(4, running_ddof=1)
    frozen.statistics_frozen = True
    frozen.forward(DENSE[:1], train=True)
