"""``deal train``: a segmentation network with a difficulty branch."""

from __future__ import annotations

import json
from typing import Any

import click

from deal.cli.common import Size
from deal.errors import DealError

__all__ = ["command"]

_EXAMPLES = """\b
deal train --dataset camvid --data CamVid --output runs/camvid
deal train --dataset synthetic --width 0.5 --output runs/demo
"""


@click.command("train", epilog=_EXAMPLES)
@click.option(
    "--dataset",
    type=click.Choice(["camvid", "cityscapes", "folder", "synthetic", "synthetic-drives"]),
    required=True,
    help="camvid and folder: ROOT/{train,val,test}/{images,labels}, a class index a pixel; folder "
    "also needs ROOT/classes.json. cityscapes: ROOT/{leftImg8bit,gtFine}, and --size. synthetic: "
    "generated street scenes; synthetic-drives: the same as drives.",
)
@click.option("--data", type=click.Path(), metavar="ROOT", help="Root of the data set.")
@click.option(
    "--scenes",
    type=click.IntRange(min=5),
    default=500,
    show_default=True,
    help="Training scenes of --dataset synthetic, frames of synthetic-drives; a fifth each for val "
    "and test.",
)
@click.option(
    "--size",
    type=Size(),
    metavar="HxW",
    help="Resize images to this; the network's input size. [default: as they are]",
)
@click.option(
    "--network",
    type=click.Choice(["paper", "light"]),
    default="light",
    show_default=True,
    help="DeepLabv3+ on MobileNetV2, or the same with separable convolutions.",
)
@click.option(
    "--width", type=float, default=1.0, show_default=True, help="Multiplies the channels."
)
@click.option(
    "--weights",
    type=click.Path(),
    metavar="FILE",
    help="Start from torchvision's MobileNetV2 state dict, or from a checkpoint of the same "
    "network on whatever classes.",
)
@click.option(
    "--start-from",
    type=click.Path(),
    metavar="CHECKPOINT",
    help="Go on from another run on the same classes.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=2), default=4, show_default=True)
@click.option(
    "--lr", type=float, default=0.01, show_default=True, help="At the start; SGD, poly 0.9."
)
@click.option(
    "--head-lr-factor",
    type=float,
    default=10.0,
    show_default=True,
    help="Times --lr for ASPP, decoder and difficulty branch; 1 when training from scratch.",
)
@click.option("--weight-decay", type=float, default=5e-4, show_default=True)
@click.option(
    "--alpha", type=float, default=1.0, show_default=True, help="Weight of the difficulty loss."
)
@click.option("--class-balance", is_flag=True, help="Weight rare classes up in the loss.")
@click.option(
    "--grid",
    type=Size(),
    metavar="HxW",
    help="Attention grid. [default: the grid of the logits, a quarter]",
)
@click.option(
    "--uncertainty/--no-uncertainty",
    default=False,
    show_default=True,
    help="Give the difficulty head a weight a class of the variance p(1 - p) too.",
)
@click.option(
    "--crop",
    type=Size(),
    metavar="HxW",
    help="Training crop. [default: the size of the images]",
)
@click.option(
    "--scale",
    type=(float, float),
    default=(0.5, 2.0),
    show_default=True,
    metavar="LOW HIGH",
    help="Random zoom before the crop.",
)
@click.option(
    "--blur",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Probability of a slight Gaussian blur.",
)
@click.option(
    "--color-jitter",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Random brightness, contrast and saturation, 1 ± this.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--compile",
    type=click.Choice(["default", "reduce-overhead"]),
    help="Compile the steps with torch.compile in this mode.",
)
@click.option(
    "--validate-every", type=click.IntRange(min=1), default=1, show_default=True, metavar="EPOCHS"
)
@click.option(
    "--output", type=click.Path(), required=True, help="Folder of checkpoints and metrics."
)
@click.option("--overwrite", is_flag=True, help="Start again where --output holds a run.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(*, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Train a segmentation network with a difficulty branch.

    Keeps the epoch that is best on val as OUTPUT/best.pt (for `deal export`) and evaluates it on
    test: mIoU with void ignored, and how well difficulty, entropy and margin find the wrong pixels
    (AUROC). Metrics go to OUTPUT/metrics.jsonl and OUTPUT/summary.json. The same command goes on
    after an interruption.
    """
    try:
        from deal.training.config import TrainConfig
        from deal.training.trainer import train
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise DealError("training needs PyTorch: pip install 'deal-score[train]'") from error
    summary = train(TrainConfig(**options), overwrite=overwrite)
    click.echo(json.dumps(summary) if as_json else _report(summary, options["output"]))


def _report(summary: dict[str, Any], output: str) -> str:
    split = "val" if summary["test"] is None else "test"
    result = summary[split]
    lines = [f"{'class':<20}{'IoU %':>7}   ({split}, epoch {summary['best_epoch']})"]
    for name, value in result["iou"].items():
        lines.append(f"{name:<20}{'-' if value is None else f'{100 * value:.1f}':>7}")
    lines.append(f"{'mean':<20}{100 * result['miou']:>7.1f}")
    for name, value in result["auroc"].items():
        lines.append(f"AUROC {name:<20}{'-' if value is None else f'{value:.3f}'}")
    lines.append(f"checkpoint: {output}/best.pt")
    return "\n".join(lines)
