"""The engine of the GPU: kernels that do several layers' work, and graphs of whole steps."""

from xpnet.engine.cuda.engine import CudaEngine

__all__ = ["CudaEngine"]
