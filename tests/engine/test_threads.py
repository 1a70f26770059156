"""Threads: how many, whose they are, and what is left of them in a child process."""

import json
import multiprocessing
import os
import pickle
import select
import signal
import threading
import traceback
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from test_cli import QUICK, assert_refused
from test_cli import run as run  # a fixture
from test_engine import batch, net_of
from test_engine import libraries_of_now as libraries_of_now  # a fixture
from xpnet import Batches, Supervised, Trainer, TwoLayerNet, synthetic_digits
from xpnet.engine import get_engine, threads
from xpnet.engine.cpu import CpuEngine
from xpnet.engine.threads import available_cores, blas_threads, chosen_threads, free_cores
from xpnet.errors import ArgumentError, EngineError, TrainingError

REAL_OTHERS = threads._others
BUSY = "2 cores are shared with other programs"
TOO_MANY = "xpnet: warning: {} threads were asked for, and this process has 2 cores; it uses 2\n"


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many cores, of which others use so many, with a BLAS of so many threads."""

    def of(cores, others=0, *limits, allowed=None):
        monkeypatch.setattr(threads, "available_cores", available_cores)
        monkeypatch.setattr(threads, "_quota", lambda: float("inf"))
        monkeypatch.setattr("os.cpu_count", lambda: cores)
        monkeypatch.setattr(
            "os.sched_getaffinity", lambda _: set(range(allowed or cores)), raising=False
        )
        monkeypatch.setattr(threads, "_others", lambda: others)
        monkeypatch.setattr(threads, "_free", [])
        monkeypatch.setattr(threads, "PAUSE", 0)
        info = [{"num_threads": limit} for limit in limits]
        libraries = namedtuple("Libraries", "info, lib_controllers")(lambda: info, [])
        monkeypatch.setattr(threads, "_libraries", lambda: libraries)

    return of


@pytest.mark.parametrize(
    ("cores", "others", "limits", "allowed", "want"),
    [
        (3, 0, (), None, 3),
        (3, 0, (8,), None, 3),
        (3, 0, (2,), None, 2),
        (3, 0, (8, 1), None, 1),
        (3, 1, (8,), None, 2),
        (8, 5, (2,), None, 2),
        (2, 8, (2,), None, 1),
        (64, 32, (64,), 4, 2),  # half of all cores are busy, and so are half of ours
        (64, 3, (64,), 2, 2),
        (1, 8, (1,), None, 1),
    ],
)
def test_threads_are_the_cores_that_are_free(machine, cores, others, limits, allowed, want):
    """And no more than matrix products may use."""
    machine(cores, others, *limits, allowed=allowed)
    assert chosen_threads(None) == want


def test_where_nobody_counts_what_may_be_used_all_cores_are(machine, monkeypatch):
    machine(7)
    monkeypatch.delattr("os.sched_getaffinity")
    assert chosen_threads(None) == 7


def test_all_engines_of_a_process_find_the_same(machine, monkeypatch):
    machine(4, 2, 4)
    assert free_cores() == 2
    monkeypatch.setattr(threads, "_others", lambda: 0)
    assert (free_cores(), chosen_threads(None)) == (2, 2)


def test_the_median_of_the_looks_counts(machine, monkeypatch):
    machine(4, 0, 4)
    looks = iter([9, 9, 9, 0, 1, 1, 1, 1, 1, 0, 0])
    monkeypatch.setattr(threads, "_others", lambda: next(looks))
    assert free_cores() == 3


@pytest.mark.parametrize(("states", "want"), [("R", 4), ("RSR", 3), ("SSS", 5), ("RRRRRRR", 0)])
def test_threads_of_ones_own_are_no_load(tmp_path, monkeypatch, states, want):
    """Five run on the whole machine; those of this process are left out, whatever their names."""
    monkeypatch.setattr(threads, "PROC", tmp_path)
    (tmp_path / "loadavg").write_text("0.52 0.58 0.59 5/1234 4242\n")
    for number, state in enumerate(states):
        task = tmp_path / "self" / "task" / str(number)
        task.mkdir(parents=True)
        (task / "stat").write_text(f"{number} (a) R b) {state} 1 2 3\n")
    assert REAL_OTHERS() == want


def test_where_the_load_is_not_told_all_cores_count_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "PROC", tmp_path)
    assert REAL_OTHERS() == 0
    assert threads._quota() == float("inf")


@pytest.mark.parametrize(
    ("files", "unified", "want"),
    [
        ({"cpu.max": "150000 100000\n"}, True, 1.5),
        ({"cpu.max": "max 100000\n"}, True, float("inf")),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, False, 4),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, False, float("inf")),
    ],
)
def test_the_quota_of_a_control_group(tmp_path, files, unified, want):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert threads._limit_of(tmp_path, unified=unified) == want


@pytest.mark.parametrize(("quota", "want"), [(1.5, 1), (0.3, 1), (3.0, 3), (9.0, 4)])
def test_cores_are_no_more_than_the_quota(machine, monkeypatch, quota, want):
    machine(4)
    monkeypatch.setattr(threads, "_quota", lambda: quota)
    assert chosen_threads(None) == want


@pytest.mark.parametrize("asked", [3, 99, 10**24])
@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_more_threads_than_cores_are_told_and_not_made(machine, capsys, asked, name):
    machine(2, 0, 2)
    engine = get_engine(net_of("two-layer-net"), name, asked, compiled=False)
    assert engine.describe() == {"engine": name, "threads": 2}
    assert capsys.readouterr().err == TOO_MANY.format(asked)
    assert chosen_threads(2) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("asked", [True, 2.0, "2", 1.5])
def test_what_is_no_number_of_threads_is_told(asked):
    with pytest.raises(
        ArgumentError, match=r"^threads of get_engine must be a whole number, such as 3, got "
    ):
        get_engine(net_of("two-layer-net"), threads=asked)
    assert chosen_threads(np.int64(2)) == 2


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_that_others_keep_the_cores_busy_is_told(machine, name):
    machine(2, 8, 2)
    engine = get_engine(net_of("two-layer-net"), name, compiled=False)
    assert engine.describe() == {"engine": name, "threads": 1, "threads_reason": BUSY}
    assert get_engine(net_of("two-layer-net"), name, 2).describe()["threads"] == 2
    assert "threads_reason" not in get_engine(net_of("two-layer-net"), name, 1).describe()


def computed_by(path):
    """What a run's record says of what computed."""
    return json.loads((path / "summary.json").read_text())


def test_a_run_keeps_its_threads(run, machine, tmp_path):
    """Begun on a busy machine, gone on with on an idle one, and the other way round."""
    machine(2, 8, 2)
    code, out, err = run("train", *QUICK, "--out", "a")
    assert (code, err) == (0, "")
    assert f"engine: cpu, 1 thread ({BUSY})\n" in out
    found = computed_by(tmp_path / "a")
    assert (found["threads"], found["threads_reason"]) == (1, BUSY)
    machine(2, 0, 2)
    code, out, _ = run("train", "--resume", "a", "--epochs", 3)
    assert (code, "may differ" in out) == (0, False)
    assert "engine: cpu, 1 thread\n" in out
    assert run("train", *QUICK, "--out", "b")[0] == 0
    machine(2, 8, 2)
    code, out, _ = run("train", "--resume", "b", "--epochs", 3)
    assert (code, "may differ" in out) == (0, False)
    assert "engine: cpu, 2 threads\n" in out
    code, out, _ = run("train", "--resume", "b", "--epochs", 4, "--threads", 1)
    assert "the last bits of the weights may differ now: threads was 2 and is 1\n" in out


def test_a_run_of_a_machine_with_more_cores(run, machine, tmp_path):
    machine(16, 0, 16)
    assert run("train", *QUICK, "--out", "a")[0] == 0
    machine(2, 0, 2)
    code, out, err = run("train", "--resume", "a", "--epochs", 3)
    assert (code, err) == (0, TOO_MANY.format(16))
    assert "engine: cpu, 2 threads\n" in out
    assert "the last bits of the weights may differ now: " in out
    assert "threads was 16 and is 2\n" in out
    assert computed_by(tmp_path / "a")["threads"] == 2


@pytest.mark.parametrize("asked", [99, 10**24])
def test_the_command_line_takes_no_more_threads_than_cores(run, machine, tmp_path, asked):
    machine(2, 0, 2)
    code, out, err = run("train", *QUICK, "--out", "a", "--threads", asked)
    assert (code, err) == (0, TOO_MANY.format(asked))
    assert "engine: cpu, 2 threads\n" in out
    assert computed_by(tmp_path / "a")["threads"] == 2
    weights = ("--weights", "a/model.safetensors")
    code, _, err = run("evaluate", *weights, "--threads", asked)
    assert (code, err) == (0, TOO_MANY.format(asked))
    assert_refused(run("evaluate", *weights, "--threads", -asked), f"is needed, got {-asked}\n")


# Matrix products: one number of threads for the whole process


def blas():
    return [library.num_threads for library in threads._libraries().lib_controllers]


@contextmanager
def another(*work):
    """Other threads, one for each piece of work; their results, once they have ended."""
    with ThreadPoolExecutor(len(work)) as pool:
        yield [pool.submit(each) for each in work]


def held(number, entered, leave):
    """Hold a number of threads until told to leave it; what it was."""
    with blas_threads(number):
        entered.set()
        assert leave.wait(10)
        return blas()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_number_is_as_before_whoever_leaves_last(order):
    """Two that need the same number hold it side by side, and leave in either order."""
    with threadpool_limits(3, user_api="blas"):
        before = blas()
        entered, leave = ([threading.Event() for _ in range(2)] for _ in range(2))
        work = [partial(held, 2, entered[k], leave[k]) for k in range(2)]
        with another(*work) as futures:
            for event in entered:
                assert event.wait(10)
            for k in order:
                leave[k].set()
                assert futures[k].result(30) == [2] * len(before)
        assert blas() == before == [3] * len(before)


def test_who_needs_another_number_waits_and_is_not_overtaken():
    with threadpool_limits(3, user_api="blas"):
        first, second, third = (threading.Event() for _ in range(3))
        leave, others_leave = threading.Event(), threading.Event()
        others_leave.set()
        with ThreadPoolExecutor(3) as pool:
            one = pool.submit(held, 1, first, leave)
            assert first.wait(10)
            two = pool.submit(held, 2, second, others_leave)
            while not threads._now.waiting:
                pass
            three = pool.submit(held, 1, third, others_leave)  # as the first, but after the second
            while threads._now.waiting < 2:
                pass
            assert not second.is_set()
            assert not third.is_set()
            leave.set()
            found = [future.result(30) for future in (one, two, three)]
        count = len(blas())
        assert found == [[1] * count, [2] * count, [1] * count]
        assert blas() == [3] * count


def test_within_one_the_outer_holds():
    with threadpool_limits(3, user_api="blas"):
        with blas_threads(2), blas_threads(1):
            inner = blas()
        assert inner == [2] * len(inner)
        assert blas() == [3] * len(inner)


def test_what_somebody_else_has_set_meanwhile_stays():
    with threadpool_limits(3, user_api="blas"):
        with blas_threads(1):
            for library in threads._libraries().lib_controllers:
                library.set_num_threads(2)
        assert set(blas()) <= {2}


def test_an_interrupt_between_the_lines_leaves_nothing_behind(monkeypatch):
    """At each line of entering and leaving; only tracing breaks off within a lock, too."""
    monkeypatch.setattr(threads, "_now", threads._Now())
    code = {blas_threads.__enter__.__code__, blas_threads.__exit__.__code__}

    def interrupted(at):
        lines = []

        def local(frame, event, _):
            if event == "line":
                lines.append(frame.f_lineno)
                if len(lines) == at:
                    raise KeyboardInterrupt
            return local

        import sys

        before = sys.gettrace()
        sys.settrace(lambda frame, *_: local if frame.f_code in code else None)
        try:
            with blas_threads(1):
                pass
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    with threadpool_limits(3, user_api="blas"):
        at = 1
        while interrupted(at):
            at += 1
            with blas_threads(2):
                assert len(threads._now.holders) == 1
                assert set(blas()) <= {2}
            assert threads._now.holders == {}
            assert set(blas()) <= {3}
        assert at > 8


def test_engines_side_by_side_keep_their_bits():
    """Of one thread and of two, each in a thread of its own, as if it were alone."""
    nets = [TwoLayerNet(784, 50, 10, rng=0) for _ in range(2)]
    x, t = batch(nets[0], 100)
    engines = [get_engine(net, threads=k + 1) for k, net in enumerate(nets)]
    with threadpool_limits(3, user_api="blas"):
        want = [engine.loss_and_gradient(x, t)[2].flat.copy() for engine in engines]

        def wrong(k):
            found = (engines[k].loss_and_gradient(x, t)[2].flat for _ in range(20))
            return sum(not np.array_equal(flat, want[k]) for flat in found)

        with another(partial(wrong, 0), partial(wrong, 1)) as futures:
            assert [future.result() for future in futures] == [0, 0]
        assert set(blas()) <= {3}


# One engine, learner or trainer, and several threads


def used_by_three(engine, samples=24):
    """Each thread has a batch of its own; how often what it got was not what it gets alone."""
    device = engine.network.device
    batches = [batch(engine.network, samples, seed) for seed in range(3)]
    batches = [(device.asarray(x), device.asarray(t)) for x, t in batches]

    def results(x, t):
        loss, _, grads = engine.loss_and_gradient(x, t)
        yield from grads.values()
        yield loss
        yield engine.forward(x)[0]
        yield engine.predict(x)

    want = [[np.array(array) for array in results(*each)] for each in batches]
    begin = threading.Barrier(3)

    def wrong(k):
        begin.wait(10)
        count = 0
        for _ in range(8):
            kept = list(results(*batches[k]))  # looked at when others have gone on
            count += sum(
                not np.array_equal(np.array(got), one)
                for got, one in zip(kept, want[k], strict=True)
            )
        return count

    with another(*(partial(wrong, k) for k in range(3))) as futures:
        return [future.result() for future in futures]


@pytest.mark.parametrize("name", ["simple-convnet", "two-layer-net"])
@pytest.mark.parametrize("kind", ["cpu", "reference"])
def test_an_engine_that_three_threads_use_answers_right(name, kind):
    assert used_by_three(get_engine(net_of(name), kind, threads=2)) == [0, 0, 0]


@pytest.mark.slow
def test_an_engine_of_a_gpu_that_three_threads_use_answers_right(accelerator):
    net = TwoLayerNet(6, 5, 10, rng=0, device=accelerator.device)
    assert used_by_three(accelerator.engine(net)) == [0, 0, 0]


def test_a_backward_of_before_another_threads_call_is_refused():
    engine = get_engine(net_of("two-layer-net"), threads=1)
    x, t = batch(engine.network, 12)
    y, backward = engine.forward(x)
    with another(lambda: engine.loss_and_gradient(x, t)):
        pass
    with pytest.raises(EngineError, match="before the next call of that engine"):
        backward(y)


def learner_of(name="two-layer-net", **options):
    net = net_of(name)
    x, t = batch(net, 48)
    return Supervised(net, Batches(x, t, 12), **options)


def test_steps_of_a_learner_are_one_threads_at_a_time():
    """Three threads take the same step: the sum of the updates is that of one after the other."""
    learner, other = learner_of(), learner_of()
    step = next(learner.source.epoch(0))
    with another(*[lambda: [learner.step(step) for _ in range(10)]] * 3):
        pass
    for _ in range(30):
        other.step(step)
    np.testing.assert_array_equal(learner.network.params.flat, other.network.params.flat)


REFUSED = (
    "^a Trainer is used by one thread at a time, and another one is at work in this; wait until it "
    "has done, or make one with a network of its own$"
)


def test_a_trainer_that_another_thread_uses_refuses():
    x, t = synthetic_digits(60, seed=0)
    begun, go_on = threading.Event(), threading.Event()

    def on_step():
        begun.set()
        assert go_on.wait(10)
        trainer.state()  # of the thread that trains

    trainer = Trainer(
        TwoLayerNet(784, 5, 10, rng=0), x, t, None, None, 2, 20, verbose=False, on_step=on_step
    )
    with another(trainer.train) as [training]:
        assert begun.wait(10)
        calls = {
            "train": trainer.train,
            "epoch": trainer.train_epoch,
            "step": lambda: trainer.train_step(*next(trainer.train_batches.epoch(0))),
            "state": trainer.state,
            "restore": lambda: trainer.restore({}, {}),
            "evaluate": lambda: trainer.evaluate(trainer.train_batches),
        }
        told = {}
        for name, call in calls.items():
            with pytest.raises(TrainingError, match=REFUSED):
                told[name] = call()
        go_on.set()
        assert len(training.result(30)) == 2
    assert len(trainer.train(epochs=1)) == 3


# Children

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
QUIET = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def in_child(work):
    """What it gives in a child of a fork, which has half a minute."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            answer = pickle.dumps(work())
        except BaseException:
            answer = pickle.dumps(traceback.format_exc())
        os.write(writing, answer)
        os._exit(0)
    os.close(writing)
    try:
        assert select.select([reading], [], [], 30)[0], "the child waits for ever"
        return pickle.loads(os.read(reading, 1 << 16))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)


def trainer_of(name, threads=2):
    net = net_of(name)
    x, t = batch(net, 40)
    return Trainer(net, x, t, None, None, 1, 20, verbose=False, threads=threads)


@FORKS
@QUIET
@pytest.mark.parametrize("name", ["simple-convnet", "two-layer-net"])
def test_a_child_goes_on_as_its_parent_would(name):
    """It predicts, it trains, and so may its own child."""
    trainer, other = trainer_of(name), trainer_of(name)
    assert isinstance(trainer.engine, CpuEngine)
    x = trainer.train_batches.first(40)[0]
    for each in (trainer, other):
        each.train()

    def trained(one):
        one.train(epochs=1)
        return one.network.params.flat.tobytes(), one.steps

    predicted = in_child(lambda: trainer.engine.predict(x))
    np.testing.assert_array_equal(predicted, trainer.engine.predict(x))
    want = trained(other)
    assert hash(in_child(lambda: trained(trainer))[0]) == hash(want[0])
    assert in_child(lambda: in_child(lambda: trained(trainer)[1])) == want[1]
    assert trained(trainer) == want  # which no child has changed


@FORKS
@QUIET
def test_a_child_of_multiprocessing():
    trainer = trainer_of("simple-convnet")
    trainer.train()
    x = trainer.train_batches.first(40)[0]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(trainer.engine.predict(x)))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    np.testing.assert_array_equal(queue.get(), trainer.engine.predict(x))


@FORKS
@QUIET
def test_a_fork_while_another_thread_trains():
    """The child's engine works; its trainer, cut off in a step, says so until it is restored."""
    trainer, within, go_on = trainer_of("simple-convnet"), threading.Event(), threading.Event()
    x = trainer.train_batches.first(40)[0]
    state = trainer.state()
    predict = trainer.engine.predict
    want = predict(x)

    def step(batch, step=trainer.learner.step):
        within.set()
        assert go_on.wait(10)
        return step(batch)

    trainer.learner.step = step

    def work():
        found = []
        try:
            trainer.train_step(x[:20], trainer.train_batches.first(20)[1])
        except TrainingError as error:
            found.append(str(error))
        trainer.restore(*state)
        go_on.set()
        trainer.train()
        return [*found, trainer.steps, predict(x).shape]

    with another(trainer.train) as [training]:
        assert within.wait(10)
        told, steps, shape = in_child(work)
        go_on.set()
        training.result(30)
    assert told == (
        "this process was forked while another thread was at work in this trainer; give it a state "
        "to go on from, by restore"
    )
    assert (steps, shape) == (2, want.shape)


@FORKS
@QUIET
def test_a_fork_waits_for_the_products_of_other_threads():
    """And not for those of its own thread, within which it may be."""
    entered, leave = threading.Event(), threading.Event()
    with threadpool_limits(3, user_api="blas"):
        with another(partial(held, 1, entered, leave)):
            assert entered.wait(10)
            threading.Timer(0.05, leave.set).start()
            assert in_child(lambda: (blas(), len(threads._now.holders))) == (blas(), 0)
            assert leave.is_set()
        with blas_threads(1):
            found = in_child(lambda: (set(blas()), len(threads._now.holders)))
        assert found == (set(blas_of(1)), 1)
        assert set(blas()) <= {3}


def blas_of(number):
    return [number] * len(blas())
