import dataclasses
import hashlib
import json
import os

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from deal.errors import ItemError, ModelError, UsageError
from deal.model.head import DifficultyHead
from deal.model.placing import raster_size
from deal.model.spec import ModelSpec, read_spec
from tests.helpers.models import CLASSES, HEAD, metadata, save_model

NORMALISED = {"classes": 5, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def spec(**values):
    return ModelSpec(path="model.onnx", classes=CLASSES, **values)


def test_exported_metadata_becomes_the_spec(tmp_path):
    path = save_model(
        tmp_path / "m.onnx",
        props=metadata(
            palette=[[index, 0, 255] for index in range(5)],
            ignore_index=255,
            input_size=[360, 480],
            size_multiple=8,
            resize="none",
            interpolation="nearest",
            provenance={"data": "synthetic"},
        ),
    )
    assert read_spec(path) == ModelSpec(
        path=path,
        classes=CLASSES,
        palette=tuple((index, 0, 255) for index in range(5)),
        ignore_index=255,
        input_size=(360, 480),
        size_multiple=8,
        resize="none",
        interpolation="nearest",
        align_corners=True,
        difficulty_head=DifficultyHead.from_dict(HEAD),
        provenance={"data": "synthetic"},
    )


def test_a_foreign_model_needs_only_classes_and_normalisation(tmp_path):
    path = save_model(tmp_path / "m.onnx", floating=True, output="segmentation")
    found = read_spec(path, NORMALISED)
    assert found.classes == ("class_0", "class_1", "class_2", "class_3", "class_4")
    assert (found.input_name, found.output_name) == ("pixel_values", "segmentation")
    assert found.input_format == "float-rgb"
    assert found.align_corners is False
    assert found.difficulty_head is None


def test_side_car_wins_over_metadata_and_options_over_both(tmp_path):
    path = save_model(tmp_path / "m.onnx", props=metadata(size_multiple=2, resize="none"))
    (tmp_path / "m.json").write_text('{"size_multiple": 4, "align_corners": false}')
    found = read_spec(path, {"align_corners": True})
    assert (found.size_multiple, found.resize, found.align_corners) == (4, "none", True)


@pytest.mark.parametrize("missing", ["mean", "std"])
def test_float_models_must_say_their_normalisation(tmp_path, missing):
    path = save_model(tmp_path / "m.onnx", floating=True)
    with pytest.raises(ModelError, match="give the mean and std"):
        read_spec(path, NORMALISED | {missing: None})


def test_a_model_without_classes_is_told_how_to_name_them(tmp_path):
    path = save_model(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"classes.*m\.json"):
        read_spec(path)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("format", 2, "must be 1"),
        ("format", True, "must be 1"),
        ("classes", [], "names, or the number"),
        ("classes", 0, "names, or the number"),
        ("classes", "road", "names, or the number"),
        ("classes", ["road", 3], "names, or the number"),
        ("palette", [[0, 0]], r"\[r, g, b\]"),
        ("palette", [[0, 0, 256]], r"\[r, g, b\]"),
        ("ignore_index", "void", "whole number"),
        ("input_format", "nv12", "nv12: reserved"),
        ("input_format", "rgb", "rgb8 or bgr8"),
        ("input_size", [360], r"\[H, W\]"),
        ("input_size", [0, 480], "at least 1"),
        ("size_multiple", 0, "at least 1"),
        ("size_multiple", True, "whole number"),
        ("resize", "fill", "stretch or none or letterbox or crop"),
        ("pad_value", 256, "a level of 0…255"),
        ("batch", 0, "at least 1"),
        ("interpolation", "bilinear", "bilinear-antialias"),
        ("mean", [0.5], "three numbers"),
        ("mean", [0.5, 0.5, True], "three numbers"),
        ("mean", [123.675, 116.28, 103.53], "divide them by 255"),
        ("std", [58.395, 57.12, 57.375], "divide them by 255"),
        ("classes", 10**9, "at most 256"),
        ("size_multiple", 10**18, "at most 4096"),
        ("input_size", [10**9, 8], "at most 65535"),
        ("input_size", [65_000, 65_000], "at most 268435456 pixels"),
        ("std", [0.0, 1.0, 1.0], "three positive numbers"),
        ("align_corners", 1, "true or false"),
        ("output_kind", "scores", "scores: reserved"),
        ("activation", "none", "softmax or sigmoid"),
        ("difficulty_head", [], "an object"),
        ("provenance", "mine", "an object"),
        ("output", 3, "a name"),
        ("class_names", ["road"], "unknown key 'class_names'"),
    ],
)
def test_malformed_values_are_refused_by_source_and_key(tmp_path, key, value, says):
    path = save_model(tmp_path / "m.onnx", props=metadata(**{key: value}))
    with pytest.raises(ModelError, match=says) as stored:
        read_spec(path)
    assert str(stored.value).startswith(f"metadata of {path}: ")
    good = save_model(tmp_path / "good.onnx", props=metadata())
    with pytest.raises(UsageError, match=says) as given_:
        read_spec(good, {key: value})
    assert str(given_.value).startswith("model options: ")
    assert key in str(given_.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b'{"classes": ["\xff"]}'])
def test_side_cars_must_be_json_objects(tmp_path, content):
    path = save_model(tmp_path / "m.onnx", props=metadata())
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.json.*JSON"):
        read_spec(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input_format": "float-rgb"}, "use rgb8 or bgr8"),
        ({"mean": [0, 0, 0], "std": [1, 1, 1]}, "leave out mean and std"),
        ({"input_size": [30, 30], "size_multiple": 4}, "not a multiple of size_multiple 4"),
        ({"palette": [[0, 0, 0]]}, "1 colours for 5 classes"),
        ({"difficulty_head": {**HEAD, "weight": [1.0]}}, "1 weights for 5"),
        ({"difficulty_head": {"gamma": 1.0}}, "difficulty_head has the keys"),
        ({"classes": 7, "difficulty_head": None}, "5 channels but classes names 7"),
        ({"activation": "sigmoid"}, "re-export with a softmax"),
        ({"output": "masks"}, "no output 'masks'"),
    ],
)
def test_values_that_do_not_go_together_are_refused(tmp_path, changes, says):
    path = save_model(tmp_path / "m.onnx", props=metadata(**changes))
    with pytest.raises(ModelError, match=says):
        read_spec(path)


def test_float_input_does_not_go_with_an_integer_format(tmp_path):
    path = save_model(tmp_path / "m.onnx", floating=True)
    with pytest.raises(ModelError, match="use float-rgb or float-bgr"):
        read_spec(path, NORMALISED | {"input_format": "rgb8"})


@pytest.mark.parametrize("kind", ["argmax", "argmax3"])
def test_a_baked_in_argmax_names_the_reexport(tmp_path, kind):
    path = save_model(tmp_path / "m.onnx", kind=kind, props=metadata())
    with pytest.raises(ModelError, match=r"argmax is baked in.*with_argmax=False"):
        read_spec(path)


def test_the_output_is_named_where_several_could_be_logits(tmp_path):
    path = save_model(tmp_path / "m.onnx", output="main", extra_outputs=["auxiliary"])
    with pytest.raises(ModelError, match="model option output"):
        read_spec(path, {"classes": 5})
    assert read_spec(path, {"classes": 5, "output": "auxiliary"}).output_name == "auxiliary"


def test_logits_win_by_name_and_side_outputs_are_never_logits(tmp_path):
    path = save_model(tmp_path / "m.onnx", extra_outputs=["auxiliary"], props=metadata())
    assert read_spec(path).output_name == "logits"
    path = save_model(tmp_path / "n.onnx", output="y", difficulty=True, embedding=True)
    found = read_spec(path, {"classes": 5})
    assert found.output_name == "y"
    assert (found.difficulty_name, found.embedding_name) == ("difficulty", "embedding")


def test_a_fixed_graph_size_is_the_input_size(tmp_path):
    path = save_model(tmp_path / "m.onnx", size=(32, 48), batch=1, props=metadata())
    found = read_spec(path)
    assert (found.input_size, found.batch) == ((32, 48), 1)
    with pytest.raises(ModelError, match="set input_size to the size that the graph takes"):
        read_spec(path, {"input_size": [64, 64]})


def test_one_channel_with_sigmoid_has_two_classes(tmp_path):
    path = save_model(tmp_path / "m.onnx", num_classes=1)
    found = read_spec(path, {"classes": ["other", "road"], "activation": "sigmoid"})
    assert (found.num_classes, found.channels) == (2, 1)
    with pytest.raises(ModelError, match="for one channel set activation to sigmoid"):
        read_spec(path, {"classes": 2})
    several = save_model(tmp_path / "n.onnx", num_classes=2)
    with pytest.raises(ModelError, match="decides each class separately"):
        read_spec(several, {"classes": 2, "activation": "sigmoid"})


def test_digest_follows_model_and_external_weights(tmp_path):
    path = save_model(tmp_path / "m.onnx", props=metadata())
    whole = read_spec(path).digest()
    assert whole == read_spec(path).digest()
    inner = hashlib.sha256(path.read_bytes()).digest()
    assert whole == hashlib.sha256(inner).hexdigest()
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    before = read_spec(path).digest()
    weights = bytearray((tmp_path / "w.bin").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "w.bin").write_bytes(weights)
    assert len({whole, before, read_spec(path).digest()}) == 3


def test_metadata_survives_json(tmp_path):
    written = metadata(classes=["naïve", "道"], difficulty_head=None)
    path = save_model(tmp_path / "m.onnx", num_classes=2, props=json.loads(json.dumps(written)))
    assert read_spec(path).classes == ("naïve", "道")


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(1, 64),
)
@settings(deadline=None)
def test_stretched_rasters_are_the_nearest_multiples(height, width, multiple):
    h, w = raster_size(spec(size_multiple=multiple), height, width)
    assert h % multiple == w % multiple == 0
    assert h > 0
    assert abs(h - height) <= multiple / 2 or (h == multiple and height < multiple)
    assert abs(w - width) <= multiple / 2 or (w == multiple and width < multiple)


def test_raster_is_the_input_size_where_there_is_one():
    assert raster_size(spec(input_size=(360, 480)), 720, 960) == (360, 480)
    assert raster_size(spec(), 721, 961) == (721, 961)


def test_without_resizing_other_sizes_are_item_errors():
    fixed = spec(input_size=(360, 480), resize="none")
    assert raster_size(fixed, 360, 480) == (360, 480)
    with pytest.raises(ItemError, match=r"720×960.*takes 360×480") as error:
        raster_size(fixed, 720, 960)
    assert error.value.code == "size"
    free = dataclasses.replace(fixed, input_size=None, size_multiple=32)
    assert raster_size(free, 64, 96) == (64, 96)
    with pytest.raises(ItemError, match="multiples of 32"):
        raster_size(free, 64, 100)


def test_metadata_that_is_no_json_is_refused(tmp_path):
    path = save_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    helper.set_model_props(model, {"deal": "{classes: 5}"})
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"metadata of .* is not JSON"):
        read_spec(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"classes": 5, "classes": 6}', "'classes' occurs twice"),
        ('{"classes": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested more than 64 deep"),
        ('{"classes": 5, "mean": [1' + "0" * 400 + ", 0, 0]}", "is too large"),
        ('{"classes": 5, "palette": [[true, 0, 0]]}', r"\[r, g, b\]"),
    ],
)
def test_side_cars_and_metadata_are_strict_json(tmp_path, text, says):
    path = save_model(tmp_path / "m.onnx")
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ModelError, match=says) as error:
        read_spec(path)
    assert len(str(error.value)) < 1000
    (tmp_path / "m.json").unlink()
    model = onnx.load(path)
    helper.set_model_props(model, {"deal": text})
    onnx.save(model, path)
    with pytest.raises(ModelError, match=says):
        read_spec(path)


def test_a_side_car_that_is_a_pipe_is_not_waited_for(tmp_path):
    path = save_model(tmp_path / "m.onnx")
    os.mkfifo(tmp_path / "m.json")
    with pytest.raises(ModelError, match="not a regular file"):
        read_spec(path)


def test_one_class_under_a_softmax_is_refused(tmp_path):
    path = save_model(tmp_path / "m.onnx", num_classes=1)
    with pytest.raises(ModelError, match="every score would be 0"):
        read_spec(path, {"classes": 1})


def test_a_batch_that_was_traced_can_be_stated(tmp_path):
    path = save_model(tmp_path / "m.onnx", props=metadata(batch=1))
    assert read_spec(path).batch == 1
    fixed = save_model(tmp_path / "n.onnx", batch=2, props=metadata())
    assert read_spec(fixed).batch == 2
    with pytest.raises(ModelError, match="takes batches of 2, but batch is 3"):
        read_spec(fixed, {"batch": 3})


def test_keys_of_letterboxing_are_in_the_fingerprint_of_letterboxing_alone():
    assert "pad_value" not in spec().number_settings()
    boxed = spec(resize="letterbox", pad_value=(0, 0, 0)).number_settings()
    assert (boxed["pad_value"], boxed["pad_position"]) == ([0, 0, 0], "center")
