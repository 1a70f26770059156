"""Memory of predictions, which is used again."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test_cuda_join import batch, net_of
from xpnet.engine.cuda.buffers import shared_slots


@given(st.lists(st.tuples(st.integers(1, 9) | st.none(), st.integers(0, 5)), max_size=20))
def test_no_value_lies_where_another_is_still_to_be_read(values):
    """Nor where one lies that the operation reads which puts it out."""
    sizes = [size for size, _ in values]
    ends = [number + later for number, (_, later) in enumerate(values)]
    slots = shared_slots(sizes, ends)
    assert [slot < 0 for slot in slots.of] == [size is None for size in sizes]
    for number, slot in enumerate(slots.of):
        if slot < 0:
            continue
        assert slots.sizes[slot] >= sizes[number]
        for old in range(number):
            assert slots.of[old] != slot or ends[old] < number


@pytest.mark.slow
def test_predictions_take_the_memory_of_few_values(stand_in):
    """And what has a way back keeps each value."""
    net = net_of("ResNet-20")
    engine = stand_in.engine(net)
    x, t = batch(net, 7)
    engine.predict(x)
    engine.loss_and_gradient(x, t)

    def taken(*, keeps):
        values = engine.program(7, keeps=keeps).buffers.values
        owners = {id(a.base if a.base is not None else a): a for a in values}
        return sum((a.base if a.base is not None else a).nbytes for a in owners.values())

    largest = max(prod(kernel.output_shape) for kernel in engine.kernels)
    assert taken(keeps=False) <= 4 * 7 * largest * 8
    assert taken(keeps=True) > 20 * 7 * largest * 8 / 3
