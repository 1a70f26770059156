"""Batches of a data set, on the device that computes."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import prod
from typing import Any, Literal

import numpy as np

from xpnet.arguments import checked, whole
from xpnet.arrays import Array, Device, get_device
from xpnet.arrays.values import as_array, in_parts, kind_of_numbers, scaled
from xpnet.errors import ArgumentError
from xpnet.functions.targets import (
    TargetKind,
    as_labels,
    by_head,
    check_fit,
    check_labels,
    check_pairs,
    kind_of,
    values_of,
)
from xpnet.layers.base import Shapes

Batch = tuple[Array, Any]
Augment = Callable[[Array, Array], Array]
"""Inputs of a training step and the number of the step, (1,) int64, to inputs."""


class Batches:
    """Inputs and targets of a data set in batches, shuffled anew each epoch.

    The order of an epoch depends on `seed` and the number of the epoch alone: it is drawn on the
    host, so that every device sees the same batches, and any epoch can be repeated by itself.

    Images stay uint8 in memory. A batch of them is gathered and then scaled to floats in 0..1 by
    dividing by 255; all other numbers are taken as they are, also whole ones. The last batch of an
    epoch holds what is left over and may be smaller; the loss is a mean over its own samples.

    Parameters
    ----------
    x : (N, ...) NumPy array, uint8 pixels or other numbers; a list or table will do; any array-like
        with slicing and indexing by an integer array when streamed, such as `numpy.memmap`
    t : (N,) integer labels or (N, K) targets, alike, or maps of labels, (N, H, W); or such by the
        names of heads
    batch_size : samples in a batch, all if there are fewer
    device : "cpu", "cuda", "cuda:N", "auto", or a Device
    seed : of the shuffles
    dtype : of the inputs handed out
    sampling : "shuffle" uses every sample once an epoch; "choice" draws each batch independently
        with replacement, as the book does
    resident : True keeps the whole set on the device, False copies each batch there while the one
        before is computed on; None decides by the device's free memory
    augment : what changes the inputs of every training batch, such as an `Augmentation`; batches in
        order, for evaluation, stay as they are
    ignore : a label below 0 that the loss will leave out, which is then no error; by name, too

    Attributes
    ----------
    x, t : the data, on the device if they are resident
    kind : what the numbers of x are, as `kind_of_numbers` tells
    target_kind : what the targets are, as `kind_of` tells, by name if they are given so
    classes : that labels need, the highest and 1, or 0 if the targets are no labels; by name, too

    Raises
    ------
    ArgumentError
        There are no samples, lengths differ, labels are negative, or something is no number.
    """

    @checked
    def __init__(
        self,
        x: Any,
        t: Any,
        batch_size: int,
        *,
        device: str | Device = "cpu",
        seed: int = 0,
        dtype: str = "float32",
        sampling: Literal["shuffle", "choice"] = "shuffle",
        resident: bool | None = None,
        augment: Augment | None = None,
        ignore: int | Mapping[str, int | None] | None = None,
    ) -> None:
        self.device = get_device(device)
        sliced = hasattr(x, "shape") and hasattr(x, "dtype") and not hasattr(x, "to_numpy")
        if resident is not False or not sliced or isinstance(x, np.ndarray):
            x = as_array(x, "inputs")
        t = by_head(partial(as_array, what="targets"), t)
        _check_several(x, *values_of(t))
        self.n_samples = len(x)
        self.kind = kind_of_numbers(as_array(x[:0]))  # what is streamed may know nothing but slices
        self.seed, self.dtype, self.sampling, self.augment = seed, dtype, sampling, augment
        for each in values_of(t):
            check_pairs(len(x), len(each))
        if batch_size < 1:
            raise ArgumentError(f"the batch size must be from 1 on, got {batch_size}")
        if not len(x):
            raise ArgumentError("at least one sample is needed, got none")
        self.batch_size = min(int(batch_size), len(x))
        self.device.check_floats(dtype)
        self._look_at(t, dict.fromkeys(t, ()) if isinstance(t, Mapping) else {"": ()}, ignore)
        # Half the free memory leaves room for a large batch's activations.
        size = prod(x.shape) * x.dtype.itemsize
        fits = self.device.is_host or size <= self.device.free_bytes() // 2
        self.resident = fits if resident is None else resident
        self.x: Any = x
        self.t: Any = t
        if self.resident:
            with self.device.guarded():
                self.x, self.t = self.device.asarray(x), by_head(self.device.asarray, t)
                if self.kind not in ("floats", "pixels"):  # once, not in every epoch
                    self.x = self._scaled(self.x)

    def meet(self, outputs: Shapes, ignore: Any = None) -> None:
        """Have the targets be those of a network: labels that stand one a row become (N,).

        Parameters
        ----------
        outputs : the shape of a sample's output, by name if there are several heads
        ignore : the label that the loss leaves out, or None; by name, too

        Raises
        ------
        ArgumentError
            A label has no output, or the targets have other names than the heads.
        """
        n, shapes = self.n_samples, outputs if isinstance(outputs, dict) else {"": outputs}
        of_all = {name: (n, *shape) for name, shape in shapes.items()}
        if not isinstance(self.t, Mapping):
            for shape in of_all.values():
                self.t = as_labels(self.t, shape)
        elif isinstance(outputs, dict) and self.t.keys() == outputs.keys():
            self.t = {name: as_labels(self.t[name], shape) for name, shape in of_all.items()}
        else:
            heads = f"the heads {', '.join(outputs)}" if isinstance(outputs, dict) else "one output"
            raise ArgumentError(
                f"the network has {heads}, and there are targets for {', '.join(self.t)}; give "
                "each head its own, or one array for all"
            )
        self._look_at(self.t, of_all, ignore)

    def _look_at(self, t: Any, outputs: Mapping[str, tuple[int, ...]], ignore: Any) -> None:
        """Find out what targets are, for outputs of these shapes; () where they are not known."""
        classes: dict[str, int] = {}
        kinds: dict[str, TargetKind] = {}
        for name, shape in outputs.items():
            each = t[name] if isinstance(t, Mapping) else t
            left_out = ignore
            if isinstance(ignore, Mapping):  # "" stands for all heads, which then leave out alike
                left_out = ignore.get(name) if name else next(iter(ignore.values()))
            look = check_fit if shape else check_labels
            classes[name], kinds[name] = look(each, shape, left_out), kind_of(each, shape)
        several = isinstance(t, Mapping)
        self.classes: Any = classes if several else next(iter(classes.values()))
        self.target_kind: Any = kinds if several else next(iter(kinds.values()))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.n_samples // self.batch_size)

    def __repr__(self) -> str:
        what = f"{self.n_samples} samples, targets {self.target_kind}, batches of {self.batch_size}"
        return f"Batches({what}, {self.sampling}, seed {self.seed}, on {self.device.name})"

    def state(self) -> dict[str, Array]:
        """Return nothing: any epoch can be repeated by itself."""
        return {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Nothing: see `state`."""

    def order(self, epoch: int) -> np.ndarray:
        """Sample numbers of an epoch in the order they are handed out, (N,) int64."""
        if not whole(epoch) or epoch < 0:
            raise ArgumentError(f"epochs are numbered from 0 on, got {epoch!r}")
        rng = np.random.default_rng([self.seed, epoch])
        if self.sampling == "choice":
            return rng.integers(self.n_samples, size=self.n_samples)
        return rng.permutation(self.n_samples)

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` from number `first` on, on the device.

        Augmentation counts steps over all epochs, from the first of epoch 0.
        """
        batches, augment = self._shuffled(number, first), self.augment
        if augment is None:
            return batches
        first, last = number * len(self) + first, (number + 1) * len(self)
        xp = self.device.xp
        steps = xp.arange(first, last, dtype=xp.int64, device=self.device.native)
        return ((augment(x, steps[i : i + 1]), t) for i, (x, t) in enumerate(batches))

    def _shuffled(self, number: int, first: int) -> Iterator[Batch]:
        order = self.order(number)[first * self.batch_size :]
        if not self.resident:
            yield from self._streamed(order[p] for p in in_parts(len(order), self.batch_size))
            return
        xp, n, order = self.device.xp, len(order), self.device.asarray(order)
        named = isinstance(self.t, Mapping)
        for part in in_parts(n, self.batch_size):
            chosen = order[part]
            if named:
                t = {name: xp.take(each, chosen, axis=0) for name, each in self.t.items()}
            else:
                t = xp.take(self.t, chosen, axis=0)
            yield self._scaled(xp.take(self.x, chosen, axis=0)), t

    def in_order(self, batch_size: int, *, limit: int | None = None) -> Iterator[Batch]:
        """The first `limit` samples (all if None) as they come, for evaluation."""
        if batch_size < 1 or (limit is not None and limit < 1):
            raise ArgumentError(
                f"batches and what they are limited to have a sample at least, got {batch_size} "
                f"and {limit}"
            )
        parts = in_parts(min(limit or self.n_samples, self.n_samples), batch_size)
        if not self.resident:
            yield from self._streamed(parts)
            return
        for part in parts:
            t = by_head(lambda each, part=part: each[part, ...], self.t)
            yield self._scaled(self.x[part, ...]), t

    def first(self, count: int) -> Batch:
        """The first samples and targets, at most so many, as they lie: not scaled, nor moved."""
        count = min(count, self.n_samples)
        if not self.resident:  # what is streamed may know nothing but slices
            return self.x[:count], by_head(lambda each: each[:count], self.t)
        return self.x[:count, ...], by_head(lambda each: each[:count, ...], self.t)

    def _streamed(self, parts: Iterator[np.ndarray | slice]) -> Iterator[Batch]:
        names = list(self.t) if isinstance(self.t, Mapping) else None
        batches = ((self.x[p], *(each[p] for each in values_of(self.t))) for p in parts)
        for x, *t in self.device.stream(batches):
            yield self._scaled(x), t[0] if names is None else dict(zip(names, t, strict=True))

    def _scaled(self, x: Array) -> Array:
        return scaled(x, self.device.dtype(self.dtype))


def _check_several(*arrays: Any) -> None:
    if not all(array.shape for array in arrays):
        raise ArgumentError("samples (N, ...) and targets (N, ...) are needed, got a number")


@checked
def shuffle_dataset(
    x: Any, t: Any, rng: np.random.Generator | int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Samples and targets in a new order, the same for both (section 6.5.2).

    Parameters
    ----------
    x : (N, ...), such as (N, 784) or (N, 1, 28, 28); not altered
    t : (N,) labels or (N, K) targets; not altered
    rng : NumPy generator or seed

    Raises
    ------
    ArgumentError
        Lengths differ.
    """
    x, t = as_array(x), as_array(t)
    _check_several(x, t)
    check_pairs(len(x), len(t))
    order = np.random.default_rng(rng).permutation(len(x))
    return x[order], t[order]


@checked
def hold_out(
    x: Any, t: Any, count: int
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Samples to train on, and the last `count` of them, kept aside to validate with.

    In the order they come: of MNIST's 60,000, Nielsen's Neural Networks and Deep Learning trains on
    the first 50,000 and chooses epochs, rates and sizes by the last 10,000.

    Parameters
    ----------
    x : (N, ...); not copied
    t : (N,) labels or (N, K) targets; not copied

    Raises
    ------
    ArgumentError
        Lengths differ, or either part would be empty.
    """
    x, t = as_array(x), as_array(t)
    _check_several(x, t)
    check_pairs(len(x), len(t))
    if not 1 <= count < len(x):
        raise ArgumentError(
            f"of {len(x)} samples 1 to {len(x) - 1} can be kept aside, got {count}; "
            "leave at least one to train on"
        )
    return (x[:-count], t[:-count]), (x[-count:], t[-count:])
