"""What every engine keeps, whatever runs the network."""

import numpy as np
import pytest
import torch

from deal.engines import open_engine
from deal.errors import EngineUnavailableError, ModelError, UsageError
from deal.training.checkpoint import build_module, save_checkpoint
from tests.helpers.checkpoints import small_meta
from tests.helpers.models import metadata, save_model, scenes
from tests.helpers.openvino import skip_without_openvino


def save_for(engine, folder):
    if engine in ("ort", "openvino"):
        return save_model(folder / "model.onnx", props=metadata(size_multiple=2))
    meta = small_meta()
    torch.manual_seed(0)
    save_checkpoint(folder / "model.pt", build_module(meta), meta)
    return folder / "model.pt"


@pytest.fixture(scope="module", params=["ort", "openvino", "torch"])
def name(request):
    if request.param == "openvino":
        skip_without_openvino()
    return request.param


@pytest.fixture(scope="module")
def path(name, tmp_path_factory):
    return save_for(name, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module")
def engine(name, path):
    return open_engine(path, name, device="cpu", threads=1, options={"input_size": [48, 64]})


def test_logits_are_floating_on_the_networks_own_grid(engine, name):
    out = engine.infer(np.stack(scenes(2)))
    assert engine.name == name
    assert out.logits.shape == (2, 5, 12, 16)
    assert out.logits.dtype == np.float32
    assert np.isfinite(out.logits).all()
    assert out.logits.std() > 0


def test_an_image_has_the_same_logits_in_any_batch(engine):
    images = np.stack(scenes(3))
    together = engine.infer(images).logits
    for index, alone in enumerate(images):
        np.testing.assert_allclose(
            engine.infer(alone[None]).logits[0], together[index], rtol=0, atol=1e-4
        )


def test_logits_repeat_and_do_not_depend_on_threads(engine, name, path):
    images = np.stack(scenes(2))
    first = engine.infer(images).logits
    np.testing.assert_array_equal(engine.infer(images).logits, first)
    other = open_engine(path, name, device="cpu", threads=2)
    np.testing.assert_allclose(other.infer(images).logits, first, rtol=0, atol=1e-4)


def test_strided_images_are_taken_as_they_look(engine):
    images = np.stack(scenes(2))
    padded = np.zeros((2, 48, 80, 3), np.uint8)
    padded[:, :, 8:72] = images
    np.testing.assert_array_equal(
        engine.infer(padded[:, :, 8:72]).logits, engine.infer(images).logits
    )


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 48, 64, 3), np.float32),
        np.zeros((48, 64, 3), np.uint8),
        np.zeros((1, 3, 48, 64), np.uint8),
        np.zeros((0, 48, 64, 3), np.uint8),
    ],
)
def test_other_shapes_and_dtypes_are_refused(engine, images):
    with pytest.raises(UsageError, match=r"uint8 \[B, H, W, 3\]"):
        engine.infer(images)


def test_sizes_the_spec_excludes_are_refused(engine, name, path):
    with pytest.raises(UsageError, match="does not take images of 32×64"):
        engine.infer(np.zeros((1, 32, 64, 3), np.uint8))
    multiple = open_engine(
        path, name, device="cpu", threads=1, options={"input_size": None, "size_multiple": 16}
    )
    assert multiple.infer(np.zeros((1, 32, 48, 3), np.uint8)).logits.shape[0] == 1
    with pytest.raises(UsageError, match="does not take images of 32×40"):
        multiple.infer(np.zeros((1, 32, 40, 3), np.uint8))


def test_the_device_used_is_told_and_unknown_ones_are_refused(engine, name, path):
    assert engine.device == "cpu"
    for device in ("gpu", "cpu:0", "auto:1", "cuda:x"):
        with pytest.raises(UsageError, match="use auto, cpu, cuda"):
            open_engine(path, name, device=device)


def test_threads_that_no_machine_has_are_refused(name, path):
    with pytest.raises(UsageError, match="threads must be at most 4096, not 10000000000"):
        open_engine(path, name, threads=10**10)


def test_a_device_that_is_not_there_is_an_error_with_the_remedy(name, path):
    with pytest.raises(EngineUnavailableError, match=r"install .*--device cpu"):
        open_engine(path, name, device="cuda:99")


def test_no_engine_converts_precision(name, path):
    with pytest.raises(ModelError, match="leave out --precision"):
        open_engine(path, name, precision="fp16")


def test_missing_and_foreign_files_are_model_errors(name, tmp_path):
    with pytest.raises(ModelError, match=r"none\.bin"):
        open_engine(tmp_path / "none.bin", name)
    (tmp_path / "text").write_text("not a network")
    with pytest.raises(ModelError, match="text"):
        open_engine(tmp_path / "text", name)


def test_options_win_and_unknown_ones_are_refused(name, path):
    opened = open_engine(path, name, device="cpu", threads=1, options={"align_corners": False})
    assert opened.spec.align_corners is False
    with pytest.raises(UsageError, match="unknown key 'colour'"):
        open_engine(path, name, options={"colour": "red"})


def test_models_of_the_other_engine_are_sent_there(tmp_path):
    onnx_file, checkpoint = save_for("ort", tmp_path), save_for("torch", tmp_path)
    with pytest.raises(ModelError, match="use --engine ort"):
        open_engine(onnx_file, "torch")
    with pytest.raises(ModelError, match="make one with deal export"):
        open_engine(checkpoint, "ort")


def test_unknown_engines_are_refused_and_the_known_named(path):
    with pytest.raises(UsageError, match="choose one of ort, openvino, trt, torch"):
        open_engine(path, "tflite")
