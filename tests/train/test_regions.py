"""Learning of R-CNN, in Python and on the command line."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from test_cli import assert_refused, without_gpu
from test_segment import scenes as scenes  # a fixture
from xpnet import RCNN, Trainer, load_model, to_numpy
from xpnet.data.scenes import road_scenes
from xpnet.errors import ArgumentError
from xpnet.models.detections import Objects
from xpnet.report.detection import DetectionScores
from xpnet.train.regions import Regions


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, scenes):
    monkeypatch.setattr("xpnet.cli.options.load_scenes", lambda name, data_dir=None: scenes[name])
    monkeypatch.setattr("xpnet.report.plots.available", lambda: False)
    return without_gpu(capsys, monkeypatch, tmp_path)


def test_it_is_measured_by_what_it_finds(scenes):
    own = scenes["digit-scenes"]
    learner = Regions(RCNN(rng=0), own, 20, "Adam", {"lr": 0.002})
    trainer = Trainer.of(learner, 3, verbose=False)
    assert trainer.best == ("test_map50", "max")
    history = trainer.train()
    scores = DetectionScores(10)
    scores.update(learner.network.detect(own.x_test), own.objects_test)
    assert history[-1].values["test_map50"] == scores.mean_average_precision() > 0
    assert history[-1].values["test_recall50"] == scores.recall()
    assert trainer.train_loss_list[-1] < trainer.train_loss_list[0]


def test_a_run(run, tmp_path):
    train = ("train", "--model", "r-cnn", "--device", "cpu", "--batch-size", 20)
    code, out, err = run(*train, "--epochs", 2, "--out", "whole")
    assert code == 0, err
    assert "model: r-cnn, 61791 parameters, float32" in out
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert (summary["task"], summary["data"]) == ("detect", "digit-scenes")
    assert (summary["optimizer"], summary["lr"]) == ("adam", 0.002)
    assert f"test mAP50: {summary['test_map50']:.4f} on 4 images" in out
    assert f"test recall50: {summary['test_recall50']:.4f} on 4 images" in out

    assert run(*train, "--epochs", 1, "--out", "parts")[0] == 0
    code, out, err = run("train", "--resume", "parts", "--epochs", 2)
    assert code == 0, err
    whole, parts = load_model("whole"), load_model("parts")
    assert type(whole) is RCNN
    for name, array in whole.params.items():
        np.testing.assert_array_equal(to_numpy(parts.params[name]), to_numpy(array), err_msg=name)
    newest = max((tmp_path / "whole" / "checkpoints").iterdir())
    assert type(load_model(newest)) is RCNN


def test_other_commands_and_data_are_refused(run):
    RCNN(rng=0).save_params("r-cnn.safetensors")
    message = "the network of r-cnn.safetensors finds objects in pictures; xpnet detect is for that"
    assert_refused(run("predict", "--weights", "r-cnn.safetensors", "a.png"), message)
    assert_refused(
        run("train", "--model", "r-cnn", "--data", "road-scenes"),
        "data road-scenes are to segment, and the network is to detect; use digit-scenes",
    )


def test_what_it_cannot_learn_from(scenes):
    own = scenes["digit-scenes"]
    nothing = (Objects(np.zeros((0, 4)), np.zeros(0, dtype=np.int64)),) * len(own.x_test)
    for network, data, text in (
        (RCNN(rng=0), road_scenes(2, 1), "scenes with objects, such as digit-scenes"),
        (RCNN(classes=3, rng=0), own, "objects of 10 classes, and the network knows 3"),
        (RCNN(rng=0), replace(own, objects_test=nothing), "test scenes need at least one object"),
    ):
        with pytest.raises(ArgumentError, match=re.escape(text)):
            Regions(network, data)
