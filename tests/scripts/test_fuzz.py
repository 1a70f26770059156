"""Readers of outside bytes, fuzzed; and the fuzzer, which must be able to fail."""

import contextlib
import ctypes
import importlib
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slow_cases import slow_except
from xpnet import cli
from xpnet.errors import DataError, XPNetError

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))  # as for a script; the processes that are started find it, too
_fuzzing, fuzz = (importlib.import_module(name) for name in ("_fuzzing", "fuzz"))

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is limited and measured as on Linux"
)

COUNT = 200


QUICKLY = (
    "gzip",
    "weights",
    "pickles",
    "checkpoints",
    "png",
    "command-line",
)
"""The readers that most tests run; they have the others' ways among them."""


@pytest.mark.parametrize("name", slow_except(_fuzzing.READERS, QUICKLY))
def test_any_bytes_are_read_or_refused(name):
    if name == "command-line":
        for needed in ("optuna", "pooch"):
            pytest.importorskip(needed, reason=f"{needed} is not installed")
    tally = fuzz.attack(_fuzzing.READERS[name], seed=1, numbers=range(COUNT))
    assert tally.failures == []
    assert tally.accepted > 5
    assert tally.accepted + sum(tally.refused.values()) == tally.inputs == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("name", _fuzzing.LARGE)
def test_large_files_are_read_or_refused_within_the_limits(name):
    count = len(_fuzzing.LARGE[name])
    tally = fuzz.attack(_fuzzing.READERS[name], seed=1, numbers=range(-count, 0))
    assert tally.failures == []
    assert [found["file"] for found in tally.large] == [each.name for each in _fuzzing.LARGE[name]]


# Readers that do what no reader may, in processes of their own.


def broken(path):
    raise ValueError("not the library's own")


def masked(path):
    try:
        np.ones(2**28)
    except Exception as error:
        raise DataError("damaged") from error


RESERVED = mmap.mmap(-1, 2**25)


def greedy(path):
    """Use what was asked for before."""
    for at in range(0, len(RESERVED), mmap.PAGESIZE):
        RESERVED[at] = 1


def slow(path):
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass


def sleeping(path):
    time.sleep(60)


def ending(path):
    os._exit(7)


def altering(path):
    path.write_bytes(b"other")


def altering_unseen(path):
    ctypes.CDLL(None).truncate(bytes(path), 0)


def making_unseen(path):
    ctypes.CDLL(None).mkdir(b"made", 0o700)


def connecting(path):
    with socket.socket() as client:
        client.connect(("127.0.0.1", 9))


def running(path):
    try:
        subprocess.run(["true"], check=True)
    except Exception:
        raise DataError("damaged") from None


def evaluating(path):
    eval("1 + 1")


def refusing(path):
    raise DataError("damaged")


def reading(path):
    return path.read_bytes()


ABOUT = "it was about to do something: "
MISDEEDS = {
    reading: None,
    broken: "ValueError: not the library's own",
    masked: "it ran out of memory",
    greedy: "it took 3",
    slow: "it took 0.1 s",
    sleeping: "no end within 10 s",
    altering: f"{ABOUT}open ",
    altering_unseen: "it altered files",
    ending: "the process ended with exit code 7",
    making_unseen: "it altered files",
    connecting: f"{ABOUT}socket.connect ",
    running: f"{ABOUT}subprocess.Popen ",
    evaluating: f"{ABOUT}exec ",
    refusing: "it refused a valid file",
}


def misbehave(path):
    """Do what the file names."""
    {read.__name__: read for read in MISDEEDS}[path.read_text()](path)


def misdeeds():
    return [_fuzzing.Seed([read.__name__.encode()]) for read in MISDEEDS]


def four_files():
    return [_fuzzing.Seed([b"%d" % number]) for number in range(4)]


def none():
    return []


@pytest.mark.slow
def test_what_a_reader_may_not_do_is_a_failure_and_the_rest_goes_on():
    reader = _fuzzing.Reader("bad", misbehave, misdeeds, none)
    limits = fuzz.Limits(seconds=0.05, patience=10, mib=20)
    tally = fuzz.attack(reader, 0, range(len(MISDEEDS)), limits)
    wanted = list(MISDEEDS.values())
    assert [failure["number"] for failure in tally.failures] == list(range(1, len(wanted)))
    for failure in tally.failures:
        assert wanted[failure["number"]] in failure["problem"]
    assert (tally.inputs, tally.accepted, tally.refused) == (len(wanted), 1, {})


def test_a_hostile_file_must_be_refused():
    tally = fuzz.attack(_fuzzing.Reader("bad", reading, none, four_files), 0, range(4))
    assert [failure["problem"] for failure in tally.failures] == ["it accepted a hostile file"] * 4


def test_a_failure_is_kept_told_and_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(_fuzzing.READERS, "bad", _fuzzing.Reader("bad", broken, four_files, none))
    arguments = ["--reader", "bad", "--seed", "3", "--out"]

    def run(out, *numbers):
        with pytest.raises(SystemExit) as stop:
            fuzz.main([*arguments, str(tmp_path / out), *numbers])
        assert stop.value.code == 1
        return json.loads((tmp_path / out / "fuzz.json").read_text())["readers"][0]["failures"]

    failures = run("all", "--count", "9")
    repeat = "python scripts/fuzz.py --reader bad --seed 3 --first 7 --count 1"
    assert [failure["number"] for failure in failures] == list(range(9))
    assert failures[7]["repeat"] == repeat
    assert "9 failed" in capsys.readouterr().out
    assert "9 inputs, 9 failures" in (tmp_path / "all" / "README.md").read_text()
    run("one", *repeat.split()[-4:])
    one, same = (tmp_path / name / "bad-3-7.bin" for name in ("one", "all"))
    assert one.read_bytes() == same.read_bytes() != (tmp_path / "all" / "bad-3-8.bin").read_bytes()


def test_without_a_failure_the_end_is_quiet(tmp_path, monkeypatch):
    monkeypatch.setitem(
        _fuzzing.READERS, "good", _fuzzing.Reader("good", reading, four_files, none)
    )
    fuzz.main(["--reader", "good", "--count", "4", "--out", str(tmp_path)])
    (tally,) = json.loads((tmp_path / "fuzz.json").read_text())["readers"]
    assert (tally["inputs"], tally["accepted"], tally["failures"]) == (4, 4, [])
    assert {path.name for path in tmp_path.iterdir()} == {"fuzz.json", "README.md"}


def test_an_input_is_its_seed_and_number():
    made = {
        (seed, number): _fuzzing.make_input("idx", four_files(), seed, number)
        for seed in (0, 1)
        for number in range(50)
    }
    again = {key: _fuzzing.make_input("idx", four_files(), *key) for key in reversed(made)}
    assert made == again
    assert all(made[0, number] == b"%d" % number for number in range(4))
    assert sum(made[0, n] != made[1, n] for n in range(4, 50)) > 25
    assert max(map(len, made.values())) <= _fuzzing.MAX_BYTES


DIGESTS = """
import _fuzzing, hashlib
for reader in list(_fuzzing.READERS.values())[:-1]:
    files = [*reader.valid(), *reader.hostile()]
    made = b"".join(_fuzzing.make_input(reader.name, files, 0, number) for number in range(60))
    print(reader.name, hashlib.sha256(made).hexdigest())
"""


@pytest.mark.slow
def test_inputs_are_the_same_in_every_process(tmp_path):
    """Hashes of strings, and with them the order of sets, differ from process to process."""

    def digests(seed):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-c", DIGESTS]
        return subprocess.run(
            command, check=True, capture_output=True, cwd=tmp_path, env=environment
        ).stdout

    assert digests("1") == digests("2") != b""


PARAMETERS = [option for command in cli.commands.commands.values() for option in command.params]
WORDS = st.one_of(
    st.sampled_from(sorted(cli.commands.commands)),
    st.sampled_from(sorted({name for option in PARAMETERS for name in option.opts})),
    st.sampled_from(["--", "-h", "--lr=1", "two-layer-net", "w.safetensors"]),
    st.integers().map(str),
    st.floats().map(str),
    st.binary(max_size=9).map(
        lambda word: word.replace(b"\0", b"").decode(errors="surrogateescape")
    ),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(WORDS, max_size=8))
def test_any_arguments_are_understood_or_refused_in_one_line(tmp_path_factory, words):
    """The commands themselves do nothing here, so that this can run in the tests' process."""
    path = tmp_path_factory.mktemp("line") / "arguments"
    path.write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [])
        for command in cli.commands.commands.values():
            patch.setattr(command, "callback", lambda **_: None)
        with contextlib.suppress(XPNetError):
            _fuzzing.READERS["command-line"].read(path)
