"""One operator of ONNX, as onnxruntime computes it."""

import numpy as np
import pytest


def onnx_operator(kind, inputs, outputs=1, **attributes):
    """What the operator answers: an array, or several.

    Parameters
    ----------
    inputs : arrays by the names of the operator's inputs, in order; "" where one is left out
    """
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    helper = onnx.helper
    names = [f"y{k}" for k in range(outputs)]
    given = {name: array for name, array in inputs.items() if array is not None}
    node = helper.make_node(
        kind, [name if name in given else "" for name in inputs], names, **attributes
    )
    values = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in given.items()
    ]
    told = [helper.make_empty_tensor_value_info(name) for name in names]
    graph = helper.make_graph([node], kind, values, told)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {name: np.ascontiguousarray(array) for name, array in given.items()})
    return found[0] if outputs == 1 else found
