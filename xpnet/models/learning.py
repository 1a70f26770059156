"""What of a network learns, and how fast."""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from typing import Any

from xpnet.arguments import real
from xpnet.arrays.parameters import FlatParams
from xpnet.described import Described
from xpnet.errors import ArgumentError
from xpnet.layers import Sequential, leaves
from xpnet.layers.base import is_frozen


class Learns(Described):
    """The part of `Network` that says which of its parameters learn.

    Attributes
    ----------
    params : the parameters by name
    """

    params: FlatParams
    _body: Sequential
    _names: dict[str, str]
    """The name of each parameter by its path."""

    def freeze(self, *names: str) -> None:
        """Keep parameters as they are: all below these paths, or of these names; all if none.

        Nothing is computed for frozen layers that learning does not need, nor below the lowest that
        learns. Running statistics of batch normalization go on: see `freeze_statistics`.

        Raises
        ------
        ArgumentError
            There is no such layer or parameter.
        """
        self._set_learning(names, frozen=True)

    def thaw(self, *names: str) -> None:
        """Let parameters learn again, named as for `freeze`."""
        self._set_learning(names, frozen=False)

    def freeze_statistics(self, *names: str) -> None:
        """Have training normalize by the running statistics, and leave them, in these layers.

        As inference does. gamma and beta go on learning, unless they are frozen, too. That is for
        batches so small that their own statistics mean little, and for the fine-tuning of a network
        on few samples.

        Parameters
        ----------
        names : paths of layers of batch normalization, or of what they are in; all if none

        Raises
        ------
        ArgumentError
            There is no such layer, or none with running statistics in it.
        """
        self._set_statistics(names, frozen=True)

    def thaw_statistics(self, *names: str) -> None:
        """Have training use the statistics of its batches again, named as `freeze_statistics`."""
        self._set_statistics(names, frozen=False)

    @property
    def frozen_statistics(self) -> tuple[str, ...]:
        """The paths of the layers whose running statistics are frozen."""
        return self._frozen_statistics

    def _set_statistics(self, names: Sequence[str], *, frozen: bool) -> None:
        normed = {p: norm for p, norm in leaves(self._body) if hasattr(norm, "statistics_frozen")}
        chosen: set[str] = set(() if names else normed)
        for name in names:
            found = {path for path in normed if is_at(path, name)}
            if not found:
                raise ArgumentError(
                    f"there is no layer {name!r} with running statistics; there are "
                    f"{', '.join(normed) or 'none in this network'}"
                )
            chosen |= found
        for path in chosen:
            normed[path].statistics_frozen = frozen
        self._note_statistics()
        self.params.set_learning(())  # so that what was compiled knows that it is old

    def _note_statistics(self) -> None:
        self._frozen_statistics = tuple(
            path for path, layer in leaves(self._body) if getattr(layer, "statistics_frozen", False)
        )

    def scale_rate(self, factor: float, *names: str) -> None:
        """Have parameters learn at `factor` times the optimizer's rate, named as for `freeze`.

        Raises
        ------
        ArgumentError
            The factor is no positive number, or there is no such layer or parameter.
        """
        if not real(factor):
            raise ArgumentError(
                f"the factor of a learning rate must be a positive number, got {factor!r}; it "
                "comes before the names, as in scale_rate(0.1, 'Affine1')"
            )
        if not (isfinite(factor) and factor > 0):
            raise ArgumentError(
                f"the factor of a learning rate must be a positive number, got {factor}; "
                "use freeze for what is not to learn"
            )
        self._set_learning(names, rate=factor)

    def _set_learning(
        self, names: Sequence[str], *, rate: float | None = None, frozen: bool | None = None
    ) -> None:
        chosen: set[str] = set(() if names else self.params)
        for name in names:
            found = {own for key, own in self._names.items() if own == name or is_at(key, name)}
            if not found:
                raise ArgumentError(
                    f"there is no layer or parameter {name!r} with anything to learn; there are "
                    f"{', '.join(self._body.layers)}, and their parameters, such as "
                    f"{next(iter(self.params), 'none')}"
                )
            chosen |= found
        if frozen:
            self._check_marks(chosen)
        self.params.set_learning(chosen, rate=rate, frozen=frozen)
        for path, layer in leaves(self._body):
            own = [self._names[f"{path}.{key}"] for key in layer.params]
            mark = bool(own) and all(self.params.learning(name).frozen for name in own)
            if mark or hasattr(layer, "frozen"):
                layer.frozen = mark  # type: ignore[attr-defined]

    def _check_marks(self, chosen: Collection[str]) -> None:
        """Refuse to freeze a layer that cannot be marked as frozen, before anything is changed."""
        for path, layer in leaves(self._body):
            own = [self._names[f"{path}.{key}"] for key in layer.params]
            marked = all(name in chosen or self.params.learning(name).frozen for name in own)
            if not own or not marked:
                continue
            try:
                layer.frozen = is_frozen(layer)  # type: ignore[attr-defined]
            except AttributeError:
                raise ArgumentError(
                    f"layer {path}, {type(layer).__name__}, has no attribute `frozen` and no place "
                    "for it, and cannot be frozen; add 'frozen' to its __slots__"
                ) from None


def is_at(path: str, given: str) -> bool:
    """Tell whether a path is the given one, or leads on from there."""
    return f"{path}.".startswith(f"{given}.")


def learning_of(network: Learns) -> dict[str, Any]:
    """What is frozen, rates that are not the optimizer's, and frozen statistics, as JSON has it."""
    ways = {name: network.params.learning(name) for name in network.params}
    return {
        "frozen": [name for name, how in ways.items() if how.frozen],
        "rates": {name: how.rate for name, how in ways.items() if how.rate != 1.0},
        "statistics": list(network.frozen_statistics),
    }


def learn_as(network: Learns, how: Mapping[str, Any]) -> None:
    """Have a network in which nothing is frozen learn as `learning_of` says of one that is alike.

    Raises
    ------
    ArgumentError
        It is not alike.
    """
    for name, rate in how["rates"].items():
        network.scale_rate(rate, name)
    for names, freeze in (
        (how["frozen"], network.freeze),
        (how["statistics"], network.freeze_statistics),
    ):
        if names:  # without any, it would be all
            freeze(*names)
