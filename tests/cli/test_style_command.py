"""`xpnet style`: what it writes, what it refuses, and Ctrl-C."""

import json
import signal
from functools import partial

import numpy as np
import pytest
from PIL import Image

from test_cli import assert_refused, without_gpu
from xpnet import VGG, SimpleConvNet
from xpnet.engine import get_engine

QUICK = ("--device", "cpu", "--size", 32, "--steps", 3, "--optimizer", "adam")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("xpnet.train.style.get_engine", partial(get_engine, compiled=False))
    monkeypatch.setattr("xpnet.report.plots.available", lambda: False)
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (64, 48)), ("b.jpg", (40, 40)), ("tiny.png", (90, 9))):
        pixels = rng.integers(0, 256, (*size[::-1], 3), "uint8")
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "text.png").write_text("no picture")
    return without_gpu(capsys, monkeypatch, tmp_path)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_painting(run, tmp_path):
    code, out, err = run("style", "a.png", "b.jpg", *QUICK, "--out", "p", "--seed", 4)
    assert code == 0, err
    assert "no curve was drawn: matplotlib is not installed" in err
    assert out.splitlines()[-1] == "everything is in p"
    record = json.loads((tmp_path / "p" / "style.json").read_text())
    losses = [row["loss"] for row in record["history"]]
    assert len(losses) == 3
    assert f"loss {losses[0]:.4f} at first, {losses[-1]:.4f} at the end" in out
    assert (record["size"], record["seed"], record["optimizer"]) == ([32, 24], 4, "adam")
    assert record["weights"] == {"content": 1.0, "style": 10.0, "variation": 10.0}
    first = pixels(tmp_path / "p" / "painting.png")
    assert first.shape == (24, 32, 3)
    again = run("style", "a.png", "b.jpg", *QUICK, "--out", "q", "--seed", 4)
    assert again[0] == 0
    np.testing.assert_array_equal(first, pixels(tmp_path / "q" / "painting.png"))
    other = run("style", "a.png", "b.jpg", *QUICK, "--out", "r", "--start", "noise")
    assert other[0] == 0
    assert np.any(pixels(tmp_path / "r" / "painting.png") != first)


def test_the_curve(run, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.undo()
    from xpnet.report.plots import painting_curve

    history = [{"loss": 3.0 / k, "content": 1.0 / k, "style": 0.2 / k} for k in (1, 2, 3)]
    painting_curve(tmp_path / "c.png", history, {"content": 1.0, "style": 10.0, "variation": 0.0})
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_network_of_ones_own(run, tmp_path):
    VGG(((4, 4), (8,)), input_shape=(3, 32, 32), hidden=(4,), rng=0).save_params(tmp_path / "v")
    code, _, err = run("style", "a.png", "b.jpg", *QUICK, "--out", "p", "--features", "v")
    assert code == 0, err
    assert "v does not say how it reads pictures" in err
    record = json.loads((tmp_path / "p" / "style.json").read_text())
    assert record["layers"] == {"style": ["features.1", "features.6"], "content": "features.6"}
    SimpleConvNet(rng=0).save_params(tmp_path / "s")
    refused = run("style", "a.png", "b.jpg", *QUICK, "--features", "s")
    assert_refused(refused, "style is compared behind layers of VGG")
    assert "StyleLayers" not in refused[2]


def test_ctrl_c_keeps_what_was_reached(run, monkeypatch, tmp_path):
    from xpnet.train import style

    def one(*arguments):
        signal.raise_signal(signal.SIGINT)
        return found(*arguments)

    found = style.StyleTransfer.loss_and_gradient
    monkeypatch.setattr("xpnet.train.style.StyleTransfer.loss_and_gradient", one)
    code, _, err = run("style", "a.png", "b.jpg", *QUICK, "--out", "p")
    assert code == 130
    assert "interrupted after 1 of 3 steps; the picture that was reached is in p" in err
    assert len(json.loads((tmp_path / "p" / "style.json").read_text())["history"]) == 1
    assert (tmp_path / "p" / "painting.png").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("a.png", "text.png"), "text.png cannot be read as a picture"),
        (("none.png", "b.jpg"), "none.png does not exist"),
        (("a.png", "tiny.png"), "tiny.png is too small to paint from: it has 90 x 9 pixels"),
        (("a.png",), "Missing argument 'STYLE'"),
        (("a.png", "b.jpg", "--size", 8), "--size"),
        (("a.png", "b.jpg", "--style-weight", -1), "--style-weight"),
        (("a.png", "b.jpg", "--features", "nothing"), "nothing"),
        (("a.png", "b.jpg", "--optimizer", "sgd"), "--optimizer"),
    ],
)
def test_what_is_refused(run, given, told):
    assert_refused(run("style", *given), told)


def test_a_picture_that_would_be_too_narrow(run, tmp_path):
    Image.new("RGB", (400, 20)).save(tmp_path / "narrow.png")
    told = "narrow.png is too narrow: of 400 x 20 pixels 32 x 2 would be left"
    assert_refused(run("style", "narrow.png", "b.jpg", *QUICK), told)
