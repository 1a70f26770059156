"""Data for Nielsen's network: whatever gives pairs, numbers of classes that there are."""

import numpy as np
import pytest

from xpnet.books import nielsen
from xpnet.errors import ArgumentError

RNG = np.random.default_rng(0)
XS, YS = list(RNG.random((12, 4, 1))), [int(k) % 3 for k in range(12)]
VECTORS = [np.eye(3)[:, [y]] for y in YS]


def network(**options):
    return nielsen.Network([4, 5, 3], rng=0, **options)


def data(kind, ys=YS):
    pairs = list(zip(XS, ys, strict=True))
    return {
        "list": pairs,
        "tuple": tuple(pairs),
        "zip": zip(XS, ys, strict=True),
        "generator": (pair for pair in pairs),
        "iterator": iter(pairs),
        "dictionary's values": dict(enumerate(pairs)).values(),
    }[kind]


KINDS = ["list", "tuple", "zip", "generator", "iterator", "dictionary's values"]
METHODS = {
    "SGD": lambda net, give: net.SGD(
        give(), 2, 5, 1.0, 0.1, evaluation_data=give(), test_data=give(), verbose=False,
        monitor_evaluation_cost=True, monitor_evaluation_accuracy=True,
        monitor_training_cost=True, monitor_training_accuracy=True,
    ),
    "update_mini_batch": lambda net, give: net.update_mini_batch(give(), 1.0, 0.1),
    "evaluate": lambda net, give: net.evaluate(give()),
    "accuracy": lambda net, give: net.accuracy(give()),
    "total_cost": lambda net, give: net.total_cost(give(), 0.1),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ys", [YS, VECTORS], ids=["numbers", "columns"])
def test_whatever_gives_pairs_will_do(kind, method, ys):
    found = []
    for each in ("list", kind):
        net = network()
        answer = METHODS[method](net, lambda each=each: data(each, ys))
        found.append((answer, net.network.params.flat.tolist()))
    assert found[0] == found[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("ys", "message"),
    [
        ([*YS[:-1], 3], "labels must be below the network's 3 outputs, got 3"),
        ([*YS[:-1], 9], "labels must be below the network's 3 outputs, got 9"),
        ([*YS[:-1], -1], "labels must be 0 or more, got -1"),
        (list("abcabcabcabc"), "samples must be pairs .* got str; convert"),
        ([*YS[:-1], VECTORS[0]], "all samples must have the shapes of the first"),
    ],
)
def test_what_is_no_class_is_told(method, ys, message):
    with pytest.raises(ArgumentError, match=message):
        METHODS[method](network(), lambda: data("zip", ys))


@pytest.mark.parametrize("given", [[], iter([]), None, 3, [1, 2], [(XS[0],)], [(XS[0], 1, 2)]])
@pytest.mark.parametrize("method", METHODS)
def test_what_are_no_samples_is_told(method, given):
    with pytest.raises(
        ArgumentError, match=r"at least one sample|samples must be pairs|evaluation"
    ):
        METHODS[method](network(), lambda: given)


def test_digits_alone_become_vectors():
    np.testing.assert_array_equal(nielsen.vectorized_result(np.int64(9)), np.eye(10)[:, [9]])
    for wrong in (10, -1, 2.5, "3"):
        with pytest.raises(ArgumentError):
            nielsen.vectorized_result(wrong)
        with pytest.raises(ArgumentError):
            nielsen.pairs(np.zeros((1, 4)), np.array([wrong]), vectors=True)
    with pytest.raises(ArgumentError, match="one target a sample is needed, got 2 and 1"):
        nielsen.pairs(np.zeros((2, 4)), np.array([1]))
    ((_, y),) = nielsen.pairs(np.zeros((1, 4)), np.array([[3]]))
    assert y == 3


def test_a_class_that_is_impossible_has_no_part_in_the_cost():
    cost = nielsen.LogLikelihoodCost
    total = 0.0
    for z in ([1, -np.inf, 2], [0, 0, -np.inf]):
        a = cost.outputs(np.array([z]))[0][:, None]
        total += cost.fn(a, np.eye(3)[:, [0]]) / 2
    assert total == pytest.approx(1.003204434039084, rel=1e-15)


def test_pixels_are_pixels_and_bits_are_bits():
    pixels = [(255 * x).astype(np.uint8) for x in XS]
    found = []
    for xs in (pixels, [p / 255 for p in pixels]):
        net = network()
        net.SGD(zip(xs, VECTORS, strict=True), 1, 4, 1.0, verbose=False)
        net.update_mini_batch(zip(xs, VECTORS, strict=True), 1.0)
        found.append([net.network.params.flat, net.feedforward(xs[0]), net.backprop(
            xs[0], VECTORS[0])[1][0]])  # fmt: skip
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)
    bits = [x > 0.5 for x in XS]
    assert network().total_cost(zip(bits, YS, strict=True), 0.0) == network().total_cost(
        [(1.0 * x, y) for x, y in zip(bits, YS, strict=True)], 0.0
    )
