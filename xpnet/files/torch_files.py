"""Reading the weights in PyTorch's own files without running the pickle in them.

`torch.save(module.state_dict(), path)` writes a pickle of names, in which each tensor says how it
lies in a storage, and the storages behind it. Since PyTorch 1.6 all that is a ZIP, not compressed,

    NAME/data.pkl   NAME/data/0   NAME/data/1 ...   NAME/byteorder (since 2.1)

and before that one file: five pickles, which are a magic number, a version, the sizes of C's types,
the state_dict and the names of the storages; then each storage, its count of numbers first. The
pickles are followed by `xpnet.files.pickles.Machine`. They may name what a state_dict needs,
`torch._utils._rebuild_tensor_v2`, `collections.OrderedDict` and kinds of storages: nothing of it is
imported, and whatever else a file names is refused. Sizes are checked against the file before
room is made for anything.
"""

import math
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from xpnet.errors import WeightsError
from xpnet.files.pickles import MAX_NDIM, Machine, Name, kind, show
from xpnet.notice import notice

OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first bytes of a file as it was before PyTorch 1.6: the pickle of its magic number."""

MAX_PICKLE = 2**24
"""Bytes of the pickles of a file; a tensor takes about a hundred."""

_VERSION = 1001
"""The only version of the old form."""

_STORAGES = {
    "Double": "f8",
    "Float": "f4",
    "Half": "f2",
    "BFloat16": "bf2",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "b1",
}


class _Storage(NamedTuple):
    """Numbers of one kind in a row, by the name that the file has for them."""

    key: str
    code: str
    numbers: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.numbers * int(self.code[-1])


class _Tensor(NamedTuple):
    """How a tensor lies in its storage, counted in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Reader(Machine):
    """The machine of a pickle of tensors."""

    words: ClassVar = {
        "torch._utils._rebuild_tensor_v2": "tensor",
        "collections.OrderedDict": "dictionary",
        **{f"torch.{name}Storage": code for name, code in _STORAGES.items()},
    }
    lists = True
    only = "of PyTorch's files those of tensors alone are read"
    remedy = "save module.state_dict() by torch.save"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.storages: dict[str, _Storage] = {}

    def call(self, function: object, args: object) -> object:
        """Record what PyTorch would make of function(*args)."""
        match function, args:
            case Name("dictionary"), ():
                return {}
            case Name("tensor"), (
                _Storage() as storage, int(offset), tuple(shape), tuple(strides), bool(), {}, *_,
            ):  # fmt: skip
                return self.tensor(storage, offset, shape, strides)
        raise ValueError("a call that PyTorch does not write")

    def build(self, target: object, state: object) -> None:
        """Pass over the `_metadata` of a state_dict, which tells versions of modules."""
        if not isinstance(target, dict) or not isinstance(state, dict):
            raise ValueError("a state that PyTorch does not write")

    def persistent(self, key: object) -> object:
        """Record a storage, which is of one kind and size wherever it is named."""
        match key:
            case ("storage", Name(code), str(name), str(), int(count)):
                pass
            case ("storage", Name(code), str(name), str(), int(count), None):  # the old form
                pass
            case ("storage", Name(), str(), str(), int(), tuple()):
                self.refuse("a storage that is a part of another")
            case _:
                raise ValueError("a reference that PyTorch does not write")
        storage = _Storage(name, code, count)
        if code not in _STORAGES.values() or not 0 <= count < 2**40:
            raise ValueError("a storage of what is no number")
        if self.storages.setdefault(name, storage) != storage:
            raise ValueError("a storage of two kinds or sizes")
        return storage

    def tensor(
        self,
        storage: _Storage,
        offset: int,
        shape: tuple[Any, ...],
        strides: tuple[Any, ...],
    ) -> _Tensor:
        """Record a tensor that lies within its storage, and has no more numbers than that."""
        if len(shape) != len(strides) or len(shape) > MAX_NDIM:
            raise ValueError("shape and strides disagree")
        if not all(type(n) is int and 0 <= n < 2**40 for n in (offset, *shape, *strides)):
            raise ValueError("a tensor of no size")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if math.prod(shape) and last >= storage.numbers:
            raise ValueError("a tensor reaches beyond its storage")
        if math.prod(shape) > storage.numbers:
            self.refuse("a tensor that repeats its numbers, as expand makes it")
        return _Tensor(storage, offset, shape, strides)


def read_torch_zip(path: Path, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """The arrays of a state_dict that `torch.save` wrote; `archive` is the open file.

    One in a dictionary with other things, as {"epoch": 3, "state_dict": {...}}, is taken, and told
    on standard error. bfloat16 becomes float32.

    Raises
    ------
    WeightsError
        The file is damaged, or compressed, or of a machine of the other byte order; it holds no
        state_dict, or several, or names anything that a state_dict does not need.
    """
    with _damage(path):
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()):
            raise ValueError("a name stands twice in the archive")
        (pickled,) = (name for name in entries if name.endswith("/data.pkl"))
        root = pickled.removesuffix("data.pkl")
        if f"{root}constants.pkl" in entries:
            raise WeightsError(
                f"{path} is a program of TorchScript; {_Reader.remedy}, and give that file"
            )
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise WeightsError(
                f"{path} is a PyTorch file that was compressed, and those are read as torch.save "
                "writes them; unpack it, or save it again"
            )
        if sum(entry.file_size for entry in entries.values()) > path.stat().st_size:
            raise ValueError("parts larger than the whole")
        order = f"{root}byteorder"
        _check_order(path, order not in entries or archive.read(order) == b"little")
        if (size := entries[pickled].file_size) > MAX_PICKLE:
            raise WeightsError(
                f"{path} has names and shapes of {size} bytes, and at most {MAX_PICKLE} are read; "
                "save those of one network"
            )
        reader = _Reader(str(path))
        tensors = _state_dict(reader, reader.run(archive.read(pickled)), path)

        def raw(storage: _Storage) -> bytes:
            entry = entries[f"{root}data/{storage.key}"]
            if entry.file_size != storage.size:
                raise ValueError("a storage of another size than is told")
            return archive.read(entry)

        return _arrays(tensors, raw)


def read_old_torch(path: Path) -> dict[str, np.ndarray]:
    """The same of a file as PyTorch wrote it before 1.6, which `OLD` begins.

    Raises
    ------
    WeightsError
        As of `read_torch_zip`.
    """
    with _damage(path), path.open("rb") as file:
        # A pickle's lines have any length, so that no more than this is given to its reader.
        stream = BytesIO(file.read(MAX_PICKLE))
        reader = _Reader(str(path))
        _, version, about = (_Reader(str(path)).run(stream) for _ in range(3))
        if version != _VERSION or not isinstance(about, dict):
            raise ValueError("a version that PyTorch never had")
        _check_order(path, about.get("little_endian") is True)
        found = reader.run(stream)
        order = _Reader(str(path)).run(stream)
        if not isinstance(order, list) or sorted(order) != sorted(reader.storages):
            raise ValueError("storages that are not there, or that nothing is in")
        places, end = {}, stream.tell()
        for key in order:
            places[key] = end
            end += 8 + reader.storages[key].size
        if end > path.stat().st_size:
            raise ValueError("storages reach beyond the file")
        tensors = _state_dict(reader, found, path)

        def raw(storage: _Storage) -> bytes:
            file.seek(places[storage.key])
            if int.from_bytes(file.read(8), "little") != storage.numbers:
                raise ValueError("a storage of another size than is told")
            return file.read(storage.size)

        return _arrays(tensors, raw)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Take whatever breaks for damage: of a damaged file any line can."""
    try:
        yield
    except (WeightsError, OSError):
        raise
    except Exception as error:
        raise WeightsError(
            f"{path} is damaged, or is no PyTorch file of a state_dict; download or save it again"
        ) from error


def _check_order(path: Path, little: bool) -> None:
    if not little:
        raise WeightsError(
            f"{path} was written on a big-endian machine, and little-endian files are read; "
            "load it by PyTorch, and save it by safetensors"
        )


def _state_dict(reader: _Reader, found: object, path: Path) -> dict[str, _Tensor]:
    """The one dictionary of tensors: all that was found, or one entry of it."""
    if not isinstance(found, dict):
        reader.refuse(f"a value of type {_told(found)}")
    if _is_state(found):
        return found
    inner = [name for name, value in found.items() if _is_state(value)]
    beside = [value for value in found.values() if isinstance(value, _Tensor)]
    if len(inner) == 1 and all(math.prod(tensor.shape) == 1 for tensor in beside):
        notice(f"{path} holds more than weights; those under {show(inner[0])!r} are taken")
        state: dict[str, _Tensor] = found[inner[0]]
        return state
    if len(inner) > 1:
        raise WeightsError(
            f"{path} holds several networks: {', '.join(show(name) for name in inner[:4])}; "
            "save the state_dict of one by torch.save"
        )
    for name, value in found.items():
        if not isinstance(value, _Tensor):
            reader.refuse(f"a value of type {_told(value)} under '{show(name)}'")
    return reader.refuse("nothing")


def _is_state(value: object) -> bool:
    """Tell whether something is a dictionary of tensors."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(each, _Tensor) for each in value.values())
    )


def _told(value: object) -> str:
    return "function" if isinstance(value, Name) else kind(value)


def _arrays(tensors: dict[str, _Tensor], raw: Callable[[_Storage], bytes]) -> dict[str, np.ndarray]:
    """The tensors as arrays of their own memory; two may share a storage, as tied weights do."""
    left = Counter(tensor.storage for tensor in tensors.values())
    held = sum(storage.numbers for storage in left)
    if sum(math.prod(tensor.shape) for tensor in tensors.values()) > 2 * held:
        raise ValueError("one piece of data serves for many arrays")
    arrays, open_ = {}, {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        if storage not in open_:
            open_[storage] = _numbers(storage.code, raw(storage))
        arrays[name] = _laid_out(tensor, open_[storage])
        left[storage] -= 1
        if not left[storage]:
            del open_[storage]
    return arrays


def _numbers(code: str, raw: bytes) -> np.ndarray:
    """The numbers of a storage."""
    if code == "bf2":
        return widened(np.frombuffer(raw, "<u2"))
    return np.frombuffer(raw, f"<{code}")


def _laid_out(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """A tensor as an array in C order."""
    kind_of = numbers.dtype.newbyteorder("=")
    if not math.prod(tensor.shape):
        return np.empty(tensor.shape, kind_of)
    strides = [step * numbers.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides)
    return np.array(view, kind_of, order="C")


def widened(halves: np.ndarray) -> np.ndarray:
    """bfloat16, given as uint16, as float32: it is the upper half of one."""
    return (halves.astype(np.uint32) << 16).view(np.float32)
