"""The GPU's engine on what classifiers from LeNet to ResNet are made of, beside `Network` itself.

Errors are relative to the largest number of an array. Without a GPU the same kernels run on the
CPU: see cuda_on_cpu.py.
"""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from test_cuda_compiled import WAYS, assert_same_gradients, slopes
from test_cuda_engine import (
    TRAINED,
    assert_all_near,
    assert_equal,
    assert_order_is_free,
    result,
    state,
    trainer_of,
)
from test_cuda_join import (
    EXACT,
    affine,
    assert_is_itself,
    assert_same_step,
    assert_steps_stay_together,
    batch,
    conv,
    inception,
    named,
    step_of_seven,
)
from test_cuda_join import net_of as branching_net_of
from test_engine import assert_near
from xpnet import SGD, BatchNorm, Convolution, Dropout, MaxPool, Momentum, Network, ReLU
from xpnet.errors import ArgumentError
from xpnet.layers import (
    LRN,
    Concatenate,
    GlobalAveragePool,
    Heads,
    HeadsWithLoss,
    Residual,
    ScaledTanh,
    Sequential,
    SoftmaxWithLoss,
    Subsampling,
)
from xpnet.models import build_network

rng_of = np.random.default_rng


def ceiling(**options):
    """A pool whose last windows reach beyond the image."""
    return MaxPool(3, stride=2, uneven="ceil", **options)


def lenet():
    """The paper's, small: a table, sums that are squashed."""
    table = [(0, 1), (1, 2), (0, 2), (0, 1, 2)]
    return [
        conv(1, 3, pad=1), ScaledTanh(), Subsampling(3), ScaledTanh(),
        Convolution(3, 4, 3, table=table, pad=1, rng=1), ScaledTanh(), Subsampling(4), ScaledTanh(),
        affine(16, 12), ScaledTanh(), affine(12),
    ]  # fmt: skip


def alexnet():
    """The paper's, small: groups, norms across channels, windows that overlap and reach beyond."""
    return [
        conv(1, 6, 5, stride=(1, 2), pad=(2, 1, 2, 2), bias=True), ReLU(), LRN(alpha=0.1),
        ceiling(),
        conv(6, 8, groups=2), ReLU(), LRN(size=3, alpha=0.2, beta=0.5), ceiling(),
        conv(8, 6, groups=2, bias=True), ReLU(), affine(12, 12), ReLU(), Dropout(0.5, rng=1),
        affine(12),
    ]  # fmt: skip


def norm(features):
    """As PyTorch keeps its statistics."""
    return BatchNorm(features, running_ddof=1, eps=1e-5)


def separable():
    """MobileNet's: depthwise convolutions between others, in a residual block, too."""
    body = {
        "expand": conv(4, 8, 1), "bn1": norm(8), "relu1": ReLU(),
        "depthwise": conv(8, 8, groups=8), "bn2": norm(8), "relu2": ReLU(),
        "project": conv(8, 4, 1), "bn3": norm(4),
    }  # fmt: skip
    return [
        conv(1, 4, stride=2, pad=(0, 0, 1, 1)), norm(4), ReLU(), Residual(body),
        conv(4, 8, groups=4, stride=2, bias=True), ReLU(), GlobalAveragePool(), affine(8),
    ]  # fmt: skip


def googlenet():
    """A value with three readers, of which one is a head, between pools and norms."""
    head = {"pool": GlobalAveragePool(), "fc": affine(16)}
    main = [ceiling(), inception(16), GlobalAveragePool(), Dropout(0.2, rng=2), affine(16)]
    return [
        conv(1, 4), ReLU(), ceiling(), LRN(alpha=0.1), inception(4),
        Heads({"aux": Sequential(head), "main": Sequential(main)}),
    ]  # fmt: skip


def readers():
    """Values of each new kind of layer with several readers, and such layers that read them."""
    return [
        conv(2, 4, groups=2), ReLU(),
        Concatenate([LRN(alpha=0.3), conv(4, 4, groups=4), conv(4, 2, groups=2, bias=True)]),
        Residual([LRN(size=3, alpha=0.2), ScaledTanh()]),
        Concatenate([Subsampling(10), ceiling()]), ScaledTanh(), Residual([norm(20)]),
        affine(320),
    ]  # fmt: skip


SOFTMAX = SoftmaxWithLoss()
NETS = {
    "LeNet": lambda: (lenet(), {}),
    "AlexNet": lambda: (alexnet(), {}),
    "separable": lambda: (separable(), {}),
    "GoogLeNet": lambda: (
        googlenet(),
        {"loss": HeadsWithLoss({"aux": SOFTMAX, "main": SOFTMAX}, {"aux": 0.3})},
    ),
    "readers": lambda: (readers(), {"input_shape": (2, 8, 8)}),
}
EACH = pytest.mark.parametrize("name", NETS)


net_of = partial(branching_net_of, nets=NETS)


@pytest.mark.slow
@EACH
def test_a_network_is_itself(accelerator, name):
    assert_is_itself(accelerator, partial(net_of, name), (7, 33, 3, 7))


@pytest.mark.slow
@EACH
def test_threads_and_blocks_may_take_turns_in_any_order(stand_in, name):
    assert_order_is_free(stand_in, partial(net_of, name), step_of_seven)


@pytest.mark.slow
@EACH
def test_forward_and_backward_are_the_networks(stand_in, name):
    """For all that may be asked for, and where the lower layers are frozen."""
    net, other = net_of(name), net_of(name)
    engine = stand_in.engine(net)
    x, dy = batch(net, 7)[0], slopes(net, 7)
    for train in (True, False):
        (y, backward), (want_y, want_backward) = (
            each.forward(x, train=train) for each in (engine, other)
        )
        assert_all_near(named(y), named(want_y), EXACT)
        for need_dx, need_grads in WAYS if train else WAYS[:1]:
            needs = {"need_dx": need_dx, "need_grads": need_grads}
            want = want_backward(dy, **needs)
            assert_same_gradients(backward(dy, **needs), want, net, **needs)
    names = list(net.layers)
    for each in (net, other):
        each.freeze(*[key for key in net.params if key.partition(".")[0] in names[:3]])
        each.freeze_statistics()
    x, t = batch(net, 7)
    got, want = engine.loss_and_gradient(x, t)[2], other.loss_and_gradient(x, t)[2]
    assert_same_gradients((None, got), (None, want), net, need_dx=False, need_grads=True)
    assert not all(np.any(grad) for grad in got.values())


MODELS = {
    "lenet": (1, 28, 28),
    "alexnet-small": (1, 16, 16),
    "googlenet-small-heads": (1, 12, 12),
    "resnet-20": (1, 8, 8),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_librarys_networks_are_themselves(accelerator, name):
    """Whole ones, as they are built by name, with smaller images."""
    net, other = (
        build_network(name, {"input_shape": MODELS[name]}, rng=0, dtype="float64", device=device)
        for device in (accelerator.device, "cpu")
    )
    engine, rng = accelerator.engine(net), rng_of(0)
    x, t = rng.standard_normal((3, *MODELS[name])), rng.integers(10, size=3)
    assert_same_step(engine, other, x, t)
    assert_all_near(named(engine.predict(x)), named(other.predict(x)), EXACT)
    assert_all_near(state(net), other.state, EXACT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "recorded"),
    [(name, *((101, 50) if name in ("LeNet", "AlexNet") else (12, 5))) for name in NETS],
)
def test_steps_stay_together(accelerator, monkeypatch, name, steps, recorded):
    """Two recordings, and a step or two more, of which the last is smaller."""
    monkeypatch.setattr("xpnet.engine.cuda.training.UNROLL", recorded)
    make = partial(net_of, name)
    assert_steps_stay_together(
        accelerator, make, Momentum(0.005), steps=steps, size=3, n=3 * steps - 1
    )


@pytest.mark.slow
@pytest.mark.parametrize("graph", [True, False])
def test_what_is_written_where_a_table_has_nothing_is_not_read(stand_in, graph):
    """Through a view, which no assignment sees; by passes, and by steps."""
    net, other = net_of("LeNet"), net_of("LeNet")
    engine, (x, t) = stand_in.engine(net, graph=graph), batch(other, 7)
    training = engine.steps(x, t, 7, SGD(0.1))
    calls = [
        lambda: assert_near(engine.predict(x), other.predict(x), EXACT),
        lambda: assert_same_step(engine, other, x, t),
        lambda: training.epoch(np.arange(7), [0.1]),
    ]
    for call in calls:
        net.params["Convolution2.W"][...] += net.params.masks["Convolution2.W"] == 0
        call()
    SGD(0.1).update(other.params, other.loss_and_gradient(x, t)[2])
    assert_all_near(dict(net.params), dict(other.params), EXACT)


def normed(device="cpu"):
    """Rows, normalized as PyTorch does."""
    layers = [affine(6, 5, bias=False), norm(5), ReLU(), affine(5, 4, bias=False), norm(4)]
    return Network(layers, device=device, dtype="float64")


@pytest.mark.slow
def test_statistics_that_freeze_and_thaw_are_those_of_steps(accelerator):
    """Which are compiled anew: no old recording goes on."""
    x, t = rng_of(0).standard_normal((12, 6)), rng_of(1).integers(4, size=12)

    def trained(net, engine=None):
        trainer = trainer_of(net, engine, x=x, t=t, batch_size=5, optimizer=SGD(0.1))
        kept = []
        for names in (None, ("BatchNorm1",), (), None):
            net.thaw_statistics()
            if names is not None:
                net.freeze_statistics(*names)
            trainer.train_epoch()
            kept.append({f"{name} {len(kept)}": a for name, a in result(trainer).items()})
        return kept

    net = normed(accelerator.device)
    got, want = trained(net, accelerator.engine(net)), trained(normed())
    for ours, theirs in zip(got, want, strict=True):
        assert_all_near(ours, theirs, TRAINED)
    means = [found[f"BatchNorm2.running_mean {k}"] for k, found in enumerate(got)]
    assert [np.array_equal(a, b) for a, b in pairwise(means)] == [False, True, False]


@pytest.mark.slow
def test_a_way_back_is_that_of_its_forward_pass(stand_in):
    """Whatever has become of the statistics meanwhile."""
    net, other = normed(), normed()
    engine, x, dy = stand_in.engine(net), rng_of(0).standard_normal((7, 6)), slopes(net, 7)
    backwards = [each.forward(x, train=True)[1] for each in (engine, other)]
    for each in (net, other):
        each.freeze_statistics()
    got, want = (backward(dy) for backward in backwards)
    assert_same_gradients(got, want, net, need_dx=True, need_grads=True)


def test_a_norm_of_large_images_may_be_frozen(stand_in):
    """Its blocks leave each other sums all the same, of which no gradient is made."""

    def large():
        layers = [conv(1, 2, pad=0), norm(2), ReLU(), GlobalAveragePool(), affine(2, 3)]
        return Network(layers, input_shape=(1, 12, 11), dtype="float64")

    net, other = large(), large()
    for each in (net, other):
        each.freeze("BatchNorm1")
    engine, x, t = (
        stand_in.engine(net),
        rng_of(0).standard_normal((40, 1, 12, 11)),
        np.arange(40) % 3,
    )
    assert [kernel.parts(40) for kernel in engine.kernels][1] > 1
    got, want = (each.loss_and_gradient(x, t)[2] for each in (engine, other))
    for name in ("Convolution1.W", "Affine1.W"):
        assert_near(got[name], want[name], EXACT, name)
    assert not np.any(got["BatchNorm1.gamma"])


@pytest.mark.parametrize("graph", [True, False])
def test_a_batch_without_a_variance_is_refused(stand_in, graph):
    """In words of the layer, and before anything is changed; frozen, it can be learned from."""
    net = normed()
    engine = stand_in.engine(net, graph=graph)
    x, t = rng_of(0).standard_normal((5, 6)), np.arange(5) % 4
    message = (
        "BatchNorm with running_ddof=1 needs a batch of at least 2, got 1; use a larger batch, or "
        "running_ddof=0"
    )
    before = named({**net.params, **net.state})
    calls = [
        lambda: engine.loss_and_gradient(x[:1], t[:1]),
        lambda: engine.forward(x[:1], train=True),
        lambda: engine.steps(x, t, 2, SGD(0.1)).epoch(np.arange(5), [0.1] * 3),
    ]
    for call in calls:
        with pytest.raises(ArgumentError) as error:
            call()
        assert str(error.value) == message
    assert_equal(named({**net.params, **net.state}), before)
    assert_near(engine.predict(x[:1]), net.predict(x[:1]), EXACT)
    net.freeze_statistics()
    engine.loss_and_gradient(x[:1], t[:1])
