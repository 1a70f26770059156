"""Pictures with sentences under them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xpnet.files.masks import MARGIN, TEXT, Colour, times_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

WRITTEN: Colour = (0, 0, 0)
RIGHT: Colour = (0, 120, 40)
WRONG: Colour = (190, 20, 30)
"""Of a sentence: where it is not known whether it is right, and where it is."""
LARGEST = 640
"""Pixels across that pictures are shown with at most."""


def with_captions(picture: "Image", captions: Sequence[tuple[str, Colour]]) -> "Image":
    """A picture with sentences under it, each in its colour, broken into lines that fit.

    Small pictures are enlarged, whole times; large ones are made smaller.
    """
    from PIL import Image, ImageDraw, ImageFont

    times = times_of(*picture.size)
    width, height = times * picture.width, times * picture.height
    share = min(1.0, LARGEST / max(width, height))
    if share < 1:
        size = max(1, round(share * width)), max(1, round(share * height))
        shown = picture.resize(size, Image.Resampling.LANCZOS)
    else:
        shown = picture.resize((width, height), Image.Resampling.NEAREST)
    font = ImageFont.load_default(TEXT)
    across = max(shown.width, LARGEST // 2)
    lines = [(line, colour) for text, colour in captions for line in broken(text, font, across)]
    step = TEXT + 5
    page = Image.new(
        "RGB",
        (across + 2 * MARGIN, shown.height + 3 * MARGIN + step * len(lines)),
        "white",
    )
    page.paste(shown, (MARGIN + (across - shown.width) // 2, MARGIN))
    draw = ImageDraw.Draw(page)
    for k, (line, colour) in enumerate(lines):
        draw.text((MARGIN, shown.height + 2 * MARGIN + k * step), line, fill=colour, font=font)
    return page


def broken(text: str, font: "FreeTypeFont | ImageFont", across: int) -> list[str]:
    """A sentence in lines of at most so many pixels, or of one word."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > across:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
