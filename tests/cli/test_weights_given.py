"""What --weights takes: runs that are finished, stopped or damaged, and NumPy's files."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from test_cli import QUICK, assert_refused
from test_cli import run as run  # a fixture
from xpnet import (
    SimpleConvNet,
    TwoLayerNet,
    load_network,
    save_torch,
    softmax,
    synthetic_digits,
    to_numpy,
)
from xpnet.errors import ArgumentError, CheckpointError, WeightsError
from xpnet.files.pictures import read_picture, save_picture
from xpnet.train.checkpoint import load_checkpoint
from xpnet.train.saved import load_model

OLD = Path(__file__).parents[1] / "train" / "data" / "format_1" / "run"

X = synthetic_digits(20, seed=3)[0].reshape(20, -1) / 255


def same(network, other):
    return type(network) is type(other) and np.array_equal(network.predict(X), other.predict(X))


def checkpoints(directory):
    return sorted((directory / "checkpoints").glob("step-*.safetensors"))


def stop(directory):
    """Leave what a run leaves that was killed before its end."""
    (directory / "model.safetensors").unlink()
    (directory / "summary.json").unlink()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def trained(run, tmp_path, kept):
    """A finished run of two epochs, of which each test has a copy."""
    if not kept.exists():
        assert run("train", *QUICK, "--activation", "tanh", "--out", kept)[0] == 0
    return shutil.copytree(kept, tmp_path / "run")


def test_pytorchs_names_are_of_a_network_that_is_named(run):
    net = SimpleConvNet((1, 28, 28), {"filter_num": 30}, rng=0)
    save_torch(net, "w.safetensors")
    save_picture("a.png", synthetic_digits(1)[0][0])
    predict = ("predict", "--weights", "w.safetensors", "a.png")
    code, out, _ = run(*predict, "--model", "simple-convnet", "--json")
    want = softmax(net.predict(read_picture("a.png")[np.newaxis]))[0]
    assert (code, json.loads(out)["digit"]) == (0, int(want.argmax()))
    loaded = load_model("w.safetensors", model="simple-convnet")
    np.testing.assert_array_equal(loaded.params.flat, net.params.flat)
    assert_refused(run(*predict), "other names, such as PyTorch's, are for load_torch")
    assert_refused(
        run(*predict, "--model", "deep-convnet"),
        "error: w.safetensors lacks 'Conv2.weight' and 9 more\n",
    )


def test_a_run_is_what_it_came_to(run, trained, tmp_path):
    net = load_network(trained / "model.safetensors")
    code, out, err = run("evaluate", "--weights", "run/model.safetensors")
    assert code == 0
    accuracy = out.splitlines()[-2]
    for given in ("run", "run/checkpoints", checkpoints(trained)[-1]):
        (trained / "evaluation.json").unlink()
        again = run("evaluate", "--weights", given)
        assert (again[0], again[1].replace(f"{tmp_path}/", ""), again[2]) == (code, out, err)
        assert json.loads((trained / "evaluation.json").read_text())["weights"] == str(given)
        assert same(load_model(given), net)
    stop(trained)
    code, out, err = run("evaluate", "--weights", "run")
    assert (code, out.splitlines()[-2]) == (0, accuracy)
    assert err == (
        f"xpnet: run is not finished; its network is taken from {checkpoints(trained)[-1]}: "
        "60 steps, 2 epochs\n"
    ).replace(f"{trained}", "run")
    assert same(load_model("run"), net)
    save_picture("a.png", synthetic_digits(1)[0][0])
    code, out, _ = run("predict", "--weights", "run", "a.png")
    assert (code, out.splitlines()[-1][:6]) == (0, "a.png:")


def test_files_beside_a_network_and_directories_of_runs_are_told_where_it_is(run, trained):
    for name in ("summary.json", "metrics.csv", "evaluation.json"):
        (trained / name).touch()
        told = run("evaluate", "--weights", f"run/{name}")
        assert_refused(told, f"run/{name} holds no network; give the directory run\n")
    old = trained.parent / "old"
    shutil.copytree(trained, old)
    for path in checkpoints(old):
        os.utime(path, (0, 0))
    (trained.parent / "notes.txt").touch()
    newest = "give one of the runs in it, of which run is the newest\n"
    assert_refused(run("evaluate", "--weights", "."), newest)
    assert_refused(run("train", "--resume", "."), ". is not empty (notes.txt)", newest)
    assert_refused(run("train", "--out", "run"), "run is not empty (checkpoints)")


def test_what_is_damaged_is_passed_over_and_told(trained, capsys):
    stop(trained)
    first, middle, newest = checkpoints(trained)
    want = load_model(middle)
    newest.write_bytes(newest.read_bytes()[:-5])
    capsys.readouterr()
    assert same(load_model(trained), want)
    assert f"{newest} is damaged, or no checkpoint" in capsys.readouterr().err
    for path in (first, middle):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"{newest} is damaged"):
        load_model(trained)


def test_a_run_that_went_on_and_was_stopped_is_what_it_came_to_since(run, trained):
    before = {name: (trained / name).read_bytes() for name in ("summary.json", "model.safetensors")}
    assert run("train", "--resume", "run", "--epochs", 3)[0] == 0
    want = load_network(trained / "model.safetensors")
    for name, contents in before.items():
        (trained / name).write_bytes(contents)
    assert same(load_model(trained), want)
    assert not same(load_network(trained / "model.safetensors"), want)


def test_a_checkpoint_is_known_by_what_it_holds(trained, tmp_path):
    path = tmp_path / "best.safetensors"
    shutil.copy(checkpoints(trained)[1], path)
    assert same(load_model(path), load_model(checkpoints(trained)[1]))
    with pytest.raises(ValueError, match=r"is a checkpoint of a training run, .*xpnet\.load_model"):
        load_network(path)
    with pytest.raises(ArgumentError, match="says itself what its activation is; leave out act"):
        load_model(path, activation="relu")


@pytest.mark.slow
def test_another_models_checkpoint(run, tmp_path):
    """With weights in float64, and with statistics of hidden sizes that are not the book's."""
    flags = ("--model", "simple-convnet", "--hidden-size", 7, "--dtype", "float64", "--epochs", 1)
    assert run("train", *flags, "--batch-size", 300, "--out", "conv")[0] == 0
    net = load_network(tmp_path / "conv" / "model.safetensors")
    stop(tmp_path / "conv")
    other = load_model(tmp_path / "conv")
    assert other.dtype == "float64"
    np.testing.assert_array_equal(to_numpy(other.params.flat), to_numpy(net.params.flat))


def test_a_directory_of_nothing_is_told(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert_refused(
        run("evaluate", "--weights", "empty"),
        "empty holds neither model.safetensors nor a checkpoint, as a run's directory does",
    )
    assert_refused(run("evaluate", "--weights", "none"), "none does not exist")
    long = run("evaluate", "--weights", "a" * 5000)
    assert_refused(long, "cannot be read: File name too long; check its name and permissions")


def test_a_run_of_the_first_version(capsys):
    net = load_model(OLD)
    assert (type(net).__name__, net.params["W1"].shape) == ("TwoLayerNet", (784, 2))
    assert "run is not finished; its network is taken from" in capsys.readouterr().err
    want = load_checkpoint(checkpoints(OLD)[-1]).arrays["network.params.W1"]
    np.testing.assert_array_equal(net.params["W1"], want)


def test_arrays_of_numpy_are_evaluated_and_what_is_assumed_is_told(run, tmp_path):
    net = TwoLayerNet(784, 20, 10, activation="sigmoid", rng=0)
    np.savez(tmp_path / "w.npz", **{name: to_numpy(array) for name, array in net.params.items()})
    net.save_params(tmp_path / "w.safetensors")
    told = run("evaluate", "--weights", "w.npz")
    (tmp_path / "evaluation.json").unlink()
    want = run("evaluate", "--weights", "w.safetensors")
    assert told[:2] == want[:2]
    assert told[2] == (
        "xpnet: w.npz does not tell the activation between its layers; sigmoid is assumed\n"
    )
    assert want[2] == ""


def test_a_pipe_is_not_waited_at(run):
    os.mkfifo("pipe")
    assert_refused(run("evaluate", "--weights", "pipe"), "pipe is not a file")


def test_numbers_that_are_none_are_told_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {"W1": np.zeros((3, 2)), "b1": np.array([0, np.nan])}
    np.savez("w.npz", **arrays)
    with pytest.raises(WeightsError, match="b1 must hold finite floats, got NaN or infinity in"):
        load_network("w.npz", activation="relu")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_16_bits_are_evaluated(run, trained, tmp_path, dtype):
    network = load_network(trained / "model.safetensors")
    network.save_params(tmp_path / "half.safetensors", dtype=dtype)
    code, out, _ = run("evaluate", "--weights", "half.safetensors", "--data", "synthetic")
    assert code == 0
    assert "accuracy" in out
