"""``deal export`` refuses options that would do nothing, before any work."""

from __future__ import annotations

import pytest

from tests.helpers.models import metadata, save_model
from tests.helpers.runs import assert_refused


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model.onnx", props=metadata())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--static", "48x64", "--embedding"], ["--embedding", "export the checkpoint again"]),
        (["--static", "48x64", "--dropout"], ["--dropout", "export the checkpoint again"]),
        (["--precision", "int8", "--opset", "17"], ["--opset", "export the checkpoint again"]),
        (["--static", "48x64", "--held-out", "x"], ["--held-out", "add --precision"]),
        (["--static", "48x64", "--target", "gpu"], ["--target", "add --precision"]),
        (["--static", "48x64", "--reduce-range", "on"], ["--reduce-range", "add --precision"]),
        (["--static", "48x64", "--search-minutes", "3"], ["--search-minutes", "add --precision"]),
        (["--precision", "bf16", "--reduce-range", "on"], ["--reduce-range is for int8"]),
        (["--precision", "int8", "--tolerance", "1"], ["--tolerance", "leave it out"]),
        (["--static", "48x64", "--tolerance", "nan"], ["--tolerance", "nan is no number"]),
        (["--precision", "int8", "--search-minutes", "nan"], ["--search-minutes", "no number"]),
        (["--cut", "--images", "x"], ["--cut takes no --images"]),
        (["--cut", "--embedding"], ["--embedding", "export the checkpoint again"]),
        (["--precision", "INT8"], ["--precision", "'int8'"]),
        (["--precision", "int8", "--target", "tpu"], ["--target", "'gpu'"]),
        (["--precision", "int8", "--reduce-range", "1"], ["--reduce-range", "'auto'"]),
    ],
)
def test_an_option_without_effect_is_refused(deal, model, tmp_path, arguments, words):
    output = tmp_path / "out.onnx"
    assert_refused(deal("export", model, "-o", output, *arguments), 2, *words)
    assert not output.exists()


@pytest.mark.parametrize(
    "arguments", [["--target", "gpu"], ["--images", "x"], ["--reduce-range", "on"]]
)
def test_an_int8_model_is_not_converted_otherwise_in_silence(deal, tmp_path, arguments):
    model = save_model(tmp_path / "int8.onnx", props=metadata(precision="int8"))
    given = ("export", model, "-o", tmp_path / "out.onnx", "--precision", "int8", *arguments)
    assert_refused(deal(*given), 2, "is int8 already", arguments[0])


def test_a_suffix_in_capitals_is_that_of_a_model(deal, model, tmp_path):
    loud = model.rename(tmp_path / "MODEL.ONNX")
    output = tmp_path / "out.onnx"
    code, _, error = deal("export", loud, "-o", output, "--static", "48x64")
    assert code == 0, error
    assert output.exists()


def test_images_that_a_head_does_not_need_are_told_of(deal, model, tmp_path):
    head = tmp_path / "h.json"
    head.write_text("{}")
    given = ("--difficulty-head", head, "--images", tmp_path)
    _, _, error = deal("export", model, "-o", tmp_path / "out.onnx", *given)
    assert "note: --difficulty-head" in error
    assert "--images is not read" in error
