"""MNIST, the 70,000 handwritten digits: found on disk or downloaded, checked, and read."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from xpnet.arguments import checked
from xpnet.data.downloads import fetch
from xpnet.data.idx import header, read_idx
from xpnet.errors import DataError, DataNotFoundError
from xpnet.files.atomic import atomic_write

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]
Pair = tuple[NDArray[Any], NDArray[Any]]


class File(NamedTuple):
    """A file of the four, published as `name`.gz."""

    name: str
    shape: tuple[int, ...]
    sha256: str  # of the contents
    gz_sha256: str  # of the .gz as published


FILES = (
    File(
        "train-images-idx3-ubyte",
        (60000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    File(
        "train-labels-idx1-ubyte",
        (60000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    File(
        "t10k-images-idx3-ubyte",
        (10000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    File(
        "t10k-labels-idx1-ubyte",
        (10000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
REMEDY = "put its four files into a directory and name it by data_dir or XPNET_DATA_DIR"

PLACES = ("", "mnist", "MNIST/raw", "raw", "MNIST", "mnist/raw")
"""Where the files are looked for in a directory; torchvision puts them into MNIST/raw."""
ENTRIES = 1000  # of a directory that are looked at for what may have been meant

RELATED = {
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d": "Fashion-MNIST",
    "25c81989df183df01b3e8a0aad5dffbe": "Fashion-MNIST",
    "bef4ecab320f06d8554ea6380940ec79": "Fashion-MNIST",
    "bb300cfdad3c16e7a12a480ee83cd310": "Fashion-MNIST",
    "bdb82020997e1d708af4cf47b453dcf7": "Kuzushiji-MNIST",
    "e144d726b3acfaa3e44228e80efcd344": "Kuzushiji-MNIST",
    "5c965bf0a639b31b8f53240b1b52f4d7": "Kuzushiji-MNIST",
    "7320c461ea6c1c855c0b718fb2a4b134": "Kuzushiji-MNIST",
}
"""Other data in files of MNIST's names, by the MD5 that is published of their .gz."""


def named_directory(data_dir: str | Path | None = None) -> Path | None:
    """Name the directory that the user gave, as an argument or as XPNET_DATA_DIR, or None.

    Raises
    ------
    DataNotFoundError
        It begins with "~", and there is no such home directory.
    """
    named = data_dir if data_dir is not None else os.environ.get("XPNET_DATA_DIR") or None
    try:
        return None if named is None else Path(named).expanduser()
    except RuntimeError:
        raise DataNotFoundError(
            f"{named}: there is no such home directory; write its path without ~"
        ) from None


def find_mnist(data_dir: str | Path | None = None, *, download: bool = True) -> Path:
    """Find the directory with MNIST's four files, each packed (.gz) or not.

    A directory named by `data_dir`, or else by the environment variable XPNET_DATA_DIR, must hold
    them all, or its `mnist` or `MNIST/raw`: what a user has named is neither written to nor
    passed over. With none named, it is the user's cache directory, into which missing files are
    downloaded if `download`.

    Raises
    ------
    DataNotFoundError
        A file is missing and was not, or could not be, downloaded.
    """
    directory = named_directory(data_dir)
    if directory is not None:
        places = [directory / place for place in PLACES]
        found = next((place for place in places if not _missing(place)), None)
        if found is None:
            _explain(directory, min(places, key=lambda place: len(_missing(place))))
        return found

    cache = _cache()
    missing = _missing(cache)
    if missing and not download:
        raise DataNotFoundError(f"MNIST is not in {cache}; `xpnet data` downloads it; or {REMEDY}")
    for file in missing:
        _download(file, cache)
    return cache


def _cache() -> Path:
    try:
        import pooch  # here: `import xpnet` must not need it
    except ModuleNotFoundError:
        raise DataNotFoundError(
            f"the cache with MNIST cannot be found: pooch is not installed; install it, or {REMEDY}"
        ) from None
    return Path(pooch.os_cache("xpnet")) / "mnist"


def _missing(directory: Path) -> list[File]:
    return [file for file in FILES if _held(directory, file) is None]


def _held(directory: Path, file: File) -> Path | None:
    dotted = file.name.replace("-idx", ".idx")  # as many programs unpack it
    for name in (file.name, dotted):
        for path in (directory / f"{name}.gz", directory / name):
            with suppress(OSError):  # what may not be looked at is not there for us
                if path.is_file():
                    return path
    return None


def _explain(directory: Path, place: Path) -> NoReturn:
    """Say why MNIST is not in a directory, of whose places `place` comes next to holding it."""
    try:
        next(directory.iterdir(), None)
    except NotADirectoryError:
        problem = "it is a file; name the directory that it is in"
    except FileNotFoundError:
        problem = "there is no such directory; name the one that holds MNIST's four files"
    except OSError as error:
        problem = f"it cannot be read ({error.strerror}); name a directory that can"
    else:
        file = _missing(place)[0]
        problem = f"{file.name} or {file.name}.gz is missing; {_meant(directory, place, file)}"
        directory = place
    raise DataNotFoundError(f"{directory}: {problem}")


def _meant(directory: Path, place: Path, file: File) -> str:
    """What to do about a missing file: there may be one of nearly its name, or nearly there."""
    word = "".join(filter(str.isalpha, file.name.partition("-idx")[0]))
    for path in _entries(place):
        if word in "".join(filter(str.isalpha, path.name.lower())) and path.is_file():
            return f"if {path.name} is it, rename it"
    below = list(_entries(directory))
    for near in chain(below, *map(_entries, below[:10]), (directory.parent / "raw",)):
        if not _missing(near):
            return f"name {near}, where all four are"
    return "put MNIST's four files there or name another directory"


def _entries(directory: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from sorted(islice(directory.iterdir(), ENTRIES))


def _download(file: File, cache: Path) -> None:
    """Fetch one file from the first mirror that has it unharmed.

    No lock is needed: two processes at once each move a whole file into place, of the same bytes.
    """
    reasons = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()  # before anything is fetched in vain
        for mirror in MIRRORS:
            contents, reason = fetch(f"{mirror}{file.name}.gz", file.gz_sha256)
            if contents is not None:
                with atomic_write(cache / f"{file.name}.gz") as temporary:
                    temporary.write_bytes(contents)
                return
            reasons.append(reason)
    except OSError as error:
        why = getattr(error.__cause__ or error, "strerror", None) or error
        raise DataNotFoundError(
            f"{cache}, where MNIST is to be kept, cannot be written ({why}); {REMEDY}"
        ) from error
    why = "; ".join(dict.fromkeys(reasons)) or "there is no mirror"
    raise DataNotFoundError(f"MNIST could not be downloaded into {cache} ({why}); {REMEDY}")


def read_mnist(
    data_dir: str | Path | None = None, *, download: bool = True
) -> tuple[Images, Labels, Images, Labels]:
    """Find MNIST as `find_mnist` does, read it, and check that it is the original.

    Returns
    -------
    (60000, 1, 28, 28), (60000,), (10000, 1, 28, 28), (10000,), all uint8
        images and labels for training, images and labels for testing

    Raises
    ------
    DataNotFoundError
        As `find_mnist`.
    DataError
        A file is damaged or is not MNIST's.
    """
    directory = find_mnist(data_dir, download=download)
    ours = named_directory(data_dir) is None
    x_train, t_train, x_test, t_test = (_read(directory, file, ours=ours) for file in FILES)
    return x_train[:, np.newaxis], t_train, x_test[:, np.newaxis], t_test


def _read(directory: Path, file: File, *, ours: bool) -> NDArray[np.uint8]:
    """Read a file and check it; only in the cache, which is ours, may it be deleted."""
    path = _held(directory, file) or directory / file.name
    remedy = "put MNIST's own there or name another directory"
    if ours:
        remedy = "delete it and run again, and it is downloaded"
    try:
        array = read_idx(path)
    except DataError as error:
        raise DataError(f"{error}; {remedy}" if ours else str(error)) from error
    contents = hashlib.sha256(header(array.shape))
    contents.update(array.data)
    if array.shape == file.shape and contents.hexdigest() == file.sha256:
        return array
    name = RELATED.get(hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())
    if name is not None:
        raise DataError(f"{path}: this is {name}, not MNIST; {remedy}")
    if array.shape != file.shape:
        raise DataError(
            f"{path}: this is not MNIST's: expected shape {file.shape}, got {array.shape}; {remedy}"
        )
    raise DataError(
        f"{path}: this is not MNIST's: expected contents of SHA-256 {file.sha256[:12]}..., "
        f"got {contents.hexdigest()[:12]}...; {remedy}"
    )


@checked
def load_mnist(
    normalize: bool = True,
    flatten: bool = True,
    one_hot_label: bool = False,
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
) -> tuple[Pair, Pair]:
    """Load MNIST as ((x_train, t_train), (x_test, t_test)), as in Deep Learning from Scratch.

    Parameters
    ----------
    normalize : pixels as float32 from 0 to 1; otherwise uint8 from 0 to 255
    flatten : images as (N, 784); otherwise (N, 1, 28, 28)
    one_hot_label : labels as (N, 10); otherwise (N,) of uint8. One-hot labels are float32: they
        are subtracted from probabilities, which must neither wrap around nor become float64.
    data_dir, download : as for `find_mnist`

    Raises
    ------
    DataNotFoundError, DataError
        As `read_mnist`.
    """
    x_train, t_train, x_test, t_test = read_mnist(data_dir, download=download)

    def prepared(x: Images, t: Labels) -> Pair:
        pixels = np.divide(x, 255, dtype=np.float32) if normalize else x
        return (
            pixels.reshape(len(x), -1) if flatten else pixels,
            np.eye(10, dtype=np.float32)[t] if one_hot_label else t,
        )

    return prepared(x_train, t_train), prepared(x_test, t_test)
