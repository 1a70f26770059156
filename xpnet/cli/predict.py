"""`xpnet predict`."""

import json
import sys
from functools import partial

import click
import numpy as np

from xpnet.arrays import Device, get_device, to_numpy
from xpnet.arrays.values import in_parts
from xpnet.cli.checks import check_photographs, check_reads
from xpnet.cli.options import Count, device_line, device_option, engine_options, weights_options
from xpnet.cli.reading import AT_A_TIME, UNREADABLE, readable
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.files.photographs import Photographs
from xpnet.files.pictures import read_picture_with_remarks
from xpnet.layers.loss import probabilities_of
from xpnet.models import Network
from xpnet.models.accuracy import evaluation_batch
from xpnet.models.registry import DIGITS, PRETRAINED
from xpnet.notice import notice
from xpnet.report.evaluate import doubt
from xpnet.train.saved import load_model

TOP = 5
"""So many classes of a photograph are shown by default."""


@click.command()
@partial(
    weights_options,
    required=False,
    more=f" It may be left out with --model {' or '.join(PRETRAINED)}.",
)
@device_option
@engine_options
@click.option(
    "--top",
    type=Count(),
    metavar="N",
    help="The N most likely digits are shown, the likeliest first; by default all are, in their "
    f"order, and of photographs' classes the {TOP} most likely.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    show_default=False,
    help="A line of JSON is written for each picture, with picture, digit, or class and number, "
    "probabilities and remarks.",
)
@click.argument("images", type=click.Path(), nargs=-1, required=True, metavar="IMAGE...")
def predict(
    weights: str | None,
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
    """Read digits from picture files, or name what photographs show.

    Each picture shows one digit, dark on light or light on dark, anywhere and of any size; or, for
    a network that knows photographs, such as --model efficientnet-lite0, whatever is in its middle.
    Standard output has a line for each that could be read: the digit, or the class, and how likely
    each is. Standard error tells which pictures could not be read, in which case the exit code is
    2, and which answers are doubtful.
    """
    network = _network(weights, model, activation, get_device(device))
    seen = network.photographs
    if seen is None:
        check_reads(network, weights or str(model), DIGITS)
    else:
        check_photographs(network, weights or str(model))
    read = read_picture_with_remarks if seen is None else seen.read_with_remarks
    names = None if seen is None else seen.classes
    probabilities = probabilities_of(network.last_layer, "predict")
    computing = get_engine(
        network,
        engine,
        threads,
        precision=precision,
        graph=graph,
        skip_engine_check=skip_engine_check,
    )
    answered, size = 0, evaluation_batch(network.device) if seen is None else AT_A_TIME
    for part in in_parts(len(images), size):
        pictures = readable(images[part], read)
        if not pictures:
            continue
        if not answered and device == "auto":
            notice(device_line(network.device))
        x = np.stack([image for _, (image, _) in pictures])
        table = to_numpy(probabilities(computing.predict(x)))
        for (path, (_, remarks)), row in zip(pictures, table, strict=True):
            if not np.all(np.isfinite(row)):
                notice(f"error: {path} has no answer: the network's scores are not finite")
                continue
            answered += 1
            remarks += [remark] if (remark := doubt(row, names)) else []
            for remark in remarks:
                notice(f"{path} {remark}")
            click.echo(_line(path, row, seen, remarks, top, as_json))
    if answered < len(images):
        sys.exit(UNREADABLE)


def _network(
    weights: str | None, model: str | None, activation: str | None, device: Device
) -> Network:
    """The network of the options: of a file, or one whose weights can be had with it."""
    if weights is not None:
        return load_model(weights, activation=activation, device=device, model=model)
    if model is None:
        known = " or ".join(PRETRAINED)
        raise click.UsageError(f"Missing option '--weights', or --model {known} for photographs.")
    if model not in PRETRAINED:
        raise ArgumentError(
            f"no weights come with {model}: give --weights, or --model {' or '.join(PRETRAINED)}"
        )
    if activation is not None:
        raise ArgumentError(f"{model} has activations of its own; leave out activation")
    return PRETRAINED[model](device=device)


def _line(
    image: str,
    row: np.ndarray,
    seen: Photographs | None,
    remarks: list[str],
    top: int | None,
    as_json: bool,
) -> str:
    """A picture's answer: a digit, or the class of a photograph."""
    if seen is not None and top is None:
        top = TOP
    shown = range(len(row)) if top is None else np.argsort(-row, kind="stable")[:top].tolist()
    first = int(np.argmax(row))
    numbers = tuple(map(str, range(len(row))))
    known = numbers if seen is None else seen.classes or numbers
    if as_json:
        answer = {"digit": first} if seen is None else {"class": known[first], "number": first}
        shares = {known[n]: round(float(row[n]), 6) for n in shown}
        return json.dumps({"picture": image, **answer, "probabilities": shares, "remarks": remarks})
    return f"{image}: {known[first]}   " + "  ".join(f"{known[n]}: {row[n]:.3f}" for n in shown)
