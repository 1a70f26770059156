"""Optimizers: worked examples, formulas, PyTorch, and state that can be kept."""

import json
from copy import deepcopy

import numpy as np
import pytest
from click.testing import CliRunner

from tolerances import E12, F32, assert_near
from xpnet import TwoLayerNet, cli, synthetic_digits, to_numpy
from xpnet.arrays.parameters import BLOCK, FlatParams
from xpnet.data.dataset import Dataset
from xpnet.errors import ArgumentError
from xpnet.optim import (
    OPTIMIZERS,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    RMSprop,
)
from xpnet.optim.clipping import clip_by_norm, clip_by_value
from xpnet.optim.one_pass import LEAST, in_one_pass

EITHER = {"rtol": 0, "atol": 1e-5}  # wherever Adam's epsilon is
DECIMALS_6 = {"rtol": 0, "atol": 1e-6}
EXAMPLES = {  # Deep Learning from Scratch, section 6.1: f = x^2/20 + y^2 from (-7, 2)
    "SGD": (lambda: SGD(0.95), [(-6.335, -1.8), (-5.733175, 1.62)], E12),
    "Momentum": (lambda: Momentum(0.1, 0.9), [(-6.93, 1.6), (-6.7977, 0.92)], E12),
    "AdaGrad": (lambda: AdaGrad(1.5), [(-5.5, 0.5), (-4.573268, 0.136197)], DECIMALS_6),
    "Adam": (lambda: Adam(0.3), [(-6.700001, 1.7), (-6.400417, 1.402246)], EITHER),
    "Adam of the paper": (
        lambda: Adam(0.3, form="paper"),
        [(-6.700001, 1.7), (-6.400417, 1.402246)],
        EITHER,
    ),
}
every = pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)


@pytest.mark.parametrize(("make", "points", "tol"), EXAMPLES.values(), ids=EXAMPLES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_two_steps_on_the_books_bowl(device, make, points, tol, dtype):
    optimizer = make()
    p = {"x": device.asarray([-7.0], dtype=dtype), "y": device.asarray([2.0], dtype=dtype)}
    arrays = dict(p)
    for want in points:
        optimizer.update(p, {"x": p["x"] / 10, "y": 2 * p["y"]})
        for name, value in zip("xy", want, strict=True):
            assert p[name] is arrays[name]  # changed in place
            assert p[name].dtype == device.dtype(dtype)
            assert_near(p[name], [value], tol if dtype == "float64" else tol | F32)


def sgd(gs, p, lr):
    for g in gs:
        p = p - lr * g
    return p


def momentum(gs, p, lr, a):
    v = 0
    for g in gs:
        v = a * v - lr * g
        p = p + v
    return p


def nesterov(gs, p, lr, a):
    """With the old v, as the specification has it second."""
    v = 0
    for g in gs:
        p = p + a**2 * v - (1 + a) * lr * g
        v = a * v - lr * g
    return p


def adagrad(gs, p, lr):
    for t, g in enumerate(gs, start=1):
        p = p - lr * g / (np.sqrt(sum(gs[:t] ** 2)) + 1e-7)
    return p


def average(gs, beta):
    """The moving average, as the sum that it is."""
    return (1 - beta) * sum(beta ** (len(gs) - k) * g for k, g in enumerate(gs, start=1))


def rmsprop(gs, p, lr, d):
    for t, g in enumerate(gs, start=1):
        p = p - lr * g / (np.sqrt(average(gs[:t] ** 2, d)) + 1e-7)
    return p


def adam(gs, p, lr, b1, b2, eps=1e-7, paper=False, decay=0.0):
    for t in range(1, len(gs) + 1):
        m, v = average(gs[:t], b1), average(gs[:t] ** 2, b2)
        c1, c2 = 1 - b1**t, 1 - b2**t
        book, textbook = np.sqrt(c2) / c1 * m / (np.sqrt(v) + eps), m / c1 / (np.sqrt(v / c2) + eps)
        p = p - lr * decay * p - lr * (textbook if paper else book)
    return p


FORMULAS = {
    "SGD": (SGD(0.1), lambda gs, p: sgd(gs, p, 0.1)),
    "Momentum": (Momentum(0.1, 0.8), lambda gs, p: momentum(gs, p, 0.1, 0.8)),
    "Nesterov": (Nesterov(0.1, 0.8), lambda gs, p: nesterov(gs, p, 0.1, 0.8)),
    "AdaGrad": (AdaGrad(0.1), lambda gs, p: adagrad(gs, p, 0.1)),
    "RMSprop": (RMSprop(0.1, 0.8), lambda gs, p: rmsprop(gs, p, 0.1, 0.8)),
    "Adam": (Adam(0.1, 0.8, 0.95), lambda gs, p: adam(gs, p, 0.1, 0.8, 0.95)),
    "eps": (Adam(0.1, eps=0.1), lambda gs, p: adam(gs, p, 0.1, 0.9, 0.999, 0.1)),
    "paper": (Adam(0.1, form="paper"), lambda gs, p: adam(gs, p, 0.1, 0.9, 0.999, 1e-8, True)),
    "AdamW": (
        AdamW(0.1, 0.8, 0.95, 0.2, eps=0.1),
        lambda gs, p: adam(gs, p, 0.1, 0.8, 0.95, 0.1, True, 0.2),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_every_rule_is_its_formula(device, name):
    """20 steps; also where a gradient is 0 from the first step on, which moves nothing."""
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal((3, 4)), rng.standard_normal((20, 3, 4))
    gradients[:, 0, 0] = 0
    start[0, 0] = 0  # decay moves nothing either
    rule, formula = FORMULAS[name]
    optimizer, p = deepcopy(rule), {"W1": device.asarray(start.copy())}
    kept = p["W1"]
    for g in gradients:
        given = device.asarray(g.copy())
        optimizer.update(p, {"W1": given})
        np.testing.assert_array_equal(to_numpy(given), g)  # left alone
    assert p["W1"] is kept
    assert_near(kept, formula(gradients, start), {"rtol": 1e-11, "atol": 0})


def test_defaults_are_the_books():
    """Learning rates and the rest; eps of Adam's two forms."""
    assert {name: kind().lr for name, kind in OPTIMIZERS.items()} == {
        "sgd": 0.01, "momentum": 0.01, "nesterov": 0.01, "adagrad": 0.01, "rmsprop": 0.01,
        "adam": 0.001, "adamw": 0.001,
    }  # fmt: skip
    assert Momentum().momentum == Nesterov().momentum == 0.9
    assert RMSprop().decay_rate == 0.99
    assert (Adam().beta1, Adam().beta2, Adam().eps) == (0.9, 0.999, 1e-7)
    assert Adam(form="paper").eps == AdamW().eps == 1e-8


def torch_pairs(torch):
    """Equal rules, and the arguments that make them so.

    RMSprop and Adagrad add another epsilon if not told; PyTorch has no Adam in the book's form.
    """
    of = torch.optim
    return {
        "SGD": (SGD(0.05), of.SGD, {"lr": 0.05}),
        "Momentum": (Momentum(0.05), of.SGD, {"lr": 0.05, "momentum": 0.9}),
        "Nesterov": (Nesterov(0.05), of.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
        "AdaGrad": (AdaGrad(0.05), of.Adagrad, {"lr": 0.05, "eps": 1e-7}),
        "RMSprop": (RMSprop(0.05), of.RMSprop, {"lr": 0.05, "alpha": 0.99, "eps": 1e-7}),
        "Adam": (Adam(0.05, form="paper"), of.Adam, {"lr": 0.05}),
        "AdamW": (AdamW(0.05, weight_decay=0.1), of.AdamW, {"lr": 0.05, "weight_decay": 0.1}),
    }


@pytest.mark.parametrize(
    "name", ["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam", "AdamW"]
)
def test_against_pytorch(name):
    """20 steps of one sequence of gradients, of weights and of a bias, which no decay reaches."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    optimizer, kind, arguments = torch_pairs(torch)[name]
    rng = np.random.default_rng(0)
    ours = {"W1": rng.standard_normal(50), "b1": rng.standard_normal(5)}
    theirs = {key: torch.from_numpy(p.copy()).requires_grad_() for key, p in ours.items()}
    bias = {"params": [theirs["b1"]]} | ({"weight_decay": 0.0} if name == "AdamW" else {})
    reference = kind([{"params": [theirs["W1"]]}, bias], **arguments)
    for _ in range(20):
        grads = {key: rng.standard_normal(p.shape) for key, p in ours.items()}
        optimizer.update(ours, grads)
        for key, g in grads.items():
            theirs[key].grad = torch.from_numpy(g)
        reference.step()
    for key, p in ours.items():
        np.testing.assert_allclose(p, theirs[key].detach().numpy(), rtol=0, atol=1e-13, err_msg=key)


def test_the_two_forms_of_adam_differ_in_epsilon_alone():
    """The book's 1e-7 is the paper's of 1e-7 / sqrt(1 - beta2^t); and they are told apart."""
    gradients = np.random.default_rng(0).standard_normal((5, 50))
    book, told, paper = ({"W1": np.zeros(50)} for _ in range(3))
    first, second, third = (Adam(0.01, form=form) for form in ("book", "paper", "paper"))
    third.eps = 1e-7
    for t, g in enumerate(gradients, start=1):
        second.eps = 1e-7 / np.sqrt(1 - 0.999**t)
        for optimizer, p in ((first, book), (second, told), (third, paper)):
            optimizer.update(p, {"W1": g})
    np.testing.assert_allclose(told["W1"], book["W1"], rtol=1e-12)
    assert np.max(np.abs(paper["W1"] - book["W1"])) > 1e-9


def steps(optimizer, device, net, n, start=0):
    for k in range(start, start + n):
        rng = np.random.default_rng(k)
        grads = {name: rng.standard_normal(p.shape) for name, p in net.params.items()}
        optimizer.update(
            net.params, {k: device.asarray(g, dtype=net.dtype) for k, g in grads.items()}
        )


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_copied_state_continues_bit_for_bit(device, kind, dtype):
    """A network's parameters are views of one buffer, which the update must reach."""

    def fresh():
        return TwoLayerNet(4, 3, 2, rng=0, device=device, dtype=dtype)

    net, optimizer = fresh(), kind(0.01)
    steps(optimizer, device, net, 3)
    other, restored = fresh(), kind(0.01)
    other.params.flat[...] = net.params.flat
    restored.state = {
        name: device.asarray(to_numpy(array).copy()) for name, array in optimizer.state.items()
    }
    steps(optimizer, device, net, 3, start=3)
    steps(restored, device, other, 3, start=3)
    got, want = to_numpy(other.params.flat), to_numpy(net.params.flat)
    np.testing.assert_array_equal(got, want)
    assert np.any(got != to_numpy(fresh().params.flat))


@every
@pytest.mark.parametrize("grads_are", ["a dict", "flat"])
def test_one_buffer_and_array_by_array_are_the_same_bit_for_bit(kind, grads_are):
    """Of float32 arrays that make up more than two blocks, one of them across their border."""
    shapes = {"W1": (70, 500), "b1": (500,), "W2": (500, 70), "b2": (7,)}
    device = TwoLayerNet(2, 2, 2).device
    flat, grads = (FlatParams(shapes, device, "float32", decaying=("W1", "W2")) for _ in range(2))
    (run,) = flat.runs()
    assert len(run.blocks) == 3 > len(flat.flat) / BLOCK
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        flat[name] = rng.standard_normal(shape)
    arrays = {name: p.copy() for name, p in flat.items()}
    at_once, by_array = kind(), kind()
    for _ in range(4):
        for name, shape in shapes.items():
            grads[name] = rng.standard_normal(shape)
        at_once.update(
            flat, grads if grads_are == "flat" else {k: g.copy() for k, g in grads.items()}
        )
        by_array.update(arrays, dict(grads))
    gaps = np.ones(flat.flat.shape, dtype=bool)
    for name, p in flat.items():
        np.testing.assert_array_equal(p, arrays[name], err_msg=name)
        start = (p.ctypes.data - flat.flat.ctypes.data) // p.itemsize
        gaps[start : start + p.size] = False
    assert gaps.any()
    assert not flat.flat[gaps].any()
    for key, state in by_array.state.items():
        if key.endswith("W2"):
            of_all = at_once.state[key.replace("W2", "flat")]
            start = (flat["W2"].ctypes.data - flat.flat.ctypes.data) // 4
            np.testing.assert_array_equal(of_all[start : start + state.size], state.ravel())


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loops_do_to_the_bit_what_the_rules_do_as_they_are_written(kind, dtype, monkeypatch):
    """With rates of their own, bounds, frozen parameters, and numbers that are not finite."""
    pytest.importorskip("numba", reason="numba is not installed")
    shapes = {"W1": (7, 50), "b1": (50,), "W2": (50, 3), "W3": (3,), "W4": (40,)}
    device, bounds = TwoLayerNet(2, 2, 2).device, {"W4": (-1.0, 1.0)}
    both = [FlatParams(shapes, device, dtype, decaying=["W1"], bounds=bounds) for _ in range(2)]
    optimizers, grads = [kind(), kind()], both[0].like()
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        both[0][name] = both[1][name] = rng.standard_normal(shape)
    for params in both:
        params.set_learning(["W2"], rate=0.1)
        params.set_learning(["b1"], frozen=True)
    taken = []
    for k in range(6):
        for name, shape in shapes.items():
            grads[name] = 10.0 ** rng.integers(-30, 3, shape) * rng.standard_normal(shape)
        grads["W3"][:] = (np.nan, np.inf, 0.0)
        for params, optimizer, compiled in zip(both, optimizers, (True, False), strict=True):
            with monkeypatch.context() as patched, np.errstate(all="ignore"):
                if not compiled:
                    patched.setattr("xpnet.optim.one_pass.usable", lambda: False)
                if k == 3:
                    optimizer.lr *= 0.5
                optimizer.update(params, grads)
                arrays = (params.flat, *(optimizer.state[f"{s}.flat"] for s in optimizer.kept))
                factors = optimizer.factors()
                taken.append(in_one_pass(optimizer, (*arrays, grads.flat), factors) is not None)
    assert taken == [True, False] * 6
    np.testing.assert_array_equal(both[0].flat, both[1].flat)
    for name, array in optimizers[0].state.items():
        want = optimizers[1].state[name]
        # What fades counts as 0 in the loops.
        atol = 10 * LEAST[array.dtype.char] if name[0] in "mv" else 0
        np.testing.assert_allclose(array, want, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("kind", [Momentum, Nesterov, Adam, AdamW])
def test_what_fades_ends_at_0_in_loops(kind):
    """And moves no parameter any more; denormal numbers would be slow."""
    pytest.importorskip("numba", reason="numba is not installed")
    params = FlatParams({"W": (3,)}, TwoLayerNet(2, 2, 2).device, "float32")
    grads, optimizer = params.like(), kind()
    grads["W"] = (1.0, 1e-9, -1.0)
    for k in range(900):
        if k == 880:
            before = params.flat.copy()
        optimizer.update(params, grads)
        grads.flat[...] = 0.0
    state = optimizer.state[f"{kind.kept[0]}.flat"]
    assert not state.any()
    if kind is not AdamW:
        np.testing.assert_array_equal(params.flat, before)


class Halved(SGD):
    """A rule of one's own, on top of one of the library's."""

    def step(self, p, g):
        super().step(p, 0.5 * g)


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [(Halved(1.0), "float32"), (SGD(np.float64(0.1)), "float32"), (SGD(0.1), "float16")],
    ids=["a rule of one's own", "a rate of float64", "half precision"],
)
def test_what_a_loop_would_do_otherwise_has_none(rule, dtype):
    p, g = np.ones(3, dtype=dtype), np.full(3, 0.3, dtype="float32")
    assert in_one_pass(rule, (p, g), ()) is None


def test_gradients_are_gathered_in_a_buffer_that_stays(device):
    net, optimizer = TwoLayerNet(4, 3, 2, device=device), SGD()
    steps(optimizer, device, net, 1)
    buffer = optimizer._gathered.flat
    steps(optimizer, device, net, 1)
    assert optimizer._gathered.flat is buffer


@every
def test_state_is_named_by_what_it_belongs_to(device, kind):
    net, flat, by_array = TwoLayerNet(4, 3, 2, device=device), kind(), kind()
    assert flat.state == {}
    steps(flat, device, net, 2)
    by_array.update(dict(net.params), dict(net.params))
    names = {
        SGD: "", Momentum: "v", Nesterov: "v", AdaGrad: "h", RMSprop: "h", Adam: "mv", AdamW: "mv",
    }[kind]  # fmt: skip
    powers = dict.fromkeys(("beta1^t", "beta2^t"), (1,)) if issubclass(kind, Adam) else {}
    of_all = {f"{letter}.flat": net.params.flat.shape for letter in names}
    assert {name: a.shape for name, a in flat.state.items()} == of_all | powers
    of_each = {f"{letter}.{name}": p.shape for name, p in net.params.items() for letter in names}
    assert {name: a.shape for name, a in by_array.state.items()} == of_each | powers
    assert all(flat.state[name].dtype == device.xp.float32 for name in of_all)


def test_adams_powers_are_on_the_device(device):
    net, adam = TwoLayerNet(4, 3, 2, device=device), Adam()
    steps(adam, device, net, 2)
    for power, want in {"beta1^t": 0.9**2, "beta2^t": 0.999**2}.items():
        assert adam.state[power].dtype == device.xp.float64
        assert_near(adam.state[power], [want], E12)


@every
def test_nothing_is_read_back_from_the_device(kind, strict_device, unread):
    """From the first step on, clipping included."""
    net, optimizer = TwoLayerNet(4, 3, 2, rng=0, device=strict_device), kind()
    grads = {name: strict_device.xp.ones_like(p) for name, p in net.params.items()}
    with unread():
        for _ in range(2):
            optimizer.update(net.params, clip_by_norm(grads, 0.1))
            optimizer.update(net.params, clip_by_value(grads, 0.1))
    assert np.any(to_numpy(net.params["W1"]) != TwoLayerNet(4, 3, 2, rng=0).params["W1"])


def test_the_rate_may_change_between_updates():
    p, optimizer = {"W1": np.zeros(1)}, SGD(0.1)
    for lr in (1.0, 0.5):
        optimizer.lr = lr
        optimizer.update(p, {"W1": np.ones(1)})
    assert p["W1"] == -1.5


def test_adamw_decays_weights_alone():
    p = {name: np.ones(2) for name in ("W1", "b1", "gamma1", "W2")}
    AdamW(0.1, weight_decay=0.5).update(p, {name: np.zeros(2) for name in p})
    assert {name: array[0] for name, array in p.items()} == {
        "W1": 0.95, "b1": 1, "gamma1": 1, "W2": 0.95,
    }  # fmt: skip


def test_a_refused_update_changes_nothing():
    p, adamw = {"W1": np.ones((2, 3))}, AdamW()
    with pytest.raises(ArgumentError):
        adamw.update(p, {"W1": np.ones(3)})
    assert adamw.state == {}
    assert np.all(p["W1"] == 1)


@pytest.mark.parametrize(
    ("name", "rate"),
    [("sgd", 0.1), ("nesterov", 0.01), ("adamw", 0.001)],
)
def test_the_command_line_takes_each_at_its_own_rate(monkeypatch, tmp_path, name, rate):
    """The two-layer network's is SGD at 0.1."""
    x, t = synthetic_digits(40, seed=0)
    digits = Dataset("synthetic", "synthetic digits", x, t, x, t)
    monkeypatch.setattr(cli.options, "load_dataset", lambda *_, **__: digits)
    flags = f"--device cpu --model two-layer-net --epochs 1 --batch-size 20 --optimizer {name}"
    ran = CliRunner().invoke(cli.commands, ["train", *flags.split(), "--out", str(tmp_path / "r")])
    assert ran.exit_code == 0, ran.output
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert (summary["optimizer"], summary["lr"]) == (name, rate)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Adam(0.0), "learning rate must be a positive number, got 0.0; try 0.1"),
        (lambda: Adam(float("inf")), "learning rate must be a positive number, got inf"),
        (lambda: SGD(-1), "learning rate must be a positive number, got -1"),
        (lambda: Adam(beta1=1.0), "beta1 must be from 0 to below 1, got 1.0"),
        (lambda: Adam(beta2=-0.1), "beta2 must be from 0 to below 1, got -0.1"),
        (lambda: Adam(beta2=float("nan")), "beta2 must be from 0 to below 1, got nan"),
        (
            lambda: Adam().update({"W1": np.ones(1)}, {"W2": np.ones(1)}),
            r"one gradient for each: parameters \['W1'\], gradients \['W2'\]",
        ),
        (lambda: SGD().update({}, {}), "update needs parameters"),
        (
            lambda: SGD().update({"W1": np.ones((2, 3))}, {"W1": np.ones(3)}),
            r"parameter W1 has shape \(2, 3\), its gradient \(3,\)",
        ),
        (lambda: Momentum(momentum=1.0), "momentum must be from 0 to below 1, got 1.0"),
        (lambda: Nesterov(-0.1), "learning rate must be a positive number, got -0.1"),
        (lambda: RMSprop(decay_rate=1.5), "decay_rate must be from 0 to below 1, got 1.5"),
        (lambda: Adam(form="novel"), "Adam's form must be 'book' or 'paper', got 'novel'"),
        (lambda: Adam(eps=0.0), "eps must be a small positive number, got 0.0; try 1e-07"),
        (lambda: AdamW(eps=-1), "eps must be a small positive number, got -1; try 1e-08"),
        (lambda: AdamW(weight_decay=-1), "weight_decay must be a number from 0, got -1"),
    ],
)
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
