"""`xpnet evaluate`."""

import json
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from xpnet.arrays import versions
from xpnet.cli.checks import (
    check_reads,
    check_replaceable,
    check_scenes,
    check_segments,
    check_writable,
    segments,
)
from xpnet.cli.options import (
    FILE,
    data_options,
    device_option,
    engine_options,
    open_data,
    open_device,
    weights_options,
)
from xpnet.data.sets import data_for, known_of, set_of
from xpnet.errors import shown
from xpnet.functions.targets import check_labels
from xpnet.models.registry import Task
from xpnet.report.evaluate import predictions
from xpnet.train.run_directory import CHECKPOINTS, EVALUATION, write_json
from xpnet.train.saved import is_directory, load_model
from xpnet.train.tasks import lines_of, measured_masks

MOST = 2**20
"""Bytes that an earlier evaluation has at most; it has one thousand."""


@click.command()
@partial(data_options, auto=", or the scenes that the network was made for")
@weights_options
@device_option
@engine_options
@click.option(
    "--out",
    type=FILE,
    help="The result is written into this JSON file; by default it is evaluation.json beside the "
    "weights, or in their run's directory.",
)
def evaluate(
    data: str,
    data_dir: str | None,
    weights: str,
    model: str | None,
    activation: str | None,
    device: str,
    engine: str,
    graph: bool,
    threads: int | None,
    precision: str | None,
    skip_engine_check: bool,
    out: str | None,
) -> None:
    """Measure a network on the test images.

    The accuracy is the share of the images that it reads right, from 0 to 1. Of a network with
    scores for each pixel it is the share of pixels, beside the intersection of each class with its
    truth, over the union of both (IoU), and their mean.
    """
    how: dict[str, Any] = {"threads": threads, "precision": precision, "graph": graph}
    place = open_device(device, engine, **how)
    path = Path(out) if out else _beside(Path(weights)) / EVALUATION
    check_writable(path.parent, "--out")
    check_replaceable(path, "--out", "an earlier evaluation", lambda path: bool(_earlier(path)))
    network = load_model(weights, activation=activation, device=place, model=model)
    task: Task = "segment" if segments(network) else "classify"
    if task == "segment" and data == "auto":
        data = set_of(network.input_shape, check_segments(network, weights), task) or data
    dataset = open_data(data_for(task, data), data_dir)
    if task == "segment":
        check_scenes(network, weights, dataset)
    else:
        check_reads(network, weights, dataset.x_test.shape[1:], check_labels(dataset.t_test))
    read = predictions(
        network,
        dataset.x_test,
        engine=engine,
        skip_engine_check=skip_engine_check,
        **how,
    )
    if task == "segment":
        found = measured_masks(dataset.t_test, read, known_of(dataset.name).classes[task])
    else:
        found = {"test_accuracy": float(np.mean(read == dataset.t_test))}
    record = {
        "weights": str(weights),
        "data": dataset.name,
        **found,
        "test_images": len(dataset.x_test),
        "device": place.name,
        "versions": versions(),
    }
    for line in lines_of(found, {"test": len(dataset.x_test)}):
        click.echo(line)
    before, kept = _earlier(path), f"evaluation: {path}"
    if before and any(before[name] != record[name] for name in ("weights", "data")):
        kept += f", in place of that of {shown(before['weights'])} on {shown(before['data'])}"
    write_json(path, record)
    click.echo(kept)


def _earlier(path: Path) -> dict[str, Any]:
    """Read what this command wrote; nothing where a file is something else, or not there."""
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file() and path.stat().st_size <= MOST:
            record = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(record, dict) and {"weights", "data", "test_images"} <= record.keys():
                return record
    return {}


def _beside(weights: Path) -> Path:
    """The directory for what is measured of weights; a run's own of what is in a run."""
    directory = weights if is_directory(weights) else weights.parent
    return directory.parent if directory.name == CHECKPOINTS else directory
