"""A character model: what it is, its training, a run killed and gone on with, and its texts."""

import json

import numpy as np
import pytest

from test_cli import assert_refused, without_gpu
from xpnet import SGD, Trainer, to_numpy
from xpnet.errors import ArgumentError, WeightsError
from xpnet.models.character import CharacterModel
from xpnet.optim import Adam
from xpnet.train.saved import load_networks
from xpnet.train.writing import Writing, load_character_model

POEM = "one two three four five six seven eight nine ten. " * 20


def make(device="cpu", **options):
    return CharacterModel("".join(sorted(set(POEM))), 6, rng=0, device=device, **options)


def learner(model=None, **options):
    model = model or make()
    text = model.numbers(POEM)
    options = {"steps": 5, "batch_size": 4, "threads": 1} | options
    return Writing(model, text[:-120], text[-120:], **options)


def flat(learner):
    return to_numpy(learner.model.network.params.flat).copy()


def test_what_it_is():
    model = make()
    V, H = len(model.characters), 6
    assert V == 16
    assert model.network.params.count == V * H + 2 * (8 * H * H + 4 * H) + H * V + V
    assert model.network.output_shape == (V, 64)
    loss = model.network.loss(model.numbers(POEM)[:64][None], model.numbers(POEM)[1:65][None])
    np.testing.assert_allclose(float(loss), np.log(V), atol=0.1)


def test_blocks_go_on_from_one_another():
    """Where nothing is learned the losses are those of the whole streams, read at once."""
    own = learner(make(dtype="float64"), optimizer=SGD(1e-30), clip_norm=None)
    source, network = own.source, own.model.network
    losses = []
    for k, batch in enumerate(source.epoch(0)):
        own.steps_done = k
        losses.append(float(own.step(batch)["loss"]))
    x, t = (np.concatenate([b[i] for b in source.epoch(0)], axis=1) for i in (0, 1))
    scores, _, _ = network.unroll(x)
    whole = float(network.last_layer.forward(scores, t)[0])
    np.testing.assert_allclose(np.mean(losses), whole, rtol=1e-12)
    # A step that is taken again begins with the same state, and the first of an epoch with zeros.
    own.steps_done = k
    assert float(own.step(batch)["loss"]) == losses[-1]
    own.steps_done = len(source)
    assert float(own.step(next(source.epoch(1)))["loss"]) == losses[0]
    own.evaluate_samples = None
    found = own.evaluate(source)["bits_per_character"]
    np.testing.assert_allclose(found, whole / np.log(2), rtol=1e-12)


def test_its_gradient_is_clipped():
    """All of it together is no longer than the limit: the update is by that."""
    own, before = learner(optimizer=SGD(1.0), clip_norm=1e-3), flat(learner())
    own.step(next(own.source.epoch(0)))
    np.testing.assert_allclose(np.linalg.norm(flat(own) - before), 1e-3, rtol=1e-3)
    assert np.sqrt(sum(np.sum(g**2) for g in own.gradient.values())) > 1e-2


def test_it_goes_on_bit_for_bit():
    """From the middle of an epoch, with the state that the block before has left."""
    whole = Trainer.of(learner(), 2, verbose=False)
    whole.train()

    class StopError(Exception):
        pass

    def stop():
        if parts.steps == len(parts.learner.source) + 7:
            kept.append(parts.state())
            raise StopError

    kept = []
    parts = Trainer.of(learner(), 2, verbose=False)
    parts.on_step = stop
    with pytest.raises(StopError):
        parts.train()
    again = Trainer.of(learner(), 2, verbose=False)
    again.restore(*kept[0])
    again.train()
    np.testing.assert_array_equal(flat(again.learner), flat(whole.learner))
    assert again.train_loss_list == whole.train_loss_list
    without = {name: a for name, a in kept[0][0].items() if not name.startswith("source.")}
    assert len(without) == len(kept[0][0]) - 8  # of two layers h and c, of two blocks
    other = Trainer.of(learner(), 2, verbose=False)
    other.restore(without, kept[0][1])
    with pytest.raises(ArgumentError, match="block 7 of a text comes behind block 6"):
        other.train()


def test_a_step_reads_nothing_back(strict_device, unread):
    own = learner(make(strict_device))
    made, batches = Trainer.of(own, verbose=False), own.source.epoch(0)
    before = flat(own)
    made.train_step(*next(batches))
    with unread():
        made.train_step(*next(batches))
    assert np.isfinite(flat(own)).all()
    assert np.any(flat(own) != before)


def test_it_learns_and_writes():
    own = learner(CharacterModel(make().characters, 24, rng=0), steps=16, optimizer=Adam(0.02))
    made = Trainer.of(own, 12, verbose=False)
    first, *_, last = made.train()
    assert made.best == ("test_bits_per_character", "min")
    assert last["test_bits_per_character"] < 0.5 < 1.5 < first["test_bits_per_character"]
    model = own.model
    assert "".join(model.write(16, "one two th", temperature=0)) == "ree four five si"
    drawn = "".join(model.write(200, seed=3))
    assert drawn == "".join(model.write(200, seed=3)) != "".join(model.write(200, seed=4))
    assert drawn.startswith("".join(model.write(50, seed=3)))


def test_what_is_drawn_is_as_likely_as_the_model_says(monkeypatch):
    """By temperature, in 1,000 draws, of scores that do not change."""
    model, p = CharacterModel("abc", 2, rng=0), np.array([0.6, 0.3, 0.1])

    def unroll(x, state):
        return np.log(p)[None, :, None], state, None

    monkeypatch.setattr(model.network, "unroll", unroll)
    for temperature in (1.0, 0.5):
        drawn = "".join(model.write(1000, temperature=temperature))
        share = np.array([drawn.count(c) for c in "abc"]) / 1000
        want = p ** (1 / temperature) / np.sum(p ** (1 / temperature))
        np.testing.assert_allclose(share, want, atol=0.05)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: CharacterModel("aab"), "needs at least two characters, each once, got 'aab'"),
        (lambda: make().write(5, "zoo"), "the model knows 16 characters, and not z; leave them"),
        (lambda: make().write(-1), "a text has a length from 0 on, got -1"),
        (lambda: make().write(5, temperature=-1), "temperature must be a number from 0 on, got -1"),
        (lambda: make().write(5, seed=2**32), "seed must be from 0 to 4294967295, got 4294967296"),
        (
            lambda: learner(steps=400),
            "need a text of at least 1601 characters to learn from, got 8",
        ),
        (lambda: learner(optimizer="adam"), "an optimizer must be an instance of Optimizer, such"),
        (lambda: learner(evaluate_samples=0), "at least one character is needed to be measured on"),
        (lambda: learner(engine="cpu"), "the cpu engine cannot run this network: a layer takes"),
    ],
)
def test_what_is_refused(wrong, message):
    with pytest.raises(ArgumentError) as error:
        wrong()
    assert message in str(error.value)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("xpnet.report.plots.available", lambda: False)
    return without_gpu(capsys, monkeypatch, tmp_path)


TRAIN = ("--model", "character-model", "--data")
QUICK = ("--device", "cpu", "--threads", 1, "--hidden-size", 8, "--batch-size", 4)


def test_a_run(run, tmp_path):
    """Whole, and in parts, bit for bit; and what it writes."""
    (tmp_path / "poem.txt").write_text(POEM * 2)
    train = ("train", *TRAIN, "poem.txt", *QUICK)
    code, out, err = run(*train, "--epochs", 3, "--out", "whole")
    assert code == 0, err
    assert "model: character-model, " in out
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert (summary["task"], summary["steps"], summary["lr"]) == ("write", 21, 0.002)
    assert (summary["train_characters"], summary["test_characters"]) == (1800, 200)
    bits = summary["test_bits_per_character"]
    assert f"test bits per character: {bits:.4f} on 200 characters" in out

    assert run(*train, "--epochs", 1, "--out", "parts")[0] == 0
    code, _, err = run("train", "--resume", "parts", "--epochs", 3)
    assert code == 0, err
    flat = [to_numpy(load_character_model(name).network.params.flat) for name in ("whole", "parts")]
    np.testing.assert_array_equal(*flat)
    newest = max((tmp_path / "whole" / "checkpoints").iterdir())
    model = load_character_model(newest)
    np.testing.assert_array_equal(to_numpy(model.network.params.flat), flat[0])
    assert list(load_networks("whole").networks) == ["characters"]

    code, out, err = run("write", "whole", "--device", "cpu", "--prompt", "one", "--length", 9)
    assert (code, out) == (0, f"one{''.join(model.write(9, 'one'))}\n"), err
    again = run("write", "whole", "--device", "cpu", "--length", 9, "--seed", 7)[1]
    assert again == f"{''.join(model.write(9, seed=7))}\n"
    assert_refused(run("write", "whole", "--device", "cpu", "--prompt", "zoo"), "and not z; leave")

    (tmp_path / "poem.txt").write_text(POEM)
    assert_refused(run("train", "--resume", "parts", "--epochs", 4), "has data with the SHA-256")


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--model", "character-model"), ["learns to write from a text of yours, got data auto"]),
        ((*TRAIN, "no.txt"), ["there is no text", "no.txt; give"]),
        (("--model", "lenet", "--data", "no.txt"), ["are a text to write like, and the network"]),
        ((*TRAIN, "t.txt", "--activation", "relu"), ["--activation is for"]),
        ((*TRAIN, "t.txt"), ["32 streams in blocks of 64 steps"]),
        (
            (*TRAIN, "t.txt", "--engine", "cpu", *QUICK[4:]),
            ["the cpu engine cannot run this network"],
        ),
    ],
)  # fmt: skip
def test_what_runs_refuse(run, tmp_path, arguments, texts):
    (tmp_path / "t.txt").write_text(POEM)
    assert_refused(run("train", "--device", "cpu", *arguments), *texts)


def test_a_file_of_something_else(tmp_path):
    CharacterModel("ab", 2).network.save_params(tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="holds no network that writes; give the directory of"):
        load_character_model(tmp_path / "model.safetensors")
