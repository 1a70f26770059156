"""Training detectors on scenes, and `xpnet detect`."""

import json

import numpy as np
import pytest
from PIL import Image

from test_cli import assert_refused
from test_segment import run as run  # fixtures
from test_segment import scenes as scenes
from xpnet import RCNN, Affine, FasterRCNN, Network, to_numpy
from xpnet.errors import WeightsError
from xpnet.files.weights import load_safetensors, save_weights
from xpnet.models.rcnn import RCNN as READS
from xpnet.report.detection import DetectionScores
from xpnet.train.detectors import load_detector
from xpnet.train.saved import load_networks

QUICK = ("--device", "cpu", "--threads", 1)


def parameters(detector):
    return np.concatenate([to_numpy(net.params.flat) for net in detector.networks.values()])


def seeing(sure=6.0):
    """An untrained detector that is sure of what it does not see: class 3, where proposed."""
    detector = FasterRCNN(rng=0)
    detector.networks["head"].params["heads.scores.b"][4] = sure
    return detector


@pytest.mark.slow
def test_a_run_of_faster_rcnn(run, tmp_path, scenes):
    """Whole, and in parts, bit for bit; all that is measured stands in its files."""
    train = ("train", "--model", "faster-rcnn", *QUICK, "--batch-size", 3)
    code, out, err = run(*train, "--epochs", 3, "--schedule", "constant", "--out", "whole")
    assert code == 0, err
    assert "model: faster-rcnn, 343133 parameters, float32" in out
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert (summary["task"], summary["data"], summary["steps"]) == ("detect", "digit-scenes", 9)
    assert (summary["optimizer"], summary["lr"]) == ("adam", 0.002)
    for name in ("test_map50", "test_recall50", "test_proposal_recall50"):
        assert 0 <= summary[name] <= 1
        assert f"{summary[name]:.4f} on 4 images" in out
    assert list(summary["test_average_precision"]) == list("0123456789")
    header = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train_rpn_objectness", "train_boxes", "test_map50"} <= set(header)

    code, _, err = run(*train, "--epochs", 1, "--schedule", "constant", "--out", "parts")
    assert code == 0, err
    code, _, err = run("train", "--resume", "parts", "--epochs", 3)
    assert code == 0, err
    whole, parts = (load_detector(each) for each in ("whole", "parts"))
    assert isinstance(whole, FasterRCNN)
    np.testing.assert_array_equal(parameters(whole), parameters(parts))
    newest = max((tmp_path / "whole" / "checkpoints").iterdir())
    np.testing.assert_array_equal(parameters(load_detector(newest)), parameters(whole))

    scores = DetectionScores(10)
    own = scenes["digit-scenes"]
    scores.update(whole.detect(own.x_test), own.objects_test)
    assert summary["test_map50"] == pytest.approx(scores.mean_average_precision(), abs=1e-6)
    code, out, err = run("evaluate", "--weights", "whole", *QUICK)
    assert code == 0, err
    kept = json.loads((tmp_path / "whole" / "evaluation.json").read_text())
    for name in ("test_map50", "test_recall50", "test_proposal_recall50"):
        assert kept[name] == pytest.approx(summary[name], abs=1e-6)
    code, out, err = run("summary", "--model", "faster-rcnn")
    assert code == 0, err
    assert [line for line in out.splitlines() if line.endswith(":")] == ["rpn:", "head:"]


@pytest.mark.slow
def test_the_rate_drops_for_the_last_epochs(run, tmp_path):
    train = ("train", "--model", "faster-rcnn", *QUICK, "--batch-size", 8)
    assert run(*train, "--epochs", 3, "--out", "a")[0] == 0
    record = json.loads(
        load_safetensors(max((tmp_path / "a" / "checkpoints").iterdir())).metadata["record"]
    )
    assert record["lr"] == {"rpn": 0.0005, "head": 0.0005}
    first = min((tmp_path / "a" / "checkpoints").iterdir())
    record = json.loads(load_safetensors(first).metadata["record"])
    assert record["lr"] == {"rpn": 0.002, "head": 0.002}
    assert_refused(run("train", "--resume", "a", "--epochs", 4), "has --epochs 3 (4 was asked for)")
    assert run(*train, "--epochs", 1, "--out", "b")[0] == 0
    first = min((tmp_path / "b" / "checkpoints").iterdir())
    record = json.loads(load_safetensors(first).metadata["record"])
    assert record["lr"] == {"rpn": 0.002, "head": 0.002}


@pytest.mark.slow
def test_a_run_of_rcnn(run, tmp_path, scenes):
    code, _, err = run(
        "train", "--model", "r-cnn", *QUICK, "--epochs", 1, "--batch-size", 20, "--out", "a"
    )
    assert code == 0, err
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert 0 <= summary["test_map50"] <= 1
    assert 0.5 < summary["test_proposal_recall50"] <= 1
    assert isinstance(load_detector("a"), READS)
    code, _, err = run("evaluate", "--weights", "a", *QUICK)
    assert code == 0, err
    kept = json.loads((tmp_path / "a" / "evaluation.json").read_text())
    assert kept["test_map50"] == pytest.approx(summary["test_map50"], abs=1e-6)
    code, _, err = run("detect", "--weights", "a", *QUICK, "--scenes", 2, "--out", "b")
    assert code == 0, err
    assert len(list((tmp_path / "b").glob("*-found.png"))) == 2


def test_scenes_are_drawn_and_measured(run, tmp_path, scenes):
    seeing().save_params("model.safetensors")
    code, out, err = run(
        "detect", "--weights", "model.safetensors", *QUICK, "--scenes", 3, "--out", "a"
    )
    assert code == 0, err
    directory, own = tmp_path / "a", scenes["digit-scenes"]
    assert sorted(path.name for path in directory.iterdir()) == [
        *(f"digit-scenes-{k:05d}-found.png" for k in range(3)),
        "scene-detections.json", "scene-truth.json", "scores.json",
    ]  # fmt: skip
    *lines, scored, where = [line for line in out.splitlines() if not line.startswith("data")]
    assert lines[0].startswith("digit-scenes-00000: there ")
    assert "3: 0." in lines[0]
    assert scored.startswith("at an IoU of 0.5: mAP ")
    assert where == "everything is in a"
    truth = json.loads((directory / "scene-truth.json").read_text())
    assert [image["file_name"] for image in truth["images"]] == [
        f"digit-scenes-{k:05d}" for k in range(3)
    ]
    assert len(truth["annotations"]) == sum(len(each.labels) for each in own.objects_test[:3])
    results = json.loads((directory / "scene-detections.json").read_text())
    assert {each["image_id"] for each in results} <= {image["id"] for image in truth["images"]}
    assert {each["category_id"] for each in results} >= {3}
    found = seeing().detect(own.x_test[:3])
    assert len(results) == sum(len(each.labels) for each in found)
    scores = DetectionScores(10)
    scores.update(found, own.objects_test[:3])
    kept = json.loads((directory / "scores.json").read_text())
    assert kept["map50"] == pytest.approx(scores.mean_average_precision())
    x, y, width, height = results[0]["bbox"]
    box = found[0].boxes[0]
    assert (x, y, x + width, y + height) == pytest.approx(tuple(box), abs=1e-3)


def ink(path, size, box, *, dark=False, mode="L", **options):
    """A picture with a rectangle of ink."""
    ground, pen = (230, 30) if dark else (20, 240)
    picture = Image.new("L", size, ground)
    picture.paste(pen, box)
    picture.convert(mode).save(path, **options)


def test_pictures_of_any_kind(run, tmp_path):
    """Boxes in each one's own pixels: of a large one, a dark one, a turned one, colours."""
    detector = seeing()
    detector.save_params("model.safetensors")
    exif = Image.Exif()
    exif[0x0112] = 6  # it is to be turned by a quarter
    ink("large.png", (640, 480), (100, 100, 200, 300))
    ink("dark.jpg", (64, 64), (10, 10, 20, 30), dark=True, mode="RGB")
    ink("turned.jpg", (200, 100), (20, 20, 60, 60), exif=exif)
    ink("tiny.png", (3, 5), (1, 1, 2, 3))
    Image.new("RGBA", (70, 90)).save("nothing.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    names = ["large.png", "broken.png", "dark.jpg", "turned.jpg", "tiny.png", "nothing.png"]
    code, out, err = run(
        "detect", "--weights", "model.safetensors", *QUICK, *names, "none.png", "--out", "a"
    )
    assert code == 2
    assert "broken.png cannot be read as a picture" in err
    assert "none.png does not exist" in err
    assert "dark.jpg is dark on light, and is seen light on dark" in err
    assert "nothing.png shows hardly any contrast" in err
    results = json.loads((tmp_path / "a" / "detections.json").read_text())
    sizes = {"large.png": (640, 480), "dark.jpg": (64, 64), "turned.jpg": (100, 200),
             "tiny.png": (3, 5), "nothing.png": (70, 90)}  # fmt: skip
    assert {each["file_name"] for each in results} <= sizes.keys()
    assert "large.png" in {each["file_name"] for each in results}
    for each in results:
        (x, y, w, h), (width, height) = each["bbox"], sizes[each["file_name"]]
        assert 0 <= x < x + w <= width + 1e-3
        assert 0 <= y < y + h <= height + 1e-3
        assert each["score"] > 0.5
    for name, (width, height) in sizes.items():
        with Image.open(tmp_path / "a" / f"{name.partition('.')[0]}-found.png") as drawn:
            times = max(1, -(-320 // width))
            assert drawn.size == (times * width, times * height)
    assert [line.partition(":")[0] for line in out.splitlines()[:-1]] == list(sizes)


def test_a_box_is_where_its_ink_is(run, tmp_path):
    """By R-CNN, which proposes what is light, whatever it takes it for."""
    network = RCNN(rng=0)
    network.params["output.b"][4] = 8.0
    network.save_params("reads.safetensors")
    ink("a.png", (320, 160), (100, 40, 150, 120), dark=True)
    code, _, err = run(
        "detect", "--weights", "reads.safetensors", *QUICK, "a.png", "--score", 0.9, "--out", "a"
    )
    assert code == 0, err
    (found,) = json.loads((tmp_path / "a" / "detections.json").read_text())
    assert (found["category_id"], found["file_name"]) == (3, "a.png")
    assert found["bbox"] == pytest.approx([100, 40, 50, 80], abs=5)
    with Image.open(tmp_path / "a" / "a-found.png") as drawn:
        colours = {drawn.getpixel((101, y)) for y in range(60, 110)}
    assert len(colours) <= 3  # the line of the box
    assert max(map(np.ptp, colours)) > 50


def test_nothing_found_is_an_answer(run, tmp_path):
    seeing(sure=-9.0).save_params("model.safetensors")
    ink("a.png", (300, 200), (10, 10, 20, 30))
    code, out, err = run(
        "detect",
        "--weights",
        "model.safetensors",
        *QUICK,
        "a.png",
        "a.png",
        "--score",
        0.9,
        "--out",
        "a",
    )
    assert code == 0, err
    assert out.splitlines()[:2] == ["a.png: nothing found"] * 2
    assert "a.png is seen with 64 of its 300 pixels; if digits in it are small, --size 256" in err
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "a-found.png", "a-2-found.png", "detections.json"
    }  # fmt: skip
    assert json.loads((tmp_path / "a" / "detections.json").read_text()) == []


def test_what_is_not_sure_enough_is_told_and_not_shown(run, tmp_path):
    seeing().save_params("model.safetensors")
    ink("a.png", (128, 96), (20, 20, 40, 60))
    detect = ("detect", "--weights", "model.safetensors", *QUICK, "a.png")
    code, out, _ = run(*detect, "--score", 0.01, "--out", "a")
    assert code == 0
    surest = out.partition("found ")[2].partition("  ")[0]
    code, out, err = run(*detect, "--score", 1, "--out", "b")
    assert code == 0
    assert out.splitlines()[0] == (
        f"a.png: nothing found that is surer than 1; the surest is {surest}"
    )
    assert json.loads((tmp_path / "b" / "detections.json").read_text()) == []
    assert "a.png is seen with 64 of its 128 pixels" in err


def test_larger_pictures_are_seen_with_more_pixels(run, tmp_path):
    seeing().save_params("model.safetensors")
    ink("a.png", (128, 96), (10, 10, 20, 30))
    detect = ("detect", "--weights", "model.safetensors", *QUICK, "a.png")
    code, _, err = run(*detect, "--size", 128, "--out", "a")
    assert code == 0, err
    assert_refused(run(*detect, "--size", 66, "--out", "b"), "--size must be a multiple of 4")


def test_misuse_is_told(run, tmp_path):
    detector = seeing()
    detector.save_params("model.safetensors")
    weights = ("detect", "--weights", "model.safetensors", *QUICK)
    assert_refused(run(*weights), "Missing argument 'IMAGE...', or --scenes N")
    assert_refused(run(*weights, "--scenes", 5), "--scenes must be at most 4, got 5")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert_refused(run(*weights, "--scenes", 1, "--out", "full"), "full is not empty")
    Network([Affine(3, 2, rng=0)]).save_params("other.safetensors")
    assert_refused(
        run("detect", "--weights", "other.safetensors", "--scenes", 1),
        "holds a network that does not find objects",
    )
    FasterRCNN(classes=3, rng=0).save_params("three.safetensors")
    for command in ("predict", "segment"):
        assert_refused(run(command, "--weights", "three.safetensors", "a.png"), "`xpnet detect`")
    for command in ("detect", "evaluate"):
        more = ("--scenes", 1) if command == "detect" else ()
        assert_refused(
            run(command, "--weights", "three.safetensors", *QUICK, *more),
            "is for pictures of 1 x 64 x 64 and 3 classes, and digit-scenes have",
        )


def test_a_detector_comes_back_from_its_file(tmp_path):
    detector = FasterRCNN(classes=3, input_shape=(1, 16, 24), sizes=(5, 7), proposals=9, rng=1)
    path = tmp_path / "model.safetensors"
    detector.save_params(path)
    again = load_detector(path)
    assert again.arguments() == detector.arguments()
    np.testing.assert_array_equal(again.anchors, detector.anchors)
    np.testing.assert_array_equal(parameters(again), parameters(detector))
    assert list(load_networks(path).networks) == ["rpn", "head"]
    sound = load_safetensors(path)
    for about, message in (
        ({"model": "lenet", "arguments": {}}, "are no detector"),
        ({"model": "faster-rcnn"}, "are no detector"),
        ({"model": "faster-rcnn", "arguments": {"classes": 4}}, "cannot build"),
        ({"model": "faster-rcnn", "arguments": {"input_shape": [1, 32, 32]}}, "cannot build"),
        ({"model": "faster-rcnn", "arguments": {"colour": 4}}, "cannot build"),
    ):
        other = tmp_path / "other.safetensors"
        save_weights(other, sound.params, {**sound.metadata, "about": json.dumps(about)})
        with pytest.raises(WeightsError, match=message):
            load_detector(other)


def test_help_speaks_of_the_data_that_a_command_takes(run):
    told = {}
    for command in ("detect", "segment", "predict", "train"):
        code, out, _ = run(command, "--help")
        assert code == 0
        words = " ".join(out.split())
        told[command] = ("Road scenes are" in words, "Digit scenes are" in words)
    assert told == {
        "detect": (False, True),
        "segment": (True, True),
        "predict": (False, False),
        "train": (True, True),
    }
