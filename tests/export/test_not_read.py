"""``deal export`` does not replace what it reads, whatever name that has."""

from __future__ import annotations

import json

import onnx
import pytest

from deal.errors import UsageError
from deal.export.head import with_head
from deal.export.precision import convert
from deal.export.static import make_static
from deal.model.head import DifficultyHead
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import assert_refused

HEAD = DifficultyHead(0.3, [0.1, 0.2, -0.3, 0.4, -0.5], 0.05)


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model.onnx", props=metadata())


@pytest.fixture
def head(tmp_path):
    path = tmp_path / "head.json"
    path.write_text(json.dumps(HEAD.to_dict()), encoding="utf-8")
    return path


def names(path):
    """Other names of a file."""
    link = path.with_name("link.onnx")
    link.symlink_to(path)
    return [path, path.parent / ".." / path.parent.name / path.name, link]


@pytest.mark.parametrize(
    "arguments",
    [["--static", "48x64"], ["--difficulty-head", "head.json"], ["--cut"], ["--precision", "int8"]],
    ids=str,
)
def test_the_model_is_not_replaced(deal, model, head, monkeypatch, arguments):
    monkeypatch.chdir(head.parent)
    before = model.read_bytes()
    for output in names(model):
        told = deal("export", model, "-o", output, *arguments)
        assert_refused(told, 2, "would replace what is read: name another file")
    link = model.with_name("link.onnx")
    assert_refused(deal("export", link, "-o", model, *arguments), 2, "would replace what is read")
    assert model.read_bytes() == before


def test_neither_are_the_head_nor_the_list_of_images(deal, model, head):
    told = deal("export", model, "-o", head, "--difficulty-head", head)
    assert_refused(told, 2, "head.json would replace what is read")
    images = model.with_name("images.csv")
    images.write_text("path\na.jpg\n")
    told = deal("export", model, "-o", images, "--static", "48x64", "--images", images)
    assert_refused(told, 2, "images.csv would replace what is read")


def test_neither_are_the_side_car_nor_the_weights_of_the_model(deal, model, head, monkeypatch):
    network = model.read_bytes()
    for location in ("weights.bin", "other.onnx.data"):
        onnx.save(
            onnx.load_from_string(network), model, save_as_external_data=True, location=location,
            size_threshold=0,
        )  # fmt: skip
        side_car = model.with_suffix(".json")
        side_car.write_text("{}", encoding="utf-8")
        for arguments in (["--static", "48x64"], ["--difficulty-head", head], ["--cut"]):
            for output in (side_car, model.with_name(location)):
                before = output.read_bytes()
                told = deal("export", model, "-o", output, *arguments)
                assert_refused(told, 2, f"{output.name} would replace what is read")
                assert output.read_bytes() == before
    # Weights of the new model that do not fit its file would lie there.
    monkeypatch.setattr("deal.export.files.LARGEST", 100)
    output = model.with_name("other.onnx")
    told = deal("export", model, "-o", output, "--difficulty-head", head)
    assert_refused(told, 2, "other.onnx.data would replace what is read")
    assert model.with_name("other.onnx.data").read_bytes() == before
    assert not output.exists()


def test_neither_is_a_checkpoint_that_is_exported_in_several_steps(deal, tmp_path):
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(b"weights")
    told = deal("export", checkpoint, "-o", checkpoint, "--static", "48x64")
    assert_refused(told, 2, "best.pt would replace what is read")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    told = deal("export", f"hf:{tmp_path}", "-o", weights, "--static", "48x64")
    assert_refused(told, 2, "model.safetensors would replace what is read")


def test_functions_refuse_it_too(model, head, tmp_path):
    before = model.read_bytes(), head.read_bytes()
    for export in (
        lambda: make_static(model, model, (48, 64)),
        lambda: with_head(model, head, model),
        lambda: with_head(model, head, head),
        lambda: convert(model, model, "int8"),
    ):
        with pytest.raises(UsageError, match="would replace what is read"):
            export()
    assert (model.read_bytes(), head.read_bytes()) == before
    pytest.importorskip("torch")
    from deal.export.onnx import export_checkpoint

    (tmp_path / "best.pt").write_bytes(b"weights")
    with pytest.raises(UsageError, match="would replace what is read"):
        export_checkpoint(tmp_path / "best.pt", tmp_path / "best.pt")
