"""A training that is broken off at any line of xpnet goes on as if it had not been."""

import signal
import sys
from pathlib import Path

import pytest

import xpnet
from xpnet import Trainer, TwoLayerNet, synthetic_digits
from xpnet.errors import TrainingError

ROOT = str(Path(xpnet.__file__).parent)
X, T = synthetic_digits(30, seed=0)


class BrokenError(Exception):
    pass


def breaking():
    raise BrokenError


ACTIONS = {"SIGINT": lambda: signal.raise_signal(signal.SIGINT), "an error": breaking}
ENDS = {"SIGINT": KeyboardInterrupt, "an error": BrokenError}


class Tracer:
    """Notes all lines of xpnet that are gone through, and does something at one, from 0."""

    def __init__(self, at=None, action=None):
        self.at, self.action, self.lines = at, action, []

    def __call__(self, frame, event, _):
        code = frame.f_code
        if event == "call":
            return self if code.co_filename.startswith(ROOT) else None
        if event == "line":
            self.lines.append((code.co_filename, frame.f_lineno))
            if len(self.lines) - 1 == self.at:
                self.action()
        return self


def trained(tracer, ends=()):
    """Two epochs of two steps, traced; broken off, they are gone on with."""
    net = TwoLayerNet(784, 3, 10, rng=0)
    trainer = Trainer(net, X, T, X, T, 2, 20, "Adam", verbose=False, threads=1)
    start, came = trainer.state(), False
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        trainer.train()
    except ends:
        came = True
    finally:
        sys.settrace(before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    spent = False
    try:
        trainer.train()
    except TrainingError:  # which says so, rather than go on from half a step
        spent = True
        trainer.restore(*start)
        trainer.train()
    metrics = [{**each.record(), "seconds": 0} for each in trainer.history]
    found = net.params.flat.tobytes(), trainer.train_loss_list, trainer.steps, metrics
    return found, came, spent


@pytest.fixture
def ctrl_c():
    """Python's own handler, which pytest leaves in place, and other tests may not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def all_lines(name):
    """What comes of training, and where each line comes first, and in the middle of its times.

    An error does not come out of a line that listens to signals: they call nothing that could fail.
    """
    trained(Tracer())  # which finds nothing remembered yet
    tracer = Tracer()
    want, _, _ = trained(tracer)
    places = {}
    for at, line in enumerate(tracer.lines):
        if name != "SIGINT" and line[0].endswith("signals.py"):
            continue
        places.setdefault(line, []).append(at)
    assert len(places) > 300
    chosen = {at for found in places.values() for at in (found[0], found[len(found) // 2])}
    return want, sorted(chosen)


def broken_off(name, chosen, want):
    """Each of these lines in turn; how often training was spent."""
    spent = []
    for at in chosen:
        tracer = Tracer(at, ACTIONS[name])
        found, came, was_spent = trained(tracer, ENDS[name])
        where = tracer.lines[at]
        assert found == want, where
        if name == "SIGINT":
            assert came, where
            assert not was_spent, where
        elif was_spent:
            spent.append(where)
    return spent


@pytest.mark.parametrize("name", ACTIONS)
def test_at_some_lines(ctrl_c, name):
    want, chosen = all_lines(name)
    spent = broken_off(name, chosen[5::90], want)
    assert len(spent) < len(chosen[5::90])


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIONS)
def test_at_every_line(ctrl_c, name):
    """By an error training is spent in its updates alone."""
    want, chosen = all_lines(name)
    spent = broken_off(name, chosen, want)
    assert {Path(file).parent.name for file, _ in spent} <= {"optim", "arrays", "train"}
