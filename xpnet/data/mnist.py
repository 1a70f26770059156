"""MNIST, the 70,000 handwritten digits: found on disk or downloaded, checked, and read."""

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from xpnet.data.idx import header, read_idx
from xpnet.errors import DataError, DataNotFoundError
from xpnet.notice import on_terminal

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
REMEDY = "put its four files into a directory and name it with --data-dir or XPNET_DATA_DIR"


def named_directory(data_dir: str | Path | None = None) -> Path | None:
    """Name the directory that the user gave, as an argument or as XPNET_DATA_DIR, or None."""
    if data_dir is not None:
        return Path(data_dir)
    variable = os.environ.get("XPNET_DATA_DIR")
    return Path(variable) if variable else None


def find_mnist(data_dir: str | Path | None = None, *, download: bool = True) -> Path:
    """Find the directory with MNIST's four files, each packed (.gz) or not.

    A directory named by `data_dir`, or else by the environment variable XPNET_DATA_DIR, must hold
    them all: what a user has named is neither written to nor passed over. With none named, it is
    the user's cache directory, into which missing files are downloaded if `download`.

    Raises
    ------
    DataNotFoundError
        A file is missing and was not, or could not be, downloaded.
    """
    directory = named_directory(data_dir)
    if directory is not None:
        for file in FILES:
            if _held(directory, file) is None:
                raise DataNotFoundError(
                    f"{directory}: {file.name} or {file.name}.gz is missing; "
                    "put MNIST's four files there or name another directory"
                )
        return directory

    try:
        import pooch  # here: `import xpnet` must not need it
    except ModuleNotFoundError:
        raise DataNotFoundError(
            f"the cache with MNIST cannot be found: pooch is not installed; install it, or {REMEDY}"
        ) from None
    cache = Path(pooch.os_cache("xpnet")) / "mnist"
    missing = [file for file in FILES if _held(cache, file) is None]
    if missing and not download:
        raise DataNotFoundError(f"MNIST is not in {cache}; let it be downloaded, or {REMEDY}")
    for file in missing:
        _download(file, cache)
    return cache


def _held(directory: Path, file: File) -> Path | None:
    for path in (directory / f"{file.name}.gz", directory / file.name):
        with suppress(OSError):  # what may not be looked at is not there for us
            if path.is_file():
                return path
    return None


def _download(file: File, cache: Path) -> None:
    """Fetch one file from the first mirror that has it unharmed.

    No lock is needed: pooch writes to a temporary file of its own, checks it and renames it into
    place, so that two processes at once each finish a whole file, of the same bytes.
    """
    import pooch

    downloader = pooch.HTTPDownloader(
        progressbar=on_terminal(sys.stderr),
        chunk_size=2**16,
        timeout=(3, 30),  # seconds to connect and between two packets
        # pooch leaves the connection of a refused request open.
        hooks={"response": lambda response, **_: None if response.ok else response.close()},
    )
    logger = pooch.get_logger()
    level, reason = logger.level, ""
    logger.setLevel("WARNING")
    try:
        for mirror in MIRRORS:
            try:
                pooch.retrieve(
                    url=f"{mirror}{file.name}.gz",
                    known_hash=f"sha256:{file.gz_sha256}",
                    fname=f"{file.name}.gz",
                    path=cache,
                    downloader=downloader,
                )
                return
            except OSError as error:  # the network's errors, and the disk's
                reason = f"{urlsplit(mirror).hostname}: {error.strerror or type(error).__name__}"
            except ValueError:
                reason = f"{urlsplit(mirror).hostname}: other contents, by SHA-256"
    finally:
        logger.setLevel(level)
    raise DataNotFoundError(f"MNIST could not be downloaded into {cache} ({reason}); {REMEDY}")


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
    x_train, t_train, x_test, t_test = (_read(directory, file) for file in FILES)
    return x_train[:, np.newaxis], t_train, x_test[:, np.newaxis], t_test


def _read(directory: Path, file: File) -> NDArray[np.uint8]:
    path = _held(directory, file) or directory / file.name
    array = read_idx(path)
    if array.shape != file.shape:
        raise DataError(
            f"{path}: expected shape {file.shape}, got {array.shape}; "
            "delete it and run again, or get it afresh"
        )
    contents = hashlib.sha256(header(array.shape))
    contents.update(array.data)
    got = contents.hexdigest()
    if got != file.sha256:
        raise DataError(
            f"{path}: expected contents of SHA-256 {file.sha256[:12]}..., got {got[:12]}...; "
            "delete it and run again, or get it afresh"
        )
    return array


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
