"""A Dropout that follows nothing it could be fused with; others are in chains: see chain.py."""

from xpnet.engine.cuda.activation import Pointwise
from xpnet.engine.cuda.kernel import does
from xpnet.layers import Dropout


@does(Dropout, patterns=())
class DropoutKernel(Pointwise):
    """A chain of a Dropout alone."""
