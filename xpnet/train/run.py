"""A run of the command line: settings, directory, checkpoints and trainer, new or gone on with."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xpnet import __version__
from xpnet.arrays import Device, versions
from xpnet.errors import CheckpointError, DirectoryTakenError, OutputError
from xpnet.functions.init import shapes_alone
from xpnet.models.describing import UNBUILDABLE
from xpnet.models.learning import learn_as, learning_of
from xpnet.models.own import is_own
from xpnet.models.registry import find_model
from xpnet.models.saved import built
from xpnet.report.metrics import EpochMetrics
from xpnet.train.checkpoint import NAME, Checkpoint, Checkpoints, load_checkpoint
from xpnet.train.keeper import Keeper
from xpnet.train.record import check_record, read_summary
from xpnet.train.run_directory import CHECKPOINTS, SUMMARY, RunDirectory, check_new
from xpnet.train.saved import is_directory
from xpnet.train.tasks import Data, arguments_of, trainer_of
from xpnet.train.trainer import Trainer


class Run:
    """A training run in a directory: it stands between the command line and a Trainer.

    A run is known by its settings, which stand in every checkpoint: model, data, optimizer and so
    on. It goes on with the same ones, but may be given more epochs.

    Parameters
    ----------
    path : the run's directory; to go on from, also a checkpoint in one
    resume : whether to go on with the run in it. Otherwise the directory is not touched before
        `begin`.
    or_begin : whether there need not be a run yet to go on with
    keep : checkpoints that stay

    Raises
    ------
    OutputError
        The directory is in use, holds something else or no run, or cannot be written.
    CheckpointError
        The checkpoint is damaged, or of a newer version of xpnet, or there is none of that name.
    """

    def __init__(
        self, path: str | Path, *, resume: bool, or_begin: bool = False, keep: int
    ) -> None:
        path = Path(path)
        if resume and path.name == CHECKPOINTS and Checkpoints(path).paths():
            path = path.parent
        is_file = path.suffix == ".safetensors" and not path.is_dir()
        chosen = path if resume and is_file else None
        if chosen is not None:
            _check_name(chosen)
        self.path = path.parent.parent if chosen else path
        self._checkpoints = Checkpoints(self.path / CHECKPOINTS, keep=keep)
        self._directory: RunDirectory | None = None
        self._found: Checkpoint | None = None
        self._record: dict[str, Any] = {}
        if not resume:
            check_new(self.path)
            return
        self._directory = RunDirectory(self.path, resume=True, begin=or_begin)
        try:
            self._found = load_checkpoint(chosen) if chosen else self._checkpoints.newest()
            self._check_found()
        except CheckpointError:
            self.close()
            raise

    @property
    def directory(self) -> RunDirectory:
        """The directory where everything is kept; nobody else can write there until `close`."""
        assert self._directory is not None, "begin first"
        return self._directory

    def _check_found(self) -> None:
        if self._found is None:
            return
        check_record(self._found.path, self._found.record, of_run=True)
        before = self._found.record["run"]["xpnet"]
        if _release(before) > _release(__version__):
            raise CheckpointError(
                f"the run in {self.path} is of xpnet {before}, and this is {__version__}, which is "
                "older; install that version, or begin another run"
            )

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
            They are others; the message names them. Or more epochs are done than asked for.
        """
        if self._found is None:
            return dict(settings)
        recorded = self._found.record["run"]["settings"]
        free = {"epochs"} if recorded["schedule"] == "constant" else set()
        differences = [
            f"--{name.replace('_', '-')} {recorded[name]} ({settings[name]} was asked for)"
            for name in sorted(given - free)
            if settings[name] != recorded[name] and (name, settings[name]) != ("data", "auto")
        ]
        if differences:
            raise CheckpointError(
                f"the run in {self.path} has {', '.join(differences)}; leave that out, or begin "
                "another run"
            )
        found = {**recorded, **{name: settings[name] for name in given & free}}
        if found["epochs"] < self._epochs_done:
            raise CheckpointError(
                f"the run in {self.path} has done {self._epochs_done} epochs, and "
                f"{found['epochs']} were asked for; go on from an earlier one of "
                f"{self._checkpoints.directory}, or begin another run"
            )
        return found

    @property
    def _epochs_done(self) -> int:
        return 0 if self._found is None else len(self._found.record["history"])

    def data_dir(self, given: str | None) -> str | None:
        """The directory to look for the data in: the given one, or the one given before.

        None if neither is, or if that one is there no more, as on another machine: what is then
        found elsewhere must be the same data.
        """
        if given is not None or self._found is None:
            return given
        before: str | None = self._found.record["run"].get("data_dir")
        return before if before is not None and is_directory(Path(before)) else None

    def is_finished(self, epochs: int) -> bool:
        """Tell whether there is nothing left to do, not even to write."""
        return self._epochs_done == epochs == read_summary(self.path / SUMMARY).get("epochs")

    def model(
        self,
        settings: Mapping[str, Any],
        arguments: Mapping[str, Any],
        device: Device,
        *,
        named: bool,
    ) -> Any:
        """A fresh `Network`, or what has several that work together as `networks`.

        Parameters
        ----------
        named : whether its name was given, and is not only what a checkpoint says: a function of
            the user's own is called by who names it, and by no file

        Raises
        ------
        CheckpointError
            The checkpoint's network has layers of the user's own, and no function was named.
        """
        name = settings["model"]
        if self._found is None or named or not is_own(name):
            placement = {"device": device, "dtype": settings["dtype"]}
            return find_model(name).build(**arguments, rng=settings["seed"], **placement)
        try:
            run = self._found.record["run"]
            with shapes_alone():
                text = run["networks"]["online"] if "networks" in run else run["network"]
                network = built(text, device=device)
            if "learning" in run:  # as it is since networks can be frozen by functions
                learn_as(network, run["learning"])
            return network
        except UNBUILDABLE as error:
            raise CheckpointError(
                f"the run in {self.path} is of {name}, whose network the checkpoint alone does not "
                f"tell ({error}); give --model {name} as well, which calls that function"
            ) from error

    def trainer(
        self, settings: Mapping[str, Any], model: Any, dataset: Data, **engine: Any
    ) -> Trainer:
        """The trainer of a fresh model; `engine` is what `Trainer` takes of that name.

        Threads are those that the run began with, which its last bits follow from, if none are
        asked for.
        """
        if engine.get("threads") is None and self._found is not None:
            engine["threads"] = self._found.record["run"]["computed_by"].get("threads")
        return trainer_of(settings, model, dataset, **engine)

    def begin(
        self,
        trainer: Trainer,
        settings: Mapping[str, Any],
        dataset: Data,
        device: Device,
        data_dir: str | None = None,
    ) -> list[str]:
        """Give the trainer what its run has come to; what there is to say of it, in lines.

        Parameters
        ----------
        data_dir : where the data were looked for, if that was told; the run looks there again

        Raises
        ------
        CheckpointError
            The data are others, or the network is.
        OutputError
            The directory of a new run is not empty, is in use or cannot be written.
        """
        new = self._directory is None
        place = None
        if data_dir is not None and "mnist" in (dataset.name, getattr(dataset, "digits", "")):
            place = str(Path(data_dir).expanduser().absolute())
        if self._directory is None:
            self._directory = RunDirectory(self.path)
        hardware = device.describe()
        hardware.pop("gpu_memory", None)  # which tells of others, too
        computing = trainer.describe()
        for passing in ("engine_check", "threads_reason"):  # another driver's, and another load's
            computing.pop(passing, None)
        self._record = {
            "settings": dict(settings),
            "data_sha256": dataset.checksum(),
            "xpnet": __version__,
            **_described(trainer, settings),
            "data_dir": place,
            "computed_by": {"device": device.name} | hardware | computing | versions(),
        }
        if self._found is None:
            return [] if new else [f"{self.path} holds no checkpoint yet: the run begins"]
        arrays, record, path = self._found
        before = record["run"]
        if before["data_sha256"] != self._record["data_sha256"]:
            raise CheckpointError(
                f"the run in {self.path} has data with the SHA-256 {before['data_sha256']}, and "
                f"those from {dataset.source} have {self._record['data_sha256']}; give the same "
                "data, or begin another run"
            )
        epochs, size = len(record["history"]), len(trainer.learner.source)
        steps = epochs * size + len(arrays.get("epoch_losses", ()))
        if record["steps"] != steps:
            raise CheckpointError(
                f"{path} has {record['steps']} steps, but its {epochs} epochs of {size} steps, and "
                f"those of one that is not done, make {steps}; take another"
            )
        trainer.restore(arrays, record)
        self._checkpoints.go_on_from(path)
        lines = [f"going on from {path}: {trainer.steps} steps, {len(trainer.history)} epochs"]
        then, now = (run["computed_by"] | {"xpnet": run["xpnet"]} for run in (before, self._record))
        others = [
            f"{what} was {then.get(what)} and is {now.get(what)}"
            for what in sorted(then | now)
            if then.get(what) != now.get(what)
        ]
        if others:
            lines.append(f"the last bits of the weights may differ now: {', '.join(others)}")
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
        self._keeper = Keeper(
            trainer,
            self.directory,
            self._checkpoints,
            self._record,
            every_steps=every_steps,
            every_minutes=every_minutes,
            tell=tell,
        )
        return self._keeper.train()

    def finish(self, trainer: Trainer, summary: Mapping[str, Any]) -> None:
        """Write what is left of a run that is done.

        Raises
        ------
        OutputError
            It cannot be written, or the directory is another run's by now; what was learned is kept
            in checkpoints, there or elsewhere.
        """
        try:
            about = self._record.get("about", {})
            self.directory.finish(trainer.learner.networks, trainer.history, summary, about)
        except OutputError as error:
            if not isinstance(error, DirectoryTakenError) and self._checkpoints.paths():
                raise
            raise self._keeper.saved_elsewhere(error) from error


def _described(trainer: Trainer, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of the networks in it, so that they can be built of it alone."""
    networks = trainer.learner.networks
    if list(networks) == ["network"]:
        network = networks["network"]
        return {"network": network.description(), "learning": learning_of(network)}
    return {
        "networks": {name: network.description() for name, network in networks.items()},
        "about": {
            "model": settings["model"],
            "arguments": arguments_of(settings),
            "data": settings["data"],
        },
    }


def _release(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with, to be compared."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _check_name(path: Path) -> None:
    """Refuse a file that cannot be a checkpoint of a run, before a directory is made for one."""
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; give one, or a run's directory")
    if not NAME.fullmatch(path.name) or path.parent.name != CHECKPOINTS:
        raise CheckpointError(
            f"{path} is not the checkpoint of a run, RUN/{CHECKPOINTS}/step-N.safetensors; "
            "give one, or a run's directory"
        )
