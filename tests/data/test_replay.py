"""The memory of moves: episodes of a script, and the stacks that are known of them."""

import numpy as np
import pytest

from xpnet import to_numpy
from xpnet.arrays.random import random_words
from xpnet.data.replay import SAMPLING, Replay
from xpnet.errors import ArgumentError, CheckpointError

# Of each row what is seen, and whether an episode begins there, is terminal there, or was truncated
# and this is its end. Rows are called by what is seen: 1, 2, ...
SCRIPT = [
    (1, "first"), (2, ""), (3, "terminal"),
    (4, "first"), (5, ""), (6, ""), (7, "extra"),
    (8, "first"), (9, ""), (10, ""), (11, ""), (12, ""),
]  # fmt: skip
STACKS = {
    1: (0, 0, 1), 2: (0, 1, 2), 3: (1, 2, 3), 4: (0, 0, 4), 5: (0, 4, 5), 6: (4, 5, 6),
    7: (5, 6, 7), 8: (0, 0, 8), 9: (0, 8, 9), 10: (8, 9, 10), 11: (9, 10, 11), 12: (10, 11, 12),
}  # fmt: skip


def written(device, rows, upto=12, games=1, start=0):
    """A memory with the script's first rows; the second game's are larger by 100."""
    memory = Replay(rows, (1, 1, 1), games, stack=3, seed=5, device=device)
    for time, (value, what) in enumerate(SCRIPT[:upto]):
        seen = np.array([[[[value + 100 * e]]] for e in range(games)], np.uint8)
        flags = [np.full(games, what == each) for each in ("terminal", "first", "extra")]
        action, reward = np.full(games, value % 4), np.full(games, value / 4, np.float32)
        memory.write(start + time, *map(device.asarray, (seen, action, reward, *flags)))
    return memory


def drawn(memory, n, time, **options):
    """What was drawn, by its arrays on the host; stacks as rows of what is seen."""
    seen, action, reward, terminal, then = map(to_numpy, memory.draw(n, time, **options))
    return seen.reshape(n, -1), action, reward, terminal, then.reshape(n, -1)


def chosen(device, step, among):
    """Which of so many times 64 draws choose."""
    number = device.asarray(np.array([step]))
    words = random_words(64, key=(5, SAMPLING), step=number, device=device)
    return to_numpy(words) * among >> 32


def check(memory, time, want, **options):
    """All that is drawn is of the rows wanted, each of which comes, with its stacks."""
    met = set()
    for step in range(8):
        moves = drawn(memory, 16, time, step=step, **options)
        for seen, action, reward, terminal, then in zip(*moves, strict=True):
            row = int(seen[-1])
            met.add(row)
            assert tuple(seen) == STACKS[row]
            assert (action, reward) == (row % 4, row / 4)
            assert terminal == (row == 3)
            if not terminal:
                assert tuple(then) == STACKS[row + 1]
    assert met == set(want)


def test_stacks_of_a_script(device):
    """The newest row has no successor, and from row 7, where an episode was truncated, none is."""
    check(written(device, 40), 12, {1, 2, 3, 4, 5, 6, 8, 9, 10, 11})


def test_over_the_edge_of_the_ring(device):
    """Of 12 rows a ring of 8 has 5 to 12, and the two oldest have lost what was before them."""
    check(written(device, 8), 12, {8, 9, 10, 11})


def test_at_the_old_end_a_truncated_row_is_followed(device):
    """The oldest that may be drawn is row 7, from where no move was made: row 8 comes instead."""
    memory = written(device, 8)
    assert memory.drawable(12) == range(6, 11)
    rows = drawn(memory, 64, 12, step=0)[0][:, -1]
    np.testing.assert_array_equal(rows, np.array([8, 8, 9, 10, 11])[chosen(device, 0, 5)])


def test_otherwise_the_row_before_it_is_taken(device):
    """By the words that are drawn, of times 0 to 10: the 7th is replaced by the 6th."""
    rows = drawn(written(device, 40), 64, 12, step=3)[0][:, -1]
    want = chosen(device, 3, 11) + 1
    np.testing.assert_array_equal(rows, np.where(want == 7, 6, want))


def test_after_a_gap_only_what_was_written_since(device):
    """As when a run goes on without its memory."""
    memory = written(device, 40, start=30)
    assert memory.drawable(42, since=30) == range(32, 41)
    check(memory, 42, {3, 4, 5, 6, 8, 9, 10, 11}, since=30)


def test_games_side_by_side(device):
    memory = written(device, 40, games=2)
    seen, action, _, _, then = drawn(memory, 200, 12, step=1)
    game = seen[:, -1] // 100
    assert 60 < game.sum() < 140
    for row, act, after, e in zip(seen, action, then, game, strict=True):
        own = np.where(row > 0, row - 100 * e, 0)
        assert tuple(own) == STACKS[own[-1]]
        assert act == own[-1] % 4
        if own[-1] != 3:
            assert after[-1] == row[-1] + 1


def test_what_is_written_again_is_as_written_once(device):
    """So a frame that was broken off can be played again."""
    memory, again = written(device, 8), written(device, 8)
    value = [
        device.asarray(np.array(a)) for a in ([[[[12]]]], [0], [3.0], [False], [False], [False])
    ]
    again.write(11, *value)
    for one, other in zip(drawn(memory, 9, 12, step=2), drawn(again, 9, 12, step=2), strict=True):
        np.testing.assert_array_equal(one, other)


def test_kept_and_restored(device):
    memory = written(device, 8)
    other = Replay(8, (1, 1, 1), stack=3, seed=5, device=device)
    state = {name: to_numpy(array).copy() for name, array in memory.state().items()}
    other.restore(state)
    for one, two in zip(drawn(memory, 9, 12, step=2), drawn(other, 9, 12, step=2), strict=True):
        np.testing.assert_array_equal(one, two)
    for wrong in ({}, {**state, "reward": state["reward"].astype(float)}):
        with pytest.raises(CheckpointError, match="a checkpoint of another memory than Replay"):
            other.restore(wrong)


def test_one_frame_needs_no_history(device):
    """A stack of one: rows of numbers, all but the newest of which can be drawn."""
    memory = Replay(4, (2,), stack=1, dtype="float32", device=device)
    for time in range(6):
        flags = [np.array([False])] * 2
        row = (np.array([[time, -time]], np.float32), [1], [0.5], [False], *flags)
        memory.write(time, *(device.asarray(np.asarray(part)) for part in row))
    assert memory.drawable(6) == range(2, 5)
    seen, *_, then = map(to_numpy, memory.draw(20, 6, step=0))
    assert seen.shape == (20, 1, 2)
    np.testing.assert_array_equal(then, seen + np.array([1, -1]))


def test_refused():
    with pytest.raises(ArgumentError, match="a stack of 4 and 5 rows; give it more rows"):
        Replay(5, (1, 10, 10))
    with pytest.raises(ArgumentError, match="a memory of 1 rows has no move to be drawn"):
        Replay(8, (1,), stack=1).draw(2, 1, step=0)
