"""Layers of LeNet and AlexNet, and windows that are not alike on all sides: engines beside them."""

import numpy as np
import pytest

from xpnet import (
    LRN,
    Affine,
    AveragePool,
    Convolution,
    MaxPool,
    Network,
    ReLU,
    ScaledTanh,
    Sequential,
    Subsampling,
    TransposedConvolution,
)
from xpnet.engine import get_engine
from xpnet.engine.cuda import CudaEngine

TABLE = [(0, 1), (2,), (0, 2), (1, 2)]
CASES = {
    "groups": lambda: [Convolution(4, 6, 3, groups=2, pad=1, rng=1), ReLU()],
    "depthwise": lambda: [Convolution(4, 4, 3, groups=4, rng=1, bias=False), ReLU()],
    "table": lambda: [Convolution(4, 3, 1, rng=1), Convolution(3, 4, 3, table=TABLE, rng=1)],
    "pairs": lambda: [Convolution(4, 3, (3, 2), stride=(2, 1), pad=(1, 0), uneven="drop", rng=1)],
    "four sides": lambda: [Convolution(4, 3, 3, pad=(0, 1, 2, 0), rng=1), ReLU()],
    "enlarged": lambda: [
        TransposedConvolution(4, 3, (3, 4), stride=2, pad=(1, 0, 0, 2), output_pad=(0, 1), rng=1),
        ReLU(),
    ],
    "ceil": lambda: [ReLU(), MaxPool(3, stride=2, uneven="ceil")],
    "ceil of halves": lambda: [ReLU(), MaxPool(2, stride=2, uneven="ceil")],
    "pool of pairs": lambda: [ReLU(), MaxPool((2, 3), stride=(2, 1), pad=(0, 1), uneven="drop")],
    "pool of equal pairs": lambda: [ReLU(), MaxPool(2, stride=(2, 2), pad=(0, 0), uneven="drop")],
    "LeNet's": lambda: [
        Convolution(4, 3, 2, pad=(1, 0, 0, 1), rng=1),
        ScaledTanh(),
        Convolution(3, 2, 2, rng=2),
        Convolution(2, 3, 1, pad=(0, 0, 0, 1), rng=3),
        Subsampling(3),
        ScaledTanh(),
    ],
    "AlexNet's": lambda: [ReLU(), LRN(size=3, alpha=0.1), MaxPool(3, stride=2, uneven="ceil")],
    "means": lambda: [AveragePool(3, stride=(2, 1), pad=(1, 0), uneven="drop")],
}


def network(case, **options):
    layers = [Convolution(2, 4, 3, pad=1, rng=0), *CASES[case]()]
    numbers = int(np.prod(Sequential(layers).output_shape((2, 7, 6))))
    return Network([*layers, Affine(numbers, 5, rng=2)], input_shape=(2, 7, 6), **options)


@pytest.mark.parametrize("case", CASES)
def test_the_cpu_engine_computes_what_the_layers_do(case):
    net = network(case, dtype="float64")
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((25, 2, 7, 6)), rng.integers(5, size=25)
    engine = get_engine(net, "cpu", 2)
    loss, scores, grads = engine.loss_and_gradient(x, t)
    want_loss, want_scores, want_grads = net.loss_and_gradient(x, t)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-10)
    np.testing.assert_allclose(scores, want_scores, rtol=1e-9, atol=1e-9)
    for name, want in want_grads.items():
        np.testing.assert_allclose(grads[name], want, rtol=0, atol=1e-9 * np.max(abs(want)))
    np.testing.assert_allclose(engine.predict(x), net.predict(x), rtol=1e-9, atol=1e-9)


def test_what_is_written_where_a_table_has_nothing_is_not_read():
    """Through a view, which no assignment sees."""
    net, other = network("table", dtype="float64"), network("table", dtype="float64")
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((7, 2, 7, 6)), rng.integers(5, size=7)
    engine, ((name, mask),) = get_engine(net, "cpu"), net.params.masks.items()
    for compute in (
        lambda run: run.predict(x),
        lambda run: run.loss_and_gradient(x, t)[1],
        lambda run: run.forward(x)[0],
    ):
        net.params[name][...] += mask == 0
        np.testing.assert_allclose(compute(engine), compute(other), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_the_gpus_engine_has_kernels_for_all(case):
    """Which test_cuda_kernels.py has beside the layers."""
    assert CudaEngine.obstacle(network(case)) is None
