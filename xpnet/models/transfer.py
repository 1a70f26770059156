"""What one network learned, for another: its arrays by name, and what its layers make of inputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace, to_numpy
from xpnet.arrays.values import as_array, floats_among, in_parts
from xpnet.errors import ArgumentError
from xpnet.files.photographs import Photographs
from xpnet.layers import AuxiliaryHeads, Dropout, Layer, Params, Sequential, Shape
from xpnet.layers.base import run_layer
from xpnet.models.accuracy import evaluation_batch
from xpnet.models.filling import check_floats
from xpnet.models.learning import Learns, is_at

THEIRS = "the other network"


class Taken(NamedTuple):
    """Names of a network's arrays: what `take` copied, and what it left as it was."""

    taken: tuple[str, ...]
    left: tuple[str, ...]


class Transfers(Learns):
    """The part of `Network` by which it goes on from what another has learned.

    Attributes
    ----------
    photographs : how it reads photographs, which belongs to its weights; None if it does not
    """

    state: Params
    input_shape: Shape
    photographs: Photographs | None = None

    @checked
    def take(self, other: "Transfers", *, except_: str | Sequence[str] = ()) -> Taken:
        """Copy parameters and running statistics of another network, by their paths.

        All of them or, where one does not fit, none. A new head for other classes is what such a
        network is built with, and named here: `new.take(trained, except_="fc")`.

        Parameters
        ----------
        except_ : paths of layers, or names of parameters, of either network, that are not copied

        Returns
        -------
        The names of what was copied, and of what this network keeps

        Raises
        ------
        ArgumentError
            A name is missing on either side, or a shape differs, and it is not excepted; or there
            is nothing of an excepted name.
        WeightsError
            The other network's numbers are not finite, or too large for this one.
        """
        if not isinstance(other, Transfers):
            raise ArgumentError(
                f"take needs a network, got {type(other).__name__}; load_network and load_torch "
                "are for files"
            )
        exceptions = (except_,) if isinstance(except_, str) else except_
        if not isinstance(exceptions, Iterable) or not all(isinstance(e, str) for e in exceptions):
            raise ArgumentError(f"except_ must be names, such as ('fc',), got {except_!r}")
        own, theirs = self._arrays(), other._arrays()
        called = {**dict.fromkeys(own), **dict.fromkeys(theirs), **other._names, **self._names}
        excepted = {
            given: [p for p, name in called.items() if is_at(p, given) or name == given]
            for given in exceptions
        }
        if nothing := [given for given, found in excepted.items() if not found]:
            raise ArgumentError(f"neither network has an array {nothing[0]!r}, or one below it")
        left = {path for found in excepted.values() for path in found}
        wanted = [path for path in own if path not in left]
        extra = [path for path in theirs if path not in own and path not in left]
        if not wanted:
            raise ArgumentError("take has nothing to copy: all is excepted; name less in except_")
        _check_fits(own, theirs, wanted, extra)
        hosts = {path: to_numpy(theirs[path]) for path in wanted}
        for path, array in hosts.items():
            check_floats(THEIRS, path, array, self.params.dtype)
        for path, array in hosts.items():
            own[path][...] = self.params.device.asarray(array, dtype=self.params.dtype)
        self.params.apply_masks()
        kept = tuple(path for path in own if path in left)
        if (seen := other.photographs) is not None:
            classes = None if kept else seen.classes
            self.photographs = replace(seen, size=self.input_shape[-1], classes=classes)
        return Taken(tuple(wanted), kept)

    def _arrays(self) -> Params:
        """Parameters and running statistics by path, whatever the parameters are called."""
        own = {path: self.params[name] for path, name in self._names.items()}
        return own | floats_among(self.state)

    @checked
    def features(
        self, x: Array, upto: str | None = None, *, batch_size: int | None = None
    ) -> Array:
        """What the layers up to this one make of inputs, as in inference: (N, ...).

        Of layers that do not learn it is the same every time, so that a new head learns from it as
        fast as a network of its own does. The layers compute it as they are written, without an
        engine.

        Parameters
        ----------
        x : inputs, as for `predict`
        upto : path of the last layer that computes, which must not stand in a branch; if None, all
            before the last one with parameters do, without the Dropout in front of it
        batch_size : inputs at a time; if None, 200, or 1,000 on a GPU

        Raises
        ------
        ArgumentError
            There is no such layer, or it stands in a branch.
        """
        if batch_size is not None and batch_size < 1:
            raise ArgumentError(f"features needs a batch_size of at least 1, got {batch_size}")
        last = self._before_head() if upto is None else upto
        _check_path(self._body, last)
        size = evaluation_batch(self.params.device) if batch_size is None else batch_size
        x = as_array(x, "inputs")
        if not x.shape or not x.shape[0]:
            raise ArgumentError(f"features needs inputs (N, ...), got shape {tuple(x.shape)}")
        parts = [
            _through(self._body, self.place(x[part, ...], single=False), last)
            for part in in_parts(x.shape[0], size)
        ]
        return array_namespace(parts[0]).concat(parts) if len(parts) > 1 else parts[0]

    def place(self, x: Any, *, single: bool = True) -> Array:
        """Inputs as this network takes them."""
        raise NotImplementedError

    def _before_head(self) -> str:
        """The name of the layer before the last one that has parameters, and before its Dropout."""
        layers = dict(_in_a_row(self._body))
        while layers and not layers.popitem()[1].params:
            pass
        for name, layer in reversed(layers.items()):
            if not isinstance(layer, Dropout):
                return name
        raise ArgumentError("there is no layer before the last one with parameters; give upto")


def _check_fits(own: Params, theirs: Params, wanted: Sequence[str], extra: Sequence[str]) -> None:
    """Refuse what is missing on either side, and what has another shape."""
    remedy = "name what is not to be taken, as in except_=('fc',)"
    if missing := [path for path in wanted if path not in theirs]:
        raise ArgumentError(f"{THEIRS} has no {_first(missing)}; {remedy}")
    if others := [path for path in wanted if own[path].shape != theirs[path].shape]:
        path = others[0]
        raise ArgumentError(
            f"{_first(others)} must have shape {tuple(own[path].shape)}, got "
            f"{tuple(theirs[path].shape)} in {THEIRS}; {remedy}"
        )
    if extra:
        raise ArgumentError(f"{THEIRS} has {_first(extra)}, and this one has not; {remedy}")


def _first(paths: Sequence[str]) -> str:
    """The first of some paths, and how many more there are."""
    return f"{paths[0]} (and {len(paths) - 1} more)" if len(paths) > 1 else paths[0]


def _in_a_row(box: Sequential) -> Mapping[str, Layer]:
    """The layers that each read the one before."""
    return box.row if isinstance(box, AuxiliaryHeads) else box.layers


def _check_path(box: Sequential, path: str, within: str = "") -> None:
    """Refuse a layer that is not there, or that is one of several in branches."""
    name, dot, rest = path.partition(".")
    layers = _in_a_row(box)
    if name not in layers:
        there = ", ".join(f"{within}{each}" for each in layers)
        raise ArgumentError(f"there is no layer {within + path!r}; there are {there}")
    layer = layers[name]
    if dot and not isinstance(layer, Sequential):
        raise ArgumentError(
            f"{within}{name} is a {type(layer).__name__}, and features are of whole layers in a "
            f"row, got {within + path!r}; give upto={within + name!r}"
        )
    if dot:
        assert isinstance(layer, Sequential)
        _check_path(layer, rest, f"{within}{name}.")


def _through(box: Sequential, x: Array, path: str) -> Array:
    """What the layers up to this path make of placed inputs."""
    name, _, rest = path.partition(".")
    for own, layer in _in_a_row(box).items():
        if own == name and rest:
            assert isinstance(layer, Sequential)
            return _through(layer, x, rest)
        x, _ = run_layer(layer, x, train=False)
        if own == name:
            break
    return x
