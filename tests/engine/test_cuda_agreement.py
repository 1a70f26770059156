"""What a GPU has to show beside the CPU, by the networks of the books at full size.

Without a GPU the same is done in a small form, by the same kernels: see cuda_on_cpu.py.

Tolerances: two correct float32 evaluations of a gradient differ by 1e-6 of its largest number, and
weights after 100 steps by 2e-7 of their norm, in float64 by 1e-11. They part where rounding decides
the slope of a ReLU or the place of a maximum, which happens to every network with convolutions
before 100 steps in float32: there only medians, float64 or accuracies can be compared.
"""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import Accelerator, is_worker
from slow_cases import slow_except
from test_step_contract import NETWORKS
from xpnet import (
    SGD,
    Adam,
    DeepConvNet,
    MultiLayerNetExtend,
    SimpleConvNet,
    Trainer,
    TwoLayerNet,
    synthetic_digits,
    to_numpy,
)
from xpnet.engine.cuda.driver import CupyDriver
from xpnet.optim.schedules import Cosine

GRADIENT = 1e-5  # of the largest number
WEIGHTS = {"float32": 1e-5, "float64": 1e-9}  # of the norm
ACCURACY = 0.003

# With 3 seeds and 20,000 test digits, runs that begin with weights one part in 500 apart differ by
# 0.0003; what products in other precisions cost must not be seen beside that.
PRECISION = 0.001

MODELS = {
    "two-layer-net": lambda **k: TwoLayerNet(784, 50, 10, rng=3, **k),
    "multi-layer-net-extend": lambda **k: MultiLayerNetExtend(
        784, [50, 50], 10, use_dropout=True, use_batchnorm=True, rng=3, **k
    ),
    "simple-convnet": lambda **k: SimpleConvNet(rng=3, **k),
    "deep-convnet": lambda **k: DeepConvNet(rng=3, **k),
}
EACH = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def size(accelerator):
    """How much is done."""
    if accelerator.is_gpu:
        return SimpleNamespace(
            batch=100, steps=100, train=10_000, test=20_000, epochs=5, batches=11, seeds=3,
            precisely="simple-convnet",
        )  # fmt: skip
    return SimpleNamespace(
        batch=4, steps=2, train=8, test=8, epochs=1, batches=2, seeds=1, precisely="two-layer-net"
    )


@pytest.fixture(scope="module")
def digits(size):
    x, t = synthetic_digits(size.train + size.test, seed=1)
    return x[: size.train], t[: size.train], x[size.train :], t[size.train :]


def with_biases(net):
    """Where biases are 0, so are sums on blank ground, and rounding decides the slope of ReLU."""
    rng = np.random.default_rng(5)
    for name, array in net.params.items():
        if name[0] == "b":
            net.params[name] = 0.1 * rng.standard_normal(array.shape)
    return net


@EACH
def test_gradients(accelerator, size, digits, model):
    other = with_biases(MODELS[model]())
    net = with_biases(MODELS[model](device=accelerator.device))
    engine, errors, n = accelerator.engine(net), [], size.batch // 10 or 1
    for k in range(size.batches):
        part = slice(n * k, n * k + n)
        x, t = (digits[0][part] / 255).astype(np.float32), digits[1][part]
        want = other.gradient(x, t)
        _, _, got = engine.loss_and_gradient(net.place(x), accelerator.device.asarray(t))
        # The gradient of a bias before BatchNorm is 0, but for rounding.
        least = 0.1 * max(np.max(np.abs(grad)) for grad in want.values())
        errors.append(
            max(
                np.max(np.abs(to_numpy(got[name]) - grad)) / max(least, np.max(np.abs(grad)))
                for name, grad in want.items()
            )
        )
    assert np.median(errors) <= GRADIENT


def trainer_of(net, digits, batch_size, engine=None, *, epochs=1, optimizer=None, **options):
    """On a device that the engine is for, or on the CPU."""
    trainer = Trainer(
        net, *digits, epochs, batch_size, optimizer or Adam(0.001), verbose=False,
        engine="auto" if engine is None else "reference", **options,
    )  # fmt: skip
    trainer.engine = engine or trainer.engine
    return trainer


@pytest.mark.parametrize(
    ("model", "dtype", "optimizer", "lr"),
    [
        ("two-layer-net", "float32", SGD, 0.1),
        pytest.param("multi-layer-net-extend", "float64", SGD, 0.1, marks=pytest.mark.slow),
        pytest.param("simple-convnet", "float64", Adam, 0.01, marks=pytest.mark.slow),
        pytest.param("deep-convnet", "float64", Adam, 0.01, marks=pytest.mark.slow),
    ],
)
def test_weights_after_100_steps(accelerator, size, digits, model, dtype, optimizer, lr):
    """They repeat bit for bit, replayed or launched one by one, and are those of the CPU."""

    def weights(device="cpu", **options):
        net = with_biases(MODELS[model](device=device, dtype=dtype))
        engine = accelerator.engine(net, **options) if options else None
        some = (*digits[:2], *(part[:1] for part in digits[2:]))
        options = {"optimizer": optimizer(lr), "clip_norm": 0.1, "evaluate_sample_num_per_epoch": 1}
        trainer = trainer_of(net, some, size.batch, engine, **options)
        trainer.train()
        assert trainer.steps == size.steps
        return {name: to_numpy(array).copy() for name, array in net.params.items()}

    graph, again, eager = (weights(accelerator.device, graph=g) for g in (True, True, False))
    want = weights()
    scale = 0.01 * np.sqrt(sum(np.sum(array**2) for array in want.values()))
    for name, array in want.items():
        np.testing.assert_array_equal(graph[name], again[name], err_msg=name)
        np.testing.assert_array_equal(graph[name], eager[name], err_msg=name)
        distance = np.linalg.norm(graph[name] - array) / max(scale, np.linalg.norm(array))
        assert distance <= WEIGHTS[dtype], name


def accuracy(net, digits, size, engine=None, *, seed=0):
    """At the end of training, on the test digits."""
    options = {"epochs": size.epochs, "schedule": Cosine(0.001, steps=size.epochs * size.steps)}
    trainer = trainer_of(net, digits, size.batch, engine, seed=seed, **options)
    trainer.train()
    return trainer.test_acc_list[-1]


@pytest.mark.parametrize("model", slow_except(MODELS, ("two-layer-net",)))
def test_accuracy(accelerator, size, digits, model):
    want = accuracy(MODELS[model](), digits, size)
    net = MODELS[model](device=accelerator.device)
    got = accuracy(net, digits, size, accelerator.engine(net))
    assert got == pytest.approx(want, abs=ACCURACY)


@pytest.mark.slow
def test_precision_of_products_costs_no_accuracy(accelerator, size, digits):
    means = {}
    for precision in ("float32", "tf32", "bfloat16"):
        found = []
        for seed in range(size.seeds):
            net = MODELS[size.precisely](device=accelerator.device)
            engine = accelerator.engine(net, precision=precision)
            found.append(accuracy(net, digits, size, engine, seed=seed))
        means[precision] = np.mean(found)
    assert means["tf32"] == pytest.approx(means["float32"], abs=PRECISION)
    assert means["bfloat16"] == pytest.approx(means["float32"], abs=PRECISION)


# Memory


def steps_of(accelerator, digits, batch_size, *, graph=True):
    """Training of a network, and the network."""
    net = MODELS["multi-layer-net-extend"](device=accelerator.device)
    place = [accelerator.device.asarray(part) for part in digits[:2]]
    engine = accelerator.engine(net, graph=graph)
    return engine.steps(*place, batch_size, Adam(0.001), clip_norm=1.0), net


def epochs_of(training, n, count):
    for _ in range(count):
        training.epoch(np.arange(n), [0.001] * training.steps)


@pytest.mark.slow
def test_recorded_steps_keep_what_they_write_to(accelerator, size, digits):
    """Memory that is free is taken, filled and given back between epochs, on the same stream."""

    def trained(between):
        training, net = steps_of(accelerator, digits, size.batch)
        for _ in range(3):
            epochs_of(training, size.train, 1)
            between()
        return to_numpy(net.params.flat).copy()

    def fill():
        gc.collect()
        sizes = [2**bits for bits in range(6, 20) for _ in range(4)]
        taken = [accelerator.device.zeros(size, dtype="float32") + np.nan for size in sizes]
        assert len(taken) == len(sizes)

    np.testing.assert_array_equal(trained(fill), trained(lambda: None))


@pytest.mark.parametrize("graph", [True, False])
def test_a_thousand_steps_take_no_memory(pytestconfig, gpu, graph):
    """Neither from CuPy's pool nor, unless other processes test on it as well, from the device."""
    import cupy

    here, n, alone = Accelerator(gpu, CupyDriver), 10_000, not is_worker(pytestconfig)
    training, _ = steps_of(here, synthetic_digits(n, seed=1), 100, graph=graph)
    pool = cupy.get_default_memory_pool()

    def memory():
        gpu.synchronize()
        return pool.used_bytes(), pool.total_bytes(), -gpu.native.mem_info[0] * alone

    epochs_of(training, n, 2)
    before = memory()
    epochs_of(training, n, 10)
    assert all(now <= then for now, then in zip(memory(), before, strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_layers_themselves_agree(device, name):
    """As they are written, on every array library."""
    rng = np.random.default_rng(0)
    net, other = NETWORKS[name](device), NETWORKS[name]("cpu")
    x = rng.random((20, *net.input_shape)).astype(np.float32)
    t = rng.integers(10, size=20) if "regression" not in name else rng.random((20, 10))
    want = other.gradient(x, t)
    # Some gradients are 0 but for rounding, as that of a bias before BatchNorm.
    limit = GRADIENT * max(np.max(np.abs(grad)) for grad in want.values())
    for key, grad in net.gradient(x, t).items():
        np.testing.assert_allclose(to_numpy(grad), want[key], rtol=0, atol=limit, err_msg=key)
