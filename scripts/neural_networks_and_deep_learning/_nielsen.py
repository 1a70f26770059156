"""Parts that several experiments share: the book's three sets of MNIST, and a trained network."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xpnet import hold_out, to_numpy
from xpnet.books.nielsen import Cost, Network, Pairs, pairs
from xpnet.data import Dataset
from xpnet.report.experiment import Lab

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Rows(NamedTuple):
    """Images as rows of 784 numbers from 0 to 1, and digits, for training, validation, testing."""

    training: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


class Parts(NamedTuple):
    """The same as lists of pairs of columns; digits, not vectors, where nothing is trained."""

    training: Pairs
    validation: Pairs
    test: Pairs


@lru_cache(maxsize=1)  # of one set: several experiments may run in one process
def _rows(digits: Dataset) -> Rows:
    def flat(x: np.ndarray) -> np.ndarray:
        return np.divide(x.reshape(len(x), -1), 255, dtype=np.float32)

    aside = len(digits.x_train) // 6  # 10,000 of MNIST's 60,000
    training, validation = hold_out(flat(digits.x_train), digits.t_train, aside)
    return Rows(training, validation, (flat(digits.x_test), digits.t_test))


def rows(lab: Lab) -> Rows:
    """Return the digits in three parts."""
    return _rows(lab.digits)


def parts(lab: Lab) -> Parts:
    """Return the digits in three parts, as the book's networks take them."""
    training, validation, test = rows(lab)
    return Parts(pairs(*training, vectors=True), pairs(*validation), pairs(*test))


class Curves(NamedTuple):
    """A trained network, and what was monitored after every epoch; accuracies in percent."""

    network: Network
    evaluation_cost: np.ndarray
    evaluation: np.ndarray
    training_cost: np.ndarray
    training: np.ndarray


def trained(
    lab: Lab,
    sizes: Sequence[int],
    training: Pairs,
    evaluation: Pairs,
    *,
    epochs: int,
    eta: float,
    cost: type[Cost] | None = None,
    lmbda: float = 0.0,
    monitor: bool = True,
    monitor_training: bool = False,
    monitor_costs: bool = False,
    seed: int = 0,
) -> Curves:
    """Train on batches of 10 from large initial weights, as chapters 1 and 3 do.

    `monitor` is of the accuracy on the data to evaluate.
    """
    network = Network(sizes, cost, rng=lab.seed + seed, device=lab.device, dtype="float32")
    network.large_weight_initializer()
    evaluation_cost, right, training_cost, right_in_training = network.SGD(
        training,
        epochs,
        10,
        eta,
        lmbda,
        evaluation_data=evaluation,
        monitor_evaluation_cost=monitor_costs,
        monitor_evaluation_accuracy=monitor,
        monitor_training_cost=monitor_costs,
        monitor_training_accuracy=monitor_training,
        verbose=False,
    )
    return Curves(
        network,
        np.array(evaluation_cost),
        100 * np.array(right) / len(evaluation),
        np.array(training_cost),
        100 * np.array(right_in_training) / len(training),
    )


def length(network: Network) -> float:
    """Compute |w|, of all weights together."""
    return float(np.sqrt(sum(np.sum(to_numpy(w) ** 2) for w in network.weights)))


def draw(axes: "Axes", curves: dict[str, np.ndarray], ylabel: str, title: str = "") -> None:
    """Draw curves against epochs from 0, as the book counts them."""
    for label, values in curves.items():
        axes.plot(values, label=label)
    axes.set(xlabel="epoch", ylabel=ylabel, title=title)
    axes.legend()
