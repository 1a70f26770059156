"""The engine for CPUs: static arrays, fused pieces, parts of a batch on threads."""

from xpnet.engine.cpu.engine import CpuEngine

__all__ = ["CpuEngine"]
