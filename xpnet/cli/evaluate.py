"""`xpnet evaluate`."""

from pathlib import Path

import click
import numpy as np

from xpnet.arrays import versions
from xpnet.cli.options import (
    FILE,
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
from xpnet.train.saved import load_model


@click.command()
@data_options
@weights_options
@device_option
@engine_options
@click.option(
    "--out", type=FILE, help="JSON file for the result; evaluation.json beside the weights."
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
    """Measure a network's accuracy on the test images."""
    place = open_device(device)
    network = load_model(weights, activation=activation, device=place)
    dataset = open_data(data, data_dir)
    if not isinstance(shape := network.output_shape, dict):
        check_classes(check_labels(dataset.t_test), shape[0])
    read = predictions(
        network,
        dataset.x_test,
        engine=engine,
        graph=graph,
        threads=threads,
        precision=precision,
        skip_engine_check=skip_engine_check,
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
    write_json(out or _beside(Path(weights)) / "evaluation.json", record)
    click.echo(f"test accuracy: {accuracy:.4f} on {len(dataset.x_test)} images")


def _beside(weights: Path) -> Path:
    """The directory for what is measured of weights; a run's own of what is in a run."""
    directory = weights if weights.is_dir() else weights.parent
    return directory.parent if directory.name == CHECKPOINTS else directory
