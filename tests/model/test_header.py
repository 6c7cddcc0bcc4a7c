import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from deal.errors import ModelError
from deal.model.header import TensorInfo, read_header
from tests.helpers.models import metadata, save_model


def with_external_weights(folder, location="weights.bin"):
    """A model of ``folder`` whose one tensor lies in ``location``, which is written too."""
    path = save_model(folder / "model.onnx", props=metadata())
    model = onnx.load(path)
    (folder / location).parent.mkdir(exist_ok=True)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    if location != "weights.bin":
        (folder / "weights.bin").rename(folder / location)
        point_to(path, location)
    return path


def point_to(path, location):
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = str(location)
    path.write_bytes(model.SerializeToString())


def test_header_agrees_with_the_onnx_package(tmp_path):
    path = save_model(
        tmp_path / "m.onnx", floating=True, half=True, difficulty=True, size=(32, 48), batch=2
    )
    header = read_header(path)
    assert header.inputs == (TensorInfo("pixel_values", "float16", (2, 3, 32, 48)),)
    assert header.outputs == (
        TensorInfo("logits", "float16", (2, 5, None, None)),
        TensorInfo("difficulty", "float32", (2, 1, None, None)),
    )
    assert header.metadata == {}
    assert header.external == ()


def test_metadata_is_read_whatever_its_characters(tmp_path):
    path = save_model(tmp_path / "m.onnx", props={"classes": ["Straße", "道路"]})
    model = onnx.load(path)
    expected = {entry.key: entry.value for entry in model.metadata_props}
    assert read_header(path).metadata == expected


def test_initializers_listed_as_inputs_are_no_inputs(tmp_path):
    path = save_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, [5]))
    onnx.save(model, path)
    assert [info.name for info in read_header(path).inputs] == ["image"]


def test_external_weights_beside_the_model_are_listed(tmp_path):
    assert read_header(with_external_weights(tmp_path)).external == ("weights.bin",)
    nested = with_external_weights(tmp_path, "deep/weights.bin")
    assert read_header(nested).external == ("deep/weights.bin",)


def test_external_tensors_are_found_in_constants_and_bodies(tmp_path):
    def external(name, location):
        tensor = numpy_helper.from_array(np.ones(2, np.float32), name)
        onnx.external_data_helper.set_external_data(tensor, location)
        return tensor

    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=external("c", "body.bin"))],
        "body",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [2])],
    )
    nodes = [
        helper.make_node("Constant", [], ["k"], value=external("k", "constant.bin")),
        helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])]
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    model = helper.make_model(helper.make_graph(nodes, "g", [flag], outputs))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    for name in ("body.bin", "constant.bin"):
        (tmp_path / name).write_bytes(bytes(8))
    assert read_header(tmp_path / "m.onnx").external == ("body.bin", "constant.bin")


@pytest.mark.parametrize("how", ["parent", "absolute", "symlink", "linked folder"])
def test_external_weights_outside_the_folder_are_refused(tmp_path, how):
    folder = tmp_path / "model"
    folder.mkdir()
    path = with_external_weights(folder)
    outside = tmp_path / "weights.bin"
    (folder / "weights.bin").rename(outside)
    if how == "parent":
        point_to(path, "../weights.bin")
    elif how == "absolute":
        point_to(path, outside)
    elif how == "symlink":
        (folder / "weights.bin").symlink_to(outside)
    else:
        (folder / "link").symlink_to(tmp_path)
        point_to(path, "link/weights.bin")
    with pytest.raises(ModelError, match="outside its folder"):
        read_header(path)


def test_missing_external_weights_are_named(tmp_path):
    path = with_external_weights(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"'weights\.bin' are missing"):
        read_header(path)


@pytest.mark.parametrize("content", [b"", b"P6 not a model", b"PK\x03\x04" + bytes(60)])
def test_other_files_are_no_models(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX file"):
        read_header(path)


def test_missing_file_and_folder_are_one_clear_line(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        read_header(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="Is a directory"):
        read_header(tmp_path)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_truncated_or_damaged_models_never_escape_as_other_errors(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(save_model(folder / "m.onnx", props=metadata()).read_bytes())
    length = data.draw(st.integers(0, len(content)), label="length")
    damaged = content[:length]
    for _ in range(data.draw(st.integers(0, 4), label="flips") if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    (folder / "m.onnx").write_bytes(damaged)
    try:
        header = read_header(folder / "m.onnx")
    except ModelError:
        return
    assert all(isinstance(info, TensorInfo) for info in (*header.inputs, *header.outputs))
