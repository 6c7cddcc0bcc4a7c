"""Checkpoints of transformers that deal refuses, and what it reads from their files."""

from __future__ import annotations

import pickle
import shutil
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from deal.errors import ModelError
from deal.export.hf import export_hf
from deal.export.hf_checkpoint import read_checkpoint
from tests.helpers.hf import save_checkpoint, settings_of
from tests.helpers.models import CLASSES


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("whole") / "checkpoint")


@pytest.fixture
def broken(whole, tmp_path):
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "checkpoint")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        (
            "nvidia/segformer-b0",
            "`hf download nvidia/segformer-b0 --local-dir segformer-b0`, then name the folder, "
            "hf:segformer-b0",
        ),
        ("no such folder", "name the folder of a checkpoint, as hf:DIR"),
        ("README.md", "README.md is a file: name the folder it lies in"),
    ],
)
def test_a_name_that_is_no_folder(deal, tmp_path, monkeypatch, name, remedy):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").touch()
    code, _, error = deal("export", f"hf:{name}", "-o", tmp_path / "m.onnx")
    assert code == 1
    assert remedy in error
    assert len(error.strip().splitlines()) == 1


ADAPTER = "it holds an adapter (PEFT): merge it"


@pytest.mark.parametrize(
    ("file", "changes", "remedy"),
    [
        ("config.json", {"id2label": None}, 'names no classes: write them into it, as "id2label"'),
        ("config.json", {"id2label": {"1": "a", "2": "b"}}, "names no classes"),
        (
            "config.json",
            {"id2label": {str(i): f"LABEL_{i}" for i in range(5)}},
            "calls the classes LABEL_0, LABEL_4 and so on: write their names",
        ),
        ("config.json", {"architectures": None}, "names no architecture"),
        (
            "config.json",
            {"architectures": ["SegformerForImageClassification"]},
            "holds SegformerForImageClassification, which is not for semantic segmentation",
        ),
        (
            "config.json",
            {"architectures": ["Mask2FormerForUniversalSegmentation"]},
            "a network of queries: it scores a class at a pixel by a sum over masks",
        ),
        (
            "config.json",
            {"architectures": ["OneFormerForUniversalSegmentation"]},
            "SegFormer, UperNet, BEiT",
        ),
        (
            "config.json",
            {"architectures": ["Own"], "auto_map": {"AutoModel": "own.Own"}},
            "whose code comes with the checkpoint",
        ),
        ("config.json", {"quantization_config": {"bits": 8}}, "holds quantized weights"),
        ("config.json", {"hidden_sizes": [8, 24]}, "cannot read"),
        ("config.json", {"model_type": "none"}, "cannot read"),
        ("preprocessor_config.json", {"size": {"width": 5}}, "cannot read"),
        ("preprocessor_config.json", {"image_mean": [0.5] * 2}, "Correct preprocessor_config.json"),
    ],
)
def test_settings_that_do_not_serve_are_refused(broken, tmp_path, file, changes, remedy):
    settings_of(broken, file, **changes)
    with pytest.raises(ModelError) as caught:
        export_hf(broken, tmp_path / "m.onnx")
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "remedy"),
    [
        ("config.json", "has no config.json: name the folder that holds config.json"),
        ("preprocessor_config.json", "has no preprocessor_config.json, which says how images are"),
        ("model.safetensors", "Does the folder hold a whole checkpoint"),
    ],
)
def test_a_file_that_is_missing_is_named(broken, file, remedy):
    (broken / file).unlink()
    with pytest.raises(ModelError, match=remedy):
        read_checkpoint(broken)


def test_an_adapter_is_named(broken):
    (broken / "config.json").rename(broken / "adapter_config.json")
    with pytest.raises(ModelError) as caught:
        read_checkpoint(broken)
    assert ADAPTER in str(caught.value)


def test_weights_that_are_missing_are_not_drawn_at_random(broken):
    from safetensors.torch import load_file, save_file

    weights = load_file(broken / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "classifier" not in name}
    save_file(kept, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 2 tensors of Segformer.*decode_head\.classifier"):
        read_checkpoint(broken)


def test_pickled_weights_are_read_without_running_them(broken, tmp_path):
    from safetensors.torch import load_file

    expected = read_checkpoint(broken).network.state_dict()
    torch.save(load_file(broken / "model.safetensors"), broken / "pytorch_model.bin")
    (broken / "model.safetensors").unlink()
    found = read_checkpoint(broken).network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    with open(broken / "pytorch_model.bin", "wb") as file:
        pickle.dump(_Touch(str(tmp_path / "touched")), file)
    with pytest.raises(ModelError, match="cannot read"):
        read_checkpoint(broken)
    assert not (tmp_path / "touched").exists()


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_the_license_of_the_card_is_read(broken):
    assert read_checkpoint(broken).license is None
    (broken / "README.md").write_text("---\nlicense: [broken\n---\n")
    assert read_checkpoint(broken).license is None
    (broken / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert read_checkpoint(broken).license == "apache-2.0"


def test_the_background_that_the_training_removed_is_no_class(broken):
    names = {"0": "background", "1": "road", "2": "sky", "3": "car", "4": "pole"}
    settings_of(broken, "config.json", id2label=names)
    assert read_checkpoint(broken).classes == tuple(names.values())
    settings_of(broken, "preprocessor_config.json", do_reduce_labels=True)
    found = read_checkpoint(broken)
    assert found.classes == ("road", "sky", "car", "pole", "(untrained)")
    assert "'background' is removed" in found.notes[1]
    settings_of(broken, "config.json", id2label=dict(enumerate(CLASSES)))
    found = read_checkpoint(broken)
    assert found.classes == CLASSES
    assert "label k was class k − 1" in found.notes[0]


def test_the_extra_that_is_missing_is_named(deal, whole, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("deal.export.hf")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    code, _, error = deal("export", f"hf:{whole}", "-o", tmp_path / "m.onnx")
    assert code == 1
    assert "hf:DIR needs transformers: pip install " in error
    assert "[hf,train,ort]" in error


def test_a_folder_without_its_prefix_is_pointed_out(deal, whole, tmp_path):
    code, _, error = deal("export", whole, "-o", tmp_path / "m.onnx")
    assert code == 2
    assert f"name it hf:{whole}" in error


def test_options_for_other_models_are_refused(deal, model, tmp_path):
    code, _, error = deal("export", model, "-o", tmp_path / "m.onnx", "--input-size", "4x4")
    assert code == 2
    assert "--input-size is for hf:DIR" in error
