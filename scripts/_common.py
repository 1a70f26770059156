"""What the scripts that draw share: their flags, and errors that end in one line."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from xpnet.arrays import Device, get_device
from xpnet.data import Dataset, load_dataset
from xpnet.errors import XPNetError

USAGE_ERROR, INTERRUPTED = 2, 130


class Script(argparse.ArgumentParser):
    """The flags of a script, and its run.

    Parameters
    ----------
    doc : the script's docstring; its first line is the question
    out : where the result goes by default
    weights, data : whether a trained network and a data set are needed
    """

    def __init__(
        self, doc: str | None, *, out: str, weights: bool = True, data: bool = True
    ) -> None:
        super().__init__(description=(doc or "").partition("\n")[0])
        if weights:
            self.add_argument("--weights", type=Path, required=True, help="of a trained network")
        if data:
            self.add_argument("--data", default="auto", help="mnist, synthetic or auto")
            self.add_argument("--data-dir", help="directory of MNIST's four files")
        self.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
        self.add_argument("--out", type=Path, default=Path(out), help="where the result goes")

    def run(self, answer: Callable[[argparse.Namespace], None]) -> None:
        """Answer the question; anything a user can cause ends in one line and exit code 2."""
        try:
            answer(self.parse_args())
        except XPNetError as error:
            self.error(" ".join(str(error).split()))
        except KeyboardInterrupt:
            self.exit(INTERRUPTED, f"{self.prog}: interrupted\n")

    def error(self, message: str) -> NoReturn:
        """End with a line, without argparse's page of usage."""
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        sys.exit(USAGE_ERROR)


def open_device(options: argparse.Namespace) -> Device:
    """The device of the flags, announced."""
    device = get_device(options.device)
    print(f"device: {device.name}")
    return device


def open_data(options: argparse.Namespace) -> Dataset:
    """The data of the flags, announced."""
    dataset = load_dataset(options.data, data_dir=options.data_dir)
    print(f"data: {dataset.source}")
    return dataset
