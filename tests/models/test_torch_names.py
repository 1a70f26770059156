"""Weights under PyTorch's names, without PyTorch: dtypes, files and names that do not fit."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from test_torch_files import made
from xpnet import load_torch, save_torch, to_numpy
from xpnet.errors import WeightsError
from xpnet.files.weights import load_weights
from xpnet.layers import Affine, BatchNorm, Dropout
from xpnet.models import Network


def dense(dtype="float32", rng=0):
    """A network with everything that PyTorch has a name for, and a count."""
    layers = {"l1": Affine(3, 4, rng=rng), "bn": BatchNorm(4), "drop": Dropout(0.5, rng=rng)}
    return Network(layers | {"l2": Affine(4, 2, rng=rng)}, dtype=dtype)


ARRAYS = {
    "l1.weight": np.linspace(-1, 1, 12).reshape(4, 3),
    "l1.bias": np.arange(4.0),
    "bn.weight": np.ones(4) / 3,
    "bn.bias": np.arange(4) / 7,
    "bn.running_mean": np.arange(4) - 1.5,
    "bn.running_var": np.arange(4) + 0.1,
    "bn.num_batches_tracked": np.asarray(9),
    "l2.weight": np.linspace(-2, 1, 8).reshape(2, 4),
    "l2.bias": np.asarray([0.25, -0.75]),
}


def written(path, arrays):
    """A file of either kind."""
    if path.suffix == ".safetensors":
        save_file(arrays, path)
        return path
    tensors = {name: made.tensor(name, array) for name, array in arrays.items()}
    path.write_bytes(made.zipped(made.state_dict(tensors), made.storages_of(tensors)))
    return path


@pytest.mark.parametrize("stored", ["float16", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_floats_of_any_size_become_the_networks(tmp_path, name, dtype, stored):
    kept = {k: a if a.dtype.kind == "i" else a.astype(stored) for k, a in ARRAYS.items()}
    net = dense(dtype)
    assert load_torch(net, written(tmp_path / name, kept)) == []
    got = {**net.params, **net.state}
    assert got["l1.W"].dtype == dtype
    np.testing.assert_array_equal(got["l1.W"], kept["l1.weight"].T.astype(dtype))
    np.testing.assert_array_equal(got["bn.beta"], kept["bn.bias"].astype(dtype))
    np.testing.assert_array_equal(got["bn.running_var"], kept["bn.running_var"].astype(dtype))
    np.testing.assert_array_equal(net.params["l2.b"], kept["l2.bias"].astype(dtype))


def without(*names):
    return {name: array for name, array in ARRAYS.items() if name not in names}


BIG = np.asarray([1e300, 0.0])
REFUSED = {
    "missing": (without("l2.bias"), "{path} lacks 'l2.bias'; strict=False leaves what is missing"),
    "several": (without("bn.bias", "l2.bias"), "{path} lacks 'bn.bias' and 1 more; strict=False"),
    "other names": (
        {f"module.{name}" if name[0] == "l" else name: a for name, a in ARRAYS.items()},
        "{path} lacks 'l1.weight' and 3 more, and has 'module.l1.bias' and 3 more that the network",
    ),
    "extra": (
        ARRAYS | {"x": np.ones(1), "y.bias": np.ones(1)},
        "{path} holds more than the network: 'x' and 1 more; strict=False passes it over",
    ),
    "shape": (
        ARRAYS | {"l2.bias": np.ones(3)},
        "{path}: l2.bias must have shape (2,), got (3,); strict=False leaves it as it is",
    ),
    "shapes": (
        ARRAYS | {"l1.weight": np.ones((3, 4)), "l2.bias": np.ones(3)},
        "{path}: l1.weight must have shape (4, 3), got (3, 4); strict=False leaves it as it "
        "is (and 1 more)",
    ),
    "integers": (
        ARRAYS | {"l2.bias": np.ones(2, "int64")},
        "{path}: l2.bias must hold finite floats, got int64",
    ),
    "too large": (
        ARRAYS | {"l2.bias": BIG},
        "{path}: l2.bias has numbers in float64 that are too large for float32; give the network",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("file", ["w.safetensors", "w.pt"])
def test_what_does_not_fit_is_told_once_and_nothing_is_taken(tmp_path, name, file):
    arrays, message = REFUSED[name]
    net, path = dense(), written(tmp_path / file, arrays)
    before, state = to_numpy(net.params.flat).copy(), net.copied_state()
    with pytest.raises(WeightsError) as told:
        load_torch(net, path)
    assert str(told.value).startswith(message.format(path=path))
    np.testing.assert_array_equal(net.params.flat, before)
    for key, array in state.items():
        np.testing.assert_array_equal(net.state[key], array)


def test_numbers_that_float32_has_no_room_for_are_a_float64_networks(tmp_path):
    net = dense("float64")
    load_torch(net, written(tmp_path / "w.pt", ARRAYS | {"l2.bias": BIG}))
    np.testing.assert_array_equal(net.params["l2.b"], BIG)
    path = tmp_path / "own.safetensors"
    net.save_params(path)
    other = dense()
    with pytest.raises(WeightsError, match=r"l2.b has numbers in float64 that are too large for f"):
        other.load_params(path)


def test_what_is_missing_or_too_much_can_be_left(tmp_path):
    net = dense()
    head = to_numpy(net.params["l2.W"]).copy()
    arrays = without("l2.weight", "l2.bias") | {"l3.weight": np.ones(1)}
    path = written(tmp_path / "w.pt", arrays)
    assert load_torch(net, path, strict=False) == ["l2.weight", "l2.bias", "l3.weight"]
    np.testing.assert_array_equal(net.params["l2.W"], head)
    np.testing.assert_array_equal(net.params["l1.b"], np.arange(4))


class Scaled(BatchNorm):
    """A layer of one's own, with a parameter that PyTorch has no other name for."""

    def __init__(self, features):
        super().__init__(features)
        self.params["slope"] = np.full(features, 2.0, "float32")


def test_no_parameter_is_lost(tmp_path):
    net, other = (Network({"l": Affine(3, 4, rng=k), "s": Scaled(4)}) for k in range(2))
    save_torch(net, tmp_path / "w.safetensors")
    names = load_weights(tmp_path / "w.safetensors").params
    assert {"s.slope", "s.running_mean", "s.num_batches_tracked"} < set(names)
    net.params["s.slope"] = np.arange(4)
    save_torch(net, tmp_path / "w.safetensors")
    assert load_torch(other, tmp_path / "w.safetensors") == []
    np.testing.assert_array_equal(other.params.flat, net.params.flat)
