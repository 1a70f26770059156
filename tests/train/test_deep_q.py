"""Learning by playing: exact values of a chain, games side by side, going on bit for bit."""

import copy

import numpy as np
import pytest

from test_resume import assert_same, result, stopped
from xpnet import (
    DQN,
    SGD,
    Adam,
    Affine,
    Catch,
    DeepQ,
    Game,
    IdentityWithLoss,
    Network,
    Trainer,
    to_numpy,
)
from xpnet.data.replay import Moves
from xpnet.errors import ArgumentError, CheckpointError, DivergedError
from xpnet.games import Dodge
from xpnet.train.checkpoint import Checkpoints
from xpnet.train.deep_q import WORTH


class Chain(Game):
    """Five places in a row: going on from the last is worth 1, and ends; 20 moves are the limit."""

    name, actions, shape, dtype = "chain", ("back", "on"), (5,), "float32"

    def _begun(self, episode):
        return {"place": episode * 0, "moves": episode * 0}

    def _moved(self, state, actions):
        xp = self.device.xp
        on = actions == 1
        place = xp.where(on, state["place"] + 1, xp.zeros_like(state["place"]))
        reward, moves = xp.astype(place == 5, xp.float32), state["moves"] + 1
        return {"place": place % 5, "moves": moves}, reward, place == 5, moves == 20

    def _seen(self, state):
        xp = self.device.xp
        places = xp.arange(5, dtype=xp.int64, device=self.device.native)
        return xp.astype(xp.reshape(state["place"], (-1, 1)) == places, xp.float32)


def chain(device="cpu", games=1, **options):
    network = Network([Affine(5, 2, rng=0)], IdentityWithLoss(), device=device)
    defaults = {
        "discount": 0.9, "memory": 400, "warm_up": 200, "target_every": 10, "updates": 900,
        "evaluate_samples": 1, "epsilon": 0.5,
    }  # fmt: skip
    game = Chain(games, device=device)
    return DeepQ(network, game, 32, SGD(1.0), **defaults | options)


def small(seed=0, game=None, **options):
    """A learner of steps of a hundredth of a second."""
    game = Catch(seed=seed) if game is None else game
    network = DQN(len(game.actions), input_shape=(2, 10, 10), rng=seed)
    defaults = {
        "memory": 60, "warm_up": 20, "updates": 12, "target_every": 5, "explore": 30,
        "evaluate_samples": 3, "seed": seed, "threads": 1,
    }  # fmt: skip
    return DeepQ(network, game, 4, **defaults | options)


def trained(learner, epochs=3):
    trainer = Trainer.of(learner, epochs, verbose=False)
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    ("games", "double"), [pytest.param(1, False, marks=pytest.mark.slow), (4, True)]
)
def test_a_chain_has_its_exact_values(games, double):
    learner = chain(games=games, double=double)
    trainer = trained(learner, 1)
    values = learner.networks["online"].predict(np.eye(5, dtype=np.float32))
    np.testing.assert_allclose(values[:, 1], [0.6561, 0.729, 0.81, 0.9, 1], atol=1e-3)
    np.testing.assert_allclose(values[:, 0], 0.9 * 0.6561, atol=1e-3)
    assert trainer.history[-1]["test_return"] == 1.0


def test_it_learns_on_every_library(device):
    """A few steps are the same as on NumPy."""
    options = {"warm_up": 20, "updates": 12, "epsilon": 1.0}
    found = [trained(chain(each, **options), 1) for each in (device, "cpu")]
    one, other = (to_numpy(each.learner.networks["online"].params.flat) for each in found)
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert found[0].history[0]["test_return"] == found[1].history[0]["test_return"]


def test_a_step_is_the_formulas():
    """By hand: the loss of the network before it, and the gradient of the taken actions alone."""
    learner = chain(discount=0.5)
    online, target = learner.networks["online"], learner.networks["target"]
    target.params["Affine1.b"][...] = [3.0, -1.0]
    seen = np.eye(5, dtype=np.float32)[[0, 4], None]
    then = np.eye(5, dtype=np.float32)[[1, 0], None]
    action, reward = np.array([1, 1], np.int8), np.array([0, 1], np.float32)
    moves = Moves(seen, action, reward, np.array([False, True]), then)
    before = online.params["Affine1.W"].copy()
    worth = target.predict(then[:, 0]).max(axis=1)
    d = before[[0, 4], 1] - np.array([0.5 * worth[0], 1.0])
    values = learner.step(moves)
    huber = np.where(np.abs(d) <= 1, d**2 / 2, np.abs(d) - 0.5)
    assert float(values["loss"]) == pytest.approx(huber.mean(), rel=1e-6)
    assert float(values["largest_q"]) == pytest.approx(before[[0, 4], 1].max(), rel=1e-6)
    want = before.copy()
    want[[0, 4], 1] -= np.clip(d, -1, 1) / 2
    np.testing.assert_allclose(online.params["Affine1.W"], want, rtol=1e-6)


def test_the_target_is_copied_now_and_then():
    learner, same = small(), []

    class Look(Trainer):
        pass

    trainer = Look.of(learner, 1, verbose=False, on_step=lambda: same.append(
        np.array_equal(*(learner.networks[k].params.flat for k in ("online", "target")))
    ))  # fmt: skip
    trainer.train()
    assert [k for k, each in enumerate(same, 1) if each] == [5, 10]


def test_few_moves_are_one_thread_s():
    """More would wait for each other; for the network of Nature they are worth having."""
    small, large = DQN(3), DQN(2, input_shape=(4, 84, 84))
    assert small.macs * 32 < WORTH < large.macs * 32
    assert DeepQ(small, Catch()).describe()["threads"] == 1
    assert DeepQ(small, Catch(), threads=2).describe()["threads"] == 2


def test_frames_are_counted():
    """20 at random, and two for each of 12 updates; of four games so many in all."""
    for game in (Catch(), Catch(4)):
        learner = small(game=game)
        learner.source.warm_up = 20
        trained(learner, 1)
        assert learner.source.frames == 44


def test_games_side_by_side_learn():
    learner = small(game=Catch(4), memory=80)
    trainer = trained(learner)
    assert np.isfinite(trainer.train_loss_list).all()


@pytest.mark.parametrize(("game", "steps"), [(Catch, 12), (Catch, 17), (Dodge, 1)])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path, game, steps):
    """In the middle of an epoch and of a game, by a checkpoint with all that is remembered."""
    whole = result(trained(small(game=game())))
    part = stopped(Trainer.of(small(game=game()), 3, verbose=False), steps)
    path = Checkpoints(tmp_path).save(*part.state())
    other = Trainer.of(small(game=game()), 3, verbose=False)
    other.restore(Checkpoints(path.parent).newest())
    other.train()
    assert_same(result(other), whole)


def test_an_environment_goes_on_bit_for_bit():
    pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    from xpnet import Gym

    def learner():
        network = DQN(2, input_shape=(4,), rng=0)
        options = {"memory": 60, "warm_up": 20, "updates": 12, "explore": 30, "threads": 1}
        return DeepQ(network, Gym("CartPole-v1", 2), 4, evaluate_samples=2, **options)

    whole = result(trained(learner()))
    part = stopped(Trainer.of(learner(), 3, verbose=False), 17)
    other = Trainer.of(learner(), 3, verbose=False)
    other.restore(part.state())
    other.train()
    assert_same(result(other), whole)


@pytest.mark.parametrize("where", ["write", "step", "draw"])
def test_a_step_that_was_broken_off_is_taken_again(where, monkeypatch):
    """Wherever in it, in playing, writing or drawing, the same comes of it."""
    whole = result(trained(small()))
    learner = small()
    trainer = Trainer.of(learner, 3, verbose=False)
    owner = {"write": learner.source.memory, "draw": learner.source.memory}.get(where, learner)
    real, calls = getattr(owner, where), []

    def failing(*arguments, **options):
        calls.append(1)
        if len(calls) == 21:
            if where == "write":
                real(*arguments, **options)
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(owner, where, failing)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train()
    assert_same(result(trainer), whole)


def test_without_its_memory_a_run_goes_on_but_not_bit_for_bit(capsys):
    part = stopped(Trainer.of(small(), 3, verbose=False), 17)
    part.learner.source.keeps_memory = False
    arrays, record = part.state()
    assert not any("memory" in name for name in arrays)
    learner = small()
    other = Trainer.of(learner, 3, verbose=False)
    other.restore(arrays, record)
    told = capsys.readouterr().err
    assert "no memory of the games: 20 frames are played before the next update" in told
    assert "not bit for bit" in told
    other.train()
    assert other.steps == 36
    assert learner.source.frames == 20 + 2 * 36 + 20
    assert np.isfinite(other.train_loss_list).all()


def test_a_checkpoint_of_others_is_refused():
    state = Trainer.of(small(), 3, verbose=False).state()
    for other, message in (
        (small(memory=70), "of another memory than Replay"),
        (small(game=Dodge()), "of other games than Dodge"),
        (small(game=Catch(2)), "of other games than Catch"),
    ):
        before = copy.deepcopy(other.networks["online"].params.flat)
        with pytest.raises(CheckpointError, match=message):
            Trainer.of(other, 3, verbose=False).restore(*state)
        np.testing.assert_array_equal(other.networks["online"].params.flat, before)


def test_what_diverges_is_told():
    learner = small()
    learner.optimizers["online"] = SGD(1e30)
    with (
        np.errstate(all="ignore"),
        pytest.raises(DivergedError, match="use a smaller learning rate than 1e"),
    ):
        trained(learner)


def test_measuring_writes_nothing_and_plays_its_own_games():
    learner = small()
    trained(learner, 1)
    before = {k: to_numpy(a).copy() for k, a in learner.source.state().items()}
    assert learner.sets["test"].seed == 10_000
    one, two = (learner.evaluate(learner.sets["test"]) for _ in range(2))
    assert one == two
    for name, array in learner.source.state().items():
        np.testing.assert_array_equal(to_numpy(array), before[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adam"}, "an optimizer must be an instance of Optimizer"),
        ({"every": 0}, "every of DeepQ must be at least 1, got 0"),
        ({"evaluate_samples": 0}, "evaluate_samples of DeepQ must be at least 1, got 0"),
        ({"epsilon": 1.5}, r"epsilon of DeepQ must be from 0 to 1, got 1\.5"),
        ({"discount": -0.5}, r"discount of DeepQ must be from 0 to 1, got -0\.5"),
        ({"memory": 3}, "a stack of 2 and 3 rows; give it more rows"),
        ({"game": Chain()}, r"shows \(5,\) and has 2 actions, and the network takes \(2, 10, 10\)"),
    ],
)
def test_refused(options, message):
    network = DQN(3, input_shape=(2, 10, 10), rng=0)
    with pytest.raises(ArgumentError, match=message):
        DeepQ(network, **{"game": Catch(), "optimizer": Adam(), **options})


@pytest.mark.slow
def test_catch_is_learned():
    """Chance has -0.4; after 6,000 frames more balls are caught than lost."""
    learner = DeepQ(DQN(rng=0), Catch(), threads=1, evaluate_samples=50)
    assert trained(learner, 5).history[-1]["test_return"] > 0
