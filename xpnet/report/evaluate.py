"""Answers of a network to a data set, image by image."""

from collections.abc import Sequence

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import to_numpy
from xpnet.arrays.values import as_array
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.functions.targets import class_axis
from xpnet.layers.loss import predicted
from xpnet.models.accuracy import check_finite, check_one_output, check_several, evaluation_batch
from xpnet.models.network import Network

SURE = 0.7
"""Probability from which an answer counts as sure: the largest by which, of MNIST's training digits
drawn as pictures, at most 3 % are doubted, by a network that reads 98 %. `scripts/own_digits.py`
shows the choice."""


def doubt(probabilities: np.ndarray, names: Sequence[str] | None = None) -> str | None:
    """Say, as the end of a sentence on a picture, that its answer is not sure; None if it is.

    Parameters
    ----------
    probabilities : (classes,), of one picture
    names : of the classes; their numbers if None
    """
    first, second = np.argsort(-probabilities, kind="stable")[:2]
    if probabilities[first] >= SURE:
        return None
    one, other = (k if names is None else names[k] for k in (first, second))
    return (
        f"may be wrongly read: {one} with probability {probabilities[first]:.2f}, "
        f"{other} with {probabilities[second]:.2f}"
    )


@checked
def predictions(
    network: Network,
    x: np.ndarray,
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
    graph: bool = True,
    skip_engine_check: bool = False,
) -> np.ndarray:
    """Find the class with the highest score for each image, or for each of its places.

    In bounded memory.

    Parameters
    ----------
    x : (N, ...) on the host, which a network takes: pixels, uint8, or numbers as they are
    engine, threads, precision, graph, skip_engine_check : what computes, as in `get_engine`

    Returns
    -------
    (N,), int64; (N, ...) where the network has scores (N, K, ...)

    Raises
    ------
    ArgumentError
        An image or its scores are not finite, or the network ends in several heads.
    """
    x = to_numpy(as_array(x))
    if not x.shape:
        raise ArgumentError("images (N, ...) are needed, got a number")
    computing = get_engine(
        network,
        engine,
        threads,
        precision=precision,
        graph=graph,
        skip_engine_check=skip_engine_check,
    )
    shape = predicted(network.last_layer, network.output_shape)
    places = () if isinstance(shape, dict) else shape[1:]
    size, labels = evaluation_batch(network.device), np.empty((len(x), *places), dtype=np.int64)
    for start in range(0, len(x), size):
        batch = x[start : start + size]
        check_finite(batch, start)
        check_one_output(scores := computing.predict(batch), "a class is read of one")
        check_several(scores.shape[axis := class_axis(scores.shape)])
        check_finite(scores := to_numpy(scores), start, "scores")
        labels[start : start + len(batch)] = scores.argmax(axis=axis)
    return labels


@checked
def confusion(
    labels: np.ndarray, predictions: np.ndarray, n_classes: int = 10, ignore: int | None = None
) -> np.ndarray:
    """Count how often class i was read as class j.

        matrix[i, j] = number of n with labels[n] = i and predictions[n] = j

    Parameters
    ----------
    labels, predictions : (N,), or (N, ...) of the places of images, integers from 0 to
        n_classes - 1
    ignore : a label that is left out

    Returns
    -------
    (n_classes, n_classes), int64; its sum is N, its diagonal what was read rightly
    """
    labels, predictions = to_numpy(as_array(labels)), to_numpy(as_array(predictions))
    if not labels.ndim or labels.shape != predictions.shape:
        raise ArgumentError(
            "confusion needs one label and one prediction an image, as (N,) both, or one a place, "
            f"got {labels.shape} and {predictions.shape}"
        )
    if ignore is not None:
        counted = labels.astype(np.int64) != ignore
        labels, predictions = labels[counted], predictions[counted]
    for name, classes in (("labels", labels), ("predictions", predictions)):
        if classes.dtype.kind not in "iu" or np.any((classes < 0) | (classes >= n_classes)):
            raise ArgumentError(f"{name} must be integers from 0 to {n_classes - 1}")
    pairs = labels.astype(np.int64) * n_classes + predictions.astype(np.int64)
    return np.bincount(pairs.reshape(-1), minlength=n_classes**2).reshape(n_classes, n_classes)
