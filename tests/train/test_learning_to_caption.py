"""A captioner's training: through the Trainer, bit for bit after a stop, and what is refused."""

import numpy as np
import pytest

from xpnet import SGD, Adam, Trainer, to_numpy
from xpnet.data.captions import caption_scenes
from xpnet.errors import ArgumentError, DivergedError
from xpnet.models.captioner import Captioner
from xpnet.report.captions import CaptionScores
from xpnet.train.captioning import Captioning, captions_in, captions_table

SCENES = caption_scenes(14, 5, 2)
DATA = SCENES.x_train, SCENES.captions_train, SCENES.x_test, SCENES.captions_test


def trainer(epochs=3, seed=0, captioner=None, **options):
    captioner = Captioner(units=8, rng=seed) if captioner is None else captioner
    options = {"batch_size": 4, "seed": seed, "threads": 1} | options
    return Trainer.of(Captioning(captioner, *DATA, **options), epochs, verbose=False)


def test_captions_are_a_table_and_back():
    captioner = Captioner(units=2, rng=0)
    table = captions_table(captioner, SCENES.captions_train, 14)
    assert (table.shape, table.dtype) == ((14, 2, 12), np.int64)
    np.testing.assert_array_equal(table[:, 0], SCENES.t_train)
    assert captions_in(captioner, table) == [list(own) for own in SCENES.captions_train]


def test_the_first_loss_is_that_of_a_guess():
    """ln 22, since no word is likelier than any other."""
    learner = Captioning(Captioner(rng=0), *DATA[:2], engine="reference")
    loss = learner.step(next(iter(learner.source.epoch(0))))["loss"]
    assert float(loss) == pytest.approx(np.log(22), abs=0.15)


def test_a_step_reads_nothing_back(strict_device, unread):
    captioner = Captioner(units=4, rng=0, device=strict_device)
    made = Trainer.of(Captioning(captioner, *DATA[:2], batch_size=4), verbose=False)
    batches = made.learner.source.epoch(0)
    before = to_numpy(captioner.networks["words"].params.flat).copy()
    made.train_step(*next(batches))
    with unread():
        made.train_step(*next(batches))
    after = to_numpy(captioner.networks["words"].params.flat)
    assert np.isfinite(after).all()
    assert np.any(after != before)


@pytest.mark.slow
def test_captions_are_learned():
    """Of 14 scenes, which are seen again and again."""
    made = trainer(60, captioner=Captioner(units=32, rng=0), optimizer=Adam(0.01))
    first, *_, last = made.train()
    assert last.train_loss < 0.1 * first.train_loss
    scores = CaptionScores()
    written = [text for text, _ in made.learner.captioner.caption(SCENES.x_train)]
    scores.update(written, [own[:1] for own in SCENES.captions_train])
    assert scores.exact_match() > 0.7
    assert made.best == ("test_exact_match", "max")
    names = ["train_loss", "test_exact_match", *(f"test_bleu{n}" for n in (1, 2, 3, 4))]
    assert set(last.values) == set(names)


def test_what_is_measured_is_what_is_written():
    made = trainer(1, evaluate_samples=3)
    made.train()
    learner, scores = made.learner, CaptionScores()
    written = [text for text, _ in learner.captioner.caption(SCENES.x_test[:3])]
    scores.update(written, SCENES.captions_test[:3])
    found = learner.evaluate(learner.sets["test"])
    assert found == {measure.name: measure.value(scores) for measure in learner.metrics}


@pytest.mark.parametrize("steps", [5, pytest.param(8, marks=pytest.mark.slow)])
def test_a_run_goes_on_bit_for_bit(steps):
    """From within an epoch and from its end, in a trainer of another beginning."""
    whole, first = trainer(), trainer()
    whole.train()

    class StopError(Exception):
        pass

    def stop():
        if first.steps == steps:
            raise StopError

    first.on_step = stop
    with pytest.raises(StopError):
        first.train()
    second = trainer(captioner=Captioner(units=8, rng=7))
    second.restore(first.state())
    second.train()
    for name, array in whole.learned().items():
        np.testing.assert_array_equal(second.learned()[name], array, err_msg=name)
    assert [m.values for m in second.history] == [m.values for m in whole.history]
    assert trainer(1, seed=1).train()[0].train_loss != whole.history[0].train_loss


@pytest.mark.parametrize("frozen", ["encoder", "words", "decoder"])
def test_what_is_frozen_stays(frozen):
    captioner, fresh = Captioner(units=8, rng=0), Captioner(units=8, rng=0)
    captioner.networks[frozen].freeze()
    trainer(1, captioner=captioner).train()
    for name, network in captioner.networks.items():
        same = np.array_equal(network.params.flat, fresh.networks[name].params.flat)
        assert same == (name == frozen)
    part = Captioner(units=8, rng=0)
    part.networks["decoder"].freeze("lstm")
    trainer(1, captioner=part).train()
    for key, array in part.networks["decoder"].params.items():
        own = fresh.networks["decoder"].params[key]
        assert np.array_equal(array, own) == key.startswith("lstm")


def test_gradients_are_clipped_together():
    """SGD at rate 1 moves by the gradient, which is no longer than asked for."""
    for limit, tolerance in ((0.01, 1e-4), (1e6, None)):
        made = trainer(1, optimizer=SGD(1.0), clip_norm=limit)
        nets = made.learner.captioner.networks
        before = {name: network.params.flat.copy() for name, network in nets.items()}
        made.train_step(*next(iter(made.learner.source.epoch(0))))
        moved = np.concatenate([nets[name].params.flat - flat for name, flat in before.items()])
        length = float(np.linalg.norm(moved))
        own = np.sqrt(sum(float(np.sum(g * g)) for g in made.learner.gradient.values()))
        assert own > 0.1
        want = limit if tolerance else own
        assert length == pytest.approx(want, rel=tolerance or 1e-3)


def test_rates_follow_the_schedule():
    rates = []
    made = trainer(1, schedule=lambda step: 0.001 * (step + 1))
    made.on_step = lambda: rates.append([o.lr for o in made.learner.optimizers.values()])
    made.train()
    np.testing.assert_allclose(rates, [[0.001 * k] * 3 for k in (1, 2, 3, 4)])


def test_what_is_no_number_ends_the_training():
    """And the step is undone."""
    made = trainer(optimizer=SGD(0.01))
    made.learner.networks["decoder"].params["affine.W"][3, 5] = np.nan
    before = {name: to_numpy(a).copy() for name, a in made.learned().items()}
    with pytest.raises(DivergedError, match=r"the loss of step 1 .* is nan; .* decoder\.affine\.W"):
        made.train()
    for name, array in made.learned().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"captions": SCENES.captions_test}, "got 5 for 14 pictures"),
        ({"captions": "a small red circle"}, "a list of sentences for each picture, got 'a small"),
        ({"captions": [["a"]] * 13 + [[]]}, r"one at least, got \[\] for one"),
        ({"captions": ["a small red circle"] * 14}, "one at least, got 'a small red circle' for"),
        ({"captions": [["a blue dog"]] * 14}, "no word 'dog'"),
        ({"captions": [["a " * 12]] * 14}, "at most 11 words here"),
        ({"x": SCENES.x_train[:, :1]}, r"pictures \(N, 3, 32, 32\) are needed"),
        ({"x_test": SCENES.x_test}, "give both, or neither"),
        ({"evaluate_samples": 0}, "at least one picture"),
        ({"optimizer": "adam"}, "an instance of Optimizer"),
        ({"clip_norm": 0.0}, "the limit of gradients must be a positive number"),
        ({"batch_size": 0}, "batch size must be from 1"),
    ],
)
def test_what_cannot_be_learned(given, told):
    x, captions = SCENES.x_train, SCENES.captions_train
    with pytest.raises(ArgumentError, match=told):
        Captioning(Captioner(units=2, rng=0), **({"x": x, "captions": captions} | given))
