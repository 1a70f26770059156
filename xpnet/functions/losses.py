"""Loss functions. Targets are class labels, shape (N,), or one-hot rows, shape (N, K)."""

from typing import Any

from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
from xpnet.functions.activations import sigmoid


def mean_squared_error(y: Array, t: Array) -> Array:
    """Half the squared error: E = 1/2 sum (y - t)^2 over all elements; 0-d array.

    The book's form (eq. 4.1): half the sum, not divided by the number of samples.
    """
    xp = array_namespace(y)
    return 0.5 * xp.sum((y - t) ** 2)


def one_hot(t: Array, n_classes: int, *, dtype: Any) -> Array:
    """Write labels of shape (...) as rows (..., n_classes): 1 at the label, 0 elsewhere."""
    xp = array_namespace(t)
    t = xp.astype(t, xp.int64)  # in a smaller type, numbers of classes would wrap around
    classes = xp.arange(n_classes, dtype=xp.int64, device=t.device)
    return xp.astype(xp.expand_dims(t, axis=-1) == classes, dtype)


def as_one_hot(t: Array, y: Array) -> Array:
    """Bring targets into the shape and dtype of the outputs `y`, whichever form they came in.

    Raises
    ------
    ArgumentError
        `t` has the shape of neither labels nor one-hot rows for `y`.
    """
    xp = array_namespace(y)
    if t.shape == y.shape:
        return t if t.dtype == y.dtype else xp.astype(t, y.dtype)
    if t.shape == y.shape[:-1] and not xp.isdtype(t.dtype, "real floating"):
        return one_hot(t, y.shape[-1], dtype=y.dtype)
    raise ArgumentError(
        f"targets for outputs of shape {tuple(y.shape)} must be integer labels of shape "
        f"{tuple(y.shape[:-1])} or one-hot of shape {tuple(y.shape)}, "
        f"got {t.dtype} of shape {tuple(t.shape)}"
    )


def smoothed(t: Array, smoothing: float) -> Array:
    """Smooth one-hot targets, (1 - s) t + s / K: the right class keeps most, all share the rest.

    Szegedy et al. 2015, "Rethinking the Inception architecture for computer vision",
    arXiv:1512.00567, section 7.
    """
    return (1.0 - smoothing) * t + smoothing / t.shape[-1] if smoothing else t


def cross_entropy_error(y: Array, t: Array, eps: float = 1e-7) -> Array:
    """E = -1/N sum_n sum_k t_nk ln(y_nk + eps) for probabilities y; 0-d array (eqs. 4.2, 4.3).

    y is (N, K), or (K,) for one sample. The book adds eps = 1e-7 because ln 0 is minus infinity;
    eps = 0 gives the exact value, with 0 ln 0 = 0. Training uses `softmax_cross_entropy`.
    """
    xp = array_namespace(y)
    hot = as_one_hot(t, y)
    if eps == 0.0:
        y = xp.where(hot == 0.0, 1.0, y)
    n_samples = y.shape[0] if y.ndim > 1 else 1
    return -xp.sum(hot * xp.log(y + eps)) / n_samples


def softmax_cross_entropy(z: Array, t: Array) -> tuple[Array, Array]:
    """Compute cross-entropy of softmax(z) and its gradient from the scores z themselves.

        log y = z - log sum exp(z)
        E     = -1/N sum t log y
        dE/dz = (y - t) / N

    z is (N, K), or (K,) for one sample. No eps is needed: log y is finite wherever z is.

    Returns
    -------
    E, 0-d, and dE/dz, in the shape of z
    """
    xp = array_namespace(z)
    hot = as_one_hot(t, z)
    n_samples = z.shape[0] if z.ndim > 1 else 1
    shifted = z - xp.max(z, axis=-1, keepdims=True)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=-1, keepdims=True)
    log_y = shifted - xp.log(total)
    return -xp.sum(hot * log_y) / n_samples, (e / total - hot) / n_samples


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
    xp = array_namespace(z)
    target = as_one_hot(t, z)
    n_samples = z.shape[0] if z.ndim > 1 else 1
    terms = xp.maximum(z, 0.0) - target * z + xp.log1p(xp.exp(-xp.abs(z)))
    return xp.sum(terms) / n_samples, (sigmoid(z) - target) / n_samples
