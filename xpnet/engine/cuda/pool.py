"""Pooling, and its undoing."""

from typing import Any

from xpnet.engine.cuda.chain import chained
from xpnet.engine.cuda.driver import Grid
from xpnet.engine.cuda.function import POINTWISE, Parameter, Parameters
from xpnet.engine.cuda.kernel import EachNumber, EachNumberAndSums, does
from xpnet.layers import AveragePool, GlobalAveragePool, MaxPool, Shape, Subsampling, Unpooled

PLACES = "places"
"""Name of what a pool keeps for an unpooling: where in its plane each maximum is."""


def window_of(layer: Any, into: Shape, out: Shape) -> str:
    """A window over images as a type of C++."""
    sizes = (*into[1:], *layer.window, *layer.strides, *layer.pads[:2], *out[1:])
    return f"Pooling<{', '.join(map(str, sizes))}>"


@does(AveragePool, patterns=chained(AveragePool))
class AveragePoolKernel(EachNumber):
    """Means of windows."""

    @property
    def window(self) -> str:
        """The window as a type of C++."""
        return window_of(self.layer, self.input_shape, self.output_shape)

    @property
    def begins(self) -> tuple[str, str]:
        """The calls in C++, for this window."""
        return f"average_pool_forward<{self.window}>(x", f"pool_backward<{self.window}, false>(x"


@does(GlobalAveragePool, patterns=chained(GlobalAveragePool))
class GlobalAveragePoolKernel(AveragePoolKernel):
    """One window that is the whole image."""

    @property
    def window(self) -> str:
        """The window as a type of C++."""
        _, height, width = self.input_shape
        return f"Pooling<{height}, {width}, {height}, {width}, 1, 1, 0, 0, 1, 1>"


@does(MaxPool, patterns=chained(MaxPool))
class MaxPoolKernel(EachNumber):
    """Maxima of windows, the first of ties.

    Attributes
    ----------
    tells_places : whether an unpooling asks where they were; it sees to that
    """

    tells_places = False

    @property
    def begins(self) -> tuple[str, str]:
        """The calls in C++, for this window."""
        window = window_of(self.layer, self.input_shape, self.output_shape)
        forward = ("true>(x, places", "false>(x, nullptr")[not self.tells_places]
        return f"max_pool_forward<{window}, {forward}", f"pool_backward<{window}, true>(x"

    @property
    def besides(self) -> tuple[Parameters, Parameters]:
        """The array where it leaves the places."""
        if not self.tells_places:
            return (), ()
        return (Parameter("int*", PLACES, lambda a: a.kept[PLACES]),), ()

    def keeps(self, samples: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """The places."""
        return {PLACES: ((samples, *self.output_shape), "int32")} if self.tells_places else {}


@does(Unpooled, patterns=chained(Unpooled))
class UnpoolKernel(EachNumber):
    """Each number where the maximum of its window was; its second input is the pool."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        pool = self.sources[1]
        assert isinstance(pool, MaxPoolKernel)
        pool.tells_places = True

    @property
    def begins(self) -> tuple[str, str]:
        """The calls in C++, for the pool's window."""
        window = window_of(self.layer.pool, self.output_shape, self.input_shape)
        return f"unpool_forward<{window}>(x, places", f"unpool_backward<{window}>(x, places"

    @property
    def besides(self) -> tuple[Parameters, Parameters]:
        """The places."""
        places = Parameter("const int*", PLACES, lambda a: a.kept_by[1][PLACES])
        return (places,), (places,)


@does(Subsampling, patterns=chained(Subsampling))
class SubsamplingKernel(EachNumberAndSums):
    """Sums of windows, times what is learned for each channel, and more."""

    @property
    def template(self) -> str:
        """Images as a type of C++."""
        return f"Halving<{', '.join(map(str, self.input_shape))}>"

    @property
    def begins(self) -> tuple[str, str]:
        """The calls in C++, for these images."""
        made = self.template
        return f"subsample_forward<{made}>(x, coef, b", f"subsample_backward<{made}>(x, coef"

    @property
    def besides(self) -> tuple[Parameters, Parameters]:
        """What is learned."""
        return self.own("coef", "b"), self.own("coef")

    @property
    def sums(self) -> tuple[str, Grid]:
        """A block for each channel."""
        grid = self.input_shape[0], 1, 1
        return f"subsample_gradient<{self.template}, {POINTWISE}>(x", grid
