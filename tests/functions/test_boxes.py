"""Boxes: the worked examples, plain loops, onnxruntime, and what is refused."""

import numpy as np
import pytest

from onnx_operator import onnx_operator
from tolerances import EX, P10, assert_near
from xpnet.arrays import to_numpy
from xpnet.errors import ArgumentError
from xpnet.functions.boxes import anchors, clip, decode, encode, iou, nms

A = [[0.0, 0, 10, 10], [5, 5, 15, 15], [20, 20, 30, 30]]
B = [[0.0, 0, 10, 10], [0, 0, 5, 5], [8, 8, 22, 22]]
OVERLAPS = [[1, 0.25, 0.01369863014], [0.1428571429, 0, 0.1983805668], [0, 0, 0.01369863014]]

REFERENCE, BOX = [[0.0, 0, 10, 20]], [[2.0, 1, 14, 21]]
STAGE = (10, 10, 5, 5)

FIVE = [[0.0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 10, 5], [20, 20, 30, 30], [21, 21, 31, 31]]
SCORES = [0.9, 0.8, 0.7, 0.6, 0.95]


def drawn(*shape, seed=0, size=20):
    """Boxes of whole and half pixels, of which some are equal, some empty, and many overlap."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 2 * size, size=(*shape, 2)) / 2
    return np.concatenate([corner, corner + rng.integers(0, size, size=(*shape, 2)) / 2], axis=-1)


def test_overlaps_of_the_worked_example(device):
    a, b = device.asarray(A), device.asarray(B)
    assert_near(iou(a, b), OVERLAPS, P10)
    assert_near(iou(a[None, ...], b[None, ...]), [OVERLAPS], P10)


def looped_iou(a, b):
    across, down = (max(0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1))
    areas = sum(max(0, c[2] - c[0]) * max(0, c[3] - c[1]) for c in (a, b))
    union = areas - across * down
    return across * down / union if union else 0.0


def test_overlaps_are_those_of_a_loop(device):
    """With empty boxes, and those whose corners are in the wrong order, which have no area."""
    a, b = drawn(3, 7), drawn(3, 5, seed=1)
    a[0, 0] = b[0, 0] = [3, 3, 3, 3]
    a[1, 1] = b[1, 1] = [5, 5, 2, 2]
    got = iou(device.asarray(a), device.asarray(b))
    want = [[[looped_iou(p, q) for q in b[n]] for p in a[n]] for n in range(3)]
    assert_near(got, want, {"rtol": 1e-14, "atol": 0})
    assert_near(iou(device.asarray(a), device.asarray(b[:, :0])), np.zeros((3, 7, 0)))
    single = iou(device.asarray(a, dtype="float32"), device.asarray(b, dtype="float32"))
    assert single.dtype == device.xp.float32
    assert_near(single, want, {"rtol": 1e-6, "atol": 0})


def test_whole_numbers_do_not_wrap_around(device):
    a = device.asarray(np.asarray([[0, 0, 200, 200], [100, 100, 200, 250]], dtype="uint8"))
    assert_near(iou(a, a), iou(np.asarray(to_numpy(a), float), np.asarray(to_numpy(a), float)))


def test_differences_of_the_worked_example(device):
    p, g = device.asarray(REFERENCE), device.asarray(BOX)
    assert_near(encode(g, p), [[0.3, 0.05, 0.1823215568, 0]], P10)
    assert_near(encode(g, p, STAGE), [[3, 0.5, 0.911607784, 0]], {"rtol": 0, "atol": 5e-10})
    decoded = decode(device.asarray([[0.1, -0.2, 0.5, -0.3]]), p)
    want = [[-2.243606354, -1.408182207, 14.24360635, 13.40818221]]
    assert_near(decoded, want, {"rtol": 5e-10, "atol": 0})
    cut = decode(device.asarray([[0.0, 0, 100, 0]]), p)
    assert_near(cut, [[-307.5, 0, 317.5, 20]], P10)
    assert_near(clip(cut, 12, 64), [[0, 0, 64, 12]], EX)


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), STAGE])
def test_decode_is_the_inverse_of_encode(device, weights):
    g, p = (drawn(3, 6, seed=seed) + np.asarray([0, 0, 1, 1]) for seed in (0, 1))
    t = encode(device.asarray(g), device.asarray(p), weights)
    assert_near(decode(t, device.asarray(p), weights), g, {"rtol": 0, "atol": 1e-12})
    assert_near(encode(device.asarray(p), device.asarray(p), weights), np.zeros(g.shape))
    none = device.asarray(np.zeros((0, 4)))
    assert decode(encode(none, none), none).shape == (0, 4)


def test_a_box_outside_is_clipped_to_an_empty_one_at_the_edge(device):
    boxes = device.asarray([[-9.0, -9, -1, -1], [70, 2, 80, 4], [-1, 3, 5, 99]])
    assert_near(clip(boxes, 48, 64), [[0, 0, 0, 0], [64, 2, 64, 4], [0, 3, 5, 48]], EX)


def test_anchors_are_centred_on_cells():
    got = anchors(2, 3, 4, (14, 20), (1, 1.5, 2.5))
    assert got.shape == (36, 4)
    assert got.dtype == np.float64
    centres = [[x, y] for y in (2, 6) for x in (2, 6, 10) for _ in range(6)]
    assert_near((got[:, :2] + got[:, 2:]) / 2, centres, {"rtol": 0, "atol": 1e-14})
    w, h = (got[:, 2:] - got[:, :2]).T
    assert_near(w * h, np.tile([196, 400], 18), {"rtol": 1e-14, "atol": 0})
    assert_near(h / w, np.tile(np.repeat([1, 1.5, 2.5], 2), 6), {"rtol": 1e-14, "atol": 0})


def test_anchors_may_be_rounded_as_torchvision_has_them():
    cell = [[-6, -3, 6, 3], [-11, -6, 11, 6], [-4, -4, 4, 4], [-8, -8, 8, 8], [-3, -6, 3, 6],
            [-6, -11, 6, 11]]  # fmt: skip
    assert_near(anchors(1, 1, 4, (8, 16), (0.5, 1, 2), rounded=True), cell, EX)
    wide = [[-91, -45, 91, 45], [-64, -64, 64, 64], [-45, -91, 45, 91]]
    got = anchors(2, 2, 16, (128,), (0.5, 1, 2), rounded=True)
    assert_near(anchors(1, 1, 4, (5, 7), (1,), rounded=True)[:, 2:], [[2, 2], [4, 4]], EX)
    shifts = [[0, 0, 0, 0], [16, 0, 16, 0], [0, 16, 0, 16], [16, 16, 16, 16]]
    assert_near(got, [np.add(box, shift) for shift in shifts for box in wide], EX)


def chosen(indices, valid):
    """The indices that were chosen; behind them there are none."""
    found, there = to_numpy(indices), to_numpy(valid)
    assert there.tolist() == sorted(there.tolist(), reverse=True)
    assert not np.any(found[~there])
    return found[there].tolist()


@pytest.mark.parametrize(
    ("threshold", "classes", "want"),
    [
        (0.3, None, [4, 0]),
        (0.5, None, [4, 0, 2]),  # whose IoU is 0.5 exactly
        (0.7, None, [4, 0, 1, 2, 3]),
        (0.5, [0, 1, 0, 0, 0], [4, 0, 1, 2]),
        (0.4, [0, 1, 0, 0, 0], [4, 0, 1]),
    ],
)
def test_choices_of_the_worked_example(device, threshold, classes, want):
    boxes, scores = device.asarray(FIVE), device.asarray(SCORES)
    classes = None if classes is None else device.asarray(classes)
    for limit in (1, 3, 5, 8):
        indices, valid = nms(boxes, scores, threshold, limit, classes)
        assert indices.shape == valid.shape == (limit,)
        assert indices.dtype == device.xp.int64
        assert chosen(indices, valid) == want[:limit]


def looped_nms(boxes, scores, threshold, classes, valid):
    kept = []
    for i in sorted(np.flatnonzero(valid), key=lambda i: -scores[i]):  # which is stable
        if all(
            looped_iou(boxes[i], boxes[j]) <= threshold or classes[i] != classes[j] for j in kept
        ):
            kept.append(int(i))
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_choices_are_those_of_a_loop_picture_by_picture(device, threshold, monkeypatch):
    """Of several at once, with equal scores, classes, and boxes that are not there."""
    rng = np.random.default_rng(0)
    boxes, scores = drawn(2, 3, 17), rng.integers(0, 6, size=(2, 3, 17)) / 4
    classes, valid = rng.integers(0, 2, size=(2, 3, 17)), rng.random((2, 3, 17)) < 0.8
    want = [
        [
            looped_nms(*(of[n, m] for of in (boxes, scores)), threshold, classes[n, m], valid[n, m])
            for m in range(3)
        ]
        for n in range(2)
    ]
    x, s, c, v = (device.asarray(of) for of in (boxes, scores, classes, valid))
    for most in (2**22, 1, 300):  # pairs at a time
        monkeypatch.setattr("xpnet.functions.boxes.TEMPORARY", most)
        indices, there = nms(x, s, threshold, 20, c, v)
        assert indices.shape == there.shape == (2, 3, 20)
        got = [[chosen(indices[n, m, :], there[n, m, :]) for m in range(3)] for n in range(2)]
        assert got == want


@pytest.mark.parametrize("shape", [(0,), (4, 0), (0, 3)])
def test_of_no_boxes_none_is_chosen(device, shape):
    boxes, scores = device.asarray(np.zeros((*shape, 4))), device.asarray(np.zeros(shape))
    indices, valid = nms(boxes, scores, 0.5, 2)
    assert_near(indices, np.zeros((*shape[:-1], 2)), EX)
    assert_near(valid, np.zeros((*shape[:-1], 2), dtype=bool), EX)


def test_what_is_no_number_is_left_out(device):
    boxes, scores = np.asarray(FIVE), np.asarray(SCORES)
    boxes[4, 1] = scores[0] = np.nan
    boxes[2] = [-np.inf, 0, np.inf, 9]
    scores[3] = -np.inf
    assert chosen(*nms(device.asarray(boxes), device.asarray(scores), 0.5, 5)) == [1, 3]


def test_nothing_is_read(strict_device, unread):
    boxes, scores = strict_device.asarray(FIVE), strict_device.asarray(SCORES)
    there, of_one = (strict_device.asarray(np.ones(5, dtype=kind)) for kind in ("bool", "int64"))
    with unread():
        found = nms(boxes, scores, 0.5, 4, of_one, there)
        t = encode(boxes, boxes[:1, :])
        clip(decode(t, boxes[:1, :]), 9, 9)
    assert chosen(*found) == [4, 0, 2]


def test_choices_are_those_of_onnxruntime():
    """In its own precision; for each class by itself."""
    rng = np.random.default_rng(0)
    boxes = drawn(2, 30).astype("float32") + np.asarray([0, 0, 1, 1], dtype="float32")
    scores = rng.permutation(180).reshape(2, 3, 30).astype("float32")  # none is equal to another
    given = {
        "boxes": boxes[..., [1, 0, 3, 2]],
        "scores": scores,
        "most": np.asarray([12], dtype="int64"),
        "threshold": np.asarray([0.4], dtype="float32"),
    }
    found = onnx_operator("NonMaxSuppression", given)
    for n in range(2):
        for c in range(3):
            want = found[(found[:, 0] == n) & (found[:, 1] == c), 2]
            assert chosen(*nms(boxes[n], scores[n, c], 0.4, 12)) == want.tolist()


@pytest.mark.slow
def test_boxes_are_torchvisions():
    """Overlaps, differences from references, of which some grow too far, and rounded anchors."""
    from torchvision_nets import models, torch

    models()
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import box_iou

    a, b = (drawn(30, seed=seed) + np.asarray([0, 0, 1, 1]) for seed in (0, 1))
    exact = {"rtol": 1e-12, "atol": 1e-12}
    assert_near(iou(a, b), box_iou(*map(torch.tensor, (a, b))).numpy(), exact)
    coder = BoxCoder(STAGE)
    there = coder.encode_single(torch.tensor(a), torch.tensor(b)).numpy()
    assert_near(encode(a, b, STAGE), there, exact)
    deltas = 20 * np.random.default_rng(2).standard_normal((30, 4))
    there = coder.decode_single(torch.tensor(deltas), torch.tensor(b)).numpy()
    assert_near(decode(deltas, b, STAGE), there, exact)
    sizes, ratios = (14.0, 20.0, 128.0), (0.5, 1.0, 2.5)
    maker = AnchorGenerator((sizes,), (ratios,))
    maker.set_cell_anchors(torch.float32, torch.device("cpu"))
    (there,) = maker.grid_anchors([(3, 5)], [(torch.tensor(16), torch.tensor(16))])
    assert_near(anchors(3, 5, 16, sizes, ratios, rounded=True), there.numpy(), EX)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iou(np.zeros((2, 3)), np.zeros((2, 4))), r"iou needs boxes \(\.\.\., 4\), got"),
        (lambda: iou(np.zeros((2, 4)), [0, 0, 1, 1]), r"iou needs boxes .* got the shape \(\)"),
        (
            lambda: encode(np.asarray([[0.0, 0, 0, 2]]), np.asarray(REFERENCE)),
            "encode needs boxes of some width and height, got one of none; leave it out, or",
        ),
        (
            lambda: encode(np.asarray(REFERENCE), np.asarray([[0.0, 3, 2, 3]])),
            "encode needs references of some width",
        ),
        (
            lambda: decode(np.zeros((1, 4)), np.zeros((1, 4)), (1, 1, 0, 1)),
            r"weights of decode must be four numbers above 0, got \(1, 1, 0, 1\)",
        ),
        (lambda: encode(np.asarray(BOX), np.asarray(BOX), (1, 1)), "weights of encode must be"),
        (lambda: anchors(0, 3, 4, (8,), (1,)), "a map of at least one cell, .* got 0 x 3 cells"),
        (lambda: anchors(3, 3, 4, (), (1,)), r"sizes and ratios above 0, got .*sizes=\(\)"),
        (lambda: anchors(3, 3, 4, (8, -8), (1,)), r"sizes=\(8, -8\)"),
        (lambda: anchors(3, 3, 4, 8, (1,)), "sizes=8"),
        (lambda: anchors(3, 3, 0, (8,), (1,)), "stride=0"),
        (
            lambda: nms(np.zeros((3, 4)), np.zeros(2), 0.5, 2),
            r"nms needs a score for each box, .* got boxes \(3, 4\) and scores \(2,\)",
        ),
        (lambda: nms(np.zeros((3, 4)), np.zeros(3), 1.5, 2), "threshold=1.5, limit=2"),
        (lambda: nms(np.zeros((3, 4)), np.zeros(3), float("nan"), 2), "threshold=nan"),
        (lambda: nms(np.zeros((3, 4)), np.zeros(3), 0.5, 0), "threshold=0.5, limit=0"),
        (lambda: nms(np.zeros((3, 4)), np.zeros(3), 0.5, 2.0), "limit of nms must be a whole"),
        (
            lambda: nms(np.zeros((3, 4)), np.zeros(3), 0.5, 2, valid=np.ones(2, dtype=bool)),
            r"nms needs valid of shape \(3,\), as the scores', got \(2,\)",
        ),
    ],
)
def test_what_fits_not_is_an_error(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
