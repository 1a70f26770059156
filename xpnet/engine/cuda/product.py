"""Products of matrices: the tiles of their blocks, and the layers that are three of them."""

from abc import abstractmethod
from functools import cached_property
from typing import ClassVar

from xpnet.engine.cuda.driver import Grid
from xpnet.engine.cuda.function import Call, Function, Parameter, Parameters, counts, reads, writes
from xpnet.engine.cuda.kernel import Arrays, Weighted, forward_name
from xpnet.engine.cuda.tiles import BLOCKS, Product, Tile, tile_for

TYPICAL = 100
"""Samples in a batch, for which the sizes of tiles are chosen."""

FORWARD, GRADIENT, BACKWARD = range(3)
"""The products of a layer, in the order of their sizes and tiles."""


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

    def of_samples(self, n: int) -> list[Product]:
        """The three products, as blocks compute them."""
        forward, gradient, backward = self.sizes(n)
        groups = self.groups
        return [
            Product(*forward, groups),
            Product(*gradient, groups, joined=False),
            Product(*backward, groups),
        ]

    @cached_property
    def tiles(self) -> list[Tile]:
        """Tiles of the three products."""
        return [tile_for(each) for each in self.of_samples(TYPICAL)]

    def grids(self, n: int) -> list[Grid]:
        """Grids of the three products."""
        return [each.grid(tile) for each, tile in zip(self.of_samples(n), self.tiles, strict=True)]

    def parts(self, n: int) -> int:
        """Count the parts of the gradient: as many as the blocks along the samples."""
        return self.grids(n)[GRADIENT][2]

    @property
    def scratch(self) -> int:
        """A tile for each of as many blocks as a product that is divided can have."""
        forward, _, backward = self.tiles
        return BLOCKS * max(tile.rows * tile.columns for tile in (forward, backward))

    def residents(self, which: int) -> int:
        """Say how many blocks a multiprocessor is to have room for, as `Function` does."""
        return 0

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
            self.residents(FORWARD),
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
            self.residents(BACKWARD),
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
