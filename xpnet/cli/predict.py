"""`xpnet predict`."""

import click
import numpy as np

from xpnet.arrays import to_numpy
from xpnet.cli.options import FILE, device_option, engine_options, open_device, weights_options
from xpnet.engine import get_engine
from xpnet.files.pictures import read_picture
from xpnet.functions.activations import softmax
from xpnet.train.saved import load_model


@click.command()
@weights_options
@device_option
@engine_options
@click.argument("images", type=FILE, nargs=-1, required=True, metavar="IMAGE...")
def predict(
    weights: str,
    activation: str | None,
    device: str,
    engine: str,
    graph: bool,
    threads: int | None,
    precision: str | None,
    skip_engine_check: bool,
    images: tuple[str, ...],
) -> None:
    """Read digits from picture files, dark on light or light on dark."""
    pictures = np.stack([read_picture(image) for image in images])
    network = load_model(weights, activation=activation, device=open_device(device))
    computing = get_engine(
        network,
        engine,
        threads,
        precision=precision,
        graph=graph,
        skip_engine_check=skip_engine_check,
    )
    scores = computing.predict(pictures)
    table = to_numpy(softmax(scores))
    for image, row in zip(images, table, strict=True):
        shares = "  ".join(f"{digit}: {share:.3f}" for digit, share in enumerate(row))
        click.echo(f"{image}: {int(np.argmax(row))}   {shares}")
