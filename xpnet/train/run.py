"""A run of the command line: settings, directory, checkpoints and trainer, new or gone on with."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xpnet.backend import Device, versions
from xpnet.data import Dataset
from xpnet.errors import CheckpointError
from xpnet.models import build_network
from xpnet.schedules import Cosine
from xpnet.train.checkpoint import Checkpoint, Checkpoints, load_checkpoint
from xpnet.train.keeper import Keeper
from xpnet.train.run_directory import CHECKPOINTS, RunDirectory
from xpnet.train.trainer import EpochMetrics, Trainer

SET_ASIDE = ".set-aside"
"""Ending of checkpoints that are newer than the one a run went on from."""


class Run:
    """What stands between the command line and a Trainer.

    A run is known by its settings, which stand in every checkpoint: model, data, optimizer and so
    on. It goes on with the same ones, but may be given more epochs.

    Parameters
    ----------
    path : the run's directory; to go on from, also a checkpoint in one
    resume : whether to go on with the run in it, if there is one. Otherwise the directory is not
        touched before `begin`.
    keep : checkpoints that stay

    Raises
    ------
    OutputError
        The directory is in use or cannot be written.
    CheckpointError
        The newest checkpoint is damaged.
    """

    def __init__(self, path: str | Path, *, resume: bool, keep: int) -> None:
        path = Path(path)
        chosen = path if resume and path.is_file() else None
        self.path = path.parent.parent if chosen else path
        self._checkpoints = Checkpoints(self.path / CHECKPOINTS, keep=keep)
        self._directory: RunDirectory | None = None
        self._found: Checkpoint | None = None
        self._record: dict[str, Any] = {}
        if not resume:
            return
        self._directory = RunDirectory(self.path, resume=True)
        try:
            if chosen is not None:
                self._found = load_checkpoint(chosen)
                self._set_aside(chosen)
            else:
                self._found = self._checkpoints.newest()
        except CheckpointError:
            self.close()
            raise

    @property
    def directory(self) -> RunDirectory:
        """Where everything is kept; nobody else can write there until `close`."""
        assert self._directory is not None, "begin first"
        return self._directory

    def _set_aside(self, chosen: Path) -> None:
        """Let no newer checkpoint be taken for the newest."""
        paths = self._checkpoints.paths()
        names = [path.name for path in paths]
        if chosen.name in names:
            for path in paths[names.index(chosen.name) + 1 :]:
                path.rename(path.with_suffix(SET_ASIDE))

    def close(self) -> None:
        """Let others open the directory."""
        if self._directory is not None:
            self._directory.close()

    def settings(self, settings: Mapping[str, Any], given: set[str]) -> dict[str, Any]:
        """The run's settings: those recorded, or `settings` where it is new.

        Parameters
        ----------
        given : names of settings that were asked for and must not be others than recorded

        Raises
        ------
        CheckpointError
            They are others; the message names the first.
        """
        if self._found is None:
            return dict(settings)
        recorded = self._found.record["run"]["settings"]
        free = {"epochs"} if recorded["schedule"] == "constant" else set()
        for name in sorted(given - free):
            if settings[name] != recorded[name] and (name, settings[name]) != ("data", "auto"):
                option = f"--{name.replace('_', '-')}"
                raise CheckpointError(
                    f"the run in {self.path} has {option} {recorded[name]}, and {settings[name]} "
                    "was asked for; leave it out, or begin another run"
                )
        return {**recorded, **{name: settings[name] for name in given & free}}

    def is_finished(self, epochs: int) -> bool:
        """Whether there is nothing left to do."""
        done = 0 if self._found is None else len(self._found.record["history"])
        return done >= epochs and (self.path / "summary.json").exists()

    def trainer(
        self,
        settings: Mapping[str, Any],
        arguments: Mapping[str, Any],
        dataset: Dataset,
        device: Device,
        engine: str,
        threads: int | None,
    ) -> Trainer:
        """A fresh network and its trainer."""
        network = build_network(
            settings["model"],
            arguments,
            rng=settings["seed"],
            device=device,
            dtype=settings["dtype"],
        )
        trainer = Trainer(
            network,
            dataset.x_train,
            dataset.t_train,
            dataset.x_test,
            dataset.t_test,
            settings["epochs"],
            settings["batch_size"],
            settings["optimizer"],
            {"lr": settings["lr"]},
            settings["evaluate_samples"],
            seed=settings["seed"],
            engine=engine,
            threads=threads,
            precision=settings["precision"],
        )
        if settings["schedule"] == "cosine":
            steps = settings["epochs"] * len(trainer.train_batches)
            trainer.schedule = Cosine(settings["lr"], steps=steps)
        return trainer

    def begin(
        self, trainer: Trainer, settings: Mapping[str, Any], dataset: Dataset, device: Device
    ) -> list[str]:
        """Give the trainer what its run has come to; what there is to say of it, in lines.

        Raises
        ------
        CheckpointError
            The data or the version of xpnet are others.
        OutputError
            The directory of a new run is not empty, is in use or cannot be written.
        """
        if self._directory is None:
            self._directory = RunDirectory(self.path)
        self._record = {
            "settings": dict(settings),
            "data_sha256": dataset.checksum(),
            "versions": versions(),
            "device": device.name,
            "engine": trainer.describe(),
        }
        if self._found is None:
            return []
        arrays, record, path = self._found
        before = record["run"]
        for what, then, now in (
            ("data", before["data_sha256"], self._record["data_sha256"]),
            ("xpnet", before["versions"]["xpnet"], self._record["versions"]["xpnet"]),
        ):
            if then != now:
                raise CheckpointError(
                    f"the run in {self.path} had {what} {then[:12]}, and now it is {now[:12]}; "
                    "give it back, or begin another run"
                )
        trainer.restore(arrays, record)
        lines = [f"going on from {path}: {trainer.steps} steps, {len(trainer.history)} epochs"]
        others = [
            f"{what} was {before[what]}, now {self._record[what]}"
            for what in ("versions", "device", "engine")
            if before[what] != self._record[what]
        ]
        if others:
            lines.append(f"so results will not be the same bit for bit: {'; '.join(others)}")
        return lines

    def train(
        self,
        trainer: Trainer,
        every_steps: int | None,
        every_minutes: float | None,
        *,
        tell: Callable[[str], None],
    ) -> list[EpochMetrics]:
        """Train to the end, with a checkpoint after every epoch and as often as asked for."""
        return Keeper(
            trainer,
            self._checkpoints,
            self._record,
            every_steps=every_steps,
            every_minutes=every_minutes,
            after_epoch=lambda: self.directory.write_metrics(trainer.history),
            tell=tell,
        ).train()
