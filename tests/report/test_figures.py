"""What figures of filters and of moved digits show."""

import numpy as np
import pytest

from xpnet.data.augment import rotate
from xpnet.report.figures import edge_answers, neighbour_correlation, turned_and_shifted


def test_neighbours_in_smooth_and_random_filters():
    assert neighbour_correlation(np.ones((2, 1, 5, 5))) == pytest.approx(1)
    checks = (-1.0) ** np.add.outer(np.arange(5), np.arange(5))
    assert neighbour_correlation(checks[np.newaxis, np.newaxis]) == pytest.approx(-1)
    random = np.random.default_rng(0).standard_normal((999, 1, 5, 5))
    assert abs(neighbour_correlation(random)) < 0.02
    assert neighbour_correlation(np.zeros((1, 1, 5, 5))) == 0


def test_edge_answers_are_outputs_on_edges():
    """Against the picture that the docstring describes, by sliding the window over it."""
    W = np.random.default_rng(0).standard_normal((3, 1, 4, 5))
    vertical, horizontal = edge_answers(W)
    columns, rows = np.sign(np.arange(8) - 3.5), np.sign(np.arange(6) - 2.5)
    want = [[np.sum(w[0] @ columns[e : e + 5]) ** 2 for e in range(4)] for w in W]
    np.testing.assert_allclose(vertical, np.sum(want, axis=1))
    want = [[np.sum(rows[e : e + 4] @ w[0]) ** 2 for e in range(3)] for w in W]
    np.testing.assert_allclose(horizontal, np.sum(want, axis=1))


def test_moved_images_are_under_what_was_done_to_them():
    x = np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)
    moved = turned_and_shifted(x, angle=10, step=2)
    titles = ["turned 10°", "turned -10°", "2 down", "2 right", "2 up and left"]
    assert list(moved) == titles
    np.testing.assert_array_equal(moved["turned 10°"], rotate(x, 10))
    np.testing.assert_array_equal(moved["2 down"][:, :, 2:], x[:, :, :-2])
    np.testing.assert_array_equal(moved["2 right"][..., 2:], x[..., :-2])
    np.testing.assert_array_equal(moved["2 up and left"][:, :, :-2, :-2], x[:, :, 2:, 2:])
