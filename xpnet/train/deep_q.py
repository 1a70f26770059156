"""Deep Q-learning: a network learns from what it sees in games what its actions are worth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array
from xpnet.arrays.random import StepWords, pick
from xpnet.arrays.values import scaled
from xpnet.data.replay import Replay
from xpnet.engine import get_engine
from xpnet.engine.base import Uncopied
from xpnet.engine.threads import TakesTurns, in_turn
from xpnet.errors import ArgumentError, CheckpointError
from xpnet.functions.q_learning import epsilon_at, q_loss, q_targets
from xpnet.games import Game, State, play_out, pushed
from xpnet.games.playing import empty_stack
from xpnet.models.network import Network
from xpnet.notice import notice
from xpnet.optim import OPTIMIZERS, Adam, Optimizer
from xpnet.optim.clipping import checked_limit, clip_by_norm
from xpnet.optim.schedules import Schedule
from xpnet.report.metrics import Direction
from xpnet.train.learner import Batch, Learner

EXPLORATION = 0xD900
"""The second word of the key of what is drawn to explore."""
APART = 10_000
"""By so much the seed of the games that are measured on is higher."""
WORTH = 50_000_000
"""Multiplications of a batch from which on several threads are worth having: the network for 10 x
10 makes 5 million for 32 moves, and takes 0.8 of the time on one; that of Nature 300 million."""

_KNOWN = frozenset(OPTIMIZERS.values())


@dataclass(frozen=True)
class Return:
    """The mean of what episodes bring in all."""

    name: str = "return"
    direction: Direction = "max"


class _Place(NamedTuple):
    """How far playing has come; it changes in one go, when a frame is played and written down."""

    time: int
    """Frames of each game that are written down."""
    since: int
    """The first of them that is in memory, with nothing from before it."""
    late: int
    """Frames by which all updates are later, as a memory that was not kept had to fill again."""
    state: State
    stack: Array
    """What is seen, (E, S, ...)."""
    first: Array
    """Whether an episode begins there, (E,)."""


class Experience:
    """Games that go on while a network learns from them: the source of a `DeepQ`.

    Before an update `every` frames are played, and `warm_up` before the first; then moves are drawn
    from memory. All that is drawn follows from the seed and from the number of the frame, of the
    update or of the episode. A frame that was broken off is played again, alike, and those that
    were played for an update are not played again.

    Parameters
    ----------
    game, memory : of as many games
    values : of all actions by what is seen, (E, S, ...)
    batch_size : moves that are drawn for an update
    updates : of an epoch
    warm_up, every, explore, epsilon, seed : as in `DeepQ`

    Attributes
    ----------
    keeps_memory : whether `state` has all that is in memory. Without it the memory has to fill
        again, and a run that goes on is not bit for bit the one that was not stopped.
    """

    keeps_memory = True

    def __init__(
        self,
        game: Game,
        memory: Replay,
        values: Callable[[Array], Array],
        batch_size: int,
        updates: int,
        *,
        warm_up: int,
        every: int,
        explore: int,
        epsilon: float,
        seed: int,
    ) -> None:
        self.game, self.memory, self.batch_size, self._values = game, memory, batch_size, values
        self.warm_up, self.every, self.explore, self.epsilon = warm_up, every, explore, epsilon
        self._updates = updates
        self._words = StepWords(2 * game.games, key=(seed, EXPLORATION), device=game.device)
        xp = game.device.xp
        state, seen = game.begin()
        first = xp.ones(game.games, dtype=xp.bool, device=game.device.native)
        self._place = _Place(0, 0, 0, state, empty_stack(game, memory.stack, seen), first)

    def __len__(self) -> int:
        return self._updates

    def __repr__(self) -> str:
        return f"Experience({self.game!r}, {self.memory!r}, {self.frames} frames)"

    @property
    def frames(self) -> int:
        """Frames of all games that were played so far."""
        return self._place.time * self.game.games

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Batch]:
        """Play, and draw the moves of each update of an epoch."""
        for update in range(number * len(self) + first, (number + 1) * len(self)):
            due = self._times(self.warm_up + self.every * (update + 1)) + self._place.late
            while self._place.time < due:
                self._play()
            time, since = self._place.time, self._place.since
            yield self.memory.draw(self.batch_size, time, step=update, since=since)

    def _times(self, frames: int) -> int:
        """Frames of each game that make so many of all."""
        return -(-frames // self.game.games)

    def _play(self) -> None:
        """Play a frame of each game, and write it down."""
        place, game = self._place, self.game
        actions = self._chosen(place)
        step, over = game.step(place.state, actions), place.state["over"]
        self.memory.write(
            place.time,
            place.stack[:, -1, ...],
            actions,
            step.reward,
            step.terminal,
            place.first,
            over,
        )
        first = step.terminal | over
        stack = pushed(place.stack, step.seen, first)
        self._place = _Place(place.time + 1, place.since, place.late, step.state, stack, first)

    def _chosen(self, place: _Place) -> Array:
        """The best actions, or with probability epsilon any."""
        game, xp = self.game, self.game.device.xp
        e = epsilon_at(
            place.time * game.games, begin=self.warm_up, frames=self.explore, least=self.epsilon
        )
        words = self._words.of(place.time)
        any_of_them = pick(words[game.games :], len(game.actions))
        if e >= 1.0:
            return any_of_them
        best = xp.argmax(self._values(place.stack), axis=1)
        return xp.where(words[: game.games] < int(e * 2**32), any_of_them, best)

    def state(self) -> dict[str, Array]:
        """Return where the games are, and what is in memory if that is to be kept."""
        place = self._place
        numbers = np.array([place.time, place.since, place.late], np.int64)
        found = {"numbers": numbers, "stack": place.stack, "first": place.first}
        found |= {f"game.{name}": a for name, a in self.game.kept(place.state).items()}
        if self.keeps_memory:
            found |= {f"memory.{name}": array for name, array in self.memory.state().items()}
        return found

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` gave, as host arrays.

        Raises
        ------
        CheckpointError
            It is of other games, or of another memory.
        """
        own, device = self._place, self.game.device
        numbers = state.get("numbers", np.zeros(0))
        alike = all(
            name in state and state[name].shape == tuple(array.shape)
            for name, array in (("stack", own.stack), ("first", own.first))
        )
        if numbers.shape != (3,) or numbers.dtype != np.int64 or numbers.min() < 0 or not alike:
            raise CheckpointError(
                f"a checkpoint of other games than {self.game!r} cannot be used; make them as they "
                "were"
            )
        parts: dict[str, dict[str, np.ndarray]] = {"game": {}, "memory": {}}
        for name, array in state.items():
            part, _, rest = name.partition(".")
            if rest:
                parts[part][rest] = array
        time, since, late = map(int, numbers)
        going = self.game.restored(parts["game"])
        if parts["memory"]:
            self.memory.restore(parts["memory"])
        else:
            since, late = time, late + self._times(self.warm_up)
            notice(
                f"the checkpoint has no memory of the games: {self.warm_up} frames are played "
                "before the next update, and the run is not bit for bit the one that was not "
                "stopped"
            )
        stack, first = device.asarray(state["stack"]), device.asarray(state["first"])
        self._place = _Place(time, since, late, going, stack, first)


class DeepQ(TakesTurns, Uncopied, Learner):
    """A network that learns by playing, for games whose actions are numbered.

        y = r + discount (1 - terminal) max_a Q_target(s', a),   L = mean Huber(Q(s, a) - y)

    What is seen, s, is the last S pictures, or a row of numbers. Moves are drawn from a memory of
    those that were played, the best by Q or, with probability epsilon, any: epsilon is 1 at first,
    and falls. Q_target is what the network was some updates ago. `functions.q_learning` has the
    formulas, and double Q-learning's.

    Mnih et al. 2015, "Human-level control through deep reinforcement learning", Nature 518. The
    usual numbers here are for games that are learned in minutes.

    Parameters
    ----------
    network : with a value for each action, on the device where everything happens. What it takes
        tells how many pictures it sees at once: 4 channels are 4 grey ones.
    game : what is played, on that device
    batch_size : moves of an update
    optimizer : Adam with lr 0.0005 if None
    double : whether the network itself chooses the action that Q_target tells the worth of
    discount : of what comes a step later, from 0 to 1
    memory : frames that are remembered
    warm_up : frames played at random before the first update
    every : frames played from one update to the next
    target_every : updates from one copy of the network to the next
    explore : frames over which epsilon falls, after those of `warm_up`
    epsilon : to which it falls
    updates : of an epoch
    clip_norm : gradients are together made no longer than this; as they are if None
    schedule : learning rate by number of steps done; the optimizer's own if None
    evaluate_samples : episodes that are played after an epoch to measure, without epsilon, in games
        of a seed of their own; so many as the game has in the end if None
    seed : of all that is drawn, but in the game
    engine, threads, precision, graph, skip_engine_check : what computes, as in `get_engine`; if
        threads is None, one alone where a batch is so small that more would wait for each other

    Attributes
    ----------
    engines : what computes for each network, by its name

    Raises
    ------
    ArgumentError
        The network is for other games, or a number is out of its range.
    """

    remedy = "make another, for a copy of the network"
    losses: Sequence[str] = ("loss", "largest_q")
    metrics: Sequence[Return] = (Return(),)
    source: Experience
    best = "test_return"

    @partial(checked, but=("optimizer",))
    def __init__(
        self,
        network: Network,
        game: Game,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        *,
        double: bool = False,
        discount: float = 0.99,
        memory: int = 20_000,
        warm_up: int = 1_000,
        every: int = 2,
        target_every: int = 250,
        explore: int = 6_000,
        epsilon: float = 0.05,
        updates: int = 500,
        clip_norm: float | None = None,
        schedule: Schedule | None = None,
        evaluate_samples: int | None = None,
        seed: int = 0,
        engine: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
        graph: bool = True,
        skip_engine_check: bool = False,
    ) -> None:
        optimizer = Adam(0.0005) if optimizer is None else optimizer
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(
                "an optimizer must be an instance of Optimizer, such as Adam(0.0005), got "
                f"{optimizer!r}"
            )
        for name, number, least in (
            ("batch_size", batch_size, 1), ("every", every, 1), ("target_every", target_every, 1),
            ("updates", updates, 1), ("explore", explore, 0), ("warm_up", warm_up, 0),
            ("evaluate_samples", evaluate_samples, 1),
        ):  # fmt: skip
            if number is not None and number < least:
                raise ArgumentError(f"{name} of DeepQ must be at least {least}, got {number}")
        for name, share in (("discount", discount), ("epsilon", epsilon)):
            if not 0.0 <= share <= 1.0:
                raise ArgumentError(f"{name} of DeepQ must be from 0 to 1, got {share}")
        self.stack = stack_of(network, game)
        if network.device != game.device:
            raise ArgumentError(
                f"the network is on {network.device.name}, and the games are on "
                f"{game.device.name}; make both on one device"
            )
        self.networks = {"online": network, "target": deepcopy(network)}
        self.optimizers = {"online": optimizer.fresh()}
        self.double, self.discount, self.target_every = double, discount, target_every
        self.clip_norm = None if clip_norm is None else checked_limit(clip_norm)
        self.schedule, self.evaluate_samples = schedule, evaluate_samples
        if threads is None and network.device.is_host and network.macs * batch_size < WORTH:
            threads = 1
        options: dict[str, Any] = {
            "precision": precision, "graph": graph, "skip_engine_check": skip_engine_check
        }  # fmt: skip
        self.engines = {
            name: get_engine(each, engine, threads, **options)
            for name, each in self.networks.items()
        }
        ring = Replay(
            -(-memory // game.games),
            game.shape,
            game.games,
            stack=self.stack,
            dtype=game.dtype,
            seed=seed,
            device=game.device,
        )
        self.source = Experience(
            game,
            ring,
            self._values,
            batch_size,
            updates,
            warm_up=max(warm_up, game.games * (self.stack + 2)),
            every=every,
            explore=explore,
            epsilon=epsilon,
            seed=seed,
        )
        self.sets = {"test": game.alike(1, seed=game.seed + APART)}
        self._measured_on: dict[int, Game] = {}
        self._begin_turns()

    def __repr__(self) -> str:
        online = self.networks["online"]
        return f"DeepQ({online!r}, {self.source.game!r}, {self.optimizers['online']!r})"

    @property
    def tells_updates(self) -> bool:  # type: ignore[override]
        """True, unless the optimizer is foreign, which may fail in an update."""
        return type(self.optimizers["online"]) in _KNOWN

    def step(self, batch: Batch) -> dict[str, Array]:
        """One update by `Moves`; the loss before it, and the largest Q(s, a)."""
        with self._turn:
            seen, action, reward, terminal, then = batch
            network, engine = self.networks["online"], self.engines["online"]
            seen, then = as_inputs(network, seen), as_inputs(network, then)
            self.gradient = None  # or the next one would need room beside it
            best = engine.predict(then) if self.double else None
            worth = self.engines["target"].predict(then)
            y = q_targets(reward, terminal, worth, self.discount, online=best)
            q, backward = engine.forward(seen, train=True)
            loss, dq, values = q_loss(q, action, y)
            _, grads = backward(dq, need_dx=False)
            self.gradient = grads
            # With another loss the Trainer ends: it is looked at where that does not cost a wait.
            if not network.device.is_host or isfinite(loss):
                self._update(grads)
            return {"loss": loss, "largest_q": network.device.xp.max(values)}

    def _update(self, grads: Mapping[str, Array]) -> None:
        network, optimizer = self.networks["online"], self.optimizers["online"]
        if self.clip_norm is not None:
            grads = clip_by_norm(grads, self.clip_norm)
        if self.schedule is not None:
            optimizer.lr = self.schedule(self.steps_done)
        self.updating = True
        optimizer.update(network.params, grads)
        if (self.steps_done + 1) % self.target_every == 0:
            self.networks["target"].params.flat[...] = network.params.flat

    def _values(self, stack: Array) -> Array:
        """The values of all actions by what is seen, (E, S, ...)."""
        return self.engines["online"].predict(as_inputs(self.networks["online"], stack))

    @in_turn
    def evaluate(self, source: Game) -> dict[str, float]:
        """The mean return of an episode, always with the best action."""
        count = self.evaluate_samples or source.episodes[1]
        if count not in self._measured_on:
            self._measured_on[count] = source.alike(count, seed=source.seed)
        returns = play_out(self._measured_on[count], self._best, stack=self.stack)
        return {self.metrics[0].name: float(np.mean(returns, dtype=np.float64))}

    def _best(self, stack: Array) -> Array:
        return self.source.game.device.xp.argmax(self._values(stack), axis=1)

    def describe(self) -> dict[str, str | int]:
        """Tell what the record of a run should say of what computes."""
        return self.engines["online"].describe()


def stack_of(network: Network, game: Game) -> int:
    """How many of what a game shows a network sees at once.

    Raises
    ------
    ArgumentError
        The network is for other games.
    """
    reads, shape = network.input_shape, game.shape
    stack = reads[0] // shape[0]
    if network.output_shape != (len(game.actions),) or reads != (stack * shape[0], *shape[1:]):
        raise ArgumentError(
            f"{game!r} shows {shape} and has {len(game.actions)} actions, and the network takes "
            f"{reads} and gives {network.output_shape}; it must take that, or several times as "
            "many channels, and give a value for each action"
        )
    return stack


def as_inputs(network: Network, stack: Array) -> Array:
    """Stacks (N, S, C, ...) as what a network takes, (N, S C, ...); bytes become 0 to 1."""
    xp = network.device.xp
    x = xp.reshape(stack, (stack.shape[0], *network.input_shape))
    return scaled(x, network.device.dtype(network.dtype))
