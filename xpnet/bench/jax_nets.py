"""JAX as a contestant: a whole step compiled, from jax.numpy and jax.lax alone."""

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from xpnet.bench.cases import Arrays, Case, Piece, Ready, UnavailableError

PRECISION = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "highest"}
"""JAX's names for the precisions of float32 products."""

Tree = dict[str, Any]


def scores(
    pieces: Sequence[Piece], params: Tree, x: jax.Array, key: Any = None, low: bool = False
) -> jax.Array:
    """Compute the scores of every class, (N, K).

    Parameters
    ----------
    key : of dropout, in training
    low : take products of bfloat16, adding up in float32
    """
    kind = jnp.bfloat16 if low else jnp.float32
    numbers = count(1)
    for place, piece in enumerate(pieces):
        settings = piece.settings
        if piece.weight_shape:
            number = next(numbers)
            W, b = params[f"W{number}"].astype(kind), params[f"b{number}"]
        match piece.kind:
            case "Convolution":
                stride, pad = settings["stride"], settings["pad"]
                x = b[:, None, None] + lax.conv_general_dilated(
                    x.astype(kind),
                    W,
                    (stride, stride),
                    [(pad, pad), (pad, pad)],
                    dimension_numbers=("NCHW", "OIHW", "NCHW"),
                    preferred_element_type=jnp.float32,
                )
            case "MaxPool":
                window, stride = (1, 1, *settings["window"]), settings["stride"]
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, (1, 1, stride, stride), "VALID")
            case "Affine":
                x = x.reshape(len(x), -1).astype(kind)
                x = jnp.matmul(x, W, preferred_element_type=jnp.float32) + b
            case "ReLU":
                x = jax.nn.relu(x)  # maximum(x, 0) has the slope 1/2 at 0
            case "Dropout" if key is not None:
                keep = 1 - settings["dropout_ratio"]
                kept = jax.random.bernoulli(jax.random.fold_in(key, place), keep, x.shape)
                x = jnp.where(kept, x / keep, 0)
    return x


def loss(
    pieces: Sequence[Piece],
    low: bool,
    params: Tree,
    x: jax.Array,
    t: jax.Array,
    key: Any = None,
) -> jax.Array:
    """Compute the mean cross-entropy of softmax."""
    logs = jax.nn.log_softmax(scores(pieces, params, x, key, low))
    return -jnp.mean(jnp.take_along_axis(logs, t[:, None], axis=1))


def sgd(state: Tree, grads: Tree, lr: float) -> Tree:
    """Update the parameters of a state as in equation 6.1 of the book."""
    return state | {"params": jax.tree.map(lambda p, g: p - lr * g, state["params"], grads)}


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


OPTIMIZERS = {"sgd": sgd, "adam": adam}


def build(case: Case, arrays: Arrays) -> Ready:
    """Build a network of JAX.

    Raises
    ------
    UnavailableError
        JAX cannot use the GPU.
    """
    kind, _, index = case.device.partition(":")
    try:
        device = jax.devices(kind)[int(index or 0)]
    except RuntimeError as error:
        raise UnavailableError(f"JAX {jax.__version__} can use no GPU ({error})") from None
    jax.config.update("jax_default_device", device)
    jax.config.update("jax_default_matmul_precision", PRECISION[case.precision])
    low = case.precision == "bfloat16"
    here = {name: jnp.asarray(array) for name, array in arrays.items()}
    x, t = here.pop("x"), here.pop("t")
    batches = case.batches(x / jnp.float32(255) if x.dtype == jnp.uint8 else x, t)
    done: Any = None

    def describe() -> dict[str, str]:
        return {"jax": jax.__version__}

    if case.task == "predict":
        predicted = jax.jit(partial(scores, case.pieces, low=low))

        def predict() -> None:
            nonlocal done
            done = predicted(here, next(batches)[0])

        return Ready(predict, describe, lambda: jax.block_until_ready(done))

    gradient = jax.grad(partial(loss, case.pieces, low))
    state = {"params": here, "t": jnp.int32(0), "key": jax.random.key(0)}
    if case.optimizer == "adam":
        state |= {moment: jax.tree.map(jnp.zeros_like, here) for moment in "mv"}

    def step(state: Tree, x: jax.Array, t: jax.Array) -> Tree:
        state = state | {"t": state["t"] + 1}
        grads = gradient(state["params"], x, t, jax.random.fold_in(state["key"], state["t"]))
        return OPTIMIZERS[case.optimizer](state, grads, case.lr)

    compiled = jax.jit(step, donate_argnums=0)

    def train() -> None:
        nonlocal state
        state = compiled(state, *next(batches))

    return Ready(train, describe, lambda: jax.block_until_ready(state))
