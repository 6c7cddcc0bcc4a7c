"""Checkpoints of transformers become models that say what the pipeline of transformers says."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from deal.errors import ModelError, UsageError
from deal.export import fidelity
from deal.export.hf import export_hf
from deal.export.hf_checkpoint import HfCheckpoint, read_checkpoint
from deal.export.hf_preparation import find_preparation
from deal.fitting.pixels import resize
from deal.model.spec import read_spec
from tests.helpers.hf import NETWORKS, pipeline_of, processor, save_checkpoint, settings_of
from tests.helpers.labeled import predictions, with_errors, write_labeled
from tests.helpers.models import CLASSES, scenes

CARD = "---\nlicense: other\nlicense_name: research\ntags:\n- vision\n---\n\n# A network\n"


@pytest.fixture(scope="module")
def segformer(tmp_path_factory):
    """A SegFormer with a model card, and its export."""
    from tests.helpers.exports import kept_exports

    folder = save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "segformer-b")
    (folder / "README.md").write_text(CARD)
    output = tmp_path_factory.mktemp("exports") / "segformer.onnx"
    with kept_exports():
        found = export_hf(folder, output, images=scenes(3, (70, 110)))
    return folder, output, found


def run(model, image):
    """Logits [C,h,w] of one prepared image by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": image[None]})
    return logits[0]


def stretched(image, size, filter_):
    return np.asarray(Image.fromarray(image).resize(size[::-1], filter_))


# ---- what is exported ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("kept_exports")
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "segformer"])
def test_an_export_says_what_the_pipeline_of_transformers_says(name, tmp_path):
    folder = save_checkpoint(tmp_path / "checkpoint", name)
    size = (64, 64) if name.startswith("mobile") else None
    images = scenes(3, (75, 121))
    found = export_hf(folder, tmp_path / "m.onnx", images=images, input_size=size)
    spec = read_spec(tmp_path / "m.onnx")
    assert spec.classes == CLASSES
    assert found.pipeline.class_agreement > 0.99
    changes = {}
    if size is not None:
        changes = {"size": {"height": 64, "width": 64}, "do_center_crop": False}
    theirs = pipeline_of(folder, **changes)
    filter_ = {"bilinear-antialias": 2, "bicubic-antialias": 3}[spec.interpolation]
    for image in images:
        logits, classes, _ = theirs(image)
        ours = run(tmp_path / "m.onnx", stretched(image, spec.input_size, filter_))
        assert logits.std() > 0.1
        sampled = resize(ours, spec.input_size, spec.align_corners)
        if logits.shape[1:] != spec.input_size:
            np.testing.assert_allclose(ours, logits, rtol=0, atol=1e-3)
        else:  # the network's own resize to the input is left to the kernel
            grid, corners = {"upernet": ((16, 24), False), "dpt": ((32, 32), True)}[name]
            assert (ours.shape[1:], spec.align_corners) == (grid, corners)
            np.testing.assert_allclose(sampled, logits, rtol=0, atol=1e-3)
        assert (sampled.argmax(axis=0) == classes).mean() > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(64, 96), (97, 130)])
def test_a_segformer_takes_any_size(segformer, shape):
    folder, model, found = segformer
    assert found.any_size
    image = scenes(1, shape)[0]
    logits, _, _ = pipeline_of(folder, do_resize=False)(image)
    np.testing.assert_allclose(run(model, image), logits, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_the_model_says_where_it_comes_from(segformer):
    folder, model, found = segformer
    spec = read_spec(model)
    assert (spec.input_size, spec.resize, spec.interpolation) == (
        (64, 96),
        "stretch",
        "bilinear-antialias",
    )
    assert (spec.input_format, spec.ignore_index, spec.align_corners) == ("rgb8", 255, False)
    assert spec.provenance["architecture"] == "SegformerForSemanticSegmentation"
    assert spec.provenance["checkpoint"] == "segformer-b"
    assert spec.provenance["license"] == found.license == "other, research"
    assert len(spec.provenance["weights_sha256"]) == 64
    assert str(folder.parent).encode() not in model.read_bytes()
    assert json.loads(json.dumps(found.to_dict()))["checkpoint"]["architecture"]


@pytest.mark.slow
def test_every_command_takes_the_export(deal, segformer, tmp_path, monkeypatch):
    _, model, _ = segformer
    images = scenes(6, (64, 96))
    for index, image in enumerate(images):
        (tmp_path / "pool").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "pool" / f"{index}.png")
    labels = [with_errors(classes, classes % 2 == 0, 5) for classes in predictions(model, images)]
    write_labeled(tmp_path / "data", "", zip(images, labels, strict=True))
    head, out = tmp_path / "head.json", tmp_path / "out"
    code, told, error = deal("check", model, tmp_path / "pool" / "0.png", "--json")
    assert (code, error) == (0, ""), told
    code, _, error = deal(
        *("fit-head", "--model", model, "--data", tmp_path / "data", "-o", head),
        *("--pixels", 1000, "--quiet"),
    )
    assert code == 0, error
    code, _, error = deal(
        *("score", tmp_path / "pool", "--model", model, "--difficulty-head", head),
        *("--output", out, "--quiet"),
    )
    assert code == 0, error
    assert len((out / "selection.csv").read_text().splitlines()) == 7
    limits = fidelity.LIMITS
    for name in limits:
        monkeypatch.setitem(limits, name, -2)  # random weights select nothing in particular
    for module in ("images", "fidelity"):
        monkeypatch.setattr(f"deal.export.{module}.MIN_IMAGES", 4)
    code, _, error = deal(
        *("export", model, "-o", tmp_path / "int8.onnx", "--precision", "int8", "--quiet"),
        *("--images", tmp_path / "pool"),
        *("--held-out", tmp_path / "data" / "images"),
    )
    assert code == 0, error
    assert read_spec(tmp_path / "int8.onnx").precision == "int8"


@pytest.mark.slow
@pytest.mark.usefixtures("kept_exports")
def test_the_command_tells_what_it_read(deal, segformer, tmp_path, pool):
    folder, _, _ = segformer
    output = tmp_path / "m.onnx"
    code, told, error = deal("export", f"hf:{folder}", "-o", output, "--images", pool)
    assert (code, error) == (0, "")
    assert told.splitlines()[:3] == [
        "SegformerForSemanticSegmentation, 5 classes: road, sky, car, pole, …",
        "input: images stretched to 64×96 (bilinear-antialias)",
        "license: other, research",
    ]
    assert "4 images, the pipeline of transformers against that of deal: logits differ" in told
    assert "100.00% of the pixels have the same class" in told
    assert told.splitlines()[-1] == f"model: {output}"


@pytest.mark.slow
@pytest.mark.usefixtures("kept_exports")
def test_one_logit_is_a_sigmoid_of_two_classes(tmp_path):
    folder = save_checkpoint(tmp_path / "road", "data2vec", ("road",))
    found = export_hf(folder, tmp_path / "m.onnx", images=scenes(2, (70, 110)))
    spec = read_spec(tmp_path / "m.onnx")
    assert (spec.classes, spec.activation) == (("background", "road"), "sigmoid")
    assert found.pipeline.class_agreement > 0.99


@pytest.mark.slow
@pytest.mark.usefixtures("kept_exports")
def test_a_difference_leaves_no_file_behind(segformer, tmp_path, monkeypatch):
    folder, model, _ = segformer
    network = onnx.load(model)
    name = next(node.input[1] for node in network.graph.node if "logits" in node.output)
    weight = next(tensor for tensor in network.graph.initializer if tensor.name == name)
    values = onnx.numpy_helper.to_array(weight) * np.float32(1.01)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    monkeypatch.setattr("deal.export.onnx.to_onnx", lambda *_, **__: network)
    with pytest.raises(ModelError, match=r"differs from PyTorch: logits by up to 0\.0"):
        export_hf(folder, tmp_path / "m.onnx", images=scenes(1, (64, 96)))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_asked_of_the_network(tmp_path, monkeypatch):
    folder = save_checkpoint(tmp_path / "checkpoint")

    def refuse(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert read_checkpoint(folder).classes == CLASSES


# ---- how images are prepared --------------------------------------------------------------------


def checkpoint_with(prepare):
    """A checkpoint without a network."""
    return HfCheckpoint(
        *(Path("x"), "X", None, prepare, CLASSES, 5, 255, "", None, ()),
    )


def prepared(kind, image, input_size=None, images=(), **settings):
    """Preparation, what it makes of a resized image, and what transformers makes of the image."""
    prepare = processor(kind, **settings)
    found = find_preparation(checkpoint_with(prepare), input_size, images)
    ours = torch.from_numpy(image[None].transpose(0, 3, 1, 2).copy())
    return found, found.module()(ours).numpy(), found.run(prepare, image).numpy()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("segformer", {}),
        ("segformer", {"do_normalize": False}),
        ("segformer", {"do_rescale": False, "image_mean": [123.0] * 3, "image_std": [58.0] * 3}),
        ("segformer", {"do_rescale": False, "do_normalize": False}),
        ("beit", {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}),
        ("mobilevit", {"do_center_crop": False}),
        ("mobilevit", {"do_center_crop": False, "do_flip_channel_order": False}),
        ("mobilevit", {"do_center_crop": False, "do_normalize": True}),  # it ignores that
    ],
)
def test_levels_are_those_of_transformers(kind, settings):
    image = scenes(1, (40, 60))[0]
    settings = {"size": {"height": 40, "width": 60}, **settings}
    found, ours, theirs = prepared(kind, image, **settings)
    assert found.input_size == (40, 60)
    assert found.is_bgr == (kind == "mobilevit" and settings.get("do_flip_channel_order", True))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


def test_mean_and_std_are_the_numbers_that_were_given():
    found, _, _ = prepared("segformer", scenes(1, (40, 60))[0])
    np.testing.assert_allclose(found.mean, [0.485, 0.456, 0.406], rtol=1e-6)
    np.testing.assert_allclose(found.std, [0.229, 0.224, 0.225], rtol=1e-6)


def test_images_that_are_not_resized_keep_their_size():
    found, ours, theirs = prepared("segformer", scenes(1, (33, 47))[0], do_resize=False)
    assert (found.resize, found.input_size) == ("stretch", None)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


ASPECT = {"size": {"height": 64, "width": 64}, "keep_aspect_ratio": True, "ensure_multiple_of": 32}


@pytest.mark.parametrize(
    ("kind", "settings", "size"),
    [("dpt", ASPECT, (64, 96)), ("segformer", {"size": {"shortest_edge": 64}}, (64, 100))],
)
def test_a_size_that_depends_on_the_image_is_that_of_the_check_images(kind, settings, size):
    images = scenes(2, (75, 118))
    found, _, theirs = prepared(kind, images[0], images=images, **settings)
    assert found.input_size == size
    assert theirs.shape[2:] == size
    assert "images of another shape are stretched" in found.notes[0]
    for others in ((), [*images, scenes(1, (75, 60))[0]]):
        with pytest.raises(UsageError, match="give --input-size HxW, such as "):
            prepared(kind, images[0], images=others, **settings)


def test_the_size_that_is_asked_for_comes_before_that_of_the_processor():
    for kind, settings in (("dpt", ASPECT), ("mobilevit", {}), ("beit", {"do_center_crop": True})):
        found, _, theirs = prepared(kind, scenes(1, (75, 118))[0], (48, 80), **settings)
        assert (found.resize, found.input_size) == ("stretch", (48, 80))
        assert theirs.shape[2:] == (48, 80)


def test_a_crop_is_told():
    crop = {"height": 64, "width": 64}
    image = scenes(1, (64, 64))[0]
    found, ours, theirs = prepared(
        "mobilenet_v2", image, size={"shortest_edge": 64}, crop_size=crop
    )
    assert (found.resize, found.input_size, len(found.notes)) == ("crop", (64, 64), 1)
    assert "deal fit-head needs" in found.notes[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    found, _, _ = prepared("mobilenet_v2", image, size={"shortest_edge": 72}, crop_size=crop)
    assert "the shorter side to 72 before it crops; deal resizes it to 64" in found.notes[1]


def test_a_filter_that_deal_lacks_is_refused():
    prepare = processor("segformer", resample=1)
    file = "x/preprocessor_config.json"
    with pytest.raises(ModelError, match=f"{file} resizes by Pillow's filter 1.*set resample to 2"):
        find_preparation(checkpoint_with(prepare), None, ())


@pytest.mark.slow
@pytest.mark.usefixtures("kept_exports")
@pytest.mark.parametrize("shape", [(64, 101), (75, 121)])  # 18.5 and 39.26 pixels are cut off
def test_a_crop_is_exported(shape, tmp_path):
    folder = save_checkpoint(tmp_path / "c", "mobilenet")
    found = export_hf(folder, tmp_path / "m.onnx", images=scenes(2, shape))
    assert (found.resize, found.input_size) == ("crop", (65, 65))
    assert found.pipeline.class_agreement > 0.99


def test_what_deal_cannot_prepare_alike_is_refused(tmp_path):
    pad = {"do_pad": True, "size_divisor": 64, "size": {"height": 50, "width": 50}}
    folder = save_checkpoint(tmp_path / "c", "dpt", **pad)
    with pytest.raises(ModelError, match="prepares check image 1 in a way that deal cannot"):
        export_hf(folder, tmp_path / "m.onnx", images=scenes(1, (70, 110)))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


# ---- what is refused ----------------------------------------------------------------------------


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
