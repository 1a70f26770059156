"""What does xpnet do on this GPU: is it right, how fast is it, and where does its time go?

    python scripts/gpu_report.py --minutes 9
    python scripts/gpu_report.py --part tiles --part deep
    python scripts/gpu_report.py --stand-in

For a GPU that is there for a few minutes. It needs no installation of xpnet, but of NumPy, CuPy and
array-api-compat, and names what else is missing and what that leaves out. MNIST is taken from
XPNET_DATA_DIR.

The report has parts, each with an expected time on an H200, that of PyTorch's and JAX's compilers
included. They are estimates, nothing of them has been measured:

    agreement              120 s  the tests that need a GPU
    steps-two-layer-net     45 s  steps on batches of 100 beside PyTorch and JAX
    steps-simple-convnet    60 s
    steps-deep-convnet      75 s
    accuracy                60 s  seconds of training until 97 and 99 % on MNIST
    kernels                 40 s  every launch of a step by itself
    bandwidth               10 s  im2col beside a copy
    batches-10              90 s  steps on batches of 10 and 1,000
    batches-1000            90 s
    deep                    30 s  DeepConvNet for 20 epochs
    precision-tf32          40 s  steps with products of lower precision
    precision-bfloat16      40 s
    tiles-float32           80 s  every product with tiles of other sizes
    tiles-tf32              80 s

They are run in this order, the most telling first. `--part steps` stands for all parts whose names
begin so. No part is begun with less time left than it is expected to take, and one that has not
ended after three minutes is killed; what it had found by then stays.

A part writes its results as it goes, PART.json and PART.md, and README.md lists all parts. Another
run into the same directory adds its parts to those that are there. Exit code 2 if a part failed or
was killed.

`--stand-in` tries the report where there is no GPU: with the kernels on the CPU, compiled by g++,
and little of everything. It takes about two minutes, and its times mean nothing.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
sys.path.insert(0, str(SCRIPTS.parent))  # xpnet is beside the scripts, and need not be installed

PACKAGES = ("numpy", "array-api-compat", "click", "filelock", "threadpoolctl", "tqdm")
"""Without which there is no report."""

if lacking := [name for name in PACKAGES if find_spec(name.replace("-", "_")) is None]:
    names = " ".join(lacking)
    print(f"gpu_report.py: error: not installed: {names}; pip install {names}", file=sys.stderr)
    sys.exit(2)
else:
    from _common import Script
    from _gpu_parts import (
        DONE,
        FAILED,
        OUT_OF_TIME,
        PARTS,
        STAND_IN,
        UNFINISHED,
        Record,
        load,
        save,
        when,
    )
    from xpnet.arrays import cuda
    from xpnet.bench import report
    from xpnet.data.mnist import find_mnist
    from xpnet.errors import ArgumentError, DataNotFoundError, DeviceError, XPNetError
    from xpnet.files.atomic import remove_unfinished, write_text
    from xpnet.report import plots

OUT, OUT_OF_STAND_IN = Path("scripts/results/gpu"), Path("runs/gpu-report-stand-in")
PROGRAM = "import _gpu_parts; _gpu_parts.main()"
"""What runs a part: not a file, which the processes that it starts would read again."""
LIMIT = 180
"""Seconds after which a part is killed."""
TOLD = 8
"""Lines that are kept of what a part says when it fails."""
TERMINATED = 128 + signal.SIGTERM


def chosen(names: Sequence[str]) -> list[str]:
    """The parts of these names, in their order; all if none is named."""
    wanted = set()
    for name in names:
        found = {part for part in PARTS if part == name or part.startswith(f"{name}-")}
        if not found:
            raise ArgumentError(f"there is no part {name!r}; use {', '.join(PARTS)}")
        wanted |= found
    return [part for part in PARTS if part in wanted or not names]


def absences(stand_in: bool) -> tuple[list[str], dict[str, str]]:
    """What is missing, a line each, and why which parts are left out.

    Raises
    ------
    DeviceError
        There is no GPU, or nothing that could stand in for it.
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
    """Why MNIST cannot be had, or None if it can."""
    try:
        find_mnist(download=False)
    except DataNotFoundError as error:
        return str(error)
    return None


def begun(name: str, options: Any) -> Record:
    """The record of a part that begins, in place of one that there may be."""
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


def index(out: Path, absent: Sequence[str], others: Mapping[str, str]) -> str:
    """The page that lists all parts, those of earlier runs among them.

    Parameters
    ----------
    absent : what this run lacks
    others : why there is no answer of which parts
    """
    records = {name: record for name in PARTS if (record := load(out, name)) is not None}
    lines = [STAND_IN, ""] if any(record["stand_in"] for record in records.values()) else []
    lines += ["# What xpnet does on a GPU", ""]
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
        if (record := records.get(name)) is not None:
            cells = [answer_of(record), f"{record['seconds']:.0f}", when(record)]
            lines.append(f"| [{name}]({name}.md) | {part.title} | {' | '.join(cells)} |")
        else:
            lines.append(f"| {name} | {part.title} | {others.get(name, 'not asked for')} | | |")
    return "\n".join([*lines, "", "`python scripts/gpu_report.py` writes this page.", ""])


def hardware(machine: Record) -> str:
    """The GPU and what computes on it, in a line that is the same from part to part."""
    gpu, versions = machine["gpu"], machine["versions"]
    capability = gpu.get("compute_capability")
    parts = [
        gpu["gpu"] + (f", compute capability {capability}" if capability else ""),
        *(f"{what} {gpu[what]}" for what in ("driver", "cupy") if what in gpu),
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        machine["machine"],
        machine["system"],
    ]
    return "; ".join(parts)


def answer_of(record: Record) -> str:
    """What a part found, in a cell of a table, after what kept it from finding more."""
    said = PARTS[record["part"]].line(record["result"]) if record["result"] else ""
    if record["state"] != DONE:
        why = {
            FAILED: f"**failed**: {record['problem'][-1] if record['problem'] else ''}",
            OUT_OF_TIME: f"**ended at its limit of {record['seconds']:.0f} s**",
            UNFINISHED: "**has not come to its end**",
        }[record["state"]]
        said = f"{why}; found: {said}" if said else why
    return said.replace("|", "\\|")


def answer(options: Any) -> None:
    """All parts that were asked for and for which there is time."""
    end = time.monotonic() + 60 * options.minutes
    names = chosen(options.part)
    if options.stand_in or options.device == "auto":
        options.device = "cuda"
    if not options.device.startswith("cuda"):
        raise ArgumentError(
            f"the report is about a GPU, got --device {options.device}; use cuda, cuda:N, or "
            "--stand-in to try it without one"
        )
    absent, left_out = absences(options.stand_in)
    print(*absent, sep="\n", end="\n" if absent else "", flush=True)
    out = options.out or (OUT_OF_STAND_IN if options.stand_in else OUT)
    options.out = report.prepare_directory(out).resolve()
    earlier = [record for name in PARTS if (record := load(options.out, name)) is not None]
    if any(record["stand_in"] != options.stand_in for record in earlier):
        kind = "a GPU" if options.stand_in else "the stand-in"
        raise ArgumentError(f"{out} holds a report on {kind}; choose another --out")
    others = dict.fromkeys(names, "not begun")
    bad = []

    def list_parts() -> None:
        write_text(options.out / "README.md", index(options.out, absent, others))

    with tempfile.TemporaryDirectory(prefix="xpnet-gpu-report-") as scratch:
        for name in names:
            left, needed = end - time.monotonic(), PARTS[name].seconds
            if name not in left_out and left < needed:
                left_out[name] = (
                    f"it takes {needed} s and {max(0.0, left):.0f} s are left; "
                    f"add it by --part {name}"
                )
            if name in left_out:
                others[name] = f"left out: {left_out[name]}"
                print(f"{name} {others[name]}", flush=True)
            else:
                print(f"{name} ...", flush=True)
                begun(name, options)
                list_parts()
                record = perform(name, options, min(LIMIT, left), Path(scratch))
                print(f"{name}, {record['seconds']:.0f} s: {answer_of(record)}", flush=True)
                bad += [name] if record["state"] != DONE else []
            list_parts()
    if bad:
        raise XPNetError(f"not done: {', '.join(bad)}; see {options.out}/README.md")
    print(f"the report is in {options.out}/README.md")


def main() -> None:
    """Run the report; a signal that ends it ends its parts, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    script = Script(__doc__, out="", weights=False, data=False)
    script.set_defaults(out=None)
    script.add_argument("--part", action="append", default=[], help="its name; all if left out")
    script.add_argument("--minutes", type=float, default=9, help="that all parts may take")
    script.add_argument("--stand-in", action="store_true", help="the CPU in place of a GPU")
    script.run(answer)


if __name__ == "__main__":
    main()
