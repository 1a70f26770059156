"""The output of a transposed convolution in blocks, all pixels of which see the same input."""

from collections.abc import Sequence
from typing import NamedTuple

from xpnet.layers import TransposedConvolution


class Blocks(NamedTuple):
    """The blocks of s rows, or columns, that an output is divided into, s being the stride.

    Block r is where the window begins that pixel r of the input adds, before anything is cut off.
    So it sees that pixel, and those before it whose windows reach as far.

    Attributes
    ----------
    taps : pixels that a block sees
    blocks : how many there are of which anything is left
    step : s
    skipped : rows of the first block that are cut off
    before, behind : pixels beyond the input that blocks see
    first : the first pixel that the first block sees, counted from the first one before the input
    """

    taps: int
    blocks: int
    step: int
    skipped: int
    before: int
    behind: int
    first: int

    @staticmethod
    def along(size: int, width: int, step: int, cut: int, out: int) -> "Blocks":
        """Divide `out` pixels, before which `cut` are cut off; `width` is the window's."""
        taps, (first, skipped) = -(-width // step), divmod(cut, step)
        last = (cut + out - 1) // step
        before = max(0, taps - 1 - first)
        behind = max(0, last - size + 1)
        start = first - taps + 1 + before
        return Blocks(taps, last - first + 1, step, skipped, before, behind, start)


def blocks_of(
    layer: TransposedConvolution, size: Sequence[int], out: Sequence[int]
) -> tuple[Blocks, Blocks]:
    """The blocks down and across, for images of these sizes, in and out."""
    (down, across), (top, left, _, _) = layer.strides, layer.pads
    _, _, FH, FW = layer.params["W"].shape
    return (
        Blocks.along(size[0], FH, down, top, out[0]),
        Blocks.along(size[1], FW, across, left, out[1]),
    )
