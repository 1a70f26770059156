"""How long is an optimizer's update of a whole network beside PyTorch's?

    python scripts/bench_optimizer.py --model deep-convnet --optimizer adam --limit 1 --out FILE

One set of parameters and gradients in float32. xpnet updates the network's flat buffer, which
includes gathering the gradients into one, and once more array by array, as it does for any mapping.
PyTorch does so with foreach, its faster way in Python, and fused into one loop where it has that.
All on one thread, in processor time, from which a busy machine takes little. Blocks of updates
alternate; what counts is the ratio within a round.
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from xpnet import Network
from xpnet.bench import machine
from xpnet.bench.cases import NAMES, fresh
from xpnet.bench.statistics import ratios, spread
from xpnet.files.atomic import write_text
from xpnet.optim import OPTIMIZERS
from xpnet.report.script import Script

Step = Callable[[int], None]

FUSED = ("sgd", "momentum", "nesterov", "adagrad", "adam", "adamw")
"""The rules that PyTorch can fuse on the CPU."""


def gradients(network: Network) -> dict[str, np.ndarray]:
    """Draw gradients of the size that training meets."""
    rng = np.random.default_rng(0)
    return {
        name: (0.01 * rng.standard_normal(p.shape)).astype(np.float32)
        for name, p in network.params.items()
    }


def xpnet_steps(model: str, name: str) -> dict[str, Step]:
    """Make xpnet's updates: of the flat buffer, and array by array."""
    network = fresh(model)
    arrays = {key: p.copy() for key, p in network.params.items()}
    grads = gradients(network)
    flat, by_array = OPTIMIZERS[name](), OPTIMIZERS[name]()
    return {
        "xpnet": lambda _: flat.update(network.params, grads),
        "xpnet, by array": lambda _: by_array.update(arrays, grads),
    }


def torch_steps(model: str, name: str) -> dict[str, Step]:
    """Make the same update by PyTorch."""
    import torch

    network = fresh(model)
    grads = gradients(network)
    kind, arguments = {
        "sgd": (torch.optim.SGD, {}),
        "momentum": (torch.optim.SGD, {"momentum": 0.9}),
        "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        "adagrad": (torch.optim.Adagrad, {"eps": 1e-7}),
        "rmsprop": (torch.optim.RMSprop, {"eps": 1e-7}),
        "adam": (torch.optim.Adam, {}),
        "adamw": (torch.optim.AdamW, {}),
    }[name]

    def step(**way: bool) -> Step:
        tensors = []
        for key, p in network.params.items():
            tensors.append(torch.from_numpy(p.copy()).requires_grad_())
            tensors[-1].grad = torch.from_numpy(grads[key])
        update: Callable[[], Any] = kind(tensors, lr=OPTIMIZERS[name]().lr, **arguments, **way).step
        return lambda _: update()

    steps = {"torch foreach": step(foreach=True)}
    return steps | ({"torch fused": step(fused=True)} if name in FUSED else {})


def interleaved(steps: dict[str, Step], rounds: int, updates: int) -> dict[str, list[float]]:
    """Time an update by turns, in milliseconds of processor time, one figure a round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step(0)
    for _ in range(rounds):
        for name, step in steps.items():
            begin = time.process_time()
            for i in range(updates):
                step(i)
            times[name].append((time.process_time() - begin) / updates * 1000)
    return times


def measure(model: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time one optimizer; print the table and give the record."""
    steps = xpnet_steps(model, name)
    with threadpool_limits(1):
        if importlib.util.find_spec("torch") is not None:
            import torch

            torch.set_num_threads(1)
            steps |= torch_steps(model, name)
        times = interleaved(steps, options.rounds, options.updates)
    record = {
        "model": model,
        "optimizer": name,
        "parameters": fresh(model).params.count,
        "threads": 1,
        "updates_a_turn": options.updates,
        **machine.description(),
        "milliseconds": {way: spread(values) for way, values in times.items()},
        "ratios": ratios(times),
    }
    print(f"{name}, {model}, {record['parameters']} parameters, {record['machine']}")
    line = "  {name:24} {median:7.3f} {unit:12} (min {min:.3f}, max {max:.3f})"
    for way, row in record["milliseconds"].items():
        print(line.format(name=way, unit="ms an update", **row))
    for way, row in record["ratios"].items():
        print(line.format(name=way, unit="", **row))
    return record


def answer(options: argparse.Namespace) -> None:
    """Measure, print, write the records if asked to; exit 1 where a ratio is above the limit."""
    records = [measure(options.model, name, options) for name in options.optimizer or OPTIMIZERS]
    if options.out:
        write_text(options.out, json.dumps(records, indent=2) + "\n")
    if "torch" not in records[0]["versions"]:
        print("PyTorch is not installed: it was left out")
    elif options.limit is not None:
        by_name = {row["optimizer"]: row["ratios"]["xpnet / torch foreach"] for row in records}
        slow = [name for name, ratio in by_name.items() if ratio["median"] > options.limit]
        if slow:
            sys.exit(f"slower than {options.limit:g} times PyTorch's foreach: {', '.join(slow)}")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__)
    script.add_argument("--model", choices=NAMES, default="deep-convnet")
    script.add_argument("--optimizer", choices=OPTIMIZERS, action="append", help="all if left out")
    script.add_argument("--rounds", type=int, default=15)
    script.add_argument("--updates", type=int, default=100, help="of each turn")
    script.add_argument("--limit", type=float, help="of the median ratio to PyTorch's foreach")
    script.run(answer)


if __name__ == "__main__":
    main()
