"""Opening picture files: which kinds, how large, and into which few modes they are decoded.

A small file can promise many pixels, draw them many times, or come in so many pieces that Pillow
is busy for minutes. Limits on bytes, pixels, scans and pieces keep what is read below 5 seconds
and 512 MiB.
"""

import io
import re
import warnings
from functools import partial
from math import ceil, sqrt
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from xpnet.errors import DataError, DataNotFoundError

if TYPE_CHECKING:
    from PIL.Image import Image

MIB = 2**20
MAX_PIXELS = 64_000_000
MAX_SIDE = 65_535  # pixels in a row or a column
MAX_BYTES = 128 * MIB
MAX_HEAD = 16 * MIB  # before the pixels; a JPEG file's notes are joined one by one
MAX_SCANS = 100  # of a JPEG file; programs write about ten
MAX_DRAWN = 1_000_000_000  # pixels of a JPEG file, times its scans
KEPT_PIXELS = 4_000_000  # a larger picture is made smaller while it is read
STRIP = 2**20  # pixels that are brought into another mode at once
SLOW_PIXELS = 1_000_000  # where Pillow decodes pixel by pixel, in Python
HEAD_READS = 200_000  # times that Pillow asks for bytes: it does so for every piece of a header,
BODY_READS = 1_100_000  # and for every pixel that is slow
MAX_WEBP = 16  # million pixels, and MiB: its decoder holds five copies
MAX_TEXT = 8 * MIB  # of a picture in decimal notation

# Pillow knows more. For EPS it starts another program; TIFF's library prints its own complaints.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM")
_IN_PYTHON = {"bmp_rle", "ppm", "ppm_plain"}  # decoders of Pillow
_PLAIN = (b"P1", b"P2", b"P3")
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF, and by a quarter

# A JPEG file's marker: neither a byte 255 of its data, which a 0 follows, nor one to begin anew at.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SCAN, _END, _ALONE = 0xDA, 0xD9, (0x01, 0xD8)


_OTHERS = {
    rb".{4}ftyp(hei|hev|mif1|msf1)": "a HEIC picture, as phones take",
    rb".{4}ftypavi[fs]": "an AVIF picture",
    rb".{4}ftypcrx|FUJIFILM|IIRO|IIU": "a camera's raw picture",
    rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI": "a film",
    rb"II[*+]\0|MM\0[*+]": "a TIFF picture, or a camera's raw one",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "a JPEG XL picture",
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": "a JPEG 2000 picture",
    rb"8BPS": "a Photoshop picture",
    rb"gimp xcf": "a picture of GIMP",
    rb"\0\0[\1\2]\0[^\0]": "an icon",
    rb"%PDF": "a PDF",
    rb"(?i)(\xef\xbb\xbf)?\s*(<\?xml.*)?<svg": "an SVG drawing",
    rb"(?i)\s*<(!doctype )?html": "a web page",
}
"""Kinds of files that are not read, by how they begin."""


def _other_kind(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(1024)
    return next((kind for start, kind in _OTHERS.items() if re.match(start, head, re.DOTALL)), None)


class _File(io.BufferedReader):
    """A file that gives so many bytes at most, at so many requests."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._path = path
        self.allow(HEAD_READS, MAX_HEAD)

    def allow(self, reads: int, size: int) -> None:
        self._reads, self._bytes = reads, size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._reads -= 1
        self._bytes -= len(data)
        if self._reads < 0:
            _refuse(self._path, f"is cut into more than {HEAD_READS} pieces")
        if self._bytes < 0:
            _refuse(self._path, f"has more than {MAX_HEAD // MIB} MiB before its pixels")
        return data


def read_image(path: Path) -> "Image":
    """As `read_image_with_size`, without the size."""
    return read_image_with_size(path)[0]


def read_image_with_size(path: Path) -> tuple["Image", tuple[int, int]]:
    """Decode a picture file, its first frame, upright; one of over 4 million pixels made smaller.

    Returns
    -------
    an image of mode L, RGB, RGBA, if it has any transparency, or I (also I;16), of 16 bits; and the
    width and height that the file has, upright as well

    Raises
    ------
    DataNotFoundError
        There is no such file.
    DataError
        The file is not a picture, is damaged or too large.
    """
    from PIL import ImageOps

    try:
        exists, is_file = path.exists(), path.is_file()
        size = path.stat().st_size if is_file else 0
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}; check its name and permissions"
        ) from error
    if not exists:
        raise DataNotFoundError(f"{path} does not exist; give the path of a picture file")
    if not is_file:
        raise DataError(f"{path} is not a file; give the path of a picture file")
    if size > MAX_BYTES:
        _refuse(path, f"has more than {MAX_BYTES // MIB} MiB", "save it smaller")
    try:
        with warnings.catch_warnings(), _File(path) as file:
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files, and its own limit
            image, (width, height) = _open(path, file, size)
            with image:
                file.allow(BODY_READS, 2 * MAX_BYTES)
                small = _reduced(image)
                turned = small.getexif().get(_ORIENTATION, 1) in _TURNED
                full = (height, width) if turned else (width, height)
                return ImageOps.exif_transpose(small), full
    except DataError:
        raise
    except Exception as error:  # what Pillow raises for a damaged file depends on its format
        if kind := _other_kind(path):
            raise DataError(
                f"{path} is {kind}, which is not read; export it as PNG or JPEG"
            ) from error
        raise DataError(
            f"{path} cannot be read as a picture: it is damaged or of another kind; "
            "save it again as PNG or JPEG"
        ) from error


def _refuse(path: Path, reason: str, remedy: str = "save it again as PNG or JPEG") -> NoReturn:
    raise DataError(f"{path} {reason}; {remedy}")


def _check_pixels(path: Path, pixels: int, most: int = MAX_PIXELS, what: str = "") -> None:
    if pixels > most:
        _refuse(path, f"has more than {most // 10**6} million pixels{what}", "save it smaller")


def _open(path: Path, file: _File, size: int) -> tuple["Image", tuple[int, int]]:
    """Open a picture that is within the limits, and its size; none of its pixels is decoded yet."""
    from PIL import Image

    head = file.read(30)
    file.seek(0)
    source: IO[bytes] = file
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":  # Pillow begins by allocating all of it
        _check_pixels(path, _webp_pixels(head), MAX_WEBP * 10**6, " in WebP")
        if size > MAX_WEBP * MIB:
            _refuse(path, f"has more than {MAX_WEBP} MiB of WebP")
    if head[:2] in _PLAIN:
        if size > MAX_TEXT:
            _refuse(path, f"is a text of more than {MAX_TEXT // MIB} MiB")
        source = io.BytesIO(_without_comments(file))
    try:
        image = Image.open(source, formats=FORMATS)
    except Image.DecompressionBombError:
        _check_pixels(path, MAX_PIXELS + 1)
        raise
    full = image.size
    pixels = image.width * image.height
    _check_pixels(path, pixels)
    if max(image.size) > MAX_SIDE:
        _refuse(path, f"is more than {MAX_SIDE} pixels wide or high", "cut the digit out of it")
    if image.mode == "F":
        raise ValueError("floats, of which nobody knows which is white")
    if image.tile and image.tile[0][0] in _IN_PYTHON:
        _check_pixels(path, pixels, SLOW_PIXELS, " in a form that is slow to read")
    if image.format in ("JPEG", "MPO"):
        colours = max(3, len(image.getbands()))
        _check_pixels(path, pixels, 3 * MAX_PIXELS // colours)
        most = min(MAX_SCANS, MAX_DRAWN // pixels)
        if _scans(path, most) > most:
            _refuse(path, f"draws its picture more than {most} times", "save it again")
        shrink = next(n for n in (1, 2, 4, 8) if n == 8 or pixels <= KEPT_PIXELS * n * n)
        image.draft(None, (max(1, image.width // shrink), max(1, image.height // shrink)))
    return image, full


def _without_comments(file: IO[bytes]) -> bytes:
    """Leave out the comments of a text: for each of them Pillow copies all that follows."""
    kept, inside = bytearray(), b""
    for block in iter(partial(file.read, 2**16), b""):
        block = inside + block
        last = max(block.rfind(b"\n"), block.rfind(b"\r"))
        inside = b"#" if b"#" in block[last + 1 :] else b""
        kept += re.sub(rb"#[^\r\n]*", b"", block)
    return bytes(kept)


def _webp_pixels(head: bytes) -> int:
    """Pixels that the first 30 bytes of a WebP file promise, in each of its three layouts."""
    if head[12:16] == b"VP8X":
        return (1 + int.from_bytes(head[24:27], "little")) * (
            1 + int.from_bytes(head[27:30], "little")
        )
    bits = int.from_bytes(head[21:25], "little")
    if head[12:16] == b"VP8L":
        return (1 + bits % 2**14) * (1 + bits // 2**14 % 2**14)
    width, height = (int.from_bytes(head[at : at + 2], "little") % 2**14 for at in (26, 28))
    return width * height


def _scans(path: Path, most: int) -> int:
    """Count how often a JPEG file goes over its picture, or give more than `most`.

    Each time costs as much as all pixels. What follows the end, such as a film, is not looked at.
    """
    data, at, scans = path.read_bytes(), 0, 0
    for _ in range(100_000):  # markers; each is of four bytes at least
        found = _MARKER.search(data, at)
        if found is None or data[found.end() - 1] == _END:
            return scans
        kind, at = data[found.end() - 1], found.end()
        if kind not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
        scans += kind == _SCAN
        if scans > most:
            return scans
    return most + 1


def _reduced(image: "Image") -> "Image":
    """Decode it; the mean of each block of pixels where there are more than are kept.

    Strip by strip, since another mode takes up to four times the memory.
    """
    from PIL import Image

    image.load()
    step = ceil(sqrt(image.width * image.height / KEPT_PIXELS))
    if step <= 1:
        return _in_few_modes(image)
    wide = image.width > image.height
    long, short = max(image.size), min(image.size)
    length = step * max(1, STRIP // (step * short))
    strips = []
    for start in range(0, long, length):
        end = min(start + length, long)
        box = (start, 0, end, short) if wide else (0, start, short, end)
        strip = _in_few_modes(image.crop(box))
        if strip.mode.startswith("I;"):  # of which Pillow takes no means
            strip = strip.convert("I")
        strips.append(strip.reduce(step))
    small = Image.new(strips[0].mode, (-(-image.width // step), -(-image.height // step)))
    for strip, start in zip(strips, range(0, long, length), strict=True):
        small.paste(strip, (start // step, 0) if wide else (0, start // step))
    small.info = image.info  # it tells which side is up
    return small


def _in_few_modes(image: "Image") -> "Image":
    if image.mode.startswith("I"):
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
