"""What a Faster R-CNN learns from, its gradients, and its training."""

from pathlib import Path

import numpy as np
import pytest

from xpnet import SGD, Adam, FasterRCNN, Trainer, to_numpy
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError, DivergedError
from xpnet.functions.boxes import decode, iou
from xpnet.models.detections import Objects
from xpnet.models.faster_rcnn import WEIGHTS
from xpnet.report.detection import DetectionScores
from xpnet.train.detection import Detection, objects_in, objects_table
from xpnet.train.joined import draws_of, joined, of_anchors, of_boxes

SHAPE, SIZES = (1, 24, 32), (6.0, 9.0)
SCRIPTS = Path(__file__).parents[2] / "scripts"


def make(rng=0, **options):
    """A detector of three classes for small pictures, whose boxes do not all begin alike."""
    options = {"input_shape": SHAPE, "classes": 3, "sizes": SIZES, "rng": rng} | options
    detector = FasterRCNN(**options)
    for network in detector.networks.values():
        for name, array in network.params.items():
            if "heads" in name or "affine" in name:
                drawn = np.random.default_rng(len(name)).standard_normal(array.shape)
                array[...] += detector.device.asarray(0.05 * drawn, dtype=detector.dtype)
    return detector


def scenes(n=6, seed=0):
    """Pictures with one light box in each, whose class its shape tells, but for the first."""
    rng = np.random.default_rng(seed)
    x, objects = np.zeros((n, *SHAPE), dtype=np.uint8), []
    for k in range(n):
        label = k % 3
        h, w = ((7, 7), (12, 6), (6, 10))[label]
        top, left = rng.integers(0, 24 - h), rng.integers(0, 32 - w)
        there = k > 0
        x[k, 0, top : top + h, left : left + w] = 200 * there
        box = [[left, top, left + w, top + h]] * there
        objects.append(Objects(np.array(box, float).reshape(-1, 4), np.array([label] * there, int)))
    x += rng.integers(0, 40, x.shape, dtype=np.uint8)
    return x, objects


def batch(detector, n=3, seed=0):
    """Pictures, objects and draws on the detector's device."""
    x, objects = scenes(n, seed)
    t = objects_table(objects, detector.dtype)
    t = np.concatenate([t, np.full_like(t, -1)], axis=1)
    t[-1, 1] = [20, 2, 31, 20, 1]
    draws = np.random.default_rng(seed).random(draws_of(detector, t))
    x = detector.networks["rpn"].place(x)
    return x, detector.device.asarray(t), detector.device.asarray(draws)


# What is learned from


def test_anchors_are_matched_and_drawn(device):
    detector = make(device=device)
    _, objects, draws = batch(detector)
    count = detector.anchors.shape[0]
    drawn, holding, deltas = map(to_numpy, of_anchors(detector, objects, draws[:, :count]))
    assert not holding[0].any()  # where there is nothing
    np.testing.assert_array_equal(drawn.sum(axis=1), [32, 32, 32])
    assert np.all(holding <= drawn)
    anchors, objects = to_numpy(detector.anchors), to_numpy(objects)
    for k in (1, 2):
        real = objects[k][objects[k, :, 4] >= 0][:, :4]
        overlaps = iou(anchors, real)
        assert 1 <= holding[k].sum() <= 16
        best = (overlaps == overlaps.max(axis=0)).any(axis=1)
        could = (overlaps.max(axis=1) >= 0.6) | best
        assert np.all(could[holding[k]])
        assert holding[k].sum() == min(16, could.sum())
        assert np.all(overlaps.max(axis=1)[drawn[k] & ~holding[k]] < 0.3)
        np.testing.assert_allclose(
            decode(deltas[k][holding[k]], anchors[holding[k]]),
            real[overlaps.argmax(axis=1)[holding[k]]],
            atol=1e-4,
        )


def test_boxes_are_drawn_from_proposals_and_true_boxes(device):
    detector = make(device=device)
    _, objects, draws = batch(detector)
    rng = np.random.default_rng(3)
    n, count = 3, detector.anchors.shape[0]
    corner = rng.uniform(0, 12, (n, 16, 2))
    proposed = np.concatenate([corner, corner + rng.uniform(3, 12, (n, 16, 2))], axis=2)
    proposed[1, :3] = to_numpy(objects)[1, 0, :4] + rng.uniform(-0.5, 0.5, (3, 4))
    valid = np.ones((n, 16), dtype=bool)
    valid[2, 4:] = False
    found = of_boxes(
        detector,
        detector.device.asarray(proposed, dtype="float32"),
        detector.device.asarray(valid),
        objects,
        draws[:, count:],
    )
    boxes, there, filled, classes, deltas = map(to_numpy, found)
    assert boxes.shape == (n, 16, 4)
    assert there.sum(axis=1)[2] <= 4 + 2
    assert not filled[0].any()
    assert np.all(classes[~filled] == 0)
    objects = to_numpy(objects)
    for k in range(n):
        real = objects[k][objects[k, :, 4] >= 0]
        among = np.concatenate([proposed[k][valid[k]], real[:, :4]])
        for box in boxes[k][there[k]]:
            assert np.abs(among - box).max(axis=1).min() < 1e-4
        if not len(real):
            continue
        overlaps = iou(boxes[k], real[:, :4])
        np.testing.assert_array_equal(filled[k], there[k] & (overlaps.max(axis=1) >= 0.5))
        own = overlaps.argmax(axis=1)[filled[k]]
        np.testing.assert_array_equal(classes[k][filled[k]], real[own, 4] + 1)
        np.testing.assert_allclose(
            decode(deltas[k], boxes[k], WEIGHTS)[filled[k]], real[own, :4], atol=1e-3
        )
    assert filled.sum() >= 3  # true boxes at least


def test_at_most_half_of_the_boxes_hold_an_object():
    detector = make()
    _, objects, draws = batch(detector)
    count = detector.anchors.shape[0]
    proposed = np.repeat(objects[1:2, :1, :4], 16, axis=1)
    found = of_boxes(detector, proposed, np.ones((1, 16), bool), objects[1:2], draws[1:2, count:])
    assert found.filled.sum() == found.there.sum() == 8


# Gradients


@pytest.mark.parametrize("engine", ["reference", pytest.param("cpu", marks=pytest.mark.slow)])
def test_gradients_are_the_losses_slopes(engine):
    """Along random directions, in float64, with the boxes as they are: no gradient goes there."""
    detector = make(dtype="float64")
    x, objects, draws = batch(detector)
    computing = {name: get_engine(net, engine) for name, net in detector.networks.items()}
    outputs = detector.networks["rpn"].forward(x, train=True)[0]
    proposals = detector.propose(*detector.by_anchor(outputs))
    count = detector.anchors.shape[0]
    boxes = of_boxes(detector, *proposals, objects, draws[:, count:])

    def loss():
        return float(joined(detector, computing, x, objects, draws, boxes)[0]["loss"])

    grads = {
        name: {key: array.copy() for key, array in own.items()}
        for name, own in joined(detector, computing, x, objects, draws, boxes)[1].items()
    }
    # So small a step meets no kink of a ReLU, of which conv2's weights have one 3e-7 away.
    rng, h = np.random.default_rng(0), 2e-8
    for name, network in detector.networks.items():
        assert grads[name].keys() == network.params.keys()
        for only in ("W", ""):  # and those of norms and biases, which are few
            direction = {
                key: rng.standard_normal(p.shape) * key.endswith(only)
                for key, p in network.params.items()
            }
            slopes = []
            for sign in (1, -1):
                for key, p in network.params.items():
                    p += sign * h * direction[key]
                slopes.append(sign * loss() / (2 * h))
                for key, p in network.params.items():
                    p -= sign * h * direction[key]
            want = sum(float(np.sum(grads[name][key] * d)) for key, d in direction.items())
            assert sum(slopes) == pytest.approx(want, rel=1e-6, abs=1e-6), (name, only)


@pytest.mark.slow
def test_losses_and_gradients_are_those_of_torch(monkeypatch):
    """Whose autograd knows nothing of the formulas here."""
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(SCRIPTS)
    from _torch_detector import TorchDetector

    detector = make(dtype="float64")
    twin = TorchDetector(detector)
    x, objects, draws = batch(detector)
    losses, grads = joined(detector, detector.networks, x, objects, draws)
    theirs = twin.losses(*map(torch.from_numpy, (x, objects, draws)))
    theirs["loss"].backward()
    assert list(losses) == ["loss", "rpn_objectness", "rpn_boxes", "class", "boxes"]
    for name, loss in losses.items():
        assert float(loss) == pytest.approx(theirs[name].item(), rel=1e-12), name
    for name, own in grads.items():
        for key, grad in own.items():
            want = twin.params[f"{name}.{key}"].grad.numpy()
            np.testing.assert_allclose(
                grad, want, atol=1e-12 * np.abs(want).max(), err_msg=f"{name}.{key}"
            )


def test_a_step_on_every_library_is_the_same(device):
    """Float64, so that no draw falls otherwise."""
    want, got = (
        joined(made, made.networks, *batch(made))
        for made in (make(dtype="float64"), make(dtype="float64", device=device))
    )
    for name, loss in want[0].items():
        assert float(got[0][name]) == pytest.approx(float(loss), rel=1e-10), name
    for name, own in want[1].items():
        for key, grad in own.items():
            np.testing.assert_allclose(to_numpy(got[1][name][key]), grad, atol=1e-9, err_msg=key)


def test_a_batch_without_objects_teaches_that_there_is_nothing():
    detector = make()
    x, objects, draws = batch(detector)
    losses, grads = joined(detector, detector.networks, x[:1], objects[:1], draws[:1])
    assert float(losses["rpn_boxes"]) == float(losses["boxes"]) == 0
    assert all(float(losses[name]) > 0 for name in ("rpn_objectness", "class"))
    assert all(np.isfinite(g).all() for own in grads.values() for g in own.values())
    assert not grads["head"]["heads.deltas.W"].any()


# Training


def trainer(epochs=3, seed=0, detector=None, **options):
    x, objects = scenes(7)
    learner = Detection(
        make(seed) if detector is None else detector, x, objects, x, objects,
        **({"batch_size": 3, "seed": seed, "threads": 1} | options),
    )  # fmt: skip
    return Trainer.of(learner, epochs, verbose=False)


def test_a_step_reads_nothing_back(strict_device, unread):
    learner = Detection(make(device=strict_device), *scenes(4), batch_size=2)
    made = Trainer.of(learner, verbose=False)
    batches = learner.source.epoch(0)
    before = to_numpy(learner.networks["head"].params.flat).copy()
    made.train_step(*next(batches))
    with unread():
        made.train_step(*next(batches))
    after = to_numpy(learner.networks["head"].params.flat)
    assert np.isfinite(after).all()
    assert np.any(after != before)


@pytest.mark.slow
def test_objects_are_learned():
    made = trainer(epochs=60, optimizer=Adam(0.005))
    first, *_, last = made.train()
    assert last.train_loss < 0.3 * first.train_loss
    assert last["test_map50"] > 0.9
    assert last["test_proposal_recall50"] == 1
    assert made.best == ("test_map50", "max")
    found = made.learner.detector.detect(scenes(7)[0], score=0.3)
    assert not len(found[0].labels)  # where there is nothing
    names = [f"train_{name}" for name in made.learner.losses]
    names += ["test_map50", "test_recall50", "test_proposal_recall50"]
    assert set(last.values) == set(names)


def test_what_is_measured_is_what_is_detected():
    made = trainer(epochs=2)
    made.train()
    (x, objects), detector = scenes(7), made.learner.detector
    scores = DetectionScores(3)
    scores.update(detector.detect(x), objects)
    found = made.learner.evaluate(made.learner.sets["test"])
    assert found["map50"] == pytest.approx(scores.mean_average_precision())
    assert found["recall50"] == scores.recall()
    near = [
        iou(boxes, own.boxes.astype(boxes.dtype)).max(axis=0) >= 0.5
        for boxes, own in zip(detector.proposed(x), objects, strict=True)
        if len(own.labels)
    ]
    assert found["proposal_recall50"] == pytest.approx(np.concatenate(near).mean())


@pytest.mark.parametrize("steps", [4, pytest.param(6, marks=pytest.mark.slow)])
def test_a_run_goes_on_bit_for_bit(steps):
    """From within an epoch and from its end, in a trainer of another beginning."""
    whole, first = trainer(epochs=3), trainer(epochs=3)
    whole.train()

    class StopError(Exception):
        pass

    def stop():
        if first.steps == steps:
            raise StopError

    first.on_step = stop
    with pytest.raises(StopError):
        first.train()
    second = trainer(epochs=3, detector=make(7))
    second.restore(first.state())
    second.train()
    for name, array in whole.learned().items():
        np.testing.assert_array_equal(second.learned()[name], array, err_msg=name)
    assert [m.values for m in second.history] == [m.values for m in whole.history]
    assert trainer(seed=1).train()[0].train_loss != whole.history[0].train_loss


@pytest.mark.parametrize("engine", ["cpu", pytest.param("reference", marks=pytest.mark.slow)])
def test_what_is_frozen_stays(engine):
    """Of the first network a part, and all of the second, whose gradient still goes through it."""
    detector = make()
    detector.networks["rpn"].freeze("conv1", "norm1", "conv2")
    detector.networks["head"].freeze()
    trainer(epochs=1, detector=detector, batch_size=1, engine=engine).train()
    frozen = {"conv1.W", "norm1.gamma", "norm1.beta", "conv2.W"} | set(
        detector.networks["head"].params
    )
    for name, fresh in make().networks.items():
        for key, array in detector.networks[name].params.items():
            assert np.array_equal(array, fresh.params[key]) == (key in frozen), key


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_training_repeats_bit_for_bit(threads):
    one, other = (trainer(epochs=2, threads=threads) for _ in range(2))
    one.train()
    other.train()
    for name, array in one.learned().items():
        np.testing.assert_array_equal(other.learned()[name], array, err_msg=name)


def test_rates_follow_the_schedule_in_both_networks():
    rates = []
    made = trainer(epochs=1, schedule=lambda step: 0.001 * (step + 1))
    made.on_step = lambda: rates.append([o.lr for o in made.learner.optimizers.values()])
    made.train()
    np.testing.assert_allclose(rates, [[0.001] * 2, [0.002] * 2, [0.003] * 2])


def test_what_is_no_number_ends_the_training():
    """And the step is undone."""
    made = trainer(optimizer=SGD(0.01))
    made.learner.networks["head"].params["affine.W"][3, 5] = np.nan
    before = {name: to_numpy(a).copy() for name, a in made.learned().items()}
    with pytest.raises(DivergedError, match=r"the loss of step 1 .* is nan; .* head\.affine\.W"):
        made.train()
    for name, array in made.learned().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's
def test_outputs_that_run_over_end_the_training():
    """Of the running statistics, which training itself does not meet."""
    made = trainer(epochs=2, optimizer=SGD(1e3))
    with pytest.raises(DivergedError, match=r"networks put out are not finite.* than 1000"):
        made.train()


def test_no_objects_at_all_are_learned_from():
    x, _ = scenes(4)
    none = [Objects(np.zeros((0, 4)), np.zeros(0, int))] * 4
    made = Trainer.of(Detection(make(), x, none, batch_size=3), 2, verbose=False)
    first, last = made.train()
    assert last["train_class"] < first["train_class"]
    assert last["train_boxes"] == 0


def test_objects_come_back_from_their_table():
    _, objects = scenes(5)
    for one, other in zip(objects_in(objects_table(objects, "float32")), objects, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert objects_table(objects[:1], "float64").tolist() == [[[0, 0, 0, 0, -1]]]


def _with(k, **change):
    x, objects = scenes(4)
    objects[k] = objects[k]._replace(**change)
    return x, objects


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_with(1, boxes=np.array([[2.0, 3, 40, 9]])), "within the picture of 24 x 32, got .2.0, 3"),
        (_with(1, boxes=np.array([[2.0, 3, 2, 9]])), "x1 < x2 and y1 < y2"),
        (_with(2, labels=np.array([3])), "whole numbers from 0 to 2, got .3. in picture 2"),
        (_with(2, labels=np.array([1, 1])), "picture 2 needs boxes"),
        ((scenes(4)[0], scenes(5)[1]), "each of 4 pictures, got those of 5"),
        ((scenes(4)[0][..., :16], scenes(4)[1]), r"pictures \(N, 1, 24, 32\) are needed"),
        ((*scenes(4), scenes(4)[0]), "a test set needs x_test and objects_test"),
        ((*scenes(4), scenes(4)[0], [None] * 4), "objects are a list with boxes"),
        ((*scenes(4), scenes(1)[0], scenes(1)[1]), "needs at least one object to be measured on"),
    ],
)
def test_data_are_checked(data, message):
    with pytest.raises(ArgumentError, match=message):
        Detection(make(), *data)


def test_what_is_measured_must_be_there():
    data = (*scenes(4), *scenes(4))  # the first picture has no objects
    for count, message in ((1, "at least one object to be measured on"), (0, "at least one pict")):
        with pytest.raises(ArgumentError, match=message):
            Detection(make(), *data, evaluate_samples=count)
    assert Detection(make(), *data, evaluate_samples=2).evaluate_samples == 2


def test_an_optimizer_is_needed():
    with pytest.raises(ArgumentError, match="an instance of Optimizer"):
        Detection(make(), *scenes(4), optimizer="adam")
