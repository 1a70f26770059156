"""Checks for layers and networks, the library's own and yours."""

from functools import partial
from inspect import signature
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, device_of, to_numpy
from xpnet.errors import ArgumentError
from xpnet.layers.base import run_layer, take_back
from xpnet.models.network import Network

STEP = 1e-5
"""The error of a central difference in float64 is then about 1e-10 from either side."""


@checked
def check_backward(
    layer: Any,
    *inputs: Array,
    rng: np.random.Generator | int = 0,
    rtol: float = 1e-7,
    train: bool = False,
) -> None:
    """Check a layer's backward against its forward, in float64.

    With y = f(x, p) and a random dy, the derivative of L = sum(y dy) along a random direction v of
    all inputs and parameters together is the inner product of v with the gradients. It is compared
    with (L(+h v) - L(-h v)) / (2 h). One direction finds any wrong gradient, with probability 1.

    Also checked: gradients have the names, shapes and dtypes of what they belong to, the layer
    alters neither its inputs nor dy, and leaving out dx, or the parameters' gradients if the layer
    can be frozen, changes no other gradient.

    Parameters
    ----------
    layer : anything with `forward(*inputs, train=...) -> (y, backward)` and `params`, float64
    inputs : float64 arrays, away from points where the layer has no derivative
    rng : NumPy generator or seed, of dy and v
    rtol : the error that is allowed, over the sum of the sizes of what is added
    train : what `forward` is told; a layer that draws at random must then draw the same each time

    Raises
    ------
    AssertionError
        The gradients are wrong, or one of the promises above is broken.
    ArgumentError
        There are no inputs, or other arrays than float64, or the layer's forward or backward
        returns something else than a layer's does.
    """
    arrays = (*inputs, *layer.params.values())
    if not inputs or not all(str(array.dtype).endswith("float64") for array in arrays):
        raise ArgumentError(
            "check_backward needs inputs, and a layer with parameters, in float64, got "
            f"{', '.join(str(array.dtype) for array in arrays) or 'none'}"
        )
    rng = np.random.default_rng(rng)
    device = device_of(inputs[0])

    def random_like(x: Array) -> Array:
        return device.asarray(rng.standard_normal(tuple(x.shape)))

    def kept(*arrays: Array) -> list[np.ndarray]:
        return [to_numpy(array).copy() for array in arrays]

    several = len(inputs) > 1
    run = layer.forward if several else partial(run_layer, layer)
    y, backward = run(*inputs, train=train)
    dy = random_like(y)
    before = kept(*inputs, dy)
    dx, grads = take_back(backward, layer, dy)
    for was, now in zip(before, kept(*inputs, dy), strict=True):
        np.testing.assert_array_equal(now, was, err_msg="the layer altered its input or dy")
    without_dx = backward(dy, need_dx=False)[1]

    # Copies: what a network's layer is given is written where its parameters are.
    params = {name: device.asarray(to_numpy(p).copy()) for name, p in layer.params.items()}
    if params and "need_grads" in signature(backward).parameters:
        alone, none = backward(dy, need_grads=False)
        assert not none, f"gradients {list(none)} that nobody asked for"
        for got, want in zip(alone, dx, strict=True) if several else ((alone, dx),):
            np.testing.assert_array_equal(to_numpy(got), to_numpy(want), "dx without gradients")
    assert list(grads) == list(params), f"gradients {list(grads)}, parameters {list(params)}"
    for name in params:
        np.testing.assert_array_equal(to_numpy(without_dx[name]), to_numpy(grads[name]), name)
    places = [*inputs, *params.values()]
    gradients = [*(dx if several else (dx,)), *grads.values()]
    for place, gradient in zip(places, gradients, strict=True):
        assert gradient.shape == place.shape, f"gradient {gradient.shape} for {place.shape}"
        assert gradient.dtype == place.dtype, f"gradient {gradient.dtype} for {place.dtype}"

    directions = [random_like(place) for place in places]

    def loss(h: float) -> float:
        moved = [place + h * v for place, v in zip(places, directions, strict=True)]
        layer.params = dict(zip(params, moved[len(inputs) :], strict=True))
        try:
            y = layer.forward(*moved[: len(inputs)], train=train)[0]
            return float(np.sum(to_numpy(y * dy)))
        finally:
            layer.params = params

    numerical = (loss(STEP) - loss(-STEP)) / (2 * STEP)
    terms = [
        to_numpy(v * gradient).sum() for v, gradient in zip(directions, gradients, strict=True)
    ]
    scale = sum(map(abs, terms))
    error = abs(numerical - sum(terms))
    assert error <= rtol * scale, f"numerical {numerical}, backward {sum(terms)}, error {error}"


@checked
def gradient_check(network: Network, x: Array, t: Array) -> dict[str, float]:
    """Average |numerical - backpropagated| for each parameter of a float64 network (section 5.7.3).

    Frozen parameters have no gradient and are left out. With the exact cross-entropy a right
    backward pass gives about 1e-10 or less.
    """
    state = network.copied_state()
    analytic = network.gradient(x, t)
    network.restore_state(state)
    numerical = network.numerical_gradient(x, t)
    return {
        name: float(np.mean(np.abs(to_numpy(numerical[name]) - to_numpy(analytic[name]))))
        for name in analytic
    }
