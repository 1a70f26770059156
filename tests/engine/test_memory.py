"""Memory does not grow with the data."""

import subprocess
import sys

TRAIN = """
import sys
from xpnet import DeepConvNet, Trainer, synthetic_digits
from xpnet.bench.machine import memory
x, t = synthetic_digits(int(sys.argv[1]))
Trainer(DeepConvNet(rng=0), x, t, x, t, epochs=1, optimizer="adam", optimizer_param={"lr": 0.001},
        verbose=False).train()
print(memory()["peak"])  # unlike getrusage's, not that of the process that started this one
"""


def peak_mib(images):
    run = [sys.executable, "-c", TRAIN, str(images)]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


def test_an_epoch_of_the_deep_network_needs_less_than_a_gibibyte():
    """Twice the images is 0.4 MiB more pixels; the rest is the allocator's spread."""
    small, large = peak_mib(500), peak_mib(1000)
    assert large < 1024
    assert large < 1.2 * small
