"""The benchmark: who meets whom in what, and what is kept of it."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from xpnet.arrays import Device, get_device
from xpnet.bench import accuracy, layers, machine
from xpnet.bench.cases import (
    EPOCH,
    FIELD,
    NAMES,
    PRECISIONS,
    TASKS,
    Case,
    UnavailableError,
    images_needed,
    prepare,
)
from xpnet.bench.child import Child, ContestantError, Start, Turn, told
from xpnet.bench.contestants import Contestant, timed_on
from xpnet.bench.statistics import Record, best_other, ratios, spread
from xpnet.data import Dataset, load_dataset, synthetic_digits
from xpnet.engine.threads import available_cores, chosen_threads
from xpnet.errors import ArgumentError, DataNotFoundError
from xpnet.models.own import is_own
from xpnet.models.registry import OFFERED, find_model

OWN = "xpnet"
"""The contestant that the others are compared with, and that therefore always takes part."""
OWN_ON_CPU = "xpnet on the CPU"

TASKS_ALONE = ("layers", "accuracy")
"""The tasks of xpnet alone, done only if they are asked for."""

BATCH_SIZES, BATCH_SIZES_LATER = (10, 100, 1000), (100,)
"""Batch sizes of training: for the book's networks, and for all others."""
PREDICTED = (1, 1000)
"""Batch sizes of predictions: the first tells how soon an answer comes, the other how many come."""

SEEDS = {"cpu": 3, "cuda": 10}
"""Runs to an accuracy, by the kind of device."""

HOUR, MOST = 3600, 60_000

PAUSE = 0.05
"""Seconds before a turn, in which idle threads of the one before stop spinning."""

RATES = ("sgemm_gflops", "copy_gigabytes")
"""The machine's rates by which a case's floors are told."""


@dataclass(frozen=True)
class Options:
    """The choice of what to measure.

    Attributes
    ----------
    models : by name, or functions of your own, module:function; `FIELD` if empty, and for the tasks
        that only xpnet takes part in the book's
    contestants : by name; all if empty
    tasks : by name; `TASKS` if empty
    batch_sizes : of training, and of the layers; if empty `BATCH_SIZES` for the book's networks,
        and 100 for all others and for the layers
    threads : for each contestant, but no more than there are cores; one for each if None
    rounds : turns of each contestant
    seconds : of a turn
    seeds : runs to an accuracy; `SEEDS` if None
    device : "cpu", "cuda", "cuda:N" or "auto"
    precision : of products, one of `PRECISIONS`

    Raises
    ------
    ArgumentError
        There is no such thing to measure.
    DeviceError
        The device cannot be used.
    """

    models: tuple[str, ...] = ()
    contestants: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    threads: int | None = None
    rounds: int = 10
    seconds: float = 0.3
    seeds: int | None = None
    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self) -> None:
        functions = [name for name in self.models if is_own(name)]
        for name in functions:
            find_model(name)
        names = [name for name in self.models if name not in functions]
        for what, given, known in (
            ("model {!r}", names, OFFERED),
            (f"contestant {{!r}} on {self.kind}", self.contestants, timed_on(self.kind)),
            ("task {!r}", self.tasks, TASKS + TASKS_ALONE),
            ("precision {!r}", (self.precision,), PRECISIONS),
        ):
            for name in given:
                if name not in known:
                    raise ArgumentError(f"there is no {what.format(name)}; use {', '.join(known)}")
        others = [name for name in names if find_model(name).task != "classify"]
        if "accuracy" in self.tasks and others:
            raise ArgumentError(
                "the task accuracy is of networks that classify digits, and "
                f"{others[0]} is to {find_model(others[0]).task}; leave it out, or the task"
            )
        if self.precision != "float32" and (self.kind == "cpu" or "layers" in self.tasks):
            what = "the CPU" if self.kind == "cpu" else "the task layers"
            raise ArgumentError(
                f"{what} is timed in float32 only, got precision {self.precision!r}; use float32"
            )
        threads = 1 if self.threads is None else self.threads
        most = max(self.batch_sizes, default=1)
        if self.kind == "cuda" and most > EPOCH:
            raise ArgumentError(
                f"a batch on a GPU holds {EPOCH:,} images at most, got {most}; "
                "use a smaller --batch-size"
            )
        for what, number, limit in (
            ("number of threads", threads, MOST),
            ("number of rounds", self.rounds, MOST),
            ("number of seeds", self.n_seeds, MOST),
            *(("batch size", size, EPOCH) for size in self.batch_sizes),
        ):
            if number < 1:
                raise ArgumentError(f"the {what} must be 1 or more, got {number}")
            if number > limit:
                raise ArgumentError(f"the {what} must be {limit:,} at most, got {number}")
        if not 0 < self.seconds <= HOUR:
            raise ArgumentError(f"a turn must take some seconds, got {self.seconds}; try 0.3")

    @cached_property
    def place(self) -> Device:
        """The device."""
        return get_device(self.device)

    @property
    def kind(self) -> str:
        """The kind of device, "cpu" or "cuda"."""
        return self.place.name.partition(":")[0]

    @property
    def n_seeds(self) -> int:
        """Runs to an accuracy."""
        return SEEDS[self.kind] if self.seeds is None else self.seeds

    @cached_property
    def n_threads(self) -> int:
        """Threads of each contestant."""
        return available_cores() if self.threads is None else chosen_threads(self.threads)

    @property
    def field(self) -> list[Contestant]:
        """The contestants that take part."""
        known = timed_on(self.kind)
        wanted = {OWN, *(self.contestants or known)}
        return [contestant for name, contestant in known.items() if name in wanted]

    @property
    def left_out(self) -> dict[str, str]:
        """The contestants that do not take part, and why."""
        reasons = {entry.name: entry.obstacle(self.precision) for entry in self.field}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    @property
    def plan(self) -> list[tuple[str, str, int]]:
        """Model, task and batch size of every case."""
        sizes = {
            "train": self.batch_sizes or BATCH_SIZES,
            "predict": PREDICTED,
            "layers": self.batch_sizes or (layers.BATCH_SIZE,),
            "accuracy": (accuracy.BATCH_SIZE,),
        }
        later = {**sizes, "train": self.batch_sizes or BATCH_SIZES_LATER}
        return [
            (model, task, batch_size)
            for task in self.tasks or TASKS
            for model in self.models or (FIELD if task in TASKS else NAMES)
            for batch_size in (sizes if model in NAMES else later)[task]
        ]


def run(
    options: Options,
    *,
    begin: Callable[[Record], None] = lambda _: None,
    show: Callable[[Record], None] = lambda _: None,
) -> Record:
    """Measure everything. Whoever fails in a case is left out of it.

    Parameters
    ----------
    begin : is given the record before the first case
    show : is given each case as soon as it is done
    """
    record: Record = {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": options.place.name,
        "precision": options.precision,
        **machine.description(options.place),
        "cores": available_cores(),
        "threads": options.n_threads,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rates": machine.rates(options.place, options.n_threads),
        "left_out": options.left_out,
        "cases": [],
    }
    plan, dataset = options.plan, None
    if "accuracy" in options.tasks:
        try:
            dataset = load_dataset("mnist", download=False)
        except DataNotFoundError as error:
            record["left_out"]["accuracy"] = str(error)
            plan = [case for case in plan if case[1] != "accuracy"]
    begin(record)
    most = max((images_needed(size, options.place.name) for _, _, size in plan), default=1)
    images, labels = synthetic_digits(most)
    for model, task, batch_size in plan:
        if task in TASKS_ALONE:
            result = alone(model, task, batch_size, options, images, dataset)
        else:
            with tempfile.TemporaryDirectory(prefix="xpnet-bench-") as directory:
                case = prepare(
                    Path(directory),
                    model,
                    task,
                    batch_size,
                    options.n_threads,
                    images,
                    labels,
                    options.place.name,
                    options.precision,
                )
                result = measure(case, options, record["rates"])
        record["cases"].append(result)
        show(result)
    return record


def alone(
    model: str,
    task: str,
    batch_size: int,
    options: Options,
    images: np.ndarray,
    dataset: Dataset | None,
) -> Record:
    """Do what nobody but xpnet takes part in, in this process."""
    place, threads, precision = options.place, options.n_threads, options.precision
    try:
        if task == "layers":
            batch = images[:batch_size]
            return layers.measure(model, batch, place, threads, options.rounds, options.seconds)
        assert dataset is not None
        return accuracy.measure(model, dataset, options.n_seeds, place, threads, precision)
    except Exception as error:  # the other cases can still tell something
        return {
            "model": model,
            "task": task,
            "optimizer": find_model(model).optimizer,
            "batch_size": batch_size,
            "device": place.name,
            "precision": precision,
            "left_out": {OWN: f"it failed: {told(error)}"},
            "failed": [OWN],
        }


def measure(case: Case, options: Options, rates: Mapping[str, Mapping[str, float]]) -> Record:
    """Let all who enter a case take turns. Whoever fails is left out, and its turns are dropped."""
    field = [contestant for contestant in options.field if contestant.enters(case)]
    starts: dict[str, Start] = {}
    excuses = {contestant.name: contestant.excuse(case) for contestant in field}
    left_out = {name: excuse for name, excuse in excuses.items() if excuse is not None}
    unavailable = set(left_out)
    occupied: dict[str, int | None] = {}
    with ExitStack() as stack:
        children: dict[str, Child] = {}
        for contestant in field:
            if contestant.name in left_out:
                continue
            with leaving_out(contestant.name, left_out, unavailable):
                child = children[contestant.name] = Child(contestant, case, options.seconds)
                stack.callback(child.close)
        for name, child in children.items():
            with leaving_out(name, left_out, unavailable):
                child.wait()
        for name in [name for name in children if name not in left_out]:
            free = _free(options.place)
            with leaving_out(name, left_out, unavailable):
                starts[name] = children[name].start()
                occupied[name] = _taken(free, _free(options.place))
        turns = interleaved({name: children[name] for name in starts}, options.rounds, left_out)
    times = {name: [turn.milliseconds for turn in own] for name, own in turns.items()}
    best = case.device if case.on_gpu else str(case.threads)
    gflops, gigabytes = (rates[name][best] for name in RATES)
    floor = case.flops / gflops / 1e6
    rows = {
        name: _row(starts[name], turns[name], case, floor) | {"gpu_memory_mib": occupied[name]}
        for name in turns
    }
    return {
        "model": case.model,
        "task": case.task,
        "optimizer": case.optimizer if case.task == "train" else None,
        "batch_size": case.batch_size,
        "device": case.device,
        "precision": case.precision,
        "flops": case.flops,
        "floor_milliseconds": floor,
        "moved_bytes": case.moved_bytes,
        "copy_milliseconds": case.moved_bytes / gigabytes / 1e6,
        "best_other": best_other(rows),
        "contestants": rows,
        "ratios": ratios(times, OWN),
        "left_out": left_out,
        "failed": [name for name in left_out if name not in unavailable],
    }


@contextmanager
def leaving_out(
    name: str, left_out: dict[str, str], unavailable: set[str] | None = None
) -> Iterator[None]:
    """Note why a contestant cannot go on, and let the others do so."""
    try:
        yield
    except (ContestantError, UnavailableError) as reason:
        left_out[name] = str(reason)
        if unavailable is not None and isinstance(reason, UnavailableError):
            unavailable.add(name)


def _free(device: Device) -> int | None:
    return None if device.is_host else device.free_bytes()


def _taken(before: int | None, after: int | None) -> int | None:
    """MiB of a GPU that are free no more; None where there is no such memory."""
    return None if before is None or after is None else (before - after) // machine.MiB


def interleaved(
    children: Mapping[str, Child], rounds: int, left_out: dict[str, str]
) -> dict[str, list[Turn]]:
    """Let each take its turns, round by round; whoever fails in one is noted in `left_out`.

    Every other round goes backwards, so that nobody always follows the same one. A turn in which
    other processes were busy is repeated; as many such repeats as there are turns are enough.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in children}
    names, repeats = list(children), rounds * len(children)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            if name in left_out:
                continue
            time.sleep(PAUSE)
            with leaving_out(name, left_out):
                turn = children[name].turn()
                while turn.disturbed and repeats:
                    repeats -= 1
                    time.sleep(machine.SETTLE)
                    turn = children[name].turn()
                turns[name].append(turn)
    return {name: own for name, own in turns.items() if name not in left_out}


def _row(start: Start, turns: list[Turn], case: Case, floor: float) -> Record:
    """Record what is kept of a contestant's turns."""
    times = [turn.milliseconds for turn in turns]
    median = spread(times)["median"]
    faults = [turn.page_faults for turn in turns if turn.page_faults is not None]
    watched = [turn.disturbed for turn in turns if turn.disturbed is not None]
    return {
        "milliseconds": spread(times) | {"rounds": times},
        "images_per_second": case.batch_size / median * 1000,
        "epoch_seconds": math.ceil(EPOCH / case.batch_size) * median / 1000,
        "share_of_sgemm": floor / median,
        "steps_a_turn": start.steps,
        "page_faults_a_step": float(np.median(faults)) if faults else None,
        "memory_before_mib": start.memory_before,
        "memory_peak_mib": turns[-1].peak_memory,
        "disturbed_turns": sum(watched) if watched else None,
        "description": dict(start.description),
    }
