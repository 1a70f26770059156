"""Networks whose batch normalization stays with the statistics that it has."""

import copy
import pickle

import numpy as np
import pytest

from branching import BRANCHING, batch
from xpnet import SGD, Affine, BatchNorm, Convolution, Network, ReLU, Sequential, to_numpy
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.layers import leaves
from xpnet.models.saved import copied


def network(**options):
    """Normalization in the middle, in a container, and last."""
    rng = np.random.default_rng(0)
    layers = {
        "stem": Sequential({"conv": Convolution(1, 3, 3, pad=1, rng=rng), "bn": BatchNorm(3)}),
        "relu": ReLU(),
        "fc": Affine(48, 4, rng=rng),
        "last": BatchNorm(4, running_ddof=1),
    }
    net = Network(layers, input_shape=(1, 4, 4), **({"dtype": "float64"} | options))
    for name, array in net.state.items():
        net.state[name] = rng.uniform(0.5, 2, array.shape)
    return net


X = np.random.default_rng(1).standard_normal((33, 1, 4, 4))
T = np.random.default_rng(2).integers(4, size=33)


def states(net):
    return {name: to_numpy(array).copy() for name, array in net.state.items()}


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize(
    ("names", "frozen"),
    [((), ("stem.bn", "last")), (("stem",), ("stem.bn",)), (("last",), ("last",))],
)
def test_training_leaves_frozen_statistics(engine, names, frozen):
    """An engine that there is already takes note, and of thawing, too."""
    net = network()
    computes = get_engine(net, engine, 2)
    free = computes.loss_and_gradient(X, T)
    loss, grads = float(free[0]), {k: np.array(g) for k, g in free[2].items()}
    net.freeze_statistics(*names)
    assert net.frozen_statistics == frozen
    before = states(net)
    twin = copied(net, device="cpu", dtype="float64")
    want_loss, want_scores, want = twin.loss_and_gradient(X, T)
    got_loss, scores, got = computes.loss_and_gradient(X, T)
    np.testing.assert_allclose(float(got_loss), float(want_loss), rtol=1e-12)
    np.testing.assert_allclose(scores, want_scores, rtol=1e-10, atol=1e-12)
    for name, grad in want.items():
        np.testing.assert_allclose(got[name], grad, rtol=0, atol=1e-14 + 1e-11 * np.max(abs(grad)))
    for name, array in states(net).items():
        stayed = name.rpartition(".")[0] in frozen
        assert np.array_equal(array, before[name]) == stayed, name
        np.testing.assert_allclose(array, states(twin)[name], rtol=1e-12)
    if not names:
        np.testing.assert_allclose(scores, net.predict(X), rtol=1e-10, atol=1e-12)
    # gamma and beta learn.
    assert np.any(got["last.gamma"])
    net.thaw_statistics()
    assert net.frozen_statistics == ()
    for name, array in before.items():
        net.state[name] = array
    loss_again, _, grads_again = computes.loss_and_gradient(X, T)
    np.testing.assert_allclose(float(loss_again), loss, rtol=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(grads_again[name], grad, rtol=1e-9, atol=1e-13)


def test_a_batch_of_one_can_be_learned_from():
    net = network()
    with pytest.raises(ArgumentError, match="running_ddof=1 needs a batch of at least 2"):
        get_engine(net, "cpu").loss_and_gradient(X[:1], T[:1])
    net.freeze_statistics()
    _, _, grads = get_engine(net, "cpu").loss_and_gradient(X[:1], T[:1])
    SGD(0.1).update(net.params, grads)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_keep_what_is_frozen(again):
    net = network()
    net.freeze_statistics("last")
    other = again(net)
    assert other.frozen_statistics == ("last",)
    other.thaw_statistics()
    assert (net.frozen_statistics, other.frozen_statistics) == (("last",), ())


def test_files_keep_how_the_running_variance_is_taken(tmp_path):
    from xpnet import load_network

    net = network()
    net.freeze_statistics()
    net.save_params(tmp_path / "net.safetensors")
    other = load_network(tmp_path / "net.safetensors")
    assert [norm.running_ddof for _, norm in leaves(other._body) if hasattr(norm, "ddof")] == [0, 1]
    assert other.frozen_statistics == ()


def test_names_without_statistics_are_refused():
    net = network()
    for name in ("fc", "relu", "stem.conv", "nothing"):
        with pytest.raises(ArgumentError, match=f"no layer '{name}' with running .* stem.bn, last"):
            net.freeze_statistics("stem", name)
    assert net.frozen_statistics == ()
    plain = Network([Affine(2, 2)])
    plain.freeze_statistics()
    with pytest.raises(ArgumentError, match="there are none in this network"):
        plain.freeze_statistics("Affine1")


def test_a_residual_network_on_both():
    net = BRANCHING["residual with projections"](dtype="float64")
    x, t = batch(net, 21)
    for _ in range(3):
        net.loss_and_gradient(x, t)  # so that there are statistics
    net.freeze_statistics("layer1", "bn1")
    before = states(net)
    want = copied(net, device="cpu", dtype="float64").loss_and_gradient(x, t)
    got = get_engine(net, "cpu", 3).loss_and_gradient(x, t)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-9, atol=1e-10)
    for name, grad in want[2].items():
        np.testing.assert_allclose(
            got[2][name], grad, rtol=0, atol=1e-14 + 1e-9 * np.max(abs(grad))
        )
    for name, array in states(net).items():
        assert np.array_equal(array, before[name]) == name.startswith(("layer1", "bn1")), name


@pytest.mark.slow
def test_the_gpus_engine_takes_note(accelerator):
    net = network(device=accelerator.device)
    engine = accelerator.engine(net)
    engine.loss_and_gradient(X, T)
    for names in (("stem",), (), ("last",)):
        net.freeze_statistics(*names)
        before = states(net)
        twin = copied(net, device="cpu", dtype="float64")
        want_loss, want_scores, want = twin.loss_and_gradient(X, T)
        got_loss, scores, got = engine.loss_and_gradient(X, T)
        np.testing.assert_allclose(float(got_loss), float(want_loss), rtol=1e-12)
        np.testing.assert_allclose(to_numpy(scores), want_scores, rtol=1e-9, atol=1e-11)
        for name, grad in want.items():
            limit = 1e-14 + 1e-10 * np.max(abs(grad))
            np.testing.assert_allclose(to_numpy(got[name]), grad, rtol=0, atol=limit)
        for name, array in states(net).items():
            np.testing.assert_allclose(array, states(twin)[name], rtol=1e-12)
            stayed = name.rpartition(".")[0] in net.frozen_statistics
            assert np.array_equal(array, before[name]) == stayed, name
        net.thaw_statistics()
