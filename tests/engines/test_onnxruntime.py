import os
import re
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deal._install import pip_install
from deal.engines import open_engine
from deal.errors import EngineUnavailableError, ModelError
from tests.helpers.models import MEAN, STD, metadata, redressed, save_model, scenes

FOREIGN = {"classes": 5, "mean": list(MEAN), "std": list(STD)}
IMAGES = np.stack(scenes(3))


@pytest.fixture
def logits(tmp_path):
    """Logits of the network as deal exports it: what every disguise has to give too."""
    return open_engine(save_model(tmp_path / "own.onnx", props=metadata())).infer(IMAGES).logits


@pytest.fixture
def strange(tmp_path):
    """A folder whose name is not UTF-8."""
    folder = tmp_path / os.fsdecode(b"m\xff")
    folder.mkdir()
    return folder


def opened(tmp_path, options, **model):
    return open_engine(save_model(tmp_path / "foreign.onnx", **model), options=options)


def expit(z):
    return 1 / (1 + np.exp(-z.astype(np.float64)))


def test_float_models_get_the_normalised_image(tmp_path, logits):
    out = opened(tmp_path, FOREIGN, floating=True).infer(IMAGES)
    np.testing.assert_allclose(out.logits, logits, rtol=0, atol=1e-4)


def test_bgr_models_get_their_channels_reversed(tmp_path, logits):
    integer = opened(tmp_path, {"classes": 5, "input_format": "bgr8"}, bgr=True)
    np.testing.assert_allclose(integer.infer(IMAGES).logits, logits, rtol=0, atol=1e-4)
    reverse = {"mean": list(MEAN[::-1]), "std": list(STD[::-1]), "input_format": "float-bgr"}
    floating = opened(tmp_path, FOREIGN | reverse, floating=True, bgr=True)
    np.testing.assert_allclose(floating.infer(IMAGES).logits, logits, rtol=0, atol=1e-4)


def test_half_precision_passes_through(tmp_path, logits):
    out = opened(tmp_path, FOREIGN, floating=True, half=True).infer(IMAGES)
    assert out.logits.dtype == np.float16
    np.testing.assert_allclose(out.logits, logits, rtol=0, atol=0.05)


def test_probabilities_come_as_their_logarithms(tmp_path, logits):
    options = {"classes": 5, "output_kind": "probabilities"}
    z = opened(tmp_path, options, kind="softmax").infer(IMAGES).logits
    shift = logits - logits.max(axis=1, keepdims=True)
    expected = shift - np.log(np.exp(shift).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(z, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("half", "lowest"), [(False, -126), (True, -24)])
def test_probabilities_that_vanish_are_floored(tmp_path, half, lowest):
    options = FOREIGN | {"output_kind": "probabilities"}
    engine = opened(tmp_path, options, floating=True, half=half, kind="softmax", gain=50)
    z = engine.infer(IMAGES).logits
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.min(), lowest * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(z.max(), 0, atol=1e-6)


@pytest.mark.parametrize(("half", "highest"), [(False, 24), (True, 11)])
def test_a_sigmoid_that_saturates_stays_finite(tmp_path, half, highest):
    options = FOREIGN | {"output_kind": "probabilities", "classes": 2, "activation": "sigmoid"}
    model = {"floating": True, "half": half, "kind": "sigmoid", "gain": 50, "num_classes": 1}
    z = opened(tmp_path, options, **model).infer(IMAGES).logits[:, 1]
    np.testing.assert_allclose(z.max(), highest * np.log(2), rtol=1e-5)
    assert -88 < z.min() < -16


def test_a_sigmoid_of_one_channel_becomes_two_logits(tmp_path):
    options = {"classes": ["other", "road"], "activation": "sigmoid"}
    z = opened(tmp_path, options, num_classes=1).infer(IMAGES).logits
    assert z.shape == (3, 2, 12, 16)
    assert not z[:, 0].any()
    baked = opened(
        tmp_path, options | {"output_kind": "probabilities"}, num_classes=1, kind="sigmoid"
    )
    again = baked.infer(IMAGES).logits
    # The network's own float32 sigmoid is only so precise near 1.
    np.testing.assert_allclose(expit(again), expit(z), rtol=0, atol=3e-7)
    assert np.isfinite(again).all()


def test_a_fixed_batch_is_filled_and_cut(tmp_path, logits):
    engine = opened(tmp_path, {"classes": 5}, batch=2, difficulty=True, embedding=True)
    out = engine.infer(IMAGES)
    np.testing.assert_allclose(out.logits, logits, rtol=0, atol=1e-4)
    np.testing.assert_allclose(out.difficulty[:, 0], logits.max(axis=1), rtol=0, atol=1e-4)
    np.testing.assert_allclose(out.embedding, logits.mean(axis=(2, 3)), rtol=0, atol=1e-4)
    assert engine.embedding_size == 5


def test_a_baked_in_softmax_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ModelError, match=r"softmax is baked in.*output_kind to probabilities"):
        opened(tmp_path, {"classes": 5}, kind="softmax")
    with pytest.raises(ModelError, match="softmax is baked in"):
        opened(tmp_path, FOREIGN, kind="softmax", floating=True, half=True)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_logits_declared_as_probabilities_are_refused(tmp_path, activation):
    options = {"classes": 2, "output_kind": "probabilities", "activation": activation}
    channels = 1 if activation == "sigmoid" else 2
    with pytest.raises(ModelError, match="set output_kind to logits"):
        opened(tmp_path, options, num_classes=channels)


def save_lying(path, nodes, declared, extra=()):
    """A graph whose outputs turn out other than declared, as some exporters write them."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, declared), *extra]
    graph = helper.make_graph(nodes, "g", [image], outputs)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


CAST = helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT)


@pytest.mark.parametrize(
    ("nodes", "declared", "says"),
    [
        (
            [CAST, helper.make_node("ReduceMax", ["f"], ["y"], axes=[3], keepdims=0)],
            None,
            r"float32 \[1, 128, 128\], not floating \[N,C,h,w\]: argmax is baked in",
        ),
        (
            [CAST, helper.make_node("Transpose", ["f"], ["y"], perm=[0, 3, 1, 2])],
            ["N", "C", "H", "W"],
            "3 channels but classes names 5",
        ),
    ],
)
def test_shapes_the_file_does_not_tell_are_checked_by_running(tmp_path, nodes, declared, says):
    with pytest.raises(ModelError, match=says):
        open_engine(save_lying(tmp_path / "m.onnx", nodes, declared), options={"classes": 5})


def test_difficulty_of_several_channels_is_refused(tmp_path):
    nodes = [
        CAST,
        helper.make_node("Transpose", ["f"], ["y"], perm=[0, 3, 1, 2]),
        helper.make_node("Neg", ["y"], ["difficulty"]),
    ]
    extra = helper.make_tensor_value_info("difficulty", TensorProto.FLOAT, ["N", "C", "H", "W"])
    path = save_lying(tmp_path / "m.onnx", nodes, ["N", 3, "H", "W"], [extra])
    with pytest.raises(ModelError, match="'difficulty' has 3 channels; export one"):
        open_engine(path, options={"classes": 3})


def test_a_network_that_does_not_run_says_so_quietly(tmp_path, capfd):
    nodes = [
        CAST,
        helper.make_node("Constant", [], ["fives"], value_ints=[5, 5]),
        helper.make_node("Split", ["f", "fives"], ["a", "b"], axis=1),
        helper.make_node("Transpose", ["a"], ["y"], perm=[0, 3, 1, 2]),
    ]
    path = save_lying(tmp_path / "m.onnx", nodes, ["N", 3, "H", "W"])
    with pytest.raises(ModelError, match=r"does not run on a batch \[1, 128, 128, 3\]: set"):
        open_engine(path, options={"classes": 3})
    assert open_engine(path, options={"classes": 3, "input_size": [10, 12]}).spec.num_classes == 3
    assert capfd.readouterr() == ("", "")


def test_a_graph_the_runtime_does_not_know_says_so_quietly(tmp_path, capfd):
    nodes = [helper.make_node("Argument", ["image"], ["y"], domain="elsewhere")]
    path = save_lying(tmp_path / "m.onnx", nodes, ["N", 5, "H", "W"])
    with pytest.raises(ModelError, match="cannot be loaded by ONNX Runtime") as error:
        open_engine(path, options={"classes": 5})
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("dress", "options", "tolerance"),
    [
        ({"input_nhwc": True}, {}, 2e-5),
        ({"output_nhwc": True}, {"output_layout": "nhwc"}, 2e-5),
        ({"input_nhwc": True, "output_nhwc": True}, {"output_layout": "nhwc"}, 2e-5),
        ({"output_type": TensorProto.DOUBLE}, {}, 2e-5),
        (
            {"output_type": TensorProto.FLOAT16, "output_nhwc": True},
            {"output_layout": "nhwc"},
            0.02,
        ),
        ({"output_type": TensorProto.BFLOAT16}, {}, 0.1),
    ],
)
def test_layouts_and_types_of_other_frameworks_are_taken(
    tmp_path, logits, dress, options, tolerance
):
    path = redressed(save_model(tmp_path / "foreign.onnx", floating=True), **dress)
    engine = open_engine(path, options=FOREIGN | options)
    np.testing.assert_allclose(engine.infer(IMAGES).logits, logits, rtol=0, atol=tolerance)
    assert engine.doubts == ()


def test_bfloat16_comes_as_the_same_numbers(tmp_path, logits):
    path = save_model(tmp_path / "foreign.onnx", props=metadata())
    z = open_engine(redressed(path, output_type=TensorProto.BFLOAT16)).infer(IMAGES).logits
    assert z.dtype == np.float32
    bits = z.view(np.uint32)
    assert not (bits & 0xFFFF).any()
    below, above = (bits - 0x10000).view(np.float32), (bits + 0x10000).view(np.float32)
    assert (np.minimum(below, above) <= logits).all()
    assert (logits <= np.maximum(below, above)).all()


def test_channels_last_of_unknown_sizes_name_the_option(tmp_path):
    path = redressed(save_model(tmp_path / "foreign.onnx"), output_nhwc=True)
    model = onnx.load(path)
    for dim in model.graph.output[0].type.tensor_type.shape.dim:
        dim.Clear()
    onnx.save(model, path)
    with pytest.raises(ModelError, match="set output_layout to nhwc"):
        open_engine(path, options={"classes": 5})


def test_uint8_with_channels_first_is_taken(tmp_path, logits):
    path = save_model(tmp_path / "own.onnx", props=metadata())
    model = onnx.load(path)
    dims = ["N", 3, "H", "W"]
    model.graph.node.insert(
        0, helper.make_node("Transpose", ["planes"], ["image"], perm=[0, 2, 3, 1])
    )
    model.graph.input.pop()
    model.graph.input.append(helper.make_tensor_value_info("planes", TensorProto.UINT8, dims))
    onnx.save(model, path)
    np.testing.assert_array_equal(open_engine(path).infer(IMAGES).logits, logits)


@pytest.mark.parametrize("size", [None, (48, 64)])
def test_a_traced_batch_of_one_is_run_image_by_image(tmp_path, logits, size):
    path = save_model(tmp_path / "m.onnx", batch=1, size=size, props=metadata())
    np.testing.assert_allclose(open_engine(path).infer(IMAGES).logits, logits, rtol=0, atol=2e-5)


def test_a_batch_traced_within_the_graph_can_be_stated(tmp_path, logits):
    path = save_model(tmp_path / "m.onnx", size=(48, 64), props=metadata())
    model = onnx.load(path)
    nodes = list(model.graph.node)
    nodes[-1].output[0] = "inner"
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[1, 5, 12, 16])
    nodes += [shape, helper.make_node("Reshape", ["inner", "shape"], ["logits"])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    with pytest.raises(ModelError, match="does not run on a batch"):
        open_engine(path).infer(IMAGES)
    engine = open_engine(path, options={"batch": 1})
    np.testing.assert_allclose(engine.infer(IMAGES).logits, logits, rtol=0, atol=2e-5)


BINARY = {"classes": ["other", "road"], "activation": "sigmoid"}


def test_a_baked_in_sigmoid_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ModelError, match="baked in: set output_kind to probabilities"):
        opened(tmp_path, BINARY, num_classes=1, kind="sigmoid")
    with pytest.raises(ModelError, match="a sigmoid for each class seems to be baked in"):
        opened(tmp_path, {"classes": 5}, kind="sigmoid")
    with pytest.raises(ModelError, match="a sigmoid for each class, which is not supported"):
        opened(tmp_path, {"classes": 5, "output_kind": "probabilities"}, kind="sigmoid")


def test_stated_logits_within_0_and_1_are_a_doubt(tmp_path):
    engine = opened(tmp_path, BINARY | {"output_kind": "logits"}, num_classes=1, kind="sigmoid")
    (doubt,) = engine.doubts
    assert "is a sigmoid baked in?" in doubt


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_a_floating_mask_of_0_and_1_is_refused(tmp_path, kind):
    path = save_model(tmp_path / "m.onnx", num_classes=1)
    model = onnx.load(path)
    nodes = list(model.graph.node)
    nodes[-1].output[0] = "inner"
    nodes += [
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("Greater", ["inner", "zero"], ["above"]),
        helper.make_node("Cast", ["above"], ["logits"], to=TensorProto.FLOAT),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    with pytest.raises(ModelError, match="has only the values 0 and 1: argmax or a threshold"):
        open_engine(path, options=BINARY | {"output_kind": kind})


@pytest.mark.parametrize("noise", [1.0, 0.05])
def test_a_network_that_draws_at_random_is_refused(tmp_path, noise):
    path = redressed(save_model(tmp_path / "m.onnx", props=metadata()), noise=noise)
    with pytest.raises(ModelError, match=r"like dropout that was exported in training mode.*eval"):
        open_engine(path)


def test_a_network_that_does_not_repeat_its_last_digits_is_doubtful(tmp_path):
    path = redressed(save_model(tmp_path / "m.onnx", props=metadata()), noise=1e-5)
    (doubt,) = open_engine(path).doubts
    assert "differs in its last digits" in doubt


def test_a_model_in_a_folder_whose_name_is_not_utf_8(tmp_path, strange, logits):
    (tmp_path / "own.onnx").rename(strange / "m.onnx")
    np.testing.assert_array_equal(open_engine(strange / "m.onnx").infer(IMAGES).logits, logits)


def test_weights_beside_such_a_model_are_refused(tmp_path, strange):
    model = onnx.load(save_model(tmp_path / "m.onnx", props=metadata()))
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="w", size_threshold=0
    )
    for name in ("m.onnx", "w"):
        (tmp_path / name).rename(strange / name)
    with pytest.raises(ModelError, match=r"UTF-8: rename the folder"):
        open_engine(strange / "m.onnx")


def test_classes_that_are_all_equally_likely_are_doubtful(tmp_path):
    (doubt,) = opened(tmp_path, {"classes": 5}, gain=1e-5, bias=[0.0] * 5).doubts
    assert "nearly equally likely everywhere" in doubt


def test_an_output_that_does_not_see_the_image_is_doubtful(tmp_path):
    (doubt,) = opened(tmp_path, {"classes": 5}, gain=0, bias=[1, 0, 0, 0, 3]).doubts
    assert "the same at every pixel" in doubt


def test_a_sound_network_leaves_no_doubt(tmp_path):
    assert open_engine(save_model(tmp_path / "m.onnx", props=metadata())).doubts == ()


def test_large_images_are_normalised_like_small_ones(tmp_path):
    engine = opened(tmp_path, FOREIGN, floating=True)
    image = np.random.default_rng(3).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    (found,) = engine.feeds(image[None]).values()
    expected = (image / 255.0 - MEAN) / STD
    np.testing.assert_array_equal(found[0], expected.astype(np.float32).transpose(2, 0, 1))


def test_a_missing_runtime_names_the_extra_to_install(tmp_path, monkeypatch):
    path = save_model(tmp_path / "m.onnx", props=metadata())
    monkeypatch.delitem(sys.modules, "deal.engines.onnxruntime", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineUnavailableError, match=re.escape(pip_install("ort"))):
        open_engine(path)


def test_a_missing_pytorch_names_the_extra_to_install(tmp_path, monkeypatch):
    for name in ("deal.engines.torch", "deal.engines.torch_cuda"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineUnavailableError, match=re.escape(pip_install("train"))):
        open_engine(tmp_path / "c.pt", "torch")
