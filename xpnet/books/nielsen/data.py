"""MNIST as the book loads it: lists of pairs of columns."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from xpnet.arrays.values import as_array
from xpnet.data import hold_out, load_mnist
from xpnet.functions.losses import one_hot
from xpnet.functions.targets import as_labels, check_pairs

Pairs: TypeAlias = Iterable[tuple[np.ndarray, Any]]
"""Samples, in a list or from whatever gives them: an input column (n, 1), and a target column
(k, 1) or the number of a class."""

Images: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Images as rows (N, 784), and their digits (N,)."""


def vectorized_result(j: int) -> np.ndarray:
    """Return the target of digit j: a column (10, 1) with 1.0 at j."""
    column: np.ndarray = _vectors(as_array([j]))[0]
    return column


def load_data(data_dir: str | Path | None = None) -> tuple[Images, Images, Images]:
    """Load MNIST as rows of 784 numbers from 0 to 1, and digits: to train, validate and test with.

    50,000, 10,000 and 10,000 of them; found, or downloaded, as by `load_mnist`.
    """
    training, test = load_mnist(data_dir=data_dir)
    return *hold_out(*training, 10000), test


def pairs(images: np.ndarray, labels: np.ndarray, *, vectors: bool = False) -> Pairs:
    """Pair rows (N, n) and digits (N,) as (column, digit), or with `vectors` as two columns.

    The columns are views of the rows.

    Raises
    ------
    ArgumentError
        There are more of one than of the other, or `vectors` are wanted of what is no digit.
    """
    images, labels = as_array(images), as_labels(as_array(labels), (0, 10))
    check_pairs(len(images), len(labels))
    targets = _vectors(labels) if vectors else labels.tolist()
    return list(zip(images[..., np.newaxis], targets, strict=True))


def _vectors(digits: np.ndarray) -> np.ndarray:
    return np.asarray(one_hot(digits, 10, dtype=np.float64))[..., np.newaxis]


def load_data_wrapper(data_dir: str | Path | None = None) -> tuple[Pairs, Pairs, Pairs]:
    """Load the same as lists of pairs: (x, y) with vectors y to train on, (x, digit) otherwise."""
    training, validation, test = load_data(data_dir)
    return pairs(*training, vectors=True), pairs(*validation), pairs(*test)
