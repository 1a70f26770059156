"""How good generated images are, in the eyes of a classifier that is their judge.

Both numbers compare within one judge and one number of images only.
"""

import hashlib
from math import exp, inf
from typing import NamedTuple

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace, to_numpy
from xpnet.arrays.values import as_array, floating, in_parts
from xpnet.errors import ArgumentError
from xpnet.functions.activations import softmax
from xpnet.models.accuracy import check_one_output
from xpnet.models.network import Network

SLACK = 1e-3
"""How far a row of probabilities may be from 1 in its sum."""
AT_A_TIME = 1000
"""Images that a judge looks at together."""


class Seen(NamedTuple):
    """What a judge sees in images."""

    probabilities: np.ndarray
    """(N, K), float64: how likely each class is."""
    features: np.ndarray
    """(N, D), float64: what its last layer with parameters reads."""

    @property
    def shares(self) -> np.ndarray:
        """The share of the images that each class is the likeliest of, (K,)."""
        n, classes = self.probabilities.shape
        likeliest = np.argmax(self.probabilities, axis=1)
        shares: np.ndarray = np.bincount(likeliest, minlength=classes) / n
        return shares


class Gaussian(NamedTuple):
    """Mean (D,) and covariance (D, D) of features."""

    mean: Array
    covariance: Array


@checked
def class_score(probabilities: Array) -> float:
    """How clear and how varied images are: exp of the mean over x of KL(p(y|x) || p(y)).

    p(y|x) is a row, p(y) the mean of all, and 0 log 0 = 0. It is 1 where all rows are the same, and
    K where every class is sure and equally frequent. Salimans et al. 2016, "Improved techniques for
    training GANs", arXiv:1606.03498, who call it inception score after their judge.

    Parameters
    ----------
    probabilities : (N, K), rows that add up to 1, on any device; it is computed in float64

    Raises
    ------
    ArgumentError
        They are no such rows.
    """
    p = as_array(probabilities)
    if p.ndim != 2 or 0 in p.shape:
        raise ArgumentError(
            f"class_score needs probabilities (N, K) of at least one image, got {tuple(p.shape)}"
        )
    xp = array_namespace(p)
    p = xp.astype(p, xp.float64)
    if not xp.all(p >= 0) or not xp.all(xp.abs(xp.sum(p, axis=1) - 1) <= SLACK):
        raise ArgumentError(
            "class_score needs rows of probabilities, which are not below 0 and add up to 1; give "
            "the softmax of the scores"
        )
    q = xp.mean(p, axis=0)
    terms = p * (xp.log(xp.where(p > 0, p, 1.0)) - xp.log(xp.where(q > 0, q, 1.0)))
    return exp(float(xp.sum(terms)) / p.shape[0])


@checked
def gaussian_of(features: Array) -> Gaussian:
    """Mean and covariance of features (N, D), the covariance with N - 1, in float64.

    Raises
    ------
    ArgumentError
        There are fewer than two, or they are no rows.
    """
    x = floating(as_array(features))
    if x.ndim != 2 or x.shape[0] < 2 or not x.shape[1]:
        raise ArgumentError(
            f"a covariance needs features (N, D) of at least 2 images, got {tuple(x.shape)}"
        )
    xp = array_namespace(x)
    x = xp.astype(x, xp.float64)
    mean = xp.mean(x, axis=0)
    c = x - mean
    return Gaussian(mean, xp.matmul(xp.matrix_transpose(c), c) / (x.shape[0] - 1))


@checked
def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """The distance of two normal distributions, with means m and covariances C:

        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^.5 C2 C1^.5)^.5)

    Roots are taken of symmetric matrices alone, by their eigenvalues, of which those that rounding
    has made negative count as 0; in float64. Dowson, Landau 1982; Heusel et al. 2017, "GANs trained
    by a two time-scale update rule", arXiv:1706.08500, for features of images.

    Parameters
    ----------
    a, b : as `gaussian_of` gives them, on one device

    Raises
    ------
    ArgumentError
        They are of different sizes, or not finite.
    """
    xp = array_namespace(floating(a.mean))
    (m1, c1), (m2, c2) = ([xp.astype(floating(each), xp.float64) for each in g] for g in (a, b))
    d = m1.shape[0] if m1.ndim == 1 else -1
    if any(m.shape != (d,) or c.shape != (d, d) for m, c in ((m1, c1), (m2, c2))):
        shapes = ", ".join(str(tuple(each.shape)) for each in (m1, c1, m2, c2))
        raise ArgumentError(
            "frechet_distance needs means (D,) and covariances (D, D) of one size, got "
            f"{shapes}; take features of one judge"
        )
    if not all(bool(xp.all(xp.isfinite(each))) for each in (m1, c1, m2, c2)):
        raise ArgumentError(
            "frechet_distance needs finite numbers; look at the images, or at the judge"
        )
    w, v = xp.linalg.eigh(c1)
    root = xp.matmul(v * xp.sqrt(xp.clip(w, min=0.0)), xp.matrix_transpose(v))
    product = xp.matmul(xp.matmul(root, c2), root)
    w, _ = xp.linalg.eigh((product + xp.matrix_transpose(product)) / 2)
    trace = xp.sum(xp.sqrt(xp.clip(w, min=0.0)))
    gap = m1 - m2
    return float(xp.sum(gap * gap) + xp.linalg.trace(c1) + xp.linalg.trace(c2) - 2 * trace)


@checked
def seen(judge: Network, images: Array) -> Seen:
    """What a classifier sees in images: probabilities, and what its last layer reads.

    Parameters
    ----------
    judge : ends in a layer of scores for a softmax
    images : (N, ...) as it takes them, pixels or floats from 0 to 1

    Raises
    ------
    ArgumentError
        There are no images, they do not fit, or what the judge makes of them is not finite.
    """
    check_one_output(judge.output_shape, "a judge")
    images = as_array(images, "images")
    found: list[list[np.ndarray]] = [[], []]
    for part in in_parts(images.shape[0] if images.shape else 0, AT_A_TIME):
        x = judge.place(images[part, ...])
        features = judge.features(x)
        scores = judge.predict(x)
        flat = to_numpy(features)
        flat = flat.reshape(len(flat), -1)
        for rows, each in zip(found, (softmax(to_numpy(scores).astype(float)), flat), strict=True):
            rows.append(each.astype(np.float64))
    if not found[0]:
        raise ArgumentError("a judge needs at least one image, got none")
    whole = Seen(*(np.concatenate(rows) for rows in found))
    if not all(np.isfinite(each).all() for each in whole):
        raise ArgumentError("what the judge makes of the images is not finite; look at both")
    return whole


class Judged(NamedTuple):
    """The numbers of generated images, and of which judge they are."""

    class_score: float
    frechet_distance: float
    """To the real images, by their features."""
    shares: tuple[float, ...]
    """Of the images, those that each class is the likeliest of."""
    judge: str
    """The `digest` of the judge."""


@checked
def judged(judge: Network, images: Array, real: Array | Seen) -> Judged:
    """Judge generated images beside real ones.

    Parameters
    ----------
    judge, images : as for `seen`
    real : images, or what the judge has seen in them

    Raises
    ------
    ArgumentError
        As in `seen`, or there are fewer than two images of a kind.
    """
    found = seen(judge, images)
    known = real if isinstance(real, Seen) else seen(judge, real)
    distance = frechet_distance(gaussian_of(found.features), gaussian_of(known.features))
    shares = tuple(map(float, found.shares))
    return Judged(class_score(found.probabilities), distance, shares, digest(judge))


def digest(network: Network) -> str:
    """The SHA-256 of a network's parameters and states in their order, as 16 hexadecimal digits.

    It stands beside numbers that depend on a judge, to tell whose they are.
    """
    found = hashlib.sha256()
    for array in network.file_arrays().values():
        found.update(np.ascontiguousarray(to_numpy(array)).data)
    return found.hexdigest()[:16]


@checked
def nearest_distances(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The distance of each image to the nearest of others, (N,): the root of summed squares.

    Of generated images and those that were learned, small ones tell of images learned by heart.

    Parameters
    ----------
    images, others : (N, ...) and (M, ...) of one shape, floats, or uint8 pixels as 0 to 1

    Raises
    ------
    ArgumentError
        There is none, or their shapes differ.
    """
    a, b = (_rows(each) for each in (images, others))
    if not len(a) or not len(b) or a.shape[1] != b.shape[1]:
        raise ArgumentError(
            "images of one shape are needed, at least one of each kind, got "
            f"{np.shape(images)} and {np.shape(others)}"
        )
    found = np.full(len(a), inf)
    of_a = (a * a).sum(axis=1)
    for part in in_parts(len(b), 5000):  # whose table of distances stays small
        some = b[part]
        squares = of_a[:, None] - 2 * (a @ some.T) + (some * some).sum(axis=1)
        np.minimum(found, squares.min(axis=1), out=found)
    nearest: np.ndarray = np.sqrt(np.maximum(found, 0))
    return nearest


def _rows(images: np.ndarray) -> np.ndarray:
    """Each image as a row of float64; pixels are divided by 255."""
    found = to_numpy(as_array(images))
    rows: np.ndarray = found.reshape(len(found), found[:1].size).astype(np.float64)
    return rows / 255 if found.dtype == np.uint8 else rows
