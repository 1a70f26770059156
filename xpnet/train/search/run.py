"""A search run, and the directory that it leaves."""

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path
from urllib.parse import quote

import numpy as np
import optuna
from sqlalchemy.engine import URL

from xpnet.arrays import versions
from xpnet.errors import ArgumentError, OutputError
from xpnet.files.atomic import make_directory, write_text
from xpnet.report import plots
from xpnet.train.search.address import redacted, told
from xpnet.train.search.patience import KEPT, STORAGE_ERRORS
from xpnet.train.search.plan import Plan, narrowed
from xpnet.train.search.results import TrialResult, best, read_results
from xpnet.train.search.storage import claim, opened
from xpnet.train.search.workers import Job, Worker, work_together

STUDY_FILE, RESULTS_FILE, PICTURE_FILE = "study.db", "results.json", "best_trials.png"
SHOWN = 20
"""The number of best trials that the book prints and draws."""


class Search(Plan):
    """A plan that can be carried out; its parameters are those of `Plan`."""

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
            Each computes with its share of the free cores, or of as many threads as
            OPENBLAS_NUM_THREADS and the like allow.
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
        job = Job(self, split, storage, study, trials, device, deadline, verbose)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with opened(self, storage, study) as (opened_study, database):
                claim(opened_study, self.record(split))
                if workers == 1:
                    Worker(job, opened_study, database).work(signal.SIGINT)
                else:
                    work_together(workers, job)
                return read_results(opened_study)
        except STORAGE_ERRORS as error:
            raise OutputError(
                f"the storage {redacted(storage)} failed: {told(error, storage)}; {KEPT}"
            ) from error


def check_directory(path: Path) -> None:
    """Refuse a directory that is not empty and no search's own; make nothing.

    Raises
    ------
    OutputError
        It holds something else, or cannot be looked at.
    """
    try:
        names = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
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


def prepare_directory(path: str | Path) -> Path:
    """Make sure of a directory that is new, empty, or a search's own.

    Raises
    ------
    OutputError
        It holds something else, or cannot be created.
    """
    path = Path(path)
    check_directory(path)
    try:
        make_directory(path)
    except OSError as error:
        raise OutputError(
            f"cannot create {path}: {error.strerror or error}; choose another --out"
        ) from error
    return path


def storage_in(directory: Path) -> str:
    """Name the URL of a search's own SQLite file."""
    path = str(directory.absolute() / STUDY_FILE)
    try:
        path.encode()
    except UnicodeEncodeError:  # a name that is not UTF-8; SQLite takes its bytes
        database = f"file:{quote(os.fsencode(path))}"
        return URL.create("sqlite", database=database, query={"uri": "true"}).render_as_string()
    return URL.create("sqlite", database=path).render_as_string()


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
