"""Animations of games: what is seen, beside what each action is worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpnet.files.atomic import atomic_write
from xpnet.files.masks import COLOURS, MARGIN, TEXT, picture_of

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, PANEL = 200, 180
"""Pixels of what is seen, along its longer side, and of the values' width."""
BAR = TEXT + 6
"""Pixels from one value to the next."""


def game_frame(
    seen: np.ndarray | None,
    title: str,
    actions: Sequence[str],
    values: np.ndarray,
    bounds: tuple[float, float],
) -> "Image":
    """What is seen in a game, and a bar for the value of each action, the best one's darker.

    Parameters
    ----------
    seen : (1, H, W) or (3, H, W) bytes; other channels are shown by their maximum. None for what
        has no picture.
    title : a line above
    values : of each action
    bounds : the least and the largest value of the animation, which bars are drawn between
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TEXT)
    top, left = MARGIN + BAR, MARGIN
    height, shown = len(actions) * BAR, None
    if seen is not None:
        shown = picture_of(seen if len(seen) in (1, 3) else seen.max(axis=0, keepdims=True))
        times = SIDE / max(shown.size)
        if times > 1:
            times = int(times)
        size = [max(1, round(side * times)) for side in shown.size]
        shown = shown.convert("RGB").resize((size[0], size[1]), Image.Resampling.NEAREST)
        left, height = left + shown.width + MARGIN, max(height, shown.height)
    page = Image.new("RGB", (left + PANEL + MARGIN, top + height + MARGIN), "white")
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN), title, fill="black", font=font)
    if shown is not None:
        page.paste(shown, (MARGIN, top))
    names = max(font.getlength(name) for name in actions) + MARGIN
    numbers = font.getlength("-00.00") + MARGIN
    least, most = min(bounds[0], 0.0), max(bounds[1], 0.0)
    scale = (PANEL - names - numbers) / max(most - least, 1e-6)
    zero = left + names - least * scale
    for k, (name, value) in enumerate(zip(actions, values.tolist(), strict=True)):
        y = top + k * BAR
        draw.text((left, y), name, fill="black", font=font)
        ends = sorted((zero, zero + value * scale))
        colour = COLOURS[0] if k == int(np.argmax(values)) else (190, 200, 210)
        draw.rectangle((ends[0], y + 1, ends[1], y + TEXT), fill=colour)
        draw.text((left + PANEL - numbers + MARGIN, y), f"{value:.2f}", fill="black", font=font)
    draw.line((zero, top, zero, top + len(actions) * BAR - 4), fill="black")
    return page


def save_gif(path: str | Path, frames: Sequence["Image"], milliseconds: Sequence[int]) -> None:
    """Write pictures as an animation that begins again at its end.

    Parameters
    ----------
    milliseconds : how long each is shown

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    from PIL import Image

    few = [frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=64) for frame in frames]
    with atomic_write(path) as temporary:
        few[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=few[1:],
            duration=list(milliseconds),
            loop=0,
        )
