"""Pictures of digits: any picture file made into an image like those of MNIST, and back."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpnet.errors import ArgumentError, DataError
from xpnet.files.atomic import atomic_write
from xpnet.files.images import read_image

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_CONTRAST = 0.1  # of the range from black to white

SIDE = 28  # an image of MNIST
BOX = 20  # the box in it that a digit fills
MIDDLE = 14  # row and column of the centre of mass: in MNIST's files 13.5 to 14.5, mean 14.0


def read_picture(path: str | Path) -> np.ndarray:
    """Read a picture of one digit as MNIST has it: light on dark, 20 pixels high, centred.

    The digit may be dark on light or light on dark: the border of the picture tells. Ground
    becomes 0 and the strongest ink 1. A picture of 28 x 28 pixels keeps its geometry. In any other,
    the digit is scaled into a box of 20 x 20, its aspect kept, and its centre of mass is placed
    at the centre of the 28 x 28 image, to the nearest pixel.

    Parameters
    ----------
    path : a PNG, JPEG, GIF, BMP, WebP or PPM file of at most 64 million pixels, 16 million in WebP

    Returns
    -------
    (1, 28, 28), float32 from 0 to 1

    Raises
    ------
    DataNotFoundError
        There is no such file.
    DataError
        The file is not a picture, is damaged or too large, or shows nothing.

    References
    ----------
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits", on how its images were made.
    """
    path = Path(path)
    ink = _ink(_grey(read_image(path)), path)
    if ink.shape != (SIDE, SIDE):
        ink = _centre(_fit(ink))
    return ink[np.newaxis]


def save_picture(path: str | Path, image: np.ndarray) -> None:
    """Write an image as a greyscale PNG.

    Parameters
    ----------
    image : (28, 28) or (1, 28, 28), uint8, or floats from 0 to 1

    Raises
    ------
    ArgumentError
        The image has another shape or dtype, or values outside 0 to 1.
    OutputError
        The file cannot be written.
    """
    from PIL import Image

    if image.shape not in {(SIDE, SIDE), (1, SIDE, SIDE)}:
        raise ArgumentError(
            f"save_picture: an image is (28, 28) or (1, 28, 28), got {image.shape}; "
            "give one image, reshaped"
        )
    if image.dtype.kind == "f":
        if not np.all((image >= 0) & (image <= 1)):  # false for NaN too
            raise ArgumentError(
                "save_picture: floats must lie from 0 to 1; divide by the largest value"
            )
        image = np.round(255 * image).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ArgumentError(
            f"save_picture: an image is uint8 or floats from 0 to 1, got {image.dtype}; convert it"
        )
    with atomic_write(path) as temporary:
        Image.fromarray(image.reshape(SIDE, SIDE)).save(temporary, format="PNG")


def _grey(image: "Image") -> np.ndarray:
    """(H, W), float32, black 0 and white 1, without transparency."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits
        return np.asarray(image, dtype=np.float32) / np.float32(65535)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def _ink(grey: np.ndarray, path: Path) -> np.ndarray:
    """Stretch the contrast: the ground, which the border shows, to 0 and the strongest ink to 1."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ground, low, high = np.median(border), grey.min(), grey.max()
    if high - low < MIN_CONTRAST:
        raise DataError(
            f"{path} shows no digit: its pixels are all nearly alike; "
            "give a picture with more contrast"
        )
    strongest = low if ground - low > high - ground else high
    ink: np.ndarray = np.clip((grey - ground) / (strongest - ground), 0, 1)
    return ink.astype(np.float32)


def _fit(ink: np.ndarray) -> np.ndarray:
    """Cut the digit out and scale it to 20 pixels along its longer side."""
    from PIL import Image

    # Uneven light leaves a haze on the ground, so the lowest quarter counts as paper.
    ink = np.clip(2 * ink - np.float32(0.5), 0, 1)
    rows, columns = (np.flatnonzero((ink >= 0.5).any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(BOX * n / max(ink.shape))) for n in ink.shape)
    small = Image.fromarray(ink).resize((width, height), Image.Resampling.HAMMING)
    fitted: np.ndarray = np.clip(np.asarray(small), 0, 1)
    fitted /= fitted.max()  # scaling down makes thin lines faint
    return fitted


def _centre(digit: np.ndarray) -> np.ndarray:
    """Place a digit of at most 20 x 20 in 28 x 28, by its centre of mass."""
    window = []
    for axis, size in enumerate(digit.shape):
        weights = digit.sum(axis=1 - axis)
        centre = float(weights @ np.arange(size) / weights.sum())
        start = min(max(round(MIDDLE - centre), 0), SIDE - size)
        window.append(slice(start, start + size))
    image = np.zeros((SIDE, SIDE), dtype=np.float32)
    image[tuple(window)] = digit
    return image
