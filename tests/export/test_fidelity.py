"""What compares a converted network with its float32 one says that it was given another network."""

from __future__ import annotations

import pytest

from deal.engines.onnxruntime import OnnxRuntimeEngine
from deal.errors import ModelError
from deal.export.fidelity import FidelityGate
from tests.helpers.models import metadata, save_model, scenes


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    path = save_model(tmp_path_factory.mktemp("own") / "own.onnx", props=metadata())
    return FidelityGate(OnnxRuntimeEngine(path), scenes(3), least=2)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"props": metadata(), "stride": 8}, r"other\.onnx gives logits of 5×6×8 .*own\.onnx"),
        ({"props": metadata(3), "num_classes": 3}, r"other\.onnx gives logits of 3×12×16"),
        ({"props": metadata(input_size=[24, 32])}, r"other\.onnx takes images of another size"),
    ],
)
def test_another_network_is_named_and_the_remedy(gate, tmp_path, made, words):
    other = OnnxRuntimeEngine(save_model(tmp_path / "other.onnx", **made))
    with pytest.raises(ModelError, match=rf"{words}.*give the same network converted"):
        gate.judge(other)
