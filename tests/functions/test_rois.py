"""Regions of interest: the worked examples, plain loops, torchvision, onnxruntime, bad input."""

from functools import cache
from math import ceil, floor

import numpy as np
import pytest

from onnx_operator import onnx_operator
from tolerances import EX, P10, assert_near
from xpnet.arrays import to_numpy
from xpnet.errors import ArgumentError
from xpnet.functions.rois import roi_align, roi_pool
from xpnet.testing import check_backward

NOISE = ((7 * np.arange(64.0)) % 11).reshape(1, 1, 8, 8)
RAMP = np.arange(64.0).reshape(1, 1, 8, 8)
TWO = [[0, 1, 2, 6, 5], [0, 2.6, 1.4, 7.4, 6.5]]
ALIGNED = [[[[6.25, 5.1875], [4.44140625, 6.4296875]]],
           [[[4.925, 4.0425], [4.7834375, 5.2759375]]]]  # fmt: skip
LEGACY = [[[[4.62109375, 5.75], [4.31640625, 5.74609375]]],
          [[[5.075, 4.275], [4.1325, 4.9275]]]]  # fmt: skip
ONE_TO_FOUR = np.arange(1.0, 5).reshape(1, 1, 2, 2)


def test_pooling_of_the_worked_example(device):
    x, rois = device.asarray(NOISE), device.asarray(TWO)
    y, _ = roi_pool(x, rois, 2, 1.0)
    assert_near(y, [[[[10, 9], [8, 10]]], [[[10, 10], [10, 10]]]], EX)
    y, backward = roi_pool(x + device.asarray(RAMP) / 1000, rois[:1, :], 2, 1.0)
    assert_near(y, [[[[10.025, 9.028], [8.042, 10.036]]]], P10)
    want = np.zeros((1, 1, 8, 8))
    want[0, 0, [3, 3, 5, 4], [1, 4, 2, 4]] = [1, 2, 3, 4]
    assert_near(backward(device.asarray(ONE_TO_FOUR)), want, EX)


@pytest.mark.parametrize(("aligned", "want"), [(True, ALIGNED), (False, LEGACY)])
def test_aligning_of_the_worked_example(device, aligned, want):
    y, backward = roi_align(device.asarray(NOISE), device.asarray(TWO), 2, 1.0, aligned=aligned)
    assert_near(y, want, {"rtol": 1e-12, "atol": 0})
    dx = to_numpy(backward(device.asarray(np.ones((2, 1, 2, 2)))))
    assert dx.sum() == pytest.approx(8, rel=1e-13)


def test_a_gradient_of_the_worked_example(device):
    x, rois = device.asarray(RAMP[..., :2, :].reshape(1, 1, 4, 4)), [[0, 0.5, 0.5, 3.5, 2.5]]
    y, backward = roi_align(x, device.asarray(rois), 2, 1)
    assert_near(y, [[[[2.75, 4.25], [6.75, 8.25]]]], EX)
    want = [[0.15625, 0.375, 0.65625, 0.3125], [0.625, 1.4375, 2, 0.9375],
            [0.46875, 1.0625, 1.34375, 0.625], [0, 0, 0, 0]]  # fmt: skip
    assert_near(backward(device.asarray(ONE_TO_FOUR)), [[want]], EX)
    corner = device.asarray([[0.0, 0, 0, 2, 2]])
    for aligned, value in ((True, 2.5), (False, 5)):
        y, _ = roi_align(x, corner, 1, 1.0, samples=1, aligned=aligned)
        assert_near(y, [[[[value]]]], EX)


@pytest.mark.parametrize("aligned", [True, False])
def test_a_point_on_the_edge_counts_and_one_beyond_does_not(device, aligned):
    """Which is a pixel behind the centre of the last one, and a pixel before the first one's."""
    x, moved = device.asarray(np.ones((1, 1, 4, 6))), 0.5 * aligned
    points = [(6, 4), (-1, -1), (6.001, 2), (2, 4.001), (-1.001, 2), (2, -1.001)]
    rois = [[0, a + moved - 1, b + moved - 1, a + moved + 1, b + moved + 1] for a, b in points]
    y, _ = roi_align(x, device.asarray(rois), 1, 1.0, samples=1, aligned=aligned)
    assert_near(y, np.reshape([1, 1, 0, 0, 0, 0], (6, 1, 1, 1)), EX)


def test_three_answers_on_a_ramp(device):
    x, rois = device.asarray(RAMP), device.asarray([[0.0, 4, 4, 24, 20]])
    answers = [
        (roi_pool(x, rois, 2, 0.25), [27, 30, 43, 46]),
        (roi_align(x, rois, 2, 0.25), [13.75, 16.25, 29.75, 32.25]),
        (roi_align(x, rois, 2, 0.25, aligned=False), [18.25, 20.75, 34.25, 36.75]),
    ]
    for (y, _), want in answers:
        assert_near(y, np.reshape(want, (1, 1, 2, 2)), EX)


def looped_pool(x, rois, size, scale):
    """Value and place (row W + column, or -1) of each maximum."""
    (_, C, H, W), (P, Q) = x.shape, size
    values = np.zeros((len(rois), C, P, Q))
    places = np.full(values.shape, -1)
    for k, (n, *corners) in enumerate(rois):
        x1, y1, x2, y2 = (int(np.sign(c) * floor(abs(c * scale) + 0.5)) for c in corners)
        w, h = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
        for c, p, q in np.ndindex(C, P, Q):
            rows = range(max(0, y1 + p * h // P), min(H, y1 + ceil((p + 1) * h / P)))
            columns = range(max(0, x1 + q * w // Q), min(W, x1 + ceil((q + 1) * w / Q)))
            found = [(-x[int(n), c, i, j], i * W + j) for i in rows for j in columns]
            if found:
                value, places[k, c, p, q] = min(found)
                values[k, c, p, q] = -value
    return values, places


@cache
def looped_align(size, samples, aligned):
    """Values, and for each the pixels that it is made of, with their weights."""
    x, rois, scale, (P, Q) = MAPS, drawn(12), 0.5, size
    _, C, H, W = x.shape
    made = []
    for k, (n, *corners) in enumerate(rois):
        x1, y1, x2, y2 = (c * scale - 0.5 * aligned for c in corners)
        w, h = (side if aligned else max(side, 1) for side in (x2 - x1, y2 - y1))
        for p, q, a, b in np.ndindex(P, Q, samples, samples):
            y = y1 + (p + (a + 0.5) / samples) * h / P
            z = x1 + (q + (b + 0.5) / samples) * w / Q
            if not (-1 <= y <= H and -1 <= z <= W):
                continue
            y, z = min(max(y, 0), H - 1), min(max(z, 0), W - 1)
            i, j = floor(y), floor(z)
            for r, s in ((i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1)):
                weight = (1 - abs(y - r)) * (1 - abs(z - s)) / samples**2
                if weight:
                    made.append((k, p, q, int(n), r, s, weight))
    values = np.zeros((len(rois), C, P, Q))
    for k, p, q, n, r, s, weight in made:
        values[k, :, p, q] += weight * x[n, :, r, s]
    return values, made


def drawn(K, N=3, size=(9, 7), scale=0.5, seed=0):
    """RoIs of pictures in any order; many reach beyond, one is outside, one is empty."""
    rng = np.random.default_rng(seed)
    height, width = (side / scale for side in size)
    ends = [np.sort(rng.uniform(-0.4, 1.4, size=(K, 2)) * side, axis=1) for side in (width, height)]
    boxes = np.stack([ends[0], ends[1]], axis=2).reshape(K, 4)
    boxes[: K // 7] = [3 * width, 1, 4 * width, 9]
    boxes[K // 7 : K // 4] = [2.5, 3, 2.5, 3]
    return np.concatenate([rng.integers(N, size=(K, 1)), boxes], axis=1)


MAPS = np.random.default_rng(1).standard_normal((3, 2, 9, 7))
SIZES = [(2, 3), (3, 2), (1, 1), (5, 4)]


@pytest.mark.parametrize("size", SIZES)
def test_pooling_is_the_loop(device, size):
    """With ties, which the first row wins, and then the first column."""
    for x in (MAPS, np.round(MAPS)):
        rois = drawn(12)
        y, backward = roi_pool(device.asarray(x), device.asarray(rois), size, 0.5)
        want, places = looped_pool(x, rois, size, 0.5)
        assert_near(y, want, EX)
        dy = np.random.default_rng(2).standard_normal(want.shape)
        dx = np.zeros((*x.shape[:2], 63))
        for (k, c, *_), place, d in zip(np.ndindex(dy.shape), places.flat, dy.flat, strict=True):
            if place >= 0:
                dx[int(rois[k, 0]), c, place] += d
        got = backward(device.asarray(dy))
        assert_near(got, dx.reshape(x.shape), {"rtol": 0, "atol": 1e-14})


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_aligning_is_the_loop(device, size, aligned):
    x, rois = MAPS, drawn(12)
    for samples in (1, 2, 3):
        y, backward = roi_align(
            device.asarray(x), device.asarray(rois), size, 0.5, samples, aligned
        )
        want, made = looped_align(size, samples, aligned)
        assert_near(y, want, {"rtol": 0, "atol": 1e-13})
        dy = np.random.default_rng(2).standard_normal(want.shape)
        dx = np.zeros_like(x)
        for k, p, q, n, r, s, weight in made:
            dx[n, :, r, s] += weight * dy[k, :, p, q]
        assert_near(backward(device.asarray(dy)), dx, {"rtol": 0, "atol": 1e-13})


class Regions:
    """A function of maps and RoIs, as a layer of the maps alone."""

    def __init__(self, function, *arguments):
        self.params, self.function, self.arguments = {}, function, arguments

    def forward(self, x, *, train=False):
        y, backward = self.function(x, *self.arguments)
        return y, lambda dy, need_dx=True: (backward(dy) if need_dx else None, {})


FUNCTIONS = {
    "pool": (roi_pool,),
    "align": (roi_align,),
    "legacy": (roi_align, 2, False),
    "three samples": (roi_align, 3),
}


@pytest.mark.parametrize("K", [0, 1, 9])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_backward_is_the_derivative_of_forward(device, name, K):
    function, *options = FUNCTIONS[name]
    if not K:
        x, rois = device.asarray(MAPS), device.asarray(np.zeros((0, 5)))
        y, backward = function(x, rois, (3, 2), 0.5, *options)
        assert y.shape == (0, 2, 3, 2)
        assert_near(backward(y), np.zeros(MAPS.shape), EX)
        return
    layer = Regions(function, device.asarray(drawn(K, seed=K)), (3, 2), 0.5, *options)
    check_backward(layer, device.asarray(MAPS), rtol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_is_read_and_the_answer_is_the_same(strict_device, unread, name, monkeypatch):
    """By pictures, where RoIs can be looked at, and all at once; in one part, and in several."""
    function, *options = FUNCTIONS[name]
    rois, dy = drawn(12), np.random.default_rng(2).standard_normal((12, 2, 3, 2))
    want, backward = function(MAPS, rois, (3, 2), 0.5, *options)
    wanted = backward(dy)
    there = [strict_device.asarray(each) for each in (MAPS, rois, dy)]
    for most in (2**22, 100):
        monkeypatch.setattr("xpnet.functions.rois.TEMPORARY", most)
        with unread():
            y, back = function(*there[:2], (3, 2), 0.5, *options)
            dx = back(there[2])
        for got, value in ((y, want), (dx, wanted)):
            assert_near(got, value, {"rtol": 0, "atol": 1e-13})
        y, back = function(MAPS, rois, (3, 2), 0.5, *options)
        for got, value in ((y, want), (back(dy), wanted)):
            assert_near(got, value, {"rtol": 0, "atol": 1e-13})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_run_repeats_in_float32_and_inputs_stay(device, name):
    function, *options = FUNCTIONS[name]
    x, rois = MAPS.astype("float32"), drawn(12).astype("float32")
    dy = np.ones((12, 2, 3, 2), dtype="float32")
    given = [device.asarray(each.copy()) for each in (x, rois, dy)]
    runs = []
    for _ in range(2):
        y, backward = function(*given[:2], (3, 2), 0.5, *options)
        dx = backward(given[2])
        assert y.dtype == dx.dtype == device.xp.float32
        runs.append((to_numpy(y), to_numpy(dx)))
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, second)
    for was, now in zip((x, rois, dy), given, strict=True):
        np.testing.assert_array_equal(to_numpy(now), was)
    want, _ = function(MAPS, drawn(12), (3, 2), 0.5, *options)
    assert_near(runs[0][0], want, {"rtol": 0, "atol": 1e-5})


def test_the_largest_of_nan_is_nan_and_minus_infinity_has_a_place(device):
    x = np.full((1, 1, 2, 4), -np.inf)
    x[0, 0, 1, 3] = np.nan
    rois = [[0.0, 0, 0, 1, 1], [0, 2, 0, 3, 1]]
    y, backward = roi_pool(device.asarray(x), device.asarray(rois), 1, 1.0)
    assert_near(y, np.reshape([-np.inf, np.nan], (2, 1, 1, 1)), EX)
    dx = to_numpy(backward(device.asarray(np.ones((2, 1, 1, 1)))))
    assert np.argwhere(dx).tolist() == [[0, 0, 0, 0], [0, 0, 1, 3]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_box_that_is_no_number_has_none(device, name):
    function, *options = FUNCTIONS[name]
    rois = [[0, 1, 1, 6, 6], [0, 1, np.nan, 6, 6], [1, -np.inf, 1, np.inf, 6]]
    y, _ = function(device.asarray(MAPS), device.asarray(rois), 2, 0.5, *options)
    assert np.isnan(to_numpy(y)).all(axis=(1, 2, 3)).tolist() == [False, True, True]


def test_what_cannot_be_read_and_is_no_box_has_no_numbers(strict_device, unread):
    rois = strict_device.asarray([[3.0, 1, 1, 6, 6], [0, 6, 1, 1, 6], [0.5, 1, 1, 6, 6], [0] * 5])
    x = strict_device.asarray(MAPS)
    with unread():
        answers = [roi_align(x, rois, 2, 0.5)[0], roi_pool(x, rois, 2, 0.5)[0]]
    for y in answers:
        assert np.isnan(to_numpy(y)).all(axis=(1, 2, 3)).tolist() == [True, True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_aligning_is_torchvisions(size, aligned):
    """In its own Python, which it would compile; what it has for the CPU is another build's.

    That one knows no points beyond a map, which its kernels and onnxruntime have as 0.
    """
    from torchvision_nets import models, torch

    models()
    from torchvision.ops.roi_align import _roi_align

    x, rois = torch.tensor(MAPS, requires_grad=True), np.clip(drawn(20), 0, [2, 12, 16, 12, 16])
    there = _roi_align.__wrapped__(x, torch.tensor(rois), 0.5, *size, 2, aligned)
    dy = np.random.default_rng(2).standard_normal(there.shape)
    there.backward(torch.tensor(dy))
    y, backward = roi_align(MAPS, rois, size, 0.5, 2, aligned)
    assert_near(y, there.detach().numpy(), {"rtol": 0, "atol": 1e-12})
    assert_near(backward(dy), x.grad.numpy(), {"rtol": 0, "atol": 1e-12})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("aligned", [True, False])
def test_aligning_is_onnxruntimes(aligned, dtype):
    rois = drawn(20)
    given = {
        "X": MAPS.astype(dtype),
        "rois": rois[:, 1:].astype(dtype),
        "batch_indices": rois[:, 0].astype("int64"),
    }
    want = onnx_operator(
        "RoiAlign", given, output_height=3, output_width=2, sampling_ratio=2, spatial_scale=0.5,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )  # fmt: skip
    y, _ = roi_align(given["X"], rois.astype(dtype), (3, 2), 0.5, 2, aligned)
    atol = {"float32": 1e-5, "float64": 1e-12}[dtype]
    assert_near(y, want, {"rtol": 0, "atol": atol})


@pytest.mark.parametrize("size", SIZES)
def test_pooling_is_onnxruntimes(size):
    """In float32, which is all it has."""
    x, rois = MAPS.astype("float32"), drawn(20).astype("float32")
    want = onnx_operator("MaxRoiPool", {"X": x, "rois": rois}, pooled_shape=size, spatial_scale=0.5)
    assert_near(roi_pool(x, rois, size, 0.5)[0], want, EX)


@pytest.mark.parametrize("function", [roi_pool, roi_align])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": MAPS[0]}, r"needs maps \(N, C, H, W\) .*, got \(2, 9, 7\) and \(2, 5\)"),
        ({"x": MAPS[:0]}, r"got \(0, 2, 9, 7\) and \(2, 5\)"),
        ({"rois": np.zeros((2, 4))}, r"RoIs \(K, 5\), each a number of a picture and a box, got"),
        ({"rois": [[0, 0, 0, 1, 1]]}, r"and \(\)"),
        ({"size": 0}, "size of roi_.* must be a whole number above 0, or two"),
        ({"size": (2, 3, 4)}, r"got \(2, 3, 4\)"),
        ({"scale": 0.0}, "scale of roi_.* must be a finite number above 0, got 0.0"),
        ({"scale": float("nan")}, "got nan"),
        (
            {"rois": np.asarray([[0.0, 0, 0, 1, 1], [3, 0, 0, 1, 1]])},
            r"needs RoIs of the pictures 0 to 2, whose boxes have x1 <= x2 and y1 <= y2, got "
            r"\[3.0, 0.0, 0.0, 1.0, 1.0\] in row 1; leave it out",
        ),
        ({"rois": np.asarray([[-1.0, 0, 0, 1, 1]])}, r"got \[-1.0, .* in row 0"),
        ({"rois": np.asarray([[0.5, 0, 0, 1, 1]])}, r"got \[0.5, .* in row 0"),
        ({"rois": np.asarray([[np.nan, 0, 0, 1, 1]])}, r"got \[nan, .* in row 0"),
        ({"rois": np.asarray([[0.0, 0, 2, 1, 1]])}, r"2.0, 1.0, 1.0\] in row 0"),
    ],
)
def test_what_fits_not_is_an_error(function, change, message):
    given = {"x": MAPS, "rois": np.zeros((2, 5)), "size": 2, "scale": 0.5} | change
    with pytest.raises(ArgumentError, match=message):
        function(**given)


def test_samples_are_at_least_one():
    with pytest.raises(ArgumentError, match="roi_align needs samples of at least 1, got 0"):
        roi_align(MAPS, np.zeros((1, 5)), 2, 0.5, samples=0)
