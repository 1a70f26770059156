"""Source text of kernels, and what they are bound to."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from xpnet.engine.cuda.driver import DeviceFunction, Driver
from xpnet.engine.cuda.function import Call, Function

MATH = {"float32": "FLOAT", "float64": "FLOAT", "tf32": "TF32", "bfloat16": "BFLOAT16"}
"""Precisions of products, as product.cuh calls them."""

REAL = {"float32": "float", "float64": "double"}

FILES = (
    "block", "chain", "tensor_cores", "product", "dense", "convolution", "depthwise", "transposed",
    "pool", "subsampling", "pointwise", "binary", "norm", "lrn", "join", "loss", "step",
)  # fmt: skip
"""Files in an order in which each finds what it uses."""


@dataclass(frozen=True)
class Launch:
    """A kernel with all that it needs."""

    kernel: DeviceFunction
    call: Call

    def __call__(self) -> None:
        """Have it run, behind everything that was launched before."""
        self.kernel(self.call.grid, (self.call.block,), self.call.arguments)


def run(driver: Driver, launches: Iterable[Launch]) -> None:
    """Have launches run, in order but for those that run aside."""
    for launch in launches:
        if launch.call.joins:
            driver.join()
        with driver.aside() if launch.call.aside else nullcontext():
            launch()


class Module:
    """Compiled kernels."""

    def __init__(self, driver: Driver, source: str) -> None:
        self._find: Callable[[str], DeviceFunction] = cache(driver.compile(source))

    def bind(self, calls: Iterable[Call]) -> list[Launch]:
        """Calls with their kernels."""
        return [Launch(self._find(call.kernel), call) for call in calls]


def source(dtype: str, functions: Iterable[Function]) -> str:
    """The text of a module: the templates, and kernels made of them."""
    texts = (function.source for function in functions)
    return "\n".join([f"typedef {REAL[dtype]} real;", _templates(), *texts])


@cache
def _templates() -> str:
    place = files("xpnet.engine.cuda") / "kernels"
    return "\n".join((place / f"{name}.cuh").read_text(encoding="utf-8") for name in FILES)
