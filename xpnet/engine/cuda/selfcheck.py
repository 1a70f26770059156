"""Whether the engine of a GPU computes what the layers say: one step beside NumPy, before trust.

Drivers, compilers and GPUs that nobody here has seen meet the kernels on a user's machine. So the
first time an engine meets a network, a step on a few samples is computed by both, and what the
kernels give must be what the layers give on the host.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import NamedTuple

import numpy as np

from xpnet.arrays import Array, get_device, to_numpy
from xpnet.arrays.parameters import FlatParams
from xpnet.data.batches import scaled
from xpnet.engine.checks import shaped
from xpnet.engine.cuda.passes import Passes
from xpnet.engine.cuda.training import Training
from xpnet.engine.threads import blas_threads
from xpnet.layers import Stateful
from xpnet.models.network import Network
from xpnet.optim import Optimizer
from xpnet.optim.clipping import clip_by_norm

SAMPLES, LEAST = 16, 4
"""Of the batch, at most, and at least if it has so many."""

LIMITS = {"float32": 1e-5, "float64": 1e-11, "tf32": 3e-3, "bfloat16": 2.4e-2}
"""Errors of a pass, by the precision of products and relative to the largest number. Two correct
evaluations of a first gradient in float32 are 1e-6 apart and with tf32, whose factors have 10 bits
of fraction, 3e-4; ten times that is allowed. bfloat16 has 7 bits: eight times what tf32 may."""

UPDATE_LIMITS = {"float32": 1e-5, "float64": 1e-11}
"""Errors of an update, relative to the largest change of a parameter; no product is part of it."""

ROUNDING = {"float32": 2.0**-22, "float64": 2.0**-51, "tf32": 2.0**-11, "bfloat16": 2.0**-8}
"""By so much, relative to each number, inputs and parameters are varied to see whether the
reference depends on rounding: two units of the last digit, or half a unit for factors."""

VARIATIONS = 3
"""How often."""

TOLD = ("loss", "scores", "gradient", "parameters after an update")
"""Of all that is compared, what is told of."""


class DifferenceError(Exception):
    """The engine does not compute what the layers do; the message says what differs."""


class Step(NamedTuple):
    """What a training step gives, on the host."""

    loss: float
    scores: np.ndarray
    grads: Mapping[str, np.ndarray]
    state: Mapping[str, np.ndarray]


def compare(
    engine: Passes,
    x: Array,
    t: Array,
    optimizer: Optimizer | None = None,
    clip_norm: float | None = None,
) -> str | None:
    """One step of the engine beside one of the layers on the host; what was found, in words.

    The engine's scores, loss, gradient and running statistics are compared with those of the layers
    in float64. Its update is compared with that of the optimizer on the host, given the engine's
    own gradient: a rule that divides by the gradient's size, as Adam's first step does, would make
    much of a difference in the last digit. Afterwards the network is as it was.

    Where a sum is 0 but for rounding, rounding decides the slope of a ReLU or the place of a
    maximum, and two correct gradients may be far apart. So the reference is varied by as much as
    rounding does, and samples are left out while that changes its gradient by more than the limit.
    If it does with all of them, as mostly with products of few digits, the gradient's limit is that
    much wider; those of scores and loss, which change little then, stay.

    Parameters
    ----------
    x, t : the batch, of which the first `SAMPLES` are taken: pixels or floats, labels or rows
    optimizer : whose update is compared, too, with a fresh state; passes alone if None
    clip_norm : as in `Training`

    Returns
    -------
    None if the reference has numbers that are not finite, with which nothing can be compared

    Raises
    ------
    DifferenceError
        They differ.
    Exception
        Whatever the engine raised.
    """
    network, n = engine.network, min(SAMPLES, x.shape[0], t.shape[0])
    twin = host_twin(network)
    pixels, targets = to_numpy(x[:n, ...]), to_numpy(t[:n, ...])
    floats = scaled(pixels, np.dtype(network.dtype)).reshape(n, *network.input_shape)
    limit, rounding = LIMITS[engine.precision], ROUNDING[engine.precision]
    with blas_threads(1):  # products of so few samples are not worth two
        choice = _settled(twin, floats, targets, limit, rounding)
    if choice is None:
        return None
    part, want, doubt = choice
    pixels, floats, targets, n = pixels[part], floats[part], targets[part], want.scores.shape[0]
    device = network.device
    with _undone(network) as before:
        loss, scores, grads = engine.loss_and_gradient(
            network.place(floats), device.asarray(targets)
        )
        got = Step(float(loss), _host(scores), _all(grads), _all(network.state))
        gradient = _host(engine.grads.flat)
    with _undone(network):
        predicted = _host(engine.predict(network.place(floats)))
    size = float(np.max(np.abs(want.scores)))
    errors = {
        "loss": _apart(got.loss, want.loss, max(size, abs(want.loss))),
        "scores": _apart(got.scores, want.scores, size),
        "predictions": _apart(predicted, _host(twin.predict(floats)), size),
        "gradient": _gradients_apart(got.grads, want.grads),
    }
    for name, own, theirs in zip(want.state, got.state.values(), want.state.values(), strict=True):
        errors[f"state {name}"] = _apart(own, theirs, float(np.max(np.abs(theirs))))
    found = {what: (error, limit) for what, error in errors.items()}
    found["gradient"] = errors["gradient"], limit + 2 * doubt
    if optimizer is not None and Training.obstacle(optimizer) is None:
        with _undone(network):
            data = shaped(network, device.asarray(np.ascontiguousarray(pixels)))
            labels = device.asarray(np.ascontiguousarray(targets))
            rule = _fresh(optimizer)
            training = Training(engine, data, labels, n, rule, clip_norm=clip_norm)
            (step_loss,) = _host(training.epoch(np.arange(n), [optimizer.lr]))
            flat = _host(network.params.flat)
        found["loss of the step"] = _apart(step_loss, want.loss, max(size, abs(want.loss))), limit
        there = _updated(network, before, gradient, optimizer, clip_norm)
        change = float(np.max(np.abs(there - before))) or 1.0
        # What is added to a large parameter loses the digits that do not fit it.
        least = 8 * np.finfo(there.dtype).eps * float(np.max(np.abs(before))) / change
        most = UPDATE_LIMITS[network.dtype] + float(least)
        found["parameters after an update"] = _apart(flat, there, change), most
    # By the share of its limit; what is no number is beyond all others.
    what = max(found, key=lambda what: np.nan_to_num(found[what][0] / found[what][1], nan=np.inf))
    error, most = found[what]
    if not error <= most:
        raise DifferenceError(
            f"{what} is {error:.1e} from the reference's, relative to its largest number, and "
            f"{most:.1e} is allowed ({n} samples, {engine.precision})"
        )
    told = ", ".join(f"{what} {found[what][0]:.0e}" for what in TOLD if what in found)
    return f"passed on {n} samples; relative errors: {told}"


class _Choice(NamedTuple):
    """Samples to compare by, the reference's step on them, and how far it depends on rounding."""

    samples: slice
    step: Step
    doubt: float


def _settled(
    twin: Network, x: np.ndarray, t: np.ndarray, limit: float, rounding: float
) -> _Choice | None:
    """All the samples, or one of their halves or quarters, by the reference alone.

    The first whose doubt is within the limit, or else that with the least; None if the reference
    has numbers that are not finite. Fewer than `LEAST` would make nothing of BatchNorm.
    """
    n = x.shape[0]
    tried: list[_Choice] = []
    for size in (n, n // 2, n // 4):
        if size < LEAST and tried:
            break
        for start in range(0, n - size + 1, size):
            part = slice(start, start + size)
            want = _reference(twin, x[part], t[part])
            arrays = np.asarray(want.loss), want.scores, *want.grads.values()
            if not all(np.isfinite(array).all() for array in arrays):
                return None
            tried.append(_Choice(part, want, _doubt(twin, x[part], t[part], want, rounding)))
            if tried[-1].doubt <= limit:
                return tried[-1]
    return min(tried, key=lambda choice: choice.doubt)


def host_twin(network: Network, dtype: str = "float64") -> Network:
    """The same network on the host, sharing nothing with it.

    It is made of shallow copies of the layers: those that the engine has kernels for keep nothing
    but numbers, parameters and state.
    """
    layers = []
    for leaf in network.leaves():
        layer = copy(leaf.layer)
        layer.params = {name: _host(array) for name, array in layer.params.items()}
        if isinstance(layer, Stateful):
            layer.state = {name: _host(array) for name, array in layer.state.items()}
        layers.append(layer)
    return Network(
        layers,
        copy(network.last_layer),
        penalty=network.penalty,
        input_shape=network.input_shape,
        device="cpu",
        dtype=dtype,
    )


def _reference(twin: Network, x: np.ndarray, t: np.ndarray) -> Step:
    """A training step of the layers; the twin's state is put back."""
    kept = twin.copied_state()
    loss, scores, grads = twin.loss_and_gradient(twin.place(x), t)
    step = Step(float(loss), _host(scores), _all(grads), _all(twin.state))
    twin.restore_state(kept)
    return step


def _doubt(twin: Network, x: np.ndarray, t: np.ndarray, want: Step, rounding: float) -> float:
    """By how much the gradient changes, relative to its largest number, if rounding varies."""
    rng, flat, largest = np.random.default_rng(0), twin.params.flat, 0.0
    kept = flat.copy()
    for _ in range(VARIATIONS):
        flat *= 1 + rounding * rng.standard_normal(flat.shape)
        varied = x * (1 + rounding * rng.standard_normal(x.shape))
        largest = max(largest, _gradients_apart(_reference(twin, varied, t).grads, want.grads))
        flat[...] = kept
    return largest


def _updated(
    network: Network,
    before: np.ndarray,
    gradient: np.ndarray,
    optimizer: Optimizer,
    clip_norm: float | None,
) -> np.ndarray:
    """All parameters after the optimizer's first update on the host, in the network's dtype."""
    params = FlatParams(network.params.shapes, get_device("cpu"), network.dtype)
    params.flat[...] = before
    grads = params.like()
    grads.flat[...] = gradient
    followed = grads if clip_norm is None else clip_by_norm(grads, clip_norm)
    _fresh(optimizer).update(params, followed)
    return _host(params.flat)


def _fresh(optimizer: Optimizer) -> Optimizer:
    """The same rule before its first step."""
    other = copy(optimizer)
    other.state, other._gathered = {}, None
    return other


@contextmanager
def _undone(network: Network) -> Iterator[np.ndarray]:
    """Parameters and state are afterwards as they were, whatever happens; gives the former."""
    flat, state = _host(network.params.flat), _all(network.state)
    try:
        yield flat
    finally:
        network.params.flat[...] = network.device.asarray(flat)
        network.restore_state({name: network.device.asarray(a) for name, a in state.items()})


def _gradients_apart(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> float:
    """The largest error of an array, relative to its largest number.

    But to no less than a tenth of the largest of all: some gradients are 0 but for rounding, as
    that of a bias before BatchNorm.
    """
    sizes = {name: float(np.max(np.abs(array))) for name, array in want.items()}
    least = 0.1 * max(sizes.values())
    return max(_apart(got[name], want[name], max(least, size)) for name, size in sizes.items())


def _apart(got: np.ndarray | float, want: np.ndarray | float, size: float) -> float:
    """The largest difference, relative to `size`; nan if one of them is no number."""
    return float(np.max(np.abs(np.subtract(got, want, dtype=np.float64)))) / (size or 1.0)


def _host(array: Array) -> np.ndarray:
    """A copy on the host."""
    return np.array(to_numpy(array))


def _all(arrays: Mapping[str, Array]) -> dict[str, np.ndarray]:
    return {name: _host(array) for name, array in arrays.items()}
