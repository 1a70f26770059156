import re

import numpy as np
import pytest

from xpnet.data.synthetic import BLOCK, SIZE, STROKES, WRITINGS, _curve, _distance, synthetic_digits
from xpnet.errors import ArgumentError


@pytest.mark.parametrize("k", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_first_images_do_not_depend_on_how_many_follow(k):
    images, labels = synthetic_digits(BLOCK + 3, seed=7)
    x, t = synthetic_digits(k, seed=7)
    assert x.shape == (k, 1, 28, 28)
    assert t.shape == (k,)
    assert x.dtype == t.dtype == np.uint8
    np.testing.assert_array_equal(x, images[:k])
    np.testing.assert_array_equal(t, labels[:k])


def test_seeds_and_blocks_differ():
    a, b = synthetic_digits(2 * BLOCK, seed=0)[0], synthetic_digits(2 * BLOCK, seed=1)[0]
    assert len({x.tobytes() for x in [*a, *b]}) == 4 * BLOCK


def test_every_ten_images_show_each_digit_once():
    tens = synthetic_digits(1000)[1].reshape(-1, 10)
    assert (np.sort(tens, axis=1) == np.arange(10)).all()
    assert len({ten.tobytes() for ten in tens}) == 100


def test_light_strokes_inside_a_dark_border():
    x = synthetic_digits(2000)[0][:, 0]
    assert x.max(axis=(1, 2)).min() > 120
    assert 0.75 < np.mean(x == 0) < 0.85  # MNIST: 0.81
    border = np.concatenate([x[:, [0, -1]].ravel(), x[:, :, [0, -1]].ravel()])
    assert np.mean(border > 50) < 0.01


def test_distance_is_that_to_the_nearest_point():
    """Against many points on each segment, in float64."""
    rng = np.random.default_rng(0)
    ends = rng.uniform(0, SIZE, (3, 4, 2, 2))
    ends[0, 0, 1] = ends[0, 0, 0]  # a segment without length
    t = np.linspace(0, 1, 2001)[:, np.newaxis]
    points = ends[:, :, :1] * (1 - t) + ends[:, :, 1:] * t
    y, x = np.mgrid[:SIZE, :SIZE]
    want = [
        np.hypot(x[..., np.newaxis] - p[:, 0], y[..., np.newaxis] - p[:, 1]).min(axis=-1)
        for p in points.reshape(3, -1, 2)
    ]
    # The points lie at most 40 / 2000 apart; from half of that away, they differ as much at most.
    np.testing.assert_allclose(_distance(ends.astype(np.float32)), want, atol=0.01)


def test_curve_through_a_circle_is_nearly_round():
    angle = np.linspace(0, 2 * np.pi, 9)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1).round(12)
    curve = _curve(points)
    assert {*map(tuple, points)} <= {*map(tuple, curve.round(12))}
    np.testing.assert_allclose(np.hypot(*curve.T), 1, atol=0.01)


def test_curve_through_two_points_is_an_even_line():
    points = np.array([[0.0, 1.0], [0.6, 1.0]])
    np.testing.assert_allclose(_curve(points, step=0.2), [[0, 1], [0.2, 1], [0.4, 1], [0.6, 1]])


def test_strokes_are_joined_and_stay_in_the_box():
    for strokes, segments in zip(
        (way for ways in STROKES.values() for way in ways),
        (way for ways in WRITINGS for way in ways),
        strict=True,
    ):
        breaks = (segments[1:, 0] != segments[:-1, 1]).any(axis=1).sum()
        assert breaks <= len(strokes) - 1
        assert -0.05 < segments.min() < segments.max() < 1.05
        assert np.hypot(*(segments[:, 1] - segments[:, 0]).T).max() < 0.2


def test_a_linear_classifier_learns_much_but_not_all():
    """Least squares on 3000 images gets 80 to 95 % of 1000 others: 85-87 for seeds 0-3."""
    x, t = synthetic_digits(4000)
    features = np.c_[x.reshape(len(x), -1) / 255, np.ones(len(x))]
    ridge = features[:3000].T @ features[:3000] + 10 * np.eye(785)
    weights = np.linalg.solve(ridge, features[:3000].T @ np.eye(10)[t[:3000]])
    accuracy = np.mean((features[3000:] @ weights).argmax(axis=1) == t[3000:])
    assert 0.8 < accuracy < 0.95


@pytest.mark.parametrize(("name", "value"), [("n", -1), ("n", 2.0), ("n", "3"), ("seed", -1)])
def test_arguments_that_are_no_counts(name, value):
    text = f"synthetic_digits: expected {name} to be an integer from 0, got {value!r}"
    with pytest.raises(ArgumentError, match=f"^{re.escape(text)}$"):
        synthetic_digits(**{"n": 1, name: value})
