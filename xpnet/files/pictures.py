"""Pictures of digits: any picture file made into an image like those of MNIST, and back."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpnet.errors import ArgumentError, DataError
from xpnet.files.atomic import atomic_write
from xpnet.files.images import read_image
from xpnet.files.ink import border_of, find_ink
from xpnet.notice import notice

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_CONTRAST = 0.1  # of the range from black to white
MAX_FRINGE = 0.3  # contrast that edges of white ink have on white: a half of black in a half
FEW = 100  # pixels of a side that tell which colours there are

SIDE = 28  # an image of MNIST
BOX = 20  # the box in it that a digit fills
MIDDLE = 14  # row and column of the centre of mass: in MNIST's files 13.5 to 14.5, mean 14.0


def read_picture(path: str | Path) -> np.ndarray:
    """Read a picture of one digit as MNIST has it: light on dark, 20 pixels high, centred.

    As `read_picture_with_remarks`, whose remarks are told on standard error.

    Returns
    -------
    (1, 28, 28), float32 from 0 to 1
    """
    image, remarks = read_picture_with_remarks(path)
    for remark in remarks:
        notice(f"{path} {remark}")
    return image


def read_picture_with_remarks(path: str | Path) -> tuple[np.ndarray, list[str]]:
    """Read a picture of one digit as MNIST has it, and tell what makes it doubtful.

    The digit may be dark on light or light on dark: the border of the picture tells. `find_ink`
    finds it among shadows, frames and specks. Ground becomes 0 and the strongest ink 1. The digit
    is scaled into a box of 20 x 20, its aspect kept, and its centre of mass is placed at the
    centre of the 28 x 28 image, to the nearest pixel. A picture of 28 x 28 pixels that is laid
    out so already keeps its geometry.

    Parameters
    ----------
    path : a PNG, JPEG, GIF, BMP, WebP or PPM file of at most 64 million pixels, 16 million in WebP

    Returns
    -------
    (1, 28, 28), float32 from 0 to 1; and remarks, of which each goes on after the path

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
    return as_in_mnist(read_image(path), path)


def as_in_mnist(picture: "Image", path: Path) -> tuple[np.ndarray, list[str]]:
    """Find the digit of a picture; as `read_picture_with_remarks`, and errors name the path."""
    grey = grey_of(picture)
    if not np.ptp(grey) >= MIN_CONTRAST:  # nor for NaN
        raise DataError(
            f"{path} shows no digit: its pixels are all nearly alike; "
            "give a picture with more contrast"
        )
    if grey.shape == (SIDE, SIDE) and _is_laid_out(ink := stretched(grey)[0]):
        return ink[np.newaxis], []
    found = find_ink(grey)
    if found is None:
        raise DataError(
            f"{path} shows no digit: nothing stands out from its ground; "
            "give a picture with more contrast"
        )
    ink, remarks = found
    return _centre(_fit(ink))[np.newaxis], remarks


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


def grey_of(picture: "Image") -> np.ndarray:
    """(H, W), float32, black 0 and white 1: the brightness, or what tells more.

    Where a picture on white shows next to nothing, such as white ink, its transparency is the ink.
    Where brightness differs less than half as much as colours do, these are measured along the
    line on which they differ most.
    """
    from PIL import Image

    if picture.mode not in ("L", "RGB", "RGBA"):
        values = np.asarray(picture, np.float32)
        return values / _full_scale(values)
    if picture.mode == "RGBA":
        alpha = np.asarray(picture.getchannel("A"), np.float32) / 255
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture).convert("RGB")
        on_white = np.ptp(np.asarray(picture.convert("L"))) / 255
        if on_white < min(np.ptp(alpha), MAX_FRINGE) and np.median(border_of(alpha)) < 0.5:
            return 1 - alpha
    grey = np.asarray(picture.convert("L"), np.float32)
    if picture.mode == "RGB":
        few = picture.resize([min(n, FEW) for n in picture.size], Image.Resampling.BOX)
        colours = np.asarray(few, np.float32).reshape(-1, 3)
        variances, axes = np.linalg.eigh(np.cov(colours.T, bias=True))
        if variances[-1] > 4 * np.var(np.asarray(few.convert("L"), np.float32)):
            axis = axes[:, -1].astype(np.float32)
            along = np.asarray(picture, np.float32) @ (axis * np.sign(axis.sum()))
            told: np.ndarray = (along - along.min()) / (255 * np.abs(axis).sum())
            return told
    return grey / _full_scale(grey)


def _full_scale(values: np.ndarray) -> float:
    """Return the largest value of the depth that a picture uses: 8 bits are often saved as 16."""
    most = float(values.max())
    return next((2.0**bits - 1 for bits in (1, 8, 10, 12, 14, 16) if most < 2**bits), most)


def stretched(grey: np.ndarray) -> tuple[np.ndarray, bool]:
    """Stretch the contrast: the ground, which the border shows, to 0 and the strongest ink to 1.

    Returns
    -------
    (H, W), float32; and whether the ink is darker than the ground
    """
    ground, low, high = np.median(border_of(grey)), grey.min(), grey.max()
    dark = bool(ground - low > high - ground)
    strongest = low if dark else high
    ink: np.ndarray = np.clip((grey - ground) / (strongest - ground), 0, 1)
    return ink.astype(np.float32), dark


def _is_laid_out(ink: np.ndarray) -> bool:
    """Tell whether a digit fills a box of 20 x 20 and has its centre of mass in the middle."""
    sizes, centres = [], []
    for axis in (0, 1):
        sizes.append(np.ptp(np.flatnonzero((ink > 0.1).any(axis=1 - axis))) + 1)
        weights = ink.sum(axis=1 - axis)
        centres.append(weights @ np.arange(SIDE) / weights.sum())
    fills = BOX - 2 <= max(sizes) <= BOX
    return bool(fills and np.all(np.abs(np.array(centres) - MIDDLE) <= 1))


def _fit(ink: np.ndarray) -> np.ndarray:
    """Scale a digit that was cut out to 20 pixels along its longer side."""
    from PIL import Image

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
