"""Training a DCGAN, and judging what it makes, on the command line."""

import json

import numpy as np
import pytest

from test_cli import assert_refused, without_gpu
from xpnet import DCGAN, LeNet, TwoLayerNet, synthetic_digits, to_numpy
from xpnet.data.dataset import Dataset
from xpnet.train.generators import load_gan
from xpnet.train.saved import load_networks

QUICK = ("--device", "cpu", "--engine", "reference", "--batch-size", 20)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """A command line in an empty directory, with few digits and no GPU."""
    (x, t), (x_test, t_test) = synthetic_digits(40, seed=0), synthetic_digits(20, seed=1)
    monkeypatch.setattr(
        "xpnet.cli.options.load_dataset",
        lambda name, data_dir=None: Dataset("synthetic", "synthetic digits", x, t, x_test, t_test),
    )
    monkeypatch.setattr("xpnet.report.plots.available", lambda: False)
    return without_gpu(capsys, monkeypatch, tmp_path)


def parameters(gan):
    return np.concatenate([to_numpy(net.params.flat) for net in gan.networks.values()])


@pytest.mark.slow
def test_a_run_of_dcgan(run, tmp_path):
    """Whole, and in parts, bit for bit; what a judge says of it stands beside it."""
    train = ("train", "--model", "dcgan", *QUICK)
    code, out, err = run(*train, "--epochs", 2, "--out", "whole")
    assert code == 0, err
    assert "model: dcgan, 273890 parameters, float32" in out
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert (summary["task"], summary["data"], summary["steps"]) == ("generate", "synthetic", 4)
    assert (summary["optimizer"], summary["lr"]) == ("adam", 0.0002)
    header = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train_discriminator", "train_generator", "train_d_real", "train_d_fake"} <= {*header}
    code, _, err = run(*train, "--epochs", 1, "--out", "parts")
    assert code == 0, err
    code, _, err = run("train", "--resume", "parts", "--epochs", 2, "--engine", "reference")
    assert code == 0, err
    whole, parts = (load_gan(each) for each in ("whole", "parts"))
    np.testing.assert_array_equal(parameters(whole), parameters(parts))
    assert list(load_networks("whole").networks) == ["generator", "discriminator"]

    TwoLayerNet(784, 20, 10, rng=0).save_params("judge.safetensors")
    evaluate = ("evaluate", "--weights", "whole", "--judge", "judge.safetensors")
    code, out, err = run(*evaluate, "--engine", "reference")
    assert code == 0, err
    record = json.loads((tmp_path / "whole" / "evaluation.json").read_text())
    assert 1 <= record["test_class_score"] <= 10
    assert record["test_frechet_distance"] > 0
    assert sum(record["test_class_shares"].values()) == pytest.approx(1)
    assert record["judge_sha256"] in out
    assert f"test class score: {record['test_class_score']:.4f} on 20 images" in out
    assert "it has collapsed" in err  # to an untrained judge all are alike


def test_misuse_is_told(run, tmp_path):
    DCGAN(rng=0).save_params("gan.safetensors")
    LeNet(rng=0).save_params("lenet.safetensors")
    DCGAN(input_shape=(1, 8, 8), rng=0).save_params("small.safetensors")
    TwoLayerNet(16, 5, 10, rng=0).save_params("other.safetensors")
    judge = ("--judge", "lenet.safetensors")
    for arguments, text in (
        (("gan.safetensors",), "needs a classifier as its judge; give --judge"),
        (("lenet.safetensors", *judge), "--judge is for networks that make images"),
        (("small.safetensors", *judge), "makes images of 1 x 8 x 8, and those of synthetic are"),
        (("gan.safetensors", "--judge", "other.safetensors"), "does not read images of 28 x 28"),
    ):
        assert_refused(run("evaluate", "--weights", *arguments), text)
    assert_refused(
        run("predict", "--weights", "gan.safetensors", "a.png"), "and `xpnet generate` take"
    )
    assert_refused(run("train", "--model", "dcgan", "--data", "road-scenes"), "use mnist or syn")
