"""Published networks on the CPU's engine: what computes them, and what they take of memory."""

import subprocess
import sys
from functools import partial
from itertools import product

import numpy as np
import pytest

from test_cpu_program import assert_same, assert_same_grads, assert_same_state
from xpnet import Affine, BatchNorm, Convolution, Network, ReLU
from xpnet.engine import get_engine
from xpnet.engine.cpu import CpuEngine
from xpnet.engine.cpu.kernel import AsWritten, kernel_of, patterns
from xpnet.engine.cpu.winograd import Winograd
from xpnet.engine.lower import lower
from xpnet.functions.init import shapes_alone
from xpnet.models.alexnet import AlexNet
from xpnet.models.efficientnet import EfficientNetLite0
from xpnet.models.googlenet import GoogLeNet
from xpnet.models.lenet import ACTIVATIONS, LeNet
from xpnet.models.registry import MODELS
from xpnet.models.resnet import CifarResNet, ResNet
from xpnet.models.vgg import VGG

TRAINED = {
    "LeNet": LeNet,
    "LeNet with sigmoid": partial(LeNet, "sigmoid", squash_convolutions=False),
    "LeNet with tanh and maxima": partial(LeNet, "tanh", "max"),
    "modern LeNet": LeNet.modern,
    "small AlexNet": AlexNet.small,
    "small VGG": VGG.small,
    "VGG with BatchNorm": partial(
        VGG, ((8,), (16, 16)), batch_norm=True, hidden=(20,), classes=10, input_shape=(3, 13, 11)
    ),
    "small GoogLeNet": partial(GoogLeNet.small, auxiliary=True),
    "ResNet-20": partial(CifarResNet, 20, input_shape=(1, 28, 28)),
    "ResNet-20 with projections": partial(CifarResNet, 20, shortcut="B"),
    "ResNet-18": partial(ResNet, 18, classes=10, input_shape=(3, 32, 32)),
    "ResNet-50": partial(ResNet, 50, classes=10, input_shape=(3, 32, 32)),
    "EfficientNet-Lite0": partial(
        EfficientNetLite0, classes=10, dropout=0.0, input_shape=(3, 32, 32)
    ),
}


def kernels(net):
    """The kernel of each operation."""
    lowered = lower(net.nodes(), net.outputs, patterns(net.nodes()))
    return {op.name: kernel_of(op) for op in lowered.ops}


NAMES = """alexnet alexnet-small googlenet-small-heads googlenet-torchvision-heads vgg-16-bn
    resnet-18 resnet-50 resnet-20 plain-20 efficientnet-lite0"""


@pytest.mark.parametrize("name", NAMES.split())
def test_every_layer_of_published_networks_has_a_kernel(name):
    model = MODELS[name]
    with shapes_alone():
        net = model.build(**({} if model.images else {"input_shape": (1, 28, 28)}))
    assert AsWritten not in kernels(net).values()


def test_every_layer_of_any_lenet_has_a_kernel():
    for activation, pool, table in product(ACTIVATIONS, ("subsample", "max"), (True, False)):
        with shapes_alone():
            net = LeNet(activation, pool, table=table)
        assert AsWritten not in kernels(net).values()


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "frozen"), [(2, False), (1, True)])
@pytest.mark.parametrize("name", TRAINED)
def test_they_are_themselves(name, threads, frozen):
    """Training and not, by batches that threads share unevenly, and by statistics that stay."""
    net, other = (TRAINED[name](rng=0, dtype="float64") for _ in range(2))
    rng = np.random.default_rng(0)
    for key, array in net.params.items():  # biases, too
        array += 0.1 * rng.standard_normal(array.shape) * (array.ndim == 1)
        other.params[key][...] = array
    engine, tol = get_engine(net, "cpu", threads), 1e-10
    x, t = rng.standard_normal((23, *net.input_shape)), rng.integers(10, size=23)
    if frozen:
        for network in (net, other):
            network.freeze_statistics()
    for n in (23, 11):
        loss, scores, grads = engine.loss_and_gradient(x[:n], t[:n])
        want_loss, want_scores, want = other.loss_and_gradient(x[:n], t[:n])
        assert_same(scores, want_scores, tol)
        np.testing.assert_allclose(loss, want_loss, rtol=tol)
        largest = max(np.max(np.abs(each)) for each in want.values())
        for key, wanted in want.items():
            np.testing.assert_allclose(grads[key], wanted, rtol=0, atol=tol * largest, err_msg=key)
        assert_same(engine.predict(x[:n]), other.predict(x[:n]), tol)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "images", "training", "most"),
    [
        ("ResNet(18, rng=0)", 16, False, 2000),
        ("ResNet(18, rng=0)", 16, True, 4000),
        ("VGG(16, rng=0)", 4, False, 4000),
        ("EfficientNetLite0(rng=0)", 16, False, 1500),
    ],
)
def test_photographs_take_a_few_gigabytes_at_most(make, images, training, most):
    """MiB. Values of some images, and the filters once for each thread: 930, 1800, 1900, 400."""
    program = f"""
import numpy as np
from xpnet.bench.machine import memory
from xpnet.engine import get_engine
from xpnet.models.efficientnet import EfficientNetLite0
from xpnet.models.resnet import ResNet
from xpnet.models.vgg import VGG

engine = get_engine({make}, "cpu", 2)
x = np.random.default_rng(0).standard_normal(({images}, 3, 224, 224)).astype("float32")
if {training}:
    engine.loss_and_gradient(x, np.arange({images}))
else:
    engine.predict(x)
print(memory()["peak"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < most


def counted(monkeypatch):
    """Winograd's calls of `prepare`."""
    calls, prepare = [], Winograd.prepare

    def note(kernel):
        calls.append(kernel.op.name.removesuffix(" folded"))
        prepare(kernel)

    monkeypatch.setattr(Winograd, "prepare", note)
    return calls


def normed(**options):
    layers = [Convolution(2, 8, 3, pad=1, rng=0), BatchNorm(8), ReLU()]
    layers += [Convolution(8, 8, 3, pad=1, rng=1), Affine(8 * 8 * 8, 3, rng=2)]
    return Network(layers, input_shape=(2, 8, 8), dtype="float64", **options)


def test_filters_that_are_as_they_were_are_not_prepared_again_for_predictions(monkeypatch):
    net, calls, rng = normed(), counted(monkeypatch), np.random.default_rng(0)
    engine = get_engine(net, "cpu", 1)
    x, t = rng.standard_normal((5, 2, 8, 8)), np.arange(5) % 3
    both = ["Convolution1", "Convolution2"]

    def predict():
        calls.clear()
        np.testing.assert_allclose(engine.predict(x), net.predict(x), rtol=0, atol=1e-12)
        return list(calls)

    assert (predict(), predict()) == (both, [])
    net.params["Convolution2.W"][3, 2, 1, 1] += 1
    assert (predict(), predict()) == (["Convolution2"], [])
    engine.loss_and_gradient(x, t)
    assert calls == both  # in training they are taken to be new
    assert (predict(), predict()) == (both, [])
    engine.forward(x, train=False)
    net.params["Convolution1.W"] *= -1
    assert (predict(), predict()) == (both, [])


def test_filters_whose_preparation_was_broken_off_are_prepared_again(monkeypatch):
    def stop(kernel):
        kernel._w_rows[...] = 1.0
        raise KeyboardInterrupt

    net, x = normed(), np.ones((3, 2, 8, 8))
    engine = get_engine(net, "cpu", 1)
    engine.predict(x)
    net.params["Convolution1.W"] *= 2
    with monkeypatch.context() as patch:
        patch.setattr(Winograd, "prepare", stop)
        with pytest.raises(KeyboardInterrupt):
            engine.predict(x)
    net.params["Convolution1.W"] /= 2  # as they were when they were last prepared
    np.testing.assert_allclose(engine.predict(x), net.predict(x), rtol=0, atol=1e-12)


def test_parts_that_meet_share_their_filters(monkeypatch):
    """Each part has a program of its own; filters are prepared once, for all of them."""
    net, calls = normed(), counted(monkeypatch)
    engine = CpuEngine(net, 1)
    rng = np.random.default_rng(0)
    engine.loss_and_gradient(rng.standard_normal((120, 2, 8, 8)), np.arange(120) % 3)
    assert len(engine.division(120).shares[0]) == 3
    assert calls == ["Convolution1", "Convolution2"]


def test_parts_are_as_large_as_filters_are_worth(monkeypatch):
    """Else those would be read from memory again and again for a few samples."""
    monkeypatch.setattr("xpnet.engine.cpu.engine.NUMBERS", 3_000_000)
    small, large = (
        Network([Convolution(64, 64, k, pad=k // 2, rng=0)] * 1, input_shape=(64, 80, 80))
        for k in (3, 17)
    )
    sizes = [
        [end - first for first, end in CpuEngine(net, 1).division(40).shares[0]]
        for net in (small, large)
    ]
    assert (max(sizes[0]), max(sizes[1])) == (7, 14)


def test_a_few_large_images_are_worth_a_thread():
    net = Network([Convolution(1, 100, 1, rng=0)], input_shape=(1, 200, 200))
    assert [len(CpuEngine(net, 2).division(n).shares) for n in (1, 2)] == [1, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_network_that_ends_in_a_norm_with_frozen_statistics_is_itself(threads):
    """Nothing meets there, and nothing waits for it."""
    net, other = (Network([Affine(4, 6, rng=0), BatchNorm(6)], dtype="float64") for _ in range(2))
    engine, rng = get_engine(net, threads=threads), np.random.default_rng(0)
    x, t = rng.standard_normal((40, 4)), np.arange(40) % 6
    for frozen in (False, True, False):
        for each in (net, other):
            (each.freeze_statistics if frozen else each.thaw_statistics)()
        loss, _, grads = engine.loss_and_gradient(x, t)
        want_loss, _, want = other.loss_and_gradient(x, t)
        np.testing.assert_allclose(loss, want_loss, rtol=1e-12)
        assert_same_grads(grads, want, net)
        assert_same_state(net, other)
        assert_same(engine.predict(x), other.predict(x))
