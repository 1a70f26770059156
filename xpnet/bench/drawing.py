"""Records as pictures. Needs matplotlib, the `plot` extra."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xpnet.bench.run import OWN
from xpnet.bench.statistics import Record, is_own
from xpnet.files.atomic import atomic_write

RATIOS, SHARES = "bench.png", "layers.png"
MEANING = {
    RATIOS: f"{OWN}'s time by the others'; below 1 it is faster",
    SHARES: "each layer's share of a forward pass",
}
"""The files, and what they show."""

COLOURS = (
    "#4c78a8", "#9b9b9b", "#f2a541", "#d9601a", "#8c2d04", "#6a3d9a", "#2b8a3e",
)  # fmt: skip
KINDS = {
    "Convolution": "#4c78a8",
    "TransposedConvolution": "#8c6bb1",
    "Affine": "#d9601a",
    "ReLU": "#9bc1a5",
    "MaxPool": "#f2a541",
    "Dropout": "#9b9b9b",
}
"""Colours of layers."""
LABELLED = 0.04
"""Share of a layer from which on its name fits into its part of the bar."""


def draw_all(directory: Path, record: Record) -> list[str]:
    """Draw what there is to draw; the names of the files."""
    drawn = []
    where = f"{_hardware(record)}, {record['precision']}"
    if compared := [case for case in record["cases"] if case.get("ratios")]:
        draw_ratios(directory / RATIOS, compared, where)
        drawn.append(RATIOS)
    if parted := [case for case in record["cases"] if "layers" in case]:
        draw_shares(directory / SHARES, parted, where)
        drawn.append(SHARES)
    return drawn


def _hardware(record: Record) -> str:
    gpu = record.get("gpu")
    return gpu["gpu"] if gpu else f"{record['machine']}, {record['threads']} threads"


def draw_ratios(path: Path, cases: Sequence[Record], where: str) -> None:
    """Draw bars of xpnet's time by the others': a row for each task, a panel for each network."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(case["model"] for case in cases))
    tasks = list(dict.fromkeys(case["task"] for case in cases))
    crowded = len({name for case in cases for name in case["ratios"]}) > len(COLOURS)
    drawn = [(case, _compared(case, crowded=crowded)) for case in cases]
    names = dict.fromkeys(name for _, ratios in drawn for name in ratios)
    colours = dict(zip(names, COLOURS, strict=False))
    figure = Figure(figsize=(1 + 4.4 * len(models), 1.2 + 2.8 * len(tasks)), layout="constrained")
    grid = figure.subplots(len(tasks), len(models), squeeze=False, sharey="row")
    for axes, (task, model) in zip(
        grid.flat, ((task, model) for task in tasks for model in models), strict=True
    ):
        shown = [pair for pair in drawn if (pair[0]["model"], pair[0]["task"]) == (model, task)]
        _bars(axes, shown, colours)
        axes.set_title(f"{model}, {'training' if task == 'train' else 'prediction'}", size=10)
    for row in grid:
        row[0].set_ylabel(f"time of {OWN} / time of the other")
    figure.suptitle(
        f"below 1 {OWN} is faster; lines: smallest to largest ratio of a round\n{where}", size=9
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
    _write(path, figure)


def _compared(case: Record, *, crowded: bool) -> dict[str, Record]:
    """The ratios of a case by the others' names.

    Parameters
    ----------
    crowded : there are more than can be told apart: of each other library, which is the first word
        of its contestants' names, the best one is there alone
    """
    ratios = {name.removeprefix(f"{OWN} / "): ratio for name, ratio in case["ratios"].items()}
    if not crowded:
        return ratios
    libraries: dict[str, Record] = {}
    for name, ratio in sorted(ratios.items(), key=lambda item: -item[1]["median"]):
        if not is_own(name):
            libraries.setdefault(f"best of {name.split()[0]}", ratio)
    return libraries


def _bars(
    axes: Any, cases: Sequence[tuple[Record, Mapping[str, Record]]], colours: Mapping[str, str]
) -> None:
    """One panel: groups of bars by batch size."""
    for place, (_, ratios) in enumerate(cases):
        names = [name for name in colours if name in ratios]
        width = 0.84 / max(1, len(names))
        for k, name in enumerate(names):
            ratio = ratios[name]
            median, x = ratio["median"], place + (k - (len(names) - 1) / 2) * width
            ends = [[median - ratio["min"]], [ratio["max"] - median]]
            axes.bar(x, median, 0.92 * width, color=colours[name], label=name)
            axes.errorbar(x, median, ends, color="0.15", linewidth=0.8)
            axes.annotate(
                f"{median:.2f}", (x, ratio["max"]), xytext=(0, 2), textcoords="offset points",
                ha="center", size=6.5, bbox={"color": "white", "pad": 0},
            )  # fmt: skip
    axes.axhline(1, color="0.15", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(cases)), [f"batch {case['batch_size']}" for case, _ in cases])
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def draw_shares(path: Path, cases: Sequence[Record], where: str) -> None:
    """Draw a bar for each network, of its layers' shares in the order of the layers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.4 + 0.7 * len(cases)), layout="constrained")
    axes = figure.subplots()
    for place, case in enumerate(cases):
        left = 0.0
        for name, row in case["layers"].items():
            share, kind = 100 * row["share"], row["kind"]
            axes.barh(
                place, share, 0.7, left, color=KINDS.get(kind, "0.8"), edgecolor="white", label=kind
            )
            if row["share"] >= LABELLED:
                axes.text(
                    left + share / 2, place, f"{name}\n{share:.0f} %", ha="center", va="center",
                    size=6.5,
                )  # fmt: skip
            left += share
    labels = [f"{case['model']}, batch {case['batch_size']}" for case in cases]
    axes.set_yticks(range(len(cases)), labels)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="% of the forward pass")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles, kinds = axes.get_legend_handles_labels()
    unique = dict(zip(kinds, handles, strict=True))
    figure.legend(
        unique.values(), unique.keys(), loc="outside lower center", ncols=len(unique),
        fontsize=9, frameon=False,
    )  # fmt: skip
    figure.suptitle(f"each layer by itself, layers as they are written\n{where}", size=9)
    _write(path, figure)


def _write(path: Path, figure: Any) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
