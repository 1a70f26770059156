"""Who is told of an epoch, what a state restores, and what is refused before anything is done."""

import copy
import gc
import pickle
import signal

import numpy as np
import pytest

from test_learner import Adversaries, adversaries, sine, state_of
from test_resume import assert_same
from xpnet import R2, SGD, Accuracy, Callback, EarlyStopping, Trainer, to_numpy
from xpnet.errors import ArgumentError, CheckpointError, DivergedError
from xpnet.train.checkpoint import Checkpoint, Checkpoints
from xpnet.train.undo import Undo


def best_of(values, **options):
    """A trainer that measures `values`, and what it had learned after each epoch."""
    early = EarlyStopping(99, metric="train_r2", restore_best=True)
    trainer = sine(epochs=len(values), early_stopping=early, **options)
    trainer.learner.evaluate = lambda _: {"r2": values[len(trainer.history)]}
    return trainer


def flat(trainer):
    return to_numpy(trainer.network.params.flat).copy()


def test_an_epoch_of_ones_own_is_told():
    trainer = best_of([0.1, 0.5, 0.3])
    trainer.train(1)
    trainer.train_epoch()
    want = flat(trainer)
    trainer.train()
    assert trainer.early_stopping.restored == 2
    np.testing.assert_array_equal(flat(trainer), want)


@pytest.mark.parametrize("how", [RuntimeError, KeyboardInterrupt, "signal"])
def test_who_is_left_is_told_later(how):
    notes = []

    class Note(Callback):
        def __init__(self, name):
            self.name = name

        def on_epoch(self, trainer, metrics):
            notes.append((self.name, metrics.epoch, trainer.steps))
            if self.name == "a" and metrics.epoch == 2:
                if how != "signal":
                    raise how
                signal.raise_signal(signal.SIGINT)

    trainer = best_of([0.1, 0.5, 0.3], callbacks=[Note("a"), Note("b")])
    with pytest.raises(KeyboardInterrupt if how == "signal" else how):
        trainer.train()
    assert notes[2:] == [("a", 2, 12)] + [("b", 2, 12)] * (how == "signal")
    want = flat(trainer)
    trainer.train()
    assert notes == [(name, k, 6 * k) for k in (1, 2, 3) for name in "ab"]
    np.testing.assert_array_equal(flat(trainer), want)


def test_other_parameters_than_the_best_are_refused():
    trainer = best_of([0.1, 0.5, 0.3])
    trainer.train(1)
    kept = trainer.early_stopping._kept
    trainer.train(1)
    trainer.early_stopping._kept = kept
    with pytest.raises(ArgumentError, match="what epoch 2 learned was not kept"):
        trainer.train()


def test_a_checkpoint_that_does_not_say_of_which_epoch():
    trainer, other = (best_of([0.1, 0.5, 0.3]) for _ in range(2))
    trainer.train(2)
    arrays, record = trainer.state()
    assert arrays.pop("callback.EarlyStopping.epoch") == 2
    want = flat(trainer)
    other.restore(arrays, record)
    other.train()
    np.testing.assert_array_equal(flat(other), want)


@pytest.mark.parametrize("more", [(), ("path",)])  # as a Checkpoint has one
def test_a_state_may_be_given_as_it_came(more):
    trainer, other = sine(), sine()
    trainer.train(1)
    state = trainer.state()
    other.restore((*state, *more))
    assert_same(state_of(other), state_of(trainer))
    before = state_of(other)
    for none in (state[0], (state[0],), None):
        with pytest.raises(CheckpointError, match="the arrays and the record that state"):
            other.restore(none)
    assert_same(state_of(other), before)


def test_one_early_stopping_serves_one_trainer():
    early = EarlyStopping(9, metric="train_loss", restore_best=True)
    first = sine(epochs=1, early_stopping=early)
    first.train()
    second = sine(epochs=1, early_stopping=early)  # as when a notebook's cell runs again
    with pytest.raises(ArgumentError, match="serves another trainer"):
        first.train(1)
    second.train()
    for other in (copy.deepcopy(early), pickle.loads(pickle.dumps(early))):
        sine(epochs=1, early_stopping=other).train()
    del second
    gc.collect()
    sine(epochs=1, early_stopping=early).train()


# A state is restored whole, or not at all


@pytest.mark.parametrize("lost", ["train_losses", "epoch_losses", "history", "seconds", "lr"])
def test_what_a_checkpoint_lacks_is_named(lost):
    trainer, other = adversaries(), adversaries()
    trainer.train(1)
    arrays, record = trainer.state()
    arrays.pop(lost, None), record.pop(lost, None)
    before = state_of(other)
    with pytest.raises(CheckpointError, match=lost):
        other.restore(arrays, record)
    assert_same(state_of(other), before)


def test_a_checkpoint_of_fewer_optimizers_is_refused():
    def make(*names):
        learner = Adversaries()
        learner.optimizers = {name: SGD() for name in names}
        return Trainer.of(learner, verbose=False)

    with pytest.raises(CheckpointError, match=r"of generator, and here are .* generator, critic"):
        make("generator", "critic").restore(*make("generator").state())


@pytest.mark.parametrize("who", ["source", "callback"])
def test_a_restoration_that_fails_is_undone(who):
    early = EarlyStopping(9, metric="train_loss", restore_best=True)
    trainer, other = adversaries(), adversaries(early_stopping=early)
    trainer.train(2)
    other.train(1)
    before, kept = state_of(other), other.train_loss_list
    owner = other.learner.source if who == "source" else early
    restore, calls = owner.restore, []

    def failing(state):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("of the test")
        restore(state)

    owner.restore = failing
    with pytest.raises(RuntimeError, match="of the test"):
        other.restore(*trainer.state())
    assert_same(state_of(other), before)
    assert other.train_loss_list is kept


# Misuse


@pytest.mark.parametrize("name", ["source", "callback", "epoch", "a.b"])
def test_names_that_checkpoints_need_are_refused(name):
    learner = Adversaries()
    learner.networks = {name: learner.networks["critic"]}
    learner.optimizers = {}
    with pytest.raises(ArgumentError, match=f"cannot be called '{name}'.*rename it"):
        Trainer.of(learner)


def test_a_name_that_comes_only_sometimes_is_refused():
    trainer = adversaries()
    step = trainer.learner.step
    trainer.learner.step = lambda b: step(b) | ({"x": np.ones(())} if trainer.steps == 2 else {})
    with pytest.raises(
        ArgumentError, match=r"step 3 gave .*, x, and those before .*; give x at ev"
    ):
        trainer.train()


@pytest.mark.parametrize("given", [None, np.ones(3)])
def test_a_step_that_gives_no_names_is_told(given):
    trainer = adversaries()
    trainer.learner.step = lambda _: given
    with pytest.raises(ArgumentError, match="must give numbers by their names, got"):
        trainer.train()


@pytest.mark.parametrize("loss", [None, "0.5", 1j, np.ones((3, 2))])
def test_a_loss_that_is_no_number_is_told(loss):
    trainer = sine()
    trainer.learner.step = lambda _: {"loss": loss}
    kind = type(loss).__name__
    with pytest.raises(ArgumentError, match=f"must give one number as loss, got {kind}"):
        trainer.train()


@pytest.mark.parametrize(("says", "message"), [
    (3, "more batches in epoch 1 than its len, 3"),
    (99, r"fewer batches in epoch 1 than its len, 99: \d+; make them agree"),
])  # fmt: skip
def test_a_source_longer_or_shorter_than_it_says_is_told(monkeypatch, says, message):
    trainer = adversaries()
    monkeypatch.setattr(type(trainer.learner.source), "__len__", lambda _: says)
    with pytest.raises(ArgumentError, match=message):
        trainer.train()
    assert trainer.history == []


def test_a_step_of_ones_own_without_a_loss_is_told_and_undone():
    trainer = sine()
    before, step = flat(trainer), trainer.learner.step
    trainer.learner.step = lambda batch: {"other": step(batch)["loss"]}
    with pytest.raises(ArgumentError, match="a step of Supervised must give loss, got other"):
        trainer.train_step(*next(trainer.train_batches.epoch(0)))
    assert trainer.steps == 0
    np.testing.assert_array_equal(flat(trainer), before)


def test_stopping_needs_no_reason():
    trainer = sine(epochs=3, on_epoch=lambda _: trainer.stop(""))
    assert len(trainer.train()) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sine(epochs=1.5), "at least one epoch, got 1.5"),
        (lambda: sine().train(epochs=True), "at least one more epoch is needed, got True"),
        (lambda: EarlyStopping(float("nan")), "got patience=nan"),
        (lambda: EarlyStopping("2"), "got patience='2'"),
        (lambda: EarlyStopping(0.5), "got patience=0.5"),
        (lambda: sine(optimizer=SGD), "an instance of Optimizer, got <class"),
        (
            lambda: sine(optimizer="sgd", optimizer_param={"momentum": 1}),
            "SGD has no argument 'momentum' in optimizer_param; there are lr",
        ),
        (lambda: sine(callbacks=[print]), "instances of Callback, got <built-in function print>"),
        (lambda: sine(callbacks=[Callback]), "instances of Callback, got <class"),
        (lambda: sine(callbacks=Callback()), "callbacks must be a list .*, got Callback"),
        (lambda: sine(metrics=["accuracy"]), r"Metric, got 'accuracy'; give .*Accuracy\(\), R2"),
        (lambda: sine(metrics=[Accuracy]), "instances of Metric, got <class"),
        (lambda: sine(metrics=R2()), "metrics must be a list .*, got R2"),
        (lambda: Trainer.of(sine().network), "a learner is needed, with networks"),
    ],
)
def test_misuse_is_told(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize("name", ["x_train", "t_train"])
def test_data_that_are_no_numbers_are_told(name):
    trainer = sine()
    batches = trainer.train_batches
    setattr(batches, name[0], np.full((120, 1), np.nan, dtype="float32"))
    what = "samples" if name == "x_train" else "targets"
    with pytest.raises(DivergedError, match=f"of the {what} of its batch 20 of 20 numbers are not"):
        trainer.train()


def test_they_say_what_they_are(tmp_path):
    assert repr(Checkpoints(tmp_path)) == f"Checkpoints({str(tmp_path)!r}, keep=3)"
    found = Checkpoint({"a": np.zeros(9)}, {"steps": 4}, tmp_path)
    assert repr(found) == f"Checkpoint({str(tmp_path)!r}, 4 steps, 1 arrays)"
    assert repr(Undo(Adversaries())) == "Undo(Adversaries(generator, critic), 0 arrays)"
