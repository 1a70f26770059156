"""Normalization: of a batch, a block for each feature, and of neighbouring channels."""

from math import prod
from typing import Any

from xpnet.engine.cuda.chain import chained
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
from xpnet.layers import LRN, BatchNorm

THREADS = 512
"""Threads of a block: NORM_THREADS in norm.cuh."""


@does(BatchNorm, patterns=chained(BatchNorm))
class BatchNormKernel(Kernel):
    """BatchNorm, where all of a batch meet.

    Attributes
    ----------
    frozen : whether training, too, takes the running statistics and leaves them as they are
    """

    kind = "one block a feature"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.frozen: bool = self.layer.statistics_frozen

    @property
    def template(self) -> str:
        """Features, and numbers of one in a sample."""
        return f"{self.input_shape[0]}, {prod(self.input_shape[1:])}"

    def keeps(self, samples: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Statistics of the batch, where it is normalized by them."""
        if self.frozen:
            return {}
        features = (self.input_shape[0],)
        return {"mean": (features, "real"), "std": (features, "real")}

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
        parameters = (*reads("x"), *self.own("gamma", "beta"))
        if not self.by_batch(train=train):
            size = prod(self.output_shape)
            parameters += (*self.own(*running), *writes("y"))
            parameters += (*counts(total=lambda a: a.n * size), self.eps)
            return Function(
                name(self, train=train),
                POINTWISE,
                parameters + chain.parameters(train=train),
                f"norm_infer<{self.template}>(x, gamma, beta, running_mean, running_var, y, "
                f"total, eps, {chain.value(train=train)});",
            )
        parameters += self.statistics("real*") + self.own(*running, kind="real*") + writes("y")
        parameters += counts(samples=lambda a: a.n)
        parameters += (Parameter("real", "momentum", self.layer.momentum), self.eps, self.ddof)
        parameters += (Parameter("int", "running_ddof", self.layer.running_ddof),)
        return Function(
            name(self, train=True),
            THREADS,
            parameters + chain.parameters(),
            f"norm_forward<{self.template}>(x, gamma, beta, mean, std, running_mean, running_var, "
            f"y, samples, momentum, eps, ddof, running_ddof, {chain.value()});",
        )

    def forward(self, arrays: Arrays, *, train: bool) -> list[Call]:
        """A block a feature, or a thread a number."""
        if not self.by_batch(train=train):
            return super().forward(arrays, train=train)
        self.layer.check_count(arrays.n * prod(self.input_shape[1:]))
        return [self.forward_function(train=True).call(arrays, (self.input_shape[0], 1, 1))]

    def backward_functions(self) -> list[Function]:
        """All in one."""
        by_batch, need_dx, below = (
            self.by_batch(train=self.way.train),
            self.op.need_dx[0],
            self.below(),
        )
        flags = ", ".join(map(boolean, (by_batch, need_dx, self.op.need_grads)))
        if by_batch:
            statistics = self.statistics("const real*")
        else:
            statistics = self.own("running_mean", "running_var")
        parameters = (*reads("x", "d"), *self.own("gamma"), *statistics, self.eps)
        if self.op.need_grads:
            parameters += writes("parts")
        parameters += (*writes("dx"), *counts(samples=lambda a: a.n), self.ddof)
        parts = "parts" if self.op.need_grads else "nullptr"
        mean, std = (parameter.name for parameter in statistics)
        return [
            Function(
                f"{self.name}_backward",
                THREADS,
                parameters + below.parameters,
                f"norm_backward<{self.template}, {flags}>(x, d, gamma, {mean}, {std}, eps, "
                f"{parts}, dx, samples, ddof, {below.value});",
            )
        ]

    def backward(self, arrays: Arrays) -> list[Call]:
        """A block a feature."""
        grid = (self.input_shape[0], 1, 1)
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
