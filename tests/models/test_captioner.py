"""NIC in small: its three networks, the three ways of a picture into them, and what they write."""

from typing import get_args

import numpy as np
import pytest

from xpnet import to_numpy
from xpnet.data.captions import caption_scenes
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.functions.activations import log_softmax
from xpnet.models.captioner import Caption, Captioner, Feed
from xpnet.models.vocabulary import END, MARKS, START
from xpnet.train.captioning import captioned, captions_table

FEEDS = get_args(Feed)
WORDS = (*MARKS, "a", "red", "ball", "here")


def fresh(**options):
    """A captioner for pictures of 8 x 16."""
    options = {"words": WORDS, "input_shape": (2, 8, 16), "units": 5, "longest": 6} | options
    return Captioner(**{"rng": 7} | options)


def small(**options):
    """The same, which says different things of different pictures."""
    captioner = fresh(**options)
    networks = captioner.networks
    for array, times in (
        (networks["words"].params.flat, 15.0),
        (networks["decoder"].params.flat, 4.0),
        (networks["encoder"].params["affine.W"], 4.0),
    ):
        array[...] = array * times
    return captioner


def pictures(n=4, seed=0, shape=(2, 8, 16)):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_the_parameters_are_counted():
    for feed in FEEDS:
        captioner = Captioner(feed=feed, rng=0)
        assert captioner.count == 292_022
        counts = [network.params.count for network in captioner.networks.values()]
        assert counts == [448 + 4640 + 18496 + 131200, 2816, 131584 + 2838]
    assert list(captioner.networks) == ["encoder", "words", "decoder"]
    assert repr(captioner) == (
        "Captioner((3, 32, 32), 22 words, feed 'state', 292022 parameters, float32 on cpu)"
    )


def test_initial_weights_are_as_said():
    networks = Captioner(rng=1).networks
    for name, array in networks["encoder"].params.items():
        if name.endswith("W"):
            he = np.sqrt(2 / (np.prod(array.shape[1:]) if array.ndim == 4 else len(array)))
            assert np.std(array) == pytest.approx(he, rel=0.1), name
    assert np.std(networks["words"].params["embedding.W"]) == pytest.approx(0.1, rel=0.1)
    decoder = networks["decoder"].params
    for name in ("lstm.Wx", "lstm.Wh", "affine.W"):
        assert np.std(decoder[name]) == pytest.approx(128**-0.5, rel=0.1), name
    b = decoder["lstm.b"].reshape(4, 128)
    np.testing.assert_array_equal(b, np.repeat([[0], [1], [0], [0]], 128, axis=1))
    assert not decoder["affine.b"].any()
    b = Captioner(rng=1, forget_bias=2.5).networks["decoder"].params["lstm.b"]
    assert np.all(b[128:256] == 2.5)


@pytest.mark.parametrize("feed", FEEDS)
def test_gradients_are_the_losss_slopes(feed):
    """Of the whole captioner, numerically, in float64: along a direction of each parameter."""
    captioner = fresh(feed=feed, dtype="float64")
    encoder = captioner.networks["encoder"]
    x = encoder.place(pictures())
    captions = [["a red ball here", "ball"], ["ball"], ["a ball"], ["red red a here a"]]
    t = captions_table(captioner, captions, 4)[:, 0]
    loss, grads = captioned(captioner, encoder, x, t)
    assert list(grads) == ["encoder", "words", "decoder"]
    rng, h = np.random.default_rng(0), 1e-6
    for name, network in captioner.networks.items():
        assert grads[name].keys() == network.params.keys()
        for key, array in network.params.items():
            before, direction = array.copy(), rng.standard_normal(array.shape)
            slope = 0.0
            for sign in (1, -1):
                array[...] = before + sign * h * direction
                slope += sign * float(captioned(captioner, encoder, x, t)[0]) / (2 * h)
            array[...] = before
            want = float(np.sum(grads[name][key] * direction))
            assert slope == pytest.approx(want, rel=1e-6, abs=1e-8), (name, key)
    assert loss == captioned(captioner, encoder, x, t)[0]


@pytest.mark.parametrize("feed", FEEDS)
def test_a_pass_is_the_same_on_every_library(device, feed):
    captions = [["a red ball here"], ["ball"], ["a ball"]]
    results = []
    for place in ("cpu", device):
        captioner = small(feed=feed, dtype="float64", device=place)
        encoder = captioner.networks["encoder"]
        t = captioner.device.asarray(captions_table(captioner, captions, 3)[:, 0])
        results.append(captioned(captioner, encoder, encoder.place(pictures(3)), t))
    (loss, grads), (other, others) = results
    assert float(other) == pytest.approx(float(loss), rel=1e-12)
    for name, own in grads.items():
        for key, grad in own.items():
            got = to_numpy(others[name][key])
            np.testing.assert_allclose(got, grad, atol=1e-12, err_msg=f"{name}.{key}")


@pytest.mark.parametrize("feed", FEEDS)
def test_words_are_scored_one_by_one_as_together(feed):
    """What is written step by step has the scores that teaching has of the same sentence."""
    captioner = small(feed=feed, dtype="float64")
    feature = captioner.networks["encoder"].predict(pictures(40))
    words, means = captioner._written(feature, 1)
    before = np.concatenate([np.full((40, 1), START), words[:, :-1]], axis=1)
    scores, _ = captioner.score(feature, before)
    logp = np.take_along_axis(log_softmax(scores), words[:, :, None], axis=2)[:, :, 0]
    for row, own, mean in zip(words, logp, means, strict=True):
        length = list(row).index(END) + 1 if END in row else 6
        assert mean == pytest.approx(own[:length].mean(), rel=1e-12)
        np.testing.assert_array_equal(own[:length] <= 0, True)
        assert np.all(row[length:] == 0)
    assert len({tuple(row) for row in words}) > 1  # the picture matters


@pytest.mark.parametrize("feed", FEEDS)
def test_sentences_of_every_library(device, feed):
    want = small(feed=feed)
    captioner = small(feed=feed, device=device)
    greedily = want.caption(pictures())
    assert all(isinstance(each, Caption) for each in greedily)
    assert set(" ".join(text for text, _ in greedily).split()) <= {*WORDS}
    for beam in (1, 3):
        found, known = (each.caption(pictures(), beam=beam) for each in (captioner, want))
        assert [text for text, _ in found] == [text for text, _ in known]
        np.testing.assert_allclose([s for _, s in found], [s for _, s in known], rtol=1e-4)
    assert max(score for _, score in greedily) < 0


def test_a_beam_may_find_what_is_likelier():
    """By the mean of log p, which is what it looks for."""
    captioner = small()
    x = pictures(40)
    one, three = ([score for _, score in captioner.caption(x, beam=k)] for k in (1, 3))
    assert np.mean(three) > np.mean(one)


def test_an_engine_reads_the_pictures():
    captioner = small()
    engine = get_engine(captioner.networks["encoder"])
    found = captioner.caption(pictures(), computing={"encoder": engine})
    assert [text for text, _ in found] == [text for text, _ in captioner.caption(pictures())]


def test_pixels_are_shares_of_255():
    captioner, x = small(), pictures()
    assert captioner.caption(x) == captioner.caption((x / 255).astype("float32"))
    assert captioner.caption(x[:0]) == []


def test_scenes_are_what_it_is_for():
    scenes = caption_scenes(0, 3, 0)
    assert len(Captioner(rng=0).caption(scenes.x_test)) == 3


def test_a_captioner_of_networks_that_are_there():
    own = small(feed="input")
    arguments = {name: each for name, each in own.arguments().items() if name != "dtype"}
    again = Captioner.of(own.networks, **arguments)
    assert again.caption(pictures()) == own.caption(pictures())
    assert again.networks["words"] is own.networks["words"]
    with pytest.raises(ArgumentError, match="is not the encoder that"):
        Captioner.of(own.networks, **(arguments | {"units": 6}))
    with pytest.raises(ArgumentError, match="called encoder and words and decoder are needed"):
        Captioner.of({}, **arguments)


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda: Captioner(feed="both"), "feed must be 'every', 'input' or 'state', got 'both'"),
        (lambda: Captioner(units=0), "at least one unit and one word, got units=0, longest=12"),
        (lambda: Captioner(input_shape=(3, 4, 32)), "at least 8 x 8 pixels, got 4 x 32"),
        (lambda: Captioner(input_shape=(32, 32)), "channels, height, width"),
        (lambda: Captioner(words=("a", "b")), "begins with <pad>"),
        (lambda: Captioner(forget_bias=float("nan")), "forget_bias must be finite"),
        (lambda: small().caption(pictures(), beam=0), "at least one beginning .* got 0"),
        (lambda: small().caption(pictures(shape=(2, 8, 8))), r"pictures \(N, 2, 8, 16\) are ne"),
        (lambda: small().caption(pictures()[0]), r"or give one as images\[None\]"),
        (lambda: small().caption(pictures() * 2.0), "floats from 0 to 1, got float64 from 0"),
        (lambda: small().caption(np.full((1, 2, 8, 16), np.nan)), "floats from 0 to 1"),
    ],
)
def test_what_cannot_be_captioned(use, told):
    with pytest.raises(ArgumentError, match=told):
        use()


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scores_that_are_no_numbers(beam):
    captioner = small()
    captioner.networks["decoder"].params["affine.b"][3] = np.inf
    with pytest.raises(ArgumentError, match="what the networks put out is not finite"):
        captioner.caption(pictures(), beam=beam)
