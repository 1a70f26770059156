"""`xpnet summary`."""

import click

from xpnet.cli.options import model_options
from xpnet.engine import get_engine
from xpnet.layers.base import Shapes
from xpnet.models import build_network
from xpnet.train.saved import model_arguments


@click.command()
@model_options
@click.option(
    "--methods",
    "with_methods",
    is_flag=True,
    show_default=False,
    help="It is also shown how the CPU's engine computes each layer.",
)
def summary(
    model: str, hidden_size: int | None, activation: str | None, with_methods: bool
) -> None:
    """Show a network's layers, output shapes and parameters.

    The parameters of a layer are the numbers that it learns: its weights and biases.
    """
    arguments = model_arguments(model, (1, 28, 28), hidden_size, activation)
    network = build_network(model, arguments, rng=0)
    methods = get_engine(network).methods() if with_methods else {}
    rows = [("layer", "kind", "output shape", "parameters", "computed by" if with_methods else "")]
    rows += [("input", "", _shown(network.input_shape), "", "")]
    rows += [
        (
            "  " * row.depth + row.name.rpartition(".")[2],
            row.kind,
            _shown(row.output_shape),
            f"{row.parameters:,}" if row.parameters else "",
            methods.get(row.name, ""),
        )
        for row in network.summary()
    ]
    rows += [("", "", "total", f"{network.params.count:,}", "")]
    least = (10, 14, 14, 13, 0)
    a, b, c, d, _ = (
        max(width, 1 + max(map(len, column)))
        for width, column in zip(least, zip(*rows, strict=True), strict=True)
    )
    for name, kind, shape, count, method in rows:
        click.echo(f"{name:{a}}{kind:{b}}{shape:>{c}}{count:>{d}}  {method}".rstrip())


def _shown(shape: Shapes) -> str:
    """28 x 28, or such a shape for each of several heads."""
    if isinstance(shape, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in shape.items())
    return " x ".join(map(str, shape))
