"""`xpnet tune`."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from xpnet.cli.options import DIRECTORY, data_options, device_option, open_data, open_device


@click.command()
@data_options
@device_option
@click.option("--trials", default=100, show_default=True, help="How many are wanted in total.")
@click.option("--lr", nargs=2, default=(1e-6, 1e-2), show_default=True, metavar="LOW HIGH")
@click.option(
    "--weight-decay", nargs=2, default=(1e-8, 1e-4), show_default=True, metavar="LOW HIGH"
)
@click.option("--samples", default=500, show_default=True, help="Training images; 20 % validate.")
@click.option("--epochs", default=50, show_default=True)
@click.option("--batch-size", default=100, show_default=True)
@click.option(
    "--sampler", type=click.Choice(["random", "tpe"]), default="random", show_default=True
)
@click.option("--pruner", type=click.Choice(["none", "median"]), default="none", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes on this machine.")
@click.option("--timeout", type=float, help="Seconds after which no trial is begun.")
@click.option("--storage", help="URL of a database to share; a file in the run directory.")
@click.option("--study", default="xpnet", show_default=True, help="The search's name there.")
@click.option("--out", type=DIRECTORY, help="Run directory; runs/DATE-TIME-tune if left out.")
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

    Started again with the same options, a search goes on where it was.
    """
    from xpnet.train import search as tuning  # needs Optuna

    search = tuning.Search(**searched)
    place = open_device(device)
    dataset = open_data(data, data_dir)
    directory = tuning.prepare_directory(
        out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-tune"
    )
    click.echo(f"directory: {directory}")
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
    tuning.write_results(directory, search, study, results)
    for k, result in enumerate(tuning.best(results)[: tuning.SHOWN], start=1):
        click.echo(f"Best-{k} {result}")
    finished = sum(result.state in ("complete", "pruned") for result in results)
    ranges = tuning.narrowed(results, search).items()
    if ranges:
        options = [f"--{k.replace('_', '-')} {low:g} {high:g}" for k, (low, high) in ranges]
        click.echo(f"search next, where the best 5 % (at least 5) lie: {' '.join(options)}")
    click.echo(f"{finished} trials are finished; everything is in {directory}")
    if finished < trials:
        click.echo(f"to go on to {trials}, give the same options and --out {directory}")
