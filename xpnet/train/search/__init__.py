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

from xpnet.optional import needed

try:
    import optuna  # noqa: F401
except ModuleNotFoundError as error:
    raise needed("optuna", "the search for hyper-parameters") from error

from xpnet.train.search.address import connectable, without_password
from xpnet.train.search.plan import Plan, narrowed
from xpnet.train.search.results import TrialResult, best
from xpnet.train.search.run import (
    PICTURE_FILE,
    RESULTS_FILE,
    SHOWN,
    STUDY_FILE,
    Search,
    check_directory,
    prepare_directory,
    storage_in,
    write_results,
)
from xpnet.train.search.sampling import PRUNERS, SAMPLERS

__all__ = [
    "PICTURE_FILE",
    "PRUNERS",
    "RESULTS_FILE",
    "SAMPLERS",
    "SHOWN",
    "STUDY_FILE",
    "Plan",
    "Search",
    "TrialResult",
    "best",
    "check_directory",
    "connectable",
    "narrowed",
    "prepare_directory",
    "storage_in",
    "without_password",
    "write_results",
]
