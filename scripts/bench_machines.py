"""How does xpnet stand beside the best of all others, on several machines?

    cd scripts/results/bench_cpu && python ../../bench_machines.py */ --out README.md

Each directory is what `xpnet bench --out DIRECTORY` has written on a machine, and its name is what
the machine is called. A row is a case, and a column is a machine; where that has not measured the
case, the place is empty.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from os.path import relpath
from pathlib import Path

from xpnet.bench.machine import listed_versions
from xpnet.bench.report import PAGE, RECORD, markdown_table, ratio_text, spread_text
from xpnet.bench.run import OWN
from xpnet.bench.statistics import Record, best_other
from xpnet.errors import ArgumentError
from xpnet.files.atomic import write_text
from xpnet.report.script import Script

Case = tuple[str, str, str]
"""Network, task and batch size."""


def read(directory: Path) -> Record:
    """Read the record of a machine.

    Raises
    ------
    ArgumentError
        There is none.
    """
    path = directory / RECORD
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        record["cases"] = [case for case in record["cases"] if "contestants" in case]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArgumentError(
            f"{path} is no record of a benchmark ({error}); name directories that "
            "`xpnet bench --out` has written"
        ) from None
    return record


def head(name: str, directory: Path, record: Record, out: Path) -> str:
    """Describe a machine in a line."""
    where = record["gpu"]["gpu"] if "gpu" in record else f"{record['threads']} threads"
    where += f", {record.get('precision', 'float32')}"
    page = relpath(directory / PAGE, out.parent)
    return (
        f"- [{name}]({page}): {record['machine']}, {where}; "
        f"{record['system']}; {listed_versions(record)}; {record['rounds']} rounds, "
        f"{record['started'][:10]}"
    )


def cells(record: Record) -> tuple[dict[Case, str], dict[Case, str]]:
    """Compare xpnet with the best of all others in each case: in time, and in peak memory."""
    times, memory = {}, {}
    for case in record["cases"]:
        rows, best = case["contestants"], best_other(case["contestants"])
        if best is None or OWN not in rows:
            continue
        key = (case["model"], case["task"], str(case["batch_size"]))
        times[key] = f"{spread_text(case['ratios'][f'{OWN} / {best}'])} {best}"
        own, other = (rows[name]["memory_peak_mib"] for name in (OWN, best))
        if None not in (own, other):
            memory[key] = f"{ratio_text(own / other)} ({own} by {other})"
    return times, memory


def side_by_side(columns: Mapping[str, Mapping[Case, str]]) -> list[str]:
    """Make a table with a row for each case and a column for each machine."""
    cases = dict.fromkeys(case for column in columns.values() for case in column)
    rows = [(*case, *(column.get(case, "") for column in columns.values())) for case in cases]
    return markdown_table(("network", "task", "batch", *columns), rows)


def page(directories: Sequence[Path], out: Path) -> str:
    """Write everything as a page."""
    records = {path.resolve().name: read(path) for path in directories}
    found = {name: cells(record) for name, record in records.items()}
    lines = [
        "# xpnet beside the best of all others, on several machines",
        "",
        "By `python scripts/bench_machines.py`, from the records that `xpnet bench` wrote.",
        "",
        *(
            head(name, path, record, out)
            for path, (name, record) in zip(directories, records.items(), strict=True)
        ),
        "",
        f"Time of {OWN} by that of whoever else is the fastest, the median of all rounds (smallest "
        "to largest), and who that is:",
        "",
        *side_by_side({name: times for name, (times, _) in found.items()}),
        "",
        "Peak memory of the two processes, the ratio and MiB, with their libraries and what "
        "compiling took:",
        "",
        *side_by_side({name: memory for name, (_, memory) in found.items()}),
    ]
    return "\n".join(lines) + "\n"


def answer(options: argparse.Namespace) -> None:
    """Read, and write or print the page."""
    names = [path.resolve().name for path in options.directories]
    if len(set(names)) < len(names):
        raise ArgumentError(f"machines need names of their own, got {', '.join(names)}")
    text = page(options.directories, options.out or Path("README.md"))
    if options.out is not None:
        write_text(options.out, text)
    print(text, end="")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__)
    script.add_argument("directories", nargs="+", type=Path, help="one for each machine")
    script.run(answer)


if __name__ == "__main__":
    main()
