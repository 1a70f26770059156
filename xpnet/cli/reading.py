"""Pictures as commands are given them: files of which some may not be readable."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from xpnet.errors import XPNetError
from xpnet.notice import notice

T = TypeVar("T")

AT_A_TIME = 10
"""Pictures: what the layers make of a photograph takes some 30 MB."""

UNREADABLE = 2
"""Exit code where a picture could not be read."""


def readable(paths: Iterable[str], read: Callable[[str], T]) -> list[tuple[str, T]]:
    """Read some pictures, each with its path; those that cannot be read are told, and left out."""
    found = []
    for path in paths:
        try:
            found.append((path, read(path)))
        except XPNetError as error:
            notice(f"error: {error}")
    return found
