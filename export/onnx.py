"""Checkpoint → ONNX file that keeps the model contract, checked before it gets its name."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from deal.dropout import draw_masks, keep_all
from deal.engines import open_engine
from deal.engines.torch import RgbNetwork, checkpoint_metadata
from deal.errors import ModelError
from deal.export.files import new_file, write_synced
from deal.export.parity import Parity, compare, differences
from deal.inputs import Inputs
from deal.model import METADATA_KEY, read_spec
from deal.synthetic import scene
from deal.training.checkpoint import load_checkpoint
from deal.training.dropout import dropout_layers
from deal.training.embedding import classifier_name

__all__ = ["export_checkpoint", "to_onnx"]

OPSET = 18
_SCENES = 16


def export_checkpoint(
    checkpoint: str | Path,
    output: str | Path,
    *,
    images: Iterable[NDArray[np.uint8]] | None = None,
    tolerance: float = 1e-3,
    opset: int = OPSET,
    dropout: bool = False,
    embedding: bool = False,
) -> Parity:
    """Export a checkpoint of ``deal train`` and compare it with PyTorch.

    Parameters
    ----------
    checkpoint : path
    output : path
        Appears, or is replaced, only once the check has passed.
    images : iterable of ndarray of uint8 [H, W, 3], optional
        To check on; 16 synthetic street scenes by default.
    tolerance : float
        Greatest difference of a logit that passes, and of the embedding as a share of its
        greatest number.
    opset : int
        Version of the ONNX operators.
    dropout : bool
        Give the graph an input for the mask of each dropout layer (:mod:`deal.dropout`).
    embedding : bool
        Give the graph the output ``embedding`` [N,E]: what the network's classifier takes in,
        averaged over the image.

    Raises
    ------
    ModelError
        The checkpoint cannot be read or has no dropout layers to export, or the exported network
        differs from it.
    OutputError
        The file cannot be written.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    trained, meta = load_checkpoint(checkpoint)
    layers = dropout_layers(trained.module) if dropout else ()
    if dropout and not layers:
        raise ModelError(f"the network of {checkpoint} has no dropout layers: leave out --dropout")
    with new_file(output) as temporary:
        pooled = classifier_name(trained.module, trained.num_classes) if embedding else None
        metadata = checkpoint_metadata(trained, meta, layers)
        model = to_onnx(RgbNetwork(trained, pooled), metadata, opset, embedding=embedding)
        write_synced(temporary, model.SerializeToString())
        return _check(checkpoint, temporary, images, tolerance)


def to_onnx(
    network: torch.nn.Module,
    metadata: Mapping[str, Any],
    opset: int = OPSET,
    *,
    embedding: bool = False,
) -> onnx.ModelProto:
    """Export a network by the model contract.

    Parameters
    ----------
    network : torch.nn.Module
        Maps uint8 RGB [N,H,W,3] to logits [N,C,h,w]; N, H and W stay dynamic. With dropout it
        takes a list of masks too.
    metadata : mapping
        Keys of the contract, stored as ``metadata_props["deal"]``. What it says under ``dropout``
        becomes inputs.
    opset : int
    embedding : bool
        The network returns logits and an embedding [N,E].
    """
    example = torch.zeros((2, 96, 128, 3), dtype=torch.uint8)
    # Below 32 pixels some feature maps have size 1, which would be another program to trace.
    axes = {
        0: torch.export.Dim("N"),
        1: torch.export.Dim("H", min=32),
        2: torch.export.Dim("W", min=32),
    }
    layers = metadata.get("dropout", ())
    masks = [torch.ones(1, layer["channels"], 1, 1) for layer in layers]
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            network.eval(),
            (example, masks) if masks else (example,),
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=["image", *(layer["input"] for layer in layers)],
            output_names=["logits", "embedding"] if embedding else ["logits"],
            dynamic_shapes=(axes, [None] * len(masks)) if masks else (axes,),
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    dynamic = {
        "image": {0: "N", 1: "H", 2: "W"},
        "logits": {0: "N", 2: "h", 3: "w"},
        "embedding": {0: "N"},
    }
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in dynamic.get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata, ensure_ascii=False)})
    onnx.checker.check_model(model)
    return model


def _check(
    checkpoint: Path,
    exported: Path,
    images: Iterable[NDArray[np.uint8]] | None,
    tolerance: float,
) -> Parity:
    spec = read_spec(exported)
    size = spec.input_size or (240, 320)
    # Free of the recorded size, so that others can be tried too.
    free = {"input_size": None}
    reference = open_engine(checkpoint, "torch", "cpu", options=free)
    runtime = open_engine(exported, "ort", "cpu", options=free)
    if images is None:
        images = (scene(seed, size)[0] for seed in range(_SCENES))
    parity = compare(reference, runtime, Inputs(spec, "input", None), images)
    odd = np.random.default_rng(0).integers(
        0, 256, (3, size[0] // 2 + 33, size[1] // 2 + 34, 3), dtype=np.uint8
    )
    somewhere = f"a batch of {odd.shape[0]} at {odd.shape[1]}×{odd.shape[2]}"
    checks = [("the check images", parity.max_logit_difference, parity.max_embedding_difference)]
    for what, masks in (
        (somewhere, keep_all(spec.dropout)),
        (f"{somewhere} with channels dropped", draw_masks(spec.dropout, seed=0, index=1)),
    ):
        ours, theirs = (engine.infer(odd, masks) for engine in (reference, runtime))
        checks.append((what, *differences(ours, theirs)))
    for what, of_logits, of_embedding in checks:
        for output, difference in (("logits", of_logits), ("embedding", of_embedding)):
            if difference is None or difference <= tolerance:
                continue
            raise ModelError(
                f"the export of {checkpoint} differs from PyTorch: {output} by up to "
                f"{difference:.2g} on {what}, {tolerance:g} allowed; no file is written. "
                "Another --opset or torch version may help"
            )
    return parity


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes down: stack traces with paths of this machine, and shapes."""
    graph = model.graph
    del graph.value_info[:]
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns of its own internals, and of packages it can do without."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
