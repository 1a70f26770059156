"""Checks, before trust, that a GPU's engine computes what the layers say: a step beside NumPy.

Drivers, compilers and GPUs that nobody here has seen meet the kernels on a user's machine. So the
first time an engine meets a network, a few samples are computed by both, and what the kernels give
must be what the layers give on the host.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from xpnet.arrays import Array, get_device, to_numpy
from xpnet.arrays.parameters import FlatParams
from xpnet.arrays.values import scaled
from xpnet.engine.base import CHECKED
from xpnet.engine.cuda.compiled import CompiledNetwork
from xpnet.engine.cuda.training import Training
from xpnet.engine.threads import blas_threads
from xpnet.functions.losses import as_one_hot
from xpnet.layers import Loss, SoftmaxWithLoss
from xpnet.models.network import Network
from xpnet.models.saved import copied
from xpnet.optim import Optimizer
from xpnet.optim.clipping import clip_by_norm

SAMPLES, LEAST = CHECKED, 4
"""Samples of the batch to compare, at most, and at least if it has so many."""

LIMITS = {"float32": 1e-5, "float64": 1e-11, "tf32": 3e-3, "bfloat16": 2.4e-2}
"""Errors of a pass, by the precision of products and relative to the largest number. Two correct
evaluations of a first gradient in float32 are 1e-6 apart and with tf32, whose factors have 10 bits
of fraction, 3e-4; ten times that is allowed. bfloat16 has 7 bits: eight times what tf32 may."""

UPDATE_LIMITS = {"float32": 1e-5, "float64": 1e-11}
"""Errors of an update, relative to the largest change of a parameter; no product is part of it."""

ROUNDING = {"float32": 2.0**-22, "float64": 2.0**-51, "tf32": 2.0**-10, "bfloat16": 2.0**-7}
"""Size, relative to each number, of variations of inputs and parameters, which show how far the
reference depends on rounding: two units of the last digit, or one for factors of few digits."""

VARIATIONS = {"float32": 4, "float64": 2, "tf32": 8, "bfloat16": 8}
"""Number of variations."""

SHARE = {"float32": 4, "float64": 4, "tf32": 2, "bfloat16": 2}
"""Multiple of rounding's effect on the reference that is allowed on top of the limit. Products of
few digits have more variations, which tell it more surely."""

Errors: TypeAlias = dict[str, float]
"""Errors by what was compared; nan if that has numbers that are none."""


class DifferenceError(Exception):
    """The engine does not compute what the layers do; the message says what differs."""


class IncomparableError(Exception):
    """The layers themselves have no numbers to compare with; the message says why."""


Hosted: TypeAlias = Mapping[str, np.ndarray]
"""Outputs of a network on the host by name; "" where there is but one."""


@dataclass(frozen=True)
class Step:
    """The results of the layers, or of the engine, for some samples, on the host."""

    predictions: Hosted
    loss: float | None = None
    scores: Hosted | None = None
    grads: Mapping[str, np.ndarray] | None = None
    state: Sequence[np.ndarray] = ()

    @property
    def is_finite(self) -> bool:
        """True if all of it is numbers."""
        arrays = [*self.predictions.values(), *(self.grads or {}).values(), *self.state]
        return all(np.isfinite(array).all() for array in arrays) and np.isfinite(self.loss or 0.0)

    def errors(self, want: "Step", *, length: bool) -> Errors:
        """Measure how far this is from another, relative to the largest number of each array there.

        Parameters
        ----------
        length : whether gradients are compared by the length of their difference instead, relative
            to theirs. With products of few digits the slopes of some ReLUs differ, which moves
            single numbers much and the whole little.
        """
        found: Errors = {}
        if self.grads is not None and want.grads is not None:
            assert self.scores is not None
            assert want.scores is not None
            # A loss near 0 is a difference of scores that are not.
            largest = max(float(np.max(np.abs(each))) for each in want.scores.values())
            found["loss"] = _apart(self.loss, want.loss, max(abs(want.loss or 0.0), largest))
            found["scores"] = _all_apart(self.scores, want.scores)
            found["gradient"] = _gradients_apart(self.grads, want.grads, length)
            for own, other in zip(self.state, want.state, strict=True):
                found["state"] = max(found.get("state", 0.0), _apart(own, other))
        found["predictions"] = _all_apart(self.predictions, want.predictions)
        return found


class Samples(NamedTuple):
    """The samples of a step on the host: pixels or floats, the same as floats, and targets.

    Targets are an array, or one for each head by its name.
    """

    x: np.ndarray
    floats: np.ndarray
    t: Any

    def part(self, which: slice) -> "Samples":
        """Return some of the samples."""
        return Samples(self.x[which], self.floats[which], _each(lambda t: t[which], self.t))


def _each(what: Callable[[Any], Any], targets: Any) -> Any:
    """The same done to the targets of every head, or to those of all; None stays None."""
    if isinstance(targets, Mapping):
        return {name: what(each) for name, each in targets.items()}
    return None if targets is None else what(targets)


def compare(
    engine: CompiledNetwork,
    x: Array,
    t: Any = None,
    optimizer: Optimizer | None = None,
    clip_norm: float | None = None,
) -> str:
    """The engine beside the layers on the host; what was found, in words.

    With targets, loss, scores, gradient and running statistics of a training pass are compared, and
    in any case the predictions. With an optimizer, two updates on the two halves of the samples are
    compared, too: with those of the optimizer on the host, given the engine's own gradients. (Given
    the reference's, a rule that divides by the gradient's size, as Adam's first step does, would
    make much of a difference in the last digit.) Afterwards the network is as it was.

    What is correct is not the same to the last digit. Where a sum is 0 but for rounding, rounding
    decides the slope of a ReLU or the place of a maximum; where a network is sure of its answer,
    its gradient is what is left of a difference. So the reference is computed again in the
    network's own precision and, varied by as much as rounding does, in float64. What that changes
    is allowed on top of the limit, and of the samples those are taken for which it is small.

    Parameters
    ----------
    x, t : the batch, of which at most `SAMPLES` are taken: pixels or floats, labels or rows
    optimizer : one that whole steps can be compiled for, and that is left as it is
    clip_norm : as in `Training`

    Raises
    ------
    IncomparableError
        The layers cannot compute it on the host, or have numbers that are not finite.
    DifferenceError
        They differ.
    Exception
        Whatever the engine raised.
    """
    network, n = engine.network, min(SAMPLES, x.shape[0])
    pixels = np.ascontiguousarray(to_numpy(x[:n]))
    floats = scaled(pixels, np.dtype(network.dtype)).reshape(n, *network.input_shape)
    targets = _each(lambda each: np.ascontiguousarray(to_numpy(each[:n])), t)
    with _nothing_said():
        samples, want, doubts = _settled(engine, Samples(pixels, floats, targets))
    precision = engine.precision
    errors = _of_engine(engine, samples).errors(want, length=precision != network.dtype)
    limit, share = LIMITS[precision], SHARE[precision]
    found = {what: (error, limit + share * doubts[what]) for what, error in errors.items()}
    if optimizer is not None and targets is not None and not isinstance(targets, Mapping):
        with _nothing_said():
            found |= _updates(engine, samples, optimizer, clip_norm)
    what = max(found, key=lambda what: _share(found[what]))
    error, most = found[what]
    if not error <= most:
        raise DifferenceError(
            f"{what}: {error:.1e} from the reference, relative to the largest number, where "
            f"{most:.1e} is allowed ({len(samples.x)} samples, {precision})"
        )
    told = ", ".join(f"{what} {error:.0e}" for what, (error, _) in found.items())
    return f"passed on {len(samples.x)} samples; relative errors: {told}"


def _settled(engine: CompiledNetwork, samples: Samples) -> tuple[Samples, Step, Errors]:
    """All samples or the half of them for which rounding matters least, by the reference alone.

    With what the reference makes of them, and what rounding does to that. With products of few
    digits it always matters, and no half is better than all.
    """
    network, precision, n = engine.network, engine.precision, len(samples.x)
    limit, length, tried = LIMITS[precision], precision != network.dtype, []
    parts = [slice(0, n)]
    if n >= 2 * LEAST and precision == network.dtype:
        parts += [slice(0, n // 2), slice(n // 2, n)]
    try:
        twin, own = (copied(network, device="cpu", dtype=d) for d in ("float64", network.dtype))
        for which in parts:
            part = samples.part(which)
            want = _reference(twin, part)
            doubts = _reference(own, part).errors(want, length=length)
            for varied in _varied(twin, part, precision):
                for what, error in varied.errors(want, length=length).items():
                    doubts[what] = max(doubts[what], error)
            if not want.is_finite or not np.isfinite(list(doubts.values())).all():
                raise IncomparableError("the layers' own numbers are not finite")
            tried.append((part, want, doubts))
            if doubts.get("gradient", 0.0) <= limit:
                return tried[-1]
    except Exception as error:
        if isinstance(error, IncomparableError):
            raise
        text = f"{type(error).__name__}: {error}"
        raise IncomparableError(f"the layers cannot compute it on the host ({text})") from error
    return min(tried, key=lambda entry: entry[2]["gradient"])


Off: TypeAlias = Callable[[tuple[int, ...]], np.ndarray]
"""Gives factors near 0 in a shape: what rounding may do to numbers, relative to them."""


def _reference(twin: Network, samples: Samples, off: Off | None = None) -> Step:
    """A training step of the layers; the twin's state is put back.

    Parameters
    ----------
    off : what inputs and the gradient of the loss are off by. For all losses that have a kernel,
        that gradient is a difference, (p - t) / N, which keeps the errors of p and t though it may
        be much smaller than both.
    """
    x = twin.place(samples.floats if off is None else _moved(samples.floats, off))
    predictions, n = _hosted(twin.predict(x)), x.shape[0]
    if samples.t is None:
        return Step(predictions)
    kept = twin.copied_state()
    scores, backward = twin.forward(x, train=True)
    loss, loss_backward = twin.last_layer.forward(scores, samples.t)
    dz = loss_backward()
    if off is not None:
        dz = _moved_slope(twin.last_layer, dz, scores, samples.t, n, off)
    _, grads = backward(dz, need_dx=False)
    loss, grads = twin.penalized(loss, grads)
    state = list(_all(twin.state).values())
    twin.restore_state(kept)
    return Step(predictions, float(loss), _hosted(scores), _all(grads), state)


def _moved_slope(loss: Any, dz: Any, scores: Any, targets: Any, n: int, off: Off) -> Any:
    """The gradient of a loss of n samples, off by what rounding does to p and t; of heads by name.

    That of a head is the difference times a weight.
    """

    def moved(loss: Loss, dz: Array, scores: Array, t: Array, weight: float) -> Array:
        if isinstance(loss, SoftmaxWithLoss):
            q, share, counted = loss.weighed(t, scores)
            p = loss.probabilities(scores) * (1.0 if share is None else share)
            size = (p + q) / (counted or 1.0)
        else:
            t = as_one_hot(t, scores)
            size = (np.abs(n * dz / (weight or 1.0) + t) + np.abs(t)) / n
        return dz + weight * size * off(dz.shape)

    if not isinstance(dz, Mapping):
        return moved(loss, dz, scores, targets, 1.0)
    return {
        name: moved(
            loss.losses[name],
            dz[name],
            scores[name],
            targets[name] if isinstance(targets, Mapping) else targets,
            loss.weights[name],
        )
        for name in dz
    }


def _varied(twin: Network, samples: Samples, precision: str) -> Iterator[Step]:
    """Reference steps with numbers that are off by as much as rounding does."""
    rng, flat, rounding = np.random.default_rng(0), twin.params.flat, ROUNDING[precision]
    kept = flat.copy()

    def off(shape: tuple[int, ...]) -> np.ndarray:
        return rounding * (2 * rng.random(shape, dtype=np.float32) - 1.0)

    for _ in range(VARIATIONS[precision]):
        flat[...] = _moved(kept, off)
        yield _reference(twin, samples, off)
    flat[...] = kept


def _moved(array: np.ndarray, off: Off) -> np.ndarray:
    moved: np.ndarray = array * (1 + off(array.shape))
    return moved


def _of_engine(engine: CompiledNetwork, samples: Samples) -> Step:
    """The engine's pass over the samples; the network is put back."""
    network = engine.network
    x = network.place(samples.floats)
    with _undone(network):
        predictions = _hosted(engine.predict(x))
        if samples.t is None:
            return Step(predictions)
        t = _each(network.device.asarray, samples.t)
        loss, scores, grads = engine.loss_and_gradient(x, t)
        state = list(_all(network.state).values())
        return Step(predictions, float(loss), _hosted(scores), _all(grads), state)


def _updates(
    engine: CompiledNetwork, samples: Samples, optimizer: Optimizer, clip_norm: float | None
) -> dict[str, tuple[float, float]]:
    """Errors of parameters after updates, and of the losses before them, with what is allowed.

    There are two updates, by the samples' halves and with rates of their own, so that what one
    leaves to the next is seen, too; one if there is but one sample.
    """
    network, n = engine.network, len(samples.x)
    device, size = network.device, max(1, n // 2)
    steps = n // size
    rates = [optimizer.lr / (1 + step) for step in range(steps)]
    found: dict[str, tuple[float, float]] = {}
    with _undone(network) as before:
        training = Training(
            engine,
            network.shaped(device.asarray(samples.x[: steps * size])),
            device.asarray(np.asarray(samples.t)[: steps * size]),
            size,
            optimizer.fresh(),
            clip_norm=clip_norm,
        )
        training.begin(np.arange(steps * size), rates)
        rule, params = optimizer.fresh(), network.params.like(get_device("cpu"))
        for step, rate in enumerate(rates):
            part = samples.part(slice(step * size, (step + 1) * size))
            with _undone(network):
                loss, _, _ = engine.loss_and_gradient(
                    network.place(part.floats), device.asarray(part.t)
                )
                gradient, own_loss = _host(engine.grads.flat), float(loss)
            training.advance(1)
            after = _host(network.params.flat)
            rule.lr = rate
            want = _updated(params, before, gradient, rule, clip_norm)
            changed = float(np.max(np.abs(want - before)))
            # What is added to a large parameter loses the digits that do not fit it.
            lost = 2 * np.finfo(want.dtype).eps * float(np.max(np.abs(before))) / (changed or 1.0)
            limit = UPDATE_LIMITS[network.dtype]
            for what, error, most in (
                ("parameters after updates", _apart(after, want, changed), limit + float(lost)),
                ("losses of steps", _apart(_host(training.losses)[step], own_loss), limit),
            ):
                found[what] = max(found.get(what, (0.0, most)), (error, most), key=_share)
            before = after
    return found


def _share(entry: tuple[float, float]) -> float:
    """An error's share of its limit; what is no number is beyond all others."""
    error, most = entry
    return np.inf if np.isnan(error) else error / most


def _updated(
    params: FlatParams,
    before: np.ndarray,
    gradient: np.ndarray,
    optimizer: Optimizer,
    clip_norm: float | None,
) -> np.ndarray:
    """All parameters after the optimizer's next update on the host, in the network's dtype."""
    params.flat[...] = before
    grads = params.like()
    grads.flat[...] = gradient
    followed = grads if clip_norm is None else clip_by_norm(grads, clip_norm)
    optimizer.update(params, followed)
    return _host(params.flat)


@contextmanager
def _nothing_said() -> Iterator[None]:
    """The host's share of the work, whose overflows are looked at afterwards.

    One thread, since products of so few samples are not worth two.
    """
    with blas_threads(1), np.errstate(all="ignore"):
        yield


@contextmanager
def _undone(network: Network) -> Iterator[np.ndarray]:
    """Parameters and state are afterwards as they were, whatever happens; gives the former."""
    flat, state = _host(network.params.flat), _all(network.state)
    try:
        yield flat
    finally:
        network.params.flat[...] = network.device.asarray(flat)
        network.restore_state({name: network.device.asarray(a) for name, a in state.items()})


def _gradients_apart(
    got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray], length: bool
) -> float:
    """The largest error of an array, relative to its largest number, or to its length.

    But to no less than a tenth of the largest of all: some gradients are 0 but for rounding, as
    that of a bias before BatchNorm.
    """
    if not want:  # nothing learns
        return 0.0
    size = np.linalg.norm if length else lambda array: np.max(np.abs(array))
    sizes = {name: float(size(array.ravel())) for name, array in want.items()}
    least = 0.1 * max(sizes.values())
    errors = {name: float(size((got[name] - array).ravel())) for name, array in want.items()}
    return max(errors[name] / (max(least, sizes[name]) or 1.0) for name in want)


def _all_apart(got: Hosted, want: Hosted) -> float:
    """The largest error of an output."""
    return max(_apart(got[name], each) for name, each in want.items())


def _apart(got: Array, want: Array, size: float | None = None) -> float:
    """The largest difference, relative to `size` or the largest number; nan if one is none."""
    size = float(np.max(np.abs(want), initial=0.0)) if size is None else size
    return float(np.max(np.abs(np.subtract(got, want, dtype=np.float64)), initial=0.0)) / (
        size or 1.0
    )


def _host(array: Array) -> np.ndarray:
    """A copy on the host."""
    return np.array(to_numpy(array))


def _hosted(outputs: Any) -> dict[str, np.ndarray]:
    """Copies of outputs on the host."""
    return _all(outputs if isinstance(outputs, Mapping) else {"": outputs})


def _all(arrays: Mapping[str, Array]) -> dict[str, np.ndarray]:
    return {name: _host(array) for name, array in arrays.items()}
