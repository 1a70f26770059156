"""What xpnet does alone in the benchmark: the share of each layer, and the time to an accuracy."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from xpnet import cli, synthetic_digits
from xpnet.arrays import Device
from xpnet.bench import accuracy, layers, machine, run, timing
from xpnet.bench.cases import FIELD, NAMES, fresh
from xpnet.data import Dataset
from xpnet.errors import ArgumentError
from xpnet.report import plots


@pytest.fixture
def bench(capsys, monkeypatch, tmp_path):
    """The command in this process; the record that it kept, and what it printed."""
    for name, less in (("TRIES", 1), ("REPEATS", 1), ("SETTLE", 0)):
        monkeypatch.setattr(machine, name, less)

    def command(*arguments, fails=False):
        given = ["xpnet", "bench", "--threads", 1, "--out", tmp_path, *arguments]
        monkeypatch.setattr("sys.argv", list(map(str, given)))
        with pytest.raises(SystemExit, match="1") if fails else nullcontext():
            cli.main()
        return json.loads((tmp_path / "bench.json").read_text()), capsys.readouterr().out

    return command


@pytest.fixture
def few_digits(monkeypatch):
    """A few digits in the place of MNIST."""
    train, test = synthetic_digits(300), synthetic_digits(100, seed=1)

    def loaded(name, *, download):
        assert (name, download) == ("mnist", False)
        return Dataset("mnist", "digits", *train, *test)

    monkeypatch.setattr(run, "load_dataset", loaded)


QUICK = ("--rounds", 2, "--seconds", 0.01, "--batch-size", 4)


def test_the_share_of_each_layer(bench, tmp_path):
    record, out = bench("--task", "layers", "--model", "simple-convnet", *QUICK)
    (case,) = record["cases"]
    assert list(case["layers"]) == ["Conv1", "Relu1", "Pool1", "Affine1", "Relu2", "Affine2"]
    shares = [row["share"] for row in case["layers"].values()]
    assert sum(shares) == pytest.approx(1)
    medians = [row["milliseconds"]["median"] for row in case["layers"].values()]
    assert shares == pytest.approx([median / case["milliseconds"] for median in medians])
    assert "simple-convnet, each layer of the forward pass, batch 4, float32: " in out
    assert "xpnet / it" not in out
    page = (tmp_path / "README.md").read_text()
    assert (tmp_path / "layers.png").exists() == plots.available() == ("layers.png" in page)
    assert not (tmp_path / "bench.png").exists()


def test_a_slow_layer_has_the_largest_share(monkeypatch):
    """On a clock that nothing else moves: a layer takes 0.05 ms, and the slow one 2 ms more."""
    clock = SimpleNamespace(value=0.0)

    def spend(seconds):
        clock.value += seconds

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.value)
    monkeypatch.setattr(Device, "synchronize", lambda _: spend(0.00005))

    def slowed(model, device):
        network = fresh(model, device)
        layer = network.layers["Relu1"]
        forward = layer.forward

        def slow(x, *, train=False):
            spend(0.002)
            return forward(x, train=train)

        layer.forward = slow
        return network

    monkeypatch.setattr(layers, "fresh", slowed)
    device = run.Options().place
    got = layers.measure("two-layer-net", synthetic_digits(4)[0], device, 1, 1, 0.01)
    assert got["layers"]["Relu1"]["share"] > 0.9
    assert got["layers"]["Relu1"]["milliseconds"]["median"] == pytest.approx(2, rel=0.5)


def test_the_time_to_an_accuracy(bench, few_digits, monkeypatch):
    seeds = []

    def noted(model, device, seed):
        seeds.append(seed)
        return fresh(model, device, seed)

    monkeypatch.setattr(accuracy, "fresh", noted)
    monkeypatch.setattr(accuracy, "GOALS", (0.05, 1.01))
    record, out = bench("--task", "accuracy", "--model", "two-layer-net", "--seeds", 2)
    (case,) = record["cases"]
    low, high = case["goals"].values()
    assert low["reached"] == 2
    assert low["seconds"] == [history[0][0] for history in case["runs"]]
    assert high == {"seconds": [None, None], "reached": 0}
    for history in case["runs"]:
        seconds, accuracies = zip(*history, strict=True)
        assert len(history) == 17
        assert list(seconds) == sorted(seconds)
        assert accuracies[-1] > accuracies[0]
    assert seeds == [0, 1]
    first, second = ([share for _, share in history] for history in case["runs"])
    assert first != second
    assert case["description"]["engine"] == "cpu"
    assert "batch 100, float32: mnist, 17 epochs, 2 seeds" in out
    assert "not reached in 17 epochs" in out


def test_training_ends_at_the_last_goal(few_digits, monkeypatch):
    monkeypatch.setattr(accuracy, "GOALS", (0.02, 0.05))
    device, dataset = run.Options().place, run.load_dataset("mnist", download=False)
    case = accuracy.measure("two-layer-net", dataset, 1, device, 1)
    assert [len(history) for history in case["runs"]] == [1]
    with pytest.raises(ArgumentError, match="precision 'tf32'"):
        accuracy.measure("two-layer-net", dataset, 1, device, 1, "tf32")


def test_without_mnist_there_is_no_accuracy(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("XPNET_DATA_DIR", str(tmp_path / "none"))
    record, out = bench("--task", "accuracy", "--model", "two-layer-net")
    assert record["cases"] == []
    assert "none: there is no such directory" in record["left_out"]["accuracy"]
    assert "left out: accuracy, " in out


@pytest.mark.slow
def test_a_small_network_reads_97_of_100_digits_and_not_99(bench, mnist_dir, monkeypatch):
    monkeypatch.setenv("XPNET_DATA_DIR", str(mnist_dir))
    record, _ = bench("--task", "accuracy", "--model", "two-layer-net", "--seeds", 1)
    (case,) = record["cases"]
    assert case["goals"]["0.97"]["reached"] == 1
    assert case["goals"]["0.99"]["reached"] == 0


def test_seeds_if_not_told():
    assert run.Options().n_seeds == 3
    assert run.Options(seeds=7).n_seeds == 7


def test_a_task_that_fails_is_shown(bench, few_digits, monkeypatch, tmp_path):
    """The cases after it are measured all the same."""

    def failing(*_):
        raise ValueError("no luck")

    monkeypatch.setattr(accuracy, "measure", failing)
    monkeypatch.setattr(layers, "measure", failing)
    tasks = ("--task", "accuracy", "--task", "layers", "--task", "train")
    more = ("--model", "two-layer-net", "--contestant", "xpnet")
    record, out = bench(*tasks, *more, *QUICK, fails=True)
    *failed, trained = record["cases"]
    assert [case["task"] for case in failed] == ["accuracy", "layers"]
    assert trained["contestants"]
    where = "(test_bench_tasks.py, line "
    for case in failed:
        assert case["left_out"]["xpnet"].startswith(f"it failed: ValueError: no luck {where}")
    for text in (out, (tmp_path / "README.md").read_text()):
        assert text.count(f"left out: xpnet, it failed: ValueError: no luck {where}") == 2
    assert "two-layer-net, training with sgd to an accuracy, batch 100, float32\n" in out
    assert not (tmp_path / "layers.png").exists()


@pytest.mark.slow
def test_the_share_of_each_layer_of_a_network_that_branches(bench):
    record, _ = bench("--task", "layers", "--model", "resnet-20", *QUICK)
    (case,) = record["cases"]
    kinds = [row["kind"] for row in case["layers"].values()]
    assert kinds.count("Residual") == 9
    assert kinds.count("Convolution") == 19
    assert sum(row["share"] for row in case["layers"].values()) == pytest.approx(1)


def test_what_is_measured_unless_it_is_told():
    trained = [(model, size) for model, task, size in run.Options().plan if task == "train"]
    book = [(model, size) for model in NAMES for size in (10, 100, 1000)]
    assert trained == book + [(model, 100) for model in ("resnet-20", "an-3x3", "googlenet-small")]
    predicted = [(model, size) for model, task, size in run.Options().plan if task == "predict"]
    assert predicted == [(model, size) for model in FIELD for size in (1, 1000)]
    assert [model for model, *_ in run.Options(tasks=("layers",)).plan] == list(NAMES)


def test_every_network_can_be_measured():
    assert run.Options(models=("lenet",), tasks=("train",)).plan == [("lenet", "train", 100)]
    assert run.Options(models=("lenet",), tasks=("layers",)).plan == [("lenet", "layers", 100)]
    with pytest.raises(ArgumentError, match="there is no model 'lenin'; use two-layer-net, "):
        run.Options(models=("lenin",))


def test_functions_of_ones_own_can_be_measured():
    own = ("xpnet:LeNet",)
    assert run.Options(models=own, tasks=("train", "accuracy")).plan == [
        (*own, task, 100) for task in ("train", "accuracy")
    ]
    with pytest.raises(ArgumentError, match=r"^module xpnet has no function 'Nothing'; it has"):
        run.Options(models=("lenet", "xpnet:Nothing"))


@pytest.mark.slow
def test_the_share_of_each_layer_of_a_function_of_ones_own(bench):
    record, out = bench("--task", "layers", "--model", "xpnet:LeNet", *QUICK)
    (case,) = record["cases"]
    assert case["model"] == "xpnet:LeNet"
    assert "C3" in case["layers"]
    assert "xpnet:LeNet" in out
