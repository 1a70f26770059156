"""Choosing some of many candidates: the samples that a detector learns from.

Nothing here depends on what is in the arrays but their values: shapes are fixed, and what is not
chosen is marked by a mask.
"""

from xpnet.arrays import Array, array_namespace

INF = float("inf")


def drawn(candidates: Array, draws: Array, limit: int | Array) -> Array:
    """Choose of each row at most `limit` candidates, those with the lowest draws.

    Draws that are independent and evenly distributed make every choice of so many equally likely.

    Parameters
    ----------
    candidates : (N, n), bool
    draws : (N, n), floats, of which no two are equal in a row
    limit : from 1 on; a number for all rows, or (N,) integers

    Returns
    -------
    (N, n), bool
    """
    xp, (rows, n) = array_namespace(draws), draws.shape
    keys = xp.where(candidates, draws, INF)
    in_order = xp.sort(keys, axis=1)
    if isinstance(limit, int):
        last = in_order[:, min(limit, n) - 1 : min(limit, n)]
    else:
        row = xp.arange(rows, dtype=limit.dtype, device=limit.device) * n
        places = row + xp.clip(limit, 1, n) - 1
        last = xp.reshape(xp.take(xp.reshape(in_order, (-1,)), places), (-1, 1))
    return candidates & (keys <= last)


def first_of(*groups: Array, count: int) -> tuple[Array, Array]:
    """The places of what is in the first group, then in the second, and so on; `count` of them.

    Parameters
    ----------
    groups : (N, n), bool, none of which shares a place with another

    Returns
    -------
    Places (N, count) in a row, int64, and whether something of a group is there, bool; behind
    these come places that are in no group.
    """
    xp, rank = array_namespace(groups[0]), 0
    for k, group in enumerate(groups):
        rank = rank + xp.astype(group, xp.int8) * (k - len(groups))
    order = xp.argsort(rank, axis=1, stable=True)[:, :count]
    members = sum(xp.sum(xp.astype(group, xp.int64), axis=1) for group in groups)
    there = xp.arange(order.shape[1], dtype=xp.int64, device=order.device)[None, :]
    return order, there < xp.expand_dims(members, axis=1)


def taken(x: Array, places: Array) -> Array:
    """Entries of each row: x[n, places[n, k], ...] for all n and k.

    Parameters
    ----------
    x : (N, n, ...)
    places : (N, count), integers from 0 to n - 1
    """
    xp, (rows, n, *rest) = array_namespace(x), x.shape
    first = xp.arange(rows, dtype=places.dtype, device=places.device)[:, None] * n
    flat = xp.reshape(x, (rows * n, *rest))
    found = xp.take(flat, xp.reshape(places + first, (-1,)), axis=0)
    return xp.reshape(found, (*places.shape, *rest))
