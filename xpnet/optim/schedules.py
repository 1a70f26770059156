"""Learning-rate schedules: the rate of every step.

A schedule is any function of the number of steps done so far, 0 before the first, that gives the
learning rate of the next; `Trainer(schedule=...)` sets it. All lengths are in steps, that is,
updates: an epoch has as many as the training data have batches. A schedule keeps nothing between
calls, so that a run can be resumed at any step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, inf, isfinite, pi, pow
from typing import TypeAlias

from xpnet.arguments import checked
from xpnet.errors import ArgumentError

Schedule: TypeAlias = Callable[[int], float]


@checked
@dataclass(frozen=True)
class Constant:
    """lr."""

    lr: float

    def __post_init__(self) -> None:
        _check_positive(lr=self.lr)

    def __call__(self, step: int) -> float:
        """The learning rate after `step` steps."""
        return self.lr


@checked
@dataclass(frozen=True)
class StepDecay:
    """lr factor^floor(step / every): less from time to time."""

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check_positive(lr=self.lr, every=self.every, factor=self.factor)

    def __call__(self, step: int) -> float:
        """The learning rate after `step` steps."""
        return self.lr * self.factor ** (step // self.every)


@checked
@dataclass(frozen=True)
class Drop:
    """lr, and lr factor from `steps` steps on: less once, for what is left."""

    lr: float
    steps: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check_positive(lr=self.lr, factor=self.factor)
        if self.steps < 0:
            raise ArgumentError(f"Drop needs steps from 0 on, got {self.steps}")

    def __call__(self, step: int) -> float:
        """The learning rate after `step` steps."""
        return self.lr * (self.factor if step >= self.steps else 1.0)


@checked
@dataclass(frozen=True)
class ExponentialDecay:
    """lr factor^(step / every): the same decay, a little at every step."""

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check_positive(lr=self.lr, every=self.every, factor=self.factor)

    def __call__(self, step: int) -> float:
        """The learning rate after `step` steps."""
        return self.lr * pow(self.factor, step / self.every)


@checked
@dataclass(frozen=True)
class Cosine:
    """last + (lr - last) (1 + cos(pi step / steps)) / 2, and `last` from `steps` on.

    Loshchilov, Hutter 2017, arXiv:1608.03983, eq. 5, without its restarts.
    """

    lr: float
    steps: int
    last: float = 0.0

    def __post_init__(self) -> None:
        _check_positive(lr=self.lr, steps=self.steps)
        if not 0 <= self.last < inf:
            raise ArgumentError(f"the last rate of Cosine must be from 0 on, got {self.last}")

    def __call__(self, step: int) -> float:
        """The learning rate after `step` steps."""
        return _half_wave(self.lr, self.last, step / self.steps)


@checked
@dataclass(frozen=True)
class WarmUp:
    """then(step) min(1, (step + 1) / steps): another schedule, of which little is taken at first.

    `then` counts from the same beginning: warming up replaces its first steps.
    Goyal et al. 2017, arXiv:1706.02677, section 2.2.
    """

    then: Schedule
    steps: int

    def __post_init__(self) -> None:
        _check_positive(steps=self.steps)

    def __call__(self, step: int) -> float:
        """The learning rate after `step` steps."""
        return self.then(step) * min(1.0, (step + 1) / self.steps)


@checked
@dataclass(frozen=True)
class OneCycle:
    """Up from lr / start to lr for a share `rise` of the steps, then down to lr / (start end).

    Each way is half a wave of the cosine: from the first rate to lr for step = 0 ... top, to the
    last one for step = top ... steps - 1, where top = rise steps - 1.

    Smith, Topin 2018, arXiv:1708.07120, who go up and down on straight lines; these waves and
    numbers are PyTorch's. Momentum, which they move the other way, stays as it is.
    """

    lr: float
    steps: int
    rise: float = 0.3
    start: float = 25.0
    end: float = 1e4

    def __post_init__(self) -> None:
        _check_positive(lr=self.lr, start=self.start, end=self.end)
        if not 1 < self.rise * self.steps < self.steps:
            raise ArgumentError(
                "OneCycle must rise for more than one step, and fall for some: "
                f"rise * steps is {self.rise * self.steps:g} of {self.steps}"
            )

    def __call__(self, step: int) -> float:
        """The learning rate after `step` steps."""
        top, first = self.rise * self.steps - 1, self.lr / self.start
        if step < top:
            return _half_wave(first, self.lr, step / top)
        return _half_wave(self.lr, first / self.end, (step - top) / (self.steps - 1 - top))


def _half_wave(first: float, last: float, way: float) -> float:
    """Go from `first` to `last` as the cosine falls from 0 to pi; way is 0 ... 1, and 1 beyond."""
    return last + (first - last) * (1 + cos(pi * min(way, 1.0))) / 2


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (isfinite(number) and number > 0):
            raise ArgumentError(f"a schedule needs a positive {name}, got {number}")
