"""Statistics of several timings of one thing."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Record = dict[str, Any]
"""A record, as JSON has it."""


def spread(values: Sequence[float]) -> dict[str, float]:
    """Find the median, the smallest and the largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def best_other(contestants: Mapping[str, Record]) -> str | None:
    """Find whose median time is the smallest of those that are not xpnet's, None if there is none.

    Parameters
    ----------
    contestants : by name, as a case's record has them
    """
    others = [name for name in contestants if not is_own(name)]
    return min(others, key=lambda name: contestants[name]["milliseconds"]["median"], default=None)


def is_own(name: str) -> bool:
    """Tell if a contestant is one of xpnet's, by its name."""
    return name.split()[0] == "xpnet"


def ratios(times: Mapping[str, Sequence[float]], one: str = "xpnet") -> dict[str, dict[str, float]]:
    """Find the spread of `one`'s time by each other's, round by round.

    Times of a round are neighbours: they share the machine's mood, which their ratio loses. Where
    `one` has no times there are no ratios.
    """
    if one not in times:
        return {}
    return {
        f"{one} / {other}": spread([a / b for a, b in zip(times[one], values, strict=True)])
        for other, values in times.items()
        if other != one
    }
