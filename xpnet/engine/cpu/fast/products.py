"""Matrix products within compiled loops, by the BLAS that NumPy itself uses.

A convolution is hundreds of small products. From Python, each is a call that waits for the lock
which threads share; from within a loop, all of them are one call.
"""

import ctypes
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

ROW_MAJOR, AS_IT_IS, TURNED = 101, 111, 112
"""What CBLAS calls the order of numbers in memory, and what is to be done with a matrix."""
NAMES = ("scipy_cblas_{}gemm64_", "cblas_{}gemm64_", "scipy_cblas_{}gemm", "cblas_{}gemm")
"""What the product is called, in the libraries that NumPy comes with or is built for."""


@cache
def product_address(dtype: Any) -> int | None:
    """Where the matrix product of NumPy's BLAS is; None if that is not to be found."""
    for library in _libraries():
        for name in NAMES:
            with suppress(AttributeError):
                found = getattr(library, name.format("s" if np.dtype(dtype) == np.float32 else "d"))
                return ctypes.cast(found, ctypes.c_void_p).value
    return None


def _libraries() -> list[ctypes.CDLL]:
    """NumPy's own library, which leads to its BLAS where the system looks for names so."""
    with suppress(ImportError, OSError):
        return [ctypes.CDLL(str(import_module("numpy._core._multiarray_umath").__file__))]
    return []


@intrinsic  # type: ignore[untyped-decorator]
def add_product(
    typing_context: Any, address: Any, turned: Any, m: Any, n: Any, k: Any,
    A: Any, row_A: Any, B: Any, row_B: Any, before: Any, C: Any, row_C: Any,
) -> Any:  # fmt: skip
    """C = A B + before C, for A (m, k), or A^T B if A, (k, m), is turned; B (k, n), C (m, n).

    Parameters
    ----------
    address : of the product for the type of these arrays
    turned : AS_IT_IS or TURNED
    A, B, C : arrays whose first numbers are those of the matrices
    row_A, row_B, row_C : numbers from a row to the next
    """
    kind = A.dtype
    names = (address, turned, m, n, k, A, row_A, B, row_B, before, C, row_C)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        from llvmlite import ir

        whole, code, number = ir.IntType(64), ir.IntType(32), context.get_value_type(kind)
        pointer = number.as_pointer()
        of = dict(zip(range(len(names)), zip(signature.args, arguments, strict=True), strict=True))

        def integer(place: int) -> Any:
            found, value = of[place]
            return context.cast(builder, value, found, types.int64)

        def data(place: int) -> Any:
            found, value = of[place]
            return context.make_array(found)(context, builder, value).data

        def constant(value: float) -> Any:
            return context.get_constant(kind, value)

        function = ir.FunctionType(
            ir.VoidType(),
            [code] * 3 + [whole] * 3 + [number, pointer, whole, pointer, whole, number]
            + [pointer, whole],
        )  # fmt: skip
        call = builder.inttoptr(integer(0), function.as_pointer())
        # A library whose integers are of 32 bits takes the lower half of these, wherever they are.
        builder.call(
            call,
            [
                code(ROW_MAJOR), builder.trunc(integer(1), code), code(AS_IT_IS),
                integer(2), integer(3), integer(4), constant(1.0), data(5), integer(6),
                data(7), integer(8), context.cast(builder, of[9][1], of[9][0], kind), data(10),
                integer(11),
            ],
        )  # fmt: skip
        return context.get_dummy_value()

    return types.none(*names), generate
