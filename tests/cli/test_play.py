"""Learning to play on the command line, `xpnet play`, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from test_cli import assert_refused
from test_cli import run as run  # a fixture
from xpnet.data import sets
from xpnet.errors import ArgumentError
from xpnet.files.weights import load_safetensors
from xpnet.games import known
from xpnet.games.known import Plan, Playing, game_of, inputs_of, is_game, plan_of
from xpnet.train.saved import load_networks

TRAIN = ("train", "--model", "dqn", "--device", "cpu", "--threads", 1, "--batch-size", 4)


@pytest.fixture
def quick(monkeypatch):
    """Epochs of six updates."""
    plan = Plan(6, memory=40, warm_up=20, target_every=4, explore=20)
    monkeypatch.setattr(known, "PLANS", dict.fromkeys(known.GAMES, plan))
    monkeypatch.setattr(known, "NUMBERS", plan)
    monkeypatch.setattr("xpnet.games.Game.episodes", (2, 3))


def parameters(path):
    networks = load_networks(path).networks
    return np.concatenate([networks[name].params.flat for name in ("online", "target")])


def arrays(directory):
    """What the newest checkpoint holds."""
    return load_safetensors(max((directory / "checkpoints").iterdir())).params


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_run_that_plays(run, tmp_path):
    """Whole, and in parts, bit for bit with its memory; measured, and shown."""
    code, out, err = run(*TRAIN, "--epochs", 3, "--out", "whole")
    assert code == 0, err
    assert "data: catch, a game that xpnet plays" in out
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    told = {"task": "play", "data": "catch", "steps": 18, "test_episodes": 3, "lr": 0.0005}
    assert told.items() <= summary.items()
    assert f"test return: {summary['test_return']:.4f} on 3 episodes" in out

    command = (*TRAIN, "--epochs", 1, "--checkpoint-steps", 4, "--out", "parts")
    assert run(*command)[0] == 0
    between = tmp_path / "parts" / "checkpoints" / "step-00000004.safetensors"
    assert run("train", "--resume", between, "--epochs", 3)[0] == 0
    np.testing.assert_array_equal(parameters("parts"), parameters("whole"))
    one, other = arrays(tmp_path / "whole"), arrays(tmp_path / "parts")
    assert any(name.startswith("source.memory.") for name in one)
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array, err_msg=name)

    code, out, err = run("evaluate", "--weights", "whole", "--threads", 1)
    assert code == 0, err
    kept = json.loads((tmp_path / "whole" / "evaluation.json").read_text())
    assert kept["test_return"] == summary["test_return"]
    assert kept["test_episodes"] == 3

    code, out, err = run("play", "whole", "--episodes", 3, "--out", "shown")
    assert code == 0, err
    assert f"mean return: {summary['test_return']:.4f} in 3 episodes of catch" in out
    found = json.loads((tmp_path / "shown" / "returns.json").read_text())
    assert [each["moves"] for each in found["episodes"]] == [9, 9, 9]
    with Image.open(tmp_path / "shown" / "game.gif") as shown:
        assert shown.n_frames == 30
    assert_refused(run("play", "whole", "--out", "shown"), "shown is not empty")


@pytest.mark.usefixtures("quick")
def test_without_the_memory_it_says_so(run, tmp_path):
    command = (*TRAIN, "--data", "dodge", "--epochs", 1, "--no-replay-in-checkpoint", "--out", "a")
    code, out, err = run(*command)
    assert code == 0, err
    assert "not bit for bit the one that was not stopped" in out
    assert not any("memory" in name for name in arrays(tmp_path / "a"))
    code, out, err = run("train", "--resume", "a", "--epochs", 2)
    assert code == 0, err
    assert "the checkpoint has no memory of the games: 20 frames are played" in err
    assert_refused(
        run("train", "--model", "two-layer-net", "--no-replay-in-checkpoint", "--out", "b"),
        "--no-replay-in-checkpoint is for networks that play, such as dqn; leave it out",
    )


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_an_environment(run, tmp_path):
    pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    command = ("train", "--model", "double-dqn", "--data", "gym:CartPole-v1", "--epochs", 1)
    code, out, err = run(*command, "--threads", 1, "--out", "cart")
    assert code == 0, err
    assert "17410 parameters" in out
    assert run("train", "--resume", "cart", "--epochs", 2)[0] == 0
    code, out, err = run("play", "cart", "--episodes", 2, "--out", "shown")
    assert code == 0, err
    assert (tmp_path / "shown" / "game.gif").stat().st_size > 0
    message = "Gymnasium has no environment 'Nothing-v3'"
    assert_refused(run(*TRAIN, "--data", "gym:Nothing-v3", "--out", "b"), message)


def test_refused(run, monkeypatch):
    assert_refused(
        run("train", "--model", "lenet", "--data", "catch", "--out", "a"),
        "data catch are to play, and the network is to classify; use mnist or synthetic",
    )
    assert_refused(
        run(*TRAIN, "--data", "mnist", "--out", "a"),
        "the network is to play; use catch or catch-fast or dodge",
    )
    assert_refused(run(*TRAIN, "--data", "gym:", "--out", "a"), "'gym:' is not one of")
    assert_refused(run("play", "nothing"), "nothing does not exist; give a file")
    monkeypatch.setattr("xpnet.games.environments.installed", lambda package: False)
    sets._of_environment.cache_clear()
    assert_refused(
        run(*TRAIN, "--data", "gym:CartPole-v1", "--out", "a"),
        "needs Gymnasium, which is not installed: pip install 'xpnet[rl]'",
    )


def test_what_does_not_play_is_refused(run):
    from xpnet import FasterRCNN, TwoLayerNet
    from xpnet.models.together import save_networks

    TwoLayerNet(4, 3, 2, rng=0).save_params("net.safetensors")
    assert_refused(run("play", "net.safetensors"), "holds no network that plays")
    save_networks("several.safetensors", FasterRCNN(rng=0).networks, {"model": "faster-rcnn"})
    assert_refused(run("play", "several.safetensors"), "holds no network that plays")


def test_games_by_name():
    assert all(map(is_game, ("catch", "dodge", "gym:CartPole-v1", "gym:ale_py:ALE/Pong-v5")))
    assert not any(map(is_game, ("mnist", "gym:", "gym:a b", "Catch")))
    assert inputs_of(game_of("catch-fast")) == (4, 10, 10)
    assert game_of("catch-fast").speed == 2
    assert plan_of(game_of("catch")).updates == 500
    sums = {name: Playing(name).checksum() for name in known.GAMES}
    assert len(set(sums.values())) == len(sums)
    assert sums["dodge"] == Playing("dodge").checksum()
    with pytest.raises(ArgumentError):
        game_of("nothing")
