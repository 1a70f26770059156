"""Chapter 6's worked examples that belong to no module of their own.

Optimizers are in test_optim.py, initial weights in test_init.py, batch normalization in
test_norm.py, dropout in test_dropout.py, norms in test_penalties.py.
"""

import numpy as np
import pytest

from xpnet import MultiLayerNet, Trainer, optim, shuffle_dataset
from xpnet.books import saitoh
from xpnet.errors import ArgumentError


def test_a_fifth_of_the_training_set_is_for_validation():
    """Of 60,000 images 12,000, which are the first ones after shuffling both alike."""
    pytest.importorskip("optuna", reason="optuna is not installed")
    from xpnet.train.search import Search

    x = np.arange(60_000).reshape(-1, 1)
    t = x[:, 0] % 10
    parts = Search(samples=60_000).split(x, t)
    assert [len(part) for part in parts] == [48_000, 48_000, 12_000, 12_000]
    x_train, t_train, x_valid, t_valid = parts
    np.testing.assert_array_equal(x_train[:, 0] % 10, t_train)
    np.testing.assert_array_equal(x_valid[:, 0] % 10, t_valid)
    assert set(x_train[:, 0]) | set(x_valid[:, 0]) == set(range(60_000))


@pytest.mark.parametrize("shape", [(6, 4), (6, 1, 2, 2)])
def test_shuffling_keeps_samples_and_labels_together(shape):
    x, t = np.arange(24).reshape(shape), np.arange(6)
    y, u = shuffle_dataset(x, t, np.random.default_rng(0))
    assert not np.array_equal(u, t)
    np.testing.assert_array_equal(y, x[u])


def test_an_epoch_of_300_images_is_three_updates():
    """So that 201 records, each after the first update of an epoch, take 601 updates."""
    x, t = np.zeros((300, 4)), np.arange(300) % 10
    trainer = Trainer(MultiLayerNet(4, [3], 10, rng=0), x, t, x, t, epochs=200, verbose=False)
    trainer.train()
    assert len(trainer.train_loss_list) + 1 == 601
    assert len(trainer.history) + 1 == 201


RULES = ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam")


@pytest.mark.parametrize("name", RULES)
def test_the_bowl_is_descended_with_pythons_numbers(name):
    """As in optimizer_compare_naive.py: f = x^2 / 20 + y^2 from (-7, 2)."""
    numbers, optimizer = {"x": -7, "y": 2.0}, getattr(saitoh, name)(0.1)
    arrays, rule = {"x": np.array([-7.0]), "y": np.array([2.0])}, getattr(optim, name)(0.1)
    for _ in range(3):
        optimizer.update(numbers, {"x": numbers["x"] / 10.0, "y": numbers["y"] * 2.0})
        rule.update(arrays, {"x": arrays["x"] / 10.0, "y": arrays["y"] * 2.0})
    assert all(type(number) is float for number in numbers.values())
    assert numbers == {key: array[0] for key, array in arrays.items()}


def test_the_books_optimizers_update_networks():
    x, t = np.random.default_rng(0).random((6, 4)), np.arange(6) % 2
    nets = [MultiLayerNet(4, [3], 2, rng=0) for _ in range(2)]
    for net, kind in zip(nets, (saitoh.Adam, optim.Adam), strict=True):
        optimizer = kind()
        for _ in range(2):
            optimizer.update(net.params, net.gradient(x, t))
    np.testing.assert_array_equal(nets[0].params.flat, nets[1].params.flat)


@pytest.mark.parametrize("name", RULES)
def test_an_optimizer_by_name_has_its_own_rate_and_the_books_trainer_its_rate(name):
    x, t = np.zeros((6, 4)), np.arange(6) % 2
    arguments = (x, t, x, t, 1, 3)
    net = MultiLayerNet(4, [3], 2)
    assert repr(Trainer(net, *arguments, name).optimizer) == repr(getattr(optim, name)())
    assert saitoh.Trainer(net, *arguments, name).optimizer.lr == 0.01
    assert saitoh.Trainer(net, *arguments, name, {"lr": 0.5}).optimizer.lr == 0.5
    assert saitoh.Trainer(net, *arguments, optim.SGD(0.3), verbose=False).optimizer.lr == 0.3


def test_arguments_beside_an_optimizer_are_told():
    x, t = np.zeros((6, 4)), np.arange(6) % 2
    with pytest.raises(ArgumentError, match=r"and SGD\(lr=0.1\) has its own; leave it out"):
        Trainer(MultiLayerNet(4, [3], 2), x, t, x, t, 1, 3, optim.SGD(0.1), {"lr": 0.2})
