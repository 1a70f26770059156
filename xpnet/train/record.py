"""The fields of checkpoints and summaries, and what each must be: a file can say anything."""

import json
import re
import reprlib
from collections.abc import Callable, Collection, Mapping
from math import inf, isfinite
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.arguments import real, whole
from xpnet.data.sets import is_known
from xpnet.errors import CheckpointError, shown
from xpnet.models.own import is_own
from xpnet.models.registry import OFFERED
from xpnet.models.two_layer_net import ACTIVATIONS
from xpnet.optim import OPTIMIZERS

SCHEDULES = ("constant", "cosine", "drop")
PRECISIONS = ("float32", "float64", "tf32", "bfloat16")
SUMMARY_BYTES = 2**20
"""Bytes of a summary at most, which has some hundreds."""


class Kind(NamedTuple):
    """What a field must be, in words and as a test."""

    needed: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    """Also NaN, and infinity; but no integer that is no float."""
    return real(value) and (not whole(value) or abs(int(value)) < 2**63)


def _whole(least: int, most: float = inf) -> Kind:
    return Kind(
        f"a whole number from {least}" + (f" to {most:g}" if isfinite(most) else ""),
        lambda value: whole(value) and least <= int(value) <= most,
    )


def _finite(needed: str, above: float) -> Kind:
    return Kind(needed, lambda value: _is_number(value) and above < value < inf)


def _one_of(*values: Any) -> Kind:
    names = ", ".join("nothing" if value is None else str(value) for value in values)
    return Kind(f"one of {names}", lambda value: isinstance(value, str | None) and value in values)


def _matching(needed: str, pattern: str) -> Kind:
    return Kind(needed, lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value)))


def _named(needed: str, fits: Callable[[Any], bool]) -> Kind:
    return Kind(
        needed,
        lambda value: (
            isinstance(value, Mapping)
            and all(isinstance(name, str) and fits(each) for name, each in value.items())
        ),
    )


def _are_epochs(value: Any) -> bool:
    measured = _named("", _is_number).fits
    return isinstance(value, list | tuple) and all(
        measured(metrics) and metrics.get("epoch", number) == number
        for number, metrics in enumerate(value, start=1)
    )


def _is_best(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2
    return pair and isinstance(value[0], str) and value[1] in ("max", "min")


def _is_computing(value: Any) -> bool:
    simple = _named("", lambda each: each is None or isinstance(each, str | Real)).fits(value)
    return simple and _optional(_whole(1)).fits(value.get("threads"))


def _is_model(value: Any) -> bool:
    return isinstance(value, str) and (value in OFFERED or is_own(value))


def _is_learning(value: Any) -> bool:
    if not isinstance(value, Mapping) or value.keys() != {"frozen", "rates", "statistics"}:
        return False
    lists = (value["frozen"], value["statistics"])
    named = all(isinstance(names, list | tuple) for names in lists)
    named = named and all(isinstance(name, str) for names in lists for name in names)
    return named and _named("", _finite("", 0).fits).fits(value["rates"])


def _optional(kind: Kind) -> Kind:
    return Kind(f"{kind.needed}, or nothing", lambda value: value is None or kind.fits(value))


_COUNT = _whole(0, 2**63 - 1)

STATE = {
    "steps": _COUNT,
    "seconds": _finite("a number of seconds", -1e-9),
    "history": Kind("numbers by name, of the epochs 1, 2 and so on", _are_epochs),
    "lr": _named("learning rates by name", _finite("", -1e-300).fits),
    "best": Kind("a name, and max or min", _is_best),
    "untold": _COUNT,
}
"""What a `Trainer` comes to."""

RUN = {
    "settings": _named("settings by name", lambda value: True),
    "data_sha256": _matching("a SHA-256", "[0-9a-f]{64}"),
    "xpnet": _matching("a version", r"\d{1,9}(\.\d{1,9}){0,9}[\w.+-]{0,40}"),
    "computed_by": Kind("texts and numbers by name, threads from 1", _is_computing),
}
"""What else a run is known by."""

TOLD = {
    "network": Kind("a description of layers", lambda value: isinstance(value, str)),
    "networks": _named("descriptions of networks by name", lambda each: isinstance(each, str)),
    "about": _named("values by name", lambda value: True),
    "learning": Kind("names of what is frozen, and rates by name", _is_learning),
    "data_dir": _optional(Kind("a directory", lambda value: isinstance(value, str))),
}
"""What runs of earlier versions do not tell, or those of one network and of several."""

SETTINGS = {
    "model": Kind("a network's name, or module:function", _is_model),
    "hidden_size": _optional(_whole(1)),
    "activation": _one_of(None, *ACTIVATIONS),
    "data": Kind("a data set's name", lambda value: isinstance(value, str) and is_known(value)),
    "optimizer": _one_of(*OPTIMIZERS),
    "lr": _finite("a positive number", 0),
    "schedule": _one_of(*SCHEDULES),
    "epochs": _whole(1),
    "batch_size": _whole(1),
    "evaluate_samples": _whole(1),
    "dtype": _one_of("float32", "float64"),
    "precision": _one_of(None, *PRECISIONS),
    "seed": _whole(0),
}
"""The settings of `xpnet train`."""


def check(what: str, record: Any, fields: Mapping[str, Kind], needed: Collection[str] = ()) -> None:
    """Check the fields that a record has, and that it has those that are needed.

    Raises
    ------
    CheckpointError
        One lacks or is not what it must be; the message begins with `what`.
    """
    if not isinstance(record, Mapping):
        raise CheckpointError(f"{what} must be values by name, got {told(record)}; take another")
    for name in needed:
        if name not in record:
            raise CheckpointError(f"{what} has no {name}, and cannot be used; take another")
    for name, kind in fields.items():
        if name in record and not kind.fits(record[name]):
            raise CheckpointError(
                f"{what} has {name} {told(record[name])}, and that must be {kind.needed}; take "
                "another"
            )


def check_record(path: Path, record: Any, *, of_run: bool = False) -> None:
    """Check what a checkpoint's file says, and all that a run needs if it is one's."""
    check(str(path), record, STATE, ("steps", "history", *(["run"] if of_run else ())))
    if "run" in record:
        about = f"the run of {path}"
        check(about, record["run"], RUN | TOLD, RUN if of_run else ())
        check(about, record["run"].get("settings", {}), SETTINGS, SETTINGS if of_run else ())


def check_state(arrays: Any, record: Any) -> None:
    """Check what a `Trainer` is to go on from, but for what depends on its networks."""
    check("a checkpoint's record", record, STATE, ("history", "steps", "seconds", "lr"))
    for metrics in record["history"]:
        check("a checkpoint's history", metrics, {}, ("epoch", "train_loss"))
    if not isinstance(arrays, Mapping) or not all(
        isinstance(name, str) and isinstance(array, np.ndarray) for name, array in arrays.items()
    ):
        raise CheckpointError(
            f"a checkpoint's arrays must be NumPy arrays by name, got {told(arrays)}; take another"
        )
    values = ["epoch_losses", *(name for name in arrays if name.startswith("epoch."))]
    for name in ("train_losses", *values):
        array = arrays.get(name)
        row = array is not None and array.ndim == 1 and array.dtype.kind == "f"
        if array is None or not row or not np.isfinite(array).all():
            raise CheckpointError(
                f"a checkpoint's {shown(name)} must be a row of finite numbers, got "
                f"{told(array)}; take another"
            )
    within = {len(arrays[name]) for name in values}
    if len(within) > 1 or len(arrays["train_losses"]) + max(within) > record["steps"]:
        raise CheckpointError(
            f"a checkpoint of {record['steps']} steps has what {len(arrays['train_losses'])} steps "
            f"gave, and {' or '.join(map(str, sorted(within)))} of an epoch that is not done; take "
            "another"
        )


def read_summary(path: Path) -> dict[str, int]:
    """Steps and epochs that a finished run's summary tells of; none where it tells nothing.

    A summary can be made again, so that one that is damaged is no error.
    """
    try:
        if not path.is_file() or path.stat().st_size > SUMMARY_BYTES:
            return {}
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    found = record if isinstance(record, dict) else {}
    return {name: found[name] for name in ("steps", "epochs") if _COUNT.fits(found.get(name))}


def told(value: Any) -> str:
    """A value of a file, in some printable characters."""
    try:
        return shown(reprlib.repr(value))[:80]
    except ValueError:  # a number of thousands of digits
        return f"an {type(value).__name__} beyond all bounds"
