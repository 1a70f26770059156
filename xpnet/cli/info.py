"""`xpnet info`."""

import platform

import click

from xpnet.arrays import cuda, get_device, versions
from xpnet.cli.data import show_data
from xpnet.cli.names import in_options
from xpnet.compiled import obstacle
from xpnet.data.mnist import find_mnist
from xpnet.engine.threads import blas_library
from xpnet.errors import DataNotFoundError, XPNetError
from xpnet.optional import EXTRAS, installed, missing


@click.command(short_help="Say what this machine can do, and what is missing.")
def info() -> None:
    """Say what this machine can do: versions, GPUs, data, and what is missing."""
    found, library = cuda.diagnose(), blas_library()
    lines = {
        **versions(),
        "system": platform.platform(),
        **get_device("cpu").describe(),
        "blas": f"{library['blas']}, {library.get('blas_threads', 'unknown')} threads",
        "cupy": found.package,
        "nvidia driver": found.driver,
    }
    for number, name in enumerate(found.devices):
        lines[f"cuda:{number}"] = name
    if found.usable:
        try:
            lines["gpu memory"] = get_device("cuda").describe()["gpu_memory"]
        except XPNetError as error:
            lines["gpu"] = f"not usable: {error}"
    else:
        lines["gpu"] = f"not usable: {found.problem}; {found.remedy}"
    try:
        lines["MNIST"] = f"in {find_mnist(download=False)}"
    except DataNotFoundError as error:
        lines["MNIST"] = in_options(str(error), show_data.params)
    for package, (name, _) in EXTRAS.items():
        if package != "cupy":
            lines[name] = "installed" if installed(package) else missing(package)
    if installed("numba") and (problem := obstacle()) is not None:
        lines["numba"] = f"not usable: {problem}"
    width = max(map(len, lines))
    for name, text in lines.items():
        click.echo(f"{name:{width}}  {text}")
