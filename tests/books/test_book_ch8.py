"""Deep Learning from Scratch, chapter 8: small filters stacked deep, and the DeepConvNet.

The residual block, top-5 accuracy and half precision are not in the library yet; hours at 56 times
the speed and 100 minus an accuracy are sums for the reader; training is left to the scripts.
"""

import numpy as np
import pytest

from tolerances import assert_near
from xpnet import Affine, Convolution, DeepConvNet, Sequential, gradient_check, to_numpy

TINY = {  # 8, pooled to 4, 2 and 1
    "input_dim": (1, 8, 8),
    **{f"conv_param_{k}": {"filter_num": 2, "pad": 1} for k in range(1, 7)},
    "hidden_size": 4,
    "output_size": 3,
}


@pytest.mark.parametrize(
    ("size", "filters", "weights"), [(5, 1, 25), (3, 2, 18), (7, 1, 49), (3, 3, 27)]
)
def test_small_filters_see_as_far_with_fewer_weights(device, size, filters, weights):
    """Section 8.1: two 3 x 3 for one 5 x 5, three for one 7 x 7, by channel to channel.

    What an output sees is where its gradient by the input is not zero.
    """
    net = Sequential([Convolution(1, 1, size, rng=k) for k in range(filters)])
    assert sum(p.size for name, p in net.params.items() if name.endswith("W")) == weights
    net.params = {name: device.asarray(p) for name, p in net.params.items()}
    y, backward = net.forward(device.asarray(np.ones((1, 1, 11, 11))))
    dy = np.zeros(y.shape)
    dy[0, 0, 2, 1] = 1
    dx, _ = backward(device.asarray(dy))
    reach = {1: size, 2: 5, 3: 7}[filters]
    want = np.zeros((11, 11), bool)
    want[2 : 2 + reach, 1 : 1 + reach] = True
    np.testing.assert_array_equal(to_numpy(dx)[0, 0] != 0, want)


def test_deep_conv_net_in_numbers(device):
    """The fourth convolution pads by 2, so that 14 becomes 16, which pooling halves to 4."""
    net = DeepConvNet(rng=0, device=device)
    assert [(row.name, row.output_shape, row.parameters) for row in net.summary()] == [
        ("Conv1", (16, 28, 28), 160),
        ("Relu1", (16, 28, 28), 0),
        ("Conv2", (16, 28, 28), 2320),
        ("Relu2", (16, 28, 28), 0),
        ("Pool1", (16, 14, 14), 0),
        ("Conv3", (32, 14, 14), 4640),
        ("Relu3", (32, 14, 14), 0),
        ("Conv4", (32, 16, 16), 9248),
        ("Relu4", (32, 16, 16), 0),
        ("Pool2", (32, 8, 8), 0),
        ("Conv5", (64, 8, 8), 18_496),
        ("Relu5", (64, 8, 8), 0),
        ("Conv6", (64, 8, 8), 36_928),
        ("Relu6", (64, 8, 8), 0),
        ("Pool3", (64, 4, 4), 0),
        ("Affine1", (50,), 51_250),
        ("Relu7", (50,), 0),
        ("Dropout1", (50,), 0),
        ("Affine2", (10,), 510),
        ("Dropout2", (10,), 0),
    ]
    convolutions = sum(row.parameters for row in net.summary() if row.kind == "Convolution")
    assert (convolutions, net.params.count) == (71_792, 123_552)

    x = device.asarray(np.ones((2, 1, 28, 28), np.float32))
    for name, layer in net.layers.items():
        x = layer.forward(x, train=True)[0]
        assert x.shape == (2, *net.output_shapes[name])


def test_deep_conv_net_starts_as_he_et_al_have_it():
    """sqrt(2 / inputs of a unit), within 4 sd of as many draws; biases are 0."""
    net = DeepConvNet(rng=0)
    for k, n in enumerate((9, 144, 144, 288, 288, 576, 1024, 50), start=1):
        W = net.params[f"W{k}"]
        np.testing.assert_allclose(np.std(W), np.sqrt(2 / n), rtol=4 / np.sqrt(2 * W.size))
        assert abs(np.mean(W)) < 4 * np.sqrt(2 / n / W.size)
        assert not np.any(net.params[f"b{k}"])


def test_a_fully_connected_layer_is_a_convolution(device):
    """Section 8.3.4: 100 units on 32 x 10 x 10 are 100 filters of that size."""
    rng = np.random.default_rng(0)
    affine, convolution = Affine(3200, 100, rng=rng), Convolution(32, 100, 10)
    W, b = affine.params["W"], rng.standard_normal(100)
    affine.params = {"W": device.asarray(W), "b": device.asarray(b)}
    filters = np.reshape(W.T, (100, 32, 10, 10))
    convolution.params = {"W": device.asarray(filters), "b": device.asarray(b)}
    x = device.asarray(rng.standard_normal((2, 32, 10, 10)))
    y = convolution.forward(x)[0]
    assert y.shape == (2, 100, 1, 1)
    want = to_numpy(affine.forward(x)[0])
    assert_near(y[:, :, 0, 0], want, {"rtol": 0, "atol": 1e-10})


def test_scores_are_left_out_in_training_and_scaled_in_inference():
    """The book's second Dropout; what is left is what its Affine gave, and half of it otherwise."""
    net = DeepConvNet(**TINY, rng=0, dtype="float64")
    net.layers["Dropout1"].dropout_ratio = 0.0
    x = np.random.default_rng(0).standard_normal((20, 1, 8, 8))
    inference = net.predict(x)
    y, _ = net.forward(x, train=True)
    left_out = y == 0
    assert 10 < np.sum(left_out) < 50  # of 60
    np.testing.assert_allclose(inference[~left_out], y[~left_out] / 2, rtol=1e-12)


def test_accuracy_counts_the_last_short_batch():
    """The book's code drops it: 10 images by 4 would be 8."""
    net = DeepConvNet(**TINY, rng=0)
    x = np.random.default_rng(0).random((10, 1, 8, 8), dtype=np.float32)
    t = np.argmax(net.predict(x), axis=1)
    t[9] = (t[9] + 1) % 3
    assert net.accuracy(x, t, batch_size=4) == 0.9


def test_gradient_check():
    """All parameters of a tiny DeepConvNet, with dropout: every loss is taken from one state.

    The bound is h^2 / 6 = 2e-9 times a third derivative below 1; chapter 5's are for weights of
    0.01. Other libraries are checked in test_conv_nets.py.
    """
    rng = np.random.default_rng(0)
    net = DeepConvNet(**TINY, rng=rng, dtype="float64")
    x, t = rng.standard_normal((4, 1, 8, 8)), np.asarray([0, 1, 2, 1])
    for _ in range(2):
        assert all(np.any(grad) for grad in net.gradient(x, t).values())
    errors = gradient_check(net, x, t)  # on the masks of the third pass
    assert list(errors) == [f"{kind}{k}" for k in range(1, 9) for kind in "Wb"]
    assert max(errors.values()) < 1e-9
    assert net.state == {"Dropout1.calls": [2], "Dropout2.calls": [2]}
