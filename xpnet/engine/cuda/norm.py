"""Normalization: of a batch, blocks for each feature, and of neighbouring channels."""

from math import prod
from typing import Any

from xpnet.engine.cuda.chain import chained
from xpnet.engine.cuda.driver import Grid
from xpnet.engine.cuda.function import (
    POINTWISE,
    Call,
    Function,
    Parameter,
    Parameters,
    boolean,
    counts,
    reads,
    writes,
)
from xpnet.engine.cuda.kernel import Arrays, EachNumber, Kernel, does, forward_name
from xpnet.engine.cuda.product import TYPICAL
from xpnet.engine.cuda.tiles import MULTIPROCESSORS
from xpnet.layers import LRN, BatchNorm

THREADS = 512
"""Threads of a block: NORM_THREADS in norm.cuh."""
SHARE = 1024
"""Numbers of a feature at least that are worth a block of their own."""
SHARES = "shares"
"""Name of what the blocks of a feature leave to each other."""
LEFT = Parameter("real*", SHARES, lambda a: a.kept[SHARES])


@does(BatchNorm, patterns=chained(BatchNorm))
class BatchNormKernel(Kernel):
    """BatchNorm, where all of a batch meet.

    Attributes
    ----------
    frozen : whether training, too, takes the running statistics and leaves them as they are
    """

    kind = "blocks for each feature"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.frozen: bool = self.layer.statistics_frozen

    @property
    def template(self) -> str:
        """Features, and numbers of one in a sample."""
        return f"{self.input_shape[0]}, {prod(self.input_shape[1:])}"

    def blocks(self, n: int) -> int:
        """Count the blocks that a feature of n samples is large enough for."""
        features, *plane = self.input_shape
        return max(1, min(-(-2 * MULTIPROCESSORS // features), n * prod(plane) // SHARE))

    @property
    def divided(self) -> bool:
        """True if features have several blocks, whose launches are then others.

        As the tiles of products, they are chosen for batches of a typical size.
        """
        return self.blocks(TYPICAL) > 1

    def parts(self, n: int) -> int:
        """Count the parts of the gradient: each block of a feature leaves one."""
        return self.blocks(n) if self.divided else 1

    def grid(self, n: int) -> Grid:
        """All blocks of all features."""
        return self.input_shape[0], self.parts(n), 1

    def keeps(self, samples: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Statistics of the batch, where it is normalized by them; and what blocks leave."""
        features, blocks, _ = self.grid(samples)
        found: dict[str, tuple[tuple[int, ...], str]] = {}
        if not self.frozen:
            found = {"mean": ((features,), "real"), "std": ((features,), "real")}
        return found | ({SHARES: ((blocks, 2 * features), "real")} if self.divided else {})

    def statistics(self, kind: str) -> Parameters:
        """Parameters for the batch's mean and deviation."""

        def parameter(name: str) -> Parameter:
            return Parameter(kind, name, lambda a: a.kept[name])

        return tuple(map(parameter, ("mean", "std")))

    def by_batch(self, *, train: bool) -> bool:
        """Tell whether a pass normalizes by the statistics of its batch."""
        return train and not self.frozen

    @property
    def eps(self) -> Parameter:
        """The number that is added to the variance in the root."""
        return Parameter("real", "eps", self.layer.eps)

    @property
    def ddof(self) -> Parameter:
        """The number that is taken from the count in the variance."""
        return Parameter("int", "ddof", self.layer.ddof)

    def forward_function(self, *, train: bool) -> Function:
        """The kernel with the batch's statistics, or with the running ones."""
        running, chain, name = ("running_mean", "running_var"), self.chain, forward_name
        if not self.by_batch(train=train):
            size = prod(self.output_shape)
            parameters = (*reads("x"), *self.own("gamma", "beta", *running), *writes("y"))
            parameters += (*counts(total=lambda a: a.n * size), self.eps)
            return Function(
                name(self, train=train),
                POINTWISE,
                parameters + chain.parameters(train=train),
                f"norm_infer<{self.template}>(x, gamma, beta, running_mean, running_var, y, "
                f"total, eps, {chain.value(train=train)});",
            )
        shares = (LEFT,) if self.divided else ()
        parameters = (*reads("x"), *shares, *self.own("gamma", "beta"))
        parameters += self.statistics("real*") + self.own(*running, kind="real*") + writes("y")
        parameters += counts(samples=lambda a: a.n)
        parameters += (Parameter("real", "momentum", self.layer.momentum), self.eps, self.ddof)
        parameters += (Parameter("int", "running_ddof", self.layer.running_ddof),)
        return Function(
            name(self, train=True),
            THREADS,
            parameters + chain.parameters(),
            f"norm_forward<{self.template}, {boolean(self.divided)}>"
            f"(x, {SHARES if self.divided else 'nullptr'}, gamma, beta, mean, std, running_mean, "
            f"running_var, y, samples, momentum, eps, ddof, running_ddof, {chain.value()});",
        )

    def forward_functions(self, *, train: bool) -> list[Function]:
        """The kernel, and before it what it finds in shares."""
        functions = super().forward_functions(train=train)
        if not (self.by_batch(train=train) and self.divided):
            return functions
        parameters = (*reads("x"), LEFT, *counts(samples=lambda a: a.n))
        body = f"norm_shares<{self.template}>(x, {SHARES}, samples);"
        return [Function(f"{self.name}_shares", THREADS, parameters, body), *functions]

    def forward(self, arrays: Arrays, *, train: bool) -> list[Call]:
        """Blocks for each feature, or a thread a number."""
        if not self.by_batch(train=train):
            return super().forward(arrays, train=train)
        self.layer.check_count(arrays.n * prod(self.input_shape[1:]))
        grid, functions = self.grid(arrays.n), self.forward_functions(train=True)
        return [function.call(arrays, grid) for function in functions]

    def backward_functions(self) -> list[Function]:
        """Sums and dx in one, or one after the other; each only where somebody reads it."""
        by_batch, need_dx = self.by_batch(train=self.way.train), self.op.need_dx[0]
        need_sums = self.op.need_grads or (by_batch and need_dx)
        if self.divided:
            tasks = [("sums", "SUMS")] if need_sums else []
            tasks += [("backward", "RETURNS")] if need_dx else []
        else:
            task = "|".join(["SUMS"] * need_sums + ["RETURNS"] * need_dx)
            tasks = [("backward", task)]
        return [self._backward_function(*task, by_batch=by_batch) for task in tasks]

    def _backward_function(self, name: str, task: str, *, by_batch: bool) -> Function:
        below, divided, need_grads = self.below(), self.divided, self.op.need_grads
        flags = ", ".join(map(boolean, (by_batch, need_grads or divided)))
        if by_batch:
            statistics = self.statistics("const real*")
        else:
            statistics = self.own("running_mean", "running_var")
        parameters = (*reads("x", "d"), *self.own("gamma"), *statistics, self.eps)
        left, parts = "nullptr", writes("parts")
        if need_grads:
            parameters, left = parameters + parts, "parts"
        elif divided:
            parameters, left = (*parameters, LEFT), SHARES
        parameters += (*writes("dx"), *counts(samples=lambda a: a.n), self.ddof)
        mean, std = (parameter.name for parameter in statistics)
        return Function(
            f"{self.name}_{name}",
            THREADS,
            parameters + below.parameters,
            f"norm_backward<{self.template}, {task}, {flags}>(x, d, gamma, {mean}, {std}, eps, "
            f"{left}, dx, samples, ddof, {below.value});",
        )

    def backward(self, arrays: Arrays) -> list[Call]:
        """Blocks for each feature."""
        grid = self.grid(arrays.n)
        return [function.call(arrays, grid) for function in self.backward_functions()]


@does(LRN, patterns=chained(LRN))
class LRNKernel(EachNumber):
    """LRN, whose denominators are found again on the way back."""

    @property
    def begins(self) -> tuple[str, str]:
        """The calls in C++, for these channels."""
        channels, *plane = self.input_shape
        made = f"Across<{channels}, {prod(plane)}, {self.layer.size}>"
        given = "x, alpha, beta, k"
        return f"lrn_forward<{made}>({given}", f"lrn_backward<{made}>({given}"

    @property
    def besides(self) -> tuple[Parameters, Parameters]:
        """The layer's constants."""
        names = ("alpha", "beta", "k")
        constants = tuple(Parameter("real", name, getattr(self.layer, name)) for name in names)
        return constants, constants
