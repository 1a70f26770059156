"""Pictures of any size as detectors of light digits on dark ground see them, and boxes drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xpnet.files.images import read_image_with_size
from xpnet.files.ink import evened
from xpnet.files.masks import LEAST, TEXT, Colour, times_of
from xpnet.files.photographs import coloured
from xpnet.files.pictures import MIN_CONTRAST, grey_of, stretched

if TYPE_CHECKING:
    from PIL.Image import Image

LINE = 2
"""Pixels of the line of a box, where a picture is drawn in its own size."""


class Read(NamedTuple):
    """A picture, and what a detector sees of it.

    Attributes
    ----------
    x : (1, side, side) float32 from 0 to 1, the picture at the top left of it
    scale : pixels of x for a pixel of the file
    picture : in colours; of over 4 million pixels it is smaller than its file
    size : the width and height that the file has, upright
    remarks : what a reader of the answer should know; each goes on after the path
    """

    x: np.ndarray
    scale: float
    picture: "Image"
    size: tuple[int, int]
    remarks: list[str]


def read_scene(path: str | Path, side: int) -> Read:
    """Read a picture of any size as a detector of digits takes it: light on dark, `side` pixels.

    The border tells the ground, which becomes 0, as what differs most from it becomes 1: so what is
    dark on light is seen light on dark. Shadows on paper are taken off. Colours become grey, the
    transparent is read on white, and the picture is turned upright as its camera says. It is scaled
    until its longer side has so many pixels, its aspect kept; below or beside it all is ground. One
    that shows hardly any contrast is all ground, since nothing is on it.

    Raises
    ------
    DataNotFoundError
        There is no such file.
    DataError
        The file is not a picture, is damaged or too large.
    """
    from PIL import Image

    image, size = read_image_with_size(Path(path))
    grey, remarks = grey_of(image), list[str]()
    scale = side / max(size)
    width, height = (max(1, round(part * scale)) for part in size)
    x = np.zeros((1, side, side), dtype=np.float32)
    ink = np.zeros_like(grey)
    if np.ptp(grey) >= MIN_CONTRAST:
        page = evened(grey, 2 * side)
        ink, dark = stretched(grey) if page is None else (page, True)
        if dark:
            remarks.append("is dark on light, and is seen light on dark")
        if page is not None:
            remarks.append("lies in uneven light, which is taken off")
    small = Image.fromarray(ink).resize((width, height), Image.Resampling.HAMMING)
    x[0, :height, :width] = np.clip(np.asarray(small), 0, 1)
    if ink.max() < MIN_CONTRAST:
        x[...] = 0
        remarks = ["shows hardly any contrast, and is seen as if nothing were on it"]
    else:
        x /= max(float(x.max()), MIN_CONTRAST)  # scaling down makes thin lines faint
    return Read(x, scale, coloured(image), size, remarks)


def boxes_in(read: Read, boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) of what a detector saw, in the file's pixels and within it."""
    width, height = read.size
    return np.clip(boxes / read.scale, 0, [width, height, width, height])


def with_boxes(
    picture: "Image",
    boxes: np.ndarray,
    texts: Sequence[str],
    colours: Sequence[Colour],
    scale: float = 1.0,
) -> "Image":
    """A picture with boxes drawn on it, each with a text; small ones are enlarged, whole times.

    Parameters
    ----------
    boxes : (n, 4), in pixels that are `scale` of the picture's
    """
    from PIL import Image, ImageDraw, ImageFont

    times = times_of(*picture.size)
    drawn = picture.resize(
        (times * picture.width, times * picture.height), Image.Resampling.NEAREST
    )
    large = max(1, round(max(drawn.size) / (4 * LEAST)))
    font, draw = ImageFont.load_default(large * TEXT), ImageDraw.Draw(drawn)
    for box, text, colour in zip(boxes * (times * scale), texts, colours, strict=True):
        x1, y1, x2, y2 = box.tolist()
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), None, colour, large * LINE)
        across, down = font.getlength(text) + 4 * large, (TEXT + 4) * large
        # Above the box, or within it where there is no room; never beyond the picture.
        x = max(0.0, min(x1, drawn.width - across))
        y = y1 - down if y1 >= down else y1
        draw.rectangle((x, y, x + across, y + down), fill=colour)
        draw.text((x + 2 * large, y), text, fill=_on(colour), font=font)
    return drawn


def _on(colour: Colour) -> str:
    """Black or white, whichever is read on a colour."""
    red, green, blue = colour
    return "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 120 else "white"
