"""Optimizers: how parameters follow their gradients.

All have the book's interface, `optimizer.update(params, grads)` on two mappings of equal keys
(section 6.1.2), and change the parameter arrays in place. In the formulas p is a parameter, g its
gradient, and products are element by element.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from math import isfinite
from typing import Any, ClassVar, Literal, Self

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.parameters import FlatParams, Learning
from xpnet.described import Described
from xpnet.errors import ArgumentError
from xpnet.layers.base import Params
from xpnet.optim.checks import (
    Rate,
    check_gradients,
    checked_eps,
    checked_learning_rate,
    checked_share,
)
from xpnet.optim.one_pass import has_loop, in_one_pass
from xpnet.optim.penalties import is_weight

EPS = 1e-7
"""The book's code adds it to a root before dividing by it."""


class Optimizer(Described):
    """An update rule, with the state it carries from step to step.

    A rule is `step(p, g, *state, *factors)`, which changes p and its state in place. The state is
    an array of p's shape, zero at first, for each name in `kept`; the factors are what `factors`
    gives.

    The parameters of a network are updated as the one buffer they live in, any other mapping array
    by array. Both do the same to every number. How a network's parameter learns, such as with a
    tenth of the rate, within bounds or not at all, is in `FlatParams.learning`. A rule that keeps
    something is for the parameters of its first update alone; SGD, which keeps nothing, serves any
    number of networks. A copy has a state of its own and goes on from there, with whichever
    parameters of these shapes it is given first.

    Attributes
    ----------
    lr : learning rate of the next update, a plain number that may be set between updates
    state : arrays by name, such as "v.W1", or "v.flat" for all parameters of a network, laid out as
        `params.flat`. Empty before the first update. With the parameters it makes a checkpoint: a
        fresh optimizer that is given a copy of it goes on in the same way, bit for bit.

    Raises
    ------
    ArgumentError
        lr is not a positive finite number; in `update`, a gradient is missing or misshapen, a
        parameter cannot be changed in place, or the state is of other parameters.
    """

    kept: ClassVar[tuple[str, ...]] = ()
    decays: ClassVar[bool] = False
    """True where weights are treated otherwise than what does not decay."""
    step: Callable[..., None]
    lr: float = Rate()  # type: ignore[assignment]

    @checked
    def __init__(self, lr: float = 0.01) -> None:
        self.lr = checked_learning_rate(lr)
        self.state: Params = {}
        self._forget()

    def _forget(self) -> None:
        """Belong to no parameters."""
        self._params: Mapping[str, Array] | None = None
        self._checked: Params | None = None
        self._gathered: FlatParams | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has; the parameters are another's."""
        return {**self.__dict__, "_params": None, "_checked": None, "_gathered": None}

    def __copy__(self) -> Self:
        return deepcopy(self)

    def _twin(self) -> Self:
        """Another one that shares the state."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def arguments(self) -> dict[str, Any]:
        """The learning rate, and the rule's other numbers."""
        return {"lr": self.lr}

    def fresh(self) -> "Optimizer":
        """The same rule with the same numbers, before its first step."""
        other = self._twin()
        other.state = {}
        other._forget()
        return other

    def update(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """Take one step: change every array of `params` that learns, in place."""
        check_gradients(params, grads)
        self.serve(params)
        self.begin()
        if isinstance(params, FlatParams):
            gradient = self._flat(params, grads)
            state = [self.state[f"{kind}.flat"] for kind in self.kept]
            of_one_shape = (params.flat, gradient, *state)
            for run in params.runs(by_decay=self.decays):
                rule, bounds = self.learning(run.learning), run.learning.bounds
                step, blocks, numbers = rule.step, run.blocks, list(rule.factors())
                if (found := in_one_pass(rule, of_one_shape, numbers)) is not None:
                    (step, numbers), blocks = found, (run.whole,)
                for block in blocks:
                    step(*[array[block] for array in of_one_shape], *numbers)
                    if bounds is not None:
                        _bring_within(params.flat[block], *bounds)
            return
        for name, p in params.items():
            rule = self.learning(Learning(decays=is_weight(params, name)))
            state = [self.state[f"{kind}.{name}"] for kind in self.kept]
            factors = rule.factors()
            if not p.ndim:  # or the result would have their axis
                factors = tuple(array_namespace(p).reshape(factor, ()) for factor in factors)
            rule.step(p, grads[name], *state, *factors)

    def serve(self, params: Mapping[str, Array]) -> None:
        """Begin with parameters, or make sure that the state is theirs.

        Raises
        ------
        ArgumentError
            It is of others.
        """
        if params is self._params and self.state is self._checked:
            return
        self.check(params)
        if not self.state:
            self.start(_in_place(params))
        self._gathered = None
        # A mapping that is no buffer may hold other arrays the next time.
        self._checked = self.state if isinstance(params, FlatParams) else None
        self._params = params

    def check(self, params: Mapping[str, Array]) -> None:
        """Refuse parameters that are others than those that the state is of."""
        if not self.state:
            return
        kind, mine = type(self).__name__, self._params
        if mine is not None and not _are_same(mine, params):
            told, remedy = _told(params), "make one for each"
            if (whose := f"with the parameters {_told(mine)}") == f"with the parameters {told}":
                whose, told = "though of the same shapes", f"the parameters of this one, {told}"
                remedy += ", or copy both, copy.deepcopy((network, optimizer))"
            raise ArgumentError(
                f"this {kind} belongs to another network, {whose}, of which it keeps "
                f"{', '.join(self.kept) or 'a state'}, and was given {told}; {remedy}"
            )
        for name, p in _in_place(params).items():
            for key in (f"{kept}.{name}" for kept in self.kept):
                found = self.state.get(key)
                if found is None or found.shape != p.shape or found.dtype != p.dtype:
                    raise ArgumentError(
                        f"the state of this {kind} is of other parameters: {key} should be "
                        f"{_shown(p)} and is {_shown(found)}; make another {kind}"
                    )

    def start(self, arrays: Mapping[str, Array]) -> None:
        """Fill `state` before the first update: with zeros."""
        for name, p in arrays.items():
            for kind in self.kept:
                self.state[f"{kind}.{name}"] = array_namespace(p).zeros_like(p)

    def begin(self) -> None:
        """Do what has to be done once an update, for all arrays."""

    def factors(self) -> tuple[Array, ...]:
        """Return what `step` needs besides the arrays, for an update that has begun."""
        return ()

    def learning(self, how: Learning) -> "Optimizer":
        """The rule for parameters that learn in this way; it shares the state."""
        if how.rate == 1.0:
            return self
        rule = self._twin()
        rule.lr = self.lr * how.rate
        return rule

    def _flat(self, params: FlatParams, grads: Mapping[str, Array]) -> Array:
        """The gradients in one buffer like the parameters'; it is kept from step to step."""
        if isinstance(grads, FlatParams):
            return grads.flat
        if self._gathered is None:
            self._gathered = params.like()
        return self._gathered.gather(grads)


class SGD(Optimizer):
    """Stochastic gradient descent.

    p <- p - lr g                                                            (eq. 6.1)
    """

    @has_loop("sgd", lambda rule, least: (rule.lr,))
    def step(self, p: Array, g: Array) -> None:
        """One array's update."""
        p -= self.lr * g


class Momentum(Optimizer):
    """Gradient descent with momentum: a ball that rolls down, slowed by friction.

        v <- momentum v - lr g                                               (eq. 6.3)
        p <- p + v                                                           (eq. 6.4)

    PyTorch keeps v without the factor -lr. The two differ only after lr has been changed, when here
    the ball keeps its speed.
    """

    kept = ("v",)

    @checked
    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr)
        self.momentum = checked_share("momentum", momentum)

    def arguments(self) -> dict[str, Any]:
        """Learning rate and momentum."""
        return {"lr": self.lr, "momentum": self.momentum}

    @has_loop("momentum", lambda rule, least: (rule.momentum, rule.lr, least))
    def step(self, p: Array, g: Array, v: Array) -> None:
        """One array's update."""
        v *= self.momentum
        v -= self.lr * g
        p += v


class Nesterov(Momentum):
    """Nesterov's accelerated gradient: momentum that takes its gradient one step ahead.

        v <- momentum v - lr g
        p <- p + momentum v - lr g,   with the new v

    p is the point ahead, where the gradient is taken: Bengio, Boulanger-Lewandowski, Pascanu 2013,
    arXiv:1212.0901, eqs. 6-7. It is not in the book. The book's companion code takes momentum^2 v
    with the new v where its formula has the old one.
    """

    @has_loop("nesterov", lambda rule, least: (rule.momentum, rule.lr, least))
    def step(self, p: Array, g: Array, v: Array) -> None:
        """One array's update."""
        v *= self.momentum
        v -= self.lr * g
        p += self.momentum * v - self.lr * g


class AdaGrad(Optimizer):
    """A rate for each number, which falls as its gradients add up.

        h <- h + g^2                                                         (eq. 6.5)
        p <- p - lr g / (sqrt(h) + 1e-7)                                     (eq. 6.6)

    The printed equation has no 1e-7, the code has. Duchi, Hazan, Singer 2011, JMLR 12, section 1.
    """

    kept = ("h",)

    @has_loop("adagrad", lambda rule, least: (rule.lr, EPS))
    def step(self, p: Array, g: Array, h: Array) -> None:
        """One array's update."""
        h += g * g
        p -= self.lr * g / (array_namespace(h).sqrt(h) + EPS)


class RMSprop(Optimizer):
    """AdaGrad with a moving average in place of the sum, so that its rate does not tend to 0.

        h <- decay_rate h + (1 - decay_rate) g^2
        p <- p - lr g / (sqrt(h) + 1e-7)

    Described in section 6.1.5; Tieleman, Hinton 2012, COURSERA lecture 6.5.
    """

    kept = ("h",)

    @checked
    def __init__(self, lr: float = 0.01, decay_rate: float = 0.99) -> None:
        super().__init__(lr)
        self.decay_rate = checked_share("decay_rate", decay_rate)

    def arguments(self) -> dict[str, Any]:
        """Learning rate and decay."""
        return {"lr": self.lr, "decay_rate": self.decay_rate}

    @has_loop("rmsprop", lambda rule, least: (rule.decay_rate, 1.0 - rule.decay_rate, rule.lr, EPS))
    def step(self, p: Array, g: Array, h: Array) -> None:
        """One array's update."""
        h *= self.decay_rate
        h += (1.0 - self.decay_rate) * (g * g)
        p -= self.lr * g / (array_namespace(h).sqrt(h) + EPS)


class Adam(Optimizer):
    """Adam: moving averages of g and g^2, corrected for having begun at 0 (section 6.1.6).

        m <- m + (1 - beta1) (g - m)
        v <- v + (1 - beta2) (g^2 - v)
        p <- p - lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon),   t = 1, 2, ...

    In the form of the book's code epsilon is eps, 1e-7. The form of the paper adds eps, 1e-8, to
    the root of the corrected v; that is the same with epsilon = eps sqrt(1 - beta2^t). Kingma, Ba
    2014, arXiv:1412.6980, algorithm 1 and the end of section 2.

    `state` holds beside m and v the powers beta1^t and beta2^t, float64 of shape (1,): what changes
    from step to step is on the device.
    """

    kept = ("m", "v")

    @checked
    def __init__(
        self,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        *,
        form: Literal["book", "paper"] = "book",
        eps: float | None = None,
    ) -> None:
        super().__init__(lr)
        self.beta1, self.beta2 = checked_share("beta1", beta1), checked_share("beta2", beta2)
        self.form, self.eps = form, checked_eps({"book": EPS, "paper": 1e-8}[form], eps)

    def arguments(self) -> dict[str, Any]:
        """Learning rate, decays, form and eps."""
        numbers = {"lr": self.lr, "beta1": self.beta1, "beta2": self.beta2}
        return {**numbers, "form": self.form, "eps": self.eps}

    def start(self, arrays: Mapping[str, Array]) -> None:
        """Zeros, and powers of t = 0."""
        super().start(arrays)
        p = next(iter(arrays.values()))
        xp = array_namespace(p)
        for power in ("beta1^t", "beta2^t"):
            self.state[power] = xp.ones((1,), dtype=xp.float64, device=p.device)

    def begin(self) -> None:
        """Multiply the powers of this t."""
        for power, beta in (("beta1^t", self.beta1), ("beta2^t", self.beta2)):
            array = self.state[power]
            array *= beta

    def factors(self) -> tuple[Array, ...]:
        """The factor of m and the epsilon of this t."""
        root = (1.0 - self.state["beta2^t"]) ** 0.5
        epsilon = self.eps * root
        if self.form == "book":
            epsilon = array_namespace(root).full_like(root, self.eps)
        return self.lr * root / (1.0 - self.state["beta1^t"]), epsilon

    @has_loop("adam", lambda rule, least: (1.0, 1.0 - rule.beta1, 1.0 - rule.beta2, least))
    def step(self, p: Array, g: Array, m: Array, v: Array, rate: Array, epsilon: Array) -> None:
        """One array's update."""
        xp = array_namespace(p)
        rate, epsilon = xp.astype(rate, p.dtype), xp.astype(epsilon, p.dtype)
        m += (1.0 - self.beta1) * (g - m)
        v += (1.0 - self.beta2) * (g * g - v)
        p -= rate * m / (xp.sqrt(v) + epsilon)


class AdamW(Adam):
    """Adam in the form of the paper, with a weight decay of its own.

        W <- W - lr weight_decay W,   then as Adam

    Unlike a penalty on the loss it is not divided by sqrt(v). It concerns the weights alone, as in
    `optim.penalties`.
    Loshchilov, Hutter 2019, arXiv:1711.05101, algorithm 2, whose lambda is lr weight_decay here,
    as in PyTorch.
    """

    decays = True

    @checked
    def __init__(
        self,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        weight_decay: float = 0.01,
        *,
        eps: float | None = None,
    ) -> None:
        super().__init__(lr, beta1, beta2, form="paper", eps=eps)
        if not (isfinite(weight_decay) and weight_decay >= 0):
            raise ArgumentError(f"weight_decay must be a number from 0, got {weight_decay}")
        self.weight_decay = weight_decay

    def arguments(self) -> dict[str, Any]:
        """Learning rate, decays and eps; the form is the paper's."""
        found = super().arguments() | {"weight_decay": self.weight_decay}
        del found["form"]
        return found

    def learning(self, how: Learning) -> "Optimizer":
        """The rule with this rate, and without decay for what does not decay."""
        rule = super().learning(how)
        if how.decays or not self.weight_decay:
            return rule
        rule = rule._twin()
        assert isinstance(rule, AdamW)
        rule.weight_decay = 0.0
        return rule

    @has_loop(
        "adam",
        lambda rule, least: (
            1.0 - rule.lr * rule.weight_decay,
            1.0 - rule.beta1,
            1.0 - rule.beta2,
            least,
        ),
    )
    def step(self, p: Array, g: Array, m: Array, v: Array, rate: Array, epsilon: Array) -> None:
        """One array's update."""
        if self.weight_decay:
            p *= 1.0 - self.lr * self.weight_decay
        super().step(p, g, m, v, rate, epsilon)


def _bring_within(p: Array, low: float, high: float) -> None:
    """Bring numbers that an update has taken beyond their bounds back, in place."""
    p[...] = array_namespace(p).clip(p, low, high)


def _in_place(params: Mapping[str, Array]) -> Mapping[str, Array]:
    """The arrays that an update changes: one buffer, or each."""
    return {"flat": params.flat} if isinstance(params, FlatParams) else params


def _are_same(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    """Return whether two mappings are of the same arrays; one that holds others by now is."""
    if isinstance(a, FlatParams) or isinstance(b, FlatParams):
        return a is b
    return a.keys() == b.keys() and all(a[name] is b[name] for name in a)


def _told(params: Mapping[str, Array]) -> str:
    """A few of some parameters, with their shapes."""
    shown = [f"{name} {tuple(p.shape)}" for name, p in list(params.items())[:4]]
    return ", ".join(shown + ["..."] * (len(params) > 4))


def _shown(array: Array | None) -> str:
    return "missing" if array is None else f"{array.dtype} {tuple(array.shape)}"


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}
"""The rules, by the names that `Trainer` and the command line take."""
