"""A plugin of pytest that writes down what comes of each test, at once: `-p _tests_told`.

Whoever ends the tests before their end then knows what they had found.
"""

import json
import os
from pathlib import Path
from typing import Any

FILE = "XPNET_TESTS_TOLD"
"""The environment variable that names the file: a line of JSON for each report."""
END = 30
"""Lines at most that are kept of a failure."""


def pytest_runtest_logreport(report: Any) -> None:
    """A test's preparation, call or clean-up has ended."""
    reason = ""
    if report.skipped:
        told = report.longrepr
        reason = told[2] if isinstance(told, tuple) else getattr(report, "wasxfail", "")
    _write(report, when=report.when, seconds=report.duration, reason=reason)


def pytest_collectreport(report: Any) -> None:
    """A file could not be read for tests; others are not worth a word."""
    if report.failed:
        _write(report, when="collect", seconds=0.0, reason="")


def _write(report: Any, **more: Any) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # the process that it works for is told, too
    end = report.longreprtext.splitlines()[-END:] if report.failed else []
    line = json.dumps({"test": report.nodeid, "outcome": report.outcome, "end": end, **more})
    with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
