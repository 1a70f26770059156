"""Networks of several outputs, each with targets of its own."""

import numpy as np
import pytest

from xpnet import (
    SGD,
    Affine,
    Heads,
    HeadsWithLoss,
    IdentityWithLoss,
    Network,
    ReLU,
    SigmoidWithLoss,
    SoftmaxWithLoss,
    Trainer,
    to_numpy,
)
from xpnet.errors import ArgumentError

N = 30
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 5))
TARGETS = {
    "kind": np.arange(N) % 3,
    "place": X @ rng.standard_normal((5, 2)),
    "marks": (X[:, :2] > 0).astype("float64"),
}


def network(device="cpu"):
    heads = Heads({name: Affine(8, k, rng=k) for name, k in (("kind", 3), ("place", 2))})
    heads = Heads({**heads.children(), "marks": Affine(8, 2, rng=4)})
    losses = {"kind": SoftmaxWithLoss(), "place": IdentityWithLoss(), "marks": SigmoidWithLoss()}
    return Network(
        [Affine(5, 8, rng=0), ReLU(), heads],
        HeadsWithLoss(losses, {"kind": 2.0}),
        device=device,
        dtype="float64",
    )


def trained(t, *, device="cpu", **options):
    trainer = Trainer(
        network(device), X, t, X, t, epochs=3, mini_batch_size=7, optimizer=SGD(0.05),
        verbose=False, **options,
    )  # fmt: skip
    trainer.train()
    return trainer


def test_every_head_learns_its_own():
    trainer = trained(TARGETS)
    names = ["loss", "kind_accuracy", "place_r2", "marks_binary_accuracy"]
    assert [metric.name for metric in trainer.learner.metrics] == names
    first, last = trainer.history[0], trainer.history[-1]
    assert last["test_loss"] < first["test_loss"]
    assert last["test_place_r2"] > first["test_place_r2"]
    scores = trainer.network.predict(X)
    right = np.mean(np.argmax(scores["kind"], axis=1) == TARGETS["kind"])
    assert last["train_kind_accuracy"] == pytest.approx(right)
    # Step by step by hand
    net, rule = network(), SGD(0.05)
    for epoch in range(3):
        for x, t in trainer.train_batches.epoch(epoch):
            rule.update(net.params, net.gradient(x, t))
    np.testing.assert_allclose(trainer.network.params.flat, net.params.flat, rtol=1e-12)


@pytest.mark.parametrize("options", [{"engine": "reference"}, {"resident": False}, {"threads": 2}])
def test_whatever_computes(options):
    want, got = trained(TARGETS), trained(TARGETS, **options)
    np.testing.assert_allclose(got.network.params.flat, want.network.params.flat, rtol=1e-11)
    assert got.history[-1]["test_place_r2"] == pytest.approx(want.history[-1]["test_place_r2"])


def test_a_gpu_takes_single_steps_and_says_so(accelerator):
    trainer = Trainer(
        network(accelerator.device), X, TARGETS, epochs=3, mini_batch_size=7, optimizer=SGD(0.05),
        verbose=False, engine="reference",
    )  # fmt: skip
    trainer.engine = accelerator.engine(trainer.network)
    trainer.train()
    assert "every head has targets of its own" in trainer.describe()["steps"]
    want = trained(TARGETS).network.params.flat
    np.testing.assert_allclose(to_numpy(trainer.network.params.flat), want, rtol=1e-11)


def test_one_array_for_all_heads():
    heads = Heads({"low": Affine(5, 3, rng=0), "high": Affine(5, 3, rng=1)})
    loss = HeadsWithLoss({"low": SoftmaxWithLoss(), "high": SoftmaxWithLoss()}, {"low": 0.3})
    trainer = Trainer(
        Network([heads], loss), X.astype("float32"), TARGETS["kind"], epochs=1, mini_batch_size=9,
        verbose=False,
    )  # fmt: skip
    # What counts most comes first, and decides what is best.
    assert [m.name for m in trainer.learner.metrics] == ["high_accuracy", "low_accuracy"]
    assert trainer.best == ("train_high_accuracy", "max")
    trainer.train()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": np.arange(N) % 4}, "labels must be below the network's 3 outputs, got 3"),
        ({"kind": np.arange(N) % 3 - 1}, "labels must be 0 or more, got -1"),
        ({"marks": np.zeros((N - 1, 2))}, f"one target a sample is needed, got {N} and {N - 1}"),
        ({"more": np.zeros(N)}, "has the heads kind, place, marks, and there are targets for kind"),
    ],
)
def test_targets_that_do_not_fit(change, message):
    with pytest.raises(ArgumentError, match=message):
        trained(TARGETS | change)


def test_targets_by_name_need_heads():
    net = Network([Affine(5, 3, rng=0)])
    with pytest.raises(ArgumentError, match="has one output, and there are targets for kind"):
        Trainer(net, X.astype("float32"), {"kind": TARGETS["kind"]}, mini_batch_size=9)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (None, "^SoftmaxWithLoss is the loss of one output, and the network ends in a, b; give it"),
        (
            HeadsWithLoss({name: SoftmaxWithLoss() for name in "abc"}),
            "^HeadsWithLoss has losses for a, b, c, got a, b; a network with these heads",
        ),
        (HeadsWithLoss({"a": SoftmaxWithLoss()}), "^HeadsWithLoss has losses for a, got a, b"),
    ],
)
def test_a_loss_of_other_heads_is_told_before_training(loss, message):
    heads = Heads({"a": Affine(5, 3, rng=0), "b": Affine(5, 3, rng=1)})
    with pytest.raises(ArgumentError, match=message):
        Trainer(Network([heads], loss, input_shape=(5,)), X, TARGETS["kind"], verbose=False)
    one = Network([Affine(5, 3, rng=0)], HeadsWithLoss({"a": SoftmaxWithLoss()}))
    with pytest.raises(ArgumentError, match=r"^HeadsWithLoss has losses for a, got one output"):
        Trainer(one, X, TARGETS["kind"], verbose=False)
