"""`xpnet predict`."""

import json
import sys

import click
import numpy as np

from xpnet.arrays import get_device, to_numpy
from xpnet.cli.options import (
    Count,
    check_reads,
    device_line,
    device_option,
    engine_options,
    weights_options,
)
from xpnet.engine import get_engine
from xpnet.errors import XPNetError
from xpnet.files.pictures import read_picture_with_remarks
from xpnet.layers.loss import probabilities_of
from xpnet.models.accuracy import evaluation_batch
from xpnet.notice import notice
from xpnet.report.evaluate import doubt
from xpnet.train.saved import load_model

UNREADABLE = 2
"""Exit code where a picture could not be read."""


@click.command()
@weights_options
@device_option
@engine_options
@click.option(
    "--top",
    type=Count(),
    metavar="N",
    help="The N most likely digits are shown, the likeliest first; by default all are, in their "
    "order.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    show_default=False,
    help="A line of JSON is written for each picture, with picture, digit, probabilities and "
    "remarks.",
)
@click.argument("images", type=click.Path(), nargs=-1, required=True, metavar="IMAGE...")
def predict(
    weights: str,
    model: str | None,
    activation: str | None,
    device: str,
    engine: str,
    graph: bool,
    threads: int | None,
    precision: str | None,
    skip_engine_check: bool,
    top: int | None,
    as_json: bool,
    images: tuple[str, ...],
) -> None:
    """Read digits from picture files, dark on light or light on dark.

    Each picture shows one digit, anywhere and of any size. Standard output has a line for each that
    could be read: the digit, and how likely each digit is. Standard error tells which pictures
    could not be read, in which case the exit code is 2, and which answers are doubtful.
    """
    network = load_model(weights, activation=activation, device=get_device(device), model=model)
    check_reads(network, weights, (1, 28, 28))
    probabilities = probabilities_of(network.last_layer, "predict")
    computing = get_engine(
        network,
        engine,
        threads,
        precision=precision,
        graph=graph,
        skip_engine_check=skip_engine_check,
    )
    answered, size = 0, evaluation_batch(network.device)
    for start in range(0, len(images), size):
        pictures: dict[int, tuple[np.ndarray, list[str]]] = {}
        for number, path in enumerate(images[start : start + size], start):
            try:
                pictures[number] = read_picture_with_remarks(path)
            except XPNetError as error:
                notice(f"error: {error}")
        if not pictures:
            continue
        if not answered and device == "auto":
            notice(device_line(network.device))
        x = np.stack([image for image, _ in pictures.values()])
        table = to_numpy(probabilities(computing.predict(x)))
        for (number, (_, remarks)), row in zip(pictures.items(), table, strict=True):
            if not np.all(np.isfinite(row)):
                notice(
                    f"error: {images[number]} has no answer: the network's scores are not finite"
                )
                continue
            answered += 1
            remarks += [remark] if (remark := doubt(row)) else []
            for remark in remarks:
                notice(f"{images[number]} {remark}")
            click.echo(_line(images[number], row, remarks, top, as_json))
    if answered < len(images):
        sys.exit(UNREADABLE)


def _line(image: str, row: np.ndarray, remarks: list[str], top: int | None, as_json: bool) -> str:
    digits = range(len(row)) if top is None else np.argsort(-row, kind="stable")[:top].tolist()
    digit = int(np.argmax(row))
    if as_json:
        shares = {str(n): round(float(row[n]), 6) for n in digits}
        told = {"picture": image, "digit": digit, "probabilities": shares, "remarks": remarks}
        return json.dumps(told)
    return f"{image}: {digit}   " + "  ".join(f"{n}: {row[n]:.3f}" for n in digits)
