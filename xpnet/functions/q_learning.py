"""Q-learning: what actions are worth, and how far a network is from that."""

from collections.abc import Sequence

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
from xpnet.functions.losses import smooth_l1


@checked
def discounted_returns(rewards: Sequence[float], discount: float) -> list[float]:
    """What the rewards of an episode are worth at each of its steps, backwards from the last.

        G_t = r_t + discount G_(t+1)

    Sutton, Barto 2018, "Reinforcement Learning", 2nd edition, eq. 3.9.
    """
    found, value = [], 0.0
    for reward in reversed(rewards):
        value = float(reward) + discount * value
        found.append(value)
    return found[::-1]


def q_targets(
    reward: Array,
    terminal: Array,
    target: Array,
    discount: float = 0.99,
    *,
    online: Array | None = None,
) -> Array:
    """What the actions taken are worth, by the rewards that they brought and by what comes next.

        y = r + discount (1 - terminal) max_a target(s', a)

    With `online` double Q-learning's: that network chooses the action, and the other one tells what
    it is worth, which overestimates less,

        y = r + discount (1 - terminal) target(s', argmax_a online(s', a))

    Nothing comes after a terminal move. After one that ended at a limit of steps alone something
    would: it is not terminal. Of equal values the first is the largest.

    Mnih et al. 2015, "Human-level control through deep reinforcement learning", Nature 518; van
    Hasselt, Guez, Silver 2016, "Deep reinforcement learning with double Q-learning",
    arXiv:1509.06461.

    Parameters
    ----------
    reward, terminal : (N,)
    target, online : (N, actions), values of what is seen after the move

    Raises
    ------
    ArgumentError
        The discount is not from 0 to 1.
    """
    if not 0.0 <= discount <= 1.0:
        raise ArgumentError(f"discount must be from 0 to 1, got {discount}")
    xp = array_namespace(target)
    if online is None:
        value = xp.max(target, axis=1)
    else:
        best = xp.expand_dims(xp.argmax(online, axis=1), axis=1)
        value = xp.take_along_axis(target, best, axis=1)[:, 0]
    reward = xp.astype(reward, target.dtype)
    return reward + discount * xp.where(terminal, xp.zeros_like(value), value)


def q_loss(q: Array, action: Array, y: Array) -> tuple[Array, Array, Array]:
    """Compute how far the values of the actions taken are from y, and the gradient by all values.

        L = 1/N sum Huber(q(s, a) - y),   Huber(d) = d^2 / 2 where |d| <= 1, otherwise |d| - 1/2
        dL/dq(s, a) = clip(q(s, a) - y, -1, 1) / N,   0 for actions that were not taken

    y is taken as given: no gradient goes to what it was made of.

    Parameters
    ----------
    q : (N, actions)
    action : (N,) whole numbers from 0
    y : (N,)

    Returns
    -------
    L, 0-d, dL/dq, in the shape of q, and q(s, a), (N,)
    """
    xp = array_namespace(q)
    actions = xp.arange(q.shape[1], dtype=xp.int64, device=q.device)
    taken = xp.expand_dims(xp.astype(action, xp.int64), axis=1) == actions
    value = xp.sum(xp.where(taken, q, xp.zeros_like(q)), axis=1)
    loss, slope = smooth_l1(value - y)
    dq = xp.where(taken, xp.expand_dims(slope / q.shape[0], axis=1), xp.zeros_like(q))
    return xp.mean(loss), dq, value


def epsilon_at(frame: int, *, begin: int, frames: int, least: float) -> float:
    """The share of moves at random: 1 until frame `begin`, then falling evenly to `least`.

    Parameters
    ----------
    frames : over which it falls
    """
    if frame < begin:
        return 1.0
    return least + (1.0 - least) * max(0.0, 1.0 - (frame - begin) / max(frames, 1))
