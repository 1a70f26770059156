"""`xpnet evaluate`."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from xpnet.arrays import versions
from xpnet.cli.options import (
    FILE,
    check_writable,
    data_options,
    device_option,
    engine_options,
    open_data,
    open_device,
    weights_options,
)
from xpnet.functions.targets import check_classes, check_labels
from xpnet.report.evaluate import predictions
from xpnet.train.run_directory import CHECKPOINTS, write_json
from xpnet.train.saved import is_directory, load_model


@click.command()
@data_options
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
    activation: str | None,
    device: str,
    engine: str,
    graph: bool,
    threads: int | None,
    precision: str | None,
    skip_engine_check: bool,
    out: str | None,
) -> None:
    """Measure a network's accuracy on the test images.

    The accuracy is the share of the images that it reads right, from 0 to 1.
    """
    how: dict[str, Any] = {"threads": threads, "precision": precision, "graph": graph}
    place = open_device(device, engine, **how)
    path = Path(out) if out else _beside(Path(weights)) / "evaluation.json"
    check_writable(path.parent, "--out")
    network = load_model(weights, activation=activation, device=place)
    dataset = open_data(data, data_dir)
    if not isinstance(shape := network.output_shape, dict):
        check_classes(check_labels(dataset.t_test), shape[0])
    read = predictions(
        network,
        dataset.x_test,
        engine=engine,
        skip_engine_check=skip_engine_check,
        **how,
    )
    accuracy = float(np.mean(read == dataset.t_test))
    record = {
        "weights": str(weights),
        "data": dataset.name,
        "test_accuracy": accuracy,
        "test_images": len(dataset.x_test),
        "device": place.name,
        "versions": versions(),
    }
    click.echo(f"test accuracy: {accuracy:.4f} on {len(dataset.x_test)} images")
    write_json(path, record)


def _beside(weights: Path) -> Path:
    """The directory for what is measured of weights; a run's own of what is in a run."""
    directory = weights if is_directory(weights) else weights.parent
    return directory.parent if directory.name == CHECKPOINTS else directory
