"""What is the price of fruit, and its gradient by everything? (Figure 5-15; sections 5.1 to 5.4)

    python scripts/deep_learning_from_scratch/ch05_buy_apple_orange.py

Two apples at 100 and 10 % tax; then with three oranges at 150. The graph of the second, with the
values that go forward above the edges and the gradients that come back below: the exercise of
Figure 5-15, solved. And the two kinds of node by themselves.
"""

from xpnet.books.saitoh import AddLayer, MulLayer
from xpnet.report.experiment import Lab, main

ATOL = 1e-12


def buy_apple(lab: Lab) -> None:
    """Buy two apples."""
    apples, taxed = MulLayer(), MulLayer()
    lab.equal("2 apples", apples.forward(100.0, 2), 200, atol=ATOL)
    lab.equal("with tax", taxed.forward(200.0, 1.1), 220, atol=ATOL)
    dapples, dtax = taxed.backward(1.0)
    got = [dapples, *apples.backward(dapples), dtax]
    lab.equal("gradient by subtotal, price, number, tax", got, [1.1, 2.2, 110, 200], atol=ATOL)


def nodes(lab: Lab) -> None:
    """Check the node for sums and the one for products, 1.3 coming from above."""
    add, mul = AddLayer(), MulLayer()
    lab.equal("10 + 5", add.forward(10.0, 5.0), 15)
    lab.equal("its gradients", add.backward(1.3), [1.3, 1.3], atol=ATOL)
    lab.equal("10 x 5", mul.forward(10.0, 5.0), 50)
    lab.equal("its gradients", mul.backward(1.3), [6.5, 13], atol=ATOL)


def run(lab: Lab) -> None:
    """Forward and backward through both purchases."""
    nodes(lab)
    buy_apple(lab)

    apples, oranges, fruit, taxed = MulLayer(), MulLayer(), AddLayer(), MulLayer()
    apple, orange = apples.forward(100.0, 2), oranges.forward(150.0, 3)
    both = fruit.forward(apple, orange)
    price = taxed.forward(both, 1.1)
    dboth, dtax = taxed.backward(1.0)
    dapple, dorange = fruit.backward(dboth)
    d100, d2 = apples.backward(dapple)
    d150, d3 = oranges.backward(dorange)
    lab.equal("apples, oranges, both", [apple, orange, both], [200, 450, 650])
    lab.equal("price with tax", price, 715, atol=ATOL)
    lab.equal("gradient by price and number of apples", [d100, d2], [2.2, 110], atol=ATOL)
    lab.equal("gradient by price and number of oranges", [d150, d3], [3.3, 165], atol=ATOL)
    lab.equal("gradient by tax", dtax, 650, atol=ATOL)

    axes = lab.figure(9, 4.2).subplots()
    axes.set(xlim=(-1, 8.8), ylim=(0, 5))
    axes.set_axis_off()
    a, o, plus, times, end = (2.0, 4.0), (2.0, 1.5), (4.2, 2.75), (6.4, 2.75), (8.4, 2.75)
    edges = (
        ((0, 4.75), a, "price of an apple", 100, d100), ((0, 3.25), a, "apples", 2, d2),
        ((0, 2.25), o, "price of an orange", 150, d150), ((0, 0.75), o, "oranges", 3, d3),
        ((4.2, 0.3), times, "tax", 1.1, dtax), (a, plus, "", apple, dapple),
        (o, plus, "", orange, dorange), (plus, times, "", both, dboth), (times, end, "", price, 1),
    )  # fmt: skip
    for begin, stop, name, value, gradient in edges:
        arrow = {"arrowstyle": "->", "shrinkA": 3 if name else 15, "shrinkB": 15, "color": "0.5"}
        axes.annotate("", stop, begin, arrowprops=arrow)
        axes.text(*begin, name, ha="right", va="center")
        middle = ((begin[0] + stop[0]) / 2, (begin[1] + stop[1]) / 2)
        place = {"textcoords": "offset points", "ha": "center", "va": "center"}
        place["bbox"] = {"fc": "white", "ec": "none", "pad": 0.5}
        axes.annotate(f"{value:g}", middle, (0, 8), color="C0", **place)
        axes.annotate(f"{gradient:.4g}", middle, (0, -8), color="C3", **place)
    for centre, sign in ((a, "×"), (o, "×"), (plus, "+"), (times, "×")):
        circle = {"boxstyle": "circle", "fc": "white"}
        axes.text(*centre, sign, ha="center", va="center", size=13, bbox=circle)
    axes.text(8.4, 4.6, "values forward", color="C0", ha="right")
    axes.text(8.4, 4.25, "gradients backward", color="C3", ha="right")


if __name__ == "__main__":
    main(run, __doc__)
