"""`xpnet data`."""

from functools import partial
from pathlib import Path

import click
import numpy as np

from xpnet.cli.options import (
    DIRECTORY,
    Count,
    check_replaceable,
    check_writable,
    data_options,
    open_data,
)
from xpnet.data import Dataset
from xpnet.errors import ArgumentError
from xpnet.files.atomic import make_directory
from xpnet.files.pictures import is_picture_of, save_picture


@click.command(name="data")
@data_options
@click.option(
    "--export",
    type=DIRECTORY,
    help="The first test images are written into this directory, as PNG files whose names tell the "
    "digits.",
)
@click.option(
    "--count",
    type=Count(most=10_000),
    default=10,
    metavar="N",
    help="With --export, N images are written.",
)
def show_data(data: str, data_dir: str | None, export: str | None, count: int) -> None:
    """Find, download and check a data set; say what is in it.

    It tells where the images are and how many there are of each digit.
    """
    if export is not None:
        check_writable(export, "--export")
    dataset = open_data(data, data_dir)
    for part, images, labels in (
        ("train", dataset.x_train, dataset.t_train),
        ("test", dataset.x_test, dataset.t_test),
    ):
        counts = np.bincount(labels, minlength=10)
        each = ", ".join(f"{digit}: {n}" for digit, n in enumerate(counts))
        click.echo(f"{part}: {len(images)} images of {images.shape[2]}x{images.shape[3]}   {each}")
    if export is not None:
        _export(Path(export), dataset, count)


def _export(directory: Path, dataset: Dataset, count: int) -> None:
    if count > len(dataset.x_test):
        raise ArgumentError(f"--count must be at most {len(dataset.x_test)}, got {count}")
    try:
        make_directory(directory)
    except OSError as error:
        raise ArgumentError(f"cannot create {directory}: {error.strerror}; name another") from error
    pictures = {
        directory / f"{dataset.name}-{number:05d}-is-{dataset.t_test[number]}.png": image
        for number, image in enumerate(dataset.x_test[:count])
    }
    for path, image in pictures.items():
        check_replaceable(path, "--export", "the same picture", partial(is_picture_of, image))
    for path, image in pictures.items():
        save_picture(path, image)
    click.echo(f"{count} test images are in {directory}")
