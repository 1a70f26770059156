"""Lines for the user that are no errors."""

import sys
from contextlib import suppress


def notice(line: str) -> None:
    """Tell the user something on standard error; where nobody reads that, nothing is lost."""
    with suppress(OSError, ValueError):  # a disk that is full, a stream that is closed
        if sys.stderr is not None:
            print(f"xpnet: {' '.join(line.split())}", file=sys.stderr, flush=True)
