"""Networks of sequences on engines: the layers' own code, with or without an engine around it."""

import numpy as np
import pytest

from xpnet import (
    GRU,
    LSTM,
    RNN,
    Embedding,
    Network,
    SoftmaxWithLoss,
    StepsLast,
    TimeAffine,
    Trainer,
)
from xpnet.engine import get_engine
from xpnet.engine.cuda import CudaEngine
from xpnet.errors import ArgumentError

WORDS = np.random.default_rng(0).integers(0, 5, (60, 6))


def network(dtype):
    layers = {
        "words": Embedding(5, 3, rng=0),
        "lstm": LSTM(3, 4, rng=1),
        "gru": GRU(4, 3, rng=2),
        "rnn": RNN(3, 4, rng=3),
        "output": TimeAffine(4, 5, rng=4),
        "scores": StepsLast(),
    }
    return Network(layers, SoftmaxWithLoss(ignore=-1), input_shape=(6,), dtype=dtype)


def test_the_layers_compute_by_themselves():
    """Neither engine has kernels for sequences; the layers compute instead, which is told."""
    net = network("float32")
    engine = get_engine(net, threads=1)
    assert (engine.name, engine.methods()["lstm"]) == ("reference", "reference")
    assert engine.describe()["engine_reason"] == "a layer takes or gives neither rows nor images"
    with pytest.raises(
        ArgumentError, match="the cpu engine cannot run this network: a layer takes"
    ):
        get_engine(net, "cpu")
    assert CudaEngine.obstacle(net) == "there is no kernel for Embedding"


def test_a_network_of_sequences_learns_as_any_other():
    """By the Trainer, with metrics of label maps, which rows of labels are: the word before."""
    shifted = np.concatenate([np.full((60, 1), -1), WORDS[:, :-1]], axis=1)
    trainer = Trainer(network("float32"), WORDS, shifted, WORDS, shifted, 30, 10,
                      optimizer="adam", optimizer_param={"lr": 0.02}, verbose=False)  # fmt: skip
    first, *_, last = trainer.train()
    assert last.train_loss < 0.2 < 1.4 < first.train_loss
    assert last["test_pixel_accuracy"] > 0.97
