"""The programs of Neural Networks and Deep Learning (Nielsen), chapters 1 to 3, by their names.

    training_data, validation_data, test_data = load_data_wrapper()
    net = Network([784, 30, 10])
    net.SGD(training_data, 30, 10, 3.0, test_data=test_data)

    net = Network([784, 30, 10], cost=CrossEntropyCost)
    net.SGD(training_data, 30, 10, 0.5, 5.0, evaluation_data=test_data,
            monitor_evaluation_accuracy=True)

A thin face over `xpnet.Network`. The book's vectors are columns, (n, 1) for one sample and (n, m)
for m of them side by side; its weights are (units, units below). Those of the library lie the other
way, samples as rows and weights as (n_in, n_out), and are what is kept: `weights` and `biases` are
views of them.
"""

from xpnet.books.nielsen.costs import (
    COSTS,
    Cost,
    CrossEntropyCost,
    LogLikelihoodCost,
    QuadraticCost,
    sigmoid_prime,
)
from xpnet.books.nielsen.data import (
    Images,
    Pairs,
    load_data,
    load_data_wrapper,
    pairs,
    vectorized_result,
)
from xpnet.books.nielsen.network import Monitored, Network, load
from xpnet.functions.activations import sigmoid, softmax

__all__ = [
    "COSTS",
    "Cost",
    "CrossEntropyCost",
    "Images",
    "LogLikelihoodCost",
    "Monitored",
    "Network",
    "Pairs",
    "QuadraticCost",
    "load",
    "load_data",
    "load_data_wrapper",
    "pairs",
    "sigmoid",
    "sigmoid_prime",
    "softmax",
    "vectorized_result",
]
