"""``auto``: the faster engine is taken, and never one whose numbers are others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deal.engines import choosing
from deal.engines.choosing import choose_engine
from deal.errors import EngineUnavailableError, ModelError
from deal.scoring.scorer import Scorer
from tests.helpers.models import metadata, save_model, scenes
from tests.helpers.openvino import skip_without_openvino


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_openvino()
    monkeypatch.setattr(choosing, "_SECONDS", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save_model(tmp_path / "m.onnx", props=metadata(input_size=[48, 64]))


class Clock:
    """Time that goes by only while an engine runs, as long as that engine takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        from deal.engines.onnxruntime import OnnxRuntimeEngine
        from deal.engines.openvino import OpenVinoEngine

        self.now, self.sizes = 0.0, []
        for kind in (OnnxRuntimeEngine, OpenVinoEngine):
            monkeypatch.setattr(kind, "_infer", self._timed(kind, seconds[kind.name]))
        monkeypatch.setattr(choosing.time, "perf_counter", lambda: self.now)

    def _timed(self, kind: Any, seconds: float) -> Any:
        real = kind._infer

        def infer(engine: Any, batch: Any, masks: Any) -> Any:
            self.now += seconds
            self.sizes.append(batch.shape[1:3])
            return real(engine, batch, masks)

        return infer


@pytest.mark.parametrize(("ort", "openvino"), [(0.5, 0.25), (0.25, 0.5)])
def test_the_faster_engine_is_taken_and_both_speeds_are_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, ort: float, openvino: float
) -> None:
    Clock(monkeypatch, ort=ort, openvino=openvino)
    choice = choose_engine(path, "cpu", threads=1)
    assert choice.engine == ("ort" if ort < openvino else "openvino")
    assert choice.images_per_second == {"ort": 1 / ort, "openvino": 1 / openvino}
    assert choice.note() == (
        f"--engine auto took {choice.engine} (ort {1 / ort:.1f}, openvino {1 / openvino:.1f} "
        "images/s in one session)"
    )


def test_images_have_the_size_that_the_network_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, ort=1, openvino=1)
    for size, expected in (([60, 80], (60, 80)), (None, (100, 204))):
        path = save_model(tmp_path / "m.onnx", props=metadata(input_size=size, size_multiple=4))
        choose_engine(path, "cpu", threads=1, image_size=(101, 203))
        assert clock.sizes[-1] == expected


def test_bf16_is_never_taken_unless_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deal.engines.openvino.has_bfloat16", lambda: True)
    monkeypatch.setattr("deal.engines.openvino._HINTS", {"fp32": "f32", "bf16": "f32"})
    with Scorer(path, engine="auto", device="cpu", threads=1) as scorer:
        assert scorer._session.fingerprint_settings()["precision"] is None
    choice = choose_engine(path, "cpu", "bf16", 1)
    assert choice.engine == "openvino"
    assert choice.left_out["ort"].endswith(
        "does not record its precision, so bf16 cannot be checked"
    )


def test_an_engine_whose_numbers_are_its_own_is_left_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deal.engines.openvino import OpenVinoEngine

    monkeypatch.setattr(OpenVinoEngine, "own_numbers", lambda self: {"int8_by": "openvino"})
    choice = choose_engine(path, "cpu", threads=1)
    assert choice.engine == "ort"
    assert "openvino left out: its numbers differ by more than rounding" in choice.note()
    monkeypatch.setattr(choosing, "_OF_ONNX", ("openvino",))
    assert choose_engine(path, "cpu", threads=1).engine == "openvino"


def test_every_member_of_a_committee_counts(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deal.engines.openvino import OpenVinoEngine

    other = save_model(tmp_path / "int8.onnx", props=metadata(input_size=[48, 64]))

    def own_numbers(engine: Any) -> dict[str, Any]:
        return {"int8_by": "openvino"} if engine.spec.path.name == other.name else {}

    monkeypatch.setattr(OpenVinoEngine, "own_numbers", own_numbers)
    Clock(monkeypatch, ort=2, openvino=1)
    assert choose_engine(path, "cpu", threads=1).engine == "openvino"
    choice = choose_engine(path, "cpu", threads=1, others=[other])
    assert choice.engine == "ort"
    assert "its numbers differ" in choice.left_out["openvino"]
    with Scorer([path, other], engine="auto", device="cpu", threads=1) as scorer:
        assert scorer.engine == "ort"


def test_an_engine_whose_logits_differ_is_left_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deal.engines.openvino import OpenVinoEngine

    real = choosing._logits

    def logits(engine: Any, batch: Any) -> Any:
        found = real(engine, batch)
        return found * 1.01 if isinstance(engine, OpenVinoEngine) else found

    monkeypatch.setattr(choosing, "_logits", logits)
    choice = choose_engine(path, "cpu", threads=1)
    assert (choice.engine, choice.left_out) == ("ort", {"openvino": "its logits differ"})


def test_a_missing_engine_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "deal.engines.openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    note = choose_engine(path, "cpu", threads=1).note()
    assert note == "--engine auto took ort (openvino left out: not installed)"
    with pytest.raises(
        EngineUnavailableError, match=r"no engine here runs .*openvino: engine open"
    ):
        choose_engine(path, "cpu", "bf16", 1)


def test_a_broken_model_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("not a network")
    with pytest.raises(ModelError) as error:
        choose_engine(tmp_path / "m.onnx", "cpu")
    assert str(error.value).count("m.onnx") == 1


def test_a_checkpoint_goes_to_pytorch(tmp_path: Path) -> None:
    assert choose_engine(tmp_path / "best.pt").engine == "torch"


def test_a_scorer_tells_which_engine_it_took(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, ort=1, openvino=0.5)
    with Scorer(path, engine="auto", device="cpu", threads=1) as scorer:
        assert scorer.engine == "openvino"
        assert np.isfinite(scorer.score(scenes(2))["entropy_mean"]).all()
