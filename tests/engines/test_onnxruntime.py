import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deal.engines import open_engine
from deal.errors import EngineUnavailableError, ModelError
from tests.helpers.models import MEAN, STD, metadata, save_model, scenes

FOREIGN = {"classes": 5, "mean": list(MEAN), "std": list(STD)}
IMAGES = np.stack(scenes(3))


@pytest.fixture
def logits(tmp_path):
    """Logits of the network as deal exports it: what every disguise has to give too."""
    return open_engine(save_model(tmp_path / "own.onnx", props=metadata())).infer(IMAGES).logits


def opened(tmp_path, options, **model):
    return open_engine(save_model(tmp_path / "foreign.onnx", **model), options=options)


def expit(z):
    return 1 / (1 + np.exp(-z.astype(np.float64)))


def test_float_models_get_the_normalised_image(tmp_path, logits):
    out = opened(tmp_path, FOREIGN, floating=True).infer(IMAGES)
    np.testing.assert_allclose(out.logits, logits, rtol=0, atol=2e-5)


def test_bgr_models_get_their_channels_reversed(tmp_path, logits):
    integer = opened(tmp_path, {"classes": 5, "input_format": "bgr8"}, bgr=True)
    np.testing.assert_allclose(integer.infer(IMAGES).logits, logits, rtol=0, atol=2e-5)
    reverse = {"mean": list(MEAN[::-1]), "std": list(STD[::-1]), "input_format": "float-bgr"}
    floating = opened(tmp_path, FOREIGN | reverse, floating=True, bgr=True)
    np.testing.assert_allclose(floating.infer(IMAGES).logits, logits, rtol=0, atol=2e-5)


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
    np.testing.assert_allclose(out.logits, logits, rtol=0, atol=2e-5)
    np.testing.assert_allclose(out.difficulty[:, 0], logits.max(axis=1), rtol=0, atol=2e-5)
    np.testing.assert_allclose(out.embedding, logits.mean(axis=(2, 3)), rtol=0, atol=2e-5)
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
            r"float32 \[1, 128, 128\], not float32 or float16 \[N,C,h,w\]: argmax is baked in",
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


def test_a_missing_runtime_names_the_extra_to_install(tmp_path, monkeypatch):
    path = save_model(tmp_path / "m.onnx", props=metadata())
    monkeypatch.delitem(sys.modules, "deal.engines.onnxruntime", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineUnavailableError, match=r"pip install 'deal-score\[ort\]'"):
        open_engine(path)


def test_a_missing_pytorch_names_the_extra_to_install(tmp_path, monkeypatch):
    for name in ("deal.engines.torch", "deal.engines.torch_cuda"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineUnavailableError, match=r"pip install 'deal-score\[train\]'"):
        open_engine(tmp_path / "c.pt", "torch")
