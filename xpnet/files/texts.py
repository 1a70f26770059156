"""Reading text files that others may have written."""

import json
from pathlib import Path
from typing import Any

MAX_JSON = 2**24
"""Bytes of a JSON text; as Python's objects it takes up to thirty times as many."""


def read_json(path: str | Path, *, limit: int = MAX_JSON) -> Any:
    """Read a JSON file of at most so many bytes.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is longer, nested too deeply, or no JSON.
    """
    with Path(path).open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it has more than {limit} bytes")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
