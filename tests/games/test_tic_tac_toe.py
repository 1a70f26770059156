"""The rules of tic-tac-toe, and perfect play."""

import numpy as np
import pytest

from xpnet.games.tic_tac_toe import (
    LINES,
    SYMMETRIES,
    moved,
    outcomes,
    perfect_moves,
    planes,
    worth,
)


def board(text):
    """x is who is to move."""
    return np.array([{"x": 1, "o": -1, ".": 0}[c] for c in text.replace("/", "")])


def test_a_move_is_seen_by_the_other_player():
    before = np.stack([board("xo./.../..."), board(".../.x./..o")])
    after = moved(before, np.array([4, 0]))
    np.testing.assert_array_equal(after[0], board("ox./.o./..."))
    np.testing.assert_array_equal(after[1], board("o../.o./..x"))
    np.testing.assert_array_equal(before[0], board("xo./.../..."))


@pytest.mark.parametrize(
    ("text", "over", "value"),
    [
        (".../.../...", False, 0),
        ("ooo/xx./...", True, -1),
        ("o.x/.o./x.o", True, -1),
        ("xo./xo./.o.", True, -1),
        ("xox/xoo/oxx", True, 0),
        ("xox/xoo/.xx", False, 0),
    ],
)
def test_a_game_is_over_by_three_in_a_row_or_a_full_board(text, over, value):
    found = outcomes(board(text)[None])
    assert (bool(found[0][0]), found[1][0]) == (over, value)


def test_symmetries_keep_lines():
    assert len({tuple(each) for each in SYMMETRIES}) == 8
    lines = {frozenset(line) for line in LINES.tolist()}
    for each in SYMMETRIES:
        assert {frozenset(each[line].tolist()) for line in LINES} == lines


def test_a_network_sees_whose_stones_they_are_and_whose_turn_it_is():
    seen = planes(np.stack([board(".../.../..."), board("o../.../...")]))
    assert seen.shape == (2, 3, 3, 3)
    assert seen[0].sum() == 9
    assert seen[0, 2].all()
    assert seen[1].sum() == seen[1, 1, 0, 0] == 1


@pytest.mark.parametrize(
    ("text", "value", "moves"),
    [
        (".../.../...", 0, tuple(range(9))),  # nobody can force anything
        ("o../.../...", 0, (4,)),  # a corner is answered in the middle
        ("xx./oo./...", 1, (2,)),
        (".../oo./x..", 0, (5,)),
        ("o../.x./..o", 0, (1, 3, 5, 7)),
    ],
)
def test_perfect_play(text, value, moves):
    given = tuple(board(text).tolist())
    assert worth(given) == value
    assert perfect_moves(given) == moves
