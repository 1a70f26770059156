"""The choice between a rule as it is written and the loop that does the same."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np

from xpnet.arrays import Array
from xpnet.compiled import usable

LEAST = {"f": 1e-31, "d": 1e-290}
"""What is smaller counts as 0 in the loops where it fades, by the dtype; see `loops`."""

Step = TypeVar("Step", bound=Callable[..., None])


def has_loop(
    name: str, numbers: Callable[[Any, float], tuple[float, ...]]
) -> Callable[[Step], Step]:
    """Tell of a rule's `step` that a loop of `loops` does the same; one that overrides it has none.

    Parameters
    ----------
    name : of the loop, which takes p, g, the state, these numbers, and what `factors` gives
    numbers : gives the rule's own, in double precision as `step` would make them, and maybe the
        number from `LEAST`
    """

    def tell(step: Step) -> Step:
        step.loop = name, numbers  # type: ignore[attr-defined]
        return step

    return tell


def in_one_pass(
    rule: Any, arrays: Sequence[Array], factors: Sequence[Array]
) -> tuple[Callable[..., None], list[Any]] | None:
    """The loop that does what `rule.step(*arrays, *factors)` does, and what it takes for factors.

    None where there is no such loop: numba is missing, the arrays are not NumPy's or not of one
    dtype, the rule is one of your own, or a number of it has a dtype. NumPy would compute with more
    digits then.
    """
    dtype = arrays[0].dtype
    if type(arrays[0]) is not np.ndarray or dtype.char not in "fd" or not usable():
        return None
    told = getattr(rule.step, "loop", None)
    if told is None:
        return None
    for array in arrays:  # as all here, without what a small step would notice
        if array.dtype != dtype:
            return None
    name, numbers_of = told
    numbers, kind = numbers_of(rule, LEAST[dtype.char]), dtype.type
    for number in numbers:
        if type(number) is not float and type(number) is not int:
            return None
    return _loop(name), [kind(n) for n in numbers] + [kind(factor.item()) for factor in factors]


@cache
def _loop(name: str) -> Callable[..., None]:
    """A loop; the compiler is imported with the first, at the first update."""
    from xpnet.optim import loops

    found: Callable[..., None] = getattr(loops, name)
    return found
