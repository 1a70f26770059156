"""Do two commits of xpnet compute the same numbers, to the bit?

    python scripts/compare_commits.py main .
    python scripts/compare_commits.py HEAD~3 HEAD --only "optimizers/*Adam" --out runs/compare

It is the safety net of a refactoring. Both commits are copied into a temporary directory, which is
removed at the end; a checkout may stand for a commit, so that "." is the working tree as it is now.
The same cases, scripts/_compare_cases.py, are then run on both, one side after the other, each in a
process of its own with the same Python and the same settings of the matrix library: every network
with every optimizer, the options of training, both engines of the CPU, runs that are stopped and go
on, the command line, the source text and the launches of the GPU's kernels, and what these kernels
compute on this processor. Where parts of xpnet have moved, scripts/_compare_places.py knows.

A case is what one such run gives: arrays, of which dtype, shape, order and bits count but not the
names, and texts. The table shows the first eight digits of their SHA-256 where both sides have the
same, and otherwise the largest relative differences of an array,

    norm = |new - old| / max(|old|, |new|)      max = the same with largest numbers in place of | |

Of an array that is nothing but rounding, such as a bias before batch normalization, no digit is
right, and its difference can be as large as itself.

The exit code is 0 if all cases are equal to the bit, or within --tolerance; 1 if one is not, fails
on either side, can no longer be run or can be run on neither side; and 2 if there is nothing that
could be compared. Cases that only the new side has are counted, and are no failure.
"""

import argparse
import fnmatch
import hashlib
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any, NoReturn
from zipfile import ZipFile

import numpy as np

# Nothing of xpnet: what is compared here may be in pieces.
from _compare_cases import CASES

DIFFERENT, USAGE_ERROR, INTERRUPTED = 1, 2, 130
SCRIPTS = Path(__file__).resolve().parent
THREADS = "2"
SETTINGS = {
    "OPENBLAS_NUM_THREADS": THREADS,
    "OMP_NUM_THREADS": THREADS,
    "MKL_NUM_THREADS": THREADS,
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "agg",
}
"""The settings of both sides. Without the first, a product's threads depend on the machine."""
SHOWN = 90
"""Characters of a line that differs, of which a third are before the difference."""
EQUAL, DIFFERS, FAILED = "equal", "differs", "failed"
NOT_BEFORE, NO_LONGER, NEITHER = "not there before", "no longer there", "on neither side"


class CannotCompareError(Exception):
    """There is nothing to compare; the message says why."""


@dataclass(frozen=True)
class Side:
    """A commit, checked out."""

    name: str
    commit: str
    directory: Path


@dataclass(frozen=True)
class Group:
    """The arrays or texts of a case that belong together, such as its weights, on both sides."""

    old: str
    """SHA-256 of all of them."""
    new: str
    norm: float = 0.0
    largest: float = 0.0
    note: str = ""
    """The difference, where no number can say it."""
    texts: dict[str, list[str]] = field(default_factory=dict)
    """SHA-256 of each text, by side."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case."""

    name: str
    kind: str
    groups: dict[str, Group] = field(default_factory=dict)
    note: str = ""
    seconds: tuple[float | None, float | None] = (None, None)

    @property
    def largest(self) -> float:
        """The largest relative difference; infinite where something else than numbers differs."""
        differences = (math.inf if g.note else max(g.norm, g.largest) for g in self.groups.values())
        return max(differences, default=0.0) if self.kind in (EQUAL, DIFFERS) else math.inf

    def passes(self, tolerance: float) -> bool:
        """Tell if a refactoring may leave it at that."""
        # At 0 bits count, and 0 and -0 are not the same.
        within = self.kind == DIFFERS and tolerance > 0 and self.largest <= tolerance
        return within or self.kind in (EQUAL, NOT_BEFORE)


# Checking out, and running


def checked_out(name: str, place: Path) -> Side:
    """Copy a commit, or a checkout as it is now, to where nobody changes it."""
    if (Path(name) / "xpnet").is_dir():
        changed = _git("status", "--porcelain", at=name)
        commit = _git("rev-parse", "HEAD", at=name) or "no commit"
        for part in ("xpnet", "tests"):
            if (source := Path(name) / part).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, place / part, ignore=ignored)
        return Side(name, f"{commit}, with changes" if changed else commit, place)
    commit = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    top = _git("rev-parse", "--show-toplevel")
    # Unlike a worktree, an archive leaves nothing in the repository, whatever ends this process.
    archive = place.with_suffix(".zip")
    if not (commit and top) or _git("archive", "--output", archive, commit, at=top) is None:
        raise CannotCompareError(
            f"{name} is neither a commit of the repository here nor a checkout of xpnet; name a "
            "branch, a tag, a hash, or a directory such as ."
        )
    with ZipFile(archive) as file:
        file.extractall(place)
    return Side(name, commit, place)


def _git(*arguments: str | Path, at: str | Path = ".") -> str | None:
    """Ask git; None if it cannot answer."""
    try:
        ran = subprocess.run(["git", "-C", at, *arguments], capture_output=True, text=True)
    except OSError as error:
        raise CannotCompareError(f"git cannot be run: {error.strerror}; install it") from error
    return None if ran.returncode else ran.stdout.strip()


def run(side: Side, names: Sequence[str], out: Path) -> None:
    """Perform cases on a side, into NUMBER.npz and NUMBER.json of a directory.

    A case that ends its process is a failure of that case, and those after it are still performed.
    """
    out.mkdir()
    for name in ("kernels", "temporary"):
        (out / name).mkdir()
    environment = os.environ | SETTINGS
    environment |= {
        "PYTHONPATH": str(side.directory),
        "TMPDIR": str(out / "temporary"),
        "XPNET_COMPARE_KERNELS": str(out / "kernels"),
    }
    command = [sys.executable, str(SCRIPTS / "_compare_side.py"), str(side.directory), str(out)]
    first = 0
    while first < len(names):
        given = json.dumps({"first": first, "names": names[first:]})
        code, said = _ended(command, given, environment)
        done = sum((out / f"{number}.json").exists() for number in range(len(names)))
        if done == len(names):
            return
        last = (said.strip() or "it said nothing").splitlines()[-1]
        if not (out / "ready").exists():
            raise CannotCompareError(f"{side.name} cannot be run: {last}")
        error = f"the process ended with exit code {code}: {last}"
        (out / f"{done}.json").write_text(json.dumps({"error": error}), encoding="utf-8")
        first = done + 1


def _ended(command: Sequence[str], given: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """The exit code of a process and its errors; whatever ends this one ends all that it began."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stderr=pipe, env=environment, text=True, start_new_session=True
    ) as process:
        try:
            _, said = process.communicate(given)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, said


# Comparing


def compare(name: str, number: int, old: Path, new: Path) -> Outcome:
    """Compare what both sides have left of a case."""
    records = [
        json.loads((side / f"{number}.json").read_text(encoding="utf-8")) for side in (old, new)
    ]
    if any("error" in record for record in records):
        said = [record.get("error") or record.get("missing", "no error") for record in records]
        return Outcome(name, FAILED, note=f"old: {said[0]}; new: {said[1]}")
    missing = [record["missing"] for record in records if "missing" in record]
    if missing:
        first = NOT_BEFORE if "missing" in records[0] else NO_LONGER
        kind = NEITHER if len(missing) == len(records) else first
        return Outcome(name, kind, note="; ".join(dict.fromkeys(missing)))
    items = [
        _items(side / f"{number}.npz", record["texts"])
        for side, record in zip((old, new), records, strict=True)
    ]
    groups = {
        group: _group(*(side.get(group, []) for side in items)) for group in items[0] | items[1]
    }
    seconds = records[0]["seconds"], records[1]["seconds"]
    same = all(group.old == group.new for group in groups.values())
    return Outcome(name, EQUAL if same else DIFFERS, groups, seconds=seconds)


def _items(path: Path, texts: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Arrays and texts of a case by group."""
    with np.load(path) as file:
        keys = (key.partition("/")[0] for key in file.files)
        arrays = {
            group: [file[f"{group}/{number}"] for number in range(count)]
            for group, count in Counter(keys).items()
        }
    return arrays | texts


def _group(old: list[Any], new: list[Any]) -> Group:
    before, after = (
        hashlib.sha256("".join(map(_sha256, side)).encode()).hexdigest() for side in (old, new)
    )
    is_text = any(isinstance(item, str) for item in (*old, *new))
    by_side = ("old", old), ("new", new)
    texts = {name: [_sha256(text) for text in side] for name, side in by_side} if is_text else {}
    if before == after:
        return Group(before, after, texts=texts)
    if is_text:
        return Group(before, after, note=_text_difference(old, new), texts=texts)
    forms = [[f"{array.dtype} {array.shape}" for array in side] for side in (old, new)]
    if forms[0] != forms[1]:
        pairs = enumerate(zip_longest(*forms, fillvalue="nothing"))
        number, (was, now) = next((k, pair) for k, pair in pairs if pair[0] != pair[1])
        return Group(before, after, note=f"array {number} was {was} and is {now}")
    differences = [relative_difference(a, b) for a, b in zip(old, new, strict=True)]
    norm, largest = (max(values) for values in zip(*differences, strict=True))
    if not math.isfinite(norm):
        return Group(before, after, note="numbers that are not finite differ")
    return Group(before, after, norm, largest)


def _sha256(item: Any) -> str:
    found = hashlib.sha256()
    if isinstance(item, str):
        found.update(item.encode())
    else:
        found.update(f"{item.dtype.str} {item.shape}".encode())
        found.update(np.ascontiguousarray(item).data)
    return found.hexdigest()


def relative_difference(old: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Compare norms and largest numbers, from 0 to 2; infinite where what differs is not finite."""
    a, b = (array.astype(np.float64).ravel() for array in (old, new))
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    if alike.all():
        return 0.0, 0.0
    if not (np.isfinite(a[~alike]).all() and np.isfinite(b[~alike]).all()):
        return math.inf, math.inf
    finite = np.isfinite(a)
    a, b = a[finite], b[finite]
    largest = max(float(np.max(np.abs(side))) for side in (a, b))
    a, b = a / largest, b / largest  # squares of small numbers would vanish
    d = a - b
    norm = np.linalg.norm(d) / max(np.linalg.norm(a), np.linalg.norm(b))
    return float(norm), float(np.max(np.abs(d)))


def _text_difference(old: list[str], new: list[str]) -> str:
    """The first line that is another, and how many texts are."""
    pairs = list(zip_longest(old, new, fillvalue=""))
    different = [number for number, (a, b) in enumerate(pairs) if a != b]
    a, b = (text.splitlines() for text in pairs[different[0]])
    lines = enumerate(zip_longest(a, b, fillvalue=""), start=1)
    line, both = next((k, pair) for k, pair in lines if pair[0] != pair[1])
    equal = next(k for k, pair in enumerate(zip_longest(*both)) if pair[0] != pair[1])
    start = max(0, equal - SHOWN // 3)
    was, now = (f"{'...' * (start > 0)}{text[start:][:SHOWN].strip()}" for text in both)
    return (
        f"{len(different)} of {len(pairs)} texts, first number {different[0]}, line {line}: "
        f"`{was}` is now `{now}`"
    )


# Reporting


def summary(outcomes: Sequence[Outcome], tolerance: float) -> str:
    """Say all in one line."""
    count = Counter(outcome.kind for outcome in outcomes)
    numeric = [o for o in outcomes if o.kind == DIFFERS and math.isfinite(o.largest)]
    differ = f"{count[DIFFERS]} differ"
    if numeric:
        worst = max(numeric, key=lambda outcome: outcome.largest)
        differ += f" (largest {worst.largest:.2g}: {worst.name})"
        if tolerance:
            within = sum(outcome.passes(tolerance) for outcome in numeric)
            differ += f", {within} of them within {tolerance:g}"
    parts = [f"{count[EQUAL]} equal to the bit", differ]
    parts += [
        f"{count[kind]} {kind}" for kind in (FAILED, NOT_BEFORE, NO_LONGER, NEITHER) if count[kind]
    ]
    return f"{len(outcomes)} cases: {', '.join(parts)}"


def page(record: dict[str, Any], outcomes: Sequence[Outcome]) -> str:
    """Write the tables, by section, and the summary."""
    sides = [f"{record[side]['name']} ({record[side]['commit']})" for side in ("old", "new")]
    lines = [
        f"# {sides[0]} and {sides[1]}",
        "",
        f"{record['seconds']:.0f} s on {record['machine']}, Python {record['python']}, NumPy "
        f"{record['numpy']}.",
    ]
    for section, found in groupby(outcomes, lambda outcome: outcome.name.partition("/")[0]):
        rows = list(found)
        groups = list(dict.fromkeys(group for row in rows for group in row.groups)) or ["result"]
        lines += ["", f"## {section}", "", f"| case | {' | '.join(groups)} |"]
        lines += ["|---" * (1 + len(groups)) + "|", *(_row(row, groups) for row in rows)]
    return "\n".join([*lines, "", f"**{record['summary']}**", ""])


def _row(outcome: Outcome, groups: Sequence[str]) -> str:
    cells = [_cell(outcome.groups.get(group)) for group in groups]
    if not outcome.groups:
        cells[0] = f"**{outcome.kind}**: {outcome.note}" if outcome.note else f"**{outcome.kind}**"
    cells = [outcome.name.partition("/")[2], *cells]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(group: Group | None) -> str:
    if group is None:
        return ""
    if group.old == group.new:
        return f"`{group.old[:8]}`"
    what = group.note or f"norm {group.norm:.2g}, max {group.largest:.2g}"
    return f"**{what}** (`{group.old[:8]}`, `{group.new[:8]}`)"


def compare_sides(
    old_name: str, new_name: str, names: Sequence[str]
) -> tuple[list[Side], list[Outcome]]:
    """Check both out, run both, compare."""
    with tempfile.TemporaryDirectory(prefix="compare-") as directory:
        place = Path(directory)
        sides = [
            checked_out(name, place / f"checkout-{kind}")
            for kind, name in (("old", old_name), ("new", new_name))
        ]
        results = [place / kind for kind in ("old", "new")]
        for side, out in zip(sides, results, strict=True):
            begin = time.perf_counter()
            run(side, names, out)
            seconds = time.perf_counter() - begin
            print(
                f"{side.name}: {len(names)} cases in {seconds:.0f} s", file=sys.stderr, flush=True
            )
        return sides, [compare(name, number, *results) for number, name in enumerate(names)]


def _plain(value: Any) -> Any:
    """Make it fit for JSON, which has no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write(out: Path, text: str, record: dict[str, Any]) -> list[Path]:
    """Write the page and the record, side by side."""
    paths = [out.with_suffix(".md"), out.with_suffix(".json")]
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, contents in zip(paths, (text, json.dumps(record, indent=1) + "\n"), strict=True):
        path.write_text(contents, encoding="utf-8")
    return paths


def parser() -> argparse.ArgumentParser:
    """Make the command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("old", nargs="?", help="The commit, or checkout, that is right.")
    made.add_argument("new", nargs="?", help="The commit, or checkout, that should do the same.")
    made.add_argument(
        "--only",
        action="append",
        metavar="PATTERN",
        help="Run the cases whose names hold this; * and ? stand for any characters. It can be "
        "given more than once.",
    )
    made.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        help="Accept relative differences up to this one, by either measure. At 0, which is the "
        "default, every bit counts.",
    )
    made.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="Write the table to FILE.md, and to FILE.json a record with all SHA-256 in full.",
    )
    made.add_argument("--list", action="store_true", help="Show the names of the cases, and stop.")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print and write; the exit code tells whether all is the same."""
    commands = parser()
    options = commands.parse_args(arguments)

    def fail(message: str) -> NoReturn:
        commands.exit(USAGE_ERROR, f"{commands.prog}: error: {message}\n")

    patterns = options.only or ["*"]
    names = [n for n in CASES if any(fnmatch.fnmatchcase(n, f"*{p}*") for p in patterns)]
    if not names:
        fail(f"no case is called {' or '.join(patterns)}; --list shows all")
    if options.list:
        print("\n".join(names))
        return
    if options.new is None:
        fail("two commits are needed, OLD and NEW; . is the working tree")
    if not (math.isfinite(options.tolerance) and options.tolerance >= 0):
        fail(f"--tolerance must be a number from 0, got {options.tolerance}")
    # As by Ctrl-C, what is in the temporary directory is removed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    begin = time.perf_counter()
    try:
        sides, outcomes = compare_sides(options.old, options.new, names)
    except CannotCompareError as error:
        fail(str(error))
    except KeyboardInterrupt:
        commands.exit(INTERRUPTED, f"{commands.prog}: interrupted\n")
    record: dict[str, Any] = {
        "summary": summary(outcomes, options.tolerance),
        **{
            kind: {"name": side.name, "commit": side.commit}
            for kind, side in zip(("old", "new"), sides, strict=True)
        },
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "seconds": round(time.perf_counter() - begin, 1),
        "tolerance": options.tolerance,
        "settings": SETTINGS,
        "cases": [
            asdict(outcome)
            | {"largest": _plain(outcome.largest), "passes": outcome.passes(options.tolerance)}
            for outcome in outcomes
        ],
    }
    text = page(record, outcomes)
    if options.out is not None:
        write(options.out, text, record)
    print(text)
    if not all(outcome.passes(options.tolerance) for outcome in outcomes):
        sys.exit(DIFFERENT)


if __name__ == "__main__":
    main()
