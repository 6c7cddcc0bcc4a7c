"""``deal export``: checkpoint → ONNX."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from deal.errors import DealError, ItemError, PoolError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deal.export.parity import Parity

__all__ = ["command"]


@click.command(
    "export",
    epilog="deal export runs/camvid/best.pt -o camvid.onnx --images CamVid/val/images",
)
@click.argument("checkpoint", type=click.Path())
@click.option("-o", "--output", type=click.Path(), required=True, help="The ONNX file to write.")
@click.option(
    "--images",
    type=click.Path(),
    metavar="POOL",
    help="Images to check on: a folder, glob or manifest. [default: 16 synthetic scenes]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-3,
    show_default=True,
    help="Greatest difference of a logit between PyTorch and ONNX Runtime.",
)
@click.option("--opset", type=int, default=18, show_default=True, help="ONNX operator version.")
@click.option(
    "--dropout",
    is_flag=True,
    help="Inputs for the masks of dropout layers, for deal score --dropout-passes.",
)
@click.option(
    "--embedding",
    is_flag=True,
    help="An output for diversity: the features before the classifier, averaged over the image.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def command(
    *,
    checkpoint: str,
    output: str,
    images: str | None,
    tolerance: float,
    opset: int,
    dropout: bool,
    embedding: bool,
    as_json: bool,
) -> None:
    """Export a checkpoint of `deal train` to ONNX, and check it.

    The network is run in PyTorch and in ONNX Runtime on the same images; logits, scores and
    rankings are compared. A failed check leaves no file behind.
    """
    try:
        from deal.export.onnx import export_checkpoint
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnx", "onnxscript"):
            raise
        raise DealError(
            f"export needs {error.name}: pip install 'deal-score[train,ort]'"
        ) from error
    found = None if images is None else _decoded(images)
    parity = export_checkpoint(
        checkpoint,
        output,
        images=found,
        tolerance=tolerance,
        opset=opset,
        dropout=dropout,
        embedding=embedding,
    )
    click.echo(json.dumps(parity.to_dict(), indent=1) if as_json else _report(parity, output))


def _decoded(pool: str) -> Iterator[NDArray[np.uint8]]:
    from deal.decode import decode
    from deal.pool import open_pool
    from deal.types import FailedItem

    for item in open_pool(pool):
        if isinstance(item, FailedItem):
            raise PoolError(f"check image {item.item.uri}: {item.error}")
        try:
            image = decode(item).image
        except ItemError as error:
            raise PoolError(f"check image {item.uri}: {error.message}") from error
        yield image


def _report(parity: Parity, output: str) -> str:
    lines = [
        f"{parity.images} images, PyTorch against ONNX Runtime: "
        f"logits differ by at most {parity.max_logit_difference:.2g}",
        f"{'score':<12}{'max difference':>16}{'Spearman':>12}{f'top {parity.top_k} overlap':>18}",
    ]
    for name, score in parity.scores.items():
        lines.append(
            f"{name:<12}{score.max_difference:>16.2g}{score.spearman:>12.6f}"
            f"{score.top_k_overlap:>17.0%}"
        )
    if parity.max_embedding_difference is not None:
        share = parity.max_embedding_difference
        lines.append(f"embeddings differ by at most {share:.2g} of their greatest number")
    lines.append(f"model: {output}")
    return "\n".join(lines)
