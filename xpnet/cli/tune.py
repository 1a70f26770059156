"""`xpnet tune`."""

import signal
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from xpnet.cli.checks import check_writable
from xpnet.cli.options import (
    DIRECTORY,
    POSITIVE,
    Count,
    OneOf,
    Text,
    data_options,
    device_option,
    open_data,
    open_device,
)
from xpnet.data.sets import DIGIT_SETS
from xpnet.notice import quoted
from xpnet.train.signals import Interrupted


@click.command()
@partial(data_options, sets=DIGIT_SETS)
@device_option
@click.option(
    "--trials",
    type=Count(),
    default=100,
    metavar="N",
    help="The search ends when N trials are finished, counting those of earlier commands.",
)
@click.option(
    "--lr",
    type=POSITIVE,
    nargs=2,
    default=(1e-6, 1e-2),
    metavar="LOW HIGH",
    help="Learning rates are drawn from this range, evenly on a logarithmic scale.",
)
@click.option(
    "--weight-decay",
    type=POSITIVE,
    nargs=2,
    default=(1e-8, 1e-4),
    metavar="LOW HIGH",
    help="Weight decays are drawn from this range, evenly on a logarithmic scale.",
)
@click.option(
    "--samples",
    type=Count(2),
    default=500,
    metavar="N",
    help="A trial works with the first N training images: 20 % are set aside to validate with.",
)
@click.option(
    "--epochs",
    type=Count(),
    default=50,
    metavar="N",
    help="A trial passes N times over its training images.",
)
@click.option(
    "--batch-size",
    type=Count(),
    default=100,
    metavar="N",
    help="A training step takes N images.",
)
@click.option(
    "--sampler",
    type=OneOf(["random", "tpe"]),
    default="random",
    help="Values are chosen at random, or by tpe from what earlier trials came to.",
)
@click.option(
    "--pruner",
    type=OneOf(["none", "median"]),
    default="none",
    help="With median, a trial ends early where it is below the median of the others.",
)
@click.option(
    "--seed",
    type=Count(0, 2**63 - 1),
    default=0,
    metavar="N",
    help="The search is repeatable: N decides initial weights, batches and what is drawn.",
)
@click.option(
    "--workers",
    type=Count(most=1024),
    default=1,
    metavar="N",
    help="N processes of this machine make trials side by side.",
)
@click.option(
    "--timeout",
    type=POSITIVE,
    metavar="SECONDS",
    help="After so many seconds no trial begins. By default there is no limit.",
)
@click.option(
    "--storage",
    type=Text(),
    metavar="URL",
    help="Trials are kept in this database, which several machines can share, such as "
    "postgresql://USER@HOST/NAME. By default it is the file study.db in the directory of --out.",
)
@click.option(
    "--study",
    type=Text(),
    default="xpnet",
    metavar="NAME",
    help="The search has this name in the database.",
)
@click.option(
    "--out",
    type=DIRECTORY,
    help="Everything is kept in this directory; by default in runs/DATE-TIME-tune.",
)
def tune(
    data: str,
    data_dir: str | None,
    device: str,
    trials: int,
    workers: int,
    timeout: float | None,
    storage: str | None,
    study: str,
    out: str | None,
    **searched: Any,
) -> None:
    """Search for learning rate and weight decay, as the book does.

    A trial trains a network of six hidden layers with values drawn at random, and is judged by its
    accuracy on images that it was not trained on. Started again with the same options and the same
    --out, a search goes on where it was.
    """
    from xpnet.train import search as tuning  # needs Optuna

    search = tuning.Search(**searched)
    path = Path(out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-tune")
    if storage is not None:
        tuning.connectable(storage)
    tuning.check_directory(path)
    check_writable(path, "--out")
    place = open_device(device)
    dataset = open_data(data, data_dir)
    directory = tuning.prepare_directory(path)
    click.echo(f"directory: {directory}")
    try:
        results = search.run(
            dataset.x_train,
            dataset.t_train,
            storage=storage or tuning.storage_in(directory),
            study=study,
            trials=trials,
            workers=workers,
            device=place.name,
            timeout=timeout,
        )
    except KeyboardInterrupt:
        given = sys.argv[1:] if out else [*sys.argv[1:], "--out", str(directory.absolute())]
        again = " ".join(map(quoted, ["xpnet", *given]))
        raise Interrupted(
            f"interrupted; go on with: {tuning.without_password(again, storage)}", signal.SIGINT
        ) from None
    tuning.write_results(directory, search, study, results)
    for k, result in enumerate(tuning.best(results)[: tuning.SHOWN], start=1):
        click.echo(f"Best-{k} {result}")
    finished = sum(result.state in ("complete", "pruned") for result in results)
    ranges = tuning.narrowed(results, search).items()
    if ranges:
        options = [f"--{k.replace('_', '-')} {low:g} {high:g}" for k, (low, high) in ranges]
        click.echo(f"search next, where the best 5 % (at least 5) lie: {' '.join(options)}")
    elif tuning.best(results):
        click.echo(
            f"no trial is better than chance (up to {search.chance:.3g}), and none tells where to "
            "search next: give higher --epochs, more --samples or another --lr"
        )
    elif finished:
        click.echo("no trial came to its last epoch, and none tells where to search: lower --lr")
    click.echo(f"{finished} trials are finished; everything is in {directory}")
    if finished < trials:
        click.echo(f"to go on to {trials}, give the same options and --out {directory}")
