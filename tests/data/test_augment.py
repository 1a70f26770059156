"""Images turned, scaled, shifted, bent and brightened, on every array library."""

from math import cos, radians, sin, sqrt

import numpy as np
import pytest

from xpnet import SGD, Batches, Trainer, TwoLayerNet, get_device, synthetic_digits, to_numpy
from xpnet.arrays.random import uniform
from xpnet.data.augment import (
    Augmentation,
    brighten,
    grid_shape,
    rotate,
    sample,
    shift,
    smooth_field,
    warp,
)
from xpnet.errors import ArgumentError

BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])
TOL = {"float32": 2e-5, "float64": 2e-14}  # an ulp of a coordinate, times a step of a few units


def images(*shape, dtype="float64"):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def slid(image, down, right):
    """(C, H, W) moved by whole pixels, by index."""
    _, H, W = image.shape
    y = np.zeros_like(image)
    for i, j in np.ndindex(H, W):
        if 0 <= i - down < H and 0 <= j - right < W:
            y[:, i, j] = image[:, i - down, j - right]
    return y


def hat_weighted(x, rows, columns):
    """The sum of `sample`'s docstring, over all pixels, in float64."""
    (_, _, H, W), x = x.shape, x.astype(np.float64)
    h = [
        np.maximum(0, 1 - np.abs(points[..., None] - np.arange(size)))
        for points, size in ((rows, H), (columns, W))
    ]
    return np.einsum("nijr,nijk,ncrk->ncij", *h, x)


@BOTH
def test_sample_is_its_formula(device, dtype):
    """Also outside, far outside, and with as many points as one likes."""
    x = images(3, 2, 4, 5, dtype=dtype)
    rows, columns = np.random.default_rng(1).uniform(-9, 12, (2, 3, 6, 7)).astype(dtype)
    rows[0], columns[0, :3] = 1e30, -1e30
    y = sample(*map(device.asarray, (x, rows, columns)))
    assert y.dtype == device.dtype(dtype)
    np.testing.assert_allclose(to_numpy(y), hat_weighted(x, rows, columns), atol=TOL[dtype])


@BOTH
def test_nothing_asked_is_nothing_done(device, dtype):
    x = images(2, 3, 5, 4, dtype=dtype)
    there = device.asarray(x.copy())
    for y in (warp(there), rotate(there, 0), shift(there), warp(there, scale=1)):
        assert y.dtype == device.dtype(dtype)
        assert y.device == there.device
        np.testing.assert_array_equal(to_numpy(y), x)
    rotate(there, 30.0)
    np.testing.assert_array_equal(to_numpy(there), x, err_msg="the images were altered")


@BOTH
@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, -2), (-3, 3), (9, 0)])
def test_a_shift_by_whole_pixels_is_exact(device, dtype, down, right):
    x = images(2, 3, 6, 5, dtype=dtype)
    y = shift(device.asarray(x), down, right)
    np.testing.assert_array_equal(to_numpy(y), [slid(image, down, right) for image in x])


def test_a_shift_by_half_a_pixel_is_the_mean_of_two(device):
    x = images(1, 1, 3, 4)
    y = to_numpy(shift(device.asarray(x), right=0.5))
    left = np.pad(x, [(0, 0), (0, 0), (0, 0), (1, 0)])[..., :-1]
    np.testing.assert_allclose(y, (x + left) / 2, atol=1e-15)


@BOTH
@pytest.mark.parametrize("side", [5, 6])
@pytest.mark.parametrize("quarters", [-1, 1, 2, 3, 4])
def test_quarter_turns_of_a_square(device, dtype, side, quarters):
    x = images(2, 1, side, side, dtype=dtype)
    y = rotate(device.asarray(x), 90 * quarters)
    want = np.rot90(x, quarters, axes=(2, 3))  # counter-clockwise too
    np.testing.assert_allclose(to_numpy(y), want, atol=TOL[dtype])


@pytest.mark.parametrize(("angle", "scale"), [(30, 1.0), (-75, 0.5), (10, 1.5)])
def test_a_point_lands_where_the_formula_says(device, angle, scale):
    """The centre of mass of a soft spot, 4 right of the centre and 3 above it."""
    rows, columns = np.mgrid[:41, :41]
    spot = np.exp(-((rows - 17) ** 2 + (columns - 24) ** 2) / 8)[np.newaxis, np.newaxis]
    moved = warp(device.asarray(spot), angle=angle, scale=scale, shift=(2, -3))
    y = to_numpy(moved)[0, 0]
    found = [(y * places).sum() / y.sum() for places in (rows, columns)]
    a = radians(angle)
    right, up = 4 * cos(a) - 3 * sin(a), 4 * sin(a) + 3 * cos(a)
    want = [20 - scale * up + 2, 20 + scale * right - 3]
    np.testing.assert_allclose(found, want, atol=1e-2)  # interpolation between pixels


def test_each_image_may_have_its_own(device):
    x = images(3, 2, 5, 6)
    angles, downs, rights = np.array([0.0, 20, -50]), [1, 0, 2], np.array([0.5, -1, 0])
    there = device.asarray(x)
    y = warp(there, angle=device.asarray(angles), shift=(downs, rights))
    for n in range(3):
        alone = warp(there[n : n + 1, ...], angle=angles[n], shift=(downs[n], rights[n]))
        np.testing.assert_array_equal(to_numpy(y)[n : n + 1], to_numpy(alone))


def test_linear_in_the_images(device):
    x, z = images(2, 2, 1, 7, 6)
    how = {"angle": 33.0, "scale": 0.8, "shift": (0.3, -1.7)}
    y, w, both = (to_numpy(warp(device.asarray(part), **how)) for part in (x, z, 2 * x - 3 * z))
    np.testing.assert_allclose(both, 2 * y - 3 * w, atol=1e-14)


def test_no_images_are_fine(device):
    assert rotate(device.asarray(images(0, 1, 4, 4)), 10).shape == (0, 1, 4, 4)


@pytest.mark.parametrize(
    ("x", "how", "message"),
    [
        (np.zeros((1, 1, 4, 4), complex), {}, "numbers are needed, real ones, got complex128"),
        (np.zeros((4, 4)), {}, r"images are \(N, C, H, W\), got \(4, 4\); reshape"),
        (np.zeros((2, 1, 4, 4)), {"angle": np.zeros(3)}, r"angle .* each of 2 images, .*\(3,\)"),
        (np.zeros((2, 1, 4, 4)), {"scale": np.ones((2, 1))}, r"scale .* got shape \(2, 1\)"),
        (np.zeros((1, 1, 4, 4)), {"shift": (0, np.nan)}, "shift right must be finite, got nan"),
        (
            np.zeros((1, 1, 4, 4)),
            {"scale": [0.0]},
            r"scale must be finite and above 0, got \[0.0\]",
        ),
    ],
)
def test_what_cannot_be_warped_is_refused(x, how, message):
    with pytest.raises(ArgumentError, match=message):
        warp(x, **how)


def test_other_numbers_mean_what_they_mean_to_a_network():
    pixels = np.array([[0, 51], [102, 255]], np.uint8)[None, None]
    for moved in (warp, brighten, Augmentation(shift=0.0)):
        step = (np.zeros(1, int),) if isinstance(moved, Augmentation) else ()
        for x, want in ((pixels, pixels / np.float32(255)), (pixels > 60, pixels > 60)):
            got = moved(x, *step)
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, want)


CPU = get_device("cpu")
ALL = {"rotate": 15, "shift": 2, "scale": 0.1, "crop": 1, "elastic": 1.4, "brightness": 0.3}


def augmented(x, step=0, device=CPU, **how):
    return to_numpy(Augmentation(**how)(device.asarray(x), device.asarray(np.asarray([step]))))


def drawn(n, seed=0, step=0):
    """Columns of u in [0, 1): angle, size, down, right, light, top, left, mirrored."""
    step = np.asarray([step])
    return uniform(8 * n, key=(seed, 0), step=step, device=CPU).reshape(n, 8).T.astype(np.float64)


def digits(n):
    return (synthetic_digits(n, seed=4)[0] / 255).astype(np.float32)


@BOTH
def test_no_strength_is_no_change(device, dtype):
    x = images(3, 2, 5, 4, dtype=dtype)
    np.testing.assert_array_equal(augmented(x, device=device), x)


def test_every_kind_is_its_formula(device):
    """Alone, with the numbers of its own columns, on images of two channels, not square."""
    x = np.random.default_rng(0).random((6, 2, 9, 7))
    u = drawn(6, seed=3, step=2**32 + 5)
    signed = 2 * u - 1
    noise = uniform(6 * 2 * 3 * 3, key=(3, 1), step=np.asarray([2**32 + 5]), device=CPU)
    noise = sqrt(3) * (2 * noise.astype(np.float64).reshape(6, 2, *grid_shape(9, 7)) - 1)
    field = smooth_field(noise, 9, 7).transpose(1, 0, 2, 3)
    wants = [
        ({"elastic": 0.7}, sample(x, *(np.mgrid[:9, :7][:, np.newaxis] + 0.7 * field))),
        ({"rotate": 40}, warp(x, angle=40 * signed[0])),
        ({"scale": 0.3}, warp(x, scale=1 + 0.3 * signed[1])),
        ({"shift": 2.5}, warp(x, shift=(2.5 * signed[2], 2.5 * signed[3]))),
        ({"brightness": 0.9}, np.clip(x * (1 + 0.9 * signed[4, :, None, None, None]), 0, 1)),
        ({"flip": True}, np.where(u[7, :, None, None, None] < 0.5, x[..., ::-1], x)),
    ]
    for how, want in wants:
        there = device.asarray(x.copy())
        y = Augmentation(seed=3, **how)(there, device.asarray(np.asarray([2**32 + 5])))
        np.testing.assert_allclose(to_numpy(y), want, atol=1e-12, err_msg=str(how))
        assert np.abs(want - x).max() > 0.1, how
        np.testing.assert_array_equal(to_numpy(there), x, err_msg="the images were altered")


@BOTH
def test_a_crop_is_a_window_of_the_framed_image(device, dtype):
    """Exactly, and every window turns up."""
    x = images(200, 1, 6, 5, dtype=dtype)
    y = augmented(x, device=device, crop=2)
    top, left = np.floor(5 * drawn(200)[5:7]).astype(int)  # rows and columns of the frame left out
    framed = np.pad(x, [(0, 0), (0, 0), (2, 2), (2, 2)])
    for n in range(200):
        i, j = 4 - top[n], 4 - left[n]
        np.testing.assert_array_equal(y[n], framed[n, :, i : i + 6, j : j + 5])
    assert len(set(zip(top, left, strict=True))) == 25


def test_the_same_on_every_library(device):
    """To the rounding of float32 coordinates; the numbers drawn are equal, see test_random."""
    x = digits(20)
    want = augmented(x, 7, **ALL, flip=True)
    got = augmented(x, 7, device, **ALL, flip=True)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=TOL["float32"])
    assert np.mean(np.abs(want - x)) > 0.02


def test_a_draw_is_its_seed_step_and_place(device):
    """And that alone: not the size of the batch, and not what else is drawn."""
    x = np.broadcast_to(digits(1), (8, 1, 28, 28)).copy()
    first = augmented(x, 3, device, **ALL)
    assert len({image.tobytes() for image in first}) == 8
    np.testing.assert_array_equal(augmented(x, 3, device, **ALL), first)
    np.testing.assert_allclose(augmented(x[:5], 3, device, **ALL), first[:5], atol=1e-6)
    for other in (augmented(x, 4, device, **ALL), augmented(x, 3, device, **ALL, seed=1)):
        assert {image.tobytes() for image in other}.isdisjoint(image.tobytes() for image in first)


def test_a_kind_does_not_change_the_draws_of_another():
    """Brightness apart: the moved images are the same, only darker, whatever else is on."""
    x = digits(10)
    moved = {key: value for key, value in ALL.items() if key != "brightness"}
    light = 0.3 * (2 * drawn(10)[4] - 1).reshape(10, 1, 1, 1)
    want = np.clip(augmented(x, **moved) * (1 + light), 0, 1)
    np.testing.assert_allclose(augmented(x, **ALL), want, atol=1e-6)
    bent = {**moved, "elastic": 0.0, "crop": 0}
    u = 2 * drawn(10) - 1
    want = warp(x, angle=15 * u[0], scale=1 + 0.1 * u[1], shift=(2 * u[2], 2 * u[3]))
    np.testing.assert_allclose(augmented(x, **bent), want, atol=TOL["float32"])


def spread(spot_at, n=400, **how):
    """Where the middle of a soft spot comes to lie, (2, n), from where it was."""
    rows, columns = np.mgrid[:41, :41]
    spot = np.exp(-((rows - spot_at[0]) ** 2 + (columns - spot_at[1]) ** 2) / 8)
    y = augmented(np.broadcast_to(spot, (n, 1, 41, 41)).copy(), **how)
    found = [np.sum(y * place, axis=(1, 2, 3)) for place in (rows, columns)]
    return np.asarray(found) / np.sum(y, axis=(1, 2, 3)) - np.reshape(spot_at, (2, 1))


def test_bounds_of_the_draws():
    """Reached to a hundredth by 400 draws, and not passed: a spot tells shift, angle and size."""
    for strength in (1, 4):
        moved = spread((20, 20), shift=strength)
        for axis in moved:
            assert 0.97 * strength < axis.max() <= strength
            assert -0.97 * strength > axis.min() >= -strength
        assert abs(np.corrcoef(moved)[0, 1]) < 0.2  # 4 sd
    found = spread((20, 30), rotate=30)
    turned = np.degrees(np.arctan2(-found[0], 10 + found[1]))
    assert 29 < turned.max() < 30.1
    assert -29 > turned.min() > -30.1
    grown = 1 + spread((20, 30), scale=0.25)[1] / 10
    assert 1.24 < grown.max() < 1.26
    assert 0.74 < grown.min() < 0.76


def test_elastic_moves_ink_by_its_strength():
    """1 pixel along each axis, either way; the spot is 4 wide and averages over that: a fifth off.

    A spot of ink spreads where it is stretched, so that its middle tells the mean around it.
    """
    moved = spread((20, 21), elastic=1.0)
    assert np.all(np.abs(np.mean(moved, axis=1)) < 4 / np.sqrt(400))
    assert np.all((np.std(moved, axis=1) > 0.7) & (np.std(moved, axis=1) < 0.9))
    assert abs(np.corrcoef(moved)[0, 1]) < 0.2
    np.testing.assert_allclose(spread((20, 21), elastic=0.2), 0.2 * moved, atol=0.15)


def test_a_smooth_field_has_variance_1_everywhere_and_is_smooth(device):
    """Of independent noise; a step of a pixel changes it by a fifth of its size, not more."""
    H, W = 28, 21
    points = grid_shape(H, W)
    assert points == (8, 6)
    size = points[0] * points[1]
    unit = np.eye(size).reshape(size, *points)  # a field that is linear is known by these
    field = to_numpy(smooth_field(device.asarray(unit), H, W))
    assert field.shape == (size, H, W)
    np.testing.assert_allclose(np.sum(field**2, axis=0), 1, rtol=1e-12)
    for axis in (1, 2):
        step = np.sum(np.diff(field, axis=axis) ** 2, axis=0)
        assert np.sqrt(step.max()) < 0.2
        bend = np.sum(np.diff(field, n=2, axis=axis) ** 2, axis=0)
        assert np.sqrt(bend.max()) < 0.08
    assert np.sqrt(np.mean(np.sum((field[:, 14:] - field[:, :14]) ** 2, axis=0))) > 1  # apart


def test_brighten_clips(device):
    x = np.asarray([[0.0, 0.2], [0.6, 1.0]]).reshape(1, 1, 2, 2)
    x = np.concatenate([x, x])
    y = brighten(device.asarray(x), device.asarray(np.asarray([2.0, -1.0])), [0.1, 0.5])
    want = [[[[0.1, 0.5], [1, 1]]], [[[0.5, 0.3], [0, 0]]]]
    np.testing.assert_allclose(to_numpy(y), want, atol=1e-15)
    bright = augmented(digits(50), brightness=1.0)
    assert bright.min() == 0
    assert bright.max() == 1


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"rotate": -1}, "rotate must be finite and 0 or more, got -1"),
        ({"elastic": float("nan")}, "elastic must be finite and 0 or more, got nan"),
        ({"scale": 1}, "scale must be below 1, got 1; try 0.1"),
        ({"brightness": 1.5}, "brightness must be at most 1, got 1.5; try 0.2"),
        ({"crop": 1.5}, "crop must be a whole number, got 1.5"),
        ({"seed": 2**32}, "seed must be below 2.32, got 4294967296"),
    ],
)
def test_strengths_without_sense_are_refused(how, message):
    with pytest.raises(ArgumentError, match=message):
        Augmentation(**how)


X, T = synthetic_digits(90, seed=2)  # 5 steps of 20: small enough for torch to use one thread


def batches(device=CPU, **options):
    return Batches(X, T, 20, device=device, seed=1, augment=Augmentation(**ALL), **options)


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_augmented_by_the_number_of_the_step(device, resident):
    """Any epoch by itself: 5 steps an epoch, so that the second begins with step 5."""
    plain = Batches(X, T, 20, device=device, seed=1).epoch(1)
    parts = zip(batches(device, resident=resident).epoch(1), plain, strict=True)
    for i, ((x, t), (before, labels)) in enumerate(parts):
        want = augmented(to_numpy(before), 5 + i, device, **ALL)
        np.testing.assert_array_equal(to_numpy(x), want)
        np.testing.assert_array_equal(to_numpy(t), to_numpy(labels))
    assert i == 4


def test_evaluation_sees_images_as_they_are(device):
    seen = [to_numpy(x) for x, _ in batches(device).in_order(20)]
    np.testing.assert_array_equal(np.concatenate(seen), X.astype(np.float32) / 255)


def trained(device, augment=None, **options):
    net = TwoLayerNet(784, 20, 10, rng=0, device=device)
    run = Trainer(net, X, T, X, T, 1, 20, SGD(0.1), verbose=False, augment=augment, **options)
    run.train()
    return to_numpy(net.params.flat)


def test_training_repeats_bit_for_bit_and_streams_alike(device):
    augment = Augmentation(**ALL)
    weights = trained(device, augment)
    np.testing.assert_array_equal(trained(device, augment), weights)
    np.testing.assert_array_equal(trained(device, augment, resident=False), weights)
    assert np.any(trained(device) != weights)


def test_it_is_shown_by_what_it_changes():
    assert repr(Augmentation()) == "Augmentation()"
    shown = repr(Augmentation(rotate=15.0, flip=True))
    assert shown == "Augmentation(rotate=15.0, flip=True)"
    assert eval(shown) == Augmentation(rotate=15.0, flip=True)
