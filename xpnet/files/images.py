"""Opening picture files: which kinds, how large, and into which few modes they are decoded."""

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xpnet.errors import DataError, DataNotFoundError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 64_000_000
MAX_SCANS = 100  # of a JPEG file; programs write about ten

# Pillow knows more. For EPS it starts another program; TIFF's library prints its own complaints.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM")


def read_image(path: Path) -> "Image":
    """Decode a picture file, its first frame, upright.

    Returns
    -------
    an image of mode L, RGB, RGBA, if it has any transparency, or I (also I;16), of 16 bits

    Raises
    ------
    DataNotFoundError
        There is no such file.
    DataError
        The file is not a picture, is damaged or too large.
    """
    from PIL import Image, ImageOps

    try:
        exists, is_file = path.exists(), path.is_file()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}; check its name and permissions"
        ) from error
    if not exists:
        raise DataNotFoundError(f"{path} does not exist; give the path of a picture file")
    if not is_file:
        raise DataError(f"{path} is not a file; give the path of a picture file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files, and its own limit
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                if image.format in ("JPEG", "MPO") and _scans(path) > MAX_SCANS:
                    raise DataError(
                        f"{path} draws its picture more than {MAX_SCANS} times; save it again"
                    )
                return _in_few_modes(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path} has more than {MAX_PIXELS // 10**6} million pixels; save it smaller"
        ) from error
    except DataError:
        raise
    except Exception as error:  # what Pillow raises for a damaged file depends on its format
        raise DataError(
            f"{path} cannot be read as a picture: it is damaged or of another kind; "
            "save it again as PNG or JPEG"
        ) from error


def _scans(path: Path) -> int:
    """Count how often a JPEG file goes over its picture; each time costs as much as all pixels."""
    with path.open("rb") as file:
        return sum(block.count(b"\xff\xda") for block in iter(partial(file.read, 2**20), b""))


def _in_few_modes(image: "Image") -> "Image":
    image.load()
    if image.mode.startswith("I"):
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
