"""Environments of Gymnasium as games."""

import numpy as np
import pytest

from xpnet.errors import ArgumentError, CheckpointError
from xpnet.games import Gym, play_out

gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed")


class Counting(gymnasium.Env):
    """Shows its seed and how many moves were made, and ends or is truncated after so many."""

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, space=None, terminal=0, truncated=0):
        self.observation_space = space or gymnasium.spaces.Box(0, 1e9, (2,), np.float32)
        self.terminal, self.truncated = terminal, truncated

    def _seen(self):
        shape = self.observation_space.shape
        if len(shape) == 1:
            return np.array([self.own, self.moves], np.float32)
        return np.full(shape, self.moves, self.observation_space.dtype)

    def reset(self, *, seed=None, options=None):
        self.own, self.moves = seed, 0
        return self._seen(), {}

    def step(self, action):
        self.moves += 1 + int(action)
        end, late = self.moves >= self.terminal > 0, self.moves >= self.truncated > 0
        return self._seen(), float(action), end, late, {}


def moves(*actions):
    return np.array(actions)


def test_terminal_and_truncated_episodes():
    game = Gym(lambda: Counting(terminal=2), 2)
    state, seen = game.begin()
    assert seen.tolist() == [[0, 0], [1, 0]]
    step = game.step(state, moves(0, 1))
    assert step.terminal.tolist() == [False, True]
    assert step.last.tolist() == [[0, 1], [1, 2]]
    assert step.seen.tolist() == [[0, 1], [3, 0]]  # the next of game 1 is episode 3
    assert step.reward.tolist() == [0, 1]

    game = Gym(lambda: Counting(truncated=1))
    state, _ = game.begin()
    step = game.step(state, moves(0))
    assert (step.terminal.tolist(), step.truncated.tolist()) == ([False], [True])
    assert step.seen.tolist() == [[0, 1]]  # its last
    step = game.step(step.state, moves(1))
    assert (step.seen.tolist(), step.reward.tolist()) == ([[1, 0]], [0])
    assert not step.truncated[0]


def test_a_limit_does_not_hide_an_end():
    game = Gym(lambda: Counting(terminal=1, truncated=1))
    step = game.step(game.begin()[0], moves(0))
    assert (step.terminal.tolist(), step.truncated.tolist()) == ([True], [False])


def test_any_move_can_be_made_again():
    """Also of the episode before, and in games made anew of a state that was kept."""
    game = Gym(lambda: Counting(terminal=3))
    states = [game.begin()[0]]
    for _ in range(4):
        states.append(game.step(states[-1], moves(0)).state)
    kept = [game.kept(state) for state in states[3:]]
    assert game.step(states[2], moves(0)).last.tolist() == [[0, 3]]
    assert game.step(states[1], moves(1)).last.tolist() == [[0, 3]]
    other = Gym(lambda: Counting(terminal=3))
    for state in (other.restored(each) for each in kept):
        seen = other.step(state, moves(0)).seen
        assert seen.tolist() == [[1, int(state["moves"][0]) + 1]]
    with pytest.raises(CheckpointError, match="a checkpoint of other games than Gym"):
        other.restored({**kept[0], "made": np.zeros(7, np.int64)})
    with pytest.raises(CheckpointError, match="a checkpoint of other games than Gym"):
        other.restored({})


@pytest.mark.parametrize(
    ("shape", "dtype", "want"),
    [
        ((3, 4), np.uint8, (1, 3, 4)),
        ((3, 4, 2), np.bool_, (2, 3, 4)),
        ((5, 4, 3), np.uint8, (3, 5, 4)),
    ],
)
def test_pictures_are_bytes_of_channels(shape, dtype, want):
    high = 255 if dtype is np.uint8 else 1
    game = Gym(lambda: Counting(gymnasium.spaces.Box(0, high, shape, dtype)))
    assert (game.shape, game.dtype) == (want, "uint8")
    step = game.step(game.begin()[0], moves(0))
    assert step.seen.shape == (1, *want)
    assert np.all(step.seen == (1 if dtype is np.uint8 else 255))


def test_cart_pole():
    """Seeded by the episode, and as long as at random it is."""
    game = Gym("CartPole-v1", 4, seed=7)
    assert (game.name, game.shape, game.actions) == ("gym:CartPole-v1", (4,), ("0", "1"))
    first = game.begin()[1]
    np.testing.assert_array_equal(first, Gym("CartPole-v1", 4, seed=7).begin()[1])
    assert len(np.unique(first[:, 0])) == 4
    rng = np.random.default_rng(0)
    total = play_out(game.alike(40, seed=1), lambda seen: rng.integers(2, size=40))
    assert 15 < total.mean() < 30
    assert total.min() >= 8


def test_refused():
    with pytest.raises(ArgumentError, match=r"has no environment 'Nothing-v0': .* doesn't exist"):
        Gym("Nothing-v0")
    with pytest.raises(ArgumentError, match=r"numbered actions is needed, Discrete, and Pendulum"):
        Gym("Pendulum-v1")
    with pytest.raises(ArgumentError, match="that shows numbers"):
        Gym(lambda: Counting(gymnasium.spaces.Discrete(4)))


def test_without_gymnasium(monkeypatch):
    monkeypatch.setattr("xpnet.games.environments.installed", lambda package: False)
    with pytest.raises(ArgumentError, match=r"CartPole-v1 needs Gymnasium.*'xpnet\[rl\]'"):
        Gym("CartPole-v1")
