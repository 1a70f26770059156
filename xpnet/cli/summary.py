"""`xpnet summary`."""

import click

from xpnet.cli.options import ImageShape, model_options
from xpnet.engine import get_engine
from xpnet.layers.base import Shapes
from xpnet.models.network import Network
from xpnet.models.registry import outlines


@click.command()
@model_options
@click.option(
    "--input-shape",
    "shape",  # a name of one word, which messages keep
    type=ImageShape(),
    metavar="CxHxW",
    help="An image has this shape, such as 3x32x32; by default that of the images that the network "
    "is for, or those that networks of its task are trained on here.",
)
@click.option(
    "--methods",
    "with_methods",
    is_flag=True,
    show_default=False,
    help="It is also shown how the CPU's engine computes each layer.",
)
def summary(
    model: str,
    hidden_size: int | None,
    activation: str | None,
    shape: tuple[int, int, int] | None,
    with_methods: bool,
) -> None:
    """Show a network's layers, shapes, parameters and MACs.

    The parameters of a layer are the numbers that it learns: its weights and biases. The MACs of
    convolutions and fully connected layers are the multiplications, each with an addition, that
    they make for one image. No weights are drawn, so that large networks are shown at once.
    """
    found = outlines(model, shape, hidden_size, activation)
    for name, network in found.items():
        if len(found) > 1:
            click.echo(f"{name}:")
        _show(network, with_methods)


def _show(network: Network, with_methods: bool) -> None:
    """A network's layers, a line each, and the sums."""
    methods = get_engine(network).methods() if with_methods else {}
    end = "computed by" if with_methods else ""
    rows = [("layer", "kind", "output shape", "parameters", "MACs", end)]
    rows += [("input", "", _shown(network.input_shape), "", "", "")]
    rows += [
        (
            "  " * row.depth + row.name.rpartition(".")[2],
            row.kind,
            _shown(row.output_shape),
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.macs:,}" if row.macs else "",
            methods.get(row.name, ""),
        )
        for row in network.summary()
    ]
    total = f"{network.params.count:,}", f"{network.macs:,}"
    rows += [("", "", "total", *total, "")]
    least = (10, 14, 14, 13, 13, 0)
    a, b, c, d, e, _ = (
        max(width, 1 + max(map(len, column)))
        for width, column in zip(least, zip(*rows, strict=True), strict=True)
    )
    for name, kind, size, count, macs, method in rows:
        click.echo(f"{name:{a}}{kind:{b}}{size:>{c}}{count:>{d}}{macs:>{e}}  {method}".rstrip())


def _shown(shape: Shapes) -> str:
    """28 x 28, or such a shape for each of several heads."""
    if isinstance(shape, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in shape.items())
    return " x ".join(map(str, shape))
