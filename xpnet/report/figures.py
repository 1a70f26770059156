"""Numbers and images that the book's figures of filters and of moved digits show."""

import numpy as np

from xpnet.arrays import Array, to_numpy
from xpnet.data.augment import rotate, shift


def neighbour_correlation(W: np.ndarray) -> float:
    """Sum of w w' over weights next to each other / the same if every w' were w, 1 at most."""
    pairs = [(W[..., 1:, :], W[..., :-1, :]), (W[..., 1:], W[..., :-1])]
    products = sum(float(np.sum(a * b)) for a, b in pairs)
    squares = sum(float(np.sum(a * a + b * b)) / 2 for a, b in pairs)
    return products / squares if squares else 0.0


def edge_answers(W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of squares of each filter's output on a vertical and on a horizontal edge, (FN,) each.

    The picture is -1 left of the vertical edge and +1 right of it; the sum is over the places where
    the edge lies within the window, in one row, since all rows are alike. The answer to a
    horizontal edge is the same with rows for columns. With w(k) the sum of column k of a filter,
    its output where the edge lies before column e of the window is the sum of w(k) for k >= e, less
    that for k < e; e runs from 1 to FW - 1.

    Parameters
    ----------
    W : (FN, 1, FH, FW)
    """
    answers = []
    for axis in (1, 2):  # a vertical edge meets columns, which are sums over rows
        lines = W[:, 0].sum(axis=axis, dtype=np.float64)
        before = np.cumsum(lines, axis=1)[:, :-1]
        after = lines.sum(axis=1, keepdims=True) - before
        answers.append(np.sum((after - before) ** 2, axis=1))
    return answers[0], answers[1]


def turned_and_shifted(x: Array, *, angle: float, step: float) -> dict[str, np.ndarray]:
    """Turn images both ways by `angle` degrees, and shift them by `step` pixels, each by its title.

    Parameters
    ----------
    x : (N, C, H, W), floats, on any device
    """
    moved = {
        f"turned {angle:g}°": rotate(x, angle),
        f"turned {-angle:g}°": rotate(x, -angle),
        f"{step:g} down": shift(x, down=step),
        f"{step:g} right": shift(x, right=step),
        f"{step:g} up and left": shift(x, -step, -step),
    }
    return {title: to_numpy(images) for title, images in moved.items()}
