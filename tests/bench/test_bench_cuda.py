"""The benchmark on a GPU, as far as it goes without one; what needs one skips and says why."""

import json
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import synthetic_digits
from xpnet.arrays import Device, get_device
from xpnet.bench import cases, child, drawing, machine, own_nets, report, run, timing
from xpnet.bench.cases import Ready, fresh, images_needed, prepare
from xpnet.bench.child import Child
from xpnet.bench.contestants import Contestant, timed_on
from xpnet.errors import ArgumentError
from xpnet.report import plots

ROUNDING = 1e-5  # of the largest number, as for the CPU's contestants
REPLAYED = 1e-4  # of the largest parameter: five steps with other orders of summation


class FakeGpu(Device):
    """Computes with NumPy, and has less free memory each time it is asked."""

    def __init__(self):
        super().__init__("cuda:0", get_device("cpu").xp)
        self.__dict__["free"] = count(1000, -7)

    @property
    def is_host(self):
        return False

    def free_bytes(self):
        return next(self.free) * 2**20

    def describe(self):
        return {"processor": "a processor", "gpu": "a GPU", "driver": "CUDA 12.8"}


@pytest.fixture
def fake_gpu(monkeypatch):
    """A GPU for everything but the contestants, with an epoch of 40 images."""
    device = FakeGpu()
    monkeypatch.setattr(run, "get_device", lambda _: device)
    monkeypatch.setattr(cases, "EPOCH", 40)
    for name, less in (("GPU_COPY", 1024), ("GPU_SIDE", 8), ("TRIES", 1), ("REPEATS", 1)):
        monkeypatch.setattr(machine, name, less)
    return device


@pytest.fixture
def case(tmp_path):
    """Prepares a case with few images."""

    def made(model="two-layer-net", task="train", batch_size=4, **more):
        n = images_needed(batch_size, more.get("device", "cpu"))
        return prepare(tmp_path, model, task, batch_size, 1, *synthetic_digits(n), **more)

    return made


def test_who_is_timed_on_what():
    assert list(timed_on("cpu")) == [
        "xpnet",
        "xpnet without numba",
        "xpnet reference",
        "book design",
        "torch",
        "torch tuned malloc",
        "torch channels_last",
        "torch fused",
        "torch channels_last fused",
        "torch compile",
        "torch compile channels_last fused",
        "torch compile channels_last",
        "torch compile freezing",
        "jax",
    ]
    assert list(timed_on("cuda")) == [
        "xpnet",
        "xpnet eager",
        "xpnet reference",
        "xpnet on the CPU",
        "torch",
        "torch reduce-overhead",
        "torch graph",
        "jax",
    ]
    preallocates = timed_on("cuda")["jax"].environment["XLA_PYTHON_CLIENT_PREALLOCATE"]
    assert preallocates == "false"


def test_who_cannot_compute_otherwise_is_left_out(fake_gpu):
    options = run.Options(device="cuda", precision="tf32", contestants=("xpnet on the CPU",))
    assert options.left_out == {"xpnet on the CPU": "it computes in float32 only"}
    assert [entry.name for entry in options.field] == ["xpnet", "xpnet on the CPU"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"contestants": ("book design",)}, "there is no contestant 'book design' on cuda; use "),
        ({"precision": "half"}, "there is no precision 'half'; use float32, tf32, bfloat16"),
        (
            {"precision": "tf32", "tasks": ("train", "layers")},
            "the task layers is timed in float32 only, got precision 'tf32'; use float32",
        ),
        (
            {"batch_sizes": (60001,)},
            "a batch on a GPU holds 60,000 images at most, got 60001; use a smaller --batch-size",
        ),
    ],
)
def test_what_cannot_be_measured_on_a_gpu(fake_gpu, wanted, message):
    with pytest.raises(ArgumentError) as refused:
        run.Options(device="cuda", **wanted)
    assert str(refused.value).startswith(message)


def test_a_call_can_take_several_steps(monkeypatch):
    """Ten milliseconds a call, on a clock that nothing else moves."""
    now = count()
    clock = SimpleNamespace(value=0.0)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.value)

    def step():
        clock.value += 0.01
        next(now)

    ready = Ready(step, dict, steps=5)
    assert timing.warm_up(ready, 0.3) == 30
    before = next(now)
    turn = child._turn(ready, 30)
    assert next(now) - before - 1 == 31
    assert turn.milliseconds == pytest.approx(2)


def test_a_record_of_a_gpu(fake_gpu, monkeypatch, tmp_path):
    """Two contestants in processes of their own, one of which cannot run after all."""
    place = tmp_path / "modules"
    place.mkdir()
    (place / "newcomer.py").write_text(
        "from xpnet.bench.cases import Ready, UnavailableError\n"
        "def build(case, arrays, able=True):\n"
        "    if not able:\n"
        "        raise UnavailableError('it sees no GPU')\n"
        "    x = arrays['x']\n"
        "    told = {'x': f'{x.dtype} {x.shape}', 'on': case.device, 'in': case.precision}\n"
        "    return Ready(lambda: None, lambda: told, steps=6)\n"
    )
    monkeypatch.syspath_prepend(str(place))
    entered = (Contestant("xpnet", "newcomer"), Contestant("late", "newcomer", {"able": False}))
    monkeypatch.setattr(run, "timed_on", lambda _: {entry.name: entry for entry in entered})
    options = run.Options(
        models=("simple-convnet",),
        tasks=("train",),
        batch_sizes=(12,),
        threads=1,
        rounds=1,
        seconds=1e-4,
        device="cuda",
        precision="bfloat16",
    )
    record = run.run(options)
    assert (record["device"], record["precision"]) == ("cuda:0", "bfloat16")
    assert record["machine"] == "a processor"
    assert record["gpu"] == {"gpu": "a GPU", "driver": "CUDA 12.8"}
    assert record["rates"].keys() == {"sgemm_gflops", "copy_gigabytes"}
    assert all(rate["cuda:0"] > 0 for rate in record["rates"].values())
    (result,) = record["cases"]
    assert (result["device"], result["precision"]) == ("cuda:0", "bfloat16")
    assert result["left_out"] == {"late": "it sees no GPU"}
    ((name, row),) = result["contestants"].items()
    assert name == "xpnet"
    told = {"x": "uint8 (36, 1, 28, 28)", "on": "cuda:0", "in": "bfloat16"}
    assert row["description"] == told  # whole batches only
    assert row["steps_a_turn"] % 6 == 0
    assert row["gpu_memory_mib"] == 7
    assert row["epoch_seconds"] == pytest.approx(5000 * row["milliseconds"]["median"] / 1000)
    assert "left out: late, it sees no GPU" in report.text_table(result)


@pytest.fixture
def fake_engine(monkeypatch):
    """xpnet's engine on a GPU, which notes what it is asked for."""
    device, asked = FakeGpu(), []

    class Training:
        def epoch(self, order, rates):
            asked.append(("epoch", order, rates))

    class Engine:
        def check(self, *_):
            return self

        def steps_obstacle(self, _):
            return None

        def steps(self, *given):
            asked.append(("steps", *given))
            return Training()

        def predict(self, x):
            asked.append(("predict", x))

        def describe(self):
            return {"engine": "fake"}

    def engine(network, *given, **more):
        asked.append(("engine", network.device.name, *given, more))
        return Engine()

    monkeypatch.setattr(own_nets, "get_engine", engine)
    placed = {"cuda:0": device, "cpu": "cpu"}
    monkeypatch.setattr(own_nets, "fresh", lambda model, where: fresh(model, placed[where]))
    monkeypatch.setattr(cases, "EPOCH", 40)
    return asked


def test_the_engine_is_given_whole_epochs_of_pixels(fake_engine, case):
    made = case(device="cuda:0", precision="tf32", batch_size=12)
    arrays = made.load()
    ready = own_nets.build(made, arrays, engine="cuda", graph=False)
    ready.step()
    ready.step()
    engine, training, first, second = fake_engine
    assert engine == (
        "engine", "cuda:0", "cuda", 1, {"precision": "tf32", "graph": False},
    )  # fmt: skip
    assert training[1].dtype == np.uint8
    np.testing.assert_array_equal(training[1], arrays["x"])
    np.testing.assert_array_equal(training[2], arrays["t"])
    assert training[3] == 12
    assert type(training[4]).__name__ == "SGD"
    assert ready.steps == 3
    for _, order, rates in (first, second):
        assert sorted(order) == list(range(36))
        assert rates.tolist() == [0.1] * 3
        assert rates.dtype == np.float64
    assert list(first[1]) != list(second[1])


def test_the_engine_predicts_batch_by_batch(fake_engine, case):
    made = case(task="predict", device="cuda:0", batch_size=12)
    arrays = made.load()
    ready = own_nets.build(made, arrays, engine="auto")
    ready.step()
    assert ready.steps == 1
    ((_, x),) = fake_engine[1:]
    np.testing.assert_array_equal(x, arrays["x"][:12].astype(np.float32) / 255)


def test_xpnet_on_the_cpu_is_on_the_cpu(fake_engine, case):
    own_nets.build(case(device="cuda:0"), case(device="cuda:0").load(), engine="auto", device="cpu")
    assert fake_engine[0][1] == "cpu"


def spread(median):
    return {"median": median, "min": 0.9 * median, "max": 1.1 * median}


def canned():
    """A record as a GPU might give it."""
    row = {
        "milliseconds": spread(0.02) | {"rounds": [0.02]},
        "images_per_second": 5e6,
        "epoch_seconds": 0.012,
        "memory_before_mib": 100,
        "memory_peak_mib": 300,
        "gpu_memory_mib": 1234,
        "disturbed_turns": 0,
        "description": {"engine": "cuda"},
    }
    steps = {
        "model": "simple-convnet",
        "task": "train",
        "optimizer": "adam",
        "batch_size": 100,
        "device": "cuda:0",
        "precision": "tf32",
        "flops": 433e6,
        "floor_milliseconds": 0.009,
        "moved_bytes": 2e7,
        "copy_milliseconds": 0.005,
        "contestants": {"xpnet": row, "xpnet on the CPU": row, "torch graph": row},
        "best_other": "torch graph",
        "ratios": {"xpnet / xpnet on the CPU": spread(0.02), "xpnet / torch graph": spread(0.5)},
        "left_out": {"jax": "it sees no GPU"},
    }
    layers = {
        "Conv1": {"kind": "Convolution", "milliseconds": spread(0.3), "share": 0.75},
        "Relu1": {"kind": "ReLU", "milliseconds": spread(0.1), "share": 0.25},
    }
    alone = {"model": "simple-convnet", "batch_size": 100, "device": "cuda:0"}
    alone["precision"] = "float32"
    return {
        "started": "2026-01-01T00:00:00+00:00",
        "device": "cuda:0",
        "precision": "tf32",
        "machine": "a processor",
        "gpu": {"gpu": "a GPU", "driver": "CUDA 12.8"},
        "system": "a system",
        "versions": {"xpnet": "0.1.0"},
        "environment": {},
        "cores": 16,
        "threads": 16,
        "rounds": 1,
        "seconds": 0.3,
        "rates": {"sgemm_gflops": {"cuda:0": 50000.0}, "copy_gigabytes": {"cuda:0": 4000.0}},
        "left_out": {},
        "cases": [
            steps,
            alone | {"task": "layers", "milliseconds": 0.4, "layers": layers},
            alone
            | {
                "task": "accuracy",
                "optimizer": "adam",
                "data": "mnist",
                "epochs": 20,
                "goals": {
                    "0.97": {"seconds": [1.5, 2.5], "reached": 2, **spread(2.0)},
                    "0.99": {"seconds": [None, None], "reached": 0},
                },
                "runs": [[], []],
                "description": {"engine": "cuda"},
            },
        ],
    }


def test_the_page_of_a_gpu(tmp_path):
    record = canned()
    report.write(tmp_path, record)
    assert json.loads((tmp_path / "bench.json").read_text()) == record
    page = (tmp_path / "README.md").read_text()
    for line in (
        "`xpnet bench --device cuda:0 --precision tf32`, started 2026-01-01T00:00:00+00:00.",
        "- cuda:0: gpu a GPU, driver CUDA 12.8",
        "- sgemm 50,000 GFLOP/s on cuda:0; copy 4,000 GB/s on cuda:0",
        "| network | task | batch | xpnet, ms | xpnet / best | (min to max) | best | MiB "
        "| its MiB |",
        "| simple-convnet | train | 100 | 0.0200 | 0.50 | (0.45 to 0.55) | torch graph | 300 "
        "| 300 |",
        "xpnet / best (torch graph): 0.50 (0.45 to 0.55); peak memory 300 MiB by 300 MiB: 1.00.",
        "## simple-convnet, training with adam, batch 100, tf32: 0.433 GFLOP, 0.00900 ms by sgemm; "
        "20 MB, 0.00500 ms by copying",
        "| contestant | ms a step | (min to max) | xpnet / it | (min to max) | images/s "
        "| s an epoch | MiB | GPU MiB |",
        "| xpnet on the CPU | 0.0200 | (0.0180 to 0.0220) | 0.02 | (0.018 to 0.022) | 5,000,000 "
        "| 0.012 | 100, 300 | 1,234 |",
        "| torch graph | 0.0200 | (0.0180 to 0.0220) | 0.50 | (0.45 to 0.55) | 5,000,000 | 0.012 "
        "| 100, 300 | 1,234 |",
        "xpnet: engine cuda; the CPU takes 50.0 (45.5 to 55.6) times as long; left out: jax, it "
        "sees no GPU.",
        "| Conv1 | Convolution | 0.300 | (0.270 to 0.330) | 75.0 % |",
        "| 97 % | 2 of 2 | 2 | (1.8 to 2.2) |",
        "| 99 % | 0 of 2 | not reached in 20 epochs |  |",
    ):
        assert line in page.splitlines(), line
    assert "which favours them" in page
    assert "of sgemm:" not in page
    for picture in ("bench.png", "layers.png"):
        assert (tmp_path / picture).exists() == plots.available() == (picture in page)


def test_a_network_without_products_has_a_title():
    nothing = {"flops": 0, "floor_milliseconds": 0.0}
    assert "0 GFLOP, 0 ms by sgemm; 20 MB" in report.title(canned()["cases"][0] | nothing)


def test_the_page_where_xpnet_failed(tmp_path):
    """In one of two cases; there are no ratios then, and in the picture there is no bar."""
    record = canned()
    whole, without = record["cases"][0], canned()["cases"][0] | {"model": "deep-convnet"}
    del without["contestants"]["xpnet"]
    without |= {"ratios": {}, "left_out": {"xpnet": "it failed"}}
    record["cases"] = [whole, without]
    report.write(tmp_path, record)
    page = (tmp_path / "README.md").read_text()
    assert "| torch graph | 0.0200 | (0.0180 to 0.0220) |  |  | 5,000,000 |" in page
    assert "\nleft out: xpnet, it failed; without xpnet there are no ratios.\n" in page
    assert (tmp_path / "bench.png").exists() == plots.available() == ("bench.png" in page)
    record["cases"] = [without]
    report.write(report.prepare_directory(tmp_path / "alone"), record)
    assert sorted(path.name for path in (tmp_path / "alone").iterdir()) == [
        "README.md",
        "bench.json",
    ]


def test_a_crowded_picture_shows_the_best_of_each_library(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    record, labels = canned(), []
    case, row = record["cases"][0], record["cases"][0]["contestants"]["xpnet"]
    torch = {f"torch {k}": spread(k / 10) for k in range(1, 9)}
    jax = {"jax": spread(0.3)}
    monkeypatch.setattr(drawing, "_bars", lambda axes, cases, colours: labels.append(cases[0][1]))
    for others in (torch, torch | jax):
        ratios = {f"xpnet / {name}": ratio for name, ratio in others.items()}
        case |= {"contestants": dict.fromkeys(("xpnet", *others), row), "ratios": ratios}
        case["best_other"] = "torch 8"
        case["ratios"]["xpnet / xpnet reference"] = spread(0.9)
        report.write(tmp_path, record)
    assert labels == [
        {"best of torch": spread(0.8)},
        {"best of torch": spread(0.8), "best of jax": spread(0.3)},
    ]


def test_the_picture_names_the_gpu_and_the_precision(tmp_path, monkeypatch):
    figures = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    titles = []
    monkeypatch.setattr(figures.Figure, "suptitle", lambda _, text, **__: titles.append(text))
    report.write(tmp_path, canned())
    assert len(titles) == 2
    assert all(title.endswith("\na GPU, tf32") for title in titles)


def test_jax_updates_as_the_book_does():
    """Adam's first step is lr long for every number, whatever its gradient."""
    pytest.importorskip("jax", reason="jax is not installed")
    import jax.numpy as jnp

    from xpnet.bench import jax_nets

    for name, update in jax_nets.OPTIMIZERS.items():
        params = {"W1": jnp.asarray([1.0, -2.0])}
        zeros = {"W1": jnp.zeros(2)}
        state = {"params": params, "m": zeros, "v": zeros, "t": jnp.int32(1)}
        grads = {"W1": jnp.asarray([0.5, -0.25])}
        want = {"adam": [0.9, -1.9]}.get(name, [0.95, -1.975])
        got = update(state, grads, 0.1)["params"]["W1"]
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_graph_replays_what_its_buffers_hold(monkeypatch):
    """With stand-ins for CUDA: a step is taken WARM_UPS times, recorded once, and then replayed."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from xpnet.bench import torch_nets

    taken, replays = [], []
    stream = SimpleNamespace(wait_stream=lambda _: None)
    graph = SimpleNamespace(replay=lambda: replays.append([a.tolist() for a in taken[-1]]))
    for name, stand_in in (
        ("Stream", lambda: stream),
        ("current_stream", lambda: stream),
        ("stream", lambda _: nullcontext()),
        ("CUDAGraph", lambda: graph),
        ("graph", lambda _: nullcontext()),
    ):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    first, second = (torch.tensor([k]) for k in (1, 2))
    replay = torch_nets._captured(lambda *batch: taken.append(batch), first, first)
    assert len(taken) == torch_nets.WARM_UPS + 1
    replay(second, first)
    assert replays == [[[2], [1]]]
    assert first.tolist() == [1]
    assert len(taken) == torch_nets.WARM_UPS + 1


@pytest.mark.parametrize("precision", cases.PRECISIONS)
def test_the_precision_is_pytorchs_too(precision):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from xpnet.bench import torch_nets

    try:
        torch_nets._set_precision(precision)
        want = "high" if precision == "tf32" else "highest"
        assert torch.get_float32_matmul_precision() == want
        assert torch.backends.cudnn.allow_tf32 is (precision == "tf32")
    finally:
        torch_nets._set_precision("float32")


def test_a_pytorch_without_cuda_is_left_out(case, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from xpnet.bench import torch_nets

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = replace(case(), device="cuda:0")
    with pytest.raises(cases.UnavailableError, match="can use no GPU; install a build with CUDA"):
        torch_nets.build(made, made.load())


@pytest.fixture
def gpu(gpu, monkeypatch):
    """A GPU, with epochs of 600 images."""
    monkeypatch.setattr(cases, "EPOCH", 600)
    return gpu


@pytest.mark.parametrize("task", cases.TASKS)
@pytest.mark.parametrize("name", timed_on("cuda"))
def test_on_a_gpu_everybody_takes_turns(gpu, case, name, task):
    contestant = timed_on("cuda")[name]
    if (why := contestant.obstacle("float32")) is not None or task not in contestant.tasks:
        pytest.skip(f"{name}: {why or f'it does not {task}'}")
    process = Child(contestant, case("simple-convnet", task, 100, device=gpu.name), 0.01)
    try:
        process.wait()
        start = process.start()
        assert process.turn().milliseconds > 0
        assert start.description
    except cases.UnavailableError as reason:
        pytest.skip(f"{name}: {reason}")
    finally:
        process.close()


def test_on_a_gpu_a_graph_trains_as_pytorch_does(gpu, case):
    """The warm-up steps count; the recorded one is not taken."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("torch: it can use no GPU")
    from xpnet.bench import torch_nets

    made = case("simple-convnet", batch_size=100, device=gpu.name)
    arrays = made.load()
    torch_nets._set_precision("float32")
    x = torch.from_numpy(arrays["x"]).to(gpu.name).float() / 255
    t = torch.from_numpy(arrays["t"]).to(gpu.name).long()
    batches = [(x[i : i + 100], t[i : i + 100]) for i in range(0, 300, 100)]
    nets = [torch_nets.network(made.pieces, arrays).to(gpu.name) for _ in range(2)]
    eager = torch_nets._training(nets[0], made, "eager")
    for batch in [batches[0]] * torch_nets.WARM_UPS + batches[1:]:
        eager(*batch)
    step = torch_nets._captured(torch_nets._training(nets[1], made, "graph"), *batches[0])
    for batch in batches[1:]:
        step(*batch)
    torch.cuda.synchronize()
    for want, got in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert (got - want).abs().max() <= REPLAYED * want.abs().max()


def test_on_a_gpu_rates_are_those_of_the_gpu(gpu):
    rates = machine.rates(gpu, 1)
    assert rates["copy_gigabytes"][gpu.name] > 100
    assert rates["sgemm_gflops"][gpu.name] > 1000
    assert "gpu" in machine.description(gpu)
