"""Recurrent layers: each step reads an input and the state that the step before left."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, TypeAlias

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
from xpnet.functions.activations import sigmoid
from xpnet.functions.init import filled, initial_std, is_unwritten, normal
from xpnet.layers.base import Backward, Leaf, Params, Shape, sample_shape

State: TypeAlias = tuple[Array, ...]
"""What is handed from step to step, arrays (N, n_hidden): h, or h and c of an LSTM."""

Gradients: TypeAlias = tuple[Array | None, ...]
"""Of a state; None stands for nothing to be added."""

BackwardInTime: TypeAlias = Callable[..., tuple[Array | None, Params, Any]]
"""`backward(dh, d_last=None, need_dx=True, need_grads=True)` gives `(dx, grads, d_state)`."""

Step: TypeAlias = Callable[[Any], tuple[Array, Array, Gradients]]
"""From the gradient of the state behind a step, of which all but h's may be None, to those of its
two products, and of the state before it besides what goes through them, None for nothing."""


Cell: TypeAlias = Callable[[Array, Array, State], tuple[State, Step]]
"""A step: from x_t Wx + b, h_{t-1} Wh and the state before it to the state behind it."""


class Recurrent(Leaf):
    """What RNN, LSTM and GRU share: the way of a sequence through one cell, step by step.

    A sequence x is (N, T, n_in), the batch first, and what a layer puts out the hidden state h of
    every step, (N, T, n_hidden). A cell adds up two products, of its input and of the hidden state
    before it, in n_gates groups of n_hidden columns:

        x_t Wx + b   and   h_{t-1} Wh

    The products of all inputs are one, before the first step, and dWx, dWh, db and dx are one each
    behind the last: only what a step has to wait for is done step by step.

    `forward` begins with a state of zeros, as a layer does. `unroll` takes a state and gives the
    last one back, so that a stream can be read in blocks, or a network begin with what another one
    says of an image. The state passes from call to call and its gradient does not, unless the one
    backward is given what the other one gives: that is truncated backpropagation through time
    (Williams, Peng 1990).

    Attributes
    ----------
    n_gates : groups of columns
    n_states : arrays of a state
    """

    decays = ("Wx", "Wh")
    n_gates: int
    n_states: int = 1

    @checked
    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        *,
        std: float | str = "xavier",
        rng: np.random.Generator | int | None = None,
    ) -> None:
        if n_in < 1 or n_hidden < 1:
            raise ArgumentError(
                f"{type(self).__name__} needs at least one input and one hidden number, got "
                f"n_in={n_in}, n_hidden={n_hidden}"
            )
        generator, columns = np.random.default_rng(rng), self.n_gates * n_hidden
        self.params: Params = {
            name: normal((rows, columns), initial_std(std, rows, n_hidden), generator)
            for name, rows in (("Wx", n_in), ("Wh", n_hidden))
        } | {"b": filled(columns, 0.0)}

    @property
    def n_in(self) -> int:
        """The numbers that a step reads."""
        return int(self.params["Wx"].shape[0])

    @property
    def n_hidden(self) -> int:
        """The numbers of the hidden state, which a step puts out."""
        return int(self.params["Wh"].shape[0])

    def arguments(self) -> dict[str, Any]:
        """Numbers that a step reads and puts out."""
        return {"n_in": self.n_in, "n_hidden": self.n_hidden}

    def output_shape(self, shape: Shape) -> Shape:
        """(T, n_hidden) for a sequence (T, n_in)."""
        if len(shape) != 2 or shape[0] < 1 or shape[1] != self.n_in:
            raise ArgumentError(
                f"{type(self).__name__} takes sequences of at least one step and {self.n_in} "
                f"numbers each, (T, {self.n_in}), got the shape {tuple(shape)}"
            )
        return (shape[0], self.n_hidden)

    def macs(self, shape: Shape) -> int:
        """Multiplications of both products, each with an addition: T n_gates n_hidden (D + H)."""
        return shape[0] * self.n_gates * self.n_hidden * (self.n_in + self.n_hidden)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The hidden states of all steps, (N, T, n_hidden), from a state of zeros on."""
        h, _, backward = self.unroll(x)

        def of_h(
            dy: Array, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array | None, Params]:
            return backward(dy, need_dx=need_dx, need_grads=need_grads)[:2]

        return h, of_h

    def unroll(
        self, x: Array, state: Sequence[Array] | None = None
    ) -> tuple[Array, State, BackwardInTime]:
        """Take the steps of x from a state on.

        Parameters
        ----------
        x : (N, T, n_in), not altered
        state : as a call before gave it, `n_states` arrays (N, n_hidden); zeros if None

        Returns
        -------
        The hidden states of all steps, (N, T, n_hidden), the state after the last step, and
        `backward(dh, d_last=None, need_dx=True, need_grads=True)`. It takes the gradient of the
        hidden states and, where the last state was used besides, of that; it gives
        `(dx, grads, d_state)`, of which d_state is None where no state was given.

        Raises
        ------
        ArgumentError
            The sequences are of other numbers, or the state is not one of this layer and of as many
            samples.
        """
        self.output_shape(sample_shape(x))
        xp, (N, T, D), H = array_namespace(x), x.shape, self.n_hidden
        Wx, Wh, b = (self.params[name] for name in ("Wx", "Wh", "b"))
        begun = self._checked(state, N) if state is not None else None
        now = begun or tuple(
            xp.zeros((N, H), dtype=Wh.dtype, device=x.device) for _ in range(self.n_states)
        )
        # Time first: a step's part of the product is then a piece of memory by itself.
        rows = xp.reshape(xp.permute_dims(x, (1, 0, 2)), (T * N, D))
        of_x = rows @ Wx
        of_x += b  # in place: it is the largest array here
        of_x = xp.reshape(of_x, (T, N, self.n_gates * H))
        cell, before, hs, steps = self._cell(Wh), [], [], list[Step]()
        for t in range(T):
            before.append(now[0])
            now, step = cell(of_x[t, ...], now[0] @ Wh, now)
            hs.append(now[0])
            steps.append(step)

        def backward(
            dh: Array, d_last: State | None = None, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array | None, Params, State | None]:
            d_x, d_h = [], []
            after: Gradients = d_last or (None,) * self.n_states
            for t in reversed(range(T)):
                d_now = dh[:, t, :] if after[0] is None else dh[:, t, :] + after[0]
                a, u, rest = steps[t]((d_now, *after[1:]))
                d_x.append(a)
                d_h.append(u)
                if t or begun:
                    through = u @ Wh.T
                    after = (through if rest[0] is None else through + rest[0], *rest[1:])
            d_rows = xp.concat(d_x[::-1], axis=0)
            grads: Params = {}
            if need_grads:
                same = all(a is u for a, u in zip(d_x, d_h, strict=True))
                u_rows = d_rows if same else xp.concat(d_h[::-1], axis=0)
                grads["Wx"] = rows.T @ d_rows
                grads["Wh"] = xp.concat(before, axis=0).T @ u_rows
                grads["b"] = xp.sum(d_rows, axis=0)
                grads |= self._more_grads(u_rows)
            dx = None
            if need_dx:
                dx = xp.permute_dims(xp.reshape(d_rows @ Wx.T, (T, N, D)), (1, 0, 2))
            return dx, grads, after if begun else None

        return xp.stack(hs, axis=1), now, backward

    def _checked(self, state: Sequence[Array], N: int) -> State:
        """A state that was given, or an error."""
        want = [(N, self.n_hidden)] * self.n_states
        several = isinstance(state, list | tuple)
        got = [tuple(getattr(each, "shape", ())) for each in state] if several else None
        if got != want:
            raise ArgumentError(
                f"a state of {type(self).__name__} for these samples is a tuple of "
                f"{self.n_states} of shape {want[0]}, got "
                f"{type(state).__name__ if got is None else got}"
            )
        return tuple(state)

    def _more_grads(self, d_h: Array) -> Params:
        """Gradients of parameters that the hidden state's product has besides Wh."""
        return {}

    def _cell(self, Wh: Array) -> Cell:
        """The function of a step, for numbers as Wh has them."""
        raise NotImplementedError


class RNN(Recurrent):
    """The simple recurrent layer (Elman 1990), with a state (h,).

        h' = tanh(a),   a = x Wx + h Wh + b
        da = dh' (1 - h'^2),   dx = da Wx^T,   dh = da Wh^T
        dWx = sum over t of x^T da,   dWh = sum over t of h^T da,   db = sum of the rows of all da

    dh' is what a step's output and the step after it say together. Gradients over many steps grow
    or vanish like powers of Wh: clip them (Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063).

    Parameters
    ----------
    n_in, n_hidden : numbers that a step reads and puts out
    std : standard deviation of the initial Wx and Wh, or the name of a rule for it in
        `xpnet.functions.init`, which goes by the rows of each; b starts at 0
    rng : NumPy generator or seed. NumPy draws for every array library, so one seed is one network.
    """

    n_gates = 1

    def _cell(self, Wh: Array) -> Cell:
        tanh = array_namespace(Wh).tanh

        def cell(of_x: Array, of_h: Array, state: State) -> tuple[State, Step]:
            h = tanh(of_x + of_h)

            def step(d_state: Gradients) -> tuple[Array, Array, Gradients]:
                da = d_state[0] * (1.0 - h * h)
                return da, da, (None,)

            return (h,), step

        return cell


class LSTM(Recurrent):
    """Long short-term memory, with a state (h, c).

        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o),   g = tanh(a_g),   a = x Wx + h Wh + b
        c' = f c + i g,   h' = o tanh(c')

        dc   = dc' + dh' o (1 - tanh(c')^2)
        da_i = dc g i (1 - i),   da_f = dc c f (1 - f),   da_g = dc i (1 - g^2)
        da_o = dh' tanh(c') o (1 - o),   dc_before = dc f

    and from da to all else as in `RNN`. The columns of Wx, Wh and b are those of i, f, g, o in this
    order, which is PyTorch's; Saitoh's second book has f, g, i, o. There is one bias, and not
    PyTorch's two, and no weights from c to the gates. Hochreiter, Schmidhuber 1997; Gers,
    Schmidhuber, Cummins 2000 for f.

    Parameters
    ----------
    n_in, n_hidden, std, rng : as in `RNN`
    forget_bias : where the forget gate's bias starts; all others start at 0. With 1 the memory is
        kept at first (Jozefowicz, Zaremba, Sutskever 2015).
    """

    n_gates, n_states = 4, 2

    @checked
    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        *,
        std: float | str = "xavier",
        forget_bias: float = 1.0,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__(n_in, n_hidden, std=std, rng=rng)
        if not isfinite(forget_bias):
            raise ArgumentError(f"forget_bias must be finite, got {forget_bias}; try 1.0")
        if not is_unwritten():
            self.params["b"][n_hidden : 2 * n_hidden] = forget_bias

    def _cell(self, Wh: Array) -> Cell:
        # sigmoid(a) = (1 + tanh(a / 2)) / 2: every gate is s tanh(s a) + 1 - s, with s = 1/2, or 1
        # for g, and its slope s^2 (1 - tanh^2). So all four are one tanh, which is faster.
        xp, H = array_namespace(Wh), self.n_hidden
        half = xp.full((H,), 0.5, dtype=Wh.dtype, device=Wh.device)
        s = xp.concat([half, half, 2.0 * half, half])

        def cell(of_x: Array, of_h: Array, state: State) -> tuple[State, Step]:
            squashed, c = xp.tanh((of_x + of_h) * s), state[1]
            gates = squashed * s + (1.0 - s)
            i, f, g, o = (gates[:, k * H : (k + 1) * H] for k in range(4))
            c_new = f * c + i * g
            tanh_c = xp.tanh(c_new)

            def step(d_state: Gradients) -> tuple[Array, Array, Gradients]:
                dh, dc_after = d_state
                dc = dh * o * (1.0 - tanh_c * tanh_c)
                if dc_after is not None:
                    dc = dc + dc_after
                d_gates = xp.concat([dc * g, dc * c, dc * i, dh * tanh_c], axis=1)
                da = d_gates * ((1.0 - squashed * squashed) * (s * s))
                return da, da, (None, dc * f)

            return (o * tanh_c, c_new), step

        return cell


class GRU(Recurrent):
    """Gated recurrent unit, with a state (h,).

        r = sigmoid(x Wx_r + b_r + u_r),   z = sigmoid(x Wx_z + b_z + u_z),   u = h Wh + bh
        n = tanh(x Wx_n + b_n + r u_n),    h' = (1 - z) n + z h

        da_n = dh' (1 - z) (1 - n^2),   da_z = dh' (h - n) z (1 - z),   da_r = da_n u_n r (1 - r)
        du = (da_r, da_z, da_n r),      dh = dh' z + du Wh^T

    The columns of Wx, Wh, b and bh are those of r, z, n in this order. Cho et al. 2014,
    arXiv:1406.1078, have (r h) in place of h in the product for n; here, as in cuDNN and PyTorch, r
    comes after the product, which therefore has a bias bh of its own.

    Parameters
    ----------
    n_in, n_hidden, std, rng : as in `RNN`; bh starts at 0, too
    """

    n_gates = 3

    @checked
    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        *,
        std: float | str = "xavier",
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__(n_in, n_hidden, std=std, rng=rng)
        self.params["bh"] = filled(3 * n_hidden, 0.0)

    def _cell(self, Wh: Array) -> Cell:
        xp, H, bh = array_namespace(Wh), self.n_hidden, self.params["bh"]

        def cell(of_x: Array, of_h: Array, state: State) -> tuple[State, Step]:
            (h,), u = state, of_h + bh
            r_z, u_n = sigmoid(of_x[:, : 2 * H] + u[:, : 2 * H]), u[:, 2 * H :]
            r, z = r_z[:, :H], r_z[:, H:]
            n = xp.tanh(of_x[:, 2 * H :] + r * u_n)

            def step(d_state: Gradients) -> tuple[Array, Array, Gradients]:
                (dh,) = d_state
                da_n = dh * (1.0 - z) * (1.0 - n * n)
                da_z = dh * (h - n) * z * (1.0 - z)
                da_r = da_n * u_n * r * (1.0 - r)
                da = xp.concat([da_r, da_z, da_n], axis=1)
                return da, xp.concat([da_r, da_z, da_n * r], axis=1), (dh * z,)

            return ((1.0 - z) * n + z * h,), step

        return cell

    def _more_grads(self, d_h: Array) -> Params:
        return {"bh": array_namespace(d_h).sum(d_h, axis=0)}


class StepsLast(Leaf):
    """Scores of steps, (N, T, K), as (N, K, T): losses and metrics have the classes on axis 1.

    `SoftmaxWithLoss(ignore=-1)` then takes labels (N, T), in which -1 stands where sequences of
    different lengths are padded, and is the mean over all other places of the batch.
    """

    def __init__(self) -> None:
        self.params: Params = {}

    def output_shape(self, shape: Shape) -> Shape:
        """(K, T) for sequences (T, K)."""
        if len(shape) != 2:
            raise ArgumentError(f"StepsLast takes sequences (T, K), got the shape {tuple(shape)}")
        return shape[::-1]

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The same numbers, (N, K, T)."""
        xp = array_namespace(x)
        self.output_shape(sample_shape(x))

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            return xp.permute_dims(dy, (0, 2, 1)), {}

        return xp.permute_dims(x, (0, 2, 1)), backward
