"""A bar for work that takes more than two seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xpnet.notice import on_terminal

PATIENCE = 2.0
"""Seconds before there is a bar."""


@contextmanager
def bar(unit: str, total: int | None = None) -> Iterator[Callable[[], object]]:
    """A bar on a terminal, while the context is open; what is given moves it by one."""
    from tqdm import tqdm

    with tqdm(
        total=total,
        unit=unit,
        leave=False,
        delay=PATIENCE,
        disable=not on_terminal(sys.stderr),  # so that logs stay readable
        mininterval=0.2,
    ) as shown:
        yield shown.update
