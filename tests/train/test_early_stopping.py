"""When training stops early."""

import pytest

from xpnet import EarlyStopping, Trainer, TwoLayerNet, synthetic_digits
from xpnet.errors import ArgumentError

X, T = synthetic_digits(40, seed=2)


def run(accuracies, *, epochs=20, verbose=False, **options):
    """A trainer whose test accuracy after each epoch is the next of `accuracies`."""
    trainer = Trainer(TwoLayerNet(784, 2, 10, rng=0), X, T, X, T, epochs, 20, verbose=verbose,
                      early_stopping=EarlyStopping(**options))  # fmt: skip
    planned = iter(accuracies)

    def evaluate(batches):
        return {"accuracy": next(planned) if batches is trainer.test_batches else 0.5}

    trainer.learner.evaluate = evaluate
    return trainer


@pytest.mark.parametrize(
    ("accuracies", "patience", "min_delta", "best", "stops_after"),
    [
        ([0.1, 0.2, 0.3, 0.3, 0.2, 0.9], 2, 0, 3, 5),  # as good as before is no improvement
        ([0.1, 0.2, 0.3, 0.3, 0.4, 0.4, 0.4], 2, 0, 5, 7),
        ([0.5, 0.4, 0.9], 1, 0, 1, 2),
        ([0.0, 0.0, 0.0, 0.0], 3, 0, 1, 4),
        ([0.5, 0.54, 0.58, 0.62, 0.62, 0.62], 3, 0.1, 4, None),  # 0.62 is 0.12 above 0.5
        ([0.5, 0.54, 0.58, 0.59, 0.62], 3, 0.1, 1, 4),
        ([0.1, 0.2, 0.3], 5, 0, 3, None),
        ([], 1, 0, 0, None),
    ],
)
def test_the_rule(accuracies, patience, min_delta, best, stops_after):
    rule = EarlyStopping(patience, min_delta)
    lengths = range(len(accuracies) + 1)
    over = [n for n in lengths if n and rule.is_over(accuracies[:n])]
    assert (over[0] if over else None) == stops_after
    assert rule.best_epoch(accuracies[:stops_after]) == best


def test_nothing_is_over_before_it_begins():
    assert not EarlyStopping(1).is_over([])


def test_the_trainer_stops(capsys):
    trainer = run([0.1, 0.3, 0.2, 0.3, 0.9], patience=2, verbose=True)
    seen = []
    trainer.on_epoch = seen.append
    history = trainer.train()
    assert [metrics.test_accuracy for metrics in history] == [0.1, 0.3, 0.2, 0.3]
    assert seen == history
    last = "stopped after epoch 4: the test accuracy has not risen since epoch 2, 0.3000"
    assert capsys.readouterr().out.splitlines()[-1] == last
    assert trainer.train() is history  # asked again, it trains no further
    assert len(history) == 4


def test_the_trainer_says_nothing_unless_verbose(capsys):
    run([0.3, 0.2], patience=1).train()
    assert capsys.readouterr().out == ""


def test_a_run_that_improves_goes_to_its_end(capsys):
    assert len(run([0.1, 0.2, 0.3, 0.4], epochs=4, patience=1, verbose=True).train()) == 4
    assert "stopped" not in capsys.readouterr().out


@pytest.mark.parametrize("options", [{"patience": 0}, {"patience": 2, "min_delta": -0.1}])
def test_misuse_is_told(options):
    with pytest.raises(ArgumentError, match="needs a patience of at least 1 epoch and a min_delta"):
        EarlyStopping(**options)
