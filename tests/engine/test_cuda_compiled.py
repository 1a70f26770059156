"""The contract of a layer, by the GPU's engine: forward, and backward for what is asked of it."""

from itertools import product

import numpy as np
import pytest

from slow_cases import slow_except
from test_cuda_engine import assert_all_near, state
from test_cuda_join import EXACT, NETS, SMALL, batch, named, net_of
from test_engine import affine, assert_near
from xpnet import (
    L2,
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    BinaryAffine,
    BinaryConvolution,
    Convolution,
    Dropout,
    Momentum,
    Network,
    ReLU,
    Rescale,
    Sigmoid,
    SigmoidWithLoss,
    Sign,
    SoftmaxWithLoss,
    to_numpy,
)
from xpnet.engine.cuda.update import SHARED
from xpnet.errors import ArgumentError, EngineError
from xpnet.layers import Affine, Heads, HeadsWithLoss, IdentityWithLoss
from xpnet.optim.clipping import clip_by_norm

WAYS = [(True, True), (True, False), (False, True), (False, False)]


def slopes(net, n):
    """A gradient by each output."""
    rng = np.random.default_rng(n)
    shapes = net.output_shape
    if not isinstance(shapes, dict):
        return rng.standard_normal((n, *shapes)).astype(net.dtype)
    return {k: rng.standard_normal((n, *s)).astype(net.dtype) for k, s in shapes.items()}


def assert_same_gradients(got, want, net, *, need_dx, need_grads):
    """Of the engine, and of the reference."""
    (dx, grads), (want_dx, want_grads) = got, want
    if need_dx:
        assert_near(to_numpy(dx), want_dx, EXACT, "dx")
    else:
        assert dx is None
    if not need_grads:
        assert dict(grads) == {}
        return
    least = 0.1 * max([float(np.max(np.abs(grad))) for grad in want_grads.values()], default=0)
    for name, array in net.params.items():
        grad = want_grads.get(name, np.zeros_like(array))  # of what is frozen
        assert_near(to_numpy(grads[name]), grad, EXACT, name, least=least)


FIRST = ("ResNet-8", "heads")
"""Networks that are compared in training at once; the others, and inference, take longer."""


@pytest.mark.parametrize(
    ("name", "train"),
    slow_except(product(SMALL, (True, False)), [(name, True) for name in FIRST]),
)
def test_forward_and_backward_are_the_networks(stand_in, name, train):
    """For all that may be asked for, twice from one forward, and with the masks of that pass."""
    net, other = net_of(name), net_of(name)
    engine = stand_in.engine(net)
    for n in (7, 1) if train else (3,):
        x, dy = batch(net, n)[0], slopes(net, n)
        kept = x.copy(), named(dy)
        y, backward = engine.forward(x, train=train)
        want_y, want_backward = other.forward(x, train=train)
        assert_all_near(named(y), named(want_y), EXACT)
        assert_all_near(state(net), other.state, 1e-13)
        for need_dx, need_grads in (*WAYS, WAYS[0]) if train else WAYS[:1]:
            needs = {"need_dx": need_dx, "need_grads": need_grads}
            want = want_backward(dy, need_dx, need_grads)
            assert_same_gradients(backward(dy, **needs), want, net, **needs)
        np.testing.assert_array_equal(x, kept[0])
        for key, array in named(dy).items():
            np.testing.assert_array_equal(array, kept[1][key])
        assert_all_near(named(y), named(want_y), EXACT)


@pytest.mark.slow
def test_it_computes_on_gpus_alike(accelerator):
    net, other = net_of("ResNet-20", accelerator.device), net_of("ResNet-20")
    x, dy = batch(other, 7)[0], slopes(other, 7)
    _, backward = accelerator.engine(net).forward(accelerator.device.asarray(x), train=True)
    got, want = backward(accelerator.device.asarray(dy)), other.forward(x, train=True)[1](dy)
    assert_same_gradients(got, want, other, need_dx=True, need_grads=True)


def test_what_is_not_needed_is_not_computed(stand_in):
    driver, net = stand_in.driver(), net_of("rows")
    engine = stand_in.engine(net, driver=driver)
    _, backward = engine.forward(batch(net, 7)[0], train=True)

    def launched(*needs):
        driver.launched.clear()
        backward(slopes(net, 7), *needs)
        return driver.launched

    assert launched(False, False) == []
    assert not any("gradient" in name for name in launched(True, False))
    assert "op1_backward" in launched(True, False)
    assert "op1_backward" not in launched(False, True)
    assert "op1_gradient" in launched(False, True)


SINCE = {
    "forward": lambda engine, x, t: engine.forward(x),
    "loss_and_gradient": lambda engine, x, t: engine.loss_and_gradient(x, t),
    "predict": lambda engine, x, t: engine.predict(x),
    "a step": lambda engine, x, t: engine.steps(x, t, 7, SGD()).epoch(np.arange(7), [0.1]),
}


@pytest.mark.parametrize("since", SINCE)
def test_a_backward_holds_until_the_engine_computes_again(stand_in, since):
    net = net_of("rows")
    engine, (x, t) = stand_in.engine(net), batch(net, 7)
    _, backward = engine.forward(x)
    backward(slopes(net, 7))
    SINCE[since](engine, x, t)
    with pytest.raises(EngineError) as error:
        backward(slopes(net, 7))
    assert str(error.value) == (
        "this backward belongs to a forward pass whose numbers the engine has written over by the "
        "next one; call backward before the engine computes anything else"
    )


def test_nothing_is_allocated_from_pass_to_pass(stand_in):
    """But for what is given: memory of programs is theirs."""
    net = net_of("SegNet")
    engine, x, dy = stand_in.engine(net), batch(net, 7)[0], slopes(net, 7)

    def arrays():
        engine.forward(x, train=True)[1](dy)
        buffers = engine.program(7, keeps=True).buffers
        return {k: id(a) for k, a in buffers._gradients.items()}, [id(a) for a in buffers.values]

    before = arrays()
    assert arrays() == before


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "rows",
            lambda dy: dy[:, 1:],
            "a gradient of shape (7, 10) is needed, got (7, 9)",
        ),
        (
            "heads",
            lambda dy: dy["box"],
            "gradients for each of class, more, box are needed, got ndarray",
        ),
        (
            "heads",
            lambda dy: {"box": dy["box"]},
            "gradients for each of class, more, box are needed, got box",
        ),
        (
            "heads",
            lambda dy: dy | {"box": dy["box"][:3]},
            "a gradient of shape (7, 4) is needed for box, got (3, 4)",
        ),
    ],
)
def test_a_gradient_that_does_not_fit_is_refused(stand_in, name, given, message):
    net = net_of(name)
    x = np.zeros((7, *net.input_shape))
    _, backward = stand_in.engine(net).forward(x)
    with pytest.raises(ArgumentError) as error:
        backward(given(slopes(net, 7)))
    assert str(error.value) == message


# Losses of heads


def heads(loss=None):
    layers = [
        Affine(12, 9, rng=0),
        ReLU(),
        Heads({"a": Affine(9, 5, rng=1), "b": Affine(9, 5, rng=2)}),
    ]
    return Network(layers, loss, dtype="float64")


def test_targets_may_be_of_all_heads_or_of_each(stand_in):
    """Labels or rows."""
    loss = HeadsWithLoss({"b": SoftmaxWithLoss(), "a": SoftmaxWithLoss()}, {"b": 0.25})
    net, other = heads(loss), heads(loss)
    engine, rng = stand_in.engine(net), np.random.default_rng(0)
    x, labels = rng.standard_normal((7, 12)), rng.integers(5, size=(2, 7))
    rows = np.eye(5)[labels]
    for t in (
        labels[0], rows[1], {"a": labels[0], "b": labels[1]}, {"b": rows[1], "a": labels[0]},
    ):  # fmt: skip
        got, want = engine.loss_and_gradient(x, t), other.loss_and_gradient(x, t)
        assert_near(to_numpy(got[0]), np.asarray(want[0]), EXACT)
        assert_all_near(named(got[1]), want[1], EXACT)
        assert_all_near(named(dict(got[2])), {k: want[2][k] for k in net.params}, EXACT)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            heads,
            "SoftmaxWithLoss is the loss of one output, and the network ends in a, b; give it a "
            "HeadsWithLoss",
        ),
        (
            lambda: heads(HeadsWithLoss({"a": SoftmaxWithLoss()})),
            "HeadsWithLoss has losses for a, got a, b; a network with these heads is needed",
        ),
        (
            lambda: Network([affine(12)], HeadsWithLoss({"a": SoftmaxWithLoss()}), dtype="float64"),
            "HeadsWithLoss has losses for a, got one output; a network with these heads is needed",
        ),
    ],
)  # fmt: skip
def test_a_loss_of_other_outputs_is_told_when_it_is_asked_for(stand_in, made, message):
    """The rest can be computed all the same."""
    net = made()
    engine, x, t = stand_in.engine(net), np.ones((5, 12)), np.arange(5)
    y, backward = engine.forward(x)
    assert_all_near(named(y), named(net.forward(x)[0]), EXACT)
    backward(slopes(net, 5))
    for call in (engine.loss_and_gradient, lambda x, t: engine.steps(x, t, 5, SGD())):
        with pytest.raises(ArgumentError) as error:
            call(x, t)
        assert str(error.value) == message


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda: heads(HeadsWithLoss({"a": SoftmaxWithLoss(), "b": SoftmaxWithLoss()})),
            "targets for each of a, b are needed, got a",
        ),
        (
            lambda: Network([affine(12)], dtype="float64"),
            "targets of one output are needed, got a dictionary of a",
        ),
    ],
)
def test_targets_by_name_are_those_of_the_heads(stand_in, made, message):
    engine = stand_in.engine(made())
    with pytest.raises(ArgumentError) as error:
        engine.loss_and_gradient(np.ones((5, 12)), {"a": np.arange(5)})
    assert str(error.value) == message


def test_a_head_that_puts_out_images_is_an_obstacle(stand_in):
    """What is done to them by losses of rows is not defined."""

    def made(loss=None):
        heads = Heads({"image": Convolution(1, 2, 3, rng=0), "row": affine(16)})
        return Network([heads], loss, input_shape=(1, 4, 4))

    losses = {"image": IdentityWithLoss(), "row": SoftmaxWithLoss()}
    with pytest.raises(ArgumentError, match="it puts out images"):
        stand_in.engine(made(HeadsWithLoss(losses)))
    engine = stand_in.engine(made())  # of no loss here: gradients come from elsewhere
    with pytest.raises(ArgumentError, match="give it a HeadsWithLoss"):
        engine.loss_and_gradient(np.ones((5, 1, 4, 4)), np.arange(5))


# What learns


def deep(device="cpu"):
    layers = {
        "low": Affine(12, 11, rng=0, bias=False), "norm": BatchNorm(11), "act": Sigmoid(),
        "drop": Dropout(0.2, rng=3), "middle": Affine(11, 9, rng=1), "relu": ReLU(),
        "high": Affine(9, 10, rng=2),
    }  # fmt: skip
    return Network(layers, penalty=L2(0.1), device=device, dtype="float64")


FROZEN = {
    "the lowest": ("low", "norm"),
    "what is between": ("middle",),
    "all but the last": ("low", "norm", "middle"),
    "a bias": ("middle.b", "high.b"),
    "all": (),
}


@pytest.mark.parametrize("names", FROZEN.values(), ids=FROZEN)
def test_what_is_frozen_has_no_gradient(stand_in, names):
    net, other = deep(), deep()
    driver = stand_in.driver()
    engine = stand_in.engine(net, driver=driver)
    x, t = np.random.default_rng(0).standard_normal((7, 12)), np.arange(7)
    engine.loss_and_gradient(x, t)
    other.loss_and_gradient(x, t)
    for each in (net, other):
        each.freeze(*names)
    driver.launched.clear()
    loss, _, grads = engine.loss_and_gradient(x, t)
    want_loss, _, want = other.loss_and_gradient(x, t)
    assert_near(to_numpy(loss), np.asarray(want_loss), EXACT)
    for name, grad in grads.items():
        if net.params.learning(name).frozen:
            assert not np.any(grad), name
        else:
            assert_near(grad, want[name], EXACT, name)
    lowest = {"low": "op1", "norm": "op2", "middle": "op3", "high": "op4"}
    frozen = [op for path, op in lowest.items() if path in names or not names]
    assert not any(f"{op}_gradient" in driver.launched for op in frozen)
    if names == ("low", "norm", "middle"):
        assert not any("backward" in name for name in driver.launched)
    _, backward = engine.forward(x)
    got, want = backward(slopes(net, 7)), other.forward(x)[1](slopes(net, 7))
    kept = {k: v for k, v in want[1].items() if not net.params.learning(k).frozen}
    assert_same_gradients(got, (want[0], kept), net, need_dx=True, need_grads=True)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("rule", [SGD, Momentum, Adam, AdamW])
def test_steps_follow_what_learns_and_how_fast(accelerator, rule, clip_norm):
    """Also where that changes between them."""
    net, other = deep(accelerator.device), deep()
    rng, n = np.random.default_rng(0), 12
    x, t = rng.standard_normal((n, 12)), rng.integers(10, size=n)
    engine, ours, theirs = accelerator.engine(net), rule(0.05), rule(0.05)
    data = [accelerator.device.asarray(array) for array in (x, t)]
    changes = [
        lambda net: None,
        lambda net: net.freeze("low", "norm"),
        lambda net: (net.scale_rate(0.1, "middle"), net.scale_rate(3.0, "high.b")),
        lambda net: net.thaw("low"),
    ]
    training = engine.steps(*data, 4, ours, clip_norm=clip_norm)
    for change in changes:
        change(net)
        change(other)
        assert training.fits(ours, clip_norm) == (change is changes[0])
        training = engine.steps(*data, 4, ours, clip_norm=clip_norm)
        before = {name: to_numpy(array).copy() for name, array in net.params.items()}
        training.epoch(np.arange(n), [0.05] * 3)
        for k in range(3):
            part = slice(4 * k, 4 * k + 4)
            grads = other.loss_and_gradient(x[part], t[part])[2]
            theirs.update(
                other.params, grads if clip_norm is None else clip_by_norm(grads, clip_norm)
            )
        for name, array in net.params.items():
            frozen = net.params.learning(name).frozen
            assert np.array_equal(to_numpy(array), before[name]) == frozen, name
        assert_all_near(named(dict(net.params)), dict(other.params), 1e-11, least=0.1)


@pytest.mark.parametrize("clip_norm", [None, 100.0])
def test_steps_keep_parameters_within_their_bounds(stand_in, clip_norm):
    """Real weights whose signs count, on a batch whose gradient has parts for many warps."""

    def signed():
        layers = {
            "conv": BinaryConvolution(1, 3, 3, rng=0), "norm": BatchNorm(3), "sign": Sign(),
            "high": BinaryAffine(108, 10, rng=1), "scale": Rescale(0.1, 0.0),
        }  # fmt: skip
        return Network(layers, input_shape=(1, 8, 8), penalty=L2(0.01), dtype="float64")

    net, other = signed(), signed()
    x, t = np.random.default_rng(0).standard_normal((40, 1, 8, 8)), np.arange(40) % 10
    engine, ours, theirs = stand_in.engine(net), Momentum(20.0), Momentum(20.0)
    assert max(kernel.parts(20) for kernel in engine.kernels) > SHARED
    engine.steps(x, t, 20, ours, clip_norm=clip_norm).epoch(np.arange(40), [20.0] * 2)
    for part in (slice(20), slice(20, 40)):
        grads = other.loss_and_gradient(x[part], t[part])[2]
        theirs.update(other.params, clip_by_norm(grads, clip_norm) if clip_norm else grads)
    assert_all_near(dict(net.params), dict(other.params), 1e-11, least=0.1)
    assert np.max(np.abs(net.params["conv.W"])) == 1


def test_another_loss_than_was_compiled_in_is_refused(stand_in):
    """By each pass that has a loss, also where what learns has changed; not by others."""
    net, (x, t) = deep(), (np.zeros((5, 12)), np.arange(5))
    engine, before = stand_in.engine(net), net.last_layer
    training = engine.steps(x, t, 5, SGD())
    net.last_layer = SoftmaxWithLoss(0.1)
    engine.predict(x)
    engine.forward(x)
    changed = "^a layer, the loss or the penalty has changed since the engine was compiled; make"
    with pytest.raises(ArgumentError, match=changed):
        training.epoch(np.arange(5), [0.1])
    with pytest.raises(ArgumentError, match=changed):
        engine.loss_and_gradient(x, t)
    net.freeze("low")
    with pytest.raises(ArgumentError, match=changed):
        engine.forward(x)
    net.last_layer = before
    engine.loss_and_gradient(x, t)


def test_steps_are_told_in_a_line(stand_in):
    net, optimizer = deep(), Momentum(0.01)
    training = stand_in.engine(net).steps(np.zeros((5, 12)), np.arange(5), 2, optimizer)
    assert repr(training) == f"Training({net!r}, {optimizer!r}, 3 steps of 2, clip_norm=None)"
    assert "\n" not in repr(training)
    assert " at 0x" not in repr(training)


def test_steps_for_what_learned_before_are_refused(stand_in):
    net = deep()
    x, t = np.zeros((5, 12)), np.arange(5)
    training = stand_in.engine(net).steps(x, t, 5, SGD())
    net.freeze("low")
    with pytest.raises(ArgumentError) as error:
        training.epoch(np.arange(5), [0.1])
    assert str(error.value) == (
        "what learns, or how fast, has changed since the steps were compiled; ask the engine for "
        "its steps anew"
    )


def test_how_fast_it_learns_is_not_compiled_in(stand_in):
    """Each source costs seconds to compile."""
    driver, net = stand_in.driver(), deep()
    engine, x, t = stand_in.engine(net, driver=driver), np.zeros((5, 12)), np.arange(5)
    for factor in (1.0, 0.5, 0.25):
        net.scale_rate(factor, "low")
        engine.steps(x, t, 5, SGD())
    assert len(set(driver.compiled)) == 2


@pytest.mark.slow
def test_every_network_that_branches_compiles(stand_in):
    for name in NETS:
        assert stand_in.engine(net_of(name)).describe()["engine"] == "cuda"


@pytest.mark.slow
def test_a_class_that_is_impossible_has_no_part_in_the_loss(accelerator):
    """A score of minus infinity, by a bias, with each loss; and with smoothing an infinite loss."""
    b, t = np.array([1, -np.inf, 2]), np.array([0, 2])
    for loss, want in (
        (SoftmaxWithLoss(), (np.log(np.e + np.e**2) - 1.5) * np.ones(2)),
        (SigmoidWithLoss(), np.log1p(np.exp(b))[[0, 2]].sum() - np.array([1, 2])),
        (SoftmaxWithLoss(0.1), np.full(2, np.inf)),
    ):
        network = Network([Affine(4, 3, rng=0)], loss, device=accelerator.device, dtype="float64")
        network.params["Affine1.b"] = b
        engine = accelerator.engine(network)
        for targets in (t, t[:, None], np.eye(3)[t]):
            found, _, grads = engine.loss_and_gradient(np.zeros((2, 4)), targets)
            assert float(found) == pytest.approx(want.mean(), rel=1e-14)
            assert np.isfinite(to_numpy(grads["Affine1.b"])).all()
            if np.isfinite(want).all():
                ref = network.loss_and_gradient(np.zeros((2, 4)), network.place_targets(targets))
                assert float(ref[0]) == pytest.approx(want.mean(), rel=1e-14)


@pytest.mark.slow
def test_labels_that_are_no_class_make_no_number_on_the_device(accelerator):
    network = Network([Affine(4, 3, rng=0)], device=accelerator.device)
    engine, x = accelerator.engine(network), np.ones((2, 4))
    for label in (3, -1, 200):
        on_device = accelerator.device.asarray(np.array([0, label]))
        assert np.isnan(float(engine.loss_and_gradient(x, on_device)[0]))
    for given in (np.array([[1], [2]]), [1, 2]):
        want = float(engine.loss_and_gradient(x, np.array([1, 2]))[0])
        assert float(engine.loss_and_gradient(x, given)[0]) == want


@pytest.mark.slow
def test_numbers_mean_to_the_engine_what_they_mean_to_the_network(accelerator):
    network = Network([Affine(4, 3, rng=0)], device=accelerator.device)
    engine = accelerator.engine(network)
    pixels = np.array([[0, 51, 102, 255]], np.uint8)
    for given, floats in (
        (pixels, pixels / 255),
        (pixels > 99, [[0, 0, 1, 1]]),
        ([[1, 2, 3, 4]],) * 2,
    ):
        want = to_numpy(engine.predict(np.asarray(floats, np.float32)))
        np.testing.assert_allclose(to_numpy(engine.predict(given)), want, rtol=1e-6)
        np.testing.assert_allclose(to_numpy(engine.forward(given)[0]), want, rtol=1e-6)
        scores = to_numpy(engine.loss_and_gradient(given, [1])[1])
        np.testing.assert_allclose(scores, want, rtol=1e-6)
