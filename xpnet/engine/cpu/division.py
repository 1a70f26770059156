"""The division of a batch among threads, and into parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

IMAGES = 50
"""Samples at most in a part, where there are convolutions: matrices are then small enough for the
fast way of OpenBLAS."""
CACHED = 400_000
"""Numbers that a convolution by transforms reads and puts out in a part that need not meet others:
they stay in a core's own cache. 25 images of ResNet-20 are predicted in 0.86 of the time of 50."""
LEAST = 25
"""Samples that such a part may have in any case: with fewer the calls cost more than that saves."""
NUMBERS = 30_000_000
"""Numbers that the layers of a part may put out: its arrays are to take some 100 MB. Smaller parts
stay in the processor's cache, but their calls, and the meetings of threads, cost more than that
saves: 50 images of ResNet-20 take 0.6 of the time of ten times 5."""
FOR_A_WEIGHT = 5
"""Numbers that they may put out for each weight of the convolutions, if that is more: all weights
are read for each part, and of large networks they are more than the values of a sample."""
ROWS = 1000
"""Samples in a part where there are no convolutions: large matrices make those networks fast."""
FEWEST = 10
"""Samples below which a thread is not worth having: Python's lock costs more than it gains."""
FOR_A_THREAD = 3_000_000
"""Numbers that their layers put out, of which it is worth having however few they are."""

Part = tuple[int, int]
"""First sample, and the one behind the last."""


@dataclass(frozen=True)
class Division:
    """The shares of a batch, one for each thread.

    Attributes
    ----------
    shares : for each thread, the parts that it computes
    blas_threads : threads of each matrix product
    """

    shares: Sequence[Sequence[Part]]
    blas_threads: int


@lru_cache(maxsize=16)
def divided(n: int, limit: int, workers: int, blas_threads: int) -> Division:
    """Equal shares for the workers, cut into parts of at most `limit` samples."""
    shares = _cut(0, n, -(-n // workers))
    return Division([_cut(*share, limit) for share in shares], blas_threads)


def _cut(first: int, end: int, limit: int) -> list[Part]:
    """Parts of at most `limit` samples, as few as possible and of nearly equal sizes."""
    n = end - first
    count = -(-n // limit)
    bounds = [first + n * k // count for k in range(count + 1)]
    return list(pairwise(bounds))
