"""DCGAN: sizes, latent vectors, images, files."""

import numpy as np
import pytest

from xpnet import DCGAN, to_numpy
from xpnet.errors import ArgumentError, WeightsError
from xpnet.functions.init import shapes_alone
from xpnet.train.generators import load_gan

SMALL = {"latent": 5, "input_shape": (1, 8, 12), "widths": (4, 3)}


def test_sizes_are_those_of_the_papers_scheme():
    gan = DCGAN(rng=0)
    counts = {name: net.params.count for name, net in gan.networks.items()}
    assert counts == {"generator": 237_313, "discriminator": 36_577}
    assert gan.count == 273_890
    shapes = {row.name: row.output_shape for row in gan.networks["generator"].summary()}
    assert (shapes["images"], shapes["up1"], shapes["tanh"]) == (
        (64, 7, 7),
        (32, 14, 14),
        (1, 28, 28),
    )
    shapes = {row.name: row.output_shape for row in gan.networks["discriminator"].summary()}
    assert (shapes["conv1"], shapes["leak2"], shapes["affine"]) == ((32, 14, 14), (64, 7, 7), (1,))
    for network in gan.networks.values():
        for name, array in network.params.items():
            if name.endswith(".W"):
                assert np.std(array) == pytest.approx(0.02, rel=0.15), name
    assert repr(gan).startswith("DCGAN(64 -> (1, 28, 28), 273890 parameters")


def test_the_papers_is_for_images_of_64():
    with shapes_alone():
        gan = DCGAN.large()
    generator, discriminator = gan.networks["generator"], gan.networks["discriminator"]
    assert (generator.input_shape, generator.output_shape) == ((100,), (3, 64, 64))
    assert [row.output_shape for row in generator.summary() if row.name[:2] == "up"] == [
        (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)
    ]  # fmt: skip
    assert [row.output_shape for row in discriminator.summary() if row.name[:4] == "conv"] == [
        (128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4)
    ]  # fmt: skip


def test_latent_vectors_are_the_same_everywhere(device):
    gan = DCGAN(**SMALL | {"latent": 4}, rng=0, device=device, dtype="float64")
    first = [-0.0534161411, -1.0674711909, 0.6328379503, -0.4347321346]
    np.testing.assert_allclose(to_numpy(gan.latent(1))[0], first, atol=1e-10)
    many = to_numpy(gan.latent(6))
    np.testing.assert_array_equal(to_numpy(gan.latent(2, first=3)), many[3:5])
    assert not np.array_equal(many, to_numpy(gan.latent(6, seed=1)))


def test_images_are_of_a_vector_alone(device):
    """By the running statistics: what else is made with it changes nothing."""
    gan = DCGAN(**SMALL, rng=0, device=device)
    z = gan.latent(3)
    images = gan.generate(z)
    assert images.shape == (3, 1, 8, 12)
    found = to_numpy(images)
    assert found.dtype == "float32"
    assert 0 <= found.min() < found.max() <= 1
    np.testing.assert_allclose(to_numpy(gan.generate(z[1:2, ...])), found[1:2], atol=1e-6)


def test_files_hold_both(tmp_path):
    gan = DCGAN(**SMALL, rng=1)
    path = tmp_path / "gan.safetensors"
    gan.save_params(path)
    again = load_gan(path)
    assert again.arguments() == gan.arguments()
    z = gan.latent(2)
    np.testing.assert_array_equal(again.generate(z), gan.generate(z))
    with pytest.raises(ArgumentError, match="is not the generator that"):
        DCGAN.of(gan.networks, **SMALL | {"latent": 6})
    with pytest.raises(ArgumentError, match="called generator and discriminator are needed"):
        DCGAN.of({"generator": gan.networks["generator"]}, **SMALL)
    gan.networks["generator"].save_params(path)
    with pytest.raises(WeightsError, match="holds one network, and that makes no images"):
        load_gan(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (1, 8, 10)}, "sides are multiples of 4, got 8 x 10"),
        ({"widths": ()}, "one map of each of its widths"),
        ({"widths": (4, 0)}, "one map of each of its widths"),
        ({"latent": 0}, "at least one latent number"),
        ({"input_shape": (8, 8)}, "DCGAN takes images"),
    ],
)
def test_sizes_are_checked(options, message):
    with pytest.raises(ArgumentError, match=message):
        DCGAN(**SMALL | options)


def test_latent_vectors_are_checked():
    gan = DCGAN(**SMALL, rng=0)
    for wrong in (np.zeros((2, 4)), np.zeros(5), np.zeros((0, 5))):
        with pytest.raises(ArgumentError, match=r"latent vectors \(N, 5\) are needed"):
            gan.generate(wrong)
    with pytest.raises(ArgumentError, match="not finite"):
        gan.generate(np.full((1, 5), np.nan, dtype="float32"))
    for options in ({"count": 0}, {"count": 1, "first": -1}):
        with pytest.raises(ArgumentError, match="at least one latent vector"):
            gan.latent(**options)
