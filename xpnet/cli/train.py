"""`xpnet train`."""

import time
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from xpnet.arrays import versions
from xpnet.cli.checks import check_writable
from xpnet.cli.options import (
    DIRECTORY,
    PATH,
    POSITIVE,
    Count,
    Number,
    OneOf,
    data_options,
    device_option,
    engine_line,
    engine_options,
    model_options,
    open_data,
    open_device,
    open_game,
    open_text,
)
from xpnet.data.sets import SETS, is_text
from xpnet.errors import ArgumentError
from xpnet.games.known import is_game
from xpnet.models.registry import find_model, networks_of
from xpnet.notice import notice
from xpnet.optim import OPTIMIZERS
from xpnet.optim.checks import checked_learning_rate
from xpnet.optional import missing
from xpnet.report import plots
from xpnet.train.deep_q import DeepQ
from xpnet.train.record import SCHEDULES
from xpnet.train.run import Run
from xpnet.train.tasks import Data, arguments_of, data_of, lines_of, measured, task_of


@click.command(short_help="Train a network on digits, scenes, games or texts and keep it.")
@partial(
    data_options, sets=SETS, auto=", or the scenes or the game that the network is for", texts=True
)
@model_options
@device_option
@engine_options
@click.option(
    "--optimizer",
    type=OneOf(OPTIMIZERS),
    help="The weights follow their gradients by this rule; by default that of the network's book "
    "or experiment: sgd for a two-layer-net, momentum for a resnet or plain net, adam for the "
    "others, which for a dcgan has beta1 0.5.",
)
@click.option(
    "--lr",
    type=Number(),
    metavar="RATE",
    help="The learning rate is RATE, above 0: it says how far a step goes. By default it is that "
    "of the network's book or experiment, or the optimizer's own where these have another.",
)
@click.option(
    "--schedule",
    type=OneOf(SCHEDULES),
    help="The learning rate stays constant, falls to 0 as a cosine does, or drops to a quarter for "
    "the last two epochs, though not for the first. By default it is constant, and that of a "
    "faster-rcnn drops.",
)
@click.option(
    "--epochs",
    type=Count(),
    metavar="N",
    help="The network sees every training image N times; by default as often as in the network's "
    "book or experiment: 17 times a two-layer-net, 20 times the book's others, the binary ones and "
    "your own, 18 times a nic, 8 times an fcn or segnet, 5 times an r-cnn, faster-rcnn or dcgan, "
    "twice a lenet, once the other small ones. Of a game it is N times some thousand frames, "
    "20,000 of Catch in 19 epochs. A character-model reads its text 10 times.",
)
@click.option(
    "--batch-size",
    type=Count(),
    metavar="N",
    help="A step of training takes N images; by default 100, 20 scenes, 32 for a nic or 64 for a "
    "dcgan. Those of an r-cnn are 100 boxes, those of a dqn 32 moves; a character-model reads its "
    "text at 32 places at once.",
)
@click.option(
    "--dtype",
    type=OneOf(["float32", "float64"]),
    default="float32",
    help="Numbers are kept in this type; float64 is slower, and has twice the digits.",
)
@click.option(
    "--evaluate-samples",
    type=Count(),
    default=10_000,
    metavar="N",
    help="After an epoch, accuracy is measured on N images of the training set and N of the test "
    "set, or what else there is to measure, of a text on N characters of its end; at the end, on "
    "all of them.",
)
@click.option(
    "--seed",
    type=Count(0, 2**63 - 1),
    default=0,
    metavar="N",
    help="A run is repeatable: N decides its initial weights and the order of the images.",
)
@click.option(
    "--out",
    type=DIRECTORY,
    help="Everything is kept in this new directory; by default in runs/DATE-TIME-MODEL.",
)
@click.option(
    "--resume",
    type=PATH,
    help="The run in this directory goes on, or the run of this checkpoint from there. It needs "
    "no other options, but takes more --epochs.",
)
@click.option(
    "--begin",
    is_flag=True,
    show_default=False,
    help="With --resume DIR, the run begins if there is none in DIR yet.",
)
@click.option(
    "--checkpoint-steps",
    type=Count(),
    metavar="N",
    help="A checkpoint is written after every N steps, too, and not only after every epoch.",
)
@click.option(
    "--checkpoint-minutes",
    type=POSITIVE,
    metavar="M",
    help="A checkpoint is written every M minutes, too, and not only after every epoch.",
)
@click.option(
    "--keep",
    type=Count(),
    default=3,
    metavar="N",
    help="The newest N checkpoints are kept, and the best one.",
)
@click.option(
    "--no-replay-in-checkpoint",
    "replay_in_checkpoint",
    flag_value=False,
    default=True,
    show_default=False,
    help="Checkpoints of a dqn do not hold the memory of its games, and are small. A run that goes "
    "on from one fills it again, and is not bit for bit the run that was not stopped.",
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
    replay_in_checkpoint: bool,
    **settings: Any,
) -> None:
    """Train a network and keep it, with its record, in a run directory.

    Most networks learn to read digits; fcn and segnet learn what each pixel of a scene shows, r-cnn
    and faster-rcnn where digits are in one, nic to say in a sentence what one shows. Dqn and
    double-dqn learn by playing a game, and dcgan learns to draw digits itself. A character-model
    learns to write like a text of yours.
    After every epoch a checkpoint is written. Stopped or killed, a run goes on with --resume DIR.
    With --begin as well, one command can be repeated until the run is done.
    """
    started = datetime.now().astimezone()
    if out is not None and resume is not None:
        raise ArgumentError("--out begins a run and --resume goes on with one; give one of them")
    if begin and resume is None:
        raise ArgumentError("--begin is for --resume DIR; without that a run begins by itself")
    if settings["lr"] is not None:
        checked_learning_rate(settings["lr"])
    given = {
        name
        for name in settings
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if resume is None or "model" in given:
        arguments_of(settings)
    resolved = _resolved(settings, check=resume is None or "model" in given)
    place = open_device(
        device,
        engine,
        threads=threads,
        precision=settings["precision"],
        graph=graph,
        dtype=settings["dtype"],
    )
    own_place = f"{started:%Y%m%d-%H%M%S}-{settings['model'].replace(':', '-')}"
    path = resume or out or Path("runs") / own_place
    if resume is None:
        check_writable(path, "--out")
    with closing(Run(path, resume=resume is not None, or_begin=begin, keep=keep)) as run:
        settings = run.settings(resolved, given)
        if run.is_finished(settings["epochs"]):
            click.echo(f"the run in {run.path} is finished; --epochs N goes on to N epochs")
            return
        arguments = arguments_of(settings)
        built = run.model(settings, arguments, place, named="model" in given)
        data_dir = run.data_dir(data_dir)
        dataset = _opened(settings["data"], data_dir)
        settings["data"] = dataset.name
        trainer = run.trainer(
            settings,
            built,
            dataset,
            engine=engine,
            graph=graph,
            threads=threads,
            skip_engine_check=skip_engine_check,
        )
        if not replay_in_checkpoint:
            if not isinstance(trainer.learner, DeepQ):
                raise ArgumentError(
                    "--no-replay-in-checkpoint is for networks that play, such as dqn; leave it out"
                )
            trainer.learner.source.keeps_memory = False
            click.echo(
                "checkpoints have no memory of the games: a run that goes on from one is not bit "
                "for bit the one that was not stopped"
            )
        model = settings["model"]
        parameters = sum(network.params.count for network in networks_of(built).values())
        click.echo(f"model: {model}, {parameters} parameters, {settings['dtype']}")
        click.echo(f"engine: {engine_line(trainer.describe())}")
        for line in run.begin(trainer, settings, dataset, place, data_dir):
            click.echo(line)
        clock = time.perf_counter()
        last = run.train(trainer, checkpoint_steps, checkpoint_minutes, tell=notice)[-1]
        found = measured(trainer, built, dataset, settings)
        summary = {
            "model": model,
            "task": task_of(model, dataset.name),
            "arguments": arguments,
            "parameters": parameters,
            "data": dataset.name,
            "data_source": dataset.source,
            **dataset.sizes,
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
            **found,
            "train_seconds": last.seconds,
            "total_seconds": time.perf_counter() - clock,
            "started": started.isoformat(timespec="seconds"),
            "versions": versions(),
        }
        run.finish(trainer, summary)
        for line in lines_of(found, dataset.sizes):
            click.echo(line)
        click.echo(f"trained in {last.seconds:.1f} s on {place.name}; everything is in {run.path}")
        if not plots.available():
            click.echo(f"no learning curve was drawn: {missing('matplotlib')}")


def _opened(data: str, data_dir: str | None) -> Data:
    """Load what is learned from; it is told."""
    if is_game(data):
        return open_game(data)
    return open_text(data) if is_text(data) else open_data(data, data_dir)


def _resolved(settings: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Complete the settings with the book's, or the optimizer's own, where none was given.

    Parameters
    ----------
    check : whether the network is the run's, and data must be for it; not if a checkpoint tells it
    """
    kind = find_model(settings["model"])
    optimizer = settings["optimizer"] or kind.optimizer
    lr = settings["lr"]
    if lr is None:  # a rate is right for one optimizer only
        lr = kind.lr if optimizer == kind.optimizer else OPTIMIZERS[optimizer]().lr
    usual = ("epochs", "batch_size", "schedule")
    found = {name: settings[name] or getattr(kind, name) for name in usual}
    if check:
        found["data"] = data_of(settings["model"], settings["data"])
    return {**settings, "optimizer": optimizer, "lr": lr, **found}
