import re

import numpy as np
import pytest

from xpnet import Network, load_network
from xpnet.data import Dataset, synthetic_digits
from xpnet.data.crops import crops_of
from xpnet.data.scenes import digit_scenes, road_scenes
from xpnet.errors import ArgumentError
from xpnet.functions.boxes import iou
from xpnet.models.detections import Detections, Objects
from xpnet.models.proposals import proposals
from xpnet.models.rcnn import RCNN, crops, training_crops


@pytest.fixture(scope="module")
def scenes():
    """A few scenes of drawn digits."""
    train, test = synthetic_digits(50), synthetic_digits(30, seed=2**32)
    return digit_scenes(6, 4, digits=Dataset("synthetic", "few", *train, *test))


def warped(picture, box):
    """A crop by its formulas, one pixel after the other."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    x1, y1, w, h = x1 - w / 12, y1 - h / 12, w * 7 / 6, h * 7 / 6

    def pixel(r, c):
        inside = 0 <= r < picture.shape[0] and 0 <= c < picture.shape[1]
        return picture[r, c] / 255 if inside else 0.0

    found = np.zeros((28, 28))
    for i, j in np.ndindex(28, 28):
        v, u = y1 + (i + 0.5) / 28 * h - 0.5, x1 + (j + 0.5) / 28 * w - 0.5
        r, c = int(np.floor(v)), int(np.floor(u))
        b, a = v - r, u - c
        top = pixel(r, c) * (1 - a) + pixel(r, c + 1) * a
        found[i, j] = top * (1 - b) + (pixel(r + 1, c) * (1 - a) + pixel(r + 1, c + 1) * a) * b
    return found


@pytest.mark.parametrize(
    "box", [(3, 5, 20, 31), (0, 0, 6, 40), (50, 30, 57, 41), (2.5, 1, 3, 30.2)]
)
def test_crops_are_their_formulas(box):
    """Within a picture, and where the context reaches beyond its edges."""
    pictures = np.random.default_rng(0).integers(0, 256, (3, 41, 57)).astype(np.uint8)
    found = crops(pictures, np.array([[1.0, *box]]), "float64")
    np.testing.assert_allclose(found[0, 0], warped(pictures[1], box), atol=1e-12)
    floats = crops(pictures / 255, np.array([[1.0, *box]]), "float64")
    np.testing.assert_allclose(floats, found, atol=1e-12)


def test_crops_of_boxes_at_a_time_do_not_matter(scenes, monkeypatch):
    images, objects = scenes.x_train, scenes.objects_train
    x, t = training_crops(images, objects)
    monkeypatch.setattr("xpnet.models.rcnn.AT_A_TIME", 7)
    again, labels = training_crops(images, objects)
    np.testing.assert_allclose(again, x, atol=1e-6)
    np.testing.assert_array_equal(labels, t)


def test_what_crops_show(scenes):
    """By the rule, one proposal after the other."""
    images, objects = scenes.x_train, scenes.objects_train
    x, t = training_crops(images, objects)
    want = []
    for boxes, (real, labels) in zip(proposals(images), objects, strict=True):
        for box in boxes:
            shared = iou(box[np.newaxis], real)[0]
            if shared.max() >= 0.5:
                want.append(labels[shared.argmax()] + 1)
            elif shared.max() < 0.3:
                want.append(0)
        want += list(labels + 1)
    assert t.tolist() == want
    assert 0 < t.tolist().count(0) < len(t)
    assert x.shape == (len(t), 1, 28, 28)
    assert x.dtype == np.float32


def test_scenes_without_objects_are_all_background(scenes):
    none = [Objects(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))] * 6
    x, t = training_crops(scenes.x_train, none)
    assert len(x) == len(t) == sum(map(len, proposals(scenes.x_train)))
    assert not t.any()
    x, t = training_crops(np.zeros((2, 1, 64, 64), np.uint8), none[:2])
    assert (x.shape, t.shape) == ((0, 1, 28, 28), (0,))


def test_the_best_class_by_far_alone_is_found(scenes, monkeypatch):
    """With scores that a proposal's own number decides, so that choices can be told by hand."""
    network = RCNN(rng=0)
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 10, 5], [30, 30, 40, 40.0]])
    monkeypatch.setattr("xpnet.models.rcnn.proposals", lambda pictures: [boxes, boxes[:0]])
    shares = np.full((4, 11), 1e-9)
    shares[:, 3] = 0.6, 0.7, 0.3, 0.04
    shares[2, 5] = 0.2
    shares[:, 0] = 1 - shares[:, 1:].sum(axis=1)

    class Known:
        def predict(self, x):
            return np.log(shares)

    pair = np.zeros((2, 1, 64, 64), np.uint8)
    first, second = network.detect(pair, overlap=0.3, computing={"network": Known()})
    np.testing.assert_array_equal(first.boxes, boxes[[1, 2]])
    np.testing.assert_allclose(first.scores, [0.7, 0.2])
    assert first.labels.tolist() == [2, 4]
    assert [each.shape for each in second] == [(0, 4), (0,), (0,)]
    first, _ = network.detect(pair, overlap=0.7, most=2, computing={"network": Known()})
    np.testing.assert_array_equal(first.boxes, boxes[[1, 0]])
    first, _ = network.detect(pair, score=0.01, computing={"network": Known()})
    assert first.labels.tolist() == [2, 4, 2]
    first, _ = network.detect(pair, score=1.0, computing={"network": Known()})
    assert not len(first.labels)


def test_it_is_the_modern_lenet_and_comes_back_from_a_file(scenes, tmp_path):
    network = RCNN(rng=0)
    assert network.params.count == 61791
    assert network.classes == 10
    network.save_params(tmp_path / "r-cnn.safetensors")
    again = load_network(tmp_path / "r-cnn.safetensors")
    assert type(again) is RCNN
    found, want = again.detect(scenes.x_test), network.detect(scenes.x_test / np.float32(255))
    assert len(found) == 4
    for a, b in zip(found, want, strict=True):
        assert isinstance(a, Detections)
        assert np.all(np.diff(a.scores) <= 0)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-5)


def test_boxes_of_ones_own_are_read_instead_of_proposals(scenes):
    network = RCNN(rng=0)
    proposed = proposals(scenes.x_test)
    want = network.detect(scenes.x_test)
    for a, b in zip(network.detect(scenes.x_test, boxes=proposed), want, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.scores, b.scores)
    true = [each.boxes for each in scenes.objects_test]
    for found, boxes in zip(network.detect(scenes.x_test, boxes=true), true, strict=True):
        assert {*map(tuple, found.boxes)} <= {*map(tuple, boxes)}
        assert len(found.labels)
    nothing = network.detect(scenes.x_test, boxes=[[]] * 4)
    assert [len(each.labels) for each in nothing] == [0] * 4


def test_no_pictures():
    assert RCNN(rng=0).detect(np.zeros((0, 1, 64, 64), np.uint8)) == []


def test_crops_are_a_data_set(scenes):
    found = crops_of(scenes)
    x, t = training_crops(scenes.x_test, scenes.objects_test)
    np.testing.assert_array_equal(found.x_test, x)
    np.testing.assert_array_equal(found.t_test, t)
    assert found.name == "digit-scenes"
    assert found.checksum() == scenes.checksum()
    assert repr(found).startswith("<Crops of digit-scenes: ")
    with pytest.raises(ArgumentError, match="scenes with objects, such as digit-scenes, got <Sce"):
        crops_of(road_scenes(1, 1))


ONE = np.zeros((1, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda net: net.detect(np.zeros((1, 3, 8, 8), np.uint8)), "grey pictures are"),
        (lambda net: net.detect(ONE, score=1.5), "score and overlap from 0 to 1"),
        (lambda net: net.detect(ONE, overlap=2), "score and overlap from 0 to 1"),
        (lambda net: net.detect(ONE, boxes=[None]), "boxes are a list, with (n, 4) for each"),
        (lambda net: net.detect(ONE, most=0), "most of at least 1"),
        (lambda net: net.detect(np.zeros((1, 8, 8), np.uint8), boxes=[]), "each of 1 pictures"),
        (
            lambda net: net.detect(np.zeros((1, 8, 8), np.uint8), boxes=[[[0, 0, 9, 8]]]),
            "8 x 8, got",
        ),
        (lambda net: RCNN(classes=0), "at least one class of objects, got classes=0"),
        (lambda net: RCNN(input_shape=(3, 64, 64)), "reads grey pictures"),
        (lambda net: training_crops(ONE, []), "each of 1 pictures"),
    ],
)
def test_bad_input(call, text):
    with pytest.raises(ArgumentError, match=re.escape(text)):
        call(RCNN(rng=0))


def test_noise_with_too_many_proposals_is_refused(monkeypatch):
    noise = (200 * (np.random.default_rng(0).random((1, 1, 64, 64)) < 0.25)).astype(np.uint8)
    (boxes,) = proposals(noise)
    monkeypatch.setattr("xpnet.models.rcnn.MOST", len(boxes))
    assert len(RCNN(rng=0).detect(noise)) == 1
    monkeypatch.setattr("xpnet.models.rcnn.MOST", len(boxes) - 1)
    text = f"at most {len(boxes) - 1} boxes of a picture are looked at, and there are {len(boxes)}"
    with pytest.raises(ArgumentError, match=text):
        RCNN(rng=0).detect(noise)


def test_scores_that_are_no_numbers_are_told(scenes):
    network: Network = RCNN(rng=0)
    network.params["output.b"][...] = np.nan
    with pytest.raises(ArgumentError, match="scores of proposals must be finite"):
        network.detect(scenes.x_test)
