"""Adding rows where indices say: the transpose of `take`."""

from math import prod

import numpy as np

from xpnet.arrays.choice import on_host
from xpnet.arrays.namespace import Array, array_namespace
from xpnet.errors import ArgumentError


def scatter_add(values: Array, index: Array, rows: int) -> Array:
    """Add each row of `values` into the row of zeros that its index says.

        y[r] = sum of values[m] over all m with index[m] = r;   <take(x, index), v> = <x, y>

    The order of every sum is fixed, so that a run repeats bit for bit: on NumPy it is that of m,
    elsewhere a tree. Neither needs atomics, nor sizes that depend on data.

    Parameters
    ----------
    values : (M, ...), numbers
    index : (M,), whole numbers from 0 to `rows`; `rows` itself is nowhere, and adds nothing
    rows : of the result

    Returns
    -------
    (rows, ...), dtype and device of `values`

    Raises
    ------
    ArgumentError
        There is not one index for each row of values, or one is no row. On a device with memory of
        its own indices are not read, and what is no row adds nothing.
    """
    xp = array_namespace(values)
    M, *rest = values.shape
    if index.shape != (M,) or not xp.isdtype(index.dtype, "integral"):
        raise ArgumentError(
            f"scatter_add needs a whole number for each of {M} rows, got {index.dtype} of shape "
            f"{tuple(index.shape)}"
        )
    if M and on_host(index):
        lowest, highest = int(xp.min(index)), int(xp.max(index))
        if lowest < 0 or highest > rows:
            raise ArgumentError(
                f"indices of scatter_add must be from 0 to {rows}, of which {rows} adds nothing, "
                f"got {lowest} to {highest}"
            )
    flat = xp.reshape(values, (M, prod(rest)))
    add = _added_in_order if isinstance(values, np.ndarray) else _sums_of_runs
    return xp.reshape(add(flat, index, rows), (rows, *rest))


def _added_in_order(values: np.ndarray, index: np.ndarray, rows: int) -> np.ndarray:
    """One row after the other, on NumPy."""
    columns = values.shape[1]
    y = np.zeros((rows + 1) * columns, dtype=values.dtype)
    # Of one axis NumPy adds ten times as quickly as of several.
    places = index.astype(np.int64)
    if columns != 1:
        places = (places[:, None] * columns + np.arange(columns)).reshape(-1)
    np.add.at(y, places, values.reshape(-1))
    return y[: rows * columns].reshape(rows, columns)


def _sums_of_runs(values: Array, index: Array, rows: int) -> Array:
    """Sort the rows by their index, and sum each run of equal indices by doubling.

    After k turns each row has the sum of the last 2^k rows of its run, itself included, and in the
    end the last row of a run has that of all.
    """
    xp, (M, columns) = array_namespace(values), values.shape
    if not M or not columns or not rows:
        return xp.zeros((rows, columns), dtype=values.dtype, device=values.device)
    index = xp.astype(index, xp.int64)
    order = xp.argsort(index, stable=True)
    place, sums = xp.take(index, order), xp.take(values, order, axis=0)
    step = 1
    while step < M:
        same = xp.expand_dims(place[step:] == place[:-step], axis=-1)
        more = xp.where(same, sums[:-step, :], 0)
        sums = xp.concat([sums[:step, :], sums[step:, :] + more], axis=0)
        step *= 2
    wanted = xp.arange(rows, dtype=xp.int64, device=values.device)
    last = xp.searchsorted(place, wanted, side="right") - 1
    last = xp.maximum(last, xp.zeros_like(last))
    found = xp.expand_dims(xp.take(place, last) == wanted, axis=-1)
    return xp.where(found, xp.take(sums, last, axis=0), 0)
