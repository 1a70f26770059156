"""Kernels keep to their arrays: what lies around each is poisoned, and must stay as it is.

A number read there is NaN and shows in the results; a number written there shows by itself.
"""

from dataclasses import dataclass, field
from math import prod

import numpy as np
import pytest

from xpnet import (
    L2,
    Adam,
    AveragePool,
    BatchNorm,
    Convolution,
    DeepConvNet,
    Dropout,
    MaxPool,
    MultiLayerNetExtend,
    Network,
    ReLU,
    SimpleConvNet,
    TwoLayerNet,
)
from xpnet.backend import Device, get_device
from xpnet.layers import Affine

MARGIN = 4096
"""Numbers before and behind an array, more than a tile's row of any kernel reaches."""
IMAGE = (1, 12, 12)


@dataclass(frozen=True)
class Poisoned(Device):
    """The CPU, whose arrays lie in poison."""

    arrays: list = field(default_factory=list)

    def zeros(self, shape, *, dtype):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        poison = np.nan if dtype.startswith("float") else -(2**30)
        buffer = np.full(prod(shape) + 2 * MARGIN, poison, dtype=dtype)
        inside = buffer[MARGIN:-MARGIN].reshape(shape)
        inside[...] = 0
        self.arrays.append((buffer, poison))
        return inside

    def asarray(self, x, *, dtype=None):
        x = np.asarray(x, dtype=dtype)
        if x.dtype.kind not in "fi" or x.dtype.itemsize < 4:
            return x
        inside = self.zeros(x.shape, dtype=x.dtype.name)
        inside[...] = x
        return inside

    def check(self):
        for buffer, poison in self.arrays:
            for margin in (buffer[:MARGIN], buffer[-MARGIN:]):
                assert np.array_equal(margin, np.full_like(margin, poison), equal_nan=True)


def uneven(device):
    layers = [
        Convolution(1, 5, (3, 2), stride=2, pad=1, uneven="drop", rng=0), BatchNorm(5),
        ReLU(), MaxPool(3, 3, stride=2, pad=1, uneven="drop"), Convolution(5, 33, 1, rng=1),
        AveragePool(2, 2, stride=3, uneven="drop"), Dropout(0.3, rng=2), Affine(33, 10, rng=3),
    ]  # fmt: skip
    return Network(layers, input_shape=IMAGE, device=device, penalty=L2(0.1))


NETWORKS = {
    "mlp": lambda device: TwoLayerNet(144, 50, 10, rng=0, device=device),
    "extended": lambda device: MultiLayerNetExtend(
        144, [17, 33], 10, use_dropout=True, use_batchnorm=True, rng=0, device=device
    ),
    "simple": lambda device: SimpleConvNet(IMAGE, hidden_size=20, rng=0, device=device),
    "deep": lambda device: DeepConvNet(IMAGE, hidden_size=20, rng=0, device=device),
    "uneven": uneven,
}


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_nothing_is_read_or_written_beside_the_arrays(stand_in, network, clip_norm):
    cpu = get_device("cpu")
    device = Poisoned(cpu.name, cpu.xp, cpu.native)
    net = network(device)
    engine = stand_in.engine(net)
    rng = np.random.default_rng(0)
    x = device.asarray(rng.random((17, *net.input_shape), dtype=np.float32))
    t = device.asarray(rng.integers(10, size=17, dtype=np.int64))
    for batch_size in (7, 17):
        training = engine.training(x, t, batch_size, Adam(0.01), clip_norm=clip_norm)
        losses = training.epoch(rng.permutation(17), [0.01] * training.steps)
        assert np.isfinite(losses).all()
    _, scores, grads = engine.loss_and_gradient(x[:1], t[:1])
    assert all(np.isfinite(array).all() for array in (scores, grads.flat, net.params.flat))
    assert np.isfinite(engine.predict(x)).all()
    device.check()
