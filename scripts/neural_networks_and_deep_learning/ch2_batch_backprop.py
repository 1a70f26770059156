"""Is a mini-batch as one matrix the same as its samples one by one, and faster? (Chapter 2)

    python scripts/neural_networks_and_deep_learning/ch2_batch_backprop.py

The mean of the gradients that backpropagation gives for ten samples, and what it gives for all ten
as columns of one matrix: equal up to rounding, in float64, for 784-30-10. How much faster the one
is, is reported; `bench_nielsen_step.py` compares whole steps with the loop of the book.
"""

import time
from collections.abc import Callable

import numpy as np

from xpnet import to_numpy
from xpnet.books.nielsen import Network
from xpnet.report.experiment import Lab, main

M = 10


def run(lab: Lab) -> None:
    """Compare, and time both."""
    rng = lab.rng
    network = Network([784, 30, 10], rng=rng, device=lab.device)
    x = lab.device.asarray(rng.random((784, M)))
    y = lab.device.asarray(np.eye(10)[:, rng.integers(10, size=M)])

    def at_once() -> list[np.ndarray]:
        nabla_b, nabla_w = network.backprop(x, y)
        return [to_numpy(g) for g in (*nabla_b, *nabla_w)]

    def one_by_one() -> list[np.ndarray]:
        singles = [network.backprop(x[:, n : n + 1], y[:, n : n + 1]) for n in range(M)]
        layers = zip(*([*nabla_b, *nabla_w] for nabla_b, nabla_w in singles), strict=True)
        return [sum(map(to_numpy, parts)) / M for parts in layers]

    names = ("b2", "b3", "w2", "w3")
    for name, got, want in zip(names, at_once(), one_by_one(), strict=True):
        error = np.abs(got - want).max() / np.abs(want).max()
        lab.check(f"relative difference of {name}", error, high=1e-12, book="identical")

    def milliseconds(gradient: Callable[[], object]) -> list[float]:
        times = []
        for _ in range(lab.few(200, 5)):
            begin = time.perf_counter()
            gradient()
            times.append(1000 * (time.perf_counter() - begin))
        return times

    times = {"one by one": milliseconds(one_by_one), "at once": milliseconds(at_once)}
    medians = {name: float(np.median(values)) for name, values in times.items()}
    ratio = medians["one by one"] / medians["at once"]
    lab.check("how many times faster at once", ratio, book="about 2 on a laptop")
    axes = lab.figure(4.5, 3.2).subplots()
    axes.bar(list(medians), list(medians.values()))
    axes.set(ylabel="ms, median")


if __name__ == "__main__":
    main(run, __doc__)
