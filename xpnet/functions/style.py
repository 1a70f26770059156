"""What a picture is to have of two others, content and style, and the gradients of that.

Features F of a picture are (..., C, H, W): C channels of M = H W places, as a matrix (C, M). Losses
are sums over everything, also over leading axes. Gatys, Ecker, Bethge 2015, "A neural algorithm of
artistic style", arXiv:1508.06576.
"""

from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import check_same_shape, floating
from xpnet.errors import ArgumentError


def gram_matrix(F: Array) -> Array:
    """G = F F^T, (..., C, C): how much each two channels are active at the same places.

    G grows with the number of places: between pictures of different sizes G / M can be compared.

    Parameters
    ----------
    F : (..., C, H, W), any real dtype

    Raises
    ------
    ArgumentError
        F has fewer than three axes, or none of something.
    """
    matrix = _as_matrix(F)
    return matrix @ array_namespace(matrix).matrix_transpose(matrix)


def style_loss(F: Array, A: Array) -> tuple[Array, Array]:
    """The distance of the Gram matrix of F to that of a style, and its gradient by F.

        E = sum (G - A)^2 / (4 C^2 M^2),   G = F F^T
        dE/dF = (G - A) F / (C^2 M^2)

    The paper's eqs. 3, 4 and 6; that its gradient is 0 where F is not above 0 is the ReLU's part,
    which the layer below applies.

    Parameters
    ----------
    F : (..., C, H, W)
    A : (..., C, C), symmetric, for as many places as F has

    Returns
    -------
    E, 0-d; dE/dF in the shape of F

    Raises
    ------
    ArgumentError
        As for `gram_matrix`, or A has another shape than the Gram matrix of F.
    """
    matrix, G = _as_matrix(F), gram_matrix(F)
    check_same_shape("style_loss, of Gram matrices,", G, A)
    xp, (C, M) = array_namespace(matrix), matrix.shape[-2:]
    D = G - floating(A)
    E = xp.sum(D * D) / (4 * C**2 * M**2)
    return E, xp.reshape(D @ matrix / (C**2 * M**2), F.shape)


def content_loss(F: Array, P: Array) -> tuple[Array, Array]:
    """Half the squared distance of features F to those of the content, P, and its gradient by F.

        L = sum (F - P)^2 / 2,   dL/dF = F - P

    The paper's eqs. 1 and 2, with the same remark on the ReLU as `style_loss`.

    Returns
    -------
    L, 0-d; dL/dF in the shape of F

    Raises
    ------
    ArgumentError
        The shapes differ.
    """
    check_same_shape("content_loss", F, P)
    D = floating(F) - floating(P)
    return array_namespace(D).sum(D * D) / 2, D


def total_variation(x: Array) -> tuple[Array, Array]:
    """The sum of squared differences between neighbouring pixels, and its gradient by the picture.

        V = sum (x[i+1, j] - x[i, j])^2 + sum (x[i, j+1] - x[i, j])^2

    A difference d adds -2 d to the gradient at its first pixel and 2 d at its second. With |d| for
    d^2, as denoising has it, the slope would jump, which L-BFGS does not take well.

    Parameters
    ----------
    x : (..., H, W), any real dtype

    Returns
    -------
    V, 0-d; dV/dx in the shape of x

    Raises
    ------
    ArgumentError
        x has fewer than two axes.
    """
    if x.ndim < 2:
        raise ArgumentError(
            f"total_variation takes pictures, (..., H, W), got an array of shape {tuple(x.shape)}; "
            "reshape it"
        )
    xp, x = array_namespace(x), floating(x)
    down, across = x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]
    dx = xp.zeros_like(x)
    dx[..., 1:, :] += 2 * down
    dx[..., :-1, :] -= 2 * down
    dx[..., 1:] += 2 * across
    dx[..., :-1] -= 2 * across
    return xp.sum(down * down) + xp.sum(across * across), dx


def _as_matrix(F: Array) -> Array:
    """Features as matrices (..., C, M)."""
    if F.ndim < 3 or 0 in F.shape[-3:]:
        raise ArgumentError(
            "a Gram matrix is of features (..., C, H, W), none of these 0, got an array of shape "
            f"{tuple(F.shape)}; give what a layer makes of pictures"
        )
    *before, C, H, W = F.shape
    return array_namespace(F).reshape(floating(F), (*before, C, H * W))
