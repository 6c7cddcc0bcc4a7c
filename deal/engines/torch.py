"""PyTorch, the reference engine: runs checkpoints of ``deal train`` as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from deal.cores import available_cores
from deal.dropout import DropoutLayer, Masks
from deal.engines.base import Engine, parse_device
from deal.errors import EngineUnavailableError, ModelError
from deal.model import resolve_spec
from deal.onnx_header import OnnxHeader, TensorInfo
from deal.types import EngineOutput

try:
    import torch
except ImportError as error:
    raise EngineUnavailableError(
        "engine torch needs PyTorch: pip install 'deal-score[train]', or export the checkpoint "
        "with deal export and use --engine ort"
    ) from error

from deal.training.checkpoint import CheckpointMeta, load_checkpoint
from deal.training.difficulty import WithDifficulty
from deal.training.dropout import dropout_layers, masked
from deal.training.embedding import classifier_name, embedding_size, pooled_input

__all__ = ["RgbNetwork", "TorchEngine", "checkpoint_metadata"]


class RgbNetwork(torch.nn.Module):
    """What a checkpoint's ONNX export computes: uint8 RGB [N,H,W,3] → logits [N,C,h,w].

    Parameters
    ----------
    trained : WithDifficulty
    embedding : str, optional
        Name of the module of the network whose input, averaged over the image, is an output too
        (:mod:`deal.training.embedding`); ModelError where that cannot be.
    """

    def __init__(self, trained: WithDifficulty, embedding: str | None = None) -> None:
        super().__init__()
        self.network = trained.module
        self.embedding = embedding
        self.embedding_size = None if embedding is None else embedding_size(self.network, embedding)

    def forward(
        self, image: torch.Tensor, masks: Sequence[torch.Tensor] = ()
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Run the network without its difficulty branch, which scoring applies by itself.

        ``masks`` are of its dropout layers, [1,C,1,1] each; without any nothing is dropped.
        Returns the logits; with an embedding the logits and that, float32 [N,E].
        """
        with ExitStack() as stack:
            stack.enter_context(masked(self.network, masks))
            if self.embedding is not None:
                pooled = stack.enter_context(pooled_input(self.network, self.embedding))
            logits: torch.Tensor = self.network(image.permute(0, 3, 1, 2))
        return logits if self.embedding is None else (logits, pooled[0])


def checkpoint_metadata(
    trained: WithDifficulty, meta: CheckpointMeta, dropout: Sequence[DropoutLayer] = ()
) -> dict[str, Any]:
    """The model contract of a checkpoint, as its export with these layers' masks carries it."""
    return {
        "format": 1,
        "classes": list(meta.classes),
        "palette": [list(colour) for colour in meta.palette],
        "ignore_index": meta.ignore_index,
        "input_format": "rgb8",
        "input_size": list(meta.input_size),
        "size_multiple": 1,
        "resize": "stretch",
        "interpolation": "bilinear-antialias",
        "mean": None,
        "std": None,
        "align_corners": meta.align_corners,
        "output_kind": "logits",
        "activation": "softmax",
        "difficulty_head": trained.head().to_dict(),
        "precision": "fp32",
        "provenance": dict(meta.provenance),
        **({"dropout": [asdict(layer) for layer in dropout]} if dropout else {}),
    }


class TorchEngine(Engine):
    """Runs a checkpoint in float32; parameters as in :func:`deal.engines.open_engine`.

    The embedding is the mean of what the network's classifier takes in.

    ``threads`` sets PyTorch's number of threads for the whole process: it knows no other.
    """

    name = "torch"

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if path.suffix == ".onnx":
            raise ModelError(
                f"engine torch runs checkpoints of deal train, not {path}: use --engine ort"
            )
        used = _resolve_device(device)
        trained, meta = load_checkpoint(path)
        dropout = dropout_layers(trained.module)
        network = RgbNetwork(trained, classifier_name(trained.module, trained.num_classes))
        header = OnnxHeader(
            metadata={},
            inputs=(
                TensorInfo("image", "uint8", (None, None, None, 3)),
                *(TensorInfo(d.input, "float32", (1, d.channels, 1, 1)) for d in dropout),
            ),
            outputs=(
                TensorInfo("logits", "float32", (None, len(meta.classes), None, None)),
                TensorInfo("embedding", "float32", (None, network.embedding_size)),
            ),
            external=(),
        )
        super().__init__(
            resolve_spec(path, checkpoint_metadata(trained, meta, dropout), header, options), used
        )
        torch.set_num_threads(threads or available_cores())
        self._network = network.eval().to(used)

    @torch.inference_mode()
    def _infer(self, batch: NDArray[Any], masks: Masks) -> EngineOutput:
        on_device = tuple(torch.from_numpy(mask).to(self.device) for mask in masks)
        logits, embedding = self._network(torch.from_numpy(batch).to(self.device), on_device)
        return EngineOutput(logits.cpu().numpy(), embedding=embedding.cpu().numpy())


def _resolve_device(device: str) -> str:
    kind, index = parse_device(device)
    count = torch.cuda.device_count()
    if kind == "cuda" and index >= count:
        raise EngineUnavailableError(
            f"device {device}: PyTorch {torch.__version__} sees {count} CUDA devices; install a "
            "CUDA build of torch and a driver, or use --device cpu"
        )
    return f"cuda:{index}" if kind == "cuda" or (kind == "auto" and count) else "cpu"
