"""Learning to write: a character model on a text, by truncated backpropagation through time."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite, log
from pathlib import Path

from xpnet.arguments import checked
from xpnet.arrays import Array, Device
from xpnet.data.texts import Streams
from xpnet.engine import get_engine
from xpnet.engine.base import Uncopied
from xpnet.engine.reference import ReferenceEngine
from xpnet.engine.threads import TakesTurns, in_turn
from xpnet.errors import ArgumentError, WeightsError
from xpnet.models.character import STEPS, CharacterModel
from xpnet.models.describing import UNBUILDABLE
from xpnet.optim import OPTIMIZERS, Adam, Optimizer
from xpnet.optim.clipping import checked_limit, clip_by_norm
from xpnet.optim.schedules import Schedule
from xpnet.report.metrics import Direction
from xpnet.train.learner import Batch, Learner
from xpnet.train.saved import Together, load_saved

_KNOWN = frozenset(OPTIMIZERS.values())


class BitsPerCharacter:
    """The mean of -log2 p(next character): how long the text would be if the model packed it."""

    name: str = "bits_per_character"
    direction: Direction = "min"


class Writing(TakesTurns, Uncopied, Learner):
    """A text, read in blocks by several streams, for a `CharacterModel`.

        L = -1/(N T) sum over streams and steps of ln p(next character)

    The state passes from block to block, and its gradient does not: backpropagation through time is
    truncated at a block's beginning (Williams, Peng 1990, "An efficient gradient-based algorithm
    for on-line training of recurrent network trajectories"). At the beginning of an epoch the state
    is zeros. Recurrent layers compute as they are written, on any device: no engine has kernels for
    them.

    Nothing is read back from a device in a step. On the host the loss is looked at, since that
    costs no wait, and if it is no number nothing is updated.

    Parameters
    ----------
    model : on the device where everything happens
    text : numbers of characters to learn from, (L,)
    test : such to measure on; nothing if None, or if it is shorter than a block
    batch_size : streams
    steps : of a block
    optimizer : Adam with lr 0.002 if None
    clip_norm : gradients are together made no longer than this before every update
    schedule : learning rate by number of steps done; the optimizer's own if None
    evaluate_samples : characters of the test to be measured on; all if None
    engine, threads, precision, graph, skip_engine_check : as in `get_engine`

    Raises
    ------
    ArgumentError
        The text is too short, or the engine is one that has no kernels for sequences.
    """

    remedy = "make another, for a copy of the model"
    losses: Sequence[str] = ("loss",)
    metrics: Sequence[BitsPerCharacter] = (BitsPerCharacter(),)
    source: Streams
    sets: Mapping[str, Streams]

    @partial(checked, but=("optimizer",))
    def __init__(
        self,
        model: CharacterModel,
        text: Array,
        test: Array | None = None,
        batch_size: int = 32,
        *,
        steps: int = STEPS,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = 5.0,
        schedule: Schedule | None = None,
        evaluate_samples: int | None = None,
        engine: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
        graph: bool = True,
        skip_engine_check: bool = False,
    ) -> None:
        optimizer = Adam(0.002) if optimizer is None else optimizer
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(
                "an optimizer must be an instance of Optimizer, such as Adam(0.002), got "
                f"{optimizer!r}"
            )
        if evaluate_samples is not None and evaluate_samples < 1:
            raise ArgumentError(
                f"at least one character is needed to be measured on, got {evaluate_samples}; use "
                "None for all"
            )
        network = model.network
        self.model, self.networks = model, model.networks
        self.source, self.sets = Streams(text, batch_size, steps, device=network.device), {}
        if test is not None and (streams := min(batch_size, (len(test) - 1) // steps)) > 0:
            self.sets = {"test": Streams(test, streams, steps, device=network.device)}
        (name,) = model.networks
        self.optimizers = {name: optimizer.fresh()}
        self.best = f"test_{self.metrics[0].name}" if self.sets else ""
        self.clip_norm = None if clip_norm is None else checked_limit(clip_norm)
        self.schedule, self.evaluate_samples = schedule, evaluate_samples
        self._begin_turns()
        found = get_engine(
            network,
            engine,
            threads,
            precision=precision,
            graph=graph,
            skip_engine_check=skip_engine_check,
        )
        assert isinstance(found, ReferenceEngine)  # no other one has kernels for sequences
        self.engine = found

    def __repr__(self) -> str:
        (optimizer,) = self.optimizers.values()
        return f"Writing({self.model!r}, {optimizer!r}, {self.source!r})"

    @property
    def tells_updates(self) -> bool:  # type: ignore[override]
        """True, unless the optimizer is foreign, which may fail in an update."""
        return all(type(optimizer) in _KNOWN for optimizer in self.optimizers.values())

    def step(self, batch: Batch) -> dict[str, Array]:
        """One update on a block of every stream; the loss before it."""
        with self._turn:
            x, t = batch
            self.gradient = None  # or the next one would need room beside it
            block = self.steps_done % len(self.source)
            scores, last, backward = self.engine.unroll(x, self.source.carried(block), train=True)
            loss, loss_backward = self.model.network.last_layer.forward(scores, t)
            self.gradient = backward(loss_backward(), need_dx=False)[1]
            self.source.carry(block + 1, last)
            # With another loss the Trainer ends: it is looked at where that does not cost a wait.
            if not self.source.device.is_host or isfinite(loss):
                self._update(self.gradient)
            return {"loss": loss}

    def _update(self, grads: Mapping[str, Array]) -> None:
        if self.clip_norm is not None:
            grads = clip_by_norm(grads, self.clip_norm)
        ((name, optimizer),) = self.optimizers.items()
        if self.schedule is not None:
            optimizer.lr = self.schedule(self.steps_done)
        self.updating = True
        optimizer.update(self.networks[name].params, grads)

    @in_turn
    def evaluate(self, source: Streams) -> dict[str, float]:
        """Bits per character of a text, or of its first blocks; read once, at the end."""
        blocks, size = len(source), source.batch_size * source.steps
        if self.evaluate_samples is not None:
            blocks = min(blocks, -(-self.evaluate_samples // size))
        total, state, loss = 0.0, None, self.model.network.last_layer
        with source.device.guarded():
            for _, (x, t) in zip(range(blocks), source.epoch(0), strict=False):
                scores, state, _ = self.engine.unroll(x, state)
                total = total + loss.forward(scores, t)[0]
            return {self.metrics[0].name: float(total) / blocks / log(2)}

    def describe(self) -> dict[str, str | int]:
        """Tell what the record of a run should say of what computes."""
        return self.engine.describe()


def load_character_model(path: str | Path, *, device: str | Device = "cpu") -> CharacterModel:
    """The character model of a file, of a checkpoint, or of the directory of a run.

    Raises
    ------
    WeightsError, CheckpointError
        There is no such file, it is damaged, or holds something else.
    """
    found = load_saved(path, device=device)
    about = found.about if isinstance(found, Together) else {}
    arguments = about.get("arguments")
    if (
        not isinstance(found, Together)
        or about.get("model") != "character-model"
        or not isinstance(arguments, Mapping)
    ):
        raise WeightsError(
            f"{path} holds no network that writes; give the directory of a run of --model "
            "character-model"
        )
    try:
        return CharacterModel.of(found.networks, **arguments)
    except UNBUILDABLE as error:
        raise WeightsError(
            f"{path} describes a model that this version cannot build ({error}); train it again, "
            "or use the version of xpnet that wrote it"
        ) from error
