"""What a record says, as tables and as a picture."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xpnet import plots
from xpnet.bench.run import OWN, Record
from xpnet.errors import OutputError
from xpnet.files import atomic_write, write_text

HEADER = (
    "contestant", "ms a step", "(min to max)", f"{OWN} / it", "(min to max)", "images/s",
    "of sgemm", "faults", "MiB",
)  # fmt: skip

LEGEND = f"""\
- ms a step: the median of all turns; a training step is forward, loss, backward and update.
- {OWN} / it: the ratio of times within a round, the median of all rounds.
- by sgemm, by copying: what the products, as the definition has them, and what reading and writing
  all that the layers put out would take at the rates above; caches copy faster than that.
- of sgemm: the product's operations, counted as the definition has them, by the time that this
  machine's BLAS needs for as many. An algorithm with fewer operations can exceed 100 %.
- faults: pages of memory that a step had to fetch from the system.
- MiB: in memory before the network was built, and the most there ever was."""


def head(record: Record) -> list[str]:
    """The machine, in lines."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    gflops, copies = record["rates"]["sgemm_gflops"], record["rates"]["copy_gigabytes"]
    lines = [
        f"{record['machine']}, of which {record['cores']} may be used; {record['system']}",
        versions,
        f"{record['threads']} threads for each, {record['rounds']} rounds, turns of "
        f"{record['seconds']:g} s",
        "sgemm "
        + ", ".join(f"{rate:.0f} GFLOP/s on {n}" for n, rate in gflops.items())
        + "; copy "
        + ", ".join(f"{rate:.0f} GB/s on {n}" for n, rate in copies.items())
        + " threads",
    ]
    if record["environment"]:
        lines.append("set: " + " ".join(f"{k}={v}" for k, v in record["environment"].items()))
    return lines + [f"left out: {name}, {why}" for name, why in record["left_out"].items()]


def title(case: Record) -> str:
    """A case in a line."""
    megabytes = float(f"{case['moved_bytes'] / 1e6:.3g}")
    task = f"training with {case['optimizer']}" if case["task"] == "train" else "prediction"
    return (
        f"{case['model']}, {task}, batch {case['batch_size']}: {case['flops'] / 1e9:.3g} GFLOP, "
        f"{_number(case['floor_milliseconds'])} ms by sgemm; {megabytes:,g} MB, "
        f"{_number(case['copy_milliseconds'])} ms by copying"
    )


def rows(case: Record) -> Iterator[tuple[str, ...]]:
    """A case's contestants, as HEADER names the columns."""
    for name, row in case["contestants"].items():
        ratio = case["ratios"].get(f"{OWN} / {name}")
        times, faults = row["milliseconds"], row["page_faults_a_step"]
        memory = row["memory_before_mib"], row["memory_peak_mib"]
        yield (
            name,
            _number(times["median"]),
            f"({_number(times['min'])} to {_number(times['max'])})",
            f"{ratio['median']:.2f}" if ratio else "",
            f"({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else "",
            f"{row['images_per_second']:,.0f}",
            f"{100 * row['share_of_sgemm']:.0f} %",
            "" if faults is None else f"{faults:,.0f}",
            "" if None in memory else "{}, {}".format(*memory),
        )


def notes(case: Record) -> list[str]:
    """What a reader of a case's rows must know besides."""
    own = case["contestants"][OWN]["description"]
    lines = [f"{OWN}: " + ", ".join(f"{name} {value}" for name, value in own.items())]
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
    """A case for a terminal."""
    table = [HEADER, *rows(case)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join([title(case), *(f"  {line.rstrip()}" for line in lines + notes(case))])


def markdown(record: Record, picture: bool) -> str:
    """Everything as a page."""
    lines = ["# How long a step takes", ""]
    lines += [f"`xpnet bench --device {record['device']}`, started {record['started']}.", ""]
    lines += [f"- {line}" for line in head(record)]
    if picture:
        lines += ["", f"![xpnet's time by the others'; below 1 it is faster]({PICTURE})"]
    for case in record["cases"]:
        lines += ["", f"## {title(case)}", ""]
        lines += [f"| {' | '.join(HEADER)} |", "|---" + "|---:" * (len(HEADER) - 1) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows(case)]
        lines += ["", "; ".join(notes(case)) + "."]
    return "\n".join([*lines, "", LEGEND, ""])


RECORD, PAGE, PICTURE = "bench.json", "README.md", "bench.png"


def prepare_directory(path: str | Path) -> Path:
    """A directory to write into, before anything is measured in vain."""
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot create {directory}: {error.strerror or error}; choose another --out"
        ) from error
    with atomic_write(directory / ".writable"):
        pass
    (directory / ".writable").unlink()
    return directory


def write(directory: Path, record: Record) -> None:
    """Write the record, the page and, where matplotlib is installed, the picture."""
    write_text(directory / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    compared = [case for case in record["cases"] if case["ratios"]]
    picture = plots.available() and bool(compared)
    if picture:
        title = f"{record['machine']}, {record['threads']} threads"
        draw(directory / PICTURE, compared, title)
    write_text(directory / PAGE, markdown(record, picture))


COLOURS = ("#4c78a8", "#9b9b9b", "#f2a541", "#d9601a", "#8c2d04", "#6a3d9a", "#2b8a3e")


def draw(path: Path, cases: Sequence[Record], machine: str) -> None:
    """Bars of xpnet's time by the others': a row for each task, a panel for each network."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(case["model"] for case in cases))
    tasks = list(dict.fromkeys(case["task"] for case in cases))
    names = list(dict.fromkeys(name for case in cases for name in case["contestants"]))
    names.remove(OWN)  # the bars' unit
    colours = dict(zip(names, COLOURS * len(names), strict=False))
    figure = Figure(figsize=(1 + 4.4 * len(models), 1.2 + 2.8 * len(tasks)), layout="constrained")
    grid = figure.subplots(len(tasks), len(models), squeeze=False, sharey="row")
    for axes, (task, model) in zip(
        grid.flat, ((task, model) for task in tasks for model in models), strict=True
    ):
        shown = [case for case in cases if (case["model"], case["task"]) == (model, task)]
        _bars(axes, shown, colours)
        axes.set_title(f"{model}, {'training' if task == 'train' else 'prediction'}", size=10)
    for row in grid:
        row[0].set_ylabel(f"time of {OWN} / time of the other")
    figure.suptitle(
        f"below 1 {OWN} is faster; lines: smallest to largest ratio of a round\n{machine}", size=9
    )
    handles = {
        label: handle
        for axes in grid.flat
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=2 * len(models),
        fontsize=9,
        frameon=False,
    )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _bars(axes: Any, cases: Sequence[Record], colours: Mapping[str, str]) -> None:
    """One panel: groups of bars by batch size."""
    for place, case in enumerate(cases):
        names = [name for name in colours if f"{OWN} / {name}" in case["ratios"]]
        width = 0.84 / len(names)
        for k, name in enumerate(names):
            ratio = case["ratios"][f"{OWN} / {name}"]
            median, x = ratio["median"], place + (k - (len(names) - 1) / 2) * width
            ends = [[median - ratio["min"]], [ratio["max"] - median]]
            axes.bar(x, median, 0.92 * width, color=colours[name], label=name)
            axes.errorbar(x, median, ends, color="0.15", linewidth=0.8)
            axes.annotate(
                f"{median:.2f}", (x, ratio["max"]), xytext=(0, 2), textcoords="offset points",
                ha="center", size=6.5, bbox={"color": "white", "pad": 0},
            )  # fmt: skip
    axes.axhline(1, color="0.15", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(cases)), [f"batch {case['batch_size']}" for case in cases])
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _number(milliseconds: float) -> str:
    """Three digits, and all that stand before the point."""
    decimals = 2 - math.floor(math.log10(milliseconds))
    return f"{milliseconds:.{max(0, decimals)}f}"
