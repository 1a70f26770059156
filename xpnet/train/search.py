"""Search for hyper-parameters (Deep Learning from Scratch, section 6.5), on Optuna.

A search keeps its trials in a database as they are made. It can be ended at any time and goes on
where it was, and any number of processes, on any number of machines, can share it. One SQLite file
serves the processes of one machine; several machines need a database server.

What is repeatable:

- A trial's result depends on its hyper-parameters and the seed alone: every network starts from
  the same weights and sees the same batches.
- The random sampler draws trial k from (seed, k), whoever runs it and whatever was broken off
  before. A search that was killed and started again makes the same trials as an unbroken one.
- TPE looks at the trials finished so far. It repeats with one worker that is not killed.
- The median pruner compares with the trials finished so far, and repeats likewise.

A process shows every few seconds that its trial is alive. If it is killed, the trial is marked as
failed after `GRACE` seconds and queued again, with the same hyper-parameters, by whoever shares the
search or takes it up.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import ceil, floor, inf, isfinite, log10, nan, prod
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.arrays import versions
from xpnet.data import shuffle_dataset
from xpnet.errors import ArgumentError, DivergedError, OutputError, XPNetError
from xpnet.files.atomic import write_text
from xpnet.models import MultiLayerNet
from xpnet.report import plots
from xpnet.train import EpochMetrics, Trainer

try:
    import optuna
except ModuleNotFoundError as error:
    raise ArgumentError(
        "the search for hyper-parameters needs Optuna, which is not installed: pip install optuna"
    ) from error
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

SAMPLERS = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
PRUNERS = ("none", "median")

STUDY_FILE, RESULTS_FILE, PICTURE_FILE = "study.db", "results.json", "best_trials.png"
SHOWN = 20
"""How many of the best trials the book prints and draws."""

HEARTBEAT, GRACE = 5, 30
"""Seconds between signs of life, and without one until a trial counts as dead."""
SQLITE_WAIT = 60
"""Seconds to wait for another process that is writing to the file."""

STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, SQLAlchemyError)

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Range = tuple[float, float]


@dataclass(frozen=True)
class TrialResult:
    """One set of hyper-parameters and what came of it."""

    trial: int
    """From 0. A trial that was killed and made again is there twice."""
    state: str
    """complete, pruned (also where training came to numbers that are none), fail, running or
    waiting."""
    lr: float | None
    """None, like `weight_decay`, where it was not drawn yet."""
    weight_decay: float | None
    validation: list[float]
    """Validation accuracy after every epoch."""
    train: list[float]
    """Training accuracy after every epoch."""

    def __str__(self) -> str:
        """The line that the book prints."""
        accuracy = f"{self.validation[-1]:.4g}" if self.validation else "none"
        return f"(val acc: {accuracy}) | lr:{self.lr:.3g}, weight decay:{self.weight_decay:.3g}"


@dataclass(frozen=True)
class Search:
    """What is searched and how; the defaults are the book's.

    Networks n-100-100-100-100-100-100-10 with He's initial weights are trained by SGD on the first
    training images, less those set aside for validation. Learning rate and weight decay are drawn
    evenly on a logarithmic scale.

    Parameters
    ----------
    samples : training images to work with; all if there are fewer
    validation_rate : share of them that is set aside
    hidden_size_list : units of each hidden layer
    epochs, batch_size : of every trial
    lr, weight_decay : the lowest and the highest value to try; above 0
    sampler : "random", or "tpe" for Optuna's Bayesian optimization
    pruner : "none", or "median" to end a trial that is, after the first fifth of its epochs, below
        the median of the others at the same epoch
    seed : of the split, the initial weights, the batches and what is drawn

    Raises
    ------
    ArgumentError
        A name is unknown or a number out of range.
    """

    samples: int = 500
    validation_rate: float = 0.2
    hidden_size_list: Sequence[int] = (100,) * 6
    epochs: int = 50
    batch_size: int = 100
    lr: Range = (1e-6, 1e-2)
    weight_decay: Range = (1e-8, 1e-4)
    sampler: str = "random"
    pruner: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay"):
            low, high = getattr(self, name)
            if not (0 < low <= high and isfinite(high)):
                raise ArgumentError(
                    f"{name} needs a lowest value above 0, then a highest, got {low:g} and {high:g}"
                )
        for name, known in {"sampler": SAMPLERS, "pruner": PRUNERS}.items():
            if getattr(self, name) not in known:
                raise ArgumentError(
                    f"{name} {getattr(self, name)!r} is unknown; use {', '.join(known)}"
                )
        for name, least in {"samples": 2, "epochs": 1, "batch_size": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ArgumentError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def split(self, x: np.ndarray, t: np.ndarray) -> Split:
        """The images to train on and their labels, then those to validate with (section 6.5.1).

        Raises
        ------
        ArgumentError
            Either part would be empty, or the first smaller than a batch.
        """
        x, t = shuffle_dataset(x[: self.samples], t[: self.samples], self.seed)
        count = int(len(x) * self.validation_rate)
        if not (count >= 1 and len(x) - count >= self.batch_size):
            raise ArgumentError(
                f"of {len(x)} images {count} would be for validation and {len(x) - count} for "
                f"training, with batches of {self.batch_size}; use more samples or smaller batches"
            )
        return x[count:], t[count:], x[:count], t[:count]

    def trainer(self, split: Split, lr: float, weight_decay: float, device: str) -> Trainer:
        """One trial's training; its test set is the validation images."""
        network = MultiLayerNet(
            prod(split[0].shape[1:]),
            self.hidden_size_list,
            10,
            weight_decay_lambda=weight_decay,
            rng=self.seed,
            device=device,
        )
        return Trainer(
            network,
            *split,
            self.epochs,
            self.batch_size,
            optimizer_param={"lr": lr},
            verbose=False,
            seed=self.seed,
        )

    def run(
        self,
        x: np.ndarray,
        t: np.ndarray,
        *,
        storage: str,
        study: str = "xpnet",
        trials: int = 100,
        workers: int = 1,
        device: str = "auto",
        timeout: float | None = None,
        verbose: bool = True,
    ) -> list[TrialResult]:
        """Search until so many trials are finished, counting those the study already holds.

        Parameters
        ----------
        x, t : training images and labels; never those of the test set
        storage : URL of a database, such as "sqlite:///study.db"
        study : its name there; a search of the same name goes on
        trials : how many are wanted in total
        workers : processes on this machine. Above 1 a script needs `if __name__ == "__main__":`.
            Each computes with its share of the processors, unless OPENBLAS_NUM_THREADS and the
            like say otherwise.
        timeout : seconds after which no more trials are begun
        verbose : print a line for each trial

        Returns
        -------
        all trials of the study, in order; see `best`

        Raises
        ------
        ArgumentError
            A number is out of range, or the study was made by another search.
        OutputError
            The storage cannot be used, or failed.
        """
        if trials < 1 or workers < 1 or (timeout is not None and not timeout > 0):
            raise ArgumentError(
                "a search needs at least one trial, one worker and a timeout above 0 if any, "
                f"got trials={trials}, workers={workers}, timeout={timeout}"
            )
        split = self.split(x, t)
        self.trainer(split, self.lr[0], self.weight_decay[0], device)  # say now what does not fit
        deadline = inf if timeout is None else time.time() + timeout
        job = _Job(self, split, storage, study, trials, device, deadline, verbose)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with _opened(self, storage, study) as (opened, database):
                _claim(opened, self._record(split))
                if workers == 1:
                    _Worker(job, opened, database).work(signal.SIGINT)
                else:
                    _work_together(workers, job)
                return _results(opened)
        except STORAGE_ERRORS as error:
            raise OutputError(
                f"the storage {_shown(storage)} failed: {_reason(error)}; "
                "what was finished is kept, and the same command goes on from there"
            ) from error

    def _record(self, split: Split) -> dict[str, Any]:
        """What must be the same for all who share a study, as JSON gives it back."""
        record = asdict(self)
        checksum = 0
        for part in split:
            checksum = zlib.crc32(part.tobytes(), checksum)
        record["checksum of images"] = checksum
        return dict(json.loads(json.dumps(record)))


def best(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The complete trials, the highest validation accuracy at the end first."""
    complete = [result for result in results if result.state == "complete"]
    return sorted(complete, key=lambda result: (-result.validation[-1], result.trial))


def narrowed(results: Sequence[TrialResult], search: Search) -> dict[str, Range]:
    """The ranges to search next: those of the best 5 %, of the best 5 at least.

    Ends are moved outwards to powers of ten, but not beyond what was searched.
    """
    ranking = best(results)
    chosen = ranking[: max(5, ceil(0.05 * len(ranking)))]
    ranges = {}
    for name in ("lr", "weight_decay") if chosen else ():
        values = [getattr(result, name) for result in chosen]
        low, high = getattr(search, name)
        # Read from text, powers of ten are exact.
        ranges[name] = (
            max(low, float(f"1e{floor(log10(min(values)))}")),
            min(high, float(f"1e{ceil(log10(max(values)))}")),
        )
    return ranges


def prepare_directory(path: str | Path) -> Path:
    """A directory that is new, empty, or a search's own.

    Raises
    ------
    OutputError
        It holds something else, or cannot be created.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise OutputError(
            f"cannot create {path}: {error.strerror or error}; choose another --out"
        ) from error
    # A killed process may leave a journal or a hidden file that was not finished.
    own = (STUDY_FILE, RESULTS_FILE, PICTURE_FILE, ".")
    for name in names:
        if not name.startswith(own):
            raise OutputError(
                f"{path} is not empty ({name}) and not the directory of a search; "
                "choose another --out"
            )
    return path


def storage_in(directory: Path) -> str:
    """The URL of a search's own SQLite file."""
    url = URL.create("sqlite", database=str(directory.absolute() / STUDY_FILE))
    return url.render_as_string()


def write_results(
    directory: Path, search: Search, study: str, results: Sequence[TrialResult]
) -> None:
    """Write `results.json`, and `best_trials.png` where matplotlib is installed."""
    ranking = best(results)
    record = {
        "study": study,
        "search": asdict(search),
        "best": [result.trial for result in ranking[:SHOWN]],
        "narrowed": narrowed(results, search),
        "trials": [asdict(result) for result in results],
        "versions": versions() | {"optuna": optuna.__version__},
    }
    write_text(directory / RESULTS_FILE, json.dumps(record, indent=2) + "\n")
    if ranking and plots.available():
        curves = [(result.validation, result.train) for result in ranking[:SHOWN]]
        plots.search_curves(directory / PICTURE_FILE, curves)


@dataclass(frozen=True)
class _Job:
    """What a worker process is told."""

    search: Search
    split: Split
    storage: str
    study: str
    trials: int
    device: str
    deadline: float
    verbose: bool

    def over(self) -> bool:
        """Whether to begin no more trials: time is up, or the process that started this is gone."""
        parent = multiprocessing.parent_process()
        return time.time() >= self.deadline or (parent is not None and not parent.is_alive())


class _PerTrial(optuna.samplers.BaseSampler):
    """A sampler that is seeded anew for each trial, from the seed and the trial's number."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.seed = kind, seed

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        number = _numbers(study.get_trials(deepcopy=False))[trial.number]
        (state,) = np.random.SeedSequence([self.seed, number]).generate_state(1)
        self.sampler = SAMPLERS[self.kind](seed=int(state))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Any:
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> Any:
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)


def _numbers(trials: Sequence[FrozenTrial]) -> list[int]:
    """Each trial's number in the search; Optuna's own counts every new attempt as well."""
    numbers: list[int] = []
    new = 0
    for trial in trials:
        first = trial.user_attrs.get("again")
        numbers.append(new if first is None else numbers[first])
        new += first is None and "surplus" not in trial.user_attrs
    return numbers


@contextmanager
def _opened(
    search: Search, storage: str, study: str
) -> Iterator[tuple[optuna.Study, optuna.storages.RDBStorage]]:
    """A study, made if it is not there, and the database that it is in."""
    sqlite = {"connect_args": {"timeout": SQLITE_WAIT}} if storage.startswith("sqlite") else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            database = optuna.storages.RDBStorage(
                storage,
                sqlite,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=_again,
            )
        opened = optuna.create_study(
            storage=database,
            sampler=_PerTrial(search.sampler, search.seed),
            pruner=optuna.pruners.MedianPruner(n_warmup_steps=search.epochs // 5)
            if search.pruner == "median"
            else optuna.pruners.NopPruner(),
            study_name=study,
            direction="maximize",
            load_if_exists=True,
        )
    except (
        optuna.exceptions.OptunaError, SQLAlchemyError,
        ImportError, LookupError, RuntimeError, ValueError,
    ) as error:  # fmt: skip
        raise OutputError(
            f"the storage {_shown(storage)} cannot be used: {_reason(error)}; give the URL of a "
            "database, such as sqlite:///study.db or postgresql://USER@HOST/NAME"
        ) from error
    try:
        yield opened, database
    finally:
        database.remove_session()
        database.engine.dispose()


def _shown(storage: str) -> str:
    """A URL without its password."""
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):
        return "that was given"


def _reason(error: BaseException) -> str:
    """An error of a database in one line."""
    cause: object = error
    if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        cause = error.__cause__
    return str(getattr(cause, "orig", None) or cause).strip().split("\n")[0].rstrip(".")


def _claim(study: optuna.Study, record: dict[str, Any]) -> None:
    """Mark a new study as this search's; refuse one that is another's."""
    kept = study.user_attrs.get("search")
    if kept is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("search", record)
        return
    if kept is None:
        raise ArgumentError(f"study {study.study_name!r} is not xpnet's; choose another name")
    differences = [
        f"{name} {kept.get(name)} there and {value} here"
        for name, value in record.items()
        if kept.get(name) != value
    ]
    if differences:
        raise ArgumentError(
            f"study {study.study_name!r} was made by another search, with "
            f"{', '.join(differences)}; choose another name, or search as it did"
        )


def _work_together(workers: int, job: _Job) -> None:
    """Run workers in processes of their own until all are done."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // workers)))
    # A fork would share the connection to the database, and breaks CUDA.
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_work_apart, args=(job,)) for _ in range(workers)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    finally:
        started = [process for process in processes if process.pid is not None]
        for process in started:
            process.terminate()
        for process in started:
            process.join()
    if all(process.exitcode for process in processes):
        raise XPNetError(
            "all workers ended early, killed perhaps for want of memory; what was finished is "
            "kept, and the same command goes on from there"
        )


def _work_apart(job: _Job) -> None:
    # Ctrl-C reaches all processes of a terminal; the first one passes it on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with _opened(job.search, job.storage, job.study) as (study, database):
            _Worker(job, study, database).work(signal.SIGTERM)
    except KeyboardInterrupt:
        pass
    except (XPNetError, *STORAGE_ERRORS) as error:
        sys.exit(f"xpnet: a worker ended: {_reason(error)}")


class _Worker:
    """Makes the trials of a search, alone or beside others."""

    def __init__(self, job: _Job, study: optuna.Study, database: optuna.storages.RDBStorage):
        self.job, self.study, self.database = job, study, database
        self.stopped = False

    def work(self, stop: signal.Signals) -> None:
        """Make trials until all are finished, by this process or others, or a signal stops it."""
        if threading.current_thread() is not threading.main_thread():
            self._work()
            return
        handler = signal.signal(stop, self._stop)
        try:
            self._work()
        finally:
            signal.signal(stop, handler)

    def _stop(self, *_: object) -> None:
        """Stop after this epoch: an interrupt at any moment could break into the database."""
        if self.stopped:
            raise KeyboardInterrupt  # asked twice
        self.stopped = True

    def _work(self) -> None:
        wanted = self.job.trials
        while not self.job.over():
            if self.stopped:
                raise KeyboardInterrupt
            self._queue_the_dead()
            states = Counter(trial.state for trial in self._trials())
            finished = states[TrialState.COMPLETE] + states[TrialState.PRUNED]
            if finished >= wanted:
                return
            if states[TrialState.WAITING] or finished + states[TrialState.RUNNING] < wanted:
                self._make_trial()
            else:  # others are at the last trials; should they be killed, this process takes over
                time.sleep(0.5)

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _queue_the_dead(self) -> None:
        """Fail trials whose process was killed, and queue them anew."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        # Optuna overlooks those killed before their first sign of life.
        for trial in self._trials():
            begun = trial.datetime_start
            late = begun is not None and datetime.now() - begun > timedelta(seconds=GRACE)
            if late and trial.state == TrialState.RUNNING and "alive" not in trial.user_attrs:
                try:
                    self.study.tell(trial.number, state=TrialState.FAIL)
                except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                    continue  # another process was faster
                _again(self.study, trial)

    def _make_trial(self) -> None:
        number: int | None = None
        error: BaseException | None = None

        def objective(trial: optuna.Trial) -> float:
            nonlocal number, error
            number = trial.number
            try:
                self.database.record_heartbeat(trial._trial_id)  # before it says so
                trial.set_user_attr("alive", True)
                earlier = self._trials()[:number]
                if sum(other.state != TrialState.FAIL for other in earlier) >= self.job.trials:
                    trial.set_user_attr("surplus", True)  # two workers began the last one at once
                    return nan
                return self._train(trial)
            except optuna.TrialPruned:
                raise
            except BaseException as caught:
                error = caught
                return nan  # Optuna's sign of failure

        try:
            self.study.optimize(objective, n_trials=1)
        except ValueError:
            if number is None:
                raise
            return  # this process was asleep for so long that others took its trial for dead
        trials = self._trials()
        assert number is not None
        if error is not None:
            _again(self.study, trials[number])
            raise error
        if self.job.verbose:
            _print_trial(_result(trials[number], _numbers(trials)[number]), self.job.trials)

    def _train(self, trial: optuna.Trial) -> float:
        """Train with the hyper-parameters of one trial; the validation accuracy at the end."""
        search = self.job.search
        lr = trial.suggest_float("lr", *search.lr, log=True)
        weight_decay = trial.suggest_float("weight_decay", *search.weight_decay, log=True)
        trainer = search.trainer(self.job.split, lr, weight_decay, self.job.device)

        def after_epoch(metrics: EpochMetrics) -> None:
            if self.stopped:
                raise KeyboardInterrupt
            if search.pruner != "none":
                trial.report(metrics["test_accuracy"], metrics.epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned

        trainer.on_epoch = after_epoch
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # too high a rate is a result too
                trainer.train()
        except DivergedError as error:
            raise optuna.TrialPruned from error
        finally:
            trial.set_user_attr("validation", trainer.test_acc_list)
            trial.set_user_attr("train", trainer.train_acc_list)
        return trainer.test_acc_list[-1]


def _again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial that was broken off."""
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"again": trial.user_attrs.get("again", trial.number)},
        )
    )


def _print_trial(result: TrialResult, total: int) -> None:
    ended = {"complete": "", "pruned": f", ended after epoch {len(result.validation)}"}
    if result.state in ended:
        print(f"trial {result.trial + 1} of {total} {result}{ended[result.state]}", flush=True)


def _results(study: optuna.Study) -> list[TrialResult]:
    trials = study.get_trials(deepcopy=False)
    results = [
        _result(trial, number)
        for trial, number in zip(trials, _numbers(trials), strict=True)
        if "surplus" not in trial.user_attrs
    ]
    return sorted(results, key=lambda result: result.trial)


def _result(trial: FrozenTrial, number: int) -> TrialResult:
    return TrialResult(
        number,
        trial.state.name.lower(),
        trial.params.get("lr"),
        trial.params.get("weight_decay"),
        trial.user_attrs.get("validation", []),
        trial.user_attrs.get("train", []),
    )
