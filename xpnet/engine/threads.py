"""Threads of the CPU: how many there are, which are free, and what matrix products use now."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, wraps
from math import inf
from pathlib import Path
from statistics import median
from threading import Condition, RLock, get_ident
from typing import Any, ParamSpec, Protocol, TypeVar
from weakref import WeakSet, ref

from xpnet.errors import ArgumentError
from xpnet.notice import notice

PROC = Path("/proc")
LOOKS, PAUSE = 11, 0.002
"""Times that the load is looked at, of which the median counts, and seconds between them."""
PATIENCE = 5.0
"""Seconds at most that a fork waits for the products of other threads."""


@cache
def _libraries() -> Any:
    """OpenBLAS, MKL or BLIS in this process; others, such as Apple's Accelerate, take no orders."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def blas_library() -> dict[str, str | int]:
    """The library that multiplies NumPy's matrices, and its threads now."""
    for library in _libraries().info():
        parts = (library.get(key) for key in ("internal_api", "version", "architecture"))
        name = " ".join(part for part in parts if part)
        return {"blas": name, "blas_threads": library["num_threads"]}
    return {"blas": "unknown"}


def available_cores() -> int:
    """Cores that this process may use: by its affinity, and by the quota of its control group."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, min(len(os.sched_getaffinity(0)), int(min(_quota(), 1e6))))
    return os.cpu_count() or 1


def _quota() -> float:
    """Cores whose time the control groups of this process may use; infinite without a limit."""
    found = inf
    with suppress(OSError, ValueError):
        for line in (PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, kinds, group = line.split(":", 2)
            if kinds and "cpu" not in kinds.split(","):
                continue
            root = Path("/sys/fs/cgroup", "cpu" if kinds else ".")
            place = root / group.lstrip("/")
            for directory in (place, *place.parents):  # each of which may have a limit
                if not directory.is_relative_to(root):
                    break
                with suppress(OSError, ValueError):
                    found = min(found, _limit_of(directory, unified=not kinds))
    return found


def _limit_of(group: Path, *, unified: bool) -> float:
    """The quota of one control group, whose files are those of the second version if unified."""
    if unified:
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
    else:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota, period = ((group / name).read_text(encoding="utf-8") for name in names)
    return inf if quota == "max" or int(quota) <= 0 else int(quota) / int(period)


_free: list[int] = []


def free_cores() -> int:
    """Cores that other programs leave free, one at least.

    Found out once in a process, so that all its engines agree. Only Linux tells how many threads
    run or wait for a core; elsewhere all count as free.
    """
    if not _free:
        looks = []
        for _ in range(LOOKS):
            looks.append(_others())
            time.sleep(PAUSE)
        cores = available_cores()
        share = cores / max(cores, os.cpu_count() or 1)  # of what runs on the whole machine
        _free.append(max(1, cores - round(median(looks) * share)))
    return _free[0]


def _others() -> int:
    """Threads of other processes that run now, or wait for a core."""
    with suppress(OSError, ValueError, IndexError):
        load = (PROC / "loadavg").read_text(encoding="utf-8")
        running = int(load.split()[3].partition("/")[0])
        if running <= 1:  # which is the one that asks
            return 0
        own = 0
        for task in (PROC / "self" / "task").iterdir():
            with suppress(OSError):  # it has ended
                own += (task / "stat").read_text(errors="replace").rpartition(") ")[2][:1] == "R"
        return max(0, running - own)
    return 0


def chosen_threads(threads: int | None) -> int:
    """`threads`, but no more than there are cores; if None one for each core that is free.

    And then no more than matrix products are limited to, such as by OPENBLAS_NUM_THREADS. Threads
    that have to wait for a core keep all others waiting, at every product.

    Raises
    ------
    ArgumentError
        There would not be even one.
    """
    cores = available_cores()
    if threads is None:
        limits: list[int] = [library["num_threads"] for library in _libraries().info()]
        most = min([cores, *limits])
        return most if most == 1 else min(most, free_cores())
    if threads < 1:
        raise ArgumentError(f"at least one thread is needed, got {threads}")
    if threads > cores:
        has = "1 core" if cores == 1 else f"{cores} cores"
        notice(
            f"warning: {threads} threads were asked for, and this process has {has}; "
            f"it uses {cores}"
        )
    return min(int(threads), cores)


def described_threads(asked: int | None, threads: int) -> dict[str, str | int]:
    """Tell of an engine's threads, and that other programs are why they are so few, if so."""
    about: dict[str, str | int] = {"threads": threads}
    if asked is None and _free and threads == _free[0] < (cores := available_cores()):
        about["threads_reason"] = f"{cores} cores are shared with other programs"
    return about


class blas_threads:  # noqa: N801, which is used as a function
    """A context in which the matrix products of this whole process use so many threads.

    The number is one for the process. So who needs another one waits for those who have begun, and
    who comes last leaves the number as it was before the first. Within one the outer one holds.

    Parameters
    ----------
    number : of threads
    """

    __slots__ = ("__weakref__", "_number")

    def __init__(self, number: int) -> None:
        self._number = number

    def __enter__(self) -> None:
        now = _now
        with now.lock:
            holders = now.holders
            if holders:
                now.forget()
            if holders and (now.number != self._number or now.waiting):
                now.wait()
            holders[id(self)] = ref(self), get_ident()
            if len(holders) == 1:
                now.begin(self._number)

    def __exit__(self, *_: object) -> None:
        now = _now
        with now.lock:
            now.holders.pop(id(self), None)
            if not now.holders:
                now.end()


class _Now:
    """The number of threads that matrix products use now, and who relies on it.

    Attributes
    ----------
    number : that is in force
    holders : who relies on it, and in which thread
    waiting : how many wait until nobody does: who comes then waits, too, or it would be for ever
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self._changed = Condition(self.lock)
        self.number = self.waiting = 0
        self.holders: dict[int, tuple[ref[blas_threads], int]] = {}
        self._before: list[tuple[Any, int, int]] = []

    def own(self) -> bool:
        """Tell whether the calling thread relies on the number."""
        return any(thread == get_ident() for _, thread in self.holders.values())

    def forget(self) -> None:
        """Forget who is gone: an interrupt came between the lines of entering or leaving."""
        for key, (holder, _) in list(self.holders.items()):
            if holder() is None:
                del self.holders[key]
        if not self.holders:
            self.end()

    def wait(self, seconds: float = inf) -> None:
        """Wait until nobody relies on the number, or at once if this thread does itself."""
        if self.own():
            return
        end = time.monotonic() + seconds
        self.waiting += 1
        try:
            while self.holders and time.monotonic() < end:
                self._changed.wait(0.1)
                self.forget()
        finally:
            self.waiting -= 1

    def begin(self, number: int) -> None:
        """Put a number in force."""
        self.number = number
        for library in _libraries().lib_controllers:
            before = library.num_threads
            if before is not None and before != number:
                _set(library, number)
                self._before.append((library, before, library.num_threads))

    def end(self) -> None:
        """Leave what was before, unless somebody else has changed it since."""
        while self._before:
            library, before, own = self._before[-1]
            if library.num_threads == own:
                _set(library, before)
            self._before.pop()
        if self.waiting:
            self._changed.notify_all()

    def after_fork(self) -> None:
        """Forget, in a child, the threads that it does not have."""
        holders = {k: who for k, who in self.holders.items() if who[1] == get_ident()}
        if self.holders and not holders:
            self.end()
        self.lock, self.holders, self.waiting = RLock(), holders, 0
        self._changed = Condition(self.lock)


def _set(library: Any, number: int) -> None:
    """Set a library's number of threads, which is the same for all of this process.

    From 3.8 on threadpoolctl lets the first thread alone set OpenBLAS's; it ignores the others.
    """
    getattr(library, "_real_set_num_threads", library.set_num_threads)(number)


_now = _Now()


class Forked(Protocol):
    """What has to be made anew in a process that is forked: threads, and locks that others held."""

    def after_fork(self) -> None:
        """Make it anew."""


_forked: "WeakSet[Forked]" = WeakSet()


def renew_after_fork(what: Forked) -> None:
    """Have `what.after_fork` called in every child that is forked from this process."""
    _forked.add(what)


P = ParamSpec("P")
T = TypeVar("T")


class TakesTurns:
    """What one thread at a time is at work with: see `in_turn`.

    A child of a fork does not have the thread that held the lock.
    """

    _turn: Any

    def _begin_turns(self) -> None:
        self._turn = RLock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Make anew the lock that a thread held which a child does not have."""
        if taken(self._turn):
            self._turn = RLock()
            self._torn_by_fork()

    def _torn_by_fork(self) -> None:
        """See to what that thread has left half done; nothing, if it is no harm."""


def in_turn(method: Callable[P, T]) -> Callable[P, T]:
    """Have a method called by one thread at a time; its object has a lock `_turn` for that."""

    @wraps(method)
    def waiting(*arguments: P.args, **options: P.kwargs) -> T:
        with arguments[0]._turn:  # type: ignore[attr-defined]
            return method(*arguments, **options)

    return waiting


def taken(lock: Any) -> bool:
    """Tell whether another thread holds a lock: in a child of a fork, one that is not there."""
    if lock.acquire(blocking=False):
        lock.release()
        return False
    return True


def _before_fork() -> None:
    """Let no product be under way in other threads: what a child gets is then whole."""
    _now.lock.acquire()
    if _now.holders:
        _now.wait(PATIENCE)


def _in_parent() -> None:
    _now.lock.release()


def _in_child() -> None:
    _now.after_fork()
    for what in list(_forked):
        what.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
