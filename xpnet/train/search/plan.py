"""The plan of a search: what is tried, on which images, by which network."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil, floor, isfinite, log10, prod, sqrt
from typing import Any

import numpy as np

from xpnet.arguments import checked, whole
from xpnet.data import shuffle_dataset
from xpnet.errors import ArgumentError
from xpnet.models import MultiLayerNet
from xpnet.train import Trainer
from xpnet.train.search.results import TrialResult, best
from xpnet.train.search.sampling import PRUNERS, SAMPLERS

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Range = tuple[float, float]


@partial(checked, but=("samples", "epochs", "batch_size", "seed"))
@dataclass(frozen=True)
class Plan:
    """A plan of what is searched and how; the defaults are the book's.

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
            if not whole(getattr(self, name)) or getattr(self, name) < least:
                raise ArgumentError(f"{name} must be at least {least}, got {getattr(self, name)}")
        self._validating(self.samples)

    @property
    def chance(self) -> float:
        """The accuracy up to which a guess of one of ten digits may come: three deviations."""
        return 0.1 + 3 * sqrt(0.1 * 0.9 / self._validating(self.samples))

    def _validating(self, samples: int) -> int:
        """Count the images that are set aside of so many.

        Raises
        ------
        ArgumentError
            There would be none, or too few for a batch beside them.
        """
        count = int(samples * self.validation_rate)
        if not (count >= 1 and samples - count >= self.batch_size):
            raise ArgumentError(
                f"of {samples} images {count} would be for validation and {samples - count} for "
                f"training, with batches of {self.batch_size}; use more samples or smaller batches"
            )
        return count

    def split(self, x: np.ndarray, t: np.ndarray) -> Split:
        """Split images and labels: some to train on, the others to validate with (section 6.5.1).

        Raises
        ------
        ArgumentError
            Either part would be empty, or the first smaller than a batch.
        """
        x, t = shuffle_dataset(x[: self.samples], t[: self.samples], self.seed)
        count = self._validating(len(x))
        return x[count:], t[count:], x[:count], t[:count]

    def trainer(
        self,
        split: Split,
        lr: float,
        weight_decay: float,
        device: str,
        threads: int | None = None,
    ) -> Trainer:
        """Make one trial's trainer; its test set is the validation images."""
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
            threads=threads,
        )

    def record(self, split: Split) -> dict[str, Any]:
        """List what must be the same for all who share a study, as JSON gives it back."""
        record = asdict(self)
        checksum = 0
        for part in split:
            checksum = zlib.crc32(part.tobytes(), checksum)
        record["checksum of images"] = checksum
        return dict(json.loads(json.dumps(record)))


def narrowed(results: Sequence[TrialResult], search: Plan) -> dict[str, Range]:
    """Choose the ranges to search next: those of the best 5 %, of the best 5 at least.

    Ends are moved outwards to powers of ten, but not beyond what was searched. Trials of which none
    is better than chance tell nothing.
    """
    ranking = best(results)
    if not ranking or ranking[0].validation[-1] <= search.chance:
        return {}
    chosen = ranking[: max(5, ceil(0.05 * len(ranking)))]
    ranges = {}
    for name in ("lr", "weight_decay"):
        values = [getattr(result, name) for result in chosen]
        low, high = getattr(search, name)
        # Read from text, powers of ten are exact.
        ranges[name] = (
            max(low, float(f"1e{floor(log10(min(values)))}")),
            min(high, float(f"1e{ceil(log10(max(values)))}")),
        )
    return ranges
