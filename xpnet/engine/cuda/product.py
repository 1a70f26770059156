"""Products of matrices: the tiles of their blocks, and the layers that are three of them."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from xpnet.engine.cuda.driver import Grid
from xpnet.engine.cuda.function import Call, Function, Parameter, Parameters, counts, reads, writes
from xpnet.engine.cuda.kernel import Arrays, Weighted, forward_name

BLOCKS = 264
"""Blocks that a product should have at least, two for each of the largest GPUs' multiprocessors. It
does not depend on the GPU at hand, and nor do results."""
ENOUGH = 132
"""Blocks that a product must have for its tiles to stay large."""
MOST_PARTS = 16
"""Parts into which a sum that one block adds up is divided, at most."""
TYPICAL = 100
"""Samples in a batch, for which the sizes of tiles are chosen."""

FORWARD, GRADIENT, BACKWARD = range(3)
"""The products of a layer, in the order of their sizes and tiles."""


@dataclass(frozen=True)
class Tile:
    """The share of a product that one block computes; see product.cuh."""

    rows: int
    columns: int
    depth: int
    own_rows: int
    own_columns: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.rows // self.own_rows * (self.columns // self.own_columns)

    def source(self, math: str) -> str:
        """Its type in C++."""
        numbers = self.rows, self.columns, self.depth, self.own_rows, self.own_columns
        return f"Tile<{', '.join(map(str, numbers))}, {math}>"

    def blocks(self, rows: int, columns: int) -> int:
        """Count the blocks that cover a matrix."""
        return -(-columns // self.columns) * -(-rows // self.rows)

    def grid(self, rows: int, columns: int, depth: int, most: int, groups: int = 1) -> Grid:
        """Blocks for a product of each group: along k, too, where there are few otherwise."""
        across, down = -(-columns // self.columns), groups * -(-rows // self.rows)
        steps = -(-depth // self.depth)
        return across, down, max(1, min(most, steps // 2, BLOCKS // (across * down)))


def tile_for(rows: int, columns: int, *, depth: int = 16, splits: int = 1) -> Tile:
    """The largest tile that wastes little of a product of this size and leaves enough blocks.

    32 threads lie side by side along the columns, so that a warp reads one row of the left matrix
    and writes whole lines of memory.

    Parameters
    ----------
    splits : into how many parts the depth can be divided at no cost, times how many products are
        computed side by side
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


class Products(Weighted):
    """An operation whose passes are products of matrices.

    Subclasses name the three of them in `products`, and tell their sizes in `sizes`.

    Attributes
    ----------
    math : the precision of factors, as product.cuh calls it
    """

    products: ClassVar[tuple[str, str, str]]
    math = "FLOAT"

    @abstractmethod
    def sizes(self, n: int) -> tuple[tuple[int, int, int], ...]:
        """Rows, columns and depth of the products forward, gradient and backward, of a group."""

    @property
    @abstractmethod
    def template(self) -> str:
        """The types in C++ that the three are made for."""

    @property
    def groups(self) -> int:
        """How many products of the same size each of the three is."""
        return 1

    @property
    def of_gradient(self) -> str:
        """The types that the second of them is made for."""
        return self.template

    @abstractmethod
    def counted(self, n: int) -> tuple[int, int, int]:
        """The numbers of samples or pixels that the three take."""

    @cached_property
    def tiles(self) -> list[Tile]:
        """Tiles of the three products; deeper where sums over samples or pixels are long."""
        forward, gradient, backward = self.sizes(TYPICAL)
        groups = self.groups
        return [
            # A sum of up to 32 fits one tile, which spares much reckoning of places.
            tile_for(*forward[:2], depth=32 if 16 < forward[2] <= 32 else 16, splits=groups),
            tile_for(*gradient[:2], depth=32, splits=groups * max(1, gradient[2] // 256)),
            tile_for(*backward[:2], splits=groups),
        ]

    def grids(self, n: int) -> list[Grid]:
        """Grids of the three products."""
        most = (MOST_PARTS, BLOCKS, MOST_PARTS)
        return [
            tile.grid(*size, m, self.groups)
            for tile, size, m in zip(self.tiles, self.sizes(n), most, strict=True)
        ]

    def parts(self, n: int) -> int:
        """Count the parts of the gradient: as many as the blocks along the samples."""
        return self.grids(n)[GRADIENT][2]

    @property
    def scratch(self) -> int:
        """A tile for each of as many blocks as a product that is divided can have."""
        forward, _, backward = self.tiles
        return BLOCKS * max(tile.rows * tile.columns for tile in (forward, backward))

    def size_parameters(self, which: int) -> Parameters:
        """Samples or pixels; rows, columns and depth."""

        def size(k: int) -> Parameter:
            name = ("rows", "columns", "depth")[k]
            return Parameter("int", name, lambda a: self.sizes(a.n)[which][k])

        count = counts(count=lambda a: self.counted(a.n)[which])
        return (*count, *map(size, range(3)))

    def forward_function(self, *, train: bool) -> Function:
        """One product, with bias and chain."""
        tile, chain = self.tiles[FORWARD], self.chain
        parameters = (*reads("x"), self.weights, self.bias, *writes("y"))
        parameters += (*self.size_parameters(FORWARD), *SHARED)
        return Function(
            forward_name(self, train=train),
            tile.threads,
            parameters + chain.parameters(train=train),
            f"product<{tile.source(self.math)}>({self.products[FORWARD]}<{self.template}, "
            f"{chain.kind(train=train)}>{{x, w, bias, y, count, {chain.value(train=train)}}}, "
            "rows, columns, depth, scratch, tickets);",
        )

    def forward(self, arrays: Arrays, *, train: bool) -> list[Call]:
        """One product."""
        function = self.forward_function(train=train)
        return [function.call(arrays, self.grids(arrays.n)[FORWARD])]

    def gradient_function(self) -> Function:
        """The product for the parameters, in parts."""
        tile = self.tiles[GRADIENT]
        return Function(
            f"{self.name}_gradient",
            tile.threads,
            (*reads("x", "d"), *writes("parts"), *self.size_parameters(GRADIENT)),
            f"product<{tile.source(self.math)}>({self.products[GRADIENT]}<{self.of_gradient}>"
            "{x, d, parts, count}, rows, columns, depth, nullptr, nullptr);",
        )

    def backward_function(self) -> Function:
        """The product for dx."""
        tile, below = self.tiles[BACKWARD], self.below()
        parameters = (*reads("d"), self.weights, *reads("x"), *writes("dx"))
        parameters += (*self.size_parameters(BACKWARD), *SHARED)
        return Function(
            f"{self.name}_backward",
            tile.threads,
            parameters + below.parameters,
            f"product<{tile.source(self.math)}>({self.products[BACKWARD]}<{self.template}, "
            f"{below.kind}>{{d, w, x, dx, count, {below.value}}}, "
            "rows, columns, depth, scratch, tickets);",
        )

    def backward_functions(self) -> list[Function]:
        """One product for the parameters and one for dx, where they are needed."""
        functions = [self.gradient_function()] if self.op.need_grads else []
        return functions + ([self.backward_function()] if self.op.need_dx[0] else [])

    def backward(self, arrays: Arrays) -> list[Call]:
        """Nothing waits for the parameters' before their update."""
        grids, calls = self.grids(arrays.n), []
        if self.op.need_grads:
            calls.append(self.gradient_function().call(arrays, grids[GRADIENT], aside=True))
        if self.op.need_dx[0]:
            calls.append(self.backward_function().call(arrays, grids[BACKWARD]))
        return calls


SHARED: Parameters = (*writes("scratch"), *writes("tickets", kind="int"))
"""Arrays that the blocks of a divided product share."""
