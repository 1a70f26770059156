"""`xpnet train`."""

import time
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from xpnet.arrays import versions
from xpnet.cli.options import (
    DIRECTORY,
    FiniteRange,
    data_options,
    device_option,
    engine_line,
    engine_options,
    model_options,
    open_data,
    open_device,
)
from xpnet.errors import ArgumentError
from xpnet.models import MODELS
from xpnet.notice import notice
from xpnet.optim import OPTIMIZERS
from xpnet.optional import missing
from xpnet.report import plots
from xpnet.train.run import Run
from xpnet.train.saved import model_arguments


@click.command()
@data_options
@model_options
@device_option
@engine_options
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), help="The book's if left out.")
@click.option(
    "--lr", type=float, help="Learning rate; the book's, or the optimizer's own, if left out."
)
@click.option(
    "--schedule",
    type=click.Choice(["constant", "cosine"]),
    default="constant",
    show_default=True,
    help="Of the learning rate; cosine lets it fall to 0.",
)
@click.option("--epochs", type=int, help="The book's number if left out.")
@click.option("--batch-size", default=100, show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32")
@click.option(
    "--evaluate-samples",
    default=10_000,
    show_default=True,
    help="Images of each set to measure accuracy on after an epoch; all of them at the end.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of initial weights and shuffles.",
)
@click.option("--out", type=DIRECTORY, help="Run directory; runs/DATE-TIME-MODEL if left out.")
@click.option(
    "--resume",
    type=click.Path(),
    help="Run directory to go on with, or a checkpoint in one.",
)
@click.option(
    "--begin", is_flag=True, help="With --resume DIR: begin the run if there is none in DIR yet."
)
@click.option(
    "--checkpoint-steps",
    type=click.IntRange(min=1),
    help="Checkpoints within an epoch, by steps.",
)
@click.option(
    "--checkpoint-minutes",
    type=FiniteRange(min=0, min_open=True),
    help="Checkpoints within an epoch, by time.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Checkpoints kept, besides the best.",
)
@click.pass_context
def train(
    context: click.Context,
    /,
    data_dir: str | None,
    device: str,
    engine: str,
    graph: bool,
    threads: int | None,
    skip_engine_check: bool,
    out: str | None,
    resume: str | None,
    begin: bool,
    checkpoint_steps: int | None,
    checkpoint_minutes: float | None,
    keep: int,
    **settings: Any,
) -> None:
    """Train a network on digits and keep it, with its record, in a run directory.

    After every epoch a checkpoint is written. Stopped or killed, a run goes on with --resume DIR.
    With --begin as well, one command can be repeated until the run is done.
    """
    started = datetime.now().astimezone()
    if out is not None and resume is not None:
        raise ArgumentError("--out begins a run and --resume goes on with one; give one of them")
    if begin and resume is None:
        raise ArgumentError("--begin is for --resume DIR; without that a run begins by itself")
    place = open_device(device)
    path = resume or out or Path("runs") / f"{started:%Y%m%d-%H%M%S}-{settings['model']}"
    with closing(Run(path, resume=resume is not None, or_begin=begin, keep=keep)) as run:
        given = {
            name
            for name in settings
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        }
        settings = run.settings(_resolved(settings), given)
        if run.is_finished(settings["epochs"]):
            click.echo(f"the run in {run.path} is finished; --epochs N goes on to N epochs")
            return
        dataset = open_data(settings["data"], data_dir)
        settings["data"] = dataset.name
        arguments = model_arguments(
            settings["model"],
            dataset.x_train.shape[1:],
            settings["hidden_size"],
            settings["activation"],
        )
        trainer = run.trainer(
            settings,
            arguments,
            dataset,
            place,
            engine=engine,
            graph=graph,
            threads=threads,
            skip_engine_check=skip_engine_check,
        )
        network = trainer.network
        model, parameters = settings["model"], network.params.count
        click.echo(f"model: {model}, {parameters} parameters, {settings['dtype']}")
        click.echo(f"engine: {engine_line(trainer.describe())}")
        for line in run.begin(trainer, settings, dataset, place):
            click.echo(line)
        clock = time.perf_counter()
        last = run.train(trainer, checkpoint_steps, checkpoint_minutes, tell=notice)[-1]
        trainer.evaluate_samples = None
        train_accuracy = trainer.evaluate(trainer.train_batches)
        test_accuracy = trainer.evaluate(trainer.test_batches)
        summary = {
            "model": model,
            "arguments": arguments,
            "parameters": parameters,
            "data": dataset.name,
            "data_source": dataset.source,
            "train_images": len(dataset.x_train),
            "test_images": len(dataset.x_test),
            "device": place.name,
            "hardware": place.describe(),
            **trainer.describe(),
            "dtype": settings["dtype"],
            "seed": settings["seed"],
            "epochs": settings["epochs"],
            "batch_size": settings["batch_size"],
            "steps": len(trainer.train_loss_list),
            "optimizer": settings["optimizer"],
            "lr": settings["lr"],
            "schedule": settings["schedule"],
            "train_loss": last.train_loss,
            "train_accuracy": train_accuracy,
            "test_accuracy": test_accuracy,
            "train_seconds": last.seconds,
            "total_seconds": time.perf_counter() - clock,
            "started": started.isoformat(timespec="seconds"),
            "versions": versions(),
        }
        run.finish(trainer, summary)
        click.echo(f"train accuracy: {train_accuracy:.4f} on {len(dataset.x_train)} images")
        click.echo(f"test accuracy: {test_accuracy:.4f} on {len(dataset.x_test)} images")
        click.echo(f"trained in {last.seconds:.1f} s on {place.name}; everything is in {run.path}")
        if not plots.available():
            click.echo(f"no learning curve was drawn: {missing('matplotlib')}")


def _resolved(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the settings with the book's, or the optimizer's own, where none was given."""
    kind = MODELS[settings["model"]]
    optimizer = settings["optimizer"] or kind.optimizer
    lr = settings["lr"]
    if lr is None:  # a rate is right for one optimizer only
        lr = kind.lr if optimizer == kind.optimizer else OPTIMIZERS[optimizer]().lr
    epochs = kind.epochs if settings["epochs"] is None else settings["epochs"]
    return {**settings, "optimizer": optimizer, "lr": lr, "epochs": epochs}
