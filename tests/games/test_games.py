"""Catch and Dodge by their rules, on every array library."""

import numpy as np
import pytest

from xpnet import to_numpy
from xpnet.errors import ArgumentError, CheckpointError
from xpnet.games import Catch, Dodge, play_out, pushed


def numbers(device, *values):
    return device.asarray(np.asarray(values, np.int64))


def host(state):
    return {name: to_numpy(array) for name, array in state.items()}


def as_text(seen):
    """A picture, with a sign for each brightness."""
    return ["".join({0: ".", 128: "o", 255: "#"}[int(v)] for v in row) for row in to_numpy(seen)[0]]


def test_balls_begin_as_drawn(device):
    state, _ = Catch(5, device=device).begin()
    assert to_numpy(state["x"]).tolist() == [0, 2, 8, 5, 3]
    assert to_numpy(state["dx"]).tolist() == [1, 0, 0, -1, 0]


def test_the_next_episodes_of_many_games_are_those_of_one(device):
    """The k-th of game e of E is number k E + e."""
    game = Catch(2, device=device)
    state, _ = game.begin()
    for _ in range(9):
        state = game.step(state, numbers(device, 1, 1)).state
    assert to_numpy(state["episode"]).tolist() == [2, 3]
    assert to_numpy(state["x"]).tolist() == [8, 5]


def test_a_ball_is_caught(device):
    """The ball of episode 0 comes back from the wall, and the paddle goes to where it lands."""
    game = Catch(device=device)
    state, seen = game.begin()
    assert as_text(seen[0, ...])[0] == "#........."
    assert as_text(seen[0, ...])[9] == "....###..."
    rewards, ends = [], []
    for _ in range(9):
        step = game.step(state, numbers(device, 2))
        state = step.state
        rewards.append(float(to_numpy(step.reward)[0]))
        ends.append(bool(to_numpy(step.terminal)[0]))
    assert rewards == [0.0] * 8 + [1.0]
    assert ends == [False] * 8 + [True]
    assert as_text(step.last[0, ...])[9] == ".......###"  # the ball is at 9, and the paddle at 8
    assert as_text(step.seen[0, ...])[0] == "..#......."  # of episode 1
    assert str(step.reward.dtype).endswith("float32")
    assert not to_numpy(step.truncated).any()


def test_a_fast_ball_comes_back_from_the_walls(device):
    game = Catch(4, speed=2, device=device)
    state, _ = game.begin()
    where = {"x": (1, 9, 8, 0), "dx": (-2, 2, 2, -2)}
    state = {**state, **{name: numbers(device, *each) for name, each in where.items()}}
    moved = host(game.step(state, numbers(device, 1, 1, 1, 1)).state)
    assert moved["x"].tolist() == [1, 7, 8, 2]
    assert moved["dx"].tolist() == [2, -2, -2, 2]


def test_standing_still_in_dodge(device):
    game, steps = Dodge(5, device=device), np.zeros(5, int)
    over = np.zeros(5, bool)

    def look(step):
        nonlocal over
        steps[~over] += 1
        over = over | to_numpy(step.terminal)

    total = play_out(game, lambda seen: numbers(device, 1, 1, 1, 1, 1), look=look)
    np.testing.assert_allclose(total, [-0.3, -0.8, -1, -0.8, -0.9], atol=1e-6)
    assert steps.tolist() == [31, 16, 10, 16, 13]


def test_dodge_is_truncated_after_100_steps(device):
    """With no blocks; the move after that one begins the next episode, whatever it is."""
    game = Dodge(device=device)
    state, _ = game.begin()
    state = {**state, "rows": state["rows"] & False}
    for _ in range(99):
        step = game.step(state, numbers(device, 1))
        state = step.state
    assert not to_numpy(step.truncated)[0]
    step = game.step(state, numbers(device, 0))
    assert to_numpy(step.truncated)[0]
    assert not to_numpy(step.terminal)[0]
    assert as_text(step.seen[0, ...])[9] == "....o....."  # still its last
    step = game.step(step.state, numbers(device, 0))
    assert as_text(step.seen[0, ...])[9] == ".....o...."
    assert to_numpy(step.reward)[0] == 0
    assert (int(to_numpy(step.state["episode"])[0]), int(to_numpy(step.state["steps"])[0])) == (
        1,
        0,
    )


def test_rows_of_dodge_fall(device):
    game = Dodge(device=device)
    state, seen = game.begin()
    assert as_text(seen[0, ...]) == [".........."] * 9 + [".....o...."]
    pictures = []
    for _ in range(5):
        step = game.step(state, numbers(device, 1))
        state = step.state
        pictures.append(as_text(step.seen[0, ...]))
    row = pictures[0][0]
    assert "#" in row
    assert [picture.index(row) for picture in pictures] == [0, 1, 2, 3, 4]
    assert pictures[3][0] != row


def test_who_does_not_look_has_what_chance_gives():
    """Catch -0.4 exactly on average, and Dodge -0.9; within four standard errors."""
    still = play_out(Catch(1000), lambda seen: np.ones(1000, int))
    assert abs(still.mean() + 0.4) < 4 * still.std() / 1000**0.5
    rng = np.random.default_rng(0)
    for game, mean in ((Catch(1000, seed=3), -0.4), (Dodge(400), -0.9)):
        total = play_out(game, lambda seen, n=game.games: rng.integers(3, size=n))
        assert abs(total.mean() - mean) < 4 * total.std() / game.games**0.5


def test_states_are_kept_and_restored(device):
    game = Catch(2, device=device)
    state, _ = game.begin()
    state = game.step(state, numbers(device, 0, 2)).state
    again = game.restored(host(game.kept(state)))
    one, other = (game.step(each, numbers(device, 0, 2)) for each in (state, again))
    np.testing.assert_array_equal(to_numpy(one.seen), to_numpy(other.seen))
    with pytest.raises(CheckpointError, match="a checkpoint of other games than Catch"):
        Catch(3, device=device).restored(host(state))


def test_no_state_is_altered(device):
    game = Dodge(2, device=device)
    state, _ = game.begin()
    before = host(state)
    game.step(state, numbers(device, 0, 2))
    for name, array in host(state).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_stack_is_cut_where_an_episode_begins(device):
    stack = device.asarray(np.arange(12, dtype=np.uint8).reshape(2, 3, 2) + 1)
    seen = device.asarray(np.array([[50, 51], [60, 61]], np.uint8))
    got = to_numpy(pushed(stack, seen, device.asarray(np.array([False, True]))))
    assert got[0].tolist() == [[3, 4], [5, 6], [50, 51]]
    assert got[1].tolist() == [[0, 0], [0, 0], [60, 61]]


def test_refused():
    with pytest.raises(ArgumentError, match="at least one game is needed, got 0"):
        Catch(0)
    with pytest.raises(ArgumentError, match="speed of Catch must be from 1 to 4, got 5"):
        Catch(speed=5)
