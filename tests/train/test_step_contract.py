"""A training step could be recorded once and replayed on a GPU: it never looks at a value.

On array-api-strict, on a device that is not the host and without shapes or indices that depend on
data, any way back to the host is an error: see the fixture `unread`.
"""

import numpy as np
import pytest

from xpnet import (
    L1,
    L2,
    Adam,
    Affine,
    Augmentation,
    AveragePool,
    BatchNorm,
    Convolution,
    DeepConvNet,
    Dropout,
    IdentityWithLoss,
    MaxNorm,
    MaxPool,
    MultiLayerNet,
    MultiLayerNetExtend,
    Network,
    ReLU,
    Sigmoid,
    SimpleConvNet,
    SoftmaxWithLoss,
    Tanh,
    Trainer,
    TwoLayerNet,
    to_numpy,
)
from xpnet.optim import OPTIMIZERS
from xpnet.optim.schedules import Cosine

IMAGE = (1, 12, 12)
X = np.random.default_rng(0).integers(0, 256, (60, *IMAGE), dtype=np.uint8)
T = np.random.default_rng(1).integers(10, size=60)


def rare_layers(device):
    """What the networks of the books leave out."""
    layers = [
        Convolution(1, 3, (3, 2), stride=2, uneven="drop", rng=0), BatchNorm(3), Sigmoid(),
        MaxPool(2, stride=1, pad=1), AveragePool(2, stride=2, uneven="drop"),
        Dropout(0.2, inverted=True, rng=0), Affine(27, 10, rng=0), Tanh(),
    ]  # fmt: skip
    return Network(layers, SoftmaxWithLoss(0.1), input_shape=IMAGE, device=device, penalty=L1(0.01))


def conv_net(kind, **options):
    return lambda device: kind(IMAGE, **options, hidden_size=12, rng=0, device=device)


FOUR = {"filter_num": 4, "filter_size": 3, "pad": 1}
NETWORKS = {
    **{
        f"two-layer-net, {name}": lambda device, name=name: TwoLayerNet(
            144, 12, 10, activation=name, rng=0, device=device
        )
        for name in ("relu", "sigmoid", "tanh")
    },
    "multi-layer-net": lambda device: MultiLayerNet(
        144, [12, 12], 10, weight_decay_lambda=0.1, rng=0, device=device
    ),
    "multi-layer-net-extend": lambda device: MultiLayerNetExtend(
        144, [12, 12], 10, use_dropout=True, use_batchnorm=True, rng=0, device=device
    ),
    "simple-convnet": conv_net(SimpleConvNet, conv_param={"filter_num": 4}),
    "deep-convnet": conv_net(
        DeepConvNet, **{f"conv_param_{k}": {"filter_num": 4} for k in range(1, 7)}
    ),
    "rare layers": rare_layers,
    "regression": lambda device: Network(
        [Affine(144, 10, rng=0), ReLU()], IdentityWithLoss(), penalty=L2(0.1), device=device
    ),
}
OPTIONS = {
    "clipped": {"clip_norm": 0.1},
    "constrained": {"constraint": MaxNorm(1.0)},
    "scheduled": {"schedule": Cosine(0.1, steps=10)},
    "augmented": {"augment": Augmentation(rotate=15, shift=2, scale=0.1, elastic=1.4, flip=True)},
    "drawn": {"sampling": "choice"},
}


def check(network, unread, optimizer, **options):
    """Three steps unread, and a network that they have changed."""
    before = to_numpy(network.params.flat).copy()
    trainer = Trainer(network, X, T, X, T, 1, 20, optimizer, verbose=False, **options)
    assert trainer.engine.name == "reference"
    batches = trainer.train_batches.epoch(0)
    # An epoch begins on the host, where its order is drawn; only its steps must not return there.
    trainer.train_step(*next(batches))
    with unread():
        for _ in range(2):
            trainer.train_step(*next(batches))
    after = to_numpy(network.params.flat)
    assert np.all(np.isfinite(after))
    assert np.any(after != before)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name, strict_device, unread):
    check(NETWORKS[name](strict_device), unread, Adam())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name, strict_device, unread):
    check(NETWORKS["multi-layer-net"](strict_device), unread, OPTIMIZERS[name]())


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_the_trainer(name, strict_device, unread):
    check(NETWORKS["two-layer-net, relu"](strict_device), unread, Adam(), **OPTIONS[name])


def test_a_read_is_noticed(strict_device, unread):
    """The test above can fail."""

    class Looking(ReLU):
        def forward(self, x, *, train=False):
            assert float(x[0, 0]) < np.inf
            return super().forward(x, train=train)

    network = Network([Affine(144, 10, rng=0), Looking()], device=strict_device)
    with pytest.raises(AssertionError, match="read back"):
        check(network, unread, Adam())
