"""Weight files: safetensors is written; it, pickles, NumPy's .npz and PyTorch's files are read."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xpnet.errors import WeightsError
from xpnet.files.atomic import atomic_write
from xpnet.files.foreign import LOOKED_AT, kind_of, read_gzip, read_zip, text_of
from xpnet.files.pickles import read_pickled_arrays
from xpnet.files.torch_files import OLD, read_old_torch, widened
from xpnet.notice import notice

MAX_BYTES = 2**31  # a VGG-19 of float64 takes 1.15 GB
MAX_HEADER = 2**24  # bytes; it tells names and shapes, and holds the texts
MAX_ARRAYS = 100_000

CHECKSUM = "sha256"
"""The text by which a checkpoint is known from weights alone."""

OF_OTHERS = ("npz", "npy", "pt", "pth", "h5", "onnx", "json")
"""Ends of names of files in other formats, which programs take at their word."""

OF_BOOKS = ("pkl", "pickle")
"""Ends of the names that the books give."""

_BFLOAT16 = "BF16"
_KINDS = {
    "BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "F16", "F32", "F64", _BFLOAT16
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """The contents of a weight file: arrays by parameter name, and texts that describe them."""

    params: dict[str, np.ndarray]
    metadata: dict[str, str]
    path: Path

    def __repr__(self) -> str:
        return f"<Weights of {self.path}: {', '.join(self.params)}>"


def save_weights(
    path: str | Path,
    params: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    *,
    bfloat16: Collection[str] = (),
) -> None:
    """Write arrays and their description as a safetensors file; equal contents, equal bytes.

    Parameters
    ----------
    bfloat16 : names of float32 arrays, rounded to bfloat16 already, that are written as such

    Raises
    ------
    WeightsError
        The name is of another format, an array is not of booleans, integers or floats of at most 64
        bits, or names and texts take more than 16 MiB.
    OutputError
        The file cannot be written; an older one is left as it was.
    """
    from safetensors.numpy import save

    end = Path(path).suffix.lower()
    if end.removeprefix(".") in OF_OTHERS:
        raise WeightsError(
            f"{path} would be a safetensors file, and {end} is the end of another format's names; "
            f"call it {Path(path).with_suffix('.safetensors')}"
        )
    if end.removeprefix(".") in OF_BOOKS:
        notice(f"{path} is a safetensors file; load_params reads it, pickle does not")
    arrays = {}
    for name, array in params.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise WeightsError(
                f"save_weights: {name} has dtype {array.dtype}, and a weight file holds "
                "booleans, integers and floats of at most 64 bits; convert it to float32"
            )
        arrays[name] = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
    for name in bfloat16:  # which NumPy does not have: the upper half of float32
        arrays[name] = (arrays[name].view(np.uint32) >> 16).astype(np.uint16)
    contents = _told_header(save(arrays, dict(metadata) or None), bfloat16)
    with atomic_write(path) as temporary:
        temporary.write_bytes(contents)


def _told_header(contents: bytes, bfloat16: Collection[str]) -> bytes:
    """Order the texts in a safetensors header, which safetensors leaves to its hash seed.

    And name the kind of number of what is bfloat16.
    """
    end = 8 + int.from_bytes(contents[:8], "little")
    header = json.loads(contents[8:end])
    for name in bfloat16:
        header[name]["dtype"] = _BFLOAT16
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers stay aligned
    if len(text) > MAX_HEADER:
        raise WeightsError(
            f"save_weights: names, shapes and texts take {len(text)} bytes, and {MAX_HEADER} are "
            "read again; save fewer arrays, or shorter texts"
        )
    return len(text).to_bytes(8, "little") + text + contents[end:]


def load_weights(path: str | Path) -> Weights:
    """Read a safetensors file, a pickle such as the books publish, .npz, or a PyTorch file.

    The contents tell which. A pickle, which may be compressed by gzip, is read without running it,
    see `xpnet.files.pickles`, and so is PyTorch's, see `xpnet.files.torch_files`. All but
    safetensors have no metadata. bfloat16, which NumPy does not have, becomes float32.

    Raises
    ------
    WeightsError
        There is no such file, or it is damaged, larger than 2 GiB or not a weight file; of other
        programs' files the message names the kind.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise WeightsError(f"{path} does not exist; give a file that `save_params` wrote")
        if not path.is_file():
            raise WeightsError(
                f"{path} is not a file; give a weight file, or, of a run's directory, take the "
                "network by xpnet.load_model"
            )
        with path.open("rb") as file:
            start = file.read(LOOKED_AT)
        if not start:
            raise WeightsError(f"{path} is empty; download or save it again")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise WeightsError(
                f"{path} has {size} bytes, and at most {MAX_BYTES} are read; "
                "give the weights of a smaller network"
            )
        # A safetensors file begins with the length of its header, whose first byte can be any: it
        # is known by the high bytes of that length, which are 0, and by the brace of the header.
        params = None if start[4:9] == b"\0\0\0\0{" else _of_other_kind(start, path)
        if params is not None:
            return Weights(params, {}, path)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read: {error.strerror or error}; check its name and permissions"
        ) from error
    weights = load_safetensors(path)
    if CHECKSUM in weights.metadata:
        raise WeightsError(
            f"{path} is a checkpoint of a training run, which holds more than a network; "
            "--weights takes it, and in Python xpnet.load_model"
        )
    return weights


def _of_other_kind(start: bytes, path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file that is no safetensors; None if nothing is known that begins so."""
    if start.startswith(b"\x1f\x8b"):
        return read_gzip(path)
    if start.startswith(b"PK\3\4"):
        return read_zip(path)
    if start.startswith(OLD):
        return read_old_torch(path)
    if kind := kind_of(start):
        raise WeightsError(f"{path} is {kind}")
    # Protocols 2 to 5 begin with 0x80, a dictionary of protocol 0 or 1 with one of the others.
    if path.suffix.lower() in {".pkl", ".pickle"} or start[:1] in {b"\x80", b"(", b"}"}:
        return read_pickled_arrays(path.read_bytes(), str(path))
    if kind := text_of(start):
        raise WeightsError(f"{path} is {kind}")
    return None


def check_header(path: Path) -> None:
    """Refuse a safetensors file whose header the library would read for seconds.

    Raises
    ------
    WeightsError
        The header has more than 16 MiB.
    OSError
        The file cannot be read.
    """
    with path.open("rb") as start:
        size = int.from_bytes(start.read(8), "little")
    if MAX_HEADER < size < path.stat().st_size:
        raise WeightsError(
            f"{path} has a header of {size} bytes, and at most {MAX_HEADER} are read; "
            "save fewer arrays, or shorter texts"
        )


def load_safetensors(path: Path) -> Weights:
    """Read a safetensors file of whatever size.

    Raises
    ------
    WeightsError
        It is damaged, or no such file, or has more than 100,000 arrays or a header of 16 MiB.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_header(path)
        with safe_open(path, framework="numpy") as file:
            if (count := len(file.keys())) > MAX_ARRAYS:
                raise WeightsError(
                    f"{path} holds {count} arrays, and at most {MAX_ARRAYS} are read; "
                    "save those of one network"
                )
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            for name, kind in kinds.items():
                if kind not in _KINDS:
                    raise WeightsError(
                        f"{path} holds {name!a} of type {kind}, and booleans, integers and "
                        "floats of 16 to 64 bits are read; save it as F32"
                    )
            places = _places(path) if _BFLOAT16 in kinds.values() else {}
            params = {
                name: _bfloat16(path, *places[name]) if kind == _BFLOAT16 else file.get_tensor(name)
                for name, kind in kinds.items()
            }
            return Weights(params, file.metadata() or {}, path)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{path} is damaged, or is neither a safetensors file nor a pickle of NumPy arrays; "
            "download or save it again"
        ) from error


def _places(path: Path) -> dict[str, tuple[int, int, list[int]]]:
    """Where each array of a safetensors file begins and ends, and its shape."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    begin = 8 + size
    return {
        name: (*(begin + at for at in about["data_offsets"]), about["shape"])
        for name, about in header.items()
    }


def _bfloat16(path: Path, begin: int, end: int, shape: list[int]) -> np.ndarray:
    """An array of bfloat16, which NumPy does not have; the library has checked where it lies."""
    with path.open("rb") as file:
        file.seek(begin)
        return widened(np.frombuffer(file.read(end - begin), "<u2")).reshape(shape)
