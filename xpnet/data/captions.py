"""Pictures of one or two coloured shapes, with the sentences that say what they show.

A scene follows from a seed, its part, such as "train", and its number; what is drawn at random is
the same on every device.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from xpnet.arguments import check_word, checked
from xpnet.arrays import Array, Device, get_device, to_numpy
from xpnet.arrays.random import WORD, pick, random_words
from xpnet.arrays.values import in_parts
from xpnet.data.dataset import Dataset
from xpnet.errors import ArgumentError
from xpnet.models.vocabulary import LONGEST, SCENE_WORDS, Vocabulary

Part: TypeAlias = Literal["train", "test", "novel"]
"""What scenes are for: novel ones have combinations of shape and colour that no other has."""

PURPOSE = 0x5CE0
"""With a part's number, the second word of the key that scenes are drawn by; the seed is the first.
"""
DRAWS = 24
"""Random words of a scene: eight for all of it, and eight for each object."""

SIDE, CELL = 32, 16
"""Pixels a side of a picture, and of each of the four cells that objects stand in."""
RADII = (3, 6)
SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
RGB = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (1, 1, 1))
SHAPES = ("circle", "square", "triangle", "cross")
RELATIONS = ("left of", "right of", "above", "below")
"""In pairs of converses."""
HELD_OUT = ((0, 3), (1, 2), (2, 0))
"""Colours and shapes that meet in novel scenes alone: red cross, green triangle, blue circle."""
AT_A_TIME = 500
"""Scenes that are drawn together, which takes some 20 MB."""


class CaptionScene(NamedTuple):
    """A picture, and what can be said of it.

    Attributes
    ----------
    image : (3, 32, 32) uint8
    captions : one sentence, or of two objects one about each; the first is learned from
    """

    image: NDArray[np.uint8]
    captions: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class CaptionScenes(Dataset):
    """Pictures for training and testing, with captions.

    Pictures are uint8 of shape (N, 3, 32, 32). Targets are the first captions as `Vocabulary` has
    them, int64 of shape (N, 12): numbers of words, <end>, and then -1.

    Attributes
    ----------
    words : of the captions, which the numbers count
    x_novel, t_novel : pictures of combinations of colour and shape that are in no other, and their
        targets
    captions_train, captions_test, captions_novel : all that is right, for each picture
    """

    words: tuple[str, ...]
    x_novel: NDArray[np.uint8]
    t_novel: NDArray[np.int64]
    captions_train: tuple[tuple[str, ...], ...]
    captions_test: tuple[tuple[str, ...], ...]
    captions_novel: tuple[tuple[str, ...], ...]

    def __repr__(self) -> str:
        counts = f"{len(self.x_train)} training, {len(self.x_test)} test"
        return f"<CaptionScenes: {counts} and {len(self.x_novel)} novel pictures>"

    @property
    def sizes(self) -> dict[str, int]:
        """How many images there are to train on, to test with, and novel ones."""
        return {**super().sizes, "novel_images": len(self.x_novel)}

    def checksum(self) -> str:
        """Compute the SHA-256 of all pictures, targets and captions, in hexadecimal digits."""
        found = hashlib.sha256(super().checksum().encode())
        for array in (self.x_novel, self.t_novel):
            found.update(np.ascontiguousarray(array).data)
        captions = self.captions_train, self.captions_test, self.captions_novel
        found.update(repr(captions).encode())
        return found.hexdigest()


@checked
def caption_scene(seed: int, i: int, part: Part = "train") -> CaptionScene:
    """Draw one or two shapes on a dark ground, and say what they are and how they lie.

    A shape is a circle, square, triangle or cross, small or large, and of one of six colours. One
    stands in each of two neighbouring cells of 16 x 16 pixels, up to a pixel beside its middle. A
    quarter of the scenes have the first one alone. Which of the two sentences comes first, "A is
    left of B" or "B is right of A", is drawn, too. No red cross, green triangle or blue circle is
    in a scene but in novel ones, where the first object is one of these.

    Parameters
    ----------
    seed, i : both decide what is drawn, from 0; the seed below 2**32
    part : scenes of each part are others

    Raises
    ------
    ArgumentError
        A number is out of range.
    """
    if i < 0:
        raise ArgumentError(f"scenes are numbered from 0 on, got {i}")
    host = get_device("cpu")
    layout = _laid_out(seed, part, np.arange(i, i + 1), host)
    return CaptionScene(_drawn(layout, host)[0], _told(layout)[0])


@checked
def caption_scenes(
    train_size: int = 8000, test_size: int = 1000, novel_size: int = 1000, *, seed: int = 0
) -> CaptionScenes:
    """Draw scenes 0, 1, ... of each part, with captions.

    Raises
    ------
    ArgumentError
        A number of scenes, or the seed, is out of range.
    """
    sizes = {"train": train_size, "test": test_size, "novel": novel_size}
    vocabulary, parts = Vocabulary(SCENE_WORDS), []
    for part, size in sizes.items():
        if size < 0:
            raise ArgumentError(
                f"caption_scenes: {part}_size must be a whole number from 0, got {size}"
            )
        x, captions = _scenes(seed, part, size)
        t: Any = vocabulary.numbers((first for first, *_ in captions), LONGEST)
        parts.append((x, t, captions))
    (x, t, captions), (x_test, t_test, captions_test), (x_novel, t_novel, captions_novel) = parts
    return CaptionScenes(
        "caption-scenes",
        f"{train_size} + {test_size} + {novel_size} scenes with captions, seed {seed}",
        x,
        t,
        x_test,
        t_test,
        SCENE_WORDS,
        x_novel,
        t_novel,
        captions,
        captions_test,
        captions_novel,
    )


def _scenes(
    seed: int, part: str, count: int
) -> tuple[NDArray[np.uint8], tuple[tuple[str, ...], ...]]:
    """Pictures (count, 3, 32, 32) and captions of the first scenes of a part."""
    host = get_device("cpu")
    x = np.empty((count, 3, SIDE, SIDE), dtype=np.uint8)
    captions: list[tuple[str, ...]] = []
    for some in in_parts(count, AT_A_TIME):
        layout = _laid_out(seed, part, np.arange(some.start, some.stop), host)
        x[some] = _drawn(layout, host)
        captions += _told(layout)
    return x, tuple(captions)


class _Layout(NamedTuple):
    """What is to be seen in scenes: integers, (N,) of each and (N, 2) of its objects."""

    second: Array
    """1 where there is a second object, else 0."""
    relation: Array
    ground: Array
    """Brightness of the ground."""
    swapped: Array
    """1 where the sentence about the second object comes first."""
    size: Array
    colour: Array
    shape: Array
    row: Array
    column: Array
    """Of the middle."""
    brightness: Array


def _laid_out(seed: int, part: str, numbers: NDArray[np.int64], device: Device) -> _Layout:
    """Draw what is in scenes, by their numbers (N,)."""
    check_word("part", "caption_scene", part, *get_args(Part))
    if seed > WORD:
        raise ArgumentError(f"the seed of scenes must be below 2**32, got {seed}")
    key = seed, PURPOSE + get_args(Part).index(part)
    step = device.asarray(numbers.astype(np.int64))[:, None]
    words = random_words(DRAWS, key=key, step=step, device=device)
    xp, w = device.xp, words[:, :8]
    u = xp.reshape(words[:, 8:], (-1, 2, 8))

    relation, lane = pick(w[:, 1], 4), pick(w[:, 2], 2)
    # Beside each other in the row of the lane, or above each other in its column; of converse
    # relations the second object has the first place.
    beside, behind = relation < 2, relation % 2
    along = xp.stack([behind, 1 - behind], axis=1)
    across = xp.stack([lane, lane], axis=1)
    cell_row = xp.where(beside[:, None], across, along)
    cell_column = xp.where(beside[:, None], along, across)

    colour, shape = pick(u[:, :, 1], 6), pick(u[:, :, 2], 4)
    held = xp.zeros_like(colour)
    for one, other in HELD_OUT:
        held = held + xp.astype((colour == one) & (shape == other), xp.int64)
    colour = (colour + held) % 6
    if part == "novel":
        own = device.asarray(np.array(HELD_OUT))
        pair = xp.take(own, pick(u[:, 0, 6], len(HELD_OUT)), axis=0)
        colour = xp.stack([pair[:, 0], colour[:, 1]], axis=1)
        shape = xp.stack([pair[:, 1], shape[:, 1]], axis=1)
    middle = CELL // 2 - 1
    return _Layout(
        second=xp.astype(pick(w[:, 0], 4) > 0, xp.int64),
        relation=relation,
        ground=pick(w[:, 3], 32),
        swapped=pick(w[:, 4], 2),
        size=pick(u[:, :, 0], 2),
        colour=colour,
        shape=shape,
        row=CELL * cell_row + middle + pick(u[:, :, 4], 3),
        column=CELL * cell_column + middle + pick(u[:, :, 3], 3),
        brightness=255 - pick(u[:, :, 5], 96),
    )


def _drawn(layout: _Layout, device: Device) -> Array:
    """The pictures, (N, 3, 32, 32) uint8; the second object is painted over the first."""
    xp = device.xp
    rgb = device.asarray(np.array(RGB, dtype=np.int64))
    radii = device.asarray(np.array(RADII, dtype=np.int64))
    places = xp.arange(SIDE, dtype=xp.int64, device=device.native)
    n = layout.ground.shape[0]
    picture = xp.broadcast_to(layout.ground[:, None, None, None], (n, 3, SIDE, SIDE))
    for k in range(2):

        def of(values: Array, k: int = k) -> Array:
            return values[:, k][:, None, None]

        y, x = places[:, None] - of(layout.row), places - of(layout.column)
        r = xp.take(radii, layout.size[:, k])[:, None, None]
        down, right, shape = xp.abs(y), xp.abs(x), of(layout.shape)
        inside = (
            ((shape == 0) & (x * x + y * y <= r * r))
            | ((shape == 1) & (xp.maximum(down, right) <= r - 1))
            | ((shape == 2) & (down <= r) & (2 * right <= y + r))
            | ((shape == 3) & (xp.minimum(down, right) <= r // 3) & (xp.maximum(down, right) <= r))
        )
        if k:
            inside = inside & (layout.second == 1)[:, None, None]
        paint = layout.brightness[:, k][:, None] * xp.take(rgb, layout.colour[:, k], axis=0)
        picture = xp.where(inside[:, None, :, :], paint[:, :, None, None], picture)
    return xp.astype(picture, xp.uint8)


def _told(layout: _Layout) -> list[tuple[str, ...]]:
    """What can be said of scenes."""
    columns = [to_numpy(values).tolist() for values in layout]
    found: list[tuple[str, ...]] = []
    for second, relation, _, swapped, size, colour, shape, *_ in zip(*columns, strict=True):
        a, b = (f"a {SIZES[size[k]]} {COLOURS[colour[k]]} {SHAPES[shape[k]]}" for k in range(2))
        both = (
            f"{a} is {RELATIONS[relation]} {b}",
            f"{b} is {RELATIONS[relation ^ 1]} {a}",
        )
        found.append((both[::-1] if swapped else both) if second else (a,))
    return found
