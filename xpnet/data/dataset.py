"""A data set under one name: MNIST, or synthetic digits where MNIST cannot be had."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xpnet.arguments import checked
from xpnet.data.mnist import find_mnist, named_directory, read_mnist
from xpnet.data.synthetic import synthetic_digits
from xpnet.errors import ArgumentError, DataNotFoundError


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Dataset:
    """Images for training and testing, with their labels.

    Images are uint8 of shape (N, 1, 28, 28), labels uint8 of shape (N,). `name` is "mnist" or
    "synthetic"; `source` says in one line for a human where the images came from.
    """

    name: str
    source: str
    x_train: NDArray[np.uint8]
    t_train: NDArray[np.uint8]
    x_test: NDArray[np.uint8]
    t_test: NDArray[np.uint8]

    def __repr__(self) -> str:
        counts = f"{len(self.x_train)} training and {len(self.x_test)} test images"
        return f"<Dataset {self.name}: {counts}>"

    @property
    def sizes(self) -> dict[str, int]:
        """How many images there are to train on, and to test with."""
        return {"train_images": len(self.x_train), "test_images": len(self.x_test)}

    def checksum(self) -> str:
        """Compute the SHA-256 of all images and labels, in hexadecimal digits."""
        found = hashlib.sha256()
        for array in (self.x_train, self.t_train, self.x_test, self.t_test):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


@partial(checked, but=("seed", "train_size", "test_size"))
def load_dataset(
    name: str = "auto",
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    seed: int = 0,
    train_size: int = 20000,
    test_size: int = 4000,
) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : "mnist"; "synthetic"; or "auto", MNIST if it can be had and otherwise synthetic digits,
        which `source` then says. A damaged file is an error all the same, and so is a directory
        that was named and does not hold MNIST.
    data_dir, download : as for `find_mnist`
    seed, train_size, test_size : of the synthetic digits alone

    Raises
    ------
    ArgumentError
        The name is unknown, or a size or the seed is not an integer from 0.
    DataNotFoundError, DataError
        MNIST cannot be found, or is damaged.
    """
    if name not in ("auto", "mnist", "synthetic"):
        raise ArgumentError(
            f'load_dataset: expected "auto", "mnist" or "synthetic", got {name!r}; use one of these'
        )
    source = f"synthetic digits, seed {seed}"
    if name != "synthetic":
        try:
            directory = find_mnist(data_dir, download=download)
        except DataNotFoundError as error:
            if name == "mnist" or named_directory(data_dir) is not None:
                raise
            source += f", instead of MNIST: {error}"
        else:
            return Dataset("mnist", f"MNIST from {directory}", *read_mnist(directory))

    train = synthetic_digits(train_size, seed=seed)
    test = synthetic_digits(test_size, seed=int(seed) + 2**32)  # a stream that no usual seed meets
    return Dataset("synthetic", source, *train, *test)
