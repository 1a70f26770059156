"""A network compiled for a number of samples: fixed arrays, and what is to be done with them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

# Each of these enters its kernels.
import xpnet.engine.cpu.activation
import xpnet.engine.cpu.binary
import xpnet.engine.cpu.conv
import xpnet.engine.cpu.dropout
import xpnet.engine.cpu.join
import xpnet.engine.cpu.lrn
import xpnet.engine.cpu.pool
import xpnet.engine.cpu.transposed  # noqa: F401
from xpnet.arrays import Array
from xpnet.engine.cpu.buffers import Buffers, Scratch, in_book_order, in_memory_order
from xpnet.engine.cpu.dense import Dense
from xpnet.engine.cpu.kernel import Kernel, Pass, kernel_of
from xpnet.engine.cpu.loss import counted, part_loss, share_of
from xpnet.engine.cpu.norm import Meeting
from xpnet.engine.lower import Lowered, Op
from xpnet.functions.targets import by_head
from xpnet.layers import Loss, Params
from xpnet.models.nodes import INPUT


class Needs(NamedTuple):
    """The gradients that a way back is to find."""

    dx: bool = False
    """True for that of the network's input."""
    grads: bool = True
    """True for those of the parameters."""


LEARNING = Needs()
"""The gradients of the parameters alone."""

PREDICTING = Needs(grads=False)
"""No gradient at all."""

Lower: TypeAlias = Callable[[Needs], Lowered]
"""The operations of the network, for what is needed of them."""

Versions: TypeAlias = Mapping[str, int]
"""By a node's name, a number that is another one whenever its parameters have changed."""

Steps: TypeAlias = list[Callable[[], object]]


class Program:
    """Forward and backward for n samples.

    A pass goes through `start`, then `forward` of each segment, then `loss` or `leave`, then
    `backward` of each segment, in reverse order. Where a segment ends in an operation that meets,
    there is a `settle` behind its forward, and if `meets_back` a `bring_back` and a `settle_back`
    before its backward.

    Parameters
    ----------
    lower : the network's operations
    most : what may be needed on the way back
    loss : the network's loss
    n : number of samples
    grads : arrays for the gradient of every parameter, under the network's names
    scratch : what kernels need while they are at work, and programs of one thread share
    compiled : whether kernels with compiled loops take the place of others

    Attributes
    ----------
    scores : arrays of the last pass in the book's order; by name if the network ends in `Heads`
    dx : array of the gradient of what enters, in the book's order; None where it is never needed
    methods : how each layer is computed, in words
    """

    def __init__(
        self,
        lower: Lower,
        most: Needs,
        loss: Loss,
        n: int,
        grads: Mapping[str, Array],
        scratch: Scratch,
        *,
        compiled: bool = False,
    ) -> None:
        self._lower, self._lowered, self._grads = lower, lower(most), grads
        self._pass = Pass()
        kinds = [kernel_of(op, compiled=compiled) for op in self._lowered.ops]
        dtype = next(iter(grads.values())).dtype
        self._buffers = Buffers(self._lowered, kinds, n, dtype, scratch)
        self._compile(kinds)  # this once to learn how large shared memory must be
        self._buffers.begin()
        self._compile(kinds)
        prepares = [k for k in self._kernels if type(k).prepare is not Kernel.prepare]
        self._prepare = [k for k in prepares if not k.shares_prepared]
        self._prepare_shared = [k for k in prepares if k.shares_prepared]
        self._commit = [k for k in self._kernels if type(k).commit is not Kernel.commit]
        self._whole_forward = [step for steps in self._forward for step in steps]
        self._fore: dict[tuple[range, Meeting | None], Steps] = {}
        self._back: dict[tuple[range, Needs], Steps] = {}
        outputs = self._lowered.outputs
        if isinstance(outputs, dict):
            self.scores: Any = {name: in_book_order(self._y[v]) for name, v in outputs.items()}
            self._dscores: Any = {name: in_book_order(self._dy[v]) for name, v in outputs.items()}
        else:
            self.scores, self._dscores = (in_book_order(a[outputs]) for a in (self._y, self._dy))
        self._layer = loss
        self._output_shapes = by_head(lambda scores: scores.shape[1:], self.scores)
        self._loss = part_loss(loss, self.scores, self._dscores, compiled=compiled)
        self.dx: Array = in_book_order(self._dy[INPUT])

    def _compile(self, kinds: Sequence[type[Kernel]]) -> None:
        """Make the kernels, and wire them, from the last to the first."""
        ops, buffers = self._lowered.ops, self._buffers
        self._kernels = [
            kind(op, number, buffers, self._grads_of(op), self._pass)
            for number, (op, kind) in enumerate(zip(ops, kinds, strict=True))
        ]
        self._y: dict[int, np.ndarray] = {}
        self._dy: dict[int, Array] = {}
        for value in range(len(ops) - 1, INPUT - 1, -1):
            self._place(value)
            if value == INPUT:
                break
            kernel = self._kernels[value]
            kernel.y, kernel.dy = self._y[value], self._dy[value]
        self._forward: list[Steps] = []
        self._after: list[dict[int, Callable[[], object]]] = []
        for number in range(len(ops)):
            self._wire(number)
        first, home = self._kernels[0], self._buffers.homes.get(INPUT)
        self._fed = first if isinstance(first, Dense) and home == 0 else None

    def _place(self, value: int) -> None:
        """Find the arrays of a value, after those of all that comes later."""
        ops, buffers, home = self._lowered.ops, self._buffers, self._buffers.homes.get(value)
        needed = value in self._lowered.output_numbers or any(
            need
            for op in ops
            for number, need in zip(op.inputs, op.need_dx, strict=True)
            if number == value
        )
        kernel: Any = None if value == INPUT else self._kernels[value]
        reader: Any = None if home is None else self._kernels[home]
        if kernel is not None and kernel.owns_y:
            y, dy = kernel.y, kernel.dy
        elif reader is None:
            lender, y = buffers.lent.get(value), buffers.value(value)
            if lender is not None:
                dy = self._dy[lender]
            else:
                dy = buffers.gradient(value) if needed else None
        elif reader.owns_x:
            y, dy = reader.x, reader.dx
        else:  # side by side with others
            place = ops[reader.number].inputs.index(value)
            part = list(reader.slices())[place]
            y, dy = reader.y[..., part], None if reader.dy is None else reader.dy[..., part]
        self._y[value], self._dy[value] = y, dy if needed else None

    def _wire(self, number: int) -> None:
        """Tell a kernel where it reads and writes, and see to what it does not do itself."""
        kernel: Any = self._kernels[number]
        op = kernel.op
        values, homes = op.inputs, self._buffers.homes
        kernel.inputs = [self._y[value] for value in values]
        kernel.below = [None if value == INPUT else self._kernels[value] for value in values]
        kernel.gradients = [
            self._dy[value] if need else None
            for value, need in zip(values, op.need_dx, strict=True)
        ]
        before: Steps = []
        after: dict[int, Callable[[], object]] = {}
        if kernel.owns_x and homes.get(values[0]) != number:
            before.append(partial(np.copyto, kernel.x, kernel.inputs[0]))
        for place, (target, adds) in enumerate(zip(kernel.gradients, op.adds, strict=True)):
            if target is None or kernel.adds:
                continue
            found = target
            if kernel.owns_x:
                found = kernel.dx
            elif adds:
                kernel.gradients[place] = found = self._buffers.scratch(
                    f"added {place}", target.shape
                )
            if adds:
                after[place] = partial(np.add, target, found, out=target)
            elif found is not target:
                after[place] = partial(np.copyto, target, found)
        self._forward.append([*before, kernel.forward])
        self._after.append(after)

    def _grads_of(self, op: Op) -> Params:
        return {key: self._grads[name] for key, name in op.names.items()}

    @property
    def methods(self) -> dict[str, str]:
        """Each layer's name, and in words how it is computed."""
        found: dict[str, str] = {}
        for kernel in self._kernels:
            names = [node.name for node in kernel.op.nodes]
            found |= dict.fromkeys(names, f"in {names[kernel.main]}")
            found[names[kernel.main]] = kernel.method
        return found

    def prepare(self, *, shared: bool = True, versions: Versions | None = None) -> None:
        """Take up the parameters as they are now.

        Parameters
        ----------
        shared : whether also what this thread's other programs for the same needs share, and one of
            them may have seen to
        versions : of the parameters: what is prepared of one already is left as it is; None if all
            may have changed
        """
        for kernel in self._prepare:
            kernel.prepare()
        if not (shared and self._prepare_shared):
            return
        if versions is None:
            self._buffers.forget_prepared()
        elif self._buffers.has_taken_up(versions):
            return
        for kernel in self._prepare_shared:
            version = None if versions is None else versions.get(kernel.op.name)
            if version is None:  # nobody watches its parameters
                kernel.prepare()
            elif not self._buffers.is_prepared(kernel, version):
                kernel.prepare()
                self._buffers.remember_prepared(kernel, version)
        if versions is not None and all(k.op.name in versions for k in self._prepare_shared):
            self._buffers.note_taken_up(versions)

    def start(
        self, x: np.ndarray, *, train: bool = False, keep: bool = False, first: int = 0
    ) -> None:
        """Begin a pass with samples x, (n, ...).

        Parameters
        ----------
        train : whether the network is training
        keep : whether a way back may follow
        first : number of the first sample within its batch
        """
        self._pass.train, self._pass.keep, self._pass.first = train, keep, first
        if self._fed is not None:
            self._fed.feed(x.reshape(len(x), -1))
        else:
            np.copyto(self._y[INPUT], in_memory_order(x))

    def forward_whole(self) -> None:
        """Go through all operations, of which none meets in this pass."""
        for step in self._whole_forward:
            step()

    def backward_whole(self) -> None:
        """Go back through all of them; leaves the gradients of the parameters."""
        for step in self._whole_back:
            step()

    @cached_property
    def _whole_back(self) -> Steps:
        return self._steps_back(range(len(self._kernels)), LEARNING)

    def forward(self, segment: range) -> Any:
        """Go through a segment; what these samples bring to the meeting at its end, or None."""
        meeting = self._meeting(segment)
        steps = self._fore.get((segment, meeting))
        if steps is None:
            numbers = segment if meeting is None else segment[:-1]
            steps = [step for number in numbers for step in self._forward[number]]
            self._fore[segment, meeting] = steps
        for step in steps:
            step()
        return None if meeting is None else meeting.bring()

    def settle(self, segment: range, total: Any) -> None:
        """End a segment with what all have brought."""
        meeting = self._meeting(segment)
        assert meeting is not None
        meeting.settle(total)

    def put_scores(self, scores: Any, first: int, end: int) -> None:
        """Copy the scores to their place among those of the batch."""
        if isinstance(scores, dict):
            for name, array in scores.items():
                array[first:end] = self.scores[name]
        else:
            scores[first:end] = self.scores

    def loss(self, t: Any, total: Any) -> float:
        """What these samples add to the mean loss; leaves its gradient by the scores.

        Parameters
        ----------
        total : what `counted` gives for the whole batch
        """
        return self._loss(t, share_of(counted(self._layer, t, self._output_shapes), total))

    def leave(self, dy: Any) -> None:
        """Leave a gradient by the scores, as these are in `scores`."""
        pairs = [(self._dscores, dy)]
        if isinstance(dy, Mapping):
            pairs = [(self._dscores[name], each) for name, each in dy.items()]
        for target, given in pairs:
            np.copyto(target, given)

    def bring_back(self, segment: range, needs: Needs) -> Any:
        """Return these samples' sums for the meeting before a segment's way back, or None."""
        op, meeting = self._lower(needs).ops[segment[-1]], self._meeting(segment)
        if meeting is None or not any(op.need_dx):
            return None
        return meeting.bring_back()

    def settle_back(self, segment: range, total: Any) -> None:
        """Begin a segment's way back with what all have brought."""
        meeting = self._meeting(segment)
        assert meeting is not None
        meeting.settle_back(total)

    def backward(self, segment: range, needs: Needs) -> None:
        """Go back through a segment; leaves the gradients of its parameters."""
        steps = self._back.get((segment, needs))
        if steps is None:
            steps = self._back[segment, needs] = self._steps_back(segment, needs)
        for step in steps:
            step()

    def _steps_back(self, segment: range, needs: Needs) -> Steps:
        steps: Steps = []
        for number in reversed(segment):
            op, kernel = self._lower(needs).ops[number], self._kernels[number]
            if not op.need_dy:
                continue
            steps += kernel.steps_back(op.need_dx, op.need_grads)
            steps += [step for place, step in self._after[number].items() if op.need_dx[place]]
        return steps

    def _meeting(self, segment: range) -> Meeting | None:
        """The kernel at the end of a segment, if it meets in this pass."""
        kernel = self._kernels[segment[-1]]
        meets = self._pass.train and kernel.op.meets
        return kernel if meets and isinstance(kernel, Meeting) else None

    def commit(self) -> None:
        """Have the layers' state follow a training pass of the whole batch."""
        for kernel in self._commit:
            kernel.commit()
