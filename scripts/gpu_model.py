"""Where would a training step's time go on a GPU, by what the compiler reports of its kernels?

    python scripts/gpu_model.py --out scripts/results/gpu_model

It needs no GPU, but nvcc, which compiles every kernel that a step of six networks launches for
compute capability 9.0, and says how many registers, bytes of shared memory and spills each has.
From these, from grids, and from the numbers that a kernel reads, writes and multiplies, a model
makes times; README.md in --out states it. They are modelled, and not measured. What the GPU itself
takes is found by gpu_report.py.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _gpu_model import (
    BANKS,
    BATCH,
    CACHE,
    CLOCK,
    FFMA,
    FITS,
    LAUNCH,
    MEMORY,
    UNROLLED,
    Row,
    critical,
    rows_of,
    step_seconds,
)
from _gpu_parts import rows as table
from xpnet.engine.cuda.tiles import (
    BARRIER,
    EDGE,
    EFFICIENCY,
    ISSUED,
    JOINED,
    LATENCY,
    MULTIPROCESSORS,
)
from xpnet.errors import XPNetError
from xpnet.files.atomic import write_text
from xpnet.report.script import Script

NETWORKS = (
    "two-layer-net", "simple-convnet", "deep-convnet", "resnet-20", "googlenet-small", "an-3x3",
)  # fmt: skip

# How it is told


def us(seconds: float) -> str:
    """Show microseconds."""
    return f"{1e6 * seconds:.1f}"


def by_cause(rows: Iterable[Row]) -> list[tuple[str, float]]:
    """What is lost in all launches, by what holds them; launches apart."""
    found: dict[str, float] = {"launches": 0.0}
    for row in rows:
        found["launches"] += row.launch
        cause = row.held_by.partition(",")[0]
        name = {"launch": "short kernels", "multiplications": "multiplying"}.get(cause, cause)
        found[name] = found.get(name, 0.0) + row.body - row.ideal
    return sorted(found.items(), key=lambda pair: -pair[1])


def summary(model: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Tell a network's step in a line."""
    worst = max(rows, key=lambda row: row.loss)
    on_path = sum(not row.aside for row in rows)
    where = f" ({' '.join(worst.layers)})" if worst.layers else ""
    return (
        model,
        f"{worst.kernel}{where}: {worst.held_by}",
        f"{us(worst.loss)}",
        f"{len(rows)} ({on_path})",
        us(sum(row.time for row in rows)),
        us(critical(rows)),
        us(step_seconds(rows)),
        us(sum(row.ideal for row in rows)),
    )


def details(row: Row) -> tuple[str, ...]:
    """A launch as a line."""
    return (
        f"{row.kernel}{' (aside)' if row.aside else ''}",
        " ".join(row.layers),
        row.held_by,
        "x".join(map(str, row.grid)),
        str(row.block),
        str(row.registers),
        str(row.spills),
        str(row.shared),
        str(row.occupancy),
        f"{row.waves:.2f}",
        f"{row.flops / 1e6:.1f}",
        f"{row.bytes / 1e6:.2f}",
        us(row.time),
        us(row.loss),
    )


def page(steps: dict[str, list[Row]]) -> str:
    """Write the model, the answers and all tables."""
    lines = [
        "# Where a step's time would go on an H200",
        "",
        "**Modelled, not measured**: no GPU has run this. Registers, spills and shared memory are "
        "what nvcc reports for sm_90; times come from the model below.",
    ]
    header = ("network", "largest loss", "of it", "launches (on the path)", "sum", "critical path")
    lines += table(
        (*header, "step", "ideal"), [summary(model, rows) for model, rows in steps.items()], 2
    )
    lines += [
        f"Training in float32 with the network's optimizer, batch {BATCH}; times in microseconds. "
        "A launch's loss is its time less the ideal: all multiprocessors multiplying, or memory "
        "moving bytes, without a pause. Launches aside run on a second stream, beside the path; a "
        "step takes its critical path, or the work of all multiprocessors where that is more.",
        "",
        f"The model, for an H200 at {CLOCK / 1e9:.2f} GHz with {MULTIPROCESSORS} multiprocessors:",
        "",
        f"- A kernel begins {us(LAUNCH)} us after the one before it has ended.",
        "- A product takes the cycles of the multiprocessor with most blocks: the largest of its "
        f"multiplications ({FFMA} a cycle), its reads of shared memory ({BANKS} bytes a cycle; "
        "four rows of a warp's own are one read, each column another) and the instructions of its "
        f"loop, counted in PTX ({ISSUED} warps a cycle), all at {EFFICIENCY:.0%}. Where a block is "
        f"alone, a step along k takes {BARRIER} cycles more, and {LATENCY} at least; where not all "
        f"blocks fit at once, they take turns. {EDGE} cycles more begin and end a block, and "
        f"{JOINED} where a sum was divided among blocks.",
        f"- Any other kernel waits {LATENCY} cycles for each round of reads that needs the one "
        f"before ({UNROLLED} rounds of a loop are begun together), as often as its blocks do not "
        "fit at once.",
        f"- No kernel moves its bytes faster than {CACHE / 1e12} TB/s from the cache, or "
        f"{MEMORY / 1e12} TB/s where they are more than {FITS / 1e6:.0f} MB.",
    ]
    for model, rows in steps.items():
        causes = "; ".join(f"{name} {us(lost)}" for name, lost in by_cause(rows))
        lines += ["", f"## {model}", "", f"Lost, in us: {causes}."]
        head = ("kernel", "layers", "held by", "grid", "block", "registers", "spills", "shared")
        head += ("blocks a multiprocessor", "waves", "MFLOP", "MB", "us", "lost")
        lines += table(head, [details(row) for row in rows], 3)
    return "\n".join([*lines, "`python scripts/gpu_model.py` writes this page.", ""])


def answer(options: Any) -> None:
    """Model every launch of the networks' steps."""
    if shutil.which("nvcc") is None:
        raise XPNetError("nvcc is not installed: there is nothing that compiles the kernels")
    steps: dict[str, list[Row]] = {}
    for model in options.model or NETWORKS:
        steps[model] = rows_of(model, options.cache)
        line = summary(model, steps[model])
        print(f"{model}: a step {line[-2]} us, ideal {line[-1]}; {line[1]} {line[2]}", flush=True)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        record = {model: [asdict(row) for row in rows] for model, rows in steps.items()}
        write_text(options.out / "gpu_model.json", json.dumps(record, indent=1) + "\n")
        write_text(options.out / "README.md", page(steps))


def main() -> None:
    """Run the script."""
    script = Script(__doc__)
    script.add_argument(
        "--model", action="append", choices=NETWORKS, help="one of them; all if left out"
    )
    script.add_argument(
        "--cache", type=Path, default=Path("runs/gpu-model"),
        help="directory for compiled kernels, %(default)s by default",
    )  # fmt: skip
    script.run(answer)


if __name__ == "__main__":
    main()
