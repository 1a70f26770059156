"""The losses of generator and discriminator, on every array library."""

import numpy as np
import pytest

from xpnet.arrays import to_numpy
from xpnet.errors import ArgumentError
from xpnet.functions.adversarial import fake_loss, generator_loss, real_loss

REAL, FAKE = [[1.2], [-0.3], [2.0]], [[-1.0], [0.4], [0.1]]


def near(found, loss, gradient):
    value, slope = found
    assert float(value) == pytest.approx(loss, abs=1e-10)
    np.testing.assert_allclose(to_numpy(slope)[:, 0], gradient, atol=1e-10)


def test_worked_values(device):
    real, fake = device.asarray(REAL), device.asarray(FAKE)
    of_real = [-0.0771584055, -0.1914808389, -0.0397343073]
    of_fake = [0.0896471405, 0.1995625534, 0.1749930625]
    total = float(real_loss(real)[0]) + float(fake_loss(fake)[0])
    assert total == pytest.approx(1.0717464409, abs=1e-10)
    near(real_loss(real), 1.0717464409 - float(fake_loss(fake)[0]), of_real)
    near(fake_loss(fake), 1.0717464409 - float(real_loss(real)[0]), of_fake)
    near(generator_loss(fake), 0.8235578667, [-0.2436861929, -0.1337707800, -0.1583402708])
    near(generator_loss(fake, "minimax"), -0.6568912, [-each for each in of_fake])
    near(real_loss(real, 0.9), 0.5115219076, [-0.0438250722, -0.1581475056, -0.0064009740])


def test_where_nothing_can_be_told_apart(device):
    z = device.asarray(np.zeros((4, 1)))
    ln2 = 0.6931471805599453
    assert float(real_loss(z)[0]) + float(fake_loss(z)[0]) == pytest.approx(2 * ln2, rel=1e-15)
    assert float(generator_loss(z)[0]) == pytest.approx(ln2, rel=1e-15)


def test_sure_scores_have_finite_losses(device):
    z = device.asarray([[1000.0], [-1000.0]])
    for loss, slope in (real_loss(z), fake_loss(z), generator_loss(z)):
        assert float(loss) == 500.0
        assert np.isfinite(to_numpy(slope)).all()
    np.testing.assert_array_equal(to_numpy(generator_loss(z, "minimax")[1])[:, 0], [-0.5, 0.0])


def test_refused():
    z = np.zeros((3, 1))
    with pytest.raises(ArgumentError, match=r"label of real samples must be above 0\.5"):
        real_loss(z, 0.5)
    with pytest.raises(ArgumentError, match="a generator's form must be"):
        generator_loss(z, "wasserstein")
    for wrong in (np.zeros(3), np.zeros((3, 2))):
        with pytest.raises(ArgumentError, match=r"one a row, \(N, 1\), got \(3"):
            fake_loss(wrong)
