"""Saying what a picture shows: an image is read by convolutions, and a sentence is written."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, Device, array_namespace, get_device, to_numpy
from xpnet.arrays.values import in_parts
from xpnet.errors import ArgumentError
from xpnet.functions.decoding import Sentences, State, beam_search, greedy
from xpnet.functions.init import shapes_alone
from xpnet.layers import (
    LSTM,
    Affine,
    Convolution,
    Embedding,
    Layer,
    MaxPool,
    Params,
    ReLU,
    TimeAffine,
)
from xpnet.models.detections import Predicts, checked_pictures
from xpnet.models.network import Network
from xpnet.models.parts import features_behind, image_shape
from xpnet.models.together import hand_over, save_networks
from xpnet.models.vocabulary import END, LONGEST, PAD, SCENE_WORDS, START, Vocabulary

Feed: TypeAlias = Literal["every", "input", "state"]
"""How a picture reaches the network that writes: see `Captioner`."""

WIDTHS = (16, 32, 64)
"""Filters of the encoder's convolutions; a pool follows each."""
AT_A_TIME = 200
"""Pictures that are captioned together."""


class Caption(NamedTuple):
    """A sentence about a picture.

    Attributes
    ----------
    text : words and spaces
    score : the mean of log p over its words, <end> being one; 0 would be sure
    """

    text: str
    score: float


class Captioner:
    """Three networks: one reads a picture, one knows words, and one writes a sentence of them.

        encoder:  three times conv 3 x 3, ReLU, max pool 2, with 16, 32, 64 filters; Affine: the
                  feature f of a picture
        words:    Embedding: a vector for each word
        decoder:  LSTM, which reads the vector of the word before and keeps a state; Affine to a
                  score of each word, the softmax of which is the probability that it comes next

    How a picture reaches the decoder is the `feed`:

        every  f is added to the vector of each word
        input  f is read before the first word, <start>, and what then comes out is passed over
        state  h before <start> is tanh(f), and c is 0

    With `input` and `state` the LSTM has to keep the picture in mind until the last word. For 22
    words and pictures of 3 x 32 x 32 there are 292,022 parameters.

    Vinyals, Toshev, Bengio, Erhan 2015, "Show and tell", arXiv:1411.4555 (NIC), with a small
    encoder in place of GoogLeNet. The paper has `input`; that the feature is where the state
    starts is how Deep Learning from Scratch tells it, section 8.4.3. Weights of the encoder start
    as He's rule has them, those of LSTM and output at N(0, 1 / fan-in), words at N(0, 0.1^2).

    Parameters
    ----------
    words : as `Vocabulary` takes them
    input_shape : channels, height and width of a picture, sides from 8
    feed : how the picture comes in
    units : numbers of the feature, of a word's vector and of the state
    longest : words of a sentence at most, <end> being one
    forget_bias : where that of the LSTM's forget gate starts
    rng : NumPy generator or seed of initial weights
    device, dtype : as in `Network`

    Attributes
    ----------
    networks : "encoder", "words" and "decoder"
    vocabulary : the words
    """

    @checked
    def __init__(
        self,
        *,
        words: Sequence[str] = SCENE_WORDS,
        input_shape: Sequence[int] = (3, 32, 32),
        feed: Feed = "every",
        units: int = 128,
        longest: int = LONGEST,
        forget_bias: float = 1.0,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        self.vocabulary, image = Vocabulary(words), image_shape("Captioner", input_shape)
        if min(units, longest) < 1:
            raise ArgumentError(
                f"Captioner needs at least one unit and one word, got units={units}, "
                f"longest={longest}"
            )
        self.feed, self.units, self.longest = feed, int(units), int(longest)
        self.input_shape, self.forget_bias = image, float(forget_bias)
        self.device, self.dtype = get_device(device), dtype
        rng, v = np.random.default_rng(rng), len(self.vocabulary)
        layers: dict[str, Layer] = {}
        for k, (channels, width) in enumerate(pairwise((image[0], *WIDTHS)), start=1):
            layers |= {
                f"conv{k}": Convolution(channels, width, 3, pad=1, rng=rng),
                f"relu{k}": ReLU(),
                f"pool{k}": MaxPool(2, stride=2, uneven="drop"),
            }
        layers["affine"] = Affine(features_behind("Captioner", layers, image), units, rng=rng)
        decoder: dict[str, Layer] = {
            "lstm": LSTM(units, units, forget_bias=forget_bias, rng=rng),
            "affine": TimeAffine(units, v, std="xavier", rng=rng),
        }
        ways: dict[str, tuple[dict[str, Layer], tuple[int, ...]]] = {
            "encoder": (layers, image),
            "words": ({"embedding": Embedding(v, units, rng=rng)}, (longest,)),
            "decoder": (decoder, (longest, units)),
        }
        self.networks = {
            name: Network(own, input_shape=shape, device=self.device, dtype=dtype)
            for name, (own, shape) in ways.items()
        }

    @classmethod
    def of(cls, networks: Mapping[str, Network], **arguments: Any) -> Self:
        """A captioner of networks that are there already, such as those of a file.

        Parameters
        ----------
        arguments : as for the constructor, but for rng, device and dtype

        Raises
        ------
        ArgumentError
            The networks are others than these arguments make.
        """
        for given in networks.values():
            arguments |= {"device": given.device, "dtype": given.dtype}
        with shapes_alone():
            captioner = cls(**arguments)
        hand_over(captioner, networks, arguments)
        return captioner

    def arguments(self) -> dict[str, Any]:
        """Words, shape of a picture, feed, sizes, where the forget gate starts, and dtype."""
        return {
            "words": self.vocabulary.words,
            "input_shape": self.input_shape,
            "feed": self.feed,
            "units": self.units,
            "longest": self.longest,
            "forget_bias": self.forget_bias,
            "dtype": self.dtype,
        }

    def __repr__(self) -> str:
        return (
            f"Captioner({self.input_shape}, {len(self.vocabulary)} words, feed {self.feed!r}, "
            f"{self.count} parameters, {self.dtype} on {self.device.name})"
        )

    @property
    def count(self) -> int:
        """The numbers that all networks learn."""
        return sum(network.params.count for network in self.networks.values())

    def score(
        self, feature: Array, before: Array, *, train: bool = False
    ) -> tuple[Array, Callable[[Array], tuple[Array, dict[str, Params]]]]:
        """Scores of every word at each place of sentences, and the way back.

        Parameters
        ----------
        feature : (N, units), of the encoder
        before : (N, T), the numbers of the words before these places, the first being <start>

        Returns
        -------
        (N, T, words), and a function of their gradient that gives the feature's, and by the names
        of networks those of the parameters of "words" and "decoder" that learn
        """
        xp = array_namespace(feature)
        x, words_back = self.networks["words"].forward(before, train=train)
        state: State | None = None
        if self.feed == "every":
            x = x + feature[:, None, :]
        elif self.feed == "input":
            x = xp.concat([feature[:, None, :], x], axis=1)
        else:
            state = self._state_of(feature)
        begun = None if state is None else {"lstm": state}
        scores, _, decoder_back = self.networks["decoder"].unroll(x, begun, train=train)
        scores = scores[:, 1:, :] if self.feed == "input" else scores

        def backward(d: Array) -> tuple[Array, dict[str, Params]]:
            if self.feed == "input":
                d = xp.concat([xp.zeros_like(d[:, :1, :]), d], axis=1)
            dx, of_decoder, d_state = decoder_back(d)
            assert dx is not None  # nobody left it out
            if state is not None:
                h, _ = state
                d_feature = d_state["lstm"][0] * (1.0 - h * h)
            elif self.feed == "input":
                d_feature, dx = dx[:, 0, :], dx[:, 1:, :]
            else:
                d_feature = xp.sum(dx, axis=1)
            _, of_words = words_back(dx, need_dx=False)
            return d_feature, {"words": of_words, "decoder": of_decoder}

        return scores, backward

    def _state_of(self, feature: Array) -> State:
        """What the LSTM begins with where that is the picture."""
        xp = array_namespace(feature)
        return xp.tanh(feature), xp.zeros_like(feature)

    def _begin(self, feature: Array) -> State:
        """What is known before the first word."""
        if self.feed == "state":
            return self._state_of(feature)
        if self.feed == "input":
            return self.networks["decoder"].unroll(feature[:, None, :])[1]["lstm"]
        zeros = array_namespace(feature).zeros_like(feature)
        return zeros, zeros, feature

    def _next(self, last: Array, state: State) -> tuple[Array, State]:
        """Scores of the next word, and what is known behind the last one."""
        h, c, *feature = state
        x, _ = self.networks["words"].forward(last[:, None])
        for each in feature:
            x = x + each[:, None, :]
        scores, after, _ = self.networks["decoder"].unroll(x, {"lstm": (h, c)})
        return scores[:, 0, :], (*after["lstm"], *feature)

    @checked
    def caption(
        self,
        images: Any,
        *,
        beam: int = 1,
        computing: Mapping[str, Predicts] | None = None,
    ) -> list[Caption]:
        """Say what pictures show, a sentence each.

        Parameters
        ----------
        images : (N, C, H, W): pixels, uint8, or floats from 0 to 1
        beam : with 1 the likeliest word is taken each time, `greedy`; with more, `beam_search`
            keeps so many beginnings of a sentence
        computing : what computes for "encoder", such as an engine; the network if None

        Raises
        ------
        ArgumentError
            The pictures are of another shape, there is no beginning to be kept, or what the
            networks put out is not finite.
        """
        if beam < 1:
            raise ArgumentError(f"caption keeps at least one beginning of a sentence, got {beam}")
        images, found = self.checked_images(images), list[Caption]()
        encoder = (computing or self.networks)["encoder"]
        for part in in_parts(images.shape[0], AT_A_TIME):
            feature = encoder.predict(self.networks["encoder"].place(images[part, ...]))
            words, scores = self._written(feature, beam)
            scores = to_numpy(scores)
            if not np.isfinite(scores).all():
                raise ArgumentError(
                    "nothing can be said of the pictures: what the networks put out is not finite; "
                    "check that pictures and weights are"
                )
            texts = self.vocabulary.sentences(to_numpy(words))
            found += map(Caption, texts, scores.tolist())
        return found

    def _written(self, feature: Array, beam: int) -> Sentences:
        """Sentences, as numbers of words, for features (N, units)."""
        xp, n = array_namespace(feature), feature.shape[0]
        start = xp.full((n,), START, dtype=xp.int64, device=feature.device)
        options: dict[str, int] = {"end": END, "pad": PAD, "longest": self.longest}
        state = self._begin(feature)
        if beam == 1:
            return greedy(self._next, state, start, **options)
        return beam_search(self._next, state, start, width=beam, **options)

    def checked_images(self, images: Any) -> Array:
        """Pictures (N, C, H, W) as they were given, on the host or on the device.

        Raises
        ------
        ArgumentError
            They are of another shape, or neither pixels nor floats from 0 to 1.
        """
        return checked_pictures(images, self.input_shape, "scale them")

    @checked
    def save_params(self, path: str | Path) -> None:
        """Write all networks as safetensors, of which `load_captioner` makes a captioner again.

        Raises
        ------
        WeightsError
            The name is one of another format.
        OutputError
            The file cannot be written.
        """
        arguments = {name: each for name, each in self.arguments().items() if name != "dtype"}
        save_networks(path, self.networks, {"model": "nic", "arguments": arguments})
