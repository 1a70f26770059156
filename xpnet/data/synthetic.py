"""Digits drawn by a program, for where MNIST cannot be had.

Each digit is a few pen strokes in a unit box. An image takes one way to write its digit, bends and
leans it at random, and draws it with a pen of random width: light on dark, as in MNIST.
"""

import numpy as np
from numpy.typing import NDArray

from xpnet.arguments import whole
from xpnet.errors import ArgumentError

MOST = 10**7
"""Images that are drawn at once; they take 8 GB."""

Points = list[tuple[float, float]]
Floats = NDArray[np.float32]

SIZE = 28  # pixels a side
BOX = 19.0  # pixels a side of the unit box in which strokes are written
BLOCK = 500  # images drawn from one generator: image i is the same whatever n is

# Ways to write each digit: lists of strokes, x to the right and y down. A stroke is a smooth curve
# through its points; where the pen turns sharply one stroke ends and the next begins.
STROKES: dict[int, list[list[Points]]] = {
    0: [
        [[(0.5, 0), (0.22, 0.2), (0.17, 0.55), (0.3, 0.9), (0.52, 1), (0.74, 0.85), (0.83, 0.5),
          (0.76, 0.16), (0.5, 0)]],
        [[(0.62, 0.05), (0.4, 0.02), (0.17, 0.35), (0.18, 0.75), (0.42, 1), (0.7, 0.85),
          (0.84, 0.5), (0.75, 0.12), (0.45, 0.08)]],
    ],
    1: [
        [[(0.5, 0), (0.5, 0.5), (0.5, 1)]],
        [[(0.3, 0.22), (0.42, 0.14), (0.53, 0)], [(0.53, 0), (0.53, 1)]],
        [[(0.3, 0.2), (0.42, 0.12), (0.52, 0)], [(0.52, 0), (0.52, 1)], [(0.25, 1), (0.8, 1)]],
    ],
    2: [
        [[(0.18, 0.25), (0.3, 0.05), (0.55, 0), (0.76, 0.15), (0.74, 0.4), (0.5, 0.7), (0.17, 1)],
         [(0.17, 1), (0.85, 0.98)]],
        [[(0.2, 0.2), (0.45, 0), (0.73, 0.12), (0.72, 0.42), (0.48, 0.78), (0.25, 0.97),
          (0.15, 0.85), (0.32, 0.78), (0.58, 0.93), (0.88, 0.95)]],
    ],
    3: [
        [[(0.2, 0.12), (0.48, 0), (0.74, 0.14), (0.68, 0.37), (0.4, 0.47)],
         [(0.4, 0.47), (0.7, 0.54), (0.81, 0.74), (0.62, 0.95), (0.37, 1), (0.15, 0.87)]],
        [[(0.2, 0.03), (0.76, 0.02)], [(0.76, 0.02), (0.42, 0.4)],
         [(0.42, 0.4), (0.68, 0.45), (0.82, 0.68), (0.65, 0.93), (0.4, 1), (0.16, 0.88)]],
    ],
    4: [
        [[(0.3, 0), (0.2, 0.3), (0.16, 0.56)], [(0.16, 0.56), (0.85, 0.52)],
         [(0.7, 0.05), (0.68, 0.5), (0.64, 1)]],
        [[(0.64, 0), (0.4, 0.32), (0.12, 0.66)], [(0.12, 0.66), (0.9, 0.66)],
         [(0.64, 0), (0.64, 1)]],
    ],
    5: [
        [[(0.8, 0.02), (0.3, 0.02)], [(0.3, 0.02), (0.24, 0.43)],
         [(0.24, 0.43), (0.5, 0.36), (0.76, 0.5), (0.78, 0.78), (0.52, 1), (0.17, 0.9)]],
    ],
    6: [
        [[(0.68, 0), (0.42, 0.18), (0.24, 0.5), (0.22, 0.8), (0.45, 1), (0.72, 0.88), (0.74, 0.64),
          (0.52, 0.52), (0.25, 0.72)]],
        [[(0.38, 0), (0.25, 0.35), (0.2, 0.7), (0.38, 0.98), (0.66, 0.94), (0.78, 0.72),
          (0.6, 0.54), (0.36, 0.6), (0.22, 0.78)]],
    ],
    7: [
        [[(0.15, 0.06), (0.82, 0.03)], [(0.82, 0.03), (0.58, 0.45), (0.42, 1)]],
        [[(0.15, 0.06), (0.82, 0.03)], [(0.82, 0.03), (0.58, 0.45), (0.42, 1)],
         [(0.32, 0.52), (0.78, 0.5)]],
        [[(0.17, 0.2), (0.18, 0.05)], [(0.18, 0.05), (0.82, 0.03)],
         [(0.82, 0.03), (0.65, 0.4), (0.55, 1)]],
    ],
    8: [
        [[(0.5, 0.47), (0.26, 0.28), (0.3, 0.06), (0.52, 0), (0.74, 0.08), (0.74, 0.28),
          (0.5, 0.47), (0.22, 0.7), (0.26, 0.93), (0.5, 1), (0.77, 0.92), (0.78, 0.7),
          (0.5, 0.47)]],
        [[(0.72, 0.12), (0.5, 0), (0.27, 0.14), (0.34, 0.36), (0.62, 0.54), (0.76, 0.78),
          (0.52, 1), (0.26, 0.82), (0.36, 0.58), (0.64, 0.36), (0.74, 0.12)]],
    ],
    9: [
        [[(0.76, 0.2), (0.55, 0.02), (0.28, 0.12), (0.24, 0.4), (0.5, 0.5), (0.74, 0.3),
          (0.77, 0.12)], [(0.77, 0.12), (0.74, 0.5), (0.68, 1)]],
        [[(0.76, 0.25), (0.6, 0.02), (0.3, 0.08), (0.22, 0.35), (0.45, 0.5), (0.7, 0.38),
          (0.77, 0.18), (0.77, 0.6), (0.6, 0.95), (0.25, 0.94)]],
    ],
}  # fmt: skip


def synthetic_digits(n: int, *, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw n digits.

    Every ten images in a row show each digit once, in random order, and the first k images of
    n are those of k alone.

    Returns
    -------
    images (n, 1, 28, 28) and labels (n,), both uint8

    Raises
    ------
    ArgumentError
        n or seed is not an integer from 0.
    """
    for name, value in {"n": n, "seed": seed}.items():
        if not whole(value) or value < 0:
            raise ArgumentError(
                f"synthetic_digits: expected {name} to be an integer from 0, got {value!r}"
            )
    if n > MOST:
        raise ArgumentError(f"synthetic_digits: at most {MOST} images are drawn, got n={n}")
    images = np.empty((n, 1, SIZE, SIZE), np.uint8)
    labels = np.empty(n, np.uint8)
    for block, start in enumerate(range(0, n, BLOCK)):
        part = slice(start, start + BLOCK)
        count = len(labels[part])
        images[part, 0], labels[part] = _block(np.random.default_rng([seed, block]), count)
    return images, labels


def _block(rng: np.random.Generator, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw the first `count` of BLOCK images; what is random is drawn for all of them."""
    n = BLOCK
    digits = rng.permuted(np.tile(np.arange(10), (n // 10, 1)), axis=1).reshape(n)
    ways = rng.integers(0, 60, n)  # 60 is a multiple of every number of ways

    # Three waves bend the plane: p + sum of a sin(2 pi f.p + phase), f and a two-dimensional.
    frequency = rng.normal(0, 0.6, (n, 2, 3))
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 3))
    amplitude = rng.uniform(-0.065, 0.065, (n, 3, 2))

    # p -> p A, a rotation after a lean after a stretch, in pixels.
    angle = rng.normal(0, 0.13, n)
    lean = rng.normal(0.1, 0.2, n)
    width = rng.uniform(0.7, 1.1, n)
    height = rng.uniform(0.85, 1.05, n)
    c, s = np.cos(angle), np.sin(angle)
    A = BOX * _matrices(width, 0, 0, height) @ _matrices(1, 0, -lean, 1) @ _matrices(c, s, -s, c)
    middle = (SIZE - 1) / 2 + rng.normal(0, 0.9, (n, 1, 2))

    radius = rng.uniform(0.7, 1.7, n)
    edge = rng.uniform(0.8, 1.6, n)
    brightness = rng.uniform(200, 275, n)
    noise = rng.standard_normal((n, SIZE, SIZE), dtype=np.float32)

    distance = np.empty((count, SIZE, SIZE), np.float32)
    for digit, writings in enumerate(WRITINGS):
        for way, ends in enumerate(writings):
            i = np.flatnonzero((digits == digit) & (ways % len(writings) == way))
            i = i[i < count]
            p = ends.reshape(1, -1, 2)
            p = p + np.sin(2 * np.pi * p @ frequency[i] + phase[i]) @ amplitude[i]
            p = p @ A[i]
            p = p - (p.max(axis=1, keepdims=True) + p.min(axis=1, keepdims=True)) / 2 + middle[i]
            distance[i] = _distance(p.reshape(len(i), *ends.shape).astype(np.float32))

    def each(a: NDArray[np.float64]) -> Floats:
        return a[:count, np.newaxis, np.newaxis].astype(np.float32)

    ink = np.clip(0.5 + (each(radius) - distance) / each(edge), 0, 1)
    # Without ink the noise must exceed 2.5 of its deviations to show: there, 99 % stays 0.
    values = each(brightness) * ink + 10 * noise[:count] - 25 * (ink == 0)
    return np.clip(values, 0, 255).astype(np.uint8), digits[:count].astype(np.uint8)


def _matrices(*entries: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Matrices (n, 2, 2) from their four entries, row by row, each (n,) or one for all."""
    return np.stack(np.broadcast_arrays(*entries), axis=-1).reshape(-1, 2, 2)


def _distance(ends: Floats) -> Floats:
    """Distance from each pixel to the nearest segment: (n, segment, end, xy) -> (n, SIZE, SIZE)."""
    pixel = np.arange(SIZE, dtype=np.float32)
    nearest = np.full((len(ends), SIZE, SIZE), np.inf, np.float32)
    for a, b in ends.transpose(1, 2, 0, 3):
        dx, dy = np.split(b - a, 2, axis=1)
        length, angle = np.hypot(dx, dy), np.arctan2(dy, dx)  # both 0 where a is b
        c, s = np.cos(angle), np.sin(angle)
        x, y = pixel - a[:, :1], pixel - a[:, 1:]
        along = (c * x)[:, np.newaxis, :] + (s * y)[:, :, np.newaxis]
        across = (c * y)[:, :, np.newaxis] - (s * x)[:, np.newaxis, :]
        along -= np.clip(along, 0, length[:, np.newaxis])  # what lies beyond an end
        np.minimum(nearest, along * along + across * across, out=nearest)
    return np.sqrt(nearest)


def _segments(strokes: list[Points]) -> NDArray[np.float64]:
    """Cut strokes into short straight segments: (segment, end, xy)."""
    lines = [_curve(np.array(points)) for points in strokes]
    return np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line in lines])


def _curve(p: NDArray[np.float64], step: float = 0.12) -> NDArray[np.float64]:
    """Points every `step` or so on the Catmull-Rom spline through p, closed if p is."""
    closed = np.array_equal(p[0], p[-1])
    before = p[-2] if closed else 2 * p[0] - p[1]
    after = p[1] if closed else 2 * p[-1] - p[-2]
    q = np.stack([before, *p, after])
    curve = [p[:1]]
    for p0, p1, p2, p3 in zip(q, q[1:], q[2:], q[3:], strict=False):
        pieces = max(1, round(float(np.hypot(*(p2 - p1))) / step))
        t = np.arange(1, pieces + 1)[:, np.newaxis] / pieces
        slope, bend, twist = p2 - p0, 2 * p0 - 5 * p1 + 4 * p2 - p3, 3 * (p1 - p2) + p3 - p0
        curve.append(p1 + (slope * t + bend * t**2 + twist * t**3) / 2)
    return np.concatenate(curve)


WRITINGS = [[_segments(strokes) for strokes in ways] for ways in STROKES.values()]
