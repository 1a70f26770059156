"""Learning-rate schedules: worked values, PyTorch, and the trainer."""

import warnings

import numpy as np
import pytest

from xpnet import SGD, Trainer, TwoLayerNet, synthetic_digits
from xpnet.errors import ArgumentError
from xpnet.optim.schedules import (
    Constant,
    Cosine,
    Drop,
    ExponentialDecay,
    OneCycle,
    StepDecay,
    WarmUp,
)

WORKED = [  # rates of given steps, by hand
    (Constant(0.1), {0: 0.1, 1000: 0.1}),
    (StepDecay(0.1, every=10), {0: 0.1, 9: 0.1, 10: 0.01, 19: 0.01, 20: 0.001}),
    (StepDecay(0.4, every=3, factor=0.5), {2: 0.4, 3: 0.2, 6: 0.1}),
    (Drop(0.4, steps=3, factor=0.25), {0: 0.4, 2: 0.4, 3: 0.1, 9: 0.1}),
    (Drop(0.4, steps=0), {0: 0.04}),
    (ExponentialDecay(0.1, every=10), {0: 0.1, 10: 0.01, 5: 0.1 * 10**-0.5, 20: 0.001}),
    (Cosine(0.2, steps=100), {0: 0.2, 50: 0.1, 25: 0.1 + 0.1 * 0.5**0.5, 100: 0.0, 500: 0.0}),
    (Cosine(0.2, steps=100, last=0.1), {0: 0.2, 50: 0.15, 100: 0.1, 500: 0.1}),
    (WarmUp(Constant(0.1), steps=4), {0: 0.025, 1: 0.05, 2: 0.075, 3: 0.1, 4: 0.1, 9: 0.1}),
    (WarmUp(StepDecay(0.1, every=2), steps=4), {1: 0.05, 2: 0.0075, 4: 0.001}),
    (
        OneCycle(1.0, steps=101, rise=11 / 101, start=4, end=10),
        {0: 0.25, 5: 0.625, 10: 1.0, 55: 0.5125, 100: 0.025, 200: 0.025},
    ),
]


@pytest.mark.parametrize(("schedule", "rates"), WORKED, ids=lambda part: type(part).__name__)
def test_worked_rates(schedule, rates):
    for step, rate in rates.items():
        assert schedule(step) == pytest.approx(rate, rel=1e-12, abs=1e-16), step
        assert isinstance(schedule(step), float)


def torch_schedules(torch):
    of = torch.optim.lr_scheduler
    return {
        "step": (StepDecay(0.1, 7, 0.5), lambda o: of.StepLR(o, 7, 0.5)),
        "exponential": (ExponentialDecay(0.1, 1, 0.9), lambda o: of.ExponentialLR(o, 0.9)),
        "cosine": (Cosine(0.1, 30, 0.01), lambda o: of.CosineAnnealingLR(o, 30, 0.01)),
        "warm-up": (
            WarmUp(Constant(0.1), 5),
            lambda o: of.LinearLR(o, start_factor=1 / 5, total_iters=4),
        ),
        "one-cycle": (OneCycle(0.1, 30), lambda o: of.OneCycleLR(o, 0.1, 30)),
        "one-cycle, other numbers": (
            OneCycle(0.1, 30, 0.5, 10.0, 100.0),
            lambda o: of.OneCycleLR(
                o, 0.1, 30, pct_start=0.5, div_factor=10.0, final_div_factor=100.0
            ),
        ),
    }


@pytest.mark.parametrize(
    "name",
    ["step", "exponential", "cosine", "warm-up", "one-cycle", "one-cycle, other numbers"],
)
def test_against_pytorch(name):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    ours, theirs = torch_schedules(torch)[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the order of calls
        schedule = theirs(optimizer)
        want = []
        for _ in range(30):
            want.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if len(want) < 30:
                schedule.step()
    np.testing.assert_allclose([ours(step) for step in range(30)], want, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(0.0), "a schedule needs a positive lr, got 0.0"),
        (lambda: StepDecay(float("nan"), 1), "a schedule needs a positive lr, got nan"),
        (lambda: StepDecay(0.1, 0), "a schedule needs a positive every, got 0"),
        (lambda: Drop(0.1, -1), "Drop needs steps from 0 on, got -1"),
        (lambda: ExponentialDecay(0.1, 5, -1), "a schedule needs a positive factor, got -1"),
        (lambda: Cosine(0.1, 0), "a schedule needs a positive steps, got 0"),
        (lambda: WarmUp(Constant(0.1), 0), "a schedule needs a positive steps, got 0"),
        (lambda: OneCycle(0.1, 3), r"rise for more than one step, and fall for some: .* is 0.9 of"),
        (lambda: OneCycle(0.1, 9, 1.0), r"rise \* steps is 9 of 9"),
        (lambda: OneCycle(0.1, 9, end=0.0), "a schedule needs a positive end, got 0.0"),
    ],
)
def test_misuse_is_told(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def run_of(optimizer, schedule):
    x, t = synthetic_digits(60, seed=0)
    net = TwoLayerNet(784, 5, 10, rng=0)
    return Trainer(
        net, x, t, x, t, 2, 20, optimizer, evaluate_sample_num_per_epoch=1, verbose=False,
        schedule=schedule,
    )  # fmt: skip


def test_the_trainer_sets_the_rate_of_every_step(monkeypatch):
    used, update = [], SGD.update

    def watched(self, params, grads):
        used.append(self.lr)
        update(self, params, grads)

    monkeypatch.setattr(SGD, "update", watched)
    schedule = Cosine(0.1, steps=6)
    run = run_of(SGD(0.7), schedule)
    run.train()
    assert used == [schedule(step) for step in range(6)]
    assert run.steps == 6


def test_any_function_is_a_schedule_and_a_constant_one_changes_nothing():
    plain, constant, halved = (
        run_of(SGD(0.1), schedule) for schedule in (None, lambda step: 0.1, lambda step: 0.05)
    )
    for run in (plain, constant, halved):
        run.train()
    np.testing.assert_array_equal(plain.network.params.flat, constant.network.params.flat)
    assert np.any(plain.network.params.flat != halved.network.params.flat)
