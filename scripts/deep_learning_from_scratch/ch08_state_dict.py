"""Do networks with weights under PyTorch's names put out what PyTorch's networks do?

    python scripts/deep_learning_from_scratch/ch08_state_dict.py

torchvision's networks with random weights, and with random running statistics, so that batch
normalization is seen: their state_dict is saved as torch saves it, read by `load_torch` into the
networks of that name here, and both get two random images of 224 x 224. Stated is the largest
difference of a score / the largest score. Needs torch and torchvision; VGG is left to the tests,
since it takes gigabytes.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import load_torch, to_numpy
from xpnet.models import build_network
from xpnet.report.experiment import Lab, main

NETWORKS = {  # torchvision's name: name here, and what torchvision's is made with
    "alexnet": ("alexnet-torchvision", {}),
    "googlenet": ("googlenet-torchvision", {"aux_logits": False, "init_weights": False}),
    "resnet18": ("resnet-18", {}),
    "resnet50": ("resnet-50", {}),
}
LIMITS = {"float64": 1e-10, "float32": 1e-5}


def torchvision_models() -> Any:
    """Import the definitions of torchvision's networks, or tell why not.

    The package for Linux on PyPI is built for CUDA: beside a torch for the CPU its operators cannot
    be loaded, and its import fails where it describes them. So they are declared before.
    """
    try:
        import torch

        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor"
            )
        from torchvision import models
    except ImportError as error:
        return f"{error.name} is not installed"
    return models


def difference(models: Any, name: str, seed: int, dtype: str) -> float:
    """Build both, with the same weights, and compare their scores."""
    import torch

    ours, options = NETWORKS[name]
    torch.manual_seed(seed)
    theirs = getattr(models, name)(weights=None, **options).eval().to(getattr(torch, dtype))
    for key, value in theirs.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    network = build_network(ours, {}, rng=seed, dtype=dtype)
    with tempfile.TemporaryDirectory() as directory:
        torch.save(theirs.state_dict(), path := Path(directory) / "weights.pth")
        load_torch(network, path)
    x = np.random.default_rng(seed).standard_normal((2, 3, 224, 224)).astype(dtype)
    with torch.no_grad():
        want = theirs(torch.from_numpy(x)).numpy()
    return float(np.max(np.abs(to_numpy(network.predict(x)) - want)) / np.max(np.abs(want)))


def run(lab: Lab) -> None:
    """Compare, with two seeds."""
    models = "this is a quick run" if lab.quick else torchvision_models()
    for name in NETWORKS:
        for dtype, limit in LIMITS.items():
            what = f"{name} in {dtype}: difference of scores, the larger of two seeds"
            if isinstance(models, str):
                lab.skip(what, models, band=f"0 to {limit:g}")
            else:
                found = [difference(models, name, seed, dtype) for seed in (lab.seed, lab.seed + 1)]
                lab.check(what, max(found), 0, limit)


if __name__ == "__main__":
    main(run, __doc__)
