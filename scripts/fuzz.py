"""Can a damaged or hostile file do anything but be read or be refused?

    python scripts/fuzz.py --count 10000 --seed 0 --reader idx --reader gzip
    python scripts/fuzz.py --reader idx --seed 0 --first 4711 --count 1

Feeds every reader of outside bytes with small valid files, hostile ones and mutations of both. A
reader must end within 5 seconds and bounded memory, with a result or xpnet's own error; it may not
write, connect or run anything. Writes fuzz.json, README.md and the bytes of every failing input,
whose seed and number repeat it. Exit code 1 if there was one.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from _fuzzing import READERS, Reader, Touched, make_input
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
    peak: int = 0
    """MiB of memory that the process ever had."""


@dataclass
class Tally:
    """A tally of what came of all inputs of a reader."""

    reader: str
    inputs: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=lambda: {"number": -1, "seconds": 0.0})
    start_mib: int = 0
    """The memory when the first input came; `allowed_mib` more would have been a failure."""
    peak_mib: int = 0
    allowed_mib: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.inputs += 1
        self.peak_mib = max(self.peak_mib, outcome.peak)
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
        sys.addaudithook(self._look)

    def _look(self, event: str, details: tuple[Any, ...]) -> None:
        if not self._up:
            return
        writes = event == "open" and isinstance(details[2], int) and details[2] & self.WRITING
        runs = event == "exec" and getattr(details[0], "co_filename", "") == "<string>"
        if writes or runs or event.startswith(self.FORBIDDEN):
            raise Touched(f"{event} {ascii(details)[:LINE]}")

    @contextmanager
    def up(self) -> Iterator[None]:
        """Open a context in which it looks."""
        self._up = True
        try:
            yield
        finally:
            self._up = False


def judge(reader: Reader, data: bytes, number: int, guard: Guard, limits: Limits) -> Outcome:
    """Read the bytes, from a file in this directory, and say what came of it."""
    path = Path("input")
    path.write_bytes(data)
    before = set(Path().iterdir())
    end, problem = "accepted", ""
    begin = time.process_time()
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
    if set(Path().iterdir()) != before or path.read_bytes() != data:
        problem = problem or "it altered files"
    if seconds > limits.seconds:
        problem = problem or f"it took {seconds:.1f} s"
    return Outcome(number, "failed" if problem else end, seconds, problem)


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
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    allowed = size * resource.getpagesize() + reader.mib * MiB
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send(machine.memory()["peak"])
    for number in numbers:
        data = make_input(reader.name, files, seed, number)
        outcome = judge(reader, data, number, guard, limits)
        if number < len(valid) and outcome.end not in ("accepted", "failed"):
            outcome = replace(outcome, end="failed", problem="it refused a valid file")
        if len(valid) <= number < len(files) and outcome.end == "accepted":
            outcome = replace(outcome, end="failed", problem="it accepted a hostile file")
        pipe.send({**asdict(outcome), "peak": machine.memory()["peak"]})


def attack(reader: Reader, seed: int, numbers: range, limits: Limits = Limits()) -> Tally:
    """Judge all inputs; one that takes its process with it is a failure, and the rest goes on."""
    tally = Tally(reader.name, allowed_mib=reader.mib)
    context = multiprocessing.get_context("spawn")
    while left := numbers[tally.inputs :]:
        with tempfile.TemporaryDirectory() as directory:
            here, there = context.Pipe(duplex=False)
            process = context.Process(
                target=child, args=(reader, seed, left, limits, directory, there)
            )
            process.start()
            there.close()
            problem = _listen(here, tally, len(left), limits)
            if problem and problem != DIED:
                process.kill()
            process.join()
            here.close()
        if problem == DIED:
            problem = f"the process ended with exit code {process.exitcode}"
        if problem and not tally.start_mib:
            raise RuntimeError(f"{reader.name}: {problem} before the first input")
        if problem:
            tally.add(Outcome(numbers[tally.inputs], "failed", 0, problem))
    return tally


def _listen(pipe: Connection, tally: Tally, count: int, limits: Limits) -> str:
    """Count what a process reports; what went wrong with it, or nothing."""
    patience = limits.starting
    for message in range(1 + count):
        if not pipe.poll(patience):
            return f"no end within {patience:g} s"
        try:
            received = pipe.recv()
        except EOFError:
            return DIED
        if message:
            tally.add(Outcome(**received))
        else:
            tally.start_mib = received
        patience = limits.patience
    return ""


def keep(tally: Tally, seed: int, out: Path) -> None:
    """Write the bytes of failing inputs, and note where they are and what repeats them."""
    reader = READERS[tally.reader]
    with tempfile.TemporaryDirectory() as directory, _working_in(directory):
        files = [*reader.valid(), *reader.hostile()]
    for failure in tally.failures:
        number = failure["number"]
        failure["file"] = f"{reader.name}-{seed}-{number}.bin"
        failure["repeat"] = (
            f"python scripts/fuzz.py --reader {reader.name} --seed {seed} "
            f"--first {number} --count 1"
        )
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
    found = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    failures = sum(len(tally["failures"]) for tally in record["readers"])
    lines = [
        "# Damaged and hostile files",
        "",
        f"{sum(tally['inputs'] for tally in record['readers'])} inputs, {failures} failures. "
        f"Seed {record['seed']}, at most {limits['seconds']:g} s of processor time an input; "
        f"{record['seconds']:.0f} s in all on {where['machine']}, {found}.",
        "",
        "`make fuzz` writes this page anew.",
        "",
        "| Reader | Inputs | Accepted | Refused | Failed | Slowest | MiB first, at most, allowed |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for tally in record["readers"]:
        refused = ", ".join(f"{count} {name}" for name, count in tally["refused"].items())
        slowest = tally["slowest"]
        lines.append(
            f"| {tally['reader']} | {tally['inputs']} | {tally['accepted']} | {refused} "
            f"| {len(tally['failures'])} | {slowest['seconds']:.2f} s (number {slowest['number']}) "
            f"| {tally['start_mib']}, {tally['peak_mib']}, +{tally['allowed_mib']} |"
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
        "first": options.first,
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
    script.add_argument("--count", type=int, default=10_000, help="inputs for each reader")
    script.add_argument("--first", type=int, default=0, help="number of the first input")
    script.run(answer, arguments)


if __name__ == "__main__":
    main()
