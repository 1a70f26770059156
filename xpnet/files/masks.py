"""Pictures of masks, which have the number of a class at each pixel, and masks as COCO has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from xpnet.files.atomic import atomic_write
from xpnet.files.images import read_image_with_size
from xpnet.files.photographs import coloured

if TYPE_CHECKING:
    from PIL.Image import Image

Colour: TypeAlias = tuple[int, int, int]

COLOURS: tuple[Colour, ...] = (
    (70, 130, 200), (150, 105, 75), (110, 70, 130), (240, 170, 210), (60, 150, 60), (220, 40, 50),
    (250, 200, 40), (30, 190, 190), (245, 130, 30), (140, 200, 80), (90, 90, 220), (200, 90, 180),
    (120, 60, 20), (170, 170, 170), (0, 100, 90), (255, 230, 150),
)  # fmt: skip
"""Of the classes in their order; after the last one they begin again, darker each time."""

GROUND: Colour = (0, 0, 0)
"""Of a class that is called "background"; where it is, pictures are shown as they are."""
LEFT_OUT: Colour = (255, 255, 255)
"""Of pixels that are of no class."""

STRENGTH = 0.5
"""The share of a class's colour over a picture."""
LEAST = 320
"""Pixels that drawn pictures have across at least; smaller ones are enlarged, whole times."""
HIGHEST = 8 * LEAST
"""Pixels that they are enlarged to downwards at most: one of 1 x 5000 would else fill memory."""
MARGIN, TEXT, SWATCH = 8, 13, 14
"""Pixels: around everything, of the letters' height, and of a side of a legend's square."""

ENLARGED = 4
"""A picture that is enlarged more than this has a mask that is doubtful."""
STRETCHED = 1.5
"""The same of one whose sides are scaled so differently."""


class Seen(NamedTuple):
    """A picture, and what a network sees of it.

    Attributes
    ----------
    x : (C, H, W) uint8, the whole picture in the network's size
    picture : in colours; of over 4 million pixels it is smaller than its file
    size : the width and height that the file has, upright
    remarks : what makes a mask doubtful; each goes on after the path
    """

    x: np.ndarray
    picture: "Image"
    size: tuple[int, int]
    remarks: list[str]


def read_whole(path: str | Path, shape: tuple[int, ...]) -> Seen:
    """Read a picture of any size as a network of images takes it: all of it is stretched to fit.

    It is turned upright as its camera says. Transparent ones are read on white; grey ones as
    colours that are alike, and coloured ones as grey, where the network has one channel.

    Parameters
    ----------
    shape : (C, H, W) of the network's images, with C 1 or 3

    Raises
    ------
    DataNotFoundError
        There is no such file.
    DataError
        The file is not a picture, is damaged or too large.
    """
    from PIL import Image

    image, size = read_image_with_size(Path(path))
    picture, (channels, height, width) = coloured(image), shape
    small = picture if channels == 3 else picture.convert("L")
    x = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))
    remarks, across, down = [], size[0] / width, size[1] / height
    if min(across, down) < 1 / ENLARGED:
        remarks.append(f"shows {size[0]} x {size[1]} pixels to a network of {width} x {height}")
    if max(across, down) > STRETCHED * min(across, down):
        remarks.append(
            f"is {size[0]} x {size[1]} pixels, and is seen stretched to {width} x {height}"
        )
    pixels = x[np.newaxis] if channels == 1 else x.transpose(2, 0, 1)
    return Seen(np.ascontiguousarray(pixels), picture, size, remarks)


def enlarged_labels(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The class of each pixel of a picture, of scores for a smaller or larger one.

    The scores of each class are interpolated, and then the highest is taken.

    Parameters
    ----------
    scores : (K, h, w), K from 2 to 255
    size : width and height

    Returns
    -------
    (height, width), uint8
    """
    from PIL import Image

    labels = np.zeros((size[1], size[0]), dtype=np.uint8)
    highest: np.ndarray | None = None
    for k, each in enumerate(scores):
        found = np.asarray(
            Image.fromarray(each.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        )
        if highest is None:
            highest = found
            continue
        above = found > highest
        labels[above] = k
        highest = np.maximum(highest, found)
    return labels


def palette(names: Sequence[str]) -> list[Colour]:
    """A colour for each class."""
    found = []
    for k, name in enumerate(names):
        colour, darker = COLOURS[k % len(COLOURS)], 0.7 ** (k // len(COLOURS))
        red, green, blue = (int(part * darker) for part in colour)
        found.append(GROUND if name == "background" else (red, green, blue))
    return found


def save_png(path: str | Path, picture: "Image") -> None:
    """Write a picture as PNG.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG")


def overlay(picture: "Image", labels: np.ndarray, names: Sequence[str]) -> "Image":
    """A picture with the colours of a mask over it, but for the background.

    Parameters
    ----------
    labels : (height, width), uint8
    """
    from PIL import Image

    tinted = Image.blend(picture, in_colours(labels, names), STRENGTH)
    ground = [k for k, name in enumerate(names) if name == "background"]
    shown = np.isin(labels, ground, invert=True)
    return Image.composite(tinted, picture, Image.fromarray(shown))


def picture_of(pixels: np.ndarray) -> "Image":
    """An image (1, H, W) or (3, H, W), uint8, as a picture in grey or in colours."""
    from PIL import Image

    grey = len(pixels) == 1
    return Image.fromarray(np.ascontiguousarray(pixels[0] if grey else pixels.transpose(1, 2, 0)))


def mask_of(labels: np.ndarray, names: Sequence[str]) -> "Image":
    """A picture whose pixels are numbers of classes, with their colours as its palette."""
    from PIL import Image

    colours = palette(names)
    colours += [LEFT_OUT] * (256 - len(colours))
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette([part for colour in colours for part in colour])
    return picture


def in_colours(labels: np.ndarray, names: Sequence[str]) -> "Image":
    """A mask as a picture, each class in its colour."""
    return mask_of(labels, names).convert("RGB")


def is_same(picture: "Image", path: Path) -> bool:
    """Tell whether a file is a picture that `save_png` made of this one."""
    from PIL import Image

    try:
        with Image.open(path) as other:
            return other.mode == picture.mode and np.array_equal(
                np.asarray(other), np.asarray(picture)
            )
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # what is no picture


def times_of(width: int, height: int) -> int:
    """How many times a picture is enlarged before it is drawn on."""
    return max(1, min(-(-LEAST // width), HIGHEST // height))


def sheet(panels: Sequence[tuple[str, "Image"]], legend: Sequence[tuple[Colour, str]]) -> "Image":
    """Pictures of one size side by side, each under its title, and a legend of colours."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TEXT)
    width, height = panels[0][1].size
    times = times_of(width, height)
    width, height = width * times, height * times
    top = MARGIN + (TEXT + MARGIN) * any(title for title, _ in panels)
    across = max((int(font.getlength(text)) for _, text in legend), default=0)
    left = MARGIN + len(panels) * (width + MARGIN)
    line = SWATCH + 4
    page = Image.new(
        "RGB",
        (
            left + (SWATCH + 6 + across + MARGIN) * bool(legend),
            top + max(height, line * len(legend)) + MARGIN,
        ),
        "white",
    )
    draw = ImageDraw.Draw(page)
    for k, (title, panel) in enumerate(panels):
        x = MARGIN + k * (width + MARGIN)
        draw.text((x, MARGIN), title, fill="black", font=font)
        page.paste(panel.resize((width, height), Image.Resampling.NEAREST), (x, top))
    for k, (colour, text) in enumerate(legend):
        y = top + k * line
        draw.rectangle((left, y, left + SWATCH, y + SWATCH), fill=colour, outline="black")
        draw.text((left + SWATCH + 6, y), text, fill="black", font=font)
    return page


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """A mask as COCO's files have it: the lengths of its runs, column by column, as text.

    The first run is of what is outside, and may be 0 long. From the third length on, the one two
    before is taken off. Numbers are written by 5 bits, the lowest first; of each character, less
    48, the bit of 32 tells that more follow, and of the last one the bit of 16 that it is below 0.
    So does pycocotools, the library of the COCO data set.

    Parameters
    ----------
    mask : (H, W) bool

    Returns
    -------
    size, [H, W], and counts
    """
    column = mask.T.reshape(-1)
    changes = np.flatnonzero(column[1:] != column[:-1]) + 1
    ends = np.concatenate([[0], changes, [len(column)]])
    lengths = np.diff(ends).tolist()
    if len(column) and column[0]:
        lengths = [0, *lengths]
    text = []
    for k, length in enumerate(lengths):
        number, more = length - (lengths[k - 2] if k > 2 else 0), True
        while more:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return {"size": list(mask.shape), "counts": "".join(text)}
