"""Weight files that keep numbers in 16 bits."""

import json

import numpy as np
import pytest

from branching import BRANCHING, batch, by_name
from xpnet import MultiLayerNetExtend, Network, TwoLayerNet, load_network, rounded, to_numpy
from xpnet.errors import ArgumentError, WeightsError
from xpnet.layers import Affine

FORMATS = {"float16": "F16", "bfloat16": "BF16"}


def header(path):
    contents = path.read_bytes()
    return json.loads(contents[8 : 8 + int.from_bytes(contents[:8], "little")])


def trained(**options):
    """A network with running statistics of its own."""
    network = MultiLayerNetExtend(12, [9], 4, use_batchnorm=True, rng=0, **options)
    x = np.random.default_rng(0).standard_normal((20, 12))
    network.forward(network.place(x), train=True)
    return network


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("to", FORMATS)
def test_a_file_of_16_bits_is_half_as_large_and_comes_back_rounded(tmp_path, device, to, dtype):
    network = trained(device=device, dtype=dtype)
    path = tmp_path / "half.safetensors"
    network.save_params(path, dtype=to)
    about = header(path)
    texts = about.pop("__metadata__")
    assert {each["dtype"] for each in about.values()} == {FORMATS[to]}
    end = max(each["data_offsets"][1] for each in about.values())
    assert end == 2 * sum(int(np.prod(a.shape)) for a in network.file_arrays().values())
    assert json.loads(texts["network"])["arguments"]["dtype"] == dtype
    network.save_params(tmp_path / "again.safetensors", dtype=to)
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    again = load_network(path, device=device)
    other = trained(device=device, dtype=dtype)
    other.load_params(path)
    for found in (again, other):
        assert found.dtype == dtype
        for name, array in network.file_arrays().items():
            got = found.file_arrays()[name]
            assert got.dtype == array.dtype
            np.testing.assert_array_equal(to_numpy(got), to_numpy(rounded(array, to)), name)


@pytest.mark.parametrize("to", FORMATS)
def test_safetensors_of_others_reads_them(tmp_path, to):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    network = trained()
    network.save_params(tmp_path / "half.safetensors", dtype=to)
    found = load_file(tmp_path / "half.safetensors")
    for name, array in network.file_arrays().items():
        assert found[name].dtype == getattr(torch, to)
        np.testing.assert_array_equal(found[name].to(torch.float32).numpy(), rounded(array, to))


@pytest.mark.parametrize("to", FORMATS)
def test_networks_that_branch_predict_nearly_the_same(tmp_path, to):
    for name in ("residual", "heads"):
        network = BRANCHING[name](dtype="float32")
        network.save_params(tmp_path / "half.safetensors", dtype=to)
        again = load_network(tmp_path / "half.safetensors")
        x, _ = batch(network, 3)
        got, want = by_name(again.predict(x)), by_name(network.predict(x))
        for key in want:
            assert 0 < abs(got[key] - want[key]).max() < 0.05 * abs(want[key]).max()


def test_other_dtypes_and_the_default(tmp_path):
    for own, kept, kind in (
        ("float32", None, "F32"), ("float64", None, "F64"), ("float32", "float64", "F64"),
        ("float64", "float32", "F32"),
    ):  # fmt: skip
        network = TwoLayerNet(4, 3, 2, rng=0, dtype=own)
        path = tmp_path / f"{own} {kept}.safetensors"
        network.save_params(path, dtype=kept)
        assert header(path)["W1"]["dtype"] == kind
        again = load_network(path)
        assert again.dtype == own
        np.testing.assert_allclose(again.params["W1"], network.params["W1"], rtol=1e-7)
    with pytest.raises(ArgumentError, match="dtype must be 'float16', 'bfloat16', 'float32' or"):
        network.save_params(path, dtype="float8")


@pytest.mark.parametrize(
    ("own", "to", "number", "remedy"),
    [
        ("float32", "float16", 65520.0, "bfloat16"),
        ("float32", "bfloat16", 3.4e38, "float64"),
        ("float64", "float32", -1e300, "float64"),
    ],
)
def test_numbers_too_large_are_refused_by_name(tmp_path, own, to, number, remedy):
    network = Network([Affine(3, 2, rng=0), Affine(2, 2, rng=0)], dtype=own)
    network.params["Affine2.W"][0, 1] = number
    path = tmp_path / "half.safetensors"
    path.write_bytes(b"before")
    with pytest.raises(WeightsError) as error:
        network.save_params(path, dtype=to)
    largest = float(np.float32(abs(number))) if own == "float32" else abs(number)
    assert str(error.value) == (
        f"Affine2.W holds {largest:g}, which is more than {to} can keep; save it as {remedy}"
    )
    assert path.read_bytes() == b"before"
    network.params["Affine2.W"][0, 1] = 65519.0  # which is not
    network.save_params(path, dtype=to)
