"""Seconds of training until a test accuracy is reached."""

from collections.abc import Sequence

from xpnet.arrays import Device
from xpnet.bench.cases import fresh
from xpnet.bench.statistics import Record, spread
from xpnet.data import Dataset
from xpnet.models.registry import find_model
from xpnet.train import EpochMetrics, Trainer

BATCH_SIZE = 100
GOALS = (0.97, 0.99)
"""Test accuracies, in rising order."""


def measure(
    model: str,
    dataset: Dataset,
    seeds: int,
    device: Device,
    threads: int,
    precision: str = "float32",
) -> Record:
    """Train with seeds 0, 1, ... as the book does, each until the last goal or for its epochs.

    Accuracy is measured after every epoch, on all test images, while the clock stands still.
    """
    trainers = [_trained(model, dataset, seed, device, threads, precision) for seed in range(seeds)]
    return {
        "model": model,
        "task": "accuracy",
        "optimizer": find_model(model).optimizer,
        "batch_size": BATCH_SIZE,
        "device": device.name,
        "precision": precision,
        "data": dataset.name,
        "epochs": find_model(model).epochs,
        "goals": {f"{goal:g}": _reached(trainers, goal) for goal in GOALS},
        "runs": [
            [(metrics.seconds, metrics.test_accuracy) for metrics in trainer.history]
            for trainer in trainers
        ],
        "description": trainers[0].engine.describe(),
    }


def _trained(
    model: str, dataset: Dataset, seed: int, device: Device, threads: int, precision: str
) -> Trainer:
    kind = find_model(model)
    trainer = Trainer(
        fresh(model, device, seed),
        dataset.x_train,
        dataset.t_train,
        dataset.x_test,
        dataset.t_test,
        kind.epochs,
        BATCH_SIZE,
        kind.optimizer,
        {"lr": kind.lr},
        len(dataset.x_test),
        verbose=False,
        seed=seed,
        threads=threads,
        precision=precision,
    )
    while len(trainer.history) < kind.epochs:
        if trainer.train_epoch()["test_accuracy"] >= GOALS[-1]:
            break
    return trainer


def _reached(trainers: Sequence[Trainer], goal: float) -> Record:
    """Seconds of each run, None where it did not get there, and the spread of the others."""
    seconds = [_seconds_until(goal, trainer.history) for trainer in trainers]
    known = [value for value in seconds if value is not None]
    return {"seconds": seconds, "reached": len(known), **(spread(known) if known else {})}


def _seconds_until(goal: float, history: Sequence[EpochMetrics]) -> float | None:
    return next((m.seconds for m in history if m["test_accuracy"] >= goal), None)
