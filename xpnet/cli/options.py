"""Options that several commands have, and what becomes of them."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click

from xpnet.arrays import Device, cuda, get_device
from xpnet.cli.names import in_options
from xpnet.data import Dataset, load_dataset, texts
from xpnet.data.sets import DIGIT_SETS, PICTURE_SETS, is_known, is_text, load_scenes
from xpnet.engine import ENGINES, get_engine
from xpnet.errors import ArgumentError
from xpnet.games.environments import PREFIX
from xpnet.games.known import GAMES, Playing
from xpnet.models.own import is_own
from xpnet.models.registry import BOOK, OFFERED
from xpnet.models.two_layer_net import ACTIVATIONS, TwoLayerNet
from xpnet.train.record import PRECISIONS


class Place(click.Path):
    """A path. Click's own lets an empty text through, which is the directory that one is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is empty."""
        if not value:
            self.fail("a path is needed, got an empty text.", param, ctx)
        return super().convert(value, param, ctx)


T = TypeVar("T", Dataset, texts.Text)

DIRECTORY = Place(file_okay=False)
"""A directory, which need not exist."""
FILE = Place(dir_okay=False)
"""A file; what is wrong with one that does not exist, its reader says."""
PATH = Place()
"""Either."""

MOST = 2**31 - 1
"""The highest that can be counted to; more than that is a slip of the keyboard."""


class FiniteRange(click.FloatRange):
    """A range of numbers. Click's own lets NaN through, which is neither below nor above."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Refuse what is not finite, and what is out of range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


POSITIVE = FiniteRange(min=0, min_open=True)


class Whole(click.types.IntParamType):
    """A whole number, by that name."""

    name = "whole number"


class Number(click.types.FloatParamType):
    """A number, by that name."""

    name = "number"


class OneOf(click.Choice[str]):
    """One of some words, whatever of it is written large."""

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__(list(words), case_sensitive=False)


class DataName(OneOf):
    """The name of a data set, the file of a text, or gym: and the name of an environment.

    The last two are as they are written.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is none of these."""
        if isinstance(value, str) and is_text(value):
            return str(Path(value).expanduser().absolute())
        if isinstance(value, str) and value.startswith(PREFIX) and is_known(value):
            return value
        return super().convert(value, param, ctx)


_OF_BOOK = tuple(name for name in OFFERED if name in BOOK)
_OTHERS = ", ".join(name for name in OFFERED if name not in BOOK)


class ModelName(click.types.StringParamType):
    """The name of a network, whatever of it is written large, or module:function of one's own."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what is neither."""
        if value.lower() in OFFERED:
            return str(value).lower()
        if not is_own(value):
            near = get_close_matches(value.lower(), OFFERED, n=3) or _OF_BOOK
            self.fail(
                f"there is no network {value!r}; use {', '.join(near)} or another that --help "
                "tells, or module:function of your own.",
                param,
                ctx,
            )
        return str(value)


class ImageShape(click.types.StringParamType):
    """Channels, height and width, as 3x32x32."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no such shape."""
        sizes = re.fullmatch(r"(\d{1,5})x(\d{1,5})x(\d{1,5})", value) if value else None
        if sizes is None or 0 in (shape := tuple(map(int, sizes.groups()))):
            self.fail(
                "channels, height and width are needed, as 3x32x32, each from 1 to 99999, got "
                f"{value!r}.",
                param,
                ctx,
            )
        return shape


class Count(click.IntRange):
    """A whole number from `least` to `most`, which help does not show: nobody meets it."""

    name = "whole number"

    def __init__(self, least: int = 1, most: int = MOST) -> None:
        super().__init__(least, most)

    def _describe_range(self) -> str:
        return f"x>={self.min}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a number out of the range; the largest one is told to who goes beyond it."""
        number = Whole().convert(value, param, ctx)
        if self.max is not None and number > self.max:
            self.fail(f"{number} is above {self.max}, the largest number taken.", param, ctx)
        return super().convert(number, param, ctx)


class Text(click.types.StringParamType):
    """A text that is not empty, and not so long that no database takes it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a text that is empty or too long."""
        if not 1 <= len(value) <= 500:
            self.fail(f"1 to 500 characters are needed, got {len(value)}.", param, ctx)
        return value


def device_option(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take --device."""
    return click.option(
        "--device",
        type=str.lower,
        default="auto",
        metavar="NAME",
        help="xpnet computes on this device: cpu; cuda, the first GPU; cuda:N, GPU number N from "
        "0; or auto, the first GPU that can be used, or else the CPU.",
    )(command)


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take --engine, --no-graph, --threads, --precision, --skip-engine-check."""
    for option in (
        click.option(
            "--skip-engine-check",
            is_flag=True,
            show_default=False,
            help="The GPU's engine computes a first step without comparing it with the same step "
            "on the CPU, layer by layer.",
        ),
        click.option(
            "--no-graph",
            "graph",
            flag_value=False,
            default=True,
            show_default=False,
            help="A GPU's kernels are launched one by one, rather than as whole steps. That is "
            "slower, and helps to find errors.",
        ),
        click.option(
            "--precision",
            type=OneOf(PRECISIONS),
            help="A GPU multiplies matrices in this precision, which is faster and less exact. "
            "By default it multiplies in the network's own.",
        ),
        click.option(
            "--threads",
            type=Whole(),
            metavar="N",
            help="The CPU computes with N threads; by default with one for each core that is free.",
        ),
        click.option(
            "--engine",
            type=str.lower,
            default="auto",
            metavar="NAME",
            help="This engine computes: reference is the layers as they are written; cpu and cuda "
            "are those engines and no other; auto is the fastest that can.",
        ),
    ):
        command = option(command)
    return command


def data_options(
    command: Callable[..., None],
    *,
    sets: Iterable[str] = PICTURE_SETS,
    auto: str = "",
    texts: bool = False,
) -> Callable[..., None]:
    """Let a command take --data and --data-dir.

    Parameters
    ----------
    sets : the names that --data takes besides auto; with games, environments have names, too
    auto : what that means, where it is more than MNIST or else synthetic digits
    texts : whether a text of the user's will do, too
    """
    sets = tuple(sets)
    scenes = ""
    if "road-scenes" in sets:
        captioned = ", and so are those with captions" if "caption-scenes" in sets else ""
        scenes += f" Road scenes are drawn by xpnet{captioned}."
    if "digit-scenes" in sets:
        scenes += " Digit scenes are laid out of MNIST's digits, or synthetic ones."
    games = any(name in GAMES for name in sets)
    if games:
        scenes += " Games are played by xpnet, or are environments of Gymnasium, gym:CartPole-v1."
    if texts:
        scenes += " FILE.txt is a text of yours, in UTF-8, which a character-model learns."
    for option in (
        click.option(
            "--data-dir",
            type=DIRECTORY,
            help="MNIST's four files are in this directory. By default it is XPNET_DATA_DIR, and "
            "where that is not set the user's cache, into which they are downloaded (12 MB).",
        ),
        click.option(
            "--data",
            type=(DataName if games or texts else OneOf)(["auto", *sets]),
            default="auto",
            help="The digits are MNIST's, or synthetic ones, which xpnet draws itself; auto takes "
            f"MNIST where it can be had{auto}.{scenes}",
        ),
    ):
        command = option(command)
    return command


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take --model, --hidden-size and --activation."""
    for option in (
        click.option(
            "--activation",
            type=OneOf(ACTIVATIONS),
            help="The hidden units of a two-layer-net have this activation; by default it is relu.",
        ),
        click.option(
            "--hidden-size",
            type=Count(most=2**62),
            metavar="N",
            help="The hidden layer has N units; by default as many as in the book, 50 in a "
            "two-layer-net, 100 in a simple-convnet and 50 in a deep-convnet; each layer of a "
            "character-model has 128.",
        ),
        click.option(
            "--model",
            type=ModelName(),
            default="simple-convnet",
            metavar="NAME",
            help="The network has this name: two-layer-net, simple-convnet and deep-convnet are of "
            f"the book Deep Learning from Scratch; of papers are {_OTHERS}. Or it is what your own "
            "module:function makes, called with rng, device and dtype, and with input_shape and "
            "classes if it takes them.",
        ),
    ):
        command = option(command)
    return command


def weights_options(
    command: Callable[..., None], *, required: bool = True, more: str = ""
) -> Callable[..., None]:
    """Let a command take --weights, --model and --activation; `more` is help on the first."""
    for option in (
        click.option(
            "--model",
            type=ModelName(),
            metavar="NAME",
            help="The network is built by this name, or by your own module:function, and takes the "
            "weights. By default the file says what its network is, unless that has layers of "
            "your own.",
        ),
        click.option(
            "--activation",
            type=OneOf(ACTIVATIONS),
            help="The hidden units of a pickled network have this activation. The file does not "
            "say; sigmoid, as the book's, is assumed by default.",
        ),
        click.option(
            "--weights",
            type=PATH,
            required=required,
            help="The network is in this file or directory: a run's directory, a "
            "model.safetensors, a checkpoint, a pickle such as the books publish, or, if --model "
            f"builds it, a file of PyTorch's.{more}",
        ),
    ):
        command = option(command)
    return command


def engine_line(about: Mapping[str, str | int]) -> str:
    """Say in one line what computes."""
    threads = f", {n} thread{'s' * (n != 1)}" if (n := about.get("threads")) else ""
    threads += f" ({why})" if (why := about.get("threads_reason")) else ""
    products = f", products in {kind}" if (kind := about.get("precision")) else ""
    steps = f", steps {how}" if (how := about.get("steps")) else ""
    reason = f": {why}" if (why := about.get("engine_reason")) else ""
    check = f"; check {found}" if not reason and (found := about.get("engine_check")) else ""
    return f"{about.get('engine', 'reference')}{threads}{products}{steps}{reason}{check}"


def open_device(
    name: str,
    engine: str = "auto",
    *,
    threads: int | None = None,
    precision: str | None = None,
    graph: bool = True,
    dtype: str = "float32",
) -> Device:
    """Open the device of --device; which one `auto` found is told.

    Raises
    ------
    ArgumentError
        There is no such device, or the engine cannot compute there, or not so.
    DeviceError
        The device cannot be used.
    """
    device = get_device(name)
    if device.is_host:  # a GPU's engine knows only when it has compiled
        network = TwoLayerNet(1, 1, 2, rng=0, dtype=dtype, device=device)
        few = 1 if threads is None else min(threads, 1)
        get_engine(network, engine, few, precision=precision, graph=graph)
    elif engine not in ENGINES:
        raise ArgumentError(f"engine {engine!r} is unknown; use {', '.join(ENGINES)}")
    if name == "auto":
        click.echo(device_line(device))
    return device


def device_line(device: Device) -> str:
    """Say which device `auto` found."""
    return f"device: {device.name}" + (
        f" ({cuda.diagnose().problem})" if device.name == "cpu" else ""
    )


def open_game(name: str) -> Playing:
    """The game of --data, which is told."""
    game = Playing(name)
    click.echo(f"data: {game.source}")
    return game


def open_data(data: str, data_dir: str | None) -> Dataset:
    """Load the data set of --data and --data-dir; where it came from is told."""
    if data in ("auto", *DIGIT_SETS):
        return _told(load_dataset(data, data_dir=data_dir))
    return _told(load_scenes(data, data_dir=data_dir))


def open_text(path: str) -> texts.Text:
    """Load the text of --data; what is in it is told."""
    return _told(texts.load_text(path))


def _told(data: T) -> T:
    params = click.get_current_context().command.params
    click.echo(f"data: {in_options(data.source, params)}")
    return data
