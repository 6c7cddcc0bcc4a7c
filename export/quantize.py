"""Static quantisation to int8: int8 weights with a scale per channel, as QDQ pairs.

For processors activations are uint8 with zero points and all that has an int8 form is quantised.
For GPUs activations are int8 around zero, the only form that TensorRT takes, and there are pairs
only before what multiplies, where TensorRT fuses them:
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html

ONNX Runtime's quantizer places the pairs; what is done around it is bias correction. Rounding the
weights by δW shifts the mean of every output channel by the mean of δW * x. That mean is measured
on the calibration images and taken off the bias (Nagel et al., "Data-free quantization through
weight equalization and bias correction", ICCV 2019, section 4.2, its empirical form on the inputs
of the float32 network).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from deal.export.files import is_large, save
from deal.export.float_layers import kept_in_float
from deal.export.graph import Layer, constants_of, drop_unused, session_of
from deal.machine.working import scratch_folder

__all__ = [
    "GPU_OPERATORS",
    "OPERATORS",
    "activation_ranges",
    "bias_shifts",
    "quantised",
    "with_biases",
]

OPERATORS = frozenset(QDQRegistry) | frozenset(QLinearOpsRegistry)
"""Operators with an int8 form. Quantising all of them leaves no float32 between convolutions."""

GPU_OPERATORS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
"""What is quantised for GPUs: operators that multiply."""

PERCENTILE = 99.999
"""Percent of the activations that their range covers, so that one bright spot costs no level."""

_GPU_OPTIONS = {
    "ActivationSymmetric": True,
    "QuantizeBias": False,  # TensorRT has no int32 zero points; it adds biases in float
    "OpTypesToExcludeOutputQuantization": sorted(GPU_OPERATORS),
}

Feeds = Mapping[str, NDArray[Any]]


def activation_ranges(
    model: onnx.ModelProto, feeds: Iterable[Feeds], progress: Callable[[int], None] | None = None
) -> Any:
    """Ranges of all values between operators over the calibration images.

    Parameters
    ----------
    model : onnx.ModelProto
        In float32.
    feeds : iterable of mapping of input name to ndarray
        One image each.

    Returns
    -------
    onnxruntime.quantization.calibrate.TensorsData
    """
    with scratch_folder() as folder:
        path = folder / "model.onnx"
        save(path, model)
        calibrator = create_calibrator(
            path,
            sorted(OPERATORS),
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile,
            use_external_data_format=is_large(model),
            providers=["CPUExecutionProvider"],
            extra_options={"percentile": PERCENTILE},
        )
        for count, feed in enumerate(feeds, start=1):
            with _silence():  # it prints lines for every image
                calibrator.collect_data(_One(feed))
            if progress is not None:
                progress(count)
        with _silence():
            return calibrator.compute_data()


def _silence() -> contextlib.redirect_stdout[io.StringIO]:
    return contextlib.redirect_stdout(io.StringIO())


def quantised(
    model: onnx.ModelProto,
    ranges: Any,
    *,
    reduce_range: bool,
    for_gpu: bool = False,
    only: Sequence[Layer] | None = None,
    keep_float: Sequence[Layer] = (),
) -> onnx.ModelProto:
    """Quantise a float32 model.

    Parameters
    ----------
    model : onnx.ModelProto
        As :func:`deal.export.graph.simplified` gives it; it is not changed.
    ranges
        From :func:`activation_ranges`.
    reduce_range : bool
        Weights of 7 bits, so that sums of two products fit 16 bits on x86 without VNNI. Depthwise
        convolutions keep 8: ONNX Runtime widens their operands to 16 bits before it multiplies.
    for_gpu : bool
        Symmetric activations, for TensorRT; biases stay float32.
    only, keep_float : sequence of Layer
        Nodes to quantise, and nodes to leave as they are.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantizer = QDQQuantizer(
        copy,
        True,  # a scale per channel
        reduce_range,
        QuantType.QInt8,
        QuantType.QInt8 if for_gpu else QuantType.QUInt8,
        ranges,
        [name for layer in only or () for name in layer],
        [name for layer in keep_float for name in layer],
        sorted(GPU_OPERATORS if for_gpu else OPERATORS),
        _GPU_OPTIONS
        if for_gpu
        else {"TensorQuantOverrides": _full_range(copy.graph) if reduce_range else {}},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: onnx.ModelProto = quantizer.model.model
    if not for_gpu:
        kept_in_float(result)
    return result


def bias_shifts(
    model: onnx.ModelProto,
    quantised_model: onnx.ModelProto,
    feeds: Iterable[Feeds],
    progress: Callable[[int], None] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """What the biases of quantised convolutions need, so that the means of channels are right.

    Each convolution gets a twin with the weights' error W − Ŵ on the same input; the means of its
    channels are what the bias lacks. By name of the node, [channels].
    """
    errors = _weight_errors(model, quantised_model)
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    graph = probe.graph
    del graph.output[:]
    graph.initializer.append(
        numpy_helper.from_array(np.array([0, 2, 3], np.int64), "_deal_all_but_channels")
    )
    for node in model.graph.node:
        if node.name not in errors:
            continue
        error, shift, mean = (f"{node.name}_deal_{name}" for name in ("error", "shift", "mean"))
        graph.initializer.append(numpy_helper.from_array(errors[node.name], error))
        twin = graph.node.add()
        twin.CopyFrom(node)
        twin.name = shift
        del twin.input[1:], twin.output[:]
        twin.input.append(error)
        twin.output.append(shift)
        graph.node.append(
            helper.make_node("ReduceMean", [shift, "_deal_all_but_channels"], [mean], keepdims=0)
        )
        graph.output.append(helper.make_tensor_value_info(mean, onnx.TensorProto.FLOAT, None))
    if not errors:
        return {}
    session, runs = session_of(probe), []
    for count, feed in enumerate(feeds, start=1):
        runs.append(session.run(None, dict(feed)))
        if progress is not None:
            progress(count)
    return {
        name: np.mean(values, axis=0)
        for name, values in zip(errors, zip(*runs, strict=True), strict=True)
    }


def _full_range(graph: onnx.GraphProto) -> dict[str, list[dict[str, Any]]]:
    """Overrides by which the weights of depthwise convolutions keep 8 bits."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    eight_bits = {
        "quant_type": QuantType.QInt8,
        "axis": 0,
        "symmetric": True,
        "reduce_range": False,
    }
    return {
        node.input[1]: [eight_bits]
        for node in graph.node
        if node.op_type == "Conv" and shapes.get(node.input[1], (0, 0))[:2] == (_groups(node), 1)
    }


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _weight_errors(
    model: onnx.ModelProto, quantised_model: onnx.ModelProto
) -> dict[str, NDArray[np.float32]]:
    """W − Ŵ of every quantised convolution, by the name of its node, in the order of the graph."""
    exact = constants_of(model.graph)
    stored = constants_of(quantised_model.graph)
    makers = {node.output[0]: node for node in quantised_model.graph.node}
    rounded = {}
    for node in quantised_model.graph.node:
        maker = makers.get(node.input[1]) if node.op_type == "Conv" else None
        if maker is not None and maker.op_type == "DequantizeLinear":
            weight, scale, zero = (stored[name].astype(np.float64) for name in maker.input)
            a_channel = (-1, *[1] * (weight.ndim - 1))
            rounded[node.name] = (weight - zero.reshape(a_channel)) * scale.reshape(a_channel)
    return {
        node.name: (exact[node.input[1]] - rounded[node.name]).astype(np.float32)
        for node in model.graph.node
        if node.name in rounded
    }


def with_biases(
    model: onnx.ModelProto, shifts: Mapping[str, NDArray[np.float64]]
) -> onnx.ModelProto:
    """Add shifts to the biases of the nodes they are named for, in a copy."""
    constants = constants_of(model.graph)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        if node.name not in shifts:
            continue
        bias = shifts[node.name]
        if len(node.input) > 2 and node.input[2]:
            bias = bias + constants[node.input[2]]
        name = f"{node.name}_bias"
        result.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), name))
        del node.input[2:]
        node.input.append(name)
    drop_unused(result.graph)
    return result


class _One(CalibrationDataReader):  # type: ignore[misc]
    """The feeds of one image: a calibrator keeps the activations of all that a reader gives."""

    def __init__(self, feed: Feeds) -> None:
        self._feeds: Iterator[Feeds] = iter([feed])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)
