"""xpnet as a contestant."""

from threadpoolctl import threadpool_limits

from xpnet.bench.cases import Arrays, Case, Ready, fresh
from xpnet.engine import get_engine
from xpnet.optim import OPTIMIZERS


def build(case: Case, arrays: Arrays, *, engine: str) -> Ready:
    """A network with one of xpnet's engines."""
    threadpool_limits(case.threads, user_api="blas")
    network = fresh(case.model)
    runner = get_engine(network, engine, threads=case.threads)
    optimizer = OPTIMIZERS[case.optimizer](case.lr)
    batches = case.batches(network.place(arrays["x"]), network.device.asarray(arrays["t"]))

    def train() -> None:
        _, _, grads = runner.loss_and_gradient(*next(batches))
        optimizer.update(network.params, grads)

    def predict() -> None:
        runner.predict(next(batches)[0])

    return Ready(train if case.task == "train" else predict, runner.describe)
