"""Photographs as networks read them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.arguments import real, whole
from xpnet.errors import ArgumentError, DataError, WeightsError
from xpnet.files.images import read_image

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_CONTRAST = 8
"""Levels of 256 between the darkest and the lightest pixel of what shows anything."""

MAX_SIZE = 2**14
"""Pixels of a side: more would take gigabytes."""

SMALLEST, LARGEST = 1e-15, 1e15
"""Between them whatever is made of pixels is finite in float32."""

SHOWN = 10
"""Classes that are told by name where a network's photographs are shown."""

ENLARGED = 4
"""A photograph that is enlarged more than this has an answer that is doubtful."""


@dataclass(frozen=True)
class Photographs:
    """How a network reads photographs, and what its outputs are called.

        x = (pixel - mean) / std,   pixels from 0 to 255, a mean and a std for red, green and blue

    These belong to the weights: a network that learned from inputs of one kind is wrong about
    others. `network.photographs` holds them; files of weights and copies of the network have them,
    too, and `xpnet predict` reads by them.

    Parameters
    ----------
    size : pixels of a side of the square that the network sees
    mean, std : one number, or one for each of the three colours
    crop : the share of the shorter side of a photograph that is seen, in its middle; 0.875 is
        torchvision's, of mean (123.675, 116.28, 103.53) and std (58.395, 57.12, 57.375)
    classes : the names of the outputs, in their order; numbers if None

    Raises
    ------
    ArgumentError
        A number is out of bounds, or the classes are no names.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0
    classes: tuple[str, ...] | None = None

    def __init__(
        self,
        size: int,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        *,
        crop: float = 1.0,
        classes: Sequence[str] | None = None,
    ) -> None:
        if not whole(size) or not 1 <= size <= MAX_SIZE:
            raise ArgumentError(f"size must be a number of pixels, up to {MAX_SIZE}, got {size!r}")
        if not real(crop) or not 0 < crop <= 1:
            raise ArgumentError(f"crop must be a share above 0 and up to 1, got {crop!r}")
        named = None if classes is None else _names(classes)
        colours = {"mean": _three("mean", mean), "std": _three("std", std)}
        if min(colours["std"]) < SMALLEST:  # a smaller one is 0 in float32
            raise ArgumentError(f"std must be above 0, and not below {SMALLEST:g}, got {std}")
        fields = colours | {"size": int(size), "crop": float(crop), "classes": named}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        fields = [f"{name}={getattr(self, name)}" for name in ("size", "mean", "std", "crop")]
        named = self.classes
        if named is not None and len(named) > SHOWN:
            fields.append(f"classes=<{len(named)} names, {named[0]!r} to {named[-1]!r}>")
        else:
            fields.append(f"classes={named}")
        return f"Photographs({', '.join(fields)})"

    def read(self, path: str | Path) -> np.ndarray:
        """Read a photograph as the network takes it: (3, size, size), float32.

        Its middle, a square, is scaled to the network's size, bicubically. It is turned upright as
        its camera says; grey ones are read as colours that are alike, and transparent ones on
        white.

        Raises
        ------
        DataNotFoundError
            There is no such file.
        DataError
            The file is not a picture, is damaged or too large, or shows nothing.
        """
        return self.read_with_remarks(path)[0]

    def read_with_remarks(self, path: str | Path) -> tuple[np.ndarray, list[str]]:
        """The same, and what makes it doubtful; each remark goes on after the path."""
        from PIL import Image

        path = Path(path)
        picture = coloured(read_image(path))
        side = max(1, round(self.crop * min(picture.size)))
        left, top = ((n - side) // 2 for n in picture.size)
        square = picture.crop((left, top, left + side, top + side))
        pixels = np.asarray(
            square.resize((self.size, self.size), Image.Resampling.BICUBIC), np.float32
        )
        if np.max(np.ptp(pixels, axis=(0, 1))) < MIN_CONTRAST:
            raise DataError(
                f"{path} shows nothing: its pixels are all nearly alike; give a picture with more "
                "contrast"
            )
        mean, std = (np.asarray(each, np.float32) for each in (self.mean, self.std))
        x = np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))
        if self.size > ENLARGED * side:
            return x, [f"shows {side} x {side} pixels to a network of {self.size} x {self.size}"]
        return x, []

    def as_text(self) -> str:
        """JSON, for files of weights."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_text(text: str, path: Path) -> "Photographs":
        """Again from JSON.

        Raises
        ------
        WeightsError
            The text does not tell how photographs are read; the message names the file, `path`.
        """
        try:
            return Photographs(**json.loads(text))
        except (ArgumentError, RecursionError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{path} says how photographs are read in a way that this version does not know; "
                "save it again"
            ) from error


def _three(name: str, given: Any) -> tuple[float, ...]:
    """A number for each colour."""
    values = [given] * 3 if real(given) else given
    if isinstance(values, Sequence | np.ndarray) and len(values) == 3 and all(map(real, values)):
        numbers = tuple(map(float, values))
        if all(abs(number) <= LARGEST for number in numbers):
            return numbers
    raise ArgumentError(
        f"{name} must be a number, or one for each of three colours, of at most {LARGEST:g}, got "
        f"{given!r}"
    )


def _names(given: Any) -> tuple[str, ...]:
    """Names of classes, which stand in lines with others."""
    named = () if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if not named or not all(isinstance(name, str) and name.isprintable() for name in named):
        raise ArgumentError(
            f"classes must be names of one line, such as ('cat', 'dog'), got {given!r:.200}"
        )
    if len(set(named)) < len(named):
        raise ArgumentError("classes must be names of which no two are alike")
    return named


def coloured(picture: "Image") -> "Image":
    """A picture in red, green and blue, of 8 bits."""
    from PIL import Image

    if picture.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert(
            "RGB"
        )
    if picture.mode not in ("L", "RGB"):  # grey of 16 bits
        grey = np.asarray(picture, np.float32) * (255 / 65535)
        picture = Image.fromarray(np.clip(np.round(grey), 0, 255).astype(np.uint8))
    return picture.convert("RGB")


def fitted(picture: "Image", width: int, height: int) -> np.ndarray:
    """The middle of a picture in colours, as large as it can be, in another size, bilinearly.

    Returns
    -------
    (3, height, width), uint8
    """
    from PIL import Image, ImageOps

    found = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(found).transpose(2, 0, 1))
