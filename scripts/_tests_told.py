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


def pytest_configure(config: Any) -> None:
    """Begin, but not in processes of pytest-xdist: the one they work for is told all they do."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Teller(Path(os.environ[FILE])))


class Teller:
    """Hears of tests, and writes into a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note that a test's preparation, call or clean-up has ended."""
        reason = ""
        if report.skipped:
            told = report.longrepr
            reason = told[2] if isinstance(told, tuple) else getattr(report, "wasxfail", "")
        self._write(report, when=report.when, seconds=report.duration, reason=reason)

    def pytest_collectreport(self, report: Any) -> None:
        """Note that a file could not be read for tests; others are not worth a word."""
        if report.failed:
            self._write(report, when="collect", seconds=0.0, reason="")

    def _write(self, report: Any, **more: Any) -> None:
        end = report.longreprtext.splitlines()[-END:] if report.failed else []
        line = json.dumps({"test": report.nodeid, "outcome": report.outcome, "end": end, **more})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
