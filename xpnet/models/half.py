"""Networks whose numbers have 16 bits between the layers (section 8.3.4)."""

from copy import copy, deepcopy
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array
from xpnet.errors import ArgumentError
from xpnet.functions.rounding import Half, rounded
from xpnet.layers import Backward, Container, Layer, Params, Sum
from xpnet.layers.base import run_layer, take_back
from xpnet.models.network import Network
from xpnet.models.nodes import INPUT
from xpnet.models.plain import check_plain


@checked
def half_precision(network: Network, to: Half = "float16") -> Network:
    """A copy that computes as if its numbers were kept in "float16" or "bfloat16".

    Input, parameters and what each layer puts out are rounded on their way, and so are gradients;
    within a layer, sums and statistics have the network's own dtype, as those of processors for 16
    bits have. The parameters themselves are not rounded: they are the float32 master weights of
    Micikevicius et al. 2018, "Mixed precision training", arXiv:1710.03740, section 3.1, which take
    up steps that are too small for 16 bits. `optim.penalties.HalfStorage` rounds them, too, and
    `optim.loss_scale.LossScale` keeps small gradients from becoming 0.

    Engines run it as it is. Its weight file is one of a layer with a forward of its own, which
    `load_params` of the first network reads; to keep a file small, give `save_params` a dtype.

    Raises
    ------
    ArgumentError
        A layer, or the network, has a forward of its own.
    """
    check_plain(network)
    other = deepcopy(network)
    for node in other.nodes():
        layer: Any = node.layer
        # What chooses, or puts together, numbers of 16 bits gives such numbers.
        if isinstance(layer, Container) and not isinstance(layer, Sum):
            continue
        try:
            layer.forward = _Rounding(layer, to, of_input=INPUT in node.inputs)
        except AttributeError:
            raise ArgumentError(
                f"layer {node.name}, {type(layer).__name__}, has no place for another forward; "
                "add 'forward' to its __slots__, or leave these out"
            ) from None
    return other


class _Rounding:
    """The forward of a layer, with numbers of 16 bits before and after it.

    Parameters
    ----------
    of_input : whether the layer reads the network's input, which no other has rounded
    """

    def __init__(self, layer: Layer, to: Half, *, of_input: bool) -> None:
        self._layer, self._to, self._of_input = layer, to, of_input

    def __call__(self, x: Any, *, train: bool = False) -> tuple[Array, Backward]:
        layer, to, twin = self._layer, self._to, copy(self._layer)
        del twin.__dict__["forward"]
        if not isinstance(layer, Container) and layer.params:
            twin.__dict__.pop("params", None)  # which are the network's, and stay as they are
            twin.params = {name: rounded(p, to) for name, p in layer.params.items()}
        y, step = run_layer(twin, rounded(x, to) if self._of_input else x, train=train)

        def backward(dy: Any, need_dx: bool = True, need_grads: bool = True) -> tuple[Any, Params]:
            with np.errstate(invalid="ignore"):  # of gradients scaled too much: see LossScale
                dx, grads = take_back(
                    step, twin, rounded(dy, to), need_dx=need_dx, need_grads=need_grads
                )
            return dx, {name: rounded(grad, to) for name, grad in grads.items()}

        return rounded(y, to), backward
