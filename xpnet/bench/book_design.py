"""The networks as the book writes them, to measure against. Not for use.

float64 throughout, (N, C, H, W), im2col as FH FW strided copies and a transpose, stateful layers,
and an update that walks through a dictionary: the design of Deep Learning from Scratch, chapters 5
to 8, from its description.
"""

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from xpnet.bench.cases import Arrays, Case, Ready
from xpnet.engine.threads import blas_library

Params = dict[str, np.ndarray]


def im2col(x: np.ndarray, FH: int, FW: int, stride: int, pad: int) -> np.ndarray:
    """Lay windows of (N, C, H, W) out as (N*OH*OW, C*FH*FW)."""
    N, C, H, W = x.shape
    OH, OW = (H + 2 * pad - FH) // stride + 1, (W + 2 * pad - FW) // stride + 1
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    col = np.zeros((N, C, FH, FW, OH, OW))
    for fy in range(FH):
        for fx in range(FW):
            bottom, right = fy + stride * OH, fx + stride * OW
            col[:, :, fy, fx] = x[:, :, fy:bottom:stride, fx:right:stride]
    return col.transpose(0, 4, 5, 1, 2, 3).reshape(N * OH * OW, -1)


def col2im(
    col: np.ndarray, shape: tuple[int, ...], FH: int, FW: int, stride: int, pad: int
) -> np.ndarray:
    """Add windows back into images: the transpose of `im2col`."""
    N, C, H, W = shape
    OH, OW = (H + 2 * pad - FH) // stride + 1, (W + 2 * pad - FW) // stride + 1
    col = col.reshape(N, OH, OW, C, FH, FW).transpose(0, 3, 4, 5, 1, 2)
    x = np.zeros((N, C, H + 2 * pad + stride - 1, W + 2 * pad + stride - 1))
    for fy in range(FH):
        for fx in range(FW):
            bottom, right = fy + stride * OH, fx + stride * OW
            x[:, :, fy:bottom:stride, fx:right:stride] += col[:, :, fy, fx]
    return x[:, :, pad : H + pad, pad : W + pad]


class Affine:
    """Y = X W + b."""

    def __init__(self, W: np.ndarray, b: np.ndarray) -> None:
        self.W, self.b = W, b

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Flatten images first."""
        self.shape = x.shape
        self.x = x.reshape(len(x), -1)
        out: np.ndarray = np.dot(self.x, self.W) + self.b
        return out

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Keep dW and db."""
        self.dW, self.db = np.dot(self.x.T, dout), np.sum(dout, axis=0)
        dx: np.ndarray = np.dot(dout, self.W.T)
        return dx.reshape(self.shape)


class Relu:
    """max(x, 0) by a mask."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Copy x and set it to 0 by the mask."""
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Set dout to 0 in place, as in the book."""
        dout[self.mask] = 0
        return dout


class Convolution:
    """im2col and one product."""

    def __init__(self, W: np.ndarray, b: np.ndarray, stride: int = 1, pad: int = 0) -> None:
        self.W, self.b, self.stride, self.pad = W, b, stride, pad

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return (N, FN, OH, OW)."""
        FN, _, FH, FW = self.W.shape
        N, _, H, W = x.shape
        OH = (H + 2 * self.pad - FH) // self.stride + 1
        OW = (W + 2 * self.pad - FW) // self.stride + 1
        self.x_shape = x.shape
        self.col = im2col(x, FH, FW, self.stride, self.pad)
        self.col_W = self.W.reshape(FN, -1).T
        out: np.ndarray = np.dot(self.col, self.col_W) + self.b
        return out.reshape(N, OH, OW, FN).transpose(0, 3, 1, 2)

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Return the gradient of the images, always."""
        FN, C, FH, FW = self.W.shape
        d = dout.transpose(0, 2, 3, 1).reshape(-1, FN)
        self.db = np.sum(d, axis=0)
        self.dW = np.dot(self.col.T, d).transpose(1, 0).reshape(FN, C, FH, FW)
        dcol = np.dot(d, self.col_W.T)
        return col2im(dcol, self.x_shape, FH, FW, self.stride, self.pad)


class Pooling:
    """Max pooling over im2col."""

    def __init__(self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0) -> None:
        self.window = (pool_h, pool_w, stride, pad)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Keep the argmax."""
        N, C, H, W = x.shape
        ph, pw, stride, _ = self.window
        OH, OW = (H - ph) // stride + 1, (W - pw) // stride + 1
        self.x_shape = x.shape
        col = im2col(x, *self.window).reshape(-1, ph * pw)
        self.arg_max = np.argmax(col, axis=1)
        out: np.ndarray = np.max(col, axis=1)
        return out.reshape(N, OH, OW, C).transpose(0, 3, 1, 2)

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Scatter by the argmax, then col2im."""
        d = dout.transpose(0, 2, 3, 1)
        size = self.window[0] * self.window[1]
        dmax: np.ndarray = np.zeros((d.size, size))
        dmax[np.arange(self.arg_max.size), self.arg_max.flatten()] = d.flatten()
        dmax = dmax.reshape((*d.shape, size))
        dcol = dmax.reshape(dmax.shape[0] * dmax.shape[1] * dmax.shape[2], -1)
        return col2im(dcol, self.x_shape, *self.window)


class Dropout:
    """Multiply by a random mask."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Leave units out in training only."""
        self.mask = np.random.rand(*x.shape) > 0.5
        return x * self.mask

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Apply the same mask."""
        return dout * self.mask


class Network:
    """Layers in a list, softmax and cross-entropy at the end."""

    def __init__(self, layers: list[Any], optimizer: str, lr: float) -> None:
        self.layers, self.lr, self.adam = layers, lr, optimizer == "adam"
        self.m: Params = {}
        self.v: Params = {}
        self.t = 0

    def step(self, x: np.ndarray, t: np.ndarray) -> float:
        """Take a step: loss, backward, update."""
        for layer in self.layers:
            x = layer.forward(x)
        x = x - np.max(x, axis=1, keepdims=True)
        y = np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True)
        n = len(y)
        loss = -np.sum(np.log(y[np.arange(n), t] + 1e-7)) / n
        dout = y.copy()
        dout[np.arange(n), t] -= 1
        dout = dout / n
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        params, grads = {}, {}
        for i, layer in enumerate(layer for layer in self.layers if hasattr(layer, "W")):
            params[f"W{i}"], params[f"b{i}"] = layer.W, layer.b
            grads[f"W{i}"], grads[f"b{i}"] = layer.dW, layer.db
        self.update(params, grads)
        return float(loss)

    def update(self, params: Params, grads: Params) -> None:
        """Update by SGD or Adam, array by array."""
        if not self.adam:
            for key, p in params.items():
                p -= self.lr * grads[key]
            return
        if not self.m:
            self.m = {key: np.zeros_like(p) for key, p in params.items()}
            self.v = {key: np.zeros_like(p) for key, p in params.items()}
        self.t += 1
        lr_t = self.lr * np.sqrt(1.0 - 0.999**self.t) / (1.0 - 0.9**self.t)
        for key, p in params.items():
            self.m[key] += (1 - 0.9) * (grads[key] - self.m[key])
            self.v[key] += (1 - 0.999) * (grads[key] ** 2 - self.v[key])
            p -= lr_t * self.m[key] / (np.sqrt(self.v[key]) + 1e-7)


def network(model: str, params: Params) -> Network:
    """Build the network of that name with these initial values."""
    layers: list[Any] = []
    count = sum(name.startswith("W") for name in params)
    W = [params[f"W{k}"].astype(np.float64) for k in range(1, count + 1)]
    b = [params[f"b{k}"].astype(np.float64) for k in range(1, count + 1)]
    if model == "two-layer-net":
        return Network([Affine(W[0], b[0]), Relu(), Affine(W[1], b[1])], "sgd", 0.1)
    if model == "simple-convnet":
        layers = [Convolution(W[0], b[0]), Relu(), Pooling(2, 2, 2)]
        layers += [Affine(W[1], b[1]), Relu(), Affine(W[2], b[2])]
        return Network(layers, "adam", 0.001)
    for k in range(6):
        layers += [Convolution(W[k], b[k], pad=2 if k == 3 else 1), Relu()]
        if k % 2:
            layers.append(Pooling(2, 2, 2))
    layers += [Affine(W[6], b[6]), Relu(), Dropout(), Affine(W[7], b[7]), Dropout()]
    return Network(layers, "adam", 0.001)


def build(case: Case, arrays: Arrays) -> Ready:
    """Build one of them as a contestant."""
    threadpool_limits(case.threads, user_api="blas")
    net = network(case.model, arrays)
    batches = case.batches(arrays["x"].astype(np.float64), arrays["t"])

    def describe() -> dict[str, str | int]:
        return {"dtype": "float64", **blas_library()}

    return Ready(lambda: net.step(*next(batches)), describe)
