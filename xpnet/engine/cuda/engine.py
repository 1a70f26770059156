"""The engine of a network on a GPU."""

from collections.abc import Callable, Mapping
from typing import Any

from xpnet.arrays import Array, cuda
from xpnet.engine.base import Engine
from xpnet.engine.checks import check_counts
from xpnet.engine.cuda.compiled import CompiledNetwork, Outputs, first_line
from xpnet.engine.cuda.driver import Driver
from xpnet.engine.cuda.selfcheck import DifferenceError, IncomparableError, compare
from xpnet.engine.cuda.tiles import Tile
from xpnet.engine.cuda.training import Training
from xpnet.engine.cuda.update import rule_of
from xpnet.engine.threads import in_turn
from xpnet.errors import DeviceMemoryError, EngineError, XPNetError
from xpnet.functions.im2col import contiguous
from xpnet.models.network import Network
from xpnet.optim import Optimizer

TRIES = 3
"""Batches with which nothing can be compared, until that is given up."""


class CudaEngine(CompiledNetwork):
    """A network's passes and whole training steps on a GPU, checked by the first batch.

    Parameters
    ----------
    network, graph, precision, driver, tile : as in `CompiledNetwork`
    check : whether the first batch is used to compare a step with the layers on the host, as
        `selfcheck.compare` does; None if nobody asked for it, and then nothing is said of it either
    instead : makes what computes from then on if the kernels fail the check, given what they failed
        in; it is an error if None

    Raises
    ------
    ArgumentError, EngineError
        As in `CompiledNetwork`; the first call raises EngineError if the kernels fail their check.
    """

    name = "cuda"

    def __init__(
        self,
        network: Network,
        *,
        graph: bool = True,
        precision: str | None = None,
        driver: Driver | None = None,
        tile: Tile | None = None,
        check: bool | None = None,
        instead: Callable[[str], Engine] | None = None,
    ) -> None:
        super().__init__(network, graph=graph, precision=precision, driver=driver, tile=tile)
        self._checks = TRIES if check else 0  # batches still to be tried
        self._found = None if check is None else "not yet" if check else "skipped"
        self._checked: set[str] = set()
        self._make_instead = instead
        self.instead: Engine | None = None

    def __repr__(self) -> str:
        about = ", ".join(f"{name}={value!r}" for name, value in self.describe().items())
        return f"CudaEngine({self.network!r}, {about})"

    @in_turn
    def check(
        self,
        x: Array,
        t: Any = None,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = None,
    ) -> Engine:
        """Compare what this batch is for with the layers, if that is still to be done.

        Predictions are compared once, a training pass once, and the update of every rule once.

        Parameters
        ----------
        x, t, optimizer, clip_norm : as in `selfcheck.compare`; an optimizer without a kernel is
            left out

        Returns
        -------
        What computes from now on: this engine, or what is used instead

        Raises
        ------
        EngineError
            The kernels failed, and there is nothing to be used instead.
        DeviceError
            The GPU itself failed, or has too little memory.
        """
        if not self._checks or not x.shape[0]:  # of every step but the first
            return self.instead or self
        wanted = {"predictions"}
        if t is not None:
            wanted.add("passes")
        if optimizer is not None and (rule := rule_of(optimizer)) is not None:
            wanted.add(f"{rule[0]}, clipped: {clip_norm is not None}")
        else:
            optimizer = None
        if not wanted <= self._checked:
            self._checks, tries = 0, self._checks  # the check, too, calls what calls it
            try:
                self._found = compare(self, x, t, optimizer, clip_norm)
                self._checked |= wanted
            except IncomparableError as reason:
                tries -= 1
                self._found = f"not possible: {reason}"
            except DifferenceError as error:
                self._replace(str(error))
            except XPNetError:  # what was given cannot be computed with, or the GPU has no memory
                raise
            except Exception as error:
                if isinstance(told := cuda.explained(error), DeviceMemoryError):
                    raise told from error
                self._replace(f"{type(error).__name__}: {first_line(error)}")
            finally:
                self._checks = tries
        return self.instead or self

    def _replace(self, failure: str) -> None:
        """Let something else compute from now on."""
        with self.network.device.guarded():
            self.network.device.synchronize()  # a GPU that has failed computes nothing any more
        if self._make_instead is None:
            raise EngineError(
                f"the GPU's engine failed its check: {failure}; use the reference engine, or skip "
                "the check (skip_engine_check=True) to see what comes of it"
            )
        self.instead = self._make_instead(failure)

    def methods(self) -> dict[str, str]:
        """Say how each layer is computed, by its name."""
        if self.instead is not None:
            return self.instead.methods()
        found: dict[str, str] = {}
        for kernel in self.kernels:
            first, *others = (node.name for node in kernel.op.nodes)
            found |= {first: kernel.kind} | dict.fromkeys(others, f"in {first}")
        return found

    def describe(self) -> dict[str, str | int]:
        """Name, precision of products, whether steps are replayed, and what the check found."""
        if self.instead is not None:
            return self.instead.describe()
        steps = "replayed from a CUDA graph" if self.graph else "launched one by one"
        about: dict[str, str | int] = {
            "engine": self.name,
            "precision": self.precision,
            "steps": steps,
        }
        return about if self._found is None else about | {"engine_check": self._found}

    @in_turn
    def forward(
        self, x: Array, *, train: bool = False
    ) -> tuple[Outputs, Callable[..., tuple[Array | None, Mapping[str, Array]]]]:
        """Compute as `CompiledNetwork.forward`."""
        x = self.network.place(x, single=False)
        if (computing := self.check(x)) is not self:
            return computing.network.forward(x, train=train)
        return super().forward(x, train=train)

    @in_turn
    def loss_and_gradient(self, x: Array, t: Any) -> tuple[Array, Outputs, Mapping[str, Array]]:
        """Compute as `Network.loss_and_gradient`; the next call overwrites scores and gradient."""
        x, t = self.network.place(x, single=False), self._on_device(t)
        for each in t.values() if isinstance(t, Mapping) else (t,):
            check_counts(x.shape[0], each.shape[0] if each.ndim else 0)
        if (computing := self.check(x, t)) is not self:
            return computing.loss_and_gradient(x, t)
        return super().loss_and_gradient(x, t)

    @in_turn
    def predict(self, x: Array) -> Outputs:
        """Predict as `Network.predict`, in memory that does not grow with the samples."""
        x = self.network.place(x)
        single = x.shape == self.network.input_shape and x.ndim == 1
        first = x[None, ...] if single else x
        computing = self.check(first)
        return super().predict(x) if computing is self else computing.predict(x)

    def steps_obstacle(self, optimizer: Optimizer) -> str | None:
        """Say why whole steps cannot be had; None if they can."""
        if self.instead is not None:
            return "the engine failed its check"
        return Training.obstacle(optimizer, self.network.params)

    @in_turn
    def steps(
        self,
        x: Array,
        t: Array,
        batch_size: int,
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
    ) -> Training:
        """Whole training steps on data of the device: see `Training`."""
        if self.instead is not None:
            raise EngineError(
                "whole steps cannot be compiled: the engine failed its check; use its "
                "loss_and_gradient, which the layers compute instead"
            )
        if self.check(x, t, optimizer, clip_norm) is not self:
            return self.steps(x, t, batch_size, optimizer, clip_norm=clip_norm)  # which refuses
        # Kernels know nothing of strides.
        x, t = (a if a.flags.c_contiguous else contiguous(a) for a in (self.network.shaped(x), t))
        return Training(self, x, t, batch_size, optimizer, clip_norm=clip_norm)
