"""The database in which a search keeps its trials, and what was broken off in it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from xpnet.errors import ArgumentError, OutputError
from xpnet.train.search.plan import Plan
from xpnet.train.search.sampling import PerTrial, pruner

HEARTBEAT, GRACE = 5, 30
"""Seconds between signs of life, and without one until a trial counts as dead."""
SQLITE_WAIT = 60
"""Seconds to wait for another process that is writing to the file."""

STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, SQLAlchemyError)


@contextmanager
def opened(
    plan: Plan, storage: str, study: str
) -> Iterator[tuple[optuna.Study, optuna.storages.RDBStorage]]:
    """Open a study, made if it is not there, and the database that it is in."""
    sqlite = {"connect_args": {"timeout": SQLITE_WAIT}} if storage.startswith("sqlite") else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            database = optuna.storages.RDBStorage(
                storage,
                sqlite,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=again,
            )
        opened = optuna.create_study(
            storage=database,
            sampler=PerTrial(plan.sampler, plan.seed),
            pruner=pruner(plan.pruner, plan.epochs),
            study_name=study,
            direction="maximize",
            load_if_exists=True,
        )
    except (
        optuna.exceptions.OptunaError, SQLAlchemyError,
        ImportError, LookupError, RuntimeError, ValueError,
    ) as error:  # fmt: skip
        raise OutputError(
            f"the storage {shown(storage)} cannot be used: {reason(error)}; give the URL of a "
            "database, such as sqlite:///study.db or postgresql://USER@HOST/NAME"
        ) from error
    try:
        yield opened, database
    finally:
        database.remove_session()
        database.engine.dispose()


def shown(storage: str) -> str:
    """Write a URL without its password."""
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):
        return "that was given"


def reason(error: BaseException) -> str:
    """Tell an error of a database in one line."""
    cause: object = error
    if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        cause = error.__cause__
    return str(getattr(cause, "orig", None) or cause).strip().split("\n")[0].rstrip(".")


def claim(study: optuna.Study, record: dict[str, Any]) -> None:
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
    """Queue a trial that was broken off."""
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"again": trial.user_attrs.get("again", trial.number)},
        )
    )
