"""Do all the books' experiments come out as printed?

    python scripts/reproduce.py --data mnist --out results
    python scripts/reproduce.py --quick

Runs every experiment in the folders beside this file, one after the other, and writes one page:
the books' values, the accepted bands, what was measured, pass or fail, and all pictures. Exit code
1 if a check failed, after everything has run.
"""

import argparse
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpnet.arrays import get_device, versions
from xpnet.files.atomic import write_text
from xpnet.report.experiment import lab_from, lab_script, perform
from xpnet.report.script import FAILED

HERE = Path(__file__).parent
BOOKS = {
    "deep_learning_from_scratch": "Deep Learning from Scratch (Saitoh)",
    "neural_networks_and_deep_learning": "Neural Networks and Deep Learning (Nielsen)",
    "mathematics_of_deep_learning": "The Mathematics of Deep Learning (Wakui)",
}
PASS, FAIL, UNJUDGED = "pass", "**FAIL**", "not judged"


def scripts(names: Sequence[str]) -> list[Path]:
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


def page(records: Sequence[tuple[Path, dict[str, Any]]], options: argparse.Namespace) -> str:
    """Write the table and the gallery, as Markdown."""
    checks = [check for _, record in records for check in record["checks"]]
    counts = {
        text: sum(check["passed"] is state for check in checks)
        for text, state in (("passed", True), ("failed", False), ("not judged", None))
    }
    device = get_device(options.device)
    hardware = ", ".join(device.describe().values())
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# The books' experiments, reproduced",
        "",
        f"{len(records)} experiments, {len(checks)} checks: "
        + ", ".join(f"{count} {text}" for text, count in counts.items())
        + f". Seed {options.seed}, device {device.name} ({hardware}), {found}, "
        f"{sum(record['seconds'] for _, record in records):.0f} s in all"
        + (", quick: nothing that needs real training is judged." if options.quick else "."),
        "",
        "`make reproduce` writes this page anew.",
    ]
    for book, title in BOOKS.items():
        lines += ["", f"## {title}", ""]
        lines += ["| Experiment | What | Book | Band | Measured | |", "|---|---|---|---|---|---|"]
        for path, record in records:
            if path.parent.name != book:
                continue
            for check in record["checks"]:
                state = {True: PASS, False: FAIL, None: UNJUDGED}[check["passed"]]
                cells = [check[key] for key in ("what", "book", "band", "measured")]
                row = " | ".join(cell.replace("|", "\\|") for cell in cells)
                lines.append(f"| [{path.stem}](#{path.stem}) | {row} | {state} |")
        lines += ["", "### Pictures"]
        for path, record in records:
            if path.parent.name == book and record["picture"]:
                lines += ["", f'<a name="{path.stem}"></a>', f"#### {path.stem}", ""]
                lines += [record["question"], "", f"![{path.stem}]({record['picture']})"]
    return "\n".join(lines) + "\n"


def answer(options: argparse.Namespace) -> None:
    """Run, and write the page."""
    records = []
    for path in scripts(options.names):
        record = perform_script(path, options)
        records.append((path, record))
        state = "pass" if record["passed"] else "FAIL"
        print(f"{state}  {record['seconds']:7.1f} s  {path.stem}", flush=True)
    write_text(options.out / "README.md", page(records, options))
    failed = [path.stem for path, record in records if not record["passed"]]
    print(f"{len(records) - len(failed)} of {len(records)} passed; see {options.out / 'README.md'}")
    if failed:
        print(f"failed: {', '.join(failed)}")
        sys.exit(FAILED)


def main() -> None:
    """Take the flags and answer."""
    script = lab_script(__doc__)
    script.add_argument("names", nargs="*", help="only experiments whose names hold one of these")
    script.run(answer)


if __name__ == "__main__":
    main()
