"""Kernels of the CPU's engine with compiled loops; each does what one in NumPy does.

Importing this package enters them, and needs numba.
"""
