"""Are threads chosen well, on a machine that is idle and on one that is busy?

    python scripts/bench_threads.py --out scripts/results/bench_threads

The same steps of training are timed with each fixed number of threads, with the one that xpnet
chooses by itself, and with 99: in processes of their own, in turns, first on the machine as it is,
then beside four busy processes for each core. What counts is the choice beside the best fixed
number on the idle machine, 1.1 times at most, and beside one thread on the busy one, 1.3 times at
most. Exit code 1 if either is more. Whatever else runs meanwhile spoils it.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xpnet import Trainer, synthetic_digits
from xpnet.bench import machine
from xpnet.bench.cases import fresh
from xpnet.bench.statistics import spread
from xpnet.engine.threads import available_cores
from xpnet.files.atomic import write_text
from xpnet.report.script import Script

MODELS = ("two-layer-net", "simple-convnet")
BATCH, WARM = 100, 5
PER_CORE = 4
"""Busy processes for each core."""
CHOSEN, MANY = "chosen", "99"
LIMITS = {"idle": 1.1, "busy": 1.3}

Record = dict[str, Any]


def child(model: str, threads: str, seconds: float) -> None:
    """Take steps for so long; prints the seconds of one, and how many threads took it."""
    x, t = synthetic_digits(BATCH, seed=0)
    count = None if threads == CHOSEN else int(threads)
    trainer = Trainer(fresh(model), x, t, None, None, 1, BATCH, verbose=False, threads=count)
    batch = next(trainer.train_batches.epoch(0))
    step = trainer.learner.step
    for _ in range(WARM):
        step(batch)
    steps, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        step(batch)
        steps += 1
    print(json.dumps({"seconds": passed / steps, **trainer.describe()}))


@contextmanager
def load(processes: int) -> Iterator[None]:
    """So many processes that keep a core busy each."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        time.sleep(1)
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measured(model: str, options: argparse.Namespace) -> Record:
    """Time a model with each number of threads, in turns."""
    cores = available_cores()
    fixed = [str(n) for n in sorted({1, max(1, cores // 2), cores})]
    found: dict[str, list[Record]] = {name: [] for name in (*fixed, CHOSEN, MANY)}
    for _ in range(options.rounds):
        for name, turns in found.items():
            done = subprocess.run(
                [sys.executable, __file__, "--child", model, name, str(options.seconds)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            turns.append(json.loads(done.stdout))
    return {
        name: {"threads": turns[-1]["threads"], **spread([turn["seconds"] for turn in turns])}
        for name, turns in found.items()
    }


def judged(rows: Record, state: str) -> Record:
    """Tell how the choice compares with what counts."""
    fixed = {name: row["median"] for name, row in rows.items() if name not in (CHOSEN, MANY)}
    best = "1" if state == "busy" else min(fixed, key=lambda name: fixed[name])
    return {
        "times": rows,
        "beside": best,
        "chosen": rows[CHOSEN]["median"] / fixed[best],
        "many": rows[MANY]["median"] / fixed[best],
        "limit": LIMITS[state],
    }


def page(record: Record) -> str:
    """Show what is in the record to people."""
    lines = [
        *machine.heading("Threads, on an idle and on a busy machine", "bench_threads.py", record),
        f"Milliseconds of a step of {BATCH} samples, medians of {record['rounds']} turns of "
        f"{record['seconds']:g} s (smallest to largest). Busy: {PER_CORE} processes for each core "
        "that do nothing but compute. What is chosen stands beside the best fixed number on the "
        "idle machine, and beside one thread on the busy one.",
        "",
        "| model | machine | `--threads` | uses | ms a step | beside it |",
        "|---|---|---|---:|---:|---:|",
    ]
    for model, states in record["models"].items():
        for state, found in states.items():
            base = found["times"][found["beside"]]["median"]
            for name, row in found["times"].items():
                low, high = 1e3 * row["min"], 1e3 * row["max"]
                lines.append(
                    f"| {model} | {state} | {'left out' if name == CHOSEN else name} "
                    f"| {row['threads']} | {1e3 * row['median']:.3g} ({low:.3g} to {high:.3g}) "
                    f"| {row['median'] / base:.2f} |"
                )
    lines += ["", "Limits of what is chosen: 1.1 idle, 1.3 busy."]
    return "\n".join(lines) + "\n"


def answer(options: argparse.Namespace) -> None:
    """Measure, write, and exit with 1 where the choice is worse than it may be."""
    models: Record = {model: {} for model in MODELS}
    for state, processes in (("idle", 0), ("busy", PER_CORE * available_cores())):
        with load(processes):
            for model in MODELS:
                models[model][state] = judged(measured(model, options), state)
    record = {
        **machine.description(), "rounds": options.rounds, "seconds": options.seconds,
        "models": models,
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / "bench_threads.json", json.dumps(record, indent=2) + "\n")
    write_text(options.out / "README.md", page(record))
    print(page(record))
    worse = [
        f"{model}, {state}: {found['chosen']:.2f} times, at most {found['limit']} were wanted"
        for model, states in models.items()
        for state, found in states.items()
        if found["chosen"] > found["limit"]
    ]
    if worse:
        sys.exit("; ".join(worse))


def main() -> None:
    """Take the flags and answer, or be one of the processes that are timed."""
    if sys.argv[1:2] == ["--child"]:
        model, threads, seconds = sys.argv[2:]
        child(model, threads, float(seconds))
        return
    script = Script(__doc__, out="bench_threads")
    script.add_argument("--rounds", type=int, default=5, help="turns of each")
    script.add_argument("--seconds", type=float, default=2.0, help="of a turn")
    script.run(answer)


if __name__ == "__main__":
    main()
