"""IDX files, the format in which MNIST is published.

A header of big-endian 32-bit numbers (a magic number, then one size per dimension) and then the
values, one byte each, the last dimension running fastest. http://yann.lecun.com/exdb/mnist/
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import ArgumentError, DataError, DataNotFoundError
from xpnet.files.atomic import atomic_write

MAGIC = {0x00000801: 1, 0x00000803: 3}  # 08: unsigned bytes; the last byte: dimensions
LIMIT = 3 * 2**27  # bytes of values, 384 MiB; MNIST's largest file has 47 million
CHUNK = 2**20


def header(shape: tuple[int, ...]) -> bytes:
    """Make the header of an IDX file of unsigned bytes."""
    return struct.pack(f">{1 + len(shape)}I", 0x00000800 + len(shape), *shape)


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes in one or three dimensions, plain or gzip.

    The contents tell whether it is gzip. Nothing is allocated on the word of the header, and
    nothing is unpacked beyond what the header promises, so that no file can exhaust the memory.

    Raises
    ------
    DataNotFoundError
        There is no such file.
    DataError
        The file cannot be read, is damaged, or is something else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return _parse(path, file)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse(path, cast(BinaryIO, unpacked))
    except FileNotFoundError:
        raise DataNotFoundError(f"{path}: no such file; check the path") from None
    except EOFError as error:
        raise DataError(f"{path}: truncated, the gzip data end early; get it afresh") from error
    except (OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path}: cannot be read ({reason}); if it is damaged, get it afresh"
        ) from error


def _parse(path: Path, stream: BinaryIO) -> NDArray[np.uint8]:
    magic = stream.read(4)
    dimensions = MAGIC.get(int.from_bytes(magic, "big")) if len(magic) == 4 else None
    if dimensions is None:
        raise DataError(
            f"{path}: expected an IDX file of bytes (00000801 or 00000803), plain or gzip, "
            f"got one starting with {magic.hex() or 'nothing'}; get it afresh"
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(f"{path}: expected {dimensions} sizes, but it ends early; get it afresh")
    shape = struct.unpack(f">{dimensions}I", sizes)
    # An empty dimension must not hide the others, which NumPy would refuse.
    if math.prod(max(size, 1) for size in shape) > LIMIT:
        raise DataError(
            f"{path}: expected at most {LIMIT} values, its header promises {shape}; get it afresh"
        )

    need = math.prod(shape)
    data = bytearray()
    while len(data) < need and (chunk := stream.read(min(CHUNK, need - len(data)))):
        data += chunk
    if len(data) < need:
        raise DataError(
            f"{path}: expected {need} values for {shape}, got {len(data)}; get it afresh"
        )
    if stream.read(1):  # in gzip, also what makes the checksum at the end be compared
        raise DataError(
            f"{path}: expected {need} values for {shape}, but more follow; get it afresh"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def write_idx(path: str | Path, array: NDArray[np.uint8]) -> None:
    """Write an IDX file, atomically; as gzip, always the same bytes, if its name ends in .gz.

    Raises
    ------
    ArgumentError
        The array is not of uint8, or not of one or three dimensions.
    OutputError
        The file cannot be written.
    """
    if array.dtype != np.uint8 or array.ndim not in MAGIC.values():
        raise ArgumentError(
            "write_idx: expected a uint8 array of 1 or 3 dimensions, "
            f"got {array.dtype} of {array.ndim}; convert or reshape it"
        )
    data = header(array.shape) + array.tobytes()
    if Path(path).suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
