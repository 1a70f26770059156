"""Options are checked before there is any work; what is wrong is told as it was written."""

import errno
import os
import shlex
from pathlib import Path

import click
import pytest

from test_cli import Run, assert_refused
from xpnet import cli, synthetic_digits
from xpnet.arrays import cuda
from xpnet.cli.names import in_options
from xpnet.data.dataset import Dataset

COMMANDS = cli.commands.commands
NEEDED = {
    "evaluate": ["--weights", "none.safetensors"],
    "predict": ["--weights", "none.safetensors", "none.png"],
    "segment": ["--weights", "none.safetensors", "none.png"],
}
"""What a command cannot be without."""

LARGE = str(10**24)
NO_WHOLE_NUMBERS = ["-1", "nan", "inf", "1e3", "1.5", "", "x", LARGE]
NO_NUMBERS = ["0", "-1", "nan", "inf", "-inf", "1e400", "", "x"]
TAKEN = {("train", "threads", LARGE)}
"""More threads than there are cores are as many as there are cores."""


def bad_values(command, option):
    """What an option must refuse."""
    kind = option.type
    if isinstance(kind, click.types.IntParamType):
        zero = [] if getattr(kind, "min", 1) == 0 else ["0"]
        values = [*zero, *NO_WHOLE_NUMBERS]
    elif isinstance(kind, click.types.FloatParamType):
        values = NO_NUMBERS
    elif isinstance(kind, click.Path):
        values = [""] if option.name in ("weights", "resume", "data_dir") else ["", "file/below"]
    elif isinstance(kind, click.Choice):
        values = ["", "x"]
    else:
        values = ["", "x" * 600]
    if option.name == "threads" and command not in ("bench",):
        values = [value for value in values if value != LARGE]
    return values


OPTIONS = [
    pytest.param(name, option, id=f"{name} {option.opts[0]}")
    for name, command in sorted(COMMANDS.items())
    for option in command.params
    if isinstance(option, click.Option) and not option.is_flag and option.name != "graph"
]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """A command line that must not begin to work, in a directory where `file` is in the way."""

    def begun(*_, **__):
        raise AssertionError("the work has begun")

    places = ["cli.options.load_dataset", "train.run.Run.begin", "bench.run.run"]
    if "tune" in COMMANDS:
        pytest.importorskip("optuna", reason="optuna is not installed")
        places.append("train.search.Search.run")
    for place in places:
        monkeypatch.setattr(f"xpnet.{place}", begun)
    monkeypatch.setattr(cuda, "diagnose", lambda: cuda.Diagnosis(problem="CuPy is not there"))
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    return Run(capsys, monkeypatch)


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_of_every_command_refuses_what_it_cannot_take(run, tmp_path, name, option):
    for value in bad_values(name, option):
        given = [value] * option.nargs
        result = run(name, *NEEDED.get(name, ()), option.opts[0], *given)
        assert_refused(result)
        assert [path.name for path in tmp_path.iterdir()] == ["file"], value


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("train --out a --resume b", "--out begins a run and --resume goes on with one"),
        ("train --begin", "--begin is for --resume DIR"),
        ("train --activation tanh", "simple-convnet uses ReLU; --activation is for two-layer-net"),
        (
            "train --engine cuda --device cpu",
            "the cuda engine cannot run this network: it lives on",
        ),
        ("train --no-graph", "--no-graph needs the kernels of a GPU"),
        ("train --precision tf32", "precision 'tf32' needs the kernels of a GPU"),
        ("train --device cuda", "--device cuda cannot be used: CuPy is not there"),
        ("train --out .", ". is not empty (file), and no run is overwritten; choose another --out"),
        ("tune --lr 1e-2 1e-6", "--lr needs a lowest value above 0, then a highest, got 0.01 and"),
        ("tune --batch-size 401", "of 500 images 100 would be for validation and 400 for training"),
        ("tune --storage nonsense", "the storage that was given cannot be used"),
        ("tune --out .", ". is not empty (file) and not the directory of a search"),
        ("bench --device cpu --precision tf32", "the CPU is timed in float32 only"),
        (
            "bench --task accuracy --model fcn",
            "networks that classify digits, and fcn is to seg",
        ),
        ("bench --contestant nobody", "there is no contestant 'nobody' on cpu; use xpnet"),
        (
            "evaluate --weights none",
            "none does not exist; give a file that `save_params` wrote, or",
        ),
        ("evaluate --weights none --out file/a.json", "cannot create file: Not a directory"),
        ("predict --weights none none.png", "none does not exist"),
        ("segment --weights none none.png", "none does not exist"),
        ("segment --weights none", "Missing argument 'IMAGE...', or --scenes N for test scenes"),
        ("segment --weights none --data mnist a.png", "'mnist' is not one of 'auto', "),
        ("tune --data road-scenes", "'road-scenes' is not one of 'auto', 'mnist', 'synthetic'"),
        (
            "train --model fcn --data mnist",
            "data mnist are to classify or generate, and the network is to segment; use road-sc",
        ),
        (
            "train --data road-scenes",
            "data road-scenes are to segment, and the network is to classify; use mnist or synth",
        ),
        ("train --model fcn --hidden-size 3", "fcn has layers of given sizes; leave out --hidden"),
        (
            "train --model fcn-8s",
            "fcn-8s is for images of 3 x 224 x 224, and these are 3 x 48 x 64; use fcn",
        ),
        ("evaluate", "Missing option '--weights'"),
        ("predict --weights none", "Missing argument 'IMAGE...'"),
        ("trian", "No such command 'trian'"),
        ("train --epoch 3", "No such option '--epoch'. Did you mean '--epochs'?; see"),
        ("train --epochs two", "'two' is not a valid whole number"),
        ("bench --rounds two", "'two' is not a valid whole number"),
        ("train --lr two", "'two' is not a valid number"),
        ("train --engine CUDA", "it lives on cpu; CuPy is not there; 'auto' takes what can"),
        ("train --data", "'--data' requires an argument; see `xpnet train --help`"),
        ("train 3", "unexpected extra argument"),
    ],
)
def test_what_does_not_go_together(run, tmp_path, arguments, text):
    assert_refused(run(*arguments.split()), text)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("batch_size must be at least 1, got 0", "--batch-size must be at least 1, got 0"),
        (
            "lr needs a lowest value, epochs=3 and lr",
            "--lr needs a lowest value, --epochs 3 and lr",
        ),
        ('device="cuda:1" cannot be used', "--device cuda:1 cannot be used"),
        ("it says itself; leave out activation", "it says itself; leave out --activation"),
        ("graph=False needs a GPU", "--no-graph needs a GPU"),
        ("name it: --model a:b, load_model(path, model=...)", "name it: --model a:b"),
        ("runs/batch_size is not empty, nor my_batch_size", None),
        ("sqlite:///a.db?timeout=3&seed=x cannot be used", None),
        ("after 3 epochs the seed of a threads", None),
    ],
)
def test_arguments_are_told_as_options(message, told):
    params = [*COMMANDS["tune"].params, *COMMANDS["train"].params]
    assert in_options(message, params) == (told or message)


@pytest.mark.parametrize("name", ["lr=0.1", "sweep/adam,lr=0.1,seed=3", "a data_dir", "batch_size"])
@pytest.mark.parametrize("form", [["--out", "{}"], ["--out={}"]])
def test_names_of_ones_own_stay_as_they_are(run, name, form):
    """A directory may be called by what it holds."""
    Path(name).mkdir(parents=True)
    (Path(name) / "file").touch()
    assert_refused(
        run("train", *(part.format(name) for part in form)),
        f"xpnet: error: {name} is not empty (file), and no run is overwritten; choose another "
        f"--out, or go on with a run by --resume {shlex.quote(name)}\n",
    )


@pytest.mark.parametrize("name", ["", *sorted(COMMANDS)])
def test_help_is_in_sentences(run, name):
    command = COMMANDS.get(name, cli.commands)
    code, out, err = run(*([name] if name else []), "--help")
    assert (code, err) == (0, "")
    assert "..." not in out.replace("IMAGE...", "").replace("[ARGS]...", "")
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help.endswith("."), option.name
            assert option.help[0].isupper() or option.help.startswith("xpnet "), option.name


def test_a_directory_that_is_there_no_more(run, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert_refused(run("train", "--device", "cpu"), "No such file or directory")


def test_what_the_system_refuses_is_one_line(run, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "some.file")

    monkeypatch.setattr("xpnet.cli.options.load_dataset", refused)
    assert_refused(run("data"), "the system refuses: some.file: Too many open files\n")


def test_a_training_that_diverges_is_one_line(run, tmp_path, monkeypatch, recwarn):
    """Without NumPy's warnings, and without advice that only Python can be given."""
    x, t = synthetic_digits(60, seed=0)
    data = Dataset("synthetic", "synthetic digits", x, t, x, t)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("xpnet.cli.options.load_dataset", lambda *_, **__: data)
    rate = ("--lr", "1e300", "--epochs", 1, "--device", "cpu", "--model", "two-layer-net")
    assert_refused(run("train", *rate, "--out", "run"), "use a smaller learning rate than 1e+300; ")
    assert not recwarn.list


def test_the_program_alone(run):
    assert run("--version")[1].startswith("xpnet ")
    code, out, _ = run()
    assert code == 0
    assert "`xpnet train` is where to begin" in out


def test_the_largest_number_is_told(run):
    code, _, err = run("train", "--epochs", LARGE)
    assert code == 2
    assert f"'--epochs': {LARGE} is above {2**31 - 1}, the largest number taken" in err
