"""float32 → int8: calibrate, correct biases, compare, and keep layers in float32 if needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from deal.engines.onnxruntime import FLOAT_STAYS, QDQ_IN_FLOAT, OnnxRuntimeEngine
from deal.errors import ModelError, UsageError
from deal.export.deadline import Progress
from deal.export.fidelity import relative_squares
from deal.export.graph import (
    Layer,
    fold_normalisation,
    layers_of,
    session_of,
    simplified,
    with_types,
)
from deal.export.images import Images
from deal.export.quantize import (
    GPU_OPERATORS,
    OPERATORS,
    Feeds,
    activation_ranges,
    bias_shifts,
    quantised,
    with_biases,
)
from deal.export.search import Sensitivity
from deal.scoring.inputs import Inputs

__all__ = ["Int8Conversion"]

_SENSITIVITY_IMAGES = 4


class Int8Conversion:
    """A calibrated float32 model, which makes int8 models with any layers left in float32.

    Parameters
    ----------
    source : Path
    calibration : Images
    reduce_range, for_gpu : bool
        As in :func:`deal.export.quantize.quantised`.
    progress : callable of (stage, done, total or None)

    Attributes
    ----------
    layers : list of Layer
        What can be quantised, in the order of the graph.

    Raises
    ------
    ModelError
        ONNX Runtime or onnx cannot take the model, or no layer of it has an int8 form.
    UsageError
        The network cannot take a calibration image.
    """

    def __init__(
        self,
        source: Path,
        calibration: Images,
        reduce_range: bool,
        progress: Progress,
        *,
        for_gpu: bool = False,
    ) -> None:
        self._engine = OnnxRuntimeEngine(source)
        self._images = calibration
        self._quantised = partial(quantised, reduce_range=reduce_range, for_gpu=for_gpu)
        self._for_gpu = for_gpu
        self._progress = progress
        model = simplified(source)
        # TensorRT takes uint8 only to cast it, so that its networks normalise in float.
        if self._engine.spec.input_dtype == "uint8" and not for_gpu:
            fold_normalisation(model, self._engine.spec.input_name)
        self._model = with_types(model)
        self.layers = layers_of(self._model, GPU_OPERATORS if for_gpu else OPERATORS)
        if not self.layers:
            raise ModelError(f"model {source} has no layer that int8 computes: use it as it is")
        self._ranges = activation_ranges(
            self._model, self._feeds(), lambda done: progress("calibrating", done, len(calibration))
        )
        everything = self._quantised(self._model, self._ranges)
        self._shifts = bias_shifts(
            self._model,
            everything,
            self._feeds(),
            lambda done: progress("correcting biases", done, len(calibration)),
        )

    def model(self, keep_float: Sequence[Layer] = ()) -> onnx.ModelProto:
        """Everything in int8 but these layers."""
        exact = {name for layer in keep_float for name in layer}
        shifts = {name: shift for name, shift in self._shifts.items() if name not in exact}
        return self._quantised(
            with_biases(self._model, shifts),
            self._ranges,
            keep_float=keep_float,
        )

    def sensitivities(self) -> list[Sensitivity]:
        """The effect of each layer on the logits if only this layer is quantised, worst first."""
        name = self._engine.spec.output_name
        feeds = list(islice(self._feeds(), _SENSITIVITY_IMAGES))
        expected = self._logits(self._model, name, feeds)
        operators = {node.name: node.op_type for node in self._model.graph.node}
        costs = self._multiplications(feeds[0])
        found = []
        for count, layer in enumerate(self.layers, start=1):
            alone = self._quantised(
                with_biases(self._model, {n: self._shifts[n] for n in layer if n in self._shifts}),
                self._ranges,
                only=[layer],
            )
            squares = sum(
                relative_squares(ours, theirs)
                for ours, theirs in zip(self._logits(alone, name, feeds), expected, strict=True)
            )
            error, spread = np.sqrt(squares)
            found.append(
                Sensitivity(
                    layer, operators[layer[0]], float(error / (spread or 1.0)), costs[layer]
                )
            )
            self._progress("measuring layers", count, len(self.layers))
        return sorted(found, key=lambda item: -item.logit_error)

    def _multiplications(self, feed: Feeds) -> dict[Layer, int]:
        """Products of each layer for one image; one per number for operators without weights."""
        probe = onnx.ModelProto()
        probe.CopyFrom(self._model)
        nodes = {node.name: node for node in probe.graph.node}
        names = [nodes[layer[0]].output[0] for layer in self.layers]
        del probe.graph.output[:]
        probe.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
        )
        weights = {tensor.name: tensor.dims for tensor in probe.graph.initializer}
        sizes = [values.size for values in _session(probe).run(names, dict(feed))]
        costs = {}
        for layer, size in zip(self.layers, sizes, strict=True):
            node = nodes[layer[0]]
            weight = weights.get(node.input[1], ()) if node.op_type == "Conv" else ()
            costs[layer] = size * math.prod(weight[1:])
        return costs

    def _feeds(self) -> Iterator[Feeds]:
        inputs = Inputs(self._engine.spec, "input")
        for count, image in enumerate(self._images, start=1):
            groups, failures = inputs.groups([image])
            if failures:
                raise UsageError(f"calibration image {count}: {failures[0].message}")
            # A graph with a fixed batch gets the image that many times.
            batch = groups[0].images * (self._engine.spec.batch or 1)
            yield self._engine.feeds(np.stack(batch))

    def _logits(
        self, model: onnx.ModelProto, name: str, feeds: Sequence[Feeds]
    ) -> list[NDArray[Any]]:
        session = _session(model, in_float=self._for_gpu)
        return [session.run([name], dict(feed))[0] for feed in feeds]


def _session(model: onnx.ModelProto, *, in_float: bool = False) -> ort.InferenceSession:
    return session_of(model, FLOAT_STAYS, *[QDQ_IN_FLOAT] * in_float)
