"""A network as stages: what is one kernel forward, with the source and launches of each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cuda.driver import Argument, Grid
from xpnet.layers import (
    Affine,
    AveragePool,
    BatchNorm,
    Convolution,
    Dropout,
    Layer,
    MaxPool,
    ReLU,
    Sigmoid,
    Tanh,
)
from xpnet.models.nodes import Node

POINTWISE = 256
"""Threads of a block where each writes one number."""
NORM = 512
"""Threads of a block of batch normalization: NORM_THREADS in norm.cuh."""
BLOCKS = 264
"""How many a product should have at least, two for each of the largest GPUs' multiprocessors. It
does not depend on the GPU at hand, and nor do results."""
ENOUGH = 132
"""Blocks that a product must have for its tiles to stay large."""
MOST_PARTS = 16
"""Into which a sum that one block adds up is divided."""
TYPICAL = 100
"""Samples in a batch, for which the sizes of tiles are chosen."""

ACTIVATIONS: dict[type[Layer], str] = {ReLU: "RELU", Sigmoid: "SIGMOID", Tanh: "TANH"}


class Call(NamedTuple):
    """A launch, by names of kernels."""

    kernel: str
    grid: Grid
    block: int
    arguments: tuple[Argument, ...]
    aside: bool = False
    """Whether nothing waits for it before the next call that `joins`."""
    joins: bool = False
    """Whether it waits for all that runs aside."""


class Setting(NamedTuple):
    """A number that a kernel is given with each launch, and not compiled for.

    Seeds, rates and strengths are settings: networks that differ in nothing else share their
    kernels, which take seconds to compile and stay in memory.
    """

    kind: str
    """Its type in C++, one of `KINDS`, or "real" for that of the network's numbers."""
    name: str
    value: float


Settings: TypeAlias = tuple[Setting, ...]

KINDS: dict[str, type[np.generic]] = {
    "int": np.int32,
    "unsigned": np.uint32,
    "unsigned long long": np.uint64,
    "double": np.float64,
}


def declared(settings: Settings) -> str:
    """Settings as they end the signature of a kernel."""
    return "".join(f", {setting.kind} {setting.name}" for setting in settings)


def given(settings: Settings, like: Array) -> tuple[np.generic, ...]:
    """Settings as they end the arguments of a launch, reals in the dtype of `like`."""
    real = like.dtype.type
    return tuple(KINDS.get(kind, real)(value) for kind, _, value in settings)


@dataclass(frozen=True)
class Tile:
    """What a block of a product computes; see product.cuh."""

    rows: int
    columns: int
    depth: int
    own_rows: int
    own_columns: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.rows // self.own_rows * (self.columns // self.own_columns)

    def source(self, math: str) -> str:
        """As C++."""
        numbers = self.rows, self.columns, self.depth, self.own_rows, self.own_columns
        return f"Tile<{', '.join(map(str, numbers))}, {math}>"

    def blocks(self, rows: int, columns: int) -> int:
        """That cover a matrix."""
        return -(-columns // self.columns) * -(-rows // self.rows)

    def grid(self, rows: int, columns: int, depth: int, most: int) -> Grid:
        """Blocks for a product: along k, too, where there are few otherwise."""
        across, down = -(-columns // self.columns), -(-rows // self.rows)
        steps = -(-depth // self.depth)
        return across, down, max(1, min(most, steps // 2, BLOCKS // (across * down)))


def tile_for(rows: int, columns: int, *, depth: int = 16, splits: int = 1) -> Tile:
    """The largest tile that wastes little of a product of this size and leaves enough blocks.

    32 threads lie side by side along the columns, so that a warp reads one row of the left matrix
    and writes whole lines of memory.

    Parameters
    ----------
    splits : into how many parts the depth can be divided at no cost
    """
    height = 16 if rows <= 16 else 32 if rows <= 32 else 64
    if -(-columns // 128) * 128 <= 1.15 * columns:
        # Deeper ones would not fit the shared memory with rows of 64.
        tile = Tile(height, 128, depth if height <= 32 else 16, 8, 4)
        if tile.blocks(rows, columns) * splits >= ENOUGH:
            return tile
    width = 32 if columns <= 32 else 64
    while True:
        # At least 4 x 8 columns for each warp, as tensor cores need them.
        own = max(4, height // 8, 8 * height // width)
        tile = Tile(height, width, depth, own, width // 32)
        if height == 16 or tile.blocks(rows, columns) * splits >= ENOUGH:
            return tile
        height //= 2


@dataclass(frozen=True)
class Chain:
    """What follows a stage's sum: at most an activation, then at most one Dropout."""

    activation: str = "IDENTITY"
    dropout: Dropout | None = None

    def kind(self, *, train: bool = True) -> str:
        """Its type in C++."""
        drops = train and self.dropout is not None
        return f"Chain<{self.activation}, {str(drops).lower()}>"

    def value(self, *, train: bool = True) -> str:
        """Itself in C++, made of the pointer `calls` and its settings."""
        if self.dropout is None:
            numbers = "0, 0, 0, 1"
        else:
            numbers = "k0, k1, dropped, scale" if train else "0, 0, 0, scale"
        return f"{self.kind(train=train)}{{calls, {numbers}}}"

    def settings(self, *, train: bool = True) -> Settings:
        """What its dropout depends on: the key, the words that leave a unit out, the scale."""
        if self.dropout is None:
            return ()
        ratio, keep = self.dropout.dropout_ratio, 1.0 - self.dropout.dropout_ratio
        if not train:
            return (Setting("real", "scale", 1.0 if self.dropout.inverted else keep),)
        k0, k1 = self.dropout.key
        return (
            Setting("unsigned", "k0", k0),
            Setting("unsigned", "k1", k1),
            Setting("unsigned long long", "dropped", round(ratio * 2**32)),
            Setting("real", "scale", 1 / keep if self.dropout.inverted else 1.0),
        )

    def calls(self, otherwise: Array) -> Array:
        """The number of training passes, (1,) int64."""
        return otherwise if self.dropout is None else self.dropout.state["calls"]


@dataclass
class Arrays:
    """What the launches of a stage read and write.

    Attributes
    ----------
    x, y : input and output, for as many samples as the plan has
    dx, dy : gradients by what the stage below, and this one, put out before their chains; dx is
        None where nobody reads it, and both are where nothing is learned
    parts : of the gradient of the stage's parameters, one after the other
    scratch, tickets : of products that are divided
    counter : int64 (1,), for chains without Dropout, which do not read it
    """

    x: Array
    y: Array
    dx: Array | None
    dy: Array | None
    parts: Array | None
    scratch: Array
    tickets: Array
    counter: Array


class Stage(ABC):
    """A layer, and what follows it in the same kernel.

    Attributes
    ----------
    name : what its kernels' names begin with
    kind : how it computes, in words
    below : the chain of the stage before
    need_dx : whether there are parameters below
    """

    kind: ClassVar[str]

    def __init__(self, number: int, leaf: Node, below: Chain, *, need_dx: bool) -> None:
        self.name, self.layer = f"stage{number}", leaf.layer
        self.leaves = [leaf]
        self.input_shape, self.output_shape = leaf.input_shape, leaf.output_shape
        self.below, self.need_dx = below, need_dx
        self.chain = Chain()

    def absorb(self, leaf: Node) -> bool:
        """Take a layer into the chain, if it fits."""
        activation = ACTIVATIONS.get(type(leaf.layer))
        if activation and self.chain == Chain():
            self.chain = Chain(activation)
        elif type(leaf.layer) is Dropout and self.chain.dropout is None:
            self.chain = Chain(self.chain.activation, leaf.layer)
        else:
            return False
        self.leaves.append(leaf)
        return True

    @abstractmethod
    def source(self, math: str) -> str:
        """The stage's kernels: NAME_forward, NAME_infer, NAME_gradient and NAME_backward."""

    @abstractmethod
    def forward(self, arrays: Arrays, n: int, *, train: bool) -> list[Call]:
        """From x to y, for n samples."""

    @abstractmethod
    def backward(self, arrays: Arrays, n: int) -> list[Call]:
        """From dy to dx and the parts of the gradient."""

    def parts(self, n: int) -> int:
        """Into how many the gradient of the stage's parameters comes divided, for n samples."""
        return 1

    @property
    def parameters(self) -> list[tuple[str, Array]]:
        """The stage's parameters in the order of their gradients in a part."""
        return [
            (name, leaf.layer.params[key])
            for leaf in self.leaves
            for key, name in leaf.names.items()
        ]

    @property
    def settings(self) -> Settings:
        """What the kernels are given, whose change they cannot notice by themselves."""
        return self.chain.settings() + self.chain.settings(train=False)

    @property
    def part_size(self) -> int:
        """Numbers in a part."""
        return sum(prod(array.shape) for _, array in self.parameters)

    @property
    def scratch(self) -> int:
        """Numbers that the stage's products need where they are divided."""
        return 0

    def _forward_name(self, train: bool) -> str:
        return f"{self.name}_{_pass(train)}"

    def _forward_sources(
        self, signature: str, threads: int, body: Callable[[str, str], str]
    ) -> str:
        """Training's kernel and inference's; `body` takes the type and the value of their chain."""
        return "".join(
            kernel(
                self._forward_name(train),
                threads,
                signature + declared(self.chain.settings(train=train)),
                body(self.chain.kind(train=train), self.chain.value(train=train)),
            )
            for train in (True, False)
        )


def kernel(name: str, threads: int, signature: str, body: str) -> str:
    """A kernel that can be asked for by its name."""
    head = f'extern "C" __global__ void __launch_bounds__({threads}) {name}({signature})'
    return f"{head} {{\n    {body}\n}}\n"


def number(n: int) -> np.int32:
    """An `int` of C++."""
    return np.int32(n)


def blocks(total: int, threads: int = POINTWISE) -> Grid:
    """Enough for one thread for each number."""
    return -(-total // threads), 1, 1


class _Products(Stage):
    """A stage whose passes are products of matrices.

    Subclasses name the three of them in `ops`, and tell their sizes in `sizes`.
    """

    ops: ClassVar[tuple[str, str, str]]

    @abstractmethod
    def sizes(self, n: int) -> tuple[tuple[int, int, int], ...]:
        """Rows, columns and depth of the products forward, gradient and backward."""

    @property
    @abstractmethod
    def template(self) -> str:
        """What the ops are made for, as C++."""

    @abstractmethod
    def counted(self, n: int) -> tuple[int, int, int]:
        """What the ops take as their number of samples or pixels."""

    @cached_property
    def tiles(self) -> list[Tile]:
        """Of the three products. Sums over samples or pixels are long, and their tiles deeper."""
        forward, gradient, backward = self.sizes(TYPICAL)
        return [
            # A sum of up to 32 fits one tile, which spares much reckoning of places.
            tile_for(*forward[:2], depth=32 if 16 < forward[2] <= 32 else 16),
            tile_for(*gradient[:2], depth=32, splits=max(1, gradient[2] // 256)),
            tile_for(*backward[:2]),
        ]

    def grids(self, n: int) -> list[Grid]:
        """Of the three products."""
        most = (MOST_PARTS, BLOCKS, MOST_PARTS)
        return [
            tile.grid(*size, m)
            for tile, size, m in zip(self.tiles, self.sizes(n), most, strict=True)
        ]

    def parts(self, n: int) -> int:
        """As many as the blocks along the samples."""
        return self.grids(n)[1][2]

    @property
    def scratch(self) -> int:
        """A tile for each of as many blocks as a product that is divided can have."""
        forward, _, backward = self.tiles
        return BLOCKS * max(tile.rows * tile.columns for tile in (forward, backward))

    def source(self, math: str) -> str:
        """Products with the ops of the subclass."""
        forward, gradient, backward = self.ops
        tiles = [tile.source(math) for tile in self.tiles]
        threads = [tile.threads for tile in self.tiles]
        made = self.template
        text = self._forward_sources(
            "const real* x, const real* w, const real* bias, real* y, const long long* calls, "
            "int count, int rows, int columns, int depth, real* scratch, int* tickets",
            threads[0],
            lambda chain, value: (
                f"product<{tiles[0]}>({forward}<{made}, {chain}>{{x, w, bias, y, count, {value}}}, "
                "rows, columns, depth, scratch, tickets);"
            ),
        )
        text += kernel(
            f"{self.name}_gradient",
            threads[1],
            "const real* x, const real* d, real* parts, int count, int rows, int columns, "
            "int depth",
            f"product<{tiles[1]}>({gradient}<{made}>{{x, d, parts, count}}, "
            "rows, columns, depth, nullptr, nullptr);",
        )
        if self.need_dx:
            below = self.below
            text += kernel(
                f"{self.name}_backward",
                threads[2],
                "const real* d, const real* w, const real* x, real* dx, const long long* calls, "
                "int count, int rows, int columns, int depth, real* scratch, int* tickets"
                + declared(below.settings()),
                f"product<{tiles[2]}>({backward}<{made}, {below.kind()}>"
                f"{{d, w, x, dx, count, {below.value()}}}, "
                "rows, columns, depth, scratch, tickets);",
            )
        return text

    def forward(self, arrays: Arrays, n: int, *, train: bool) -> list[Call]:
        """One product."""
        W, b = (array for _, array in self.parameters)
        a = arrays
        numbers = tuple(map(number, (self.counted(n)[0], *self.sizes(n)[0])))
        counter = self.chain.calls(a.counter)
        settings = given(self.chain.settings(train=train), a.y)
        arguments = (a.x, W, b, a.y, counter, *numbers, a.scratch, a.tickets, *settings)
        return [Call(self._forward_name(train), self.grids(n)[0], self.tiles[0].threads, arguments)]

    def backward(self, arrays: Arrays, n: int) -> list[Call]:
        """One product for the parameters and one for dx."""
        W, _ = (array for _, array in self.parameters)
        a, sizes, counted, grids = arrays, self.sizes(n), self.counted(n), self.grids(n)
        numbers = [tuple(map(number, (c, *size))) for c, size in zip(counted, sizes, strict=True)]
        calls = [
            Call(
                f"{self.name}_gradient",
                grids[1],
                self.tiles[1].threads,
                (a.x, a.dy, a.parts, *numbers[1]),
                aside=True,
            )
        ]
        if self.need_dx:
            counter, settings = self.below.calls(a.counter), given(self.below.settings(), a.x)
            operands = (a.dy, W, a.x, a.dx, counter)
            arguments = (*operands, *numbers[2], a.scratch, a.tickets, *settings)
            calls.append(Call(f"{self.name}_backward", grids[2], self.tiles[2].threads, arguments))
        return calls


class DenseStage(_Products):
    """Affine."""

    kind = "tiled product"
    ops = ("DenseForward", "DenseGradient", "DenseBackward")

    @property
    def template(self) -> str:
        """Inputs and outputs."""
        return f"{prod(self.input_shape)}, {self.output_shape[0]}"

    def sizes(self, n: int) -> tuple[tuple[int, int, int], ...]:
        """Biases are one more row of the gradient."""
        n_in, n_out = prod(self.input_shape), self.output_shape[0]
        return (n, n_out, n_in), (n_in + 1, n_out, n), (n, n_in, n_out)

    def counted(self, n: int) -> tuple[int, int, int]:
        """Samples."""
        return n, n, n


class ConvolutionStage(_Products):
    """Convolution."""

    kind = "direct convolution"
    ops = ("ConvolutionForward", "ConvolutionGradient", "ConvolutionBackward")

    @property
    def template(self) -> str:
        """Sizes of images, filters and windows."""
        assert isinstance(self.layer, Convolution)
        F, C, FH, FW = self.layer.params["W"].shape
        _, H, W = self.input_shape
        _, OH, OW = self.output_shape
        numbers = (C, H, W, F, FH, FW, self.layer.stride, self.layer.pad, OH, OW)
        return f"Shape<{', '.join(map(str, numbers))}>"

    def sizes(self, n: int) -> tuple[tuple[int, int, int], ...]:
        """Biases are one more column of the gradient."""
        F, C, FH, FW = self.layer.params["W"].shape
        into, _, out = self.counted(n)[2], None, self.counted(n)[0]
        depth = C * FH * FW
        return (F, out, depth), (F, depth + 1, out), (C, into, F * FH * FW)

    def counted(self, n: int) -> tuple[int, int, int]:
        """Pixels of the output, and of the input."""
        out, into = n * prod(self.output_shape[1:]), n * prod(self.input_shape[1:])
        return out, out, into


class _EachNumber(Stage):
    """A stage with a thread for each number that it writes."""

    kind = "one thread a number"

    @property
    @abstractmethod
    def functions(self) -> tuple[str, str]:
        """What computes forward and backward, in C++."""

    def source(self, math: str) -> str:
        """Both directions."""
        forward, backward = self.functions
        text = self._forward_sources(
            "const real* x, real* y, const long long* calls, int total",
            POINTWISE,
            lambda _, value: f"{forward}(x, y, total, {value});",
        )
        if self.need_dx:
            text += kernel(
                f"{self.name}_backward",
                POINTWISE,
                "const real* x, const real* d, real* dx, const long long* calls, int total"
                + declared(self.below.settings()),
                f"{backward}(x, d, dx, total, {self.below.value()});",
            )
        return text

    def forward(self, arrays: Arrays, n: int, *, train: bool) -> list[Call]:
        """A thread for each number put out."""
        total = n * prod(self.output_shape)
        counter, settings = self.chain.calls(arrays.counter), self.chain.settings(train=train)
        arguments = (arrays.x, arrays.y, counter, number(total), *given(settings, arrays.y))
        return [Call(self._forward_name(train), blocks(total), POINTWISE, arguments)]

    def backward(self, arrays: Arrays, n: int) -> list[Call]:
        """A thread for each number taken in."""
        if not self.need_dx:
            return []
        total = n * prod(self.input_shape)
        counter, settings = self.below.calls(arrays.counter), given(self.below.settings(), arrays.x)
        arguments = (arrays.x, arrays.dy, arrays.dx, counter, number(total), *settings)
        return [Call(f"{self.name}_backward", blocks(total), POINTWISE, arguments)]


class PoolStage(_EachNumber):
    """MaxPool, first of ties, and AveragePool."""

    @property
    def functions(self) -> tuple[str, str]:
        """For this window."""
        layer = self.layer
        assert isinstance(layer, MaxPool | AveragePool)
        sizes = (*self.input_shape[1:], *layer.window, layer.stride, layer.pad)
        window = f"Pooling<{', '.join(map(str, sizes + self.output_shape[1:]))}>"
        if type(layer) is MaxPool:
            return f"max_pool_forward<{window}>", f"pool_backward<{window}, true>"
        return f"average_pool_forward<{window}>", f"pool_backward<{window}, false>"


class PointwiseStage(_EachNumber):
    """An activation or Dropout that follows nothing it could be joined to."""

    functions = "pointwise_forward", "pointwise_backward"

    def __init__(self, number: int, leaf: Node, below: Chain, *, need_dx: bool) -> None:
        super().__init__(number, leaf, below, need_dx=need_dx)
        self.leaves = []
        self.absorb(leaf)


class NormStage(Stage):
    """BatchNorm."""

    kind = "one block a feature"

    def __init__(self, number: int, leaf: Node, below: Chain, *, need_dx: bool) -> None:
        super().__init__(number, leaf, below, need_dx=need_dx)
        gamma = leaf.layer.params["gamma"]
        # Statistics of the batch, from the forward pass to the backward pass.
        self._mean, self._std = gamma * 0, gamma * 0

    @property
    def _template(self) -> str:
        return f"{self.input_shape[0]}, {prod(self.input_shape[1:])}"

    @property
    def _own(self) -> dict[str, Setting]:
        """The layer's numbers by name."""
        layer = self.layer
        assert isinstance(layer, BatchNorm)
        return {
            "momentum": Setting("real", "momentum", layer.momentum),
            "eps": Setting("real", "eps", layer.eps),
            "ddof": Setting("int", "ddof", layer.ddof),
        }

    def _settings_of(self, which: str) -> Settings:
        """What the kernel of a pass, "forward", "infer" or "backward", is given."""
        own = self._own
        if which == "forward":
            return (*own.values(), *self.chain.settings())
        if which == "infer":
            return (own["eps"], *self.chain.settings(train=False))
        return (own["ddof"], *self.below.settings())

    @property
    def settings(self) -> Settings:
        """Those of the chain, and the layer's own."""
        return (*self._own.values(), *super().settings)

    def source(self, math: str) -> str:
        """Training, inference and backward."""
        made = self._template
        text = kernel(
            self._forward_name(True),
            NORM,
            "const real* x, const real* gamma, const real* beta, real* mean, real* std, "
            "real* running_mean, real* running_var, real* y, const long long* calls, int samples"
            + declared(self._settings_of("forward")),
            f"norm_forward<{made}>(x, gamma, beta, mean, std, running_mean, running_var, y, "
            f"samples, momentum, eps, ddof, {self.chain.value()});",
        )
        text += kernel(
            self._forward_name(False),
            POINTWISE,
            "const real* x, const real* gamma, const real* beta, const real* running_mean, "
            "const real* running_var, real* y, const long long* calls, int total"
            + declared(self._settings_of("infer")),
            f"norm_infer<{made}>(x, gamma, beta, running_mean, running_var, y, total, "
            f"eps, {self.chain.value(train=False)});",
        )
        return text + kernel(
            f"{self.name}_backward",
            NORM,
            "const real* x, const real* d, const real* gamma, const real* mean, const real* std, "
            "real* part, real* dx, const long long* calls, int samples"
            + declared(self._settings_of("backward")),
            f"norm_backward<{made}, {str(self.need_dx).lower()}>(x, d, gamma, mean, std, part, dx, "
            f"samples, ddof, {self.below.value()});",
        )

    def forward(self, arrays: Arrays, n: int, *, train: bool) -> list[Call]:
        """With the batch's statistics, or the running ones."""
        layer, a = self.layer, arrays
        assert isinstance(layer, BatchNorm)
        gamma, beta = layer.params["gamma"], layer.params["beta"]
        running = layer.state["running_mean"], layer.state["running_var"]
        calls = self.chain.calls(a.counter)
        name, settings = self._forward_name(train), given(self._settings_of(_pass(train)), a.y)
        if train:
            own = (gamma, beta, self._mean, self._std, *running)
            arguments: tuple[Argument, ...] = (a.x, *own, a.y, calls, number(n), *settings)
            return [Call(name, (self.input_shape[0], 1, 1), NORM, arguments)]
        total = n * prod(self.input_shape)
        arguments = (a.x, gamma, beta, *running, a.y, calls, number(total), *settings)
        return [Call(name, blocks(total), POINTWISE, arguments)]

    def backward(self, arrays: Arrays, n: int) -> list[Call]:
        """All in one."""
        a, gamma = arrays, self.layer.params["gamma"]
        dx = a.dy if a.dx is None else a.dx  # not written where nobody reads it
        calls, settings = self.below.calls(a.counter), given(self._settings_of("backward"), a.x)
        statistics = (gamma, self._mean, self._std)
        arguments = (a.x, a.dy, *statistics, a.parts, dx, calls, number(n), *settings)
        return [Call(f"{self.name}_backward", (self.input_shape[0], 1, 1), NORM, arguments)]


def _pass(train: bool) -> str:
    """How the names of the forward kernels end."""
    return "forward" if train else "infer"


STAGES: dict[type[Layer], type[Stage]] = {
    Affine: DenseStage,
    Convolution: ConvolutionStage,
    MaxPool: PoolStage,
    AveragePool: PoolStage,
    BatchNorm: NormStage,
    ReLU: PointwiseStage,
    Sigmoid: PointwiseStage,
    Tanh: PointwiseStage,
    Dropout: PointwiseStage,
}
"""By the layer that they begin with."""


def stages_of(leaves: Sequence[Node], tile: Tile | None = None) -> list[Stage]:
    """Layers in groups, each a stage; with one tile for all products if it is given."""
    stages: list[Stage] = []
    learning = False  # whether there have been parameters
    for leaf in leaves:
        if stages and stages[-1].absorb(leaf):
            continue
        below = stages[-1].chain if stages else Chain()
        made = STAGES[type(leaf.layer)](len(stages) + 1, leaf, below, need_dx=learning)
        if tile is not None and isinstance(made, _Products):
            made.tiles = [tile] * len(made.ops)
        stages.append(made)
        learning = learning or bool(leaf.layer.params)
    return stages
