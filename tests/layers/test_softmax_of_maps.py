"""Softmax with cross-entropy at every place of images, with what is ignored, and weights."""

from itertools import product

import numpy as np
import pytest

from xpnet import Convolution, Network, load_network, to_numpy
from xpnet.errors import ArgumentError
from xpnet.layers import HeadsWithLoss, SoftmaxWithLoss
from xpnet.layers.loss import ignored_by
from xpnet.models.saved import copied

X = np.array([[[[1, 2], [0, 3]], [[0, 2], [1, 1]], [[2, 0], [1, -1]]]], dtype=float)
T = np.array([[[0, 1], [2, 255]]], dtype=np.uint8)


def test_the_worked_example(device):
    """`shared/spec/architectures.md`, 1.11, to its ten digits."""
    loss, backward = SoftmaxWithLoss(ignore=255).forward(device.asarray(X), device.asarray(T))
    assert float(loss) == pytest.approx(1.009408148, rel=1e-9)
    want = [
        [-0.2517571763, 0.1561035103, 0.05178746783, 0],
        [0.03001019106, -0.1772298231, 0.1407729328, 0],
        [0.2217469853, 0.02112631278, -0.1925604006, 0],
    ]
    np.testing.assert_allclose(to_numpy(backward()).reshape(3, 4), want, rtol=1e-9)
    weighed = SoftmaxWithLoss(ignore=255, class_weights=(1, 2, 4))
    loss, backward = weighed.forward(device.asarray(X), device.asarray(T))
    assert float(loss) == pytest.approx(0.9104046474, rel=1e-9)
    want = [-0.1078959327, 0.1338030088, 0.08877851628, 0]
    np.testing.assert_allclose(to_numpy(backward())[0, 0].ravel(), want, rtol=1e-9)


CASES = list(
    product(
        [(4, 5), (3, 5, 7), (2, 3, 4, 5), (1, 2, 1, 1), (2, 4, 3, 2, 3)],
        [0.0, 0.1],
        [None, 255, -100, 1],
        [False, True],
    )
)


def test_it_is_the_cross_entropy_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for shape, smoothing, ignore, weighs in CASES:
        z, t = 3 * rng.standard_normal(shape), rng.integers(0, shape[1], (shape[0], *shape[2:]))
        if ignore is not None:
            t[rng.random(t.shape) < 0.3] = ignore
            t[0, ...] = 0
        w = rng.random(shape[1]) + 0.1 if weighs else None
        loss, backward = SoftmaxWithLoss(smoothing, ignore, w).forward(z, t)
        theirs = torch.tensor(z, requires_grad=True)
        want = torch.nn.functional.cross_entropy(
            theirs,
            torch.tensor(t),
            weight=None if w is None else torch.tensor(w),
            ignore_index=-100 if ignore is None else ignore,
            label_smoothing=smoothing,
        )
        want.backward()
        case = f"{shape}, smoothing {smoothing}, ignore {ignore}, weights {w}"
        np.testing.assert_allclose(loss, want.item(), rtol=1e-12, atol=1e-14, err_msg=case)
        np.testing.assert_allclose(backward(), theirs.grad.numpy(), atol=1e-14, err_msg=case)
        if ignore is None and not weighs:  # probabilities, of which torch ignores and weighs others
            shares = np.moveaxis(rng.dirichlet(np.ones(shape[1]), t.shape), -1, 1)
            loss, _ = SoftmaxWithLoss(smoothing).forward(z, shares)
            want = torch.nn.functional.cross_entropy(
                theirs, torch.tensor(shares), label_smoothing=smoothing
            )
            np.testing.assert_allclose(loss, want.item(), rtol=1e-12, err_msg=case)


@pytest.mark.parametrize(
    "options", [{}, {"ignore": 9}, {"smoothing": 0.2, "class_weights": (2, 1, 0)}]
)
def test_the_gradient_is_the_derivative_and_targets_agree(device, options):
    """Labels, labels one a row and one-hot maps are the same; so is a list."""
    loss, rng, h = SoftmaxWithLoss(**options), np.random.default_rng(0), 1e-5
    z, v = rng.standard_normal((2, 2, 3, 4, 5))
    labels = rng.integers(0, 3, (2, 4, 5))
    t = device.asarray(labels.astype(np.uint8))
    value, backward = loss.forward(device.asarray(z), t)
    near = [float(loss.forward(device.asarray(z + step * v), t)[0]) for step in (h, -h)]
    slope = (near[0] - near[1]) / (2 * h)
    assert np.sum(to_numpy(backward(2.0)) * v) == pytest.approx(2 * slope, rel=1e-8)
    hot = device.asarray(np.eye(3)[labels].transpose(0, 3, 1, 2))
    for other in (hot, t[:, None, ...], labels.tolist()):
        if device.name == "cpu" or not isinstance(other, list):
            assert float(loss.forward(device.asarray(z), other)[0]) == pytest.approx(float(value))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_nothing_counts_loss_and_gradient_are_0(device, dtype):
    """And what is left out counts nothing whatever its scores are."""
    z = device.asarray(X, dtype=dtype)
    for options in ({"ignore": 7}, {"ignore": 7, "class_weights": [0, 1, 1], "smoothing": 0.1}):
        loss, backward = SoftmaxWithLoss(**options).forward(z, device.asarray(0 * T + 7))
        dz = backward()
        assert loss.dtype == dz.dtype == z.dtype
        assert (float(loss), np.abs(to_numpy(dz)).max()) == (0, 0)
    lost = X.copy()
    lost[0, :, 1, 1] = np.nan
    got, want = (
        SoftmaxWithLoss(ignore=255).forward(device.asarray(x), device.asarray(T)) for x in (lost, X)
    )
    assert float(got[0]) == float(want[0])
    np.testing.assert_array_equal(to_numpy(got[1]()), to_numpy(want[1]()))


def test_a_class_that_is_impossible_has_no_part_in_it():
    x = X.copy()
    x[0, 2, 0] = -np.inf  # where the labels are 0 and 1
    loss, backward = SoftmaxWithLoss(ignore=255, class_weights=[1, 1, 1]).forward(x, T)
    assert np.isfinite(loss)
    assert np.isfinite(backward()).all()


def test_a_label_without_a_class_is_nan_where_nothing_is_read_back(strict_device, unread):
    x, t = strict_device.asarray(X), strict_device.asarray(T)
    for loss in (SoftmaxWithLoss(), SoftmaxWithLoss(ignore=7, class_weights=[1, 2, 3])):
        with unread():
            value, backward = loss.forward(x, t)
            backward()
        assert np.isnan(float(value))
    with unread():
        value, _ = SoftmaxWithLoss(ignore=255, class_weights=[1, 2, 4]).forward(x, t)
    assert float(value) == pytest.approx(0.9104046474, rel=1e-9)


def test_a_loss_of_your_own_may_leave_labels_out():
    class Own(SoftmaxWithLoss):
        """As it is."""

    class Other:
        ignore = "nothing"

        def forward(self, x, t):
            return np.sum(x), lambda dout=1.0: dout * np.ones_like(x)

    assert ignored_by(Own(ignore=255)) == 255
    assert ignored_by(Other()) is None
    heads = HeadsWithLoss({"a": Own(ignore=7), "b": Other()})
    assert ignored_by(heads) == {"a": 7, "b": None}


def segmenter(loss, dtype="float32"):
    layers = [Convolution(1, 3, 3, pad=1, rng=0)]
    return Network(layers, loss, input_shape=(1, 2, 2), dtype=dtype)


def test_it_is_described_saved_copied_and_loaded(tmp_path):
    loss = SoftmaxWithLoss(0.1, 255, np.array([1, 2, 4], dtype="float32"))
    assert repr(loss) == (
        "SoftmaxWithLoss(smoothing=0.1, ignore=255, class_weights=(1.0, 2.0, 4.0))"
    )
    net = segmenter(loss)
    net.save_params(tmp_path / "net.safetensors")
    for other in (
        load_network(tmp_path / "net.safetensors"),
        copied(net, device="cpu", dtype="float64"),
    ):
        assert other.last_layer.arguments() == loss.arguments()
        got, want = (float(each.loss(X[:, :1], T)) for each in (other, net))
        assert got == pytest.approx(want, rel=1e-6)


def test_a_network_tells_probabilities_and_accuracy_of_places():
    net = segmenter(SoftmaxWithLoss(ignore=255), "float64")
    x = X[:, :1]
    scores = net.predict(x)
    p = net.probabilities(x)
    np.testing.assert_allclose(p.sum(axis=1), np.ones((1, 2, 2)), rtol=1e-15)
    np.testing.assert_array_equal(p.argmax(axis=1), scores.argmax(axis=1))
    told = scores.argmax(axis=1)
    t = told.copy()
    t[0, 0, 0] = (t[0, 0, 0] + 1) % 3
    t[0, 1, 1] = 255
    assert net.accuracy(x, t) == net.accuracy(x, t[:, None]) == 2 / 3
    with pytest.raises(ArgumentError, match="all are left out"):
        net.accuracy(x, np.full_like(t, 255))


WRONG = T.copy()
WRONG[0, 0, 1] = 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SoftmaxWithLoss(ignore=0.5), "ignore of SoftmaxWithLoss must be a whole number"),
        (lambda: SoftmaxWithLoss(ignore=2**31), "ignore must be a label of 32 bits"),
        (lambda: SoftmaxWithLoss(class_weights=[1, -1]), "a number from 0 on for each class"),
        (lambda: SoftmaxWithLoss(class_weights=[0, 0]), "not all of them 0"),
        (lambda: SoftmaxWithLoss(class_weights=3.0), "a number from 0 on for each class"),
        (lambda: SoftmaxWithLoss(class_weights=[1, np.nan]), "a number from 0 on for each class"),
        (lambda: SoftmaxWithLoss(class_weights=["a"]), "class_weights: numbers are needed"),
        (
            lambda: SoftmaxWithLoss(class_weights=[1, 2]).forward(X, T),
            "class_weights must be one number for each of 3 classes, got 2",
        ),
        (
            lambda: SoftmaxWithLoss().forward(X, T),
            r"below the network's 3 outputs, got 255 at \[0, 1, 1\]; where it marks what is of no "
            r"class, give SoftmaxWithLoss\(ignore=255\); otherwise give the network",
        ),
        (
            lambda: SoftmaxWithLoss(ignore=255).forward(X, WRONG),
            r"3 outputs, or 255, which is left out, got 3 at \[0, 0, 1\]; they count from 0",
        ),
        (
            lambda: SoftmaxWithLoss().forward(X, T.astype(int) - 1),
            r"0 or more, got -1 at \[0, 0, 0\]; where it marks .* SoftmaxWithLoss\(ignore=-1\)",
        ),
        (
            lambda: SoftmaxWithLoss().forward(X, T[..., :1]),
            r"must be integer labels of shape \(1, 2, 2\) or one-hot of shape \(1, 3, 2, 2\), got "
            r"uint8 of shape \(1, 2, 1\)",
        ),
        (
            lambda: SoftmaxWithLoss().forward(X, T.astype(float)),
            r"labels become integers by t.astype\(int\)",
        ),
        (lambda: SoftmaxWithLoss().forward(X[:, :1], T), "softmax of one output is always 1"),
        (lambda: SoftmaxWithLoss(ignore=255).forward(X[:0], T[:0]), "at least one sample"),
        (lambda: SoftmaxWithLoss().forward(X, 2 * np.ones_like(X)), "numbers from 0 to 1, got 2"),
    ],
)  # fmt: skip
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
