"""`xpnet bench`."""

from typing import Any

import click

from xpnet.cli.options import DIRECTORY, MODELS_OFFERED, open_device
from xpnet.optional import missing
from xpnet.report import plots


@click.command()
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--model", "models", multiple=True, type=click.Choice(MODELS_OFFERED), help="All if left out."
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=click.Choice(["train", "predict", "layers", "accuracy"]),
    help="The first two if left out.",
)
@click.option(
    "--contestant",
    "contestants",
    multiple=True,
    metavar="NAME",
    help="Whom to compare xpnet with; everybody if left out.",
)
@click.option(
    "--batch-size",
    "batch_sizes",
    multiple=True,
    type=int,
    help="Of training and layers; 10, 100 and 1000, and 100, if left out.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of products, on a GPU.",
)
@click.option("--threads", type=int, help="For each contestant; all cores if left out.")
@click.option("--rounds", default=10, show_default=True, help="Turns of each contestant.")
@click.option("--seconds", default=0.3, show_default=True, help="Length of a turn.")
@click.option("--seeds", type=int, help="Runs to an accuracy; 10 on a GPU, 3 on the CPU.")
@click.option(
    "--out", type=DIRECTORY, help="Directory for the record, a page of tables and pictures."
)
def bench(device: str, out: str | None, **options: Any) -> None:
    """Time steps beside PyTorch's, JAX's and the book's design.

    Options that name what to measure can be given more than once. Only xpnet takes part in the
    tasks layers, the share of each in a forward pass, and accuracy, the seconds of training until
    97 % and 99 % of MNIST's test images are read.
    """
    from xpnet.bench import report, run  # what `import xpnet.cli` need not wait for

    wanted = run.Options(device=open_device(device).name, **options)
    directory = None if out is None else report.prepare_directory(out)
    record = run.run(
        wanted,
        begin=lambda record: click.echo("\n".join(report.head(record))),
        show=lambda case: click.echo(f"\n{report.text_table(case)}"),
    )
    click.echo(f"\n{report.legend(record)}")
    if directory is not None:
        report.write(directory, record)
        click.echo(f"everything is in {directory}")
        if not plots.available():
            click.echo(f"no picture was drawn: {missing('matplotlib')}")
