"""Drawings of streets for `road_scene`.

Rows y run down from 0, columns x to the right. The road's edges meet at the point (vx, h) on the
horizon; t is 0 there and 1 in the lowest row. Formulas are evaluated as they are written: rounded
otherwise, pixels at an edge would be the other side's.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

HEIGHT, WIDTH = 48, 64
NOISE = 8.0
"""Standard deviation of what is added to every colour of every pixel."""
SKY, BUILDING, ROAD, SIDEWALK, TREE, VEHICLE = range(6)

Y, X = (each.astype(np.float64) for each in np.mgrid[:HEIGHT, :WIDTH])


class Street(NamedTuple):
    """The lines that a street is drawn by: columns are those of the lowest row."""

    h: int
    vx: int
    left: int
    right: int
    left_side: int
    right_side: int

    def edge(self, column: int, t: Any) -> Any:
        """The column, at t, of an edge that begins at a column of the lowest row."""
        return self.vx + (column - self.vx) * t


class Thing(NamedTuple):
    """A tree or a vehicle: how near it is, on which side, where there, how large, its colour."""

    is_tree: bool
    d: float
    side: int
    f: float
    z: float
    c: Floats


@dataclass
class _Canvas:
    """Colours (H, W, 3) from 0 to 255, and the class of each pixel."""

    colours: Floats
    labels: NDArray[np.uint8]

    def paint(self, where: Mask, colour: Floats | tuple[float, ...], label: int) -> None:
        self.colours[where] = colour
        self.labels[where] = label


def road_picture(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a picture (48, 64, 3) and its labels (48, 64)."""
    h, vx = int(rng.integers(14, 21)), int(rng.integers(24, 41))
    left = int(rng.integers(-8, 9))
    right = int(rng.integers(WIDTH - 9, WIDTH + 8))
    left_side, right_side = map(int, rng.integers(8, 21, 2))
    street = Street(h, vx, left, right, left_side, right_side)
    b = rng.uniform(150, 230)
    canvas = _Canvas(np.empty((HEIGHT, WIDTH, 3)), np.empty((HEIGHT, WIDTH), dtype=np.uint8))
    canvas.paint(np.ones((HEIGHT, WIDTH), dtype=bool), (0.75 * b, 0.9 * b, b), SKY)
    _draw_buildings(canvas, street, rng)
    _draw_ground(canvas, street, rng)
    things = [_drawn_thing(rng, is_tree=True) for _ in range(rng.integers(0, 5))]
    things += [_drawn_thing(rng, is_tree=False) for _ in range(rng.integers(1, 4))]
    for thing in sorted(things, key=lambda thing: thing.d):
        (_draw_tree if thing.is_tree else _draw_vehicle)(canvas, street, thing)
    lit = canvas.colours * rng.uniform(0.7, 1.2) + rng.normal(0, NOISE, (HEIGHT, WIDTH, 3))
    return np.floor(np.clip(lit, 0, 255) + 0.5).astype(np.uint8), canvas.labels


def _draw_buildings(canvas: _Canvas, street: Street, rng: np.random.Generator) -> None:
    """Rows of houses at both sides, lower towards the horizon, with gaps and windows."""
    h, vx = street.h, street.vx
    windows = (Y % 5 < 2) & (X % 4 < 2)
    for side in (0, 1):
        outer = street.right + street.right_side if side else street.left - street.left_side
        half = vx <= X if side else vx > X
        ground = h + (X - vx) / (outer - vx) * (HEIGHT - 1 - h)
        a = 0
        while a < WIDTH // 2 + 12:
            w, slope = int(rng.integers(6, 15)), rng.uniform(0.25, 0.7)
            kind, colour = rng.uniform(), rng.uniform(60, 200, 3)
            colour = 0.5 * colour + 0.5 * colour.mean()
            first = WIDTH - a - w if side else a
            wall = half & (first <= X) & (first + w > X) & (ground >= Y)
            wall &= h - slope * np.abs(X - vx) - 3 <= Y
            if kind >= 0.15:
                canvas.paint(wall, colour, BUILDING)
                canvas.paint(wall & windows, 0.55 * colour, BUILDING)
            a += w


def _draw_ground(canvas: _Canvas, street: Street, rng: np.random.Generator) -> None:
    """The road with its middle line, sidewalks, and walls behind them."""
    g, s = rng.uniform(60, 115), rng.uniform(125, 185)
    t = (Y - street.h) / (HEIGHT - 1 - street.h)
    below = street.h < Y
    outer = street.edge(street.left - street.left_side, t)
    other = street.edge(street.right + street.right_side, t)
    canvas.paint(below & (outer <= X) & (other >= X), (s, 0.97 * s, 0.92 * s), SIDEWALK)
    canvas.paint(below & (canvas.labels == SKY), (110, 100, 95), BUILDING)
    left, right = street.edge(street.left, t), street.edge(street.right, t)
    road = below & (left <= X) & (right >= X)
    canvas.paint(road, (g, g, g), ROAD)
    dashes = np.floor(8 * np.sqrt(np.maximum(t, 0))) % 2 == 0
    line = np.abs(X - (left + right) / 2) <= 0.5 + t
    canvas.paint(road & line & dashes, (225, 225, 225), ROAD)


def _drawn_thing(rng: np.random.Generator, *, is_tree: bool) -> Thing:
    """Draw at random what a tree or a vehicle is like."""
    d = rng.uniform(0.25, 1 if is_tree else 0.95)
    side = int(rng.integers(0, 2))
    f = rng.uniform(0.3, 0.7) if is_tree else rng.uniform(-0.06, 0.06)
    z = rng.uniform(0.7, 1.3) if is_tree else rng.uniform(0.85, 1.15)
    return Thing(is_tree, d, side, f, z, rng.uniform(0, 1, 3))


def _draw_tree(canvas: _Canvas, street: Street, tree: Thing) -> None:
    """A trunk on the sidewalk, and a crown."""
    y0 = street.h + tree.d * (HEIGHT - 1 - street.h)
    inner = street.right if tree.side else street.left
    outer = street.right + street.right_side if tree.side else street.left - street.left_side
    near, far = street.edge(inner, tree.d), street.edge(outer, tree.d)
    x0 = near + tree.f * (far - near)
    ht = 26 * tree.d * tree.z
    trunk = (np.abs(X - x0) <= max(0.5, 0.05 * ht)) & (y0 - 0.6 * ht <= Y) & (y0 >= Y)
    canvas.paint(trunk, (85, 60, 40), TREE)
    across, down = (X - x0) / (0.32 * ht), (Y - (y0 - 0.7 * ht)) / (0.38 * ht)
    c = tree.c
    colour = (30 + 50 * c[0], 80 + 60 * c[1], 30 + 40 * c[2])
    canvas.paint(across**2 + down**2 <= 1, colour, TREE)


def _draw_vehicle(canvas: _Canvas, street: Street, vehicle: Thing) -> None:
    """A body on the road with wheels, a cabin, and a window in it."""
    y0 = street.h + vehicle.d * (HEIGHT - 1 - street.h)
    left, right = street.edge(street.left, vehicle.d), street.edge(street.right, vehicle.d)
    w = 0.30 * (right - left) * vehicle.z
    hh = 0.62 * w
    x0 = left + (0.73 if vehicle.side else 0.27) * (right - left) + vehicle.f * (right - left)
    away = np.abs(X - x0)
    body = (away <= w / 2) & (y0 - 0.55 * hh <= Y) & (y0 >= Y)
    cabin = (away <= 0.36 * w) & (y0 - hh <= Y) & (y0 - 0.5 * hh >= Y)
    window = (away <= 0.28 * w) & (y0 - 0.9 * hh <= Y) & (y0 - 0.58 * hh >= Y)
    wheels = body & (y0 - 0.12 * hh <= Y) & (np.abs(away - 0.36 * w) <= 0.1 * w)
    canvas.paint(body | cabin, 40 + 200 * vehicle.c, VEHICLE)
    canvas.paint(window, (60, 75, 90), VEHICLE)
    canvas.paint(wheels, (20, 20, 20), VEHICLE)
