"""``deal check``: what a model still needs before it scores a pool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deal.cli.common import key_value
from deal.cli.grouped import GroupedCommand, option
from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deal.checking.check import ModelReport

__all__ = ["command"]

_MODEL, _OUT = "Model", "Output"
_COLOURS = {"wrong": "red", "missing": "red", "doubtful": "yellow", "assumed": None}
_VERDICTS = {0: "good", 1: "refused", 3: "doubtful"}


@click.command(
    cls=GroupedCommand,
    short_help="Check whether a model is ready to score, and what is missing.",
    examples=[
        "deal check segformer.onnx street.jpg --picture prediction.png",
        "deal check segformer.onnx --write",
    ],
)
@click.argument("model", type=click.Path())
@click.argument("images", nargs=-1, type=click.Path())
@option(
    _MODEL,
    "--model-option",
    "model_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Try the model with this key of the model contract, such as classes=19. Repeatable.",
)
@option(
    _MODEL,
    "--engine",
    default="ort",
    show_default=True,
    metavar="ort|openvino|trt",
    help="What runs the network.",
)
@option(
    _MODEL,
    "--device",
    default="cpu",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N",
    help="Where it runs.",
)
@option(
    _OUT,
    "--write",
    is_flag=True,
    help="Write the draft to MODEL.json beside the model. A file that is there keeps what it "
    "says and gains what is missing.",
)
@option(
    _OUT,
    "--picture",
    type=click.Path(),
    metavar="FILE.png",
    help="Draw the prediction for the first image: its classes in color with their names, and its "
    "difficulty or entropy.",
)
@option(_OUT, "--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *,
    model: str,
    images: tuple[str, ...],
    model_options: tuple[str, ...],
    engine: str,
    device: str,
    write: bool,
    picture: str | None,
    as_json: bool,
) -> int:
    """List everything that is wrong, missing or doubtful about an ONNX model.

    The network runs on noise and on IMAGES. What the model does not say is read from config.json
    and preprocessor_config.json (Hugging Face) beside it, or guessed; --write puts that into
    MODEL.json for you to correct. Look at a --picture before you score a pool: wrong settings give
    scores too.

    Exit status: 0 good; 1 refused, because something is wrong or missing; 2 usage; 3 doubtful.
    """
    if picture is not None and not images:
        raise UsageError("--picture draws a prediction: give an image after the model")
    if picture is not None and not picture.lower().endswith(".png"):
        raise UsageError(f"--picture {picture}: it is written as PNG, so let its name end in .png")
    from deal.checking.check import check_model, write_draft

    report = check_model(
        model,
        [_decoded(image) for image in images],
        options=dict(map(key_value, model_options)),
        engine=engine,
        device=device,
    )
    written = write_draft(report) if write and report.draft else None
    if picture is not None and not _draw(report, picture):
        picture = None
    if as_json:
        document = {**report.to_dict(), "written": None if written is None else str(written)}
        click.echo(json.dumps(document, indent=1))
    else:
        _print(report, written, picture)
    return report.exit_code


def _decoded(image: str) -> tuple[str, NDArray[np.uint8]]:
    from deal.errors import ItemError
    from deal.pool.decode import decode
    from deal.pool.first import first_item

    try:
        item = first_item(image)
        return Path(item.id).name, decode(item).image
    except ItemError as error:
        raise UsageError(f"image {image}: {error.message}") from error


def _draw(report: ModelReport, picture: str) -> bool:
    """Draw the first prediction; whether there is one."""
    from deal.checking.picture import write_picture

    drawn = next((p for p in report.predictions if p.error is None), None)
    if drawn is None or report.spec is None:
        click.echo("note: no picture, since the network gives no prediction", err=True)
        return False
    write_picture(picture, drawn, report.spec.palette)
    return True


def _print(report: ModelReport, written: Path | None, picture: str | None) -> None:
    for finding in report.findings:
        level = click.style(f"{finding.level:9}", fg=_COLOURS[finding.level])
        click.echo(f"{level} {printable(finding.text)}")
    for prediction in report.predictions:
        if prediction.error is None:
            shares = list(prediction.shares.items())
            told = ", ".join(f"{name} {share:.0%}" for name, share in shares[:5])
            more = f" and {len(shares) - 5} more" if len(shares) > 5 else ""
            click.echo(
                printable(
                    f"{prediction.name}: {told}{more}; mean entropy {prediction.entropy:.3f} nats"
                )
            )
    if written is not None:
        click.echo(f"draft: {printable(str(written))}")
    elif report.draft:
        text = json.dumps(report.draft, ensure_ascii=False)
        click.echo(f"draft, for MODEL.json (--write): {printable(text)}")
    if picture is not None:
        click.echo(f"picture: {printable(picture)}")
    click.echo(f"{printable(str(report.model))}: {_VERDICTS[report.exit_code]}")
