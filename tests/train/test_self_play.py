"""Search in the tree of moves, and learning by self play."""

import numpy as np
import pytest

from test_resume import assert_same, result, stopped
from xpnet import SGD, Trainer, to_numpy
from xpnet.errors import ArgumentError, CheckpointError
from xpnet.games.tic_tac_toe import CELLS, LINES, outcomes, perfect_moves, planes
from xpnet.train.self_play import SelfPlay, game_network, lost_games, search, selection

EVEN = np.full((1, CELLS), 1 / CELLS)


def judge_nothing(boards):
    """No opinion: any move, and worth nothing."""
    return np.repeat(EVEN, len(boards), axis=0), np.zeros(len(boards))


def small(network=None, **options):
    """A learner of epochs of a hundredth of a second."""
    options = {"games": 3, "simulations": 3, "batches": 3, "batch_size": 4} | options
    return SelfPlay(network or game_network(), engine="reference", **options)


def trained(learner, epochs=3):
    trainer = Trainer.of(learner, epochs, verbose=False)
    trainer.train()
    return trainer


def test_selection():
    P, N, Q = (np.array(each) for each in ([0.5, 0.3, 0.2], [3, 1, 0], [0.2, 0.5, 0.0]))
    np.testing.assert_allclose(selection(P, N, Q), [0.5125, 0.875, 0.5], atol=1e-12)
    assert selection(np.array([0.2, 0.8]), np.zeros(2), np.zeros(2)).argmax() == 1


BOARDS = np.array(
    [
        [1, 1, 0, -1, -1, 0, 0, 0, 0],  # wins at 2
        [0, 0, 0, -1, -1, 0, 1, 0, 0],  # must go to 5
        [-1, 1, -1, 1, -1, 1, 0, 1, 0],  # all but two are full
    ],
    dtype=float,
)


def test_a_search_finds_what_wins_and_what_must_be_done():
    tries = search(BOARDS, judge_nothing, 100)
    np.testing.assert_array_equal(tries.sum(axis=1), 100)
    assert not tries[BOARDS != 0].any()
    np.testing.assert_array_equal(tries.argmax(axis=1)[:2], [2, 5])
    assert tries[0, 2] > 90  # after a win nothing else is looked at
    assert tries[1, 5] > 60
    for board, own in zip(BOARDS, tries, strict=True):  # searches side by side do not meet
        np.testing.assert_array_equal(search(board[None], judge_nothing, 100)[0], own)


def test_the_rules_tell_how_games_end_and_the_network_does_not():
    def judge_wrong(boards):
        return judge_nothing(boards)[0], np.where(outcomes(boards)[0], 1.0, 0.0)

    np.testing.assert_array_equal(
        search(BOARDS, judge_wrong, 60), search(BOARDS, judge_nothing, 60)
    )


def test_noise_is_mixed_into_the_root():
    noise = np.eye(CELLS)[[7]]
    tries = search(np.zeros((1, CELLS)), judge_nothing, 30, noise)
    assert tries[0].argmax() == 7


def test_who_plays_perfectly_never_loses_and_who_does_not_is_found_out():
    def perfect(boards):
        return np.array([perfect_moves(tuple(each))[0] for each in boards.astype(int)])

    for against in (True, False):
        lost, ends = lost_games(perfect, perfect=against)
        assert lost == 0
        assert ends > 20
    lost, _ = lost_games(lambda boards: (boards == 0).argmax(axis=1))
    assert lost > 0


def test_the_gradient_is_that_of_the_loss():
    """In float64, by a step of gradient descent with a rate of 1."""
    network = game_network(dtype="float64")
    learner = small(network)
    learner.optimizers = {"player": SGD(1.0)}
    rng = np.random.default_rng(0)
    pi = np.where(BOARDS == 0, rng.random(BOARDS.shape), 0)
    batch = planes(BOARDS), pi / pi.sum(axis=1, keepdims=True), np.array([[1.0], [-1.0], [0.0]])
    start, params = network.params.flat.copy(), network.params.flat
    direction = rng.standard_normal(start.shape) * (np.abs(start) > 0)
    loss = float(learner.step(batch)["loss"])
    slope = float(np.sum((start - params) * direction))

    def at(place):
        params[...] = place
        return float(learner.step(batch)["loss"])

    h = 1e-6
    numerical = (at(start + h * direction) - at(start - h * direction)) / (2 * h)
    assert slope == pytest.approx(numerical, rel=1e-6)
    assert at(start) == loss


def test_a_step_is_the_same_on_all_libraries(device):
    learners = [small(game_network(device=each)) for each in ("cpu", device)]
    (batch, *_) = learners[0].source.epoch(0)
    losses = [learner.step(batch) for learner in learners]
    for name, loss in losses[0].items():
        assert float(losses[1][name]) == pytest.approx(float(loss), rel=1e-5)
    flat = [learner.networks["player"].params.flat for learner in learners]
    np.testing.assert_allclose(to_numpy(flat[1]), flat[0], atol=1e-4)


def test_what_is_learned_from_are_tries_and_results():
    learner = small(games=6, batch_size=200)
    (batch, *_) = learner.source.epoch(0)
    x, pi, z = batch
    taken = (x[:, 0] | x[:, 1]).reshape(-1, CELLS)
    np.testing.assert_allclose(pi.sum(axis=1), 1)
    assert not pi[taken].any()
    assert set(np.unique(z)) <= {-1, 0, 1}
    assert len({each.tobytes() for each in x}) > 6  # also turned and mirrored


def test_results_are_those_of_whose_turn_it_was():
    """Where one cell is free, it tells; and who moved before had the opposite result."""
    rows = small(games=60).source._play(0)
    boards, z = rows[:, :CELLS], rows[:, -1]
    last = np.sum(boards == 0, axis=1) == 1
    full = np.where(boards == 0, 1, boards)[last]
    lost = np.any(-full[:, LINES].sum(axis=2) == -3, axis=1)
    np.testing.assert_array_equal(z[last], lost)
    assert 0 < lost.sum() < last.sum()
    np.testing.assert_array_equal(z[60:120], -z[:60])  # of the second moves and of the first
    assert np.sum(z[:60]) > 0  # who begins has it easier


@pytest.mark.parametrize("steps", [3, 5])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(steps):
    whole = result(trained(small()))
    part = stopped(Trainer.of(small(), 3, verbose=False), steps)
    other = Trainer.of(small(), 3, verbose=False)
    other.restore(part.state())
    other.train()
    assert_same(result(other), whole)


def test_misuse_is_told():
    with pytest.raises(ArgumentError, match="simulations and batches are at least 1, got 0"):
        small(simulations=0)
    part = trained(small(), 1)
    with pytest.raises(CheckpointError, match="of other games cannot be used; play as many"):
        Trainer.of(small(games=4), 1, verbose=False).restore(part.state())
