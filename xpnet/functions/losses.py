"""Loss functions of outputs (N, K), or (N, K, ...), a row of K for every place of an image.

Targets are class labels, of shape (N,) or (N, ...), or one-hot, in the shape of the outputs.
"""

from collections.abc import Sequence
from math import inf, prod
from typing import Any, NamedTuple

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace, on_host
from xpnet.arrays.values import as_array, check_same_shape, floating, kind_of_numbers
from xpnet.errors import ArgumentError
from xpnet.functions.activations import sigmoid
from xpnet.functions.targets import (
    AS_ROWS,
    as_labels,
    check_classes,
    class_axis,
    classes_of,
    is_ignored,
    label_shape,
)


def mean_squared_error(y: Array, t: Array) -> Array:
    """Half the squared error: E = 1/2 sum (y - t)^2 over all elements; 0-d array.

    The book's form (eq. 4.1): half the sum, not divided by the number of samples.

    Raises
    ------
    ArgumentError
        The shapes differ.
    """
    check_same_shape("mean_squared_error", y, t)
    return 0.5 * array_namespace(y).sum((floating(y) - floating(t)) ** 2)


def one_hot(t: Array, n_classes: int, *, dtype: Any) -> Array:
    """Write labels of shape (...) as rows (..., n_classes): 1 at the label, 0 elsewhere.

    Parameters
    ----------
    dtype : of the rows, a floating one

    Raises
    ------
    ArgumentError
        A label is no class, or no whole number. On a device with memory of its own nothing is read
        back, and what is no class has a row of NaN, which no loss hides.
    """
    if kind_of_numbers(t) == "floats":
        raise ArgumentError(f"labels must be whole numbers, got {t.dtype}; use t.astype(int)")
    return _hot(t, n_classes, dtype, t.ndim, None)


def _hot(t: Array, n_classes: int, dtype: Any, axis: int, ignore: int | None) -> Array:
    """Labels with a 1 for each along a new axis; what is left out may have one, too."""
    xp, given = array_namespace(t), t
    t = xp.astype(t, xp.int64)  # in a smaller type, numbers of classes would wrap around
    classes = xp.arange(n_classes, dtype=xp.int64, device=t.device)
    classes = xp.reshape(classes, (n_classes, *[1] * (t.ndim - axis)))
    hot = xp.astype(xp.expand_dims(t, axis=axis) == classes, dtype)
    none = (t < 0) | (t >= n_classes)
    if ignore is not None:
        none = none & (t != ignore)
    if not on_host(t):
        return xp.where(xp.expand_dims(none, axis=axis), xp.nan, hot)
    if xp.any(none):  # which says what is wrong
        check_classes(classes_of(given, ignore), n_classes, given, ignore)
    return hot


def as_one_hot(t: Array, y: Array, ignore: int | None = None) -> Array:
    """Bring targets into the shape and dtype of the outputs `y`, whichever form they came in.

    Labels may also stand one a row: (N, 1, ...) for outputs (N, K, ...), K > 1.

    Parameters
    ----------
    ignore : a label that may be no class, and is 0 for all of them then

    Raises
    ------
    ArgumentError
        `t` has the shape of neither labels nor one-hot rows for `y`, or a label is no class.
    """
    if type(t) is not type(y) or t.dtype != y.dtype:  # such as a list, or the label of one sample
        t = as_array(t)
    if t.shape == y.shape:
        return t if t.dtype == y.dtype else array_namespace(y).astype(t, y.dtype)
    t, axis, labels = as_labels(t, y.shape), class_axis(y.shape), label_shape(y.shape)
    classes = y.shape[axis]
    if t.shape == labels and kind_of_numbers(t) != "floats":
        return _hot(t, classes, y.dtype, axis, ignore)
    cure = ""
    if t.shape and t.shape == labels:
        cure = "; labels become integers by t.astype(int), and numbers are for IdentityWithLoss"
        if y.ndim == 2:
            cure = f"; {AS_ROWS}" if classes == 1 else f"{cure}, in rows of {classes}"
    raise ArgumentError(
        f"targets for outputs of shape {tuple(y.shape)} must be integer labels of shape "
        f"{labels} or one-hot of shape {tuple(y.shape)}, "
        f"got {t.dtype} of shape {tuple(t.shape)}{cure}"
    )


def smoothed(t: Array, smoothing: float) -> Array:
    """Smooth one-hot targets, (1 - s) t + s / K: the right class keeps most, all share the rest.

    K is the length of the axis of the classes, of which t is (N, K, ...), or (K,) for one sample.

    Szegedy et al. 2015, "Rethinking the Inception architecture for computer vision",
    arXiv:1512.00567, section 7.
    """
    return (1.0 - smoothing) * t + smoothing / t.shape[class_axis(t.shape)] if smoothing else t


def check_probabilities(t: Array) -> None:
    """Refuse targets of a cross-entropy that are no probabilities, such as -1 and 1, or 0 and 255.

    No softmax or sigmoid gives them, and the loss would fall below 0 without end. Rounding is
    allowed for.

    Raises
    ------
    ArgumentError
        One is below 0 or above 1.
    """
    xp = array_namespace(t)
    if 0 not in t.shape and xp.max(xp.abs(t - 0.5)) > 0.501:
        raise ArgumentError(
            "targets of a cross-entropy must be labels, or numbers from 0 to 1, got "
            f"{float(xp.min(t)):g} to {float(xp.max(t)):g}; bring them there, or, where they are "
            "numbers to be learned, use IdentityWithLoss"
        )


def as_probabilities(t: Array, y: Array, ignore: int | None = None) -> Array:
    """Bring targets into the shape and dtype of the outputs `y`; on the host, from 0 to 1 alone.

    Parameters
    ----------
    ignore : as in `as_one_hot`

    Raises
    ------
    ArgumentError
        As in `as_one_hot` and `check_probabilities`.
    """
    hot = as_one_hot(t, y, ignore)
    if getattr(t, "shape", None) == y.shape and on_host(hot):
        check_probabilities(hot)
    return hot


def check_choice(outputs: int) -> None:
    """Refuse a softmax of one output, which is 1 whatever the output is: its loss is always 0.

    Raises
    ------
    ArgumentError
        There is one output.
    """
    if outputs == 1:
        raise ArgumentError(
            "the softmax of one output is always 1, and nothing is learned; use SigmoidWithLoss "
            "for yes or no, IdentityWithLoss for numbers, or one output for each class"
        )


def samples_of(y: Array) -> int:
    """The samples of outputs (N, K, ...), or (K,) for one: what a mean over them is divided by.

    Raises
    ------
    ArgumentError
        There is none.
    """
    if y.ndim > 1 and not y.shape[0]:
        raise ArgumentError("at least one sample and one target for each are needed, got 0 and 0")
    return int(y.shape[0]) if y.ndim > 1 else 1


def places_of(y: Array) -> int:
    """The rows of K numbers in outputs (N, K, ...): of the samples, or of all their places.

    Raises
    ------
    ArgumentError
        There is none.
    """
    return prod((samples_of(y), *y.shape[2:]))


@checked
def cross_entropy_error(y: Array, t: Array, eps: float = 1e-7) -> Array:
    """E = -1/N sum_n sum_k t_nk ln(y_nk + eps) for probabilities y; 0-d array (eqs. 4.2, 4.3).

    y is (N, K, ...), or (K,) for one sample; N counts all places. The book adds eps = 1e-7 because
    ln 0 is minus infinity; eps = 0 gives the exact value, with 0 ln 0 = 0. Training uses
    `softmax_cross_entropy`.
    """
    xp, y = array_namespace(y), floating(y)
    hot = as_probabilities(t, y)
    if eps == 0.0:
        y = xp.where(hot == 0.0, 1.0, y)
    return -xp.sum(hot * xp.log(y + eps)) / places_of(y)


def softmax_cross_entropy(z: Array, t: Array) -> tuple[Array, Array]:
    """Compute cross-entropy of softmax(z) and its gradient from the scores z themselves.

        log y = z - log sum exp(z)
        E     = -1/N sum t log y
        dE/dz = (y - t) / N

    z is (N, K, ...), or (K,) for one sample; N counts all places. No eps is needed: log y is finite
    wherever z is. A score of minus infinity says that a class is impossible: 0 log 0 = 0 for one
    that is not the target.

    Returns
    -------
    E, 0-d, and dE/dz, in the shape of z
    """
    z = floating(z)
    return softmax_loss(z, weighed(t, z))


class Weighed(NamedTuple):
    """The targets q of a cross-entropy, in the shape and dtype of the scores, and what they count.

    Attributes
    ----------
    q : weight of each class times its target, smoothed; 0 where a label is left out
    share : sum of q over the classes, (N, 1, ...); None where it is 1 throughout
    total : sum of what the labels count
    """

    q: Array
    share: Array | None
    total: Any


def weighed(
    t: Array,
    z: Array,
    smoothing: float = 0.0,
    ignore: int | None = None,
    class_weights: Sequence[float] | None = None,
) -> Weighed:
    """Bring the targets of scores z to what a weighted cross-entropy takes.

    A label counts as much as its class's weight, 1 without weights, and nothing if it is left out.
    Smoothing is weighted class by class, as torch has it, and changes nothing of what is counted.
    Rows of probabilities count by the mean of the weights that they give, so that one-hot rows and
    labels agree; torch divides rows by their number instead.

    Parameters
    ----------
    t : labels, or targets in the shape of z
    z : (N, K, ...), or (K,) for one sample
    smoothing : as in `smoothed`
    ignore : a label that is left out; targets in the shape of z have none
    class_weights : K numbers

    Raises
    ------
    ArgumentError
        As in `as_probabilities`, or the weights are not of K classes.
    """
    xp, axis = array_namespace(z), class_axis(z.shape)
    check_weights(class_weights, z.shape[axis])
    hot = as_probabilities(t, z, ignore)
    q, left = smoothed(hot, smoothing), None
    if ignore is not None and (labels := as_labels(as_array(t), z.shape)).shape != z.shape:
        left = xp.expand_dims(is_ignored(labels, ignore), axis=axis)
    places = places_of(z)
    if class_weights is None and left is None:
        return Weighed(q, None, places)
    if class_weights is not None:
        w = xp.asarray(class_weights, dtype=z.dtype, device=z.device)
        w = xp.reshape(w, (-1, *[1] * (z.ndim - axis - 1)))
        hot, q = hot * w, q * w
    if left is not None:
        hot, q = xp.where(left, 0.0, hot), xp.where(left, 0.0, q)
    return Weighed(q, xp.sum(q, axis=axis, keepdims=True), xp.sum(hot))


def check_weights(class_weights: Sequence[float] | None, classes: int) -> None:
    """Refuse weights of more or fewer classes than there are.

    Raises
    ------
    ArgumentError
        Their numbers differ.
    """
    if class_weights is not None and len(class_weights) != classes:
        raise ArgumentError(
            f"class_weights must be one number for each of {classes} classes, got "
            f"{len(class_weights)}"
        )


def softmax_loss(z: Array, targets: Weighed) -> tuple[Array, Array]:
    """Compute the weighted cross-entropy of softmax(z), and its gradient, for targets q.

        L     = -1/M sum q log softmax(z)
        dL/dz = (s softmax(z) - q) / M

    s is the sum of q over the classes of a place, M that of what the labels count. Where nothing
    counts, M = 0, both are 0. Long et al. 2015, "Fully convolutional networks for semantic
    segmentation", arXiv:1411.4038, sum it over all places of an image.
    """
    xp, axis = array_namespace(z), class_axis(z.shape)
    q, share, counted = targets
    shifted = z - xp.max(z, axis=axis, keepdims=True)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=axis, keepdims=True)
    log_y = shifted - xp.log(total)
    terms = q * xp.where(q == 0.0, 0.0, log_y)
    if share is None:
        return -xp.sum(terms) / counted, (e / total - q) / counted
    nothing = counted == 0.0
    scale = xp.where(nothing, 0.0, 1.0 / xp.where(nothing, 1.0, counted))
    dz = xp.where(share == 0.0, 0.0, (e / total * share - q) * scale)  # whatever its scores
    return 0.0 - xp.sum(terms) * scale, dz


def sigmoid_cross_entropy(z: Array, t: Array) -> tuple[Array, Array]:
    """Compute cross-entropy of y = sigmoid(z), each output by itself, and its gradient, from z.

        E     = -1/N sum (t log y + (1 - t) log(1 - y))
              = 1/N sum (max(z, 0) - t z + log(1 + exp(-|z|)))
        dE/dz = (y - t) / N

    z is (N, K), or (K,) for one sample; t is 0 or 1 for each output, or a probability. The second
    form is finite wherever z is. Nielsen, Neural Networks and Deep Learning, eqs. 63 and 66.

    Returns
    -------
    E, 0-d, and dE/dz, in the shape of z
    """
    z = floating(z)
    target = as_probabilities(t, z)
    n_samples = samples_of(z)
    terms, slopes = sigmoid_terms(z, target)
    return array_namespace(z).sum(terms) / n_samples, slopes / n_samples


def sigmoid_terms(z: Array, target: Array) -> tuple[Array, Array]:
    """Compute what `sigmoid_cross_entropy` adds up, and the derivative of each, in the shape of z.

    Of targets in the shape and dtype of z.
    """
    xp = array_namespace(z)
    slope = xp.where(z > 0.0, 1.0 - target, -target)  # of max(z, 0) - t z, where 0 z = 0
    terms = slope * xp.where(slope == 0.0, 0.0, z) + xp.log1p(xp.exp(-xp.abs(z)))
    return terms, sigmoid(z) - target


@checked
def smooth_l1(x: Array, beta: float = 1.0) -> tuple[Array, Array]:
    """A square near 0 and the absolute value beyond, of each number, and its derivative.

        L = x^2 / (2 beta)  where |x| < beta,   |x| - beta / 2  elsewhere
        dL/dx = x / beta,   and the sign of x

    Girshick 2015, "Fast R-CNN", arXiv:1504.08083, eq. 3, has beta = 1, and Faster R-CNN's code 1/9
    for its proposals.

    Returns
    -------
    L and dL/dx, both in the shape of x
    """
    if not (0.0 < beta < inf):
        raise ArgumentError(f"smooth_l1 needs a finite beta above 0, got {beta}")
    xp, x = array_namespace(x), floating(x)
    size = xp.abs(x)
    m = xp.minimum(size, beta)
    share = m / beta  # 1 beyond
    return share * (size - m / 2), xp.sign(x) * share
