"""A network's passes on a GPU: its kernels, compiled, and what launches them."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from threading import RLock, get_ident
from typing import Any, TypeAlias

import numpy as np

from xpnet.arrays import Array, Device, cuda
from xpnet.arrays.values import in_parts
from xpnet.engine.base import Uncopied
from xpnet.engine.checks import check_counts, obstacle_of
from xpnet.engine.cuda import (  # noqa: F401 (they fill KERNELS)
    activation,
    binary,
    conv,
    dense,
    dropout,
    join,
    norm,
    pool,
    transposed,
)
from xpnet.engine.cuda.driver import CupyDriver, Driver
from xpnet.engine.cuda.function import Function, Parameters
from xpnet.engine.cuda.kernel import KERNELS, PATTERNS, Kernel, Way
from xpnet.engine.cuda.loss import loss_obstacle, losses_of
from xpnet.engine.cuda.module import MATH, Module, run, source
from xpnet.engine.cuda.product import Products
from xpnet.engine.cuda.program import Program
from xpnet.engine.cuda.tiles import Tile
from xpnet.engine.cuda.update import (
    GRADIENT_ALONE,
    chunk_terms,
    finish_function,
    gradient_function,
)
from xpnet.engine.lower import Op, lower
from xpnet.engine.threads import in_turn
from xpnet.errors import ArgumentError, EngineError
from xpnet.functions.losses import as_one_hot
from xpnet.functions.targets import as_labels, fits_as_labels, is_ignored
from xpnet.layers import Dropout
from xpnet.layers.loss import check_outputs, predicted
from xpnet.models.network import Network
from xpnet.models.nodes import INPUT
from xpnet.optim.penalties import L1, L2

PREDICTED = 1000
"""Samples at most that are predicted at once: bounds memory."""
PROGRAMS = 4
"""Sizes of batches whose arrays are kept."""
CHANGED = (
    "a layer, the loss or the penalty has changed since the engine was compiled; make another "
    "engine, or Trainer, for the network as it is"
)
"""What is said where that which is compiled in is not what the network has."""
TENSOR_CORES = (8, 0)
"""The first compute capability whose tensor cores take tf32 and bfloat16."""

Outputs: TypeAlias = "Array | dict[str, Array]"
"""A network's output; by name if it ends in several heads."""


class CompiledNetwork(Uncopied):
    """Computes what `Network` computes, up to rounding, by kernels that do several layers' work.

    What layers, loss and penalty are is compiled in. What learns, and how fast, may change: what
    that concerns is then compiled anew. Results repeat bit for bit, on whatever GPU. One call at a
    time: they share their arrays, and who calls from another thread waits. What one thread was
    given is not written over by the calls of another.

    Parameters
    ----------
    network : one that has no `obstacle`
    graph : whether whole steps are replayed as CUDA graphs; otherwise the same kernels are launched
        one by one, to the same bits
    precision : of the factors of products: None for the network's own, "tf32" (10 bits of mantissa
        instead of 23) or "bfloat16" (7 bits) for tensor cores. Sums, and everything else, stay
        float32.
    driver : what runs the kernels; CuPy if None
    tile : of all products, for those who measure; chosen for each if None

    Attributes
    ----------
    kernels : of all operations, in order, as a training step needs them
    outputs : the numbers of the values that the network puts out
    losses : of the outputs
    grads, loss : where gradients, and the loss of a pass, are left
    passes : how many there have been: each writes over the arrays of the one before

    Raises
    ------
    ArgumentError
        The network has an `obstacle`, or the precision is not to be had.
    EngineError
        The kernels do not compile.
    """

    def __init__(
        self,
        network: Network,
        *,
        graph: bool = True,
        precision: str | None = None,
        driver: Driver | None = None,
        tile: Tile | None = None,
    ) -> None:
        if (problem := self.obstacle(network)) is not None:
            raise ArgumentError(f"the engine cannot run this network: {problem}")
        self.network, self.graph, self._tile = network, graph, tile
        self.precision = _checked(precision, network.dtype, network.device)
        self.driver: Driver = CupyDriver() if driver is None else driver
        self.grads = network.params.like()
        self.passes = 0
        self._turn, self._caller = RLock(), get_ident()
        self._last_layer = network.last_layer
        self.loss = network.device.zeros(1, dtype=network.dtype)
        self._compile()

    def _compile(self) -> None:
        """Make everything for what learns now."""
        network = self.network
        self.learning = how_all_learn(network)
        nodes = network.nodes()
        self.dropouts = [node.layer for node in nodes if isinstance(node.layer, Dropout)]
        self.outputs, self.kernels = self._lowered(Way())
        self.losses = losses_of(network, self.outputs, self.kernels)
        functions = self._functions()
        self._compiled_for = _told(functions)
        self.module = self._module(source(network.dtype, functions))
        self.terms = network.device.asarray(np.asarray(chunk_terms(network.params)))
        self.grads.flat[...] = 0  # what does not learn stays so
        self._programs: OrderedDict[tuple[int, bool], Program] = OrderedDict()
        self._ways: dict[Way, tuple[list[Kernel], Module]] = {}

    def _module(self, text: str) -> Module:
        try:
            return Module(self.driver, text)
        except Exception as error:
            if (told := cuda.explained(error)) is not None:
                raise told from error
            raise EngineError(f"the kernels do not compile ({first_line(error)})") from error

    def _lowered(self, way: Way) -> tuple[int | dict[str, int], list[Kernel]]:
        """Lower the network, and make the kernels of its operations if a way back is this one."""
        network = self.network
        lowered = lower(
            network.nodes(),
            network.outputs,
            PATTERNS,
            need_dx=way.need_dx,
            need_grads=way.need_grads,
        )
        return lowered.outputs, kernels_of(lowered.ops, way, self.precision, self._tile)

    def way_back(self, way: Way) -> tuple[list[Kernel], Module]:
        """Return the kernels of a way back that no training step goes, compiled at first use."""
        if way not in self._ways:
            _, kernels = self._lowered(way)
            for own, first in zip(kernels, self.kernels, strict=True):
                if isinstance(own, norm.BatchNormKernel) and isinstance(
                    first, norm.BatchNormKernel
                ):
                    own.frozen = first.frozen  # as it was on the way there
            functions = [f for kernel in kernels for f in kernel.all_backward_functions()]
            functions.append(GRADIENT_ALONE)
            self._ways[way] = kernels, self._module(source(self.network.dtype, functions))
        return self._ways[way]

    @property
    def output_numbers(self) -> tuple[int, ...]:
        """The numbers of all values that the network puts out."""
        numbers = self.outputs
        return tuple(numbers.values()) if isinstance(numbers, dict) else (numbers,)

    def _functions(self) -> list[Function]:
        """The kernels of all passes that a training step or a prediction has."""
        found: list[Function] = []
        for kernel in self.kernels:
            if not kernel.is_alias:
                for train in (True, False):
                    found += kernel.forward_functions(train=train)
            found += kernel.all_backward_functions()
        for loss in self.losses:
            found += loss.functions()
        return [
            *found,
            self.gradient_function,
            self.finish_function,
        ]

    @property
    def gradient_function(self) -> Function:
        """The function that makes `grads` of the parts of a pass."""
        return gradient_function("gradient", self.network.penalty)

    @property
    def finish_function(self) -> Function:
        """The function that ends a pass with a loss."""
        return finish_function("finish_pass", self.network.penalty, self.dropouts, "*out = loss;")

    def check_source(self) -> None:
        """Refuse to go on with launches for what layers, loss or penalty were before."""
        self.check_loss()
        if _told(self._functions()) != self._compiled_for:
            raise ArgumentError(CHANGED)

    def check_loss(self) -> None:
        """Refuse another loss than the engine was made for, at no cost that a step would notice."""
        if self.network.last_layer is not self._last_layer:
            raise ArgumentError(CHANGED)

    @staticmethod
    def obstacle(network: Network) -> str | None:
        """Say why this engine cannot run the network; None if it can."""
        for node in network.nodes():
            if type(node.layer) not in KERNELS:
                return f"there is no kernel for {type(node.layer).__name__}"
        if (problem := loss_obstacle(network.last_layer, network.output_shape)) is not None:
            return problem
        if type(network.penalty) not in (L1, L2, type(None)):
            return f"there is no kernel for {type(network.penalty).__name__}"
        if (problem := obstacle_of(network)) is not None:
            return problem
        return None

    def _give(self) -> None:
        """Begin to leave what the next call writes over: in arrays of the calling thread."""
        if self._caller != (caller := get_ident()):
            self._caller = caller
            self.grads = self.network.params.like()
            self._programs.clear()
        self.passes += 1

    def program(self, n: int, *, keeps: bool) -> Program:
        """Passes of n samples, with a way back or without; those used last are kept."""
        self.network.params.apply_masks()  # the kernels read what is not connected, too
        if keeps and how_all_learn(self.network) != self.learning:
            self.check_loss()
            self._compile()
        if (n, keeps) not in self._programs:
            largest = max(prod(kernel.output_shape) for kernel in self.kernels)
            if n * max(largest, prod(self.network.input_shape)) >= 2**31:
                raise ArgumentError(
                    f"the engine counts the numbers of an array in 31 bits, and {n} samples have "
                    "more; use a smaller batch"
                )
            with self.network.device.guarded():
                self._programs[n, keeps] = Program(self, n, keeps=keeps)
            while len(self._programs) > PROGRAMS:
                self._programs.popitem(last=False)
        self._programs.move_to_end((n, keeps))
        return self._programs[n, keeps]

    @in_turn
    def forward(
        self, x: Array, *, train: bool = False
    ) -> tuple[Outputs, Callable[..., tuple[Array | None, Mapping[str, Array]]]]:
        """Compute as `Network.forward`: what the network puts out, and the way back.

        `backward(dy, need_dx=True, need_grads=True)` gives the gradient by x and those of the
        parameters, 0 for what is frozen, which the next call writes over. It holds until the engine
        computes anything else, and raises EngineError from then on.
        """
        network = self.network
        x = network.place(x, single=False)
        if not (n := x.shape[0]):
            raise ArgumentError("at least one sample is needed, got none")
        self._give()
        program, this = self.program(n, keeps=True), self.passes
        program.x[...] = x
        run(self.driver, program.forward(n, train=train))
        if train:
            program.count_passes()

        def backward(
            dy: Any, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array | None, Mapping[str, Array]]:
            with self._turn:
                if self.passes != this:
                    raise EngineError(
                        "this backward belongs to a forward pass whose numbers the engine has "
                        "written over by the next one; call backward before the engine computes "
                        "anything else"
                    )
                return self._backward(program, n, dy, Way(train, need_dx, need_grads, False))

        return _copies(network.device, program.outputs), backward

    def _backward(
        self, program: Program, n: int, dy: Any, way: Way
    ) -> tuple[Array | None, Mapping[str, Array]]:
        device, buffers = self.network.device, program.buffers
        for name, number in self._by_name(dy, "gradients").items():
            given = device.asarray(dy[name] if name else dy)
            target = buffers.gradient(number)
            if given.shape != target.shape:
                raise ArgumentError(
                    f"a gradient of shape {tuple(target.shape)} is needed"
                    f"{f' for {name}' if name else ''}, got {tuple(given.shape)}"
                )
            target[...] = given
        if not (way.need_dx or way.need_grads):
            return None, {}
        run(self.driver, program.backward(n, way))
        dx = _copies(device, buffers.gradient(INPUT)) if way.need_dx else None
        return dx, self.grads if way.need_grads else {}

    def _by_name(self, given: Any, what: str) -> dict[str, int]:
        """The numbers of the outputs, for each of which something must be given; "" for the one."""
        if not isinstance(self.outputs, dict):
            return {"": self.outputs}
        if not isinstance(given, Mapping) or given.keys() != self.outputs.keys():
            got = ", ".join(given) if isinstance(given, Mapping) else type(given).__name__
            raise ArgumentError(
                f"{what} for each of {', '.join(self.outputs)} are needed, got {got}"
            )
        return self.outputs

    @in_turn
    def loss_and_gradient(self, x: Array, t: Any) -> tuple[Array, Outputs, Mapping[str, Array]]:
        """Compute as `Network.loss_and_gradient`; the next call overwrites scores and gradient."""
        network = self.network
        x, t = network.place(x, single=False), self._on_device(t)
        n = x.shape[0]
        self.check_loss()
        if not self.losses:
            check_outputs(network.last_layer, self.outputs)
        for each in t.values() if isinstance(t, Mapping) else (t,):
            check_counts(n, each.shape[0] if each.ndim else 0)
        self._give()
        program = self.program(n, keeps=True)
        program.x[...] = x
        targets = self._place_targets(program, t)
        launches = program.forward(n, train=True) + program.train(n, targets)
        run(self.driver, launches + program.finish(n))
        loss = network.device.xp.asarray(self.loss[0, ...], copy=True)
        return loss, program.outputs, self.grads

    def _on_device(self, t: Any) -> Any:
        """Targets on the device; those that are there already are not looked at any closer."""
        return t if type(t) is type(self.loss) else self.network.place_targets(t)

    def _place_targets(self, program: Program, t: Any) -> str | list[str]:
        """Put targets where the losses read them; in which form they are."""
        scores, xp = program.outputs, self.network.device.xp
        if isinstance(t, Mapping) and not isinstance(self.outputs, dict):
            raise ArgumentError(
                f"targets of one output are needed, got a dictionary of {', '.join(t)}"
            )
        if isinstance(t, Mapping):
            self._by_name(t, "targets")
        forms = []
        for k, loss in enumerate(self.losses):
            given = t[loss.head] if isinstance(t, Mapping) else t
            own = scores[loss.head] if isinstance(scores, dict) else scores
            labels = as_labels(given, own.shape) if own.ndim > 2 else given
            if fits_as_labels(labels, own.shape):
                forms.append("labels")
                left = is_ignored(labels, loss.ignore)
                if labels.dtype in (xp.int64, xp.uint64, xp.uint32):  # which could wrap around
                    lowest = -1 if labels.dtype == xp.int64 else 0
                    labels = xp.clip(labels, lowest, own.shape[1])
                labels = xp.astype(labels, xp.int32)
                if left is not None:
                    labels = xp.where(left, loss.ignore, labels)
                program.buffers.labels[k][...] = labels
            else:
                forms.append("rows")
                program.buffers.rows[k][...] = as_one_hot(given, own)
        return forms[0] if len(forms) == 1 else forms

    @in_turn
    def predict(self, x: Array) -> Outputs:
        """Predict as `Network.predict`, in memory that does not grow with the samples."""
        network = self.network
        x = network.place(x)
        if x.shape == network.input_shape and x.ndim == 1:
            found = self.predict(x[None, ...])
            if isinstance(found, dict):
                return {name: each[0, ...] for name, each in found.items()}
            return found[0, ...]
        n = x.shape[0]
        numbers = self.outputs if isinstance(self.outputs, dict) else {"": self.outputs}
        scores = {
            name: network.device.zeros((n, *self.kernels[k].output_shape), dtype=network.dtype)
            for name, k in numbers.items()
        }
        self.passes += 1
        for part in in_parts(n, PREDICTED):
            count = part.stop - part.start
            program = self.program(min(PREDICTED, n), keeps=False)
            program.x[:count, ...] = x[part, ...]
            run(self.driver, program.forward(count, train=False))
            for name, each in _named(program.outputs).items():
                scores[name][part, ...] = each[:count, ...]
        found = scores if isinstance(self.outputs, dict) else scores[""]
        return predicted(network.last_layer, found)


def kernels_of(
    ops: Sequence[Op], way: Way, precision: str, tile: Tile | None = None
) -> list[Kernel]:
    """Make the kernels of operations, each in its place.

    Parameters
    ----------
    precision : of the factors of products
    tile : of all products; chosen for each if None
    """
    kernels: list[Kernel] = []
    for number, op in enumerate(ops):
        sources = [None if value == INPUT else kernels[value] for value in op.inputs]
        kind = KERNELS[type(op.layer)].for_layer(op.layer)
        made = kind(number, op, sources, way)
        if isinstance(made, Products):
            made.math = MATH[precision]
            if tile is not None:
                made.tiles = [tile] * len(made.products)
        kernels.append(made)
    return kernels


def _told(functions: Iterable[Function]) -> list[tuple[str, Parameters]]:
    """All that kernels are made of, and are given by themselves."""
    return [(function.source, function.settings) for function in functions]


def how_all_learn(network: Network) -> tuple[object, ...]:
    """List how each parameter learns, and how fast; and whose running statistics are frozen."""
    params = network.params
    return (*[params.learning(name) for name in params], network.frozen_statistics)


def _named(outputs: Outputs) -> dict[str, Array]:
    """Return outputs by name; "" if there is but one."""
    return outputs if isinstance(outputs, dict) else {"": outputs}


def _copies(device: Device, outputs: Outputs) -> Outputs:
    if isinstance(outputs, dict):
        return {name: device.xp.asarray(each, copy=True) for name, each in outputs.items()}
    return device.xp.asarray(outputs, copy=True)


def _checked(precision: str | None, dtype: str, device: Device) -> str:
    """A precision that the network's numbers have, and the GPU."""
    if precision is None or precision == dtype:
        return dtype
    if precision not in MATH or dtype != "float32":
        own = ["float32", "tf32", "bfloat16"] if dtype == "float32" else [dtype]
        raise ArgumentError(
            f"products of a {dtype} network are computed in {' or '.join(own)}, got {precision!r}"
        )
    able = device.compute_capability
    if able is not None and able < TENSOR_CORES:
        raise ArgumentError(
            f"{precision} needs a GPU of compute capability {_dotted(TENSOR_CORES)} or above, and "
            f"{device.name} has {_dotted(able)}; leave the precision out"
        )
    return precision


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def first_line(error: Exception) -> str:
    """The beginning of what an error says: compilers say much."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
