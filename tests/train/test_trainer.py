"""The training loop."""

import numpy as np
import pytest

from xpnet import SGD, Trainer, TwoLayerNet, load_mnist, synthetic_digits
from xpnet.errors import ArgumentError

X, T = synthetic_digits(600, seed=2)


def trainer(epochs=2, batch_size=64, **options):
    net = TwoLayerNet(784, 20, 10, rng=0)
    defaults = {"optimizer_param": {"lr": 0.1}, "verbose": False}
    return Trainer(
        net, X[:500], T[:500], X[500:], T[500:], epochs, batch_size, **(defaults | options)
    )


def test_the_record_of_a_run():
    run = trainer(epochs=3)
    seen = []
    run.on_epoch = seen.append
    assert run.train() == seen == run.history
    assert [metrics.epoch for metrics in seen] == [1, 2, 3]
    assert len(run.train_loss_list) == 3 * 8  # 500 samples in batches of 64: the last one has 52
    assert seen[1].train_loss == pytest.approx(np.mean(run.train_loss_list[8:16]), rel=1e-6)
    assert run.train_acc_list == [metrics.train_accuracy for metrics in seen]
    assert run.test_acc_list[-1] == run.network.accuracy((X[500:] / 255), T[500:])
    assert 0 < seen[0].seconds < seen[1].seconds < seen[2].seconds


def test_training_goes_on_where_it_stopped():
    whole, parts = trainer(epochs=3), trainer(epochs=3)
    whole.train()
    parts.train_epoch()
    parts.train()
    np.testing.assert_array_equal(whole.network.params.flat, parts.network.params.flat)


def test_resident_streamed_and_prepared_data_train_alike():
    def weights(run):
        run.train()
        return run.network.params.flat

    want = weights(trainer())
    np.testing.assert_array_equal(weights(trainer(resident=False)), want)
    x = (X.reshape(600, -1) / np.float32(255)).astype(np.float32)
    net = TwoLayerNet(784, 20, 10, rng=0)
    run = Trainer(
        net, x[:500], np.eye(10)[T[:500]], x[500:], T[500:], 2, 64, SGD(0.1), verbose=False
    )
    np.testing.assert_array_equal(weights(run), want)


def test_choice_and_seed_change_the_run():
    losses = []
    for options in ({}, {"seed": 1}, {"sampling": "choice"}):
        run = trainer(epochs=1, **options)
        run.train()
        losses.append(tuple(run.train_loss_list))
    assert len(set(losses)) == 3


def test_accuracies_on_the_first_samples_only():
    run = trainer(epochs=1, evaluate_sample_num_per_epoch=50)
    metrics = run.train()[0]
    assert metrics.train_accuracy == run.network.accuracy(X[:50] / 255, T[:50])
    assert metrics.test_accuracy == run.network.accuracy(X[500:550] / 255, T[500:550])


def test_verbose_prints_a_line_an_epoch(capsys):
    trainer(verbose=True).train()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 2
    assert "loss" in lines[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "at least one epoch, got 0"),
        ({"evaluate_sample_num_per_epoch": 0}, "at least one sample to be measured on, got 0"),
        ({"batch_size": 0}, "the batch size must be from 1 on, got 0"),
        ({"optimizer": "adamant"}, "optimizer 'adamant' is unknown; use sgd"),
        ({"optimizer_param": {"lr": -1.0}}, "must be a positive number, got -1.0"),
    ],
)
def test_misuse_is_told(options, message):
    with pytest.raises(ArgumentError, match=message):
        trainer(**options)


def test_labels_without_an_output_are_refused():
    with pytest.raises(ArgumentError, match="below the network's 7 outputs, got 9; give the"):
        Trainer(TwoLayerNet(784, 20, 7, rng=0), X, T, X, T, verbose=False)


@pytest.mark.slow
def test_the_books_network_learns_mnist(mnist_dir):
    """Chapter 5: 784-50-10 with ReLU, SGD 0.1, batch 100, 10,000 updates; band 0.967-0.971."""
    (x_train, t_train), (x_test, t_test) = load_mnist(data_dir=mnist_dir)
    net = TwoLayerNet(784, 50, 10, rng=0)
    run = Trainer(net, x_train, t_train, x_test, t_test, optimizer_param={"lr": 0.1}, verbose=False)
    updates = 0
    for epoch in range(17):
        for x, t in run.train_batches.epoch(epoch):
            if updates == 10_000:
                break
            run.train_step(x, t)
            updates += 1
    assert run.evaluate(run.test_batches) >= 0.965
