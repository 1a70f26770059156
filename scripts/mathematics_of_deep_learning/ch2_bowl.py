"""How do steps of gradient descent fall into a bowl, and what does eta decide? (2-10, 2-11)

    python scripts/mathematics_of_deep_learning/ch2_bowl.py

x^2 + y^2 from (3, 2). Every step multiplies z by (1 - 2 eta)^2: small rates creep, 0.5 arrives at
once, above 0.5 it swings from side to side, from 1 on it leaps away. With the gradient divided by
its length, eta is the length of the step. The local minima that the section warns of need another
surface than a bowl: 3 x^4 - 4 x^3 - 12 x^2 + 32 of section 2-6 has one, at -1, where a small rate
ends that comes from the left; the lowest is at 2.
"""

import numpy as np

from xpnet.books.wakui import gradient_descent
from xpnet.report.experiment import Lab, main

START = np.array([3.0, 2.0])
# x, y and z by the step, with two decimals.
PRINTED = {
    0: (3.00, 2.00, 13.00),
    1: (2.40, 1.60, 8.32),
    2: (1.92, 1.28, 5.32),
    3: (1.54, 1.02, 3.41),
    4: (1.23, 0.82, 2.18),
    5: (0.98, 0.66, 1.40),
    28: (0.01, 0.00, 0.00),
    29: (0.00, 0.00, 0.00),
    30: (0.00, 0.00, 0.00),
}
ETAS = (0.01, 0.1, 0.3, 0.5, 0.9, 1.02)


def slope(x: np.ndarray) -> np.ndarray:
    """Compute the gradient of x^2 + y^2."""
    return 2 * x


def height(path: np.ndarray) -> np.ndarray:
    """Compute z at each point of a path."""
    return np.sum(path**2, axis=1)


def quartic_slope(x: np.ndarray) -> np.ndarray:
    """Compute the derivative of 3 x^4 - 4 x^3 - 12 x^2 + 32."""
    return 12 * x * (x + 1) * (x - 2)


def run(lab: Lab) -> None:
    """Compare the table, and descend with several rates."""
    path = gradient_descent(slope, START, 0.1, 30)
    z = height(path)
    for i, row in PRINTED.items():
        lab.equal(f"step {i}: x, y, z", [*path[i], z[i]], row, atol=0.0051)
    lab.equal("all steps by (3, 2) 0.8^i: largest difference", np.abs(
        path - START * 0.8 ** np.arange(31)[:, np.newaxis]
    ).max(), 0, atol=1e-12)  # fmt: skip
    lab.holds("z falls at every step", np.all(np.diff(z) < 0), f"{z[0]:g} to {z[-1]:.2g}")

    even = gradient_descent(slope, START, 0.1, 30, normalised=True)
    lab.equal("normalised: steps 1 and 2", even[1:3], [
        (2.916795, 1.944530), (2.833590, 1.889060)
    ], atol=1e-6, book="length 0.1")  # fmt: skip

    paths = {eta: gradient_descent(slope, START, eta, 30) for eta in ETAS}
    for eta, walked in paths.items():
        ratio = (1 - 2 * eta) ** 2
        got = height(walked)[1] / z[0]
        lab.equal(f"eta {eta}: z of step 1 by z of step 0", got, ratio, atol=1e-12)
    for eta, book in {0.01: "too small: slow", 1.02: "too large: diverges"}.items():
        end = height(paths[eta])[-1]
        low, high = (1.0, 13.0) if eta < 1 else (13.0, None)
        lab.check(f"eta {eta}: z of step 30", end, low, high, book=book)
    for start, end, book in ((-1.7, -1, "trapped in a local minimum"), (0.5, 2, "")):
        stop = gradient_descent(quartic_slope, np.asarray(start), 0.01, 100)[-1]
        lab.equal(f"3 x^4 - 4 x^3 - 12 x^2 + 32 from {start}, eta 0.01", stop, end, atol=1e-6,
                  book=book)  # fmt: skip

    places, curves = lab.figure(9.5, 4.2).subplots(1, 2)
    for name, walked in {f"eta {eta}": paths[eta] for eta in (0.01, 0.1, 0.9)}.items():
        places.plot(walked[:, 0], ".-", label=name)
    places.plot(even[:, 0], ".-", label="steps of length 0.1")
    places.set(xlabel="step", ylabel="x", title="from (3, 2)")
    places.legend()
    for eta, walked in paths.items():
        dashes = "--" if eta == 0.9 else "-"  # it lies on 0.1
        curves.semilogy(np.maximum(height(walked), 1e-12), dashes, label=f"eta {eta}")
    curves.set(xlabel="step", ylabel="z", ylim=(1e-7, 1e3), title="z = x$^2$ + y$^2$")
    curves.legend()


if __name__ == "__main__":
    main(run, __doc__)
