"""``deal train``: a segmentation network with a difficulty branch."""

from __future__ import annotations

import json
from typing import Any

import click

from deal._install import pip_install
from deal.cli.common import Range, Size
from deal.cli.grouped import GroupedCommand, option
from deal.errors import DealError
from deal.text import printable
from deal.training.recipe import NETWORKS

__all__ = ["command"]

_DATA, _NETWORK, _TRAINING, _RUN, _OUT = "Data", "Network", "Training", "Machine", "Output"


@click.command(
    "train",
    cls=GroupedCommand,
    short_help="Train a segmentation network with a difficulty branch.",
    examples=[
        "deal train --dataset synthetic --width 0.5 --output runs/demo",
        "deal train --dataset camvid --data CamVid --output runs/camvid",
        "deal train --dataset folder --data mine --size 360x480 --output runs/mine",
        "deal train --dataset folder --data mine --network lite0 --weights imagenet --freeze 7 "
        "--cache 4 --optimizer adamw --lr 0.0001 --output runs/frozen",
    ],
)
@option(
    _DATA,
    "--dataset",
    type=click.Choice(["camvid", "cityscapes", "folder", "synthetic", "synthetic-drives"]),
    required=True,
    first_day=True,
    help="camvid, folder: ROOT/{train,val[,test]}/{images,labels}, one class index per label "
    "pixel; folder also needs ROOT/classes.json. cityscapes: ROOT/{leftImg8bit,gtFine}; it also "
    "needs --size. synthetic: generated street scenes. synthetic-drives: generated drives.",
)
@option(
    _DATA,
    "--data",
    type=click.Path(),
    metavar="ROOT",
    first_day=True,
    help="Root folder of the data set.",
)
@option(
    _DATA,
    "--scenes",
    type=click.IntRange(min=5),
    default=500,
    show_default=True,
    metavar="N",
    help="Training scenes of synthetic, or frames of synthetic-drives. val and test each get a "
    "fifth of this number.",
)
@option(
    _DATA,
    "--size",
    type=Size(),
    metavar="HxW",
    first_day=True,
    help="Resize images to this size, which becomes the network's input size. Default: keep their "
    "size.",
)
@option(
    _DATA,
    "--hold-out",
    metavar="GLOB",
    help="Leave the training images whose names match out of training, such as those of one drive, "
    "and measure on them instead of val and test: '0006R0*'.",
)
@option(
    _NETWORK,
    "--network",
    type=click.Choice(NETWORKS),
    default="light",
    show_default=True,
    metavar="NAME",
    first_day=True,
    help="paper: DeepLabv3+ on MobileNetV2. light: the same with separable convolutions. lite0, "
    "lite1, lite2: EfficientNet-Lite with a small perceptron on four scales; lite0-aspp: with the "
    "decoder of light; lite0-lraspp: with LR-ASPP; lite0-fast: a shorter encoder with LR-ASPP.",
)
@option(
    _NETWORK,
    "--width",
    type=float,
    default=1.0,
    show_default=True,
    metavar="FACTOR",
    help="Multiply the number of channels by this.",
)
@option(
    _NETWORK,
    "--weights",
    type=click.Path(),
    metavar="FILE",
    first_day=True,
    help="Start from the encoder's ImageNet weights: imagenet takes those of the installed package "
    "(lite0, lite1, lite2), a file those of torchvision's MobileNetV2 (paper, light). Or start "
    "from a checkpoint of the same network trained on any classes.",
)
@option(
    _NETWORK,
    "--freeze",
    type=click.IntRange(min=0),
    metavar="STAGE",
    help="Keep the encoder's weights up to this stage, 0 (the stem) to 7 (all of it), and the "
    "statistics of their batch norms.",
)
@option(
    _NETWORK,
    "--freeze-norm/--no-freeze-norm",
    default=False,
    show_default=True,
    help="Keep the statistics of every batch norm of the encoder, as small batches need.",
)
@option(
    _NETWORK,
    "--start-from",
    type=click.Path(),
    metavar="CHECKPOINT",
    help="Start from another run on the same classes.",
)
@option(
    _NETWORK,
    "--grid",
    type=Size(),
    metavar="HxW",
    help="Size of the attention grid. Default: the grid of the logits, a quarter of the input.",
)
@option(
    _NETWORK,
    "--uncertainty/--no-uncertainty",
    default=False,
    show_default=True,
    help="Also give the difficulty head one weight per class for the variance p(1 - p).",
)
@option(
    _TRAINING,
    "--epochs",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    first_day=True,
    help="Passes over the training images.",
)
@option(
    _TRAINING,
    "--batch-size",
    type=click.IntRange(min=2),
    default=4,
    show_default=True,
    metavar="N",
    first_day=True,
    help="Images per training step.",
)
@option(
    _TRAINING,
    "--lr",
    type=float,
    default=0.01,
    show_default=True,
    metavar="RATE",
    help="Learning rate of the encoder at the start. It decays polynomially, with power 0.9.",
)
@option(
    _TRAINING,
    "--optimizer",
    type=click.Choice(["sgd", "adamw"]),
    default="sgd",
    show_default=True,
    help="Optimizer; adamw needs lower rates, such as --lr 0.0001.",
)
@option(
    _TRAINING,
    "--warmup",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="STEPS",
    help="Raise the learning rate from 0 in the first STEPS steps.",
)
@option(
    _TRAINING,
    "--head-lr-factor",
    type=float,
    default=10.0,
    show_default=True,
    metavar="FACTOR",
    help="Multiply --lr by this for everything but the encoder.",
)
@option(
    _TRAINING,
    "--weight-decay",
    type=float,
    default=5e-4,
    show_default=True,
    metavar="RATE",
    help="Weight decay.",
)
@option(
    _TRAINING,
    "--ema",
    type=float,
    default=0.0,
    show_default=True,
    metavar="DECAY",
    help="Evaluate and keep an exponential moving average of the weights with this decay per "
    "step, such as 0.998.",
)
@option(
    _TRAINING,
    "--alpha",
    type=float,
    default=1.0,
    show_default=True,
    metavar="WEIGHT",
    help="Weight of the difficulty loss.",
)
@option(_TRAINING, "--class-balance", is_flag=True, help="Give rare classes more weight.")
@option(
    _TRAINING,
    "--crop",
    type=Size(),
    metavar="HxW",
    help="Size of the training crops. Default: the size of the images.",
)
@option(
    _TRAINING,
    "--scale",
    type=(float, float),
    default=(0.5, 2.0),
    show_default=True,
    metavar="LOW HIGH",
    help="Zoom randomly between these factors before the crop.",
)
@option(
    _TRAINING,
    "--blur",
    type=Range(0, 1),
    default=0.5,
    show_default=True,
    metavar="P",
    help="Probability of a slight Gaussian blur.",
)
@option(
    _TRAINING,
    "--color-jitter",
    type=Range(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    metavar="J",
    help="Change brightness, contrast and saturation randomly, by factors of 1 ± J.",
)
@option(
    _TRAINING,
    "--cache",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Keep the features of frozen stages (--freeze) on disk for N augmentations of each image, "
    "which the epochs take in turn; each is computed once.",
)
@option(
    _TRAINING,
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="S",
    help="Seed of weights, order and augmentation.",
)
@option(
    _TRAINING,
    "--validate-every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Measure on val after every N epochs.",
)
@option(
    _RUN,
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Precision of the arithmetic.",
)
@option(
    _RUN,
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    first_day=True,
    help="auto uses CUDA if PyTorch finds a GPU.",
)
@option(
    _RUN,
    "--compile",
    type=click.Choice(["default", "reduce-overhead"]),
    help="Compile the training steps with torch.compile in this mode.",
)
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    required=True,
    metavar="DIR",
    first_day=True,
    help="Folder for checkpoints and metrics.",
)
@option(
    _OUT,
    "--overwrite",
    is_flag=True,
    first_day=True,
    help="Start again if DIR holds a run already. Default: resume it.",
)
@option(_OUT, "--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(*, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Train a segmentation network with a difficulty branch.

    The command keeps the epoch that is best on val as DIR/best.pt, for `deal export`, and evaluates
    it on test: mIoU without void pixels, and how well difficulty, entropy and margin find the wrong
    pixels (AUROC). Metrics are in DIR/metrics.jsonl and DIR/summary.json. If a run is interrupted,
    the same command resumes it.
    """
    try:
        from deal.training.config import TrainConfig
        from deal.training.trainer import train
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise DealError(f"training needs PyTorch: {pip_install('train')}") from error
    summary = train(TrainConfig(**options), overwrite=overwrite)
    click.echo(json.dumps(summary) if as_json else _report(summary, options["output"]))


def _report(summary: dict[str, Any], output: str) -> str:
    split = "val" if summary["test"] is None else "test"
    result = summary[split]
    measured = split if summary["config"].get("hold_out") is None else "held out"
    lines = [f"{'class':<20}{'IoU %':>7}   ({measured}, epoch {summary['best_epoch']})"]
    for name, value in result["iou"].items():
        lines.append(f"{printable(name):<20}{'-' if value is None else f'{100 * value:.1f}':>7}")
    lines.append(f"{'mean':<20}{100 * result['miou']:>7.1f}")
    for name, value in result["auroc"].items():
        lines.append(f"AUROC {name:<20}{'-' if value is None else f'{value:.3f}'}")
    lines.append(f"checkpoint: {printable(output)}/best.pt")
    return "\n".join(lines)
