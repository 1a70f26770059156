"""Weight files of other programs: NumPy's are read, the others named by their first bytes."""

import gzip
import io
import zipfile
import zlib
from math import prod
from pathlib import Path

import numpy as np

from xpnet.errors import WeightsError
from xpnet.files.pickles import read_pickled_arrays
from xpnet.files.torch_files import read_torch_zip

LOOKED_AT = 512
"""Bytes by which a kind is known."""

MAX_UNPACKED = 2**27
"""Bytes that a compressed file may hold: a few of it can stand for any number."""

_MAX_DIRECTORY = 2**20
"""Bytes of a ZIP's list of contents, some 10,000 names, all of which are read at once."""

_SAVEZ = "save its arrays by numpy.savez, as W1, b1, W2, b2, ..."
_PICTURE = ("a picture", "give it as IMAGE, and the network as --weights")
_PACKED = ("a compressed file", "unpack it first")
_KINDS: dict[bytes, tuple[str, str]] = {
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file, as Keras and MATLAB write", _SAVEZ),
    b"\x93NUMPY": ("a single NumPy array", _SAVEZ),
    b"MATLAB": ("a MATLAB file", _SAVEZ),
    b"GGUF": ("a GGUF file", _SAVEZ),
    b"SQLite format 3\0": ("a database", "give the network that was trained"),
    b"version https://git-lfs": ("a pointer of Git LFS", "fetch what it stands for: git lfs pull"),
    b"<": ("a web page", "download the file itself"),
    b"%PDF": ("a PDF", "give a weight file"),
    b"\0\0\x08": ("an IDX file, as MNIST's images are", "give a weight file"),
    b"BZh": _PACKED,
    b"\xfd7zXZ\0": _PACKED,
    b"7z\xbc\xaf\x27\x1c": _PACKED,
    b"\x28\xb5\x2f\xfd": _PACKED,
    **dict.fromkeys(
        [b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6"], _PICTURE
    ),
}


def kind_of(start: bytes) -> str | None:
    """Say what kind a file is that begins so, and what to do with it; None if that is not known."""
    for magic, (kind, remedy) in _KINDS.items():
        if start.startswith(magic):
            return f"{kind}; {remedy}"
    if start[4:8] == b"TFL3":
        return f"a TensorFlow Lite file; {_SAVEZ}"
    if start[:1] == b"\x08" and start[2:3] in b"\x12\x1a" and len(start) > 3:
        return f"an ONNX file; {_SAVEZ}"
    return None


def text_of(start: bytes) -> str | None:
    """Say what kind of text begins so, and what to do with it; None if it is none."""
    text = start.decode("utf-8", errors="ignore")
    if len(text.encode()) < len(start) - 3 or not all(c.isprintable() or c.isspace() for c in text):
        return None
    if text.lstrip()[:1] not in ("{", "["):
        return f"text; {_SAVEZ}"
    if '"sizes"' in text:
        return "JSON, as xpnet.books.nielsen saves a network; load it by xpnet.books.nielsen.load"
    return f"JSON; {_SAVEZ}"


def read_zip(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that `numpy.savez` or `torch.save` wrote; other ZIPs are named.

    Raises
    ------
    WeightsError
        It is damaged, or of another program; an .npz is larger than 128 MiB when unpacked; of
        PyTorch's, see `read_torch_zip`.
    """
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if any(name.endswith("/data.pkl") for name in names):
                return read_torch_zip(path, archive)
            if not all(name.endswith(".npy") for name in names):
                kind = "a Keras file" if "model.weights.h5" in names else "a ZIP archive"
                raise WeightsError(f"{path} is {kind}, and no .npz; {_SAVEZ}")
            if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
                raise _too_large(path)
            arrays = {}
            for entry in entries:
                with archive.open(entry) as file:
                    data = file.read(entry.file_size + 1)
                name = entry.filename.removesuffix(".npy")
                arrays[name] = _array(data, f"{path} holds {name!a}")
            return arrays
    except WeightsError:
        raise
    except Exception as error:  # of a damaged file any line of the library's can break
        raise WeightsError(
            f"{path} is damaged, or is no .npz of arrays or PyTorch file; download or save it again"
        ) from error


def _check_directory(path: Path) -> None:
    """Refuse a list of contents that takes long to read; ZipFile reads it all at once."""
    with path.open("rb") as file:
        begin = file.seek(max(0, path.stat().st_size - 2**16 - 22))
        end = file.read()
    at = end.rfind(b"PK\5\6")
    if at < 0:
        raise ValueError("no list of contents")
    size = int.from_bytes(end[at + 12 : at + 16], "little")
    if end[at - 20 : at - 16] == b"PK\6\7":  # the form for large files, which PyTorch always adds
        if int.from_bytes(end[at - 12 : at - 4], "little") != begin + at - 76:
            raise ValueError("two directories")
        size = int.from_bytes(end[at - 36 : at - 28], "little")
    if size > _MAX_DIRECTORY:
        raise WeightsError(f"{path} holds too many files for a network's; give another")


def _array(data: bytes, what: str) -> np.ndarray:
    """An array as `numpy.save` writes it; its size is checked before room is made for it."""
    stream, of = io.BytesIO(data), np.lib.format
    read = {(1, 0): of.read_array_header_1_0, (2, 0): of.read_array_header_2_0}
    shape, fortran, dtype = read[of.read_magic(stream)](stream)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise WeightsError(f"{what} of type {dtype}, and numbers of at most 64 bits are read")
    if prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError("shape and data disagree")
    numbers = np.frombuffer(data, dtype, offset=stream.tell())
    return np.array(
        numbers.reshape(shape, order="F" if fortran else "C"),
        dtype=dtype.newbyteorder("="),
        order="C",
    )


def read_gzip(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a compressed pickle; what else was compressed is named.

    Raises
    ------
    WeightsError
        It is damaged, larger than 128 MiB when unpacked, or of something else.
    """
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise WeightsError(
            f"{path} is damaged, or is neither a safetensors file nor a pickle of NumPy arrays; "
            "download or save it again"
        ) from error
    if len(data) > MAX_UNPACKED:
        raise _too_large(path)
    start = data[:LOOKED_AT]
    if start[4:9] == b"\0\0\0\0{":
        raise WeightsError(f"{path} is a compressed safetensors file; unpack it first")
    if start.startswith((b"PK\3\4", b"\x1f\x8b")):
        raise WeightsError(f"{path} is a compressed file in a compressed file; unpack it first")
    if kind := kind_of(start):
        raise WeightsError(f"{path} is, unpacked, {kind}")
    return read_pickled_arrays(data, str(path))


def _too_large(path: Path) -> WeightsError:
    return WeightsError(
        f"{path} is larger than {MAX_UNPACKED} bytes when unpacked; save it as safetensors"
    )
