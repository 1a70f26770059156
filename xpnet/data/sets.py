"""The data sets that runs are about, and what is known of each before it is loaded."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from xpnet.data.captions import caption_scenes
from xpnet.data.dataset import Dataset
from xpnet.data.scenes import DIGIT_CLASSES, ROAD_CLASSES, SCENES
from xpnet.errors import ArgumentError
from xpnet.games.known import GAMES, game_of, inputs_of, is_game
from xpnet.layers import Shape
from xpnet.models.registry import DIGITS, Task
from xpnet.models.vocabulary import SCENE_WORDS

_TEN = tuple(map(str, range(10)))


class Known(NamedTuple):
    """What is known of a data set before it is loaded."""

    image: Shape
    classes: dict[Task, tuple[str, ...]]
    """The tasks that it is for, and the names of the classes or actions of each in their order."""

    @property
    def is_game(self) -> bool:
        """Whether it is a game, and there are no pictures before it is played."""
        return "play" in self.classes


def _of_game(name: str) -> Known:
    game = game_of(name)
    return Known(inputs_of(game), {"play": game.actions})


SETS: dict[str, Known] = {
    "mnist": Known(DIGITS, {"classify": _TEN, "generate": _TEN}),
    "synthetic": Known(DIGITS, {"classify": _TEN, "generate": _TEN}),
    "road-scenes": Known((3, 48, 64), {"segment": ROAD_CLASSES}),
    "digit-scenes": Known((1, 64, 64), {"detect": _TEN, "segment": DIGIT_CLASSES}),
    "caption-scenes": Known((3, 32, 32), {"caption": SCENE_WORDS}),
    **{name: _of_game(name) for name in GAMES},
}
"""By name; besides, environments of Gymnasium are games, "gym:CartPole-v1"."""

PICTURE_SETS = tuple(name for name, known in SETS.items() if not known.is_game)
"""Those that have pictures before they are played."""

DIGIT_SETS = tuple(name for name, known in SETS.items() if "classify" in known.classes)
"""Those with a label for each picture."""

USUAL: dict[Task, str] = {
    "classify": "auto",
    "segment": "road-scenes",
    "detect": "digit-scenes",
    "caption": "caption-scenes",
    "play": "catch",
    "generate": "auto",
}
"""The data set of each task where none is named; of digits, MNIST's where they can be had. There is
no usual text."""


def is_text(data: str) -> bool:
    """Tell whether data are a text of the user's, a file FILE.txt, and no set of this house."""
    return data.lower().endswith(".txt")


def data_for(task: Task, data: str) -> str:
    """The data set for a task: the named one, or the usual one for "auto".

    Raises
    ------
    ArgumentError
        It is for other tasks.
    """
    if (task == "write") != is_text(data):
        if task == "write":
            raise ArgumentError(
                f"the network learns to write from a text of yours, got data {data}; give --data "
                "FILE.txt"
            )
        raise ArgumentError(
            f"data {data} are a text to write like, and the network is to {task}; use --model "
            "character-model"
        )
    if task == "write":
        return data
    if data == "auto":
        return USUAL[task]
    if task not in (known := known_of(data).classes):
        fitting = " or ".join(name for name, known in SETS.items() if task in known.classes)
        raise ArgumentError(
            f"data {data} are to {' or '.join(known)}, and the network is to {task}; use {fitting}"
        )
    return data


def known_of(data: str) -> Known:
    """What is known of a data set, which may be any of digits: "auto"."""
    if data not in SETS and is_game(data):
        return _of_environment(data)
    return SETS["mnist" if data == "auto" else data]


_of_environment = cache(_of_game)
"""Environments are made to be looked at."""


def is_known(data: str) -> bool:
    """Tell whether there is such a data set, or may be such an environment or text."""
    return data in SETS or is_game(data) or is_text(data)


def set_of(image: Shape, classes: int, task: Task) -> str | None:
    """The data set of such images that has so many classes for the task; None if there is none."""
    for name, known in SETS.items():
        if known.image == image and len(known.classes.get(task, ())) == classes:
            return name
    return None


def load_scenes(name: str, *, data_dir: str | Path | None = None) -> Dataset:
    """Load the scenes of this name; digits in them are MNIST's where they can be had."""
    if name == "caption-scenes":
        return caption_scenes()
    return SCENES[name](**({"data_dir": data_dir} if name == "digit-scenes" else {}))
