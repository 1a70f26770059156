"""Experiments that check themselves: what the scripts for the books' figures share.

A script answers one question. It defines `run(lab)`, which computes, draws into `lab.figure(...)`
and states what must come out with `lab.check(...)`; `main(run, __doc__)` gives it a command line.
A run leaves a picture and a JSON record side by side, and exit code 1 if a check failed. The record
says when and where it was made: `scripts/reproduce.py` runs experiments, and makes one page of the
records of this run and of earlier ones.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xpnet.arguments import real
from xpnet.arrays import Device, get_device, versions
from xpnet.data import Dataset, load_dataset, synthetic_digits
from xpnet.data.captions import CaptionScenes, caption_scenes
from xpnet.data.scenes import Scenes, digit_scenes, road_scenes
from xpnet.data.tiny import TinyImages, draw_tiny_images, load_tiny_images
from xpnet.errors import ArgumentError, OutputError
from xpnet.files.atomic import atomic_write, make_directory, write_text
from xpnet.notice import show
from xpnet.report.script import FAILED, Script, question

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Check:
    """A statement about a result."""

    what: str
    book: str
    """The value that the book prints or says, or "" where it gives none."""
    band: str
    """The values that are accepted, in words."""
    measured: str
    passed: bool | None
    """None where the run could not tell, being too short or on other data than the book's."""


NOT_RUN = "not run: "
"""Begins what is told instead of a number that could not be measured."""

KEYS = {"question", "picture", "checks", "passed", "seconds", "device", "seed", "quick", "versions"}
CHECK_KEYS = {field.name for field in fields(Check)}
"""What every record has had, and each of its checks; date and machine are newer."""


class Lab:
    """The workplace of an experiment: device, data, figure, and the checks it states.

    Parameters
    ----------
    device, seed : to compute on, and of everything random
    quick : make do with little: a few steps on drawn digits. Checks marked `full` are then noted
        and not judged.
    data, data_dir : as on the command line; for experiments that need images
    out : directory of the picture and the record
    name : of both files, which is the script's
    """

    def __init__(
        self,
        name: str,
        *,
        device: Device,
        seed: int = 0,
        quick: bool = False,
        data: str = "auto",
        data_dir: str | None = None,
        out: Path = Path(),
    ) -> None:
        self.name, self.device, self.seed, self.quick, self.out = name, device, seed, quick, out
        self._data, self._data_dir = data, data_dir
        self.checks: list[Check] = []
        self._figure: Figure | None = None
        self._tiny: TinyImages | None = None
        self._scenes: Scenes | CaptionScenes | None = None
        self._plays = False

    def __repr__(self) -> str:
        mode = ", quick" if self.quick else ""
        return f"<Lab {self.name} on {self.device.name}{mode}>"

    @property
    def rng(self) -> np.random.Generator:
        """A fresh generator of the seed."""
        return np.random.default_rng(self.seed)

    @cached_property
    def digits(self) -> Dataset:
        """The digits: as asked for, or in quick mode a small drawn set."""
        if self.quick:
            (x, t), (x_test, t_test) = synthetic_digits(1000), synthetic_digits(200, seed=2**32)
            return Dataset("synthetic", "synthetic digits, quick", x, t, x_test, t_test)
        return load_dataset(self._data, data_dir=self._data_dir)

    def tiny_images(self, model: str) -> TinyImages:
        """Find the images of Wakui's "M1" or "M2": the book's if they are at hand, else drawn ones.

        In quick mode, and where synthetic data are asked for, they are drawn.
        """
        if self.quick or self._data == "synthetic":
            self._tiny = draw_tiny_images(model, seed=self.seed)
        else:
            self._tiny = load_tiny_images(model, data_dir=self._data_dir, seed=self.seed)
        return self._tiny

    def scenes(
        self, name: Literal["digit-scenes", "road-scenes"], train_size: int, test_size: int
    ) -> Scenes:
        """Draw so many scenes; digits in them are the lab's."""
        if name == "road-scenes":
            found = road_scenes(train_size, test_size)
        else:
            found = digit_scenes(train_size, test_size, digits=self.digits)
        self._scenes = found
        return found

    def caption_scenes(self, train_size: int, test_size: int, novel_size: int) -> CaptionScenes:
        """Draw so many scenes with captions."""
        self._scenes = found = caption_scenes(train_size, test_size, novel_size)
        return found

    def play(self) -> None:
        """Say that what is learned from is played, and that no data are needed."""
        self._plays = True

    @property
    def complete(self) -> bool:
        """True in a full run on the data of the book's own numbers, or of a guide's."""
        if self._plays:
            return not self.quick
        if self._tiny is not None:
            return self._tiny.name == "book"
        if self._scenes is not None:
            return not self.quick and getattr(self._scenes, "digits", "") in ("", "mnist")
        return not self.quick and self.digits.name == "mnist"

    def few(self, full: int, quick: int) -> int:
        """Choose a number of steps, epochs or samples: `full`, or `quick` in quick mode."""
        return quick if self.quick else full

    def figure(self, width: float = 6.0, height: float = 4.0) -> "Figure":
        """Begin the experiment's picture, of that size in inches; the run's end writes it."""
        from matplotlib.figure import Figure

        self._figure = Figure(figsize=(width, height), layout="constrained")
        return self._figure

    def check(
        self,
        what: str,
        measured: Any,
        low: float | None = None,
        high: float | None = None,
        *,
        book: str = "",
        full: bool = False,
    ) -> None:
        """State that a number lies from `low` to `high`, either of which may be left open.

        With both open the number is reported, not judged. `full` marks what only a full run on
        MNIST can show, or, once `tiny_images` has been called, on the book's images; of road
        scenes, of those with captions, and of games once `play` has been called, any full run can.
        """
        value = float(measured)
        ok = bool((low is None or value >= low) and (high is None or value <= high))
        ends = (f"{low:.6g}" if low is not None else "", f"{high:.6g}" if high is not None else "")
        band = {
            (True, True): f"{ends[0]} to {ends[1]}" if ends[0] != ends[1] else ends[0],
            (True, False): f"at least {ends[0]}",
            (False, True): f"at most {ends[1]}",
            (False, False): "reported only",
        }[bool(ends[0]), bool(ends[1])]
        judged = None if low is None and high is None else ok
        self._note(what, book, band, f"{value:.6g}", judged, full)

    def equal(
        self,
        what: str,
        measured: Any,
        expected: Any,
        *,
        atol: float = 0.0,
        book: str = "",
        full: bool = False,
    ) -> None:
        """State that numbers or arrays equal what is expected, within `atol`."""
        got, want = np.asarray(measured), np.asarray(expected)
        ok = got.shape == want.shape and bool(np.all(np.abs(got - want) <= atol))
        band = _shown(want) + (f" +- {atol:g}" if atol else "")
        self._note(what, book or _shown(want), band, _shown(got), ok, full)

    def holds(
        self, what: str, ok: Any, measured: str = "", *, book: str = "", full: bool = False
    ) -> None:
        """State that something is so, such as an ordering; `measured` tells by which numbers."""
        self._note(what, book, "true", measured or str(bool(ok)), bool(ok), full)

    def skip(self, what: str, why: str, *, book: str = "", band: str = "") -> None:
        """Note that something could not be measured here, such as for want of a package."""
        self.checks.append(Check(what, book, band, f"{NOT_RUN}{why}", None))

    def _note(
        self, what: str, book: str, band: str, measured: str, ok: bool | None, full: bool
    ) -> None:
        judged = self.complete if full else True
        self.checks.append(Check(what, book, band, measured, ok if judged else None))

    def finish(self, question: str, seconds: float) -> dict[str, Any]:
        """Write the picture and the record, which is also returned.

        Where nothing could be measured, what an earlier run left stays, and is returned.
        """
        place = self.out / f"{self.name}.json"
        if self.checks and all(check.measured.startswith(NOT_RUN) for check in self.checks):
            before = read_record(place)
            if before is not None:
                return before
        picture = None
        if self._figure is not None:
            picture = f"{self.name}.png"
            with atomic_write(self.out / picture) as temporary:
                self._figure.savefig(temporary, format="png", dpi=90)
        used = self._tiny or self._scenes or vars(self).get("digits")
        record = {
            "script": self.name,
            "question": question,
            "picture": picture,
            "checks": [asdict(check) for check in self.checks],
            "passed": all(check.passed is not False for check in self.checks),
            "date": utc_now(),
            "seconds": round(seconds, 2),
            "device": self.device.name,
            "machine": ", ".join(self.device.describe().values()),
            "data": used.name if used is not None else None,
            "seed": self.seed,
            "quick": self.quick,
            "versions": versions(),
        }
        write_text(place, json.dumps(record, indent=2) + "\n")
        return record


def utc_now() -> str:
    """The minute that it is, as records give it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def read_record(place: Path) -> dict[str, Any] | None:
    """Read what a run has left, a record as `Lab.finish` writes it; None if there is no file.

    Raises
    ------
    ArgumentError
        The file is something else.
    """
    try:
        record = json.loads(place.read_text(encoding="utf-8"))
        if _is_record(record):
            return dict(record)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RecursionError, ValueError):  # no file, or no JSON
        pass
    raise ArgumentError(
        f"{place} is not the record of an experiment; remove it, or give another --out"
    )


def _is_record(record: Any) -> bool:
    """Tell whether a page can be made of a value."""
    if not isinstance(record, dict) or not record.keys() >= KEYS:
        return False
    texts = [record["question"], record["device"], record["picture"] or ""]
    texts += [record.get(name, "") for name in ("date", "machine")]
    if not real(record["seconds"]) or not isinstance(record["versions"], dict):
        return False
    if not isinstance(record["quick"], bool) or not isinstance(record["checks"], list):
        return False
    for check in record["checks"]:
        if not isinstance(check, dict) or not check.keys() >= CHECK_KEYS:
            return False
        if not isinstance(check["passed"], bool | None):
            return False
        texts += [check[name] for name in CHECK_KEYS - {"passed"}]
    return all(isinstance(text, str) for text in texts)


Run = Callable[[Lab], None]


def perform(run: Run, doc: str | None, lab: Lab) -> dict[str, Any]:
    """Run one experiment; its record, with the picture and the record written."""
    begin = time.perf_counter()
    run(lab)
    return lab.finish(question(doc), time.perf_counter() - begin)


def main(run: Run, doc: str | None) -> None:
    """Run a script from its command line: print its checks, and exit 1 if one failed."""

    def answer(options: argparse.Namespace) -> None:
        lab = lab_from(Path(sys.argv[0]).stem, options)
        record = perform(run, doc, lab)
        show(record["question"])
        for check in lab.checks:
            state = {True: "pass", False: "FAIL", None: "not judged"}[check.passed]
            show(f"  {state}: {check.what}: {check.measured} ({check.band})")
        show(f"record: {lab.out / (lab.name + '.json')}")
        if record["picture"] is not None:
            show(f"picture: {lab.out / record['picture']}")
        sys.exit(0 if record["passed"] else FAILED)

    lab_script(doc).run(answer)


def lab_script(doc: str | None) -> Script:
    """Make the command line that all experiments share."""
    return Script(doc, "data", "device", "seed", "quick", out="runs/reproduce")


def check_replaced(name: str, options: argparse.Namespace) -> None:
    """Refuse to replace the record of a full run by that of a quick one.

    Raises
    ------
    ArgumentError
        It would be so.
    """
    place = options.out / f"{name}.json"
    if options.quick and not (read_record(place) or {"quick": True})["quick"]:
        raise ArgumentError(
            f"{place} is of a full run, and a quick one would replace it; give another --out"
        )


def lab_from(name: str, options: argparse.Namespace) -> Lab:
    """Make the lab that the flags ask for, and its directory.

    Raises
    ------
    ArgumentError
        A quick run would replace the record of a full one.
    OutputError
        The directory cannot be made.
    """
    check_replaced(name, options)
    try:
        make_directory(options.out)
    except OSError as error:
        raise OutputError(
            f"{options.out} cannot be made: {error.strerror or error}; give another --out"
        ) from error
    return Lab(
        name,
        device=get_device(options.device),
        seed=options.seed,
        quick=options.quick,
        data=options.data,
        data_dir=options.data_dir,
        out=options.out,
    )


def _shown(x: np.ndarray) -> str:
    return np.array2string(x, precision=10, separator=", ", threshold=12).replace("\n", "")
