"""Large files for `fuzz.py`, which a reader must read or refuse within its time and memory.

They are made when their turn comes, and are not mutated.
"""

import gzip
import io
import json
import pickle
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

import _torch_files
from xpnet.data.idx import header

MIB = 2**20
WIDE, HIGH = 9248, 6920  # pixels of a phone's camera, 64 million


class Large(NamedTuple):
    """A large file, by what it is: whether it must be read or be refused, and its bytes."""

    name: str
    read: bool
    make: Callable[[], bytes]


def _drawn(mode: str, width: int, height: int) -> Image.Image:
    """A picture of a stroke on a light ground."""
    ground, ink = ("white", "black") if mode != "CMYK" else ((0, 0, 0, 0), (0, 0, 0, 255))
    image = Image.new(mode, (width, height), ground)
    box = (width // 3, height // 4, width // 2, 3 * height // 4)
    ImageDraw.Draw(image).rectangle(box, fill=ink)
    return image


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _stroke(height: int, width: int, ground: np.ndarray | int = 255) -> np.ndarray:
    """(H, W), uint8: a dark stroke in the middle of a ground."""
    image = np.full((height, width), ground, np.uint8)
    image[height // 4 : 3 * height // 4, width // 3 : width // 2] = 0
    return image


def _noise(width: int, height: int) -> bytes:
    """A JPEG file whose data are as long as can be."""
    ground = np.random.default_rng(0).integers(200, 256, (height, width), np.uint8)
    image = Image.fromarray(_stroke(height, width, ground)).convert("RGB")
    return _saved(image, "JPEG", quality=100, subsampling=0)


def _jpeg(scans: int, mode: str = "RGB", pixels: int = WIDE * HIGH) -> bytes:
    """A progressive JPEG file that draws its picture so many times."""
    side = int(pixels**0.5)
    wide = _saved(_drawn(mode, side, side), "JPEG", progressive=True, subsampling=0)
    parts = re.split(rb"(?=\xff[\xc0-\xfe])", wide)
    drawn = [part for part in parts if part[:2] == b"\xff\xda"]
    at = parts.index(min(drawn, key=len))
    return b"".join([*parts[:at], *[parts[at]] * (1 + scans - len(drawn)), *parts[at + 1 :]])


def _segments(count: int) -> bytes:
    """A JPEG file with so many pieces of metadata, each as long as can be."""
    plain = _saved(_drawn("L", 40, 30), "JPEG")
    piece = b"\xff\xe1\xff\xffExif\0\0" + bytes(65533 - 6)
    return plain[:2] + piece * count + plain[2:]


def _tags() -> bytes:
    """A JPEG file whose metadata are fifty thousand tags that all mean the same bytes."""
    plain = _saved(_drawn("L", 40, 30), "JPEG")
    tags = 50_000
    directory = b"".join(struct.pack("<HHII", tag, 7, 500_000, 8) for tag in range(tags))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", tags) + directory
    pieces = [exif[at : at + 65000] for at in range(0, len(exif), 65000)]
    more = b"".join(
        b"\xff\xe1" + struct.pack(">H", len(piece) + 8) + b"Exif\0\0" + piece for piece in pieces
    )
    return plain[:2] + more + plain[2:]


def _png(width: int, height: int, kind: int, bits: int, channels: int, *more: bytes) -> bytes:
    """A PNG file, white with a dark stroke; `more` are chunks before its data."""
    size = bits // 8
    ink = bytes(3 * size) + b"\xff" * size if channels == 4 else bytes(channels * size)
    white, left, dark = (width * channels * size, width // 3, width // 6)
    plain = b"\0" + b"\xff" * white
    line = plain[: 1 + left * len(ink)] + ink * dark + plain[1 + (left + dark) * len(ink) :]
    packer = zlib.compressobj(1)
    rows = [
        packer.compress(line if height // 4 <= row < 3 * height // 4 else plain)
        for row in range(height)
    ]
    rows.append(packer.flush())
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = [head, *more, b"IDAT" + b"".join(rows), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


def _gif(pieces: int) -> bytes:
    """A GIF file with a comment in so many pieces."""
    plain = _saved(_drawn("L", 40, 30), "GIF")
    at = 13 + 3 * 2 ** ((plain[10] & 7) + 1)
    return plain[:at] + b"!\xfe" + b"\1a" * pieces + b"\0" + plain[at:]


def bitmap(width: int, height: int, data: bytes, compression: int = 1) -> bytes:
    """A BMP file of run lengths."""
    bits = 8 if compression == 1 else 4
    palette = b"".join(bytes([k * 255 // (2**bits - 1)] * 3 + [0]) for k in range(2**bits))
    at = 54 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", at + len(data), 0, 0, at)
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return head + sizes + palette + data


def _apng(frames: int) -> bytes:
    """A PNG file of so many pictures."""
    pictures = [_drawn("L", 40 + k % 2, 30) for k in range(2)]
    return _saved(pictures[0], "PNG", save_all=True, append_images=pictures[1:] * (frames // 2))


def _note(mib: int) -> bytes:
    return b"teST" + bytes(mib * MIB)


def _levels(side: int, channels: int) -> bytes:
    """A PPM file of 100 levels, which Pillow decodes in Python."""
    pixels = (_stroke(side, side) // 2.6).astype(np.uint8)
    kind, data = (b"P6", np.repeat(pixels, 3)) if channels == 3 else (b"P5", pixels)
    return b"%s %d %d 99\n" % (kind, side, side) + data.tobytes()


def _text(width: int, height: int, comments: int, comment: bytes = b"# a comment\n") -> bytes:
    """A PPM file in decimal notation, with so many comments before its numbers."""
    numbers = b" ".join(b"%d" % value for value in _stroke(height, width).ravel())
    return b"P2 %d %d 255\n" % (width, height) + comment * comments + numbers


_TEST = b"\0\0\0\0teST" + struct.pack(">I", zlib.crc32(b"teST"))
_IEND = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_BOMB = b"zTXta\0\0" + zlib.compress(bytes(MIB))


def _late_pieces() -> bytes:
    """A PNG file with a million pieces behind its data."""
    return _png(40, 30, 0, 8, 1).removesuffix(_IEND) + _TEST * 10**6 + _IEND


def _texts() -> bytes:
    return _png(40, 30, 0, 8, 1, *[_BOMB] * 1000)


def _runs() -> bytes:
    """A BMP file of a megapixel in run lengths, four bits a pixel."""
    return bitmap(1000, 1000, b"\xff\x0f\xff\0\xff\xf0\xeb\0\0\0" * 1000, 2)


def _webp(side: int, mode: str) -> bytes:
    return _saved(_drawn(mode, side, side), "WEBP", lossless=mode == "RGBA", method=0)


_GREY = partial(_drawn, "L", WIDE, HIGH)

LARGE: dict[str, tuple[Large, ...]] = {
    "png": (
        Large("RGBA, 64 megapixels", True, lambda: _png(WIDE, HIGH, 6, 8, 4)),
        Large("RGBA, 16 bits, 64 megapixels", True, lambda: _png(WIDE, HIGH, 6, 16, 4)),
        Large("grey, 16 bits, 64 megapixels", True, lambda: _png(WIDE, HIGH, 0, 16, 1)),
        Large("one row of 64 megapixels", False, lambda: _png(63_999_999, 1, 6, 8, 4)),
        Large("a million pieces", False, lambda: _png(40, 30, 0, 8, 1, *[b"teST"] * 10**6)),
        Large("a million pieces behind its data", False, _late_pieces),
        Large("a note of 120 MiB", False, lambda: _png(40, 30, 0, 8, 1, _note(120))),
        Large(
            "texts that unpack to 1,000 MiB", False, lambda: _png(40, 30, 0, 8, 1, *[_BOMB] * 999)
        ),
        Large("5,000 frames", True, lambda: _apng(5000)),
    ),
    "jpeg": (
        Large("64 megapixels", True, lambda: _saved(_drawn("RGB", WIDE, HIGH), "JPEG")),
        Large("40 megapixels of noise", True, lambda: _noise(8000, 5000)),
        Large("64 megapixels, 15 scans", True, lambda: _jpeg(15)),
        Large("64 megapixels, 99 scans", False, lambda: _jpeg(99)),
        Large("10 megapixels, 100 scans", True, lambda: _jpeg(100, "L", 9_980_000)),
        Large("CMYK, 60 megapixels", False, lambda: _jpeg(9, "CMYK", 60_000_000)),
        Large("CMYK, 48 megapixels, 20 scans", True, lambda: _jpeg(20, "CMYK", 47_900_000)),
        Large("notes of 100 MiB", False, lambda: _segments(1600)),
        Large("50,000 tags of the same half megabyte", True, _tags),
    ),
    "gif": (
        Large("64 megapixels", True, lambda: _saved(_GREY(), "GIF")),
        Large("a comment in ten million pieces", False, lambda: _gif(10**7)),
    ),
    "bmp": (
        Large("grey, 64 megapixels", True, lambda: _saved(_GREY(), "BMP")),
        Large("run lengths, one row of a megapixel", False, lambda: bitmap(10**6, 1, bytes(4))),
        Large("run lengths that go nowhere", False, lambda: bitmap(1000, 1000, b"\xff\1" * 10**7)),
        Large("run lengths, a megapixel", True, _runs),
    ),
    "webp": (
        Large("RGBA, 16 megapixels", True, lambda: _webp(4000, "RGBA")),
        Large("100 megapixels", False, lambda: _webp(10_000, "L")),
    ),
    "ppm": (
        Large("grey, 64 megapixels", True, lambda: _saved(_GREY(), "PPM")),
        Large("text, 600,000 comments", True, lambda: _text(40, 30, 600_000)),
        Large("text, four million comments", True, lambda: _text(40, 30, 4 * 10**6, b"#\n")),
        Large("text, of 11 MiB", False, lambda: _text(40, 30, 10**6)),
        Large("text, a megapixel", True, lambda: _text(1000, 1000, 0)),
        Large("two million comments before its size", False, lambda: b"P5 " + b"#\n" * 2 * 10**6),
        Large("of 100 levels, a megapixel", True, lambda: _levels(1000, 3)),
        Large("of 100 levels, 64 megapixels", False, lambda: _levels(8000, 1)),
    ),
}
"""The files by the name of the reader that gets them."""


# Numbers, and texts.


def _zeros(promised: int, there: int) -> bytes:
    """A compressed IDX file of zeros."""
    return gzip.compress(header((promised,)) + bytes(there), 1, mtime=0)


def _arrays(count: int, texts: int = 0) -> bytes:
    """A safetensors file of so many arrays of nothing, and a text of so many bytes."""
    array = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    record = {"__metadata__": {"a": "a" * texts}, **{f"{k}": array for k in range(count)}}
    text = json.dumps(record, separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text


def _dictionary(*instructions: bytes) -> bytes:
    """A pickle of a dictionary that these instructions fill."""
    return b"\x80\x04}" + b"".join(instructions) + b"."


def _words(text: bytes) -> bytes:
    """The instructions that bring a text, and set it as an item of the dictionary."""
    return b"\x8c\1a" + b"X" + len(text).to_bytes(4, "little") + text + b"s"


def _wide_letters() -> bytes:
    return _dictionary(_words(b"a" * 60 * MIB + b"\xf0\x9f\x98\x80"))


def _numbers(mib: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, mib * MIB, np.uint8)


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


_ONE = np.ones(1)
_ZEROS = 3 * 2**27  # of an IDX file, at most

LARGE["idx"] = (
    Large("384 MiB", True, lambda: header((_ZEROS,)) + bytes(_ZEROS)),
    Large("400 MiB", False, lambda: header((400 * MIB,)) + bytes(400 * MIB)),
)
LARGE["gzip"] = (
    Large("384 MiB of zeros", True, lambda: _zeros(_ZEROS, _ZEROS)),
    Large("400 MiB of zeros", False, lambda: _zeros(400 * MIB, 400 * MIB)),
    Large("384 MiB more than promised", False, lambda: _zeros(3, _ZEROS)),
)
LARGE["weights"] = (
    Large("100,000 arrays of nothing", True, lambda: _arrays(100_000)),
    Large("150,000 arrays of nothing", False, lambda: _arrays(150_000)),
    Large("600,000 arrays of nothing", False, lambda: _arrays(600_000)),
    Large("a text of 15 MiB", True, lambda: _arrays(1, 15 * MIB)),
    Large("a text of 90 MiB", False, lambda: _arrays(1, 90 * MIB)),
    Large(".npz of 120 MiB", True, lambda: _npz({"W": _numbers(120)})),
    Large(".npz of 2 GiB of zeros", False, lambda: _npz({"W": np.zeros(2**28)})),
    Large(".npz of 20,000 arrays", False, lambda: _npz({f"W{k}": _ONE for k in range(20_000)})),
    Large("gzip of a pickle of 60 MiB", True, lambda: _gzip(pickle.dumps({"W": _numbers(60)}))),
    Large("gzip of a pickle of 120 MiB", False, lambda: _gzip(pickle.dumps({"W": _numbers(120)}))),
    Large("gzip of 2 GiB of zeros", False, lambda: _gzip(bytes(MIB)) * 2048),
)
LARGE["pickles"] = (
    Large("60 MiB of numbers", True, lambda: pickle.dumps({"W": _numbers(60)}, 4)),
    Large("40 MiB of numbers as text", True, lambda: pickle.dumps({"W": _numbers(40)}, 2)),
    Large("70 MiB of numbers", False, lambda: pickle.dumps({"W": _numbers(70)}, 4)),
    Large(
        "60 MiB of wide letters",
        False,
        lambda: _dictionary(_words(b"a" * 60 * MIB + b"\xf0\x9f\x98\x80")),
    ),
    Large("half a million dictionaries", True, lambda: _dictionary(b"}\x94" * 499_000)),
    Large("two million instructions", False, lambda: _dictionary(b"N" * 2_000_000)),
    Large("nearly a million marks", False, lambda: _dictionary(b"(" * 900_000)),
)


def _tensors(tensors: Mapping[str, _torch_files.Tensor]) -> bytes:
    """A PyTorch file of these tensors."""
    pickled = _torch_files.state_dict(tensors)
    return _torch_files.zipped(pickled, _torch_files.storages_of(tensors))


def _bytes(kind: str, mib: int) -> dict[str, _torch_files.Tensor]:
    count = mib * MIB // (2 if kind == "BFloat16" else 4)
    return {"a": _torch_files.Tensor("0", bytes(mib * MIB), kind, count, [count], [1])}


def _old(pieces: int) -> bytes:
    """An old PyTorch file whose state_dict is so many lists."""
    return _torch_files.old_beginning() + b"\x80\2" + b"](a" * pieces + b"."


_SMALL = _torch_files.Tensor("0", bytes(8), "Float", 2, [2], [1])

LARGE["torch-files"] = (
    Large("120 MiB of numbers", True, lambda: _tensors(_bytes("Float", 120))),
    Large("60 MiB of bfloat16", True, lambda: _tensors(_bytes("BFloat16", 60))),
    Large(
        "50,000 tensors in one storage",
        False,
        lambda: _tensors({f"{k}": _SMALL for k in range(50_000)}),
    ),
    Large(
        "a million lists", False, lambda: _torch_files.zipped(b"\x80\2" + b"]" * 10**6 + b".", {})
    ),
    Large("a pickle of 20 MiB", False, lambda: _torch_files.zipped(bytes(20 * MIB), {})),
    Large("an old file of five million lists", False, lambda: _old(5 * 10**6)),
)


def _network(layers: int) -> bytes:
    """The file of a network of so many layers that hold nothing."""
    kinds = {f"l{k}": {"$kind": "ReLU", "arguments": {}} for k in range(layers)}
    arguments = {"layers": kinds, "input_shape": [4]}
    text = json.dumps({"$kind": "Network", "arguments": arguments}, separators=(",", ":"))
    record = json.dumps({"__metadata__": {"network": text}}).encode()
    return len(record).to_bytes(8, "little") + record


def _nested(pieces: int) -> bytes:
    """A file whose network is described by as many lists as go into its text."""
    record = json.dumps({"__metadata__": {"network": "[" + "[]," * pieces + "0]"}}).encode()
    return len(record).to_bytes(8, "little") + record


LARGE["networks"] = (
    Large("200,000 layers", False, lambda: _network(200_000)),
    Large("4,900 layers", True, lambda: _network(4900)),
    Large("five million lists", False, lambda: _nested(5 * 10**6)),
    Large("600,000 arrays of nothing", False, lambda: _arrays(600_000)),
)


def _nielsen(units: int) -> bytes:
    """A network of three layers, as the book's program writes it."""
    sizes, rng = [784, units, 10], np.random.default_rng(0)
    weights = [rng.normal(size=shape).tolist() for shape in ((units, 784), (10, units))]
    biases = [rng.normal(size=(n, 1)).tolist() for n in sizes[1:]]
    record = {"sizes": sizes, "weights": weights, "biases": biases, "cost": "QuadraticCost"}
    return json.dumps(record).encode()


LARGE["nielsen"] = (
    Large("700,000 weights", True, lambda: _nielsen(900)),
    Large("two million weights", False, lambda: _nielsen(2500)),
    Large("five million lists", False, lambda: b"[" + b"[]," * (5 * 10**6) + b"0]"),
    Large("five million objects", False, lambda: b'{"sizes":[' + b"{}," * (5 * 10**6) + b"0]}"),
)


def _many_images(count: int) -> bytes:
    image = {"rows": ["010"] * 4, "label": 1, "target": [0, 1]}
    return json.dumps({"M1_images_4x3": {"count": count, "images": [image] * count}}).encode()


LARGE["tiny-images"] = (
    Large("14,000 images", True, lambda: _many_images(14_000)),
    Large("100,000 images", False, lambda: _many_images(100_000)),
)
