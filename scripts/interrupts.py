"""Do 300 interrupts, of the program and within Python, leave a training as if there were none?

    python scripts/interrupts.py --data mnist --out scripts/results/interrupts

Of the program: one command, `xpnet train --resume DIR --begin ...`, is sent SIGKILL, SIGTERM or
SIGINT at a random moment and started again, until it comes to its end; then there is another run,
until there were enough signals. Within Python: SIGINT arrives at a random line of all that
`Trainer.train()` goes through in xpnet, and `train()` is called again. Weights, losses and
accuracies must equal, bit for bit, those of a training that was left alone. Exit code 1 if they do
not, or if the program ends otherwise than it says: after SIGINT with exit code 130, after SIGTERM
with 143, unless Python itself was still beginning.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import xpnet
from killed_runs import interrupted, result
from xpnet import Trainer, TwoLayerNet, synthetic_digits
from xpnet.bench import machine
from xpnet.files.atomic import write_text
from xpnet.report.script import Script

OPTIONS = (
    "--device", "cpu", "--threads", "1", "--model", "two-layer-net", "--optimizer", "adam",
    "--lr", "0.001", "--epochs", "1", "--checkpoint-steps", "10", "--evaluate-samples", "500",
)  # fmt: skip
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDS = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15}, signal.SIGINT: {130, -2}}
"""Exit codes; the second ones are the system's, where Python has not begun to listen."""
BEGINNING = 0.1
"""Seconds, of a busy machine, in which it may be Python that is interrupted, and tells it."""
ROOT = str(Path(xpnet.__file__).parent)

Record = dict[str, Any]


def command(directory: Path, options: argparse.Namespace) -> list[str]:
    """Make the command, the same at the start and after every signal."""
    data = ["--data", options.data, *(["--data-dir", options.data_dir] if options.data_dir else [])]
    run = ["-m", "xpnet", "train", "--resume", str(directory), "--begin"]
    return [sys.executable, *run, *OPTIONS, *data]


def of_the_program(options: argparse.Namespace, place: Path) -> Record:
    """Send signals to runs until there were enough; what came of them."""
    rng = np.random.default_rng(options.seed)
    begin = time.perf_counter()
    code, said = interrupted(command(place / "whole", options), signal.SIGKILL, 600)
    if code:
        sys.exit(f"the unbroken run failed: {said}")
    seconds = time.perf_counter() - begin
    want = result(place / "whole")
    codes: Counter[str] = Counter()
    runs, different, wrong, within = 0, 0, [], 0
    while codes.total() < options.program:
        directory = place / f"run-{runs}"
        while True:
            number, moment = SIGNALS[rng.integers(3)], float(rng.uniform(0, seconds))
            code, said = interrupted(command(directory, options), number, moment)
            if code == 0:
                break
            codes[f"{number.name}: {code}"] += 1
            within += any(directory.glob("checkpoints/.*"))
            ours = ROOT in said  # lines of Python's about what is xpnet's to answer
            if ours or (code not in ENDS[number] and moment > BEGINNING):
                wrong.append({"signal": number.name, "moment": moment, "code": code, "said": said})
        runs += 1
        different += result(directory) != want
        print(f"{codes.total()} signals, {runs} runs, {different} differ, {len(wrong)} wrong ends")
        sys.stdout.flush()
    return {
        "command": " ".join(["xpnet", "train", "--resume", "DIR", "--begin", *OPTIONS]),
        "unbroken_seconds": seconds, "signals": codes.total(), "runs": runs,
        "different": different, "wrong_ends": wrong, "within_a_checkpoint": within, "ends": codes,
    }  # fmt: skip


class AtLine:
    """Sends this process SIGINT at a line of xpnet, counted from 0; counts them all if None."""

    def __init__(self, line: int | None) -> None:
        self.line, self.lines = line, 0

    def __call__(self, frame: FrameType, event: str, _: object) -> "AtLine | None":
        """Trace a frame."""
        if event == "call":
            return self if frame.f_code.co_filename.startswith(ROOT) else None
        if event == "line":
            self.lines += 1
            if self.lines - 1 == self.line:
                signal.raise_signal(signal.SIGINT)
        return self


def trained(line: int | None) -> tuple[list[Any], int, bool]:
    """Train, with SIGINT at a line; what came of it, all lines, and whether it was interrupted."""
    x, t = synthetic_digits(120, seed=0)
    net = TwoLayerNet(784, 10, 10, rng=0)
    trainer = Trainer(net, x, t, x, t, 2, 30, "Adam", verbose=False, threads=1)
    tracer, came = AtLine(line), False
    sys.settrace(tracer)
    try:
        trainer.train()
    except KeyboardInterrupt:
        came = True
    finally:
        sys.settrace(None)
    trainer.train()
    metrics = [{**each.record(), "seconds": 0} for each in trainer.history]
    weights = net.params.flat.tobytes()
    return [weights, trainer.train_loss_list, trainer.steps, metrics], tracer.lines, came


def within_python(options: argparse.Namespace) -> Record:
    """Interrupt as many trainings, each at another line."""
    want, lines, _ = trained(None)
    rng = np.random.default_rng(options.seed)
    chosen = rng.choice(lines, options.lines, replace=False).tolist()
    found = [trained(line) for line in chosen]
    return {
        "lines_of_a_training": lines,
        "signals": len(chosen),
        "interrupted": sum(came for _, _, came in found),
        "different": sum(got != want for got, _, _ in found),
    }


def page(record: Record) -> str:
    """Show what is in the record to people."""
    program, python = record["of_the_program"], record["within_python"]
    ends = ", ".join(f"{end} ({count})" for end, count in sorted(program["ends"].items()))
    lines = [
        *machine.heading("Trainings that are interrupted", "interrupts.py", record),
        "| | of the program | within Python |",
        "|---|---:|---:|",
        f"| Signals | {program['signals']} | {python['signals']} |",
        f"| Trainings | {program['runs']} | {python['signals']} |",
        f"| Trainings that differ from an unbroken one in a bit | {program['different']} "
        f"| {python['different']} |",
        f"| Signals that left half a checkpoint | {program['within_a_checkpoint']} | |",
        f"| Ends that are not what README says | {len(program['wrong_ends'])} | |",
        "",
        f"`{program['command']}`",
        "",
        f"takes {program['unbroken_seconds']:.1f} s if it is left alone; signals came at random "
        f"moments. Its exit codes, negative where a signal ended it at once: {ends}.",
        "",
        f"In Python a training goes through {python['lines_of_a_training']} lines of xpnet; SIGINT "
        f"came at {python['signals']} of them, chosen at random, and ended {python['interrupted']} "
        "trainings, which then went on; the others were at their end.",
    ]
    return "\n".join(lines) + "\n"


def answer(options: argparse.Namespace) -> None:
    """Interrupt, compare and write; exit 1 on any difference."""
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out) as place:
        record: Record = {
            **machine.description(),
            "within_python": within_python(options),
            "of_the_program": of_the_program(options, Path(place)),
        }
    write_text(options.out / "interrupts.json", json.dumps(record, indent=2) + "\n")
    write_text(options.out / "README.md", page(record))
    print(page(record))
    found = record["of_the_program"], record["within_python"]
    if any(part["different"] for part in found) or found[0]["wrong_ends"]:
        sys.exit("an interrupted training differs from an unbroken one, or ended wrongly")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "data", "seed", out="interrupts")
    script.add_argument("--program", type=int, default=200, help="signals to the program")
    script.add_argument("--lines", type=int, default=100, help="lines of Python with a signal")
    script.run(answer)


if __name__ == "__main__":
    main()
