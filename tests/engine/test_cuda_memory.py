"""Kernels keep to their arrays: next to each lies memory that nobody may touch.

To touch it ends a process; so this is done in one of its own, once for what lies behind the arrays
and once for what lies before.
"""

import ctypes
import mmap
import subprocess
import sys
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import pytest

from cuda_on_cpu import HostDriver
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
from xpnet.arrays import Device, get_device
from xpnet.engine.cuda import CudaEngine
from xpnet.layers import (
    LRN,
    Affine,
    Concatenate,
    GlobalAveragePool,
    Identity,
    PadShortcut,
    ReLU6,
    Residual,
    ScaledTanh,
    Subsampling,
    Tanh,
    Unpooled,
)

IMAGE = (1, 12, 12)
PAGE = mmap.PAGESIZE


@dataclass(frozen=True)
class Fenced(Device):
    """The CPU, whose arrays end, or begin, where a page of memory that is closed begins or ends."""

    behind: bool = True
    kept: list = field(default_factory=list)

    def zeros(self, shape, *, dtype):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        size = max(1, prod(shape)) * np.dtype(dtype).itemsize
        pages = -(-size // PAGE)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        for fence in (start, start + (pages + 1) * PAGE):
            assert protect(ctypes.c_void_p(fence), PAGE, 0) == 0
        self.kept.append(memory)
        offset = PAGE + (pages * PAGE - size if self.behind else 0)
        return np.frombuffer(memory, dtype, prod(shape), offset).reshape(shape)

    def asarray(self, x, *, dtype=None):
        x = np.asarray(x, dtype=dtype)
        inside = self.zeros(x.shape, dtype=x.dtype.name)
        inside[...] = x
        return inside


def uneven(device):
    layers = [
        Convolution(1, 5, (3, 2), stride=2, pad=1, uneven="drop", rng=0), BatchNorm(5),
        ReLU(), MaxPool(3, stride=2, pad=1, uneven="drop"), Convolution(5, 33, 1, rng=1),
        AveragePool(2, stride=3, uneven="drop"), Dropout(0.3, rng=2), Affine(33, 10, rng=3),
    ]  # fmt: skip
    return Network(layers, input_shape=IMAGE, device=device, penalty=L2(0.1))


def branching(device):
    """Joins, an unpooling of uneven images, shortcuts, and no biases."""
    layers = [
        Convolution(1, 5, 3, pad=1, bias=False, rng=0), ReLU(),
        Concatenate([Identity(), AveragePool(3, stride=1, pad=1), Convolution(5, 3, 1, rng=1)]),
        Unpooled([Convolution(13, 13, 1, bias=False, rng=2), Tanh()], 5),
        Residual([Convolution(13, 17, 3, stride=2, pad=1, uneven="drop", rng=3), BatchNorm(17)],
                 PadShortcut(2, 17)),
        Dropout(0.3, rng=2), GlobalAveragePool(), Affine(17, 10, bias=False, rng=3),
    ]  # fmt: skip
    return Network(layers, input_shape=IMAGE, device=device, penalty=L2(0.1))


def uncommon(device):
    """Groups, a table, filters of one channel; pads of four sides; windows that reach beyond."""
    layers = [
        Convolution(1, 6, (3, 2), stride=(1, 2), pad=(0, 1, 2, 0), uneven="drop", rng=0), ReLU6(),
        LRN(alpha=0.1), MaxPool(3, stride=2, uneven="ceil"),
        Convolution(6, 34, 3, groups=2, pad=1, bias=False, rng=1),
        BatchNorm(34, running_ddof=1), ScaledTanh(),
        Convolution(34, 34, (2, 3), groups=34, stride=(2, 1), pad=(1, 1, 1, 2), rng=2), ReLU(),
        Convolution(34, 4, 2, table=[(0, 33), (1,), (2, 3, 4), (5,)], pad=(1, 0, 0, 1), rng=3),
        Subsampling(4), Affine(16, 10, rng=4),
    ]  # fmt: skip
    return Network(layers, input_shape=IMAGE, device=device)


NETWORKS = {
    "mlp": lambda device: TwoLayerNet(144, 50, 10, rng=0, device=device),
    "extended": lambda device: MultiLayerNetExtend(
        144, [17, 33], 10, use_dropout=True, use_batchnorm=True, rng=0, device=device
    ),
    "simple": lambda device: SimpleConvNet(IMAGE, hidden_size=20, rng=0, device=device),
    "deep": lambda device: DeepConvNet(IMAGE, hidden_size=20, rng=0, device=device),
    "uneven": uneven,
    "branching": branching,
    "uncommon": uncommon,
}


def use(name: str, behind: bool, directory: Path) -> None:
    """Train, differentiate and predict with batches of several sizes."""
    cpu = get_device("cpu")
    device = Fenced(cpu.name, cpu.xp, cpu.native, behind)
    net = NETWORKS[name](device)
    engine = CudaEngine(net, driver=HostDriver(directory))
    rng = np.random.default_rng(0)
    x = device.asarray(rng.random((17, *net.input_shape), dtype=np.float32))
    t = device.asarray(rng.integers(10, size=17))
    for batch_size, clip_norm in ((7, None), (17, 1.0)):
        training = engine.steps(x, t, batch_size, Adam(0.01), clip_norm=clip_norm)
        training.epoch(rng.permutation(17), [0.01] * training.steps)
    engine.loss_and_gradient(x[:1], t[:1])
    for train in (True, False):
        y, backward = engine.forward(x, train=train)
        backward(y)
        backward(y, need_grads=False)
    engine.predict(x)


@pytest.mark.slow
@pytest.mark.parametrize("fence", ["behind", "before"])
def test_nothing_is_touched_beside_the_arrays(stand_in, fence):
    directory = stand_in.driver().directory
    result = subprocess.run(
        [sys.executable, __file__, fence, str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    done = result.stdout.split()
    assert done == list(NETWORKS), f"after {done}: {result.stderr[-2000:]}"


def test_fences_hold():
    code = "import test_cuda_memory as t; a = t.Fenced('cpu', None).zeros(3, dtype='float32')"
    code += "; import ctypes; ctypes.c_float.from_address(a.ctypes.data + 12).value"
    result = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert result.returncode < 0


if __name__ == "__main__":
    for network in NETWORKS:
        use(network, sys.argv[1] == "behind", Path(sys.argv[2]))
        print(network, flush=True)
