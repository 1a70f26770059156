"""`xpnet style`."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np

from xpnet.arrays import Device, get_device, versions
from xpnet.cli.keeping import Kept
from xpnet.cli.options import (
    DIRECTORY,
    Count,
    FiniteRange,
    ModelName,
    OneOf,
    device_line,
    device_option,
)
from xpnet.errors import DataError
from xpnet.files.atomic import write_text
from xpnet.files.images import read_image_with_size
from xpnet.files.masks import save_png
from xpnet.files.photographs import coloured, fitted
from xpnet.models.efficientnet import EfficientNetLite0
from xpnet.models.network import Network
from xpnet.models.registry import photographs_of
from xpnet.models.taps import random_features, style_layers
from xpnet.notice import notice, on_terminal
from xpnet.optional import missing
from xpnet.report import plots
from xpnet.train.saved import load_model
from xpnet.train.signals import Interrupted, Signals
from xpnet.train.style import Painting, StyleTransfer, paint

PICTURE, CURVE, RECORD = "painting.png", "loss.png", "style.json"
RANDOM, LITE0 = "random", "efficientnet-lite0"
LEAST = 16
"""Pixels that a picture has across at least."""
STEP = 32
"""What both sides are multiples of for EfficientNet-Lite0, which halves them five times."""
WEIGHT = FiniteRange(min=0)


@click.command()
@device_option
@click.option(
    "--out",
    type=DIRECTORY,
    help="Everything is kept in this new directory; by default in runs/DATE-TIME-style.",
)
@click.option(
    "--optimizer",
    type=OneOf(["lbfgs", "adam"]),
    help="Pixels are changed by L-BFGS, which SciPy has, of xpnet[minimise], or by Adam; by "
    "default by L-BFGS on the CPU if SciPy is installed, and else by Adam.",
)
@click.option(
    "--start",
    type=OneOf(["content", "noise"]),
    default="content",
    help="The picture is at first this: the content, which keeps shapes best, or noise.",
)
@click.option(
    "--seed", type=Count(0), default=0, metavar="N", help="Random filters and noise are drawn by N."
)
@click.option(
    "--model",
    type=ModelName(),
    metavar="NAME",
    help="The network of --features is built by this name, such as vgg-19, if its file does not "
    "say what it is.",
)
@click.option(
    "--features",
    default=RANDOM,
    metavar="NAME",
    help="Pictures are compared by this network: random, filters that never learned; "
    "efficientnet-lite0, whose weights xpnet[imagenet] brings; or the VGG in this file.",
)
@click.option(
    "--variation-weight",
    type=WEIGHT,
    default=10.0,
    metavar="X",
    help="Neighbouring pixels that differ weigh so much: more is smoother.",
)
@click.option(
    "--style-weight", type=WEIGHT, default=10.0, metavar="X", help="The style weighs so much."
)
@click.option(
    "--content-weight", type=WEIGHT, default=1.0, metavar="X", help="The content weighs so much."
)
@click.option(
    "--steps",
    type=Count(),
    default=200,
    metavar="N",
    help="The picture is looked at N times at most, and changed after each.",
)
@click.option(
    "--size",
    type=Count(LEAST, 4096),
    default=256,
    metavar="N",
    help="The longer side of the painting, and of the style picture, has N pixels.",
)
@click.argument("content", type=click.Path())
@click.argument("style_of", type=click.Path(), metavar="STYLE")
def style(
    content: str,
    style_of: str,
    size: int,
    steps: int,
    content_weight: float,
    style_weight: float,
    variation_weight: float,
    features: str,
    model: str | None,
    seed: int,
    start: str,
    optimizer: str | None,
    out: str | None,
    device: str,
) -> None:
    """Paint the picture CONTENT in the style of the picture STYLE.

    A network looks at both. What it sees in CONTENT is to be kept, and how often it sees things
    together in STYLE, wherever that is, is to be had: pixels are changed until both are so. Kept
    are painting.png, loss.png, the curve of the losses, and style.json, all about it. Ctrl-C ends
    it; what was reached is kept then, too.
    """
    files = Kept(out, "style", ".png")
    place = get_device(device)
    network = _features(features, model, seed, place)
    pictures = [
        _read(path, size, STEP if isinstance(network, EfficientNetLite0) else 1)
        for path in (content, style_of)
    ]
    if device == "auto":
        notice(device_line(place))
    transfer = StyleTransfer(
        network,
        *pictures,
        content_weight=content_weight,
        style_weight=style_weight,
        variation_weight=variation_weight,
    )
    begin, signals = time.perf_counter(), Signals()
    with signals.heard():
        painting = _painted(transfer, optimizer, steps, start, seed, signals)
    record = {
        "content": content,
        "style": style_of,
        "size": list(painting.image.shape[:0:-1]),
        "features": features,
        "layers": transfer.layers._asdict(),
        "weights": transfer.weights,
        "start": start,
        "seed": seed,
        "optimizer": painting.optimizer,
        "reason": painting.reason,
        "seconds": round(time.perf_counter() - begin, 2),
        "device": place.name,
        "versions": versions(),
        "history": painting.history,
    }
    _keep(files, painting, record, transfer.weights)
    click.echo(_told(painting))
    click.echo(f"everything is in {files.directory}")
    if signals.number is not None:
        raise Interrupted(
            f"interrupted after {len(painting.history)} of {steps} steps; the picture that was "
            f"reached is in {files.directory}",
            signals.number,
        )


def _features(name: str, model: str | None, seed: int, device: Device) -> Network:
    """The network of --features, if pictures can be compared by it."""
    if name.lower() == RANDOM:
        return random_features(rng=seed, device=device)
    if name.lower() == LITE0:
        return EfficientNetLite0.pretrained(device=device)
    network = load_model(name, device=device, model=model)
    style_layers(network)
    if network.photographs is None:
        network.photographs = photographs_of("vgg-16")
        notice(f"{name} does not say how it reads pictures; it is taken to, as torchvision's do")
    return network


def _read(path: str, longest: int, multiple: int) -> np.ndarray:
    """A picture, (3, H, W) uint8, whose sides are multiples of a number, the longer `longest`."""
    image, size = read_image_with_size(Path(path))
    if min(size) < LEAST:
        raise DataError(
            f"{path} is too small to paint from: it has {size[0]} x {size[1]} pixels, and "
            f"{LEAST} x {LEAST} are needed; give a larger picture"
        )
    scaled = [longest * n / max(size) for n in size]
    width, height = (max(multiple, multiple * round(n / multiple)) for n in scaled)
    if min(width, height) < LEAST:
        raise DataError(
            f"{path} is too narrow: of {size[0]} x {size[1]} pixels {width} x {height} would be "
            f"left, and {LEAST} x {LEAST} are needed; cut it, or give a larger size={longest}"
        )
    return fitted(coloured(image), width, height)


def _painted(
    transfer: StyleTransfer,
    optimizer: str | None,
    steps: int,
    start: str,
    seed: int,
    signals: Signals,
) -> Painting:
    """Paint, with a bar on a terminal, until a signal comes."""
    from tqdm import tqdm

    with tqdm(
        total=steps,
        desc="painting",
        unit="step",
        leave=False,
        disable=not on_terminal(sys.stderr),
        mininterval=0.2,
    ) as bar:

        def go_on(number: int) -> bool:
            bar.update(number - bar.n)
            return signals.number is None

        return paint(
            transfer,
            optimizer=optimizer,  # type: ignore[arg-type]
            evaluations=steps,
            start=start,  # type: ignore[arg-type]
            seed=seed,
            go_on=go_on,
        )


def _keep(
    files: Kept, painting: Painting, record: dict[str, object], weights: Mapping[str, float]
) -> None:
    """Write the picture, the curve and the record."""
    from PIL import Image

    files.stem(Path(PICTURE).stem)
    pixels = np.round(255 * painting.image).astype(np.uint8).transpose(1, 2, 0)
    save_png(files.directory / PICTURE, Image.fromarray(np.ascontiguousarray(pixels)))
    write_text(files.directory / RECORD, json.dumps(record, indent=2) + "\n")
    if plots.available():
        plots.painting_curve(files.directory / CURVE, painting.history, weights)
    else:
        notice(f"no curve was drawn: {missing('matplotlib')}")


def _told(painting: Painting) -> str:
    """What was reached, in a line."""
    first, last = painting.history[0], painting.reached
    share = 100 * last["loss"] / first["loss"] if first["loss"] else 100.0
    return (
        f"loss {first['loss']:.4f} at first, {last['loss']:.4f} at the end ({share:.1f} %), "
        f"content {last['content']:.4f}, style {last['style']:.4f}; {painting.optimizer}: "
        f"{painting.reason}"
    )
