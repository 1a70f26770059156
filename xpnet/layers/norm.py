"""Batch normalization."""

from math import inf
from typing import Any

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.parameters import Held
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import inner, outer
from xpnet.functions.init import filled
from xpnet.layers.base import Backward, Leaf, Params, Shape, sample_shape


class BatchNorm(Leaf):
    """Every feature brought to mean 0 and variance 1, then scaled and moved (section 6.3).

        mu = mean of x,   var = sum (x - mu)^2 / (m - ddof)                  (eq. 6.7)
        xhat = (x - mu) / sqrt(var + eps)
        y = gamma xhat + beta                                                (eq. 6.8)

    with the m values of a feature in the batch: N of them in (N, D), and N H W in (N, C, H, W),
    where a feature is a channel. Backward, with sums over the same m values:

        dbeta = sum dy,   dgamma = sum dy xhat
        dx = gamma / sqrt(var + eps) (dy - dbeta / m - xhat dgamma / (m - ddof))

    Inference takes mu and var from `state`, where each training pass leaves

        running_mean <- momentum running_mean + (1 - momentum) mu
        running_var  <- momentum running_var  + (1 - momentum) var

    in place, with the same var that the batch was divided by; PyTorch divides by m and keeps the
    running variance with m - 1. They start at 0 and 1, gamma at 1 and beta at 0.

    Parameters
    ----------
    features : D or C
    momentum : share of the running statistics that a pass leaves, from 0 to below 1
    eps : the book prints 10e-7, which is 1e-6
    ddof : 0, or 1 for Cui's notes, where a batch of one value has no variance

    References
    ----------
    Ioffe, Szegedy 2015, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift", arXiv:1502.03167.
    """

    decays = ()
    state: Params = Held()  # type: ignore[assignment]

    @checked
    def __init__(
        self, features: int, *, momentum: float = 0.9, eps: float = 1e-6, ddof: int = 0
    ) -> None:
        if features < 1 or not 0 <= momentum < 1 or not 0 < eps < inf or ddof not in (0, 1):
            raise ArgumentError(
                "BatchNorm needs at least one feature, a momentum from 0 to below 1, a positive "
                f"eps and ddof 0 or 1, got features={features}, momentum={momentum}, eps={eps}, "
                f"ddof={ddof}"
            )
        self.momentum, self.eps, self.ddof = momentum, eps, ddof
        self.params: Params = {"gamma": filled(features, 1.0), "beta": filled(features, 0.0)}
        self.state = {
            "running_mean": filled(features, 0.0),
            "running_var": filled(features, 1.0),
        }

    def arguments(self) -> dict[str, Any]:
        """Features and constants."""
        return {
            "features": self.params["gamma"].shape[0],
            "momentum": self.momentum,
            "eps": self.eps,
            "ddof": self.ddof,
        }

    def output_shape(self, shape: Shape) -> Shape:
        """The same shape: (D,) or (C, H, W)."""
        (features,) = self.params["gamma"].shape
        if len(shape) not in (1, 3) or shape[0] != features:
            raise ArgumentError(
                f"BatchNorm takes ({features},) or ({features}, H, W) a sample, got {shape}"
            )
        return shape

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The normalized x, of any shape that `output_shape` allows, or a single sample (D,)."""
        xp, gamma, beta = array_namespace(x), self.params["gamma"], self.params["beta"]
        self.output_shape(sample_shape(x, single=True))
        rows = _rows(x)
        m = rows.shape[0]
        mean, var = self._statistics(rows, train)
        std = xp.sqrt(var + self.eps)
        xhat = (rows - mean) / std

        def backward(
            dy: Array, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array, Params]:
            d = _rows(dy)
            dbeta, dgamma = _sum(d), _sum(d * xhat)
            grads = {"gamma": dgamma, "beta": dbeta} if need_grads else {}
            if not need_dx:
                return None, grads
            if train:  # mean and variance depend on x, too
                d = d - dbeta / m - xhat * (dgamma / (m - self.ddof))
            return _unrows(gamma / std * d, x), grads

        return _unrows(gamma * xhat + beta, x), backward

    def _statistics(self, rows: Array, train: bool) -> tuple[Array, Array]:
        """Mean and variance to normalize with; those of a batch go into the running ones too."""
        if not train:
            return self.state["running_mean"], self.state["running_var"]
        m = rows.shape[0]
        if m <= self.ddof:
            raise ArgumentError(
                f"BatchNorm with ddof={self.ddof} needs a batch of at least {self.ddof + 1}, "
                f"got {m}; use a larger batch, or ddof=0"
            )
        mean = _sum(rows) / m
        var = _sum((rows - mean) ** 2) / (m - self.ddof)
        for name, of_batch in (("running_mean", mean), ("running_var", var)):
            self.state[name] *= self.momentum
            self.state[name] += (1.0 - self.momentum) * of_batch
        return mean, var


def _rows(x: Array) -> Array:
    """(m, features); images from other layers have this order in memory: see im2col."""
    features = x.shape[1 if x.ndim > 1 else 0]
    return array_namespace(x).reshape(outer(x) if x.ndim == 4 else x, (-1, features))


def _unrows(rows: Array, x: Array) -> Array:
    """Bring such rows into the shape of x again."""
    xp = array_namespace(rows)
    if x.ndim != 4:
        return xp.reshape(rows, x.shape)
    N, C, H, W = x.shape
    return inner(xp.reshape(rows, (H, W, N, C)))


def _sum(rows: Array) -> Array:
    """Sum of the rows, as a product with ones: libraries sum over leading axes slowly."""
    xp, (m, features) = array_namespace(rows), rows.shape
    ones = xp.ones((1, m), dtype=rows.dtype, device=rows.device)
    return xp.reshape(ones @ rows, (features,))
