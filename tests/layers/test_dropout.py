"""Dropout: both forms, and masks that are the same on every library."""

import numpy as np
import pytest

from tolerances import E12, assert_near
from xpnet import Dropout, get_device, to_numpy
from xpnet.arrays.random import random_words
from xpnet.books import saitoh
from xpnet.errors import ArgumentError, XPNetError

X = np.random.default_rng(0).uniform(1, 2, (4, 5, 6))  # no zeros, so that a zero was left out

CPU = get_device("cpu")


def placed(device, ratio=0.5, *, rng=0, **options):
    """A layer with its counter on the device."""
    layer = Dropout(ratio, rng=rng, **options)
    layer.state = {name: device.asarray(array) for name, array in layer.state.items()}
    return layer


def calls(layer):
    return int(to_numpy(layer.state["calls"])[0])


@pytest.mark.parametrize(
    ("inverted", "kept", "inference"), [(False, 1.0, 0.8), (True, 1.25, 1.0)], ids=["book", "inv"]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_both_forms(device, inverted, kept, inference, dtype):
    """Ratio 0.2. The backward is that of the same pass: linear, with the same mask and scale."""
    layer, x = placed(device, 0.2, inverted=inverted), device.asarray(X, dtype=dtype)
    dy = device.asarray(np.random.default_rng(1).uniform(1, 2, X.shape), dtype=dtype)
    tol = E12 if dtype == "float64" else {"rtol": 1e-6}
    mask = to_numpy(layer.mask(x))
    assert set(np.unique(mask)) == {0, 1}

    for train, scale in ((True, mask * kept), (False, np.full(X.shape, inference))):
        y, backward = layer.forward(x, train=train)
        layer.forward(x, train=True)  # another pass in between
        dx, grads = backward(dy)
        assert y.dtype == dx.dtype == x.dtype
        assert grads == {}
        assert_near(y, to_numpy(x) * scale, tol)
        assert_near(dx, to_numpy(dy) * scale, tol)
    np.testing.assert_array_equal(to_numpy(x), X.astype(dtype))


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5])
def test_masks_are_the_same_on_every_library(device, ratio):
    """Against words drawn on NumPy: kept where word / 2^32 >= ratio, for each of three passes."""
    layer, x = placed(device, ratio), device.asarray(X)
    cpu = placed(CPU, ratio)
    for k in range(3):
        words = random_words(X.size, key=layer.key, step=np.asarray([k]), device=CPU)
        want = (words / 2**32 >= ratio).reshape(X.shape)
        np.testing.assert_array_equal(to_numpy(layer.mask(x)), want)
        got, same = layer.forward(x, train=True)[0], cpu.forward(X, train=True)[0]
        np.testing.assert_array_equal(to_numpy(got), same)


def test_words_are_compared_as_integers(device, monkeypatch):
    """At 2^31 a unit is kept by half; in float32, 2^31 - 1 would be 2^31."""
    words = device.asarray(np.asarray([0, 2**31 - 1, 2**31, 2**32 - 1]))
    monkeypatch.setattr("xpnet.layers.dropout.random_words", lambda *_, **__: words)
    mask = placed(device, 0.5).mask(device.asarray(np.ones((2, 2), np.float32)))
    assert_near(mask, [[0, 0], [1, 1]])


def test_a_mask_is_its_key_and_its_pass(device):
    """A new one each training pass and for each key; the same again from the same state."""
    layer, x = placed(device), device.asarray(X)

    def masks(n):
        return [to_numpy(layer.forward(x, train=True)[0]) > 0 for _ in range(n)]

    first = masks(4)
    assert len({mask.tobytes() for mask in first}) == 4
    assert calls(layer) == 4
    layer.state["calls"][...] = 2
    np.testing.assert_array_equal(masks(2), first[2:])
    layer = placed(device, rng=1)
    assert len({mask.tobytes() for mask in (*masks(2), *first)}) == 6


def test_inference_draws_nothing(device, monkeypatch):
    monkeypatch.setattr("xpnet.layers.dropout.random_words", lambda *_, **__: pytest.fail("drew"))
    layer = placed(device)
    layer.forward(device.asarray(X))
    assert calls(layer) == 0


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.8])
def test_share_kept_and_equal_expectation(device, ratio):
    """10^5 ones, within 4 sd: on average, training gives what inference gives, in either form."""
    x = device.asarray(np.ones(10**5))
    keep, sd = 1 - ratio, np.sqrt(ratio * (1 - ratio) / 10**5)
    for inverted, unit in ((False, 1.0), (True, 1 / keep)):
        layer = placed(device, ratio, inverted=inverted)
        y = to_numpy(layer.forward(x, train=True)[0])
        assert np.mean(y > 0) == pytest.approx(keep, abs=4 * sd)
        inference = to_numpy(layer.forward(x)[0])
        assert np.mean(y) == pytest.approx(np.mean(inference), abs=4 * sd * unit)


def test_the_books_dropout(device):
    """train_flg is on unless told; backward follows the last forward."""
    node, twin, x = saitoh.Dropout(0.2, rng=0), placed(device, 0.2), device.asarray(X)
    with pytest.raises(XPNetError, match=r"Dropout\.backward needs a forward first"):
        node.backward(x)
    for arguments in ((x,), (x, True), (x, False), (x,)):
        train = arguments[1:] != (False,)
        want, backward = twin.forward(x, train=train)
        np.testing.assert_array_equal(to_numpy(node.forward(*arguments)), to_numpy(want))
        np.testing.assert_array_equal(to_numpy(node.backward(x)), to_numpy(backward(x)[0]))
        assert np.any(to_numpy(want) == 0) == train


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5, float("nan")])
def test_ratios_that_leave_nothing_to_scale_are_refused(ratio):
    for kind in (Dropout, saitoh.Dropout):
        with pytest.raises(ArgumentError, match=f"from 0 to below 1, got {ratio}; try 0.5"):
            kind(ratio)
