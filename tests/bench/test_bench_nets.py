"""The networks of PyTorch and JAX in the benchmark compute what xpnet's layers do."""

import os
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from slow_cases import slow_except
from test_bench import without_dropout
from xpnet import synthetic_digits, to_numpy
from xpnet.bench.cases import FIELD, UnavailableError, images_needed, prepare
from xpnet.bench.child import Child
from xpnet.bench.contestants import timed_on
from xpnet.compiled import usable
from xpnet.models.registry import build_network, model_arguments, usual_of
from xpnet.optim import OPTIMIZERS

ROUNDING = {"float64": 1e-9, "float32": 1e-4}  # of the largest number; ten times what was seen
FIRST = {"resnet-20": 6}
"""The first image, if not 0, with which a ReLU decides otherwise in float32."""
FELT = ("an-3x3", "segnet")
"""Where a ReLU opens otherwise in float32, or a pool takes another of two, whatever the images are,
and all gradients below feel it."""
EPS = 3.3e-6
"""Adam's eps, as a gradient sees it at the first step: 1e-7 is added to the root of v, which is a
thousandth of the gradient's square. PyTorch adds 1e-8 to the root of the square itself."""

EVERY = "every_layer:network"
MODELS = (*FIELD, EVERY, "fcn", "fcn-no-skips", "segnet")
QUICK = ("two-layer-net", "simple-convnet", "googlenet-small", EVERY)


@pytest.fixture
def case(tmp_path):
    """Prepares a case with few images."""

    def made(model, task="train", batch_size=3):
        n = images_needed(batch_size)
        return prepare(tmp_path, model, task, batch_size, 1, *synthetic_digits(n))

    return made


@pytest.fixture
def step(case):
    """A training step of xpnet's layers, without dropout, and a prediction after it."""

    def taken(model, dtype):
        made = case(model)
        pieces = [
            piece._replace(settings={"dropout_ratio": 0.0}) if piece.kind == "Dropout" else piece
            for piece in made.pieces
        ]
        arrays = made.load()
        batch = slice(first := FIRST.get(model, 0), first + 3)
        x, t = arrays.pop("x")[batch].astype(dtype), arrays.pop("t")[batch]
        images, usual, classes = usual_of(model)
        arguments = model_arguments(model, images or usual, classes=classes)
        net = without_dropout(build_network(model, arguments, rng=0, dtype=dtype))
        params = {name: arrays[name] for name in net.params}
        for name, array in params.items():  # as float32 has rounded them
            net.params[name] = array
        loss, scores, grads = net.loss_and_gradient(x, t)
        OPTIMIZERS[made.optimizer](made.lr).update(net.params, grads)
        return SimpleNamespace(
            case=made, pieces=pieces, arrays=arrays, params=params, x=x, t=t, loss=float(loss),
            scores=scores, gradient=grads, after=net.params, predicted=net.predict(x),
            state={name: array for name, array in net.state.items() if "running" in name},
        )  # fmt: skip

    return taken


def assert_same(got, want, name=""):
    got, want = np.asarray(got), to_numpy(want)
    assert got.shape == want.shape, name
    limit = ROUNDING[str(want.dtype)] * np.max(np.abs(want))
    assert np.max(np.abs(got - want)) <= limit, name


@pytest.mark.parametrize("model", slow_except(MODELS, QUICK))
def test_torch_trains_and_predicts_the_same(step, model):
    """In float64, where no ReLU decides otherwise because of another order of sums."""
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install 'xpnet[bench]'"
    )
    from xpnet.bench import torch_nets

    want = step(model, "float64")
    net = torch_nets.network(want.pieces, want.arrays).double()
    x, t = torch.from_numpy(want.x), torch.from_numpy(want.t).long()
    scores = net(x)
    loss = torch.nn.functional.cross_entropy(scores, t)
    loss.backward()
    assert loss.item() == pytest.approx(want.loss, rel=ROUNDING["float64"])
    assert_same(scores.detach(), want.scores)

    grads = [p.grad.clone() for p in net.parameters()]
    torch_nets.OPTIMIZERS[want.case.optimizer](net.parameters(), lr=want.case.lr).step()
    names = [name for piece in want.pieces for name in piece.params.values()]
    for name, p, grad in zip(names, net.parameters(), grads, strict=True):
        got, grad = (a.detach().T if a.ndim == 2 else a.detach() for a in (p, grad))
        assert_same(grad, want.gradient[name], name)
        if want.case.optimizer == "adam":
            apart = want.case.lr * EPS / np.maximum(np.abs(grad.numpy()), EPS) + 1e-12
            assert np.all(np.abs(got.numpy() - want.after[name]) <= apart), name
        else:
            assert_same(got, want.after[name], name)
    running = {name: b for name, b in net.named_buffers() if "running" in name}
    for (name, kept), b in zip(want.state.items(), running.values(), strict=True):
        assert_same(b, kept, name)
    with torch.inference_mode():
        net.eval()
        for name, p in zip(names, net.parameters(), strict=True):
            array = torch.from_numpy(want.after[name])
            p.copy_(array.T if p.ndim == 2 else array)
        assert_same(net(x), want.predicted)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("model", slow_except(MODELS, ("two-layer-net",)))
def test_jax_trains_and_predicts_the_same(step, model, layout):
    jax = pytest.importorskip("jax", reason="jax is not installed")

    from xpnet.bench import jax_nets

    want = step(model, "float32")
    net = jax_nets.Net(want.pieces, layout)
    x = net.placed(want.x)
    kept = {name: want.arrays[name] for name in want.state}

    @jax.jit
    def stepped(params):
        (loss, left), grads = jax.value_and_grad(net.loss, has_aux=True)(params, kept, x, want.t)
        zeros = jax.tree.map(jax.numpy.zeros_like, params)
        state = {"params": params, "m": zeros, "v": zeros, "t": jax.numpy.int32(1)}
        after = jax_nets.OPTIMIZERS[want.case.optimizer](state, grads, want.case.lr)["params"]
        scores, _ = net.scores(params, kept, x, train=True)
        return loss, scores, grads, left, after, net.scores(dict(want.after), left, x)[0]

    loss, scores, grads, left, after, predicted = stepped(want.params)
    assert float(loss) == pytest.approx(want.loss, rel=ROUNDING["float32"])
    assert_same(scores, want.scores)
    for name, grad in want.gradient.items():
        if model in FELT:
            apart = np.mean(np.abs(grads[name] - grad))
            assert apart <= 1e-2 * np.max(np.abs(grad)), name
            continue
        assert_same(grads[name], grad, name)
        # Adam makes a step of whatever sign a rounded gradient has.
        clear = np.abs(grad) > ROUNDING["float32"] * np.max(np.abs(grad))
        apart = np.abs(after[name] - want.after[name])[clear]
        assert np.max(apart) <= 1e-2 * want.case.lr * max(1, np.max(np.abs(grad))), name
    for name, array in want.state.items():
        assert_same(left[name], array, name)
    assert_same(predicted, want.predicted)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["train", "predict"])
@pytest.mark.parametrize("name", timed_on("cpu"))
def test_on_the_cpu_everybody_takes_turns(case, name, task):
    contestant = timed_on("cpu")[name]
    if (why := contestant.obstacle("float32")) is not None or task not in contestant.tasks:
        pytest.skip(f"{name}: {why or f'it does not {task}'}")
    # What compiles takes its time, and the book's design knows the book's networks alone.
    model = "simple-convnet" if contestant.models or "compile" in name else EVERY
    process = Child(contestant, case(model, task), 0.01)
    try:
        process.wait()
        told = process.start().description
        assert process.turn().milliseconds > 0
    except UnavailableError as reason:
        pytest.skip(f"{name}: {reason}")
    finally:
        process.close()
    if contestant.module.endswith("own_nets"):
        assert ("loops" in told) == (name == "xpnet" and usable())
    elif "_nets" in contestant.module:
        assert told["threads"] == 1


@pytest.mark.slow
def test_without_a_compiler_torch_compile_is_left_out(case, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    contestant = timed_on("cpu")["torch compile"]
    nothing = {"PATH": "", "CXX": "", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "empty")}
    changed = replace(contestant, environment={**contestant.environment, **nothing})
    process = Child(changed, case("two-layer-net"), 0.01)
    try:
        process.wait()
        why = "^torch.compile does not work here: .*No working C\\+\\+ compiler found"
        with pytest.raises(UnavailableError, match=why):
            process.start()
    finally:
        process.close()


def test_jax_gets_as_many_cores_as_threads(monkeypatch):
    """It has a thread for each core that it may use."""
    pytest.importorskip("jax", reason="jax is not installed")
    from xpnet.bench import jax_nets

    given = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 2, 7}, raising=False)
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda _, cores: given.append(cores), raising=False
    )
    jax_nets._hold_to(2)
    jax_nets._hold_to(3)
    assert given == [[2, 5], [2, 5, 7]]
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    jax_nets._hold_to(2)
    with pytest.raises(UnavailableError, match="cannot be held to 1 threads on this system"):
        jax_nets._hold_to(1)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_layer_that_is_not_there_is_named(case, library):
    pytest.importorskip(library, reason=f"{library} is not installed")
    module, made = import_module(f"xpnet.bench.{library}_nets"), case("every_layer:subsampled")
    named = {"torch": "PyTorch", "jax": "JAX"}[library]
    message = rf"^{named} has no layer Subsampling\(channels=1\) here, as S2 is$"
    with pytest.raises(UnavailableError, match=message):
        module.build(made, made.load()).step()


def test_who_does_not_enter_a_case_says_why(case):
    field = timed_on("cpu")
    made, usual = case("every_layer:frozen"), case("every_layer:network")
    why = "some of its parameters learn otherwise, or not at all"
    for name in ("torch", "jax", "torch compile"):
        assert field[name].excuse(usual) is None
        assert field[name].excuse(made) == f"only xpnet builds every_layer:frozen: {why}"
    assert field["xpnet"].excuse(made) is field["xpnet without numba"].excuse(made) is None
    book = "it is timed with two-layer-net, simple-convnet, deep-convnet only"
    assert field["xpnet reference"].excuse(usual) == field["book design"].excuse(usual) == book
    assert case("every_layer:weighted").peculiar == "its loss is smoothed, or weighs classes"
    assert case("googlenet-small-heads").peculiar == "it has several heads"
