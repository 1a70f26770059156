"""The GPU's engine: whole networks beside `Network` itself, whole steps beside the plain loop.

Errors are relative to the largest number of an array. Without a GPU the same kernels run on the
CPU: see cuda_on_cpu.py.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from slow_cases import slow_except
from test_engine import NETS as ALL
from test_engine import (
    Doubled,
    Scale,
    Summed,
    affine,
    assert_near,
    batch,
    conv,
    images,
    net_of,
    peak,
)
from xpnet import (
    L2,
    SGD,
    Adam,
    AdamW,
    Augmentation,
    BatchNorm,
    Dropout,
    IdentityWithLoss,
    MaxNorm,
    MaxPool,
    Momentum,
    Network,
    ReLU,
    RMSprop,
    SoftmaxWithLoss,
    Trainer,
    TwoLayerNet,
    get_device,
    to_numpy,
)
from xpnet.arrays import Device, cuda
from xpnet.engine import ReferenceEngine, get_engine
from xpnet.engine.cuda.compiled import PREDICTED
from xpnet.engine.cuda.training import UNROLL
from xpnet.errors import ArgumentError
from xpnet.optim import OPTIMIZERS
from xpnet.optim.schedules import Cosine

# float64 sums in another order; the worst here is 5e-15.
EXACT = 1e-13

# The same after steps that divide by small numbers; the worst here is 1e-13.
TRAINED = 1e-11

NETS = [name for name in ALL if "somebody else" not in name]
EVERYTHING = "multi-layer-net with dropout and batch norm"


def twin(accelerator, name, dtype="float64"):
    """The network of `net_of` on a device."""
    net = ALL[name](dtype=dtype, device=accelerator.device)
    for key, array in net_of(name, dtype).params.items():
        net.params[key] = array
    return net


def step(engine, x, t):
    """Loss, scores and gradient on the host."""
    device = engine.network.device
    loss, scores, grads = engine.loss_and_gradient(device.asarray(x), device.asarray(t))
    assert loss.shape == ()
    arrays = {"loss": loss, "scores": scores, **grads}
    return {name: to_numpy(array).copy() for name, array in arrays.items()}


def state(net):
    return {name: to_numpy(array).copy() for name, array in net.state.items()}


def assert_all_near(got, want, tol, **options):
    assert list(got) == list(want)
    for name, array in want.items():
        assert_near(got[name], np.asarray(array), tol, name, **options)


def assert_same_step(engine, other, x, t, tol=EXACT):
    want_loss, want_scores, grads = other.loss_and_gradient(x, t)
    want = {"loss": want_loss, "scores": want_scores, **grads}
    # Where the gradient is 0, as that of a bias before BatchNorm, there is nothing but rounding.
    least = 0.1 * max(float(np.max(np.abs(grad))) for grad in grads.values())
    assert_all_near(step(engine, x, t), want, tol, least=least)


def assert_equal(got, want):
    assert list(got) == list(want)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def assert_order_is_free(stand_in, make, step):
    """Whichever way threads and blocks take turns; `step` computes with an engine."""
    results = []
    for backwards in (False, True):
        net = make()
        engine = stand_in.engine(net, driver=stand_in.driver(backwards=backwards))
        results.append(step(engine) | state(net))
    assert_equal(*results)


# Passes


QUICK = ("two-layer-net", "strides", "regression")


@pytest.mark.parametrize("name", slow_except(NETS, QUICK))
def test_a_network_is_itself(accelerator, name):
    """Batch after batch with the same engine, of more sizes than there are programs kept."""
    net, other = twin(accelerator, name), net_of(name)
    engine = accelerator.engine(net)
    for n in (1, 7, 33, 60, 7):
        x, t = batch(other, n)
        assert_same_step(engine, other, x, t)
        assert_near(to_numpy(engine.predict(x)), other.predict(x), EXACT, "predictions")
        assert_all_near(state(net), other.state, 1e-14)


@pytest.mark.parametrize("name", NETS)
def test_threads_and_blocks_may_take_turns_in_any_order(stand_in, name):
    def one(engine):
        return step(engine, *batch(engine.network, 33))

    assert_order_is_free(stand_in, lambda: net_of(name), one)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "uint16", "int64", "float32", "float64"])
def test_targets_of_every_kind(accelerator, kind):
    """Labels, and rows where they are floats or booleans."""
    net, other = twin(accelerator, "two-layer-net"), net_of("two-layer-net")
    x, t = batch(other, 33)
    hot = np.eye(10)[t]
    given = t.astype(kind) if "int" in kind else hot.astype(kind)
    assert_same_step(accelerator.engine(net), other, x, given)


def test_a_loss_is_kept(accelerator):
    """Unlike scores and gradient, which are written over."""
    engine = accelerator.engine(twin(accelerator, "two-layer-net"))
    losses = []
    for seed in (0, 1):
        x, t = (accelerator.device.asarray(a) for a in batch(net_of("two-layer-net"), 33, seed))
        losses.append(engine.loss_and_gradient(x, t)[0])
    assert float(losses[0]) != float(losses[1])


def test_scores_may_be_large(accelerator):
    """Of which the exponential has no finite value."""
    net, other = twin(accelerator, "two-layer-net"), net_of("two-layer-net")
    x, t = batch(other, 33)
    assert np.max(other.predict(10_000 * x)) > 1000
    assert_same_step(accelerator.engine(net), other, 10_000 * x, t)


def test_images_serve_flat_networks(accelerator):
    def made(device):
        return Network([ReLU(), affine(144)], dtype="float64", device=device)

    net, other = made(accelerator.device), made("cpu")
    engine, x = accelerator.engine(net), np.random.default_rng(0).standard_normal((33, 1, 12, 12))
    assert_same_step(engine, other, x, np.arange(33) % 10)
    assert_near(to_numpy(engine.predict(x)), other.predict(x), EXACT)


@pytest.mark.parametrize("n", [0, 1, PREDICTED, 2 * PREDICTED + 3])
def test_any_number_of_samples_is_predicted(accelerator, n):
    net, other = twin(accelerator, "two-layer-net"), net_of("two-layer-net")
    x, engine = np.random.default_rng(0).standard_normal((n, 50)), accelerator.engine(net)
    got, want = to_numpy(engine.predict(x)), other.predict(x)
    assert (got.shape, got.dtype) == ((n, 10), want.dtype)
    np.testing.assert_allclose(got, want, rtol=0, atol=EXACT)
    for row in range(min(n, 1)):
        assert_near(to_numpy(engine.predict(x[row])), want[row], EXACT)


@pytest.mark.parametrize(("precision", "error"), [("tf32", 5e-4), ("bfloat16", 4e-3)])
def test_precision_is_that_of_products_alone(accelerator, precision, error):
    """Factors of 11 and 8 bits: errors are 5.4e-4 and 3.9e-3 here, and follow from the numbers."""
    net = twin(accelerator, "simple-convnet", "float32")
    engine, full = accelerator.engine(net, precision=precision), accelerator.engine(net)
    x, t = batch(net, 33)
    got, want = step(engine, x, t)["scores"], step(full, x, t)["scores"]
    assert np.max(np.abs(got - want)) / np.max(np.abs(want)) == pytest.approx(error, rel=0.5)


# Whole steps

N, BATCH = 33, 2
X = np.random.default_rng(0).integers(0, 256, (N, 50), dtype=np.uint8)
T = np.random.default_rng(1).integers(10, size=N)
PENALIZED = "multi-layer-net with weight decay"


@pytest.fixture
def short_recordings(monkeypatch):
    """Of fewer steps than these epochs have."""
    monkeypatch.setattr("xpnet.engine.cuda.training.UNROLL", 5)


def trainer_of(net, engine=None, *, x=X, t=T, epochs=2, batch_size=BATCH, **options):
    """With this engine, or the layers as they are."""
    options = {"optimizer": SGD(0.1)} | options
    trainer = Trainer(
        net, x, t, x[:20], t[:20], epochs, batch_size, verbose=False, engine="reference", **options
    )
    trainer.engine = engine or trainer.engine
    return trainer


def result(trainer):
    """All that training changes."""
    net, optimizer = trainer.network, trainer.optimizer
    arrays = {**net.params, **optimizer.state, **net.state}
    found = {name: to_numpy(array).copy() for name, array in arrays.items()}
    return found | {"losses": np.asarray(trainer.train_loss_list), "lr": np.asarray(optimizer.lr)}


def trained(net, engine=None, **options):
    trainer = trainer_of(net, engine, **options)
    trainer.train()
    return result(trainer)


@pytest.mark.parametrize("clip_norm", [None, 2.7])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_the_same_way(accelerator, short_recordings, name, clip_norm):
    """Recorded or not, with smaller batches last; most gradients are at first longer than 2.7."""

    def options():
        schedule = Cosine(0.02, steps=40)
        return {"optimizer": OPTIMIZERS[name](), "clip_norm": clip_norm, "schedule": schedule}

    def ours(**more):
        net = twin(accelerator, PENALIZED)
        return trained(net, accelerator.engine(net, **more), **options())

    recorded = ours()
    assert_equal(ours(graph=False), recorded)
    if not accelerator.is_gpu:
        assert_equal(ours(driver=accelerator.driver(backwards=True)), recorded)
    assert_all_near(recorded, trained(net_of(PENALIZED), **options()), TRAINED)


@pytest.mark.parametrize(
    "name", [EVERYTHING, "simple-convnet", "regression", "a network in a network"]
)
def test_every_kind_of_network_goes_the_same_way(accelerator, name):
    """With Dropout and BatchNorm, images, rows of targets; by fewer steps than a recording has."""
    x, t = batch(net_of(name), 80)

    def options():
        return {"x": x, "t": t, "batch_size": 33, "optimizer": Adam(0.001)}

    net = twin(accelerator, name)
    got = trained(net, accelerator.engine(net), **options())
    assert_all_near(got, trained(net_of(name), **options()), TRAINED)


@pytest.mark.parametrize(
    ("n", "batch_size"), [(5, 5), (6, 5), (3 * UNROLL + 2, 1), (2 * UNROLL + 3, 2)]
)
def test_epochs_of_any_length(accelerator, n, batch_size):
    """One step, one and a smaller one, more than recordings have, and one more than that."""
    rng = np.random.default_rng(0)
    options = {"x": rng.standard_normal((n, 50)), "t": np.eye(10)[rng.integers(10, size=n)]}
    options["batch_size"] = batch_size
    net = twin(accelerator, "two-layer-net")
    got = trained(net, accelerator.engine(net), **options)
    assert_all_near(got, trained(net_of("two-layer-net"), **options), TRAINED)


@pytest.mark.parametrize(
    ("x", "t"),
    [("float32", "int8"), ("float64", "uint64"), ("uint8", "uint8"), ("float32", "bool")],
)
def test_data_of_every_kind(accelerator, x, t):
    """Labels of any integers; booleans are rows, as are images of samples for a flat network.

    Data that are no neighbours in memory are put in order.
    """
    targets = (np.eye(10)[T] if t == "bool" else T).astype(t)
    data = np.asfortranarray((X / 100 if "float" in x else X).astype(x).reshape(N, 5, 10))
    net = twin(accelerator, "two-layer-net")
    device, optimizer, other = accelerator.device, SGD(0.1), net_of("two-layer-net")
    place = [device.asarray(np.asfortranarray(array)) for array in (data, targets)]
    training = accelerator.engine(net).steps(*place, N, optimizer)
    order = np.random.default_rng(0).permutation(N)
    losses = to_numpy(training.epoch(order, [0.1]))
    x = (data / 255 if x == "uint8" else data).reshape(N, 50).astype("float64")
    loss, _, grads = other.loss_and_gradient(x[order], targets[order])
    SGD(0.1).update(other.params, grads)
    assert_near(losses, np.asarray([loss]), EXACT)
    assert_near(to_numpy(net.params.flat), other.params.flat, EXACT)


def test_a_step_is_always_the_same_launches(stand_in, short_recordings):
    """After the first, epochs come from recordings, but for the smaller batch at their end."""
    driver, net = stand_in.driver(), net_of(EVERYTHING)
    engine = stand_in.engine(net, driver=driver)
    training = engine.steps(X / 255, T, BATCH, Adam(), clip_norm=1.0)
    rates = [0.01] * training.steps
    training.epoch(np.arange(N), rates)
    half = len(driver.launched) // 2
    step, smaller = driver.launched[:half], driver.launched[half:]
    assert (step[0], step[-1]) == ("gather", "finish_step")
    assert step == smaller
    training.epoch(np.arange(N), rates)
    assert driver.launched == step * 3
    assert len(driver.compiled) == 2  # the network, and the steps


@pytest.mark.parametrize("graph", [True, False])
def test_a_step_allocates_next_to_nothing(stand_in, graph):
    """A layer that puts out images takes 84 KB or more; an epoch looks at the source, of 57 KB."""
    net = net_of("simple-convnet")
    x, t = batch(net, 495)
    training = stand_in.engine(net, graph=graph).steps(x, t, 165, SGD(0.01))

    def epoch():
        training.epoch(np.arange(495), [0.01] * 3)

    epoch()
    assert peak(epoch) < 80_000


@pytest.mark.parametrize("graph", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_preparing_changes_nothing_and_leaves_little_to_do(stand_in, short_recordings, graph):
    """Only the optimizer's state is there, as it is before a first step."""
    results = []
    for prepared in (True, False):
        driver, net, optimizer = stand_in.driver(), net_of(EVERYTHING), Adam()
        training = stand_in.engine(net, driver=driver, graph=graph).steps(X, T, BATCH, optimizer)
        if prepared:
            before = {**net.params, **net.copied_state()}
            before = {name: array.copy() for name, array in before.items()}
            training.prepare()
            assert_equal({**net.params, **net.state}, before)
            assert all(
                np.all(array == (name[:4] == "beta")) for name, array in optimizer.state.items()
            )
            launched = len(driver.launched)
            training.prepare()
            assert len(driver.launched) == launched
        losses = training.epoch(np.arange(N), [0.01] * training.steps)
        if prepared and graph:  # but for the smaller batch
            assert len(driver.launched) == 2 * launched
        results.append({**net.params, **net.state, "losses": losses.copy()})
    assert_equal(*results)


def test_what_fails_while_it_is_prepared_changes_nothing(stand_in):
    net, optimizer = net_of(EVERYTHING), Adam()
    training = stand_in.engine(net).steps(X, T, BATCH, optimizer)
    before = {name: array.copy() for name, array in {**net.params, **net.state}.items()}
    training._launches[BATCH] = [*training_launches(training), lambda: None]
    with pytest.raises(AttributeError):
        training.prepare()
    assert_equal({**net.params, **net.state}, before)


def training_launches(training):
    """Of a step, before an epoch has begun."""
    training._take_up_state()
    return training.launches(BATCH)


@pytest.mark.slow
def test_training_goes_on_from_a_copy(accelerator, short_recordings):
    """Bit for bit: with the same steps and new arrays for the optimizer, and with new ones."""
    rates = [0.01] * (N // BATCH + 1)

    def steps_of(net, optimizer):
        x, t = (accelerator.device.asarray(array) for array in (X, T))
        return accelerator.engine(net).steps(x, t, BATCH, optimizer)

    def copied(arrays):
        return {name: accelerator.device.xp.asarray(a, copy=True) for name, a in arrays.items()}

    def after(training, net):
        losses = training.epoch(np.arange(N)[::-1], rates)
        return {"losses": to_numpy(losses).copy(), "params": to_numpy(net.params.flat).copy()}

    net, optimizer = twin(accelerator, EVERYTHING), Adam()
    training = steps_of(net, optimizer)
    training.epoch(np.arange(N), rates)
    kept = copied({"params": net.params.flat}), copied(optimizer.state), net.copied_state()

    def restore(net, optimizer):
        net.params.flat[...] = kept[0]["params"]
        optimizer.state = copied(kept[1])
        net.restore_state(kept[2])

    want = after(training, net)
    restore(net, optimizer)
    assert_equal(after(training, net), want)
    other, fresh = twin(accelerator, EVERYTHING), Adam()
    restore(other, fresh)
    assert_equal(after(steps_of(other, fresh), other), want)


def test_what_is_compiled_into_steps_may_change_between_epochs(accelerator):
    """Of the trainer: the steps are then compiled anew."""

    def changed(trainer):
        trainer.train_epoch()
        trainer.optimizer.momentum = 0.5
        trainer.train_epoch()
        trainer.clip_norm = 2.7
        trainer.train_epoch()
        trainer.optimizer = Adam(0.001)
        trainer.train_epoch()
        trainer.optimizer.lr = 0.01
        trainer.train_epoch()
        return result(trainer)

    net = twin(accelerator, PENALIZED)
    got = changed(trainer_of(net, accelerator.engine(net), optimizer=Momentum(0.01)))
    want = changed(trainer_of(net_of(PENALIZED), optimizer=Momentum(0.01)))
    assert_all_near(got, want, TRAINED)


def change_ratio(net):
    net.layers["Dropout1"].dropout_ratio = 0.1


def change_smoothing(net):
    net.last_layer.smoothing = 0.1


def change_penalty(net):
    net.penalty = L2(0.5)


def change_loss(net):
    net.last_layer = SoftmaxWithLoss(0.1)


@pytest.mark.parametrize("change", [change_ratio, change_smoothing, change_penalty, change_loss])
def test_what_is_compiled_into_passes_may_not(accelerator, change):
    net = twin(accelerator, EVERYTHING)
    trainer = trainer_of(net, accelerator.engine(net))
    trainer.train_epoch()
    change(net)
    with pytest.raises(ArgumentError) as error:
        trainer.train_epoch()
    assert str(error.value) == (
        "a layer, the loss or the penalty has changed since the engine was compiled; make another "
        "engine, or Trainer, for the network as it is"
    )


class Slower(SGD):
    """An optimizer of somebody else."""

    def step(self, p, g):
        p -= self.lr / 2 * g


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"optimizer": Slower(0.1)}, "there is no kernel for Slower"),
        ({"constraint": MaxNorm(0.5)}, "there is no kernel for MaxNorm"),
        ({"augment": Augmentation(shift=1)}, "there is no kernel for augmentation"),
        ({"resident": False}, "the data are not resident on the device"),
    ],
)
def test_the_plain_loop_does_what_steps_cannot(accelerator, options, reason):
    """By the engine's passes."""
    net, (x, t) = twin(accelerator, "simple-convnet"), batch(net_of("simple-convnet"), 40)
    options = {"x": x, "t": t, "batch_size": 15, "epochs": 1} | options
    trainer = trainer_of(net, accelerator.engine(net), **options)
    assert trainer.describe() == {
        "engine": "cuda",
        "precision": "float64",
        "steps": f"launched one by one: {reason}",
    }
    trainer.train()
    assert_all_near(result(trainer), trained(net_of("simple-convnet"), **options), TRAINED)


# What kernels are compiled for


def deep(rng, ratio=0.5, eps=1e-7, momentum=0.9, smoothing=0.0):
    """A network with all that has a seed or a rate."""
    layers = [
        affine(50, 20), BatchNorm(20, eps=eps, momentum=momentum), ReLU(), Dropout(ratio, rng=rng),
        affine(20, 10),
    ]  # fmt: skip
    return Network(layers, SoftmaxWithLoss(smoothing=smoothing), penalty=L2(ratio / 10))


def test_seeds_and_rates_share_their_kernels(stand_in):
    """Each source costs seconds to compile, and stays in memory for the life of the process."""
    driver = stand_in.driver()
    for net in (deep(0), deep(1), deep(0, 0.3, 0.1, 0.5, 0.2)):
        engine = stand_in.engine(net, driver=driver)
        for ratio, clip_norm in ((0.9, 1.0), (0.5, 2.0)):
            for optimizer in (Momentum(0.1, ratio), RMSprop(0.1, ratio), AdamW(0.1, ratio, ratio)):
                engine.steps(X, T, BATCH, optimizer, clip_norm=clip_norm)
    assert len(set(driver.compiled)) == 1 + 3


# What it is called, and what it refuses


def test_it_tells_what_it_does(accelerator):
    net = twin(accelerator, "batch norm of images")
    assert accelerator.engine(net).methods() == {
        "BatchNorm1": "blocks for each feature",
        "Convolution1": "direct convolution",
        "ReLU1": "in Convolution1",
        "MaxPool1": "one thread a number",
        "Dropout1": "in MaxPool1",
        "Affine1": "tiled product",
    }
    described = [accelerator.engine(net, graph=graph).describe() for graph in (True, False)]
    assert [d.pop("steps") for d in described] == [
        "replayed from a CUDA graph", "launched one by one",
    ]  # fmt: skip
    assert described == [{"engine": "cuda", "precision": "float64"}] * 2


class Heavier(L2):
    """A kind of L2."""


class Leaky(ReLU):
    """A kind of ReLU."""


OBSTACLES = {
    "there is no kernel for Scale": lambda: Network([Scale(12), affine(12)], input_shape=(12,)),
    "there is no kernel for Leaky": lambda: Network([affine(12, 9), Leaky(), affine(9)]),
    "there is no kernel for Summed": lambda: Network([affine(12)], Summed()),
    "there is no kernel for Heavier": lambda: Network([affine(12)], penalty=Heavier(1.0)),
    "its numbers are float16": lambda: TwoLayerNet(12, 9, 10, rng=0, dtype="float16"),
    "Doubled has a forward of its own": lambda: Doubled(12, 9, 10, rng=0),
    "it has no parameters": lambda: Network([ReLU()], input_shape=(12,)),
    "rounding would part the ties that MaxPool counts": lambda: images(
        [MaxPool(2, stride=2, ties="all"), affine(36)]
    ),
    "it puts out images": lambda: images([conv(1, 2)], IdentityWithLoss()),
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_what_it_cannot_run(stand_in, reason):
    with pytest.raises(ArgumentError) as error:
        stand_in.engine(OBSTACLES[reason]())
    assert str(error.value) == f"the engine cannot run this network: {reason}"


TARGETS = (
    "targets for outputs of shape (5, 10) must be integer labels of shape (5,) or one-hot of shape "
    "(5, 10), got {}"
)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda engine, x, t: engine.loss_and_gradient(x[..., 1:], t),
            "a batch of shape (N, 1, 12, 12) is needed, got (5, 1, 12, 11)",
        ),
        (
            lambda engine, x, t: engine.loss_and_gradient(x[:0], t[:0]),
            "at least one sample and one target for each are needed, got 0 and 0",
        ),
        (
            lambda engine, x, t: engine.loss_and_gradient(x, t[1:]),
            "at least one sample and one target for each are needed, got 5 and 4",
        ),
        (
            lambda engine, x, t: engine.loss_and_gradient(x, t[:, None] / 1),
            TARGETS.format("float64 of shape (5, 1)"),
        ),
        (
            lambda engine, x, t: engine.predict(x[0]),
            "a batch of shape (N, 1, 12, 12) is needed, got (1, 12, 12)",
        ),
        (
            lambda engine, x, t: engine.predict(x.astype(complex)),
            "numbers are needed, real ones, got complex128; give integers or floats",
        ),
        (
            lambda engine, x, t: engine.program(2**31 // (4 * 8 * 8) + 1, keeps=False),
            "the engine counts the numbers of an array in 31 bits, and 8388609 samples have more; "
            "use a smaller batch",
        ),
        (
            lambda engine, x, t: engine.steps(x, t, 6, SGD()),
            "a batch of 1 to 5 samples and 5 targets are needed, got 6 and 5",
        ),
        (
            lambda engine, x, t: engine.steps(x, t[1:], 5, SGD()),
            "a batch of 1 to 5 samples and 5 targets are needed, got 5 and 4",
        ),
        (
            lambda engine, x, t: engine.steps(x[..., 1:], t, 5, SGD()),
            "a batch of shape (N, 1, 12, 12) is needed, got (5, 1, 12, 11)",
        ),
        (
            lambda engine, x, t: engine.steps(x, np.eye(9)[t], 5, SGD()),
            TARGETS.format("float64 of shape (5, 9)"),
        ),
        (
            lambda engine, x, t: engine.steps(x, 0 * t[:, None] + 10, 5, SGD()),
            "labels must be below the network's 10 outputs, got 10; they count from 0: if these "
            "begin with 1, subtract 1; otherwise give the network one output for each class, or, "
            "where they are numbers to be learned, give floats of shape (N, 10)",
        ),
        (
            lambda engine, x, t: engine.steps(x, t.astype("float64"), 5, SGD()),
            TARGETS.format(
                "float64 of shape (5,); labels become integers by t.astype(int), and numbers are "
                "for IdentityWithLoss, in rows of 10"
            ),
        ),
        (
            lambda engine, x, t: engine.steps(x.astype("float16"), t, 5, SGD()),
            "data must be uint8, float32, float64, got float16",
        ),
        (
            lambda engine, x, t: engine.steps(x, np.eye(10, dtype="float16")[t], 5, SGD()),
            "targets must be bool, int8, uint8, int16, uint16, int32, uint32, int64, uint64, "
            "float32, float64, got float16",
        ),
        (
            lambda engine, x, t: engine.steps(x, t, 5, Slower()),
            "whole steps cannot be compiled: there is no kernel for Slower",
        ),
        (
            lambda engine, x, t: engine.steps(x, t, 5, SGD(), clip_norm=0.0),
            "the limit of gradients must be a positive number, got 0.0; try 1",
        ),
        (
            lambda engine, x, t: engine.steps(x, t, 3, SGD()).epoch(np.arange(4), [0.1]),
            "an epoch needs 5 numbers of samples and 2 rates, got 4 and 1",
        ),
    ],
)
def test_misuse_is_told(stand_in, call, message):
    net = net_of("simple-convnet")
    with pytest.raises(ArgumentError) as error:
        call(stand_in.engine(net), *batch(net, 5))
    assert str(error.value) == message


def get(name="auto", precision=None, net=TwoLayerNet, graph=True, **options):
    return lambda device: get_engine(
        net(50, 12, 10, rng=0, device=device, **options), name, precision=precision, graph=graph
    )


@pytest.fixture
def so_called_gpu(stand_in, monkeypatch):
    """A device that is called a GPU."""
    monkeypatch.setattr("xpnet.engine.cuda.compiled.CupyDriver", stand_in.driver)
    return replace(get_device("cpu"), name="cuda:0")


@pytest.mark.parametrize(
    ("made", "described"),
    [
        (get(), {"precision": "float32", "steps": "replayed from a CUDA graph"}),
        (
            get("cuda", "tf32", graph=False),
            {"precision": "tf32", "steps": "launched one by one"},
        ),
        (get(graph=False), {"precision": "float32", "steps": "launched one by one"}),
        (get(precision="float64", dtype="float64"), {"precision": "float64"}),
        (get("reference"), {"engine": "reference"}),
        (get(dtype="float16"), {"engine": "reference", "engine_reason": "its numbers are float16"}),
    ],
)
def test_which_engine_a_gpu_has(so_called_gpu, made, described):
    engine = made(so_called_gpu)
    if "engine" in described:
        assert isinstance(engine, ReferenceEngine)
        assert engine.describe() == described
    else:
        assert engine.describe() == {"engine": "cuda"} | engine.describe() | described
        x, t = np.zeros((5, 50), dtype=engine.network.dtype), np.arange(5)
        assert float(engine.loss_and_gradient(x, t)[0]) == pytest.approx(np.log(10), abs=0.01)


@dataclass(frozen=True)
class Turing(Device):
    """A GPU of 2018."""

    compute_capability = (7, 5)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_gpu_without_the_instructions_is_told_from_others(so_called_gpu, precision):
    gpu = so_called_gpu
    with pytest.raises(ArgumentError) as error:
        get(precision=precision)(Turing("cuda:1", gpu.xp, gpu.native))
    assert str(error.value) == (
        f"{precision} needs a GPU of compute capability 8.0 or above, and cuda:1 has 7.5; leave "
        "the precision out"
    )
    assert get()(Turing("cuda:1", gpu.xp, gpu.native)).precision == "float32"


@pytest.mark.parametrize(
    ("made", "place", "message"),
    [
        (get("fast"), "cuda:0", "engine 'fast' is unknown; use auto, reference, cpu, cuda"),
        (
            get("eager"),
            "cuda:0",
            "there is no engine 'eager' any more: use 'cuda' with graph=False",
        ),
        (
            get("cuda"),
            "cpu",
            'the cuda engine cannot run this network: it lives on cpu; use device="cuda"; '
            "'auto' takes what can",
        ),
        (
            get("cpu"),
            "cuda:0",
            "the cpu engine cannot run this network: it lives on cuda:0; 'auto' takes what can",
        ),
        (
            get("cuda", dtype="float16"),
            "cuda:0",
            "the cuda engine cannot run this network: its numbers are float16; 'auto' takes what "
            "can",
        ),
        (
            get(graph=False),
            "cpu",
            "graph=False needs the kernels of a GPU, and what would compute is engine 'auto' on "
            "cpu; leave it out",
        ),
        (
            get(precision="tf32"),
            "cpu",
            "precision 'tf32' needs the kernels of a GPU, and what would compute is engine 'auto' "
            "on cpu; leave it out",
        ),
        (
            get("reference", "bfloat16"),
            "cuda:0",
            "precision 'bfloat16' needs the kernels of a GPU, and what would compute is engine "
            "'reference' on cuda; leave it out",
        ),
        (
            get(precision="tf32", net=Doubled),
            "cuda:0",
            "precision 'tf32' needs the kernels of a GPU, and what would compute is the layers as "
            "they are: Doubled has a forward of its own; leave it out",
        ),
        (
            get(precision="float16"),
            "cuda:0",
            "products of a float32 network are computed in float32 or tf32 or bfloat16, got "
            "'float16'",
        ),
        (
            get(precision="tf32", dtype="float64"),
            "cuda:0",
            "products of a float64 network are computed in float64, got 'tf32'",
        ),
    ],
)
def test_engines_that_cannot_be(so_called_gpu, monkeypatch, made, place, message):
    found = cuda.Diagnosis("14", "CUDA 13.0", ("NVIDIA H200",))
    monkeypatch.setattr(cuda, "diagnose", lambda: found)
    with pytest.raises(ArgumentError) as error:
        made(replace(so_called_gpu, name=place))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("label", "dtype"),
    [(2**32, "int64"), (-(2**32), "int64"), (2**63, "uint64"), (2**32 + 3, "uint64")],
)
def test_labels_beyond_32_bits_do_not_become_others(accelerator, label, dtype):
    """The kernels read 32 bits; what is on the device is not looked at, and its loss is NaN."""
    net, device = twin(accelerator, "two-layer-net"), accelerator.device
    x, t = batch(net, 8)
    t = t.astype(dtype)
    t[3] = label
    loss = accelerator.engine(net).loss_and_gradient(device.asarray(x), device.asarray(t))[0]
    assert np.isnan(to_numpy(loss))
