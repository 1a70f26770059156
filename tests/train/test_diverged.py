"""Training that goes wrong: it ends before what was learned is lost, or hints come."""

import re

import numpy as np
import pytest

from test_cli import QUICK
from test_cli import run as run  # a fixture
from test_step_contract import T, X
from test_trainer import trainer
from xpnet import SGD, Affine, IdentityWithLoss, Network, Tanh, Trainer, TwoLayerNet, to_numpy
from xpnet.errors import DivergedError
from xpnet.train import EpochMetrics
from xpnet.train.checkpoint import load_checkpoint
from xpnet.train.hints import at_chance, hints


def flat(run):
    return to_numpy(run.network.params.flat)


def test_a_loss_that_is_no_number_is_told_before_the_update():
    """With its step, and where the largest numbers are."""
    run = trainer(optimizer_param={"lr": 1e30})
    with pytest.raises(DivergedError) as caught, np.errstate(all="ignore"):
        run.train()
    assert re.fullmatch(
        rf"training cannot go on: the loss of step {run.steps + 1} of epoch 1 is (nan|inf); the "
        r"largest number of the parameters is \S+e\+\d\d in [Wb][12], of the gradient \S+ in "
        r"[Wb][12]; use a smaller learning rate than 1e\+30, or clip_norm",
        str(caught.value),
    )
    assert 1 <= run.steps < 8
    assert np.isfinite(flat(run)).all()


def test_the_layer_is_named():
    run = trainer(optimizer_param={"lr": 0.25})
    run.network.params["W2"] = np.full((20, 10), 3e38, dtype=np.float32)
    with pytest.raises(DivergedError) as caught, np.errstate(all="ignore"):
        run.train()
    assert str(caught.value).startswith(
        "training cannot go on: the loss of step 1 of epoch 1 is nan; the largest number of the "
        "parameters is 3e+38 in W2, of the gradient nan in W1; use a smaller learning rate than "
        "0.25, or clip_norm"
    )


def test_a_gradient_that_is_no_number_is_told_after_its_epoch():
    """Of the last step, whose loss was one."""
    run = trainer(epochs=1)
    update = run.optimizer.update

    def broken(params, grads):
        update(params, grads)
        if run.steps == 7:
            params["W1"][3, 4] = np.inf

    run.optimizer.update = broken
    message = (
        "training cannot go on: after 8 steps not all parameters are finite; the largest number "
        "of the parameters is inf in W1; use a smaller learning rate than 0.1, or clip_norm"
    )
    with pytest.raises(DivergedError) as caught:
        run.train()
    assert str(caught.value) == message
    with pytest.raises(DivergedError):  # nor does a checkpoint come of it
        run.state()
    assert run.history == []


@pytest.mark.parametrize("looks", [True, False])
def test_a_gpu_tells_when_it_is_asked(accelerator, monkeypatch, looks):
    """After the epoch, or before a state is taken; the step is the first that went wrong."""
    monkeypatch.setattr("xpnet.engine.cuda.training.UNROLL", 2)
    net = TwoLayerNet(144, 5, 10, rng=0, device=accelerator.device)
    run = Trainer(net, X, T, X, T, 1, 6, SGD(1e30), verbose=False, engine="reference")
    run.engine = accelerator.engine(net)
    run.on_step = run.state if looks else None
    with pytest.raises(DivergedError, match=r"the loss of step [23] of epoch 1 is (nan|inf); the"):
        run.train()
    assert run.steps <= 4 if looks else run.steps == 10


def test_the_last_good_checkpoint_stays(run, tmp_path):
    with np.errstate(all="ignore"):
        code, _, err = run("train", *QUICK, "--lr", "1e30", "--checkpoint-steps", 1, "--out", "a")
    assert code == 2
    last = sorted((tmp_path / "a" / "checkpoints").iterdir())[-1]
    assert err.startswith("xpnet: error: training cannot go on: the loss of step ")
    assert err.endswith(f"; a/checkpoints/{last.name} is from before\n")
    found = load_checkpoint(last)
    assert found.record["steps"] >= 1
    assert all(np.isfinite(array).all() for array in found.arrays.values())


# Hints


def told(rows, *, classes=10, steps=600):
    """The beginnings of the hints after each epoch of (mean loss, test accuracy); first loss 2."""
    history, found = [], []
    for loss, accuracy in rows:
        history.append(EpochMetrics(len(history) + 1, loss, accuracy, accuracy, 1.0))
        lines = hints(history, [2.0] * steps * len(history), classes, 0.25)
        found.append([line.partition(" ")[0] for line in lines])
    return found


GUESS, RISE = "after", "the"


@pytest.mark.parametrize(
    ("rows", "options", "want"),
    [
        ([(0.5, 0.9), (0.4, 0.1)], {}, [[], []]),  # only the first epoch can be at chance
        ([(1.9, 0.15), (1.8, 0.1)], {}, [[GUESS], []]),
        ([(1.9, 0.16)], {}, [[]]),
        ([(2.3, 0.1), (9.0, 0.1)], {}, [[GUESS, RISE], []]),
        ([(2.1, 0.5), (2.3, 0.5), (1.0, 0.5), (2.3, 0.5)], {}, [[], [RISE], [], []]),
        ([(2.3, 0.1), (2.3, 0.1), (2.3, 0.1)], {"steps": 250}, [[], [GUESS, RISE], []]),
        ([(4.1, 0.1), (9.0, 0.1)], {"steps": 100}, [[RISE], []]),
        ([(3.9, 0.1), (9.0, 0.2), (4.1, 0.1)], {"steps": 100}, [[], [], [RISE]]),
        ([(9.0, 0.1)], {"steps": 100, "classes": 1}, [[]]),
        ([(1.0, 0.55)], {"classes": 2}, [[GUESS]]),
        ([(1.0, 0.56)], {"classes": 2}, [[]]),
        ([(1.0, 0.015)], {"classes": 100}, [[GUESS]]),
        ([(1.0, 0.0)], {"classes": 1}, [[]]),
    ],
)
def test_a_hint_comes_once_and_not_too_early(rows, options, want):
    assert told(rows, **options) == want


def test_chance_is_a_bit_more_than_an_even_share():
    assert [at_chance(k) for k in (2, 10, 100)] == pytest.approx([0.55, 0.15, 0.015])


@pytest.mark.parametrize(("lr", "epochs", "hinted"), [(0.03, 2, False), (3.0, 1, True)])
def test_a_few_steps_are_enough_to_tell_that_it_diverges(capsys, lr, epochs, hinted):
    """Of labels and of numbers; a network that has not learned yet is no such thing."""
    x = X.reshape(len(X), -1) / np.float32(255)
    numbers, options = np.sin(x.sum(axis=1, keepdims=True)), {"mini_batch_size": 6}
    for loss, t, outputs in ((None, T, 10), (IdentityWithLoss(), numbers, 1)):
        layers = [Affine(x.shape[1], 10, rng=0), Tanh(), Affine(10, outputs, rng=1)]
        net = Network(layers, loss)
        Trainer(net, x, t, epochs=epochs, optimizer=SGD(lr), **options).train()
        out = capsys.readouterr().out
        assert ("hint: the mean loss of epoch 1" in out) == hinted, out


def test_what_the_hints_say(run):
    """A rate too small and one too large; after a resumption they are not said again."""
    command = ("train", *QUICK[:2], "--batch-size", 1)
    out = run(*command, "--epochs", 2, "--lr", "1e-9", "--out", "a")[1]
    (hint,) = re.findall("hint: .*\n", out)
    assert re.fullmatch(
        r"hint: after 600 steps the test accuracy is 0\.\d{4}, hardly more than guessing among 10 "
        r"classes gives; try a learning rate other than 1e-09, or other initial weights\n",
        hint,
    )
    assert "hint" not in run("train", "--resume", "a", "--epochs", 3)[1]
    out = run(*command, "--epochs", 1, "--lr", "1", "--out", "b")[1]
    hint = re.findall("hint: the.*\n", out)[-1]
    assert re.fullmatch(
        r"hint: the mean loss of epoch 1, \S+, is above that of the first step, \S+; try a smaller "
        r"learning rate than 1\n",
        hint,
    )
