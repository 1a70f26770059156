"""The GPU's engine on the networks of a detector, whose losses are not their own."""

import numpy as np
import pytest

from test_learning_to_detect import batch, make
from xpnet import to_numpy
from xpnet.train.joined import joined, of_boxes

# float32: ten times the worst here.
NEAR = 2e-4


@pytest.mark.slow
def test_a_pass_through_both_networks(accelerator):
    """Maps come out by name, one of which is what others read; gradients come from outside."""
    detector = make(device=accelerator.device)
    x, objects, draws = batch(detector)
    engines = {name: accelerator.engine(net) for name, net in detector.networks.items()}
    for name, engine in engines.items():
        assert engine.check(x if name == "rpn" else x[:, :, :5, :5].repeat(64, 1)) is engine
    want, got = detector.networks["rpn"].predict(x), engines["rpn"].predict(x)
    assert got.keys() == want.keys()
    for name, y in want.items():
        y = to_numpy(y)
        np.testing.assert_allclose(to_numpy(got[name]), y, atol=NEAR * np.abs(y).max())
    outputs = detector.networks["rpn"].forward(x, train=True)[0]
    proposals = detector.propose(*detector.by_anchor(outputs))
    boxes = of_boxes(detector, *proposals, objects, draws[:, detector.anchors.shape[0] :])
    want, wanted = joined(detector, detector.networks, x, objects, draws, boxes)
    got, grads = joined(detector, engines, x, objects, draws, boxes)
    for name, loss in want.items():
        assert float(got[name]) == pytest.approx(float(loss), rel=NEAR), name
    for name, own in wanted.items():
        for key, grad in own.items():
            grad = to_numpy(grad)
            atol = NEAR * np.abs(grad).max()
            np.testing.assert_allclose(to_numpy(grads[name][key]), grad, atol=atol, err_msg=key)
