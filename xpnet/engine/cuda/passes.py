"""A network's passes on a GPU: its kernels, compiled, and what launches them."""

from collections import OrderedDict
from collections.abc import Mapping
from math import prod

from xpnet.arrays import Array, Device, cuda
from xpnet.arrays.parameters import ALIGN
from xpnet.engine.checks import check_counts, obstacle_of, shaped
from xpnet.engine.cuda.driver import NULL, Argument, CupyDriver, Driver
from xpnet.engine.cuda.plan import (
    COSTS,
    LANES,
    ONE_BLOCK,
    Plan,
    finish_source,
    loss_settings,
    loss_sources,
    penalty_settings,
    penalty_source,
)
from xpnet.engine.cuda.program import MATH, Launch, Program, network_source, run
from xpnet.engine.cuda.stages import (
    STAGES,
    Call,
    Settings,
    Tile,
    declared,
    given,
    kernel,
    number,
    stages_of,
)
from xpnet.errors import ArgumentError, EngineError
from xpnet.functions.losses import as_one_hot
from xpnet.layers import Dropout, SoftmaxWithLoss
from xpnet.models.network import Network
from xpnet.optim.penalties import L1, L2

PREDICTED = 1000
"""Samples at most that are predicted at once: bounds memory."""
PLANS = 4
"""Sizes of batches whose arrays are kept."""
TENSOR_CORES = (8, 0)
"""The first compute capability whose tensor cores take tf32 and bfloat16."""


class Passes:
    """Computes what `Network` computes, up to rounding, by kernels that do several layers' work.

    What layers, loss and penalty are is compiled in. Results repeat bit for bit, on whatever GPU.
    One call at a time: they share their arrays.

    Parameters
    ----------
    network : one that has no `obstacle`
    graph : whether whole steps are replayed as CUDA graphs; otherwise the same kernels are launched
        one by one, to the same bits
    precision : of the factors of products: None for the network's own, "tf32" (10 bits of mantissa
        instead of 23) or "bfloat16" (7 bits) for tensor cores. Sums, and everything else, stay
        float32.
    driver : what runs the kernels; CuPy if None
    tile : of all products, for those who measure; chosen for each if None

    Raises
    ------
    ArgumentError
        The network has an `obstacle`, or the precision is not to be had.
    EngineError
        The kernels do not compile.
    """

    def __init__(
        self,
        network: Network,
        *,
        graph: bool = True,
        precision: str | None = None,
        driver: Driver | None = None,
        tile: Tile | None = None,
    ) -> None:
        if (problem := self.obstacle(network)) is not None:
            raise ArgumentError(f"the engine cannot run this network: {problem}")
        self.network, self.graph = network, graph
        self.precision = _checked(precision, network.dtype, network.device)
        self.driver: Driver = CupyDriver() if driver is None else driver
        leaves = network.nodes()
        self.stages = stages_of(leaves, tile)
        self.dropouts = [leaf.layer for leaf in leaves if isinstance(leaf.layer, Dropout)]
        self._source, self._settings = self._written(), self._given()
        try:
            self.program = Program(self.driver, self._source)
        except Exception as error:
            if (told := cuda.explained(error)) is not None:
                raise told from error
            raise EngineError(f"the kernels do not compile ({first_line(error)})") from error
        self._plans: OrderedDict[tuple[int, bool], Plan] = OrderedDict()
        self.grads = network.params.like()
        self._loss = network.device.zeros(1, dtype=network.dtype)

    def _written(self) -> str:
        """The kernels of all passes."""
        network, last = self.network, self.stages[-1]
        penalty = penalty_source(network.penalty)
        return network_source(
            self.stages,
            network.dtype,
            self.precision,
            [
                *loss_sources(network.last_layer, prod(last.output_shape), last.chain),
                kernel(
                    "gradient",
                    LANES * ALIGN,
                    "const long long* chunks, const real* parts, const real* p, real* g, "
                    "real* penalties, real* squares" + declared(penalty_settings(network.penalty)),
                    f"gather_gradient<{LANES}>(chunks, parts, p, g, penalties, squares, "
                    f"{penalty});",
                ),
                finish_source("finish_pass", network.penalty, len(self.dropouts), "*out = loss;"),
            ],
        )

    def _given(self) -> Settings:
        """What the kernels of all passes are given."""
        of_stages = (setting for stage in self.stages for setting in stage.settings)
        network = self.network
        more = loss_settings(network.last_layer) + penalty_settings(network.penalty)
        return (*of_stages, *more)

    def check_source(self) -> None:
        """Refuse to go on with launches for what layers, loss or penalty were before."""
        if (self._written(), self._given()) != (self._source, self._settings):
            raise ArgumentError(
                "a layer, the loss or the penalty has changed since the engine was compiled; make "
                "another engine, or Trainer, for the network as it is"
            )

    @staticmethod
    def obstacle(network: Network) -> str | None:
        """Why this engine cannot run the network, or None if it can."""
        for leaf in network.nodes():
            if type(leaf.layer) not in STAGES:
                return f"there is no kernel for {type(leaf.layer).__name__}"
        if type(network.last_layer) not in (SoftmaxWithLoss, *COSTS):
            return f"there is no kernel for {type(network.last_layer).__name__}"
        if type(network.penalty) not in (L1, L2, type(None)):
            return f"there is no kernel for {type(network.penalty).__name__}"
        return obstacle_of(network)

    def plan(self, n: int, *, train: bool) -> Plan:
        """Arrays for n samples; those of the sizes used last are kept."""
        if (n, train) not in self._plans:
            largest = max(prod(stage.output_shape) for stage in self.stages)
            if n * max(largest, prod(self.network.input_shape)) >= 2**31:
                raise ArgumentError(
                    f"the engine counts the numbers of an array in 31 bits, and {n} samples have "
                    "more; use a smaller batch"
                )
            with self.network.device.guarded():
                self._plans[n, train] = Plan(
                    self.network, self.stages, self.program, n, train=train
                )
            while len(self._plans) > PLANS:
                self._plans.popitem(last=False)
        self._plans.move_to_end((n, train))
        return self._plans[n, train]

    def gradient(self, plan: Plan, n: int, *, squares: bool) -> list[Launch]:
        """From the parts of a plan to one array, laid out as the parameters."""
        arguments = (plan.chunks(n), plan.parts, self.network.params.flat, self.grads.flat)
        more = (plan.penalties, plan.squares if squares else NULL)
        more += given(penalty_settings(self.network.penalty), self.grads.flat)
        grid = (plan.chunk_count, 1, 1)
        call = Call("gradient", grid, LANES * ALIGN, (*arguments, *more), joins=True)
        return self.program.bind([call])

    def loss_and_gradient(self, x: Array, t: Array) -> tuple[Array, Array, Mapping[str, Array]]:
        """As `Network.loss_and_gradient`; scores and gradient are written over by the next call."""
        n, network = x.shape[0], self.network
        xp = network.device.xp
        check_counts(n, t.shape[0])
        plan = self.plan(n, train=True)
        plan.x[...] = shaped(network, x)
        if t.ndim == 1 and xp.isdtype(t.dtype, ("integral", "bool")):
            targets = "labels"
            plan.labels[...] = xp.astype(t, xp.int32)
        else:
            targets = "rows"
            plan.rows[...] = as_one_hot(t, plan.scores)
        launches = plan.forward(n, train=True) + plan.train(n, targets)
        launches += self.gradient(plan, n, squares=False)
        run(self.driver, launches + self.finish(self.program, "finish_pass", plan, n, self._loss))
        return xp.asarray(self._loss[0, ...], copy=True), plan.scores, self.grads

    def finish(
        self,
        program: Program,
        name: str,
        plan: Plan,
        n: int,
        out: Array,
        *more: Argument,
        settings: Settings = (),
    ) -> list[Launch]:
        """What ends a pass; `more` is cursor, power1 and power2 of `finish_source`."""
        sums = (plan.losses, number(n), plan.penalties, number(plan.chunk_count), out)
        counters = (dropout.state["calls"] for dropout in self.dropouts)
        more = more or (NULL, NULL, NULL)
        arguments = (*sums, *more, *counters, *given(settings, out))
        return program.bind([Call(name, (1, 1, 1), ONE_BLOCK, arguments)])

    def predict(self, x: Array) -> Array:
        """As `Network.predict`, in memory that does not grow with the number of samples."""
        network = self.network
        x = network.place(x)
        if x.shape == network.input_shape and x.ndim == 1:
            return self.predict(x[None, ...])[0, ...]
        x, n = shaped(self.network, x), x.shape[0]
        scores = network.device.zeros((n, *self.stages[-1].output_shape), dtype=network.dtype)
        for start in range(0, n, PREDICTED):
            count = min(PREDICTED, n - start)
            plan = self.plan(min(PREDICTED, n), train=False)
            plan.x[:count, ...] = x[start : start + count, ...]
            run(self.driver, plan.forward(count, train=False))
            scores[start : start + count, ...] = plan.scores[:count, ...]
        return scores


def _checked(precision: str | None, dtype: str, device: Device) -> str:
    """A precision that the network's numbers have, and the GPU."""
    if precision is None or precision == dtype:
        return dtype
    if precision not in MATH or dtype != "float32":
        own = ["float32", "tf32", "bfloat16"] if dtype == "float32" else [dtype]
        raise ArgumentError(
            f"products of a {dtype} network are computed in {' or '.join(own)}, got {precision!r}"
        )
    able = device.compute_capability
    if able is not None and able < TENSOR_CORES:
        raise ArgumentError(
            f"{precision} needs a GPU of compute capability {_dotted(TENSOR_CORES)} or above, and "
            f"{device.name} has {_dotted(able)}; leave the precision out"
        )
    return precision


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def first_line(error: Exception) -> str:
    """The beginning of what an error says: compilers say much."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
