"""Checkpoints of transformers become models that say what the pipeline of transformers says."""

from __future__ import annotations

import json
import socket
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
from tests.helpers.hf import NETWORKS, pipeline_of, processor, save_checkpoint
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
