"""Chapter 6's worked examples that belong to no module of their own.

Optimizers are in test_optim.py, initial weights in test_init.py, batch normalization in
test_norm.py, dropout in test_dropout.py, norms in test_penalties.py.
"""

import numpy as np
import pytest

from xpnet import MultiLayerNet, Trainer, shuffle_dataset


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
