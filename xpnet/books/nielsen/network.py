"""The book's network, trained by stochastic gradient descent, and its file."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from xpnet import models
from xpnet.arguments import check_number, checked
from xpnet.arrays import Array, Device, array_namespace, device_of, to_numpy
from xpnet.arrays.values import as_array, scaled
from xpnet.books.nielsen.costs import COSTS, Cost, QuadraticCost, difference
from xpnet.books.nielsen.data import Pairs
from xpnet.data import Batches
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError, WeightsError
from xpnet.files.atomic import write_text
from xpnet.files.texts import read_json
from xpnet.functions.init import normal, xavier
from xpnet.functions.targets import check_classes, check_labels
from xpnet.layers import Affine, Layer, Sigmoid
from xpnet.layers.numbers import sizes as whole_sizes
from xpnet.models.accuracy import EVALUATION_BATCH, check_finite, share_correct
from xpnet.notice import show
from xpnet.optim import SGD
from xpnet.optim.penalties import L2, weights

Monitored: TypeAlias = tuple[list[float], list[int], list[float], list[int]]
"""Evaluation cost and accuracy, training cost and accuracy: an entry an epoch, where monitored."""


MAX_LAYERS = 1000
"""Layers of a network that is read from a file."""


class _Views(list[Array]):
    """Arrays of a network, one for each layer of weights. Assigning one copies its values in."""

    def __setitem__(self, layer: Any, value: Any) -> None:
        view = self[layer]
        value = device_of(view).asarray(value)
        if value.shape != view.shape:
            raise ArgumentError(
                f"entry {layer} has the shape {tuple(view.shape)}, got {tuple(value.shape)}; "
                "biases are columns (units, 1), weights (units, units below)"
            )
        view[...] = array_namespace(view).astype(value, view.dtype)


class Network:
    """Sigmoid neurons in layers, trained by stochastic gradient descent.

    Parameters
    ----------
    sizes : units of each layer, from the inputs to the outputs
    cost : QuadraticCost, CrossEntropyCost, LogLikelihoodCost, or your own. Without one it is
        chapter 1's network, quadratic and with large initial weights; with one it is chapter 3's,
        which begins with `default_weight_initializer`.
    rng : NumPy generator or seed of initial weights and shuffles
    device, dtype : as in `xpnet.Network`

    Attributes
    ----------
    num_layers, sizes, cost : as given
    network : the `xpnet.Network` that this is a face of
    """

    @checked
    def __init__(
        self,
        sizes: Sequence[int],
        cost: type[Cost] | None = None,
        *,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float64",
    ) -> None:
        self.sizes = list(whole_sizes("sizes", sizes, "[784, 30, 10]"))
        if len(self.sizes) < 2:
            raise ArgumentError(
                f"a network needs a layer of inputs and one of outputs, got the sizes {sizes}"
            )
        self.num_layers = len(self.sizes)
        self.cost = QuadraticCost if cost is None else _class_of(cost)
        layers: list[Layer] = []
        for n_in, n_out in pairwise(self.sizes):
            layers += [Affine(n_in, n_out, std=0.0), Sigmoid()]
        layers[-1:] = [layer() for layer in self.cost.layers]
        self.network = models.Network(
            layers, self.cost.loss(), names="book", device=device, dtype=dtype
        )
        # On the book's batches of 10, threads wait for each other longer than they compute.
        self._engine = get_engine(self.network, threads=1)
        self._rng = np.random.default_rng(rng)
        if cost is None:
            self.large_weight_initializer()
        else:
            self.default_weight_initializer()

    @property
    def biases(self) -> list[Array]:
        """The biases of each layer but the first, (units, 1). Assign to copy in."""
        return self._views("b", lambda b: b[:, None])

    @biases.setter
    def biases(self, values: Sequence[Any]) -> None:
        _fill(self.biases, values)

    @property
    def weights(self) -> list[Array]:
        """The weights of each layer but the first, (units, units below). Assign to copy in."""
        return self._views("W", lambda W: W.T)

    @weights.setter
    def weights(self, values: Sequence[Any]) -> None:
        _fill(self.weights, values)

    def _views(self, kind: str, view: Callable[[Array], Array]) -> _Views:
        params = self.network.params
        return _Views(view(params[f"{kind}{layer}"]) for layer in range(1, self.num_layers))

    def large_weight_initializer(self) -> None:
        """Draw standard normal biases, then standard normal weights, as in chapter 1."""
        self._initialize(lambda n_in: 1.0)

    def default_weight_initializer(self) -> None:
        """Draw standard normal biases, then weights of standard deviation 1 / sqrt(n_in)."""
        self._initialize(xavier)

    def _initialize(self, std: Callable[[int], float]) -> None:
        self.biases = [normal((n, 1), 1.0, self._rng) for n in self.sizes[1:]]
        self.weights = [
            normal((n_out, n_in), std(n_in), self._rng) for n_in, n_out in pairwise(self.sizes)
        ]

    def feedforward(self, a: Array) -> Array:
        """Compute the outputs for an input (n, 1), or for m of them side by side (n, m)."""
        return self.cost.outputs(self.network.predict(self._rows(a))).T

    def _rows(self, columns: Array) -> Array:
        x = scaled(self.network.device.asarray(columns), self.network.params.flat.dtype)
        if x.ndim != 2 or x.shape[0] != self.sizes[0]:
            raise ArgumentError(
                f"an input must be a column ({self.sizes[0]}, 1), or several side by side "
                f"({self.sizes[0]}, m), got the shape {tuple(x.shape)}; use x.reshape(-1, 1)"
            )
        return x.T

    def backprop(self, x: Array, y: Array) -> tuple[list[Array], list[Array]]:
        """Compute the gradient of the cost by the biases and by the weights: (nabla_b, nabla_w).

        x and y are columns. Of m samples side by side, (n, m) and (k, m), it is the mean gradient.
        """
        target = self.network.device.asarray(y, dtype=self.network.dtype).T
        _, _, grads = self.network.loss_and_gradient(self._rows(x), target)
        numbers = range(1, self.num_layers)
        return [grads[f"b{k}"][:, None] for k in numbers], [grads[f"W{k}"].T for k in numbers]

    def cost_derivative(self, output_activations: Array, y: Array) -> Array:
        """The derivative of the quadratic cost: dC_x/da = a - y."""
        return difference(output_activations, y)

    def update_mini_batch(
        self,
        mini_batch: Pairs,
        eta: float,
        lmbda: float = 0.0,
        n: int | None = None,
    ) -> None:
        """Take one step along the mean gradient of a mini-batch of m samples.

            w <- (1 - eta lmbda / n) w - eta/m sum dC_x/dw              (eq. 93)
            b <- b - eta/m sum dC_x/db                                  (eq. 94)

        Parameters
        ----------
        n : size of all the training data; that of the mini-batch if None
        """
        x, y = self._stacked(mini_batch)
        decay = _decay(eta, lmbda, len(x) if n is None else n)
        self._step(self.network.place(x), self.network.place_targets(y), SGD(eta), decay)

    def _step(self, x: Array, y: Array, optimizer: SGD, decay: float) -> None:
        params = self.network.params
        _, _, grads = self._engine.loss_and_gradient(x, y)
        if decay != 1.0:
            for _, W in weights(params):
                W *= decay
        optimizer.update(params, grads)

    @checked
    def SGD(
        self,
        training_data: Pairs,
        epochs: int,
        mini_batch_size: int,
        eta: float,
        lmbda: float = 0.0,
        evaluation_data: Pairs | None = None,
        monitor_evaluation_cost: bool = False,
        monitor_evaluation_accuracy: bool = False,
        monitor_training_cost: bool = False,
        monitor_training_accuracy: bool = False,
        test_data: Pairs | None = None,
        *,
        verbose: bool = True,
    ) -> Monitored:
        """Train by steps of `update_mini_batch`, with every sample once an epoch, in random order.

        A list that is given stays as it is; whatever gives pairs will do, such as `zip`.

        Parameters
        ----------
        training_data : with target columns, or with numbers of classes
        eta : the learning rate
        lmbda : strength of the decay of the weights, which is lmbda / n a step for n samples
        monitor_... : what to take after every epoch; accuracies are numbers of samples
        test_data : chapter 1's form: how many of them are right is printed after every epoch
        verbose : print a line an epoch

        Returns
        -------
        evaluation cost, evaluation accuracy, training cost, training accuracy: lists with an entry
        an epoch, empty where not monitored

        Raises
        ------
        ArgumentError
            There is nothing to evaluate what is to be monitored on, a sample is no pair of columns,
            the number of a class has no output, or a number makes no sense.
        """
        if epochs < 0:
            raise ArgumentError(f"epochs must be 0 or more, got {epochs}")
        if evaluation_data is None and (monitor_evaluation_cost or monitor_evaluation_accuracy):
            raise ArgumentError("monitoring an evaluation needs evaluation_data, got none")
        training = self._stacked(training_data)
        evaluation = training if evaluation_data is None else self._stacked(evaluation_data)
        test = None if test_data is None else self._stacked(test_data)
        n = len(training[0])
        batches = Batches(
            *training,
            mini_batch_size,
            device=self.network.device,
            seed=int(self._rng.integers(2**32)),
            dtype=self.network.dtype,
        )
        optimizer, decay = SGD(eta), _decay(eta, lmbda, n)
        monitored: Monitored = ([], [], [], [])
        for epoch in range(epochs):
            for x, y in batches.epoch(epoch):
                self._step(x, y, optimizer, decay)
            if monitor_evaluation_cost:
                monitored[0].append(self._total_cost(*evaluation, lmbda))
            if monitor_evaluation_accuracy:
                monitored[1].append(self._correct(*evaluation))
            if monitor_training_cost:
                monitored[2].append(self._total_cost(*training, lmbda))
            if monitor_training_accuracy:
                monitored[3].append(self._correct(*training))
            if verbose and test is not None:
                show(f"Epoch {epoch}: {self._correct(*test)} / {len(test[0])}")
            elif verbose:
                show(f"Epoch {epoch} complete")
        return monitored

    def evaluate(self, test_data: Pairs) -> int:
        """Count the samples that have their highest output at the target."""
        return self._correct(*self._stacked(test_data))

    def accuracy(self, data: Pairs, convert: bool = False) -> int:
        """Count the samples that have their highest output at the target, as `evaluate`.

        Parameters
        ----------
        convert : taken as in the book, where it says that targets are columns; here they tell
            themselves
        """
        return self.evaluate(data)

    def total_cost(self, data: Pairs, lmbda: float, convert: bool = False) -> float:
        """Sum the mean cost of the samples and lmbda / (2 n) sum w^2, for these n samples.

        Parameters
        ----------
        convert : taken as in the book, where it says that targets are numbers of classes; here they
            tell themselves
        """
        return self._total_cost(*self._stacked(data), lmbda)

    def _correct(self, x: np.ndarray, y: np.ndarray) -> int:
        device, predict = self.network.device, self._engine.predict
        return round(len(x) * share_correct(predict, x, y, device, EVALUATION_BATCH))

    def _total_cost(self, x: np.ndarray, y: np.ndarray, lmbda: float) -> float:
        network, n = self.network, len(x)
        total = 0.0
        for first in range(0, n, EVALUATION_BATCH):
            part = slice(first, first + EVALUATION_BATCH)
            scores, target = self._engine.predict(x[part]), network.device.asarray(y[part])
            total += float(network.last_layer.forward(scores, target)[0]) * len(x[part])
        return total / n + float(L2(lmbda / n).value(network.params))

    def _stacked(self, data: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Inputs as rows (N, n), and targets as rows (N, k) or numbers of classes (N,)."""
        n, k = self.sizes[0], self.sizes[-1]
        try:
            samples = [(as_array(x), as_array(y)) for x, y in data]
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"samples must be pairs of a column ({n}, 1), and a column ({k}, 1) or the number "
                f"of a class, got others: {error}"
            ) from error
        if not samples:
            raise ArgumentError("at least one sample is needed, got an empty list")
        first = samples[0]
        for x, y in samples:
            if x.shape != first[0].shape or y.shape != first[1].shape:
                raise ArgumentError(
                    f"all samples must have the shapes of the first, {first[0].shape} and "
                    f"{first[1].shape}, got {x.shape} and {y.shape}"
                )
        columns, targets = (np.stack(parts) for parts in zip(*samples, strict=True))
        if columns.shape[1:] != (n, 1) or targets.shape[1:] not in ((), (k, 1)):
            raise ArgumentError(
                f"a sample must be a column ({n}, 1), and a column ({k}, 1) or the number of a "
                f"class, got the shapes {columns.shape[1:]} and {targets.shape[1:]}; "
                "use x.reshape(-1, 1)"
            )
        targets = targets[..., 0] if targets.ndim == 3 else targets
        check_classes(check_labels(targets), k)
        check_finite(columns)
        check_finite(targets, what="targets")
        return columns[..., 0], targets

    def save(self, filename: str | Path) -> None:
        """Write sizes, cost, weights and biases as JSON; `load` reads it."""
        record = {
            "sizes": self.sizes,
            "weights": [to_numpy(w).tolist() for w in self.weights],
            "biases": [to_numpy(b).tolist() for b in self.biases],
            "cost": self.cost.__name__,
        }
        write_text(filename, json.dumps(record))


def load(filename: str | Path) -> Network:
    """Load a network from the file that `Network.save` wrote.

    Raises
    ------
    WeightsError
        The file cannot be read or is none of these, or its cost is none of `COSTS`.
    """
    try:
        record = read_json(filename)
        sizes, cost = record["sizes"], COSTS[record["cost"]]
        weights, biases = (
            [np.array(values, dtype=np.float64) for values in record[name]]
            for name in ("weights", "biases")
        )
        shapes = [(*pair[::-1], 1) for pair in pairwise(sizes)]
        found = [(*w.shape, *b.shape[1:]) for w, b in zip(weights, biases, strict=True)]
        if found != shapes or len(sizes) > MAX_LAYERS:  # before room is made for what it promises
            raise ValueError(
                f"sizes, weights and biases disagree, or are of over {MAX_LAYERS} layers"
            )
        network = Network(sizes, cost=cost)
        network.weights, network.biases = weights, biases
    except (OSError, ArithmeticError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{filename} is no network that was saved: {type(error).__name__}: {str(error)[:200]}; "
            f"give a file of Network.save, with the cost {', '.join(COSTS)}"
        ) from error
    return network


def _class_of(cost: Any) -> type[Cost]:
    """The class of a cost, which is what is asked for; one of its instances will do."""
    kind: type[Cost] = cost if isinstance(cost, type) else type(cost)
    if not hasattr(kind, "layers") or not hasattr(kind, "loss"):
        raise ArgumentError(
            f"cost must be {', '.join(COSTS)} or a class of your own with what they have, got "
            f"{cost!r:.100}"
        )
    return kind


def _decay(eta: float, lmbda: float, n: int) -> float:
    """What weights are multiplied by in a step, 1 - eta lmbda / n."""
    check_number("lmbda", "a step", lmbda)
    if not (isfinite(lmbda) and lmbda >= 0 and n >= 1):
        raise ArgumentError(f"lmbda must be from 0 and n from 1 on, got {lmbda} and {n}")
    return 1.0 - eta * lmbda / n


def _fill(views: list[Array], values: Sequence[Any]) -> None:
    if len(values) != len(views):
        raise ArgumentError(f"{len(views)} arrays are needed, one a layer, got {len(values)}")
    for layer, value in enumerate(values):
        views[layer] = value
