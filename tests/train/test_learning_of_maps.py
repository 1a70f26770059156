"""Images whose every place is learned: from batches of masks to what is measured."""

import numpy as np
import pytest

from xpnet import Augmentation, Batches, Convolution, EarlyStopping, Network, Supervised, Trainer
from xpnet.errors import ArgumentError
from xpnet.layers import Affine, SoftmaxWithLoss
from xpnet.report.evaluate import predictions
from xpnet.report.metrics import MeanLoss
from xpnet.report.segmentation import median_frequency_weights

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (24, 1, 5, 6), dtype=np.uint8)
MASKS = (X[:, 0] // 86).astype(np.uint8)  # three shades
MASKS[RNG.random(MASKS.shape) < 0.2] = 255


def network(loss=None, **options):
    loss = SoftmaxWithLoss(ignore=255) if loss is None else loss
    return Network([Convolution(1, 3, 3, pad=1, rng=0)], loss, input_shape=(1, 5, 6), **options)


def trained(t, loss=None, **options):
    options = {"optimizer": "adam", "optimizer_param": {"lr": 0.05}} | options
    trainer = Trainer(
        network(loss), X, t, X[:7], t[:7], epochs=2, mini_batch_size=10, verbose=False, **options
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_masks_are_learned_and_measured(engine):
    trainer = trained(MASKS, engine=engine)
    assert trainer.best == ("test_mean_iou", "max")
    first, last = trainer.history
    assert list(last.values) == [
        "train_loss", "train_mean_iou", "train_pixel_accuracy", "test_mean_iou",
        "test_pixel_accuracy",
    ]  # fmt: skip
    assert last.train_loss < first.train_loss
    counts = MASKS != 255
    read = predictions(trainer.network, X, engine=engine)
    assert read.shape == MASKS.shape
    assert predictions(trainer.network, X[:0], engine=engine).shape == (0, 5, 6)
    share = np.mean(read[counts] == MASKS[counts])
    assert last["train_pixel_accuracy"] == pytest.approx(share)
    assert trainer.network.accuracy(X, MASKS) == pytest.approx(share)


def test_masks_are_the_same_in_every_form_and_engine():
    want = trained(MASKS, engine="reference").network.params.flat
    forms = [MASKS.astype(int), MASKS[:, None], np.asfortranarray(MASKS), MASKS.tolist()]
    for t in forms:
        got = trained(np.asarray(t), engine="cpu").network.params.flat
        np.testing.assert_allclose(got, want, atol=1e-5)
    for resident in (True, False):
        trainer = trained(MASKS, engine="cpu", resident=resident)
        np.testing.assert_allclose(trainer.network.params.flat, want, atol=1e-5)


def test_a_label_below_0_can_be_what_is_left_out():
    below = np.where(MASKS == 255, -1, MASKS.astype(int))
    got = trained(below, SoftmaxWithLoss(ignore=-1)).network.params.flat
    np.testing.assert_array_equal(got, trained(MASKS).network.params.flat)


def test_labels_of_samples_can_be_left_out_too():
    """Of rows, with their accuracy."""
    net = Network([Affine(30, 3, rng=0)], SoftmaxWithLoss(ignore=-1))
    t = np.arange(24) % 3
    t[::5] = -1
    trainer = Trainer(net, X, t, epochs=1, verbose=False)
    assert trainer.best == ("train_accuracy", "max")


def test_what_is_measured_knows_its_direction():
    for name in ("mean_iou", "pixel_accuracy", "mean_class_accuracy", "frequency_weighted_iou"):
        assert EarlyStopping(2, metric=f"test_{name}")._direction() == "max"


def test_a_loss_beside_the_metrics_is_of_all_places():
    weights = median_frequency_weights(MASKS, 3, ignore=255)
    loss = SoftmaxWithLoss(ignore=255, class_weights=weights)
    learner = Supervised(network(loss), source := Batches(X, MASKS, 10), metrics=[MeanLoss(loss)])
    assert learner.evaluate(source)["loss"] == pytest.approx(
        float(learner.network.loss(X, MASKS)), rel=1e-5
    )


def test_what_batches_say_of_masks():
    batches = Batches(X, MASKS, 10)
    assert (batches.target_kind, batches.classes) == ("numbers", 0)  # which only outputs tell
    batches.meet((3, 5, 6), 255)
    assert (batches.target_kind, batches.classes) == ("label maps", 3)
    (_, t), *_ = batches.epoch(0)
    assert (t.dtype, t.shape) == (np.uint8, (10, 5, 6))


WRONG = MASKS.copy()
WRONG[17, 4, 1] = 7
TOLD = r"3 outputs, or 255, which is left out, got 7 at \[17, 4, 1\]"
ENTRIES = {
    "loss": lambda t: network().loss(X, t),
    "gradient": lambda t: network().gradient(X, t),
    "accuracy": lambda t: network().accuracy(X, t, batch_size=5),
    "Trainer": trained,
    "Supervised": lambda t: Supervised(network(), Batches(X, t, 9)),
    "test": lambda t: Supervised(network(), Batches(X, MASKS, 9), Batches(X, t, 9)),
    "meet": lambda t: Batches(X, t, 9).meet((3, 5, 6), 255),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_label_without_a_class_is_told_wherever_it_enters(entry):
    with pytest.raises(ArgumentError, match=TOLD):
        ENTRIES[entry](WRONG)
    wrong = MASKS.astype(np.int16)
    wrong[2, 0, 5] = -3
    with pytest.raises(ArgumentError, match=r"0 or more, or 255, .* got -3 at \[2, 0, 5\]"):
        ENTRIES[entry](wrong)


def test_a_step_tells_it_and_so_does_evaluate():
    learner = Supervised(network(), source := Batches(X, MASKS, 24), engine="cpu")
    for step in (learner.step, lambda batch: learner.engine.loss_and_gradient(*batch)):
        with pytest.raises(ArgumentError, match=TOLD):
            step((X.astype("float32"), WRONG))
    source.t = WRONG
    with pytest.raises(ArgumentError, match=TOLD):
        learner.evaluate(source)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trained(MASKS[:, 1:]), r"integer labels of shape \(10, 5, 6\) .* \(10, 4, 6\)"),
        (lambda: trained(MASKS[:, 0, 0] % 3), r"integer labels of shape \(10, 5, 6\)"),
        (lambda: trained(MASKS / 1.0), r"labels become integers by t.astype\(int\)"),
        (lambda: trained(MASKS, augment=Augmentation(shift=1)), "would leave their label maps"),
        (lambda: trained(MASKS[1:]), "one target a sample is needed, got 24 and 23"),
        (
            lambda: trained(MASKS, SoftmaxWithLoss(0.0, 255, [1, 2])),
            "class_weights must be one number for each of 3 classes, got 2",
        ),
        (
            lambda: trained(MASKS, SoftmaxWithLoss()),
            r"got 255 at \[.*\]; where it marks what is of no class, give SoftmaxWithLoss\(ignore=",
        ),
    ],
)
def test_masks_that_do_not_fit_are_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
