"""Scenes that a program lays out, in which every pixel and every object is known.

Digit scenes are grey pictures with a few handwritten digits among scraps of others, road scenes are
coloured views along a street. Scene i of a seed is the same whatever else is drawn.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.arguments import checked
from xpnet.data.dataset import Dataset, load_dataset
from xpnet.data.roads import road_picture
from xpnet.errors import ArgumentError
from xpnet.models.detections import Objects
from xpnet.models.fcn import IGNORED

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

SIDE = 28
"""Pixels a side of the images of digits."""
SMALLEST, LARGEST = 18, 30
"""Pixels a side to which they are brought."""
PIECES, PIECE = 8, 8
"""Scraps of digits in a scene, and pixels a side of one."""
TRIES, OVERLAP = 20, 0.1
"""How often a free place is looked for, and how much of the union two boxes may share."""
NOISE = 8.0
"""Standard deviation of what is added to every pixel."""

DIGIT_CLASSES = ("background", *map(str, range(10)))
ROAD_CLASSES = ("sky", "building", "road", "sidewalk", "tree", "vehicle")
"""What the numbers in masks stand for."""

TRAIN_SEED, TEST_SEED = 0, 1


class DigitScene(NamedTuple):
    """A picture with digits in it.

    Attributes
    ----------
    image, mask : (size, size) uint8; in the mask 0 where there is no digit, label + 1 where there
        is one, and `IGNORED` at its edge
    boxes, labels : of n digits, as in `Objects`
    """

    image: Bytes
    mask: Bytes
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def objects(self) -> Objects:
        """The digits."""
        return Objects(self.boxes, self.labels)


class RoadScene(NamedTuple):
    """A view along a street.

    Attributes
    ----------
    image : (48, 64, 3) uint8
    labels : (48, 64) uint8, numbers of `ROAD_CLASSES`
    """

    image: Bytes
    labels: Bytes


@dataclass(frozen=True, eq=False, repr=False)
class Scenes(Dataset):
    """Pictures for training and testing, with the class of every pixel, and the objects.

    Pictures are uint8 of shape (N, C, H, W), targets masks, uint8 of shape (N, H, W), in which
    `IGNORED` is no class. `name` is "digit-scenes" or "road-scenes".

    Attributes
    ----------
    classes : names of the numbers in masks; objects of digit scenes have one less, as there is no
        background among them
    objects_train, objects_test : of each picture; empty where scenes tell none
    digits : what digits they show, "mnist" or "synthetic"; "" if they show none. What is published
        of digit scenes is of MNIST.
    """

    classes: tuple[str, ...] = ()
    objects_train: tuple[Objects, ...] = ()
    objects_test: tuple[Objects, ...] = ()
    digits: str = ""

    def __repr__(self) -> str:
        counts = f"{len(self.x_train)} training and {len(self.x_test)} test pictures"
        return f"<Scenes {self.name}: {counts}>"

    def checksum(self) -> str:
        """Compute the SHA-256 of all pictures, masks and objects, in hexadecimal digits."""
        found = hashlib.sha256(super().checksum().encode())
        for part in (self.objects_train, self.objects_test):
            for boxes, labels in part:
                found.update(len(labels).to_bytes(8, "little"))
                found.update(np.ascontiguousarray(boxes).data)
                found.update(np.ascontiguousarray(labels).data)
        return found.hexdigest()


@checked
def digit_scene(images: Any, labels: Any, seed: int, i: int, size: int = 64) -> DigitScene:
    """Lay out one to four digits at random among scraps of others.

    Each of the eight scraps is 8 x 8 pixels of some image, at 0.6 of its brightness. A digit is an
    image resized to 18 to 30 pixels a side and cut to the box of what is at least 64; it is placed
    where its box shares at most 0.1 of the union with each one before, or left out if twenty places
    do not do. Noise of standard deviation 8 lies over all.

    Parameters
    ----------
    images : (N, 1, 28, 28) or (N, 28, 28) uint8, light on dark
    labels : (N,) whole numbers from 0 to 253
    seed, i : both decide what is drawn
    size : pixels a side, from 30

    Raises
    ------
    ArgumentError
        There are no such images and labels, or the picture is too small for a digit.
    """
    return _laid_out(*_digits("digit_scene", images, labels), seed, _number(i), _size(size))


@checked
def road_scene(seed: int, i: int) -> RoadScene:
    """Draw sky, buildings, a road with sidewalks, trees and vehicles, in perspective and at random.

    Raises
    ------
    ArgumentError
        The seed or the number is not a whole number from 0.
    """
    return RoadScene(*road_picture(np.random.default_rng([seed, _number(i)])))


@partial(checked, but=("digits",))
def digit_scenes(
    train_size: int = 1200,
    test_size: int = 300,
    *,
    size: int = 64,
    digits: Dataset | None = None,
    data_dir: str | Path | None = None,
    download: bool = True,
) -> Scenes:
    """Lay out digit scenes for training and testing, of different digits.

    Scenes 0, 1, ... of seed 0 are made of the training images of MNIST, those of seed 1 of the test
    images; or of synthetic digits where MNIST cannot be had, which `source` then says.

    Parameters
    ----------
    train_size, test_size : scenes
    size : pixels a side
    digits : a data set of digits to be used instead
    data_dir, download : as for `find_mnist`

    Raises
    ------
    ArgumentError
        A number of scenes is below 0, the pictures are too small, or `digits` holds others.
    DataNotFoundError, DataError
        As `load_dataset`.
    """
    sizes = {"train_size": train_size, "test_size": test_size}
    _check_sizes("digit_scenes", sizes)
    size = _size(size)
    if digits is None:
        digits = load_dataset("auto", data_dir=data_dir, download=download)
    elif not isinstance(digits, Dataset):
        raise ArgumentError(f"digits of digit_scenes must be a Dataset, got {digits!r:.100}")
    parts = []
    for seed, images, labels, count in (
        (TRAIN_SEED, digits.x_train, digits.t_train, train_size),
        (TEST_SEED, digits.x_test, digits.t_test, test_size),
    ):
        x, t = _digits("digit_scenes", images, labels)
        if t.max() >= len(DIGIT_CLASSES) - 1:
            raise ArgumentError(f"digit_scenes: digits are labelled 0 to 9, got {t.max()}")
        found = [_laid_out(x, t, seed, i, size) for i in range(count)]
        pictures = _stacked([scene.image for scene in found], (size, size))[:, np.newaxis]
        masks = _stacked([scene.mask for scene in found], (size, size))
        parts.append((pictures, masks, tuple(scene.objects for scene in found)))
    (x_train, t_train, objects_train), (x_test, t_test, objects_test) = parts
    source = f"{train_size} + {test_size} digit scenes of {digits.source}"
    return Scenes(
        "digit-scenes",
        source,
        x_train,
        t_train,
        x_test,
        t_test,
        DIGIT_CLASSES,
        objects_train,
        objects_test,
        digits.name,
    )


@checked
def road_scenes(train_size: int = 600, test_size: int = 200) -> Scenes:
    """Draw road scenes for training, of seed 0, and for testing, of seed 1.

    Raises
    ------
    ArgumentError
        A number of scenes is below 0.
    """
    _check_sizes("road_scenes", {"train_size": train_size, "test_size": test_size})
    (x_train, t_train), (x_test, t_test) = (
        _road_part(TRAIN_SEED, train_size),
        _road_part(TEST_SEED, test_size),
    )
    source = f"{train_size} + {test_size} road scenes, seeds {TRAIN_SEED} and {TEST_SEED}"
    return Scenes("road-scenes", source, x_train, t_train, x_test, t_test, ROAD_CLASSES)


def _road_part(seed: int, count: int) -> tuple[Bytes, Bytes]:
    """Pictures (N, 3, H, W) and their masks."""
    found = [road_scene(seed, i) for i in range(count)]
    pictures = _stacked([scene.image for scene in found], (48, 64, 3))
    masks = _stacked([scene.labels for scene in found], (48, 64))
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)), masks


SCENES: dict[str, Callable[..., Scenes]] = {
    "digit-scenes": digit_scenes,
    "road-scenes": road_scenes,
}
"""Sets of scenes by name."""


def _laid_out(x: Bytes, t: NDArray[np.int64], seed: int, i: int, size: int) -> DigitScene:
    """Lay a scene out; the order of what is drawn, and of operations, is the specification's."""
    rng = np.random.default_rng([seed, i])
    canvas, mask = np.zeros((size, size)), np.zeros((size, size), dtype=np.uint8)
    for _ in range(PIECES):
        s = rng.integers(len(x))
        top, left = rng.integers(0, SIDE - PIECE + 1, 2)
        row, column = rng.integers(0, size - PIECE + 1, 2)
        piece = np.floor(0.6 * x[s, top : top + PIECE, left : left + PIECE])
        place = canvas[row : row + PIECE, column : column + PIECE]
        np.maximum(place, piece, out=place)

    boxes: list[tuple[int, int, int, int]] = []
    labels = []
    for _ in range(rng.integers(1, 5)):
        s, side = rng.integers(len(x)), rng.integers(SMALLEST, LARGEST + 1)
        ink = _cut(_resized(x[s], int(side)))
        if ink is None:
            continue
        box = _free_place(rng, ink.shape, size, boxes)
        if box is None:
            continue
        left, top, right, bottom = box
        boxes.append(box)
        labels.append(t[s])
        place = canvas[top:bottom, left:right]
        np.maximum(place, ink, out=place)
        pixels = mask[top:bottom, left:right]
        pixels[(ink >= 32) & (ink < 128)] = IGNORED
        pixels[ink >= 128] = t[s] + 1

    canvas += rng.normal(0, NOISE, (size, size))
    return DigitScene(
        np.floor(np.clip(canvas, 0, 255) + 0.5).astype(np.uint8),
        mask,
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(labels, dtype=np.int64),
    )


def _resized(image: Bytes, side: int) -> Floats:
    """An image with so many pixels a side: bilinear, 0 outside, first down and then across."""
    low, share = _steps(side)
    padded = np.pad(image, 1).astype(np.float64)
    down = padded[low] * (1 - share[:, np.newaxis]) + padded[low + 1] * share[:, np.newaxis]
    across = down[:, low] * (1 - share) + down[:, low + 1] * share
    return np.floor(across + 0.5)


@cache
def _steps(side: int) -> tuple[NDArray[np.intp], Floats]:
    """For each pixel of a resized row, the one before it in the padded row, and how far it is."""
    u = (np.arange(side) + 0.5) * SIDE / side - 0.5
    low = np.floor(u)
    return low.astype(np.intp) + 1, u - low


def _cut(ink: Floats) -> Floats | None:
    """Cut an image to the box of what is at least 64; None if nothing is."""
    strong = ink >= 64
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    if not len(rows):
        return None
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _free_place(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    size: int,
    boxes: list[tuple[int, int, int, int]],
) -> tuple[int, int, int, int] | None:
    """A box for a digit that hardly overlaps others; None if it is not found."""
    height, width = shape
    for _ in range(TRIES):
        top = int(rng.integers(0, size - height + 1))
        left = int(rng.integers(0, size - width + 1))
        box = left, top, left + width, top + height
        if all(_iou(box, other) <= OVERLAP for other in boxes):
            return box
    return None


def _iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """What two boxes have in common of all that they cover; a call for each is dear for two."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    common = width * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def _digits(owner: str, images: Any, labels: Any) -> tuple[Bytes, NDArray[np.int64]]:
    """Images as (N, 28, 28) and their labels, checked."""
    x, t = np.asarray(images), np.asarray(labels)
    if x.ndim == 4 and x.shape[1] == 1:
        x = x[:, 0]
    if x.shape[1:] != (SIDE, SIDE) or x.dtype != np.uint8:
        raise ArgumentError(
            f"{owner}: images of digits are (N, 1, {SIDE}, {SIDE}) or (N, {SIDE}, {SIDE}) uint8, "
            f"got {x.shape} {x.dtype}; load_dataset has such"
        )
    if not len(x):
        raise ArgumentError(f"{owner}: at least one image of a digit is needed, got none")
    if t.shape != (len(x),) or t.dtype.kind not in "iu":
        raise ArgumentError(
            f"{owner}: labels are whole numbers, one for each of {len(x)} images, "
            f"got {t.shape} {t.dtype}"
        )
    if t.min() < 0 or t.max() >= IGNORED - 1:
        raise ArgumentError(
            f"{owner}: labels are from 0 to {IGNORED - 2}, got {t.min()} to {t.max()}"
        )
    return x, t.astype(np.int64)


def _size(size: int) -> int:
    if size < LARGEST:
        raise ArgumentError(
            f"a digit scene has at least {LARGEST} pixels a side, as a digit may, got {size}"
        )
    return int(size)


def _number(i: int) -> int:
    if i < 0:
        raise ArgumentError(f"scenes are numbered from 0 on, got {i}")
    return int(i)


def _check_sizes(owner: str, sizes: dict[str, int]) -> None:
    for name, value in sizes.items():
        if value < 0:
            raise ArgumentError(f"{owner}: {name} must be a whole number from 0, got {value}")


def _stacked(arrays: list[Bytes], shape: tuple[int, ...]) -> Bytes:
    """Arrays of one shape as one; none of them as one, too."""
    found = np.empty((len(arrays), *shape), dtype=np.uint8)
    for k, each in enumerate(arrays):
        found[k] = each
    return found
