"""The layers that follow a sum in the same kernel, and the way of gradients back through them."""

from collections.abc import Sequence
from dataclasses import dataclass

from xpnet.engine.cuda.function import Parameter, Parameters, boolean
from xpnet.engine.lower import Pattern
from xpnet.layers import Dropout, Layer, LeakyReLU, ReLU, ReLU6, ScaledTanh, Sigmoid, Tanh

ACTIVATIONS: dict[type[Layer], str] = {
    ReLU: "RELU",
    ReLU6: "RELU6",
    LeakyReLU: "LEAKY_RELU",
    Sigmoid: "SIGMOID",
    Tanh: "TANH",
    ScaledTanh: "SCALED_TANH",
}


def chained(*layers: type[Layer]) -> list[Pattern]:
    """The layers, each with a chain behind it."""
    activations, dropout = tuple(ACTIVATIONS), (Dropout,)
    ends = ((activations, dropout), (activations,), (dropout,))
    return [Pattern((layers, *end)) for end in ends]


@dataclass(frozen=True)
class Chain:
    """The layers that follow a sum: at most an activation, then at most one Dropout."""

    activation: str = "IDENTITY"
    dropout: Dropout | None = None
    slope: float = 0.0
    """Of LeakyReLU, below 0."""

    @staticmethod
    def of(layers: Sequence[Layer]) -> "Chain":
        """Make the chain of these layers."""
        chain = Chain()
        for layer in layers:
            if isinstance(layer, Dropout):
                chain = Chain(chain.activation, layer, chain.slope)
            else:
                chain = Chain(ACTIVATIONS[type(layer)], slope=getattr(layer, "slope", 0.0))
        return chain

    def kind(self, *, train: bool = True) -> str:
        """Its type in C++."""
        return f"Chain<{self.activation}, {boolean(train and self.dropout is not None)}>"

    @property
    def leaks(self) -> bool:
        """True if its activation has a slope of its own."""
        return self.activation == ACTIVATIONS[LeakyReLU]

    def value(self, *, train: bool = True, which: str = "") -> str:
        """Its value in C++, made of its parameters, whose names end in `which`."""
        names = ("calls", "k0", "k1", "dropped", "scale")
        calls, k0, k1, dropped, scale = (f"{name}{which}" for name in names)
        if self.dropout is None:
            numbers = "nullptr, 0, 0, 0, 1"
        elif train:
            numbers = f"{calls}, {k0}, {k1}, {dropped}, {scale}"
        else:
            numbers = f"nullptr, 0, 0, 0, {scale}"
        if self.leaks:
            numbers += f", slope{which}"
        return f"{self.kind(train=train)}{{{numbers}}}"

    def parameters(self, *, train: bool = True, which: str = "") -> Parameters:
        """The Dropout's, and the slope of LeakyReLU."""
        leak = (Parameter("real", f"slope{which}", self.slope),) if self.leaks else ()
        return self._of_dropout(train=train, which=which) + leak

    def _of_dropout(self, *, train: bool, which: str) -> Parameters:
        """The number of training passes, the key, the words that leave a unit out, the scale."""
        dropout = self.dropout
        if dropout is None:
            return ()
        ratio, keep = dropout.dropout_ratio, 1.0 - dropout.dropout_ratio
        if not train:
            scale = 1.0 if dropout.inverted else keep
            return (Parameter("real", f"scale{which}", scale),)
        k0, k1 = dropout.key
        return (
            Parameter("const long long*", f"calls{which}", lambda place: place.calls(dropout)),
            Parameter("unsigned", f"k0{which}", k0),
            Parameter("unsigned", f"k1{which}", k1),
            Parameter("unsigned long long", f"dropped{which}", round(ratio * 2**32)),
            Parameter("real", f"scale{which}", 1 / keep if dropout.inverted else 1.0),
        )


@dataclass(frozen=True)
class Below:
    """The way in which a layer leaves the gradient by one of its inputs.

    Attributes
    ----------
    chain : what it takes the gradient back through: the chain of what has put the input out, if
        nobody else reads that, and else none
    adds : whether another reader has left a gradient there
    train : whether the chain is that of a training pass
    which : what the names of its parameters end in
    """

    chain: Chain
    adds: bool = False
    train: bool = True
    which: str = ""

    @property
    def kind(self) -> str:
        """Its type in C++."""
        return f"Below<{self.chain.kind(train=self.train)}, {boolean(self.adds)}>"

    @property
    def value(self) -> str:
        """Its value in C++, made of its parameters."""
        return f"{self.kind}{{{self.chain.value(train=self.train, which=self.which)}}}"

    @property
    def parameters(self) -> Parameters:
        """The chain's."""
        return self.chain.parameters(train=self.train, which=self.which)
