"""The same data mean the same to all: labels, kinds of numbers, what is not finite."""

import numpy as np
import pytest

from xpnet import (
    SGD,
    Accuracy,
    Affine,
    AveragePool,
    Batches,
    BatchNorm,
    Convolution,
    Ensemble,
    Heads,
    HeadsWithLoss,
    IdentityWithLoss,
    MaxPool,
    Network,
    ReLU,
    SigmoidWithLoss,
    SoftmaxWithLoss,
    Trainer,
    cross_entropy_error,
    one_hot,
    softmax_cross_entropy,
)
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError, DivergedError
from xpnet.report.evaluate import predictions
from xpnet.report.metrics import BinaryAccuracy, MeanSquaredError

X = np.random.default_rng(0).random((6, 4))
T = np.array([0, 1, 2, 0, 1, 2])


def net(dtype="float64", loss=None):
    return Network([Affine(4, 5, rng=0), ReLU(), Affine(5, 3, rng=1)], loss, dtype=dtype)


def heads(loss=None):
    loss = loss or HeadsWithLoss({"a": SoftmaxWithLoss(), "b": SigmoidWithLoss()})
    return Network([Heads({"a": Affine(4, 3, rng=0), "b": Affine(4, 3, rng=1)})], loss,
                   input_shape=(4,))  # fmt: skip


def trained(x, t, network=None, **options):
    network = network or net()
    trainer = Trainer(network, x, t, x, t, 1, 3, SGD(0.1), verbose=False, **options)
    trainer.train()
    return trainer


SCORES = np.zeros((6, 3))
TAKERS = {
    "softmax_cross_entropy": lambda t: softmax_cross_entropy(SCORES, t)[0],
    "cross_entropy_error": lambda t: cross_entropy_error(SCORES + 1 / 3, t),
    "SoftmaxWithLoss": lambda t: SoftmaxWithLoss(0.1).forward(SCORES, t)[0],
    "SigmoidWithLoss": lambda t: SigmoidWithLoss().forward(SCORES, t)[0],
    "IdentityWithLoss": lambda t: IdentityWithLoss().forward(SCORES, t)[0],
    "HeadsWithLoss": lambda t: heads().loss(X, {"a": t, "b": T}),
    "Network.loss": lambda t: net().loss(X, t),
    "Network.gradient": lambda t: net().gradient(X, t)["Affine1.W"],
    "Network.loss_and_gradient": lambda t: net().loss_and_gradient(X, t)[0],
    "Network.numerical_gradient": lambda t: net().numerical_gradient(X, t)["Affine2.b"],
    "Network.accuracy": lambda t: net().accuracy(X, t),
    "Ensemble.accuracy": lambda t: Ensemble([net(), net()]).accuracy(X, t),
    "CpuEngine": lambda t: get_engine(net(), "cpu").loss_and_gradient(X, t)[0],
    "CpuEngine of heads": lambda t: get_engine(heads(), "cpu").loss_and_gradient(X, t)[0],
    "CpuEngine of numbers": lambda t: get_engine(
        net(loss=IdentityWithLoss()), "cpu"
    ).loss_and_gradient(X, t)[0],
    "ReferenceEngine": lambda t: get_engine(net(), "reference").loss_and_gradient(X, t)[0],
    "Accuracy": lambda t: measured(Accuracy(), t),
    "MeanSquaredError": lambda t: measured(MeanSquaredError(), t),
    "Trainer": lambda t: trained(X, t).train_loss_list,
}


def measured(metric, t):
    metric.update(SCORES, t)
    return metric.value()


@pytest.mark.parametrize("taker", TAKERS)
def test_labels_without_an_output_are_refused_wherever_they_meet_outputs(taker):
    take = TAKERS[taker]
    for label, kind, message in (
        (3, int, "labels must be below the network's 3 outputs, got 3; they count from 0: "),
        (200, np.uint8, "labels must be below the network's 3 outputs, got 200"),
        (-1, int, "labels must be 0 or more, got -1"),
    ):
        for shape in ((6,), (6, 1)):
            t = T.astype(kind)
            t[4] = label
            with pytest.raises(ArgumentError, match=message):
                take(t.reshape(shape))
    with pytest.raises(ArgumentError):
        take(T.astype(float))
    with pytest.raises(ArgumentError, match=r"text \(<U1\); where these are names of classes"):
        take(np.array(list("abcabc")))
    with pytest.raises(ArgumentError):
        take(np.eye(4)[T])
    with pytest.raises(ArgumentError, match="without a mask"):
        take(np.ma.masked_array(T))


@pytest.mark.parametrize("taker", TAKERS)
def test_labels_one_a_row_are_labels_and_so_are_lists(taker):
    want = np.asarray(TAKERS[taker](T))
    for t in (T[:, None], T.astype(np.uint8), T.tolist(), T[:, None].tolist()):
        np.testing.assert_array_equal(np.asarray(TAKERS[taker](t)), want)


def test_true_and_false_are_labels_too():
    t = np.array([True, False] * 3)
    assert net().loss(X, t) == net().loss(X, t.astype(int))
    got = get_engine(net(), "cpu").loss_and_gradient(X, t)[0]
    assert got == pytest.approx(float(net().loss(X, t.astype(int))), rel=1e-15)


def test_one_hot_refuses_what_is_no_class():
    with pytest.raises(ArgumentError, match="below the network's 3 outputs, got 3"):
        one_hot(np.array([[0, 3]]), 3, dtype=np.float64)


def test_on_a_device_of_its_own_labels_are_not_read_but_make_nan(strict_device, unread):
    network = Network([Affine(4, 3, rng=0)], device=strict_device, dtype="float64")
    x, good, bad = (strict_device.asarray(a) for a in (X, T, T + 1))
    with unread():
        found = [network.loss_and_gradient(x, t)[0] for t in (good, bad)]
        metric = Accuracy()
        metric.update(network.predict(x), bad)
        with pytest.raises(ArgumentError, match="below the network's 3 outputs, got 3"):
            network.gradient(x, T + 1)  # which come from the host
    assert np.isfinite(float(found[0]))
    assert np.isnan(float(found[1]))
    with unread():
        pass


def test_labels_of_one_output_stay_what_they_are():
    """Rows (N, 1) of one output are numbers, not labels."""
    network = Network([Affine(4, 1, rng=0)], SigmoidWithLoss(), dtype="float64")
    t = np.array([[0], [1], [1], [0], [1], [0]])
    assert float(network.loss(X, t)) == float(network.loss(X, t.astype(float)))
    assert trained(X, t, network).history[0]["test_binary_accuracy"] <= 1.0


# Kinds of numbers

USES = {
    "Network.predict": lambda x: net().predict(x),
    "Network.forward": lambda x: net().forward(x)[0],
    "Network.loss": lambda x: net().loss(x, T),
    "Network.gradient": lambda x: net().gradient(x, T)["Affine1.W"],
    "Network.loss_and_gradient": lambda x: net().loss_and_gradient(x, T)[0],
    "Network.numerical_gradient": lambda x: net().numerical_gradient(x, T)["Affine2.b"],
    "Network.probabilities": lambda x: net().probabilities(x),
    "Ensemble.probabilities": lambda x: Ensemble([net(), net()]).probabilities(x),
    "CpuEngine.predict": lambda x: get_engine(net(), "cpu").predict(x),
    "CpuEngine.forward": lambda x: get_engine(net(), "cpu").forward(x)[0],
    "CpuEngine.loss_and_gradient": lambda x: get_engine(net(), "cpu").loss_and_gradient(x, T)[0],
    "ReferenceEngine.predict": lambda x: get_engine(net(), "reference").predict(x),
    "Batches": lambda x: next(Batches(x, T, 6, dtype="float64").in_order(6))[0],
    "streamed Batches": lambda x: next(
        Batches(x, T, 6, dtype="float64", resident=False).in_order(6)
    )[0],
    "Trainer": lambda x: trained(x, T).train_loss_list,
    "predictions": lambda x: predictions(net(), x),
}
BYTES = np.random.default_rng(1).integers(0, 256, (6, 4)).astype(np.uint8)
KINDS = {
    "pixels": (BYTES, BYTES / 255),
    "bool": (BYTES > 99, (BYTES > 99).astype(float)),
    "int64": (BYTES.astype(int) - 100, BYTES - 100.0),
    "uint16": (BYTES.astype(np.uint16), BYTES / 1.0),
    "list": (X.tolist(), X),
    "list of whole numbers": (BYTES.tolist(), BYTES / 1.0),
}


@pytest.mark.parametrize("use", USES)
def test_numbers_mean_the_same_everywhere(use):
    for kind, (given, floats) in KINDS.items():
        want = USES[use](floats)
        np.testing.assert_allclose(USES[use](given), want, rtol=1e-13, atol=1e-15, err_msg=kind)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (X + 0j, "real ones, got complex128"),
        (X.astype(object), "real ones, got object"),
        (X.astype(str), "got text"),
        (np.ma.masked_array(X, X > 0.5), "without a mask"),
    ],
)
def test_what_are_no_numbers_is_refused_everywhere(use, given, message):
    with pytest.raises(ArgumentError, match=message):
        USES[use](given)


def test_xor_of_whole_numbers_is_learned():
    x, t = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    network = Network([Affine(2, 8, rng=0), ReLU(), Affine(8, 2, rng=1)])
    run = Trainer(network, x, t, x, t, 500, 4, SGD(0.5), verbose=False)
    run.train()
    assert run.test_acc_list[-1] == 1.0
    assert run.train_loss_list[-1] == pytest.approx(0.0021, abs=1e-4)


def test_probabilities_are_of_one_output():
    with pytest.raises(ArgumentError, match="several outputs, a, b, and probabilities are of one"):
        heads().probabilities(X)


def test_a_batch_larger_than_the_data_is_the_data():
    assert [len(t) for _, t in Batches(X, T, 100).epoch(0)] == [6]
    assert trained(X, T).steps == 2
    run = Trainer(net(), X, T, verbose=False, epochs=1, mini_batch_size=1000)
    run.train()
    assert run.steps == 1


@pytest.mark.parametrize("layers", [
    [Affine(16, 3, rng=0)],
    [Convolution(1, 2, 3, pad=1, rng=0), ReLU(), Affine(32, 3, rng=0)],
])  # fmt: skip
@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_empty_batches_have_no_scores_and_no_loss(layers, name):
    network = Network(layers, input_shape=(1, 4, 4))
    x, t = np.zeros((0, 1, 4, 4)), np.zeros(0, int)
    engine = get_engine(network, name)
    for predict in (engine.predict, network.predict, network.probabilities):
        assert predict(x).shape == (0, 3)
    for call in (engine.loss_and_gradient, network.loss, network.gradient, network.accuracy):
        with pytest.raises(ArgumentError, match="got 0"):
            call(x, t)


# What is not finite


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_samples_that_are_not_finite_have_no_accuracy(engine):
    for value in (np.nan, np.inf):
        x = X.copy()
        x[4, 1] = value
        message = "inputs.* must be finite, and those of sample 4 are not; leave it out"
        for measure in (
            lambda x=x: net().accuracy(x, T),
            lambda x=x: Ensemble([net()]).accuracy(x, T),
            lambda x=x: predictions(net(), x, engine=engine),
            lambda x=x: Trainer(net(), X, T, x, T, 1, 3, verbose=False, engine=engine).train(),
        ):
            with np.errstate(invalid="ignore"), pytest.raises(ArgumentError, match=message):
                measure()


def test_scores_that_are_no_numbers_are_wrong_and_told(capsys):
    network = net()
    network.params["Affine2.W"] = np.full((5, 3), np.nan)
    assert network.accuracy(X, np.zeros(6, int)) == 0.0
    assert capsys.readouterr().err == (
        "xpnet: the scores of 6 of 6 samples are not numbers, and count as wrong\n"
    )
    metric = BinaryAccuracy()
    metric.update(np.array([[np.nan, 1.0]]), np.array([[0, 1]]))
    assert metric.value() == 0.5
    with pytest.raises(ArgumentError, match="scores must be finite, and those of sample 0 are not"):
        predictions(network, X)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_a_sample_that_is_not_finite_is_named(engine):
    x = np.random.default_rng(0).random((60, 4))
    x[37, 2] = np.nan
    run = Trainer(net(), x, np.arange(60) % 3, epochs=1, mini_batch_size=10, verbose=False,
                  engine=engine)  # fmt: skip
    with pytest.raises(DivergedError) as told, np.errstate(invalid="ignore"):
        run.train()
    assert "of the samples of its batch 1 of 40 numbers are not finite, first the inputs of " in (
        str(told.value)
    )
    assert "sample 37 of the training data; leave such samples out" in str(told.value)
    batch = x[30:40], np.arange(10) % 3
    with (
        pytest.raises(DivergedError, match="inputs of sample 7 of the batch"),
        np.errstate(invalid="ignore"),
    ):
        run.train_step(*batch)


def test_inputs_of_0_to_255_are_hinted_at_before_the_first_step(capsys):
    x = np.random.default_rng(0).integers(0, 256, (60, 4)) / 1.0
    hint = (
        "hint: inputs reach 255, and floats are taken as they are; divide pixels by 255, or give "
        "them as uint8"
    )
    x[0, 0] = 255
    for given, told in ((x, True), (x / 255, False), (x.astype(np.uint8), False)):
        Trainer(net(), given, np.arange(60) % 3, epochs=1, optimizer_param={"lr": 1e-9}).train()
        assert (hint in capsys.readouterr().out) == told
    run = Trainer(net("float32"), x, np.arange(60) % 3, verbose=False, optimizer=SGD(1e30))
    message = "or clip_norm; inputs reach 255, and floats are"
    with pytest.raises(DivergedError, match=message), np.errstate(all="ignore"):
        run.train()
    Trainer(net(), x * -9, np.arange(60) % 3, epochs=1, optimizer=SGD(1e-9)).train()
    assert "inputs reach 2295, and floats are taken as they are; bring them to mean 0 and" in (
        capsys.readouterr().out
    )


def test_small_numbers_in_uint8_are_hinted_at_before_the_first_step(capsys):
    table = np.random.default_rng(0).integers(0, 2, (60, 4))
    hint = (
        "hint: inputs are uint8, which are taken for pixels and divided by 255, and reach only {}; "
        "give them as int64 or float32 if they are no pixels"
    )
    pixels = table.astype(np.uint8)
    for given, largest in (
        (pixels, 1), (16 * pixels, 16), (17 * pixels, 0), (0 * pixels, 0),
        (table, 0), (table.astype(bool), 0), (table.astype("float32"), 0),
    ):  # fmt: skip
        Trainer(net(), given, np.arange(60) % 3, epochs=1, optimizer_param={"lr": 1e-9}).train()
        out = capsys.readouterr().out
        assert (hint.format(largest) in out) == (largest > 0)
        assert ("hint" in out) == (largest > 0)


# What Winograd's sums cannot hold


def test_pixels_that_overflow_within_the_engine_alone():
    layers = [Convolution(1, 4, 3, pad=1, rng=0), ReLU(), Convolution(4, 4, 3, pad=1, rng=1),
              Affine(576, 3, rng=2)]  # fmt: skip
    network = Network(layers, input_shape=(1, 12, 12))
    engine = get_engine(network, "cpu")
    assert any("Winograd" in method for method in engine.methods().values())
    x = np.random.default_rng(0).random((3, 1, 12, 12)).astype("float32")
    x[1, 0, 5, 5], t = 1e38, np.array([0, 1, 2])
    want = network.predict(x)
    assert np.isfinite(want).all()
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(engine.predict(x), want)
        loss, scores, grads = engine.loss_and_gradient(x, t)
        ref_loss, ref_scores, ref_grads = network.loss_and_gradient(x, t)
        assert float(loss) == float(ref_loss)
        np.testing.assert_array_equal(scores, ref_scores)
        for name, grad in ref_grads.items():
            np.testing.assert_array_equal(grads[name], grad)
        y, backward = engine.forward(x, train=True)
        np.testing.assert_array_equal(y, want)
        assert np.isfinite(backward(np.zeros_like(y))[0]).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_label_without_a_class_leaves_everything_as_it_was(threads):
    """Also where the parts of a batch, on several threads, have to meet."""
    rng = np.random.default_rng(0)
    x, t = rng.random((40, 1, 8, 8)), rng.integers(0, 3, 40)

    def made():
        layers = [Convolution(1, 2, 3, pad=1, rng=0), BatchNorm(2), ReLU(), Affine(128, 3, rng=1)]
        return get_engine(
            Network(layers, input_shape=(1, 8, 8), dtype="float64"), "cpu", threads=threads
        )

    engine, other = made(), made()
    for label in (3, -1):
        wrong = t.copy()
        wrong[33] = label
        with pytest.raises(ArgumentError, match="labels must be"):
            engine.loss_and_gradient(x, wrong)
    for _ in range(2):
        got, want = (each.loss_and_gradient(x, t) for each in (engine, other))
        assert float(got[0]) == float(want[0])
        np.testing.assert_array_equal(got[2].flat, want[2].flat)
    for name, array in engine.network.state.items():
        np.testing.assert_array_equal(array, other.network.state[name])


def test_impossible_classes_and_labels_one_a_row_by_heads():
    heads = Heads({"a": Affine(4, 3, rng=0), "b": Affine(4, 2, rng=1)})
    loss = HeadsWithLoss({"a": SoftmaxWithLoss(), "b": SoftmaxWithLoss(0.1)}, {"b": 2.0})
    network = Network([heads], loss, input_shape=(4,), dtype="float64")
    network.params["Heads1.a.b"] = np.array([0, -np.inf, 1])
    engine, x = get_engine(network, "cpu"), np.random.default_rng(0).random((6, 4))
    t = {"a": np.array([0, 2] * 3), "b": np.array([0, 1] * 3)}
    want = float(network.loss(x, t))
    assert np.isfinite(want)
    for given in (t, {name: each[:, None] for name, each in t.items()}):
        assert float(engine.loss_and_gradient(x, given)[0]) == pytest.approx(want, rel=1e-14)
        assert np.isfinite(engine.loss_and_gradient(x, given)[2].flat).all()
        assert float(network.loss(x, given)) == want
    network.params["Heads1.a.b"] = np.zeros(3)
    trainer = Trainer(network, x, {name: each[:, None] for name, each in t.items()}, x, t, 1, 3,
                      verbose=False)  # fmt: skip
    assert trainer.train_batches.target_kind == {"a": "labels", "b": "labels"}
    trainer.train()
    for name, outputs in (("a", 3), ("b", 2)):
        with pytest.raises(ArgumentError, match=f"below the network's {outputs} outputs, got 5"):
            Trainer(network, x, t | {name: np.full((6, 1), 5)}, verbose=False)
        with pytest.raises(ArgumentError, match=f"below the network's {outputs} outputs, got 5"):
            engine.loss_and_gradient(x, t | {name: np.full(6, 5)})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Affine(4, 3).forward(3.0),
            "a layer takes an array of samples, .* got float",
        ),
        (lambda: Convolution(1, 1, 3).forward(3), "a layer takes an array of samples, .* got int"),
        (lambda: BatchNorm(4).forward(3.0), "a layer takes an array of samples"),
        (lambda: MaxPool(2).forward(3.0), "a layer takes an array of samples"),
        (lambda: AveragePool(2).forward(3.0), "a layer takes an array of samples"),
        (lambda: net().loss(3.0, T), r"a batch of shape \(N, 4\) is needed, got \(\)"),
        (lambda: net().accuracy(3.0, 1), "accuracy needs one target a sample"),
        (lambda: net().loss(X[:1], 1), r"must be integer labels of shape \(1,\)"),
        (
            lambda: get_engine(net(), "cpu").loss_and_gradient(X[:1], 1),
            "one target for each",
        ),
        (
            lambda: get_engine(net(), "cpu").loss_and_gradient(3.0, T),
            r"\(N, 4\) is needed, got \(\)",
        ),
        (lambda: net().params.__setitem__("Affine1.W", 0.5), r"has shape \(4, 5\), got \(\)"),
    ],
)
def test_numbers_where_arrays_are_needed_are_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize("loss", [SigmoidWithLoss(), IdentityWithLoss()])
@pytest.mark.parametrize("t", [np.zeros(6, int), np.zeros((6, 1), int), np.ones((6, 1))])
def test_of_one_output_there_is_no_accuracy(loss, t):
    """The highest of one is always right: regression had an accuracy of 1."""
    one = Network([Affine(4, 1, rng=0)], loss)
    for measure in (
        lambda: one.accuracy(X, t),
        lambda: trained(X, t, one, metrics=[Accuracy()]),
        lambda: Accuracy().update(one.predict(X), t),
        lambda: predictions(one, X),
    ):
        with pytest.raises(ArgumentError, match="accuracy is of a choice among outputs"):
            measure()


def test_an_ensemble_is_of_networks_with_one_output():
    with pytest.raises(ArgumentError, match="several outputs, a, b, and an ensemble is of network"):
        Ensemble([heads(), heads()])


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8", "complex64", "sum"])
def test_networks_and_batches_are_of_floats(dtype):
    """In whole numbers every weight would be 0, and nothing would be learned."""
    for make in (lambda: net(dtype), lambda: Batches(X, T, 3, dtype=dtype)):
        with pytest.raises(
            ArgumentError, match=f"dtype must be 'float32' or 'float64', got '{dtype}'"
        ):
            make()
