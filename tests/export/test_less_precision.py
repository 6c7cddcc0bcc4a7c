"""What converting refuses: models that have less precision already, or no layer for it."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from deal.errors import ModelError
from deal.export.precision import convert


def plain(path, dtype=np.float32, *, quantised=False, weighted=True):
    """A network that records no precision, with its side-car."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Conv" if weighted else "Identity", ["x", "w"][: 1 + weighted], ["y"])
    ]
    if quantised:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("Conv", ["d", "w"], ["y"]),
        ]
    constants = {"w": np.ones((3, 3, 1, 1), dtype)} if weighted else {}
    if quantised:
        constants |= {"s": np.float32(0.1), "z": np.uint8(0)}
    x, y = (helper.make_tensor_value_info(n, kind, ["N", 3, 32, 32]) for n in "xy")
    tensors = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    graph = helper.make_graph(nodes, "plain", [x], [y], tensors)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path
    )
    contract = {"classes": ["a", "b", "c"], "mean": [0, 0, 0], "std": [1, 1, 1]}
    path.with_suffix(".json").write_text(json.dumps(contract))
    return path


@pytest.mark.parametrize("precision", ["int8", "fp16", "bf16"])
@pytest.mark.parametrize(
    ("options", "found"), [({"dtype": np.float16}, "fp16"), ({"quantised": True}, "int8")]
)
def test_a_graph_of_less_precision_is_refused_whatever_it_records(
    tmp_path, options, found, precision
):
    model = plain(tmp_path / "m.onnx", **options)
    with pytest.raises(ModelError, match=f"is {found} already: convert the fp32 one"):
        convert(model, tmp_path / "new.onnx", precision)
    assert not (tmp_path / "new.onnx").exists()


def test_a_network_without_a_layer_for_int8_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no layer that int8 computes"):
        convert(plain(tmp_path / "m.onnx", weighted=False), tmp_path / "new.onnx", "int8")
