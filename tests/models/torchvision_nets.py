"""Torchvision's networks beside PyTorch's CPU build, without which nothing here can be imported."""

from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")


def models():
    """torchvision.models, with weights of nobody.

    PyPI's torchvision is built for CUDA; beside a PyTorch for the CPU its operators are not there,
    of which the networks here need none. What asks for them while it is imported finds names.
    """
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    try:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision.models
    except Exception as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    return torchvision.models


def randomized(make, dtype, seed=0):
    """The network that `make` gives, with random weights, and statistics that show.

    It is made without numbers first, since drawing torchvision's own takes long.
    """
    with torch.device("meta"):
        module = make().to(getattr(torch, dtype))
    module, generator = module.to_empty(device="cpu"), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, array in module.state_dict().items():
            if name.endswith("running_var") or (array.ndim == 1 and name.endswith("weight")):
                array.uniform_(0.5, 1.5, generator=generator)
            elif array.ndim > 1:
                array.normal_(0, (2 / array[0].numel()) ** 0.5, generator=generator)
            elif array.is_floating_point():
                array.normal_(0, 0.1, generator=generator)
            else:
                array.zero_()
    return module.eval()


def images(n, size, dtype, seed=0):
    """A batch like that of ImageNet."""
    return np.random.default_rng(seed).standard_normal((n, 3, size, size)).astype(dtype)
