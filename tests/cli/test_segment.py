"""Training on scenes, and `xpnet segment`."""

import json

import numpy as np
import pytest
from PIL import Image

from test_cli import assert_refused, without_gpu
from test_masks import mask_of
from xpnet import FCN, Affine, Convolution, Network, load_network
from xpnet.data.dataset import Dataset
from xpnet.data.scenes import ROAD_CLASSES, digit_scenes, road_scenes
from xpnet.data.synthetic import synthetic_digits

OWN = """
from xpnet import Convolution, Network

def plain(*, rng, device, dtype, input_shape, classes):
    conv = Convolution(input_shape[0], classes, 3, pad=1, rng=rng)
    return Network([conv], input_shape=input_shape, device=device, dtype=dtype)
"""


@pytest.fixture(scope="module")
def scenes():
    (x, t), (x_test, t_test) = synthetic_digits(60, seed=0), synthetic_digits(30, seed=1)
    digits = Dataset("synthetic", "synthetic digits", x, t, x_test, t_test)
    return {"road-scenes": road_scenes(12, 6), "digit-scenes": digit_scenes(8, 4, digits=digits)}


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, scenes):
    monkeypatch.setattr("xpnet.cli.options.load_scenes", lambda name, data_dir=None: scenes[name])
    monkeypatch.setattr("xpnet.report.plots.available", lambda: False)
    return without_gpu(capsys, monkeypatch, tmp_path)


QUICK = ("--device", "cpu", "--batch-size", 4, "--evaluate-samples", 4)


def test_a_run_on_road_scenes(run, tmp_path, scenes):
    train = ("train", "--model", "fcn-no-skips", *QUICK)
    code, out, err = run(*train, "--epochs", 2, "--out", "whole")
    assert code == 0, err
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert (summary["task"], summary["data"], summary["steps"]) == ("segment", "road-scenes", 6)
    assert (summary["optimizer"], summary["lr"], summary["batch_size"]) == ("adam", 0.002, 4)
    assert list(summary["test_iou"]) == list(ROAD_CLASSES)
    assert f"test mean IoU: {summary['test_mean_iou']:.4f} on 6 images" in out
    header, *rows = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()
    assert {"test_mean_iou", "test_pixel_accuracy", "test_mean_class_accuracy"} <= set(
        header.split(",")
    )
    assert len(rows) == 2

    assert run(*train, "--epochs", 1, "--out", "parts")[0] == 0
    code, out, err = run("train", "--resume", "parts", "--epochs", 2)
    assert code == 0, err
    assert "data: 12 + 6 road scenes" in out
    whole, parts = (load_network(f"{each}/model.safetensors") for each in ("whole", "parts"))
    np.testing.assert_array_equal(whole.params.flat, parts.params.flat)
    assert type(whole) is FCN

    code, out, err = run("evaluate", "--weights", "whole")
    assert code == 0, err
    kept = json.loads((tmp_path / "whole" / "evaluation.json").read_text())
    for name in ("test_mean_iou", "test_pixel_accuracy", "test_mean_class_accuracy"):
        assert kept[name] == pytest.approx(summary[name], abs=1e-9)
    assert kept["test_iou"] == pytest.approx(summary["test_iou"], nan_ok=True)
    assert "test IoU of classes: sky 0." in out


def test_digit_scenes_and_networks_of_ones_own(run, tmp_path, scenes):
    """A sixth of the labels are of no class; the answers have background and digits."""
    (tmp_path / "sight.py").write_text(OWN)
    code, out, err = run(
        "train", "--model", "sight:plain", "--data", "digit-scenes", *QUICK, "--epochs", 1,
        "--out", "a",
    )  # fmt: skip
    assert code == 2
    assert "255" in err  # its loss leaves nothing out
    code, out, err = run(
        "train", "--model", "segnet", "--data", "digit-scenes", *QUICK, "--epochs", 1, "--out", "b"
    )
    assert code == 0, err
    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    assert list(summary["test_iou"])[:2] == ["background", "0"]
    assert summary["arguments"] == {"input_shape": [1, 64, 64], "classes": 11}
    assert run("evaluate", "--weights", "b")[0] == 0
    code, out, err = run("segment", "--weights", "b", "--scenes", 2, "--out", "seen")
    assert code == 0, err
    assert out.splitlines()[1].startswith("digit-scenes-00000: mean IoU ")
    code, out, err = run(
        "train", "--model", "sight:plain", "--data", "road-scenes", *QUICK, "--epochs", 1,
        "--out", "c",
    )  # fmt: skip
    assert code == 0, err
    assert run("train", "--resume", "c", "--epochs", 2)[0] == 0
    assert run("evaluate", "--weights", "c")[0] == 0


def test_scenes_are_shown_and_exported(run, tmp_path, scenes):
    code, out, err = run("data", "--data", "road-scenes", "--export", "seen", "--count", 2)
    assert code == 0, err
    shares = [100 * np.mean(scenes["road-scenes"].t_test == k) for k in range(6)]
    each = ", ".join(f"{k}: {n:.1f} %" for k, n in zip(ROAD_CLASSES, shares, strict=True))
    assert f"test: 6 images of 48x64   {each}" in out
    for number in range(2):
        picture, mask = (
            tmp_path / "seen" / f"road-scenes-0000{number}{end}.png" for end in ("", "-mask")
        )
        want = scenes["road-scenes"].x_test[number].transpose(1, 2, 0)
        np.testing.assert_array_equal(np.asarray(Image.open(picture)), want)
        labels = scenes["road-scenes"].t_test[number]
        np.testing.assert_array_equal(np.asarray(Image.open(mask)), labels)
    assert run("data", "--data", "road-scenes", "--export", "seen", "--count", 3)[0] == 0
    Image.new("L", (64, 48)).save(mask)
    again = run("data", "--data", "road-scenes", "--export", "seen", "--count", 2)
    assert_refused(again, "road-scenes-00001-mask.png is there and is not the same picture")
    code, out, err = run("data", "--data", "digit-scenes")
    assert code == 0, err
    assert "train: 8 images of 64x64   background: " in out


def test_what_does_not_fit_is_refused(run, tmp_path, scenes):
    FCN.small(rng=0).save_params("road.safetensors")
    FCN.small(rng=0, input_shape=(3, 16, 16)).save_params("other.safetensors")
    FCN.small(rng=0, input_shape=(4, 16, 16)).save_params("four.safetensors")
    Network([Affine(784, 10, rng=0)]).save_params("digits.safetensors")
    Network([Convolution(3, 1, 1, rng=0)], input_shape=(3, 8, 8)).save_params("one.safetensors")
    Image.new("RGB", (9, 9)).save("a.png")
    for command, message in {
        "evaluate --weights road.safetensors --data mnist": "data mnist are to classify or gen",
        "evaluate --weights road.safetensors --data digit-scenes": "is for images of 3 x 48 x 64 ",
        "evaluate --weights other.safetensors": "and road-scenes have 3 x 48 x 64 and 6; give",
        "evaluate --weights digits.safetensors --data road-scenes": "and the network is to classi",
        "predict --weights road.safetensors a.png": "what each pixel of a picture shows; xpnet se",
        "segment --weights digits.safetensors a.png": "has no scores for each pixel of a picture",
        "segment --weights four.safetensors a.png": "reads images of 4 channels, and pictures hav",
        "segment --weights one.safetensors a.png": "has 1 scores for each pixel, and 2 to 255 cl",
        "segment --weights other.safetensors --scenes 1": "and 6 classes, as no scenes are not",
        "segment --weights road.safetensors --scenes 7": "--scenes must be at most 6, got 7",
        "segment --weights road.safetensors a.png --out a.png": "Directory 'a.png' is a file",
        "segment --weights road.safetensors a.png --out .": ". is not empty; choose another --out",
    }.items():
        result = run(*command.split())
        assert_refused(result, message)
    assert not (tmp_path / "runs").exists()


def pictures(directory):
    """A scene as a picture, and pictures of other kinds and sizes."""
    scene = road_scenes(0, 1).x_test[0].transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(scene))
    image.save(directory / "scene.png")
    image.resize((200, 150)).save(directory / "large.jpg")
    image.convert("L").save(directory / "grey.png")
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.uint8([255, 128]), (48, 32))))
    clear.save(directory / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(directory / "turned.png", exif=exif)
    (directory / "other").mkdir()
    image.resize((16, 100)).save(directory / "other" / "scene.png")
    (directory / "text.png").write_text("no picture")
    return ["scene.png", "large.jpg", "grey.png", "clear.png", "turned.png", "other/scene.png"]


def test_pictures_are_segmented(run, tmp_path):
    net = FCN.small(rng=3)
    net.params["up2.W"] *= 30.0  # so that it is sure of something
    net.save_params("w.safetensors")
    names = pictures(tmp_path)
    code, out, err = run(
        "segment", "--weights", "w.safetensors", *names[:3], "text.png", "none.png", *names[3:],
        "--device", "cpu", "--out", "seen", "--scenes", 2,
    )  # fmt: skip
    assert code == 2
    assert [line for line in err.splitlines() if "error" in line] == [
        "xpnet: error: text.png cannot be read as a picture: it is damaged or of another kind; "
        "save it again as PNG or JPEG",
        "xpnet: error: none.png does not exist; give the path of a picture file",
    ]
    assert "xpnet: other/scene.png is 16 x 100 pixels, and is seen stretched to 64 x 48" in err
    lines = [line for line in out.splitlines() if " seen as 64 x 48   " in line]
    assert [line.partition(":")[0] for line in lines] == names
    assert lines[1].startswith("large.jpg: 200 x 150, ")

    scene = road_scenes(0, 2).x_test
    want = net.predict(scene).argmax(axis=1)
    with Image.open("seen/scene-mask.png") as picture:
        mask = np.asarray(picture)
        np.testing.assert_array_equal(mask, want[0])  # as scenes, so go pictures
    sizes = {"large": (200, 150), "grey": (64, 48), "clear": (64, 48), "turned": (48, 64)}
    for name, size in sizes.items():
        with Image.open(f"seen/{name}-mask.png") as picture:
            assert (picture.size, picture.mode) == (size, "P")
    with Image.open("seen/large-overlay.png") as picture:
        assert picture.size[0] > 400  # enlarged, with a legend beside it
    files = {path.name for path in (tmp_path / "seen").iterdir()}
    assert {"scene-6-mask.png", "road-scenes-00001-beside.png", "segments.json"} <= files

    found = json.loads((tmp_path / "seen" / "segments.json").read_text())
    first = [entry for entry in found if entry["image_id"] == 1]
    assert {entry["category_id"] for entry in first} == set(np.unique(mask))
    for entry in first:
        assert entry["file_name"] == "scene.png"
        assert entry["category"] == ROAD_CLASSES[entry["category_id"]]
        own = mask_of(entry["segmentation"])
        np.testing.assert_array_equal(own, mask == entry["category_id"])
        assert (entry["area"], 0 < entry["score"] <= 1) == (own.sum(), True)
    assert [entry["file_name"] for entry in found][-1] == "road-scenes-00001"
    scores = json.loads((tmp_path / "seen" / "scores.json").read_text())
    truth = road_scenes(0, 2).t_test
    assert scores["pixel_accuracy"] == pytest.approx(np.mean(want == truth))
    assert f"mean IoU: {scores['mean_iou']:.4f}, pixel accuracy: " in out
    twice = ("segment", "--weights", "w.safetensors", "scene.png", "scene.png", "--device", "cpu")
    code, out, _ = run(*twice, "--out", "twice")
    assert (code, len(out.splitlines())) == (0, 3)
    assert {"scene-mask.png", "scene-2-mask.png"} <= {
        p.name for p in (tmp_path / "twice").iterdir()
    }
    again = run("segment", "--weights", "w.safetensors", "scene.png", "--out", "seen")
    assert_refused(again, "seen is not empty; choose another --out")


def test_scores_that_are_no_numbers_make_no_mask(run, tmp_path):
    net = FCN.small(rng=0)
    net.params.flat[...] = 1e30
    net.save_params("w.safetensors")
    pictures(tmp_path)
    code, out, err = run("segment", "--weights", "w.safetensors", "scene.png", "--device", "cpu")
    assert (code, out) == (2, "")
    assert "scene.png has no mask: the network's scores are not finite" in err
    assert not (tmp_path / "runs").exists()
