"""Arrange a model for images of one size for CPUs, and check that it gives the same numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from deal.engines.onnxruntime import OnnxRuntimeEngine
from deal.errors import ModelError, UsageError
from deal.export.arrange import arranged
from deal.export.files import new_file, save, write_model
from deal.export.graph import simplified
from deal.export.images import Scenes
from deal.export.parity import Parity, compare
from deal.model.spec import ModelSpec, contract_values, read_spec
from deal.scoring.inputs import Inputs

__all__ = ["make_static"]

_SCENES = range(16)


def make_static(
    model: str | Path,
    output: str | Path,
    size: tuple[int, int],
    *,
    images: Iterable[NDArray[np.uint8]] | None = None,
    tolerance: float = 1e-3,
) -> Parity:
    """Fix a float32 model's input size, arrange it for CPUs and compare it with the original.

    Parameters
    ----------
    model, output : path
        Keeps the model contract; ``output`` appears only once the check has passed.
    size : (H, W)
        Becomes the ``input_size``: images of another are resized to it.
    images : iterable of ndarray of uint8 [H, W, 3], optional
        To check on; 16 synthetic street scenes by default.
    tolerance : float
        Greatest difference of a logit that passes, and of the embedding as a share of its
        greatest number.

    Raises
    ------
    ModelError
        The model does not keep the contract, is not a float32 model, takes no images of this size,
        cannot be arranged, or differs from the original.
    UsageError
        The size is not a multiple of the model's ``size_multiple``, or the output is the model.
    OutputError
        The file cannot be written.
    """
    model, output = Path(model), Path(output)
    spec = read_spec(model)
    if spec.precision not in (None, "fp32"):
        raise ModelError(f"model {model} is {spec.precision}: --static arranges the fp32 one")
    if any(length % spec.size_multiple for length in size):
        raise UsageError(
            f"{size[0]}×{size[1]} is not a multiple of the model's size_multiple "
            f"{spec.size_multiple}"
        )
    contract = _contract(model, spec, size)
    with new_file(output, contract, read=(model,)) as temporary:
        network = onnx.load(model)
        _fix(network, spec, size)
        save(temporary, network)
        original = OnnxRuntimeEngine(model, options={"input_size": list(size)})
        feed = original.feeds(np.zeros((spec.batch or 1, *size, 3), np.uint8))
        made = arranged(simplified(temporary), feed)
        write_model(temporary, made, contract)
        parity = compare(
            original,
            OnnxRuntimeEngine(temporary),
            Inputs(read_spec(temporary), "input", None),
            Scenes(_SCENES, size) if images is None else images,
        )
        for what, difference in (
            ("logits", parity.max_logit_difference),
            ("embedding", parity.max_embedding_difference),
        ):
            if difference is not None and not difference <= tolerance:
                raise ModelError(
                    f"arranged for CPUs, model {model} differs from itself: {what} by up to "
                    f"{difference:.2g}, {tolerance:g} allowed; no file is written. Leave --static "
                    "out"
                )
    return parity


def _fix(network: onnx.ModelProto, spec: ModelSpec, size: tuple[int, int]) -> None:
    image = next(value for value in network.graph.input if value.name == spec.input_name)
    dims = image.type.tensor_type.shape.dim
    first = 1 if spec.input_layout == "nhwc" else 2  # [N,H,W,3] or [N,3,H,W]
    for dim, length in zip(dims[first : first + 2], size, strict=True):
        if dim.dim_value > 0 and dim.dim_value != length:  # else dynamic, as the header reads it
            taken = [d.dim_value if d.dim_value > 0 else "any" for d in dims[first : first + 2]]
            raise ModelError(f"model {spec.path} takes images of {taken[0]}×{taken[1]} only")
        dim.dim_value = length
    del network.graph.value_info[:]
    for value in network.graph.output:  # the exporter's shapes were for any size
        dims = value.type.tensor_type.shape.dim
        is_nhwc = value.name == spec.output_name and spec.output_layout == "nhwc"
        for dim in dims[1:3] if is_nhwc else dims[2:]:
            dim.Clear()


def _contract(model: Path, spec: ModelSpec, size: tuple[int, int]) -> dict[str, Any]:
    facts = {
        "from_sha256": spec.digest(),
        "onnxruntime": ort.__version__,
        "precision": "fp32",
        "static": list(size),
    }
    return {
        **contract_values(model),
        "input_size": list(size),
        "precision": "fp32",
        "provenance": {**spec.provenance, "conversion": facts},
    }
