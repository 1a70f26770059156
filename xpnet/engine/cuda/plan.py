"""A network's passes for a batch of a size: arrays that stay, and the launches that use them."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.parameters import ALIGN
from xpnet.engine.cuda.program import Launch, Program
from xpnet.engine.cuda.stages import (
    BLOCKS,
    POINTWISE,
    Arrays,
    Call,
    Chain,
    Setting,
    Settings,
    Stage,
    blocks,
    declared,
    given,
    kernel,
    number,
)
from xpnet.layers import IdentityWithLoss, Loss, SigmoidWithLoss, SoftmaxWithLoss
from xpnet.models.network import Network
from xpnet.optim.penalties import L1, L2, Penalty, weights

LANES = 4
"""Threads that share the parts of one number's gradient."""
ONE_BLOCK = 256
"""Threads of a kernel that adds up what many blocks left."""


COSTS: dict[type[Loss], str] = {
    IdentityWithLoss: "SquaredError",
    SigmoidWithLoss: "SigmoidCrossEntropy",
}
"""Losses that are sums over scores, by what they are called in loss.cuh."""


def loss_settings(loss: Loss) -> Settings:
    """What the loss's kernels are given."""
    if isinstance(loss, SoftmaxWithLoss):
        return (Setting("real", "smoothing", loss.smoothing),)
    return ()


def loss_sources(loss: Loss, classes: int, below: Chain) -> list[str]:
    """The loss's kernels, for labels and for rows of targets."""
    sources = []
    for targets, kind in (("Labels", "int"), ("Rows", "real")):
        if isinstance(loss, SoftmaxWithLoss):
            function, more = f"softmax_loss<{classes}>", "smoothing, "
        else:
            function, more = f"summed_loss<{classes}, {COSTS[type(loss)]}>", ""
        sources.append(
            kernel(
                f"loss_of_{targets.lower()}",
                POINTWISE,
                f"const real* z, const {kind}* t, real* losses, real* dz, "
                "const long long* calls, int samples"
                + declared(loss_settings(loss) + below.settings()),
                f"{function}(z, {targets}<{classes}>{{t}}, losses, dz, samples, "
                f"{more}{below.value()});",
            )
        )
    return sources


def finish_source(
    name: str, penalty: Penalty | None, dropouts: int, lines: str, settings: Settings = ()
) -> str:
    """What ends a training pass: its loss, and the number of passes of every Dropout.

    Parameters
    ----------
    lines : what else one thread does; it finds `loss`, `out`, `cursor`, `power1` and `power2`
    settings : what `lines` finds besides
    """
    counters = "".join(f", long long* calls{k}" for k in range(dropouts))
    counted = "".join(f"\n        ++*calls{k};" for k in range(dropouts))
    return kernel(
        name,
        ONE_BLOCK,
        "const real* losses, int samples, const real* penalties, int chunks, real* out, "
        f"int* cursor, double* power1, double* power2{counters}{declared(settings)}",
        f"const real loss = mean_loss<{ONE_BLOCK}, {str(penalty is not None).lower()}>"
        "(losses, samples, penalties, chunks);\n"
        f"    if (threadIdx.x == 0) {{\n        {lines}{counted}\n    }}",
    )


def penalty_settings(penalty: Penalty | None) -> Settings:
    """What kernels that add a penalty are given."""
    if penalty is None:
        return ()
    assert isinstance(penalty, L1 | L2)
    return (Setting("real", "strength", penalty.strength),)


def penalty_source(penalty: Penalty | None) -> str:
    """A penalty as a value of C++, made of its settings."""
    return "NoPenalty{}" if penalty is None else f"{type(penalty).__name__}Penalty{{strength}}"


class Plan:
    """Passes of up to `samples` samples, whose arrays are used again by each.

    Attributes
    ----------
    x : (samples, ...), the batch
    labels, rows : targets, (samples,) int32 or (samples, K)
    scores : (samples, K)
    losses : of every sample, (samples,)
    parts : of the gradient of all parameters; see `chunks`
    penalties, squares : of every chunk of the parameters
    """

    def __init__(
        self,
        network: Network,
        stages: Sequence[Stage],
        program: Program,
        samples: int,
        *,
        train: bool,
    ) -> None:
        device, dtype = network.device, network.dtype
        self._network, self._stages, self._program = network, stages, program
        self._bound: dict[tuple[str, int], list[Launch]] = {}
        self._tables: dict[int, Array] = {}

        def zeros(*shape: int) -> Array:
            return device.zeros(shape, dtype=dtype)

        self._offsets, end = [], 0
        for stage in stages:
            self._offsets.append(end)
            end += stage.parts(samples) * stage.part_size
        self.x = zeros(samples, *network.input_shape)
        shared = (
            zeros(max(1, *(stage.scratch for stage in stages))),
            device.zeros(BLOCKS, dtype="int32"),
            device.zeros(1, dtype="int64"),
        )
        if train:
            classes = prod(stages[-1].output_shape)
            self.parts = zeros(end)
            self.labels, self.rows = device.zeros(samples, dtype="int32"), zeros(samples, classes)
            self.losses = zeros(samples)
            self.penalties, self.squares = (zeros(self.chunk_count) for _ in range(2))
        x, dx = self.x, None
        self._arrays: list[Arrays] = []
        for stage, offset in zip(stages, self._offsets, strict=True):
            y = zeros(samples, *stage.output_shape)
            dy = zeros(*y.shape) if train and (stage.need_dx or stage.parameters) else None
            parts = self.parts[offset:] if train else None
            self._arrays.append(Arrays(x, y, dx, dy, parts, *shared))
            x, dx = y, dy
        self.scores, self._dz = x, dx

    @property
    def chunk_count(self) -> int:
        """Chunks of the parameters."""
        return int(self._network.params.flat.shape[0]) // ALIGN

    def forward(self, n: int, *, train: bool) -> list[Launch]:
        """From `x` to `scores`, for the first n samples."""
        return self._kept(
            "forward" if train else "infer",
            n,
            lambda: [
                call
                for stage, arrays in zip(self._stages, self._arrays, strict=True)
                for call in stage.forward(arrays, n, train=train)
            ],
        )

    def train(self, n: int, targets: str) -> list[Launch]:
        """Loss and backward, from `scores` and the targets, "labels" or "rows", to `parts`."""
        return self._kept(targets, n, lambda: self._training(n, targets))

    def _training(self, n: int, targets: str) -> list[Call]:
        last, chain, calls = self._arrays[-1], self._stages[-1].chain, []
        counter = chain.calls(last.counter)
        t = self.labels if targets == "labels" else self.rows
        settings = loss_settings(self._network.last_layer) + chain.settings()
        arguments = (self.scores, t, self.losses, self._dz, counter, number(n))
        arguments += given(settings, self.scores)
        calls.append(Call(f"loss_of_{targets}", blocks(n), POINTWISE, arguments))
        for stage, arrays in reversed(list(zip(self._stages, self._arrays, strict=True))):
            if arrays.dy is not None:
                calls += stage.backward(arrays, n)
        return calls

    def _kept(self, what: str, n: int, calls: Callable[[], list[Call]]) -> list[Launch]:
        """Launches, made up once."""
        if (what, n) not in self._bound:
            self._bound[what, n] = self._program.bind(calls())
        return self._bound[what, n]

    def chunks(self, n: int) -> Array:
        """What step.cuh has to know of every chunk of the parameters, for a batch of n."""
        if n not in self._tables:
            self._tables[n] = self._network.device.asarray(np.asarray(self._rows_of_chunks(n)))
        return self._tables[n]

    def _rows_of_chunks(self, n: int) -> list[tuple[int, ...]]:
        found = {}
        for stage, offset in zip(self._stages, self._offsets, strict=True):
            for name, array in stage.parameters:
                found[name] = offset, stage.part_size, stage.parts(n)
                offset += prod(array.shape)
        decaying = {name for name, _ in weights(self._network.params)}
        rows: list[tuple[int, ...]] = []
        for name, shape in self._network.params.shapes.items():
            start, size, count = found[name]
            for first in range(0, prod(shape), ALIGN):
                valid = min(ALIGN, prod(shape) - first)
                rows.append((start + first, size, count, valid, int(name in decaying)))
        return rows
