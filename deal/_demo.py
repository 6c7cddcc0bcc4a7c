"""The files of the demo that come with the package."""

from __future__ import annotations

from pathlib import Path

from deal._install import pip_install
from deal.errors import DealError

__all__ = ["demo_file"]


def demo_file(name: str) -> Path:
    """Path of a bundled file: ``model.onnx``, or the folder ``pool`` of sample images."""
    path = Path(__file__).parent / "demo" / name
    if not path.exists():
        raise DealError(
            f"the bundled {name} is missing: {pip_install(options='--force-reinstall')}"
        )
    return path
