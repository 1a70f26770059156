"""The command line: `xpnet train | tune | evaluate | predict | summary | bench | info | data`."""

import math
import platform
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource

from xpnet import __version__
from xpnet.arrays import Device, cuda, get_device, to_numpy, versions
from xpnet.data import Dataset, load_dataset
from xpnet.data.mnist import find_mnist
from xpnet.engine import get_engine
from xpnet.engine.threads import blas_library
from xpnet.errors import ArgumentError, DataNotFoundError, XPNetError
from xpnet.files.pictures import read_picture, save_picture
from xpnet.functions.activations import softmax
from xpnet.models import MODELS, build_network, load_network
from xpnet.models.two_layer_net import ACTIVATIONS
from xpnet.optim import OPTIMIZERS
from xpnet.report import plots
from xpnet.report.evaluate import predictions
from xpnet.train.run import Run
from xpnet.train.run_directory import write_json
from xpnet.train.signals import Interrupted

USAGE_ERROR, INTERRUPTED = 2, 130
MODELS_OFFERED = ("two-layer-net", "simple-convnet", "deep-convnet")
"""The others have more to choose than options can say; Python trains them."""


def main() -> None:
    """Run the command line; anything a user can cause ends in one line and exit code 2."""
    try:
        commands.main(prog_name="xpnet", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as help_page:
        click.echo(help_page.format_message())
    except click.UsageError as error:
        page = error.ctx.command_path if error.ctx else "xpnet"
        _fail(f"{error.format_message().rstrip('.')}; see `{page} --help`")
    except Interrupted as stop:
        _tell(str(stop))
        sys.exit(128 + stop.number)
    except XPNetError as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("xpnet: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:  # CuPy's and CUDA's, wherever they come from
        if (told := cuda.explained(error)) is not None:
            _fail(str(told))
        if not isinstance(error, MemoryError):
            raise
        _fail(f"there is too little memory ({error}); use a smaller network, or a smaller batch")


def _fail(message: str) -> None:
    click.echo(f"xpnet: error: {' '.join(message.split())}", err=True)
    sys.exit(USAGE_ERROR)


def _device_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."
    )(command)


def _engine_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--threads", type=int, help="Of the CPU; one for each core if left out."),
        click.option(
            "--engine",
            default="auto",
            show_default=True,
            help="auto, reference for the layers as they are written, or on a GPU eager, which "
            "launches the kernels of auto one by one.",
        ),
        click.option(
            "--precision",
            help="Of products on a GPU: tf32 or bfloat16; full if left out.",
        ),
        click.option(
            "--skip-engine-check",
            is_flag=True,
            help="Do not compare a GPU's first step with one by the layers on the host.",
        ),
    ):
        command = option(command)
    return command


def _data_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--data-dir", help="Directory of MNIST's four files [XPNET_DATA_DIR]."),
        click.option(
            "--data",
            default="auto",
            show_default=True,
            help="mnist, synthetic, or auto: MNIST if it can be had.",
        ),
    ):
        command = option(command)
    return command


def _model_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--activation", type=click.Choice(list(ACTIVATIONS)), help="two-layer-net's."),
        click.option("--hidden-size", type=int, help="Hidden units; the book's if left out."),
        click.option(
            "--model",
            type=click.Choice(MODELS_OFFERED),
            default="simple-convnet",
            show_default=True,
        ),
    ):
        command = option(command)
    return command


def _model_arguments(
    model: str, image: tuple[int, ...], hidden_size: int | None, activation: str | None
) -> dict[str, Any]:
    """What the network is built from, as its weight file will keep it."""
    if model == "two-layer-net":
        return {
            "input_size": math.prod(image),
            "hidden_size": 50 if hidden_size is None else hidden_size,
            "output_size": 10,
            "activation": activation or "relu",
        }
    if activation is not None:
        raise ArgumentError(f"{model} uses ReLU; --activation is for two-layer-net")
    hidden = {} if hidden_size is None else {"hidden_size": hidden_size}
    return {"input_dim": list(image), "output_size": 10} | hidden


def _weights_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--activation",
            type=click.Choice(list(ACTIVATIONS)),
            help="Of a pickled network, which does not say; sigmoid if left out.",
        ),
        click.option("--weights", required=True, help="A model.safetensors, or a book's pickle."),
    ):
        command = option(command)
    return command


def _about(about: Mapping[str, str | int]) -> str:
    """What computes, in one line."""
    threads = f", {n} thread{'s' * (n != 1)}" if (n := about.get("threads")) else ""
    products = f", products in {kind}" if (kind := about.get("precision")) else ""
    steps = f", steps {how}" if (how := about.get("steps")) else ""
    reason = f": {why}" if (why := about.get("engine_reason")) else ""
    check = f"; check {found}" if not reason and (found := about.get("engine_check")) else ""
    return f"{about['engine']}{threads}{products}{steps}{reason}{check}"


def _open_device(name: str) -> Device:
    device = get_device(name)
    if name == "auto":
        reason = f" ({cuda.diagnose().problem})" if device.name == "cpu" else ""
        click.echo(f"device: {device.name}{reason}")
    return device


def _open_data(data: str, data_dir: str | None) -> Dataset:
    dataset = load_dataset(data, data_dir=data_dir)
    click.echo(f"data: {dataset.source}")
    return dataset


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="xpnet %(version)s")
def commands() -> None:
    """Neural networks from scratch, on NumPy and CuPy."""


@commands.command()
@_data_options
@_model_options
@_device_option
@_engine_options
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), help="The book's if left out.")
@click.option(
    "--lr", type=float, help="Learning rate; the book's, or the optimizer's own, if left out."
)
@click.option(
    "--schedule",
    type=click.Choice(["constant", "cosine"]),
    default="constant",
    show_default=True,
    help="Of the learning rate; cosine lets it fall to 0.",
)
@click.option("--epochs", type=int, help="The book's number if left out.")
@click.option("--batch-size", default=100, show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32")
@click.option(
    "--evaluate-samples",
    default=10_000,
    show_default=True,
    help="Images of each set to measure accuracy on after an epoch; all of them at the end.",
)
@click.option("--seed", default=0, show_default=True, help="Of initial weights and shuffles.")
@click.option("--out", help="Run directory; runs/DATE-TIME-MODEL if left out.")
@click.option("--resume", help="Run directory to go on with, or begin in; or a checkpoint in one.")
@click.option("--checkpoint-steps", type=int, help="Checkpoints within an epoch, by steps.")
@click.option("--checkpoint-minutes", type=float, help="Checkpoints within an epoch, by time.")
@click.option("--keep", default=3, show_default=True, help="Checkpoints kept, besides the best.")
@click.pass_context
def train(
    context: click.Context,
    /,
    data_dir: str | None,
    device: str,
    engine: str,
    threads: int | None,
    skip_engine_check: bool,
    out: str | None,
    resume: str | None,
    checkpoint_steps: int | None,
    checkpoint_minutes: float | None,
    keep: int,
    **settings: Any,
) -> None:
    """Train a network on digits and keep it, with its record, in a run directory.

    After every epoch a checkpoint is written. Stopped or killed, a run goes on with --resume.
    """
    started = datetime.now().astimezone()
    for name, value in (("--keep", keep), ("--checkpoint-steps", checkpoint_steps)):
        if value is not None and value < 1:
            raise ArgumentError(f"{name} must be 1 or more, got {value}")
    if checkpoint_minutes is not None and not checkpoint_minutes > 0:
        raise ArgumentError(f"--checkpoint-minutes must be above 0, got {checkpoint_minutes}")
    if out is not None and resume is not None:
        raise ArgumentError("--out begins a run and --resume goes on with one; give one of them")
    if settings["seed"] < 0:
        raise ArgumentError(f"--seed must be 0 or more, got {settings['seed']}")
    place = _open_device(device)
    path = resume or out or Path("runs") / f"{started:%Y%m%d-%H%M%S}-{settings['model']}"
    with closing(Run(path, resume=resume is not None, keep=keep)) as run:
        given = {
            name
            for name in settings
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        }
        settings = run.settings(_resolved(settings), given)
        if run.is_finished(settings["epochs"]):
            click.echo(f"the run in {run.path} is finished; --epochs N goes on to N epochs")
            return
        dataset = _open_data(settings["data"], data_dir)
        settings["data"] = dataset.name
        arguments = _model_arguments(
            settings["model"],
            dataset.x_train.shape[1:],
            settings["hidden_size"],
            settings["activation"],
        )
        trainer = run.trainer(
            settings,
            arguments,
            dataset,
            place,
            engine=engine,
            threads=threads,
            skip_engine_check=skip_engine_check,
        )
        network = trainer.network
        model, parameters = settings["model"], network.params.count
        click.echo(f"model: {model}, {parameters} parameters, {settings['dtype']}")
        click.echo(f"engine: {_about(trainer.describe())}")
        for line in run.begin(trainer, settings, dataset, place):
            click.echo(line)
        begin = time.perf_counter()
        last = run.train(trainer, checkpoint_steps, checkpoint_minutes, tell=_tell)[-1]
        trainer.evaluate_samples = None
        train_accuracy = trainer.evaluate(trainer.train_batches)
        test_accuracy = trainer.evaluate(trainer.test_batches)
        summary = {
            "model": model,
            "arguments": arguments,
            "parameters": parameters,
            "data": dataset.name,
            "data_source": dataset.source,
            "train_images": len(dataset.x_train),
            "test_images": len(dataset.x_test),
            "device": place.name,
            "hardware": place.describe(),
            **trainer.describe(),
            "dtype": settings["dtype"],
            "seed": settings["seed"],
            "epochs": settings["epochs"],
            "batch_size": settings["batch_size"],
            "steps": len(trainer.train_loss_list),
            "optimizer": settings["optimizer"],
            "lr": settings["lr"],
            "schedule": settings["schedule"],
            "train_loss": last.train_loss,
            "train_accuracy": train_accuracy,
            "test_accuracy": test_accuracy,
            "train_seconds": last.seconds,
            "total_seconds": time.perf_counter() - begin,
            "started": started.isoformat(timespec="seconds"),
            "versions": versions(),
        }
        run.directory.finish(network, model, arguments, trainer.history, summary)
        click.echo(f"train accuracy: {train_accuracy:.4f} on {len(dataset.x_train)} images")
        click.echo(f"test accuracy: {test_accuracy:.4f} on {len(dataset.x_test)} images")
        click.echo(f"trained in {last.seconds:.1f} s on {place.name}; everything is in {run.path}")
        if not plots.available():
            click.echo(f"no learning curve was drawn: {plots.INSTALL}")


def _resolved(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the book's, or the optimizer's own, where none was given."""
    kind = MODELS[settings["model"]]
    optimizer = settings["optimizer"] or kind.optimizer
    lr = settings["lr"]
    if lr is None:  # a rate is right for one optimizer only
        lr = kind.lr if optimizer == kind.optimizer else OPTIMIZERS[optimizer]().lr
    epochs = kind.epochs if settings["epochs"] is None else settings["epochs"]
    return {**settings, "optimizer": optimizer, "lr": lr, "epochs": epochs}


def _tell(line: str) -> None:
    click.echo(f"xpnet: {line}", err=True)


@commands.command()
@_data_options
@_device_option
@click.option("--trials", default=100, show_default=True, help="How many are wanted in total.")
@click.option("--lr", nargs=2, default=(1e-6, 1e-2), show_default=True, metavar="LOW HIGH")
@click.option(
    "--weight-decay", nargs=2, default=(1e-8, 1e-4), show_default=True, metavar="LOW HIGH"
)
@click.option("--samples", default=500, show_default=True, help="Training images; 20 % validate.")
@click.option("--epochs", default=50, show_default=True)
@click.option("--batch-size", default=100, show_default=True)
@click.option(
    "--sampler", type=click.Choice(["random", "tpe"]), default="random", show_default=True
)
@click.option("--pruner", type=click.Choice(["none", "median"]), default="none", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes on this machine.")
@click.option("--timeout", type=float, help="Seconds after which no trial is begun.")
@click.option("--storage", help="URL of a database to share; a file in the run directory.")
@click.option("--study", default="xpnet", show_default=True, help="The search's name there.")
@click.option("--out", help="Run directory; runs/DATE-TIME-tune if left out.")
def tune(
    data: str,
    data_dir: str | None,
    device: str,
    trials: int,
    workers: int,
    timeout: float | None,
    storage: str | None,
    study: str,
    out: str | None,
    **searched: Any,
) -> None:
    """Search for learning rate and weight decay, as the book does.

    Started again with the same options, a search goes on where it was.
    """
    from xpnet.train import search as tuning  # needs Optuna

    search = tuning.Search(**searched)
    place = _open_device(device)
    dataset = _open_data(data, data_dir)
    directory = tuning.prepare_directory(
        out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-tune"
    )
    click.echo(f"directory: {directory}")
    results = search.run(
        dataset.x_train,
        dataset.t_train,
        storage=storage or tuning.storage_in(directory),
        study=study,
        trials=trials,
        workers=workers,
        device=place.name,
        timeout=timeout,
    )
    tuning.write_results(directory, search, study, results)
    for k, result in enumerate(tuning.best(results)[: tuning.SHOWN], start=1):
        click.echo(f"Best-{k} {result}")
    finished = sum(result.state in ("complete", "pruned") for result in results)
    ranges = tuning.narrowed(results, search).items()
    if ranges:
        options = [f"--{k.replace('_', '-')} {low:g} {high:g}" for k, (low, high) in ranges]
        click.echo(f"search next, where the best 5 % (at least 5) lie: {' '.join(options)}")
    click.echo(f"{finished} trials are finished; everything is in {directory}")
    if finished < trials:
        click.echo(f"to go on to {trials}, give the same options and --out {directory}")


@commands.command()
@_data_options
@_weights_options
@_device_option
@_engine_options
@click.option("--out", help="JSON file for the result; evaluation.json beside the weights.")
def evaluate(
    data: str,
    data_dir: str | None,
    weights: str,
    activation: str | None,
    device: str,
    engine: str,
    threads: int | None,
    precision: str | None,
    skip_engine_check: bool,
    out: str | None,
) -> None:
    """Measure a network's accuracy on the test images."""
    place = _open_device(device)
    network = load_network(weights, activation=activation, device=place)
    dataset = _open_data(data, data_dir)
    read = predictions(
        network,
        dataset.x_test,
        engine=engine,
        threads=threads,
        precision=precision,
        skip_engine_check=skip_engine_check,
    )
    accuracy = float(np.mean(read == dataset.t_test))
    record = {
        "weights": str(weights),
        "data": dataset.name,
        "test_accuracy": accuracy,
        "test_images": len(dataset.x_test),
        "device": place.name,
        "versions": versions(),
    }
    write_json(out or Path(weights).parent / "evaluation.json", record)
    click.echo(f"test accuracy: {accuracy:.4f} on {len(dataset.x_test)} images")


@commands.command()
@_weights_options
@_device_option
@_engine_options
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
def predict(
    weights: str,
    activation: str | None,
    device: str,
    engine: str,
    threads: int | None,
    precision: str | None,
    skip_engine_check: bool,
    images: tuple[str, ...],
) -> None:
    """Read digits from picture files, dark on light or light on dark."""
    pictures = np.stack([read_picture(image) for image in images])
    network = load_network(weights, activation=activation, device=_open_device(device))
    computing = get_engine(
        network, engine, threads, precision=precision, skip_engine_check=skip_engine_check
    )
    scores = computing.predict(pictures)
    table = to_numpy(softmax(scores))
    for image, row in zip(images, table, strict=True):
        shares = "  ".join(f"{digit}: {share:.3f}" for digit, share in enumerate(row))
        click.echo(f"{image}: {int(np.argmax(row))}   {shares}")


@commands.command()
@_model_options
@click.option("--engine", is_flag=True, help="Show, too, how the CPU's engine computes each layer.")
def summary(model: str, hidden_size: int | None, activation: str | None, engine: bool) -> None:
    """Show a network's layers, output shapes and parameters."""
    arguments = _model_arguments(model, (1, 28, 28), hidden_size, activation)
    network = build_network(model, arguments, rng=0)
    methods = get_engine(network).methods() if engine else {}
    rows = [("layer", "kind", "output shape", "parameters", "computed by" if engine else "")]
    rows += [("input", "", _shown(network.input_shape), "", "")]
    rows += [
        (
            row.name,
            row.kind,
            _shown(row.output_shape),
            f"{row.parameters:,}" if row.parameters else "",
            methods.get(row.name, ""),
        )
        for row in network.summary()
    ]
    rows += [("", "", "total", f"{network.params.count:,}", "")]
    for name, kind, shape, count, method in rows:
        click.echo(f"{name:10}{kind:14}{shape:>14}{count:>13}  {method}".rstrip())


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


@commands.command()
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--model", "models", multiple=True, type=click.Choice(MODELS_OFFERED), help="All if left out."
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=click.Choice(["train", "predict", "layers", "accuracy"]),
    help="The first two if left out.",
)
@click.option(
    "--contestant",
    "contestants",
    multiple=True,
    metavar="NAME",
    help="Whom to compare xpnet with; everybody if left out.",
)
@click.option(
    "--batch-size",
    "batch_sizes",
    multiple=True,
    type=int,
    help="Of training and layers; 10, 100 and 1000, and 100, if left out.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of products, on a GPU.",
)
@click.option("--threads", type=int, help="For each contestant; all cores if left out.")
@click.option("--rounds", default=10, show_default=True, help="Turns of each contestant.")
@click.option("--seconds", default=0.3, show_default=True, help="Length of a turn.")
@click.option("--seeds", type=int, help="Runs to an accuracy; 10 on a GPU, 3 on the CPU.")
@click.option("--out", help="Directory for the record, a page of tables and pictures.")
def bench(device: str, out: str | None, **options: Any) -> None:
    """Time steps beside PyTorch's, JAX's and the book's design.

    Options that name what to measure can be given more than once. Only xpnet takes part in the
    tasks layers, the share of each in a forward pass, and accuracy, the seconds of training until
    97 % and 99 % of MNIST's test images are read.
    """
    from xpnet.bench import report, run  # what `import xpnet.cli` need not wait for

    wanted = run.Options(device=_open_device(device).name, **options)
    directory = None if out is None else report.prepare_directory(out)
    record = run.run(
        wanted,
        begin=lambda record: click.echo("\n".join(report.head(record))),
        show=lambda case: click.echo(f"\n{report.text_table(case)}"),
    )
    click.echo(f"\n{report.legend(record)}")
    if directory is not None:
        report.write(directory, record)
        click.echo(f"everything is in {directory}")
        if not plots.available():
            click.echo(f"no picture was drawn: {plots.INSTALL}")


@commands.command()
def info() -> None:
    """Say what this machine can do: versions, GPUs, data, and what is missing."""
    found, library = cuda.diagnose(), blas_library()
    lines = {
        **versions(),
        "system": platform.platform(),
        **get_device("cpu").describe(),
        "blas": f"{library['blas']}, {library.get('blas_threads', 'unknown')} threads",
        "cupy": found.package,
        "nvidia driver": found.driver,
    }
    for number, name in enumerate(found.devices):
        lines[f"cuda:{number}"] = name
    if found.usable:
        try:
            lines["gpu memory"] = get_device("cuda").describe()["gpu_memory"]
        except XPNetError as error:
            lines["gpu"] = f"not usable: {error}"
    else:
        lines["gpu"] = f"not usable: {found.problem}; {found.remedy}"
    try:
        lines["MNIST"] = f"in {find_mnist(download=False)}"
    except DataNotFoundError as error:
        lines["MNIST"] = str(error)
    lines["matplotlib"] = "installed" if plots.available() else f"not installed: {plots.INSTALL}"
    width = max(map(len, lines))
    for name, text in lines.items():
        click.echo(f"{name:{width}}  {text}")


@commands.command(name="data")
@_data_options
@click.option("--export", help="Directory to write test images into, as PNG files.")
@click.option("--count", default=10, show_default=True, help="How many images to export.")
def show_data(data: str, data_dir: str | None, export: str | None, count: int) -> None:
    """Find, download and check a data set; say what is in it."""
    dataset = _open_data(data, data_dir)
    for part, images, labels in (
        ("train", dataset.x_train, dataset.t_train),
        ("test", dataset.x_test, dataset.t_test),
    ):
        counts = np.bincount(labels, minlength=10)
        each = ", ".join(f"{digit}: {n}" for digit, n in enumerate(counts))
        click.echo(f"{part}: {len(images)} images of {images.shape[2]}x{images.shape[3]}   {each}")
    if export is not None:
        _export(Path(export), dataset, count)


def _export(directory: Path, dataset: Dataset, count: int) -> None:
    if not 1 <= count <= len(dataset.x_test):
        raise ArgumentError(f"--count must be from 1 to {len(dataset.x_test)}, got {count}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"cannot create {directory}: {error.strerror}; name another") from error
    for number in range(count):
        name = f"{dataset.name}-{number:05d}-is-{dataset.t_test[number]}.png"
        save_picture(directory / name, dataset.x_test[number])
    click.echo(f"{count} test images are in {directory}")
