"""The command line: `xpnet train`, tune, evaluate, predict, segment, detect, generate and so on."""

import errno
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

import click

from xpnet import __version__
from xpnet.arrays import cuda
from xpnet.cli import INTERRUPTED
from xpnet.cli.bench import bench
from xpnet.cli.caption import caption
from xpnet.cli.data import show_data
from xpnet.cli.detect import detect
from xpnet.cli.evaluate import evaluate
from xpnet.cli.generate import generate
from xpnet.cli.info import info
from xpnet.cli.names import in_options
from xpnet.cli.play import play
from xpnet.cli.predict import predict
from xpnet.cli.segment import segment
from xpnet.cli.style import style
from xpnet.cli.summary import summary
from xpnet.cli.train import train
from xpnet.cli.tune import tune
from xpnet.cli.write import write
from xpnet.errors import XPNetError
from xpnet.notice import notice, standard_output
from xpnet.train.signals import Interrupted

USAGE_ERROR, UNREAD = 2, 141
"""Exit codes; the last is a shell's for a program whose reader has gone, such as `head`."""
LONG = ("train", "tune")
"""Commands whose work matters more than who reads what they say."""


def run(loaded: Callable[[], object]) -> None:
    """Run the command line; anything a user can cause ends in one line and exit code 2.

    `loaded` is called first, where an interrupt is told in one line already. Where standard output
    cannot be written, the work is done all the same, and the exit code tells.
    """
    with standard_output() as output:
        _run(loaded)
    if output.error is None:
        return
    if output.error.errno != errno.EPIPE:
        reason = output.error.strerror or output.error
        _fail(f"standard output could not be written: {reason}; everything else was done")
    sys.exit(USAGE_ERROR if sys.argv[1:2] and sys.argv[1] in LONG else UNREAD)


def _run(loaded: Callable[[], object]) -> None:
    try:
        loaded()
        with warnings.catch_warnings():
            # NumPy's, of numbers that run over: what comes of them is told as an error.
            warnings.simplefilter("ignore", RuntimeWarning)
            commands.main(prog_name="xpnet", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as help_page:
        click.echo(help_page.format_message())
    except click.UsageError as error:
        error = _with_one_guess(error)
        given = sys.argv[1] if sys.argv[1:] and sys.argv[1] in commands.commands else ""
        page = error.ctx.command_path if error.ctx else f"xpnet {given}".rstrip()
        _fail(f"{error.format_message().rstrip('.')}; see `{page} --help`")
    except Interrupted as stop:
        notice(str(stop))
        sys.exit(128 + stop.number)
    except XPNetError as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        notice("interrupted")
        sys.exit(INTERRUPTED)
    except Exception as error:  # CuPy's and CUDA's, wherever they come from
        if (told := cuda.explained(error)) is not None:
            _fail(str(told))
        if isinstance(error, OSError):  # such as of a directory that is there no more
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"the system refuses: {where}{error.strerror or error}")
        if not isinstance(error, MemoryError):
            raise
        _fail(f"there is too little memory ({error}); use a smaller network, or a smaller batch")


def _with_one_guess(error: click.UsageError) -> click.UsageError:
    """Of an option cut short, only the one that it is the beginning of is named."""
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        longer = [each for each in error.possibilities or () if each.startswith(name)]
        if len(longer) == 1:
            return click.NoSuchOption(name, possibilities=longer, ctx=error.ctx)
    return error


def _fail(message: str) -> None:
    notice(f"error: {message}")
    sys.exit(USAGE_ERROR)


class Commands(click.Group):
    """The commands; what a library's error calls an argument is told as the command's option."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # of which click would make two lines
            raise Interrupted("interrupted", signal.SIGINT) from None
        except XPNetError as error:
            command = self.commands.get(ctx.invoked_subcommand or "")
            params = command.params if command else []
            error.args = (in_options(str(error), params, sys.argv[2:]),)
            raise


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, message="xpnet %(version)s")
def commands() -> None:
    """Neural networks from scratch, on NumPy and CuPy.

    `xpnet train` is where to begin; `xpnet COMMAND --help` says more of each command.
    """


for command in (
    train,
    tune,
    evaluate,
    predict,
    segment,
    detect,
    caption,
    generate,
    play,
    style,
    write,
    summary,
    bench,
    info,
    show_data,
):
    commands.add_command(command)
