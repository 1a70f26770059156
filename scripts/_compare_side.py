"""A side of `compare_commits.py`: runs cases on the xpnet that PYTHONPATH names.

    python scripts/_compare_side.py CHECKOUT OUT    < {"first": 0, "names": [...]} as JSON

Each case leaves NUMBER.npz, its arrays, and NUMBER.json, all else, in OUT; they are counted from
`first`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import _compare_places as places
from _compare_cases import CASES, Case


def perform(case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Compute the arrays of a case by group and number, and its texts, or why there are none."""
    begin = time.perf_counter()
    try:
        found = case()
    except places.NotThereError as error:
        return {}, {"missing": str(error)}
    except Exception as error:
        line = (str(error).strip() or "no message").splitlines()[0]
        return {}, {"error": f"{type(error).__name__}: {line}"}
    texts = {group: items for group, items in found.items() if isinstance((items or [0])[0], str)}
    arrays = {
        f"{group}/{number}": np.asarray(item)
        for group, items in found.items()
        if group not in texts
        for number, item in enumerate(items)
    }
    return arrays, {"texts": texts, "seconds": time.perf_counter() - begin}


def main() -> None:
    """Perform the cases that are named on the standard input."""
    checkout, out = map(Path, sys.argv[1:])
    if places.root().resolve() != checkout.resolve():
        sys.exit(f"xpnet comes from {places.root()}, and not from {checkout}")
    (out / "ready").touch()
    given = json.load(sys.stdin)
    for number, name in enumerate(given["names"], start=given["first"]):
        arrays, record = perform(CASES[name])
        np.savez(out / f"{number}.npz", **arrays)
        # Last, and whole: where it is, the case is done.
        unfinished = out / f"{number}.unfinished"
        unfinished.write_text(json.dumps(record), encoding="utf-8")
        unfinished.rename(out / f"{number}.json")


if __name__ == "__main__":
    main()
