"""`xpnet data`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from xpnet.cli.checks import check_replaceable, check_writable
from xpnet.cli.options import DIRECTORY, Count, data_options, open_data
from xpnet.data import Dataset
from xpnet.data.sets import known_of
from xpnet.errors import ArgumentError
from xpnet.files.atomic import make_directory
from xpnet.files.masks import is_same, mask_of, picture_of, save_png
from xpnet.models.vocabulary import MARKS, Vocabulary


@click.command(name="data")
@data_options
@click.option(
    "--export",
    type=DIRECTORY,
    help="The first test images are written into this directory, as PNG files whose names tell the "
    "digits, or the captions; beside other scenes lie their masks.",
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

    It tells where the images are and how many there are of each digit, or, of scenes, what share of
    the pixels each class has, or how often each word is in the first captions.
    """
    if export is not None:
        check_writable(export, "--export")
    dataset = open_data(data, data_dir)
    known = known_of(dataset.name)
    kind = next(task for task in ("classify", "segment", "caption") if task in known.classes)
    names = known.classes[kind]
    for part, images, labels in (
        ("train", dataset.x_train, dataset.t_train),
        ("test", dataset.x_test, dataset.t_test),
    ):
        counts: Any = np.bincount(labels[labels >= 0], minlength=len(names))[: len(names)]
        if kind == "segment":
            counts = [f"{100 * count / labels.size:.1f} %" for count in counts]
        shown = [each for each in zip(names, counts, strict=True) if each[0] not in MARKS]
        each = ", ".join(f"{name}: {n}" for name, n in shown)
        click.echo(f"{part}: {len(images)} images of {images.shape[2]}x{images.shape[3]}   {each}")
    if export is not None:
        _export(Path(export), dataset, names, count)


def _export(directory: Path, dataset: Dataset, names: Sequence[str], count: int) -> None:
    if count > len(dataset.x_test):
        raise ArgumentError(f"--count must be at most {len(dataset.x_test)}, got {count}")
    try:
        make_directory(directory)
    except OSError as error:
        raise ArgumentError(f"cannot create {directory}: {error.strerror}; name another") from error
    pictures = {}
    for number, (image, label) in enumerate(
        zip(dataset.x_test[:count], dataset.t_test[:count], strict=True)
    ):
        name, masked = f"{dataset.name}-{number:05d}", label.ndim == 2
        told = "" if masked else f"-is-{label}"
        if label.ndim == 1:
            told = f"-{Vocabulary(names).sentences(label[np.newaxis])[0].replace(' ', '-')}"
        pictures[directory / f"{name}{told}.png"] = picture_of(image)
        if masked:
            pictures[directory / f"{name}-mask.png"] = mask_of(label, names)
    for path, picture in pictures.items():
        check_replaceable(path, "--export", "the same picture", partial(is_same, picture))
    for path, picture in pictures.items():
        save_png(path, picture)
    click.echo(f"{count} test images are in {directory}")
