"""Tiles of products, and their blocks: those that a model of the largest GPUs finds quickest.

The model does not ask for the GPU at hand, so that results are the same on all. Its cycles are
those of an H200's multiprocessor; `scripts/gpu_model.py` sets them beside what a compiler reports.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import ceil, prod
from typing import NamedTuple

from xpnet.engine.cuda.driver import Grid

MULTIPROCESSORS = 132
BLOCKS = 4 * MULTIPROCESSORS
"""Blocks at most among which the sums of a product are divided."""
MOST_PARTS = 16
"""Parts into which a sum is divided at most that one block adds up."""
REGISTERS, THREADS, MOST = 65536, 2048, 240
"""What a multiprocessor has room for; and registers that leave a thread some to spare."""
ISSUED = 4
"""Instructions of a warp that it issues in a cycle, at best."""
EFFICIENCY = 0.85
"""The share of cycles in which it does, with enough warps."""
LATENCY, BARRIER = 500, 200
"""Cycles until a number of memory, or of the cache of all multiprocessors, is there; and those in
which a block waits for itself at each step along k."""
EDGE, STORED = 1500, 16
"""Cycles in which a block begins and ends, and instructions for each number that it stores."""
JOINED, PART, GATHERED = 2 * LATENCY, 40, 16
"""Cycles until divided sums are added up, and for each part of them; and for a gradient's part."""
BYTES = 2800
"""Bytes that all multiprocessors move in a cycle, from or to the cache that they share."""
STEP, NUMBER, EACH, HELD = 45, 5.5, 4, 1.5
"""Instructions of a thread for a step along k, and for each number that it fetches; how many times
as many where each is found by itself; and registers for such a number."""


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

    @property
    def own(self) -> int:
        """Sums of a thread."""
        return self.own_rows * self.own_columns

    @property
    def read(self) -> int:
        """Reads of shared memory of a thread for a step along k: four rows at once, each column."""
        return self.depth * (ceil(self.own_rows / 4) + self.own_columns)

    @property
    def fetched(self) -> tuple[float, float]:
        """Numbers of the left and of the right factor that a thread fetches for a step along k."""
        each = self.depth / self.threads
        return self.rows * each, self.columns * each

    def source(self, math: str) -> str:
        """Its type in C++."""
        numbers = self.rows, self.columns, self.depth, self.own_rows, self.own_columns
        return f"Tile<{', '.join(map(str, numbers))}, {math}>"

    def fits(self) -> bool:
        """Tell whether product.cuh can compute it: with tensor cores, and in float64, too."""
        if self.rows < self.own_rows or self.threads not in (64, 128, 256):
            return False
        shared = 8 * self.depth * (self.rows + self.columns + 2 * 8)
        whole = self.columns % (self.threads // 4) == 0 and self.columns // self.own_columns >= 16
        return whole and shared <= 48 * 1024 and self.own * self.depth <= 1024


TILES = [
    tile
    for rows, columns, depth, own in product(
        (16, 32, 64), (32, 64, 128), (16, 32), ((4, 2), (8, 2), (4, 4), (8, 4), (8, 8))
    )
    if (tile := Tile(rows, columns, depth, *own)).fits()
]
"""All that may be chosen."""


class Product(NamedTuple):
    """A product that blocks compute.

    Attributes
    ----------
    rows, columns, depth : of each group's
    groups : how many there are
    joined : whether sums that are divided are added up by the last block, or by others
    right : instructions for each number of the right factor
    kept : registers for each of them
    whole : steps that divide this evenly find their numbers so; others find each by itself
    """

    rows: int
    columns: int
    depth: int
    groups: int = 1
    joined: bool = True
    right: float = NUMBER
    kept: float = HELD
    whole: int = 0

    def tiles(self, tile: Tile) -> tuple[int, int]:
        """Count those of all groups across and down."""
        return ceil(self.columns / tile.columns), self.groups * ceil(self.rows / tile.rows)

    def splits(self, tile: Tile) -> Iterator[int]:
        """All numbers of blocks among which the steps of a tile may be divided."""
        blocks, steps = prod(self.tiles(tile)), ceil(self.depth / tile.depth)
        most = max(1, min(steps, BLOCKS // blocks, MOST_PARTS if self.joined else BLOCKS))
        return iter(range(1, most + 1))

    def registers(self, tile: Tile) -> float:
        """Guess the registers of a thread."""
        left, right = tile.fetched
        return 30 + tile.own + HELD * left + self.kept * right

    def step(self, tile: Tile) -> float:
        """Cycles of a block for a step along k, by what it issues or reads of shared memory."""
        (left, right), read = tile.fetched, tile.read
        dear = 1 if not self.whole or self.whole % tile.depth == 0 else EACH
        issued = tile.own * tile.depth + read + STEP + NUMBER * left + self.right * right * dear
        return tile.threads / 32 * max(issued / ISSUED, read) / EFFICIENCY

    def cycles(self, tile: Tile, splits: int) -> float:
        """Cycles that all of it takes, by the multiprocessor with most blocks."""
        blocks = prod(self.tiles(tile)) * splits
        steps, each = ceil(ceil(self.depth / tile.depth) / splits), self.step(tile)
        ends = tile.threads / 32 * tile.own * STORED / ISSUED
        most, registers = ceil(blocks / MULTIPROCESSORS), self.registers(tile)
        room = min(REGISTERS // (registers * tile.threads), THREADS // tile.threads)
        turns = ceil(most / max(1, room))
        alone = max(LATENCY, each + BARRIER)
        total = max(most * steps * each, turns * steps * alone) + turns * EDGE + most * ends
        if splits > 1 and self.joined:
            total += JOINED + PART * splits + 8 * blocks * tile.rows * tile.columns / BYTES
        if not self.joined:
            total += splits * (GATHERED + 8 * self.groups * self.rows * self.columns / BYTES)
        return total

    def grid(self, tile: Tile) -> Grid:
        """Blocks across, down, and along k."""
        splits = min(self.splits(tile), key=lambda count: self.cycles(tile, count))
        return (*self.tiles(tile), splits)


@cache
def tile_for(product: Product) -> Tile:
    """The tile that makes a product quickest."""
    return min(
        (tile for tile in TILES if product.registers(tile) <= MOST),
        key=lambda tile: min(product.cycles(tile, splits) for splits in product.splits(tile)),
    )
