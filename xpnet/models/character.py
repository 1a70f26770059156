"""A network that reads a text, character by character, and says what comes next."""

from collections.abc import Iterator, Mapping
from functools import partial
from math import isfinite
from typing import Any, Self

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device, get_device, to_numpy
from xpnet.arrays.random import WORD, random_words
from xpnet.errors import ArgumentError, shown
from xpnet.functions.init import shapes_alone
from xpnet.layers import LSTM, Embedding, Layer, SoftmaxWithLoss, StepsLast, TimeAffine
from xpnet.models.network import Network

STEPS = 64
"""Steps of a block that is learned from at once."""

DRAWS = 0xB3A0
"""The second word of the key of what is drawn in writing; the first is the seed."""

NAME = "characters"
"""What the network is called among a run's."""


class CharacterModel:
    """Scores for the next character of a text, from all that came before.

        embedding - LSTM - LSTM - affine,   trained by softmax and cross-entropy at every step

    of H numbers each. Its loss is the mean of -ln p(next character); divided by ln 2 it is bits per
    character. Graves 2013, "Generating sequences with recurrent neural networks", arXiv:1308.0850,
    sections 2 and 3.

    Parameters
    ----------
    characters : those that there are, in the order of their numbers
    hidden_size : H
    rng : NumPy generator or seed
    device, dtype : as in `Network`

    Attributes
    ----------
    networks : the one network, called "characters"

    Raises
    ------
    ArgumentError
        There are fewer than two characters, or one comes twice.
    """

    @partial(checked, but=("rng",))
    def __init__(
        self,
        characters: str,
        hidden_size: int = 128,
        *,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        if len(characters) < 2 or len(set(characters)) < len(characters):
            raise ArgumentError(
                "a model of a text needs at least two characters, each once, got "
                f"{characters[:40]!r}"
            )
        self.characters, self.hidden_size = characters, int(hidden_size)
        V, H, rng = len(characters), self.hidden_size, np.random.default_rng(rng)
        layers: dict[str, Layer] = {
            "embedding": Embedding(V, H, rng=rng),
            "lstm1": LSTM(H, H, rng=rng),
            "lstm2": LSTM(H, H, rng=rng),
            "affine": TimeAffine(H, V, std="xavier", rng=rng),
            "scores": StepsLast(),
        }
        network = Network(
            layers, SoftmaxWithLoss(), input_shape=(STEPS,), device=device, dtype=dtype
        )
        self.networks = {NAME: network}

    @classmethod
    def of(cls, networks: Mapping[str, Network], **arguments: Any) -> Self:
        """A model of a network that is there already, such as that of a file.

        Parameters
        ----------
        arguments : as for the constructor, but for rng, device and dtype

        Raises
        ------
        ArgumentError
            The network is another than these arguments make.
        """
        if networks.keys() != {NAME}:
            raise ArgumentError(f"a network called {NAME} is needed, got {', '.join(networks)}")
        given = networks[NAME]
        with shapes_alone():
            model = cls(**arguments, device=given.device, dtype=given.dtype)
        if given.description() != model.network.description():
            raise ArgumentError(f"{given} is not the network that these arguments make")
        model.networks = dict(networks)
        return model

    @property
    def network(self) -> Network:
        """The network: numbers of characters (N, T) to scores (N, characters, T)."""
        return self.networks[NAME]

    def arguments(self) -> dict[str, Any]:
        """The characters, and the numbers of each layer."""
        return {"characters": self.characters, "hidden_size": self.hidden_size}

    def __repr__(self) -> str:
        return f"CharacterModel({len(self.characters)} characters, {self.network!r})"

    def numbers(self, text: str) -> np.ndarray:
        """The numbers of a text's characters, int64.

        Raises
        ------
        ArgumentError
            A character is none of the model's.
        """
        number = {character: k for k, character in enumerate(self.characters)}
        if unknown := sorted(set(text) - number.keys()):
            raise ArgumentError(
                f"the model knows {len(self.characters)} characters, and not "
                f"{shown(' '.join(unknown))!s}; leave them out: it knows "
                f"{shown(self.characters[:200])}"
            )
        return np.asarray([number[character] for character in text], dtype=np.int64)

    @checked
    def write(
        self, length: int, prompt: str = "", *, temperature: float = 1.0, seed: int = 0
    ) -> Iterator[str]:
        """Go on with a text, one character after the other, each drawn from the model's own p.

            p = softmax(scores / temperature)

        Draws follow from the seed and the number of the character alone, on every device. Without a
        prompt the text begins as behind an end of line, if the model knows one.

        Parameters
        ----------
        length : characters to be written
        prompt : what comes before them
        temperature : below 1 likely characters become likelier; at 0 the likeliest is taken
        seed : from 0 to 2^32 - 1

        Raises
        ------
        ArgumentError
            A character of the prompt is none of the model's, or a number is out of bounds.
        """
        if length < 0:
            raise ArgumentError(f"a text has a length from 0 on, got {length}")
        if not (isfinite(temperature) and temperature >= 0):
            raise ArgumentError(f"temperature must be a number from 0 on, got {temperature}; try 1")
        if not 0 <= seed <= WORD:
            raise ArgumentError(f"seed must be from 0 to {WORD}, got {seed}")
        begin = "\n" if "\n" in self.characters else self.characters[0]
        return self._written(length, self.numbers(prompt or begin), temperature, (seed, DRAWS))

    def _written(
        self, length: int, ids: np.ndarray, temperature: float, key: tuple[int, int]
    ) -> Iterator[str]:
        network, host, state = self.network, get_device("cpu"), None
        for k in range(length):
            with network.device.guarded():
                scores, state, _ = network.unroll(network.device.asarray(ids[None, :]), state)
                last = to_numpy(scores[0, :, -1]).astype(np.float64)
            word = random_words(1, key=key, step=np.asarray([k]), device=host)
            chosen = _drawn(last, temperature, float(word[0]) / 2.0**32)
            ids = np.asarray([chosen])
            yield self.characters[chosen]


def _drawn(scores: np.ndarray, temperature: float, u: float) -> int:
    """The number whose share of 0 ... 1 holds u; of the highest score if the temperature is 0."""
    if temperature == 0:
        return int(np.argmax(scores))
    shares = np.cumsum(np.exp((scores - np.max(scores)) / temperature))
    found = int(np.searchsorted(shares, u * shares[-1], side="right"))
    return min(found, len(scores) - 1)
