"""The CPU engine's kernels for layers of numbers of one bit, against those layers."""

from copy import deepcopy

import numpy as np
import pytest

from test_binary_nets import convnet, mlp, unlike
from test_cpu_kernels import Built, assert_near
from xpnet import BinaryAffine, BinaryConvolution, Rescale, Sign
from xpnet.engine import get_engine
from xpnet.engine.cpu.kernel import KERNELS

LAYERS = {
    "rows": (lambda: BinaryAffine(12, 5, rng=0), (12,)),
    "rows of images": (lambda: BinaryAffine(12, 5, rng=0), (3, 2, 2)),
    "3 x 3": (lambda: BinaryConvolution(4, 6, 3, pad=1, rng=0), (4, 7, 6)),
    "one channel": (lambda: BinaryConvolution(1, 6, 3, rng=0), (1, 7, 6)),
    "steps": (
        lambda: BinaryConvolution(4, 6, (3, 2), stride=2, pad=1, uneven="drop", rng=0),
        (4, 7, 6),
    ),
    "groups": (lambda: BinaryConvolution(4, 6, 3, pad=(0, 1), groups=2, rng=0), (4, 7, 6)),
    "sign": (Sign, (4, 3, 2)),
    "rescale": (lambda: Rescale(2.0, -1.0), (4, 3, 2)),
}


@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_kernel_is_the_layer(name, need_dx):
    make, shape = LAYERS[name]
    if not need_dx and name in ("sign", "rescale"):
        return  # of which nothing else is needed
    for n in (1, 5):
        built = Built(make(), shape, n, need_dx=need_dx)
        assert type(built.kernel) is KERNELS[type(make())]
        built.assert_equals_the_layer_again_and_again(np.random.default_rng(n))


def test_signs_at_0_and_at_the_ends_are_the_layers():
    x = np.asarray([[-2, -1, -0.3, 0, -0.0, 1, 1.5, 1 + 1e-15]])
    built = Built(Sign(), (8,), 1)
    built.assert_is_the_layer(x, np.arange(1.0, 9.0)[None])


@pytest.mark.parametrize("make", [mlp, convnet])
def test_networks_are_computed_in_parts_as_in_one_piece(make, monkeypatch):
    """Statistics that are far from ties: there the sign of a rounding error would decide."""
    monkeypatch.setattr("xpnet.engine.cpu.engine.ROWS", 16)
    network = unlike(make(dtype="float64"))
    rng = np.random.default_rng(3)
    x, t = rng.random((50, 1, 12, 12)), rng.integers(10, size=50)
    engine = get_engine(deepcopy(network), "cpu", threads=2)
    assert len(engine.division(50).shares) == (2 if make is convnet else 1)
    assert "reference" not in engine.methods().values()
    np.testing.assert_allclose(engine.predict(x), network.predict(x), atol=1e-12)
    loss, _, grads = engine.loss_and_gradient(x, t)
    want, _, want_grads = network.loss_and_gradient(x, t)
    np.testing.assert_allclose(loss, want, rtol=1e-12)
    for name, grad in want_grads.items():
        assert_near(np.asarray(grads[name]), grad, 1e-11, name)
