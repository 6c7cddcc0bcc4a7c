"""PyTorch, the reference engine, which runs networks and checkpoints of ``deal train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from deal._install import pip_install
from deal.engines.base import HostEngine
from deal.errors import EngineUnavailableError, ModelError
from deal.machine.cores import available_cores
from deal.model.dropout import DropoutLayer, Masks
from deal.model.header import OnnxHeader, TensorInfo
from deal.model.spec import ModelSpec, resolve_spec
from deal.types import EngineOutput

try:
    import torch
except ImportError as error:
    raise EngineUnavailableError(
        f"engine torch needs PyTorch: {pip_install('train')}, or export the checkpoint with deal "
        "export and use --engine ort"
    ) from error

from deal.training.checkpoint import CheckpointMeta, load_checkpoint
from deal.training.difficulty import WithDifficulty, logits_of
from deal.training.dropout import dropout_layers, masked
from deal.training.embedding import classifier_name, embedding_size, pooled_input

__all__ = [
    "ModuleEngine",
    "RgbNetwork",
    "checkpoint_metadata",
    "load_network",
    "module_metadata",
    "module_spec",
    "not_run",
]


class RgbNetwork(torch.nn.Module):
    """The network that is exported to ONNX: uint8 RGB [N,H,W,3] → logits [N,C,h,w].

    Parameters
    ----------
    network : nn.Module
        Maps float32 [N,3,H,W] to logits [N,C,h,w], as a tensor or as ``.logits``.
    num_classes : int
        C.
    embedding : str, optional
        Name of the module of the network whose input, averaged over the image, becomes an output
        (:mod:`deal.training.embedding`); ModelError if that is impossible.
    normalization : nn.Module, optional
        Converts float32 RGB [N,3,H,W] in 0…255 to the network's input, if the network needs another
        one than the default.
    side : int
        A height and width that the network can take, to find the size of the embedding.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        num_classes: int,
        embedding: str | None = None,
        normalization: torch.nn.Module | None = None,
        side: int = 64,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_classes = num_classes
        self.normalization = normalization or torch.nn.Identity()
        self.embedding = embedding
        self.embedding_size = (
            None if embedding is None else embedding_size(self.network, embedding, side)
        )

    def forward(
        self, image: torch.Tensor, masks: Sequence[torch.Tensor] = ()
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Run the network; a difficulty branch is no part of it, since scoring computes that.

        ``masks`` are those of the dropout layers, [1,C,1,1] each; without them nothing is dropped.
        Returns the logits or, with an embedding, the logits and the embedding, float32 [N,E].
        """
        with ExitStack() as stack:
            stack.enter_context(masked(self.network, masks))
            if self.embedding is not None:
                pooled = stack.enter_context(pooled_input(self.network, self.embedding))
            pixels = self.normalization(image.permute(0, 3, 1, 2).float())
            logits = logits_of(self.network(pixels), self.num_classes)
        return logits if self.embedding is None else (logits, pooled[0])


def checkpoint_metadata(
    trained: WithDifficulty, meta: CheckpointMeta, dropout: Sequence[DropoutLayer] = ()
) -> dict[str, Any]:
    """The model contract that an export of a checkpoint with these layers' masks gets."""
    return module_metadata(
        trained,
        classes=meta.classes,
        palette=meta.palette,
        ignore_index=meta.ignore_index,
        input_size=meta.input_size,
        provenance=meta.provenance,
        dropout=dropout,
    )


def module_metadata(
    trained: WithDifficulty,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None,
    ignore_index: int | None,
    input_size: tuple[int, int],
    size_multiple: int = 1,
    provenance: Mapping[str, Any],
    dropout: Sequence[DropoutLayer] = (),
    difficulty: bool = True,
) -> dict[str, Any]:
    """The model contract of a network with its difficulty branch (:mod:`deal.model`)."""
    return {
        "format": 1,
        "classes": list(classes),
        "palette": None if palette is None else [list(colour) for colour in palette],
        "ignore_index": ignore_index,
        "input_format": "rgb8",
        "input_size": list(input_size),
        "size_multiple": size_multiple,
        "resize": "stretch",
        "interpolation": "bilinear-antialias",
        "mean": None,
        "std": None,
        "align_corners": trained.difficulty.align_corners,
        "output_kind": "logits",
        "activation": "softmax",
        "difficulty_head": trained.head().to_dict() if difficulty else None,
        "precision": "fp32",
        "provenance": dict(provenance),
        **({"dropout": [asdict(layer) for layer in dropout]} if dropout else {}),
    }


def module_spec(
    network: RgbNetwork,
    metadata: Mapping[str, Any],
    path: Path,
    options: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """The model contract that an ONNX export of a network would have."""
    outputs = [TensorInfo("logits", "float32", (None, network.num_classes, None, None))]
    if network.embedding is not None:
        outputs.append(TensorInfo("embedding", "float32", (None, network.embedding_size)))
    header = OnnxHeader(
        metadata={},
        inputs=(
            TensorInfo("image", "uint8", (None, None, None, 3)),
            *(
                TensorInfo(layer["input"], "float32", (1, layer["channels"], 1, 1))
                for layer in metadata.get("dropout", ())
            ),
        ),
        outputs=tuple(outputs),
        external=(),
    )
    return resolve_spec(path, metadata, header, options)


def load_network(path: Path) -> tuple[RgbNetwork, dict[str, Any]]:
    """Load the network of a checkpoint of ``deal train``, and its model contract.

    The embedding is the mean of the classifier's input. Raises ModelError.
    """
    if path.suffix == ".onnx":
        raise ModelError(
            f"engine torch runs checkpoints of deal train, not {path}: use --engine ort"
        )
    trained, meta = load_checkpoint(path)
    classifier = classifier_name(trained.module, trained.num_classes)
    network = RgbNetwork(trained.module, trained.num_classes, classifier)
    return network, checkpoint_metadata(trained, meta, dropout_layers(trained.module))


def not_run(shape: Sequence[int], error: RuntimeError) -> ModelError:
    """The error about a batch [B, H, W, 3] that PyTorch cannot run, made from a RuntimeError."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return ModelError(
        f"PyTorch cannot run the network on {shape[0]} images of {shape[1]}×{shape[2]} (H×W): "
        f"{reason}. If the network only takes multiples of a size, set size_multiple; if memory is "
        "short, use smaller batches"
    )


class ModuleEngine(HostEngine):
    """Runs a network on the CPU, in float32.

    Parameters
    ----------
    network : RgbNetwork
        The network, which is put into evaluation mode.
    metadata : mapping
        The model contract of the network.
    path : Path
        Name of the network in errors.
    threads, options
        As in :func:`deal.engines.open_engine`. ``threads`` sets PyTorch's number of threads, which
        holds for the whole process.
    """

    name = "torch"

    def __init__(
        self,
        network: RgbNetwork,
        metadata: Mapping[str, Any],
        path: Path,
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(module_spec(network, metadata, path, options), "cpu")
        torch.set_num_threads(threads or available_cores())
        self._network = network.eval()

    @torch.inference_mode()
    def _infer(self, batch: NDArray[Any], masks: Masks) -> EngineOutput:
        try:
            found = self._network(torch.from_numpy(batch), tuple(map(torch.from_numpy, masks)))
        except RuntimeError as error:
            raise not_run(batch.shape, error) from error
        if isinstance(found, torch.Tensor):
            return EngineOutput(found.numpy())
        logits, embedding = found
        return EngineOutput(logits.numpy(), embedding=embedding.numpy())
