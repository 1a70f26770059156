"""The workers of a search, processes that make its trials alone or side by side."""

import multiprocessing
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from math import nan
from multiprocessing.connection import Connection

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from xpnet.engine.threads import chosen_threads, free_cores
from xpnet.errors import DivergedError, XPNetError
from xpnet.notice import notice, show
from xpnet.train import EpochMetrics
from xpnet.train.search.address import told
from xpnet.train.search.patience import KEPT, STORAGE_ERRORS, PatientStorage
from xpnet.train.search.plan import Plan, Split
from xpnet.train.search.results import TrialResult, numbers, read_result
from xpnet.train.search.storage import again, opened, queue_the_dead
from xpnet.train.signals import Interrupts


@dataclass(frozen=True)
class Job:
    """The orders of a worker process."""

    search: Plan
    split: Split
    storage: str
    study: str
    trials: int
    device: str
    deadline: float
    verbose: bool
    threads: int | None = None

    def over(self) -> bool:
        """True if no more trials may begin: time is up, or the process that began this is gone."""
        parent = multiprocessing.parent_process()
        return time.time() >= self.deadline or (parent is not None and not parent.is_alive())


def work_together(workers: int, job: Job) -> None:
    """Run workers in processes of their own until all are done.

    They share the cores that are free before they begin: later each would see the others there.
    """
    share = max(1, free_cores() // workers)
    job = replace(job, threads=min(share, chosen_threads(None)))
    # A fork would share the connection to the database, and breaks CUDA.
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe(duplex=False) for _ in range(workers)]
    processes = [
        spawn.Process(target=_work_apart, args=(job, reasons, number == 0))
        for number, (_, reasons) in enumerate(pipes)
    ]
    interrupts = Interrupts()
    try:
        with interrupts.heard(), _blocked(signal.SIGINT):
            for process in processes:
                process.start()
        if interrupts.came:
            raise KeyboardInterrupt
        for process in processes:
            process.join()
    finally:
        started = [process for process in processes if process.pid is not None]
        for process in started:
            process.terminate()
        for process in started:
            process.join()
    ends = [
        reasons.recv() if reasons.poll() else f"a worker was ended {_by(process.exitcode)}"
        for process, (reasons, _) in zip(processes, pipes, strict=True)
        if process.exitcode
    ]
    if len(ends) == workers:
        raise XPNetError(ends[0] if KEPT in ends[0] else f"{ends[0]}; {KEPT}")
    for reason in dict.fromkeys(ends):
        notice(f"{reason}; the others went on")


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """Keep a signal from processes while they load, too, since they inherit that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _by(code: int | None) -> str:
    """Say how a process ended that could not say it itself."""
    with suppress(ValueError):
        return f"by {signal.Signals(-(code or 0)).name}"
    return f"with exit code {code}"


def _work_apart(job: Job, reasons: Connection, tell: bool) -> None:
    # Ctrl-C reaches all processes of a terminal; the first one passes it on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with opened(job.search, job.storage, job.study, patient=True, tell=tell) as found:
            Worker(job, *found).work(signal.SIGTERM)
    except KeyboardInterrupt:
        pass
    except XPNetError as error:
        reasons.send(str(error))
        sys.exit(1)
    except STORAGE_ERRORS as error:
        reasons.send(f"the storage failed ({told(error, job.storage)})")
        sys.exit(1)


class Worker:
    """Makes the trials of a search, alone or beside others."""

    def __init__(self, job: Job, study: optuna.Study, database: PatientStorage):
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
            queue_the_dead(self.study)
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

    def _make_trial(self) -> None:
        number: int | None = None
        error: BaseException | None = None

        def objective(trial: optuna.Trial) -> float:
            nonlocal number, error
            number = trial.number
            try:
                self.database.begin_heartbeat(trial._trial_id)  # before it says so
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
        except Exception as caught:  # of a trial that another process has ended, or of the storage
            asleep = number is not None and isinstance(caught, AssertionError | ValueError)
            error = error or (optuna.exceptions.UpdateFinishedTrialError() if asleep else caught)
        if self.database.lost is not None:
            raise self.database.lost from error
        if isinstance(error, optuna.exceptions.UpdateFinishedTrialError):
            return  # this process was asleep for so long that others took its trial for dead
        if error is not None and number is None:
            raise error
        trials = self._trials()
        assert number is not None
        if error is not None:
            again(self.study, trials[number])
            raise error
        if self.job.verbose:
            _print_trial(read_result(trials[number], numbers(trials)[number]), self.job.trials)

    def _train(self, trial: optuna.Trial) -> float:
        """Train with the hyper-parameters of one trial; the validation accuracy at the end."""
        search = self.job.search
        lr = trial.suggest_float("lr", *search.lr, log=True)
        weight_decay = trial.suggest_float("weight_decay", *search.weight_decay, log=True)
        trainer = search.trainer(
            self.job.split, lr, weight_decay, self.job.device, self.job.threads
        )

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


def _print_trial(result: TrialResult, total: int) -> None:
    ended = {"complete": "", "pruned": f", ended after epoch {len(result.validation)}"}
    if result.state in ended:
        show(f"trial {result.trial + 1} of {total} {result}{ended[result.state]}")
