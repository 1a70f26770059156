"""Self play: a network and a search in the tree of moves make each other better, from the rules.

Silver et al. 2017, "Mastering the game of Go without human knowledge", Nature 550, in small.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import TypeAlias

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, Device, array_namespace, get_device, to_numpy
from xpnet.arrays.random import pick, random_words
from xpnet.engine import get_engine
from xpnet.engine.base import Uncopied
from xpnet.engine.threads import TakesTurns
from xpnet.errors import ArgumentError, CheckpointError
from xpnet.functions.activations import log_softmax
from xpnet.games.tic_tac_toe import CELLS, SYMMETRIES, moved, outcomes, perfect_moves, planes
from xpnet.layers import Affine, Convolution, Heads, Layer, ReLU, Sequential, Tanh
from xpnet.models.network import Network
from xpnet.optim import Adam
from xpnet.optim.penalties import L2
from xpnet.train.learner import Batch, Learner

NOISE, MOVES, DRAWS = 0xDA00, 0xDA01, 0xDA02
"""Second words of keys: of noise at the root, of moves in self play, of what is learned from."""
SHARE, REMEMBERED = 0.25, 20
"""Of noise in the probabilities at the root; epochs whose games are learned from."""

Judge: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""For boards (N, 9) probabilities of moves, (N, 9), and what the boards are worth, (N,)."""


def game_network(rng: int = 0, *, device: str | Device = "cpu", dtype: str = "float32") -> Network:
    """Scores of moves, and the worth of a board from -1 to 1; 94,538 parameters.

    Convolution 3 x 3 with 32 filters, ReLU, with 64, ReLU, Affine 576-128, ReLU, Affine to each.
    """
    gen = np.random.default_rng(rng)
    layers: dict[str, Layer] = {
        "conv1": Convolution(3, 32, 3, pad=1, rng=gen), "relu1": ReLU(),
        "conv2": Convolution(32, 64, 3, pad=1, rng=gen), "relu2": ReLU(),
        "affine": Affine(576, 128, rng=gen), "relu3": ReLU(),
        "heads": Heads({
            "policy": Affine(128, CELLS, std="xavier", rng=gen),
            "value": Sequential([Affine(128, 1, std="xavier", rng=gen), Tanh()]),
        }),
    }  # fmt: skip
    return Network(layers, penalty=L2(1e-4), input_shape=(3, 3, 3), device=device, dtype=dtype)


def selection(P: np.ndarray, N: np.ndarray, Q: np.ndarray, c: float = 1.25) -> np.ndarray:
    """How much each move of nodes (..., A) asks to be looked at next.

        Q + c P sqrt(sum of N) / (1 + N)

    Before the first visit the sum counts as 1, so that P decides.
    """
    total = np.maximum(N.sum(axis=-1, keepdims=True), 1)
    scores: np.ndarray = Q + c * P * np.sqrt(total) / (1 + N)
    return scores


def search(
    boards: np.ndarray, judge: Judge, simulations: int = 25, noise: np.ndarray | None = None
) -> np.ndarray:
    """Look ahead from boards (G, 9), none of which is over; how often each move was tried, (G, 9).

    Each simulation goes down by `selection` to a move that was not tried, and judges what it leads
    to: the end of a game by the rules, any other board by the network. On the way back its worth
    counts for one player and against the other. `noise`, (G, 9), is mixed into the probabilities of
    moves at the roots.
    """
    G, games = len(boards), np.arange(len(boards))
    size = (G, simulations + 1, CELLS)
    N, W, P, there = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    child, over, value = np.zeros(size, int), np.zeros(size[:2], bool), np.zeros(size[:2])
    there[:, 0], P[:, 0] = boards, judge(boards)[0]
    if noise is not None:
        P[:, 0] = (1 - SHARE) * P[:, 0] + SHARE * noise
    for new in range(1, simulations + 1):
        node, going, path = np.zeros(G, int), np.ones(G, bool), []
        while going.any():
            tried = N[games, node]
            scores = selection(P[games, node], tried, W[games, node] / np.maximum(tried, 1))
            action = np.where(there[games, node] == 0, scores, -np.inf).argmax(axis=1)
            path.append((going, node, action))
            then = child[games, node, action]
            fresh = going & (then == 0)
            child[games[fresh], node[fresh], action[fresh]] = new
            there[fresh, new] = moved(there[games, node], action)[fresh]
            node = np.where(going, np.where(fresh, new, then), node)
            going = going & ~fresh & ~over[games, node]
        over[:, new], ended = outcomes(there[:, new])
        P[:, new], judged = judge(there[:, new])
        value[:, new] = np.where(over[:, new], ended, judged)
        v = value[games, node]  # to whose turn it is there, which is not who moved there
        for went, at, action in reversed(path):
            v = np.where(went, -v, v)
            N[games, at, action] += went
            W[games, at, action] += went * v
    return N[:, 0]


class Played:
    """The source of a `SelfPlay`: games of every epoch, by the network as it then is."""

    def __init__(
        self, judge: Judge, games: int, simulations: int, batches: int, batch_size: int, seed: int
    ) -> None:
        self._judge, self._games, self._simulations = judge, games, simulations
        self._batches, self._batch_size, self._seed = batches, batch_size, seed
        # Of each move the board, how often moves were tried, and what came of the game.
        self._memory = np.zeros((REMEMBERED, games * CELLS, 2 * CELLS + 1))
        self._counts = np.zeros(REMEMBERED + 1, dtype=np.int64)  # of moves; and of epochs played

    def __len__(self) -> int:
        return self._batches

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Batch]:
        """Play, unless that was done, and draw batches: planes, shares of tries, results."""
        if self._counts[-1] <= number:
            rows = self._play(number)
            self._memory[number % REMEMBERED, : len(rows)] = rows
            self._counts[[number % REMEMBERED, -1]] = len(rows), number + 1
        counts = self._counts[:-1]
        rows = np.concatenate([self._memory[k, :n] for k, n in enumerate(counts)])
        for k in range(first, len(self)):
            words = self._words(DRAWS, number * len(self) + k, (self._batch_size, 2))
            chosen, cells = rows[pick(words[:, 0], len(rows))], SYMMETRIES[pick(words[:, 1], 8)]
            board = np.take_along_axis(chosen[:, :CELLS], cells, axis=1)
            tries = np.take_along_axis(chosen[:, CELLS:-1], cells, axis=1)
            yield planes(board), tries / tries.sum(axis=1, keepdims=True), chosen[:, -1:]

    def _play(self, number: int) -> np.ndarray:
        """Play the games of an epoch to their ends."""
        boards, going = np.zeros((self._games, CELLS)), np.arange(self._games)
        rows, result = list[tuple[np.ndarray, ...]](), np.zeros(self._games)  # to who began
        for turn in range(CELLS):
            step, sign = number * CELLS + turn, -1 if turn % 2 else 1
            # Even over all distributions: Dirichlet's, with parameters of 1.
            even = (self._words(NOISE, step, (self._games, CELLS))[going] + 1) / 2**32
            noise = np.where(boards == 0, 1e-9 - np.log(even), 0)
            noise /= noise.sum(axis=1, keepdims=True)
            tries = search(boards, self._judge, self._simulations, noise)
            rows.append((boards, tries, going, np.full(len(going), sign)))
            drawn = self._words(MOVES, step, (self._games, 1))[going] * tries.sum(axis=1)[:, None]
            boards = moved(boards, np.sum(tries.cumsum(axis=1) <= drawn / 2**32, axis=1))
            over, value = outcomes(boards)
            result[going[over]] = -sign * value[over]
            boards, going = boards[~over], going[~over]
            if not len(going):
                break
        board, tries, who, signs = (np.concatenate(part) for part in zip(*rows, strict=True))
        return np.concatenate([board, tries, (signs * result[who])[:, None]], axis=1)

    def _words(self, purpose: int, step: int, shape: tuple[int, int]) -> np.ndarray:
        key, at = (self._seed, purpose), np.array([step])
        return np.reshape(random_words(shape[0] * shape[1], key=key, step=at, device=_HOST), shape)

    def state(self) -> dict[str, Array]:
        """Return the games that are remembered."""
        return {"memory": self._memory.copy(), "counts": self._counts.copy()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` gave."""
        for name, own in (("memory", self._memory), ("counts", self._counts)):
            if name not in state or state[name].shape != own.shape:
                raise CheckpointError("a checkpoint of other games cannot be used; play as many")
            own[...] = state[name]


class SelfPlay(TakesTurns, Uncopied, Learner):
    """A network that learns tic-tac-toe from nothing but its rules, by playing against itself.

        L = mean of (z - v)^2 - pi log p,   and the network's penalty

    pi is how often the search tried each move, and z what the game brought in the end to whose turn
    it was. Moves of self play are drawn by pi, from a search with noise at its root; positions are
    turned and mirrored at random. Searches are the host's.

    Parameters
    ----------
    network : as `game_network` makes it
    games : played at once, before each epoch
    simulations : of the search before each move
    batches, batch_size : of an epoch
    lr : of Adam
    seed : of all that is drawn
    engine : what computes, as in `get_engine`
    """

    losses: Sequence[str] = ("loss", "policy", "value")
    remedy = "make another, for a copy of the network"
    tells_updates = True

    @checked
    def __init__(
        self, network: Network, *, games: int = 64, simulations: int = 25, batches: int = 50,
        batch_size: int = 64, lr: float = 0.002, seed: int = 0, engine: str = "auto",
    ) -> None:  # fmt: skip
        if (least := min(games, simulations, batches, batch_size)) < 1:
            raise ArgumentError(f"games, simulations and batches are at least 1, got {least}")
        self.networks, self.optimizers = {"player": network}, {"player": Adam(lr)}
        self.engine, self.simulations = get_engine(network, engine), simulations
        self.source = Played(self.judge, games, simulations, batches, batch_size, seed)
        self._begin_turns()

    def judge(self, boards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tell what the network makes of boards: see `Judge`."""
        found = self.engine.forward(self.networks["player"].place(planes(boards)))[0]
        free = (boards == 0) | np.all(boards != 0, axis=1, keepdims=True)
        return np.exp(_allowed(to_numpy(found["policy"]), free)), to_numpy(found["value"])[:, 0]

    def moves(self, boards: np.ndarray) -> np.ndarray:
        """Choose for boards (N, 9) the moves that a search tries most, (N,)."""
        actions: np.ndarray = search(boards, self.judge, self.simulations).argmax(axis=1)
        return actions

    def step(self, batch: Batch) -> dict[str, Array]:
        """One update; the loss before it, and its two parts."""
        with self._turn:
            network = self.networks["player"]
            x = network.place(batch[0])
            pi, z = (network.device.asarray(each, dtype=network.dtype) for each in batch[1:])
            xp, n = array_namespace(x), x.shape[0]
            free = xp.reshape(x[:, 0, ...] + x[:, 1, ...], (n, CELLS)) == 0
            found, backward = self.engine.forward(x, train=True)
            log_p, v = _allowed(found["policy"], free), found["value"]
            policy = -xp.sum(pi * xp.where(free, log_p, 0.0)) / n
            value = xp.sum((z - v) ** 2) / n
            slopes = {"policy": (xp.exp(log_p) - pi) / n, "value": 2 * (v - z) / n}
            _, grads = backward(slopes, need_dx=False)
            loss, grads = network.penalized(policy + value, dict(grads))
            if not network.device.is_host or isfinite(loss):
                self.updating = True
                self.optimizers["player"].update(network.params, grads)
            return {"loss": loss, "policy": policy, "value": value}


def lost_games(
    moves: Callable[[np.ndarray], np.ndarray], *, perfect: bool = True
) -> tuple[int, int]:
    """Play on from every board to which an opponent can lead; how many ends are lost, and of all.

    The player, whose `moves` are always alike, begins, and then the opponent does. This one makes
    all moves that perfect players may make, or else all that there are.
    """
    lost = ends = 0
    for mine in (True, False):
        boards = np.zeros((1, CELLS))
        while len(boards):
            if mine:
                boards = moved(boards, moves(boards))
            else:
                each = [
                    perfect_moves(tuple(map(int, b))) if perfect else tuple(np.flatnonzero(b == 0))
                    for b in boards
                ]
                boards = np.repeat(boards, list(map(len, each)), axis=0)
                boards = moved(boards, np.concatenate(each))
            mine, (over, value) = not mine, outcomes(boards)
            ends, lost = ends + int(over.sum()), lost + int(np.sum(value[over] < 0)) * mine
            boards = np.unique(boards[~over], axis=0)
    return lost, ends


def _allowed(scores: Array, free: Array) -> Array:
    """Logarithms of the probabilities of moves; of those that are not free, minus infinity."""
    return log_softmax(array_namespace(scores).where(free, scores, -np.inf))


_HOST = get_device("cpu")
