"""Do all the books' experiments come out as printed?

    python scripts/reproduce.py --data mnist --out results
    python scripts/reproduce.py --quick
    python scripts/reproduce.py --out results ch08

Runs every experiment in the folders beside this file, one after the other, and writes one page:
the books' values, the accepted bands, what was measured, pass or fail, and all pictures. Long
trainings are left out, unless --long asks for them. What was not run now, be it those, or others
than were named, or for want of a package, is shown as an earlier run left it in --out, with its
date. Exit code 1 if a check of this run failed, after everything has run.
"""

import argparse
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpnet.arrays import get_device, versions
from xpnet.bench.machine import listed_versions
from xpnet.errors import ArgumentError
from xpnet.files.atomic import write_text
from xpnet.report.experiment import (
    check_replaced,
    lab_from,
    lab_script,
    perform,
    read_record,
    utc_now,
)
from xpnet.report.script import FAILED

HERE = Path(__file__).parent
BOOKS = {
    "deep_learning_from_scratch": "Deep Learning from Scratch (Saitoh)",
    "neural_networks_and_deep_learning": "Neural Networks and Deep Learning (Nielsen)",
    "mathematics_of_deep_learning": "The Mathematics of Deep Learning (Wakui)",
}
LONG = (
    "ch08_dcgan_trained",
    "ch08_deep_convnet",
    "ch08_dqn_long",
    "ch08_resnet_trained",
    "ch08_vgg_trained",
)
"""Experiments that take as long as many others together."""
PASS, FAIL, UNJUDGED = "pass", "**FAIL**", "not judged"
Records = dict[Path, dict[str, Any]]
"""What came of experiments, by their scripts."""


def scripts(names: Sequence[str] = ()) -> list[Path]:
    """List the experiments of all books in order; those whose name holds one of `names`, if any."""
    found = [path for book in BOOKS for path in sorted((HERE / book).glob("ch*.py"))]
    return [path for path in found if not names or any(name in path.stem for name in names)]


def perform_script(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run one experiment and return its record; one that breaks off is a failed one."""
    sys.path.insert(0, str(path.parent))  # as when it is run by itself
    lab = lab_from(path.stem, options)
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return perform(module.run, module.__doc__, lab)
    except Exception as error:  # the others must still run
        traceback.print_exc()
        lab.holds("it runs to its end", False, f"{type(error).__name__}: {error}")
        return lab.finish(path.stem, 0.0)
    finally:
        sys.path.remove(str(path.parent))


def when_and_where(record: dict[str, Any]) -> str:
    """Tell of a run its date, seed, device, versions and duration."""
    machine = record.get("machine", "unnamed machine")  # as records were before they told it
    return (
        f"{record.get('date', 'undated')}, seed {record['seed']}, device {record['device']} "
        f"({machine}), {listed_versions(record)}, {record['seconds']:.0f} s"
    )


def in_order(records: Records) -> Records:
    """Records in the order of the books and their chapters."""
    return {path: records[path] for path in scripts() if path in records}


def chapters(records: Records) -> dict[tuple[str, str], Records]:
    """Group records by folder and chapter, as their file names begin, in order."""
    found: dict[tuple[str, str], Records] = {}
    for path, record in records.items():
        key = path.parent.name, path.stem.partition("_")[0].removeprefix("ch").lstrip("0")
        found.setdefault(key, {})[path] = record
    return found


def counts(records: Records) -> list[int]:
    """How many experiments and checks there are, and how many passed, failed, were not judged."""
    states = [check["passed"] for record in records.values() for check in record["checks"]]
    return [len(records), len(states), *(states.count(state) for state in (True, False, None))]


def head(now: Records, earlier: Records, options: argparse.Namespace) -> list[str]:
    """Lines that tell of this run, of what is left of others, and of each chapter in a row."""
    records = in_order(now | earlier)
    device = get_device(options.device)
    this = {
        "date": utc_now(),
        "seed": options.seed,
        "device": device.name,
        "machine": ", ".join(device.describe().values()),
        "versions": versions(),
        "seconds": sum(record["seconds"] for record in now.values()),
    }
    experiments, checks, passed, failed, unjudged = counts(records)
    run = (
        f"{experiments} experiments, {checks} checks: {passed} passed, {failed} failed, {unjudged} "
        f"not judged. Run {when_and_where(this)}"
    )
    run += ", quick: nothing that needs real training is judged." if options.quick else "."
    if earlier:
        run += (
            f" {len(earlier)} of the experiments were not run anew: their rows bear the date of "
            "their run, and below the tables is said where that was."
        )
    lines = [run, ""]
    if missing := [path.stem for path in scripts() if path not in records]:
        lines += [f"Not run yet: {', '.join(missing)}.", ""]
    lines += ["`make reproduce` writes this page anew; `LONG=1` adds the long trainings.", ""]
    lines += [
        "What an experiment does, and what comes of it, is told at the head of its script, to "
        "which the name above its picture leads. A guide is no number of the book's: an "
        "independent run, most often of one seed, measured it.",
        "",
    ]
    lines.append("| | Experiments | Checks | Passed | Failed | Not judged |")
    lines.append("|---|--:|--:|--:|--:|--:|")
    for (book, chapter), part in chapters(records).items():
        link = f"[{BOOKS[book]}, chapter {chapter}](#{book}-{chapter})"
        lines.append(f"| {link} | {' | '.join(map(str, counts(part)))} |")
    return lines


def chapter_lines(records: Records, earlier: Records, out: Path) -> list[str]:
    """A table of all checks, then each experiment's question and picture; the page is in `out`."""
    lines = ["| Experiment | What | Book | Band | Measured | |", "|---|---|---|---|---|---|"]
    for path, record in records.items():
        date = f", {record.get('date', 'earlier')[:10]}" if path in earlier else ""
        for check in record["checks"]:
            state = {True: PASS, False: FAIL, None: UNJUDGED}[check["passed"]]
            cells = [check[key] for key in ("what", "book", "band", "measured")]
            # A line break, as in what an error says, would end the table.
            row = " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells)
            lines.append(f"| [{path.stem}](#{path.stem}) | {row} | {state}{date} |")
    for path, record in records.items():
        script = Path(os.path.relpath(path, out)).as_posix()
        lines += ["", f'<a name="{path.stem}"></a>', f"#### [{path.stem}]({script})"]
        lines += ["", record["question"]]
        if path in earlier:
            lines += ["", f"Run {when_and_where(record)}."]
        if record["picture"]:
            lines += ["", f"![{path.stem}]({record['picture']})"]
    return lines


def page(now: Records, earlier: Records, options: argparse.Namespace) -> str:
    """Write the tables and the gallery, as Markdown: of this run, and what is left of others."""
    lines = ["# The books' experiments, reproduced", "", *head(now, earlier, options)]
    for (book, chapter), part in chapters(in_order(now | earlier)).items():
        lines += ["", f'<a name="{book}-{chapter}"></a>', f"## {BOOKS[book]}, chapter {chapter}"]
        lines += ["", *chapter_lines(part, earlier, options.out)]
    return "\n".join(lines) + "\n"


def answer(options: argparse.Namespace) -> None:
    """Run, and write the page."""
    if options.long and options.quick:
        raise ArgumentError("--long and --quick are two ways to run; give one of them")
    chosen = scripts(options.names)
    if not chosen:
        raise ArgumentError(f"no experiment's name holds one of: {', '.join(options.names)}")
    put_off = [] if options.long or options.quick else [p for p in chosen if p.stem in LONG]
    chosen = [path for path in chosen if path not in put_off]
    for path in chosen:  # before the first of them has taken its time
        check_replaced(path.stem, options)
    others = [path for path in scripts() if path not in chosen]
    found = {path: read_record(options.out / f"{path.stem}.json") for path in others}
    # Quick runs are no results: they and full ones do not meet on one page.
    earlier = {
        p: record for p, record in found.items() if record and record["quick"] == options.quick
    }
    now: Records = {}
    begin = utc_now()
    for path in chosen:
        record = perform_script(path, options)
        # Where nothing could be run, it is what an earlier run left.
        anew = record.get("date", "") >= begin
        (now if anew else earlier)[path] = record
        if not anew:
            print(f"not run             {path.stem}", flush=True)
            continue
        state = "pass" if record["passed"] else "FAIL"
        print(f"{state}  {record['seconds']:7.1f} s  {path.stem}", flush=True)
    write_text(options.out / "README.md", page(now, earlier, options))
    if put_off:
        print(f"not run, long: {', '.join(path.stem for path in put_off)}; --long runs them")
    failed = [path.stem for path, record in now.items() if not record["passed"]]
    print(f"{len(now) - len(failed)} of {len(now)} passed; see {options.out / 'README.md'}")
    if failed:
        print(f"failed: {', '.join(failed)}")
        sys.exit(FAILED)


def main() -> None:
    """Take the flags and answer."""
    script = lab_script(__doc__)
    script.add_argument("names", nargs="*", help="only experiments whose names hold one of these")
    script.add_argument("--long", action="store_true", help="the long trainings, too")
    script.run(answer)


if __name__ == "__main__":
    main()
