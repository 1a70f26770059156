"""Options that several commands have, and what becomes of them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import click

from xpnet.arrays import Device, cuda, get_device
from xpnet.data import Dataset, load_dataset
from xpnet.models.two_layer_net import ACTIVATIONS

MODELS_OFFERED = ("two-layer-net", "simple-convnet", "deep-convnet")
"""The others have more to choose than options can say; Python trains them."""


DIRECTORY = click.Path(file_okay=False)
"""A directory, which need not exist."""
FILE = click.Path(dir_okay=False)
"""A file; what is wrong with one that does not exist, its reader says."""


class FiniteRange(click.FloatRange):
    """A range of numbers. Click's own lets NaN through, which is neither below nor above."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Refuse what is not finite, and what is out of range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def device_option(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take --device."""
    return click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."
    )(command)


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take --engine, --no-graph, --threads, --precision, --skip-engine-check."""
    for option in (
        click.option("--threads", type=int, help="Of the CPU; one for each free core if left out."),
        click.option(
            "--engine",
            default="auto",
            show_default=True,
            help="reference for the layers as they are written, cpu or cuda for that engine and no "
            "other, or auto.",
        ),
        click.option(
            "--no-graph",
            "graph",
            flag_value=False,
            default=True,
            help="Launch a GPU's kernels one by one, instead of replaying whole steps.",
        ),
        click.option(
            "--precision",
            help="Of products on a GPU: tf32 or bfloat16; full if left out.",
        ),
        click.option(
            "--skip-engine-check",
            is_flag=True,
            help="Do not compare a GPU's first step with one by the layers on the host.",
        ),
    ):
        command = option(command)
    return command


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take --data and --data-dir."""
    for option in (
        click.option(
            "--data-dir",
            type=DIRECTORY,
            help="Directory of MNIST's four files [XPNET_DATA_DIR].",
        ),
        click.option(
            "--data",
            type=click.Choice(["auto", "mnist", "synthetic"]),
            default="auto",
            show_default=True,
            help="With auto MNIST, if it can be had.",
        ),
    ):
        command = option(command)
    return command


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take --model, --hidden-size and --activation."""
    for option in (
        click.option("--activation", type=click.Choice(list(ACTIVATIONS)), help="two-layer-net's."),
        click.option("--hidden-size", type=int, help="Hidden units; the book's if left out."),
        click.option(
            "--model",
            type=click.Choice(MODELS_OFFERED),
            default="simple-convnet",
            show_default=True,
        ),
    ):
        command = option(command)
    return command


def weights_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take --weights and --activation."""
    for option in (
        click.option(
            "--activation",
            type=click.Choice(list(ACTIVATIONS)),
            help="Of a pickled network, which does not say; sigmoid if left out.",
        ),
        click.option(
            "--weights",
            type=click.Path(),
            required=True,
            help="A run's directory, a model.safetensors, a checkpoint, or a book's pickle.",
        ),
    ):
        command = option(command)
    return command


def engine_line(about: Mapping[str, str | int]) -> str:
    """Say in one line what computes."""
    threads = f", {n} thread{'s' * (n != 1)}" if (n := about.get("threads")) else ""
    threads += f" ({why})" if (why := about.get("threads_reason")) else ""
    products = f", products in {kind}" if (kind := about.get("precision")) else ""
    steps = f", steps {how}" if (how := about.get("steps")) else ""
    reason = f": {why}" if (why := about.get("engine_reason")) else ""
    check = f"; check {found}" if not reason and (found := about.get("engine_check")) else ""
    return f"{about['engine']}{threads}{products}{steps}{reason}{check}"


def open_device(name: str) -> Device:
    """Open the device of --device; which one `auto` found is told."""
    device = get_device(name)
    if name == "auto":
        click.echo(device_line(device))
    return device


def device_line(device: Device) -> str:
    """Say which device `auto` found."""
    return f"device: {device.name}" + (
        f" ({cuda.diagnose().problem})" if device.name == "cpu" else ""
    )


def open_data(data: str, data_dir: str | None) -> Dataset:
    """Load the data set of --data and --data-dir; where it came from is told."""
    dataset = load_dataset(data, data_dir=data_dir)
    click.echo(f"data: {dataset.source}")
    return dataset
