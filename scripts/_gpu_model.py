"""The kernels of a training step, what a compiler says of them, and a model of their time."""

import hashlib
import math
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.bench.cases import fresh, labels_for
from xpnet.engine.cuda import CudaEngine
from xpnet.engine.cuda.kernel import Kernel
from xpnet.engine.cuda.module import Launch
from xpnet.engine.cuda.product import Products
from xpnet.engine.cuda.tiles import (
    BARRIER,
    EDGE,
    EFFICIENCY,
    ISSUED,
    JOINED,
    LATENCY,
    MULTIPROCESSORS,
    PART,
    REGISTERS,
    THREADS,
    Tile,
)
from xpnet.errors import XPNetError
from xpnet.models import MODELS
from xpnet.optim import OPTIMIZERS

BATCH = 100
"""Samples of a step."""

# The GPU: an H200 by its data sheet; what chooses tiles has more of it.
CLOCK = 1.98e9
FFMA = 128
"""Multiplications with additions that a multiprocessor begins in a cycle: 67 TFLOP/s in all."""
BANKS = 128
"""Bytes that its shared memory gives in a cycle."""
MEMORY, CACHE, FITS = 3.5e12, 5.5e12, 2e7
"""Bytes a second from memory, and from the cache that all multiprocessors share, where a kernel
moves fewer bytes than the last."""
BLOCKS, SHARED_SIZE = 32, 227 * 1024
"""What a multiprocessor has room for, beside registers and threads."""
LAUNCH = 2.2e-6
"""Seconds from the end of one kernel of a graph to the first instruction of the next."""
UNROLLED = 4
"""Rounds of a loop whose reads a compiler begins together."""

HEAD = re.compile(
    r'extern "C" __global__ void __launch_bounds__\((\d+)[, \d]*\) (\w+)\((.*?)\) \{\n(.*)'
)
REPORT = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers(.*?)\n",
    re.DOTALL,
)

Record = dict[str, Any]


class Reader:
    """A driver that keeps the sources of kernels, and runs nothing."""

    def __init__(self) -> None:
        self.text = ""
        self.functions: dict[str, str] = {}

    def compile(self, source: str) -> Callable[[str], Any]:
        """Read a module."""
        self.text, *functions = re.split(r'(?=extern "C" __global__)', source)
        for function in functions:
            self.functions[self.head(function)[1]] = function
        return lambda name: lambda grid, block, arguments: None

    @staticmethod
    def head(function: str) -> tuple[str, ...]:
        """Threads, name, parameters and the beginning of the body of a kernel."""
        found = HEAD.match(function)
        assert found is not None
        return found.groups()

    def record(self, launches: Callable[[], None]) -> Any:
        """There is nothing to record."""
        raise NotImplementedError

    def aside(self) -> AbstractContextManager[None]:
        """Nothing runs beside anything."""
        return nullcontext()

    def join(self) -> None:
        """There is nothing to wait for."""


@dataclass
class Row:
    """A launch of a step.

    Attributes
    ----------
    layers : that the kernel computes
    aside : whether it runs on the second stream
    occupancy : blocks that a multiprocessor has room for
    waves : how often all multiprocessors together are filled
    flops, bytes : multiplied and added; read and written
    body, launch : modelled seconds of the kernel, and before it
    ideal : seconds if all the GPU multiplied, or moved bytes, without a pause
    held_by : what takes most of the time
    """

    kernel: str
    layers: list[str]
    aside: bool
    joins: bool
    grid: tuple[int, int, int]
    block: int
    registers: int
    spills: int
    shared: int
    occupancy: int
    waves: float
    flops: float
    bytes: float
    body: float
    ideal: float
    held_by: str
    launch: float = LAUNCH

    @property
    def time(self) -> float:
        """Seconds in all."""
        return self.body + self.launch

    @property
    def loss(self) -> float:
        """Seconds that are not ideal."""
        return self.time - self.ideal


# What is launched, and what the compiler says of it


def step_of(model: str) -> tuple[CudaEngine, Reader, list[Launch]]:
    """Make the launches of a step with the network's optimizer."""
    kind, reader = MODELS[model], Reader()
    engine = CudaEngine(fresh(model), graph=False, driver=reader)
    x = np.zeros((BATCH, *engine.network.input_shape), np.uint8)
    optimizer = OPTIMIZERS[kind.optimizer](kind.lr)
    labels = labels_for(engine.network.output_shape, np.zeros(BATCH, np.int64))
    training = engine.steps(x, labels, BATCH, optimizer)
    training.begin(np.arange(BATCH), [kind.lr])
    return engine, reader, training.launches(BATCH)


def compiled(text: str, cache: Path) -> tuple[str, str]:
    """Compile kernels for compute capability 9.0; what the assembler says, and their PTX.

    Raises
    ------
    XPNetError
        There is no nvcc, or it refuses them.
    """
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.cu"
    told = path.with_suffix(".txt")
    if not told.exists():
        path.write_text(text, encoding="utf-8")
        command = ["nvcc", "-std=c++17", "-cubin", "-arch=sm_90", "-ftz=true", "-Xptxas", "-v"]
        run = subprocess.run(
            [*command, "--keep", "--keep-dir", str(cache), str(path), "-o", f"{path}bin"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if run.returncode:
            raise XPNetError(f"nvcc refuses the kernels: {run.stderr.strip()[:200]}")
        told.write_text(run.stderr, encoding="utf-8")
    return told.read_text(encoding="utf-8"), path.with_suffix(".ptx").read_text(encoding="utf-8")


def reports(told: str) -> dict[str, tuple[int, int, int]]:
    """Find registers, bytes spilled, and bytes of shared memory of each kernel."""
    found = {}
    for name, stored, loaded, registers, rest in REPORT.findall(told):
        shared = re.search(r"(\d+) bytes smem", rest)
        spilled = int(stored) + int(loaded)
        found[name] = int(registers), spilled, int(shared[1]) if shared else 0
    return found


def loops(ptx: str) -> dict[str, Counter[str]]:
    """Count the instructions of each kernel's innermost loop that multiplies most, by kind."""
    found = {}
    for entry in ptx.split(".visible .entry ")[1:]:
        name, lines = entry[: entry.index("(")], [line.strip() for line in entry.splitlines()]
        labels = {line[:-1]: k for k, line in enumerate(lines) if re.fullmatch(r"\$L\w+:", line)}
        best: Counter[str] = Counter()
        for k, line in enumerate(lines):
            back = re.search(r"bra(?:\.uni)?\s+(\$L\w+)", line)
            if back and labels.get(back[1], k) < k:
                kinds = Counter(map(kind_of, lines[labels[back[1]] : k + 1]))
                best = max(best, kinds, key=lambda each: each["fma"])
        found[name] = best
    return found


def kind_of(line: str) -> str:
    """Name what a line of PTX does: fma, shared (a read), other, or nothing.

    Branches are not counted: the assembler makes conditions of them.
    """
    text = re.sub(r"^@!?%p\d+\s+", "", line)
    if not text or text[0] in "$/.{}" or text.startswith("bra"):
        return "nothing"
    return "fma" if text.startswith("fma") else "shared" if "ld.shared" in text else "other"


def occupancy(block: int, registers: int, shared: int) -> int:
    """Count the blocks that a multiprocessor has room for."""
    warps = math.ceil(block / 32)
    per_warp = math.ceil(registers * 32 / 256) * 256
    room = REGISTERS // per_warp // warps
    in_shared = SHARED_SIZE // (math.ceil((shared + 1024) / 128) * 128)
    return max(1, min(room, THREADS // (warps * 32), BLOCKS, in_shared))


# The model


def tile_cycles(tile: Tile, loop: Counter[str]) -> dict[str, float]:
    """Cycles of a multiprocessor for one step along k of one tile, by what takes them."""
    warps, of_thread = tile.threads / 32, tile.depth * tile.own
    multiplied, read = of_thread * warps, tile.read * warps
    # A loop over several steps, or over a part of one, is counted as so many.
    steps = loop["fma"] / of_thread or 1.0
    issued = (loop.total() - loop["nothing"]) / steps * warps
    return {
        "multiplications": multiplied * 32 / FFMA,
        "shared memory": read * 128 / BANKS,
        "instructions": max(issued, multiplied + read) / ISSUED,
    }


def product_seconds(
    kernel: Products, which: int, grid: tuple[int, int, int], room: int, loop: Counter[str]
) -> tuple[dict[str, float], float, float]:
    """Seconds by what takes them, multiplications and additions, and bytes between blocks."""
    tile, product = kernel.tiles[which], kernel.of_samples(BATCH)[which]
    blocks, splits = math.prod(grid), grid[2]
    steps = math.ceil(math.ceil(product.depth / tile.depth) / splits)
    most = math.ceil(blocks / MULTIPROCESSORS)
    turns = math.ceil(most / room)
    each_step = tile_cycles(tile, loop)
    cycles = {name: most * steps * each / EFFICIENCY for name, each in each_step.items()}
    alone = max(each_step.values()) / EFFICIENCY + BARRIER
    cycles["latency"] = turns * steps * max(LATENCY, alone)
    shared = blocks * tile.rows * tile.columns * 4 if product.joined and splits > 1 else 0
    edge = turns * EDGE + (JOINED + splits * PART if shared else 0)
    flops = 2.0 * product.rows * product.columns * product.depth * product.groups
    return {name: (each + edge) / CLOCK for name, each in cycles.items()}, flops, 2.0 * shared


def rounds(body: str, blocks: int, arguments: dict[str, Any]) -> tuple[float, float]:
    """Reads of a thread, each of which waits for the one before: of the longest, and the mean."""

    def loop(numbers: float) -> float:
        return math.ceil(numbers / UNROLLED)

    if body.startswith("update_chunk"):
        each = [2 + loop(parts) for parts in arguments["chunks"].reshape(-1, 8, 7)[..., 3].max(1)]
        return max(each), sum(each) / len(each)
    found = 2.0 if "backward" in body else 1.0
    if norm := re.match(r"norm_(shares|forward|backward)<\d+, (\d+)(.*?)>\(", body):
        own = loop(BATCH * int(norm[2]) / blocks / 512)
        found = own * (1 if blocks > 1 else 2) + (loop(blocks) if blocks > 1 else 0)
        if norm[1] == "shares":
            found = 2 * own
        elif norm[1] == "forward" and blocks == 1:
            found = 3 * own
        elif "SUMS" in norm[3] and "RETURNS" not in norm[3]:
            found = own
    elif loss := re.match(r"(softmax|summed)_loss<(\d+)", body):
        found = 3 + int(loss[2]) / 4
    elif body.startswith("const real loss"):
        found = 3
    elif halved := re.match(r"subsample_gradient<Halving<\d+, (\d+), (\d+)", body):
        found = loop(BATCH * int(halved[1]) * int(halved[2]) / 4 / 256)
    return found, found


def size_of(name: str, array: Any, pointed: str) -> float:
    """Bytes that a kernel reads and writes of an array that it is given."""
    if not isinstance(array, np.ndarray) or name in ("scratch", "tickets", "parts"):
        return 0.0
    both = name in ("p", "s0", "s1") and not pointed.startswith("const")
    return float(array.nbytes) * (2 if both else 1)


def modelled(
    launch: Launch,
    engine: CudaEngine,
    reader: Reader,
    report: tuple[int, int, int],
    loop: Counter[str],
) -> Row:
    """Model one launch, of which the compiler has said this."""
    call, (registers, spills, shared) = launch.call, report
    _, _, listed, body = reader.head(reader.functions[call.kernel])
    pairs = [parameter.rpartition(" ") for parameter in listed.split(", ")]
    given = {name: value for (_, _, name), value in zip(pairs, call.arguments, strict=True)}
    moved = sum(size_of(name, given[name], kind) for kind, _, name in pairs)
    op, _, task = call.kernel.partition("_")
    kernels: dict[str, Kernel] = {kernel.name: kernel for kernel in engine.kernels}
    kernel = kernels.get(op)
    if "parts" in given:
        made = [kernel] if kernel is not None else engine.kernels
        moved += 4.0 * sum(k.parts(BATCH) * k.part_size for k in made)
    room = occupancy(call.block, registers, shared)
    blocks = math.prod(call.grid)
    waves = blocks / (MULTIPROCESSORS * room)
    if isinstance(kernel, Products) and task in ("forward", "gradient", "backward"):
        which = ("forward", "gradient", "backward").index(task)
        seconds, flops, between = product_seconds(kernel, which, call.grid, room, loop)
        moved_all = moved + between
    else:
        turns = math.ceil(math.ceil(blocks / MULTIPROCESSORS) / room)
        longest, mean = rounds(body.strip(), call.grid[1], given)
        waits = max(longest, turns * mean)
        seconds, flops, moved_all = {"latency": waits * LATENCY / CLOCK}, 0.0, moved
    rate = CACHE if moved_all < FITS else MEMORY
    seconds["memory"] = moved_all / rate
    held_by = max(seconds, key=lambda name: seconds[name])
    ideal = max(flops / (2 * FFMA * MULTIPROCESSORS * CLOCK), moved / rate)
    if seconds[held_by] < LAUNCH:
        held_by_all = "launch"
    elif held_by not in ("memory", "latency") and idle(blocks) > 0.2:
        held_by_all = f"{held_by}, {idle(blocks):.0%} of multiprocessors idle"
    elif held_by == "latency" and blocks < MULTIPROCESSORS:
        held_by_all = f"latency, {blocks} blocks"
    else:
        held_by_all = held_by
    layers = [node.name for node in kernel.op.nodes] if kernel is not None else []
    return Row(
        call.kernel, layers, call.aside, call.joins, call.grid, call.block, registers, spills,
        shared, room, waves, flops, moved_all, seconds[held_by], ideal, held_by_all,
    )  # fmt: skip


def idle(blocks: int) -> float:
    """The share of multiprocessors that wait for those with one block more."""
    most = math.ceil(blocks / MULTIPROCESSORS)
    return 1 - blocks / (most * MULTIPROCESSORS)


def critical(rows: Iterable[Row]) -> float:
    """Seconds of a step whose launches aside run beside the others, as if in room of their own."""
    main = side = 0.0
    for row in rows:
        if row.joins:
            main = max(main, side)
        if row.aside:
            side = max(side, main) + row.time
        else:
            main += row.time
    return max(main, side)


def filled(row: Row) -> float:
    """Seconds of all multiprocessors that a kernel fills."""
    blocks = math.prod(row.grid)
    return row.body * min(1.0, blocks / MULTIPROCESSORS)


def step_seconds(rows: Sequence[Row]) -> float:
    """Seconds of a step: its critical path, or the whole GPU's work if that is more."""
    return max(critical(rows), sum(map(filled, rows)) + LAUNCH)


def rows_of(model: str, cache: Path) -> list[Row]:
    """Model all launches of a network's step, in order.

    Parameters
    ----------
    cache : directory for compiled kernels

    Raises
    ------
    XPNetError
        There is no nvcc, or it refuses them.
    """
    engine, reader, launches = step_of(model)
    names = list(dict.fromkeys(launch.call.kernel for launch in launches))
    text = "\n".join([reader.text, *(reader.functions[name] for name in names)])
    told, ptx = compiled(text, cache)
    found, loop = reports(told), loops(ptx)
    rows = []
    for launch in launches:
        name = launch.call.kernel
        rows.append(modelled(launch, engine, reader, found[name], loop[name]))
    return rows
