"""Conversion to another precision: the int8 graph, the gate, the search, the command."""

import json
import os

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper
from PIL import Image

import deal.export.fidelity
from deal.cli.export import command
from deal.engines import open_engine
from deal.engines.onnxruntime import open_session
from deal.errors import ModelError, OutputError, UsageError
from deal.export.fidelity import FidelityGate, ScoreFidelity
from deal.export.graph import Layer, fold_normalisation, layers_of, simplified
from deal.export.half import emulated, halved
from deal.export.images import divided
from deal.export.precision import convert
from deal.export.quantize import OPERATORS, activation_ranges, bias_shifts, quantised, with_biases
from deal.machine.processor import has_int8_dot_product
from deal.model.spec import read_spec
from tests.helpers.models import metadata, save_model, scenes

SIZE = (24, 32)
PROPS = metadata(precision="fp32", provenance={"data": "none"})


def save_pool(folder, images):
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03}.png", compress_level=0)
    return folder


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    """Images to calibrate on, and others to judge on."""
    root = tmp_path_factory.mktemp("pools")
    images = scenes(316, SIZE, seed=3)
    return save_pool(root / "a", images[:16]), save_pool(root / "b", images[16:])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "fp32.onnx", props=PROPS, gain=0.05)


@pytest.fixture(scope="module")
def converted(model, pools):
    path = model.with_name("int8.onnx")
    images, held_out = map(str, pools)
    return path, convert(model, path, "int8", images=images, held_out=held_out, reduce_range="on")


def logits(model_or_path, images, tmp_path):
    path = model_or_path
    if isinstance(path, onnx.ModelProto):
        path = tmp_path / "any.onnx"
        helper.set_model_props(model_or_path, {"deal": json.dumps(PROPS)})
        onnx.save(model_or_path, path)
    return open_engine(path, "ort", "cpu", threads=1).infer(images).logits


@pytest.mark.parametrize("shape", [(2, 24, 32), (1, 37, 41)])
def test_the_folded_normalisation_computes_the_same_also_in_the_padding(model, tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    folded = simplified(model)
    assert fold_normalisation(folded, "image")
    operators = [node.op_type for node in folded.graph.node]
    assert operators[:4] == ["Transpose", "Pad", "DequantizeLinear", "Conv"]
    expected = logits(model, images, tmp_path)
    np.testing.assert_allclose(logits(folded, images, tmp_path), expected, rtol=0, atol=1e-4)


def test_a_graph_that_uses_the_normalised_image_twice_is_left_alone(tmp_path):
    path = save_model(tmp_path / "twice.onnx", props=PROPS, nan_above=200)
    graph = simplified(path)
    before = graph.SerializeToString()
    assert not fold_normalisation(graph, "image")
    assert graph.SerializeToString() == before


def test_the_int8_model_says_what_it_is_and_how_it_was_made(model, converted):
    spec = read_spec(converted[0])
    source = read_spec(model)
    assert (spec.precision, spec.classes) == ("int8", source.classes)
    assert spec.difficulty_head == source.difficulty_head
    assert spec.provenance["data"] == "none"
    facts = spec.provenance["conversion"]
    assert facts["from_sha256"] == source.digest()
    assert facts["reduce_range"] is True
    assert facts["calibration"] == "16 images of the pool"
    assert facts["held_out"] == "300 images of the pool"
    assert facts["fidelity"] == json.loads(json.dumps(converted[1].fidelity.to_dict()))
    assert str(model.parent).encode() not in converted[0].read_bytes()


def test_the_int8_model_keeps_to_the_logits(model, converted, tmp_path):
    images = np.stack(scenes(4, SIZE, seed=9))
    expected = logits(model, images, tmp_path)
    difference = logits(converted[0], images, tmp_path) - expected
    assert 0 < np.sqrt(np.mean(difference**2)) < 0.03 * expected.std()
    assert converted[1].fidelity.passed
    assert list(converted[1].fidelity.scores) == ["ds", "ds:entropy", "de", "entropy"]


@pytest.mark.slow
def test_the_same_model_and_images_give_the_same_bytes(model, converted, pools, tmp_path):
    images, held_out = map(str, pools)
    again = tmp_path / "again.onnx"
    convert(model, again, "int8", images=images, held_out=held_out, reduce_range="on")
    assert again.read_bytes() == converted[0].read_bytes()


def two_convolutions(path):
    """A depthwise and a dense convolution over a float image, weights of one sign in each."""
    rng = np.random.default_rng(5)
    tensors = {
        "w1": rng.uniform(0, 1, (3, 1, 3, 3)).astype(np.float32),
        "w2": rng.uniform(0, 1, (5, 3, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="depthwise", group=3, pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["logits"], name="dense"),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, "H", "W"])
    y = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 5, "H", "W"])
    constants = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "two", [x], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def feeds(count):
    rng = np.random.default_rng(1)
    return [{"x": rng.uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


def run(model, feed):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["logits"], feed)[0]


def test_an_activation_belongs_to_the_layer_before_it(tmp_path):
    graph = simplified(two_convolutions(tmp_path / "two.onnx"))
    assert layers_of(graph, OPERATORS) == [Layer(("depthwise", "relu")), Layer(("dense",))]


def test_reduced_range_spares_depthwise_weights(tmp_path):
    graph = simplified(two_convolutions(tmp_path / "two.onnx"))
    ranges = activation_ranges(graph, feeds(3))
    largest = {}
    for reduce_range in (False, True):
        made = quantised(graph, ranges, reduce_range=reduce_range)
        for tensor in made.graph.initializer:
            if tensor.name in ("w1_quantized", "w2_quantized"):
                values = numpy_helper.to_array(tensor)
                assert values.dtype == np.int8
                largest[tensor.name[:2], reduce_range] = int(np.abs(values.astype(int)).max())
    assert largest == {("w1", False): 127, ("w2", False): 127, ("w1", True): 127, ("w2", True): 64}


def test_corrected_biases_take_the_shift_out_of_the_channels(tmp_path):
    graph = simplified(two_convolutions(tmp_path / "two.onnx"))
    images = feeds(8)
    ranges = activation_ranges(graph, images)
    plain = quantised(graph, ranges, reduce_range=True, only=[Layer(("dense",))])
    shifts = bias_shifts(graph, plain, images)
    assert list(shifts) == ["dense"]
    corrected = quantised(
        with_biases(graph, shifts), ranges, reduce_range=True, only=[Layer(("dense",))]
    )
    biases = [
        np.abs(np.mean([run(made, feed) - run(graph, feed) for feed in images], axis=(0, 1, 3, 4)))
        for made in (plain, corrected)
    ]
    assert biases[1].max() < 0.5 * biases[0].max()


def test_a_layer_kept_float_is_computed_in_float(tmp_path):
    graph = simplified(two_convolutions(tmp_path / "two.onnx"))
    ranges = activation_ranges(graph, feeds(3))
    layers = layers_of(graph, OPERATORS)
    made = quantised(graph, ranges, reduce_range=False, keep_float=layers)
    expected = run(graph, feeds(1)[0])
    np.testing.assert_allclose(run(made, feeds(1)[0]), expected, rtol=0, atol=1e-5)
    int8 = quantised(graph, ranges, reduce_range=False)
    assert np.abs(run(int8, feeds(1)[0]) - expected).max() > 1e-3


def test_a_layer_kept_float_between_int8_layers_is_computed_in_float(tmp_path):
    model = onnx.load(two_convolutions(tmp_path / "two.onnx"))
    graph, rng = model.graph, np.random.default_rng(6)
    scales = np.logspace(-3, 0, 5).reshape(5, 1, 1, 1)  # no 8 bits serve all channels at once
    tensors = {"w2": scales * rng.uniform(0, 1, (5, 3, 1, 1)), "w3": 1 / scales.reshape(1, 5, 1, 1)}
    del graph.initializer[1:]
    graph.initializer.extend(
        numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()
    )
    graph.node[-1].output[0] = "c"
    graph.node.append(helper.make_node("Conv", ["c", "w3"], ["logits"], name="last"))
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    onnx.save(model, tmp_path / "three.onnx")
    float32 = simplified(tmp_path / "three.onnx")
    made = quantised(
        float32,
        activation_ranges(float32, feeds(3)),
        reduce_range=False,
        keep_float=[Layer(("dense",))],
    )
    path = tmp_path / "int8.onnx"
    onnx.save(made, path)
    as_written = onnxruntime.SessionOptions()
    as_written.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    expected = onnxruntime.InferenceSession(path, as_written, providers=["CPUExecutionProvider"])
    session = open_session(path, 1)
    for feed in feeds(3):
        logits = session.run(None, feed)[0]
        np.testing.assert_allclose(logits, expected.run(None, feed)[0], rtol=1e-2)
        assert run(made, feed).tobytes() == logits.tobytes()  # in a plain session, too


@pytest.mark.slow
def test_a_model_that_selects_others_is_not_written(model, pools, tmp_path, monkeypatch):
    monkeypatch.setitem(deal.export.fidelity.LIMITS, "spearman", 1.1)
    images, held_out = map(str, pools)
    with pytest.raises(ModelError, match="logit error alone"):
        convert(model, tmp_path / "m.onnx", "int8", images=images, held_out=held_out)
    assert list(tmp_path.iterdir()) == []


def test_the_gate_sees_a_changed_ranking(model, tmp_path):
    class Shuffled:
        """Answers for another image than the one it was asked about."""

        def __init__(self, engine):
            self.spec = engine.spec
            self.engine = engine
            self.last = None

        def infer(self, images):
            last, self.last = self.last, images
            return self.engine.infer(images if last is None else last)

    engine = open_engine(model, "ort", "cpu", threads=1)
    gate = FidelityGate(engine, scenes(300, SIZE))
    same = gate.judge(engine)
    assert same.passed
    assert all(score == ScoreFidelity(1, 1, 1) for score in same.scores.values())
    assert not gate.judge(Shuffled(engine)).passed


def test_images_are_never_both_calibrated_and_judged_on(pools, tmp_path):
    images, held_out = map(str, pools)
    with pytest.raises(UsageError, match="among the calibration images"):
        divided(held_out, held_out, SIZE)
    with pytest.raises(UsageError, match="has 16 images, too few"):
        divided(held_out, images, SIZE)
    ours, theirs = divided(held_out, None, SIZE)  # the rest of 300 is too few
    assert (str(ours), str(theirs)) == ("64 images of the pool", "300 synthetic scenes")
    ours, theirs = divided(str(pools[0].parent / "?" / "*.png"), None, SIZE)
    assert str(ours) == "64 images of the pool"


def test_without_images_scenes_of_other_seeds_judge():
    ours, theirs = divided(None, None, (32, 32))
    assert (str(ours), str(theirs)) == ("64 synthetic scenes", "300 synthetic scenes")
    assert not np.array_equal(ours[0], theirs[0])
    assert ours[0].shape == (32, 32, 3)


def test_what_is_int8_already_is_refused(converted, tmp_path):
    with pytest.raises(ModelError, match="is int8 already"):
        convert(converted[0], tmp_path / "m.onnx", "int8")


def test_a_model_is_not_written_under_the_name_of_a_side_car(model, tmp_path):
    with pytest.raises(UsageError, match=r"is the name of a side-car: end it in \.onnx"):
        convert(model, tmp_path / "new.json", "fp16")


def test_a_pipe_stays_where_a_model_would_be_written(model, tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(OutputError, match="it is a pipe or a device; name a file"):
        convert(model, tmp_path / "pipe.onnx", "fp16")
    assert (tmp_path / "pipe.onnx").is_fifo()


def test_precision_holds_a_model_to_what_it_records(model, converted, tmp_path):
    assert open_engine(converted[0], precision="int8", probe=False).spec.precision == "int8"
    with pytest.raises(ModelError, match=r"is int8, not fp32: .*deal export --precision fp32"):
        open_engine(converted[0], precision="fp32")
    silent = save_model(tmp_path / "silent.onnx", props=metadata())
    with pytest.raises(ModelError, match="model option precision=fp32"):
        open_engine(silent, precision="fp32")
    open_engine(silent, precision="fp32", options={"precision": "fp32"}, probe=False)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx2 avx512_vnni", True), ("fpu avx_vnni", True), ("fpu avx2 avx512f", False)],
)
def test_the_processor_is_asked_for_vnni(tmp_path, monkeypatch, flags, expected):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert has_int8_dot_product(tmp_path / "cpuinfo") is expected
    assert has_int8_dot_product(tmp_path / "none") is False
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert has_int8_dot_product(tmp_path / "none") is True


def test_eight_bit_weights_are_refused_where_they_would_overflow(tmp_path, monkeypatch):
    for reduce_range, name in ((False, "8"), (True, "7")):
        facts = {"conversion": {"reduce_range": reduce_range}}
        props = metadata(precision="int8", provenance=facts)
        save_model(tmp_path / f"{name}.onnx", props=props)
    monkeypatch.setattr("deal.engines.onnx_files.has_int8_dot_product", lambda: True)
    open_engine(tmp_path / "7.onnx", device="cpu", probe=False)
    open_engine(tmp_path / "8.onnx", device="cpu", probe=False)
    monkeypatch.setattr("deal.engines.onnx_files.has_int8_dot_product", lambda: False)
    open_engine(tmp_path / "7.onnx", device="cpu", probe=False)
    with pytest.raises(ModelError, match="convert it again with --reduce-range on"):
        open_engine(tmp_path / "8.onnx", device="cpu", probe=False)


def test_command_converts_onnx(model, pools, tmp_path):
    images, held_out = map(str, pools)
    path = tmp_path / "m.onnx"
    arguments = [str(model), "-o", str(path), "--images", images, "--held-out", held_out]
    result = CliRunner().invoke(command, [*arguments, "--precision", "int8"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("int8 against fp32 on 300 images of the pool:")
    assert lines[-1] == f"model: {path}"
    assert read_spec(path).precision == "int8"
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, UsageError)
    result = CliRunner().invoke(command, [*arguments, "--precision", "int4"])
    assert (result.exit_code, "'int4' is not one of" in result.output) == (2, True)
    with pytest.raises(UsageError, match="'int4' is unknown"):
        convert(model, path, "int4")


def types(path):
    return {tensor.data_type for tensor in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_models_are_judged_and_say_what_they_are(model, pools, tmp_path, precision):
    path = tmp_path / "half.onnx"
    conversion = convert(model, path, precision, held_out=str(pools[1]))
    assert conversion.fidelity.passed
    assert 0 < conversion.fidelity.logit_error < {"fp16": 1e-3, "bf16": 1e-2}[precision]
    spec = read_spec(path)
    assert (spec.precision, spec.input_dtype) == (precision, "uint8")
    half = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    assert half in types(path)
    graph = onnx.load(path).graph
    logits_type = graph.output[0].type.tensor_type.elem_type
    assert logits_type == (half if precision == "fp16" else onnx.TensorProto.FLOAT)


def test_float16_runs_and_gives_float16_logits(model, pools, tmp_path):
    path = tmp_path / "half.onnx"
    convert(model, path, "fp16", held_out=str(pools[1]))
    images = np.stack(scenes(2, (37, 41)))
    found = logits(path, images, tmp_path)
    assert found.dtype == np.float16
    expected = logits(model, images, tmp_path)
    assert np.abs(found - expected).max() < 3e-3 * np.abs(expected).max()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_emulation_rounds_what_half_rounds(tmp_path, precision):
    import ml_dtypes

    half = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}[precision]
    path = two_convolutions(tmp_path / "two.onnx")
    spec = read_spec(path, {"classes": 5, "mean": [0, 0, 0], "std": [1, 1, 1]})
    graph = simplified(path)
    made = run(emulated(halved(graph, spec, precision)), feeds(1)[0])
    constants = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}

    def rounded(values):
        return np.asarray(values).astype(half).astype(np.float64)

    x = np.pad(rounded(feeds(1)[0]["x"][0]), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    first = rounded(np.einsum("chwij,cij->chw", windows, rounded(constants["w1"][:, 0])))
    second = np.einsum("chw,oc->ohw", first, rounded(constants["w2"][:, :, 0, 0]))
    step = {"fp16": 2.0**-10, "bf16": 2.0**-7}[precision]
    np.testing.assert_allclose(made[0], second, rtol=step)
    assert np.mean(made[0] == rounded(second)) > 0.95
