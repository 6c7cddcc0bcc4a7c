import os

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from deal.engines.onnxruntime import open_session
from deal.errors import ModelError
from deal.model.header import TensorInfo, parse_header, read_header
from tests.helpers.models import metadata, save_model
from tests.torture import onnx_header


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


def field(number, content, *, tag_bits=0, length=None):
    """A length-delimited field as protocol buffers write it, or as no writer does."""
    parts = onnx_header._varint(number << 3 | 2 | tag_bits)
    return parts + onnx_header._varint(len(content) if length is None else length) + content


def model_bytes(tensor_field):
    """A model whose one initializer has this field beside its name."""
    graph = field(5, field(8, b"w") + tensor_field)
    return field(7, graph)


LOCATION = field(1, b"location") + field(2, b"../secret.bin")


def test_a_tag_beyond_32_bits_does_not_hide_weights_outside_the_folder():
    # protobuf drops the bits above: the reason why this is no number for us to read
    hidden = model_bytes(field(13, LOCATION, tag_bits=1 << 32))
    assert parse_header(model_bytes(field(13, LOCATION))).external == ("../secret.bin",)
    with pytest.raises(ValueError, match="no tag"):
        parse_header(hidden)


@pytest.mark.parametrize(
    "content",
    [
        model_bytes(onnx_header._varint(13 << 3 | 2, 2) + b"\x00"),  # a tag longer than needed
        model_bytes(onnx_header._varint(13 << 3 | 3)),  # a group
        model_bytes(onnx_header._varint(13 << 3) + b"\x01"),  # a number where messages belong
        model_bytes(onnx_header._varint(13 << 3 | 5) + bytes(4)),
        model_bytes(field(13, b"", length=2**31)),
        model_bytes(b"\x02\x00"),  # field 0
        model_bytes(b"\x08" + b"\xff" * 10 + b"\x01"),  # a number of eleven bytes
        model_bytes(b"\x08" + b"\xff" * 9 + b"\x02"),  # and one of 65 bits
        model_bytes(field(13, field(1, b"offset") + field(1, b"location") + field(2, b"x"))),
        model_bytes(b"") + model_bytes(b""),  # two graphs, which protobuf merges
        b"\x12\x07\x08\x08ORTM!" + model_bytes(b""),  # another format by ONNX Runtime's mark
    ],
)
def test_what_protobuf_may_read_otherwise_is_no_model(content):
    with pytest.raises(ValueError, match=r"."):
        parse_header(content)


def test_lengths_longer_than_needed_are_read_as_protobuf_reads_them():
    content = field(7, field(5, field(8, b"w")))
    longer = content[:1] + bytes([content[1] | 0x80, 0x80, 0]) + content[2:]
    assert onnx.ModelProto.FromString(longer) == onnx.ModelProto.FromString(content)
    assert parse_header(longer) == parse_header(content)


@pytest.mark.parametrize("kind", ["number", "nothing", "name"])
def test_dims_of_zero_below_or_nothing_are_dynamic(tmp_path, kind):
    path = save_model(tmp_path / "m.onnx", floating=True, size=(32, 48), batch=2)
    model = onnx.load(path)
    for value, axis in ((-1, 0), (0, 2), (-1, 3)):
        dim = model.graph.input[0].type.tensor_type.shape.dim[axis]
        dim.Clear()
        if kind == "number":
            dim.dim_value = value
        elif kind == "name":
            dim.dim_param = "?"
    path.write_bytes(model.SerializeToString())
    assert read_header(path).inputs[0].shape == (None, 3, None, None)


def test_weights_with_a_second_name_are_refused(tmp_path):
    path = with_external_weights(tmp_path)
    os.link(tmp_path / "weights.bin", tmp_path / "other.bin")
    with pytest.raises(ModelError, match="hard links"):
        read_header(path)


def test_a_link_within_the_folder_is_followed(tmp_path):
    path = with_external_weights(tmp_path)
    (tmp_path / "weights.bin").rename(tmp_path / "real.bin")
    (tmp_path / "weights.bin").symlink_to("real.bin")
    assert read_header(path).external == ("weights.bin",)


def hub_cache(folder):
    """A model as the Hugging Face cache keeps it: links of a snapshot into blobs."""
    model = with_external_weights(folder)
    blobs, snapshot = folder / "models--a--b" / "blobs", folder / "models--a--b/snapshots/f00d"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in (model, folder / "weights.bin"):
        file.rename(blobs / f"sha-{file.name}")
        (snapshot / file.name).symlink_to(f"../../blobs/sha-{file.name}")
    return snapshot / model.name


def test_a_model_of_the_hugging_face_cache_runs(tmp_path):
    path = hub_cache(tmp_path)
    assert read_header(path).external == ("weights.bin",)
    open_session(path, 1)


def test_a_link_out_of_the_hugging_face_cache_is_refused(tmp_path):
    path = hub_cache(tmp_path)
    (tmp_path / "secret.bin").write_bytes(bytes(4000))
    path.with_name("weights.bin").unlink()
    path.with_name("weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ModelError, match="outside its folder"):
        read_header(path)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("w\0.bin", "not a file name"),
        ("", "not a file name"),
        ("*/_ORT_MEM_ADDR_/*", "not a file name"),
        ("C:\\secret.bin", "outside its folder"),
        ("x" * 5000, "cannot be read"),
    ],
)
def test_odd_locations_are_one_clear_line(tmp_path, location, says):
    path = with_external_weights(tmp_path)
    point_to(path, location)
    with pytest.raises(ModelError, match=says) as error:
        read_header(path)
    assert len(str(error.value)) < 1000


def test_an_absolute_location_is_refused_even_within_the_folder(tmp_path):
    path = with_external_weights(tmp_path)
    point_to(path, tmp_path / "weights.bin")
    with pytest.raises(ModelError, match="outside its folder"):
        read_header(path)


def test_a_pipe_is_no_model_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="not a regular file"):
        read_header(tmp_path / "m.onnx")


def test_mutated_files_are_read_as_protobuf_reads_them_or_not_at_all():
    counts, first = onnx_header.campaign(4000, seed=0)
    assert first is None, first.hex()
    assert counts["alike"] > 500
