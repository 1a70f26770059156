"""A database server that may fall silent for a while."""

import inspect
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from math import inf
from typing import Any, TypeVar
from weakref import WeakSet

import optuna
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, PendingRollbackError, SQLAlchemyError

from xpnet.errors import OutputError
from xpnet.notice import notice
from xpnet.train.search.address import redacted, told

T = TypeVar("T")

PATIENCE = 20
"""Seconds for which a server is waited for; with those between two signs of life less than `GRACE`,
so that no trial of a process that waited is taken for dead."""
SILENCE, PAUSE = 2, 0.5
"""Seconds without an answer after which the user is told, and between two attempts."""
CONNECTING = 10
"""Seconds for one connection."""

KEPT = "what was finished is kept, and the same command goes on from there"

STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, SQLAlchemyError)


def is_outage(error: BaseException) -> bool:
    """Tell whether a server is away or too busy, so that the same may succeed a little later.

    What SQLite says so is no outage: it has waited for other processes already.
    """
    cause = error if isinstance(error, SQLAlchemyError) else error.__cause__
    away = isinstance(cause, OperationalError | PendingRollbackError)
    away = away or getattr(cause, "connection_invalidated", False)
    return bool(away) and "sqlite" not in type(getattr(cause, "orig", None)).__module__


class PatientStorage(optuna.storages.RDBStorage):
    """Optuna's storage, which asks again what a server that is away did not answer.

    Every request is a transaction of its own. Of a trial whose begin was written twice, or whose
    end was, the search takes care as of one that was killed. A server that is stopped neither
    answers nor refuses: a thread looks how long requests take, and cuts their connections in time.

    Attributes
    ----------
    lost : the error of a server that was waited for in vain; every later request raises it
    tell : whether a line tells the user of waiting
    """

    def __init__(self, url: str, arguments: dict[str, Any], *, tell: bool, **options: Any) -> None:
        self.lost: OutputError | None = None
        self.tell, self._told = tell, False
        self._asking: dict[int, float] = {}
        self._connections: WeakSet[Any] = WeakSet()
        self._closed = threading.Event()
        try:
            super().__init__(url, arguments, **options)
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise
        logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what it warns of, we tell
        if make_url(url).get_backend_name() != "sqlite":
            event.listen(self.engine, "checkout", lambda held, *_: self._connections.add(held))
            threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Leave the database."""
        self._closed.set()
        with suppress(*STORAGE_ERRORS):
            self.scoped_session.remove()
        self.engine.dispose()

    def record_heartbeat(self, trial_id: int) -> None:
        """Give a sign of life; those that a silent server does not take are left out."""
        with suppress(*STORAGE_ERRORS):
            self._once(lambda: super(PatientStorage, self).record_heartbeat(trial_id))

    def begin_heartbeat(self, trial_id: int) -> None:
        """Give a trial's first sign of life, which is not left out."""
        self.patiently(lambda: super(PatientStorage, self).record_heartbeat(trial_id))

    def patiently(self, request: Callable[[], T]) -> T:
        """Make a request, until it is answered, for `PATIENCE` seconds.

        Raises
        ------
        OutputError
            The server did not come back.
        """
        if threading.get_ident() in self._asking:
            return request()  # a part of another one
        began = time.monotonic()
        while self.lost is None:
            try:
                answer = self._once(request)
            except STORAGE_ERRORS as error:
                if not is_outage(error):
                    raise
                waited = time.monotonic() - began
                if waited > PATIENCE:
                    self.lost = OutputError(
                        f"the storage {redacted(self.url)} did not answer for {PATIENCE} seconds "
                        f"({told(error, self.url)}); {KEPT}"
                    )
                elif waited > SILENCE:
                    self._tell()
                time.sleep(PAUSE)
            else:
                self._told = False
                return answer
        raise self.lost

    def _once(self, request: Callable[[], T]) -> T:
        """Make a request that is watched."""
        self._asking[threading.get_ident()] = time.monotonic()
        try:
            return request()
        finally:
            del self._asking[threading.get_ident()]

    def _watch(self) -> None:
        while not self._closed.wait(PAUSE):
            longest = time.monotonic() - min(self._asking.copy().values(), default=inf)
            if longest > PATIENCE:
                for connection in list(self._connections):
                    _cut(connection)
            elif longest > SILENCE:
                self._tell()

    def _tell(self) -> None:
        if self.tell and not self._told:
            self._told = True
            notice(
                f"the storage {redacted(self.url)} does not answer; waiting for it, {PATIENCE} "
                "seconds at most"
            )


def _cut(connection: Any) -> None:
    """End a connection that another thread waits at, which is then told that it has ended."""
    with (
        suppress(Exception),  # closed already, or of a driver that hides its socket
        socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as end,
    ):
        end.shutdown(socket.SHUT_RDWR)


def _patient(method: Callable[..., T]) -> Callable[..., T]:
    @wraps(method)
    def patient(self: PatientStorage, *arguments: Any, **options: Any) -> T:
        return self.patiently(lambda: method(self, *arguments, **options))

    return patient


# What a request is, Optuna changes at times: all that its storage does is made patient.
for _name, _method in vars(optuna.storages.RDBStorage).items():
    if inspect.isfunction(_method) and _name[:2] != "__" and _name not in vars(PatientStorage):
        setattr(PatientStorage, _name, _patient(_method))
