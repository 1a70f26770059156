"""Numbers of generated images: the worked examples, what they must be, and what is refused."""

import numpy as np
import pytest

from tolerances import P10, assert_near
from xpnet import SimpleConvNet
from xpnet.arrays import to_numpy
from xpnet.errors import ArgumentError
from xpnet.functions.activations import softmax
from xpnet.report.generation import (
    Gaussian,
    class_score,
    digest,
    frechet_distance,
    gaussian_of,
    judged,
    nearest_distances,
    seen,
)

P = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5], [0.05, 0.05, 0.9]]
M1, C1 = [0.0, 1.0], [[2.0, 0.5], [0.5, 1.0]]
M2, C2 = [1.0, -1.0], [[1.0, 0.2], [0.2, 3.0]]


def test_the_class_score_of_the_worked_example(device):
    assert_near(class_score(device.asarray(P)), 1.4449460792, P10)
    same = device.asarray([[0.5, 0.5, 0.0]] * 4)
    assert_near(class_score(same), 1.0, P10)
    assert_near(class_score(device.asarray(np.eye(10))), 10.0, P10)
    assert_near(class_score(device.asarray(P, dtype="float32")), 1.4449460792, {"rtol": 1e-6})


def test_the_frechet_distance_of_the_worked_example(device):
    a, b = (Gaussian(*map(device.asarray, each)) for each in ((M1, C1), (M2, C2)))
    assert_near(frechet_distance(a, b), 5.7543862845, P10)
    assert_near(frechet_distance(b, a), 5.7543862845, P10)
    assert abs(frechet_distance(a, a)) < 1e-13


def test_the_frechet_distance_of_features(device):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 6)) @ rng.standard_normal((6, 6))
    x[:, 5] = 2.0  # a unit that is always the same: a covariance without an inverse
    found = gaussian_of(device.asarray(x))
    assert_near(found.mean, x.mean(axis=0), P10)
    assert_near(found.covariance, np.cov(x.T), P10)
    moved = gaussian_of(device.asarray(x + np.arange(6.0)))
    assert_near(frechet_distance(found, moved), 55.0, {"rtol": 1e-10})
    # Of covariances with common eigenvectors: sum over them of (s1 - s2)^2.
    spread = [1.0, 2.0, 0.5]
    one = Gaussian(device.asarray([0.0] * 3), device.asarray(np.diag(np.square(spread))))
    other = Gaussian(device.asarray([0.0] * 3), device.asarray(np.eye(3)))
    assert_near(frechet_distance(one, other), 1.25, P10)


def test_frechet_distance_is_that_by_scipy():
    linalg = pytest.importorskip("scipy.linalg", reason="scipy is not installed")
    rng = np.random.default_rng(1)
    a, b = (gaussian_of(rng.standard_normal((40, 7)) @ rng.standard_normal((7, 7))) for _ in "ab")
    root = linalg.sqrtm(a.covariance @ b.covariance)
    gap = a.mean - b.mean
    want = gap @ gap + np.trace(a.covariance + b.covariance - 2 * root.real)
    assert_near(frechet_distance(a, b), want, {"rtol": 1e-9})


def test_a_judge_tells_classes_and_what_its_last_layer_reads(device):
    judge = SimpleConvNet(
        (1, 8, 8), {"filter_num": 2, "filter_size": 3, "pad": 0, "stride": 1}, hidden_size=5,
        weight_init_std=0.5, rng=0, device=device,
    )  # fmt: skip
    x = np.random.default_rng(0).integers(256, size=(7, 1, 8, 8), dtype=np.uint8)
    found = seen(judge, device.asarray(x))
    scores = to_numpy(judge.predict(x)).astype(float)
    assert_near(found.probabilities, softmax(scores), {"rtol": 1e-6})
    assert found.features.shape == (7, 5)
    assert found.features.min() >= 0
    weights, bias = (to_numpy(judge.params[name]) for name in ("W3", "b3"))
    assert_near(found.features @ weights + bias, scores, {"rtol": 1e-4, "atol": 1e-5})
    counted = np.bincount(scores.argmax(axis=1), minlength=10) / 7
    np.testing.assert_array_equal(found.shares, counted)


def test_images_are_judged_beside_real_ones():
    judge = SimpleConvNet((1, 8, 8), hidden_size=5, weight_init_std=0.5, rng=0)
    x = np.random.default_rng(0).random((2, 30, 1, 8, 8), dtype=np.float32)
    real = seen(judge, x[0])
    found = judged(judge, x[1], real)
    assert found == judged(judge, x[1], x[0])
    own = seen(judge, x[1])
    assert found.class_score == class_score(own.probabilities)
    both = (gaussian_of(each.features) for each in (own, real))
    assert found.frechet_distance == frechet_distance(*both) > 0
    assert found.shares == tuple(own.shares)
    assert found.judge == digest(judge)
    assert abs(judged(judge, x[0], real).frechet_distance) < 1e-6 * found.frechet_distance


def test_a_digest_follows_every_weight():
    one, same, other = (SimpleConvNet((1, 8, 8), rng=seed) for seed in (0, 0, 1))
    assert digest(one) == digest(same) != digest(other)
    assert len(digest(one)) == 16
    same.params["b3"][0] += 1
    assert digest(one) != digest(same)


def test_distances_to_the_nearest():
    rng = np.random.default_rng(0)
    a, b = rng.random((6, 1, 3, 3)), rng.random((11, 1, 3, 3))
    want = [min(np.linalg.norm(x - y) for y in b) for x in a]
    np.testing.assert_allclose(nearest_distances(a, b), want, rtol=1e-7)
    pixels = (b * 255).round().astype(np.uint8)
    np.testing.assert_allclose(nearest_distances(pixels[:2], pixels), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_score(np.ones(3) / 3), r"needs probabilities \(N, K\)"),
        (lambda: class_score(np.ones((2, 3))), r"give the softmax of the scores$"),
        (lambda: class_score(np.array([[np.nan, 1.0]])), r"give the softmax of the scores$"),
        (lambda: gaussian_of(np.ones((1, 3))), r"of at least 2 images, got \(1, 3\)"),
        (
            lambda: frechet_distance(
                Gaussian(np.ones(2), np.eye(2)), Gaussian(np.ones(3), np.eye(3))
            ),
            "of one judge$",
        ),
        (
            lambda: frechet_distance(*[Gaussian(np.array([np.nan]), np.eye(1))] * 2),
            "needs finite numbers",
        ),
        (lambda: nearest_distances(np.ones((0, 2)), np.ones((1, 2))), "at least one of each kind"),
        (
            lambda: seen(SimpleConvNet(rng=0), np.ones((0, 1, 28, 28))),
            "at least one image, got none",
        ),
    ],
)
def test_what_is_no_judgement_is_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
