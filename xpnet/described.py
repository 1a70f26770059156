"""Things that say what they are by the arguments that make them again."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class ReadOnly(Mapping[str, T]):
    """A dictionary to be read, as it is at the time; a copy of it is of a copied one."""

    def __init__(self, of: dict[str, T]) -> None:
        self._of = of

    def __getitem__(self, name: str) -> T:
        return self._of[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)

    def __repr__(self) -> str:
        return repr(self._of)


class Described:
    """Something with `arguments()`, the keywords of its constructor; its `repr` shows them.

    The values are what JSON can hold, or are Described themselves, or dictionaries of such. What
    only chose random initial values, such as `rng`, is left out: they are among the parameters.
    """

    def arguments(self) -> dict[str, Any]:
        """The keywords that make another one like it, in the order of the constructor."""
        return {}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments().items())
        return f"{type(self).__name__}({given})"
