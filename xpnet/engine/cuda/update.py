"""The kernels around a network's passes: the gradient of all parameters, and their update."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.parameters import ALIGN, FlatParams
from xpnet.engine.cuda.driver import NULL, Argument, Grid
from xpnet.engine.cuda.function import (
    POINTWISE,
    Function,
    Parameter,
    Parameters,
    boolean,
    counts,
    reads,
    writes,
)
from xpnet.layers import Dropout
from xpnet.optim import EPS, SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop
from xpnet.optim.penalties import L1, L2, Penalty, is_weight

WARPS = 8
"""Warps of a block, of which each has a chunk, or all the parts of one: WARPS in step.cuh."""
SHARED = 16
"""Parts of a gradient that one warp adds up, at most."""
ONE_BLOCK = 256
"""Threads of a kernel that adds up what many blocks left."""


@dataclass(frozen=True)
class Surroundings:
    """The arrays that the kernels around a pass read and write; a `function.Place`.

    Attributes
    ----------
    n, room, heads : samples, for how many there is room, and how many losses there are of each
    real : the type of the network's numbers
    losses, out : losses of every sample, and where that of the batch, or of every step, goes
    chunks, terms : what step.cuh has to know of warps, and of every chunk of the parameters
    parts, p, g : of the gradient; the parameters, and their gradient
    penalties, squares : of every chunk; the latter only where they are wanted
    x, t, order, cursor, batch_size : all samples and targets, and where the next batch is in them
    batch, targets : where it is put
    rates, clip : learning rate of every step, and what gradients are multiplied by
    s0, s1, power1, power2 : what the optimizer keeps
    """

    n: int
    room: int
    heads: int
    real: type[np.generic]
    losses: Array
    out: Array
    chunks: Array
    terms: Array
    parts: Array
    p: Array
    g: Array
    penalties: Array
    squares: Argument = NULL
    x: Argument = NULL
    t: Argument = NULL
    order: Argument = NULL
    cursor: Argument = NULL
    batch: Argument = NULL
    targets: Argument = NULL
    batch_size: int = 0
    rates: Argument = NULL
    clip: Argument = NULL
    s0: Argument = NULL
    s1: Argument = NULL
    power1: Argument = NULL
    power2: Argument = NULL

    @property
    def chunk_count(self) -> int:
        """Chunks of the parameters."""
        return int(self.terms.shape[0])

    @property
    def grid(self) -> Grid:
        """Blocks that have all chunks."""
        return int(self.chunks.shape[0]) // WARPS, 1, 1


OF_CHUNKS: Parameters = (*reads("chunks", kind="long long"), *reads("terms", kind="double"))
CURSOR: Parameters = reads("cursor", kind="int")


def chunk_rows(
    params: FlatParams, places: Mapping[str, tuple[int, int, int]]
) -> list[tuple[int, ...]]:
    """List the rows of `chunks`, one for every warp of all blocks.

    Chunks of many parts come first, since they take longest.

    Parameters
    ----------
    places : for each parameter whose gradient is computed where its first part begins, how far one
        part is from the next, and how many there are
    """
    alone: list[tuple[int, ...]] = []
    shared: list[tuple[int, ...]] = []
    chunk = 0
    for name, shape in params.shapes.items():
        start, size, count = places.get(name, (0, 0, 0))
        if params.learning(name).frozen:
            count = 0
        for first in range(0, prod(shape), ALIGN):
            about = min(ALIGN, prod(shape) - first), int(is_weight(params, name))
            if count <= SHARED:
                alone.append((chunk, start + first, size, count, *about, 0))
            else:
                for k in range(WARPS):
                    own = start + first + k * size, WARPS * size, len(range(k, count, WARPS))
                    shared.append((chunk, *own, *about, 1))
            chunk += 1
    nothing = (-1, 0, 0, 0, 0, 0, 0)
    return shared + alone + [nothing] * (-len(alone) % WARPS)


def chunk_terms(params: FlatParams) -> list[tuple[float, float, float]]:
    """List the rows of `terms`, one for every chunk."""
    rows: list[tuple[float, float, float]] = []
    for name, shape in params.shapes.items():
        how = params.learning(name)
        low, high = how.bounds or (-inf, inf)
        row = 0.0 if how.frozen else how.rate, low, high
        rows += [row] * -(-prod(shape) // ALIGN)
    return rows


def penalty_settings(penalty: Penalty | None) -> Parameters:
    """The parameters of kernels that add a penalty."""
    if penalty is None:
        return ()
    assert isinstance(penalty, L1 | L2)
    return (Parameter("real", "strength", penalty.strength),)


def penalty_value(penalty: Penalty | None) -> str:
    """A penalty as a value of C++, made of its settings."""
    return "NoPenalty{}" if penalty is None else f"{type(penalty).__name__}Penalty{{strength}}"


def gradient_function(name: str, penalty: Penalty | None) -> Function:
    """The kernel that makes the gradient of all parameters of its parts, and adds a penalty's."""
    parameters = (*OF_CHUNKS, *reads("parts", "p"), *writes("g", "penalties", "squares"))
    return Function(
        name,
        WARPS * 32,
        parameters + penalty_settings(penalty),
        "gather_gradient(chunks, terms, parts, p, g, penalties, squares, "
        f"{penalty_value(penalty)});",
    )


GRADIENT_ALONE = gradient_function("gradient_alone", None)
"""Without what a penalty of the loss adds."""


def finish_function(
    name: str,
    penalty: Penalty | None,
    dropouts: Sequence[Dropout],
    lines: str,
    more: Parameters = (),
) -> Function:
    """The kernel that ends a training pass: its loss, and the passes that every Dropout has seen.

    Parameters
    ----------
    lines : what one thread does with the mean `loss`; it finds `out`
    more : what it finds besides
    """

    def counter(k: int) -> Parameter:
        return Parameter("long long*", f"calls{k}", lambda a: dropouts[k].state["calls"])

    counted = "".join(f"\n        ++*calls{k};" for k in range(len(dropouts)))
    parameters = (
        *reads("losses"),
        *counts(heads=lambda a: a.heads, room=lambda a: a.room, samples=lambda a: a.n),
        *reads("penalties"),
        *counts(chunk_count=lambda a: a.chunk_count),
        *writes("out"),
        *map(counter, range(len(dropouts))),
    )
    return Function(
        name,
        ONE_BLOCK,
        parameters + more,
        f"const real loss = mean_loss<{ONE_BLOCK}, {boolean(penalty is not None)}>"
        "(losses, heads, room, samples, penalties, chunk_count);\n"
        f"    if (threadIdx.x == 0) {{\n        {lines}{counted}\n    }}",
    )


def gather_function(x: str, t: str, kept: str, features: int, targets: int) -> Function:
    """The next batch.

    Parameters
    ----------
    x, t, kept : the types in C++ of samples, of targets, and of those that the loss reads
    features, targets : numbers of a sample, and of its target
    """
    parameters = (*reads("x", kind=x), *reads("t", kind=t), *reads("order", "cursor", kind="int"))
    parameters += (*writes("batch"), *writes("targets", kind=kept))
    parameters += counts(batch_size=lambda a: a.batch_size, samples=lambda a: a.n)
    return Function(
        "gather",
        POINTWISE,
        parameters,
        f"gather_batch<{features}, {targets}>(x, t, order, cursor, batch, targets, batch_size, "
        "samples);",
    )


def clip_function(limit: float) -> Function:
    """The kernel that finds the factor by which a gradient is made no longer than this."""
    parameters = (*reads("squares"), *counts(chunk_count=lambda a: a.chunk_count), *writes("clip"))
    return Function(
        "clip",
        ONE_BLOCK,
        (*parameters, Parameter("real", "limit", limit)),
        f"clip_factor<{ONE_BLOCK}>(squares, chunk_count, limit, clip);",
    )


def rule_of(optimizer: Optimizer) -> tuple[str, Parameters] | None:
    """An optimizer as a value of C++ and the settings it is made of; None without a kernel."""
    o = optimizer
    match o:
        case SGD():
            value, settings = "SGD{}", {}
        case Momentum():
            value, settings = (
                f"Momentum{{momentum, {boolean(type(o) is Nesterov)}}}",
                {"momentum": o.momentum},
            )
        case AdaGrad():
            value, settings = f"AdaGrad{{1, 1, (real){EPS!r}}}", {}
        case RMSprop():
            value = f"AdaGrad{{decay_rate, share, (real){EPS!r}}}"
            settings = {"decay_rate": o.decay_rate, "share": 1.0 - o.decay_rate}
        case Adam():
            paper = boolean(o.form == "paper")
            value = f"Adam{{beta1, beta2, eps, weight_decay, {paper}, power1, power2, 0, 0}}"
            settings = {"beta1": o.beta1, "beta2": o.beta2, "eps": o.eps}
            settings["weight_decay"] = o.weight_decay if isinstance(o, AdamW) else 0.0
    if type(o) not in (SGD, Momentum, Nesterov, AdaGrad, RMSprop, Adam, AdamW):
        return None
    # Powers of Adam's decays need more digits than float32 has.
    kind = "double" if isinstance(o, Adam) else "real"
    return value, tuple(Parameter(kind, name, number) for name, number in settings.items())


def update_function(
    rule: tuple[str, Parameters], penalty: Penalty | None, *, clipped: bool
) -> Function:
    """The kernel that updates all parameters by their gradient's parts or, clipped, by the whole.

    Parameters
    ----------
    rule : as `rule_of` gives it
    """
    (value, settings), strength = rule, penalty_settings(penalty)
    state = (*writes("s0", "s1"), *reads("rates", kind="double"), *CURSOR)
    state += (*reads("power1", "power2", kind="double"), *settings)
    if clipped:
        return Function(
            "update",
            WARPS * 32,
            (*OF_CHUNKS, *reads("g", "clip"), *writes("p"), *state),
            f"update_clipped_chunk(chunks, terms, g, clip, p, s0, s1, rates, cursor, {value});",
        )
    return Function(
        "update",
        WARPS * 32,
        (*OF_CHUNKS, *reads("parts"), *writes("p", "penalties"), *state, *strength),
        "update_chunk(chunks, terms, parts, p, penalties, s0, s1, rates, cursor, "
        f"{penalty_value(penalty)}, {value});",
    )
