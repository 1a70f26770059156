"""Kernels of the CPU's engine with compiled loops; each does what one in NumPy does.

Importing this package enters them, and needs numba.
"""

import xpnet.engine.cpu.fast.activation
import xpnet.engine.cpu.fast.dense
import xpnet.engine.cpu.fast.dropout
import xpnet.engine.cpu.fast.join
import xpnet.engine.cpu.fast.loss
import xpnet.engine.cpu.fast.norm
import xpnet.engine.cpu.fast.pool
from xpnet.engine.cpu.fast.products import product_address

if product_address("float32") is not None:  # else NumPy's BLAS is out of reach of a loop
    import xpnet.engine.cpu.fast.conv
    import xpnet.engine.cpu.fast.transposed  # noqa: F401
