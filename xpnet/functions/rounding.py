"""Numbers of 16 bits (section 8.3.4): what storing them so leaves of numbers of 32 or 64."""

from typing import Literal, NamedTuple, TypeAlias

from xpnet.arguments import check_word
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import floating

Half: TypeAlias = Literal["float16", "bfloat16"]
"""The two formats of 16 bits."""


class Format(NamedTuple):
    """A binary format of floating-point numbers, of IEEE 754's kind."""

    digits: int
    """Binary digits of a number, the leading 1 among them."""
    smallest: int
    """Exponent of the smallest number with all its digits; below it they become fewer."""
    largest: int
    """Exponent of the largest number."""

    @property
    def limit(self) -> float:
        """The number from which on all are rounded to infinity: half a step above the largest."""
        return (2.0 - 2.0**-self.digits) * 2.0**self.largest


FORMATS = {"float16": Format(11, -14, 15), "bfloat16": Format(8, -126, 127)}
"""The formats by name: 1 + 5 + 10 bits for sign, exponent and digits, and 1 + 8 + 7."""

DIGITS = 53
"""Of float64, in which it is computed."""


def rounded(x: Array, to: Half) -> Array:
    """Each number as "float16" or "bfloat16" would keep it, in the dtype of x; others as float64.

    To the nearest number of that format, of two equally near ones to the one whose last digit is 0;
    beyond the largest, 65504 and 3.39e38, to infinity. The array API standard has neither format,
    so it is done by arithmetic. In float64, with t = (2^s + 1) a, t - (t - a) is a rounded to
    53 - s digits. Numbers too small to have them all, a + m - m with m = 1.5 2^52 times the
    smallest step, are rounded to multiples of that step.

    Dekker 1971, "A floating-point technique for extending the available precision", section 5.
    """
    check_word("to", "rounded", to, *FORMATS)
    xp, x, form = array_namespace(x), floating(x), FORMATS[to]
    x = x if hasattr(x, "dtype") else xp.asarray(x, dtype=xp.float64)  # a number of Python
    a = xp.minimum(xp.abs(xp.astype(x, xp.float64)), form.limit)  # t stays finite; NaN stays NaN
    t = (2.0 ** (DIGITS - form.digits) + 1.0) * a
    m = 1.5 * 2.0 ** (DIGITS - 1 + form.smallest - form.digits + 1)
    y = xp.where(a < 2.0**form.smallest, (a + m) - m, t - (t - a))
    y = xp.where(a >= form.limit, xp.inf, y)
    return xp.copysign(xp.astype(y, x.dtype), x)
