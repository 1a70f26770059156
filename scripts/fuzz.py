"""Can a damaged or hostile file do anything but be read or be refused?

    python scripts/fuzz.py --count 20000 --seed 0 --reader idx --reader gzip
    python scripts/fuzz.py --reader idx --seed 0 --first 4711 --count 1

Feeds every reader of outside bytes with small valid files, hostile ones and mutations of both, and
with large files of both kinds. A reader must end within 5 seconds and 512 MiB, with a result or
xpnet's own error; it may not write, connect or run anything. Writes fuzz.json, README.md and the
bytes of every failing input, whose seed and number repeat it. Exit code 1 if there was one.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from _fuzzing import READERS, Reader, Touched, make_input
from xpnet import compiled
from xpnet.bench import machine, report
from xpnet.errors import XPNetError
from xpnet.files.atomic import write_text
from xpnet.report.script import FAILED, Script

MiB = 2**20
DIED = "it died"
SHOWN = 5
"""Failures of a reader that are printed and are on the page; the record has all."""
LINE = 200
"""Characters of a line of a problem; a name can be long."""


@dataclass(frozen=True)
class Limits:
    """Limits of what one input may take."""

    seconds: float = 5
    """Seconds of processor time."""
    mib: int = 512
    """MiB of memory: of what is in use, and of what was asked for."""
    patience: float = 30
    """Seconds until a process that says nothing is ended: other programs may keep it waiting."""
    starting: float = 120
    """The same while it imports what it needs and makes its files."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of an input."""

    number: int
    end: str
    """"accepted", the class of xpnet's error, or "failed"."""
    seconds: float
    problem: str = ""
    mib: int = 0
    """MiB of memory that the process had at most more than before."""


@dataclass
class Tally:
    """A tally of what came of all inputs of a reader."""

    reader: str
    inputs: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=lambda: {"number": -1, "seconds": 0.0})
    peak_mib: int = 0
    """MiB that an input took at most."""
    large: list[dict[str, Any]] = field(default_factory=list)
    """The large files: what they are, what came of them, seconds and MiB."""

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.inputs += 1
        if outcome.number < 0:
            about = READERS[self.reader].large[outcome.number].name
            self.large.append({"file": about, **asdict(outcome)})
        self.peak_mib = max(self.peak_mib, outcome.mib)
        if outcome.seconds > self.slowest["seconds"]:
            self.slowest = {"number": outcome.number, "seconds": outcome.seconds}
        if outcome.end == "accepted":
            self.accepted += 1
        elif outcome.end == "failed":
            self.failures.append({"number": outcome.number, "problem": outcome.problem})
        else:
            self.refused[outcome.end] = self.refused.get(outcome.end, 0) + 1


class Guard:
    """Stops whatever this process does to the world while the guard is up."""

    FORBIDDEN = (
        "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty", "os.link", "os.mkdir",
        "os.posix_spawn", "os.putenv", "os.remove", "os.rename", "os.rmdir", "os.spawn",
        "os.symlink", "os.system", "os.truncate", "os.utime", "pickle.find_class", "shutil.",
        "socket.bind", "socket.connect", "socket.getaddrinfo", "sqlite3.connect",
        "subprocess.Popen", "tempfile.",
    )  # fmt: skip
    """Beginnings of Python's audit events."""
    WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def __init__(self) -> None:
        self._up = False
        if compiled.usable():  # a module that is imported later runs code to define its tuples
            import_module("xpnet.engine.cpu.fast")
        sys.addaudithook(self._look)

    def _look(self, event: str, details: tuple[Any, ...]) -> None:
        if not self._up:
            return
        writes = event == "open" and isinstance(details[2], int) and details[2] & self.WRITING
        runs = event == "exec" and getattr(details[0], "co_filename", "") == "<string>"
        if (writes or runs or event.startswith(self.FORBIDDEN)) and not _compiles():
            raise Touched(f"{event} {ascii(details)[:LINE]}")

    @contextmanager
    def up(self) -> Iterator[None]:
        """Open a context in which it looks."""
        self._up = True
        try:
            yield
        finally:
            self._up = False


def _compiles() -> bool:
    """Tell whether numba is at work, which writes and runs code, and keeps what it has compiled."""
    frame = sys._getframe()
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        if frame.f_globals.get("__name__", "").partition(".")[0] in ("numba", "llvmlite"):
            return True
    return False


def judge(
    reader: Reader, make: Callable[[], bytes], number: int, guard: Guard, limits: Limits
) -> Outcome:
    """Read the bytes, from a file in this directory, and say what came of it."""
    path = Path("input")
    path.write_bytes(make())
    digest, before = _digest(path), set(Path().iterdir())
    end, problem = "accepted", ""
    begin = time.process_time()
    with _room(limits.mib) as used:
        try:
            with guard.up():
                reader.read(path)
        except XPNetError as error:
            end = type(error).__name__
            # Readers may take any error of the libraries below them for damage, but not this one.
            problem = "it ran out of memory" if MemoryError in _causes(error) else ""
        except Touched as error:
            problem = f"it was about to do something: {error}"
        except BaseException as error:
            lines = "".join(traceback.format_exception(error)[-4:]).splitlines()
            problem = "\n".join(line[:LINE] for line in lines)
    seconds = time.process_time() - begin
    if set(Path().iterdir()) != before or _digest(path) != digest:
        problem = problem or "it altered files"
    if seconds > limits.seconds:
        problem = problem or f"it took {seconds:.1f} s"
    if used[0] > limits.mib:
        problem = problem or f"it took {used[0]} MiB"
    return Outcome(number, "failed" if problem else end, seconds, problem, used[0])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _room(mib: int) -> Iterator[list[int]]:
    """Let this process ask for so many MiB more; the list tells what it had at most, later on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = machine.memory()["now"] or 0
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size * resource.getpagesize() + mib * MiB, hard))
    used = [0]
    try:
        yield used
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        used[0] = max(0, (machine.memory()["peak"] or 0) - before)


def _causes(error: BaseException | None) -> set[type[BaseException]]:
    """The classes of an error and of those that it came from."""
    found = set()
    while error is not None:
        found |= set(type(error).__mro__)
        error = error.__cause__ or error.__context__
    return found


def child(
    reader: Reader, seed: int, numbers: range, limits: Limits, directory: str, pipe: Connection
) -> None:
    """Judge the inputs of those numbers, in a process of its own."""
    os.chdir(directory)
    sys.dont_write_bytecode = True
    guard = Guard()
    valid = reader.valid()
    files = [*valid, *reader.hostile()]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    for number in numbers:
        good, bad = number < len(valid), len(valid) <= number < len(files)
        make = partial(make_input, reader.name, files, seed, number)
        if number < 0:
            make = reader.large[number].make
            good, bad = reader.large[number].read, not reader.large[number].read
        outcome = judge(reader, make, number, guard, limits)
        if good and outcome.end not in ("accepted", "failed"):
            outcome = replace(outcome, end="failed", problem="it refused a valid file")
        if bad and outcome.end == "accepted":
            outcome = replace(outcome, end="failed", problem="it accepted a hostile file")
        pipe.send(asdict(outcome))


def attack(reader: Reader, seed: int, numbers: range, limits: Limits = Limits()) -> Tally:
    """Judge all inputs; one that takes its process with it is a failure, and the rest goes on."""
    tally, ready = Tally(reader.name), False
    context = multiprocessing.get_context("spawn")
    while left := numbers[tally.inputs :]:
        with tempfile.TemporaryDirectory() as directory:
            here, there = context.Pipe(duplex=False)
            process = context.Process(
                target=child, args=(reader, seed, left, limits, directory, there)
            )
            process.start()
            there.close()
            ready, problem = _listen(here, tally, len(left), limits)
            if problem and problem != DIED:
                process.kill()
            process.join()
            here.close()
        if problem == DIED:
            problem = f"the process ended with exit code {process.exitcode}"
        if problem and not ready:
            raise RuntimeError(f"{reader.name}: {problem} before the first input")
        if problem:
            tally.add(Outcome(numbers[tally.inputs], "failed", 0, problem))
    return tally


def _listen(pipe: Connection, tally: Tally, count: int, limits: Limits) -> tuple[bool, str]:
    """Count what a process reports; whether it began, and what went wrong with it, or nothing."""
    patience = limits.starting
    for message in range(1 + count):
        if not pipe.poll(patience):
            return message > 0, f"no end within {patience:g} s"
        try:
            received = pipe.recv()
        except EOFError:
            return message > 0, DIED
        if message:
            tally.add(Outcome(**received))
        patience = limits.patience
    return True, ""


def keep(tally: Tally, seed: int, out: Path) -> None:
    """Write the bytes of failing inputs, and note where they are and what repeats them."""
    reader = READERS[tally.reader]
    with tempfile.TemporaryDirectory() as directory, _working_in(directory):
        files = [*reader.valid(), *reader.hostile()]
    for failure in tally.failures:
        number = failure["number"]
        failure["repeat"] = (
            f"python scripts/fuzz.py --reader {reader.name} --seed {seed} "
            f"--first {number} --count 1"
        )
        if number < 0:  # which has a name, and needs no copy
            failure["file"] = reader.large[number].name
            continue
        failure["file"] = f"{reader.name}-{seed}-{number}.bin"
        (out / failure["file"]).write_bytes(make_input(reader.name, files, seed, number))


@contextmanager
def _working_in(directory: str) -> Iterator[None]:
    kept = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(kept)


def page(record: dict[str, Any]) -> str:
    """Write the record for a reader."""
    limits, where = record["limits"], record["machine"]
    found = machine.listed_versions(where)
    failures = sum(len(tally["failures"]) for tally in record["readers"])
    lines = [
        "# Damaged and hostile files",
        "",
        f"{sum(tally['inputs'] for tally in record['readers'])} inputs, {failures} failures. "
        f"Seed {record['seed']}, at most {limits['seconds']:g} s of processor time and "
        f"{limits['mib']} MiB an input; "
        f"{record['seconds']:.0f} s in all on {where['machine']}, {found}.",
        "",
        "`make fuzz` writes this page anew.",
        "",
        "| Reader | Inputs | Accepted | Refused | Failed | Slowest | MiB at most |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for tally in record["readers"]:
        refused = ", ".join(f"{count} {name}" for name, count in tally["refused"].items())
        slowest = tally["slowest"]
        lines.append(
            f"| {tally['reader']} | {tally['inputs']} | {tally['accepted']} | {refused} "
            f"| {len(tally['failures'])} | {slowest['seconds']:.2f} s (number {slowest['number']}) "
            f"| {tally['peak_mib']} |"
        )
    lines += [
        "",
        "Among them are large files, whose numbers are negative:",
        "",
        "| Reader | File | | Seconds | MiB |",
        "|---|---|---|---:|---:|",
    ]
    for tally in record["readers"]:
        for large in tally["large"]:
            lines.append(
                f"| {tally['reader']} | {large['file']} | {large['end']} "
                f"| {large['seconds']:.2f} | {large['mib']} |"
            )
    shown = [failure for tally in record["readers"] for failure in tally["failures"][:SHOWN]]
    for failure in shown:
        lines += ["", f"`{failure['repeat']}`, {failure['file']}:", ""]
        lines += ["```", *failure["problem"].splitlines(), "```"]
    return "\n".join(lines) + "\n"


def answer(options: argparse.Namespace) -> None:
    """Attack the readers, and write the record."""
    report.prepare_directory(options.out)
    begin, tallies = time.monotonic(), []
    for name in options.reader or READERS:
        numbers = range(-len(READERS[name].large), options.count)
        if options.first is not None:
            numbers = range(options.first, options.first + options.count)
        tally = attack(READERS[name], options.seed, numbers)
        if tally.failures:
            keep(tally, options.seed, options.out)
        tallies.append(tally)
        print(
            f"{name}: {tally.inputs} inputs, {tally.accepted} accepted, "
            f"{sum(tally.refused.values())} refused, {len(tally.failures)} failed, "
            f"slowest {tally.slowest['seconds']:.2f} s, at most {tally.peak_mib} MiB",
            flush=True,
        )
        for failure in tally.failures[:SHOWN]:
            print(f"  {failure['repeat']}\n    {failure['problem'].splitlines()[-1]}")
    record = {
        "seed": options.seed,
        "first": options.first or 0,
        "seconds": time.monotonic() - begin,
        "limits": asdict(Limits()),
        "machine": machine.description(),
        "readers": [asdict(tally) for tally in tallies],
    }
    write_text(options.out / "fuzz.json", json.dumps(record, indent=2) + "\n")
    write_text(options.out / "README.md", page(record))
    print(f"record: {options.out / 'README.md'}")
    if any(tally.failures for tally in tallies):
        sys.exit(FAILED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "seed", out="runs/fuzz")
    script.add_argument("--reader", action="append", choices=READERS, help="all if left out")
    script.add_argument("--count", type=int, default=20_000, help="inputs for each reader")
    script.add_argument(
        "--first", type=int, help="number of the first input; all the large ones and 0 if left out"
    )
    script.run(answer, arguments)


if __name__ == "__main__":
    main()
