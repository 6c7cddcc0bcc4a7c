"""Pools and models for benchmarks that bring none of their own."""

from __future__ import annotations

from pathlib import Path

from deal.errors import UsageError

__all__ = ["paper_model", "synthetic_pool"]


def synthetic_pool(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Write ``count`` street scenes of H×W as JPEG; distinct up to 50, then repeated."""
    from io import BytesIO

    from PIL import Image

    from deal.synthetic import scene

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for seed in range(min(count, 50)):
        buffer = BytesIO()
        Image.fromarray(scene(seed, size)[0]).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    for i in range(count):
        (folder / f"{i:06d}.jpg").write_bytes(files[i % len(files)])
    return folder


def paper_model(folder: Path, network: str, classes: int = 11) -> Path:
    """Export the paper's network (or ``light``) with random weights: speed does not depend on them.

    Raises UsageError without the ``train`` extra.
    """
    try:
        from deal.bench._random_model import export_random
    except ImportError as error:
        raise UsageError(
            "a network with random weights needs PyTorch: pip install 'deal-score[train]', or "
            "give --model"
        ) from error
    return export_random(folder, network, classes)
