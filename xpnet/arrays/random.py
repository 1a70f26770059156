"""Random numbers that are the same on every device.

A counter-based generator has no hidden state: its output is a function of a key and a counter, so
that a mask can be drawn anywhere, in any order, and again after a restart.
"""

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
    step : int64, shape (1,), on the device, so that nothing is read back to the host
    """
    xp = device.xp
    blocks = xp.arange(-(-n // 4), dtype=xp.int64, device=device.native)
    zero = blocks * 0
    words = philox((blocks, zero, zero + (step & WORD), zero + ((step >> 32) & WORD)), key)
    return xp.reshape(xp.stack(words, axis=-1), (-1,))[:n]


def uniform(n: int, *, key: tuple[int, int], step: Array, device: Device) -> Array:
    """Draw n random float32 numbers of [0, 1), made from the words of `random_words`.

        u = floor(word / 2^8) / 2^24

    Nothing is rounded: a float32 holds 24 bits. So they too are the same on every device.
    """
    words = random_words(n, key=key, step=step, device=device)
    return device.xp.astype(words >> 8, device.xp.float32) * 2.0**-24
