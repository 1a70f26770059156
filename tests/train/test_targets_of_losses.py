"""Targets that a loss is not for, and rates that no update is for, are told, not trained on."""

import numpy as np
import pytest

from xpnet import (
    SGD,
    Adam,
    Affine,
    Heads,
    HeadsWithLoss,
    IdentityWithLoss,
    Network,
    ReLU,
    SigmoidWithLoss,
    SoftmaxWithLoss,
    Trainer,
    cross_entropy_error,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError, DivergedError

X = np.random.default_rng(0).standard_normal((40, 4)).astype("float32")
T = (X[:, 0] > 0).astype(int)
ROWS = np.eye(2)[T]
NO_PROBABILITIES = {
    "-1 and 1": 2 * ROWS - 1,
    "0 and 255": 255 * ROWS,
    "scores": X[:, :2],
    "whole numbers": np.stack([T, 3 * T], axis=1),
}


def net(loss=None, outputs=2):
    return Network([Affine(4, 5, rng=0), ReLU(), Affine(5, outputs, rng=1)], loss)


def trained(network, t, *test, **options):
    options = {"epochs": 1, "mini_batch_size": 10, "verbose": False} | options
    return Trainer(network, X, t, *test, **options).train()


@pytest.mark.parametrize("rows", NO_PROBABILITIES)
def test_targets_of_a_cross_entropy_are_probabilities(rows):
    t, y = NO_PROBABILITIES[rows], np.full((40, 2), 0.5)
    heads = HeadsWithLoss({"a": SigmoidWithLoss()})
    branching = Network([Heads({"a": Affine(4, 2, rng=0)})], heads, input_shape=(4,))
    takers = [lambda: trained(branching, {"a": t}), lambda: cross_entropy_error(y, t)]
    for loss in (SoftmaxWithLoss(0.1), SigmoidWithLoss()):
        takers += [
            lambda loss=loss: trained(net(loss), t),
            lambda loss=loss: trained(net(loss), ROWS, X, t),
            lambda loss=loss: trained(net(loss), t, resident=False),
            lambda loss=loss: net(loss).gradient(X, t),
            lambda loss=loss: loss.forward(y, t),
            lambda: softmax_cross_entropy(y, t),
            lambda: sigmoid_cross_entropy(y, t),
        ]
    for take in takers:
        with pytest.raises(ArgumentError, match=r"numbers from 0 to 1, got -?[0-9]"):
            take()


@pytest.mark.parametrize("engine", ["cpu", "reference"])
@pytest.mark.parametrize("loss", [IdentityWithLoss(), SigmoidWithLoss()])
@pytest.mark.parametrize("t", [T / 1, T, 3 * T, -18 * T, T - 2])
def test_numbers_of_one_output_are_told_to_be_rows(t, loss, engine):
    with pytest.raises(ArgumentError, match=r"give them as t\[:, None\], of shape \(N, 1\)"):
        trained(net(loss, 1), t, engine=engine)
    if isinstance(loss, IdentityWithLoss) or set(t) == {0, 1}:
        trained(net(loss, 1), t[:, None], engine=engine)


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_floats_of_a_softmax_are_labels_or_are_for_another_loss(engine):
    with pytest.raises(ArgumentError, match=r"by t\.astype\(int\), and .* IdentityWithLoss, in r"):
        trained(net(), T / 1, engine=engine)
    trained(net(), (T / 1).astype(int), engine=engine)


def test_an_engine_refuses_a_loss_below_0():
    """It looks at rows only where the loss tells that they are no probabilities."""
    with pytest.raises(ArgumentError, match=r"numbers from 0 to 1, got -1 to -?0"):
        get_engine(net(), "cpu").loss_and_gradient(X, -ROWS)


@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SigmoidWithLoss()])
def test_probabilities_may_be_rounded(loss):
    t = np.array([[1 + 1e-6, -1e-6], [0.3, 0.7]], dtype="float32")
    assert np.isfinite(float(loss.forward(X[:2, :2], t)[0]))
    assert np.isfinite(trained(net(loss), np.repeat(t, 20, axis=0))[-1].train_loss)


@pytest.mark.parametrize("t", [T, T[:, None], T[:, None].astype(bool), ROWS[:, :1]])
def test_a_softmax_has_several_outputs(t):
    """Of one it is always 1, and the loss always 0: nothing would be learned, unnoticed."""
    with pytest.raises(ArgumentError, match=r"softmax of one output|the network's 1 outputs"):
        trained(net(outputs=1), t)
    with pytest.raises(ArgumentError, match="softmax of one output"):
        net(outputs=1).loss(X, t)


@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SigmoidWithLoss(), IdentityWithLoss()])
def test_targets_that_are_not_finite_are_not_evaluated(loss):
    bad = ROWS.copy()
    bad[7, 1] = np.nan
    with pytest.raises(ArgumentError, match="targets of the test data must be finite, and those o"):
        trained(net(loss), ROWS, X, bad)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_targets_that_are_too_large_are_named():
    options = {"epochs": 3, "optimizer": SGD(0.1)}
    with pytest.raises(DivergedError, match=r"targets reach [56]00000, and are taken as they are"):
        trained(net(IdentityWithLoss(), 1), np.round(5 + np.abs(X[:, :1] > 2)) * 1e5, **options)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -0.1, "0.1", None, [0.1, 0.2]])
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_no_rate_of_an_update_leads_nowhere(kind, rate):
    message = "learning rate of an update must be a number from 0"
    with pytest.raises(ArgumentError, match=message):
        trained(net(), T, optimizer=kind(), schedule=lambda step: rate)
    optimizer = kind()
    with pytest.raises(ArgumentError, match=message):
        optimizer.lr = rate
    optimizer.lr = 0.0  # where a schedule may end
    assert optimizer.lr == 0


def test_a_schedule_is_of_one_training():
    """SGD keeps nothing and serves several: not at the rates that another one's schedule left."""
    shared = SGD(0.1)
    trained(net(), T, optimizer=shared, schedule=lambda step: 0.1 / (step + 1))
    assert shared.lr == 0.1


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_parameters_and_gradients_have_names(kind):
    with pytest.raises(ArgumentError, match="parameters by name are needed, got list"):
        kind().update([np.ones(2)], [np.ones(2)])
    with pytest.raises(ArgumentError, match="gradients by name are needed, got list"):
        kind().update({"W": np.ones(2)}, [np.ones(2)])
