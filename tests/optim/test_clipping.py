"""Gradients made shorter: worked examples, PyTorch, and the trainer."""

import numpy as np
import pytest

from tolerances import E12, F32, IN_BOTH, assert_near
from xpnet import SGD, Trainer, TwoLayerNet, synthetic_digits, to_numpy
from xpnet.errors import ArgumentError
from xpnet.optim.clipping import clip_by_norm, clip_by_value

GRADS = {"W1": [[3.0, 0.0], [0.0, -4.0]], "b1": [12.0, 0.0]}  # together 13 long


def arrays(device, dtype="float64"):
    return {name: device.asarray(np.asarray(g), dtype=dtype) for name, g in GRADS.items()}


@IN_BOTH
@pytest.mark.parametrize(("limit", "scale"), [(6.5, 0.5), (13.0, 1.0), (100.0, 1.0)])
def test_all_gradients_are_scaled_as_one(device, dtype, tol, limit, scale):
    grads = arrays(device, dtype)
    clipped = clip_by_norm(grads, limit)
    for name, g in GRADS.items():
        assert clipped[name].dtype == device.dtype(dtype)
        assert_near(clipped[name], scale * np.asarray(g), tol)
        assert_near(grads[name], g)  # left alone


def test_zeros_stay_zero_and_nan_is_not_hidden(device):
    zeros = {"W1": device.asarray(np.zeros(3))}
    assert_near(clip_by_norm(zeros, 1.0)["W1"], np.zeros(3))
    bad = {"W1": device.asarray(np.asarray([np.nan, 1.0])), "b1": device.asarray(np.ones(1))}
    assert np.isnan(to_numpy(clip_by_norm(bad, 1.0)["b1"])).all()
    assert clip_by_norm({}, 1.0) == {}


def test_by_value(device):
    clipped = clip_by_value(arrays(device), 3.5)
    assert_near(clipped["W1"], [[3.0, 0.0], [0.0, -3.5]])
    assert_near(clipped["b1"], [3.5, 0.0])


def test_against_pytorch():
    """Which adds 1e-6 to the norm."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(0)
    grads = {"W1": rng.standard_normal((30, 20)), "b1": rng.standard_normal(20)}
    tensors = [torch.zeros(g.shape, dtype=torch.float64) for g in grads.values()]
    for tensor, g in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.from_numpy(g.copy())
    torch.nn.utils.clip_grad_norm_(tensors, 2.5)
    for tensor, got in zip(tensors, clip_by_norm(grads, 2.5).values(), strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("clip", [clip_by_norm, clip_by_value])
@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_misuse_is_told(clip, limit):
    with pytest.raises(ArgumentError, match="limit of gradients must be a positive number, got"):
        clip({"W1": np.ones(1)}, limit)


def test_the_trainer_clips_before_the_update(device):
    """The step of an SGD of rate 1 is then as long as the limit, and no other step shorter."""
    x, t = synthetic_digits(20, seed=0)
    moved = []
    for limit in (None, 1e-3, 1e3):
        net = TwoLayerNet(784, 5, 10, rng=0, device=device)
        before = to_numpy(net.params.flat).copy()
        run = Trainer(
            net, x, t, x, t, 1, 20, SGD(1.0), evaluate_sample_num_per_epoch=1, verbose=False,
            clip_norm=limit,
        )  # fmt: skip
        run.train_epoch()
        moved.append(to_numpy(net.params.flat) - before)
    free, clipped, unchanged = moved
    assert np.linalg.norm(free) > 2e-3
    assert np.linalg.norm(clipped) == pytest.approx(1e-3, rel=1e-3)
    want = free * 1e-3 / np.linalg.norm(free)
    np.testing.assert_allclose(clipped, want, rtol=0, atol=1e-7)  # float32 weights up to 1
    np.testing.assert_allclose(unchanged, free, **F32)


def test_exactness_in_float64():
    g = np.random.default_rng(0).standard_normal(1000)
    assert_near(np.linalg.norm(clip_by_norm({"W1": g}, 0.1)["W1"]), 0.1, E12)
