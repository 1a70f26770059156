"""The choice of what a trial tries, and of which trials end early."""

from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from xpnet.train.search.results import numbers

SAMPLERS = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
PRUNERS = ("none", "median")


class PerTrial(optuna.samplers.BaseSampler):
    """A sampler that is seeded anew for each trial, from the seed and the trial's number."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.seed = kind, seed

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Seed the sampler for this trial."""
        number = numbers(study.get_trials(deepcopy=False))[trial.number]
        (state,) = np.random.SeedSequence([self.seed, number]).generate_state(1)
        self.sampler = SAMPLERS[self.kind](seed=int(state))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Any:
        """Ask the sampler."""
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> Any:
        """Ask the sampler."""
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Ask the sampler."""
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)


def pruner(kind: str, epochs: int) -> optuna.pruners.BasePruner:
    """Make one of `PRUNERS`, for trials of so many epochs."""
    if kind == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=epochs // 5)
    return optuna.pruners.NopPruner()
