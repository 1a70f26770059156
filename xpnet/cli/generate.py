"""`xpnet generate`."""

import click
import numpy as np

from xpnet.arrays import get_device, to_numpy
from xpnet.cli.keeping import Kept
from xpnet.cli.options import DIRECTORY, PATH, Count, OneOf, device_line, device_option
from xpnet.files.masks import picture_of, save_png
from xpnet.functions.latent import lerp, slerp
from xpnet.models.dcgan import DCGAN
from xpnet.notice import notice
from xpnet.train.generators import load_gan

GENERATED, BETWEEN, RECORD = "generated", "between", "generated.json"
WAYS = {"circle": slerp, "straight": lerp}
STEPS = 10
"""Images from one latent vector to another, with both."""
GAP = 2
"""Pixels between images."""


@click.command()
@device_option
@click.option(
    "--count",
    type=Count(most=10_000),
    default=64,
    metavar="N",
    help="N images are made, and laid out in as many rows as columns.",
)
@click.option(
    "--interpolate",
    type=Count(most=1_000),
    metavar="N",
    help="N rows are drawn besides, each from one latent vector to another.",
)
@click.option(
    "--way",
    type=OneOf(WAYS),
    default="circle",
    help="These rows go along a circle, on which lengths change evenly, or straight.",
)
@click.option(
    "--seed",
    type=Count(0, 2**31 - 1),
    default=0,
    metavar="N",
    help="N decides the latent vectors.",
)
@click.option(
    "--out",
    type=DIRECTORY,
    help="Everything is kept in this new directory; by default in runs/DATE-TIME-generate.",
)
@click.argument("run", type=PATH, metavar="RUN")
def generate(
    device: str, count: int, interpolate: int | None, way: str, seed: int, out: str | None, run: str
) -> None:
    """Make images with a network that has learned to.

    RUN is the directory of a run of --model dcgan, or a file of it. generated.png shows images of
    latent vectors, which are normal random numbers; between.png, with --interpolate, what lies
    between two of them. generated.json tells what was asked for.
    """
    files = Kept(out, "generate", ".png")
    gan = load_gan(run, device=get_device(device))
    if device == "auto":
        notice(device_line(gan.device))
    columns = int(np.ceil(np.sqrt(count)))
    _save(files, GENERATED, to_numpy(gan.generate(gan.latent(count, seed=seed))), columns)
    if interpolate is not None:
        _save(files, BETWEEN, _between(gan, interpolate, way, seed), STEPS)
    record = {
        "weights": str(run), "seed": seed, "count": count, "interpolate": interpolate, "way": way
    }  # fmt: skip
    files.write(RECORD, record)
    click.echo(f"{count} images are made; everything is in {files.directory}")


def _between(gan: DCGAN, rows: int, way: str, seed: int) -> np.ndarray:
    """Images on the way from one latent vector to the next, a row for each pair."""
    z, xp, between = gan.latent(2 * rows, seed=seed), gan.device.xp, WAYS[way]
    places = [float(u) for u in np.linspace(0.0, 1.0, STEPS)]
    steps = xp.stack([between(z[0::2, :], z[1::2, :], u) for u in places], axis=1)
    return to_numpy(gan.generate(xp.reshape(steps, (rows * STEPS, -1))))


def _save(files: Kept, name: str, images: np.ndarray, columns: int) -> None:
    """Write images, 0 to 1, as one picture: in rows, on white."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = np.ones((channels, rows * (height + GAP) + GAP, columns * (width + GAP) + GAP))
    for k, image in enumerate(images):
        row, column = divmod(k, columns)
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        sheet[:, top : top + height, left : left + width] = image
    picture = picture_of(np.round(255.0 * sheet).astype(np.uint8))
    save_png(files.directory / f"{files.stem(name)}.png", picture)
