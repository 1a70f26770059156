"""The trials of a search, as results to read."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class TrialResult:
    """A set of hyper-parameters and what came of it."""

    trial: int
    """The trial's number, from 0. A trial that was killed and made again is there twice."""
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
        """Show the line that the book prints."""
        accuracy = f"{self.validation[-1]:.4g}" if self.validation else "none"
        return f"(val acc: {accuracy}) | lr:{self.lr:.3g}, weight decay:{self.weight_decay:.3g}"


def best(results: Sequence[TrialResult]) -> list[TrialResult]:
    """Rank the complete trials, the highest validation accuracy at the end first."""
    complete = [result for result in results if result.state == "complete"]
    return sorted(complete, key=lambda result: (-result.validation[-1], result.trial))


def numbers(trials: Sequence[FrozenTrial]) -> list[int]:
    """Number the trials as the search does; Optuna's own counts every new attempt as well."""
    numbers: list[int] = []
    new = 0
    for trial in trials:
        first = trial.user_attrs.get("again")
        numbers.append(new if first is None else numbers[first])
        new += first is None and "surplus" not in trial.user_attrs
    return numbers


def read_results(study: optuna.Study) -> list[TrialResult]:
    """Read all trials of a study, in order."""
    trials = study.get_trials(deepcopy=False)
    results = [
        read_result(trial, number)
        for trial, number in zip(trials, numbers(trials), strict=True)
        if "surplus" not in trial.user_attrs
    ]
    return sorted(results, key=lambda result: result.trial)


def read_result(trial: FrozenTrial, number: int) -> TrialResult:
    """Read a trial, which has this number in the search."""
    return TrialResult(
        number,
        trial.state.name.lower(),
        trial.params.get("lr"),
        trial.params.get("weight_decay"),
        trial.user_attrs.get("validation", []),
        trial.user_attrs.get("train", []),
    )
