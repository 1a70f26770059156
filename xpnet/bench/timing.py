"""Seconds of steps by the host's clock, until all of them are done."""

import time

from xpnet.bench.cases import Ready


def warm_up(ready: Ready, seconds: float) -> int:
    """Find how many calls of `step` take about so many seconds, at least one.

    Twice as many are tried each time, until it can be told.
    """
    seconds_of(ready, 1)  # may plan, compile or allocate
    calls, spent = 1, seconds_of(ready, 1)
    while spent < seconds / 5:
        calls *= 2
        spent = seconds_of(ready, calls)
    return max(1, round(seconds / spent * calls))


def seconds_of(ready: Ready, calls: int) -> float:
    """Time so many calls of `step`, in seconds."""
    begin = time.perf_counter()
    for _ in range(calls):
        ready.step()
    ready.finish()
    return time.perf_counter() - begin
