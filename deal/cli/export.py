"""``deal export``: checkpoint → ONNX, and ONNX → another precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deal.cli.common import Range, Size
from deal.cli.ending import cleared_on_sigterm
from deal.cli.export_lines import checkpoint_lines, conversion_lines, parity_lines
from deal.cli.export_options import check_options
from deal.cli.export_steps import (
    convert_precision,
    cut_labels,
    export_hf_folder,
    export_network,
    is_int8,
    keep_in_float,
    put_head,
    static_form,
)
from deal.cli.grouped import GroupedCommand, option
from deal.errors import UsageError
from deal.machine.files import check_not_read
from deal.machine.working import scratch_folder
from deal.model.files import with_model_files
from deal.text import printable

if TYPE_CHECKING:
    from deal.export.hf import HfExport
    from deal.export.parity import Parity
    from deal.export.precision import Conversion

__all__ = ["command"]


_HF, _IMAGENET = "hf:", "imagenet:"
_MAKE, _CHECK, _CONVERT, _OUT = "What to make", "Checks", "Conversion", "Output"


@click.command(
    "export",
    cls=GroupedCommand,
    short_help="Export a checkpoint to ONNX, or convert an ONNX model.",
    examples=[
        "deal export runs/camvid/best.pt -o camvid.onnx --images CamVid/val/images",
        "deal export camvid.onnx -o camvid-int8.onnx --precision int8 --images pool/",
        "deal export camvid.onnx -o camvid-360x480.onnx --static 360x480",
        "deal export segformer.onnx -o with-head.onnx --difficulty-head head.json",
        "deal export labels.onnx -o logits.onnx --cut",
        "deal export hf:segformer-b0/ -o segformer.onnx --images frames/",
        "deal export imagenet:lite0 -o lite0.onnx",
    ],
)
@click.argument("model", type=click.Path())
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    required=True,
    metavar="FILE",
    first_day=True,
    help="ONNX file to write.",
)
@option(
    _CHECK,
    "--images",
    type=click.Path(),
    metavar="POOL",
    first_day=True,
    help="Check the model on these images, and calibrate int8 on them: a folder, glob or manifest. "
    "Default: synthetic scenes.",
)
@option(
    _CHECK,
    "--tolerance",
    type=Range(min=0, min_open=True),
    default=1e-3,
    show_default=True,
    metavar="T",
    help="Largest difference of a logit that is accepted between PyTorch and ONNX Runtime, or "
    "between the model and its --static form.",
)
@option(
    _MAKE,
    "--input-size",
    type=Size("512x1024"),
    metavar="HxW",
    help="For hf:DIR and imagenet:NAME: stretch images to this size. Default: what "
    "preprocessor_config.json says; 240x320 for imagenet:NAME.",
)
@option(
    _MAKE,
    "--difficulty-head",
    type=click.Path(),
    metavar="FILE",
    first_day=True,
    help="Put this difficulty head, from deal fit-head, into the model.",
)
@option(
    _MAKE,
    "--static",
    type=Size(),
    metavar="HxW",
    first_day=True,
    help="Fix the input size and rearrange the float32 network for CPUs: it gives the same numbers "
    "in less time.",
)
@option(
    _MAKE,
    "--cut",
    is_flag=True,
    help="Take the argmax off the end of an ONNX model (and a softmax before it), so that it gives "
    "logits. deal check says what the new file still needs.",
)
@option(
    _MAKE,
    "--opset",
    type=int,
    default=18,
    show_default=True,
    metavar="N",
    help="Version of the ONNX operators.",
)
@option(
    _MAKE,
    "--dropout",
    is_flag=True,
    help="Add inputs for the masks of the dropout layers, for deal score --dropout-passes.",
)
@option(
    _MAKE,
    "--embedding",
    is_flag=True,
    help="Add an output for deal select --diverse: the features before the classifier, averaged "
    "over the image.",
)
@option(
    _CONVERT,
    "--precision",
    type=click.Choice(["fp32", "int8", "fp16", "bf16"]),
    metavar="fp32|int8|fp16|bf16",
    default="fp32",
    show_default=True,
    first_day=True,
    help="Convert to this precision. The file is written only if the converted model selects the "
    "same held-out images as fp32.",
)
@option(
    _CONVERT,
    "--held-out",
    type=click.Path(),
    metavar="POOL",
    help="Compare selections on these images, at least 300. Default: those of --images that are "
    "not used for calibration, or synthetic scenes if they are too few.",
)
@option(
    _CONVERT,
    "--target",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    metavar="cpu|gpu",
    first_day=True,
    help="Where int8 will run. gpu makes it symmetric, the only form TensorRT accepts.",
)
@option(
    _CONVERT,
    "--reduce-range",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    metavar="auto|on|off",
    help="Use 7 bits for int8 weights, as x86 processors without VNNI need. auto: if this "
    "processor does.",
)
@option(
    _CONVERT,
    "--search-minutes",
    type=Range(min=0, min_open=True),
    default=30,
    show_default=True,
    metavar="M",
    help="Longest time for a conversion: calibration, comparisons, and the search for layers that "
    "must stay in fp32. The best result found until then counts.",
)
@option(_OUT, "--json", "as_json", is_flag=True, help="Print the comparisons as JSON.")
@option(_OUT, "--quiet", "-q", is_flag=True, help="Show no progress.")
def command(
    *,
    model: str,
    output: str,
    images: str | None,
    tolerance: float,
    input_size: tuple[int, int] | None,
    difficulty_head: str | None,
    static: tuple[int, int] | None,
    cut: bool,
    opset: int,
    dropout: bool,
    embedding: bool,
    precision: str,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Export a checkpoint of `deal train` or of transformers to ONNX, or convert an ONNX model.

    MODEL is a checkpoint (.pt), an ONNX file, or hf:DIR: a folder with a checkpoint of transformers
    for semantic segmentation, which is read from this folder alone. imagenet:lite0 (lite1, lite2)
    is an encoder with ImageNet weights and no decoder: it gives embeddings of a pool that has no
    labels yet, for --acquisition typiclust, and logits of 0. The command compares what it
    writes with what it read, on the same images: PyTorch with ONNX Runtime, the pipeline of
    transformers with that of deal, a --static form with the original, and the selections of a
    converted model with those of fp32. If a check fails, it leaves no file behind.
    """
    converts = precision != "fp32"
    is_hf = model.startswith(_HF)
    is_encoder = model.startswith(_IMAGENET)
    is_onnx = not (is_hf or is_encoder) and Path(model).suffix.lower() == ".onnx"
    _check_source(model, is_hf or is_encoder, input_size)
    read = (model.removeprefix(_HF), difficulty_head, images, options["held_out"])
    check_not_read(output, with_model_files(read))
    if is_encoder and (converts or dropout or difficulty_head is not None):
        raise UsageError(
            f"{model} has no trained logits: leave out --precision, --dropout and --difficulty-head"
        )
    if cut:
        if not is_onnx or converts or difficulty_head is not None or static is not None:
            raise UsageError(
                "--cut takes an ONNX file and does nothing else: make another form of its result "
                "with a second deal export"
            )
        check_options("onnx", model, cut=True, precision=precision, static=False)
        with cleared_on_sigterm():
            cut_labels(model, output, as_json=as_json)
        return
    if is_onnx and not converts and difficulty_head is None and static is None:
        raise UsageError(
            f"{model} is an ONNX file already: say what to make of it with --precision, --static, "
            "--difficulty-head or --cut"
        )
    if converts and static is not None:
        raise UsageError(
            "--static works on float32 networks only: leave out --static or --precision"
        )
    rewrites = precision == "int8" and is_onnx and is_int8(model)
    kind = "onnx" if is_onnx else "hf" if is_hf else "imagenet" if is_encoder else "checkpoint"
    check_options(
        kind, model, cut=False, precision=precision, static=static is not None, is_int8=rewrites
    )
    parity: Parity | None = None
    checkpoint: HfExport | None = None
    of_static: Parity | None = None
    conversion: Conversion | None = None
    kept: list[str] = []
    with cleared_on_sigterm(), scratch_folder() as folder:
        source = model
        changes = converts or static is not None
        if not is_onnx:
            last = not changes and difficulty_head is None
            source = output if last else str(folder / "fp32.onnx")
            checks = {
                "tolerance": tolerance,
                "opset": opset,
                "dropout": dropout,
                "embedding": embedding,
            }
            if is_encoder:
                parity = export_network(
                    model.removeprefix(_IMAGENET),
                    source,
                    images,
                    tolerance=tolerance,
                    opset=opset,
                    input_size=input_size,
                )
            elif is_hf:
                name = model.removeprefix(_HF)
                checkpoint = export_hf_folder(name, source, images, input_size=input_size, **checks)
                parity = checkpoint.parity
            else:
                parity = export_network(model, source, images, **checks)
        if difficulty_head is not None:
            headed = str(folder / "headed.onnx") if changes else output
            put_head(source, difficulty_head, headed)
            source = headed
        if rewrites:
            kept = keep_in_float(source, output)
        elif converts:
            conversion = convert_precision(source, output, precision, images, quiet, options)
        elif static is not None:
            of_static = static_form(source, output, static, images, tolerance)
    if as_json:
        told = checkpoint or parity
        document = {} if told is None else told.to_dict()
        if conversion is not None:
            document["conversion"] = conversion.to_dict()
        if kept:
            document["kept_in_float"] = kept
        if of_static is not None:
            document["static"] = of_static.to_dict()
        click.echo(json.dumps(document, indent=1))
        return
    lines = [] if checkpoint is None else checkpoint_lines(checkpoint)
    if is_encoder:
        lines.append(
            "only the embedding means something: the logits are 0, so rank what this model scores "
            "by --acquisition typiclust or core-set"
        )
    if parity is not None:
        lines += parity_lines(parity, "PyTorch against ONNX Runtime")
    if conversion is not None:
        lines += conversion_lines(conversion)
    if kept:
        lines.append(
            f"int8 already; every session of ONNX Runtime now computes {', '.join(kept)} in "
            "float32, and the logits have the same bits"
        )
    if of_static is not None:
        lines += parity_lines(of_static, "static against any size")
    click.echo("\n".join([*lines, f"model: {printable(output)}"]))


def _check_source(model: str, is_named: bool, input_size: tuple[int, int] | None) -> None:
    if input_size is not None and not is_named:
        raise UsageError("--input-size is for hf:DIR and imagenet:NAME: for others see --static")
    if not is_named and Path(model).is_dir() and (Path(model) / "config.json").is_file():
        raise UsageError(
            f"{model} is a folder: for a checkpoint of transformers name it hf:{model}"
        )
