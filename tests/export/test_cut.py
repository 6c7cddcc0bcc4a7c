"""Argmax at the end of a graph is taken away, and only where the labels stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deal.engines import open_engine
from deal.errors import ModelError, UsageError
from deal.export.cut import cut_argmax
from tests.helpers.models import metadata, save_model, scenes

IMAGES = np.stack(scenes(2))


def with_nodes(path: Path, nodes: list[onnx.NodeProto], element: int, shape: list[object]) -> Path:
    """Let a network of ``save_model`` end in other nodes, from ``inner`` to ``labels``."""
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "inner"
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("labels", element, shape))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def argmax(source: str = "inner", output: str = "labels", **attributes: int) -> onnx.NodeProto:
    return helper.make_node("ArgMax", [source], [output], **attributes)


ENDINGS = {
    "argmax": [argmax(axis=1, keepdims=0)],
    "kept": [argmax(axis=1, keepdims=1)],
    "cast": [
        argmax(output="wide", axis=1, keepdims=0),
        helper.make_node("Cast", ["wide"], ["labels"], to=TensorProto.INT64),
    ],
    "softmax": [
        helper.make_node("Softmax", ["inner"], ["p"], axis=1),
        argmax("p", axis=1, keepdims=0),
    ],
    "last": [
        helper.make_node("Transpose", ["inner"], ["turned"], perm=[0, 2, 3, 1]),
        argmax("turned", axis=3, keepdims=0),
    ],
}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_the_logits_come_out_as_they_went_in(tmp_path: Path, ending: str) -> None:
    plain = save_model(tmp_path / "plain.onnx", props=metadata())
    expected = open_engine(plain, device="cpu").infer(IMAGES).logits
    shape = ["N", 1, "h", "w"] if ending == "kept" else ["N", "h", "w"]
    path = save_model(tmp_path / "m.onnx", props=metadata())
    with_nodes(path, ENDINGS[ending], TensorProto.INT64, shape)
    with pytest.raises(ModelError, match="argmax is baked in"):
        open_engine(path, device="cpu")
    with pytest.raises(UsageError, match="would replace what is read"):
        cut_argmax(path, path)
    cut = cut_argmax(path, tmp_path / "cut.onnx")
    assert cut.output == "labels"
    assert "ArgMax" in cut.removed
    assert cut.cells == 16 * 16
    options = {"output_layout": cut.layout}
    engine = open_engine(tmp_path / "cut.onnx", device="cpu", options=options)
    np.testing.assert_array_equal(engine.infer(IMAGES).logits, expected)
    assert "ArgMax" not in {node.op_type for node in onnx.load(tmp_path / "cut.onnx").graph.node}


def test_other_outputs_stay(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", difficulty=True, embedding=True, props=metadata())
    model = onnx.load(path)
    labels = helper.make_tensor_value_info("labels", TensorProto.INT64, ["N", "h", "w"])
    model.graph.output[0].CopyFrom(labels)
    model.graph.node.append(argmax("logits", axis=1, keepdims=0))
    onnx.save(model, path)
    cut_argmax(path, tmp_path / "cut.onnx")
    spec = open_engine(tmp_path / "cut.onnx", device="cpu").spec
    assert list(spec.output_names) == ["logits", "difficulty", "embedding"]


def test_weights_beside_the_model_are_taken_along(tmp_path: Path) -> None:
    path = with_nodes(
        save_model(tmp_path / "m.onnx", props=metadata()),
        [argmax(axis=1, keepdims=0)],
        TensorProto.INT64,
        ["N", "h", "w"],
    )
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    cut_argmax(path, tmp_path / "sub.onnx")
    (tmp_path / "w.bin").unlink()
    assert open_engine(tmp_path / "sub.onnx", device="cpu").doubts == ()


def test_a_graph_that_ends_otherwise_is_refused(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", props=metadata())
    with pytest.raises(ModelError, match="no output of an ArgMax node"):
        cut_argmax(path, tmp_path / "cut.onnx")
    odd = [argmax(axis=2, keepdims=0)]
    path = with_nodes(path, odd, TensorProto.INT64, ["N", "C", "w"])
    with pytest.raises(ModelError, match="along axis 2"):
        cut_argmax(path, tmp_path / "cut.onnx")
    assert not (tmp_path / "cut.onnx").exists()
