"""What does xpnet do on this GPU: is it right, how fast is it, and where does its time go?

    python scripts/gpu_report.py --minutes 9
    python scripts/gpu_report.py --part tiles --part deep
    python scripts/gpu_report.py --stand-in

For a GPU that is there for a few minutes. It does not need xpnet to be installed, but NumPy, CuPy
and array-api-compat, and names what else is missing and what that leaves out. MNIST is taken from
XPNET_DATA_DIR. The device is cuda, which auto means too, or cuda:N.

The report has parts, each with an expected time on an H200, that of PyTorch's and JAX's compilers
included. They are estimates, none of them has been measured:

    agreement              120 s  the tests that need a GPU
    steps-two-layer-net     45 s  steps on batches of 100 beside PyTorch and JAX
    steps-simple-convnet    60 s
    steps-deep-convnet      75 s
    accuracy                60 s  seconds of training that reach 97 and 99 % on MNIST
    kernels                 90 s  every launch of a step by itself
    bandwidth               10 s  im2col beside a copy
    batches-10              90 s  steps on batches of 10 and 1,000
    batches-1000            90 s
    deep                    30 s  DeepConvNet for 20 epochs
    precision-tf32          40 s  steps with products of lower precision
    precision-bfloat16      40 s
    tiles-float32           80 s  every product with tiles of other sizes
    tiles-tf32              80 s

They are run in this order, the most telling first. `--part steps` stands for all parts whose names
begin so. All of them together may take --minutes, 9 by default; who has a GPU for 15 minutes says
`--minutes 14`, which leaves one for its start. No part is begun with less time left than it is
expected to take, and one that has not ended after three minutes is killed; what it had found by
then stays.

A part writes its results as it goes, PART.json and PART.md, and README.md has the answers and a
list of all parts. They go to --out, scripts/results/gpu by default, or runs/gpu-report-stand-in for
the stand-in. Another run into the same directory adds its parts to those that are there; a
directory of something else is refused. Exit code 2 if a part failed or was killed, or if there was
none to run.

`--stand-in` tries the report where there is no GPU: with the kernels on the CPU, compiled by g++,
and little of everything. It takes two to three minutes, and its times mean nothing.
"""

import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
sys.path.insert(0, str(SCRIPTS.parent))  # xpnet is beside the scripts, and need not be installed

PACKAGES = ("numpy", "array-api-compat", "click", "filelock", "threadpoolctl", "tqdm")
"""The packages without which there is no report."""

if lacking := [name for name in PACKAGES if find_spec(name.replace("-", "_")) is None]:
    names = " ".join(lacking)
    print(f"gpu_report.py: error: not installed: {names}; pip install {names}", file=sys.stderr)
    sys.exit(2)
else:
    from filelock import FileLock, Timeout

    from _gpu_parts import (
        COLUMNS,
        DONE,
        FAILED,
        OUT_OF_TIME,
        PARTS,
        STAND_IN,
        UNFINISHED,
        Record,
        answer_of,
        answers,
        columns_page,
        hardware,
        load,
        save,
        when,
    )
    from xpnet.arrays import cuda
    from xpnet.bench import report
    from xpnet.data.mnist import find_mnist
    from xpnet.errors import ArgumentError, DataNotFoundError, DeviceError, OutputError, XPNetError
    from xpnet.files.atomic import remove_unfinished, write_text
    from xpnet.report import plots
    from xpnet.report.script import Script

OUT, OUT_OF_STAND_IN = Path("scripts/results/gpu"), Path("runs/gpu-report-stand-in")
PROGRAM = "import _gpu_parts; _gpu_parts.main()"
"""The program that runs a part: no file, which the processes that it starts would read again."""
LIMIT = 180
"""Seconds after which a part is killed."""
TOLD = 8
"""Lines that are kept of what a part says when it fails."""
TERMINATED = 128 + signal.SIGTERM
PAGE, LOCK = "README.md", ".lock"
MARK = "`python scripts/gpu_report.py` writes this page."
"""The last line of `PAGE`, by which a directory is known to hold a report."""


def chosen(names: Sequence[str]) -> list[str]:
    """Choose the parts of these names, in their order; all if none is named."""
    wanted = set()
    for name in names:
        found = {part for part in PARTS if part == name or part.startswith(f"{name}-")}
        if not found:
            raise ArgumentError(
                f"there is no part {name!r}; use {', '.join(PARTS)}, or what several of them "
                f"begin with: {', '.join(beginnings())}"
            )
        wanted |= found
    return [part for part in PARTS if part in wanted or not names]


def beginnings() -> list[str]:
    """List what stands before the first hyphen of several names."""
    first = [name.partition("-")[0] for name in PARTS]
    return [name for name in dict.fromkeys(first) if first.count(name) > 1]


def device_of(name: str, stand_in: bool) -> str:
    """Find the GPU that is meant by the flag `--device`.

    Raises
    ------
    ArgumentError
        It means none, or more than the one that there is a stand-in for.
    """
    name = "cuda" if name == "auto" else name
    if not re.fullmatch(r"cuda(:\d+)?", name):
        raise ArgumentError(
            f"the report is about a GPU, got --device {name}; use cuda, cuda:N, or "
            "--stand-in to try it without one"
        )
    if stand_in and name not in ("cuda", "cuda:0"):
        raise ArgumentError(f"there is one stand-in, got --device {name}; leave it out")
    return name


def absences(stand_in: bool, device: str = "cuda") -> tuple[list[str], dict[str, str]]:
    """List what is missing, a line each, and why which parts are left out.

    Raises
    ------
    DeviceError
        There is no such GPU, or nothing that could stand in for it.
    """
    if stand_in:
        from _stand_in import missing

        if (problem := missing()) is not None:
            raise DeviceError(f"no stand-in for a GPU: {problem}")
    elif not (found := cuda.diagnose()).usable:
        raise DeviceError(
            f"no GPU: {found.problem}; `python -m xpnet info` says what to do, and --stand-in "
            "tries the report without one"
        )
    elif int(device.partition(":")[2] or 0) >= len(found.devices):
        raise DeviceError(
            f"there is no {device}; the GPUs are cuda:0 to cuda:{len(found.devices) - 1}"
        )
    lines, left_out = [], {}

    def without(why: str, names: Sequence[str]) -> None:
        lines.append(f"{why}: {' and '.join(names)} {'is' if len(names) == 1 else 'are'} left out")
        left_out.update(dict.fromkeys(names, why))

    for package in ("pytest", "hypothesis"):
        if find_spec(package) is None:
            without(f"{package} is not installed", [n for n, part in PARTS.items() if part.tests])
    if find_spec("xdist") is None:
        lines.append("pytest-xdist is not installed: the tests run in one process")
    for package in () if stand_in else ("torch", "jax"):
        if find_spec(package) is None:
            lines.append(f"{package} is not installed: its contestants are left out")
    if not stand_in and (problem := mnist_problem()) is not None:
        without(f"no MNIST ({problem})", [n for n, part in PARTS.items() if part.mnist])
    if not plots.available():
        lines.append("matplotlib is not installed: there are no pictures")
    return lines, left_out


def mnist_problem() -> str | None:
    """Tell why MNIST cannot be had, or None if it can."""
    try:
        find_mnist(download=False)
    except DataNotFoundError as error:
        return str(error)
    return None


def records_of(out: Path, stand_in: bool) -> dict[str, Record]:
    """Load the records of an earlier report, none if the directory is empty or does not exist.

    Raises
    ------
    OutputError
        The directory holds something else, or a damaged record.
    ArgumentError
        It holds a report of the other kind, on a GPU or with its stand-in.
    """
    try:
        names = sorted(entry.name for entry in out.iterdir() if entry.name != LOCK)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written to: {error.strerror or error}; choose another --out"
        ) from error
    # A report that was killed at its very beginning has a record, and no page yet.
    if names and not marked(out / PAGE) and not any(holds(out, name) for name in PARTS):
        raise OutputError(
            f"{out} is not empty ({names[0]}) and holds no report on a GPU; choose another --out"
        )
    records = {name: record for name in PARTS if (record := load(out, name)) is not None}
    if any(record["stand_in"] != stand_in for record in records.values()):
        kind = "a GPU" if stand_in else "the stand-in"
        raise ArgumentError(f"{out} holds a report on {kind}; choose another --out")
    return records


def holds(out: Path, name: str) -> bool:
    """Tell if there is a record of this part."""
    try:
        return load(out, name) is not None
    except XPNetError:
        return False


def marked(page: Path) -> bool:
    """Tell if a file is the first page of a report."""
    try:
        return MARK in page.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Make the directory and keep other reports out of it.

    Raises
    ------
    OutputError
        It is in use, or cannot be created or written.
    """
    report.prepare_directory(out)
    try:
        lock = FileLock(out / LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"another report is being written to {out}; wait for it, or choose another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()


def begun(name: str, options: Any) -> Record:
    """Write the record of a part that begins, in place of one that there may be."""
    record: Record = {
        "part": name,
        "state": UNFINISHED,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seconds": 0.0,
        "problem": [],
        "stand_in": options.stand_in,
        "machine": {},
        "result": {},
    }
    save(options.out, record)
    return record


def perform(name: str, options: Any, limit: float, scratch: Path) -> Record:
    """Run a part that has begun, in a process of its own, and write how it ended.

    Parameters
    ----------
    limit : seconds after which it is killed, with all the processes that it has started
    scratch : directory for what parts share, and for temporary files
    """
    paths = [str(SCRIPTS.parent), str(SCRIPTS), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "TMPDIR": str(scratch),
    }
    command = [
        *(sys.executable, "-P", "-c", PROGRAM, name),
        *("--out", str(options.out), "--scratch", str(scratch)),
        *("--device", options.device, "--seconds", str(limit)),
        *(["--stand-in"] if options.stand_in else []),
    ]
    errors, begin = scratch / "errors.txt", time.monotonic()
    with errors.open("w", encoding="utf-8") as text:
        process = subprocess.Popen(command, stderr=text, env=environment, process_group=0)
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            remove_unfinished(options.out, f"{name}.*")
    record = load(options.out, name) or begun(name, options)
    record["seconds"] = time.monotonic() - begin
    record["state"] = OUT_OF_TIME if code is None else FAILED if code else DONE
    if record["state"] == FAILED:
        said = errors.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line for line in said if line.strip()]
        record["problem"] = lines[-TOLD:] or [f"its process ended with exit code {code}"]
    save(options.out, record)
    return record


def index(out: Path, absent: Sequence[str], others: Mapping[str, str], stand_in: bool) -> str:
    """Write the first page: the answers, then all parts, those of earlier runs among them.

    Parameters
    ----------
    absent : what this run lacks
    others : why there is no answer of which parts
    """
    records = {name: record for name in PARTS if (record := load(out, name)) is not None}
    what = "a stand-in for a GPU" if stand_in else "a GPU"
    lines = [STAND_IN, ""] if stand_in else []
    lines += [f"# What xpnet does on {what}", "", *answers(records, stand_in), ""]
    machines: dict[str, list[str]] = {}
    for name, record in records.items():
        if record["machine"]:
            machines.setdefault(hardware(record["machine"]), []).append(name)
    for told, names in machines.items():
        lines.append(f"- {told}" + (f" ({', '.join(names)})" if len(machines) > 1 else ""))
    if absent:
        lines += ["", "What the last run did without:", "", *(f"- {line}" for line in absent)]
    lines += ["", "| part | question | answer | s | begun |", "|---|---|---|---:|---|"]
    for name, part in PARTS.items():
        title = part.title(stand_in)
        if (record := records.get(name)) is not None:
            cells = [answer_of(record), f"{record['seconds']:.0f}", when(record)]
            lines.append(f"| [{name}]({name}.md) | {title} | {' | '.join(cells)} |")
        else:
            lines.append(f"| {name} | {title} | {others.get(name, 'not asked for')} | | |")
    return re.sub(r"\n{3,}", "\n\n", "\n".join([*lines, "", MARK, ""]))


def answer(options: Any) -> None:
    """Answer all parts that were asked for and for which there is time."""
    if not (math.isfinite(options.minutes) and options.minutes > 0):
        raise ArgumentError(
            f"--minutes must be a number above 0, got {options.minutes:g}; use for instance 9"
        )
    end = time.monotonic() + 60 * options.minutes
    names = chosen(options.part)
    options.device = device_of(options.device, options.stand_in)
    out = options.out or (OUT_OF_STAND_IN if options.stand_in else OUT)
    options.out = out.resolve()
    records_of(out, options.stand_in)
    absent, left_out = absences(options.stand_in, options.device)
    print(*absent, sep="\n", end="\n" if absent else "", flush=True)
    with claimed(out), tempfile.TemporaryDirectory(prefix="xpnet-gpu-report-") as scratch:
        perform_all(names, options, end, absent, left_out, Path(scratch))


def perform_all(
    names: Sequence[str],
    options: Any,
    end: float,
    absent: Sequence[str],
    left_out: dict[str, str],
    scratch: Path,
) -> None:
    """Run one part after the other, and have `PAGE` tell after each how things stand.

    Parameters
    ----------
    end : moment of `time.monotonic` at which all must be over
    absent, left_out : as `absences` has them; here what there is no time for comes to the latter

    Raises
    ------
    XPNetError
        A part failed or was killed, or every part was left out.
    """
    others = dict.fromkeys(names, "not begun")
    bad = []
    first_page = options.out / PAGE

    def list_parts() -> None:
        write_text(options.out / COLUMNS, columns_page(options.stand_in))
        write_text(first_page, index(options.out, absent, others, options.stand_in))

    try:
        for name in names:
            left, needed = end - time.monotonic(), PARTS[name].seconds
            if name not in left_out and left < needed:
                left_out[name] = (
                    f"it is expected to take {needed} s, and {max(0.0, left):.0f} s are left; "
                    f"add it by --part {name}"
                )
            if name in left_out:
                others[name] = f"left out: {left_out[name]}"
                print(f"{name} {others[name]}", flush=True)
            else:
                print(f"{name} ...", flush=True)
                begun(name, options)
                list_parts()
                record = perform(name, options, min(LIMIT, left), scratch)
                print(f"{name}, {record['seconds']:.0f} s: {answer_of(record)}", flush=True)
                bad += [name] if record["state"] != DONE else []
            list_parts()
    except (KeyboardInterrupt, SystemExit):
        list_parts()
        print(f"what was found so far is in {first_page}", flush=True)
        raise
    if bad:
        raise XPNetError(f"not done: {', '.join(bad)}; see {first_page}")
    if all(name in left_out for name in names):
        raise XPNetError(f"nothing was measured: every part was left out; see {first_page}")
    print(f"the report is in {first_page}")


def main() -> None:
    """Run the report; a signal that ends it ends its parts, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    script = Script(__doc__, "device")
    script.add_argument(
        "--part", action="append", default=[], help="its name, again for another; all if left out"
    )
    script.add_argument(
        "--minutes", type=float, default=9, help="that all parts may take, %(default)s by default"
    )
    script.add_argument("--stand-in", action="store_true", help="the CPU in place of a GPU")
    script.run(answer)


if __name__ == "__main__":
    main()
