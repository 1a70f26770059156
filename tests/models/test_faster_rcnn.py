"""Faster R-CNN: its two networks, its proposals, and what it makes of pictures."""

import numpy as np
import pytest

from xpnet import to_numpy
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.models.faster_rcnn import FasterRCNN

RNG = np.random.default_rng(0)


def small(**options):
    """A detector for pictures of 16 x 24, with weights of another seed for all that is new."""
    detector = FasterRCNN(**{"input_shape": (1, 16, 24), "classes": 3, "rng": 0} | options)
    for network in detector.networks.values():
        for name, array in network.params.items():
            drawn = np.random.default_rng(len(name)).standard_normal(array.shape)
            if "conv" not in name.partition(".")[0] and "gamma" not in name:
                array[...] = detector.device.asarray(0.1 * drawn, dtype=detector.dtype)
    return detector


def test_the_parameters_are_counted():
    detector = FasterRCNN(rng=0)
    assert detector.count == 343_133
    assert [network.params.count for network in detector.networks.values()] == [136_270, 206_863]
    assert detector.anchors.shape == (16 * 16 * 6, 4)
    shapes = detector.networks["rpn"].output_shape
    assert shapes == {
        "features": (64, 16, 16),
        "rpn.objectness": (6, 16, 16),
        "rpn.deltas": (24, 16, 16),
    }


def test_initial_weights_are_as_said():
    detector = FasterRCNN(rng=3)
    for network in detector.networks.values():
        for name, array in network.params.items():
            if name.endswith("W"):
                he = np.sqrt(2 / np.prod(array.shape[1:]))
                std = he if name.startswith("conv") else 0.01
                assert np.std(array) == pytest.approx(std, rel=0.15), name
            else:
                assert np.all(array == (1 if name.endswith("gamma") else 0)), name
    again = FasterRCNN(rng=3)
    for name, network in detector.networks.items():
        np.testing.assert_array_equal(again.networks[name].params.flat, network.params.flat)


def test_maps_and_anchors_are_each_others_way_back(device):
    detector = small(device=device)
    z, d = (RNG.standard_normal((2, 6 * k, 4, 6)).astype("float32") for k in (1, 4))
    maps = {"rpn.objectness": device.asarray(z), "rpn.deltas": device.asarray(d)}
    by_anchor = detector.by_anchor(maps)
    objectness, deltas = map(to_numpy, by_anchor)
    place, kind = (2 * 6 + 5) * 6, 4  # row 2, column 5; ratio 2.5, size 14
    np.testing.assert_array_equal(objectness[:, place + kind], z[:, kind, 2, 5])
    np.testing.assert_array_equal(deltas[:, place + kind], d[:, 16:20, 2, 5])
    w, h = np.ptp(to_numpy(detector.anchors)[place + kind].reshape(2, 2), axis=0)
    assert (w * h, h / w) == pytest.approx((14**2, 2.5), rel=1e-5)
    for name, array in detector.by_place(*by_anchor).items():
        np.testing.assert_array_equal(to_numpy(array), to_numpy(maps[name]))


def test_proposals_are_the_best_boxes_within_the_picture(device):
    """Step by step against NumPy's own lines."""
    detector = small(device=device, candidates=20, proposals=6)
    n, count = 2, detector.anchors.shape[0]
    z = RNG.standard_normal((n, count)).astype("float32")
    d = 0.3 * RNG.standard_normal((n, count, 4)).astype("float32")
    boxes, valid = map(to_numpy, detector.propose(device.asarray(z), device.asarray(d)))
    assert boxes.shape == (n, 6, 4)
    anchors = to_numpy(detector.anchors).astype("float64")
    for k in range(n):
        found = []
        for place in np.argsort(-z[k], kind="stable")[:20]:
            a, t = anchors[place], d[k, place].astype("float64")
            size = a[2:] - a[:2]
            centre, half = (a[:2] + a[2:]) / 2 + t[:2] * size, size * np.exp(t[2:]) / 2
            box = np.clip(np.r_[centre - half, centre + half], 0, [24, 16, 24, 16])
            if all(overlap(box, other) <= 0.7 for other in found):
                found.append(box)
        found = np.array([box for box in found[:6] if np.all(box[2:] > box[:2])])
        np.testing.assert_allclose(boxes[k][valid[k]], found, atol=1e-4)


def overlap(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = np.prod(np.maximum(sides, 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    return shared / union if union else 0.0


def test_what_lies_outside_is_no_proposal():
    detector = small()
    count = len(detector.anchors)
    d = np.zeros((1, count, 4), dtype="float32")
    d[..., 0] = 100  # far to the right
    boxes, valid = detector.propose(np.zeros((1, count), dtype="float32"), d)
    assert not valid.any()
    assert np.all(boxes[..., 2:] > boxes[..., :2])  # what stands there can be pooled
    detector.networks["rpn"].params["heads.rpn.heads.deltas.b"][::4] = 100
    (none,) = detector.detect(np.zeros((1, 1, 16, 24), dtype=np.uint8), score=0.0)
    assert [len(each) for each in none] == [0, 0, 0]
    assert detector.proposed(np.zeros((1, 1, 16, 24)))[0].shape == (0, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pictures_are_detected_alike_by_layers_and_engines(dtype):
    """In whatever company; pixels are floats from 0 to 1."""
    detector = small(dtype=dtype)
    x = RNG.integers(0, 256, (3, 1, 16, 24), dtype=np.uint8)
    want = detector.detect(x, score=0.2)
    assert sum(len(each.labels) for each in want) > 3
    engines = {name: get_engine(network) for name, network in detector.networks.items()}
    for got in (
        detector.detect(x / 255, score=0.2),
        detector.detect(x, score=0.2, computing=engines),
        [detector.detect(x[k : k + 1], score=0.2)[0] for k in range(3)],
    ):
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
            np.testing.assert_array_equal(one.labels, other.labels)
    for boxes, scores, labels in want:
        assert np.all(np.diff(scores) <= 0)
        assert np.all(scores > 0.2)
        assert set(labels) <= {0, 1, 2}
        assert np.all((boxes >= 0) & (boxes <= [24, 16, 24, 16]))
    assert detector.detect(x[:0]) == []
    assert [len(each.scores) for each in detector.detect(x, score=0.2, most=1)] == [1, 1, 1]


def test_a_larger_picture_is_seen_by_the_same_weights():
    """Convolutions see what they saw; only what the frame's zeros reach differs."""
    detector = small()
    larger = detector.for_images((1, 64, 48))
    assert larger.count == detector.count
    assert (larger.candidates, larger.proposals) == (8 * 60, 8 * 16)
    assert (small().candidates, detector.for_images((1, 8, 8)).proposals) == (60, 16)
    x = np.zeros((1, 1, 64, 48), dtype="float32")
    x[..., :16, :24] = RNG.random((16, 24))
    few = detector.networks["rpn"].predict(x[..., :16, :24])
    many = larger.networks["rpn"].predict(x)
    np.testing.assert_allclose(
        many["features"][..., :1, :2], few["features"][..., :1, :2], atol=1e-5
    )
    larger.networks["rpn"].params.flat[...] = 0
    assert np.any(detector.networks["rpn"].params.flat != 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (1, 62, 64)}, "whose sides are multiples of 4, got 62 x 64; add a margin"),
        ({"input_shape": (64, 64)}, "must be \\(channels, height, width\\)"),
        ({"classes": 0}, "at least one class, candidate and proposal, got classes=0"),
        ({"sizes": ()}, "sizes"),
        ({"sizes": 14.0}, "sizes=14.0"),
        ({"ratios": (-1.0,)}, "ratios"),
    ],
)
def test_misuse_is_told(options, message):
    with pytest.raises(ArgumentError, match=message):
        FasterRCNN(**options)


def test_pictures_of_another_size_are_told():
    detector = small()
    for shape in ((1, 1, 16, 16), (1, 16, 24), (2, 3, 16, 24)):
        with pytest.raises(ArgumentError, match=r"pictures \(N, 1, 16, 24\) are needed, got"):
            detector.detect(np.zeros(shape))
    for wrong in ({"score": 1.5}, {"overlap": -0.1}, {"overlap": float("nan")}):
        with pytest.raises(ArgumentError, match="score and overlap from 0 to 1"):
            detector.detect(np.zeros((0, 1, 16, 24)), **wrong)


@pytest.mark.parametrize(
    "pictures", [np.full((1, 1, 16, 24), 200.0), np.full((1, 1, 16, 24), np.nan),
                 np.zeros((1, 1, 16, 24), dtype="int64")],
)  # fmt: skip
def test_numbers_that_are_no_pixels_are_told(pictures):
    with pytest.raises(ArgumentError, match="pixels, uint8, or floats from 0 to 1, got"):
        small().detect(pictures)


def test_what_is_mended_out_of_the_picture_is_not_found():
    """Of such a box `clip` leaves one without area at the edge."""
    detector = small()
    x = RNG.random((2, 1, 16, 24)).astype("float32")
    assert all(len(found.labels) for found in detector.detect(x, score=0))
    detector.networks["head"].params["heads.deltas.b"][0] = 1000
    assert not any(len(found.labels) for found in detector.detect(x, score=0))
