"""Layers side by side: shortcuts, sums, channels joined, several outputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
from xpnet.layers.base import (
    Backward,
    Container,
    Layer,
    Leaf,
    Params,
    Shape,
    Tracer,
    as_layers,
    located,
    run_layer,
    take_back,
)
from xpnet.layers.sequential import body_of

Split: TypeAlias = Callable[[Array], Sequence[Array]]
"""A function that turns the gradient of a joined output into those of the branches."""


class Identity(Leaf):
    """y = x, the shortcut that nothing is done on."""

    def __init__(self) -> None:
        self.params: Params = {}

    def output_shape(self, shape: Shape) -> Shape:
        """The same shape."""
        return shape

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """x itself, of any shape."""

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            return dy, {}

        return x, backward


class PadShortcut(Leaf):
    """Every so many pixels, with channels of zeros before and behind: a shortcut to fewer, wider
    maps without parameters.

        y[n, p + c, oy, ox] = x[n, c, oy s, ox s],   p = (channels - C) // 2,   0 elsewhere

    Option A of He, Zhang, Ren, Sun 2015, "Deep residual learning for image recognition",
    arXiv:1512.03385, section 3.3.

    Parameters
    ----------
    stride : s
    channels : of the output, as many as the input's C at least
    """

    @checked
    def __init__(self, stride: int, channels: int) -> None:
        if stride < 1 or channels < 1:
            raise ArgumentError(
                "PadShortcut needs a stride and channels of at least 1, got "
                f"stride={stride}, channels={channels}"
            )
        self.stride, self.channels = stride, channels
        self.params: Params = {}

    def arguments(self) -> dict[str, Any]:
        """Stride and channels."""
        return {"stride": self.stride, "channels": self.channels}

    def output_shape(self, shape: Shape) -> Shape:
        """(channels, ceil(H / stride), ceil(W / stride)) for images (C, H, W)."""
        if len(shape) != 3 or shape[0] > self.channels:
            raise ArgumentError(
                f"PadShortcut takes images of up to {self.channels} channels, (C, H, W), "
                f"got {shape}"
            )
        return self.channels, *(-(-size // self.stride) for size in shape[1:])

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The pixels, (N, channels, OH, OW)."""
        xp, s = array_namespace(x), self.stride
        N, C, *_ = x.shape
        before = (self.channels - C) // 2
        inside = slice(before, before + C)
        shape = (N, *self.output_shape(tuple(x.shape[1:])))
        y = xp.zeros(shape, dtype=x.dtype, device=x.device)
        y[:, inside, :, :] = x[:, :, ::s, ::s]

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            dx = xp.zeros(x.shape, dtype=dy.dtype, device=dy.device)
            dx[:, :, ::s, ::s] = dy[:, inside, :, :]
            return dx, {}

        return y, backward


class _Branches(Container):
    """Layers that all read the same input.

        y = join of b_1(x), b_2(x), ...,   dx = sum of the branches' dx, in their order

    Subclasses say how outputs are joined.
    """

    @checked
    def __init__(
        self, branches: Mapping[str, Layer] | Sequence[Layer], word: str = "branch"
    ) -> None:
        super().__init__(as_layers(branches, word))
        if not self._children:
            raise ArgumentError(f"{type(self).__name__} needs at least one branch, got none")

    def arguments(self) -> dict[str, Any]:
        """The branches."""
        return {"branches": self.children()}

    def branches(self) -> dict[str, Layer]:
        """The layers that read the input, by name."""
        return self.children()

    def shapes(self, shape: Shape) -> dict[str, Any]:
        """Output shape of every branch; where a layer does not fit, ArgumentError names it."""
        found = {}
        for name, branch in self.branches().items():
            try:
                found[name] = branch.output_shape(shape)
            except ArgumentError as error:
                raise located(name, error) from None
        return found

    def output_shape(self, shape: Shape) -> Any:
        """The shape of the joined output."""
        shapes = self.shapes(shape)
        for name, found in shapes.items():
            if isinstance(found, dict):
                raise ArgumentError(f"branch {name} ends in several heads, which must come last")
        return self.joined_shape(shapes)

    def joined_shape(self, shapes: Mapping[str, Shape]) -> Shape:
        """The shape of the joined output, by the branches' shapes."""
        raise NotImplementedError

    def join(self, outputs: Sequence[Array]) -> tuple[Array, Split]:
        """The joined output, and what divides its gradient among the branches."""
        raise NotImplementedError

    def named(self, name: str) -> str:
        """Return what the names of a branch's parameters begin with."""
        return f"{name}."

    def trace(self, tracer: Tracer, path: str, value: int) -> Any:
        """Each branch reads the input, and the join reads the branches."""
        outputs = [
            tracer.layer(f"{path}{name}", branch, value) for name, branch in self.branches().items()
        ]
        return self.traced(tracer, path, outputs)

    def traced(self, tracer: Tracer, path: str, outputs: Sequence[int]) -> int:
        """The join as a node that reads the branches' outputs."""

        def shape() -> Shape:
            return self.joined_shape(
                {
                    name: tracer.shape(value)
                    for name, value in zip(self.branches(), outputs, strict=True)
                }
            )

        return tracer.node(path.removesuffix("."), self, outputs, shape)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Any, Backward]:
        """The joined output."""
        outputs, steps = [], []
        for name, branch in self.branches().items():
            y, step = run_layer(branch, x, train=train)
            outputs.append(y)
            steps.append((self.named(name), branch, step))
        y, split = self.join(outputs)

        def backward(
            dy: Any, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array, Params]:
            dx: Array = None
            grads: Params = {}
            for (path, branch, step), d in zip(steps, split(dy), strict=True):
                if not need_dx and not branch.params:
                    continue
                more, own = take_back(step, branch, d, need_dx=need_dx, need_grads=need_grads)
                grads |= {f"{path}{key}": grad for key, grad in own.items()}
                if need_dx:
                    dx = more if dx is None else dx + more
            return dx, grads

        return y, backward


class Sum(_Branches):
    """y = b_1(x) + b_2(x) + ..., in the order of the branches; the gradient goes to each unchanged.

    Parameters
    ----------
    branches : name -> layer, or a list, whose layers are called branch1, branch2, ...; they put out
        equal shapes
    """

    def joined_shape(self, shapes: Mapping[str, Shape]) -> Shape:
        """The shape that all branches put out."""
        (name, first), *others = shapes.items()
        for other, shape in others:
            if shape != first:
                raise ArgumentError(
                    f"the branches of {type(self).__name__} must put out one shape, got {first} "
                    f"from {name} and {shape} from {other}"
                )
        return first

    def join(self, outputs: Sequence[Array]) -> tuple[Array, Split]:
        """The sum, and the same gradient for each branch."""
        total, *others = outputs
        for y in others:
            total = total + y
        return total, lambda dy: [dy] * len(outputs)


class Residual(Sum):
    """y = body(x) + shortcut(x): the layers learn what is to be added to their input.

    He, Zhang, Ren, Sun 2015, arXiv:1512.03385, eqs. 1 and 2. The ReLU that follows there is a
    layer of its own, behind this one.

    Parameters
    ----------
    layers : of the body, as for `Sequential`; their names stand for themselves, as in "conv1.W"
    shortcut : brings x to the body's shape; the identity if None
    shortcut_name : what the names of the shortcut's parameters begin with
    """

    @checked
    def __init__(
        self,
        layers: Mapping[str, Layer] | Sequence[Layer],
        shortcut: Layer | None = None,
        *,
        shortcut_name: str = "downsample",
    ) -> None:
        self._body = body_of("Residual", layers)
        if shortcut_name in self._body.layers:
            raise ArgumentError(
                f"a layer of the body is called {shortcut_name!r}, as the shortcut is; "
                "give another shortcut_name"
            )
        self.shortcut, self.shortcut_name = shortcut, shortcut_name
        self._other = Identity() if shortcut is None else shortcut
        Container.__init__(
            self, self._body.children() | ({} if shortcut is None else {shortcut_name: shortcut})
        )

    def arguments(self) -> dict[str, Any]:
        """Body and shortcut."""
        return {
            "layers": self._body.children(),
            "shortcut": self.shortcut,
            "shortcut_name": self.shortcut_name,
        }

    def branches(self) -> dict[str, Layer]:
        """The body, and the shortcut."""
        return {"body": self._body, self.shortcut_name: self._other}

    def named(self, name: str) -> str:
        """The body adds nothing to the names of its layers."""
        return "" if name == "body" else f"{name}."

    def joined_shape(self, shapes: Mapping[str, Shape]) -> Shape:
        """The shape of the body, which the shortcut, or the input itself, must have, too."""
        body, other = shapes["body"], shapes[self.shortcut_name]
        if self.shortcut is None and body != other:
            raise ArgumentError(
                f"the body of Residual puts out {body} and its input is {other}; give a shortcut "
                f"that brings {other} to {body}"
            )
        return super().joined_shape(shapes)

    def trace(self, tracer: Tracer, path: str, value: int) -> Any:
        """The sum reads the body and the shortcut, or the input itself."""
        outputs = [self._body.trace(tracer, path, value)]
        if self.shortcut is None:
            outputs.append(value)
        else:
            outputs.append(tracer.layer(f"{path}{self.shortcut_name}", self.shortcut, value))
        return self.traced(tracer, path, outputs)


class Concatenate(_Branches):
    """The branches' channels, or features, one behind the other; each gets its slice back.

    Parameters
    ----------
    branches : as for `Sum`; their shapes may differ in the first axis
    """

    def joined_shape(self, shapes: Mapping[str, Shape]) -> Shape:
        """All channels, of the size that all branches put out."""
        (name, (_, *size)), *others = shapes.items()
        for other, shape in others:
            if list(shape[1:]) != size:
                raise ArgumentError(
                    "the branches of Concatenate must put out one shape but for the first axis, "
                    f"got {shapes[name]} from {name} and {shape} from {other}"
                )
        return (sum(shape[0] for shape in shapes.values()), *size)

    def join(self, outputs: Sequence[Array]) -> tuple[Array, Split]:
        """All channels, and slices."""
        xp, ends, end = array_namespace(outputs[0]), [], 0
        axis = 1 if outputs[0].ndim > 1 else 0
        for y in outputs:
            ends.append((end, end := end + y.shape[axis]))

        def split(dy: Array) -> list[Array]:
            if axis == 0:
                return [dy[a:b] for a, b in ends]
            return [dy[:, a:b, ...] for a, b in ends]

        return xp.concat(list(outputs), axis=axis), split


class Heads(_Branches):
    """Several outputs by name; the last layer of a network.

    `forward` gives a dictionary, `backward` takes one, and dx is the sum. The outputs of heads
    within a head are called by paths: "left.score".

    Parameters
    ----------
    branches : name -> layer, or a list, whose layers are called head1, head2, ...
    """

    def __init__(self, branches: Mapping[str, Layer] | Sequence[Layer]) -> None:
        super().__init__(branches, "head")

    def output_shape(self, shape: Shape) -> dict[str, Shape]:
        """The shape of each output by name."""
        return _flat(self.shapes(shape))

    def trace(self, tracer: Tracer, path: str, value: int) -> Any:
        """Each head reads the input."""
        return _flat(
            {
                name: tracer.layer(f"{path}{name}", head, value)
                for name, head in self.branches().items()
            }
        )

    def join(self, outputs: Sequence[Any]) -> tuple[dict[str, Array], Callable[..., Any]]:
        """The outputs by name, and their gradients by head."""
        by_head = dict(zip(self._children, outputs, strict=True))

        def split(dy: Mapping[str, Array]) -> list[Any]:
            wanted = _flat(by_head)
            if dy.keys() != wanted.keys():
                raise ArgumentError(
                    f"a gradient for each of {', '.join(wanted)} is needed, got {', '.join(dy)}"
                )
            return [
                {key: dy[f"{name}.{key}"] for key in y} if isinstance(y, dict) else dy[name]
                for name, y in by_head.items()
            ]

        return _flat(by_head), split


def _flat(by_head: Mapping[str, Any]) -> dict[str, Any]:
    """List what each head has, or each of the heads within it, by path."""
    found: dict[str, Any] = {}
    for name, what in by_head.items():
        more = {name: what}
        if isinstance(what, dict):
            more = {f"{name}.{key}": each for key, each in what.items()}
        if twice := found.keys() & more.keys():
            raise ArgumentError(f"two heads are called {min(twice)!r}; give them other names")
        found |= more
    return found
