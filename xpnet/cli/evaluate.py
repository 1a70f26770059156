"""`xpnet evaluate`."""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from xpnet.arrays import versions
from xpnet.cli.checks import (
    check_captions,
    check_finds,
    check_makes,
    check_reads,
    check_replaceable,
    check_scenes,
    check_segments,
    check_writable,
    segments,
)
from xpnet.cli.options import (
    FILE,
    PATH,
    data_options,
    device_option,
    engine_options,
    open_data,
    open_device,
    open_game,
    weights_options,
)
from xpnet.cli.watching import bar
from xpnet.data import Dataset
from xpnet.data.captions import CaptionScenes
from xpnet.data.scenes import Scenes
from xpnet.data.sets import SETS, data_for, known_of, set_of
from xpnet.errors import ArgumentError, shown
from xpnet.functions.targets import check_labels
from xpnet.games.known import Playing, game_of
from xpnet.models.network import Network
from xpnet.models.rcnn import RCNN
from xpnet.models.registry import Task
from xpnet.notice import notice
from xpnet.report.evaluate import predictions
from xpnet.train.captioners import as_captioner, encoder_of
from xpnet.train.deep_q import APART
from xpnet.train.detectors import as_detector, engines_of
from xpnet.train.generators import as_gan, is_gan
from xpnet.train.players import as_player, play_best, plays
from xpnet.train.run_directory import CHECKPOINTS, EVALUATION, write_json
from xpnet.train.saved import Together, is_directory, load_model, load_saved
from xpnet.train.tasks import (
    MeasuredImages,
    lines_of,
    measured_captions,
    measured_images,
    measured_masks,
    measured_objects,
)

MOST_ALIKE = 0.5
"""Share of one class from which on a generator has collapsed."""
MOST = 2**20
"""Bytes that an earlier evaluation has at most; it has one thousand."""


@click.command()
@partial(data_options, sets=SETS, auto=", or the scenes or the game that the network is for")
@weights_options
@device_option
@engine_options
@click.option(
    "--judge",
    type=PATH,
    help="What a network makes is judged by the classifier in this file or directory, which reads "
    "the same images, such as the directory of a run of --model simple-convnet.",
)
@click.option(
    "--out",
    type=FILE,
    help="The result is written into this JSON file; by default it is evaluation.json beside the "
    "weights, or in their run's directory.",
)
def evaluate(
    data: str,
    data_dir: str | None,
    weights: str,
    model: str | None,
    activation: str | None,
    device: str,
    engine: str,
    graph: bool,
    threads: int | None,
    precision: str | None,
    skip_engine_check: bool,
    judge: str | None,
    out: str | None,
) -> None:
    """Measure a network on the test images.

    The accuracy is the share of the images that it reads right, from 0 to 1. Of a network with
    scores for each pixel it is the share of pixels, beside the intersection of each class with its
    truth, over the union of both (IoU), and their mean. Of one that finds objects it is the mean
    average precision (mAP) and the share of the objects found, at an IoU of 0.5; of one that plays
    the mean return of an episode. Of one that writes captions it is the share that is right as a
    whole, and BLEU, also of novel scenes. Of one that makes images it is, for as many as there are
    test images, what --judge says: the class score, from 1 to the number of classes, and the
    Frechet distance to the test images, which is 0 at best. Both compare with those of the same
    judge alone, whose judge_sha256 stands beside them.
    """
    how: dict[str, Any] = {"threads": threads, "precision": precision, "graph": graph}
    place = open_device(device, engine, **how)
    more: dict[str, str] = {}
    path = Path(out) if out else _beside(Path(weights)) / EVALUATION
    check_writable(path.parent, "--out")
    check_replaceable(path, "--out", "an earlier evaluation", lambda path: bool(_earlier(path)))
    if model is None and activation is None:
        network = load_saved(weights, device=place)
    else:
        network = load_model(weights, activation=activation, device=place, model=model)
    how |= {"skip_engine_check": skip_engine_check}
    dataset: Dataset | Playing
    makes = isinstance(network, Together) and is_gan(network)
    if judge is not None and not makes:
        raise ArgumentError(
            f"--judge is for networks that make images, and that of {weights} makes none; leave it "
            "out"
        )
    if isinstance(network, Together) and makes:
        dataset, told = _made(network, weights, judge, data, data_dir, {"name": engine, **how})
        more, found = {"judge": str(judge), "judge_sha256": told.judge}, told.found
    elif isinstance(network, Together) and plays(network):
        dataset, found = _played(network, weights, data, {"name": engine, **how})
    elif isinstance(network, Together) and network.task == "caption":
        captioner = as_captioner(network, weights)
        dataset = open_data(data_for("caption", data), data_dir)
        check_captions(captioner, weights, dataset)
        assert isinstance(dataset, CaptionScenes)
        found = measured_captions(captioner, dataset, encoder_of(captioner, engine, **how))
    elif isinstance(network, Together | RCNN):
        detector = as_detector(network, weights)
        dataset = open_data(data_for("detect", data), data_dir)
        check_finds(detector, weights, dataset)
        assert isinstance(dataset, Scenes)
        found = measured_objects(detector, dataset, engines_of(detector, engine, **how))
    else:
        dataset, found = _read(network, weights, data, data_dir, {"engine": engine, **how})
    untrained = {k: size for k, size in dataset.sizes.items() if not k.startswith("train_")}
    record = {
        "weights": str(weights),
        "data": dataset.name,
        **found,
        **more,
        **untrained,
        "device": place.name,
        "versions": versions(),
    }
    for line in lines_of(found, untrained):
        click.echo(line)
    if makes:
        click.echo(f"judge: {judge}, SHA-256 {more['judge_sha256']}")
        name, share = max(found["test_class_shares"].items(), key=lambda pair: pair[1])
        if share > MOST_ALIKE:
            notice(f"hint: {share:.0%} of the images are taken for a {name}: it has collapsed")
    before, kept = _earlier(path), f"evaluation: {path}"
    if before and any(before[name] != record[name] for name in ("weights", "data")):
        kept += f", in place of that of {shown(before['weights'])} on {shown(before['data'])}"
    write_json(path, record)
    click.echo(kept)


def _read(
    network: Network, weights: str, data: str, data_dir: str | None, how: Mapping[str, Any]
) -> tuple[Dataset, dict[str, Any]]:
    """The data that a network is for, and how well it reads them, or each of their pixels."""
    task: Task = "segment" if segments(network) else "classify"
    if task == "segment" and data == "auto":
        data = set_of(network.input_shape, check_segments(network, weights), task) or data
    dataset = open_data(data_for(task, data), data_dir)
    if task == "segment":
        check_scenes(network, weights, dataset)
    else:
        check_reads(network, weights, dataset.x_test.shape[1:], check_labels(dataset.t_test))
    read = predictions(network, dataset.x_test, **how)
    if task == "segment":
        names = known_of(dataset.name).classes[task]
        return dataset, measured_masks(dataset.t_test, read, names)
    return dataset, {"test_accuracy": float(np.mean(read == dataset.t_test))}


def _made(
    found: Together,
    weights: str,
    judge: str | None,
    data: str,
    data_dir: str | None,
    how: Mapping[str, Any],
) -> tuple[Dataset, MeasuredImages]:
    """The data that a generator has learned, and what the judge says of what it makes."""
    if judge is None:
        raise ArgumentError(
            f"the generator of {weights} needs a classifier as its judge; give --judge WEIGHTS, "
            "such as a run of --model simple-convnet"
        )
    gan = as_gan(found, weights)
    looks = load_model(judge, device=gan.device)
    dataset = open_data(data_for("generate", data), data_dir)
    check_makes(gan, weights, dataset)
    check_reads(looks, judge, gan.input_shape, len(known_of(dataset.name).classes["generate"]))
    return dataset, measured_images(gan, dataset, looks, how)


def _played(
    found: Together, weights: str, data: str, how: Mapping[str, Any]
) -> tuple[Playing, dict[str, Any]]:
    """The game that a network is for, or that was asked for, and what it brings there."""
    network, name = as_player(found, weights)
    playing = open_game(name if data == "auto" else data_for("play", data))
    episodes = playing.sizes["test_episodes"]
    game = game_of(playing.name, episodes, seed=APART, device=network.device)
    with bar("move") as moved:
        returns = play_best(network, game, after=lambda step: moved(), **how)
    return playing, {"test_return": float(returns.mean(dtype=np.float64))}


def _earlier(path: Path) -> dict[str, Any]:
    """Read what this command wrote; nothing where a file is something else, or not there."""
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file() and path.stat().st_size <= MOST:
            record = json.loads(path.read_text(encoding="utf-8"))
            known = isinstance(record, dict) and {"weights", "data", "device"} <= record.keys()
            if known and {"test_images", "test_episodes"} & record.keys():
                return dict(record)
    return {}


def _beside(weights: Path) -> Path:
    """The directory for what is measured of weights; a run's own of what is in a run."""
    directory = weights if is_directory(weights) else weights.parent
    return directory.parent if directory.name == CHECKPOINTS else directory
