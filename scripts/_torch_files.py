"""PyTorch's files of weights as they lie on the disk, written without PyTorch.

For inputs of `fuzz.py` and for tests: what is odd in them PyTorch would not write.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

KINDS = {
    "f8": "Double", "f4": "Float", "f2": "Half", "i8": "Long", "i4": "Int", "i2": "Short",
    "i1": "Char", "u1": "Byte", "b1": "Bool",
}  # fmt: skip
"""PyTorch's names for kinds of numbers."""


class Tensor(NamedTuple):
    """A tensor and the storage that it lies in; several may name the same."""

    key: str
    raw: bytes
    kind: str
    numbers: int
    shape: Sequence[int]
    strides: Sequence[int]
    offset: int = 0


def tensor(key: str, array: np.ndarray) -> Tensor:
    """An array as PyTorch has it, in a storage of its own."""
    kind, size = KINDS[array.dtype.str[1:]], array.itemsize
    strides = [step // size for step in np.empty(array.shape, array.dtype).strides]
    return Tensor(key, array.tobytes(), kind, array.size, array.shape, strides)


def state_dict(tensors: Mapping[str, Tensor], *, old: bool = False) -> bytes:
    """The pickle of a state_dict, of protocol 2."""
    items = b"".join(_text(name) + _rebuilt(each, old) for name, each in tensors.items())
    return b"\x80\2" + _ORDERED + b"(" + items + b"u."


def dictionary(**values: bytes) -> bytes:
    """The pickle of a dictionary of pickled values, such as {"epoch": 3, "state_dict": ...}."""
    items = b"".join(_text(name) + value[2:-1] for name, value in values.items())
    return b"\x80\2}(" + items + b"u."


def zipped(
    pickled: bytes,
    storages: Mapping[str, bytes],
    *,
    order: bytes | None = b"little",
    root: str = "archive",
    compression: int = zipfile.ZIP_STORED,
    **more: bytes,
) -> bytes:
    """The ZIP archive, with the directory for large files that PyTorch always adds."""
    stream = io.BytesIO()
    files = {"data.pkl": pickled, **({} if order is None else {"byteorder": order}), **more}
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in [*files.items(), *((f"data/{k}", v) for k, v in storages.items())]:
            archive.writestr(zipfile.ZipInfo(f"{root}/{name}"), data, compression)
    contents = stream.getvalue()
    end = len(contents) - 22
    count, size, at = struct.unpack("<HII", contents[end + 10 : end + 20])
    large = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, at)
    found = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    return contents[:end] + large + found + contents[end:]


def storages_of(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """The storages by their keys."""
    return {each.key: each.raw for each in tensors.values()}


def old_beginning(*, version: int = 1001, little: bool = True) -> bytes:
    """What a file begins with as it was before PyTorch 1.6."""
    sizes = {"short": 2, "int": 4, "long": 4}
    about = {"protocol_version": version, "little_endian": little, "type_sizes": sizes}
    magic = 0x1950A86A20F9469CFC6C
    return b"".join(pickle.dumps(value, 2) for value in (magic, version, about))


def old_end(tensors: Mapping[str, Tensor]) -> bytes:
    """What follows the state_dict in such a file: the names of the storages, and the storages."""
    found = {each.key: each for each in tensors.values()}
    raw = b"".join(found[k].numbers.to_bytes(8, "little") + found[k].raw for k in sorted(found))
    return pickle.dumps(sorted(found), 2) + raw


_ORDERED = b"ccollections\nOrderedDict\n)R"


def _text(text: str) -> bytes:
    return b"X" + len(text.encode()).to_bytes(4, "little") + text.encode()


def _integer(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _rebuilt(each: Tensor, old: bool) -> bytes:
    """The instructions that make a tensor."""
    kind = b"ctorch\n%sStorage\n" % each.kind.encode()
    place = [_text("storage"), kind, _text(each.key), _text("cpu"), _integer(each.numbers)]
    arguments = _tuple(
        _tuple(*place, *([b"N"] if old else [])) + b"Q",
        _integer(each.offset),
        _tuple(*map(_integer, each.shape)),
        _tuple(*map(_integer, each.strides)),
        b"\x89",
        _ORDERED,
    )
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
