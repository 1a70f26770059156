"""The benchmark: who meets whom in what, and what is kept of it."""

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.bench import machine
from xpnet.bench.cases import NAMES, TASKS, Case, images_needed, prepare
from xpnet.bench.child import Child, Start, Turn
from xpnet.bench.contestants import CONTESTANTS, Contestant
from xpnet.bench.statistics import ratios, spread
from xpnet.data import synthetic_digits
from xpnet.engine.threads import available_cores
from xpnet.errors import ArgumentError, DeviceError

OWN = "xpnet"
"""Whom the others are compared with, and who therefore always takes part."""

BATCH_SIZES = (10, 100, 1000)
PREDICTED = (1, 1000)
"""Batch sizes of predictions: the first tells how soon an answer comes, the other how many come."""

PAUSE = 0.05
"""Seconds before a turn, in which idle threads of the one before stop spinning."""

RATES = ("sgemm_gflops", "copy_gigabytes")
"""Of the machine, that a case's floors are told by."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes
    ----------
    models, contestants, tasks : by name; all if empty
    batch_sizes : of training; `BATCH_SIZES` if empty
    threads : for each contestant; as many as there are cores if None
    rounds : turns of each contestant
    seconds : of a turn
    device : "cpu"

    Raises
    ------
    ArgumentError, DeviceError
        There is no such thing to measure.
    """

    models: tuple[str, ...] = ()
    contestants: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    threads: int | None = None
    rounds: int = 10
    seconds: float = 0.3
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.device != "cpu":
            raise DeviceError(
                f"only the CPU can be timed so far, got device {self.device!r}; use cpu"
            )
        for what, given, known in (
            ("model", self.models, NAMES),
            ("contestant", self.contestants, CONTESTANTS),
            ("task", self.tasks, TASKS),
        ):
            for name in given:
                if name not in known:
                    raise ArgumentError(f"{what} {name!r} is unknown; use {', '.join(known)}")
        threads = 1 if self.threads is None else self.threads
        for what, least in (
            ("number of threads", threads),
            ("number of rounds", self.rounds),
            ("batch size", min(self.batch_sizes, default=1)),
        ):
            if least < 1:
                raise ArgumentError(f"the {what} must be 1 or more, got {least}")
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ArgumentError(f"a turn must take some seconds, got {self.seconds}; try 0.3")

    @property
    def field(self) -> list[Contestant]:
        """Who takes part."""
        wanted = {OWN, *(self.contestants or CONTESTANTS)}
        return [contestant for name, contestant in CONTESTANTS.items() if name in wanted]

    @property
    def plan(self) -> list[tuple[str, str, int]]:
        """Model, task and batch size of every case."""
        sizes = {"train": self.batch_sizes or BATCH_SIZES, "predict": PREDICTED}
        return [
            (model, task, batch_size)
            for task in self.tasks or TASKS
            for model in self.models or NAMES
            for batch_size in sizes[task]
        ]


def run(
    options: Options,
    *,
    begin: Callable[[Record], None] = lambda _: None,
    show: Callable[[Record], None] = lambda _: None,
) -> Record:
    """Measure everything.

    Parameters
    ----------
    begin : is given the record before the first case
    show : is given each case as soon as it is done

    Raises
    ------
    ContestantError
        A contestant failed.
    """
    threads = available_cores() if options.threads is None else options.threads
    record: Record = {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": options.device,
        **machine.description(),
        "cores": available_cores(),
        "threads": threads,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rates": machine.rates(threads),
        "left_out": {
            contestant.name: f"{contestant.needs} is not installed"
            for contestant in options.field
            if not contestant.available
        },
        "cases": [],
    }
    begin(record)
    images, labels = synthetic_digits(max(images_needed(size) for _, _, size in options.plan))
    for model, task, batch_size in options.plan:
        with tempfile.TemporaryDirectory(prefix="xpnet-bench-") as directory:
            place = Path(directory)
            case = prepare(place, model, task, batch_size, threads, images, labels)
            result = measure(case, options, record["rates"])
        record["cases"].append(result)
        show(result)
    return record


def measure(case: Case, options: Options, rates: Mapping[str, Mapping[str, float]]) -> Record:
    """Let all who enter a case take turns."""
    field = [contestant for contestant in options.field if contestant.enters(case)]
    with ExitStack() as stack:
        children: dict[str, Child] = {}
        for contestant in field:
            children[contestant.name] = Child(contestant, case, options.seconds)
            stack.callback(children[contestant.name].close)
        for child in children.values():
            child.wait()
        starts = {name: child.start() for name, child in children.items()}
        turns = interleaved(children, options.rounds)
    times = {name: [turn.milliseconds for turn in own] for name, own in turns.items()}
    gflops, gigabytes = (rates[name][str(case.threads)] for name in RATES)
    floor = case.flops / gflops / 1e6
    return {
        "model": case.model,
        "task": case.task,
        "optimizer": case.optimizer if case.task == "train" else None,
        "batch_size": case.batch_size,
        "flops": case.flops,
        "floor_milliseconds": floor,
        "moved_bytes": case.moved_bytes,
        "copy_milliseconds": case.moved_bytes / gigabytes / 1e6,
        "contestants": {name: _row(starts[name], turns[name], case, floor) for name in turns},
        "ratios": ratios(times, OWN),
    }


def interleaved(children: Mapping[str, Child], rounds: int) -> dict[str, list[Turn]]:
    """The turns of each, round by round.

    Every other round goes backwards, so that nobody always follows the same one. A turn in which
    other processes were busy is repeated; as many such repeats as there are turns are enough.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in children}
    names, repeats = list(children), rounds * len(children)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            time.sleep(PAUSE)
            turn = children[name].turn()
            while turn.disturbed and repeats:
                repeats -= 1
                time.sleep(machine.SETTLE)
                turn = children[name].turn()
            turns[name].append(turn)
    return turns


def _row(start: Start, turns: list[Turn], case: Case, floor: float) -> Record:
    """What is kept of a contestant's turns."""
    times = [turn.milliseconds for turn in turns]
    median = spread(times)["median"]
    faults = [turn.page_faults for turn in turns if turn.page_faults is not None]
    watched = [turn.disturbed for turn in turns if turn.disturbed is not None]
    return {
        "milliseconds": spread(times) | {"rounds": times},
        "images_per_second": case.batch_size / median * 1000,
        "share_of_sgemm": floor / median,
        "steps_a_turn": start.steps,
        "page_faults_a_step": float(np.median(faults)) if faults else None,
        "memory_before_mib": start.memory_before,
        "memory_peak_mib": turns[-1].peak_memory,
        "disturbed_turns": sum(watched) if watched else None,
        "description": dict(start.description),
    }
