"""Random numbers that are the same on every device.

A counter-based generator has no hidden state: its output is a function of a key and a counter, so
that a mask can be drawn anywhere, in any order, and again after a restart.
"""

from math import pi

from xpnet.arrays.device import Device
from xpnet.arrays.namespace import Array

WORD = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

Words = tuple[Array, Array, Array, Array]


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Compute Philox4x32-10: four 32-bit words from a counter of four words and a key of two.

    Words are kept in int64, which every array library can shift and add; products wrap around, and
    their low 64 bits are right all the same.

    References
    ----------
    Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & WORD) ^ c1 ^ k0,
            p1 & WORD,
            ((p0 >> 32) & WORD) ^ c3 ^ k1,
            p0 & WORD,
        )
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1, c2, c3


def random_words(n: int, *, key: tuple[int, int], step: Array, device: Device) -> Array:
    """Draw n random 32-bit words, int64: those of step number `step` of the sequence of `key`.

    Parameters
    ----------
    step : int64, shape (1,), on the device, so that nothing is read back to the host; with several
        steps, (..., 1), each has n words of its own, (..., n)
    """
    xp = device.xp
    blocks = xp.arange(-(-n // 4), dtype=xp.int64, device=device.native)
    zero = blocks * 0
    words = philox((blocks, zero, zero + (step & WORD), zero + ((step >> 32) & WORD)), key)
    return xp.reshape(xp.stack(words, axis=-1), (*step.shape[:-1], 4 * blocks.shape[0]))[..., :n]


AHEAD = 64
"""Steps that `StepWords` draws for at once: one call takes about as long for all as for one."""


class StepWords:
    """Words of `random_words` for one step after the other; they are drawn for many at once.

    Parameters
    ----------
    n : of a step
    key : as in `random_words`
    device : where they are
    """

    def __init__(self, n: int, *, key: tuple[int, int], device: Device) -> None:
        self._n, self._key, self._device = n, key, device
        self._block, self._rows = -1, device.zeros((0, n), dtype="int64")

    def __repr__(self) -> str:
        return f"StepWords({self._n}, key={self._key})"

    def of(self, step: int) -> Array:
        """The n words of a step."""
        block, row = divmod(step, AHEAD)
        if block != self._block:
            xp, device = self._device.xp, self._device
            steps = xp.arange(AHEAD, dtype=xp.int64, device=device.native) + block * AHEAD
            steps = xp.reshape(steps, (-1, 1))
            self._rows = random_words(self._n, key=self._key, step=steps, device=device)
            self._block = block
        return self._rows[row, ...]


def pick(words: Array, n: int) -> Array:
    """Choose one of the numbers 0 to n - 1 by each word: (word n) >> 32, exact for n < 2^31."""
    return (words * n) >> 32


def uniform(n: int, *, key: tuple[int, int], step: Array, device: Device) -> Array:
    """Draw n random float32 numbers of [0, 1), made from the words of `random_words`.

        u = floor(word / 2^8) / 2^24

    Nothing is rounded: a float32 holds 24 bits. So they too are the same on every device.
    """
    words = random_words(n, key=key, step=step, device=device)
    return device.xp.astype(words >> 8, device.xp.float32) * 2.0**-24


def normal(n: int, *, key: tuple[int, int], step: Array, device: Device) -> Array:
    """Draw n random float64 numbers of the normal distribution N(0, 1), made of `random_words`.

        u = (floor(w_2j / 2^8) + 1) / 2^24,   v = floor(w_2j+1 / 2^8) / 2^24
        sqrt(-2 ln u) cos(2 pi v), sqrt(-2 ln u) sin(2 pi v)

    They are the same on every device up to the rounding of its logarithm, sine and cosine. Box,
    Muller 1958, "A note on the generation of random normal deviates".
    """
    xp = device.xp
    words = random_words(n + n % 2, key=key, step=step, device=device)
    pairs = xp.astype(xp.reshape(words >> 8, (-1, 2)), xp.float64) * 2.0**-24
    size, angle = xp.sqrt(-2.0 * xp.log(pairs[:, 0] + 2.0**-24)), pairs[:, 1] * (2.0 * pi)
    found = xp.stack([size * xp.cos(angle), size * xp.sin(angle)], axis=-1)
    return xp.reshape(found, (-1,))[:n]
