"""Generator and discriminator: their gradients, and their training."""

import numpy as np
import pytest

from xpnet import DCGAN, SGD, Adam, Trainer, to_numpy
from xpnet.errors import ArgumentError, DivergedError
from xpnet.functions.adversarial import fake_loss, generator_loss, real_loss
from xpnet.train.adversarial import Adversarial

SMALL = {"latent": 5, "input_shape": (1, 8, 8), "widths": (4, 3)}
STILL = SGD(1e-300)
"""Updates nothing."""


def make(rng=0, **options):
    """A small DCGAN whose weights are large enough for all of it to have a part."""
    gan = DCGAN(**SMALL | {"rng": rng} | options)
    for network in gan.networks.values():
        for name, array in network.params.items():
            if name.endswith(".W"):
                array *= 10.0
    return gan


def images(n=7, seed=0):
    """A light bar at one of two places."""
    x = np.random.default_rng(seed).integers(0, 40, (n, 1, 8, 8), dtype=np.uint8)
    x[::2, :, 1:3, :] += 200
    x[1::2, :, :, 5:7] += 200
    return x


def learner(gan=None, n=7, **options):
    options = {"batch_size": 3, "threads": 1, "engine": "reference"} | options
    return Adversarial(make() if gan is None else gan, images(n), **options)


def trainer(epochs=2, **options):
    return Trainer.of(learner(**options), epochs, verbose=False)


def first_batch(own):
    return next(own.source.epoch(0))


@pytest.mark.parametrize("form", ["non-saturating", "minimax"])
@pytest.mark.parametrize("engine", ["reference", pytest.param("cpu", marks=pytest.mark.slow)])
def test_gradients_are_the_losses_slopes(engine, form):
    """The generator's goes through the discriminator, in float64, along random directions."""
    options = {"engine": engine, "form": form, "real_label": 0.9, "optimizer": STILL}
    own = learner(make(dtype="float64"), **options)
    batch, rng, h = first_batch(own), np.random.default_rng(0), 1e-7
    own.step(batch)
    grads = {name: to_numpy(array).copy() for name, array in own.gradient.items()}
    for name, network in own.networks.items():
        assert {key for key in grads if key.startswith(name)} == {
            f"{name}.{key}" for key in network.params
        }
        for only in ("W", "b", "gamma", "beta"):
            direction = {
                key: rng.standard_normal(p.shape) * key.endswith(f".{only}")
                for key, p in network.params.items()
            }
            slopes = []
            for sign in (1, -1):
                for key, p in network.params.items():
                    p += sign * h * direction[key]
                slopes.append(sign * float(own.step(batch)[name]) / (2 * h))
                for key, p in network.params.items():
                    p -= sign * h * direction[key]
            want = sum(float(np.sum(grads[f"{name}.{key}"] * d)) for key, d in direction.items())
            assert want
            assert sum(slopes) == pytest.approx(want, rel=1e-5, abs=1e-9), (name, only)


def test_a_step_is_the_formulas():
    """Discriminator first, the generator through the discriminator as it is then."""
    own, gan = learner(optimizer=SGD(0.1)), make()
    x, _ = first_batch(own)
    own.steps_done = 5
    told = own.step((x, None))
    g, d = gan.networks["generator"], gan.networks["discriminator"]
    z = gan.drawn(3, key=(0, 0x6A00), step=5)
    made, back_to_z = g.forward(z, train=True)
    real, back = d.forward(2 * x - 1, train=True)
    _, of_real = back(real_loss(real)[1])
    fake, back = d.forward(made, train=True)
    _, of_fake = back(fake_loss(fake)[1])
    loss = float(real_loss(real)[0] + fake_loss(fake)[0])
    assert float(told["discriminator"]) == pytest.approx(loss, rel=1e-6)
    assert float(told["d_real"]) == pytest.approx(np.mean(1 / (1 + np.exp(-real))), rel=1e-6)
    assert float(told["d_fake"]) == pytest.approx(np.mean(1 / (1 + np.exp(-fake))), rel=1e-6)
    for name, array in d.params.items():
        array -= 0.1 * (of_real[name] + of_fake[name])
    scores, back = d.forward(made, train=True)
    value, slope = generator_loss(scores)
    assert float(told["generator"]) == pytest.approx(float(value), rel=1e-5)
    assert float(told["loss"]) == pytest.approx(loss + float(value), rel=1e-5)
    _, grads = back_to_z(back(slope)[0])
    for name, array in g.params.items():
        array -= 0.1 * grads[name]
    for name, network in gan.networks.items():
        for kind in ("params", "state"):
            for key, array in getattr(own.networks[name], kind).items():
                want = getattr(network, kind)[key]
                np.testing.assert_allclose(array, want, atol=1e-5, err_msg=f"{name}.{key}")


def test_a_step_on_every_library_is_the_same(device):
    want, got = (
        learner(make(dtype="float64", **options), optimizer=SGD(0.1))
        for options in ({}, {"device": device})
    )
    values = [own.step(first_batch(own)) for own in (want, got)]
    for name, value in values[0].items():
        assert float(values[1][name]) == pytest.approx(float(value), rel=1e-10), name
    for name, network in want.networks.items():
        for key, array in network.params.items():
            found = to_numpy(got.networks[name].params[key])
            np.testing.assert_allclose(found, array, atol=1e-10, err_msg=key)


def test_a_step_reads_nothing_back(strict_device, unread):
    own = learner(make(device=strict_device))
    made = Trainer.of(own, verbose=False)
    batches = own.source.epoch(0)
    before = to_numpy(own.networks["generator"].params.flat).copy()
    made.train_step(*next(batches))
    with unread():
        made.train_step(*next(batches))
    after = to_numpy(own.networks["generator"].params.flat)
    assert np.isfinite(after).all()
    assert np.any(after != before)


@pytest.mark.parametrize("steps", [4, 6])
def test_a_run_goes_on_bit_for_bit(steps):
    """From within an epoch and from its end, in a trainer of another beginning."""
    whole, first = trainer(epochs=3), trainer(epochs=3)
    whole.train()

    class StopError(Exception):
        pass

    def stop():
        if first.steps == steps:
            raise StopError

    first.on_step = stop
    with pytest.raises(StopError):
        first.train()
    second = trainer(epochs=3, gan=make(7))
    second.restore(first.state())
    second.train()
    for name, array in whole.learned().items():
        np.testing.assert_array_equal(second.learned()[name], array, err_msg=name)
    assert [m.values for m in second.history] == [m.values for m in whole.history]
    assert trainer(seed=1).train()[0].train_loss != whole.history[0].train_loss


def test_what_is_told_of_an_epoch():
    made = trainer(epochs=1)
    (found,) = made.train()
    names = ("loss", "discriminator", "generator", "d_real", "d_fake")
    assert set(found.values) == {f"train_{name}" for name in names}
    assert 0 < found["train_d_fake"] < 1
    assert made.steps == 3  # the last of one image


@pytest.mark.parametrize("where", ["generator", "discriminator"])
def test_what_is_no_number_ends_the_training(where):
    """And the step is undone, the discriminator's update with it."""
    made = trainer(optimizer=SGD(0.01))
    key = {"generator": "affine.W", "discriminator": "conv1.W"}[where]
    made.learner.networks[where].params[key][0, 0] = np.nan
    before = {name: to_numpy(a).copy() for name, a in made.learned().items()}
    with pytest.raises(DivergedError, match=r"loss of step 1 .* is nan; .* " + where):
        made.train()
    for name, array in made.learned().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_rates_follow_the_schedule_in_both_networks():
    rates = []
    made = trainer(epochs=1, schedule=lambda step: 0.001 * (step + 1))
    made.on_step = lambda: rates.append([o.lr for o in made.learner.optimizers.values()])
    made.train()
    np.testing.assert_allclose(rates, [[0.001] * 2, [0.002] * 2, [0.003] * 2])


@pytest.mark.slow
def test_bars_are_made():
    """What is made comes near one of the two real images, and nothing else does."""
    own = learner(make(), n=40, batch_size=20, optimizer=Adam(0.002, 0.5))
    Trainer.of(own, 250, verbose=False).train()
    made = to_numpy(own.gan.generate(own.gan.latent(40)))
    real = images(2, seed=9) / 255.0
    apart = np.sqrt(np.mean((made[:, None] - real[None]) ** 2, axis=(2, 3, 4)))
    assert np.median(apart.min(axis=1)) < 0.15
    assert set(apart.argmin(axis=1)) == {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": np.zeros((4, 1, 8, 9))}, r"images \(N, 1, 8, 8\) are needed, got \(4, 1, 8, 9\)"),
        ({"x": images(4) / 100.0}, "pixels, uint8, or floats from 0 to 1"),
        ({"optimizer": "adam"}, "an instance of Optimizer"),
        ({"real_label": 0.4}, "real_label of Adversarial must be above 0.5"),
        ({"form": "wasserstein"}, "form"),
        ({"batch_size": 0}, "batch size"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ArgumentError, match=message):
        Adversarial(make(), **{"x": images(4)} | options)


def test_a_generator_that_has_lost_is_told_of_once(capsys):
    made = trainer(epochs=2, optimizer=STILL)
    made.learner.networks["discriminator"].params["affine.b"][...] = -20.0
    made.verbose = True
    made.train()
    told = capsys.readouterr()
    assert (told.out + told.err).count("the generator has collapsed, or will") == 1
