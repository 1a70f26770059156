"""Digits of a few black and white pixels: the images of Wakui's networks M1 and M2.

The book's own are read from a file. For where that cannot be had, sets of the same sizes are made
from the synthetic digits, laid over a coarser grid.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.data.mnist import named_directory
from xpnet.data.synthetic import BOX, SIZE, synthetic_digits
from xpnet.errors import ArgumentError, DataError, DataNotFoundError
from xpnet.files.texts import read_json
from xpnet.functions.losses import one_hot

Floats = NDArray[np.float64]

FILE = Path("mathematics-of-deep-learning", "images.json")
LIMIT = 2**20  # bytes of it; the book's images take 21 thousand
EACH = 32  # images of a digit in a drawn set, as in the book's
INK = 0.4  # a pixel is black from this share of the darkest one's ink on


class Kind(NamedTuple):
    """The kind of images that a network reads."""

    key: str
    """The name of these images in the file."""
    digits: tuple[int, ...]
    shape: tuple[int, int]


KINDS = {
    "M1": Kind("M1_images_4x3", (0, 1), (4, 3)),
    "M2": Kind("M2_images_6x6", (1, 2, 3), (6, 6)),
}


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class TinyImages:
    """Images and their targets.

    `x` is (N, 1, H, W), 1 for ink and 0 for paper, and `t` is (N, K), one-hot over `digits`; both
    float64. `name` is "book" or "drawn"; `source` says in one line where they came from.
    """

    name: str
    source: str
    x: Floats
    t: Floats
    digits: tuple[int, ...]

    def __repr__(self) -> str:
        N, _, H, W = self.x.shape
        digits = ", ".join(map(str, self.digits))
        return f"<TinyImages {self.name}: {N} images of {H} x {W}, digits {digits}>"


def parse_images(*texts: str) -> Floats:
    """Read images written as rows of 0 and 1, such as "111/101/101/111": (N, 1, H, W) float64.

    Raises
    ------
    ArgumentError
        A row is longer than another one, or holds something else.
    """
    rows = [text.split("/") for text in texts]
    sizes = {(len(image), len(row)) for image in rows for row in image}
    if len(sizes) != 1 or (1, 0) in sizes or not set("".join(texts)) <= set("01/"):
        raise ArgumentError(
            "images are rows of 0 and 1, all of one size, such as '010/010/010/010', "
            f"got {', '.join(map(repr, texts)) or 'none'}"
        )
    return np.array([[[list(row) for row in image]] for image in rows], dtype=np.float64)


def read_tiny_images(path: str | Path, model: str) -> TinyImages:
    """Read the images of "M1" or "M2" from a JSON file.

    It holds `{"M1_images_4x3": {"count": N, "images": [{"rows": ["111", ...], "label": 0,
    "target": [1, 0]}, ...]}, "M2_images_6x6": ...}`.

    Raises
    ------
    ArgumentError
        There is no such model.
    DataNotFoundError
        There is no such file.
    DataError
        The file cannot be read, is damaged, or is something else.
    """
    path, kind = Path(path), _kind(model)
    try:
        section = read_json(path, limit=LIMIT)[kind.key]
        count, entries = section["count"], section["images"]
        found = [("/".join(e["rows"]), e["label"], list(e["target"])) for e in entries]
    except FileNotFoundError:
        raise DataNotFoundError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected JSON with {kind.key}: count and images, each with rows, label and "
            f"target, got something else ({type(error).__name__}: {error}); get it afresh"
        ) from error
    if not found or len(found) != count:
        raise DataError(f"{path}: expected {count} images, got {len(found)}; get it afresh")
    for number, (text, label, target) in enumerate(found, 1):
        try:
            fits = parse_images(text).shape[2:] == kind.shape
        except ArgumentError:
            fits = False
        if not fits or target != [int(label == digit) for digit in kind.digits] or 1 not in target:
            raise DataError(
                f"{path}: image {number} must be {kind.shape[0]} rows of {kind.shape[1]} pixels, "
                f"each 0 or 1, of one of the digits {kind.digits}, with 1 at its place in the "
                f"target, got {_brief(text)}, {_brief(label)} and {_brief(target)}; get it afresh"
            )
    x = parse_images(*(text for text, _, _ in found))
    t = np.array([target for _, _, target in found], dtype=np.float64)
    return TinyImages("book", f"the book's images from {path}", x, t, kind.digits)


def draw_tiny_images(model: str, *, seed: int = 0) -> TinyImages:
    """Draw a set in the sizes of the book's for "M1" or "M2": 32 images a digit, digit by digit.

    A synthetic digit is laid over H by W square cells. Ink is where a cell's mean is at least 0.4
    of the largest one's, so that thin pens leave no blank sheets.

    Raises
    ------
    ArgumentError
        There is no such model, or the seed is not an integer from 0.
    """
    kind = _kind(model)
    images, labels = synthetic_digits(10 * EACH, seed=seed)
    images = np.concatenate([images[labels == digit] for digit in kind.digits])
    H, W = kind.shape
    cell = -(-int(BOX) // H)
    top, left = (SIZE - H * cell) // 2, (SIZE - W * cell) // 2
    middle = images[:, :, top : top + H * cell, left : left + W * cell]
    ink = middle.reshape(-1, 1, H, cell, W, cell).mean(axis=(3, 5))
    x = (ink >= INK * ink.max(axis=(2, 3), keepdims=True)).astype(np.float64)
    t = one_hot(np.repeat(np.arange(len(kind.digits)), EACH), len(kind.digits), dtype=np.float64)
    return TinyImages("drawn", f"drawn images, seed {seed}", x, t, kind.digits)


def load_tiny_images(
    model: str, *, data_dir: str | Path | None = None, seed: int = 0
) -> TinyImages:
    """Load the book's images if their file is at hand, else draw some.

    It is looked for as `mathematics-of-deep-learning/images.json` in the directory that the user
    has named, as `data_dir` or XPNET_DATA_DIR, and beside that directory.

    Raises
    ------
    ArgumentError, DataError
        As `read_tiny_images` and `draw_tiny_images`.
    """
    directory = named_directory(data_dir)
    places = [] if directory is None else [directory, directory.absolute().parent]
    for place in places:
        if (place / FILE).is_file():
            return read_tiny_images(place / FILE, model)
    return draw_tiny_images(model, seed=seed)


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]}..."


def _kind(model: str) -> Kind:
    if model not in KINDS:
        raise ArgumentError(f"images are those of M1 or M2, got {model!r}; use one of these")
    return KINDS[model]
