"""Output that cannot be written, or not be shown as it is, ends no work."""

import io
import os
import shutil
import subprocess
import sys
import traceback
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from test_cli import QUICK
from test_cli import run as run  # a fixture
from xpnet import Adam, Trainer, TwoLayerNet, cli
from xpnet.books import nielsen
from xpnet.errors import ArgumentError, DataNotFoundError, OutputError, XPNetError, shown
from xpnet.files.pictures import save_picture
from xpnet.notice import Output, _warn, notice, on_terminal, quoted, show
from xpnet.report import plots


def full():
    """A stream on a disk that is full."""
    return Path("/dev/full").open("w", encoding="utf-8")


def unread():
    """A pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", encoding="utf-8")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


BROKEN = {"none": lambda: None, "closed": closed, "full": full, "unread": unread}


@contextmanager
def put_away(stream):
    """What could not be written is still in the stream, and would be tried again."""
    try:
        yield stream
    finally:
        if stream is not None and not stream.closed:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            stream.close()


def test_what_no_terminal_should_get_is_escaped():
    assert shown("a \x1b[31mé\udcff\n\x9b") == "a \\x1b[31mé\\udcff\\n\\x9b"
    assert shown(plain := "a digit: é 日本") is plain


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("runs/a", "runs/a"),
        ("a b", "'a b'"),
        ("it's", "'it'\"'\"'s'"),
        ("a\udcff'\n", "$'a\\377\\047\\012'"),
        ("é\x1b\\", "$'\\303\\251\\033\\134'"),
    ],
)
def test_a_shell_takes_a_path_as_it_is(name, want):
    assert quoted(name) == quoted(Path(name)) == want
    if (bash := shutil.which("bash")) is None:
        pytest.skip("there is no bash")
    echoed = subprocess.run([bash, "-c", f"printf %s {want}"], capture_output=True, check=True)
    assert echoed.stdout == os.fsencode(name)


def test_a_line_is_one_line(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp932")
    monkeypatch.setattr("sys.stderr", stream)
    notice("é of 'a  b'\n  日 \x1b[2J")
    assert stream.buffer.getvalue().decode("cp932") == "xpnet: \\xe9 of 'a  b' 日 \\x1b[2J\n"


@pytest.mark.parametrize("kind", BROKEN)
def test_lines_that_cannot_be_written_are_no_errors(monkeypatch, kind):
    with put_away(BROKEN[kind]()) as stream:
        monkeypatch.setattr("sys.stdout", stream)
        monkeypatch.setattr("sys.stderr", stream)
        notice("a")
        show("b")
        assert not on_terminal(stream)
        monkeypatch.undo()


def test_that_lines_are_lost_is_told_once(monkeypatch, capsys):
    """Unless nobody wants them: a reader has gone, or there is no stream."""
    _warn.cache_clear()
    for kind in ("none", "closed", "unread", "full"):
        with put_away(BROKEN[kind]()) as stream:
            monkeypatch.setattr("sys.stdout", stream)
            show("a")
            show("b")
            monkeypatch.undo()
    want = "xpnet: warning: standard output cannot be written: No space left on device\n"
    assert capsys.readouterr().err == want


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_training_needs_no_output(monkeypatch, kind, engine):
    """A service has none: sys.stderr is None there. The weights are those of any training."""
    x = np.random.default_rng(0).random((20, 6), dtype=np.float32)

    def trained(**options):
        net = TwoLayerNet(6, 5, 4, rng=0)
        trainer = Trainer(net, x, np.arange(20) % 4, None, None, 2, 5, Adam(), engine=engine,
                          **options)  # fmt: skip
        trainer.train()
        return net.params.flat

    want = trained(verbose=False)
    with put_away(BROKEN[kind]()) as stream:
        monkeypatch.setattr("sys.stdout", stream)
        monkeypatch.setattr("sys.stderr", stream)
        found = trained()
        pairs = [(np.ones((3, 1)), np.array([[1.0], [0.0]]))]
        nielsen.Network([3, 2], rng=0).SGD(pairs, 1, 1, 0.1, test_data=pairs)
        monkeypatch.undo()
    np.testing.assert_array_equal(found, want)


def test_an_output_notes_its_first_error():
    with put_away(full()) as stream:
        output = Output(stream)
        print("a", file=output)
        assert output.error is None  # nothing was handed on yet
        output.flush()
        assert output.error.strerror == "No space left on device"
        print("b", file=output, flush=True)
        stream.write("it leads nowhere now")
        stream.flush()


def command(monkeypatch, stream, *arguments):
    """The exit code of a command with such an output."""
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.argv", ["xpnet", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    finally:
        monkeypatch.setattr("sys.stdout", sys.__stdout__)
    return 0


TOLD = (
    "xpnet: error: standard output could not be written: No space left on device; everything else "
    "was done\n"
)


@pytest.mark.parametrize(
    ("kind", "of_train", "of_others", "told"),
    [("none", 0, 0, ""), ("full", 2, 2, TOLD), ("unread", 2, 141, "")],
)
def test_commands_do_their_work_whoever_reads_what_they_say(
    run, monkeypatch, kind, of_train, of_others, told
):
    """The exit code tells of it, where somebody wanted to have it written."""
    monkeypatch.setattr(plots, "available", lambda: False)  # a picture takes time
    save_picture("a.png", np.eye(28))
    weights = ("--weights", "run/model.safetensors")
    for arguments, code in (
        (("train", *QUICK, "--out", "run"), of_train),
        (("predict", *weights, "a.png"), of_others),
        (("evaluate", *weights), of_others),
        (("summary",), of_others),
        (("data", "--export", "pictures"), of_others),
        (("--help",), of_others),
    ):
        with put_away(BROKEN[kind]()) as stream:
            assert command(monkeypatch, stream, *arguments) == code, arguments
        err = run.capsys.readouterr().err
        assert err.endswith(told), arguments
        assert ("error" in err) == bool(told), arguments
    assert {path.name for path in Path("run").iterdir()} >= {
        "summary.json", "metrics.csv", "model.safetensors", "evaluation.json"
    }  # fmt: skip
    assert len(list(Path("pictures").iterdir())) == 10
    with put_away(BROKEN[kind]()) as stream:  # what ends in an error has said so
        assert command(monkeypatch, stream, "summary", "--none") == 2


@pytest.mark.parametrize("encoding", ["cp932", "ascii", "utf-8"])
def test_names_that_cannot_be_shown_are_escaped(run, monkeypatch, encoding):
    TwoLayerNet(784, 2, 10, rng=0).save_params("w.safetensors")
    names = ["é.png", "日.png", "\udcff.png", "\a.png"]
    for name in names:
        save_picture(name, np.eye(28))
    with closing(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) as stream:
        predict = ("predict", "--weights", "w.safetensors", "--device", "cpu")
        assert command(monkeypatch, stream, *predict, *names) == 0
        lines = stream.buffer.getvalue().decode(encoding).splitlines()
    assert [line.partition(".png: ")[0] for line in lines] == [
        "é" if encoding == "utf-8" else "\\xe9",
        "\\u65e5" if encoding == "ascii" else "日",
        "\\udcff",
        "\\x07",
    ]


def test_no_file_takes_the_place_of_a_stream_that_is_closed():
    """Or what libraries print would be written into it."""
    script = (
        "import os; from xpnet.notice import standard_output\n"
        "with standard_output(): os._exit(os.open('/dev/null', os.O_RDONLY))"
    )
    shell = ["sh", "-c", 'exec "$0" -c "$1" >&- 2>&-', sys.executable, script]
    assert subprocess.run(shell, check=False).returncode >= 3


@pytest.mark.parametrize("kind", [XPNetError, OutputError, DataNotFoundError, ArgumentError])
def test_an_error_that_is_printed_has_no_control_characters(kind):
    """Wherever it is printed; names of files that are not UTF-8 would be an error of their own."""
    error = kind("of \x1b[2Ja\udcff.png: é\nnext line")
    assert str(error) == "of \\x1b[2Ja\\udcff.png: é\nnext line"
    told = "".join(traceback.format_exception(error))
    assert "\x1b" not in told
    assert told.encode()
