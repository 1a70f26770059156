"""The engine of the GPU: kernels that do several layers' work, and graphs of whole steps."""

from xpnet.engine.cuda.engine import CudaEngine
from xpnet.engine.cuda.selfcheck import SAMPLES
from xpnet.engine.cuda.training import UNROLL, Training

__all__ = ["SAMPLES", "UNROLL", "CudaEngine", "Training"]
