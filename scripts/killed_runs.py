"""Does a run that is killed again and again end like an unbroken one, and what does that cost?

    python scripts/killed_runs.py --data mnist --out scripts/results/reliability

Each of 100 runs is one command, `xpnet train --resume DIR --begin ...`, that is started, killed by
SIGKILL after a random time, and started again, until it comes to its end: at the start, in a step,
while a checkpoint is written, wherever it may be. Its weights must equal those of a run that was
left alone, bit for bit, and so must its losses and accuracies. Exit code 1 if they do not, or if a
command fails. Then the time that a checkpoint takes is measured beside that of an epoch of
SimpleConvNet.

A killed process leaves to the system what it has written. What a power cut leaves is another
question, which is not answered here.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import Adam, Trainer
from xpnet.bench import machine
from xpnet.bench.cases import fresh
from xpnet.bench.statistics import spread
from xpnet.data import load_dataset
from xpnet.files.atomic import write_text
from xpnet.report.script import Script
from xpnet.train.checkpoint import Checkpoints
from xpnet.train.keeper import Keeper
from xpnet.train.run_directory import RunDirectory

OPTIONS = (
    "--device", "cpu", "--threads", "1", "--model", "two-layer-net", "--optimizer", "adam",
    "--lr", "0.001", "--epochs", "3", "--checkpoint-steps", "50", "--evaluate-samples", "1000",
)  # fmt: skip
ATTEMPTS = 100
"""Attempts at most; a run that needs more does not get on."""

Record = dict[str, Any]


def command(directory: Path, options: argparse.Namespace) -> list[str]:
    """Make the command, the same at the start and after every kill."""
    data = ["--data", options.data, *(["--data-dir", options.data_dir] if options.data_dir else [])]
    run = ["-m", "xpnet", "train", "--resume", str(directory), "--begin"]
    return [sys.executable, *run, *OPTIONS, *data]


def result(directory: Path) -> tuple[bytes, list[str]]:
    """Read weights, and the record of the epochs without its last column, the time."""
    lines = (directory / "metrics.csv").read_text(encoding="utf-8").splitlines()
    weights = (directory / "model.safetensors").read_bytes()
    return weights, [line.rpartition(",")[0] for line in lines]


def interrupted(
    arguments: list[str], number: signal.Signals, seconds: float | None
) -> tuple[int, str]:
    """Run a command, and send it a signal after so many seconds; exit code, and what it said."""
    with subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            _, said = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.send_signal(number)
            _, said = child.communicate(timeout=60)
    return child.returncode, said.strip()


def attempt(arguments: list[str], seconds: float | None) -> str | None:
    """Run a command, and kill it after so many seconds; what it said, or None if it was killed."""
    code, said = interrupted(arguments, signal.SIGKILL, seconds)
    return None if code == -signal.SIGKILL else said if code else ""


def killed_run(directory: Path, seconds: float, seed: int, options: argparse.Namespace) -> Record:
    """Do one run; tell how often it was killed, when, and what it said if it failed.

    One that was faster than its first kill is begun anew: it would show nothing.
    """
    rng = np.random.default_rng([options.seed, seed])
    moments: list[float] = []
    for _ in range(ATTEMPTS):
        moment = round(float(rng.uniform(0, seconds)), 3)
        said = attempt(command(directory, options), moment)
        if said is None:
            moments.append(moment)
        elif said or moments:
            return {"kills": len(moments), "moments": moments, "error": said}
        else:
            shutil.rmtree(directory)
    return {"kills": ATTEMPTS, "moments": moments, "error": "no end after so many attempts"}


def killed_runs(options: argparse.Namespace, place: Path) -> Record:
    """Do all of them beside one that is left alone."""
    begin = time.perf_counter()
    if error := attempt(command(place / "whole", options), None):
        sys.exit(f"the unbroken run failed: {error}")
    seconds = time.perf_counter() - begin
    want = result(place / "whole")
    rows = []
    for number in range(options.runs):
        directory = place / f"run-{number}"
        row = killed_run(directory, seconds, number, options)
        row["same"] = not row["error"] and result(directory) == want
        rows.append(row)
        print(f"run {number}: {row['kills']} kills, {'same' if row['same'] else 'DIFFERENT'}")
        sys.stdout.flush()
    return {
        "command": " ".join(["xpnet", "train", "--resume", "DIR", "--begin", *OPTIONS]),
        "unbroken_seconds": seconds,
        "runs": rows,
    }


def cost(options: argparse.Namespace, place: Path) -> Record:
    """Measure the seconds of SimpleConvNet's epochs and of a checkpoint after each."""
    data = load_dataset(options.data, data_dir=options.data_dir)
    trainer = Trainer(
        fresh("simple-convnet"), data.x_train, data.t_train, data.x_test, data.t_test,
        options.epochs, 100, Adam(), verbose=False, evaluate_sample_num_per_epoch=1000,
    )  # fmt: skip
    saves = []
    with closing(RunDirectory(place / "cost")) as directory:
        checkpoints = Checkpoints(directory.path / "checkpoints")
        keeper = Keeper(trainer, directory, checkpoints, {}, tell=print)

        def save(_: object) -> None:
            begin = time.perf_counter()
            keeper.save()
            saves.append(time.perf_counter() - begin)

        trainer.on_epoch = save
        keeper.train()
        size = checkpoints.paths()[-1].stat().st_size
    epochs = np.diff([0.0, *(metrics.seconds for metrics in trainer.history)]).tolist()
    shares = [save / epoch for save, epoch in zip(saves, epochs, strict=True)]
    return {
        "epoch_seconds": spread(epochs),
        "checkpoint_seconds": spread(saves),
        "share": spread(shares),
        "checkpoint_bytes": size,
        **trainer.describe(),
    }


def page(record: Record) -> str:
    """Show what is in the record to people."""
    killed, cost = record["killed_runs"], record["cost"]
    rows = killed["runs"]
    kills = [row["kills"] for row in rows]
    same = sum(row["same"] for row in rows)
    epoch, save, share = cost["epoch_seconds"], cost["checkpoint_seconds"], cost["share"]
    lines = [
        *machine.heading("Runs that are killed", "killed_runs.py", record),
        f"`{killed['command']}`",
        "",
        f"takes {killed['unbroken_seconds']:.1f} s if it is left alone. It was killed by SIGKILL, "
        "each time at a random moment of as many seconds, and started again, until it came to its "
        "end.",
        "",
        "| | |",
        "|---|---|",
        f"| Runs | {len(rows)} |",
        f"| Kills | {sum(kills)}, of a run {min(kills)} to {max(kills)} |",
        f"| Runs whose weights and record equal the unbroken run's, bit for bit | {same} |",
        f"| Runs that needed a human | {sum(bool(row['error']) for row in rows)} |",
        "",
        "A checkpoint after an epoch of SimpleConvNet on MNIST, with Adam's state "
        f"{cost['checkpoint_bytes'] / 1e6:.1f} MB; medians (smallest to largest):",
        "",
        "| Epoch | Checkpoint | Share |",
        "|---|---|---|",
        f"| {epoch['median']:.2f} s ({epoch['min']:.2f} to {epoch['max']:.2f}) "
        f"| {1e3 * save['median']:.1f} ms ({1e3 * save['min']:.1f} to {1e3 * save['max']:.1f}) "
        f"| {share['median']:.2%} ({share['min']:.2%} to {share['max']:.2%}) |",
    ]
    return "\n".join(lines) + "\n"


def answer(options: argparse.Namespace) -> None:
    """Kill, compare, measure and write; exit 1 on any difference."""
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out) as place:
        record: Record = {
            **machine.description(),
            "killed_runs": killed_runs(options, Path(place)),
            "cost": cost(options, Path(place)),
        }
    write_text(options.out / "killed_runs.json", json.dumps(record, indent=2) + "\n")
    write_text(options.out / "README.md", page(record))
    print(page(record))
    if not all(row["same"] for row in record["killed_runs"]["runs"]):
        sys.exit("killed runs and the unbroken one differ")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "data", "seed", out="reliability")
    script.add_argument("--runs", type=int, default=100)
    script.add_argument("--epochs", type=int, default=9, help="of SimpleConvNet")
    script.run(answer)


if __name__ == "__main__":
    main()
