"""The GPU's engine on networks that branch, beside `Network` itself.

Errors are relative to the largest number of an array. Without a GPU the same kernels run on the
CPU: see cuda_on_cpu.py.
"""

from functools import partial

import numpy as np
import pytest

from branching import by_name
from slow_cases import slow_except
from test_cuda_engine import TRAINED, assert_all_near, assert_equal, assert_order_is_free, state
from xpnet import (
    L2,
    SGD,
    Affine,
    AveragePool,
    BatchNorm,
    Convolution,
    Dropout,
    IdentityWithLoss,
    MaxPool,
    Network,
    ReLU,
    Sequential,
    Sigmoid,
    SigmoidWithLoss,
    SoftmaxWithLoss,
    Tanh,
    TransposedConvolution,
    to_numpy,
)
from xpnet.layers import (
    AuxiliaryHeads,
    Concatenate,
    GlobalAveragePool,
    Heads,
    HeadsWithLoss,
    Identity,
    PadShortcut,
    Residual,
    Sum,
    Unpooled,
)

# float64 sums in another order; the worst here is 2e-15.
EXACT = 1e-12


def conv(channels, filters, window=3, **options):
    options = {"pad": window // 2, "bias": False} | options
    return Convolution(channels, filters, window, rng=channels + filters, uneven="drop", **options)


def block(channels, filters, stride=1, shortcut=None):
    """Of a residual network: two convolutions, each normalized."""
    body = {
        "conv1": conv(channels, filters, stride=stride),
        "bn1": BatchNorm(filters),
        "relu1": ReLU(),
        "conv2": conv(filters, filters),
        "bn2": BatchNorm(filters),
    }
    return [Residual(body, shortcut), ReLU()]


def resnet(blocks=3, width=8):
    """ResNet-20 of He et al. for small images, shortcuts without parameters; a small width."""
    layers, channels = [conv(1, width), BatchNorm(width), ReLU()], width
    for stage in range(3):
        for number in range(blocks):
            filters, stride = width << stage, 2 if stage and not number else 1
            shortcut = PadShortcut(stride, filters) if filters != channels else None
            layers += block(channels, filters, stride, shortcut)
            channels = filters
    return [*layers, GlobalAveragePool(), Affine(channels, 10, rng=1)]


def inception(channels):
    """Four branches, each with a ReLU behind its convolutions, as in GoogLeNet."""
    return Concatenate(
        {
            "1x1": Sequential([conv(channels, 4, 1, bias=True), ReLU()]),
            "3x3": Sequential([conv(channels, 3, 1), ReLU(), conv(3, 6), ReLU()]),
            "5x5": Sequential([conv(channels, 2, 1), ReLU(), conv(2, 3, 5), Sigmoid()]),
            "pool": Sequential([MaxPool(3, stride=1, pad=1), conv(channels, 3, 1), ReLU()]),
        }
    )


def up(channels, filters, window, **options):
    return TransposedConvolution(channels, filters, window, rng=channels, **options)


def affine(n_in, n_out=10, **options):
    return Affine(n_in, n_out, rng=n_in + n_out, **options)


IMAGE = (1, 8, 8)
NETS = {
    "ResNet-20": lambda: (resnet(), {}),
    "ResNet-8": lambda: (resnet(1, 4), {}),
    "a residual block with a convolution as its shortcut": lambda: (
        [
            conv(1, 4),
            Tanh(),
            *block(4, 6, 2, Sequential([conv(4, 6, 1, stride=2), BatchNorm(6)])),
            affine(96),
        ],
        {},
    ),
    "Inception": lambda: (
        [conv(1, 5), ReLU(), inception(5), inception(16), Dropout(0.3, rng=1), affine(1024)],
        {},
    ),
    "Inception without anything to learn below": lambda: ([inception(1), affine(1024)], {}),
    "SegNet": lambda: (
        [
            conv(1, 4),
            ReLU(),
            Unpooled([conv(4, 5), BatchNorm(5), ReLU(), conv(5, 4), ReLU()]),
            conv(4, 2),
            affine(128),
        ],
        {},
    ),
    "SegNet of two levels, uneven": lambda: (
        [
            conv(1, 4),
            ReLU(),
            Unpooled([conv(4, 3), ReLU(), Unpooled([conv(3, 3), Tanh()]), conv(3, 4)], 3),
            Sigmoid(),
            affine(4 * 7 * 8),
        ],
        {"input_shape": (1, 7, 8)},
    ),
    "FCN with a skip": lambda: (
        [
            conv(1, 4),
            ReLU(),
            Sum(
                [
                    conv(4, 3, 1),
                    Sequential([conv(4, 5, 3, stride=2), ReLU(), up(5, 3, 4, stride=2, pad=1)]),
                ]
            ),
            up(3, 2, 3, bias=False),
            affine(200),
        ],
        {},
    ),
    "an unpooling of what it pooled": lambda: (
        [conv(1, 3), Unpooled([Identity()]), Dropout(0.4, rng=1), affine(192)],
        {},
    ),
    "branches that are one value": lambda: (
        [
            conv(1, 3),
            Sigmoid(),
            Concatenate([Identity(), Tanh(), Identity()]),
            Sum([Identity(), Identity(), ReLU()]),
            affine(576),
        ],
        {},
    ),
    "dropout in branches": lambda: (
        [
            conv(1, 4),
            ReLU(),
            Dropout(0.2, rng=1),
            Sum(
                [
                    Sequential([conv(4, 4), ReLU(), Dropout(0.5, rng=2)]),
                    Dropout(0.3, inverted=True, rng=3),
                ]
            ),
            Sigmoid(),
            Dropout(0.25, rng=4),
            affine(256),
        ],
        {},
    ),
    "containers in containers": lambda: (
        [
            conv(1, 4),
            Residual(
                [
                    Sum(
                        [
                            Sequential(
                                [
                                    Concatenate([conv(4, 2), Sequential([conv(4, 2), Tanh()])]),
                                    Residual([conv(4, 4), ReLU()]),
                                ]
                            ),
                            conv(4, 4),
                        ]
                    ),
                    Unpooled([Residual([conv(4, 4)], conv(4, 4, 1))]),
                ]
            ),
            GlobalAveragePool(),
            ReLU(),
            affine(4),
        ],
        {"penalty": L2(0.1)},
    ),
    "sums of one, and of what learns nothing": lambda: (
        [
            Sum([AveragePool(2, stride=2), MaxPool(2, stride=2)]),
            Sum([Identity()]),
            conv(1, 3),
            Identity(),
            ReLU(),
            Sum([conv(3, 2)]),
            Identity(),
            affine(32),
        ],
        {},
    ),
    "convolutions in a row beside nothing": lambda: (
        [
            conv(1, 4),
            Sum([Identity(), Sequential([conv(4, 4), conv(4, 4)])]),
            Residual([conv(4, 4)]),
            affine(256),
        ],
        {},
    ),
    "rows": lambda: (
        [
            affine(12, 9, bias=False),
            BatchNorm(9),
            Residual([affine(9, 9, bias=False), Tanh()]),
            Concatenate([affine(9, 4), Sequential([affine(9, 3), ReLU()])]),
            affine(7),
        ],
        {"input_shape": (12,)},
    ),
    "heads": lambda: (
        [
            conv(1, 4),
            ReLU(),
            Heads(
                {
                    "class": Sequential([GlobalAveragePool(), affine(4)]),
                    "more": Sequential([affine(256, 7), Sigmoid()]),
                    "box": Sequential([conv(4, 2), affine(128, 4)]),
                }
            ),
        ],
        {
            "loss": HeadsWithLoss(
                {
                    "box": IdentityWithLoss(),
                    "class": SoftmaxWithLoss(0.1),
                    "more": SigmoidWithLoss(),
                },
                {"box": 0.3, "more": 2.0},
            )
        },
    ),
    "heads of what others read": lambda: (
        [
            affine(12, 10),
            Tanh(),
            Heads({"itself": Identity(), "on": Sequential([affine(10), Dropout(0.3, rng=1)])}),
        ],
        {
            "loss": HeadsWithLoss(
                {"itself": SoftmaxWithLoss(), "on": SoftmaxWithLoss()}, {"itself": 0.3}
            ),
            "input_shape": (12,),
            "penalty": L2(0.1),
        },
    ),
    "a row that heads read": lambda: (
        AuxiliaryHeads(
            [affine(12, 10), Tanh(), affine(10, 6), ReLU(), affine(6)],
            {"low": ("Tanh1", affine(10)), "high": ("ReLU1", affine(6, 10))},
        ),
        {
            "loss": HeadsWithLoss(
                {name: SoftmaxWithLoss() for name in ("main", "low", "high")},
                {"low": 0.3},
                main="main",
            ),
            "input_shape": (12,),
        },
    ),
}
# The stand-in needs half a second for a step of ResNet-20, and seconds to compile FCN.
SMALL = [name for name in NETS if name not in ("ResNet-20", "FCN with a skip")]
SOME_SLOW = slow_except(NETS, SMALL)
EACH = pytest.mark.parametrize("name", SMALL)


def net_of(name, device="cpu", dtype="float64", nets=NETS):
    """The network, with random biases and norms."""
    layers, options = nets[name]()
    net = Network(layers, **({"input_shape": IMAGE} | options), device=device, dtype=dtype)
    rng = np.random.default_rng(5)
    for key, array in net.params.items():
        if array.ndim == 1:
            more = 0.3 * rng.standard_normal(array.shape)
            net.params[key] = to_numpy(array) + more
    return net


def batch(net, n, seed=0):
    """Samples, and targets for each output."""
    rng = np.random.default_rng([n, seed])
    x = rng.standard_normal((n, *net.input_shape)).astype(net.dtype)
    if not isinstance(net.outputs, dict):
        return x, rng.integers(10, size=n)
    targets = {}
    for name, loss in net.last_layer.losses.items():
        (width,) = net.output_shape[name]
        rows = rng.standard_normal((n, width)).astype(net.dtype)
        targets[name] = rng.integers(width, size=n) if name != "box" else rows
        assert isinstance(loss, IdentityWithLoss) == (name == "box")
    return x, targets


def placed(device, given):
    if isinstance(given, dict):
        return {name: device.asarray(array) for name, array in given.items()}
    return device.asarray(given)


def named(outputs):
    """Outputs by name, on the host."""
    return {name: to_numpy(array).copy() for name, array in by_name(outputs).items()}


def step_of(engine, x, t):
    """Loss, outputs and gradient on the host."""
    device = engine.network.device
    loss, scores, grads = engine.loss_and_gradient(device.asarray(x), placed(device, t))
    assert loss.shape == ()
    found = {"loss": to_numpy(loss).copy()} | {f"y {k}": a for k, a in named(scores).items()}
    return found | {name: to_numpy(array).copy() for name, array in grads.items()}


def step_of_seven(engine):
    return step_of(engine, *batch(engine.network, 7))


def assert_same_step(engine, other, x, t, tol=EXACT):
    want = step_of_reference(other, x, t)
    grads = [array for name, array in want.items() if name in other.params]
    # Where the gradient is 0, as that of a bias before BatchNorm, there is nothing but rounding.
    least = 0.1 * max(float(np.max(np.abs(grad))) for grad in grads)
    assert_all_near(step_of(engine, x, t), want, tol, least=least)


def step_of_reference(other, x, t):
    loss, scores, grads = other.loss_and_gradient(x, t)
    found = {"loss": np.asarray(loss)} | {f"y {k}": a for k, a in named(scores).items()}
    return found | {name: np.asarray(grads[name]) for name in other.params}


def assert_is_itself(accelerator, make, sizes):
    """Batch after batch: values, all gradients, masks and running statistics.

    `make` gives the network on a device.
    """
    net, other = make(accelerator.device), make("cpu")
    engine = accelerator.engine(net)
    for n in sizes:
        x, t = batch(other, n)
        assert_same_step(engine, other, x, t)
        assert_all_near(named(engine.predict(x)), named(other.predict(x)), EXACT)
        assert_all_near(state(net), other.state, 1e-13)


@pytest.mark.parametrize("name", SOME_SLOW)
def test_a_network_is_itself(accelerator, name):
    assert_is_itself(accelerator, partial(net_of, name), (7, 33, 1, 7))


@EACH
def test_threads_and_blocks_may_take_turns_in_any_order(stand_in, name):
    assert_order_is_free(stand_in, partial(net_of, name), step_of_seven)


@pytest.mark.parametrize(
    "name",
    slow_except(("Inception", "ResNet-8", "SegNet of two levels, uneven"), ("Inception",)),
)
def test_float32_is_as_near(stand_in, name):
    """As two correct evaluations are; the worst here is 2e-6."""
    net, other = net_of(name, dtype="float32"), net_of(name)
    for key, array in net.params.items():
        other.params[key] = array
    x, t = batch(net, 7)
    want = step_of_reference(other, x.astype("float64"), t)
    got = step_of(stand_in.engine(net), x, t)
    least = max(float(np.max(np.abs(a))) for key, a in want.items() if key in other.params)
    for key, array in want.items():
        limit = 2e-5 * max(least if key in other.params else 0, np.max(np.abs(array)))
        np.testing.assert_allclose(got[key], array, rtol=0, atol=limit, err_msg=key)


def assert_steps_stay_together(accelerator, make, optimizer, steps, size, n):
    """Of `n` samples: recorded or not, and where what runs aside ends as late as it may.

    `make` gives the network on a device.
    """
    other, rate = make("cpu"), optimizer.lr
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((n, *other.input_shape)), rng.integers(10, size=n)
    results = []
    aside = {} if accelerator.is_gpu else {"backwards": True}
    for graph, options in ((True, {}), (False, aside)):
        net = make(accelerator.device)
        engine = accelerator.engine(net, driver=accelerator.driver(**options), graph=graph)
        data = [accelerator.device.asarray(array) for array in (x, t)]
        training = engine.steps(*data, size, optimizer.fresh())
        losses = to_numpy(training.epoch(np.arange(n), [rate] * steps)).copy()
        results.append({"losses": losses} | named(dict(net.params)) | state(net))
    want, rule = [], optimizer.fresh()
    for k in range(steps):
        part = slice(size * k, size * k + size)
        loss, _, grads = other.loss_and_gradient(x[part], t[part])
        want.append(float(loss))
        rule.update(other.params, grads)
    for got in results:
        assert_all_near(
            got, {"losses": np.asarray(want), **other.params, **other.state}, TRAINED, least=0.1
        )
        assert_equal(got, results[0])


@pytest.mark.parametrize(
    "name",
    [
        "ResNet-8",
        "Inception",
        "SegNet",
        "convolutions in a row beside nothing",
        "heads of what others read",
        "a row that heads read",
    ],
)
def test_steps_stay_together(accelerator, name):
    assert_steps_stay_together(
        accelerator, partial(net_of, name), SGD(0.02), steps=12, size=4, n=48
    )
