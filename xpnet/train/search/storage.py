"""The database in which a search keeps its trials, and what was broken off in it."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from xpnet.errors import ArgumentError, OutputError
from xpnet.train.search.address import EXAMPLES, connectable, redacted, told
from xpnet.train.search.patience import CONNECTING, PATIENCE, PAUSE, PatientStorage, is_outage
from xpnet.train.search.plan import Plan
from xpnet.train.search.sampling import PerTrial, pruner

HEARTBEAT, GRACE = 5, 30
"""Seconds between signs of life, and without one until a trial counts as dead."""
SQLITE_WAIT = 60
"""Seconds to wait for another process that is writing to the file."""

MAKERS = 5
"""Attempts to find tables which other processes are making at the same time."""

ERRORS = (
    optuna.exceptions.OptunaError, SQLAlchemyError,
    ImportError, LookupError, RuntimeError, ValueError,
)  # fmt: skip
"""All that opening a database can raise."""


@contextmanager
def opened(
    plan: Plan, storage: str, study: str, *, patient: bool = False, tell: bool = True
) -> Iterator[tuple[optuna.Study, PatientStorage]]:
    """Open a study, made if it is not there, and the database that it is in.

    Parameters
    ----------
    patient : whether a server that is not there now is waited for, since it was there before
    tell : whether a line tells the user of waiting

    Raises
    ------
    OutputError
        The database cannot be used.
    """
    url, until = connectable(storage), time.monotonic() + PATIENCE * patient
    found, makers = None, 0
    while found is None:
        try:
            found = _open(plan, url, study, tell)
        except ERRORS as error:
            makers += isinstance(error, IntegrityError | ProgrammingError)  # others make its tables
            ended = time.monotonic() >= until if is_outage(error) else not 1 <= makers <= MAKERS
            if ended:
                raise OutputError(
                    f"the storage {redacted(storage)} cannot be used: {told(error, url)}; give the "
                    f"URL of a database, such as {EXAMPLES}"
                ) from error
            time.sleep(PAUSE)
    try:
        yield found
    finally:
        found[1].close()


def _open(plan: Plan, url: str, study: str, tell: bool) -> tuple[optuna.Study, PatientStorage]:
    waiting = {"timeout": SQLITE_WAIT} if url.startswith("sqlite") else {}
    if url.startswith("postgresql") and "connect_timeout" not in url:
        waiting = {"connect_timeout": CONNECTING}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        database = PatientStorage(
            url,
            {"connect_args": waiting},
            tell=tell,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=again,
        )
    try:
        opened = optuna.create_study(
            storage=database,
            sampler=PerTrial(plan.sampler, plan.seed),
            pruner=pruner(plan.pruner, plan.epochs),
            study_name=study,
            direction="maximize",
            load_if_exists=True,
        )
    except BaseException:
        database.close()
        raise
    return opened, database


def claim(study: optuna.Study, record: dict[str, Any]) -> None:
    """Mark a new study as this search's; refuse one that is another's."""
    kept = study.user_attrs.get("search")
    if kept is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("search", record)
        return
    if kept is None:
        raise ArgumentError(f"study {study.study_name!r} is not xpnet's; choose another study=NAME")
    differences = [
        f"{name} {kept.get(name)} there and {value} here"
        for name, value in record.items()
        if kept.get(name) != value
    ]
    if differences:
        raise ArgumentError(
            f"study {study.study_name!r} was made by another search, with "
            f"{', '.join(differences)}; choose another study=NAME, or search as it did"
        )


def queue_the_dead(study: optuna.Study) -> None:
    """Fail trials whose process was killed, and queue them anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    # Optuna overlooks those killed before their first sign of life.
    for trial in study.get_trials(deepcopy=False):
        begun = trial.datetime_start
        late = begun is not None and datetime.now() - begun > timedelta(seconds=GRACE)
        if late and trial.state == TrialState.RUNNING and "alive" not in trial.user_attrs:
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                continue  # another process was faster
            again(study, trial)


def again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial that was broken off; what was half drawn is drawn from the start."""
    whole = {"lr", "weight_decay"} <= trial.params.keys()
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params if whole else {},
            distributions=trial.distributions if whole else {},
            user_attrs={"again": trial.user_attrs.get("again", trial.number)},
        )
    )
