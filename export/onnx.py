"""Trained network → ONNX file that keeps the model contract, checked before it appears."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from deal.engines import open_engine
from deal.engines.torch import ModuleEngine, RgbNetwork, module_metadata
from deal.errors import ModelError, UsageError
from deal.export.files import new_file, save
from deal.export.graph import check
from deal.export.images import Scenes
from deal.export.parity import Parity, compare, differences
from deal.machine.files import check_not_read
from deal.model.dropout import draw_masks, keep_all
from deal.model.spec import METADATA_KEY, read_spec
from deal.scoring.inputs import Inputs
from deal.training.checkpoint import load_checkpoint
from deal.training.difficulty import WithDifficulty
from deal.training.dropout import dropout_layers
from deal.training.embedding import classifier_name
from deal.training.networks import InputNormalization

__all__ = ["ANY_SIZE", "export_checkpoint", "export_module", "to_onnx", "write_checked"]

OPSET = 18
_SCENES = 16
ANY_SIZE = {"input_size": None}
"""Model options that free a network of the recorded size, so that others can be tried too."""


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
        Give the graph an input for the mask of each dropout layer (:mod:`deal.model.dropout`).
    embedding : bool
        Give the graph the output ``embedding`` [N,E]: what the network's classifier takes in,
        averaged over the image.

    Raises
    ------
    ModelError
        The checkpoint cannot be read or has no dropout layers to export, or the exported network
        differs from it.
    UsageError
        The output is the checkpoint.
    OutputError
        The file cannot be written.
    """
    check_not_read(output, (checkpoint,))
    trained, meta = load_checkpoint(checkpoint)
    return export_module(
        trained,
        output,
        classes=meta.classes,
        palette=meta.palette,
        ignore_index=meta.ignore_index,
        input_size=meta.input_size,
        provenance=meta.provenance,
        images=images,
        tolerance=tolerance,
        opset=opset,
        dropout=dropout,
        embedding=embedding,
        source=f"checkpoint {checkpoint}",
    )


def export_module(
    module: WithDifficulty,
    output: str | Path,
    *,
    classes: Sequence[str],
    input_size: tuple[int, int],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size_multiple: int = 1,
    palette: Sequence[Sequence[int]] | None = None,
    ignore_index: int | None = None,
    provenance: Mapping[str, Any] | None = None,
    images: Iterable[NDArray[np.uint8]] | None = None,
    tolerance: float = 1e-3,
    opset: int = OPSET,
    dropout: bool = False,
    embedding: bool = False,
    difficulty: bool = True,
    source: str = "the network",
) -> Parity:
    """Export any network with a difficulty branch and compare it with PyTorch.

    The graph takes uint8 RGB and stops at the logits; the branch travels as the difficulty head in
    the metadata, which scoring applies by itself. The module is left as it is.

    Parameters
    ----------
    module : WithDifficulty
        Around a network that maps [N,3,H,W] to logits, as a tensor or as ``.logits``.
    output : path
        Appears, or is replaced, only once the check has passed.
    classes : sequence of str
    input_size : (H, W)
        What images are resized to for scoring.
    mean, std : sequence of 3 float, optional
        Of values in 0…1, by which the network's input is normalised. Without them the network takes
        RGB in 0…255.
    size_multiple : int
        H and W have to be multiples of this number, for example of 32 in many U-Nets.
    palette : sequence of (r, g, b), optional
    ignore_index : int, optional
        Label of void.
    provenance : mapping, optional
        JSON values, for people.
    images, tolerance, opset, dropout, embedding
        As in :func:`export_checkpoint`.
    difficulty : bool
        False leaves the branch out, as of a network that never learned it.
    source : str
        Names the network in errors.

    Raises
    ------
    UsageError
        What is said of the network does not go together.
    ModelError
        The palette does not fit, the network cannot be traced, it has no dropout layers or no
        classifier to export, or the exported network differs from it.
    OutputError
        The file cannot be written.
    """
    if (mean is None) != (std is None):
        raise UsageError("mean and std go together: give both, or none for RGB in 0…255")
    if mean is not None and std is not None and not len(mean) == len(std) == 3:
        raise UsageError(f"mean and std need one number per channel, 3 each, not {mean} and {std}")
    if size_multiple < 1:
        raise UsageError(f"size_multiple must be 1 or more, not {size_multiple}")
    if any(length % size_multiple for length in input_size):
        raise UsageError(
            f"input_size {input_size} is not a multiple of size_multiple {size_multiple}"
        )
    if len(classes) != module.num_classes:
        raise UsageError(f"{len(classes)} classes are named, the network has {module.num_classes}")
    output = Path(output)
    trained = copy.deepcopy(module).cpu().eval()
    side = -(-64 // size_multiple) * size_multiple
    layers = dropout_layers(trained.module, side) if dropout else ()
    if dropout and not layers:
        raise ModelError(f"{source} has no dropout layers to export: leave dropout out")
    metadata = module_metadata(
        trained,
        classes=classes,
        palette=palette,
        ignore_index=ignore_index,
        input_size=input_size,
        size_multiple=size_multiple,
        provenance=provenance or {},
        dropout=layers,
        difficulty=difficulty,
    )
    with new_file(output, metadata) as temporary:
        network = RgbNetwork(
            trained.module,
            trained.num_classes,
            classifier_name(trained.module, trained.num_classes) if embedding else None,
            None if mean is None or std is None else InputNormalization(tuple(mean), tuple(std)),
            side,
        )
        return write_checked(
            temporary, network, metadata, source, images=images, tolerance=tolerance, opset=opset
        )


def write_checked(
    path: Path,
    network: RgbNetwork,
    metadata: Mapping[str, Any],
    source: str,
    *,
    images: Iterable[NDArray[np.uint8]] | None = None,
    tolerance: float = 1e-3,
    opset: int = OPSET,
    fixed_size: tuple[int, int] | None = None,
) -> Parity:
    """Trace a network, write it and compare it with PyTorch.

    Parameters
    ----------
    path : Path
        A temporary file (:func:`deal.export.files.new_file`).
    network : RgbNetwork
    metadata : mapping
        As in :func:`to_onnx`.
    source : str
        Names the network in errors.
    images, tolerance, opset
        As in :func:`export_checkpoint`.
    fixed_size : (H, W), optional
        The graph takes images of this size alone.

    Raises
    ------
    ModelError
        The network cannot be traced, or the exported network differs from it.
    OutputError
        The file cannot be written.
    """
    reference = ModuleEngine(network, metadata, path, options=ANY_SIZE)
    embedding = network.embedding is not None
    model = to_onnx(network, metadata, opset, embedding=embedding, fixed_size=fixed_size)
    save(path, model)
    return _check(reference, path, source, images, tolerance, fixed_size)


def to_onnx(
    network: torch.nn.Module,
    metadata: Mapping[str, Any],
    opset: int = OPSET,
    *,
    embedding: bool = False,
    fixed_size: tuple[int, int] | None = None,
) -> onnx.ModelProto:
    """Export a network by the model contract.

    Parameters
    ----------
    network : torch.nn.Module
        Maps uint8 RGB [N,H,W,3] to logits [N,C,h,w]; N, H and W stay dynamic. With dropout it
        takes a list of masks too.
    metadata : mapping
        Keys of the contract, stored as ``metadata_props["deal"]``. What it says under ``dropout``
        becomes inputs; H and W stay multiples of its ``size_multiple`` (1).
    opset : int
    embedding : bool
        The network returns logits and an embedding [N,E].
    fixed_size : (H, W), optional
        H and W of the graph; only N stays dynamic.

    Raises
    ------
    ModelError
        The network cannot be traced so.
    """
    multiple = metadata.get("size_multiple", 1)
    height, width = fixed_size or (-(-length // multiple) * multiple for length in (96, 128))
    example = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    axes = {0: torch.export.Dim("N")}
    if fixed_size is None:
        axes |= {1: _side("H", multiple), 2: _side("W", multiple)}
    layers = metadata.get("dropout", ())
    masks = [torch.ones(1, layer["channels"], 1, 1) for layer in layers]
    with _quiet_exporter(), torch.no_grad():
        try:
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
        except torch.onnx.OnnxExporterError as error:
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            if fixed_size is not None:
                raise ModelError(
                    f"PyTorch cannot trace the network for images of {height}×{width}: try another "
                    f"--input-size or --opset ({reason})"
                ) from error
            raise ModelError(
                "PyTorch cannot trace the network for images of any size: if it only takes "
                "multiples of a size, say so in size_multiple; else export it with "
                "torch.onnx.export at one size, and give deal-score its head() as "
                f"--difficulty-head ({reason})"
            ) from error
    assert program is not None
    model = program.model_proto
    _strip(model)
    dynamic = {
        "image": {0: "N", 1: "H", 2: "W"},
        "logits": {0: "N", 2: "h", 3: "w"},
        "embedding": {0: "N"},
    }
    if fixed_size is not None:
        dynamic = {name: {0: "N"} for name in dynamic}
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in dynamic.get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata, ensure_ascii=False)})
    check(model)
    return model


def _side(name: str, multiple: int) -> Any:
    # Up to 32 pixels some feature maps have size 1, which would be another program to trace.
    side = torch.export.Dim(name, min=-(-33 // multiple))
    return side if multiple == 1 else multiple * side


def _check(
    reference: ModuleEngine,
    exported: Path,
    source: str,
    images: Iterable[NDArray[np.uint8]] | None,
    tolerance: float,
    fixed_size: tuple[int, int] | None,
) -> Parity:
    spec = read_spec(exported)
    size = spec.input_size or (240, 320)
    options = ANY_SIZE if fixed_size is None else None
    runtime = open_engine(exported, "ort", "cpu", options=options)
    if images is None:
        images = Scenes(range(_SCENES), size)
    parity = compare(reference, runtime, Inputs(spec, "input", None), images)
    multiple = spec.size_multiple
    other = size[0] // 2 + 33, size[1] // 2 + 34
    h, w = fixed_size or (-(-length // multiple) * multiple for length in other)
    odd = np.random.default_rng(0).integers(0, 256, (3, h, w, 3), dtype=np.uint8)
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
                f"the export of {source} differs from PyTorch: {output} by up to "
                f"{difference:.2g} on {what}, {tolerance:g} allowed; no file is written. "
                "Another --opset of deal export, another torch version or, where training has left "
                "large logits, a lower learning rate may help"
            )
    return parity


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces with paths of this machine, and shapes."""
    graph = model.graph
    del graph.value_info[:]
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter's warnings of its internals and of packages that it does not need."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # what stops an export is raised too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
