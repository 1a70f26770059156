"""The command line, as a user meets it."""

import csv
import gzip
import json
import pickle
import re
import shutil
from functools import partial

import numpy as np
import pytest

from xpnet import (
    Affine,
    IdentityWithLoss,
    Network,
    SigmoidWithLoss,
    TwoLayerNet,
    cli,
    softmax,
    synthetic_digits,
)
from xpnet.arrays import cuda
from xpnet.data.dataset import Dataset
from xpnet.files.pictures import read_picture, save_picture
from xpnet.optim import SGD


class Run:
    """Runs a command in this process."""

    def __init__(self, capsys, monkeypatch):
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments):
        self.monkeypatch.setattr("sys.argv", ["xpnet", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        out, err = self.capsys.readouterr()
        return code, out, err


def without_gpu(capsys, monkeypatch, tmp_path):
    """A command line in an empty directory, and no GPU."""
    no_gpu = cuda.Diagnosis(problem="CuPy is not installed", remedy=cuda.INSTALL)
    monkeypatch.setattr(cuda, "diagnose", lambda: no_gpu)
    monkeypatch.chdir(tmp_path)
    return Run(capsys, monkeypatch)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """A command line in an empty directory, with a small synthetic set and no GPU."""
    (x, t), (x_test, t_test) = synthetic_digits(600, seed=0), synthetic_digits(100, seed=1)
    monkeypatch.setattr(
        "xpnet.cli.options.load_dataset",
        lambda name, data_dir=None: Dataset("synthetic", "synthetic digits", x, t, x_test, t_test),
    )
    return without_gpu(capsys, monkeypatch, tmp_path)


QUICK = ("--model", "two-layer-net", "--epochs", 2, "--lr", "0.2", "--batch-size", 20)


def test_train_evaluate_predict(run, tmp_path):
    code, out, err = run("train", *QUICK, "--out", "run")
    assert code == 0, err
    assert "device: cpu (CuPy is not installed)" in out
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"summary.json", "metrics.csv", "model.safetensors"} <= files
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {
        "model", "data", "device", "seed", "epochs", "parameters", "train_accuracy",
        "test_accuracy", "test_images", "train_seconds", "versions",
    } <= summary.keys()  # fmt: skip
    assert summary["parameters"] == 39760
    assert summary["steps"] == 60
    assert f"test accuracy: {summary['test_accuracy']:.4f} on 100 images" in out
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["test_accuracy"]) == summary["test_accuracy"]

    code, out, err = run("evaluate", "--weights", "run/model.safetensors")
    assert code == 0, err
    assert f"test accuracy: {summary['test_accuracy']:.4f} on 100 images" in out
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert kept["test_accuracy"] == summary["test_accuracy"]

    code, out, err = run("data", "--export", "pictures", "--count", 3)
    assert code == 0, err
    assert "test: 100 images of 28x28" in out
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert len(pictures) == 3
    code, out, err = run("predict", "--weights", "run/model.safetensors", *pictures)
    assert code == 0, err
    assert err.splitlines()[0] == "xpnet: device: cpu (CuPy is not installed)"
    for picture, line in zip(pictures, out.splitlines(), strict=True):
        assert line.startswith(f"{picture}: ")
        shares = [float(share) for share in re.findall(r"\d: (\d\.\d{3})", line)]
        assert len(shares) == 10
        assert sum(shares) == pytest.approx(1, abs=0.006)


def test_a_run_is_its_seed(run, tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert run("train", *QUICK, "--seed", seed, "--out", name)[0] == 0
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_words_may_be_written_large(run):
    words = (
        "--model",
        "Two-Layer-Net",
        "--optimizer",
        "Adam",
        "--engine",
        "CPU",
        "--device",
        "CPU",
    )
    code, out, err = run("train", *words, "--epochs", 1, "--out", "run")
    assert (code, err) == (0, "")
    assert "model: two-layer-net, " in out
    assert run("train", "--resume", "run", "--optimizer", "ADAM")[0] == 0


def test_a_published_pickle_is_evaluated(run, tmp_path):
    rng = np.random.default_rng(0)
    params = {
        "W1": rng.standard_normal((784, 50)), "b1": np.zeros(50),
        "W2": rng.standard_normal((50, 100)), "b2": np.zeros(100),
        "W3": rng.standard_normal((100, 10)), "b3": np.zeros(10),
    }  # fmt: skip
    (tmp_path / "sample_weight.pkl").write_bytes(pickle.dumps(params))
    code, _, err = run("evaluate", "--weights", "sample_weight.pkl", "--out", "result.json")
    assert code == 0, err
    x, t = synthetic_digits(100, seed=1)
    h = x.reshape(100, -1) / 255
    for k in (1, 2):
        h = 1 / (1 + np.exp(-(h @ params[f"W{k}"])))
    want = np.mean(np.argmax(h @ params["W3"], axis=1) == t)
    assert json.loads((tmp_path / "result.json").read_text())["test_accuracy"] == want


def test_evaluate_writes_over_evaluations_alone(run, tmp_path):
    weights = tmp_path / "a.safetensors"
    TwoLayerNet(784, 5, 10, rng=0).save_params(weights)
    kept = {name: (tmp_path / name) for name in ("plan.py", "list.json", "a.safetensors")}
    kept["plan.py"].write_text("keep = True\n")
    kept["list.json"].write_text("[1]")
    before = {name: path.read_bytes() for name, path in kept.items()}
    for name in kept:
        refused = run("evaluate", "--weights", "a.safetensors", "--out", name)
        assert_refused(refused, f"{name} is there and is not an earlier evaluation")
    kept["evaluation.json"] = tmp_path / "evaluation.json"
    (tmp_path / "evaluation.json").write_text("{}")  # where it would be without --out
    assert_refused(run("evaluate", "--weights", "a.safetensors"), "evaluation.json is there and is")
    assert {name: kept[name].read_bytes() for name in before} == before

    (tmp_path / "evaluation.json").unlink()
    for _ in range(2):
        code, out, _ = run("evaluate", "--weights", "a.safetensors")
        assert (code, out.splitlines()[-1]) == (0, "evaluation: evaluation.json")
    (tmp_path / "empty.json").touch()
    assert run("evaluate", "--weights", "a.safetensors", "--out", "empty.json")[0] == 0
    weights.rename(tmp_path / "b.safetensors")
    code, out, _ = run("evaluate", "--weights", "b.safetensors")
    assert out.splitlines()[-1] == (
        "evaluation: evaluation.json, in place of that of a.safetensors on synthetic"
    )


def test_pictures_that_are_others_are_not_written_over(run, tmp_path):
    export = ("data", "--export", "pictures", "--count", 3)
    assert run(*export)[0] == run(*export)[0] == 0
    last = sorted((tmp_path / "pictures").iterdir())[-1]
    for contents in (b"no picture", last.with_stem("drawn").name):
        if isinstance(contents, str):
            save_picture(last.with_name(contents), synthetic_digits(1, seed=9)[0][0])
            contents = last.with_name(contents).read_bytes()
        last.write_bytes(contents)
        assert_refused(run(*export), f"{last.name} is there and is not the same picture")
        assert last.read_bytes() == contents


def test_a_network_with_fewer_outputs_than_there_are_digits_is_not_evaluated(run, tmp_path):
    TwoLayerNet(784, 5, 3, rng=0).save_params("three.safetensors")
    result = run("evaluate", "--weights", "three.safetensors")
    assert_refused(
        result, "three.safetensors has no score for each of 10 classes or more: its output is (3,)"
    )
    assert not (tmp_path / "evaluation.json").exists()


def test_a_batch_larger_than_the_data_is_the_data(run):
    steps = []
    for size in (600, 601):
        code, out, err = run("train", "--epochs", 1, "--batch-size", size, "--out", f"run{size}")
        assert code == 0, err
        steps.append(re.findall(r"loss \S+", out)[-1:])
    assert steps[0] == steps[1]


def test_info_says_why_numba_cannot_be_used(run, monkeypatch):
    numba = pytest.importorskip("numba", reason="numba is not installed")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    _, out, _ = run("info")
    assert "not usable: NUMBA_DISABLE_JIT forbids numba to compile" in out


def test_info_tells_what_is_missing(run):
    code, out, _ = run("info")
    assert code == 0
    for text in ("numpy", "array-api-compat", "CuPy is not installed", "MNIST", "matplotlib"):
        assert text in out


def test_without_a_command_there_is_help(run):
    code, out, _ = run()
    assert code == 0
    assert all(command in out for command in ("train", "evaluate", "predict", "info", "data"))


def assert_refused(result, *texts):
    """One line, exit code 2, no traceback."""
    code, _, err = result
    assert code == 2
    assert err.startswith("xpnet: error: ")
    assert err.count("\n") == 1
    for text in texts:
        assert text in err


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--device", "cuda"], ["CuPy is not installed", "pip install 'xpnet[cuda]'"]),
        (["--device", "gpu"], ["device 'gpu' is unknown; use cpu, cuda"]),
        (["--lr", "-0.1"], ["learning rate must be a positive number, got -0.1"]),
        (["--lr", "nan"], ["learning rate must be a positive number, got nan"]),
        (["--batch-size", "0"], ["'--batch-size': 0 is not in the range x>=1"]),
        (["--epochs", "0"], ["'--epochs': 0 is not in the range x>=1"]),
        (["--hidden-size", "0"], ["'--hidden-size': 0 is not in the range x>=1"]),
        (["--seed", "-1"], ["'--seed': -1 is not in the range x>=0"]),
        (["--optimizer", "adamant"], ["sgd"]),
        (["--learning-rate", "1"], ["No such option", "see `xpnet train --help`"]),
    ],
)
def test_bad_arguments_for_train(run, tmp_path, arguments, texts):
    assert_refused(run("train", "--out", "run", *arguments), *texts)
    assert not (tmp_path / "run").exists()  # nothing half-written


def test_too_little_memory_is_one_line(run, monkeypatch):
    assert_refused(run("summary", "--hidden-size", 2**62), "no memory for initial weights of shape")

    def exhausted(*_, **__):
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr("xpnet.models.registry.networks_of", exhausted)
    assert_refused(run("summary"), "too little memory (Unable to allocate 3 TiB); use a smaller")


def test_a_directory_with_something_in_it_is_left_alone(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    assert_refused(run("train", *QUICK, "--out", "run"), "run is not empty (thesis.txt)", "--out")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_an_unwritable_directory(run, tmp_path):
    (tmp_path / "file").write_text("")
    assert_refused(run("train", *QUICK, "--out", "file/run"), "cannot create file/run", "--out")


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_bad_weights(run, tmp_path, command):
    rest = ["picture.png"] if command == "predict" else []
    save_picture(tmp_path / "picture.png", synthetic_digits(1)[0][0])
    assert_refused(run(command, "--weights", "none.safetensors", *rest), "does not exist")

    class Hostile:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was run",))

    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"W1": Hostile()}))
    assert_refused(run(command, "--weights", "w.pkl", *rest), "w.pkl")
    (tmp_path / "w.safetensors").write_bytes(b"not weights")
    assert_refused(run(command, "--weights", "w.safetensors", *rest), "w.safetensors")


def test_bad_pictures(run, tmp_path):
    assert run("train", *QUICK, "--out", "run")[0] == 0
    predict = ("predict", "--weights", "run/model.safetensors")
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam")
    assert_refused(run(*predict, "letter.txt"), "letter.txt cannot be read as a picture")
    assert_refused(run(*predict, "none.png"), "none.png does not exist")


def test_one_bad_picture_does_not_suppress_the_others(run, tmp_path):
    """Nor do many, of all kinds."""
    network = TwoLayerNet(784, 20, 10, rng=0)
    network.save_params("w.safetensors")
    for name, image in zip(("a.png", "b.png"), synthetic_digits(2)[0], strict=True):
        save_picture(name, image)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "directory.png").mkdir()
    (tmp_path / "large.ppm").write_bytes(b"P5 30000 30000 255\n")
    (tmp_path / "film.heic").write_bytes(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic")
    save_picture("blank.png", np.zeros((28, 28)))
    bad = ["missing.png", "empty.png", "directory.png", "large.ppm", "film.heic", "blank.png"]
    predict = ("predict", "--weights", "w.safetensors", "--device", "cpu")
    code, good, _ = run(*predict, "a.png", "b.png")
    assert code == 0
    code, out, err = run(*predict, bad[0], "a.png", *bad[1:-1], "b.png", bad[-1])
    assert (code, out) == (2, good)
    told = [line for line in err.splitlines() if line.startswith("xpnet: error: ")]
    assert [line.split()[2] for line in told] == bad
    code, out, err = run(*predict, *bad)
    assert (code, out, len(err.splitlines())) == (2, "", len(bad))


def test_predict_tells_the_probabilities_of_the_networks_loss(run):
    save_picture("a.png", synthetic_digits(1)[0][0])
    network = Network([Affine(784, 3, rng=0)], SigmoidWithLoss())
    network.save_params("w.safetensors")
    want = network.probabilities(read_picture("a.png")[np.newaxis])[0]
    code, out, _ = run("predict", "--weights", "w.safetensors", "a.png", "--json")
    told = json.loads(out)["probabilities"]
    assert code == 0
    np.testing.assert_allclose(list(told.values()), want, atol=1e-6)
    Network([Affine(784, 3, rng=0)], IdentityWithLoss()).save_params("w.safetensors")
    code, out, err = run("predict", "--weights", "w.safetensors", "a.png")
    assert (code, out) == (2, "")
    assert "predict needs a loss of probabilities" in err


def test_answers_for_programs(run, tmp_path):
    """Standard output has nothing else; what is likeliest comes first, where a number is asked."""
    network = TwoLayerNet(784, 20, 10, rng=0)
    network.save_params("w.safetensors")
    x = synthetic_digits(2)[0]
    for name, image in zip("ab", x, strict=True):
        save_picture(f"{name}.png", image)
    want = [softmax(network.predict(read_picture(f"{name}.png")[np.newaxis]))[0] for name in "ab"]
    predict = ("predict", "--weights", "w.safetensors", "a.png", "b.png", "none.png")
    run.capsys.readouterr()
    code, out, err = run(*predict, "--json")
    assert code == 2
    for line, name, shares in zip(out.splitlines(), "ab", want, strict=True):
        told = json.loads(line)
        assert told.keys() == {"picture", "digit", "probabilities", "remarks"}
        assert (told["picture"], told["digit"]) == (f"{name}.png", np.argmax(shares))
        assert list(told["probabilities"]) == list("0123456789")
        np.testing.assert_allclose(list(told["probabilities"].values()), shares, atol=1e-6)
        assert all(f"xpnet: {name}.png {remark}" in err.splitlines() for remark in told["remarks"])
        assert any("may be wrongly read" in remark for remark in told["remarks"])
    code, out, _ = run(*predict, "--json", "--top", 3)
    for line, shares in zip(out.splitlines(), want, strict=True):
        likely = np.argsort(-shares, kind="stable")[:3]
        assert list(json.loads(line)["probabilities"]) == [str(digit) for digit in likely]
    code, out, _ = run(*predict, "--top", 2)
    for line, name, shares in zip(out.splitlines(), "ab", want, strict=True):
        first, second = np.argsort(-shares, kind="stable")[:2]
        assert line == (
            f"{name}.png: {first}   {first}: {shares[first]:.3f}  {second}: {shares[second]:.3f}"
        )
    assert len(run(*predict, "--top", 99)[1].splitlines()[0].split()) == 22
    assert_refused(run(*predict, "--top", 0), "--top")


def test_networks_that_cannot_say_how_likely_digits_are(run, tmp_path):
    save_picture("a.png", synthetic_digits(1)[0][0])
    Network([Affine(784, 1, rng=0)]).save_params("one.safetensors")
    assert_refused(
        run("predict", "--weights", "one.safetensors", "a.png"),
        "one.safetensors has no score for each of 2 classes or more: its output is (1,)",
    )
    TwoLayerNet(4, 5, 10, rng=0).save_params("four.safetensors")
    for command in (("predict", "a.png"), ("evaluate",)):
        assert_refused(
            run(*command, "--weights", "four.safetensors"),
            "the network of four.safetensors does not read images of 28 x 28: it takes 4 numbers",
        )
    network = TwoLayerNet(784, 20, 10, rng=0)
    for name in ("W1", "W2"):
        network.params[name] = np.full(network.params[name].shape, 1e38, np.float32)
    network.save_params("huge.safetensors")
    with np.errstate(over="ignore", invalid="ignore"):
        code, out, err = run("predict", "--weights", "huge.safetensors", "--device", "cpu", "a.png")
    assert (code, out) == (2, "")
    assert err.endswith("a.png has no answer: the network's scores are not finite\n")


@pytest.fixture
def real_data(run, monkeypatch):
    """The real loader, without the network."""
    monkeypatch.undo()
    monkeypatch.setattr("xpnet.data.mnist.MIRRORS", ("http://127.0.0.1:9/",))
    monkeypatch.setattr(cuda, "diagnose", lambda: cuda.Diagnosis(problem="none"))
    return run


def test_mnist_is_refused_where_it_cannot_be_had(real_data, tmp_path, monkeypatch):
    pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)
    assert_refused(
        real_data("train", "--data", "mnist", "--out", tmp_path / "run"),
        "MNIST could not be downloaded",
        "--data-dir",
    )
    assert not (tmp_path / "run").exists()


packed = partial(gzip.compress, compresslevel=1)


@pytest.mark.parametrize(
    ("damage", "texts"),
    [
        (lambda raw: packed(raw)[:1000], ["truncated"]),
        (lambda raw: packed(b"\0\0\x08\x01" + raw[4:]), ["t10k-images"]),
        (lambda raw: packed(raw[:7] + b"\x09" + raw[8:]), ["t10k-images"]),
        (lambda raw: packed(raw[:-1] + b"\x01"), ["SHA-256"]),
        (None, ["missing"]),
    ],
    ids=["truncated gzip", "wrong magic number", "wrong image count", "other images", "missing"],
)
def test_damaged_mnist_is_named_and_never_used(real_data, mnist_dir, tmp_path, damage, texts):
    name = "t10k-images-idx3-ubyte.gz"
    for path in mnist_dir.iterdir():
        if path.name != name:
            shutil.copy(path, tmp_path)
    if damage is not None:
        raw = gzip.decompress((mnist_dir / name).read_bytes())
        (tmp_path / name).write_bytes(damage(raw))
    for data in ("mnist", "auto"):
        result = real_data(
            "train", "--data", data, "--data-dir", tmp_path, "--out", tmp_path / "run"
        )
        assert_refused(result, "t10k-images-idx3-ubyte", *texts)
    assert not (tmp_path / "run").exists()


def test_cosine_lets_the_rate_fall_to_0(run, tmp_path, monkeypatch):
    """From the given rate at the first step to almost nothing at the last."""
    rates = []
    update = SGD.update

    def noted(self, params, grads):
        rates.append(self.lr)
        update(self, params, grads)

    monkeypatch.setattr(SGD, "update", noted)
    code, _, err = run("train", *QUICK, "--schedule", "cosine", "--lr", "0.1", "--out", "run")
    assert code == 0, err
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 1e-3
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["schedule"] == "cosine"
