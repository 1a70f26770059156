"""xpnet as a contestant."""

import sys
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from xpnet.arrays.values import scaled
from xpnet.bench.cases import Arrays, Case, Ready, UnavailableError, fresh
from xpnet.engine import get_engine
from xpnet.optim import OPTIMIZERS


def build(
    case: Case,
    arrays: Arrays,
    *,
    engine: str,
    graph: bool = True,
    device: str | None = None,
    numba: bool = True,
) -> Ready:
    """Build a network with one of xpnet's engines.

    Parameters
    ----------
    engine, graph : as in `get_engine`
    device : if not that of the case
    numba : False hides it from this process, which is as if it were not installed
    """
    if not numba:
        sys.modules["numba"] = None  # type: ignore[assignment]
    threadpool_limits(case.threads, user_api="blas")
    network = fresh(case.model, device or case.device)
    place, optimizer = network.device, OPTIMIZERS[case.optimizer](case.lr)
    runner: Any = get_engine(network, engine, case.threads, precision=case.precision, graph=graph)
    labels = place.asarray(arrays["t"])
    # What is used instead of an engine is nothing to be timed as it.
    pixels = arrays["x"].reshape(-1, *network.input_shape)
    if (instead := runner.check(pixels, labels, optimizer)) is not runner:
        raise UnavailableError(str(instead.describe()["engine_reason"]))

    if case.task == "train" and runner.steps_obstacle(optimizer) is None:
        # The GPU's engine trains by epochs: it draws its batches from the pixels by itself.
        n = len(labels)
        steps, rng = n // case.batch_size, np.random.default_rng(0)
        rates = np.full(steps, case.lr)
        pixels = place.asarray(arrays["x"])
        training = runner.steps(pixels, labels, case.batch_size, optimizer)

        def epoch() -> None:
            training.epoch(rng.permutation(n), rates)

        return Ready(epoch, runner.describe, place.synchronize, steps)

    batches = case.batches(network.place(scaled(arrays["x"], np.float32)), labels)

    def train() -> None:
        _, _, grads = runner.loss_and_gradient(*next(batches))
        optimizer.update(network.params, grads)

    def predict() -> None:
        runner.predict(next(batches)[0])

    return Ready(train if case.task == "train" else predict, runner.describe, place.synchronize)
