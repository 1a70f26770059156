"""Batch normalization, where the parts of a batch meet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cpu.kernel import Kernel, computes, zeros_beside
from xpnet.engine.lower import Pattern
from xpnet.layers import BatchNorm, ReLU


@dataclass(frozen=True)
class Moments:
    """Count, mean and squares of each feature in a part of a batch.

    Attributes
    ----------
    count : numbers of a feature
    mean : of them
    squares : sum of the squares of what they differ from it
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of both parts together.

        Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample
        variances", eq. 2.1.
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        squares = self.squares + other.squares + apart * apart * (self.count * other.count / count)
        return Moments(count, mean, squares)


class Meeting(Kernel):
    """A kernel in which the parts of a batch must meet while training.

    Of each part, `bring` is called instead of `forward`, and then `settle` with what all have
    brought, added up; on the way back, if dx is needed, `bring_back` comes before `backward`.
    """

    def bring(self) -> Any:
        """Return the sums of these samples that all parts need."""
        raise NotImplementedError

    def settle(self, total: Any) -> None:
        """Compute y from x and the sums of all samples."""
        raise NotImplementedError

    def bring_back(self) -> Any:
        """Return the sums over dy of these samples that all parts need."""
        raise NotImplementedError

    def settle_back(self, total: Any) -> None:
        """Take note of what all samples say, for `backward`."""
        raise NotImplementedError


@computes(BatchNorm)
class Normalize(Meeting):
    """y = gamma xhat + beta, from c = x - (mean of the part), which is kept.

    With mu and std of the batch, delta = (mean of the part) - mu, and m numbers in the batch,

        y = c gamma / std + (beta + delta gamma / std)
        dgamma = (sum dy c + delta sum dy) / std
        dx = gamma / std (dy - dbeta / m - (c + delta) / std dgamma / (m - ddof))
    """

    method = "moments, then scale and shift"

    def build(self) -> None:
        """c, the masked dy, and constants spread over the samples."""
        assert isinstance(self.op.layer, BatchNorm)
        self._layer, buffers = self.op.layer, self.buffers
        shape = buffers.shape(self.op.output_shape)
        self._c, self._d = buffers.kept(shape), buffers.meanwhile(self.number, shape)
        self._product = buffers.scratch("product", shape)
        rows = shape[:1] if len(shape) == 2 else (shape[0], shape[1] * shape[2])
        self._rows = (*rows, shape[-1])
        self._ones = np.ones(rows[-1], dtype=buffers.dtype)
        # So that NumPy's innermost loop is over samples and channels.
        self._wide = [buffers.kept(shape[-2:] if len(shape) == 4 else shape[-1:]) for _ in "ab"]
        self._total: Array = None

    def _sum(self, x: np.ndarray) -> np.ndarray:
        """Sum each feature, as products with ones: NumPy is slow to sum over leading axes."""
        sums: np.ndarray = self._ones @ x.reshape(self._rows)
        return sums.sum(axis=0) if x.ndim == 4 else sums

    def _spread(self, vector: np.ndarray, place: int = 0) -> np.ndarray:
        """A number for each feature as one for each sample and feature."""
        wide = self._wide[place]
        np.copyto(wide, vector)
        return wide

    def bring(self) -> Moments:
        """Count, mean and squares."""
        (x,) = self.inputs
        count = x.size // x.shape[-1]
        self._mean = self._sum(x) / count
        np.subtract(x, self._spread(self._mean), out=self._c)
        np.multiply(self._c, self._c, out=self._product)
        return Moments(count, self._mean, self._sum(self._product))

    def settle(self, total: Moments) -> None:
        """c to y."""
        layer = self._layer
        layer.check_count(total.count)
        var = total.squares / (total.count - layer.ddof)
        kept = total.squares / (total.count - layer.running_ddof)
        self._batch, self._count, self._total = (total.mean, kept), total.count, None
        self._delta, self._std = self._mean - total.mean, np.sqrt(var + layer.eps)
        self._scale = layer.params["gamma"] / self._std
        self._write(self._c, self._scale, layer.params["beta"] + self._delta * self._scale)

    def forward(self) -> None:
        """x to y by the running statistics, in training, too, where they are frozen."""
        (x,), layer = self.inputs, self._layer
        mean, var = layer.state["running_mean"], layer.state["running_var"]
        self._total = None
        self._delta, self._std = np.zeros_like(mean), np.sqrt(var + layer.eps)
        self._scale, beta = layer.params["gamma"] / self._std, layer.params["beta"]
        if self.under_way.keep:
            np.subtract(x, self._spread(mean), out=self._c)
            self._write(self._c, self._scale, beta)
        else:
            self._write(x, self._scale, beta - mean * self._scale)

    def _write(self, x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> None:
        np.multiply(x, self._spread(scale), out=self.y)
        np.add(self.y, self._spread(shift, 1), out=self.y)

    def _enter(self) -> None:
        """dy to d."""
        np.copyto(self._d, self.dy)

    def bring_back(self) -> np.ndarray:
        """The part's dbeta and dgamma."""
        self._enter()
        np.multiply(self._d, self._c, out=self._product)
        dbeta = self._sum(self._d)
        dgamma = (self._sum(self._product) + self._delta * dbeta) / self._std
        self._own = np.stack([dbeta, dgamma])
        return self._own

    def settle_back(self, total: np.ndarray) -> None:
        """dbeta and dgamma of the batch."""
        self._total = total

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """d to the gradients and dx; while training, c is used up."""
        if self._total is None:
            self.bring_back()
        if need_grads:  # not earlier: parts of one thread share these arrays
            self.grads["beta"][...], self.grads["gamma"][...] = self._own
        scale, d, c = self._scale, self._d, self._c
        if self._total is not None:
            (dbeta, dgamma), self._total = self._total, None
            slope = -scale / self._std * dgamma / (self._count - self._layer.ddof)
            np.multiply(c, self._spread(slope), out=c)
            np.multiply(d, self._spread(scale, 1), out=d)
            np.add(d, c, out=d)
            shift = slope * self._delta - scale * dbeta / self._count
            np.add(d, self._spread(shift), out=self.gradients[0])
        elif need_dx[0]:
            np.multiply(d, self._spread(scale), out=self.gradients[0])

    def commit(self) -> None:
        """Running statistics, unless they are frozen."""
        if not self.op.meets:
            return
        keep, names = self._layer.momentum, ("running_mean", "running_var")
        for name, of_batch in zip(names, self._batch, strict=True):
            self._layer.state[name] *= keep
            self._layer.state[name] += (1.0 - keep) * of_batch


@computes(Pattern(((BatchNorm,), (ReLU,))))
class RectifiedNorm(Normalize):
    """ReLU of the normalized x."""

    keeps_y = True
    method = "moments, then scale, shift and ReLU"

    def build(self) -> None:
        """Zeros, and a mask."""
        super().build()
        self._zeros = zeros_beside(self._c.shape, self._c.dtype)
        self._mask = self.buffers.scratch("mask", self._c.shape, bool)

    def _write(self, x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> None:
        super()._write(x, scale, shift)
        np.maximum(self.y, self._zeros, out=self.y)

    def _enter(self) -> None:
        np.greater(self.y, 0, out=self._mask)
        np.multiply(self.dy, self._mask, out=self._d)
