"""Torchvision's networks and those here, with the same weights, random ones, by the same names.

Where torchvision is not installed, what it gave is in data/torchvision.json: the names and shapes
of each network as a digest, and the logits of a narrow one.
"""

import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from slow_cases import slow_except
from xpnet import VGG, AlexNet, GoogLeNet, ResNet, load_torch, save_torch, to_numpy
from xpnet.engine import get_engine
from xpnet.functions.init import shapes_alone
from xpnet.models.torch_names import COUNTED, places_of

LOGITS = {"float32": 1e-5, "float64": 1e-10}
"""Of the largest logit. Torch's own float32 is up to 1.5e-6 from its float64."""
GRADIENTS = 1e-10  # float64, of the largest of each

KEPT = json.loads((Path(__file__).parent / "data" / "torchvision.json").read_text())

NETS = {
    "alexnet": lambda **how: AlexNet("torchvision", **how),
    "googlenet": lambda **how: GoogLeNet(batch_norm=True, five=3, **how),
    "googlenet with heads": lambda **how: GoogLeNet(batch_norm=True, five=3, auxiliary=True, **how),
    "vgg11": lambda **how: VGG(11, **how),
    "vgg13": lambda **how: VGG(13, **how),
    "vgg16": lambda **how: VGG(16, **how),
    "vgg19": lambda **how: VGG(19, **how),
    "vgg11_bn": lambda **how: VGG(11, batch_norm=True, **how),
    "vgg16_bn": lambda **how: VGG(16, batch_norm=True, **how),
    **{f"resnet{n}": lambda n=n, **how: ResNet(n, **how) for n in (18, 34, 50, 101, 152)},
}
"""Torchvision's names, and how each network is made here."""

COMPARED = ("alexnet", "googlenet", "vgg11", "vgg16", "vgg11_bn", "resnet18", "resnet50")
OPTIONS = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "googlenet with heads": {"init_weights": False},
}
"""What torchvision's functions need besides `weights=None`."""


def digest(shapes):
    """Of names and shapes, in the order of the names."""
    lines = [f"{name} {tuple(shape)}" for name, shape in sorted(shapes.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def shapes_of(net):
    """What PyTorch would call each array, and the shape that it would have there."""
    shapes = {}
    for name, array, transposed in places_of(net):
        shapes[name] = tuple(array.shape)[:: -1 if transposed else 1]
        if name.endswith("running_var"):
            shapes[name.replace("running_var", COUNTED)] = ()
    return shapes


@pytest.mark.parametrize("name", slow_except(NETS, COMPARED))
def test_names_and_shapes_are_torchvisions(name):
    with shapes_alone():
        net = NETS[name]()
    assert digest(shapes_of(net)) == KEPT["names"][name]


def maker_of(name):
    """What makes torchvision's network."""
    nets = pytest.importorskip("torchvision_nets")
    function = getattr(nets.models(), name.partition(" ")[0])
    return partial(function, weights=None, **OPTIONS.get(name, {}))


def module_of(name, dtype):
    """Torchvision's network with random weights."""
    nets = pytest.importorskip("torchvision_nets")
    return nets.torch, nets.images, nets.randomized(maker_of(name), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_the_digests_are_of_torchvision(name):
    nets = pytest.importorskip("torchvision_nets")
    with nets.torch.device("meta"):
        module = maker_of(name)()
    state = module.state_dict()
    assert digest({key: tuple(array.shape) for key, array in state.items()}) == KEPT["names"][name]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", LOGITS)
@pytest.mark.parametrize("name", COMPARED)
def test_logits_are_torchvisions(name, dtype, tmp_path):
    torch, images, module = module_of(name, dtype)
    path = tmp_path / "net.pt"
    torch.save(module.state_dict(), path)
    with shapes_alone():
        net = NETS[name](dtype=dtype)
    assert load_torch(net, path) == []
    path.unlink()  # up to a gigabyte
    x = images(2, 224, dtype)
    with torch.no_grad():
        want = module(torch.tensor(x)).numpy()
    del module
    large = name.startswith("vgg") and dtype == "float64"  # a minute each
    for engine in ("cpu",) if large else ("reference", "cpu"):
        got = to_numpy(get_engine(net, engine).predict(x))
        error = np.max(np.abs(got - want)) / np.max(np.abs(want))
        assert error < LOGITS[dtype], engine


@pytest.mark.slow
def test_gradients_of_a_resnet18_are_torchvisions(tmp_path):
    """Training, so that BatchNorm goes by the batch; small images are enough to see it."""
    torch, images, module = module_of("resnet18", "float64")
    torch.save(module.state_dict(), tmp_path / "net.pt")
    with shapes_alone():
        net = ResNet(18, input_shape=(3, 64, 64), dtype="float64")
    load_torch(net, tmp_path / "net.pt")
    x, t = images(4, 64, "float64"), np.asarray([0, 999, 5, 5])
    grads = net.gradient(x, t)
    module.train()
    torch.nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(t)).backward()
    theirs = {name: p.grad.numpy() for name, p in module.named_parameters()}
    for name, gradient in grads.items():
        net.params[name] = gradient  # so that they get PyTorch's names
    own = {
        name: to_numpy(array).T if transposed else to_numpy(array)
        for name, array, transposed in places_of(net)
        if "running" not in name
    }
    assert own.keys() == theirs.keys()
    for name, want in theirs.items():
        assert np.max(np.abs(own[name] - want)) < GRADIENTS * np.max(np.abs(want)), name


@pytest.mark.slow
def test_torchvision_loads_what_is_written(tmp_path):
    torch, images, module = module_of("resnet18", "float64")
    from safetensors.torch import load_file

    net = ResNet(18, rng=0, dtype="float64", input_shape=(3, 64, 64))
    save_torch(net, tmp_path / "net.safetensors")
    module.load_state_dict(load_file(tmp_path / "net.safetensors"))
    x = images(2, 64, "float64")
    with torch.no_grad():
        want = module.eval()(torch.tensor(x)).numpy()
    assert np.max(np.abs(net.predict(x) - want)) < LOGITS["float64"] * np.max(np.abs(want))


NARROW = {"width": 4, "classes": 5, "input_shape": (3, 32, 32)}


def drawn(shapes):
    """Weights for these names, one after the other from one generator, and a batch."""
    rng = np.random.default_rng(16)
    arrays = {}
    for name, shape in sorted(shapes.items()):
        if name.endswith(COUNTED):
            arrays[name] = np.zeros((), "int64")
        elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            arrays[name] = rng.uniform(0.5, 1.5, shape)
        else:
            arrays[name] = rng.normal(0, 0.1 if len(shape) == 1 else 0.3, shape)
    return arrays, rng.standard_normal((2, 3, 32, 32))


@pytest.mark.parametrize("dtype", LOGITS)
def test_logits_of_a_narrow_network_are_what_pytorch_gave(dtype, tmp_path):
    from safetensors.numpy import save_file

    net = ResNet(18, dtype=dtype, **NARROW)
    arrays, x = drawn(shapes_of(net))
    save_file(arrays, tmp_path / "net.safetensors")
    assert load_torch(net, tmp_path / "net.safetensors") == []
    want = np.asarray(KEPT["logits"])
    for engine in ("reference", "cpu"):
        got = to_numpy(get_engine(net, engine).predict(x.astype(dtype)))
        assert np.max(np.abs(got - want)) < LOGITS[dtype] * np.max(np.abs(want)), engine


def test_the_logits_are_of_pytorch():
    """What `data/torchvision.json` has, computed again."""
    there = pytest.importorskip("test_against_torch")
    module = there.ResNet18(width=4, classes=5).double().eval()
    shapes = {name: tuple(array.shape) for name, array in module.state_dict().items()}
    arrays, x = drawn(shapes)
    tensors = {name: there.torch.tensor(array) for name, array in arrays.items()}
    module.load_state_dict(tensors)
    with there.torch.no_grad():
        got = module(there.torch.tensor(x)).numpy()
    np.testing.assert_allclose(got, KEPT["logits"], rtol=1e-9)
