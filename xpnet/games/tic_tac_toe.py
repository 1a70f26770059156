"""Tic-tac-toe, many boards at once, and what each is worth to perfect players."""

from functools import cache

import numpy as np

CELLS = 9
LINES = np.array(
    [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
)
"""Three cells in a row, column or diagonal."""
SYMMETRIES = np.array(
    [
        np.rot90(side, turns).ravel()
        for side in (np.arange(CELLS).reshape(3, 3), np.arange(CELLS).reshape(3, 3).T)
        for turns in range(4)
    ]
)
"""(8, 9): the cells of a board as it is turned, and turned over."""


def moved(boards: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Boards after a move, as the other player, whose turn it is, sees them.

    Parameters
    ----------
    boards : (N, 9), 1 for stones of the player whose turn it is, -1 for the other's, 0 for none
    actions : (N,) the cells that are filled
    """
    after = -boards
    after[np.arange(len(boards)), actions] = -1
    return after


def outcomes(boards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tell which games are over, (N,) bool, and what they brought whose turn it is: 0, or -1.

    Nobody wins by the other one's move.
    """
    lost = np.any(boards[:, LINES].sum(axis=2) == -3, axis=1)
    return lost | np.all(boards != 0, axis=1), -lost.astype(np.float64)


def planes(boards: np.ndarray) -> np.ndarray:
    """Boards as networks see them, (N, 3, 3, 3): own stones, the other's, whether X is to move."""
    x_moves = np.broadcast_to(np.sum(boards != 0, axis=1, keepdims=True) % 2 == 0, boards.shape)
    return np.stack([boards == 1, boards == -1, x_moves], axis=1).reshape(-1, 3, 3, 3)


@cache
def worth(board: tuple[int, ...]) -> int:
    """What a board is worth to whose turn it is, 1, 0 or -1, if both play perfectly: minimax."""
    over, value = outcomes(np.array([board]))
    return int(value[0]) if over[0] else max(_worths(board).values())


@cache
def perfect_moves(board: tuple[int, ...]) -> tuple[int, ...]:
    """All moves of a board that perfect players may make."""
    worths = _worths(board)
    return tuple(action for action, each in worths.items() if each == max(worths.values()))


def _worths(board: tuple[int, ...]) -> dict[int, int]:
    """What each move is worth to who makes it."""
    free = [k for k, stone in enumerate(board) if not stone]
    after = moved(np.array([board] * len(free)), np.array(free))
    return {k: -worth(tuple(each)) for k, each in zip(free, after.tolist(), strict=True)}
