"""Networks that branch beside PyTorch: values, gradients, names of weights, training."""

import numpy as np
import pytest

from branching import batch, inception, resnet, resnet20, stage, unit, unpooled
from xpnet import load_torch, save_torch, to_numpy
from xpnet.errors import WeightsError
from xpnet.layers import (
    Affine,
    BatchNorm,
    Concatenate,
    Convolution,
    GlobalAveragePool,
    MaxPool,
    PadShortcut,
    ReLU,
    Residual,
    Sequential,
    Unpooled,
)
from xpnet.models import Network

torch = pytest.importorskip("torch", reason="torch is not installed")
F = torch.nn.functional

VALUES = 1e-10  # float64, of the largest number
LOGITS = {"float32": 1e-5, "float64": 1e-10}


def evaluated(layer, x, p, path=""):
    """The layer by PyTorch, with parameters `p` by path, in training mode."""
    own = {name: p[f"{path}{name}"] for name in ("W", "b", "gamma", "beta") if f"{path}{name}" in p}
    match layer:
        case Residual():
            y = x
            for name, child in layer.children().items():
                if name != layer.shortcut_name:
                    y = evaluated(child, y, p, f"{path}{name}.")
            if layer.shortcut is None:
                return y + x
            return y + evaluated(layer.shortcut, x, p, f"{path}{layer.shortcut_name}.")
        case Concatenate():
            return torch.cat(
                [evaluated(b, x, p, f"{path}{name}.") for name, b in layer.children().items()], 1
            )
        case Unpooled():
            window = layer.pool.window[0]
            y, places = F.max_pool2d(x, window, return_indices=True)
            for name, child in layer.children().items():
                y = evaluated(child, y, p, f"{path}{name}.")
            return F.max_unpool2d(y, places, window, output_size=x.shape[2:])
        case Sequential():
            for name, child in layer.children().items():
                x = evaluated(child, x, p, f"{path}{name}.")
            return x
        case Convolution():
            return F.conv2d(x, own["W"], own.get("b"), layer.stride, layer.pad)
        case Affine():
            return F.linear(x.flatten(1), own["W"].T, own.get("b"))
        case BatchNorm():
            return F.batch_norm(
                x, None, None, own["gamma"], own["beta"], training=True, eps=layer.eps
            )
        case MaxPool():
            return F.max_pool2d(x, layer.window, layer.stride, layer.pad)
        case GlobalAveragePool():
            return x.mean((2, 3))
        case PadShortcut():
            more = layer.channels - x.shape[1]
            s = layer.stride
            return F.pad(x[:, :, ::s, ::s], (0, 0, 0, 0, more // 2, more - more // 2))
        case ReLU():
            return torch.relu(x)
    raise NotImplementedError(type(layer))


def varied(net):
    """Every parameter drawn anew, so that none is 0 or 1 for all."""
    rng = np.random.default_rng(1)
    for name, p in net.params.items():
        if p.ndim == 1:
            net.params[name] = 0.3 * rng.standard_normal(p.shape) + name.endswith("gamma")
    return net


@pytest.mark.parametrize("make", [resnet20, inception, unpooled])
def test_values_and_all_gradients(device, make):
    net = varied(make(device=device, dtype="float64"))
    x, t = batch(net, 5)
    y, backward = net.forward(device.asarray(x), train=True)
    _, loss_backward = net.last_layer.forward(y, device.asarray(t))
    dx, grads = backward(loss_backward())

    p = {k: torch.tensor(np.array(to_numpy(a)), requires_grad=True) for k, a in net.params.items()}
    input_ = torch.tensor(x, requires_grad=True)
    want = evaluated(Sequential(net.layers), input_, p)
    F.cross_entropy(want, torch.tensor(t)).backward()
    for name, got, there in [
        ("y", y, want.detach()),
        ("dx", dx, input_.grad),
        *((name, grads[name], p[name].grad) for name in p),
    ]:
        error = np.max(np.abs(to_numpy(got) - there.numpy()))
        assert error < VALUES * np.max(np.abs(there.numpy())), name


def resnet18(dtype):
    """The layout of torchvision's network of that name."""
    rng = np.random.default_rng(0)
    conv, norm = unit(3, 64, 7, stride=2, rng=rng)
    layers = {
        "conv1": conv, "bn1": norm, "relu": ReLU(),
        "maxpool": MaxPool(3, stride=2, pad=1, uneven="drop"),
    }  # fmt: skip
    before = 64
    for k, width in enumerate((64, 128, 256, 512), start=1):
        layers[f"layer{k}"] = stage(before, width, 2, 1 if k == 1 else 2, rng=rng, projected=True)
        before = width
    layers |= {"avgpool": GlobalAveragePool(), "fc": Affine(512, 1000, rng=rng)}
    return Network(layers, input_shape=(3, 64, 64), dtype=dtype)


class Block(torch.nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        nn = torch.nn
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.downsample = None
        if stride > 1 or channels != filters:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(torch.nn.Module):
    """With the names of torchvision's."""

    def __init__(self, width=64, classes=1000):
        super().__init__()
        nn = torch.nn
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        before = width
        for k in range(1, 5):
            blocks = [Block(before, width, 1 if k == 1 else 2), Block(width, width, 1)]
            setattr(self, f"layer{k}", nn.Sequential(*blocks))
            before, width = width, 2 * width
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        y = F.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for k in range(1, 5):
            y = getattr(self, f"layer{k}")(y)
        return self.fc(y.mean((2, 3)))


@pytest.fixture(scope="module")
def there():
    """PyTorch's network with random weights, and statistics that show."""
    torch.manual_seed(0)
    net = ResNet18().eval()
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return net


@pytest.mark.parametrize("dtype", LOGITS)
def test_weights_of_a_resnet18_give_its_logits(there, tmp_path, dtype):
    from safetensors.numpy import save_file

    net, path = resnet18(dtype), tmp_path / "resnet18.safetensors"
    there = there.to(getattr(torch, dtype))
    save_file({name: array.numpy() for name, array in there.state_dict().items()}, path)
    assert load_torch(net, path) == []
    assert net.params.count == 11_689_512
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(dtype)
    with torch.no_grad():
        want = there(torch.tensor(x)).numpy()
    got = net.predict(x)
    assert np.max(np.abs(got - want)) < LOGITS[dtype] * np.max(np.abs(want))


def test_what_is_written_is_what_pytorch_reads(there, tmp_path):
    from safetensors.torch import load_file

    net, path = resnet18("float64"), tmp_path / "resnet18.safetensors"
    save_torch(net, path)
    other = ResNet18().double().eval()
    assert load_file(path).keys() == other.state_dict().keys()
    other.load_state_dict(load_file(path))  # strict: every name, and no other
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64))
    with torch.no_grad():
        want = other(torch.tensor(x)).numpy()
    assert np.max(np.abs(net.predict(x) - want)) < VALUES * np.max(np.abs(want))


def test_what_does_not_fit_is_refused_or_told(tmp_path):
    net, path = resnet((2, 3), 1, classes=4, rng=0), tmp_path / "other.safetensors"
    save_torch(resnet((2, 3), 1, classes=7, rng=1), path)
    before = to_numpy(net.params.flat).copy()
    message = r"fc.weight must have shape \(4, 3\), got \(7, 3\); strict=False leaves it"
    with pytest.raises(WeightsError, match=message):
        load_torch(net, path)
    np.testing.assert_array_equal(net.params.flat, before)
    head = to_numpy(net.params["fc.W"]).copy()
    assert load_torch(net, path, strict=False) == ["fc.weight", "fc.bias"]
    np.testing.assert_array_equal(net.params["fc.W"], head)
    assert np.any(net.params["conv1.W"] != before[: net.params["conv1.W"].size].reshape(2, 1, 3, 3))

    save_torch(Network({"other": Affine(3, 2)}), path)
    with pytest.raises(WeightsError, match=r"holds nothing for this network, which has conv1.w"):
        load_torch(net, path, strict=False)
    save_torch(Network({"fc": Affine(3, 2)}), path)
    told = (
        r"holds nothing of this network's shapes: fc.weight must have shape \(4, 3\), got \(2, 3\)"
    )
    with pytest.raises(WeightsError, match=told):
        load_torch(Network({"fc": Affine(3, 4)}), path, strict=False)
    save_torch(Network({"fc": Affine(3, 4), "more": Affine(4, 4)}), path)
    with pytest.raises(WeightsError, match=r"holds more than the network: 'more.bias'"):
        load_torch(Network({"fc": Affine(3, 4)}), path)
    passed_over = load_torch(Network({"fc": Affine(3, 4)}), path, strict=False)
    assert sorted(passed_over) == ["more.bias", "more.weight"]


@pytest.mark.parametrize("bias", [np.asarray([1.0, np.nan]), np.asarray([1, 2])])
@pytest.mark.parametrize("strict", [True, False])
def test_what_is_no_finite_float_is_refused(tmp_path, bias, strict):
    from safetensors.numpy import save_file

    net, path = Network({"fc": Affine(3, 2, rng=0)}), tmp_path / "net.safetensors"
    save_file({"fc.weight": np.ones((2, 3)), "fc.bias": bias}, path)
    before = to_numpy(net.params.flat).copy()
    with pytest.raises(WeightsError, match=rf"bias must hold finite floats, got .*{bias.dtype}"):
        load_torch(net, path, strict=strict)
    np.testing.assert_array_equal(net.params.flat, before)
