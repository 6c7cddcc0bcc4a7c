"""deal_model_read against deal.model: the same facts, and the same files refused."""

from __future__ import annotations

import ctypes
import json
import os
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.models import metadata, save_model
from tests.kernel.model_reading import LIBRARY, Model, facts_by_c, facts_by_python
from tests.torture import onnx_header

ROOT = Path(__file__).parents[2]
BUNDLED = [*sorted(ROOT.glob("models/*.onnx")), ROOT / "deal/demo/model.onnx"]


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
def test_bundled_models_are_read_as_python_reads_them(path):
    facts = facts_by_c(path)
    assert facts == facts_by_python(path)
    assert facts["head"] is not None


def agree(path: Path) -> bool:
    """Whether both take the file; fails unless both read it alike."""
    c, python = facts_by_c(path), facts_by_python(path)
    if "NUL character" in c:  # C strings end there
        return False
    assert isinstance(c, str) == isinstance(python, str), (c, python)
    if isinstance(c, str):
        assert str(path)[:100] in c
        return False
    assert c == python
    return True


# Values that a key may have and some that it may not.
VALUES = {
    "format": [1, 1.0, 2, True, "1"],
    "classes": [5, 2, 1, 0, 257, ["a", "b", "Straße", "\U0001f600", '"\\'], ["a", 1], [], True],
    "palette": [None, [[0, 128, 255]] * 5, [[0, 1]] * 5, [[0, 1, 256]] * 5, [[1, 2, 3]] * 2, "red"],
    "ignore_index": [None, 255, -1, 2**31, 1.0, True],
    "input_format": ["rgb8", "bgr8", "float-rgb", "float-bgr", "nv12", None],
    "input_layout": ["nhwc", "nchw", "NHWC"],
    "output_layout": ["nchw", "nhwc", 0],
    "input_size": [None, [64, 96], [64], [64, 96.0], [65536, 1], [65535, 65535], [0, 1], "64"],
    "size_multiple": [1, 8, 32, 7, 0, 4097, 1.0],
    "batch": [None, 1, 4, 0, 4097],
    "resize": ["stretch", "letterbox", "crop", "none", "pad"],
    "pad_value": [0, 114, [1, 2, 3], [1, 2], 256, None],
    "pad_position": ["center", "top-left", "top"],
    "interpolation": ["bilinear-antialias", "bicubic-antialias", "nearest", "lanczos"],
    "mean": [None, [0.485, 0.456, 0.406], [0, 0, 0], [123.7, 116.3, 103.5], [0.5, 0.5], [True] * 3],
    "std": [None, [0.229, 0.224, 0.225], [1, 1, 1], [0, 1, 1], [-1, 1, 1]],
    "align_corners": [True, False, 0, None],
    "output_kind": ["logits", "probabilities", "scores"],
    "activation": ["softmax", "sigmoid", "none"],
    "precision": [None, "fp32", "int8", "fp64"],
    "provenance": [{}, {"conversion": {"target": "gpu"}}, {"conversion": {"target": ["gpu"]}}, []],
    "output": ["logits", "other", "difficulty", ""],
    "dropout": [
        [],
        [{"input": "mask", "channels": 5, "rate": 0.5}],
        [{"input": "mask", "channels": 5, "rate": 1}],
        [{"input": "mask", "channels": 5}],
    ],
    "unknown": [1],
}
HEADS = {
    "gamma": [0.7, 3, "0.7", None, 1e14],
    "weight": [[0.5, -1.0, 1.5, 0.25, -0.5], [0.1] * 2, [1, 2, 3, 4, 5], [], [None] * 5, 3],
    "bias": [-0.2, 5e-324, 123456789012345, True],
    "grid": [None, [30, 40], [30.0, 40.0], [30.5, 40], [4096, 4097], [0, 1], [1, 2, 3]],
    "uncertainty_weight": [None, [0.0] * 5, [0.1, 0, 0, 0, -2.5e-3], [0.1]],
}
USUAL = {"classes": 5, "difficulty_head": metadata()["difficulty_head"]}
IMAGES = [
    ("uint8", ["N", "H", "W", 3]),
    ("uint8", [4, 64, 96, 3]),
    ("uint8", ["N", 3, "H", "W"]),
    ("float32", ["N", 3, "H", "W"]),
    ("float16", [1, 3, 64, 96]),
    ("float64", ["N", "H", 64, 3]),
    ("float32", ["N", 3, 64, 3]),
    ("int8", ["N", "H", "W", 3]),
    ("uint8", ["H", "W", 3]),
]
OUTPUTS = [
    ("float32", ["N", 5, "h", "w"]),
    ("bfloat16", [None, None, None, None]),
    ("float16", ["N", "h", "w", 5]),
    ("float64", ["N", 1, "h", "w"]),
    ("int64", ["N", "h", "w"]),
    ("float32", None),
    ("float32", ["N", 100, 6]),
]
NAMES = {"uint8": "UINT8", "int8": "INT8", "int64": "INT64", "float32": "FLOAT"}
NAMES |= {"float16": "FLOAT16", "float64": "DOUBLE", "bfloat16": "BFLOAT16"}


def declared(name, dtype, shape):
    return helper.make_tensor_value_info(name, getattr(TensorProto, NAMES[dtype]), shape)


def drawn(rng: random.Random, path: Path) -> None:
    """A model with a drawn graph and contract, of which some go together."""

    def one(values):  # the first are right, and likelier
        return values[int(len(values) * rng.random() ** 3)]

    keys = rng.sample(sorted(VALUES), rng.randint(0, 5))
    contract = {
        **(USUAL if rng.random() < 0.95 else {}),
        **{key: one(VALUES[key]) for key in keys if key != "unknown" or rng.random() < 0.1},
    }
    if rng.random() < 0.4:
        contract["difficulty_head"] = {key: one(values) for key, values in HEADS.items()}
    image = one(IMAGES)
    if image[0].startswith("float") and rng.random() < 0.9:
        contract |= {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.1]}
    inputs = [declared("image", *image)]
    if rng.random() < 0.15:
        inputs.append(declared("mask", "float32", [1, 5, 1, 1]))
    outputs = [declared("logits", *one(OUTPUTS))]
    others = rng.sample(["difficulty", "embedding", "other", "queries"], rng.choice([0, 0, 1, 2]))
    outputs += [declared(name, *one(OUTPUTS)) for name in others]
    nodes = [helper.make_node("Identity", ["image"], ["logits"])]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs))
    text = json.dumps(contract, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.1:  # another text, mostly no JSON
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(['"', ",", "1e999", "NaN", "\\u12", " ", "\t"]) + text[at:]
    helper.set_model_props(model, {"deal": text, "more": "x"})
    path.write_bytes(model.SerializeToString())


def test_drawn_contracts_and_graphs_are_taken_and_refused_alike(tmp_path):
    rng = random.Random(5)
    path = tmp_path / "m.onnx"
    taken = 0
    for _ in range(400):
        drawn(rng, path)
        taken += agree(path)
    assert 50 < taken < 300


def test_mutated_files_are_taken_and_refused_alike(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(12))
    (tmp_path / "m.json").write_text('{"input_size": [32, 64]}')  # which the graphs do not say
    rng = random.Random(8)
    path = tmp_path / "m.onnx"
    taken = 0
    for content in onnx_header.corpus():
        path.write_bytes(content)
        assert agree(path)
        for _ in range(400):
            path.write_bytes(onnx_header.mutated(rng, content))
            taken += agree(path)
    assert 100 < taken < 700


@pytest.mark.parametrize(
    "text",
    [
        '{"classes": 5, "classes": 5}',
        '{"classes": 5, "provenance": {"a": [{"b": 1, "b": 2}]}}',
        '{"classes": 5, "provenance": {"a": ' + "[" * 62 + "]" * 62 + "}}",
        '{"classes": 5, "provenance": {"a": ' + "[" * 63 + "]" * 63 + "}}",
        '{"classes": 5, "provenance": {"a": ' + "[" * 61 + "1" + "]" * 61 + "}}",
        '{"classes": 5, "provenance": {"a": ' + "[" * 62 + "1" + "]" * 62 + "}}",
        '{"classes": 5, "provenance": {"a": ' + "1" * 41 + "}}",
        '{"classes": 5, "provenance": {"a": -Infinity}}',
        '{"classes": 5,}',
        '{"classes": [5]} x',
        '{"classes": 05}',
        '\t{"classes":["\\ud83d\\ude00", "\\u00e4\\/"]}\r\n',
        "[]",
        "",
    ],
)
def test_json_is_read_as_strictly_in_metadata_and_side_car(tmp_path, text):
    path = save_model(tmp_path / "m.onnx", num_classes=5 if ": 5" in text else 2)
    model = onnx.load(path)
    helper.set_model_props(model, {"deal": text})
    onnx.save(model, path)
    agree(path)
    helper.set_model_props(model, {"deal": "{}"})
    onnx.save(model, path)
    path.with_suffix(".json").write_text(text)
    agree(path)


def test_the_side_car_wins_key_by_key(tmp_path):
    path = save_model(tmp_path / "a.b.onnx", props=metadata(size_multiple=4, ignore_index=255))
    (tmp_path / "a.b.json").write_text('{"size_multiple": 8, "difficulty_head": null}')
    facts = facts_by_c(path)
    assert facts == facts_by_python(path)
    assert (facts["multiple"], facts["ignore_index"], facts["head"]) == (8, 255, None)


def test_weights_outside_the_folder_are_refused(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "m.onnx"
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "in.bin").write_bytes(bytes(12))
    (folder / "inner.bin").symlink_to("in.bin")
    (folder / "two.bin").write_bytes(bytes(12))
    os.link(folder / "two.bin", folder / "names.bin")
    model = onnx.load(save_model(path, props=metadata()))
    weight = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="")
    model.graph.initializer.append(weight)
    for name, fits in [
        ("in.bin", True),
        ("./in.bin", True),
        ("inner.bin", True),
        ("../secret.bin", False),
        ("link.bin", False),
        ("two.bin", False),
        ("missing.bin", False),
        (str(tmp_path / "secret.bin"), False),
        (".", False),
        ("", False),
    ]:
        model.graph.initializer[-1].external_data[0].value = name
        onnx.save(model, path)
        assert agree(path) is fits, name


def test_a_folder_a_pipe_and_an_empty_file_are_told(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"")
    for name in (".", "pipe", "empty", "missing"):
        assert not agree(tmp_path / name)


def test_a_block_that_is_too_small_is_told_and_an_odd_address_is_fine(tmp_path):
    path = bytes(save_model(tmp_path / "m.onnx", props=metadata()))
    model = Model(struct_size=ctypes.sizeof(Model))
    assert LIBRARY.deal_model_read(path, None, ctypes.c_int64(0), ctypes.byref(model)) == 0
    size = model.block_bytes
    block = ctypes.create_string_buffer(size + 1)
    at = ctypes.c_void_p(ctypes.addressof(block) + 1)
    assert LIBRARY.deal_model_read(path, at, ctypes.c_int64(size - 1), ctypes.byref(model)) == 3
    assert f"{size}".encode() in LIBRARY.deal_last_error()
    assert LIBRARY.deal_model_read(path, at, ctypes.c_int64(size), ctypes.byref(model)) == 0
    assert model.head[0].channels == 5


def test_programs_of_an_older_header_get_the_fields_they_know(tmp_path):
    path = bytes(save_model(tmp_path / "m.onnx", props=metadata()))
    known = Model.output_name.offset
    model = Model(struct_size=known, classes=77)
    block = ctypes.create_string_buffer(65536)
    assert LIBRARY.deal_model_read(path, block, ctypes.c_int64(65536), ctypes.byref(model)) == 0
    assert (model.struct_size, model.input_name, model.classes) == (known, b"image", 77)
