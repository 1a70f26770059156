"""JAX as a contestant: a whole step compiled, from jax.numpy and jax.lax alone."""

import os
from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from xpnet.bench.cases import Arrays, Case, Piece, Ready, UnavailableError, unbuilt
from xpnet.functions.im2col import pads_of, strides_of
from xpnet.models.nodes import INPUT

PRECISION = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "highest"}
"""JAX's names for the precisions of float32 products."""
AXES = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}
"""Where images have their channels, rows and columns, by their layout."""


Tree = dict[str, Any]


class Net:
    """A network as a function of its parameters.

    Parameters
    ----------
    layout : of images, those that it is given among them, "NCHW" or "NHWC"
    factors : the type of products' factors; sums are float32, or wider if these are

    Raises
    ------
    UnavailableError
        A layer is none of those here.
    """

    def __init__(
        self, pieces: Sequence[Piece], layout: str = "NCHW", factors: Any = jnp.float32
    ) -> None:
        self.pieces, self.layout, self.factors = pieces, layout, factors
        self.sums = jnp.promote_types(factors, jnp.float32)
        self.C, self.H, self.W = AXES[layout]

    def scores(
        self, params: Tree, state: Tree, x: jax.Array, key: Any = None, *, train: bool = False
    ) -> tuple[jax.Array, Tree]:
        """Compute the scores of every class, (N, K, ...), and the state that training leaves.

        Parameters
        ----------
        key : of dropout; none is left out without it
        train : whether BatchNorm takes the statistics of the batch
        """
        values, left = {INPUT: x}, dict(state)
        for number, piece in enumerate(self.pieces):
            read = [values[k] for k in piece.inputs]
            if piece.kind == "Unpooled":  # the places are found in what the pool read
                (below,) = self.pieces[piece.inputs[1]].inputs
                read[1] = values[below]
            arrays = {key: params[name] for key, name in piece.params.items()}
            if piece.kind == "BatchNorm":
                kept = {key: state[name] for key, name in piece.state.items()}
                y, kept = self._normalized(piece, read[0], arrays, kept, train)
                left |= {name: kept[key] for key, name in piece.state.items()}
            else:
                fold = None if key is None else jax.random.fold_in(key, number)
                y = self._computed(piece, read, arrays, fold)
            values[number] = y
        scores = values[len(self.pieces) - 1]
        return self._in_book_order(scores) if scores.ndim == 4 else scores, left

    def loss(
        self, params: Tree, state: Tree, x: jax.Array, t: jax.Array, key: Any = None
    ) -> tuple[jax.Array, Tree]:
        """Compute the mean cross-entropy of softmax in training, and the state that it leaves."""
        scores, left = self.scores(params, state, x, key, train=True)
        logs = jax.nn.log_softmax(scores, axis=1)
        return -jnp.mean(jnp.take_along_axis(logs, t[:, None], axis=1)), left

    def placed(self, x: jax.Array) -> jax.Array:
        """Images (N, C, H, W) in the layout; other inputs as they are."""
        return jnp.transpose(x, (0, 2, 3, 1)) if x.ndim == 4 and self.layout == "NHWC" else x

    def _computed(
        self, piece: Piece, read: Sequence[jax.Array], arrays: Tree, key: Any
    ) -> jax.Array:
        """The output of a layer."""
        told, (x, *others) = piece.settings, read
        match piece.kind:
            case "Convolution" if "table" not in told:
                y = lax.conv_general_dilated(
                    x.astype(self.factors),
                    arrays["W"].astype(self.factors),
                    strides_of(told["stride"]),
                    _padding(told["pad"]),
                    dimension_numbers=(self.layout, "OIHW", self.layout),
                    feature_group_count=told.get("groups", 1),
                    preferred_element_type=self.sums,
                )
                return y + self._per_channel(arrays["b"], y) if "b" in arrays else y
            case "TransposedConvolution":
                # A convolution of pixels with zeros between them, by the filters turned round.
                sides = zip(
                    piece.weight_shape[2:],
                    _padding(told["pad"]),
                    strides_of(told["output_pad"]),
                    strict=True,
                )
                y = lax.conv_general_dilated(
                    x.astype(self.factors),
                    jnp.flip(arrays["W"], (2, 3)).astype(self.factors),
                    (1, 1),
                    [
                        (F - 1 - before, F - 1 - behind + more)
                        for F, (before, behind), more in sides
                    ],
                    lhs_dilation=strides_of(told["stride"]),
                    dimension_numbers=(self.layout, "IOHW", self.layout),
                    preferred_element_type=self.sums,
                )
                return y + self._per_channel(arrays["b"], y) if "b" in arrays else y
            case "Unpooled":
                return self._unpooled(piece, x, *others)
            case "Affine":
                rows = self._in_book_order(x) if x.ndim == 4 else x
                rows, W = (a.astype(self.factors) for a in (rows.reshape(len(x), -1), arrays["W"]))
                y = jnp.matmul(rows, W, preferred_element_type=self.sums)
                return y + arrays["b"] if "b" in arrays else y
            case "MaxPool" if told["ties"] == "first":
                return self._pooled(piece, x, -jnp.inf, lax.max)
            case "AveragePool":
                return self._pooled(piece, x, 0.0, lax.add) / prod(told["window"])
            case "GlobalAveragePool":
                return jnp.mean(x, axis=(self.H, self.W))
            case "LRN":
                window, half = [1] * 4, told["size"] // 2
                window[self.C] = told["size"]
                pads = [(half, half) if size > 1 else (0, 0) for size in window]
                squares = lax.reduce_window(x * x, 0.0, lax.add, window, (1,) * 4, pads)
                return x * (told["k"] + told["alpha"] * squares) ** -told["beta"]
            case "ReLU":
                return jax.nn.relu(x)  # maximum(x, 0) has the slope 1/2 at 0
            case "ReLU6":
                return jax.nn.relu6(x)
            case "Sigmoid":
                return jax.nn.sigmoid(x)
            case "Tanh":
                return jnp.tanh(x)
            case "Identity":
                return x
            case "Rescale":
                return x * told["scale"] + told["shift"]
            case "Dropout":
                if key is None:
                    return x
                keep = 1 - told["dropout_ratio"]
                return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0)
            case "PadShortcut":
                s, more = told["stride"], told["channels"] - x.shape[self.C]
                steps = [slice(None, None, s if at in (self.H, self.W) else 1) for at in range(4)]
                pads = [(0, 0)] * 4
                pads[self.C] = (more // 2, more - more // 2)
                return jnp.pad(x[tuple(steps)], pads)
            case "Sum" | "Residual":
                return sum(others, x)
            case "Concatenate":
                return jnp.concatenate(read, axis=self._features(x))
        raise unbuilt("JAX", piece)

    def _unpooled(self, piece: Piece, v: jax.Array, x: jax.Array) -> jax.Array:
        """Values v at the places of the first maxima of windows of x that lie side by side."""
        window = self.pieces[piece.inputs[1]].settings["window"]
        (H, W), (h, w) = piece.output_shape[1:], window
        v, x = (self._in_book_order(each) for each in (v, x))
        N, C, OH, OW = v.shape
        tiles = x[:, :, : OH * h, : OW * w].reshape(N, C, OH, h, OW, w)
        places = jnp.argmax(jnp.moveaxis(tiles, 3, 4).reshape(N, C, OH, OW, h * w), -1)
        spread = v[..., None] * jax.nn.one_hot(places, h * w, dtype=v.dtype)
        inside = jnp.moveaxis(spread.reshape(N, C, OH, OW, h, w), 4, 3)
        around = ((0, 0), (0, 0), (0, H - OH * h), (0, W - OW * w))
        return self.placed(jnp.pad(inside.reshape(N, C, OH * h, OW * w), around))

    def _in_book_order(self, images: jax.Array) -> jax.Array:
        """Images of the layout as (N, C, H, W)."""
        return jnp.transpose(images, (0, self.C, self.H, self.W))

    def _normalized(
        self, piece: Piece, x: jax.Array, arrays: Tree, kept: Tree, train: bool
    ) -> tuple[jax.Array, Tree]:
        """The output of a BatchNorm, and what it keeps."""
        told, axes = piece.settings, tuple(at for at in range(x.ndim) if at != self._features(x))
        m = prod(x.shape[at] for at in axes)
        mean, var = kept["running_mean"], kept["running_var"]
        if train:
            mean = jnp.mean(x, axes)
            squares = jnp.sum(jnp.square(x - self._per_channel(mean, x)), axes)
            var = squares / (m - told["ddof"])
            of_batch = {
                "running_mean": mean,
                "running_var": squares / (m - told.get("running_ddof", told["ddof"])),
            }
            share = told["momentum"]
            kept = {name: share * kept[name] + (1 - share) * new for name, new in of_batch.items()}
        scale = arrays["gamma"] * lax.rsqrt(var + told["eps"])
        y = (x - self._per_channel(mean, x)) * self._per_channel(scale, x)
        return y + self._per_channel(arrays["beta"], x), kept

    def _features(self, x: jax.Array) -> int:
        """The axis of images' channels, or of rows' numbers."""
        return self.C if x.ndim == 4 else 1

    def _per_channel(self, a: jax.Array, x: jax.Array) -> jax.Array:
        """One number for each channel, to be taken together with images, or with rows x."""
        return a[:, None, None] if x.ndim == 4 and self.layout == "NCHW" else a

    def _pooled(self, piece: Piece, x: jax.Array, start: float, operation: Any) -> jax.Array:
        """What an operation makes of each window."""
        told = piece.settings
        window, strides, pads = [1] * 4, [1] * 4, [(0, 0)] * 4
        out, steps, pad = piece.output_shape[1:], strides_of(told["stride"]), _padding(told["pad"])
        for at, size, step, (before, _), n in zip(
            (self.H, self.W), told["window"], steps, pad, out, strict=True
        ):
            window[at], strides[at] = size, step
            # As many as the last window reaches. What is left over is dropped, and not by padding
            # below 0, which JAX does not differentiate.
            reached = (n - 1) * step + size - before
            x = lax.slice_in_dim(x, 0, min(reached, x.shape[at]), axis=at)
            pads[at] = (before, reached - x.shape[at])
        return lax.reduce_window(x, start, operation, window, strides, pads)


def _padding(pad: Any) -> list[tuple[int, int]]:
    top, left, bottom, right = pads_of(pad)
    return [(top, bottom), (left, right)]


def sgd(state: Tree, grads: Tree, lr: float) -> Tree:
    """Update the parameters of a state as in equation 6.1 of the book."""
    return state | {"params": jax.tree.map(lambda p, g: p - lr * g, state["params"], grads)}


def momentum(state: Tree, grads: Tree, lr: float) -> Tree:
    """Update as in equations 6.3 and 6.4."""
    v = jax.tree.map(lambda v, g: 0.9 * v - lr * g, state["v"], grads)
    return state | {"params": jax.tree.map(jnp.add, state["params"], v), "v": v}


def adam(state: Tree, grads: Tree, lr: float) -> Tree:
    """Update as the book's code does: eps = 1e-7 beside the root, the rate corrected at first."""
    m = jax.tree.map(lambda m, g: m + (1 - 0.9) * (g - m), state["m"], grads)
    v = jax.tree.map(lambda v, g: v + (1 - 0.999) * (g * g - v), state["v"], grads)
    t = state["t"].astype(jnp.float32)
    rate = lr * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    params = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), state["params"], m, v
    )
    return state | {"params": params, "m": m, "v": v}


OPTIMIZERS = {"sgd": sgd, "momentum": momentum, "adam": adam}
KEPT = {"sgd": "", "momentum": "v", "adam": "mv"}
"""What each of them keeps besides, arrays like the parameters."""


def build(case: Case, arrays: Arrays, *, layout: str | None = None) -> Ready:
    """Build a network of JAX.

    Parameters
    ----------
    layout : of images; the faster one of the device if None: "NHWC" on the CPU, "NCHW" on a GPU

    Raises
    ------
    UnavailableError
        JAX cannot use the GPU, cannot be held to so few threads, or has no such layers.
    """
    if not case.on_gpu:
        _hold_to(case.threads)
    kind, _, index = case.device.partition(":")
    try:
        device = jax.devices(kind)[int(index or 0)]
    except RuntimeError as error:
        raise UnavailableError(f"JAX {jax.__version__} can use no GPU ({error})") from None
    jax.config.update("jax_traceback_filtering", "off")  # or errors are told at length
    jax.config.update("jax_default_device", device)
    jax.config.update("jax_default_matmul_precision", PRECISION[case.precision])
    layout = layout or ("NCHW" if case.on_gpu else "NHWC")
    net = Net(case.pieces, layout, jnp.bfloat16 if case.precision == "bfloat16" else jnp.float32)
    here = {name: jnp.asarray(array) for name, array in arrays.items()}
    x, t = net.placed(here.pop("x")), here.pop("t")
    batches = case.batches(x / jnp.float32(255) if x.dtype == jnp.uint8 else x, t)
    learnt = [name for piece in case.pieces for name in piece.params.values()]
    params = {name: here.pop(name) for name in learnt}
    done: Any = None

    def describe() -> dict[str, str | int]:
        threads = {} if case.on_gpu else {"threads": case.threads}
        return {"jax": jax.__version__, "layout": layout, **threads}

    if case.task == "predict":
        predicted = jax.jit(lambda params, kept, x: net.scores(params, kept, x)[0])

        def predict() -> None:
            nonlocal done
            done = predicted(params, here, next(batches)[0])
            if not case.on_gpu:  # where an answer is waited for, as everybody else's is
                jax.block_until_ready(done)

        return Ready(predict, describe, lambda: jax.block_until_ready(done))

    gradient = jax.grad(net.loss, has_aux=True)
    state = {"params": params, "kept": here, "t": jnp.int32(0), "key": jax.random.key(0)}
    state |= {name: jax.tree.map(jnp.zeros_like, params) for name in KEPT[case.optimizer]}

    def step(state: Tree, x: jax.Array, t: jax.Array) -> Tree:
        state = state | {"t": state["t"] + 1}
        key = jax.random.fold_in(state["key"], state["t"])
        grads, kept = gradient(state["params"], state["kept"], x, t, key)
        return OPTIMIZERS[case.optimizer](state | {"kept": kept}, grads, case.lr)

    compiled = jax.jit(step, donate_argnums=0)

    def train() -> None:
        nonlocal state
        state = compiled(state, *next(batches))

    return Ready(train, describe, lambda: jax.block_until_ready(state))


def _hold_to(threads: int) -> None:
    """Let this process use so many cores: JAX, which is told no number, has a thread for each.

    It asks for them as it begins to compute.
    """
    try:
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[:threads])
    except (AttributeError, OSError):
        if threads < (os.cpu_count() or 1):
            raise UnavailableError(
                f"JAX cannot be held to {threads} threads on this system"
            ) from None
