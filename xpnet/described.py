"""Things that say what they are by the arguments that make them again."""

from typing import Any


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
