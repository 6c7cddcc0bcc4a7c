"""The steps of ``deal export``, each imported when it is taken, or what to install for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from deal._install import pip_install
from deal.cli.stages import Stages
from deal.errors import DealError
from deal.text import printable

if TYPE_CHECKING:
    from deal.export.hf import HfExport
    from deal.export.images import PoolImages
    from deal.export.parity import Parity
    from deal.export.precision import Conversion

__all__ = [
    "convert_precision",
    "cut_labels",
    "export_hf_folder",
    "export_network",
    "is_int8",
    "keep_in_float",
    "put_head",
    "static_form",
]

_TRAINING = ("torch", "onnx", "onnxscript")


@contextmanager
def _needing(what: str, packages: tuple[str, ...], *extras: str) -> Iterator[None]:
    """Say what to install where an import lacks one of the packages."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in packages:
            raise
        raise DealError(f"{what} {error.name}: {pip_install(*extras)}") from error


def _pool(images: str | None) -> PoolImages | None:
    from deal.export.images import PoolImages

    return None if images is None else PoolImages.of(images)


def export_network(checkpoint: str, output: str, images: str | None, **options: Any) -> Parity:
    """Export a checkpoint; with ``input_size`` an encoder of this name."""
    export: Callable[..., Parity]
    with _needing("export needs", _TRAINING, "train", "ort"):
        if "input_size" in options:
            from deal.export.encoder import export_encoder as export
        else:
            from deal.export.onnx import export_checkpoint as export
    return export(checkpoint, output, images=_pool(images), **options)


def export_hf_folder(folder: str, output: str, images: str | None, **options: Any) -> HfExport:
    """Export a checkpoint of transformers."""
    packages = (*_TRAINING, "transformers", "huggingface_hub")
    with _needing("hf:DIR needs", packages, "hf", "train", "ort"):
        from deal.export.hf import export_hf
    return export_hf(folder, output, images=_pool(images), **options)


def cut_labels(model: str, output: str, *, as_json: bool) -> None:
    """Take the argmax off the end of a model, and print what was removed."""
    with _needing("--cut needs the package", ("onnx",), "convert", "ort"):
        from deal.export.cut import cut_argmax
    cut = cut_argmax(model, output)
    if as_json:
        click.echo(json.dumps({"cut": cut.to_dict()}, indent=1))
        return
    last = " (state output_layout nhwc)" if cut.layout == "nhwc" else ""
    click.echo(
        f"removed {', '.join(cut.removed)}, of which output {printable(cut.output)!r} came; the "
        f"logits{last} give the same labels in all {cut.cells} cells of noise"
    )
    click.echo(f"model: {printable(output)}")


def put_head(source: str, head: str, output: str) -> None:
    """Put a difficulty head into a model."""
    with _needing("--difficulty-head needs the package", ("onnx",), "convert", "ort"):
        from deal.export.head import with_head
    with_head(source, head, output)


def convert_precision(
    source: str,
    output: str,
    precision: str,
    images: str | None,
    quiet: bool,
    options: dict[str, Any],
) -> Conversion:
    """Convert a model to another precision, with its progress on the terminal."""
    with _needing("--precision needs the package", ("onnx",), "convert", "ort"):
        from deal.export.precision import convert
    options["search_seconds"] = 60 * options.pop("search_minutes")
    with Stages(enabled=not quiet) as progress:
        return convert(source, output, precision, images=images, progress=progress, **options)


def is_int8(model: str) -> bool:
    """Whether a model says of itself that it is int8."""
    from deal.model.spec import read_spec

    return read_spec(model).precision == "int8"


def keep_in_float(model: str, output: str) -> list[str]:
    """Keep the float32 layers of an int8 model what they are in every session; their names."""
    with _needing("--precision needs the package", ("onnx",), "convert", "ort"):
        from deal.export.float_layers import rewrite
    return rewrite(model, output)


def static_form(
    source: str, output: str, size: tuple[int, int], images: str | None, tolerance: float
) -> Parity:
    """Fix the input size of a model."""
    with _needing("--static needs the package", ("onnx",), "convert", "ort"):
        from deal.export.static import make_static
    return make_static(source, output, size, images=_pool(images), tolerance=tolerance)
