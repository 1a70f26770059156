"""`xpnet summary`."""

import click

from xpnet.cli.options import model_arguments, model_options
from xpnet.engine import get_engine
from xpnet.models import build_network


@click.command()
@model_options
@click.option("--engine", is_flag=True, help="Show, too, how the CPU's engine computes each layer.")
def summary(model: str, hidden_size: int | None, activation: str | None, engine: bool) -> None:
    """Show a network's layers, output shapes and parameters."""
    arguments = model_arguments(model, (1, 28, 28), hidden_size, activation)
    network = build_network(model, arguments, rng=0)
    methods = get_engine(network).methods() if engine else {}
    rows = [("layer", "kind", "output shape", "parameters", "computed by" if engine else "")]
    rows += [("input", "", _shown(network.input_shape), "", "")]
    rows += [
        (
            row.name,
            row.kind,
            _shown(row.output_shape),
            f"{row.parameters:,}" if row.parameters else "",
            methods.get(row.name, ""),
        )
        for row in network.summary()
    ]
    rows += [("", "", "total", f"{network.params.count:,}", "")]
    for name, kind, shape, count, method in rows:
        click.echo(f"{name:10}{kind:14}{shape:>14}{count:>13}  {method}".rstrip())


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
