"""The GPU's engine is checked by the first batch: what it finds, and what follows.

The device is the CPU's, called a GPU, whose driver compiles the kernels by g++ and can be made to
fail: see cuda_on_cpu.py.
"""

import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from slow_cases import slow_except
from test_cuda_engine import trained
from test_cuda_join import SOME_SLOW
from test_cuda_join import batch as branching_batch
from test_cuda_join import net_of as branching_net_of
from test_engine import NETS, batch, net_of
from xpnet import (
    L2,
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    DeepConvNet,
    Momentum,
    Network,
    ReLU,
    Trainer,
    TwoLayerNet,
    get_device,
    synthetic_digits,
    to_numpy,
)
from xpnet.arrays import Device, cuda
from xpnet.cli import main
from xpnet.data import load_dataset
from xpnet.engine import get_engine
from xpnet.engine.cuda import CudaEngine, selfcheck
from xpnet.engine.cuda.selfcheck import (
    LIMITS,
    ROUNDING,
    SAMPLES,
    DifferenceError,
    Samples,
    _settled,
    compare,
)
from xpnet.errors import ArgumentError, DeviceError, DeviceMemoryError, EngineError
from xpnet.layers import Affine
from xpnet.optim import OPTIMIZERS

X, T = synthetic_digits(60, seed=0)
X = X.reshape(60, 784)


def text_of(old, new):
    """A driver whose compiler takes one thing for another."""

    def alter(source):
        assert old in source or "gather_batch" in source.partition("extern")[2]
        return source.replace(old, new)

    return {"alter": alter}


def no_compiler(source):
    raise RuntimeError("error: identifier 'sqrtt' is undefined\n1 error detected")


def out_of_registers():
    raise RuntimeError("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES")


# Faults by what goes wrong, and what is said of them.
FAULTS = {
    "a wrong number": (
        text_of(
            "y[i] = out.value(BIAS ? sum + bias[n]", "y[i] = out.value(BIAS ? sum + 2 * bias[n]"
        ),
        " from the reference, relative to the largest number, where 1.",
    ),
    "a small wrong number": (
        text_of("p + v;", "p + (real)1.0001 * v;"),
        "parameters after updates: 1.0e-04 from the reference, relative to the largest number, ",
    ),
    "an update that forgets the one before": (
        text_of("v = momentum * v - (real)rate * g;", "v = -(real)rate * g;"),
        "parameters after updates: ",
    ),
    "steps that all see the first batch": (
        text_of("const long long start = (long long)*cursor * batch_size;", "const int start = 0;"),
        "parameters after updates: ",
    ),
    "no number": (
        text_of("losses[n] = loss * weight;", "losses[n] = log((real)-1);"),
        ": nan from the reference",
    ),
    "an exception": ({"before_launch": out_of_registers}, "LAUNCH_OUT_OF_RESOURCES"),
    "an exception while steps are recorded": (
        {"before_record": out_of_registers},
        "RuntimeError: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
    ),
    "kernels that do not compile": ({"alter": no_compiler}, "identifier 'sqrtt' is undefined"),
    "an update that does not compile": (
        {
            "alter": lambda source: (
                no_compiler(source) if "update_chunk(chunks" in source else source
            )
        },
        "identifier 'sqrtt' is undefined",
    ),
}
IN_PREDICTIONS = ("a wrong number", "an exception", "kernels that do not compile")


@dataclass
class Faulty:
    """A driver that fails as it is told to."""

    driver: object
    alter: object = staticmethod(lambda source: source)
    before_launch: object = staticmethod(lambda: None)
    before_record: object = staticmethod(lambda: None)

    def compile(self, source):
        find = self.driver.compile(self.alter(source))

        def found(name):
            kernel = find(name)

            def launch(*arguments):
                self.before_launch()
                kernel(*arguments)

            return launch

        return found

    def record(self, launches):
        self.before_record()
        return self.driver.record(launches)

    def aside(self):
        return self.driver.aside()

    def join(self):
        self.driver.join()


@pytest.fixture
def fake_gpu(stand_in, monkeypatch):
    """A device that is called a GPU, and a way to make its driver fail."""
    place = replace(get_device("cpu"), name="cuda:0")

    def with_fault(**fault):
        monkeypatch.setattr(
            "xpnet.engine.cuda.compiled.CupyDriver", lambda: Faulty(stand_in.driver(), **fault)
        )
        return place

    with_fault()
    return SimpleNamespace(place=place, with_fault=with_fault)


def net(device="cpu", **options):
    made = TwoLayerNet(784, 20, 10, rng=0, device=device, **options)
    rng = np.random.default_rng(1)
    for name in ("b1", "b2"):  # which are 0 at first, and a wrong 0 is no wrong number
        made.params[name] = rng.standard_normal(made.params[name].shape) / 10
    return made


def trainer_of(device, **options):
    options = {"optimizer": Momentum(0.1), "verbose": False} | options
    return Trainer(net(device), X, T, X[:20], T[:20], 2, 25, **options)


def weights(trainer):
    trainer.train()
    return to_numpy(trainer.network.params.flat).copy()


# What passes


@pytest.mark.parametrize(
    ("name", "dtype", "most"),
    [
        *((name, "float64", 1e-11) for name in NETS if "somebody else" not in name),
        ("simple-convnet", "float32", 1e-5),
        ("multi-layer-net with dropout and batch norm", "float32", 1e-5),
    ],
)
def test_every_network_passes_and_is_left_as_it_was(stand_in, name, dtype, most):
    network = net_of(name, dtype)
    engine = CudaEngine(network, driver=stand_in.driver())
    before = network.params.flat.copy(), network.copied_state()
    optimizer = AdamW()
    found = compare(engine, *batch(network, 33), optimizer, 0.5)
    assert found.startswith(f"passed on {SAMPLES} samples; relative errors: loss ")
    errors = [float(word) for word in found.replace(",", "").split() if "e-" in word]
    assert all(0 <= error <= most for error in errors)
    assert np.array_equal(network.params.flat, before[0])
    assert all(np.array_equal(network.state[k], a) for k, a in before[1].items())
    assert not optimizer.state


@pytest.mark.parametrize("name", SOME_SLOW)
def test_networks_that_branch_pass(stand_in, name):
    """Those of heads by their targets, and then by one for all with an optimizer."""
    network = branching_net_of(name)
    engine = CudaEngine(network, driver=stand_in.driver())
    x, t = branching_batch(network, 33)
    several = isinstance(t, dict)
    found = compare(engine, x, t, Momentum(0.1))
    assert found.startswith(f"passed on {SAMPLES} samples; relative errors: loss ")
    assert ("updates" in found) != several


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (SGD, ("Affine1",)),
        (AdamW, ("b1", "b2")),
        *(
            pytest.param(rule, names, marks=pytest.mark.slow)
            for rule, names in [
                (SGD, ("W2",)),
                (SGD, ("b1", "b2")),
                (SGD, ()),
                (AdamW, ("Affine1",)),
                (AdamW, ("W2",)),
                (AdamW, ()),
            ]
        ),
    ],
)
def test_what_is_frozen_is_so_on_the_host(stand_in, names, optimizer):
    network = net(dtype="float64")
    network.freeze(*names)
    if names:
        network.scale_rate(10.0, "b1")
    engine = CudaEngine(network, driver=stand_in.driver())
    for clip_norm in (None, 0.1):
        assert "updates" in compare(engine, X, T, optimizer(0.1), clip_norm)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return ADD ? dx[index] + back : back;", "return back;"),
        pytest.param("losses[n] = loss * weight;", "losses[n] = loss;", marks=pytest.mark.slow),
        pytest.param(
            "below.leave(dz, i, slope * weight, z[i]);",
            "below.leave(dz, i, slope, z[i]);",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_faults_of_branches_are_found(stand_in, old, new):
    network = branching_net_of("heads of what others read")
    driver = Faulty(stand_in.driver(), **text_of(old, new))
    with pytest.raises(DifferenceError):
        compare(CudaEngine(network, driver=driver), *branching_batch(network, 33))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_passes(stand_in, name):
    network = net()
    network.penalty = L2(0.1)
    engine = CudaEngine(network, driver=stand_in.driver())
    for clip_norm in (None, 0.01):
        found = compare(engine, X, T, OPTIMIZERS[name](), clip_norm)
        assert "parameters after updates" in found


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_fewer_digits_have_limits_of_their_own(stand_in, monkeypatch, precision):
    assert LIMITS["float32"] < LIMITS["tf32"] < LIMITS["bfloat16"] < 0.1
    engine = CudaEngine(net(), driver=stand_in.driver(), precision=precision)
    assert compare(engine, X, T, Adam()).startswith("passed on ")
    for table in (LIMITS, ROUNDING):
        monkeypatch.setitem(table, precision, table["float32"])
    with pytest.raises(DifferenceError, match=precision):
        compare(engine, X, T, Adam())


def test_samples_that_depend_on_rounding_are_left_out(stand_in):
    """A unit that is 0 but for rounding on one sample: its gradient is there, or it is not."""
    network = Network([Affine(6, 5, rng=0), ReLU(), Affine(5, 3, rng=1)], names="book")
    x = np.random.default_rng(2).standard_normal((16, 6)).astype(np.float32)
    W, row = network.params["W1"][:, 0], x[3]
    row -= (row @ W) / (W @ W) * W
    engine = CudaEngine(network, driver=stand_in.driver())
    assert compare(engine, x, np.arange(16) % 3).startswith("passed on 8 samples")


def test_a_batch_may_be_small(stand_in):
    engine = CudaEngine(net(), driver=stand_in.driver())
    assert compare(engine, X[:1], T[:1], SGD()).startswith("passed on 1 samples")


def test_it_is_made_once_and_told_of(fake_gpu, stand_in, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "xpnet.engine.cuda.engine.compare", lambda *a: calls.append(a) or compare(*a)
    )
    trainer = trainer_of(fake_gpu.place)
    described = trainer.describe()
    assert described["engine"] == "cuda"
    assert described["engine_check"].startswith("passed on 16 samples; relative errors: loss ")
    got = weights(trainer)
    assert trainer.describe() == described
    assert len(calls) == 1
    unchecked = trainer_of(fake_gpu.place, skip_engine_check=True)
    assert unchecked.describe()["engine_check"] == "skipped"
    assert np.array_equal(weights(unchecked), got)
    assert len(calls) == 1
    engine = get_engine(net(fake_gpu.place))
    assert engine.describe()["engine_check"] == "not yet"
    engine.predict(X[:0] / 255)  # by nothing, nothing can be compared
    assert engine.describe()["engine_check"] == "not yet"
    for _ in range(2):
        engine.predict(X[:1] / 255)
    assert engine.describe()["engine_check"].startswith("passed on 1 samples; relative errors: p")
    assert len(calls) == 2
    for _ in range(2):
        engine.loss_and_gradient(net().place(X / 255), T)
    assert len(calls) == 3
    for optimizer in (SGD(0.1), SGD(0.2), Adam()):
        engine.steps(X, T, 25, optimizer)
    assert len(calls) == 5


def test_numbers_that_are_none_are_compared_later(fake_gpu, capsys):
    engine = get_engine(net(fake_gpu.place))
    x = (X / 255).astype(np.float32)
    engine.predict(x * np.nan)
    finite = "not possible: the layers' own numbers are not finite"
    assert engine.describe()["engine_check"] == finite
    engine.predict(x)
    assert engine.describe()["engine_check"].startswith("passed")
    assert capsys.readouterr().err == ""


def test_it_is_given_up_where_nothing_can_be_compared(fake_gpu, monkeypatch):
    tried = []
    monkeypatch.setattr(
        "xpnet.engine.cuda.engine.compare", lambda *a: tried.append(a) or compare(*a)
    )
    engine = get_engine(net(fake_gpu.place))
    for _ in range(5):
        engine.predict(np.full((20, 784), np.nan, np.float32))
    assert len(tried) == 3


def test_a_batch_that_cannot_be_trained_on_is_predicted(fake_gpu):
    """BatchNorm with ddof=1 has no variance of one sample, and predicts it all the same."""
    layers = [Affine(784, 9, rng=0), BatchNorm(9, ddof=1), ReLU(), Affine(9, 10, rng=1)]
    engine = get_engine(Network(layers, device=fake_gpu.place))
    assert engine.predict(X[:1] / 255).shape == (1, 10)
    assert engine.describe()["engine_check"].startswith("passed on 1 samples")


# Correct kernels, and numbers of which little is left in float32


def sure(units):
    """A network that gives its answer, whatever it sees, by so much."""
    network = TwoLayerNet(784, 20, 10, rng=0)
    network.params.flat[...] = 0
    network.params["b1"] = np.ones(20, np.float32)
    network.params["b2"] = np.eye(10, dtype=np.float32)[3] * units
    return network, X, np.full(60, 3)


def heights():
    """BatchNorm of centimetres: untrained, its predictions are far larger than its scores."""
    layers = [BatchNorm(8), Affine(8, 16, rng=0), ReLU(), Affine(16, 3, rng=1)]
    rng = np.random.default_rng(0)
    x = (170 + 10 * rng.standard_normal((60, 8))).astype(np.float32)
    return Network(layers, input_shape=(8,)), x, T % 3


def trained_well():
    network = TwoLayerNet(784, 20, 10, rng=0)
    Trainer(network, X, T, X, T, 60, 20, Adam(0.01), verbose=False).train()
    return network, X, T


HARD = {
    **{f"sure by {units}": partial(sure, units) for units in (8, 10, 12, 15, 20, 80)},
    "heights": heights,
    "trained well": trained_well,
}


@pytest.mark.parametrize("name", HARD)
def test_what_float32_cannot_tell_is_no_difference(stand_in, name):
    network, x, t = HARD[name]()
    engine = CudaEngine(network, driver=stand_in.driver())
    assert compare(engine, x, t, Adam()).startswith("passed on ")


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_no_seed_is_taken_for_a_fault(stand_in, precision):
    for seed in range(10):
        engine = CudaEngine(
            TwoLayerNet(784, 50, 10, rng=seed), driver=stand_in.driver(), precision=precision
        )
        compare(engine, X[seed:], T[seed:])


@pytest.mark.parametrize(
    "given",
    [
        {"x": X.astype("float16"), "resident": False},
        {"x": X.astype("int32") // 255, "resident": False},
        {"t": T.astype("int8")},
        {"resident": False, "t": np.eye(10, dtype="float16")[T]},
    ],
)
def test_what_can_be_trained_on_without_a_check_can_be_with_it(fake_gpu, given):
    given = {"x": X, "t": T, "resident": True} | given
    x, t = given["x"], given["t"]
    results = []
    for skip in (False, True):
        trainer = Trainer(
            net(fake_gpu.place), x, t, x[:20], t[:20], 1, 25, SGD(0.1), verbose=False,
            resident=given["resident"], skip_engine_check=skip,
        )  # fmt: skip
        results.append(weights(trainer))
    assert np.array_equal(*results)


class Slices:
    """Data of which only slices and choices can be had."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, which):
        assert isinstance(which, slice | np.ndarray)
        return self.array[which]


def test_data_may_be_no_array(fake_gpu):
    x = Slices(X)
    trainer = Trainer(net(fake_gpu.place), x, T, x, T, 1, 25, verbose=False, resident=False)
    assert trainer.describe()["engine_check"].startswith("passed on 16 samples")


@pytest.mark.parametrize("classes", [10, 300])
def test_labels_of_small_types(fake_gpu, capsys, classes):
    """Numbers of classes beyond them do not wrap around, in the layers either."""
    network = TwoLayerNet(784, 5, classes, rng=0, device=fake_gpu.place)
    Trainer(network, X, T.astype(np.uint8), X, T, 1, 25, verbose=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_does_not_take_long(precision, monkeypatch):
    """Beyond the kernels' own time: the host's share is steps of a few samples, counted here."""
    computed, steps = selfcheck._reference, []

    def counted(twin, samples, *more):
        steps.append(len(samples.x))
        return computed(twin, samples, *more)

    monkeypatch.setattr(selfcheck, "_reference", counted)
    images = (X.reshape(60, 1, 28, 28)[:SAMPLES] / 255).astype(np.float32)
    engine = SimpleNamespace(network=DeepConvNet(rng=0), precision=precision)
    _settled(engine, Samples(images, images, T[:SAMPLES]))
    assert 0 < sum(steps) <= 12 * SAMPLES


# What fails


FIRST = ("a small wrong number",)
"""The fault that is looked for at once; the others take longer."""


@pytest.mark.parametrize("fault", slow_except(FAULTS, FIRST))
def test_auto_trains_on_by_the_layers(fake_gpu, capsys, fault):
    options, told = FAULTS[fault]
    trainer = trainer_of(fake_gpu.with_fault(**options))
    error = capsys.readouterr().err
    assert error.startswith("xpnet: the GPU's engine failed its check: ")
    assert error.count("\n") == 1
    assert told in error
    described = trainer.describe()
    assert described["engine"] == "reference"
    assert described["engine_check"].startswith("failed: ")
    assert described["engine_check"][len("failed: ") :] in error
    want = trained(net(), x=X, t=T, batch_size=25, optimizer=Momentum(0.1))
    got = weights(trainer)
    np.testing.assert_allclose(got[: 784 * 20], want["W1"].ravel(), rtol=0, atol=1e-7)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "fault", slow_except([fault for fault in FAULTS if "recorded" not in fault], FIRST)
)
def test_an_engine_asked_for_by_name_ends_with_an_error(fake_gpu, capsys, fault):
    options, told = FAULTS[fault]
    with pytest.raises(EngineError) as error:
        trainer_of(fake_gpu.with_fault(**options), engine="cuda", graph=False)
    assert told in str(error.value)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("fault", "call"),
    [
        *((fault, "predict") for fault in IN_PREDICTIONS),
        *((fault, "loss_and_gradient") for fault in (*IN_PREDICTIONS, "no number")),
    ],
)
def test_engines_used_without_a_trainer(fake_gpu, capsys, fault, call):
    options, told = FAULTS[fault]
    engine = get_engine(net(fake_gpu.with_fault(**options)))
    x, other = net().place(X / 255), net()
    for _ in range(2):
        if call == "predict":
            np.testing.assert_allclose(engine.predict(x), other.predict(x), rtol=0, atol=1e-6)
        else:
            loss, _, grads = engine.loss_and_gradient(x, T)
            want = other.loss_and_gradient(x, T)
            assert float(loss) == pytest.approx(float(want[0]))
            np.testing.assert_allclose(grads["W1"], want[2]["W1"], rtol=0, atol=1e-6)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
    assert engine.describe()["engine"] == "reference"
    assert set(engine.methods().values()) == {"reference"}


def test_the_network_is_as_it_was_after_a_failed_check(fake_gpu):
    """Also where the kernels wrote nonsense into it."""
    network = net(fake_gpu.with_fault(**text_of("p + v;", "(real)7;")))
    before = network.params.flat.copy()
    Trainer(network, X, T, X, T, 1, 25, SGD(0.1), verbose=False)
    assert np.array_equal(network.params.flat, before)


def test_skipped_it_finds_nothing(fake_gpu, capsys):
    options, _ = FAULTS["a small wrong number"]
    trainer = trainer_of(fake_gpu.with_fault(**options), skip_engine_check=True)
    assert trainer.describe()["engine"] == "cuda"
    weights(trainer)
    assert capsys.readouterr().err == ""


class Dead(Device):
    """A GPU that answers to nothing any more."""

    def synchronize(self):
        raise DeviceError("the GPU failed")


class CUDARuntimeError(RuntimeError):
    """As CuPy has it."""

    status = 2


def no_memory():
    raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")


def full(*_, **__):
    raise DeviceMemoryError("the GPU is full")


def test_what_no_engine_could_do_is_no_fault_of_this_one(fake_gpu, monkeypatch):
    place = fake_gpu.with_fault(before_launch=out_of_registers)
    with pytest.raises(DeviceError, match="the GPU failed"):
        trainer_of(Dead(place.name, place.xp, place.native))
    monkeypatch.setattr(cuda, "_memory", lambda: "")
    with pytest.raises(DeviceMemoryError, match="use a smaller batch"):
        trainer_of(fake_gpu.with_fault(before_launch=no_memory))
    place = fake_gpu.with_fault()
    with pytest.raises(ArgumentError, match="targets for outputs"):
        Trainer(net(place), X, np.eye(11)[T], X, T, 1, 25, verbose=False).train()
    monkeypatch.setattr("xpnet.engine.cuda.compiled.Program", full)
    with pytest.raises(DeviceMemoryError, match="the GPU is full"):
        trainer_of(place)


# The command line


@pytest.fixture
def xpnet(fake_gpu, monkeypatch, tmp_path, capsys):
    """The command line on that GPU; output, errors and exit code of a call."""
    monkeypatch.setattr("xpnet.arrays.cuda.open_device", lambda index: fake_gpu.place)
    few = partial(load_dataset, train_size=200, test_size=50)
    monkeypatch.setattr("xpnet.cli.options.load_dataset", few)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["xpnet", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        return *capsys.readouterr(), code

    return call


TRAIN = (
    "train", "--data", "synthetic", "--model", "two-layer-net", "--hidden-size", "5", "--epochs",
    "1", "--evaluate-samples", "100", "--device", "cuda", "--batch-size", "50",
)  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "options", "engine", "check"),
    [
        (None, (), "cuda", "passed on 16 samples"),
        pytest.param(
            *(None, ("--engine", "cuda", "--no-graph"), "cuda", "passed on 16 samples"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("a small wrong number", ("--skip-engine-check",), "cuda", "skipped"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "a small wrong number",
            ("--optimizer", "momentum"),
            "reference",
            "failed: parameters after",
            marks=pytest.mark.slow,
        ),
        ("kernels that do not compile", (), "reference", "failed: the kernels do not compile"),
    ],
)
def test_a_run_records_it(fake_gpu, xpnet, tmp_path, fault, options, engine, check):
    fake_gpu.with_fault(**(FAULTS[fault][0] if fault else {}))
    output, error, code = xpnet(*TRAIN, *options, "--out", "run")
    assert code == 0, error
    record = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert record["engine"] == engine
    assert record["engine_check"].startswith(check)
    assert f"engine: {engine}" in output
    assert ("failed its check" in error) == (engine == "reference")
    # Another driver's errors are no other computation.
    resume = ("train", "--resume", "run", "--epochs", "2", "--device", "cuda")
    output, error, code = xpnet(*resume, "--skip-engine-check")
    assert code == 0, error
    assert "engine_check" not in output


def test_by_name_the_run_ends(fake_gpu, xpnet, tmp_path):
    fake_gpu.with_fault(**FAULTS["a small wrong number"][0])
    _, error, code = xpnet(*TRAIN, "--engine", "cuda", "--out", "run", "--optimizer", "momentum")
    assert code == 2
    assert error.startswith("xpnet: error: the GPU's engine failed its check: parameters after up")
    assert error.endswith("--skip-engine-check) to see what comes of it\n")
    assert not (tmp_path / "run").exists()


def test_weights_are_evaluated_by_the_layers(fake_gpu, xpnet, tmp_path):
    assert xpnet(*TRAIN, "--out", "run")[2] == 0
    arguments = "--data", "synthetic", "--weights", "run/model.safetensors", "--device", "cuda"
    want, error, code = xpnet("evaluate", *arguments)
    assert (error, code) == ("", 0)
    fake_gpu.with_fault(**FAULTS["a wrong number"][0])
    got, error, code = xpnet("evaluate", *arguments)
    assert (got, code) == (want, 0)
    assert error.startswith("xpnet: the GPU's engine failed its check: ")
    _, error, code = xpnet("evaluate", *arguments, "--skip-engine-check")
    assert (error, code) == ("", 0)
