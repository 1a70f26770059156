"""Activation functions, each on arrays of any shape and any array library; integers as float64.

Source of all formulas: Saitoh, Deep Learning from Scratch, chapter 3.
"""

from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import floating


def step_function(x: Array) -> Array:
    """Step: h(x) = 1 if x > 0, else 0, as integers (eq. 3.3)."""
    xp = array_namespace(x)
    return xp.astype(xp.asarray(x > 0), xp.int64)


def sigmoid(x: Array) -> Array:
    """Sigmoid: h(x) = 1 / (1 + exp(-x)) (eq. 3.6), exact and without overflow for every x.

    For x < 0 the equal form exp(x) / (1 + exp(x)) is used: exp is then never above 1.
    """
    xp, x = array_namespace(x), floating(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(xp.asarray(x >= 0), 1.0, e) / (1.0 + e)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent: h(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return array_namespace(x).tanh(floating(x))


def relu(x: Array) -> Array:
    """Rectifier: h(x) = max(0, x) (eq. 3.7)."""
    return array_namespace(x).maximum(floating(x), 0.0)


def binarized(x: Array) -> Array:
    """Sign of one bit: h(x) = 1 if x >= 0, else -1; NaN stays NaN (section 8.3.4)."""
    xp, x = array_namespace(x), floating(x)
    return xp.sign(x) + xp.astype(xp.asarray(x == 0), x.dtype)  # where() is ten times slower


def relu6(x: Array) -> Array:
    """Rectifier with a ceiling: h(x) = min(max(0, x), 6)."""
    return array_namespace(x).minimum(relu(x), 6.0)


def leaky_relu(x: Array, slope: float = 0.2) -> Array:
    """Rectifier that leaks: h(x) = x if x > 0, else slope x, for a slope from 0 to 1."""
    x = floating(x)
    return array_namespace(x).maximum(x, slope * x)


def identity_function(x: Array) -> Array:
    """Identity: h(x) = x, the output of a regression."""
    return x


def softmax(a: Array) -> Array:
    """y_k = exp(a_k) / sum_i exp(a_i) over the last axis, so each row of a batch by itself (3.10).

    The largest a of the row is subtracted first, which changes nothing (3.11) but keeps exp from
    overflowing.
    """
    return softmax_over(a, -1)


def softmax_over(a: Array, axis: int) -> Array:
    """The same over any axis, such as 1, that of the classes of score maps (N, K, ...)."""
    xp, a = array_namespace(a), floating(a)
    e = xp.exp(a - xp.max(a, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def log_softmax(a: Array) -> Array:
    """log y_k = a_k - log sum_i exp(a_i) over the last axis, exact where y_k itself underflows."""
    xp, a = array_namespace(a), floating(a)
    shifted = a - xp.max(a, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
