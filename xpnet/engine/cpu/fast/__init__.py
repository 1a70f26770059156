"""Kernels of the CPU's engine with compiled loops; each does what one in NumPy does.

Importing this package enters them, and needs numba.
"""

import xpnet.engine.cpu.fast.activation
import xpnet.engine.cpu.fast.conv
import xpnet.engine.cpu.fast.dense
import xpnet.engine.cpu.fast.dropout
import xpnet.engine.cpu.fast.join
import xpnet.engine.cpu.fast.loss
import xpnet.engine.cpu.fast.norm
import xpnet.engine.cpu.fast.pool
import xpnet.engine.cpu.fast.winograd  # noqa: F401
