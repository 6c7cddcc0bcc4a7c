"""``deal export``: checkpoint → ONNX, and ONNX → another precision."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deal.cli.common import Size
from deal.errors import DealError, UsageError
from deal.text import printable

if TYPE_CHECKING:
    from deal.export.parity import Parity
    from deal.export.precision import Conversion

__all__ = ["command"]


@click.command(
    "export",
    epilog="deal export runs/camvid/best.pt -o camvid.onnx --images CamVid/val/images\n\n"
    "deal export camvid.onnx -o camvid-int8.onnx --precision int8 --images pool/\n\n"
    "deal export camvid.onnx -o camvid-360x480.onnx --static 360x480\n\n"
    "deal export segformer.onnx -o with-head.onnx --difficulty-head head.json",
)
@click.argument("model", type=click.Path())
@click.option("-o", "--output", type=click.Path(), required=True, help="The ONNX file to write.")
@click.option(
    "--images",
    type=click.Path(),
    metavar="POOL",
    help="Images to check on, and to calibrate int8 on: a folder, glob or manifest. "
    "[default: synthetic scenes]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-3,
    show_default=True,
    help="Greatest difference of a logit between PyTorch and ONNX Runtime, or by --static.",
)
@click.option(
    "--difficulty-head",
    type=click.Path(),
    metavar="FILE",
    help="The head to put into the file, as deal fit-head wrote it.",
)
@click.option(
    "--static",
    type=Size(),
    metavar="HxW",
    help="Fix the input size, and arrange the float32 network for CPUs: the same numbers in less "
    "time.",
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
@click.option(
    "--precision",
    metavar="fp32|int8|fp16|bf16",
    default="fp32",
    show_default=True,
    help="Convert, and write only what selects the same held-out images as fp32.",
)
@click.option(
    "--held-out",
    type=click.Path(),
    metavar="POOL",
    help="At least 300 images to compare selections on. [default: the rest of --images if it is "
    "enough, else synthetic scenes]",
)
@click.option(
    "--target",
    default="cpu",
    show_default=True,
    metavar="cpu|gpu",
    help="What int8 is for; gpu: symmetric, the only form that TensorRT takes.",
)
@click.option(
    "--reduce-range",
    default="auto",
    show_default=True,
    metavar="auto|on|off",
    help="int8 weights of 7 bits, for x86 processors without VNNI. auto: as this one needs.",
)
@click.option(
    "--search-minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=15,
    show_default=True,
    help="Bound of the search for layers that have to stay in fp32.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparisons as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    *,
    model: str,
    output: str,
    images: str | None,
    tolerance: float,
    difficulty_head: str | None,
    static: tuple[int, int] | None,
    opset: int,
    dropout: bool,
    embedding: bool,
    precision: str,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Export a checkpoint of `deal train` to ONNX, or an ONNX model to another form or head.

    A checkpoint is run in PyTorch and in ONNX Runtime on the same images; logits, scores and
    rankings are compared; so are a network and its --static form. With --precision the selections
    of the converted model are held against those of the float32 one. A failed check leaves no
    file behind.
    """
    converts = precision != "fp32"
    is_onnx = Path(model).suffix == ".onnx"
    if is_onnx and not converts and difficulty_head is None and static is None:
        raise UsageError(
            f"{model} is ONNX already: say what to make of it with --precision int8, --static HxW "
            "or --difficulty-head"
        )
    if converts and static is not None:
        raise UsageError("--static arranges float32 networks: leave it or --precision out")
    parity: Parity | None = None
    of_static: Parity | None = None
    conversion: Conversion | None = None
    with tempfile.TemporaryDirectory() as folder:
        source = model
        changes = converts or static is not None
        if not is_onnx:
            last = not changes and difficulty_head is None
            source = output if last else str(Path(folder) / "fp32.onnx")
            parity = _export(
                model,
                source,
                images,
                tolerance=tolerance,
                opset=opset,
                dropout=dropout,
                embedding=embedding,
            )
        if difficulty_head is not None:
            headed = str(Path(folder) / "headed.onnx") if changes else output
            _put_head(source, difficulty_head, headed)
            source = headed
        if converts:
            conversion = _convert(source, output, precision, images, quiet, options)
        elif static is not None:
            of_static = _make_static(source, output, static, images, tolerance)
    if as_json:
        document = {} if parity is None else parity.to_dict()
        if conversion is not None:
            document["conversion"] = conversion.to_dict()
        if of_static is not None:
            document["static"] = of_static.to_dict()
        click.echo(json.dumps(document, indent=1))
        return
    lines = [] if parity is None else _parity_lines(parity, "PyTorch against ONNX Runtime")
    if conversion is not None:
        lines += _conversion_lines(conversion)
    if of_static is not None:
        lines += _parity_lines(of_static, "static against any size")
    click.echo("\n".join([*lines, f"model: {printable(output)}"]))


def _export(checkpoint: str, output: str, images: str | None, **options: Any) -> Parity:
    try:
        from deal.export.onnx import export_checkpoint
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnx", "onnxscript"):
            raise
        raise DealError(
            f"export needs {error.name}: pip install 'deal-score[train,ort]'"
        ) from error
    from deal.export.images import PoolImages

    found = None if images is None else PoolImages.of(images)
    return export_checkpoint(checkpoint, output, images=found, **options)


def _put_head(source: str, head: str, output: str) -> None:
    try:
        from deal.export.head import with_head
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise DealError(
            "--difficulty-head needs the package onnx: pip install 'deal-score[convert,ort]'"
        ) from error
    with_head(source, head, output)


def _convert(
    source: str,
    output: str,
    precision: str,
    images: str | None,
    quiet: bool,
    options: dict[str, Any],
) -> Conversion:
    try:
        from deal.export.precision import convert
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise DealError(
            "--precision needs the package onnx: pip install 'deal-score[convert,ort]'"
        ) from error
    options["search_seconds"] = 60 * options.pop("search_minutes")
    with _Stages(enabled=not quiet) as progress:
        return convert(source, output, precision, images=images, progress=progress, **options)


def _make_static(
    source: str, output: str, size: tuple[int, int], images: str | None, tolerance: float
) -> Parity:
    try:
        from deal.export.static import make_static
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise DealError(
            "--static needs the package onnx: pip install 'deal-score[convert,ort]'"
        ) from error
    from deal.export.images import PoolImages

    found = None if images is None else PoolImages.of(images)
    return make_static(source, output, size, images=found, tolerance=tolerance)


def _parity_lines(parity: Parity, what: str) -> list[str]:
    lines = [
        f"{parity.images} images, {what}: "
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
    return lines


def _conversion_lines(conversion: Conversion) -> list[str]:
    from deal.export.search import fidelity_table, sensitivity_table

    fidelity = conversion.fidelity
    lines = [
        f"{conversion.precision} against fp32 on {conversion.held_out}: "
        f"{fidelity.argmax_agreement:.2%} of the cells predicted alike, "
        f"logits off by {fidelity.logit_error:.1%} of their spread",
        *fidelity_table(fidelity),
    ]
    if conversion.reduce_range is not None:
        bits = "7 (every x86 processor)" if conversion.reduce_range else "8 (x86: needs VNNI)"
        lines.append(f"calibrated on {conversion.calibration}; bits of weights: {bits}")
    elif conversion.target == "gpu":
        lines.append(f"calibrated on {conversion.calibration}; symmetric, for TensorRT")
    if conversion.float_layers:
        lines.append(f"left in fp32: {', '.join(conversion.float_layers)}")
        lines += sensitivity_table(conversion.sensitivities)
    return lines


class _Stages:
    """Progress on a terminal's stderr: a bar a stage."""

    def __init__(self, *, enabled: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=Console(stderr=True),
            disable=not enabled,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Stages:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done)
