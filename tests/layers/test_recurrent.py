"""Recurrent layers: worked examples, PyTorch, states that are handed on, and what they refuse."""

import numpy as np
import pytest

from tolerances import E12, EX, P10, assert_near
from xpnet import GRU, LSTM, RNN, Embedding, Network, SoftmaxWithLoss, StepsLast, TimeAffine
from xpnet.arrays import to_numpy
from xpnet.errors import ArgumentError
from xpnet.layers import Recurrent, Sequential
from xpnet.optim.clipping import clip_by_norm
from xpnet.testing import check_backward, gradient_check

KINDS = pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
NEAR = {"rtol": 0, "atol": 1e-12}


def seq(shape, k):
    """Numbers that can be typed again: -0.5 ... 0.5 in an order that k gives."""
    return 0.1 * ((k * np.arange(np.prod(shape)) % 11) - 5.0).reshape(shape)


PARAMS = {
    RNN: {"Wx": seq((3, 2), 4), "Wh": seq((2, 2), 7), "b": seq((2,), 2)},
    LSTM: {"Wx": seq((3, 8), 4), "Wh": seq((2, 8), 7), "b": seq((8,), 2)},
    GRU: {"Wx": seq((3, 6), 4), "Wh": seq((2, 6), 7), "b": seq((6,), 2), "bh": seq((6,), 5)},
}
X, DH = seq((2, 3, 3), 3), seq((2, 3, 2), 8)
H0, C0 = seq((2, 2), 6), seq((2, 2), 9)


def worked(kind, device):
    """The layer of the worked examples, and the state that it begins with."""
    layer = kind(3, 2)
    layer.params = {name: device.asarray(array) for name, array in PARAMS[kind].items()}
    return layer, tuple(map(device.asarray, (H0, C0)[: layer.n_states]))


# The numbers are those of the table in C order, taken with dy = seq((2, 3, 2), 8).
TABLE = {
    RNN: {
        "h": "-0.0798297691 -0.1780808681 -0.6318376024 -0.3140266833 -0.0711554072 -0.7274928876 "
        "-0.2449186624 -0.5370495670 -0.1392206713 -0.4442460470 -0.1698774363 -0.3713319145",
        "Wx": "0.2870089175 -0.0052231218 0.3734768187 0.0692423362 0.0852478613 0.0909713429",
        "Wh": "-0.0112963774 0.1047876656 -0.3698578051 0.1951231935",
        "b": "-0.2182211758 -0.9165547287",
        "d0": "0.2783482144 0.1799836157 0.0747037109 -0.1229455678",
        "dx0": "0.2293165501 -0.2127718152 0.0653755523 0.1008275588 0.0856295222 -0.1270661369 "
        "-0.2581493090 0.1115802083 0.0376603279",
    },
    LSTM: {
        "h": "-0.0411608825 0.1557894781 0.0227315822 0.1751007938 0.0585500018 0.1748979098 "
        "0.0977103728 0.1048692044 0.0797573298 0.1335110589 0.0929462757 0.1337586064",
        "c": "0.1481451998 0.3937320985 0.2144927407 0.3149498843",
        "Wh": "0.0046452607 0.0060964892 -0.0093936947 -0.0048586380 0.0338900757 0.0068564354 "
        "-0.0025029191 -0.0056391750 0.0029440654 -0.0070597254 0.0022371981 -0.0016153299 "
        "0.0097445628 -0.0248178821 0.0040385229 -0.0066459027",
        "b": "0.0142593449 -0.0412898803 0.0221464273 -0.0121609914 0.0391160819 -0.1524357361 "
        "0.0346381949 -0.0321104501",
        "d0": "-0.0038173140 -0.0098616265 0.0129809341 0.0016144080",
        "d1": "-0.0694310708 0.0403916761 0.0086797451 -0.0751748164",
    },
    GRU: {
        "h": "-0.0835749321 0.2074642939 0.0701725414 0.4366983565 0.1687055998 0.3344124803 "
        "-0.1875908653 0.3138304782 0.1464578887 0.2165637076 0.2952945867 0.1961748466",
        "Wh": "0.0011064078 -0.0016092757 -0.0142919314 -0.0033833501 0.0081300233 0.0063764915 "
        "0.0071545145 0.0034192210 -0.0310440855 0.0087543009 0.0269633082 -0.0291287701",
        "b": "0.0145059320 0.0231658165 -0.0513383774 0.0294175265 0.2249684778 -0.3410843500",
        "bh": "0.0145059320 0.0231658165 -0.0513383774 0.0294175265 0.0485247577 -0.1436813751",
    },
}  # fmt: skip


@KINDS
def test_worked_examples(device, kind):
    layer, state = worked(kind, device)
    h, last, backward = layer.unroll(device.asarray(X), state)
    dx, grads, d_state = backward(device.asarray(DH))
    got = {"h": h, "c": last[-1], "dx0": dx[0, ...], **grads}
    got |= {f"d{k}": each for k, each in enumerate(d_state)}
    for name, numbers in TABLE[kind].items():
        want = np.reshape([float(x) for x in numbers.split()], got[name].shape)
        assert_near(got[name], want, P10)
    assert_near(last[0], to_numpy(h)[:, -1], EX)


def test_a_truncated_block(device):
    """Blocks of two steps and one: the values are those of all three, the gradients are not."""
    layer, state = worked(RNN, device)
    whole, _, _ = layer.unroll(device.asarray(X), state)
    first, last, backward_first = layer.unroll(device.asarray(X[:, :2]), state)
    second, _, backward_second = layer.unroll(device.asarray(X[:, 2:]), last)
    assert_near(device.xp.concat([first, second], axis=1), to_numpy(whole), NEAR)
    dx, one, _ = backward_first(device.asarray(DH[:, :2]))
    _, two, _ = backward_second(device.asarray(DH[:, 2:]))
    want = [-0.0027629952, 0.0474286356, -0.3882986288, 0.1205563422]
    assert_near(one["Wh"] + two["Wh"], np.reshape(want, (2, 2)), P10)
    assert_near(dx[0, 1, :], [0.0270416173, 0.1081664691, -0.1081664691], P10)


@KINDS
def test_all_steps_at_once_are_one_after_the_other(device, kind):
    """With what each call's backward says of the state before it: T calls of one step."""
    layer, state = worked(kind, device)
    h, last, backward = layer.unroll(device.asarray(X), state)
    d_last = tuple(device.asarray(seq((2, 2), 3 + k)) for k in range(layer.n_states))
    dx, grads, d_state = backward(device.asarray(DH), d_last)
    hs, steps, now = [], [], state
    for t in range(3):
        h_t, now, step = layer.unroll(device.asarray(X[:, t : t + 1]), now)
        hs.append(h_t)
        steps.append(step)
    assert_near(device.xp.concat(hs, axis=1), to_numpy(h), NEAR)
    for one, all_at_once in zip(now, last, strict=True):
        assert_near(one, to_numpy(all_at_once), NEAR)
    d_now, sums = d_last, dict.fromkeys(grads, 0.0)
    for t in (2, 1, 0):
        dx_t, own, d_now = steps[t](device.asarray(DH[:, t : t + 1]), d_now)
        assert_near(dx_t[:, 0, :], to_numpy(dx)[:, t], NEAR)
        sums = {name: sums[name] + own[name] for name in grads}
    for name, grad in grads.items():
        assert_near(sums[name], to_numpy(grad), NEAR)
    for one, all_at_once in zip(d_now, d_state, strict=True):
        assert_near(one, to_numpy(all_at_once), NEAR)


@KINDS
def test_gradients(device, kind):
    layer = kind(3, 4, rng=0)
    layer.params = {
        name: device.asarray(np.random.default_rng(1).standard_normal(array.shape))
        for name, array in layer.params.items()
    }
    check_backward(layer, device.asarray(np.random.default_rng(2).standard_normal((2, 5, 3))))


@KINDS
def test_a_state_of_zeros_and_other_samples(device, kind):
    """No state is one of zeros, and no sample says anything of another one."""
    layer, state = worked(kind, device)
    zeros = tuple(device.xp.zeros_like(each) for each in state)
    got, _, backward = layer.unroll(device.asarray(X), zeros)
    want, of_none = layer.forward(device.asarray(X))
    assert_near(got, to_numpy(want), EX)
    for one, other in zip(backward(want)[:1], of_none(want)[:1], strict=True):
        assert_near(one, to_numpy(other), EX)
    assert layer.unroll(device.asarray(X))[2](want)[2] is None
    fewer, _ = layer.forward(device.asarray(X[:1]))
    assert_near(fewer, to_numpy(want)[:1], NEAR)


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_against_torch(kind):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    N, T, D, H = 4, 6, 5, 3
    layer = kind(D, H)
    layer.params = {n: rng.standard_normal(a.shape) for n, a in layer.params.items()}
    theirs = getattr(torch.nn, kind.__name__)(D, H, batch_first=True, dtype=torch.float64)
    p = layer.params
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(p["Wx"].T))
        theirs.weight_hh_l0.copy_(torch.tensor(p["Wh"].T))
        theirs.bias_ih_l0.copy_(torch.tensor(p["b"]))
        theirs.bias_hh_l0.copy_(torch.tensor(p.get("bh", np.zeros_like(p["b"]))))
    x, dh = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, H))
    state = tuple(rng.standard_normal((N, H)) for _ in range(layer.n_states))
    d_last = tuple(rng.standard_normal((N, H)) for _ in range(layer.n_states))
    h, last, backward = layer.unroll(x, state)
    dx, grads, d_state = backward(dh, d_last)

    x_, *state_ = (torch.tensor(a, requires_grad=True) for a in (x, *state))
    begun = tuple(each[None] for each in state_)
    h_, last_ = theirs(x_, begun if kind is LSTM else begun[0])
    last_ = last_ if kind is LSTM else (last_,)
    loss = (h_ * torch.tensor(dh)).sum()
    loss = loss + sum((a[0] * torch.tensor(d)).sum() for a, d in zip(last_, d_last, strict=True))
    loss.backward()
    pairs = [(h, h_), (dx, x_.grad), (grads["Wx"], theirs.weight_ih_l0.grad.T)]
    pairs += [(grads["Wh"], theirs.weight_hh_l0.grad.T), (grads["b"], theirs.bias_ih_l0.grad)]
    pairs += [(grads["bh"], theirs.bias_hh_l0.grad)] if kind is GRU else []
    pairs += [(a, b[0]) for a, b in zip(last, last_, strict=True)]
    pairs += [(a, b.grad) for a, b in zip(d_state, state_, strict=True)]
    for ours, other in pairs:
        np.testing.assert_allclose(ours, other.detach().numpy(), rtol=0, atol=1e-12)


class Linear(Recurrent):
    """An RNN without tanh."""

    n_gates = 1

    def _cell(self, Wh):
        return lambda of_x, of_h, state: (
            (of_x + of_h,),
            lambda d_state: (d_state[0], d_state[0], (None,)),
        )


def test_gradients_explode_and_are_clipped(device):
    """By Wh = 3 I and 50 steps, a gradient is about 3^49; clipped, as long as the limit."""
    layer = Linear(2, 2)
    layer.params = {"Wx": np.eye(2), "Wh": 3 * np.eye(2), "b": np.zeros(2)}
    layer.params = {name: device.asarray(array) for name, array in layer.params.items()}
    dh = np.zeros((1, 50, 2))
    dh[:, -1] = 1
    _, backward = layer.forward(device.asarray(np.ones((1, 50, 2))))
    dx, grads = backward(device.asarray(dh))
    np.testing.assert_allclose(to_numpy(dx)[0, 0], [3.0**49] * 2, rtol=1e-12)
    clipped = clip_by_norm(grads, 5.0)
    length = np.sqrt(sum(np.sum(to_numpy(grad) ** 2) for grad in clipped.values()))
    np.testing.assert_allclose(length, 5.0, rtol=1e-12)


def decoder(**options):
    """A small network of sequences of words: vectors, an LSTM and a GRU, and scores."""
    layers = {
        "words": Embedding(5, 3, rng=0),
        "lstm": LSTM(3, 4, rng=1),
        "gru": GRU(4, 3, rng=2),
        "output": TimeAffine(3, 5, rng=3),
        "scores": StepsLast(),
    }
    return Network(layers, SoftmaxWithLoss(ignore=-1), input_shape=(6,), **options)


IDS = np.array([[0, 1, 2, 3, 4, 0], [2, 2, 1, 0, 0, 4]])
LABELS = np.array([[1, 2, 3, 4, -1, -1], [2, 1, 0, -1, -1, -1]])


def test_a_network_of_sequences():
    errors = gradient_check(decoder(dtype="float64"), IDS, LABELS)
    assert max(errors.values()) < 1e-9


def test_what_is_padded_says_nothing(device):
    """Other words behind the end of a sequence change neither the loss nor a bit of a gradient."""
    padded = np.where(LABELS < 0, 3, IDS)
    network = decoder(device=device, dtype="float64")
    first, *others = (
        network.loss_and_gradient(network.place(ids), network.place_targets(LABELS))
        for ids in (IDS, padded)
    )
    for loss, _, grads in others:
        assert_near(loss, to_numpy(first[0]), EX)
        for name, grad in grads.items():
            assert_near(grad, to_numpy(first[2][name]), EX)


def test_a_network_goes_on_from_a_state(device):
    """Two blocks with the state between them are one: scores, and gradients taken through it."""
    network = decoder(device=device, dtype="float64")
    ids, network_scores = network.place(IDS), network.forward(network.place(IDS))[0]
    one, state, back_one = network.unroll(ids[:, :2])
    two, last, back_two = network.unroll(ids[:, 2:], state)
    assert list(last) == ["lstm", "gru"]
    assert_near(device.xp.concat([one, two], axis=2), to_numpy(network_scores), NEAR)
    dy = device.asarray(seq((2, 5, 6), 3))
    _, grads = network.forward(ids)[1](dy, need_dx=False)
    _, behind, d_state = back_two(dy[:, :, 2:], need_dx=False)
    _, before, _ = back_one(dy[:, :, :2], d_state, need_dx=False)
    assert list(before) == list(grads)
    for name, grad in grads.items():
        assert_near(before[name] + behind[name], to_numpy(grad), NEAR)


def test_frozen_layers_have_no_gradient():
    network = decoder(dtype="float64")
    network.freeze("lstm")
    _, _, backward = network.unroll(IDS)
    assert list(backward(seq((2, 5, 6), 3))[1]) == [
        "words.W", "gru.Wx", "gru.Wh", "gru.b", "gru.bh", "output.W", "output.b"
    ]  # fmt: skip


def test_initial_values():
    layer = LSTM(400, 300, rng=0)
    assert_near(layer.params["b"], np.repeat([0, 1, 0, 0], 300), EX)
    assert abs(layer.params["Wx"].std() * 20 - 1) < 0.01
    assert abs(layer.params["Wh"].std() * np.sqrt(300) - 1) < 0.01
    assert_near(LSTM(2, 1, forget_bias=3.0).params["b"], [0, 3, 0, 0], EX)
    assert not GRU(2, 3).params["b"].any()
    assert not GRU(2, 3).params["bh"].any()


def test_softmax_over_time_leaves_out_a_label(device):
    """The mean is over the valid places of the whole batch; with none of them all is 0."""
    s, t = seq((2, 3, 4), 5), np.array([[0, 3, -1], [2, -1, -1]])
    scores, back = StepsLast().forward(device.asarray(s))
    for labels, loss, ds in (
        (t, 1.8086316023, "-0.2847341640 0.0801264842 0.1321062388 0.0725014411 0.1129853743 "
         "0.0620076881 0.1022333944 -0.2772264569 0 0 0 0 0.0660669978 0.1089260646 -0.2735534416 "
         "0.0985603791 0 0 0 0 0 0 0 0"),
        (np.full_like(t, -1), 0.0, " ".join("0" * 24)),
    ):  # fmt: skip
        want = np.reshape([float(x) for x in ds.split()], (2, 3, 4))
        got, backward = SoftmaxWithLoss(ignore=-1).forward(scores, device.asarray(labels))
        assert_near(got, loss, P10)
        assert_near(back(backward())[0], want, P10)
        assert (to_numpy(back(backward())[0])[to_numpy(labels) < 0] == 0).all()
        rows, flat = device.asarray(s.reshape(6, 4)), device.asarray(labels.reshape(6))
        got, backward = SoftmaxWithLoss(ignore=-1).forward(rows, flat)
        assert_near(got, loss, P10)
        assert_near(backward(), want.reshape(6, 4), P10)


def test_affine_at_every_step(device):
    layer = TimeAffine(3, 4, rng=0)
    layer.params = {n: device.asarray(a + 0.1) for n, a in layer.params.items()}
    check_backward(layer, device.asarray(seq((2, 5, 3), 3)))
    y, _ = layer.forward(device.asarray(seq((2, 5, 3), 3)))
    W, b = map(to_numpy, layer.params.values())
    assert_near(y, np.einsum("ntd,dk->ntk", seq((2, 5, 3), 3), W) + b, E12)
    assert layer.macs((5, 3)) == 60


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: LSTM(0, 3), "LSTM needs at least one input and one hidden number, got n_in=0, n_"),
        (lambda: LSTM(2, 3, forget_bias=np.inf), "forget_bias must be finite, got inf; try 1.0"),
        (lambda: GRU(2, 3).forward(np.zeros((4, 2))), "GRU takes sequences of at least one step"),
        (lambda: RNN(2, 3).forward(np.zeros((4, 0, 2))), "and 2 numbers each, (T, 2), got the sh"),
        (lambda: RNN(2, 3).forward(np.zeros((4, 5, 3))), "(T, 2), got the shape (5, 3)"),
        (
            lambda: LSTM(2, 3).unroll(np.zeros((4, 5, 2)), (np.zeros((4, 3)),)),
            "a state of LSTM for these samples is a tuple of 2 of shape (4, 3), got [(4, 3)]",
        ),
        (
            lambda: RNN(2, 3).unroll(np.zeros((4, 5, 2)), np.zeros((4, 3))),
            "is a tuple of 1 of shape (4, 3), got ndarray",
        ),
        (lambda: TimeAffine(2, 3).forward(np.zeros((4, 2))), "TimeAffine takes sequences of 2 n"),
        (lambda: StepsLast().forward(np.zeros((4, 2))), "StepsLast takes sequences (T, K), got"),
        (
            lambda: decoder().unroll(IDS, {"rnn": (np.zeros((2, 4)),)}),
            "there is no recurrent layer 'rnn' to begin with a state; there are lstm, gru",
        ),
        (
            lambda: decoder().unroll(IDS, {"gru": (np.zeros((2, 4)),)}),
            "layer gru: a state of GRU for these samples is a tuple of 1 of shape (2, 3), got [(2,",
        ),
        (
            lambda: Sequential([Sequential([RNN(2, 3)])]).unroll(np.zeros((4, 5, 2))),
            "layer Sequential1.RNN1: a recurrent layer within another one cannot begin with a stat",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(wrong, message):
    with pytest.raises(ArgumentError) as error:
        wrong()
    assert message in str(error.value)
