"""Records as tables."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from xpnet.bench import drawing
from xpnet.bench.cases import TASKS
from xpnet.bench.machine import listed_versions
from xpnet.bench.run import OWN, OWN_ON_CPU, TASKS_ALONE
from xpnet.bench.statistics import Record
from xpnet.errors import OutputError
from xpnet.files.atomic import atomic_write, make_directory, write_text
from xpnet.report import plots

Row = tuple[str, ...]

HEADER = ("contestant", "ms a step", "(min to max)", f"{OWN} / it", "(min to max)", "images/s")
MORE = {"cpu": ("of sgemm", "faults", "MiB"), "cuda": ("s an epoch", "MiB", "GPU MiB")}
"""Further columns, by the kind of device."""

STEPS = f"""\
- ms a step: the median of all turns; a training step is forward, loss, backward and update.
- {OWN} / it: the ratio of times within a round, the median of all rounds.
- {OWN} / best: the same with whoever is the fastest of those that are not {OWN}'s, by its median.
- by sgemm, by copying: what the products, as the definition has them, and what reading and writing
  all that the layers put out would take at the rates above; caches copy faster than that.
- MiB: of a process, which each contestant is by itself: what it had in memory, with its libraries
  and all batches, before the network was built, and the most it ever had, compiling included.
  Peak memory is the latter.
"""
ON_CPU = """\
- of sgemm: the product's operations, counted as the definition has them, by the time that this
  machine's BLAS needs for as many. An algorithm with fewer operations can exceed 100 %.
- faults: pages of memory that a step had to fetch from the system.
- torch computes eagerly, as it is installed. All others of its kind, and jax, have glibc's malloc
  keep memory. fused is the optimizer's, compile is torch.compile in its default mode, and freezing
  has it take the parameters for constants. jax is one jit for the whole step, with images as NHWC;
  it is held to its threads by the cores that it may use, the others are told their number.
- The best of a case may be another way of the same library in the next.
"""
ON_GPU = f"""\
- A turn has many steps, hundreds if they are short, and ends when the GPU has done them all. It is
  timed by the host's clock, since a step takes as long as the slower of the two: the host that
  launches it or the GPU. Predictions queue up as well; one that is waited for takes longer.
- The images of an epoch, 60,000, lie on the GPU. In training, {OWN} and {OWN} eager have them as
  uint8, shuffle them anew every epoch, and gather and scale each batch within its step. All others
  have float32, and their batches are slices of it, always the same ones, which favours them.
- s an epoch: the time of the steps that 60,000 images make.
- GPU MiB: by how much the GPU's free memory fell while the contestant was built and warmed up. That
  is its context, its libraries and its arrays; other users of the GPU would distort it.
- float32 is IEEE's throughout, for everybody. tf32 and bfloat16 round the factors of products to 10
  and 7 bits of fraction and add up in float32; PyTorch then keeps the sums of bfloat16 in bfloat16.
  The rate of sgemm is that of float32 always.
"""
LAYERS = """\
- of the forward pass: each layer of the network by itself, without an engine, every pass of it
  waited for; its median by the sum of all medians.
"""
ACCURACY = """\
- seconds: of training alone, until the end of the epoch after which so many of all test images were
  read right. What an engine plans and compiles at first is counted, the reading is not.
"""


def head(record: Record) -> list[str]:
    """Describe the machine, in lines."""
    lines = [
        f"{record['machine']}, of which {record['cores']} may be used; {record['system']}",
        listed_versions(record),
        f"{record['threads']} threads for each, {record['rounds']} rounds, turns of "
        f"{record['seconds']:g} s",
        f"sgemm {_rates(record, 'sgemm_gflops', 'GFLOP/s')}; "
        f"copy {_rates(record, 'copy_gigabytes', 'GB/s')}"
        f"{' threads' if record['device'] == 'cpu' else ''}",
    ]
    if "gpu" in record:
        gpu = ", ".join(f"{name} {value}" for name, value in record["gpu"].items())
        lines.insert(0, f"{record['device']}: {gpu}")
    if record["environment"]:
        lines.append("set: " + " ".join(f"{k}={v}" for k, v in record["environment"].items()))
    return lines + _left_out(record)


def _rates(record: Record, name: str, unit: str) -> str:
    return ", ".join(f"{rate:,.0f} {unit} on {on}" for on, rate in record["rates"][name].items())


def _left_out(record: Record) -> list[str]:
    return [f"left out: {name}, {why}" for name, why in record.get("left_out", {}).items()]


def title(case: Record) -> str:
    """Name a case in a line."""
    what = {
        "train": f"training with {case.get('optimizer')}",
        "predict": "prediction",
        "layers": "each layer of the forward pass",
        "accuracy": f"training with {case.get('optimizer')} to an accuracy",
    }[case["task"]]
    line = f"{case['model']}, {what}, batch {case['batch_size']}, {case['precision']}"
    if case["task"] in TASKS_ALONE and case.get("left_out"):
        return line
    if case["task"] == "layers":
        return f"{line}: {_number(case['milliseconds'])} ms"
    if case["task"] == "accuracy":
        return f"{line}: {case['data']}, {case['epochs']} epochs, {len(case['runs'])} seeds"
    megabytes = float(f"{case['moved_bytes'] / 1e6:.3g}")
    return (
        f"{line}: {case['flops'] / 1e9:.3g} GFLOP, {_number(case['floor_milliseconds'])} ms by "
        f"sgemm; {megabytes:,g} MB, {_number(case['copy_milliseconds'])} ms by copying"
    )


def table(case: Record) -> list[Row]:
    """Make the table of a case's result, the header first."""
    if case["task"] == "layers":
        return [("layer", "kind", "ms", "(min to max)", "of the forward pass"), *_layers(case)]
    if case["task"] == "accuracy":
        return [("test accuracy", "reached", "seconds", "(min to max)"), *_goals(case)]
    return [(*HEADER, *MORE[_kind(case)]), *_contestants(case)]


def _kind(case: Record) -> str:
    return "cpu" if case["device"] == "cpu" else "cuda"


def best(case: Record) -> str | None:
    """Compare xpnet with the best of all others in a line; None where either is missing."""
    name = case.get("best_other")
    if name is None or OWN not in case["contestants"]:
        return None
    line = f"{OWN} / best ({name}): {spread_text(case['ratios'][f'{OWN} / {name}'])}"
    own, other = (case["contestants"][one]["memory_peak_mib"] for one in (OWN, name))
    if None in (own, other):
        return line
    return f"{line}; peak memory {own} MiB by {other} MiB: {ratio_text(own / other)}"


def spread_text(ratio: Record) -> str:
    """Write the median of a ratio, and its smallest and largest."""
    return " ".join(_spread(ratio, ratio_text))


def _spread(values: Record, write: Callable[[float], str]) -> tuple[str, str]:
    """Write the median of several values, and in brackets the smallest and the largest."""
    median, low, high = (write(values[name]) for name in ("median", "min", "max"))
    return median, f"({low} to {high})"


def _contestants(case: Record) -> Iterator[Row]:
    for name, row in case["contestants"].items():
        ratio = case["ratios"].get(f"{OWN} / {name}")
        yield (
            name,
            *_spread(row["milliseconds"], _number),
            *(_spread(ratio, ratio_text) if ratio else ("", "")),
            f"{row['images_per_second']:,.0f}",
            *(_on_cpu(row) if _kind(case) == "cpu" else _on_gpu(row, case["task"])),
        )


def _on_cpu(row: Record) -> Row:
    faults = row["page_faults_a_step"]
    share = f"{100 * row['share_of_sgemm']:.0f} %"
    return share, "" if faults is None else f"{faults:,.0f}", _memory(row)


def _on_gpu(row: Record, task: str) -> Row:
    epoch = f"{row['epoch_seconds']:.3g}" if task == "train" else ""
    occupied = row["gpu_memory_mib"]
    return epoch, _memory(row), "" if occupied is None else f"{occupied:,}"


def _memory(row: Record) -> str:
    memory = row["memory_before_mib"], row["memory_peak_mib"]
    return "" if None in memory else "{}, {}".format(*memory)


def _layers(case: Record) -> Iterator[Row]:
    for name, row in case.get("layers", {}).items():
        yield (
            name,
            row["kind"],
            *_spread(row["milliseconds"], _number),
            f"{100 * row['share']:.1f} %",
        )


def _goals(case: Record) -> Iterator[Row]:
    for goal, row in case.get("goals", {}).items():
        share, reached = f"{100 * float(goal):g} %", f"{row['reached']} of {len(row['seconds'])}"
        if row["reached"]:
            yield share, reached, *_spread(row, "{:.3g}".format)
        else:
            yield share, reached, f"not reached in {case['epochs']} epochs", ""


def notes(case: Record) -> list[str]:
    """List what a reader of a case's rows must know besides."""
    own = case["contestants"].get(OWN, {}) if case["task"] in TASKS else case
    lines = []
    if "description" in own:
        described = ", ".join(f"{name} {value}" for name, value in own["description"].items())
        lines.append(f"{OWN}: {described}")
    if case["task"] in TASKS_ALONE:
        return lines + _left_out(case)
    if ratio := case["ratios"].get(f"{OWN} / {OWN_ON_CPU}"):
        times, most, least = (_number(1 / ratio[name]) for name in ("median", "min", "max"))
        lines.append(f"the CPU takes {times} ({least} to {most}) times as long")
    lines += _left_out(case)
    if OWN in case["left_out"]:
        lines.append(f"without {OWN} there are no ratios")
    disturbed = [row["disturbed_turns"] for row in case["contestants"].values()]
    if None in disturbed:
        return [*lines, "whether other processes were busy is unknown: there is no /proc/stat"]
    if any(disturbed):
        turns = sum(len(row["milliseconds"]["rounds"]) for row in case["contestants"].values())
        lines.append(
            f"in {sum(disturbed)} of {turns} turns, though repeated, other processes used more "
            "than a tenth of a core"
        )
    return lines


def text_table(case: Record) -> str:
    """Show a case on a terminal."""
    rows = table(case)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first = [line] if (line := best(case)) else []
    lines = [
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([title(case), *(f"  {line.rstrip()}" for line in first + lines + notes(case))])


def legend(record: Record) -> str:
    """Explain the columns of the tables that there are."""
    tasks = {case["task"] for case in record["cases"]}
    parts = []
    if tasks & set(TASKS):
        parts += [STEPS, ON_CPU if _kind(record) == "cpu" else ON_GPU]
    parts += [part for task, part in (("layers", LAYERS), ("accuracy", ACCURACY)) if task in tasks]
    return "".join(parts).rstrip()


def markdown(record: Record, pictures: Sequence[str]) -> str:
    """Write everything as a page.

    Parameters
    ----------
    pictures : their names, of those in `drawing.MEANING` that were drawn
    """
    precision = "" if record["precision"] == "float32" else f" --precision {record['precision']}"
    lines = ["# How long a step takes", ""]
    lines += [f"`xpnet bench --device {record['device']}{precision}`, started {record['started']}."]
    lines += ["", *(f"- {line}" for line in head(record))]
    for picture in pictures:
        lines += ["", f"![{drawing.MEANING[picture]}]({picture})"]
    lines += _in_short(record)
    for case in record["cases"]:
        header, *rows = table(case)
        lines += ["", f"## {title(case)}", ""]
        if line := best(case):
            lines += [f"{line}.", ""]
        lines += markdown_table(header, rows)
        if remarks := notes(case):
            lines += ["", "; ".join(remarks) + "."]
    return "\n".join([*lines, "", legend(record), ""])


def _in_short(record: Record) -> list[str]:
    """The table of what counts most: xpnet beside the best of all others, a row for each case."""
    header = ("network", "task", "batch", f"{OWN}, ms", f"{OWN} / best", "(min to max)", "best")
    rows = []
    for case in record["cases"]:
        if best(case) is None:
            continue
        name = case["best_other"]
        own, other = (case["contestants"][one] for one in (OWN, name))
        case_of = (case["model"], case["task"], str(case["batch_size"]))
        ratio = _spread(case["ratios"][f"{OWN} / {name}"], ratio_text)
        times = (_number(own["milliseconds"]["median"]), *ratio)
        rows.append((*case_of, *times, name, _memory_peak(own), _memory_peak(other)))
    return ["", *markdown_table((*header, "MiB", "its MiB"), rows)] if rows else []


def _memory_peak(row: Record) -> str:
    peak = row["memory_peak_mib"]
    return "" if peak is None else str(peak)


def markdown_table(header: Row, rows: Sequence[Row]) -> list[str]:
    """Write a table, all columns but the first to the right."""
    lines = [f"| {' | '.join(header)} |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


RECORD, PAGE = "bench.json", "README.md"


def prepare_directory(path: str | Path) -> Path:
    """Make a directory to write into, before anything is measured in vain."""
    directory = Path(path)
    try:
        make_directory(directory)
    except OSError as error:
        raise OutputError(
            f"cannot create {directory}: {error.strerror or error}; choose another --out"
        ) from error
    with atomic_write(directory / ".writable"):
        pass
    (directory / ".writable").unlink()
    return directory


def write(directory: Path, record: Record) -> None:
    """Write the record, the page and, where matplotlib is installed, the pictures."""
    write_text(directory / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    pictures = drawing.draw_all(directory, record) if plots.available() else []
    write_text(directory / PAGE, markdown(record, pictures))


def ratio_text(ratio: float) -> str:
    """Two digits at least."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def _number(milliseconds: float) -> str:
    """Three digits, and all that stand before the point."""
    if not milliseconds:
        return "0"
    decimals = 2 - math.floor(math.log10(milliseconds))
    return f"{milliseconds:.{max(0, decimals)}f}"
