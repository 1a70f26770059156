"""The versions that were installed, for the record of a result."""

import platform
from functools import cache
from importlib import metadata


def versions() -> dict[str, str]:
    """Look up the versions of Python, xpnet and the array libraries it needs."""
    return {"python": platform.python_version(), **_package_versions()}


@cache
def _package_versions() -> dict[str, str]:
    found = {}
    for package in ("xpnet", "numpy", "array-api-compat"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree that is not installed
            found[package] = "not installed"
    return found
