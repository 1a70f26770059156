"""The choice between a rule as it is written and the loop that does the same."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from xpnet.arrays import Array
from xpnet.compiled import usable

Step = TypeVar("Step", bound=Callable[..., None])


def has_loop(name: str, numbers: Callable[[Any], tuple[float, ...]]) -> Callable[[Step], Step]:
    """Tell of a rule's `step` that a loop of `loops` does the same; one that overrides it has none.

    Parameters
    ----------
    name : of the loop, which takes p, g, the state, these numbers, and what `factors` gives
    numbers : gives the rule's own, in double precision as `step` would make them
    """

    def tell(step: Step) -> Step:
        step.loop = name, numbers  # type: ignore[attr-defined]
        return step

    return tell


def in_one_pass(
    rule: Any, arrays: Sequence[Array], factors: Sequence[Array]
) -> tuple[Callable[..., None], tuple[Any, ...]] | None:
    """The loop that does what `rule.step(*arrays, *factors)` does, and what it takes for factors.

    None where there is no such loop: numba is missing, the arrays are not NumPy's or not of one
    dtype, the rule is one of your own, or a number of it has a dtype. NumPy would compute with more
    digits then.
    """
    p = arrays[0]
    if type(p) is not np.ndarray or p.dtype.char not in "fd" or not usable():
        return None
    told = getattr(rule.step, "loop", None)
    if told is None or any(array.dtype != p.dtype for array in arrays):
        return None
    from xpnet.optim import loops  # not before the first update: it takes a moment

    name, numbers_of = told
    numbers = numbers_of(rule)
    if any(type(number) not in (float, int) for number in numbers):
        return None
    kind = p.dtype.type
    all_numbers = (*numbers, *(factor.item() for factor in factors))
    return getattr(loops, name), tuple(map(kind, all_numbers))
