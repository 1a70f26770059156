"""Normalization: of a batch, and of neighbouring channels."""

from math import inf, isfinite
from typing import Any

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.parameters import Held
from xpnet.arrays.values import floating
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

    in place, with the same var that the batch was divided by, unless `running_ddof` says otherwise:
    PyTorch divides by m and keeps the running variance with m - 1. They start at 0 and 1, gamma at
    1 and beta at 0.

    Where `statistics_frozen` is true, as `Network.freeze_statistics` makes it, training takes mu
    and var from `state`, too, and leaves them as they are. They do not depend on x then, and

        dx = gamma / sqrt(var + eps) dy

    Parameters
    ----------
    features : D or C
    momentum : share of the running statistics that a pass leaves, from 0 to below 1
    eps : the book prints 10e-7, which is 1e-6
    ddof : 0, or 1 for Cui's notes, where a batch of one value has no variance
    running_ddof : the same of the variance that is kept, 1 for PyTorch's; as `ddof` if None

    References
    ----------
    Ioffe, Szegedy 2015, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift", arXiv:1502.03167.
    """

    decays = ()
    state: Params = Held()  # type: ignore[assignment]
    statistics_frozen = False

    @checked
    def __init__(
        self,
        features: int,
        *,
        momentum: float = 0.9,
        eps: float = 1e-6,
        ddof: int = 0,
        running_ddof: int | None = None,
    ) -> None:
        if features < 1 or not 0 <= momentum < 1 or not 0 < eps < inf or ddof not in (0, 1):
            raise ArgumentError(
                "BatchNorm needs at least one feature, a momentum from 0 to below 1, a positive "
                f"eps and ddof 0 or 1, got features={features}, momentum={momentum}, eps={eps}, "
                f"ddof={ddof}"
            )
        if running_ddof not in (None, 0, 1):
            raise ArgumentError(
                "running_ddof of BatchNorm must be 0 or 1, or None for that of ddof, got "
                f"{running_ddof}"
            )
        self.momentum, self.eps, self.ddof = momentum, eps, ddof
        self.running_ddof = ddof if running_ddof is None else running_ddof
        self.params: Params = {"gamma": filled(features, 1.0), "beta": filled(features, 0.0)}
        self.state = {
            "running_mean": filled(features, 0.0),
            "running_var": filled(features, 1.0),
        }

    def arguments(self) -> dict[str, Any]:
        """Features and constants."""
        found = {
            "features": self.params["gamma"].shape[0],
            "momentum": self.momentum,
            "eps": self.eps,
            "ddof": self.ddof,
        }
        alike = self.running_ddof == self.ddof
        return found if alike else found | {"running_ddof": self.running_ddof}

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
        m, of_batch = rows.shape[0], train and not self.statistics_frozen
        mean, var = self._of_batch(rows) if of_batch else self._running()
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
            if of_batch:  # mean and variance depend on x, too
                d = d - dbeta / m - xhat * (dgamma / (m - self.ddof))
            return _unrows(gamma / std * d, x), grads

        return _unrows(gamma * xhat + beta, x), backward

    def _running(self) -> tuple[Array, Array]:
        """Mean and variance that earlier passes have left."""
        return self.state["running_mean"], self.state["running_var"]

    def _of_batch(self, rows: Array) -> tuple[Array, Array]:
        """Mean and variance of a batch, which go into the running ones."""
        m = rows.shape[0]
        self.check_count(m)
        mean = _sum(rows) / m
        squares = _sum((rows - mean) ** 2)
        var = squares / (m - self.ddof)
        kept = var if self.running_ddof == self.ddof else squares / (m - self.running_ddof)
        for name, of_batch in (("running_mean", mean), ("running_var", kept)):
            self.state[name] *= self.momentum
            self.state[name] += (1.0 - self.momentum) * of_batch
        return mean, var

    def check_count(self, m: int) -> None:
        """Refuse a batch with too few values of a feature for a variance."""
        for name in ("ddof", "running_ddof"):
            if m <= (ddof := getattr(self, name)):
                raise ArgumentError(
                    f"BatchNorm with {name}={ddof} needs a batch of at least {ddof + 1}, "
                    f"got {m}; use a larger batch, or {name}=0"
                )


class LRN(Leaf):
    """Local response normalization across n neighbouring channels, as AlexNet has it.

        D_i = k + alpha sum over |j - i| <= n // 2 of x_j^2
        y_i = x_i D_i^-beta
        dx_i = dy_i D_i^-beta - 2 alpha beta x_i sum over |j - i| <= n // 2 of dy_j y_j / D_j

    at each pixel, over the channels that there are. alpha is multiplied by the sum of the squares,
    as in the paper; PyTorch, ONNX and Caffe multiply it by their mean, that is, divide theirs by n:
    see `from_onnx`. Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep
    convolutional neural networks", section 3.3.

    Parameters
    ----------
    size : n, odd
    alpha, beta, k : the paper's constants, if not given
    """

    @checked
    def __init__(
        self, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
    ) -> None:
        if size < 1 or size % 2 == 0:
            raise ArgumentError(
                f"the size of LRN must be odd, a channel and as many on both sides, got {size}; "
                "PyTorch and ONNX understand even ones differently"
            )
        if not (isfinite(alpha) and alpha >= 0 and isfinite(beta) and isfinite(k) and k > 0):
            raise ArgumentError(
                "LRN needs an alpha of 0 or more, a finite beta and a positive k, got "
                f"alpha={alpha}, beta={beta}, k={k}"
            )
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.params: Params = {}

    @classmethod
    @checked
    def from_onnx(
        cls, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
    ) -> "LRN":
        """The layer with ONNX's constants, which are PyTorch's and Caffe's: alpha is divided."""
        return cls(size=size, alpha=alpha / max(size, 1), beta=beta, k=bias)

    def arguments(self) -> dict[str, Any]:
        """The constants."""
        return {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k}

    def output_shape(self, shape: Shape) -> Shape:
        """The same shape, (C, H, W)."""
        if len(shape) != 3:
            raise ArgumentError(f"LRN takes images, (C, H, W), got {shape}")
        return shape

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The normalized x."""
        self.output_shape(sample_shape(x))
        a = outer(floating(x))
        D = self.k + self.alpha * self._over_channels(a * a)
        scale = D**-self.beta
        y = a * scale

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            d = outer(dy)
            share = self._over_channels(d * y / D)
            return inner(d * scale - (2.0 * self.alpha * self.beta) * (a * share)), {}

        return inner(y), backward

    def _over_channels(self, a: Array) -> Array:
        """Sum over the neighbouring channels, for each of (H, W, N, C).

        Shifted copies are added; differences of running sums would lose digits.
        """
        total = array_namespace(a).asarray(a, copy=True)
        for apart in range(1, min(self.size // 2, a.shape[-1] - 1) + 1):
            total[..., apart:] += a[..., :-apart]
            total[..., :-apart] += a[..., apart:]
        return total


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
