"""Runs whose learner has several networks: checkpoints and files hold all of them."""

import json

import numpy as np
import pytest

from test_cli import assert_refused, without_gpu
from test_segment import scenes as scenes  # a fixture
from xpnet import Adam, Affine, Batches, Learner, Network, ReLU, Trainer, load_model, to_numpy
from xpnet.errors import CheckpointError, WeightsError
from xpnet.files.weights import load_safetensors, save_weights
from xpnet.models.registry import MODELS, OFFERED, Model
from xpnet.report.metrics import Accuracy
from xpnet.train.saved import load_networks
from xpnet.train.tasks import TRAINERS


class Pair:
    """Two networks, of which the second reads what the first puts out."""

    def __init__(self, *, input_shape, classes, rng, device="cpu", dtype="float32"):
        rng, place = np.random.default_rng(rng), {"device": device, "dtype": dtype}
        units = int(np.prod(input_shape))
        self.networks = {
            "front": Network([Affine(units, 6, rng=rng), ReLU()], **place),
            "back": Network([Affine(6, classes, rng=rng)], **place),
        }

    def scores(self, x):
        return self.networks["back"].predict(self.networks["front"].predict(x))


class Learning(Learner):
    losses, best, metrics = ("loss",), "test_accuracy", [Accuracy()]

    def __init__(self, pair, dataset, batch_size):
        self.pair, self.networks = pair, pair.networks
        self.optimizers = {name: Adam(0.01) for name in pair.networks}
        given = ((dataset.x_train, dataset.objects_train), (dataset.x_test, dataset.objects_test))
        labels = [np.array([own.labels[0] for own in objects]) for _, objects in given]
        pictures = [x.reshape(len(x), -1) for x, _ in given]
        self.source = Batches(pictures[0], labels[0], batch_size)
        self.sets = {"train": self.source, "test": Batches(pictures[1], labels[1], batch_size)}
        self.evaluate_samples = 1

    def step(self, batch):
        x, t = batch
        front, back = self.networks.values()
        middle, through = front.forward(x, train=True)
        y, backward = back.forward(middle, train=True)
        loss, start = back.last_layer.forward(y, t)
        d, grads = backward(start())
        self.optimizers["back"].update(back.params, grads)
        self.optimizers["front"].update(front.params, through(d)[1])
        return {"loss": loss}

    def evaluate(self, source):
        (metric,) = self.metrics
        metric.reset()
        for x, t in source.in_order(4, limit=self.evaluate_samples):
            metric.update(self.pair.scores(x), t)
        return {"accuracy": metric.value()}


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, scenes):
    """The command line, with "pair" among the networks that find objects."""
    monkeypatch.setitem(MODELS, "pair", Model(Pair, "adam", 0.01, 2, task="detect", batch_size=3))
    for place in ("cli.options", "train.record"):
        monkeypatch.setattr(f"xpnet.{place}.OFFERED", (*OFFERED, "pair"))
    monkeypatch.setitem(
        TRAINERS,
        "detect",
        lambda settings, pair, dataset, **_: Trainer.of(
            Learning(pair, dataset, settings["batch_size"]), settings["epochs"]
        ),
    )
    monkeypatch.setattr("xpnet.cli.options.load_scenes", lambda name, data_dir=None: scenes[name])
    monkeypatch.setattr("xpnet.report.plots.available", lambda: False)
    return without_gpu(capsys, monkeypatch, tmp_path)


def arrays(networks):
    return {
        f"{name}.{key}": to_numpy(array)
        for name, network in networks.items()
        for key, array in network.file_arrays().items()
    }


def test_a_run_of_several_networks(run, tmp_path):
    code, out, err = run("train", "--model", "pair", "--out", "whole")
    assert code == 0, err
    assert "model: pair, 24652 parameters, float32" in out
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert (summary["task"], summary["data"], summary["steps"]) == ("detect", "digit-scenes", 6)
    assert f"test accuracy: {summary['test_accuracy']:.4f} on 4 images" in out

    assert run("train", "--model", "pair", "--epochs", 1, "--out", "parts")[0] == 0
    code, _, err = run("train", "--resume", "parts", "--epochs", 2)
    assert code == 0, err
    whole, parts = (load_networks(each) for each in ("whole", "parts"))
    assert list(whole.networks) == ["front", "back"]
    assert whole.about == {
        "model": "pair",
        "arguments": {"input_shape": [1, 64, 64], "classes": 10},
        "data": "digit-scenes",
    }
    for name, array in arrays(whole.networks).items():
        np.testing.assert_array_equal(arrays(parts.networks)[name], array, err_msg=name)
    newest = max((tmp_path / "whole" / "checkpoints").iterdir())
    kept = load_networks(newest)
    assert kept.about == whole.about
    for name, array in arrays(whole.networks).items():
        np.testing.assert_array_equal(arrays(kept.networks)[name], array, err_msg=name)
    with pytest.raises(WeightsError, match="holds several networks that work together"):
        load_model("whole")
    with pytest.raises(CheckpointError, match="holds several networks that work together"):
        load_model(newest)
    assert_refused(run("evaluate", "--weights", "whole"), "holds several networks that work toge")
    code, out, _ = run("summary", "--model", "pair")
    assert code == 0
    assert [line for line in out.splitlines() if line.endswith(":")] == ["front:", "back:"]


def test_files_that_hold_no_such_networks_are_refused(run, tmp_path):
    Network([Affine(3, 2, rng=0)]).save_params("one.safetensors")
    with pytest.raises(WeightsError, match="does not hold several networks that work together"):
        load_networks("one.safetensors")
    with pytest.raises(WeightsError, match="does not exist"):
        load_networks("none")
    assert run("train", "--model", "pair", "--epochs", 1, "--out", "run")[0] == 0
    sound = load_safetensors(tmp_path / "run" / "model.safetensors")
    for name, change, texts, message in (
        ("extra", {"side.W": np.zeros(2, "float32")}, {}, "which is of none of its networks"),
        ("shape", {"back.Affine1.W": np.zeros((10, 10), "float32")}, {}, "must have shape"),
        ("json", {}, {"networks": "{"}, "is no JSON"),
        ("list", {}, {"networks": "[1]"}, "that must be descriptions of networks by name"),
        ("empty", {}, {"networks": "{}"}, "does not hold several networks"),
        ("about", {}, {"about": "3"}, "that must be values by name"),
        ("layer", {}, {"networks": '{"back": "{}", "front": "{}"}'}, "cannot build"),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, {**sound.params, **change}, {**sound.metadata, **texts})
        with pytest.raises((WeightsError, CheckpointError), match=message):
            load_networks(path)
