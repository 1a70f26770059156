"""What cannot be a layer, a loss or a network is told in words; so are losses of other outputs."""

import copy
import json
import random

import numpy as np
import pytest

from branching import batch, heads, resnet
from xpnet import load_network
from xpnet.errors import ArgumentError, WeightsError
from xpnet.files.weights import save_weights
from xpnet.layers import (
    Affine,
    AveragePool,
    BatchNorm,
    Convolution,
    Dropout,
    Heads,
    HeadsWithLoss,
    MaxPool,
    PadShortcut,
    ReLU,
    Residual,
    SoftmaxWithLoss,
    Unpooled,
)
from xpnet.models import MODELS, MultiLayerNet, Network, SimpleConvNet, TwoLayerNet, build_network


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Residual([]), "Residual needs at least one layer, got none"),
        (lambda: Unpooled([]), "Unpooled needs at least one layer, got none"),
        (
            lambda: Network([Residual([Affine(5, 4)])], input_shape=(5,)),
            "the body of Residual puts out (4,) and its input is (5,); give a shortcut that brings "
            "(5,) to (4,)",
        ),
        (
            lambda: HeadsWithLoss([SoftmaxWithLoss()]),
            "losses of HeadsWithLoss must be by the names of the heads, such as {'digit': ...}, "
            "got list",
        ),
        (
            lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}, [2.0]),
            "weights of HeadsWithLoss must be by the names of the heads",
        ),
        (
            lambda: HeadsWithLoss({"a": "softmax"}),
            "the loss of a must have forward(x, t), as SoftmaxWithLoss() has, got 'softmax'",
        ),
        (
            lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}, {"a": "2"}),
            "the weight of a of HeadsWithLoss must be a number, such as 0.5, got '2'",
        ),
        (
            lambda: Network([Affine(2, 2)]).scale_rate("Affine1", 2.0),
            "must be a positive number, got 'Affine1'; it comes before the names, as in "
            "scale_rate(0.1, 'Affine1')",
        ),
        (
            lambda: Unpooled([ReLU()], "2"),
            "window of Unpooled must be a whole number, or two for height and width, such as 3 or "
            "(3, 5), got '2'",
        ),
        (lambda: MaxPool((2, 2, 2)), "window of MaxPool must be a whole number, or two for"),
        (lambda: AveragePool(2.0), "window of AveragePool must be a whole number, or two for"),
        (lambda: MaxPool(2, stride="2"), "stride of MaxPool must be a whole number, such as 3"),
        (lambda: MaxPool(2, pad=0.5), "pad of MaxPool must be a whole number, such as 3, or two"),
        (lambda: Convolution(1, 2, "3"), "filter_size of Convolution must be a whole number, or"),
        (lambda: Convolution(1, 2.5, 3), "filters of Convolution must be a whole number, such as"),
        (lambda: Convolution(1, 2, 3, stride=(1, 1, 1)), "stride of Convolution must be a whole"),
        (lambda: Convolution(1, 2, 3, std=[1]), "std of Convolution must be a number, such as"),
        (lambda: Affine(3.0, 2), "n_in of Affine must be a whole number, such as 3, got 3.0"),
        (lambda: Affine((1, 28, 28), 2), "n_in of Affine must be a whole number"),
        (lambda: Affine(3, 2, std=(1,)), "std of Affine must be a number"),
        (lambda: BatchNorm("3"), "features of BatchNorm must be a whole number"),
        (lambda: BatchNorm(3, eps="0"), "eps of BatchNorm must be a number"),
        (lambda: Dropout("0.5"), "dropout_ratio of Dropout must be a number"),
        (lambda: Dropout(key=3), "a key of two numbers from 0 to 2^32 - 1 is needed, got 3"),
        (lambda: Dropout(key=(1, 2, 3)), "a key of two numbers from 0 to 2^32 - 1 is needed"),
        (lambda: PadShortcut(2, 4.0), "channels of PadShortcut must be a whole number"),
        (lambda: SoftmaxWithLoss("0.1"), "smoothing of SoftmaxWithLoss must be a number"),
        (
            lambda: Network([Affine(784, 2)], input_shape=784),
            "input_shape must be whole numbers, such as (1, 28, 28) or (784,), got 784",
        ),
        (
            lambda: Network([Affine(4, 2)], input_shape=(4.0,)),
            "input_shape must be whole numbers",
        ),
        (
            lambda: Network([Affine(4, 2)], "softmax"),
            "loss must have forward(x, t), as SoftmaxWithLoss() has, got 'softmax'",
        ),
        (
            lambda: Network([Affine(4, 2)], penalty=0.1),
            "penalty must have value(params) and gradient(params), as L2(0.1) has, got 0.1",
        ),
        (lambda: MultiLayerNet(4, 100, 2), "hidden_size_list must be whole numbers, such"),
        (lambda: SimpleConvNet(28), "input_dim must be whole numbers, such as (1, 28, 28)"),
        (lambda: SimpleConvNet((1, 28.0, 28)), "input_dim must be whole numbers, such as (1, 28"),
        (lambda: SimpleConvNet(conv_param=30), "conv_param must be a dictionary, such as"),
    ],
)
def test_what_cannot_be_is_told(make, message):
    with pytest.raises(ArgumentError) as told:
        make()
    assert message in str(told.value)


def test_whole_numbers_of_numpy_will_do():
    number = np.int64(2)
    assert Affine(number, number).output_shape((2,)) == (2,)
    assert MaxPool(number, stride=number).output_shape((1, 4, 4)) == (1, 2, 2)
    assert Convolution(1, 2, np.array([2, 3])).output_shape((1, 4, 4)) == (2, 3, 2)
    assert MultiLayerNet(4, np.array([3, 2]), 2).input_shape == (4,)


def two_heads(loss=None):
    return Network([Heads({"a": Affine(3, 2, rng=0), "b": Affine(3, 2, rng=1)})], loss,
                   input_shape=(3,))  # fmt: skip


X, T = np.ones((4, 3), np.float32), np.zeros(4, int)


@pytest.mark.parametrize("call", ["loss", "gradient", "loss_and_gradient"])
def test_a_loss_of_one_output_is_not_that_of_heads(call):
    words = "SoftmaxWithLoss is the loss of one output, and the network ends in a, b; give it a He"
    for t in (T, {"a": T, "b": T}):
        with pytest.raises(ArgumentError, match=words):
            getattr(two_heads(), call)(X, t)


def test_heads_without_a_loss_of_theirs_can_be_used():
    net = two_heads()
    assert {name: y.shape for name, y in net.predict(X).items()} == {"a": (4, 2), "b": (4, 2)}
    y, backward = net.forward(X)
    assert list(backward(y)[1]) == list(net.params)


def test_a_loss_of_ones_own_can_be_of_heads():
    class Own(SoftmaxWithLoss):
        def forward(self, x, t):
            loss, back = super().forward(x["a"], t)
            return loss, lambda dout=1.0: {"a": back(dout), "b": 0 * x["b"]}

    net = two_heads(Own())
    assert net.gradient(X, T)["Heads1.a.W"].any()
    assert float(net.loss(X, T)) > 0


def test_targets_of_several_heads_have_no_accuracy():
    net = heads()
    x, t = batch(net, 3)
    with pytest.raises(ArgumentError, match="outputs, digit, parts, and accuracy is of one; take"):
        net.accuracy(x, {name: t[name] for name in ("digit", "parts")})


class Scale:
    """y = a x, whose backward does not take need_grads."""

    def __init__(self):
        self.params = {"a": np.ones(3)}

    def output_shape(self, shape):
        return shape

    def forward(self, x, *, train=False):
        def backward(dy, need_dx=True):
            return dy * self.params["a"], {"a": (dy * x).sum(axis=0)}

        return x * self.params["a"], backward


class Packed:
    """The same layer without room for more attributes."""

    __slots__ = ("params",)
    __init__, output_shape, forward = Scale.__init__, Scale.output_shape, Scale.forward


def test_gradients_that_a_layer_computes_unasked_are_dropped():
    net = Network([Affine(3, 3, rng=0), Scale()], input_shape=(3,), dtype="float64")
    y, backward = net.forward(X)
    assert list(backward(y)[1]) == ["Affine1.W", "Affine1.b", "Scale1.a"]
    dx, grads = backward(y, need_grads=False)
    np.testing.assert_array_equal(dx, backward(y)[0])
    assert grads == {}
    net.freeze("Scale1")
    assert list(net.gradient(X, T)) == ["Affine1.W", "Affine1.b"]


def test_gradients_are_not_computed_for_a_backward_of_any_keywords():
    asked = []

    class Any(Scale):
        def forward(self, x, *, train=False):
            y, backward = super().forward(x, train=train)

            def told(dy, **needs):
                asked.append(needs)
                return backward(dy)[0], {}

            return y, told

    net = Network([Affine(3, 3), Any()], input_shape=(3,))
    net.freeze("Any1")
    net.gradient(X, T)
    assert asked == [{"need_dx": True, "need_grads": False}]


def test_a_layer_that_cannot_be_marked_as_frozen_is_told():
    net = Network([Affine(3, 3), Packed()], input_shape=(3,))
    for names in ((), ("Packed1",), ("Affine1", "Packed1.a")):
        with pytest.raises(ArgumentError) as told:
            net.freeze(*names)
        assert "layer Packed1, Packed, has no attribute `frozen`" in str(told.value)
        assert "add 'frozen' to its __slots__" in str(told.value)
        assert not any(net.params.learning(name).frozen for name in net.params)
    net.freeze("Affine1")
    assert list(net.gradient(X, T)) == ["Packed1.a"]


BOOK = {
    "two-layer-net": {"input_size": 6, "hidden_size": 5, "output_size": 3},
    "multi-layer-net-extend": {
        "input_size": 6, "hidden_size_list": [5, 4], "output_size": 3, "use_dropout": True,
        "use_batchnorm": True, "weight_decay_lambda": 0.1,
    },
    "deep-convnet": {"input_dim": [1, 12, 12], "hidden_size": 4},
}  # fmt: skip


def described(tmp_path, net, text):
    path = tmp_path / "w.safetensors"
    save_weights(path, net.file_arrays(), {"network": text})
    return path


@pytest.mark.parametrize("arguments", [[], [1], 3, None, "layers", True])
@pytest.mark.parametrize("inside", [False, True])
def test_arguments_that_are_not_named_are_told(tmp_path, arguments, inside):
    net = TwoLayerNet(3, 2, 2)
    text = json.loads(net.description())
    (text["arguments"]["layers"]["Affine1"] if inside else text)["arguments"] = arguments
    with pytest.raises(WeightsError, match="describes a network that this version cannot build"):
        load_network(described(tmp_path, net, json.dumps(text)))


def places(value, found):
    """Every dictionary and list in some JSON, with each of its keys."""
    pairs = (
        value.items() if isinstance(value, dict)
        else enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    for key, each in pairs:
        found.append((value, key))
        places(each, found)
    return found


def mutated(text, rng):
    """The description with one to three of its values changed, moved or left out."""
    tree = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        spots = places(tree, [])
        if not spots:
            break
        (box, key), (other, there) = rng.choice(spots), rng.choice(spots)
        kind = rng.randrange(5)
        if kind == 0:
            del box[key]
        elif kind == 1:
            box[key] = copy.deepcopy(other[there])
        elif kind == 2 and isinstance(box, dict):
            box[rng.choice(["$kind", "arguments", "x", "a.b", "", "device"])] = box.pop(key)
        else:
            box[key] = rng.choice([
                None, True, [], {}, "", "3", "ReLU", "L2", "Heads", -1, 0, 1, 2, 3, 0.5, 1e300,
                10**30, [1], [2, 2], [[1]], {"a": 1}, float("nan"), float("inf"),
                {"$kind": "L2", "arguments": {"strength": 1}}, {"$kind": "Softmax"},
                {"$kind": "Heads", "arguments": {"branches": {}}}, {"$kind": ["ReLU"]},
                {"$kind": "ReLU", "arguments": {}},
            ])  # fmt: skip
    return json.dumps(tree)


NETWORKS = {
    "resnet": lambda: resnet((2, 3), 1, classes=4, size=6, projected=True),
    "heads": heads,
    **{name: lambda name=name: build_network(name, BOOK[name], rng=0) for name in BOOK},
}


DAMAGED = 40


@pytest.mark.parametrize("name", NETWORKS)
def test_damaged_descriptions_are_told(tmp_path, name):
    net, rng = NETWORKS[name](), random.Random(name)
    assert set(BOOK) < set(MODELS)
    told = 0
    for _ in range(DAMAGED):
        text = mutated(net.description(), rng)
        path = described(tmp_path, net, text)
        try:
            load_network(path)
        except WeightsError:
            told += 1
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} for {text}") from error
    assert told > DAMAGED / 3
