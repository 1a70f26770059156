import re
import zlib
from dataclasses import replace

import numpy as np
import pytest

from xpnet.data import Dataset, load_dataset, mnist, synthetic_digits
from xpnet.data.scenes import (
    SCENES,
    Scenes,
    _free_place,
    digit_scene,
    digit_scenes,
    road_scene,
    road_scenes,
)
from xpnet.errors import ArgumentError
from xpnet.functions.boxes import iou
from xpnet.models.detections import Objects
from xpnet.models.fcn import IGNORED
from xpnet.models.proposals import proposals


def running_crc(arrays):
    found = 0
    for array in arrays:
        found = zlib.crc32(np.ascontiguousarray(array).data, found)
    return found


@pytest.fixture(scope="module")
def real(mnist_dir):
    """MNIST."""
    return load_dataset("mnist", data_dir=mnist_dir)


@pytest.fixture(scope="module")
def drawn():
    """A few drawn digits."""
    train, test = synthetic_digits(50), synthetic_digits(30, seed=2**32)
    return Dataset("synthetic", "synthetic digits, few", *train, *test)


def test_first_digit_scenes(real):
    scene = digit_scene(real.x_train, real.t_train, 0, 0)
    assert scene.boxes.tolist() == [[0, 6, 5, 19], [12, 30, 27, 48]]
    assert scene.labels.tolist() == [1, 0]
    assert scene.image.sum() == 62275
    assert (running_crc([scene.image]), running_crc([scene.mask])) == (0x5A48FCA4, 0xE082BF3D)
    scene = digit_scene(real.x_test[:, 0], real.t_test, 1, 0)
    assert scene.boxes.tolist() == [[26, 14, 37, 27]]
    assert scene.labels.tolist() == [6]
    assert scene.image.sum() == 42297
    assert (running_crc([scene.image]), running_crc([scene.mask])) == (0x545775D2, 0x17FD61FA)


def test_twenty_digit_scenes(real):
    """As a set; the test scene shows that it is made of the test images, with another seed."""
    scenes = digit_scenes(20, 1, digits=real)
    assert running_crc(scenes.x_train) == 0xBFC1E0AA
    assert running_crc(scenes.t_train) == 0x9BAF9C3B
    assert running_crc(scenes.x_test) == 0x545775D2
    assert scenes.objects_test[0].labels.tolist() == [6]
    assert scenes.digits == "mnist"
    assert scenes.source == f"20 + 1 digit scenes of {real.source}"


def test_proposals_of_all_test_scenes(real):
    """738 digits, of which 664 have a proposal at IoU 0.5, and 9.4 proposals a scene."""
    scenes = digit_scenes(0, 300, digits=real)
    proposed = proposals(scenes.x_test)
    pairs = list(zip(proposed, scenes.objects_test, strict=True))
    best = np.concatenate([iou(boxes, own.boxes).max(axis=0, initial=0) for boxes, own in pairs])
    assert (len(best), np.sum(best >= 0.5)) == (738, 664)
    assert f"{np.mean([len(boxes) for boxes in proposed]):.1f}" == "9.4"


def test_twenty_places_are_tried():
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    assert _free_place(rng, (9, 8), 12, [(0, 0, 12, 12)]) is None
    for _ in range(20):
        other.integers(0, 4)
        other.integers(0, 5)
    assert rng.integers(2**40) == other.integers(2**40)


def test_boxes_may_share_a_tenth():
    rng = np.random.default_rng(0)
    assert _free_place(rng, (10, 10), 10, [(0, 0, 10, 100)]) == (0, 0, 10, 10)
    assert _free_place(rng, (10, 10), 10, [(0, 0, 10, 99)]) is None


@pytest.mark.parametrize(
    ("i", "total", "crcs", "counts"),
    [
        (0, 1058999, (0xB70D41C1, 0x82BA8ABB), [740, 1239, 649, 233, 0, 211]),
        (1, 1134476, (0x7055A3A4, 0xCF3D8E50), [563, 1196, 578, 307, 136, 292]),
    ],
)
def test_first_road_scenes(i, total, crcs, counts):
    image, labels = road_scene(0, i)
    assert (image.shape, labels.shape) == ((48, 64, 3), (48, 64))
    assert image.dtype == labels.dtype == np.uint8
    assert image.sum() == total
    assert (running_crc([image]), running_crc([labels])) == crcs
    assert np.bincount(labels.ravel(), minlength=6).tolist() == counts


def test_twenty_road_scenes():
    """As a set, whose pictures have their channels first."""
    scenes = road_scenes(20, 1)
    assert scenes.x_train.shape == (20, 3, 48, 64)
    assert running_crc(scenes.x_train.transpose(0, 2, 3, 1)) == 0xBE46E329
    assert running_crc(scenes.t_train) == 0x0F45CA66
    np.testing.assert_array_equal(scenes.x_test[0].transpose(1, 2, 0), road_scene(1, 0).image)


@pytest.mark.slow
def test_shares_of_classes():
    shares = np.bincount(road_scenes(60, 0).t_train.ravel()) / (60 * 48 * 64)
    np.testing.assert_allclose(shares, [0.189, 0.372, 0.275, 0.094, 0.032, 0.038], atol=5e-4)


@pytest.mark.parametrize("size", [30, 47, 64, 100])
def test_objects_lie_in_the_picture_and_apart(drawn, size):
    scenes = digit_scenes(20, 0, size=size, digits=drawn)
    assert scenes.x_train.shape == (20, 1, size, size)
    for (boxes, labels), mask in zip(scenes.objects_train, scenes.t_train, strict=True):
        assert boxes.shape == (len(labels), 4)
        assert set(np.unique(mask)) <= {0, IGNORED, *(labels + 1)}
        inside = np.zeros((size, size), dtype=bool)
        for x1, y1, x2, y2 in boxes.astype(int):
            assert 0 <= x1 < x2 <= size
            assert 0 <= y1 < y2 <= size
            assert y2 - y1 <= 30
            inside[y1:y2, x1:x2] = True
        assert not np.any(mask[~inside])


def test_digits_that_never_show_make_a_scene_without_objects():
    """So dark that there is nothing to put a box around."""
    scene = digit_scene(np.full((3, 28, 28), 20, np.uint8), np.arange(3), 0, 0)
    assert scene.boxes.shape == (0, 4)
    assert scene.labels.shape == (0,)
    assert not scene.mask.any()
    assert scene.objects.labels.dtype == np.int64


def test_a_scene_does_not_depend_on_others(drawn):
    few, many = digit_scenes(2, 1, digits=drawn), digit_scenes(4, 3, digits=drawn)
    np.testing.assert_array_equal(few.x_train, many.x_train[:2])
    np.testing.assert_array_equal(few.t_test, many.t_test[:1])


def test_synthetic_digits_serve_where_there_is_no_mnist(tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path)
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)
    monkeypatch.setattr("xpnet.data.dataset.synthetic_digits", lambda n, **_: synthetic_digits(40))
    scenes = digit_scenes(1, 1)
    assert scenes.digits == "synthetic"
    assert scenes.source.startswith("1 + 1 digit scenes of synthetic digits, seed 0, instead of")


def test_the_checksum_tells_pictures_masks_and_objects_apart(drawn):
    scenes = digit_scenes(3, 2, digits=drawn)
    assert scenes.checksum() == digit_scenes(3, 2, digits=drawn).checksum()
    boxes, labels = scenes.objects_test[1]
    others = (
        replace(scenes, x_test=scenes.x_test ^ 1),
        replace(scenes, t_train=scenes.t_train ^ 1),
        replace(scenes, objects_test=(scenes.objects_test[0], Objects(boxes + 1, labels))),
        replace(scenes, objects_train=(), objects_test=()),
    )
    assert len({scenes.checksum(), *(other.checksum() for other in others)}) == 5


def test_sets_by_name(drawn):
    found = {name: make(1, 0) for name, make in SCENES.items() if name != "digit-scenes"}
    found["digit-scenes"] = digit_scenes(1, 0, digits=drawn)
    for name, scenes in found.items():
        assert isinstance(scenes, Scenes)
        assert scenes.name == name
        assert scenes.t_train.max(initial=0, where=scenes.t_train < IGNORED) < len(scenes.classes)
        assert len(scenes.x_test) == len(scenes.t_test) == 0
    assert repr(found["road-scenes"]) == "<Scenes road-scenes: 1 training and 0 test pictures>"


IMAGES, LABELS = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        (IMAGES.astype(np.float32), LABELS, "(2, 28, 28) float32; load_dataset has such"),
        (IMAGES[:, 1:], LABELS, "got (2, 27, 28) uint8"),
        (IMAGES[0], LABELS, "got (28, 28) uint8"),
        (IMAGES[:0], LABELS[:0], "at least one image of a digit is needed, got none"),
        (IMAGES, LABELS[:1], "one for each of 2 images, got (1,) uint8"),
        (IMAGES, LABELS.astype(float), "got (2,) float64"),
        (IMAGES, [0, 254], "labels are from 0 to 253, got 0 to 254"),
        (IMAGES, [-1, 0], "labels are from 0 to 253, got -1 to 0"),
    ],
)
def test_what_is_no_digit(images, labels, text):
    with pytest.raises(ArgumentError, match=re.escape(text)):
        digit_scene(images, labels, 0, 0)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: digit_scene(IMAGES, LABELS, 0, 0, 29), "has at least 30 pixels a side"),
        (lambda: digit_scene(IMAGES, LABELS, -1, 0), "seed of digit_scene must be"),
        (lambda: digit_scene(IMAGES, LABELS, 0, -1), "scenes are numbered from 0 on, got -1"),
        (lambda: road_scene(0, -1), "scenes are numbered from 0 on, got -1"),
        (lambda: road_scene(0.5, 0), "seed of road_scene must be"),
        (lambda: road_scenes(-1), "train_size must be a whole number from 0, got -1"),
        (lambda: digit_scenes(1, -2), "test_size must be a whole number from 0, got -2"),
        (lambda: digit_scenes(1, 1, digits=IMAGES), "digits of digit_scenes must be a Dataset"),
    ],
)
def test_bad_arguments(call, text):
    with pytest.raises(ArgumentError, match=text):
        call()


def test_only_ten_digits(drawn):
    letters = replace(drawn, t_train=drawn.t_train + 5)
    with pytest.raises(ArgumentError, match="digits are labelled 0 to 9, got 14"):
        digit_scenes(1, 1, digits=letters)
