"""A contestant in a process of its own: what runs there, and the handle that its parent holds."""

import multiprocessing
import os
import signal
import textwrap
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from xpnet.bench.cases import Case, Ready, UnavailableError
from xpnet.bench.contestants import Contestant
from xpnet.bench.machine import Watch, memory, page_faults
from xpnet.bench.timing import seconds_of, warm_up
from xpnet.errors import XPNetError

PATIENCE = 600
"""Seconds without an answer until a contestant is taken for hung."""
LONGEST = 300
"""Characters of an error that are kept; those of compilers run to pages."""


class ContestantError(XPNetError, RuntimeError):
    """A contestant raised an error, or its process died; the others go on without it."""


class Turn(NamedTuple):
    """The measurements of a turn."""

    milliseconds: float
    """Time of a step."""
    page_faults: float | None
    """Page faults of a step."""
    disturbed: bool | None
    """True if other processes were busy; None where the system does not tell."""
    peak_memory: int | None
    """MiB, the most since the process began."""


class Start(NamedTuple):
    """A contestant's report once it is built and has warmed up."""

    steps: int
    """Steps of a turn."""
    memory_before: int | None
    description: Mapping[str, Any]


class Failure(NamedTuple):
    """A contestant's answer, instead of any other, when it cannot go on."""

    reason: str


class Child:
    """A contestant's process, which is started at once; `close` ends it, and so does its failure.

    Raises
    ------
    ContestantError
        In all methods but `close`, and at once: the contestant raised an error, died, or does not
        answer.
    UnavailableError
        In `start`: it cannot run on this machine.
    """

    def __init__(self, contestant: Contestant, case: Case, seconds: float) -> None:
        # A fork would inherit this process's memory, threads and C library as they are.
        spawn = multiprocessing.get_context("spawn")
        self._pipe, end = spawn.Pipe()
        arguments = (end, contestant, case, seconds)
        self._process = spawn.Process(target=_serve, args=arguments, daemon=True)
        try:
            with _environment(contestant.environment):
                self._process.start()
        except Exception as error:  # the system's, or that of what cannot be sent there
            self._pipe.close()
            raise ContestantError(f"its process cannot be started: {told(error)}") from error
        finally:
            end.close()  # so that the pipe ends when the child does

    def wait(self) -> None:
        """Wait until it has imported what it needs, which several may do side by side."""
        self._answer()

    def start(self) -> Start:
        """Have it build its network and warm up."""
        answer = self._answer(ask=True)
        assert isinstance(answer, Start)
        return answer

    def turn(self) -> Turn:
        """Have it take its steps."""
        answer = self._answer(ask=True)
        assert isinstance(answer, Turn)
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing; it has nothing to lose."""
        self._pipe.close()
        self._process.kill()  # what hangs may not heed anything less
        self._process.join()

    def _answer(self, *, ask: bool = False) -> object:
        try:
            answer = self._received(ask)
            if isinstance(answer, UnavailableError):
                raise answer
            if isinstance(answer, Failure):
                raise ContestantError(f"it failed: {answer.reason}")
        except BaseException:
            self.close()
            raise
        return answer

    def _received(self, ask: bool) -> object:
        try:
            if ask:
                self._pipe.send(None)
            answered = self._pipe.poll(PATIENCE)
            if answered:
                return self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            why = "; memory may have run out: try a smaller --batch-size" if code == -9 else ""
            raise ContestantError(f"its process ended with exit code {code}{why}") from None
        except Exception as error:
            raise ContestantError(f"its answer cannot be read: {told(error)}") from error
        raise ContestantError(f"it has not answered for {PATIENCE} seconds")


def told(error: BaseException) -> str:
    """Tell an error in a line: its kind, what it says, and where it was raised."""
    text = textwrap.shorten(f"{type(error).__name__}: {error}", LONGEST, placeholder=" ...")
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{text} ({Path(place.filename).name}, line {place.lineno})"


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """Variables for a process that starts now: the C library reads them at its start only."""
    kept = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _serve(pipe: Connection, contestant: Contestant, case: Case, seconds: float) -> None:
    """Build a contestant and let it take turns until the parent closes the pipe, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends this process
    try:
        module, arrays = import_module(contestant.module), case.load()
        before = memory()["now"]
        pipe.send(None)
        pipe.recv()
        ready: Ready = module.build(case, arrays, **contestant.settings)
        calls = warm_up(ready, seconds)
        pipe.send(Start(calls * ready.steps, before, dict(ready.describe())))
        while True:
            pipe.recv()
            pipe.send(_turn(ready, calls))
    except (EOFError, ConnectionError):
        return
    except UnavailableError as reason:
        pipe.send(reason)
    except Exception as error:
        pipe.send(Failure(told(error)))


def _turn(ready: Ready, calls: int) -> Turn:
    if calls > 1:
        seconds_of(ready, 1)  # finds cold caches, and threads asleep
    faults, watch = page_faults(), Watch()
    spent = seconds_of(ready, calls)
    disturbed, faults_then = watch.disturbed(), page_faults()
    steps = calls * ready.steps
    return Turn(
        spent / steps * 1000,
        None if faults is None or faults_then is None else (faults_then - faults) / steps,
        disturbed,
        memory()["peak"],
    )
