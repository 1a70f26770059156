"""An activation that follows nothing it could be fused with."""

from typing import ClassVar

from xpnet.engine.cuda.chain import ACTIVATIONS
from xpnet.engine.cuda.kernel import EachNumber, does
from xpnet.engine.lower import Pattern
from xpnet.layers import Dropout


class Pointwise(EachNumber):
    """A chain by itself."""

    before_chain: ClassVar[int] = 0
    begins = "pointwise_forward(x", "pointwise_backward(x"


@does(*ACTIVATIONS, patterns=[Pattern((tuple(ACTIVATIONS), (Dropout,)))])
class ActivationKernel(Pointwise):
    """An activation, and a Dropout behind it."""
