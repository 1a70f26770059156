"""`xpnet bench`."""

import sys
from typing import Any

import click

from xpnet.bench.cases import FIELD
from xpnet.cli.options import DIRECTORY, ModelName, Number, OneOf, Whole, open_device
from xpnet.notice import notice
from xpnet.optional import missing
from xpnet.report import plots


@click.command()
@click.option(
    "--device",
    type=str.lower,
    default="cpu",
    metavar="NAME",
    help="Steps are timed here: cpu, cuda, cuda:N, or auto, the first GPU or else the CPU.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    type=ModelName(),
    metavar="NAME",
    help=f"This network takes part, such as {', '.join(FIELD)}, which by default all do; any that "
    "`xpnet summary` takes, also module:function of your own, and in the task accuracy those for "
    "small images.",
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=OneOf(["train", "predict", "layers", "accuracy"]),
    help="This is measured; by default train and predict are.",
)
@click.option(
    "--contestant",
    "contestants",
    multiple=True,
    metavar="NAME",
    help="xpnet is compared with this one, such as torch or 'book design'; by default with all.",
)
@click.option(
    "--batch-size",
    "batch_sizes",
    multiple=True,
    type=Whole(),
    metavar="N",
    help="A step of training, and of the task layers, takes N images. By default training is "
    "timed with 100, of the book's networks also with 10 and 1000, and the layers with 100.",
)
@click.option(
    "--precision",
    type=OneOf(["float32", "tf32", "bfloat16"]),
    default="float32",
    help="A GPU multiplies matrices in this precision.",
)
@click.option(
    "--threads",
    type=Whole(),
    metavar="N",
    help="Each contestant computes with N threads; by default with one for each core.",
)
@click.option(
    "--rounds",
    type=Whole(),
    default=10,
    metavar="N",
    help="Each contestant takes N turns.",
)
@click.option(
    "--seconds",
    type=Number(),
    default=0.3,
    metavar="S",
    help="A turn lasts S seconds.",
)
@click.option(
    "--seeds",
    type=Whole(),
    metavar="N",
    help="The task accuracy trains N times; by default 10 times on a GPU and 3 times on the CPU.",
)
@click.option(
    "--out",
    type=DIRECTORY,
    help="A record, a page of tables and pictures are written into this directory. By default "
    "nothing is kept.",
)
def bench(device: str, out: str | None, **options: Any) -> None:
    """Time steps beside PyTorch's, JAX's and the book's design.

    What is told first of each case is the ratio to the best of them.

    The options model, task, contestant and batch-size can be given more than once. Only xpnet takes
    part in two tasks: layers is the share of each layer in a forward pass; accuracy is the seconds
    of training until 97 % and 99 % of MNIST's test images are read right.

    A contestant that is not installed is left out, and so is one that does not know a layer of a
    network. Where another one fails, the others go on, and the exit code is 1.
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
    failed = dict.fromkeys(name for case in record["cases"] for name in case.get("failed", ()))
    if failed:
        notice(f"error: {', '.join(failed)} failed and was left out; all else was measured")
        sys.exit(1)
