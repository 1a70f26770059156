"""Networks by name on the command line, and those of a user's own functions."""

import json
import sys

import numpy as np
import pytest

from slow_cases import slow_except
from test_cli import assert_refused, without_gpu
from xpnet import TwoLayerNet, load_model, load_network, synthetic_digits
from xpnet.data.dataset import Dataset
from xpnet.errors import ArgumentError, WeightsError
from xpnet.models.registry import MODELS, OFFERED, outline, outlines

DEEP = ("resnet-32", "resnet-44", "resnet-56", "resnet-110", "plain-56")
"""As `resnet-20` and `plain-20`, and minutes to train."""
CLASSIFYING = [name for name in OFFERED if MODELS[name].task == "classify"]
TRAINABLE = [name for name in CLASSIFYING if MODELS[name].images is None]

OWN = """
from mine.parts import head
from xpnet import Affine, BatchNorm, LeNet, Network, TwoLayerNet

def make(*, rng, device, dtype, input_shape, classes):
    import late
    layers = {"first": Affine(784, 8, rng=rng), "head": head(classes, rng)}
    return Network(layers, input_shape=input_shape, device=device, dtype=dtype)

def rows(*, rng, device, dtype):
    return TwoLayerNet(784, 5, 10, rng=rng, device=device, dtype=dtype)

class Mine(LeNet):
    pass

def nothing(rng, device, dtype): return 3
def fails(rng, device, dtype): raise KeyError("no such\\nthing")
def refuses(rng, device, dtype): return Affine(0, 1)
def placeless(rng): return 3
def greedy(size, rng, device, dtype): return 3
def doubled(rng, device, dtype): return TwoLayerNet(784, 5, 10, dtype="float64")
def photographs(rng, device, dtype): return LeNet(input_shape=(3, 32, 32), rng=rng)
def five(rng, device, dtype, input_shape): return LeNet(classes=5, input_shape=input_shape)

import numpy as np

class Scale:
    def __init__(self):
        self.params = {"a": np.ones(10)}

    def output_shape(self, shape):
        return shape

    def forward(self, x, *, train=False):
        def backward(dy, need_dx=True):
            return dy * self.params["a"], {"a": (dy * x).sum(axis=0)}
        return x * self.params["a"], backward

def foreign(rng, device, dtype):
    layers = {"fc": Affine(784, 10, rng=rng), "scale": Scale()}
    return Network(layers, device=device, dtype=dtype)

def frozen(rng, device, dtype):
    layers = {"a": Affine(784, 5, rng=rng), "bn": BatchNorm(5), "b": Affine(5, 10, rng=rng)}
    network = Network(layers, device=device, dtype=dtype)
    network.freeze("a.W", "bn")
    network.scale_rate(0.1, "b")
    network.freeze_statistics()
    return network
"""


@pytest.fixture(scope="module")
def digits():
    (x, t), (x_test, t_test) = synthetic_digits(40, seed=0), synthetic_digits(20, seed=1)
    return Dataset("synthetic", "synthetic digits", x, t, x_test, t_test)


def forget_modules():
    """So that those of a test's directory are imported anew."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("mine", "broken", "divided", "late", "program"):
            del sys.modules[name]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, digits):
    """The command line with 40 images, in a directory with a package of networks; no pictures."""
    line = without_gpu(capsys, monkeypatch, tmp_path)
    monkeypatch.setattr("xpnet.cli.options.load_dataset", lambda name, data_dir=None: digits)
    monkeypatch.setattr("xpnet.report.plots.available", lambda: False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "parts.py").write_text(
        "from xpnet import Affine\ndef head(n, rng): return Affine(8, n, rng=rng)\n"
    )
    (tmp_path / "mine" / "nets.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("import there_is_no_such_thing\n")
    (tmp_path / "divided.py").write_text("\n1 / 0\n")
    (tmp_path / "late.py").write_text("")
    (tmp_path / "program.py").write_text("import sys\nsys.exit('usage: program')\n")
    yield line
    forget_modules()


QUICK = ("--batch-size", 10, "--evaluate-samples", 20)


def weights(path):
    return dict(load_network(path).file_arrays())


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in TRAINABLE if name not in DEEP])
def test_each_trains_goes_on_and_is_read_again(run, tmp_path, model):
    train = ("train", "--model", model, *QUICK)
    assert run(*train, "--epochs", 2, "--out", "whole")[0] == 0
    assert run(*train, "--epochs", 1, "--out", "parts")[0] == 0
    code, out, err = run("train", "--resume", "parts", "--epochs", 2)
    assert code == 0, err
    assert f"model: {model}, " in out
    whole, parts = weights("whole/model.safetensors"), weights("parts/model.safetensors")
    for name, array in whole.items():
        np.testing.assert_array_equal(parts[name], array, err_msg=name)
    code, out, err = run("evaluate", "--weights", "whole")
    assert code == 0, err
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert f"test accuracy: {summary['test_accuracy']:.4f}" in out
    assert summary["arguments"].get("input_shape", [1, 28, 28]) == [1, 28, 28]
    run("data", "--export", "pictures", "--count", 2)
    code, out, err = run("predict", "--weights", "whole", *(tmp_path / "pictures").iterdir())
    assert code == 0, err
    assert len(out.splitlines()) == 2
    for path in ("whole", next((tmp_path / "whole" / "checkpoints").iterdir())):
        assert type(load_model(path)) is type(outline(model))


SOME = ("lenet", "vgg-19", "googlenet-torchvision-heads", "resnet-20", "binary-mlp")


@pytest.mark.parametrize("model", slow_except(OFFERED, SOME))
def test_a_summary_tells_parameters_and_multiplications(run, model):
    code, out, err = run("summary", "--model", model)
    assert (code, err) == (0, "")
    totals = [line.split()[-2:] for line in out.splitlines() if line.split()[:1] == ["total"]]
    for (parameters, macs), net in zip(totals, outlines(model).values(), strict=True):
        assert (parameters, macs) == (f"{net.params.count:,}", f"{net.macs:,}")
        first = next(name for name in net.params if name.rpartition(".")[2][0] == "W")
        assert not net.params[first].any()  # nothing was drawn


def test_a_summary_is_of_the_images_that_are_asked_for(run):
    last = run("summary", "--model", "resnet-20", "--input-shape", "3x32x32")[1].splitlines()[-1]
    assert last.split() == ["total", "269,722", "40,551,040"]
    last = run("summary", "--model", "vgg-16", "--input-shape", "3x32x32")[1].splitlines()[-1]
    fewer = (25_088 - 512) * 4096  # weights of the first affine layer
    assert last.split()[1] == f"{138_357_544 - fewer:,}"
    for shape in ("3x32", "0x8x8", "a", ""):
        message = "channels, height and width are needed, as 3x32x32, each from 1 to 99999, got"
        assert_refused(run("summary", "--model", "lenet", "--input-shape", shape), message)
    assert_refused(
        run("summary", "--model", "mine.nets:greedy"),
        "write def greedy(*, rng, device, dtype, input_shape, classes), of which the last two may",
    )
    assert_refused(
        run("summary", "--model", "vgg-small", "--input-shape", "1x7x9"),
        "VGG needs images of at least 8 x 8 pixels, got 7 x 9",
    )


@pytest.mark.parametrize(
    "model",
    slow_except([name for name in CLASSIFYING if name not in TRAINABLE], ("alexnet", "vgg-16-bn")),
)
def test_networks_for_other_images_are_refused_at_once(run, monkeypatch, model):
    def loaded(*_, **__):
        raise AssertionError("data are loaded")

    monkeypatch.setattr("xpnet.cli.options.load_dataset", loaded)
    found = run("train", "--model", model, "--out", "run")
    size = 227 if model == "alexnet" else 224
    message = f"{model} is for images of 3 x {size} x {size}, and these are 1 x 28 x 28; use "
    assert_refused(found, message)
    small = found[2].rpartition("; use ")[2].strip()
    assert small in TRAINABLE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "vgg16"), "there is no network 'vgg16'; use vgg-16, "),
        (
            ("--model", "qqqqq"),
            "use two-layer-net, simple-convnet, deep-convnet or another",
        ),
        (("--model", "lenet", "--hidden-size", 3), "lenet has layers of given sizes; leave out"),
        (("--model", "lenet", "--activation", "tanh"), "lenet has activations of its own; "),
        (("--model", "there:is"), "there is no module 'there', neither in "),
        (("--model", "mine.there:is"), "there is no module 'mine.there', neither in "),
        (("--model", "broken:net"), "broken cannot be imported: ModuleNotFoundError: No module"),
        (("--model", "program:net"), "program cannot be imported: SystemExit: usage: program"),
        (("--model", "os:getcwd"), "os:getcwd takes no rng; write def getcwd("),
        (("--model", "mine.parts:tail"), "mine.parts has no function 'tail'; it has head"),
        (("--model", "mine.nets:nothing"), "mine.nets:nothing must return a Network, got int"),
        (("--model", "mine.nets.py:make"), "is named mine.nets:make, without .py"),
        (("--model", "mine.nets:fails"), "mine.nets:fails raised KeyError: 'no such"),
        (("--model", "mine.nets:fails"), "' (nets.py, line 1"),
        (("--model", "divided:net"), "ZeroDivisionError: division by zero (divided.py, line 2)"),
        (("--model", "mine.nets:refuses"), "mine.nets:refuses: Affine needs at least one input"),
        (("--model", "mine.nets:placeless"), "mine.nets:placeless takes no device; write def pl"),
        (("--model", "mine.nets:greedy"), "mine.nets:greedy needs size; write def greedy("),
        (("--model", "mine.nets:doubled"), "of float64 on cpu, and float32 on cpu was asked for"),
        (("--model", "mine.nets:photographs"), "from (3, 32, 32) to (10,), and one from (1, 28"),
        (("--model", "mine.nets:five"), "to (5,), and one from (1, 28, 28) to (10,) is needed"),
    ],
)
def test_what_is_no_network_is_one_clear_line(run, tmp_path, options, message):
    assert_refused(run("train", *options, "--out", "run"), message)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("function", ["make", "rows", "Mine"])
def test_networks_of_your_own_functions(run, tmp_path, function):
    name = f"mine.nets:{function}"
    train = ("train", "--model", name, *QUICK)
    assert run("summary", "--model", name)[0] == 0
    assert run(*train, "--epochs", 2, "--out", "whole")[0] == 0
    assert run(*train, "--epochs", 1, "--out", "parts")[0] == 0
    again = () if function != "Mine" else ("--model", name)
    code, _, err = run("train", "--resume", "parts", "--epochs", 2, *again)
    assert code == 0, err
    whole, parts = (load_model(each, model=name) for each in ("whole", "parts"))
    np.testing.assert_array_equal(whole.params.flat, parts.params.flat)
    for given in (("--model", name), ()):
        if given or function != "Mine":  # of a class of xpnet's
            assert run("evaluate", "--weights", "whole", *given)[0] == 0


def test_a_directory_is_named_by_what_any_disk_takes(run, tmp_path):
    assert run("train", "--model", "mine.nets:rows", *QUICK, "--epochs", 1)[0] == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.endswith("-mine.nets-rows")


def test_no_file_calls_a_function(run, tmp_path, monkeypatch):
    """A run goes on by what its checkpoint says of the layers, unless its function is named."""
    assert run("train", "--model", "mine.nets:foreign", *QUICK, "--epochs", 1, "--out", "a")[0] == 0
    forget_modules()
    command = ("train", "--resume", "a", "--epochs", 2)
    assert_refused(run(*command), "give --model mine.nets:foreign as well, which calls that func")
    assert_refused(run("evaluate", "--weights", "a"), "which is not one of xpnet's; build it your")
    checkpoint = next((tmp_path / "a" / "checkpoints").iterdir())
    with pytest.raises(WeightsError, match=r"holds a network with mine.nets.Scale, which is not"):
        load_model(checkpoint)
    assert "mine.nets" not in sys.modules
    assert run(*command, "--model", "mine.nets:foreign")[0] == 0
    assert run("evaluate", "--weights", "a", "--model", "mine.nets:foreign")[0] == 0
    assert load_model("a", model="mine.nets:foreign").params.keys() == {"fc.W", "fc.b", "scale.a"}
    with pytest.raises(WeightsError, match=r"C1.W must have shape|holds"):
        load_model("a", model="lenet")
    with pytest.raises(ArgumentError, match="model 'there' is unknown"):
        load_model("a", model="there")


def test_what_a_function_has_frozen_stays_so_in_a_run_that_goes_on_without_it(run):
    train = ("train", "--model", "mine.nets:frozen", *QUICK)
    assert run(*train, "--epochs", 2, "--out", "whole")[0] == 0
    assert run(*train, "--epochs", 1, "--out", "parts")[0] == 0
    assert run("train", "--resume", "parts", "--epochs", 2)[0] == 0
    whole, parts = (load_network(f"{each}/model.safetensors") for each in ("whole", "parts"))
    np.testing.assert_array_equal(parts.params.flat, whole.params.flat)
    for name, array in whole.state.items():
        np.testing.assert_array_equal(parts.state[name], array)
    assert np.all(parts.state["bn.running_mean"] == 0)


@pytest.mark.slow
def test_a_run_of_another_network_is_not_gone_on_with(run):
    assert run("train", "--model", "mine.nets:rows", *QUICK, "--epochs", 1, "--out", "a")[0] == 0
    found = run("train", "--resume", "a", "--model", "mine.nets:make", "--epochs", 2)
    assert_refused(found, "has --model mine.nets:rows (mine.nets:make was asked for)")


@pytest.mark.slow
def test_weights_of_a_named_network(run):
    assert run("train", "--model", "lenet", *QUICK, "--epochs", 1, "--out", "a")[0] == 0
    assert run("evaluate", "--weights", "a", "--model", "lenet")[0] == 0
    assert_refused(run("evaluate", "--weights", "a", "--model", "lenet-modern"), "a/model.safe")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "resnet-20"), "is not of resnet-20 (a layer has ("),
        (("--model", "mine.nets:make"), "is not of mine.nets:make (mine.nets:make: a layer has "),
        (("--model", "mine.nets:nothing"), "mine.nets:nothing must return a Network, got int\n"),
        (("--model", "lenet", "--activation", "tanh"), "error: lenet has activations of its own"),
    ],
)
def test_weights_that_another_network_has_are_not_said_to_be_damaged(run, options, message):
    TwoLayerNet(784, 1, 10, rng=0).save_params("small.safetensors")
    found = run("evaluate", "--weights", "small.safetensors", *options)
    assert_refused(found, message)
    assert "version" not in found[2]
    if "is not of" in message:
        assert found[2].endswith("; leave out --model, or name the network that the file is of\n")
