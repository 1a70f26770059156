"""Training captioners on scenes, and `xpnet caption`."""

import json

import numpy as np
import pytest
from PIL import Image

from test_cli import assert_refused, without_gpu
from xpnet import Affine, FasterRCNN, Network, to_numpy
from xpnet.data.captions import caption_scenes
from xpnet.errors import WeightsError
from xpnet.files.weights import load_safetensors, save_weights
from xpnet.models.captioner import Captioner
from xpnet.report.captions import CaptionScores
from xpnet.train.captioners import load_captioner
from xpnet.train.saved import load_networks

QUICK = ("--device", "cpu", "--threads", 1)


@pytest.fixture(scope="module")
def scenes():
    return caption_scenes(12, 5, 4)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, scenes):
    """A command line in an empty directory, with few scenes and no GPU."""
    monkeypatch.setattr("xpnet.cli.options.load_scenes", lambda name, data_dir=None: scenes)
    monkeypatch.setattr("xpnet.report.plots.available", lambda: False)
    return without_gpu(capsys, monkeypatch, tmp_path)


def parameters(captioner):
    return np.concatenate([to_numpy(net.params.flat) for net in captioner.networks.values()])


@pytest.mark.parametrize("model", ["nic", pytest.param("nic-state", marks=pytest.mark.slow)])
def test_a_run(run, tmp_path, scenes, model):
    """Whole, and in parts, bit for bit; all that is measured stands in its files."""
    train = ("train", "--model", model, *QUICK, "--batch-size", 5)
    code, out, err = run(*train, "--epochs", 2, "--out", "whole")
    assert code == 0, err
    assert f"model: {model}, 292022 parameters, float32" in out
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert (summary["task"], summary["data"], summary["steps"]) == ("caption", "caption-scenes", 6)
    assert (summary["optimizer"], summary["lr"]) == ("adam", 0.001)
    names = ["exact_match", *(f"bleu{n}" for n in (1, 2, 3, 4))]
    for part, count in (("test", 5), ("novel", 4)):
        for name in names:
            assert 0 <= summary[f"{part}_{name}"] <= 1
        assert f"{part} BLEU-1: {summary[f'{part}_bleu1']:.4f} on {count} images" in out
    header = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {f"test_{name}" for name in names} <= set(header)

    code, _, err = run(*train, "--epochs", 1, "--out", "parts")
    assert code == 0, err
    code, _, err = run("train", "--resume", "parts", "--epochs", 2)
    assert code == 0, err
    whole, parts = (load_captioner(each) for each in ("whole", "parts"))
    assert whole.feed == ("state" if model == "nic-state" else "every")
    np.testing.assert_array_equal(parameters(whole), parameters(parts))
    newest = max((tmp_path / "whole" / "checkpoints").iterdir())
    np.testing.assert_array_equal(parameters(load_captioner(newest)), parameters(whole))

    code, out, err = run("evaluate", "--weights", "whole", *QUICK)
    assert code == 0, err
    kept = json.loads((tmp_path / "whole" / "evaluation.json").read_text())
    scores = CaptionScores()
    for part in ("test", "novel"):
        scores.reset()
        written = [text for text, _ in whole.caption(getattr(scenes, f"x_{part}"))]
        scores.update(written, getattr(scenes, f"captions_{part}"))
        for n in (1, 2, 3, 4):
            assert kept[f"{part}_bleu{n}"] == summary[f"{part}_bleu{n}"] == scores.bleu(n)


def test_the_networks_are_shown(run):
    code, out, err = run("summary", "--model", "nic-input")
    assert code == 0, err
    assert [line for line in out.splitlines() if line.endswith(":")] == [
        "encoder:", "words:", "decoder:"
    ]  # fmt: skip
    totals = [line.split()[1] for line in out.splitlines() if line.split()[:1] == ["total"]]
    assert totals == ["154,784", "2,816", "134,422"]
    assert run("summary", "--model", "nic", "--input-shape", "3x64x64")[0] == 0


@pytest.mark.parametrize("part", ["test", "novel"])
def test_scenes_are_drawn_and_measured(run, tmp_path, scenes, part):
    captioner = Captioner(rng=0)
    captioner.save_params("model.safetensors")
    line = ("caption", "--weights", "model.safetensors", *QUICK, "--scenes", 3, "--part", part)
    code, out, err = run(*line, "--beam", 3, "--out", "a")
    assert code == 0, err
    directory = tmp_path / "a"
    names = [f"caption-scenes-{part}-{k:05d}" for k in range(3)]
    assert sorted(path.name for path in directory.iterdir()) == [
        *(f"{name}-captioned.png" for name in names), "scene-captions.json", "scores.json"
    ]  # fmt: skip
    *lines, scored, where = [line for line in out.splitlines() if not line.startswith("data")]
    captions = getattr(scenes, f"captions_{part}")
    found = captioner.caption(getattr(scenes, f"x_{part}")[:3], beam=3)
    for line, name, (text, _), right in zip(lines, names, found, captions, strict=False):
        assert line == f"{name}: {text}   (right: {right[0]})"
    assert scored.startswith(f"right as a whole: 0.0000 of 3 {part} scenes   BLEU-1 0.")
    assert where == "everything is in a"
    kept = json.loads((directory / "scene-captions.json").read_text())
    assert [each["file_name"] for each in kept] == names
    for each, (text, score), right in zip(kept, found, captions, strict=False):
        assert each["caption"] == text
        assert each["score"] == pytest.approx(score, abs=1e-5)
        assert (each["right"], each["is_right"]) == (list(right), False)
    scores = CaptionScores()
    scores.update([text for text, _ in found], captions[:3])
    kept = json.loads((directory / "scores.json").read_text())
    assert (kept["part"], kept["scenes"], kept["bleu1"]) == (part, 3, scores.bleu(1))


def test_pictures_of_any_kind(run, tmp_path):
    Captioner(rng=0).save_params("model.safetensors")
    Image.new("RGB", (64, 64), (200, 0, 0)).save("red.png")
    Image.new("L", (300, 40), 9).save("wide.png")
    Image.new("RGBA", (40, 40)).save("clear.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    names = ["red.png", "broken.png", "wide.png", "clear.png", "none.png", "red.png"]
    code, out, err = run("caption", "--weights", "model.safetensors", *QUICK, *names, "--out", "a")
    assert code == 2
    assert "broken.png cannot be read as a picture" in err
    assert "none.png does not exist" in err
    assert "wide.png is 300 x 40 pixels, and is seen stretched to 32 x 32" in err
    kept = json.loads((tmp_path / "a" / "captions.json").read_text())
    readable = ["red.png", "wide.png", "clear.png", "red.png"]
    assert [each["file_name"] for each in kept] == readable
    told = [line.partition(": ") for line in out.splitlines()[:-1]]
    assert [name for name, _, _ in told] == readable
    assert [text for _, _, text in told] == [each["caption"] for each in kept]
    pictures = sorted(path.name for path in (tmp_path / "a").glob("*.png"))
    assert pictures == [f"{n}-captioned.png" for n in ("clear", "red-4", "red", "wide")]


def test_what_is_no_captioner(run, tmp_path, scenes):
    Network([Affine(4, 2, rng=0)]).save_params("one.safetensors")
    FasterRCNN(rng=0).save_params("boxes.safetensors")
    caption = ("caption", *QUICK, "--scenes", 2, "--weights")
    assert_refused(run(*caption, "one.safetensors"), "holds one network, Network, and no captioner")
    assert_refused(run(*caption, "boxes.safetensors"), "are no captioner", "--model nic")
    Captioner(rng=0).save_params("own.safetensors")
    assert_refused(run("detect", "--weights", "own.safetensors", "a.png"), "are no detector")
    assert_refused(run("predict", "--weights", "own.safetensors", "a.png"), "xpnet caption")
    assert_refused(run("caption", "--weights", "own.safetensors"), "IMAGE...")
    assert_refused(run(*caption[:-2], 6, "--weights", "own.safetensors"), "at most 5, got 6")
    assert_refused(run(*caption, "none.safetensors"), "none.safetensors does not exist")
    words = scenes.words[:-1]
    Captioner(words=words, rng=0).save_params("few.safetensors")
    for line in (caption[:1] + caption[1:], ("evaluate", *QUICK, "--weights")):
        assert_refused(run(*line, "few.safetensors"), "has other words than the captions of")
    Captioner(input_shape=(3, 16, 16), rng=0).save_params("low.safetensors")
    assert_refused(run(*caption, "low.safetensors"), "for pictures of 3 x 16 x 16, and caption-sc")
    train = ("train", *QUICK, "--model")
    assert_refused(run(*train, "nic", "--data", "mnist"), "the network is to caption; use caption-")
    assert_refused(run(*train, "lenet", "--data", "caption-scenes"), "are to caption, and the net")
    assert_refused(run(*train, "nic", "--hidden-size", 5), "layers of given sizes")


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({}, "are no captioner"),
        ({"model": "nic"}, "are no captioner"),
        ({"model": ["nic"], "arguments": {}}, "are no captioner"),
        ({"model": "faster-rcnn", "arguments": {}}, "are no captioner"),
        ({"model": "nic", "arguments": {"units": 4}}, "cannot build"),
        ({"model": "nic", "arguments": {"words": ["a"]}}, "cannot build"),
        ({"model": "nic", "arguments": {"colour": 4}}, "cannot build"),
        ({"model": "nic", "arguments": {"feed": 3}}, "cannot build"),
    ],
)
def test_files_that_describe_no_captioner(tmp_path, about, told):
    Captioner(rng=0).save_params(tmp_path / "a.safetensors")
    own = load_safetensors(tmp_path / "a.safetensors")
    texts = {**own.metadata, "about": json.dumps(about)}
    texts.pop("xpnet", None)
    save_weights(tmp_path / "b.safetensors", own.params, texts)
    assert list(load_networks(tmp_path / "b.safetensors").networks) == list(
        Captioner(rng=0).networks
    )
    with pytest.raises(WeightsError, match=told):
        load_captioner(tmp_path / "b.safetensors")


def test_scenes_are_told_and_written(run, tmp_path, scenes):
    code, out, err = run("data", "--data", "caption-scenes", "--export", "p", "--count", 2)
    assert code == 0, err
    counts = dict.fromkeys(scenes.words[3:], 0)
    for first, *_ in scenes.captions_train:
        for word in first.split():
            counts[word] += 1
    line = next(line for line in out.splitlines() if line.startswith("train"))
    each = ", ".join(f"{word}: {n}" for word, n in counts.items())
    assert line == f"train: 12 images of 32x32   {each}"
    files = sorted((tmp_path / "p").iterdir())
    assert [path.name for path in files] == [
        f"caption-scenes-{k:05d}-{scenes.captions_test[k][0].replace(' ', '-')}.png"
        for k in range(2)
    ]
    with Image.open(files[0]) as picture:
        np.testing.assert_array_equal(np.asarray(picture).transpose(2, 0, 1), scenes.x_test[0])
