"""Networks for benchmarks that bring none of their own."""

from __future__ import annotations

from pathlib import Path

from deal.errors import UsageError

__all__ = ["random_model"]


def random_model(folder: Path, network: str, classes: int = 11) -> Path:
    """Export ``paper`` or ``light`` with random weights: speed does not depend on them.

    Raises UsageError without the ``train`` extra.
    """
    try:
        import torch

        from deal.engines.torch import RgbNetwork, checkpoint_metadata
        from deal.export.onnx import to_onnx
        from deal.training.checkpoint import CheckpointMeta, build_module
    except ImportError as error:
        raise UsageError(
            "a network with random weights needs PyTorch: pip install 'deal-score[train]', or "
            "give --model"
        ) from error
    torch.manual_seed(0)
    meta = CheckpointMeta(
        network=network,
        width=1.0,
        classes=tuple(f"class {i}" for i in range(classes)),
        palette=((0, 0, 0),) * classes,
        ignore_index=255,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        align_corners=True,
        grid=(60, 80),
        input_size=(360, 480),
        provenance={"weights": "random"},
    )
    module = build_module(meta)
    path = folder / f"{network}.onnx"
    model = to_onnx(RgbNetwork(module), checkpoint_metadata(module, meta))
    path.write_bytes(model.SerializeToString())
    return path
