"""An optimizer's state is of one network's parameters; what cannot be a parameter is told."""

import copy
import pickle

import numpy as np
import pytest

from xpnet import SGD, Affine, Batches, Learner, Momentum, Network, Trainer, TwoLayerNet, to_numpy
from xpnet.errors import ArgumentError
from xpnet.optim import OPTIMIZERS

KEEPING = [kind for kind in OPTIMIZERS.values() if kind.kept]
X = np.random.default_rng(0).standard_normal((6, 4)).astype("float32")
T = np.array([0, 1, 0, 1, 0, 1])


def net(device="cpu", hidden=3, **options):
    return TwoLayerNet(4, hidden, 2, rng=hidden, device=device, **options)


def step(optimizer, network, form="flat"):
    """One update of a network's parameters, as one buffer or as arrays by name."""
    grads = network.gradient(X, T)
    optimizer.update(network.params if form == "flat" else dict(network.params), grads)


@pytest.mark.parametrize("form", ["flat", "arrays"])
@pytest.mark.parametrize("hidden", [3, 5])
@pytest.mark.parametrize("kind", KEEPING)
def test_what_keeps_something_is_for_one_network(kind, hidden, form, device):
    first, second, optimizer = net(device), net(device, hidden), kind()
    step(optimizer, first, form)
    kept = {name: to_numpy(array).copy() for name, array in optimizer.state.items()}
    before = to_numpy(second.params.flat).copy()
    with pytest.raises(ArgumentError, match=rf"{kind.__name__} belongs to another network, .* W1 "):
        step(optimizer, second, form)
    np.testing.assert_array_equal(to_numpy(second.params.flat), before)
    for name, array in kept.items():
        np.testing.assert_array_equal(to_numpy(optimizer.state[name]), array)
    step(optimizer, first, form)


@pytest.mark.parametrize("form", ["flat", "arrays"])
def test_what_keeps_nothing_serves_all(device, form):
    """In turns, whatever their layouts: as if each had its own, and with zeros in the gaps."""
    nets, alone = ([net(device, hidden) for hidden in (3, 70)] for _ in range(2))
    shared, own = SGD(), [SGD(), SGD()]
    for _ in range(2):
        for k in (0, 1):
            step(shared, nets[k], form)
            step(own[k], alone[k], form)
    for one, other in zip(nets, alone, strict=True):
        np.testing.assert_array_equal(to_numpy(one.params.flat), to_numpy(other.params.flat))


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_the_same_parameters_may_come_in_other_mappings_and_learn_otherwise(kind):
    network, optimizer = net(), kind()
    step(optimizer, network)
    network.freeze("Affine1")
    step(optimizer, network)
    network.thaw()
    network.scale_rate(0.1, "W2")
    step(optimizer, network)
    arrays = {"W1": np.ones(2)}
    optimizer = kind()
    for params in (arrays, dict(arrays), arrays):
        optimizer.update(params, {"W1": np.ones(2)})
    arrays["W1"] = np.zeros(2)  # such as the best so far, put back
    optimizer.update(arrays, {"W1": np.ones(2)})
    assert np.all(arrays["W1"] != 0)


def test_a_state_of_other_shapes_is_told():
    optimizer = Momentum()
    optimizer.state = {"v.W1": np.ones(3)}
    with pytest.raises(ArgumentError, match=r"v\.W1 should be float64 \(2,\) and is float64 \(3"):
        optimizer.update({"W1": np.ones(2)}, {"W1": np.ones(2)})
    with pytest.raises(ArgumentError, match=r"v\.flat should be float32 \(\d+,\) and is missing"):
        step(optimizer, net())


@pytest.mark.parametrize("kind", KEEPING)
@pytest.mark.parametrize(
    "made", [copy.copy, copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))]
)
def test_a_copy_goes_on_by_itself(kind, made):
    network, optimizer = net(), kind()
    step(optimizer, network)
    twin, other = copy.deepcopy(network), made(optimizer)
    for _ in range(2):
        step(other, twin)
    assert not np.array_equal(twin.params.flat, network.params.flat)
    for _ in range(2):
        step(optimizer, network)
    np.testing.assert_array_equal(twin.params.flat, network.params.flat)


def test_another_network_of_the_same_shapes_is_told_as_such():
    first, optimizer = net(), Momentum()
    step(optimizer, first)
    with pytest.raises(ArgumentError) as caught:
        step(optimizer, copy.deepcopy(first))
    assert str(caught.value) == (
        "this Momentum belongs to another network, though of the same shapes, of which it keeps v, "
        "and was given the parameters of this one, W1 (4, 3), b1 (3,), W2 (3, 2), b2 (2,); make "
        "one for each, or copy both, copy.deepcopy((network, optimizer))"
    )
    twin, other = copy.deepcopy((first, optimizer))
    step(other, twin)


def test_trainers_tell_before_and_undo():
    shared, networks = Momentum(), [net(), net()]
    trainers = [
        Trainer(one, X, T, epochs=1, mini_batch_size=3, optimizer=shared, verbose=False)
        for one in networks
    ]
    trainers[0].train()
    before = networks[1].params.flat.copy()
    with pytest.raises(ArgumentError, match="belongs to another network"):
        trainers[1].train()
    np.testing.assert_array_equal(networks[1].params.flat, before)
    options = {"epochs": 1, "mini_batch_size": 3, "optimizer": shared, "verbose": False}
    with pytest.raises(ArgumentError, match="belongs to another network"):
        Trainer(net(), X, T, **options)
    Trainer(networks[0], X, T, **options).train()


@pytest.mark.slow
def test_steps_of_a_gpu_are_of_one_network(accelerator):
    network, optimizer = net(accelerator.device), Momentum()
    step(optimizer, net())
    x, t = accelerator.device.asarray(X), accelerator.device.asarray(T)
    steps = accelerator.engine(network, check=False).steps(x, t, 3, optimizer)
    with pytest.raises(ArgumentError, match="belongs to another network"):
        steps.prepare()


class Two(Learner):
    """Two networks that learn the same."""

    def __init__(self, optimizer):
        self.networks = {"a": net(hidden=3), "b": net(hidden=5)}
        self.optimizers = dict.fromkeys(self.networks, optimizer)
        self.source = Batches(X, T, 3)

    def step(self, batch):
        for name, network in self.networks.items():
            loss, _, grads = network.loss_and_gradient(*batch)
            self.optimizers[name].update(network.params, grads)
        return {"loss": loss}


def test_a_learner_of_two_networks_needs_two_optimizers_that_keep_something():
    Trainer.of(Two(SGD()), 1, verbose=False).train()
    with pytest.raises(ArgumentError, match=r"is the optimizer of a and of b, and keeps v .* each"):
        Trainer.of(Two(Momentum()), 1, verbose=False)
    with pytest.raises(ArgumentError, match="optimizer of a must be an instance of Optimizer"):
        Trainer.of(Two(Momentum), 1, verbose=False)


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_numbers_in_arrays_of_no_axis_are_parameters(device, kind):
    one, many = (device.asarray(p, dtype="float64") for p in (2.0, [2.0]))
    first, second = kind(0.1), kind(0.1)
    for _ in range(3):
        first.update({"x": one}, {"x": device.asarray(0.5, dtype="float64")})
        second.update({"x": many}, {"x": device.asarray([0.5], dtype="float64")})
    assert one.shape == ()
    assert float(one) == float(many[0]) < 2


class Offset:
    """y = x + a, for a number a."""

    def __init__(self):
        self.params = {"a": np.asarray(0.5)}

    def output_shape(self, shape):
        return shape

    def forward(self, x, *, train=False):
        def backward(dy, need_dx=True):
            return dy, {"a": dy.sum()}

        return x + self.params["a"], backward


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_network_may_have_numbers_to_learn(name, engine):
    network = Network([Affine(4, 3, rng=0), Offset(), Affine(3, 2, rng=1)])
    Trainer(
        network, X, T, epochs=1, mini_batch_size=3, optimizer=name, engine=engine, verbose=False
    ).train()
    assert network.params["Offset1.a"].shape == ()
    assert network.params["Offset1.a"] != 0.5


def read_only():
    array = np.ones(2)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        (1.0, r"parameter x is 1\.0, which cannot be changed in place; make it an array"),
        (np.float64(1), r"parameter x is np\.float64\(1\.0\), which cannot be changed in place"),
        ([1.0], r"parameter x is \[1\.0\], which cannot be changed in place"),
        (np.array(1), "parameter x is of int64, and steps are fractions; make it float32 or"),
        (np.array(1j), "parameter x is of complex128"),
        (read_only(), "parameter x is read-only; give a copy of it"),
    ],
)
@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_what_cannot_be_changed_is_no_parameter(kind, parameter, message):
    with pytest.raises(ArgumentError, match=message):
        kind().update({"x": parameter}, {"x": np.ones_like(parameter)})
