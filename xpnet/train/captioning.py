"""Learning to say what pictures show: the three networks of a `Captioner`, in one step."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace, to_numpy
from xpnet.data.batches import Batches
from xpnet.engine import Engine, get_engine
from xpnet.engine.base import CHECKED, Uncopied
from xpnet.engine.threads import TakesTurns, blas_threads, in_turn
from xpnet.errors import ArgumentError, DivergedError
from xpnet.functions.losses import softmax_loss, weighed
from xpnet.models.captioner import AT_A_TIME, Captioner
from xpnet.models.detections import Computes
from xpnet.models.vocabulary import LEFT_OUT, PAD, START
from xpnet.optim import OPTIMIZERS, Adam, Optimizer
from xpnet.optim.clipping import checked_limit, clip_by_norm
from xpnet.optim.schedules import Schedule
from xpnet.report.captions import MEASURES, Bleu, CaptionScores, ExactMatch
from xpnet.train.learner import Batch, Learner

_KNOWN = frozenset(OPTIMIZERS.values())


def captioned(
    captioner: Captioner, encoder: Computes, x: Array, t: Array
) -> tuple[Array, dict[str, Mapping[str, Array]]]:
    """One training pass: the loss, and the gradients of each network's parameters.

        L = -1/M sum over the M words of all captions of log p(word | picture, words before it)

    <end> is one of the words. The network is told the right words before each, whatever it would
    have written itself.

    Parameters
    ----------
    encoder : computes the network of that name: itself, or an engine
    x : (N, C, H, W), as the encoder takes it
    t : (N, T) captions, as `Vocabulary.numbers` gives them
    """
    xp, v = array_namespace(t), len(captioner.vocabulary)
    before = xp.concat([xp.full_like(t[:, :1], START), t[:, :-1]], axis=1)
    before = xp.where(before == LEFT_OUT, xp.full_like(t, PAD), before)
    feature, encoder_back = encoder.forward(x, train=True)
    scores, back = captioner.score(feature, before, train=True)
    rows = xp.reshape(scores, (-1, v))
    loss, d_rows = softmax_loss(rows, weighed(xp.reshape(t, (-1,)), rows, ignore=LEFT_OUT))
    d_feature, grads = back(xp.reshape(d_rows, scores.shape))
    _, of_encoder = encoder_back(d_feature, need_dx=False)
    return loss, {"encoder": of_encoder, **grads}


class Captioning(TakesTurns, Uncopied, Learner):
    """Pictures, and sentences that say what they show, for a `Captioner`.

    The loss is that of `captioned`. Gradients of all networks are together made no longer than
    `clip_norm`. Nothing is read back from a device in a step; on the host the loss is looked at,
    since that costs no wait, and if it is no number nothing is updated. Sentences are written
    greedily to be measured: how many are right as a whole, and BLEU-1 to 4.

    Parameters
    ----------
    captioner : on the device where everything happens
    x, captions : pictures to train on, (N, C, H, W), uint8 or floats from 0 to 1, and for each a
        list of all sentences that are right, of which the first is learned
    x_test, captions_test : the same to measure on, or None for both
    batch_size : pictures a step
    optimizer : of each network, which has its own; Adam with lr 0.001 if None
    clip_norm : the length of all gradients together, at most
    seed : of the order of the pictures
    schedule : learning rate by number of steps done; the optimizer's own if None
    evaluate_samples : test pictures to be measured on; all if None
    resident : as in `Batches`
    engine, threads, precision, graph, skip_engine_check : what computes for the encoder, as in
        `get_engine`; for the others their layers do

    Attributes
    ----------
    engines : what computes for "encoder"

    Raises
    ------
    ArgumentError
        The pictures are of another shape than the captioner's, there are captions for others than
        them, or a sentence has words that it does not know or more than it writes.
    """

    remedy = "make another, for a copy of the captioner"
    metrics: Sequence[ExactMatch | Bleu] = MEASURES
    source: Batches
    sets: Mapping[str, Batches]

    @partial(checked, but=("optimizer",))
    def __init__(
        self,
        captioner: Captioner,
        x: Any,
        captions: Sequence[Sequence[str]],
        x_test: Any = None,
        captions_test: Sequence[Sequence[str]] | None = None,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        *,
        clip_norm: float = 5.0,
        seed: int = 0,
        schedule: Schedule | None = None,
        evaluate_samples: int | None = None,
        resident: bool | None = None,
        engine: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
        graph: bool = True,
        skip_engine_check: bool = False,
    ) -> None:
        if (x_test is None) != (captions_test is None):
            raise ArgumentError("a test set needs x_test and captions_test; give both, or neither")
        if evaluate_samples is not None and evaluate_samples < 1:
            raise ArgumentError(
                f"at least one picture is needed to be measured on, got {evaluate_samples}; use "
                "None for all"
            )
        optimizer = Adam(0.001) if optimizer is None else optimizer
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(
                "an optimizer must be an instance of Optimizer, such as Adam(0.001), got "
                f"{optimizer!r}"
            )

        def batches(pictures: Any, given: Any, size: int, *, several: bool) -> Batches:
            pictures = captioner.checked_images(pictures)
            table = captions_table(captioner, given, len(pictures))
            place: dict[str, Any] = {"device": captioner.device, "dtype": captioner.dtype}
            t = table if several else table[:, 0]
            return Batches(pictures, t, size, seed=seed, resident=resident, **place)

        self.captioner, self.networks = captioner, captioner.networks
        self.source, self.sets = batches(x, captions, batch_size, several=False), {}
        if captions_test is not None:
            self.sets = {"test": batches(x_test, captions_test, AT_A_TIME, several=True)}
        self.optimizers = {name: optimizer.fresh() for name in captioner.networks}
        self.best = f"test_{self.metrics[0].name}" if self.sets else ""
        self.clip_norm, self.evaluate_samples = checked_limit(clip_norm), evaluate_samples
        self.schedule = schedule
        self._grads: Mapping[str, Array] | None = None
        self._begin_turns()
        encoder = captioner.networks["encoder"]
        found = get_engine(
            encoder,
            engine,
            threads,
            precision=precision,
            graph=graph,
            skip_engine_check=skip_engine_check,
        )
        first = encoder.place(self.source.first(CHECKED)[0])
        self.engines: dict[str, Engine] = {"encoder": found.check(first)}

    def __repr__(self) -> str:
        return f"Captioning({self.captioner!r}, {self.optimizers['encoder']!r}, {self.source!r})"

    @property
    def gradient(self) -> Mapping[str, Array] | None:  # type: ignore[override]
        """Of the last step, by the names of networks and parameters, before it is clipped."""
        return self._grads

    @property
    def tells_updates(self) -> bool:  # type: ignore[override]
        """True, unless an optimizer is foreign, which may fail in an update."""
        return all(type(optimizer) in _KNOWN for optimizer in self.optimizers.values())

    def step(self, batch: Batch) -> dict[str, Array]:
        """One update of all networks; the loss before it."""
        with self._turn:
            x, t = batch
            self._grads = None  # or the next one would need room beside it
            with self._limited():
                loss, grads = captioned(self.captioner, self.engines["encoder"], x, t)
            every = {f"{n}.{key}": a for n, own in grads.items() for key, a in own.items()}
            self._grads = every
            # With another loss the Trainer ends: it is looked at where that does not cost a wait.
            if not self.source.device.is_host or isfinite(loss):
                self._update(clip_by_norm(every, self.clip_norm))
            return {"loss": loss}

    def _limited(self) -> AbstractContextManager[Any]:
        """One thread for each product: those of a sentence are small, and several would wait for
        each other. The encoder's engine divides its pictures, and not its products.
        """
        return blas_threads(1) if self.captioner.device.is_host else nullcontext()

    def _update(self, grads: Mapping[str, Array]) -> None:
        if self.schedule is not None:
            rate = self.schedule(self.steps_done)
            for optimizer in self.optimizers.values():
                optimizer.lr = rate
        self.updating = True
        for name, optimizer in self.optimizers.items():
            start = f"{name}."
            own = {k.removeprefix(start): a for k, a in grads.items() if k.startswith(start)}
            optimizer.update(self.networks[name].params, own)

    @in_turn
    def evaluate(self, source: Batches) -> dict[str, float]:
        """The share of captions that are right as a whole, and BLEU-1 to 4."""
        scores = CaptionScores()
        with self.captioner.device.guarded(), self._limited():
            for x, t in source.in_order(AT_A_TIME, limit=self.evaluate_samples):
                try:
                    found = self.captioner.caption(x, computing=self.engines)
                except ArgumentError as error:  # of numbers that are none: all else was checked
                    rates = " and ".join(f"{o.lr:g}" for o in self.optimizers.values())
                    raise DivergedError(
                        f"training cannot go on: {error}, or use a smaller learning rate than "
                        f"{rates}"
                    ) from error
                scores.update([text for text, _ in found], captions_in(self.captioner, t))
        return {metric.name: metric.value(scores) for metric in self.metrics}

    def describe(self) -> dict[str, str | int]:
        """Tell what the record of a run should say of what computes, for the encoder."""
        return self.engines["encoder"].describe()


def captions_table(
    captioner: Captioner, captions: Sequence[Sequence[str]], pictures: int
) -> np.ndarray:
    """Captions of so many pictures as numbers of words, (N, most captions of one, T), int64.

    Where a picture has no more captions, there is `LEFT_OUT`.

    Raises
    ------
    ArgumentError
        They are no lists of sentences, one at least for each picture, or not of the captioner's
        words.
    """
    lists = isinstance(captions, Sequence) and not isinstance(captions, str)
    if not lists or len(captions) != pictures:
        got = f"{len(captions)} for {pictures} pictures" if lists else f"{captions!r:.100}"
        raise ArgumentError(f"captions are a list of sentences for each picture, got {got}")
    for own in captions:
        if isinstance(own, str) or not isinstance(own, Sequence) or not own:
            raise ArgumentError(
                "captions are a list of sentences for each picture, one at least, got "
                f"{own!r:.100} for one"
            )
    most = max((len(own) for own in captions), default=1)
    flat = captioner.vocabulary.numbers(
        (sentence for own in captions for sentence in own), captioner.longest
    )
    table = np.full((pictures, most, captioner.longest), LEFT_OUT, dtype=np.int64)
    table[[k for k, own in enumerate(captions) for _ in own],
          [j for own in captions for j in range(len(own))]] = flat  # fmt: skip
    return table


def captions_in(captioner: Captioner, table: Array) -> list[list[str]]:
    """Captions again, of such a table."""
    return [captioner.vocabulary.sentences(own[own[:, 0] != LEFT_OUT]) for own in to_numpy(table)]
