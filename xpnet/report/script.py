"""The command line of a script: the flags it takes, and errors that end in one line.

A script answers one question, which is the first line of its docstring.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from xpnet.arrays import Device, get_device
from xpnet.data import Dataset, load_dataset
from xpnet.errors import XPNetError
from xpnet.notice import show

FAILED, USAGE_ERROR, INTERRUPTED = 1, 2, 130
FLAGS: dict[str, dict[str, Any]] = {
    "weights": {"type": Path, "required": True, "help": "of a trained network"},
    "data": {"default": "auto", "help": "mnist, synthetic or auto"},
    "data-dir": {
        "help": "directory of MNIST's four files; the books' other data may also lie beside it"
    },
    "device": {"default": "auto", "help": "auto, cpu, cuda or cuda:N"},
    "seed": {"type": int, "default": 0, "help": "of everything random"},
    "quick": {"action": "store_true", "help": "a few steps on drawn digits"},
}
"""The flags that several scripts take, as `argparse` adds them."""


def question(doc: str | None) -> str:
    """Return the first line of a docstring."""
    return (doc or "").strip().partition("\n")[0]


class Script(argparse.ArgumentParser):
    """The flags of a script, and its run.

    Parameters
    ----------
    doc : the script's docstring, which `--help` shows
    flags : names of `FLAGS` that the script takes; "data" brings "data-dir"
    out : where the result goes by default; --out is always there
    """

    def __init__(self, doc: str | None, *flags: str, out: str | None = None) -> None:
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        for name, flag in FLAGS.items():
            if name in flags or (name == "data-dir" and "data" in flags):
                self.add_argument(f"--{name}", **flag)
        default = Path(out) if out else None
        self.add_argument("--out", type=Path, default=default, help="where the result goes")

    def run(
        self,
        answer: Callable[[argparse.Namespace], None],
        arguments: Sequence[str] | None = None,
    ) -> None:
        """Answer the question; anything a user can cause ends in one line and exit code 2."""
        try:
            answer(self.parse_args(arguments))
        except XPNetError as error:
            self.error(" ".join(str(error).split()))
        except KeyboardInterrupt:
            self.exit(INTERRUPTED, f"{self.prog}: interrupted\n")

    def error(self, message: str) -> NoReturn:
        """End with a line, without argparse's page of usage."""
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        sys.exit(USAGE_ERROR)


def open_device(options: argparse.Namespace) -> Device:
    """Open the device of the flags, and say which it is."""
    device = get_device(options.device)
    show(f"device: {device.name}")
    return device


def open_data(options: argparse.Namespace) -> Dataset:
    """Load the data of the flags, and say where they are from."""
    dataset = load_dataset(options.data, data_dir=options.data_dir)
    show(f"data: {dataset.source}")
    return dataset
